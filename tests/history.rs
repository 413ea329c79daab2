//! What the daemon writes down of what it sees, and the commands that look back on it, against the
//! sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::busy::{self, busy_server};
use common::{Told, Turned, audit, config, daemon, drive, sandbox};
use jiff::{SignedDuration, Timestamp};
use taskwarden::daemon::watch::Looked;
use taskwarden::engine::audit::AuditRow;
use taskwarden::engine::observe::{After, Look};
use taskwarden::engine::replay::{self, Deed, Replay};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::scenario::{FlakyQueue, flaky_queue};
use taskwarden::sandbox::{Fault, FaultPlan, Flavour, Settings};
use taskwarden::store::{LookFilter, Reader, Store};

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

fn looks(state: &Path) -> Vec<Look> {
    let mut looks = Vec::new();
    let reader = Reader::open(state).unwrap();
    let take = |look| {
        looks.push(look);
        ControlFlow::Continue(())
    };
    reader.looks_each(&LookFilter::default(), take).unwrap();
    looks
}

/// What a command prints; it must end well.
fn taskwarden(state: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskwarden"));
    command.env_clear().env("TZ", "UTC").env("HOME", state).current_dir(state);
    let output = command.arg("--state-dir").arg(state).args(args).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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

/// Rules that use what there is: limits, breakers, jitter, ages, schedules, dry runs, whole kinds.
const MANY_RULES: &str = r"
rules:
  - name: tell
    match: { state: failed, age: '>2m' }
    action: notify
    continue: true
  - name: hopeless
    match: { state: failed, error: 'status code 404' }
    action: retry_some
    max_attempts: 1
    backoff: { initial: 20s, factor: 2, max: 10m }
    on_give_up: [notify, delete_some]
  - name: shown
    match: { state: failed, class: [throttled, network] }
    action: delete_some
    mode: dry_run
  - name: flaky
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 6
    give_up_after: 40m
    backoff: { initial: 20s, factor: 2, max: 10m }
    limits: { per_tick: 3, per_hour: 40 }
    breaker: { open_after: 4, within: 5m, cool_down: 3m }
  - name: tidy
    match: { state: succeeded, age: '>5m' }
    action: delete_some
    limits: { per_tick: 2 }
  - name: sweep
    match: { kind: offline_download, state: succeeded }
    action: clear_succeeded
    schedule: '*/20 * * * *'
";

/// A run of the daemon with some trouble on the line; the number of ticks is fixed.
async fn run(state: &Path, flavour: Flavour, seed: u64, faults: f64, restarts: bool) {
    let (turned, told) = (Turned::new(), Told::default());
    let settings = Settings::new(flavour).pool("offline_download", 5, 0);
    let sandbox = sandbox(settings, &turned).await;
    sandbox.with_model(|model| {
        flaky_queue(model, 40, 15, 5, seed);
        model.faults().plan(FaultPlan {
            rate: faults,
            faults: vec![
                Fault::Http5xx(500, "oops".to_owned()),
                Fault::Http502Page,
                Fault::Reset,
                Fault::Truncate,
                Fault::Code401,
            ],
            only: None,
            phase: None,
            seed,
        });
    });
    let config = config(&sandbox, "    timeout: 1s", MANY_RULES);
    let text = format!(
        "version: 1\nservers:\n  - name: home\n    url: {}\n    token: x\n    timeout: 1s\n{MANY_RULES}",
        sandbox.url()
    );
    std::fs::write(state.join("rules.yaml"), text).unwrap();
    for part in 0..3 {
        let daemon = daemon(config.clone(), state, &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        for tick in 0..150 {
            watch.tick().await;
            // Not all looks are the same time apart.
            turned.turn(Duration::from_millis(10_000 + 137 * (tick % 7)));
        }
        if !restarts && part == 0 {
            for _ in 0..300 {
                watch.tick().await;
                turned.turn(Duration::from_secs(10));
            }
            return;
        }
    }
}

/// The rules that really ran do over recorded history just what they really did.
fn assert_reproduced(state: &Path) -> u64 {
    let out = taskwarden(state, &["backtest", "-q", "--rules", "rules.yaml", "--format", "json"]);
    let lines = json(&out);
    let total = lines.last().unwrap();
    let figures = ["added", "removed", "moved"].map(|key| total[key].as_u64().unwrap());
    assert_eq!(figures, [0, 0, 0], "{}", taskwarden(state, &["backtest", "--rules", "rules.yaml"]));
    assert_eq!(total["uncertain_tasks"], 0);
    let same = total["same"].as_u64().unwrap();
    let rows = audit(state);
    assert_eq!(same, rows.iter().filter(|row| row.rule.is_some()).count() as u64);
    same
}

/// Rules that were not the ones that ran.
fn other_rules() -> [String; 3] {
    let slower = MANY_RULES.replace("20s", "45s").replace("per_tick: 3", "per_tick: 1");
    let hourly = MANY_RULES
        .replace("    give_up_after: 40m\n", "    schedule: '*/7 * * * *'\n")
        .replace("per_hour: 40", "per_hour: 7");
    let unbroken = MANY_RULES
        .replace("breaker: { open_after: 4, within: 5m, cool_down: 3m }", "breaker: off")
        .replace("schedule: '*/20 * * * *'", "limits: { only_if_undone_below: 3 }")
        .replace("age: '>5m'", "age: '>50s'");
    let all = [slower, hourly, unbroken];
    assert!(all.iter().all(|rules| rules != MANY_RULES));
    all
}

/// What rules would have done.
fn replayed(state: &Path, rules: &str, whole_every: SignedDuration) -> Vec<Deed> {
    let text = format!(
        "version: 1\nservers: [{{ name: home, url: 'http://127.0.0.1:1', token: x }}]\n{rules}"
    );
    let config = load(Source::new("other.yaml", &text)).config.unwrap();
    let settings = replay::Settings {
        server: "home".into(),
        seed: 0,
        poll: SignedDuration::from_secs(10),
        settles: SignedDuration::from_secs(7),
        from: Timestamp::MIN,
        whole_every,
        troubles: Reader::open(state).unwrap().troubles().unwrap(),
    };
    let mut replay = Replay::new(&config.rules, settings);
    let (looks, rows) = (looks(state), audit(state));
    for (place, look) in looks.iter().enumerate() {
        let next = looks.get(place + 1);
        let here = rows
            .iter()
            .filter(|row| row.time >= look.time && next.is_none_or(|next| row.time < next.time));
        let here: Vec<AuditRow> = here.cloned().collect();
        replay.look(look.clone(), &here, next.is_some_and(|next| next.after == After::Start));
    }
    replay.deeds
}

/// Leaving out the tasks of which nothing is wanted changes nothing.
fn assert_part_is_whole(state: &Path) {
    for rules in other_rules() {
        let whole = replayed(state, &rules, SignedDuration::ZERO);
        let part = replayed(state, &rules, replay::WHOLE_EVERY);
        assert!(whole.len() > 50, "{}", whole.len());
        let (same, differences) = replay::differences(&whole, &part);
        assert!(differences.is_empty(), "{rules}\n{differences:#?}");
        assert_eq!(same, whole.len());
    }
}

#[tokio::test]
async fn a_backtest_of_the_rules_that_ran_is_what_was_done() {
    for seed in 0..2 {
        for (flavour, faults, restarts) in [
            (Flavour::OpenList, 0.0, false),
            (Flavour::AList, 0.0, true),
            (Flavour::OpenList, 0.15, true),
            (Flavour::AList, 0.15, false),
        ] {
            let state = tempfile::tempdir().unwrap();
            run(state.path(), flavour, seed, faults, restarts).await;
            let same = assert_reproduced(state.path());
            assert!(same > 60, "{seed} {flavour:?}: {same}");
            let mut done: Vec<Deed> = audit(state.path()).iter().filter_map(Deed::of).collect();
            let mut deeds = replayed(state.path(), MANY_RULES, replay::WHOLE_EVERY);
            done.sort();
            deeds.sort();
            assert_eq!(deeds, done, "to the last attempt number");
            assert_part_is_whole(state.path());
        }
    }
}

/// How long that takes is measured by `benches/bars`.
#[tokio::test]
async fn a_busy_server_is_looked_back_on_with_other_rules() {
    let state = tempfile::tempdir().unwrap();
    let (_, retries) = busy_server(state.path(), 20_000).await;
    std::fs::write(state.path().join("rules.yaml"), busy::RULES).unwrap();
    let same = assert_reproduced(state.path());
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
    assert_eq!(ran(&["history"]), (Some(0), String::new()));
}
