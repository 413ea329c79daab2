//! The command line as a user or a script meets it: help, exit codes, files, streams.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::format_push_string,
    reason = "tests may unwrap"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::process::{Home, Ran, acted, real_time, report, run, servers};
use jiff::Timestamp;
use serde_json::Value;
use taskwarden::engine::audit::{AuditRow, Outcome};
use taskwarden::engine::class::Class;
use taskwarden::engine::rule::Mode;
use taskwarden::sandbox::scenario::{DEMO_PASSWORD, DEMO_SIGNATURE};
use taskwarden::sandbox::{Flavour, Sandbox, Settings, State, TaskScript};
use taskwarden::store::{Store, WriteBatch};

const RETRY: &str = "
rules:
  - name: retry
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 5
    backoff: { initial: 1s, factor: 1, jitter: 0 }
";

const BROKEN: &str = "version: 1\nservers: []\nrules:\n  - name: x\n    acton: notify\n";

async fn sandbox() -> Sandbox {
    real_time(Settings::new(Flavour::OpenList).pool("offline_download", 20, 0)).await
}

fn failed(sandbox: &Sandbox, file: &str) -> String {
    let name = format!("download http://h.example/{file} to (/d)");
    let script = TaskScript::new("offline_download", name).succeeds(Duration::from_millis(50));
    sandbox.with_model(|model| model.add_finished(script, State::Failed, "unexpected EOF"))
}

#[track_caller]
fn ends(ran: &Ran, code: i32, said: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:#?}");
    for what in said {
        assert!(ran.err.contains(what), "{what:?} is not in {ran:#?}");
    }
    assert!(!ran.err.contains("panicked"), "{ran:#?}");
}

#[test]
fn the_help_says_what_there_is() {
    let home = Home::new();
    let help = |args: &[&str]| {
        let ran = run(home.taskwarden(args));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        ran.out
    };
    insta::assert_snapshot!("help", help(&["--help"]));
    for command in [
        "run",
        "demo",
        "check",
        "test",
        "plan",
        "explain",
        "match",
        "audit",
        "backup",
        "history",
        "report",
        "backtest",
        "dead",
        "pause",
        "reload",
        "notify",
        "resume",
        "status",
        "self-test",
        "schema",
        "completions",
        "man",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), help(&[command, "--help"]));
    }
    assert!(help(&["--version"]).starts_with("taskwarden "));
}

#[test]
fn wrong_usage_ends_with_2() {
    let home = Home::new();
    home.write_rules(
        "version: 1\nservers: [{name: home, url: 'http://127.0.0.1:1', token: {env: T}}]\n",
    );
    for args in [
        &["run", "--onec"][..],
        &["no-such-command"],
        &[],
        &["plan", "--format", "xml"],
        &["plan", "--quiet", "--verbose"],
        &["check", "--deny", "everything"],
        &["audit", "--outcome", "perhaps"],
        &["audit", "--limit", "-1"],
    ] {
        let ran = run(home.taskwarden(args));
        ends(&ran, 2, &["--help"]);
        assert_eq!(ran.out, "");
    }
    ends(&run(home.taskwarden(&["audit", "--since", "soon"])), 2, &["`soon` is no moment"]);
    ends(&run(home.taskwarden(&["audit", "--format", "sarif"])), 2, &["for `check`"]);
    let ran = run(home.taskwarden(&["plan", "--server", "nas"]));
    ends(&ran, 2, &["the rules file names no server `nas`"]);
}

