//! `doctor` and `check --online`: the real program against servers that are well, ill or away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use common::process::{Home, Ran, real_time, report, run, servers};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use taskwarden::sandbox::{Flavour, Role, Sandbox, Settings, TaskScript, User};

const RULES: &str = "rules:
  - name: retry
    match: { kind: copy, state: failed }
    action: retry_some
    max_attempts: 3
";

fn people(flavour: Flavour) -> Settings {
    let mut settings = Settings::new(flavour);
    settings.users.push(User::new("bob", "bobs-password", Role::General));
    settings.users.push(User::new("guest", "guest", Role::Guest));
    settings
}

async fn server(flavour: Flavour) -> Sandbox {
    real_time(people(flavour)).await
}

/// A rules file in which `user` logs in with the password in `file`.
fn home_of_user(sandbox: &Sandbox, user: &str, password: &str) -> Home {
    let home = Home::new();
    std::fs::write(home.file("password"), password).unwrap();
    home.write_rules(&format!(
        "version: 1\nservers:\n  - {{ name: home, url: '{}', username: {user}, password: {{ file: password }} }}\n{RULES}",
        sandbox.url()
    ));
    home
}

/// A rules file with the token as it stands in `file`.
fn home_of_token(url: &str, token: &str) -> Home {
    let home = Home::new();
    std::fs::write(home.file("token"), token).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.file("token"), mode).unwrap();
    home.write_rules(&format!(
        "version: 1\nservers:\n  - {{ name: home, url: '{url}', token: {{ file: token }} }}\n{RULES}"
    ));
    home
}

/// What the doctor finds, line by line.
struct Found {
    ran: Ran,
    lines: Vec<Value>,
}

impl Found {
    /// Status and detail of a check, with the fix behind them.
    fn of(&self, check: &str) -> String {
        let line = self.lines.iter().find(|line| line["check"] == check);
        let line = line.unwrap_or_else(|| panic!("no {check}:\n{}", self.ran.out));
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        format!("{}: {} -> {}", text("status"), text("detail"), text("fix"))
    }

    fn has(&self, check: &str) -> bool {
        self.lines.iter().any(|line| line["check"] == check)
    }

    #[track_caller]
    fn says(&self, check: &str, start: &str, words: &[&str]) {
        let line = self.of(check);
        assert!(line.starts_with(start), "{line}");
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
    }
}

/// Runs the doctor for machines, and holds what is so for every line.
fn doctor(home: &Home) -> Found {
    let ran = run(home.taskwarden(&["doctor", "--format", "json"]));
    let lines: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["check", "server", "status", "detail", "fix"], "{line}");
        assert_eq!(line["fix"].is_null(), line["status"] == "ok", "{line}");
        assert!(!line["detail"].as_str().unwrap().is_empty(), "{line}");
    }
    let fails = lines.iter().any(|line| line["status"] == "fail");
    assert_eq!(ran.code == Some(0), !fails, "{}", ran.out);
    Found { ran, lines }
}

