//! `explain` and `match`, as people and scripts call them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "a test has time")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Told, Turned, config, daemon, drive, sandbox};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use taskwarden::cli::explain::described;
use taskwarden::engine::decide::{Tick, decide, examine};
use taskwarden::engine::described::Described;
use taskwarden::engine::rule::{Action, Mode, RuleSet};
use taskwarden::engine::task::{Flavour, Kind, State};
use taskwarden::engine::trace::Look;
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::{Flavour as Product, Settings, TaskScript};

const NOW: &str = "2026-11-24T12:00:00Z";

fn start(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_taskwarden"))
        .args(args)
        .current_dir(folder)
        .env("TZ", "UTC")
        .env_remove("TASKWARDEN_CONFIG")
        .env_remove("STATE_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that takes no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Standard output, error output and exit code of a command with the example rules.
fn shown(args: &[&str], input: &str) -> String {
    let mut all = vec!["-c", "rules.example.yaml"];
    all.extend(args);
    let output = start(Path::new(env!("CARGO_MANIFEST_DIR")), &all, input);
    let mut text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    if !talk.is_empty() {
        text += &format!("-- stderr\n{talk}");
    }
    text + &format!("-- exit {}\n", output.status.code().unwrap())
}

fn json(text: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(text).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_described_task_for_people() {
    let name = "copy [/local](/film.mkv) to [/115](/films)";
    let args =
        ["explain", "--error", "status: 405, Too many requests", "--name", name, "--now", NOW];
    insta::assert_snapshot!("throttled_copy", shown(&args, ""));
    let args = ["explain", "--kind", "copy", "--state", "canceled", "--now", NOW];
    insta::assert_snapshot!("canceled_copy", shown(&args, ""));
}

#[test]
fn why_not_this_rule() {
    let args = [
        "explain",
        "--kind",
        "offline_download",
        "--state",
        "running",
        "--stalled-for",
        "10m",
        "--rule",
        "cancel stalled transfers",
        "--now",
        NOW,
    ];
    insta::assert_snapshot!("why_not_yet", shown(&args, ""));
    let args = [
        "explain",
        "--kind",
        "offline_download",
        "--error",
        "i/o timeout",
        "--attempts",
        "8",
        "--rule",
        "retry flaky downloads",
        "--now",
        NOW,
    ];
    insta::assert_snapshot!("given_up", shown(&args, ""));
    let args = [
        "explain",
        "--kind",
        "copy",
        "--error",
        "i/o timeout",
        "--rule",
        "forget old failures",
        "--now",
        NOW,
    ];
    insta::assert_snapshot!("taken_before", shown(&args, ""));
}

#[test]
fn a_described_task_for_scripts() {
    let args = [
        "explain",
        "--format",
        "json",
        "--kind",
        "copy",
        "--error",
        "connection reset by peer",
        "--attempts",
        "2",
        "--now",
        NOW,
    ];
    let output = start(
        Path::new(env!("CARGO_MANIFEST_DIR")),
        &[&["-c", "rules.example.yaml"][..], &args].concat(),
        "",
    );
    let value = json(&output.stdout).remove(0);
    insta::assert_snapshot!("flaky_copy_json", serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn a_mistake_in_a_description_is_wrong_usage() {
    for args in [
        &["explain"][..],
        &["explain", "--error", "x"],
        &["explain", "--kind", "copy", "--state", "faild"],
        &["explain", "--kind", "copy", "--stalled-for", "5"],
        &["explain", "--kind", "copy", "--size", "many"],
        &["explain", "--kind", "copy", "--rule", "no such rule"],
        &["explain", "ID", "--kind", "copy"],
        &["match", "--state", "faild"],
        &["match", "no-such-file"],
        &["match", "--kind", "copyy"],
    ] {
        let text = shown(args, "");
        assert!(text.ends_with("-- exit 2\n"), "{args:?}: {text}");
    }
}

#[test]
fn no_terminal_is_disturbed() {
    let args = ["explain", "--kind", "copy", "--error", "a\u{1b}[2J\nb", "--now", NOW];
    let text = shown(&args, "");
    assert!(!text.contains('\u{1b}') && text.contains(r"a\u{1b}[2J\nb"), "{text}");
    // Neither is a password let out.
    let name = "decompress [/a](/x.zip)[/] to [/b](/) with password <hunter2>";
    assert!(!shown(&["explain", "--name", name], "").contains("hunter2"));
}

const LINES: &str = r#"Too many requests, please retry later
{"kind":"offline_download","error":"connection refused","id":"d1"}

{"kind":"upload","state":2}
{"code":429,"msg":"slow down"}
{"state":"failed","name":"transfer [](/tmp/a) to [/b](/)","error":"EOF","attempts":8,"colour":"red"}
{"state":"faild","error":"x"}
{broken
"#;

#[test]
fn each_line_gets_its_answer() {
    let human = shown(&["match", "-", "--now", NOW], LINES);
    insta::assert_snapshot!("match_human", human);
    let lines = shown(&["match", "-", "--format", "json", "--now", NOW], LINES);
    insta::assert_snapshot!("match_json", lines);
}

#[test]
fn a_saved_list_is_taken_as_it_is() {
    let list = r#"{"code":200,"message":"success","data":[
        {"id":"a","name":"copy [/x](/1) to [/y](/)","creator":"admin","creator_role":[2],"state":7,
         "status":"","progress":12.5,"start_time":"2026-11-24T09:00:00+08:00",
         "end_time":"2026-11-24T09:05:00+08:00","total_bytes":1234,"error":"i/o timeout"},
        {"id":"b","name":"upload f to [/y](/)","creator":"","creator_role":2,"state":7,"status":"",
         "progress":0,"start_time":null,"end_time":"0001-01-01T00:00:00Z","total_bytes":0,
         "error":"object not found"}]}"#;
    let lines = shown(&["match", "--format", "json", "--now", NOW], list);
    insta::assert_snapshot!("match_list", lines);
    assert!(
        shown(&["match"], r#"{"code":200,"message":"success","data":null}"#).contains("0 tasks")
    );
}

#[test]
fn answers_among_other_lines_and_names_nobody_knows_are_told() {
    let lines = r#"{"code":200,"message":"success","data":[{"id":"a","state":7,"error":"EOF"},{"id":"b","state":4}]}
{"code":200,"data":{"why":"drive says no"}}
{"kind":"copyy","error":"x"}
{"kind":"copy","server":"hom","error":"x"}
"#;
    insta::assert_snapshot!("match_answers", shown(&["match", "--now", NOW], lines));
}

#[test]
fn a_thousand_errors_are_sorted_in_moments() {
    let lines: Vec<String> =
        (0..1000).map(|n| format!("{{\"error\":\"file no{n}x: i/o timeout\"}}\n")).collect();
    let lines = lines.concat();
    let text = shown(&["match", "--format", "json", "-q"], &lines);
    assert_eq!(text.lines().count(), 1001);
    assert!(text.lines().take(1000).all(|line| line.contains(r#""class":"timeout""#)));
}

/// Scripts go by these keys.
#[test]
fn every_line_is_answered_by_the_object_of_explain() {
    let now = ["--now", NOW, "--format", "json"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |args: &[&str], input: &str| {
        let all = [&["-c", "rules.example.yaml"][..], args, &now[..]].concat();
        json(&start(root, &all, input).stdout)
    };
    let one = run(&["explain", "--kind", "copy", "--error", "status: 429", "--attempts", "1"], "");
    let many = run(&["match", "-"], r#"{"kind":"copy","error":"status: 429","attempts":1}"#);
    let mut answer = many[0].clone();
    assert_eq!(answer.as_object_mut().unwrap().remove("line"), Some(Value::from(1)));
    assert_eq!(answer, one[0]);
    assert_eq!(answer["class"], "throttled");
    assert_eq!(answer["retry_sensible"], "yes");
    assert!(answer["next_at"].as_str().unwrap().parse::<Timestamp>().is_ok());
    let rules = answer["rules"].as_array().unwrap();
    assert_eq!(rules.len(), example().rules.len());
    for rule in rules {
        assert!(rule["name"].is_string() && rule["verdict"].is_string(), "{rule}");
        assert!(rule["gates"].is_array(), "{rule}");
        for predicate in rule["predicates"].as_array().unwrap() {
            for key in ["key", "expected", "actual"] {
                assert!(predicate[key].is_string(), "{predicate}");
            }
            assert!(predicate["held"].is_boolean(), "{predicate}");
        }
    }
}

#[test]
fn odd_lines_are_answered_one_by_one() {
    let huge = format!(r#"{{"error":"{}"}}"#, "x".repeat(1_000_000));
    let deep = r#"{"a":"#.repeat(400);
    // Each with the class it gets, or how its problem begins.
    let lines: &[(&str, Result<Option<&str>, &str>)] = &[
        ("{}", Ok(Some("unknown"))),
        (r#"{"error":null,"kind":null,"state":null,"role":null}"#, Ok(Some("unknown"))),
        (r#"{"kind":"","state":"","error":"EOF"}"#, Ok(Some("network"))),
        ("{\"error\":\"EOF\"}\r", Ok(Some("network"))),
        ("  {\"error\":\"EOF\"}  ", Ok(Some("network"))),
        (r#"{"state":7,"error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"state":"7","error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"state":7.0,"error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"state":"Failed","error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"state":2}"#, Ok(None)),
        (r#"{"state":99}"#, Ok(None)),
        (r#"{"state":"failedd"}"#, Err("state cannot be `failedd`")),
        (r#"{"state":false,"error":"x"}"#, Err("state takes text, not `false`")),
        (r#"{"kind":"another_kind","error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"kind":["copy"]}"#, Err("kind takes text, not")),
        (r#"{"note":1,"date":2,"errno":3,"file":4,"start":5,"error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"errors":[],"error":"EOF"}"#, Ok(Some("network"))),
        (r#"{"erorr":"EOF"}"#, Err("a task has no field `erorr`; did you mean `error`?")),
        (r#"{"error":{"code":"itemNotFound"}}"#, Ok(Some("not_found"))),
        (r#"{"progress":"50%","size":1000.0,"role":["admin",0]}"#, Ok(Some("unknown"))),
        (r#"{"progress":"NaN"}"#, Err("progress takes a number")),
        (r#"{"size":-1}"#, Err("size: ")),
        (r#"{"age":60}"#, Err("age: the unit is missing")),
        (r#"{"role":["boss"]}"#, Err("role cannot be `boss`")),
        (r#"{"end_time":"0001-01-01T00:00:00Z"}"#, Ok(Some("unknown"))),
        (r#"{"end_time":"noon"}"#, Err("end_time takes a moment")),
        (r#"{"error":"x"} and more"#, Err("begins like a JSON object")),
        ("[1, 2]", Ok(Some("unknown"))),
        ("null", Ok(Some("unknown"))),
        ("\u{fffd}\u{0}", Ok(Some("unknown"))),
        (&huge, Ok(Some("unknown"))),
        (&deep, Err("begins like a JSON object")),
    ];
    let input: String = lines.iter().map(|(line, _)| format!("{line}\n\n")).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args = ["-c", "rules.example.yaml", "match", "-", "--format", "json", "--now", NOW];
    let output = start(root, &args, &input);
    let answers = json(&output.stdout);
    assert_eq!((output.status.code(), answers.len()), (Some(1), lines.len()));
    for (at, ((line, wanted), answer)) in lines.iter().zip(&answers).enumerate() {
        assert_eq!(answer["line"], 2 * at + 1);
        for key in ["class", "retry_sensible", "next_at", "rules", "verdict", "rule"] {
            assert!(answer.get(key).is_some(), "{key} {answer}");
        }
        match wanted {
            Ok(class) => {
                let shown = &line[..line.len().min(99)];
                assert_eq!(answer["class"].as_str(), *class, "{shown}");
            }
            Err(problem) => {
                assert!(answer["problem"].as_str().unwrap().starts_with(problem), "{answer}");
            }
        }
    }
    // One object over several lines is one task.
    let output = start(root, &args, "{\n  \"error\": \"EOF\"\n}\n");
    assert_eq!(json(&output.stdout)[0]["class"], "network");
}

fn example() -> RuleSet {
    let text = fs::read_to_string("rules.example.yaml").unwrap();
    RuleSet::clone(&load(Source::new("rules.example.yaml", &text)).config.unwrap().rules)
}

prop_compose! {
    fn described_task()(
        kind in prop::sample::select(Kind::KNOWN.to_vec()),
        state in prop::sample::select(State::KNOWN.to_vec()),
        error in prop::sample::select(vec![
            "", "too many requests", "i/o timeout", "object not found", "context canceled",
            "502 bad gateway", "something else", "no space left on device",
        ]),
        flavour in prop::sample::select(vec![Flavour::AList, Flavour::OpenList, Flavour::Unknown]),
        age in prop::option::of(0_u64..1_000_000), stalled in prop::option::of(0_u64..4000),
        attempts in 0_u32..10, name in "[a-z]{3}",
    ) -> Described {
        Described {
            flavour,
            name: format!("copy [/src](/{name}) to [/dst](/)"),
            error: error.to_owned(),
            age: age.map(Duration::from_secs),
            stalled_for: stalled.map(Duration::from_secs),
            attempts,
            ..Described::new("home".into(), kind, state)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What `explain` tells is what `decide` does, now and at the moment it foretells.
    #[test]
    fn explain_agrees_with_decide(
        task in described_task(),
        modes in prop::collection::vec(0_u8..4, 7),
        hours in 0_i64..48,
    ) {
        let mut rules = example();
        for (rule, mode) in rules.rules.iter_mut().zip(modes) {
            rule.mode = [Mode::Live, Mode::Live, Mode::DryRun, Mode::Off][usize::from(mode)];
        }
        let now: Timestamp = NOW.parse().unwrap();
        let now = now + jiff::SignedDuration::from_hours(hours);
        let snapshot = task.snapshot(now);
        let mut memory = task.memory(&rules, &snapshot, now);
        let tick = Tick { now, seed: 0 };
        let decision = decide(&rules, &memory, &snapshot, tick);
        let (same, trace) = examine(&rules, &memory, &snapshot, tick, &task.kind, &task.id);
        prop_assert_eq!(format!("{decision:?}"), format!("{same:?}"));
        let trace = trace.unwrap();
        for rule in &trace.rules {
            let acts = decision.actions.iter().any(|planned| planned.rule == rule.name);
            let waits = decision.waiting.iter().any(|waiting| waiting.rule == rule.name);
            let told = match &rule.look {
                Look::Acts => (true, false),
                Look::Waits => (false, true),
                // What `on_give_up` leaves to do may act or wait.
                Look::LetGo { .. } => continue,
                _ => (false, false),
            };
            prop_assert_eq!(told, (acts, waits), "{}", rule.name);
        }

        let explained = described(&rules, &task, now).unwrap();
        let Some(next) = explained.next else {
            prop_assert!(decision.actions.iter().all(|planned| planned.action == Action::Notify));
            return Ok(());
        };
        memory.absorb(decision.memory.clone());
        let at_next = if next.at == now {
            decision
        } else {
            prop_assert!(decision.give_ups.is_empty());
            // A notify that was told of at once is foretold only when nothing else comes.
            prop_assert!(decision.actions.iter().all(|planned| planned.action == Action::Notify));
            decide(&rules, &memory, &snapshot, Tick { now: next.at, seed: 0 })
        };
        let happens = match next.action {
            Some(action) => at_next
                .actions
                .iter()
                .any(|planned| planned.rule == next.rule && planned.action == action),
            None => at_next.give_ups.iter().any(|give_up| give_up.rule == next.rule),
        };
        prop_assert!(happens, "{next:?} {at_next:?}");
        // And nothing comes before it: half way there nothing but a notify is done.
        let half = now + (next.at.duration_since(now) / 2);
        if half > now && next.action != Some(Action::Notify) {
            let half = decide(&rules, &memory, &snapshot, Tick { now: half, seed: 0 });
            prop_assert!(half.actions.iter().all(|planned| planned.action == Action::Notify));
        }
    }
}

const RULES: &str = r"
rules:
  - name: flaky
    match: { kind: copy, state: failed, error: flaky }
    action: retry_some
    max_attempts: 3
    backoff: { initial: 1m, jitter: 0 }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_live_server_and_one_of_an_audit_row() {
    let turned = Turned::new();
    let sandbox = sandbox(Settings::new(Product::OpenList), &turned).await;
    let (id, other) = sandbox.with_model(|model| {
        let task = |name: &str| TaskScript::new("copy", name);
        let state = taskwarden::sandbox::State::Failed;
        let id = model.add_finished(task("copy [/a](/1) to [/b](/)"), state, "a flaky thing");
        let other = model.add_finished(task("copy [/a](/2) to [/b](/)"), state, "another thing");
        (id, other)
    });
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(
        folder.path().join("rules.yaml"),
        format!(
            "version: 1\nservers:\n  - name: home\n    url: {}\n    token: {}\n{RULES}",
            sandbox.url(),
            sandbox.token()
        ),
    )
    .unwrap();
    let told = Told::default();
    let daemon = daemon(config(&sandbox, "", RULES), &state, &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let mut ticks = 0;
    drive(&mut watch, &turned, Duration::from_secs(30), 20, |_| {
        ticks += 1;
        ticks == 6
    })
    .await;
    drop((watch, daemon));

    let run = |args: Vec<String>| {
        let folder = folder.path().to_owned();
        async move {
            tokio::task::spawn_blocking(move || {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let state = folder.join("state");
                let all = ["-c", "rules.yaml", "--state-dir", state.to_str().unwrap()];
                start(&folder, &[&all[..], &args].concat(), "")
            })
            .await
            .unwrap()
        }
    };
    let args = |list: &[&str]| list.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();

    let output = run(args(&["explain", &other, "--format", "json"])).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let explained = json(&output.stdout).remove(0);
    assert_eq!(explained["id"], other.as_str());
    assert_eq!(explained["verdict"], "no_match");
    assert_eq!(explained["rules"][0]["predicates"][2]["held"], false);
    assert_eq!(explained["next_at"], Value::Null);

    let output = run(args(&["explain", "--audit", "1", "--format", "json"])).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let explained = json(&output.stdout).remove(0);
    assert_eq!(explained["id"], id.as_str());

    let output = run(args(&["explain", "nobody"])).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = run(args(&["explain", "--audit", "999"])).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");

    sandbox.with_model(|model| model.delete(&id));
    let output = run(args(&["explain", "--audit", "1"])).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("flaky (retry_some): has it"), "{text}");

    sandbox.go_away().await;
    let output = run(args(&["explain", &other])).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// The commands of a page of the documentation, with what the page says they print.
#[test]
fn the_examples_of_the_documentation_print_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("docs/explain.md");
    let mut text = fs::read_to_string(&page).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_taskwarden")).parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let examples: Vec<(String, String)> = text
        .split("```console\n$ ")
        .skip(1)
        .map(|example| example.split("```").next().unwrap().split_once('\n').unwrap())
        .map(|(command, output)| (command.to_owned(), output.to_owned()))
        .collect();
    assert_eq!(examples.len(), 3);
    for (command, output) in &examples {
        let ran = Command::new("sh")
            .args(["-c", command])
            .current_dir(root)
            .env("PATH", format!("{}:{path}", binary.display()))
            .env("TASKWARDEN_CONFIG", "rules.example.yaml")
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let now = String::from_utf8(ran.stdout).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            text = text.replace(&format!("{command}\n{output}"), &format!("{command}\n{now}"));
        } else {
            assert_eq!(*output, now, "{command}; UPDATE_DOCS=1 writes the page anew");
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, text).unwrap();
    }
}

#[test]
fn a_mistyped_field_is_a_problem_and_a_drives_answer_is_an_error_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let input = "{\"kind\":\"copy\",\"erorr\":\"too many requests\"}\n\
                 {\"erorr\":\"x\"}\n\
                 {\"time\":\"2026-01-01T00:00:00Z\",\"rule\":\"r\",\"kind\":\"copy\",\"error\":\"EOF\"}\n\
                 {\"code\":500,\"message\":\"boom\"}\n";
    let args = ["match", "-c", "rules.example.yaml", "--format", "json", "-"];
    let out = start(folder, &args, input);
    let lines = json(&out.stdout);
    assert_eq!(out.status.code(), Some(1));
    for line in &lines[..2] {
        let problem = line["problem"].as_str().unwrap();
        assert_eq!(problem, "a task has no field `erorr`; did you mean `error`?");
    }
    assert_eq!(lines[2]["error"], "EOF");
    assert_eq!(lines[3]["error"], "{\"code\":500,\"message\":\"boom\"}");
}
