//! What keeps an installation in order: old rows go, a copy of the store is made, the program tries
//! itself out.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod common;

use common::process::{Home, eventually_or, real_time, run, servers};
use common::{Told, Turned, config, options, sandbox};
use jiff::{SignedDuration, Timestamp};
use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::engine::audit::{AuditRow, Outcome};
use taskwarden::engine::rule::Mode;
use taskwarden::sandbox::{Flavour, Settings};
use taskwarden::store::{AuditFilter, Reader, Store, WriteBatch};

const RULES: &str = "
retention: { audit: 30d }
rules:
  - { name: tell, match: { kind: copy, state: failed }, action: notify }
";

fn row(id: i64, time: Timestamp) -> AuditRow {
    AuditRow {
        id: taskwarden::engine::audit::IntentId(id),
        time,
        server: "home".into(),
        rule: Some("tell".into()),
        action: "notify".to_owned(),
        kind: None,
        task_id: None,
        task_name: None,
        attempt: None,
        reason: "kept or not".to_owned(),
        error: None,
        class: None,
        mode: Mode::Live,
        outcome: Outcome::Effective,
        detail: String::new(),
        rules_revision: "r".to_owned(),
    }
}

/// Rows that are so many days old, oldest first.
async fn store_rows(home: &Home, days: &[i64]) {
    let now = Clock::system().now();
    let rows =
        (1..).zip(days).map(|(id, days)| row(id, now - SignedDuration::from_hours(24 * days)));
    let store = Store::open(&home.state()).unwrap();
    let batch = WriteBatch { new_rows: rows.collect(), ..WriteBatch::new("home".into()) };
    store.write(batch).await.unwrap();
}

fn left(home: &Home) -> Vec<i64> {
    let rows = Reader::open(&home.state()).unwrap().audit(&AuditFilter::default()).unwrap();
    rows.iter().map(|row| row.id.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_lets_go_of_old_rows() {
    let sandbox = real_time(Settings::new(Flavour::OpenList)).await;
    let home = Home::on(&sandbox, RULES);
    store_rows(&home, &[400, 31, 29, 0]).await;
    let mut daemon = home.taskwarden(&["run"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually_or("old rows go", || left(&home) == [3, 4], || format!("{:?}", left(&home))).await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_ends_while_old_rows_go_has_closed_the_store() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(Settings::new(Flavour::OpenList), &turned).await;
    let home = Home::new();
    let old = turned.now() - SignedDuration::from_hours(24 * 400);
    let store = Store::open(&home.state()).unwrap();
    let new_rows = (1..=20_000).map(|id| row(id, old)).collect();
    store.write(WriteBatch { new_rows, ..WriteBatch::new("home".into()) }).await.unwrap();
    drop(store);
    let options = Options { speed: 1000.0, ..options(&home.state(), &turned, &told) };
    let daemon = Daemon::new(config(&sandbox, "", RULES), options).unwrap();
    let stop = daemon.stopper();
    let some = || (1..20_000).contains(&left(&home).len());
    let ends = async {
        eventually_or("some are gone", some, || told.text()).await;
        stop.send_replace(true);
    };
    let (ran, ()) = tokio::join!(daemon.run(None), ends);
    ran.unwrap();
    Store::open(&home.state()).unwrap();
    assert!(left(&home).len() > 1, "it did not end before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_look_lets_go_of_old_rows_too() {
    let sandbox = real_time(Settings::new(Flavour::OpenList)).await;
    let home = Home::on(&sandbox, RULES);
    store_rows(&home, &[400, 31, 29, 0]).await;
    let ran = run(home.taskwarden(&["run", "--once"]));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.err.contains("2 rows left the store"), "{ran:#?}");
    assert_eq!(left(&home), [3, 4]);
    // Without a limit they stay.
    let forever = RULES.replace("audit: 30d", "audit: none, size: none");
    home.write_rules(&format!("{}{forever}", servers(&[("home", &sandbox)])));
    std::fs::remove_dir_all(home.state()).unwrap();
    store_rows(&home, &[4000, 31]).await;
    assert_eq!(run(home.taskwarden(&["run", "--once"])).code, Some(0));
    assert_eq!(left(&home), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_daemon_can_be_put_in_place() {
    let sandbox = real_time(Settings::new(Flavour::OpenList)).await;
    let home = Home::on(&sandbox, RULES);
    let ran = run(home.taskwarden(&["backup", "copy.db"]));
    assert_eq!(ran.code, Some(78), "{ran:#?}");
    assert!(ran.err.contains("there is no database"), "{ran:#?}");
    store_rows(&home, &[2, 1]).await;
    let store = Store::open(&home.state()).unwrap();
    let ran = run(home.taskwarden(&["backup", "copy.db"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:#?}");
    assert!(ran.err.contains("`copy.db`"), "{ran:#?}");
    let again = run(home.taskwarden(&["backup", "copy.db"]));
    assert_eq!(again.code, Some(78), "{again:#?}");
    assert!(again.err.contains("--force"), "{again:#?}");
    assert_eq!(run(home.taskwarden(&["backup", "--force", "copy.db"])).code, Some(0));
    drop(store);
    std::fs::remove_dir_all(home.state()).unwrap();
    std::fs::create_dir(home.state()).unwrap();
    std::fs::rename(home.file("copy.db"), home.state().join("taskwarden.db")).unwrap();
    let ran = run(home.taskwarden(&["run", "--once"]));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(left(&home), [1, 2]);
}

#[test]
fn the_program_tries_itself_out() {
    let home = Home::new();
    let scratch = home.file("tmp");
    std::fs::create_dir(&scratch).unwrap();
    let mut command = home.taskwarden(&["self-test", "--format", "json"]);
    let ran = run({
        command.env("TMPDIR", &scratch);
        command
    });
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:#?}");
    let checks: Vec<(String, String)> = ran
        .out
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            (word("check"), word("status"))
        })
        .collect();
    let expected = ["time zones", "certificates", "store", "daemon"];
    assert_eq!(checks, expected.map(|check| (check.to_owned(), "ok".to_owned())));
    // Nothing stays behind, in the state folder neither.
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(!home.state().exists());
}

#[test]
fn what_does_not_work_is_named() {
    let home = Home::new();
    let mut command = home.taskwarden(&["self-test"]);
    let nowhere = home.file("nowhere");
    let ran = run({
        command
            .env("TMPDIR", &nowhere)
            .env("SSL_CERT_FILE", &nowhere)
            .env("SSL_CERT_DIR", &nowhere);
        command
    });
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for line in ["FAIL  certificates", "FAIL  store", "ok    time zones"] {
        assert!(ran.out.contains(line), "{line:?} is not in {ran:#?}");
    }
    assert!(ran.out.contains("install the package `ca-certificates`"), "{ran:#?}");
}

#[test]
fn all_manual_pages_are_written_at_once() {
    let home = Home::new();
    let ran = run(home.taskwarden(&["man", "--dir", "pages"]));
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.err.contains("`pages`"), "{ran:#?}");
    std::fs::create_dir(home.file("pages")).unwrap();
    let ran = run(home.taskwarden(&["man", "--dir", "pages"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:#?}");
    for page in ["taskwarden.1", "taskwarden-run.1"] {
        let text = std::fs::read_to_string(home.file("pages").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}