#[test]
fn a_rules_file_that_cannot_be_used_ends_a_check_with_1_and_the_rest_with_78() {
    let home = Home::new();
    for args in [&["run"][..], &["run", "--once"], &["plan"]] {
        ends(&run(home.taskwarden(args)), 78, &["no rules file found", "`rules.yaml`", "--config"]);
    }
    ends(&run(home.taskwarden(&["check"])), 1, &["no rules file found"]);
    let ran = run(home.taskwarden(&["check", "gone.yaml"]));
    ends(&ran, 1, &["1 error"]);
    assert!(ran.out.contains("error[unreadable-file]: `gone.yaml` cannot be read: No such file"));
    ends(&run(home.taskwarden(&["run", "-c", "gone.yaml"])), 78, &["`gone.yaml` cannot be read"]);

    home.write_rules(BROKEN);
    for args in [&["run"][..], &["plan"], &["demo", "-c", "rules.yaml"]] {
        ends(&run(home.taskwarden(args)), 78, &["rules.yaml", "acton", "error: `rules.yaml`"]);
    }
    let ran = run(home.taskwarden(&["check"]));
    ends(&ran, 1, &[" error"]);
    assert!(ran.out.contains("acton"), "{ran:#?}");

    home.write_rules("version: 1\nservers: []\nrules: []\n");
    ends(&run(home.taskwarden(&["run"])), 78, &["names no server"]);
    ends(&run(home.taskwarden(&["plan"])), 2, &["names no server"]);

    home.write_rules(
        "version: 1\nservers: [{name: home, url: 'http://127.0.0.1:1', token: {env: T}, \
         ca_file: gone.pem}]\nrules: []\n",
    );
    ends(&run(home.taskwarden(&["run"])), 78, &["server `home`", "variable T is not set"]);
    let mut command = home.taskwarden(&["run"]);
    command.env("T", "token");
    ends(&run(command), 78, &["server `home`", "gone.pem"]);
}