/// Without what differs from run to run and from machine to machine.
fn snapshot(name: &str, home: &Home, text: &str) {
    let folder = home.path().to_str().unwrap();
    let text: String = text
        .replace(folder, "[home]")
        .lines()
        .filter(|line| !line.starts_with("  ok    unit") && !line.contains(" unit "))
        .filter(|line| !line.contains("fix: copy `systemd/"))
        .fold(String::new(), |text, line| text + line + "\n");
    insta::with_settings!({
        omit_expression => true,
        filters => vec![
            (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
            (r"\d+ KiB", "[size] KiB"),
            (r"each of \d+ rows", "each of [count] rows"),
            (r"layout \d+", "layout [number]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
        ],
    }, {
        insta::assert_snapshot!(name, text);
    });
}

fn tick(home: &Home) {
    run(home.taskwarden(&["run", "--once"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well() {
    for (name, flavour) in [("well-openlist", Flavour::OpenList), ("well-alist", Flavour::AList)] {
        let sandbox = server(flavour).await;
        let home = Home::on(&sandbox, RULES);
        tick(&home);
        let ran = run(home.taskwarden(&["doctor"]));
        assert_eq!(ran.code, Some(0), "{}\n{}", ran.out, ran.err);
        snapshot(name, &home, &ran.out);
        let quiet = run(home.taskwarden(&["doctor", "--quiet"]));
        assert!(!quiet.out.contains("ok  ") && quiet.err.is_empty(), "{}", quiet.out);
        let found = doctor(&home);
        assert!(found.lines.iter().all(|line| line["status"] == "ok" || line["check"] == "unit"));
        assert_eq!(report(&sandbox).violations(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_told_with_its_mend() {
    let sandbox = server(Flavour::OpenList).await;
    let home = home_of_token(&sandbox.url(), "not-the-token");
    let ran = run(home.taskwarden(&["doctor"]));
    assert_eq!(ran.code, Some(3));
    assert!(!ran.out.contains("not-the-token"));
    snapshot("wrong-token", &home, &ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_told_of_and_the_next_is_asked() {
    let (gone, there) = (server(Flavour::OpenList).await, server(Flavour::AList).await);
    let home = Home::new();
    home.write_rules(&format!("{}{RULES}", servers(&[("gone", &gone), ("there", &there)])));
    gone.go_away().await;
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(3));
    found.says("reach", "fail: ", &["cannot reach the server", "see that the server runs"]);
    let of_gone = found.lines.iter().filter(|line| line["server"] == "gone");
    assert_eq!(of_gone.count(), 1);
    assert!(found.lines.iter().any(|line| line["server"] == "there" && line["check"] == "kinds"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_sent_to_what_is_no_file_list_server() {
    let mut settings = people(Flavour::OpenList);
    settings.prefix = "/list".to_owned();
    let sandbox = real_time(settings).await;
    let home = home_of_user(&sandbox, "bob", "bobs-password");
    let text = std::fs::read_to_string(home.rules()).unwrap();
    home.write_rules(&text.replace("/list", ""));
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(3));
    found.says("reach", "fail: ", &["a web page", "prefix included"]);
    let report = report(&sandbox);
    assert_eq!((report.logins_right, report.logins_wrong), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_admin_is_told_so() {
    for flavour in [Flavour::OpenList, Flavour::AList] {
        let sandbox = server(flavour).await;
        let found = doctor(&home_of_user(&sandbox, "bob", "bobs-password"));
        assert_eq!(found.ran.code, Some(0), "{}", found.ran.out);
        found.says("rights", "warn: `bob` is no admin", &["static token"]);
        found.says("token", "ok: a login of user `bob`", &["renewed by itself"]);
        found.says("settings", "ok: allow_retry_canceled and", &["cannot be read"]);
        assert_eq!(report(&sandbox).logins_right, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_is_refused_for_what_it_is() {
    let sandbox = server(Flavour::OpenList).await;
    let found = doctor(&home_of_user(&sandbox, "guest", "guest"));
    assert_eq!(found.ran.code, Some(3));
    found.says("token", "fail: ", &["Guest user is disabled", "nor the guest"]);
    assert_eq!(report(&sandbox).logins_wrong, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_tried_once_and_not_where_the_daemon_would_wait() {
    for flavour in [Flavour::OpenList, Flavour::AList] {
        let sandbox = server(flavour).await;
        let home = home_of_user(&sandbox, "bob", "wrong-password");
        let found = doctor(&home);
        assert_eq!(found.ran.code, Some(3));
        found.says("token", "fail: login refused", &["one login was tried", "fifth wrong login"]);
        assert!(!found.ran.out.contains("wrong-password"));
        assert_eq!(report(&sandbox).logins_wrong, 1);
        tick(&home);
        assert_eq!(report(&sandbox).logins_wrong, 2);
        for _ in 0..3 {
            let found = doctor(&home);
            assert_eq!(found.ran.code, Some(3));
            found.says("token", "fail: no login was tried", &["remembers that one was refused"]);
            let online = run(home.taskwarden(&["check", "--online"]));
            assert_eq!(online.code, Some(3), "{}", online.out);
        }
        assert_eq!(report(&sandbox).logins_wrong, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_is_tried_when_the_memory_of_refusals_cannot_be_read() {
    let sandbox = server(Flavour::OpenList).await;
    let home = home_of_user(&sandbox, "bob", "bobs-password");
    std::fs::create_dir(home.state()).unwrap();
    std::fs::write(home.state().join("taskwarden.db"), "no database at all, but long enough")
        .unwrap();
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(1), "{}", found.ran.out);
    found.says("database", "fail: ", &["damaged or no database", "put back a copy"]);
    found.says("token", "fail: no login is tried", &[]);
    assert_eq!(report(&sandbox).logins_right, 0);
}

/// A store in which a daemon worked, and the database itself.
async fn worked() -> (Sandbox, Home, std::path::PathBuf) {
    let sandbox = server(Flavour::OpenList).await;
    sandbox.with_model(|model| {
        for number in 0..40 {
            let name = format!("copy [/a](/f{number}) to [/b](/)");
            model.add(TaskScript::new("copy", &name).fails(9, Duration::ZERO, "EOF"));
        }
    });
    let rules = RULES.replace("retry_some", "notify").replace("    max_attempts: 3\n", "");
    let home = Home::on(&sandbox, &format!("retention: {{ audit: 1d }}\n{rules}"));
    tick(&home);
    tick(&home);
    let path = home.state().join("taskwarden.db");
    (sandbox, home, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_told_in_one_clear_line() {
    let (_sandbox, home, path) = worked().await;
    let sound = std::fs::read(&path).unwrap();
    assert!(sound.len() > 10 * 4096);
    doctor(&home).says("database", "ok: whole", &["can be read", "layout", "KiB in use"]);
    // Whichever page a failing disk spoils, it is told of as such, or nothing of ours was in it.
    let mut told = 0;
    for page in (1..sound.len() / 4096).take(12) {
        let mut bytes = sound.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        let ran = run(home.taskwarden(&["doctor", "--format", "json"]));
        let line = ran.out.lines().find(|line| line.contains("\"check\":\"database\"")).unwrap();
        if line.contains("\"fail\"") {
            told += 1;
            assert_eq!(ran.code, Some(1), "page {page}: {}", ran.out);
            assert!(line.contains("damaged") && line.contains("put back a copy"), "{line}");
        }
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
    assert!(told > 5, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_and_one_that_outstays_its_time_are_told() {
    let (_sandbox, home, path) = worked().await;
    doctor(&home).says("retention", "ok: old rows were last looked for at 20", &["may be 1d"]);
    let database = rusqlite::Connection::open(&path).unwrap();
    let longer_ago = "UPDATE audit SET time = time - 2 * 86400 * 1000000, outcome = 'effective'";
    database.execute(longer_ago, ()).unwrap();
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(0), "{}", found.ran.out);
    found.says("retention", "warn: ", &["the oldest action is 2d", "once an hour"]);
    // The next daemon takes them away.
    tick(&home);
    doctor(&home).says("retention", "ok: ", &[]);
    database
        .execute("UPDATE task SET json = '{' WHERE id = (SELECT min(id) FROM task)", ())
        .unwrap();
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(1), "{}", found.ran.out);
    found.says("database", "fail: the entry `home copy ", &["of table `task`", "run that version"]);
    // It does not start with it either, and says the same.
    let ran = run(home.taskwarden(&["run", "--once"]));
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    assert!(ran.err.contains("table `task`"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_login_is_told_to_end() {
    let sandbox = server(Flavour::OpenList).await;
    let login = taskwarden::ambient::http_client_builder().no_proxy().build().unwrap();
    let login = login
        .post(format!("{}/api/auth/login", sandbox.url()))
        .json(&serde_json::json!({ "username": "admin", "password": "testpass" }));
    let answer: Value = login.send().await.unwrap().json().await.unwrap();
    let token = answer["data"]["token"].as_str().unwrap();
    let home = home_of_token(&sandbox.url(), token);
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(0));
    found.says(
        "token",
        "warn: the token of user `admin` is a login's: it expires at 20",
        &["static"],
    );
    assert!(!found.ran.out.contains(token));
    // What has ended is refused, and says why.
    std::fs::write(home.file("token"), "x.eyJleHAiOjE2MDAwMDAwMDB9.y").unwrap();
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(3));
    found.says("token", "fail: ", &["ended at 2020-09-13T12:26:40Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_a_clear_line_and_canceled_tasks_are_worth_a_warning() {
    let mut settings = people(Flavour::OpenList);
    settings.clock_offset = SignedDuration::from_mins(-5);
    let sandbox = real_time(settings).await;
    // The system takes this address for its own, and nobody else does.
    let url = sandbox.url().replace("127.0.0.1", "0.0.0.0");
    let home = home_of_token(&url, sandbox.token());
    let text = std::fs::read_to_string(home.rules()).unwrap();
    home.write_rules(&text.replace("state: failed", "state: [failed, canceled]"));
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(0), "{}", found.ran.out);
    found.says("clock", "warn: ", &["s behind this machine's", "NTP"]);
    found.says("tls", "warn: ", &["in clear", "https"]);
    found.says("settings", "warn: ", &["workers: copy 5", "rule `retry`", "config.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_is_seen_and_left_alone() {
    let sandbox = server(Flavour::OpenList).await;
    let home = Home::on(&sandbox, RULES);
    let daemon = home.daemon(&["run"]);
    daemon.says("looking after").await;
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(0), "{}", found.ran.out);
    found.says("state", "ok: ", &[&format!("running daemon, process {}", daemon.id())]);
    // What a service is given, root's shell is not: no fault of the daemon.
    let mut command = home.taskwarden(&["doctor"]);
    command.env_remove("SANDBOX_TOKEN_OPENLIST");
    let ran = run(command);
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.out.contains("warn  token     the environment variable SANDBOX_TOKEN_OPENLIST is not here; the running daemon has its own"), "{}", ran.out);
    daemon.terminate().await;
    doctor(&home).says("state", "ok: ", &["can be written; no daemon runs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_ends_with_its_own_code() {
    let home = Home::new();
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(78));
    found.says("config", "fail: no rules file found", &[]);
    home.write_rules("version: 1\nservers: [{ name: a, url: 'ftp://x' }]\n");
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(78));
    found.says("config", "fail: ", &[" error", "taskwarden check"]);
    home.write_rules(&format!("version: 1\n{RULES}"));
    assert_eq!(doctor(&home).ran.code, Some(78));
    home.write_rules(&format!(
        "version: 1\nservers: [{{ name: a, url: 'http://127.0.0.1:1', token: {{ env: NOT_SET }} }}]\n{RULES}"
    ));
    let found = doctor(&home);
    assert_eq!(found.ran.code, Some(78));
    found.says("token", "fail: the environment variable NOT_SET is not set", &["set it where"]);
    assert!(!found.has("reach"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_an_open_file_is_told_of_and_not_shown() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = server(Flavour::OpenList).await;
    let home = Home::new();
    home.write_rules(&format!(
        "version: 1\nservers: [{{ name: a, url: '{}', token: {} }}]\n{RULES}",
        sandbox.url(),
        sandbox.token()
    ));
    let open = |mode| {
        std::fs::set_permissions(home.rules(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(0o644);
    let found = doctor(&home);
    found.says("secrets", "warn: ", &["chmod 600"]);
    assert!(!found.ran.out.contains(sandbox.token()));
    open(0o600);
    doctor(&home).says("secrets", "ok: ", &[]);
    // A file of its own is no safer when it is open to all.
    let token = home.file("token");
    std::fs::write(&token, sandbox.token()).unwrap();
    home.write_rules(&format!(
        "version: 1\nservers: [{{ name: a, url: '{}', token: {{ file: '{}' }} }}]\n{RULES}",
        sandbox.url(),
        token.display()
    ));
    let close = |mode| {
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    close(0o644);
    doctor(&home).says("secrets", "warn: everyone here can read the secret file", &["chmod 600"]);
    close(0o600);
    assert!(!doctor(&home).has("secrets"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_held_against_the_servers() {
    let mut settings = people(Flavour::OpenList);
    settings.mounts = ["/media", "/cloud"].map(str::to_owned).to_vec();
    let sandbox = real_time(settings).await;
    let home = Home::on(
        &sandbox,
        "rules:
  - { name: fine, match: { kind: copy, dst_mount: /media }, action: notify }
  - { name: kinds, match: { kind: [copy, s3_transition], error: x }, action: notify }
  - name: mounts
    match:
      any:
        - dst_mount: [/Media, '/cl*']
        - src_mount: /usb/
    action: notify
",
    );
    let offline = run(home.taskwarden(&["check"]));
    assert_eq!((offline.code, offline.out.as_str()), (Some(0), ""), "{}", offline.out);
    let online = run(home.taskwarden(&["check", "--online"]));
    assert_eq!(online.code, Some(0), "{}", online.err);
    snapshot("check-online", &home, &online.out);
    let denied = run(home.taskwarden(&["check", "--online", "--deny", "warnings"]));
    assert_eq!(denied.code, Some(1));
    let json = run(home.taskwarden(&["check", "--online", "--format", "json"]));
    for line in json.out.lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        assert!(finding["code"].as_str().unwrap().ends_with("-not-on-server"), "{line}");
    }
    assert_eq!(run(home.taskwarden(&["check", "--online", "a", "b"])).code, Some(2));
    assert_eq!(report(&sandbox).violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_absence_are_found_online() {
    let sandbox = server(Flavour::AList).await;
    let home = home_of_user(&sandbox, "bob", "bobs-password");
    let text = std::fs::read_to_string(home.rules()).unwrap();
    home.write_rules(&text.replace("kind: copy", "kind: move, dst_mount: /nowhere"));
    let ran = run(home.taskwarden(&["check", "--online"]));
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    // The mounts cannot be listed by such a user, so nothing is said of them but that.
    snapshot("check-online-limited", &home, &format!("{}{}", ran.out, ran.err));
    sandbox.go_away().await;
    let ran = run(home.taskwarden(&["check", "--online"]));
    assert_eq!(ran.code, Some(3));
    assert!(ran.out.contains("warning[server-unreachable]"), "{}", ran.out);
    assert!(!ran.out.contains("kind-not-on-server"), "{}", ran.out);
}
