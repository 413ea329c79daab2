//! What the daemon writes down of what it sees, and the commands that look back on it, against the
//! sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::busy::{self, busy_server};
use common::past::{assert_reproduced, json, looks, taskwarden};
use common::{Told, Turned, audit, config, daemon, drive, sandbox};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use taskwarden::daemon::watch::Looked;
use taskwarden::engine::audit::AuditRow;
use taskwarden::engine::class::Class;
use taskwarden::engine::name::TaskName;
use taskwarden::engine::report::Report;
use taskwarden::engine::task::{self, Common, State, Task};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::scenario::{FlakyQueue, flaky_queue};
use taskwarden::sandbox::{Flavour, Settings};
use taskwarden::store::Store;

const RULES: &str = r"
rules:
  - name: hopeless
    match: { state: failed, error: 'status code 404' }
    action: retry_some
    max_attempts: 1
    backoff: { initial: 20s, factor: 2, max: 10m, jitter: 0 }
  - name: flaky
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 6
    backoff: { initial: 20s, factor: 2, max: 10m, jitter: 0 }
    limits: { per_tick: 50, per_hour: 1000 }
    breaker: off
";

/// A queue that was worked off by the rules.
async fn worked_off(state: &Path) -> FlakyQueue {
    let (turned, told) = (Turned::new(), Told::default());
    let settings = Settings::new(Flavour::OpenList).pool("offline_download", 20, 0);
    let sandbox = sandbox(settings, &turned).await;
    let queue = sandbox.with_model(|model| flaky_queue(model, 60, 20, 4, 3));
    let daemon = daemon(config(&sandbox, "", RULES), state, &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let mut quiet = 0;
    drive(&mut watch, &turned, Duration::from_secs(10), 3000, |looked| {
        let Looked::Done(done) = looked else { panic!("{looked:?}") };
        let undone = done.0.kinds.values().flatten().any(|task| !task.state.is_done());
        quiet = if undone || !done.1.waiting.is_empty() { 0 } else { quiet + 1 };
        quiet >= 5
    })
    .await;
    let before = looks(state).len();
    for _ in 0..20 {
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
    }
    assert_eq!(looks(state).len(), before, "what does not change costs no rows");
    queue
}

#[tokio::test]
async fn a_queue_that_was_worked_off_can_be_looked_back_on() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let queue = worked_off(state).await;
    let rows = audit(state);

    let all = json(&taskwarden(state, &["history", "--format", "json"]));
    let done = all.iter().filter(|event| event["event"] == "done").count();
    assert_eq!(done, rows.len());
    let times: Vec<&str> = all.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted());

    let task = &queue.flaky[0];
    let story = taskwarden(state, &["history", "--task", task]);
    let sentence = story.lines().next().unwrap();
    assert!(sentence.contains("; failed "), "{sentence}");
    assert!(sentence.contains("; waited "), "{sentence}");
    assert!(sentence.contains("attempt 1; "), "{sentence}");
    assert!(sentence.contains("succeeded "), "{sentence}");
    assert!(story.lines().count() > 5, "{story}");

    let by_rule = json(&taskwarden(state, &["history", "--rule", "hopeless", "--format", "json"]));
    assert!(!by_rule.is_empty());
    assert!(by_rule.iter().all(|event| event["event"] == "done" && event["rule"] == "hopeless"));
    let of_class =
        json(&taskwarden(state, &["history", "--class", "not_found", "--format", "json"]));
    assert!(of_class.iter().any(|event| event["event"] == "seen"));
    assert!(of_class.iter().all(|event| event["class"] == "not_found"), "{of_class:?}");
    let last = json(&taskwarden(state, &["history", "-n", "3", "--format", "json"]));
    assert_eq!(last, all[all.len() - 3..]);
    assert_eq!(taskwarden(state, &["history", "--kind", "copy"]), "");
    assert_eq!(taskwarden(state, &["history", "--until", "2020-01-01"]), "");
    // A task that was seen before the moment that is asked for is not new then.
    let middle = times[times.len() / 2];
    let later = json(&taskwarden(state, &["history", "--since", middle, "--format", "json"]));
    let same: Vec<_> = all.iter().filter(|event| event["time"].as_str() >= Some(middle)).collect();
    assert_eq!(later.iter().collect::<Vec<_>>(), same);

    let report = json(&taskwarden(state, &["report", "--format", "json"]));
    let sum = |about: &str| -> u64 {
        let lines = report.iter().filter(|line| line["about"] == about);
        lines.map(|line| line["failures"].as_u64().unwrap()).sum()
    };
    assert!(sum("class") > 20);
    assert_eq!((sum("mount"), sum("hour")), (sum("class"), sum("class")));
    let flaky = |attempt: u64| {
        let find =
            |line: &&serde_json::Value| line["rule"] == "flaky" && line["attempt"] == attempt;
        let line = report.iter().find(find).unwrap();
        let number = |key: &str| line[key].as_u64().unwrap();
        (number("succeeded"), number("failed"), number("unknown"))
    };
    let retried = |attempt: u32| {
        let is = |row: &&AuditRow| {
            row.action == "retry_some"
                && row.attempt == Some(attempt)
                && row.rule.as_ref().is_some_and(|rule| rule.as_str() == "flaky")
        };
        rows.iter().filter(is).count() as u64
    };
    for attempt in 1..=6 {
        let (succeeded, failed, unknown) = flaky(u64::from(attempt));
        assert_eq!((succeeded + failed, unknown), (retried(attempt), 0), "attempt {attempt}");
    }
    // The hopeless ones are all that is left at last.
    assert_eq!(flaky(6), (0, queue.hopeless.len() as u64, 0));
    let human = taskwarden(state, &["report"]);
    assert!(human.contains("by class") && human.contains("attempts of rule `flaky`"), "{human}");
}

