//! Whoever may upload names the tasks: what such a name holds is shown, and does nothing to the
//! terminal it is shown on, in every command that prints one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::time::Duration;

use common::process::{Home, real_time, report};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, TaskScript};

const MOMENT: Duration = Duration::from_millis(50);
const KIND: &str = "copy";

/// What stands in names, mounts and errors. Each has a word by which it is found again.
fn texts() -> Vec<String> {
    [
        "script <script>alert(1)</script>",
        "colour \u{1b}[31mred\u{1b}[0m",
        "title \u{1b}]0;owned\u{7}",
        "clear \u{1b}[2J\u{1b}[H",
        "csi \u{9b}31m",
        "nul \0 end",
        "lines one\r\ntwo\nthree\u{2028}four",
        "back \u{8}\u{8}\u{8}\u{7f}",
        "turned \u{202e}gpj.exe\u{2066}\u{200f}",
        "quoted \"'`$(reboot) %s {0}",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("long {}", "x".repeat(10_000))])
    .collect()
}

fn names() -> Vec<String> {
    let name = |text: &String| format!("copy [/src {text}](/{text}.bin) to [/dst {text}](/{text})");
    texts().iter().map(name).collect()
}

/// A task of each name, which always fails with such an error.
fn fill(sandbox: &Sandbox) -> Vec<String> {
    let add = |(text, name): (&String, String)| {
        let error = format!("no idea about {text}");
        let script = TaskScript::new(KIND, name).by(text).fails(9, MOMENT, &error);
        sandbox.with_model(|model| model.add(script))
    };
    texts().iter().zip(names()).map(add).collect()
}

const RULES: &str = "
rules:
  - name: once
    match: { kind: copy, state: failed }
    action: retry_some
    backoff: { initial: 1s, factor: 1, jitter: 0 }
    limits: none
    breaker: off
    max_attempts: 1
  - name: waits
    match: { kind: copy, state: failed }
    action: retry_some
    backoff: { initial: 1h }
    max_attempts: 9
";