#[test]
fn the_rules_file_is_looked_for_in_order() {
    let home = Home::new();
    let place = |path: &str| {
        let path = home.file(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, BROKEN).unwrap();
        path
    };
    // From the last place to the first: each goes before those that are there already.
    let checked = |config: Option<&Path>, env: Option<&Path>| {
        let mut command = home.bare(&["check"]);
        command.env("XDG_CONFIG_HOME", home.file("xdg"));
        config.map(|config| command.arg("--config").arg(config));
        env.map(|env| command.env("TASKWARDEN_CONFIG", env));
        run(command).out
    };
    let mut in_home = home.bare(&["check"]);
    // A relative one has no meaning.
    in_home.env("XDG_CONFIG_HOME", "xdg");
    place("xdg/taskwarden/rules.yaml");
    let below_home = place(".config/taskwarden/rules.yaml");
    assert!(run(in_home).out.contains(&below_home.display().to_string()));
    let xdg = home.file("xdg/taskwarden/rules.yaml");
    assert!(checked(None, None).contains(&xdg.display().to_string()));
    place("rules.yaml");
    let out = checked(None, None);
    assert!(out.contains("rules.yaml") && !out.contains("xdg"), "{out}");
    let named = place("named.yaml");
    assert!(checked(None, Some(&named)).contains("named.yaml"));
    assert!(checked(None, Some(Path::new(""))).contains("rules.yaml"));
    let given = place("given.yaml");
    assert!(checked(Some(&given), Some(&named)).contains("given.yaml"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_folder_is_looked_for_in_order() {
    let sandbox = sandbox().await;
    let home = Home::on(&sandbox, RETRY);
    let lands_in = |folder: &str, args: &[&str], env: &[(&str, &str)]| {
        let mut command = home.bare(&["run", "--once", "-q"]);
        command.args(args).envs(env.iter().map(|(name, value)| {
            let value = value.split(':').map(|dir| home.file(dir).display().to_string());
            (*name, value.collect::<Vec<_>>().join(":"))
        }));
        let database = home.file(folder).join("taskwarden.db");
        assert!(!database.exists());
        ends(&run(command), 0, &[]);
        assert!(database.exists(), "{folder}");
    };
    lands_in(".local/state/taskwarden", &[], &[]);
    lands_in("xdg/taskwarden", &[], &[("XDG_STATE_HOME", "xdg")]);
    let (xdg, system) = (("XDG_STATE_HOME", "xdg"), ("STATE_DIRECTORY", "first:second"));
    lands_in("first", &[], &[xdg, system]);
    lands_in("given", &["--state-dir", "given"], &[xdg, system]);
    let mut homeless = home.bare(&["run", "--once"]);
    homeless.env_remove("HOME");
    ends(&run(homeless), 78, &["--state-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_refuses_ends_with_3_and_the_others_are_served() {
    let (fine, dead) = (sandbox().await, sandbox().await);
    let task = failed(&fine, "f");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    dead.go_away().await;
    let home = Home::new();
    let both = servers(&[("dead", &dead), ("fine", &fine)]);
    home.write_rules(&format!("{both}{RETRY}"));
    let ran = run(home.taskwarden(&["plan", "--format", "json"]));
    ends(&ran, 3, &["dead"]);
    assert!(ran.out.lines().count() == 1 && ran.out.contains(&task), "{ran:#?}");
    ends(&run(home.taskwarden(&["plan", "--server", "fine"])), 0, &[]);
    assert_eq!(acted(&fine), 0);
    ends(&run(home.taskwarden(&["run", "--once", "--dry-run"])), 3, &["would retry_some"]);
    assert_eq!(acted(&fine), 0);
    let ran = run(home.taskwarden(&["run", "--once"]));
    ends(&ran, 3, &["dead: ", "fine: retry_some", "accepted"]);
    assert_eq!(ran.out, "");
    assert_eq!(acted(&fine), 1);

    let refused = servers(&[("home", &fine)]);
    home.write_rules(&format!("{refused}{RETRY}"));
    for args in [&["run", "--once"][..], &["plan"]] {
        let mut command = home.taskwarden(args);
        command.env("SANDBOX_TOKEN_OPENLIST", "wrong-token-value");
        let ran = run(command);
        ends(&ran, 3, &["home", "token"]);
        assert!(!ran.err.contains("wrong-token-value"), "{ran:#?}");
        let mut command = home.taskwarden(args);
        command.env_remove("SANDBOX_TOKEN_OPENLIST");
        ends(&run(command), 78, &["SANDBOX_TOKEN_OPENLIST"]);
    }
    assert_eq!(report(&fine).violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_in_use_ends_with_78_and_names_the_process() {
    let sandbox = sandbox().await;
    let home = Home::on(&sandbox, RETRY);
    let mut daemon = home.daemon(&["run"]);
    daemon.says("home: reached").await;
    let pid = format!("(process {})", daemon.id());
    for args in [&["run"][..], &["run", "--once"], &["run", "--dry-run"]] {
        ends(&run(home.taskwarden(args)), 78, &["another taskwarden", &pid, "--state-dir"]);
    }
    // Looking is fine.
    ends(&run(home.taskwarden(&["plan"])), 0, &[]);
    ends(&run(home.taskwarden(&["audit"])), 0, &[]);
    assert!(daemon.is_running());
    daemon.terminate().await;
    ends(&run(home.taskwarden(&["run", "--once"])), 0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_ends_with_78_and_nothing_is_sent() {
    let sandbox = sandbox().await;
    failed(&sandbox, "f");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = |spoil: &dyn Fn(&Path) -> Option<rusqlite::Connection>, said: &str| {
        let home = Home::on(&sandbox, &RETRY.replace("initial: 1s", "initial: 1h"));
        ends(&run(home.taskwarden(&["run", "--once"])), 0, &[]);
        home.write_rules(&format!("{}{RETRY}", servers(&[("home", &sandbox)])));
        let held = spoil(&home.state().join("taskwarden.db"));
        for args in [&["run"][..], &["run", "--once"]] {
            ends(&run(home.taskwarden(args)), 78, &[said]);
        }
        held
    };
    let open = |path: &Path| rusqlite::Connection::open(path).unwrap();
    let corrupt = |path: &Path| {
        std::fs::write(path, [0x5a; 8192]).unwrap();
        None
    };
    refused(&corrupt, "is damaged or no database");
    let newer = |path: &Path| {
        open(path).pragma_update(None, "user_version", 99).unwrap();
        None
    };
    refused(&newer, "has layout 99");
    let foreign = |path: &Path| {
        open(path).pragma_update(None, "application_id", 7).unwrap();
        None
    };
    refused(&foreign, "of another program");
    let locked = |path: &Path| {
        let other = open(path);
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        Some(other)
    };
    drop(refused(&locked, "another program holds the database"));
    let unreadable = |path: &Path| {
        open(path).execute("UPDATE task SET json = '{'", ()).unwrap();
        None
    };
    refused(&unreadable, "of table `task`");
    let home = Home::on(&sandbox, RETRY);
    std::fs::write(home.state(), "a file").unwrap();
    ends(&run(home.taskwarden(&["run"])), 78, &["state"]);
    ends(&run(home.taskwarden(&["run", "--state-dir", "/proc/nowhere"])), 78, &["/proc/nowhere"]);
    assert_eq!(acted(&sandbox), 0);
}

/// The fields of a line of `audit --format json`, in their order.
const AUDIT_FIELDS: [&str; 16] = [
    "id",
    "time",
    "server",
    "rule",
    "action",
    "kind",
    "task_id",
    "task_name",
    "attempt",
    "reason",
    "error",
    "class",
    "mode",
    "outcome",
    "detail",
    "rules_revision",
];

const PLAN_FIELDS: [&str; 14] = [
    "server",
    "rule",
    "action",
    "mode",
    "kind",
    "task_id",
    "task_name",
    "attempt",
    "error",
    "class",
    "when",
    "due",
    "reason",
    "gate",
];

#[track_caller]
fn objects(out: &str, fields: &[&str]) -> Vec<Value> {
    let read = |line| {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), fields, "{line}");
        value
    };
    out.lines().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_to_standard_output_and_talk_to_standard_error() {
    let sandbox = sandbox().await;
    let due = failed(&sandbox, "due");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let waits = TaskScript::new("copy", "copy [/a](/x) to [/b](/)");
    let waits = sandbox.with_model(|model| model.add_finished(waits, State::Failed, "no"));
    let rules = format!(
        "{RETRY}
  - name: patient
    match: {{ kind: copy, state: failed }}
    action: retry_some
    max_attempts: 5
    backoff: {{ initial: 1h, factor: 1, jitter: 0 }}
"
    );
    let home = Home::on(&sandbox, &rules);

    let human = run(home.taskwarden(&["plan"]));
    ends(&human, 0, &["no daemon has run with this state folder"]);
    for text in ["home (OpenList): 2 tasks in 7 kinds", "would do now:", "waits:", &due, &waits] {
        assert!(human.out.contains(text), "{text:?} is not in {}", human.out);
    }
    let ran = run(home.taskwarden(&["plan", "--format", "json"]));
    let lines = objects(&ran.out, &PLAN_FIELDS);
    assert_eq!(lines.len(), 2);
    let (now, later) = (&lines[0], &lines[1]);
    assert_eq!(
        (&now["when"], &now["task_id"], &now["attempt"]),
        (&"now".into(), &due.into(), &1.into())
    );
    assert_eq!((&later["when"], &later["rule"]), (&"later".into(), &"patient".into()));
    let due_at: Timestamp = later["due"].as_str().unwrap().parse().unwrap();
    let now_at: Timestamp = now["due"].as_str().unwrap().parse().unwrap();
    assert!(due_at.duration_since(now_at).as_mins() >= 59);

    let ran = run(home.taskwarden(&["run", "--once"]));
    ends(&ran, 0, &["home: retry_some"]);
    assert_eq!(ran.out, "");
    let ran = run(home.taskwarden(&["run", "--once", "-q"]));
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""));

    let ran = run(home.taskwarden(&["audit", "--format", "json"]));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let rows = objects(&ran.out, &AUDIT_FIELDS);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["mode"], "live");
    assert!(rows[0]["time"].as_str().unwrap().ends_with('Z'));

    let ran = run(home.taskwarden(&["check", "-q"]));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    ends(&run(home.taskwarden(&["check"])), 0, &["1 file: 0 errors, 0 warnings"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn colour_is_used_when_it_is_wanted() {
    let sandbox = sandbox().await;
    let home = Home::on(&sandbox, RETRY);
    let coloured = |args: &[&str], no_color: &str| {
        let mut command = home.taskwarden(&["run", "--once"]);
        command.args(args).env("NO_COLOR", no_color);
        run(command).err.contains('\x1b')
    };
    assert!(!coloured(&[], ""), "into a pipe");
    assert!(coloured(&["--color", "always"], ""));
    assert!(coloured(&["--color", "always"], "1"), "what is asked for in so many words goes first");
    assert!(!coloured(&["--color", "never"], ""));
}

fn row(id: i64, change: impl FnOnce(&mut AuditRow)) -> AuditRow {
    let mut row = AuditRow {
        id: taskwarden::engine::audit::IntentId(id),
        time: Timestamp::from_second(1_790_000_000 + 3600 * id).unwrap(),
        server: "home".into(),
        rule: Some("retry".into()),
        action: "retry_some".to_owned(),
        kind: Some("copy".into()),
        task_id: Some(format!("task-{id}").as_str().into()),
        task_name: Some("copy [/a](/\u{1b}[31mred) to [/b](/)".to_owned()),
        attempt: Some(1),
        reason: "because".to_owned(),
        error: Some("unexpected EOF".to_owned()),
        class: Some(Class::Canceled),
        mode: Mode::Live,
        outcome: Outcome::Effective,
        detail: String::new(),
        rules_revision: "r1".to_owned(),
    };
    change(&mut row);
    row
}

async fn store_rows(home: &Home, rows: Vec<AuditRow>) {
    let store = Store::open(&home.state()).unwrap();
    let mut batch = WriteBatch::new("home".into());
    batch.new_rows = rows;
    store.write(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_shows_the_rows_that_are_asked_for() {
    let home = Home::new();
    ends(&run(home.taskwarden(&["audit"])), 78, &["no daemon has run with this state folder"]);
    let rows = vec![
        row(1, |_| {}),
        row(2, |row| row.server = "nas".into()),
        row(3, |row| row.rule = Some("other rule".into())),
        row(4, |row| row.action = "cancel_some".to_owned()),
        row(5, |row| row.kind = Some("upload".into())),
        row(6, |row| row.outcome = Outcome::Unknown),
        row(7, |row| row.outcome = Outcome::Rejected),
    ];
    store_rows(&home, rows).await;
    let shown = |args: &[&str]| {
        let mut command = home.taskwarden(&["audit", "--format", "json"]);
        command.args(args);
        let ran = run(command);
        ends(&ran, 0, &[]);
        let ids = objects(&ran.out, &AUDIT_FIELDS);
        ids.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(shown(&["--server", "nas"]), [2]);
    assert_eq!(shown(&["--rule", "other rule"]), [3]);
    assert_eq!(shown(&["--action", "cancel_some"]), [4]);
    assert_eq!(shown(&["--kind", "upload"]), [5]);
    assert_eq!(shown(&["--task", "task-6"]), [6]);
    assert_eq!(shown(&["--outcome", "unknown", "--outcome", "rejected"]), [6, 7]);
    assert_eq!(shown(&["-n", "2"]), [6, 7], "the last ones, in their order");
    let third = Timestamp::from_second(1_790_000_000 + 3600 * 3).unwrap().to_string();
    assert_eq!(shown(&["--since", &third]), [3, 4, 5, 6, 7]);
    assert_eq!(shown(&["--until", &third]), [1, 2]);
    assert_eq!(shown(&["--since", "2026-09-21", "--until", "2026-09-22", "-n", "1"]), [7]);
    assert_eq!(shown(&["--rule", "nobody"]), [0_i64; 0]);
    // What a task is called moves no cursor.
    let human = run(home.taskwarden(&["audit"])).out;
    assert!(!human.contains('\x1b'), "{human:?}");
    assert!(human.contains("rule `other rule`"), "{human}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_audit_quietly_and_a_full_disk_does_not() {
    let home = Home::new();
    store_rows(&home, (1..=3000).map(|id| row(id, |_| {})).collect()).await;
    let mut command = home.taskwarden(&["audit"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let ended = child.wait_with_output().unwrap();
    assert!(line.contains("retry_some"));
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let mut command = home.taskwarden(&["audit"]);
        let ended = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("standard output cannot be written"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_read_the_included_files_too() {
    let sandbox = sandbox().await;
    let name = "download http://h.example/f to (/d)";
    sandbox.with_model(|model| {
        let download = TaskScript::new("offline_download", name);
        let gone = "http status code 404";
        model.add(download.fails(9, Duration::ZERO, gone).succeeds(Duration::ZERO))
    });
    let home = Home::new();
    let main = format!("{}rule_files: rules.d/*.yaml\n", servers(&[("home", &sandbox)]));
    std::fs::create_dir_all(home.file("etc/rules.d")).unwrap();
    std::fs::write(home.file("etc/rules.yaml"), &main).unwrap();
    std::fs::write(home.file("etc/rules.d/2.yaml"), format!("version: 1{RETRY}")).unwrap();
    let first = "version: 1\nrules:\n  - { name: missing, match: { state: failed, error: '404' }, action: notify }\n";
    std::fs::write(home.file("etc/rules.d/1.yaml"), first).unwrap();
    let tests = "rules: rules.yaml\ntests:\n  - name: it is told\n    tasks:\n      - { id: f, kind: copy, \
                 name: 'copy [/a](/b) to [/c](/d)', state: failed, error: '404' }\n    expect:\n      \
                 - { task: f, taken_by: missing }\n";
    std::fs::write(home.file("etc/rules.test.yaml"), tests).unwrap();
    let config = ["-c", "etc/rules.yaml"];
    for (args, told) in [
        (&["check", "etc/rules.yaml"][..], "3 files: 0 errors, 0 warnings"),
        (&["test", "etc/rules.test.yaml"], "1 passed"),
        (&["plan"], "by rule `missing`"),
        (&["run", "--once", "--dry-run"], "rule `missing`"),
        (&["explain", "--kind", "copy", "--state", "failed", "--error", "404"], "missing"),
        (&["doctor"], "2 rules for 1 server"),
        (&["backtest", "--rules", "etc/rules.yaml"], "missing"),
    ] {
        let ran = run(home.taskwarden(&[args, &config].concat()));
        ends(&ran, 0, &[]);
        assert!(format!("{}{}", ran.out, ran.err).contains(told), "{args:?}: {ran:#?}");
    }
    // From standard input, paths begin at the working folder.
    let mut command = home.taskwarden(&["check", "-"]);
    let text = main.replace("rules.d/", "etc/rules.d/").replace("*.yaml", "[1-9].yaml");
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("3 files: 0 errors"), "{said}");
    std::fs::write(home.file("etc/rules.d/1.yaml"), first.replace("failed", "faild")).unwrap();
    let ran = run(home.taskwarden(&["check", "etc/rules.yaml", "--format", "json"]));
    ends(&ran, 1, &[]);
    assert!(ran.out.contains(r#""file":"etc/rules.d/1.yaml","line":3"#), "{ran:#?}");
    let ran = run(home.taskwarden(&["plan", "-c", "etc/rules.yaml"]));
    ends(&ran, 78, &["etc/rules.d/1.yaml:3:", "`etc/rules.yaml` has 1 error"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_anywhere() {
    let sandbox = sandbox().await;
    let url = format!("https://me:s3same@cdn.example/r.pdf?X-Amz-Signature={DEMO_SIGNATURE}");
    let error = format!("Get \"{url}\": connection reset by peer");
    let short = Duration::from_millis(50);
    sandbox.with_model(|model| {
        let download = TaskScript::new("offline_download", format!("download {url} to (/d)"));
        model.add(download.fails(1, short, &error).succeeds(short));
        let name = format!(
            "decompress [/docs](/in/l.7z)[/] to [/docs](/out) with password <{DEMO_PASSWORD}>"
        );
        let error = format!("cannot {name}: unexpected EOF");
        model.add(TaskScript::new("decompress", name).fails(4, short, &error).succeeds(short));
    });
    let home = Home::new();
    let by_token = servers(&[("home", &sandbox)]);
    home.write_rules(&format!(
        "{by_token}  - {{ name: login, url: '{}', username: admin, password: {{ env: PASS }}, \
         poll: 1s, mode: dry_run }}\n{}",
        sandbox.url(),
        RETRY.replace("offline_download", "[offline_download, decompress]")
    ));
    let with_password = |args: &[&str]| {
        let mut command = home.taskwarden(args);
        command.env("PASS", "testpass");
        command
    };
    let daemon = common::process::Process::start(with_password(&["run", "-vv"]));
    daemon.says("login: reached").await;
    daemon.until("retried", || acted(&sandbox) >= 2).await;
    daemon.says("login: would retry_some").await;
    let mut shown = vec![daemon.printed().into_bytes(), daemon.said().into_bytes()];
    for args in [
        &["plan"][..],
        &["plan", "--format", "json"],
        &["plan", "-vv"],
        &["audit"],
        &["audit", "--format", "json"],
        &["check", "--format", "json"],
    ] {
        let ran = run(with_password(args));
        ends(&ran, 0, &[]);
        shown.extend([ran.out.into_bytes(), ran.err.into_bytes()]);
    }
    shown.push(home.state_bytes());
    daemon.terminate().await;
    shown.push(home.state_bytes());
    let all = shown.concat();
    assert!(contains(&all, "cdn.example") && contains(&all, "with password"), "names are shown");
    for secret in
        ["hunter2", "correct>horse", DEMO_SIGNATURE, "s3same", sandbox.token(), "testpass"]
    {
        for place in &shown {
            assert!(!contains(place, secret), "{secret}: {}", String::from_utf8_lossy(place));
        }
    }
    assert_eq!(report(&sandbox).violations(), Vec::<String>::new());
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_demo_settles_and_the_referee_finds_nothing() {
    let home = Home::new();
    let ran = run(home.taskwarden(&["demo", "--once-settled", "--speed", "600"]));
    ends(&ran, 0, &["An embedded"]);
    assert!(ran.out.contains("referee:  no task ran twice at once"), "{}", ran.out);
    assert!(!home.state().exists(), "it leaves nothing behind");
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other() {
    let home = Home::new();
    home.write_rules(BROKEN);
    std::fs::write(home.file("latin.yaml"), b"version: 1\nx: \"\xe9\"\n").unwrap();
    let args = ["check", "latin.yaml", "gone.yaml", "rules.yaml", "--format", "json"];
    let ran = run(home.taskwarden(&args));
    ends(&ran, 1, &["3 files: 4 errors"]);
    assert!(ran.out.contains("acton"), "{ran:#?}");
    let gone =
        r#"{"code":"unreadable-file","severity":"error","file":"gone.yaml","line":1,"column":1,"#;
    assert!(ran.out.contains(gone), "{ran:#?}");
    for format in ["sarif", "github", "human"] {
        // A device may never end; a folder is no file.
        let args = ["check", "gone.yaml", "/dev/zero", ".", "rules.yaml", "--format", format];
        let ran = run(home.taskwarden(&args));
        ends(&ran, 1, &["4 files: 5 errors"]);
        for said in
            ["`gone.yaml` cannot be read", "more than 16 MiB", "`.` cannot be read", "acton"]
        {
            assert!(ran.out.contains(said), "{format}: {said}\n{}", ran.out);
        }
    }
    // Scripts and code scanners are told of it like of any other mistake.
    let place =
        r#""code":"yaml-syntax","severity":"error","file":"latin.yaml","line":2,"column":5,"#;
    assert!(ran.out.contains(place) && ran.out.contains("save it as UTF-8"), "{ran:#?}");
    // Nor does a test file with mistakes look like one without tests.
    std::fs::write(home.file("bad.test.yaml"), "tests: [{ nmae: x }]\n").unwrap();
    let args = ["test", "bad.test.yaml", "-c", "good.yaml", "--format", "json", "--junit", "j.xml"];
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/rules.example.yaml");
    std::fs::copy(example, home.file("good.yaml")).unwrap();
    let ran = run(home.taskwarden(&args));
    assert_eq!(ran.out, "{\"file\":\"bad.test.yaml\",\"error\":\"the test file has errors\"}\n");
    let report = std::fs::read_to_string(home.file("j.xml")).unwrap();
    assert!(report.contains("<error message=\"the test file has errors\"/>"), "{report}");
    assert!(report.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{report}");
}