/// How long that takes is measured by `benches/bars`.
#[tokio::test]
async fn a_busy_server_is_looked_back_on_with_other_rules() {
    let state = tempfile::tempdir().unwrap();
    let (_, retries) = busy_server(state.path(), 20_000).await;
    std::fs::write(state.path().join("rules.yaml"), busy::RULES).unwrap();
    let same = assert_reproduced(state.path(), &["--rules", "rules.yaml"]);
    assert_eq!(same, retries as u64);
    // Other rules find other things, and say which tasks they cannot tell of.
    let later = busy::RULES.replace("60s", "90s").replace("max_attempts: 6", "max_attempts: 1");
    std::fs::write(state.path().join("later.yaml"), later).unwrap();
    let args = ["backtest", "-q", "--rules", "later.yaml", "--format", "json"];
    let lines = json(&taskwarden(state.path(), &args));
    let total = lines.last().unwrap();
    let moved = lines.iter().find(|line| line["change"] == "moved").unwrap();
    let was: Timestamp = moved["was"].as_str().unwrap().parse().unwrap();
    let time: Timestamp = moved["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(time.duration_since(was), SignedDuration::from_secs(30), "{moved}");
    assert_eq!((&moved["rule"], &moved["uncertain"]), (&"again".into(), &false.into()));
    assert!(total["moved"].as_u64().unwrap() > 100, "{total}");
    assert!(total["removed"].as_u64().unwrap() > 10, "{total}");
    assert!(total["uncertain_tasks"].as_u64().unwrap() > 100, "{total}");
    let sooner = busy::RULES.replace("60s", "30s");
    std::fs::write(state.path().join("sooner.yaml"), sooner).unwrap();
    let args = ["backtest", "-q", "--rules", "sooner.yaml", "--format", "json"];
    let lines = json(&taskwarden(state.path(), &args));
    let total = lines.last().unwrap();
    assert_eq!((&total["added"], &total["removed"]), (&0.into(), &0.into()), "{total}");
    assert_eq!(total["moved"], retries);
    let first = lines.iter().filter(|line| line["attempt"] == 1).collect::<Vec<_>>();
    assert!(first.iter().all(|line| line["uncertain"] == false));
    let second = lines.iter().filter(|line| line["attempt"] == 2).collect::<Vec<_>>();
    assert!(!second.is_empty() && second.iter().all(|line| line["uncertain"] == true));
    // What lies before the asked-for time is looked on at, and not counted.
    let args = ["backtest", "--rules", "rules.yaml", "--since", "2100-01-01"];
    assert!(taskwarden(state.path(), &args).ends_with("no difference in 0 actions\n"));
    // Held against each other, they differ in the same.
    let args = ["backtest", "-q", "--rules", "rules.yaml", "--against", "sooner.yaml"];
    let back = taskwarden(state.path(), &args);
    assert!(back.ends_with(&format!("(0 added, 0 removed, {retries} moved)\n")), "{back}");
}

#[test]
fn a_backtest_on_nothing_says_so() {
    let state = tempfile::tempdir().unwrap();
    drop(Store::open(state.path()).unwrap());
    std::fs::write(state.path().join("rules.yaml"), busy::RULES).unwrap();
    let ran = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskwarden"));
        command.env_clear().env("HOME", state.path()).current_dir(state.path());
        let output = command.args(["--state-dir", "."]).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = ran(&["backtest", "-q", "--rules", "rules.yaml"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("nothing was recorded yet"), "{err}");
    let (code, err) = ran(&["backtest", "-q", "--rules", "missing.yaml"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("missing.yaml"), "{err}");
    assert_eq!(ran(&["report", "--since", "soon"]).0, Some(2));
    let nothing = "nothing like this was seen or done in this time\n";
    assert_eq!(ran(&["history"]), (Some(0), nothing.to_owned()));
    assert_eq!(ran(&["history", "-q"]), (Some(0), String::new()));
    let (code, err) = ran(&["history", "--server", "hoem", "--class", "throtled"]);
    assert_eq!(code, Some(0));
    assert!(err.contains("of a server `hoem` nothing was ever seen"), "{err}");
    assert!(err.contains("`throtled` is none of the built-in classes: throttled,"), "{err}");
    let (code, err) = ran(&["report", "--since", "2026-02-01", "--until", "2026-01-01"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("is not before --until"), "{err}");
}

/// The class that a rules file gives an error, once it has the line that a report suggested for it.
fn suggested(error: &str) -> Option<Class> {
    let task = Task {
        id: "a".into(),
        name: TaskName::new("upload a.bin to [/d](/x)"),
        progress: 0.0,
        started: None,
        ended: None,
        total_bytes: 0,
        common: Common {
            creator: "".into(),
            roles: [].into(),
            state: State::Failed,
            status: "".into(),
            error: error.into(),
        }
        .into(),
    };
    let mut report = Report::default();
    report.note_failure(&task, &Class::Unknown, 0);
    let cluster = report.clusters().pop()?;
    let text = format!(
        "version: 1\nclasses:\n  {}\nservers: [{{ name: home, url: 'http://127.0.0.1:1', token: x }}]\n\
         rules: []\n",
        cluster.suggestion
    );
    let loaded = load(Source::new("rules.yaml", &text));
    assert!(loaded.config.is_some(), "{error:?}\n{text}\n{:?}", loaded.findings);
    let classes = loaded.config.unwrap().rules.classes.clone();
    for other in ["", "some other error altogether", "x", "7"] {
        let class = classes.classify(other, task::Flavour::OpenList, State::Failed);
        assert!(class == Class::Unknown || other == error, "{error:?} {text}: takes {other:?}");
    }
    Some(classes.classify(error, task::Flavour::OpenList, State::Failed))
}

#[test]
fn a_class_that_is_suggested_loads_and_takes_the_error() {
    for error in [
        "drive said 17: \"a b.mkv\" is odd",
        "it's a 'quoted' thing: don't",
        "a.b(c)[d]{e}|f^g$h\\i*j+k?l #m",
        "first line\nsecond\tline",
        "first line\r\n  second",
        "中文「电影」错误 12",
        "nul\0 and \u{1b}[31m and \u{202e}",
        "100% of {x: y}, - & *anchor !tag",
        &"long words and ".repeat(200),
        &format!("{}'", "x".repeat(299)),
    ] {
        assert_eq!(suggested(error), Some("my_class".into()), "{error:?}");
    }
    // Of these, what they have in common with others says too little.
    for error in ["/a/b/c.mkv", "17", "\"quoted\"", "https://h.example/x?y=1", "-", "5: 6", "…#"]
    {
        assert_eq!(suggested(error), Some("my_class".into()), "{error:?}");
    }
    assert_eq!(suggested(""), None);
}

proptest! {
    #[test]
    fn any_class_that_is_suggested_loads_and_takes_the_error(error in "\\PC{0,40}[ -~\n\t]{0,60}\\PC{0,10}") {
        let class = suggested(&error);
        prop_assert!(error.trim().is_empty() || class == Some("my_class".into()), "{error:?} {class:?}");
    }
}