#[track_caller]
fn assert_inert(what: &str, text: &str) {
    for line in text.split('\n') {
        let bad = |c: &char| {
            c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{061c}')
                || ('\u{202a}'..='\u{202e}').contains(c)
                || ('\u{2066}'..='\u{2069}').contains(c)
        };
        if let Some(c) = line.chars().find(bad) {
            panic!("{what} prints {c:?}: {line:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_do_nothing_to_the_terminal() {
    let sandbox = real_time(Settings::new(Flavour::OpenList).pool(KIND, 50, 0)).await;
    let ids = fill(&sandbox);
    let home = Home::on(&sandbox, RULES);
    let daemon = home.daemon(&["run", "-v"]);
    let dead = || home.audit().iter().filter(|row| row.action == "give_up").count();
    daemon.until("all are given up", || dead() == ids.len()).await;
    let status = home.taskwarden(&["status"]).output().unwrap();
    let log = daemon.terminate().await;
    assert_inert("the log", &log);
    assert!(log.contains("script <script>"), "{log}");
    assert_inert("status", &String::from_utf8(status.stdout).unwrap());

    let lines = report(&sandbox).tasks.into_iter().map(|task| {
        serde_json::json!({ "id": task.id, "name": task.name, "error": task.name }).to_string()
    });
    let lines: Vec<String> = lines.chain(texts()).collect();
    std::fs::write(home.file("lines.json"), lines.join("\n")).unwrap();
    let all = ids.iter().flat_map(|id| {
        [vec!["explain", id.as_str()], vec!["history", "--task", id], vec!["audit", "--task", id]]
    });
    let commands = [
        vec!["plan"],
        vec!["history"],
        vec!["audit"],
        vec!["dead", "list"],
        vec!["report"],
        vec!["backtest", "--rules", "rules.yaml"],
        vec!["backtest", "--rules", "other.yaml"],
        vec!["doctor"],
        vec!["match", "lines.json"],
        vec!["match", "lines.json", "--explain"],
        vec!["explain", "--kind", "copy", "--state", "failed", "--name", "a\u{1b}[31m\u{202e}b"],
        vec!["run", "--once"],
        vec!["dead", "drop", "--all"],
    ];
    let other =
        std::fs::read_to_string(home.rules()).unwrap().replace("initial: 1s", "initial: 2s");
    std::fs::write(home.file("other.yaml"), other).unwrap();
    let mut shown = 0;
    for args in commands.into_iter().chain(all) {
        let ended = home.taskwarden(&args).output().unwrap();
        let (printed, said) =
            (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
        let what = args.join(" ");
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{what}: {:?} {said}", ended.status);
        assert_inert(&what, &printed);
        assert_inert(&what, &said);
        shown += usize::from(printed.contains("colour") || printed.contains("script <script>"));
    }
    assert!(shown >= 6, "{shown} commands show names");
}

/// What JSON a command prints is valid and says what the server said, and its text is inert.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_told_in_json_whole_and_harmless() {
    let sandbox = real_time(Settings::new(Flavour::OpenList).pool(KIND, 50, 0)).await;
    let ids = fill(&sandbox);
    let home = Home::on(&sandbox, RULES);
    let daemon = home.daemon(&["run", "--log-format", "json"]);
    let dead = || home.audit().iter().filter(|row| row.action == "give_up").count();
    daemon.until("all are given up", || dead() == ids.len()).await;
    let status = home.taskwarden(&["status", "--format", "json"]).output().unwrap();
    let log = daemon.terminate().await;
    let lines = report(&sandbox).tasks.into_iter().map(|task| {
        serde_json::json!({ "id": task.id, "name": task.name, "error": task.name }).to_string()
    });
    let lines: Vec<String> = lines.collect();
    std::fs::write(home.file("lines.json"), lines.join("\n")).unwrap();
    let other =
        std::fs::read_to_string(home.rules()).unwrap().replace("initial: 1s", "initial: 2s");
    std::fs::write(home.file("other.yaml"), other).unwrap();
    let mut told = vec![
        ("the log".to_owned(), log),
        ("status".to_owned(), String::from_utf8(status.stdout).unwrap()),
    ];
    let commands = [
        vec!["plan"],
        vec!["history"],
        vec!["audit"],
        vec!["dead", "list"],
        vec!["report"],
        vec!["backtest", "--rules", "other.yaml"],
        vec!["doctor"],
        vec!["match", "lines.json"],
        vec!["explain", &ids[4]],
        vec!["dead", "drop", "--all"],
    ];
    for mut args in commands {
        args.extend(["--format", "json"]);
        let ended = home.taskwarden(&args).output().unwrap();
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{args:?}: {:?}", ended.status);
        told.push((args.join(" "), String::from_utf8(ended.stdout).unwrap()));
    }
    let names = names();
    let mut whole = 0;
    for (what, text) in told {
        assert_inert(&what, &text);
        let values = serde_json::Deserializer::from_str(&text).into_iter();
        let values: Result<Vec<serde_json::Value>, _> = values.collect();
        let values = values.unwrap_or_else(|error| {
            panic!("{what}: {error}: {}", text.chars().take(300).collect::<String>())
        });
        assert!(!values.is_empty(), "{what}");
        let mut texts = Vec::new();
        for value in &values {
            gather(value, &mut texts);
        }
        whole += usize::from(names.iter().all(|name| texts.contains(&name.as_str())));
    }
    assert!(whole >= 6, "{whole} outputs have every name whole");
}

/// All texts that stand in a value.
fn gather<'v>(value: &'v serde_json::Value, texts: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::String(text) => texts.push(text),
        serde_json::Value::Array(all) => all.iter().for_each(|value| gather(value, texts)),
        serde_json::Value::Object(all) => all.values().for_each(|value| gather(value, texts)),
        _ => {}
    }
}
