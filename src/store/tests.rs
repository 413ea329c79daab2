use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::database::{self, MIGRATIONS};
use super::write::Writer;
use super::*;
use crate::engine::audit::{AuditRow, IntentId, Outcome};
use crate::engine::breaker::Breaker;
use crate::engine::class::Class;
use crate::engine::memory::{
    Changes, GaveUp, KindPending, KindProgress, Memory, Noticed, Paused, Pending, Progress,
    Redrive, RuleMemory, Settling, Subject, SucceededRun, TaskMemory,
};
use crate::engine::rule::{Action, Mode};
use crate::engine::task::{Fingerprint, Kind, RuleName, ServerName, State, TaskId};

mod aging;
mod checkup;
mod seen;

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_786_000_000 + second, 123_456_000).unwrap()
}

fn home() -> ServerName {
    "home".into()
}

fn row(id: i64) -> AuditRow {
    AuditRow {
        id: IntentId(id),
        time: at(id),
        server: home(),
        rule: Some("retry".into()),
        action: "retry_some".to_owned(),
        kind: Some(Kind::Copy),
        task_id: Some(format!("task-{id}").as_str().into()),
        task_name: Some("copy [/a](/b) to [/c](/)".to_owned()),
        attempt: Some(2),
        reason: "failed 3 min ago".to_owned(),
        error: Some("429 too many requests".to_owned()),
        class: Some(Class::Throttled),
        mode: Mode::Live,
        outcome: Outcome::Planned,
        detail: String::new(),
        rules_revision: "r1".to_owned(),
    }
}

fn event(id: i64) -> AuditRow {
    AuditRow {
        rule: None,
        action: "reload".to_owned(),
        kind: None,
        task_id: None,
        task_name: None,
        attempt: None,
        error: None,
        class: None,
        outcome: Outcome::Effective,
        detail: "3 rules".to_owned(),
        ..row(id)
    }
}

fn task(failed: i64) -> TaskMemory {
    TaskMemory {
        state: State::Unknown(12),
        state_since: at(1).into(),
        started: Some(at(2).into()),
        ended: None,
        listed: (Some(at(3).into()), None),
        failed_at: Some(at(failed).into()),
        first_failed_at: Some(at(4).into()),
        last_error: "网络超时 \"quoted\" \u{1}".into(),
        progress: 37.25,
        progress_at: at(5).into(),
        succeeded: Some(SucceededRun::new(None)),
        canceled_by_us: true,
        gone_since: Some(at(6).into()),
        pending: Some(Box::new(Pending {
            intent: IntentId(7),
            rule: "retry".into(),
            subject: Subject::Name(Kind::Move, u64::MAX),
            action: Action::RetrySome,
            before: Fingerprint {
                state: State::Failed,
                started: Some(at(1).into()),
                ended: Some(at(2).into()),
                error: "boom".into(),
            },
            at: at(8),
            settles: Settling { from: at(9), wait: SignedDuration::from_secs(65) },
            accepted: true,
        })),
    }
}

fn progress() -> Progress {
    Progress {
        attempts: 3,
        first_failure: Some(at(1).into()),
        last_action: Some(at(2).into()),
        unsent: Some(at(6).into()),
        ineffective: 1,
        ineffective_why: "the task stayed as it was".into(),
        gave_up: Some(Box::new(GaveUp {
            at: at(3),
            why: "8 attempts".to_owned(),
            left: vec![Action::Notify],
            name: "a film.mkv".to_owned(),
            error: "too many requests".to_owned(),
            class: Some(Class::Throttled),
            dropped: true,
        })),
        redrive: Some(Box::new(Redrive { at: at(7), after: SignedDuration::from_secs(12) })),
        noticed: Some(Noticed { state: State::Failed, since: at(4).into(), dry_run: true }),
        breaker_counted: Some(at(5).into()),
    }
}

fn rule() -> RuleMemory {
    let breakers = [
        Breaker::Closed { failures: vec![at(1)] },
        Breaker::Open { until: at(2), times: 1 },
        Breaker::HalfOpen { canary: "t".into(), since: at(3), times: 2 },
        Breaker::Ramp { since: at(4), step: 1, gone: 1, times: 2 },
    ];
    let pending = KindPending {
        intent: IntentId(4),
        action: Action::ClearDone,
        at: at(1),
        settles: Settling { from: at(2), wait: SignedDuration::from_secs(65) },
        accepted: false,
    };
    RuleMemory {
        schedule_seen: Some(at(1)),
        firing: Some(at(2)),
        minutes: BTreeMap::from([(29_700_000, 3), (-1, 1)]),
        breakers: breakers.into_iter().enumerate().map(|(i, b)| (format!("/m{i}"), b)).collect(),
        kinds: BTreeMap::from([(
            Kind::Other("sync".into()),
            KindProgress { attempts: 1, last_action: Some(at(1)), pending: Some(pending) },
        )]),
        paused: Some(Paused { until: None, why: "holiday".to_owned() }),
    }
}

/// Every table gets entries, with every field in use. The keys are in the order of their tables.
fn changes() -> Changes {
    Changes {
        tasks: vec![
            (Kind::Copy, "a".into(), Some(task(4))),
            (Kind::Copy, "b\" '%".into(), Some(task(5))),
            (Kind::Other("sync".into()), "a".into(), Some(task(6))),
        ],
        progress: vec![
            (Subject::Name(Kind::Copy, u64::MAX), "r".into(), Some(Progress::default())),
            (Subject::Task(Kind::Copy, "a".into()), "r".into(), Some(progress())),
            (Subject::Task(Kind::Copy, "a".into()), "s".into(), Some(progress())),
        ],
        rules: vec![("r".into(), Some(rule())), ("s".into(), Some(RuleMemory::default()))],
    }
}

/// A memory in which all this changed.
fn memory(changes: Changes) -> Arc<Memory> {
    let mut memory = Memory::new(home());
    memory.absorb(changes);
    Arc::new(memory)
}

fn rows(rows: Vec<AuditRow>) -> WriteBatch {
    WriteBatch { new_rows: rows, ..WriteBatch::new(home()) }
}

fn outcome(id: i64, outcome: Outcome, detail: &str) -> WriteBatch {
    WriteBatch {
        outcomes: vec![(IntentId(id), outcome, detail.to_owned())],
        ..WriteBatch::new(home())
    }
}

fn audit(dir: &Path) -> Vec<AuditRow> {
    Reader::open(dir).unwrap().audit(&AuditFilter::default()).unwrap()
}

fn ids(rows: &[AuditRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id.0).collect()
}

/// A folder with a store in it, and its database.
fn used_folder() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join(DATABASE);
    (dir, path)
}

/// The whole chain of an error in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn everything_comes_back_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let batch = WriteBatch {
        memory: Some(memory(changes())),
        new_rows: vec![row(1), event(2)],
        server_state: Some(json!({"locked_until": null, "logins": 2})),
        ..WriteBatch::new(home())
    };
    store.write(batch.clone()).await.unwrap();
    let other = WriteBatch { server: "other".into(), new_rows: vec![], ..batch.clone() };
    store.write(other).await.unwrap();
    drop(store);

    let store = Store::open(dir.path()).unwrap();
    let reader = store.reader().unwrap();
    let loaded = reader.load(&home()).unwrap();
    assert_eq!(loaded, changes());
    let errors: Vec<_> =
        loaded.tasks.iter().flat_map(|(_, _, task)| task).map(|task| &task.last_error).collect();
    assert!(errors.windows(2).all(|two| Arc::ptr_eq(two[0], two[1])), "each is kept once");
    assert_eq!(reader.load(&"other".into()).unwrap(), changes());
    assert!(reader.load(&"third".into()).unwrap().is_empty());
    assert_eq!(reader.server_state(&home()).unwrap(), batch.server_state);
    assert_eq!(reader.server_state(&"third".into()).unwrap(), None);
    assert_eq!(reader.audit(&AuditFilter::default()).unwrap(), batch.new_rows);
    assert!(reader.size_bytes().unwrap() > 4096);
    // Whoever reads may do so at any time, and sees what was written since.
    store.write(rows(vec![row(3)])).await.unwrap();
    assert_eq!(audit(dir.path()).len(), 3);
}

#[tokio::test]
async fn nothing_of_a_batch_is_held_once_it_is_answered() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let memory = memory(changes());
    for written in [true, false] {
        let batch = WriteBatch { memory: Some(Arc::clone(&memory)), ..rows(vec![row(1)]) };
        assert_eq!(store.write(batch).await.is_ok(), written);
        // Else whoever changes it next would copy all of it.
        assert_eq!(Arc::strong_count(&memory), 1);
    }
}

#[tokio::test]
async fn what_is_forgotten_goes_and_what_changed_is_replaced() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let write = |changes| {
        store.write(WriteBatch { memory: Some(memory(changes)), ..WriteBatch::new(home()) })
    };
    write(changes()).await.unwrap();
    let subject = || Subject::Task(Kind::Copy, "a".into());
    write(Changes {
        tasks: vec![
            (Kind::Copy, "a".into(), None),
            (Kind::Copy, "b\" '%".into(), Some(task(9))),
            (Kind::Copy, "never seen".into(), None),
        ],
        progress: vec![(subject(), "r".into(), None), (subject(), "s".into(), None)],
        rules: vec![("r".into(), None), ("s".into(), Some(rule()))],
    })
    .await
    .unwrap();
    let expected = Changes {
        tasks: vec![
            (Kind::Copy, "b\" '%".into(), Some(task(9))),
            (Kind::Other("sync".into()), "a".into(), Some(task(6))),
        ],
        progress: vec![changes().progress.swap_remove(0)],
        rules: vec![("s".into(), Some(rule()))],
    };
    assert_eq!(store.reader().unwrap().load(&home()).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_text_number_and_moment_comes_back(
        text in any::<String>(),
        attempts in any::<u32>(),
        percent in -1e300..1e300_f64,
        nanos in -377_000_000_000_000_000_000_i128..253_000_000_000_000_000_000_i128,
        number in any::<i64>(),
        hash in any::<u64>(),
    ) {
        let dir = TempDir::new().unwrap();
        let mut writer = Writer::open(&dir.path().join(DATABASE)).unwrap();
        let moment = Timestamp::from_nanosecond(nanos).unwrap();
        let micros = Timestamp::from_microsecond(moment.as_microsecond()).unwrap();
        let row = AuditRow {
            id: IntentId(number),
            time: micros,
            server: text.as_str().into(),
            rule: Some(text.as_str().into()),
            action: text.clone(),
            kind: Some(text.as_str().into()),
            task_id: Some(text.as_str().into()),
            task_name: Some(text.clone()),
            attempt: Some(attempts),
            reason: text.clone(),
            error: Some(text.clone()),
            detail: text.clone(),
            rules_revision: text.clone(),
            ..row(1)
        };
        let mut remembered = task(4);
        remembered.state = State::from_number(number);
        remembered.progress = percent;
        remembered.failed_at = Some(moment.into());
        remembered.last_error = text.as_str().into();
        let changes = Changes {
            tasks: vec![(text.as_str().into(), text.as_str().into(), Some(remembered))],
            progress: vec![(
                Subject::Name(text.as_str().into(), hash),
                text.as_str().into(),
                Some(Progress { attempts, ..progress() }),
            )],
            rules: vec![(text.as_str().into(), Some(rule()))],
        };
        let batch = WriteBatch {
            server: text.as_str().into(),
            memory: Some(memory(changes.clone())),
            new_rows: vec![row.clone()],
            outcomes: vec![],
            server_state: Some(json!({ text.clone(): number })),
            ..WriteBatch::new(home())
        };
        writer.commit(&[batch]).pop().unwrap().unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        prop_assert_eq!(reader.load(&row.server).unwrap(), changes);
        prop_assert_eq!(reader.server_state(&row.server).unwrap(), Some(json!({ text: number })));
        let filter = AuditFilter {
            since: Some(micros),
            server: Some(row.server.clone()),
            rule: row.rule.clone(),
            action: Some(row.action.clone()),
            kind: row.kind.clone(),
            task_id: row.task_id.clone(),
            ..AuditFilter::default()
        };
        prop_assert_eq!(reader.audit(&filter).unwrap(), vec![row]);
    }
}

#[tokio::test]
async fn numbers_go_on_where_the_last_process_stopped() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.next_intent_id(), IntentId(1));
    assert_eq!(store.clone().next_intent_id(), IntentId(2));
    store.write(rows(vec![row(2), row(1)])).await.unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.next_intent_id(), IntentId(3));
}

#[tokio::test]
async fn an_outcome_is_filled_in_and_closes_the_intent() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let dry = AuditRow { mode: Mode::DryRun, ..row(3) };
    let elsewhere = AuditRow { server: "other".into(), ..row(4) };
    store.write(rows(vec![row(1), row(2), dry, elsewhere, event(5)])).await.unwrap();
    let open = || {
        let filter = AuditFilter {
            server: Some(home()),
            mode: Some(Mode::Live),
            outcomes: vec![Outcome::Planned],
            ..AuditFilter::default()
        };
        ids(&store.reader().unwrap().audit(&filter).unwrap())
    };
    assert_eq!(open(), [1, 2]);

    store.write(outcome(1, Outcome::Rejected, "404 task not found")).await.unwrap();
    assert_eq!(open(), [2]);
    let refused =
        AuditRow { outcome: Outcome::Rejected, detail: "404 task not found".to_owned(), ..row(1) };
    assert_eq!(audit(dir.path())[0], refused);

    // An outcome may come with its row.
    let both = WriteBatch { new_rows: vec![row(6)], ..outcome(6, Outcome::SkippedChanged, "") };
    store.write(both).await.unwrap();
    assert_eq!(open(), [2]);
}

#[tokio::test]
async fn a_wrong_batch_is_refused_whole() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.write(rows(vec![row(1)])).await.unwrap();
    let error = store.write(rows(vec![row(2), row(1)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Batch { .. }), "{error:?}");
    let error = store.write(outcome(9, Outcome::Accepted, "")).await.unwrap_err();
    assert!(matches!(error, StoreError::Batch { .. }), "{error:?}");
    assert!(told(&error).ends_with("there is no audit row 9 to give an outcome to"));
    assert_eq!(ids(&audit(dir.path())), [1]);
    store.write(WriteBatch::new(home())).await.unwrap();
}

#[test]
fn one_wrong_request_does_not_spoil_the_others_of_its_commit() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::open(&dir.path().join(DATABASE)).unwrap();
    let results =
        writer.commit(&[rows(vec![row(1)]), rows(vec![row(3), row(1)]), rows(vec![row(2)])]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(ids(&audit(dir.path())), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_all_get_their_answer() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let writers: Vec<_> = (0..200)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(
                async move { store.write(rows(vec![row(store.next_intent_id().0)])).await },
            )
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(audit(dir.path()).len(), 200);
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_before_the_store_closes() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in 1..=50 {
        let write = store.write(rows(vec![row(id)]));
        tokio::select! {
            biased;
            _ = write => {}
            () = std::future::ready(()) => {}
        }
    }
    drop(store);
    assert!(!dir.path().join("taskwarden.db-wal").exists(), "the log is folded in");
    assert_eq!(audit(dir.path()).len(), 50);
}

#[tokio::test]
async fn audit_rows_are_found_by_every_field() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut all: Vec<AuditRow> = (1..=6).map(row).collect();
    all[0].server = "other".into();
    all[1].rule = Some("cancel".into());
    all[1].action = "cancel_some".to_owned();
    all[2].kind = Some(Kind::Upload);
    all[3].mode = Mode::DryRun;
    all[4].outcome = Outcome::Effective;
    all[5].outcome = Outcome::Unknown;
    // The clock was set back in between.
    all[5].time = at(0);
    store.write(rows(all)).await.unwrap();
    let reader = store.reader().unwrap();
    let check = |filter: AuditFilter, expected: &[i64]| {
        assert_eq!(ids(&reader.audit(&filter).unwrap()), expected, "{filter:?}");
    };
    let any = AuditFilter::default;
    check(any(), &[6, 1, 2, 3, 4, 5]);
    check(AuditFilter { newest_first: true, limit: Some(2), ..any() }, &[5, 4]);
    check(AuditFilter { limit: Some(0), ..any() }, &[]);
    check(AuditFilter { since: Some(at(2)), until: Some(at(4)), ..any() }, &[2, 3]);
    check(AuditFilter { server: Some("other".into()), ..any() }, &[1]);
    check(AuditFilter { rule: Some("cancel".into()), ..any() }, &[2]);
    check(AuditFilter { action: Some("cancel_some".to_owned()), ..any() }, &[2]);
    check(AuditFilter { kind: Some(Kind::Upload), ..any() }, &[3]);
    check(AuditFilter { task_id: Some("task-4".into()), ..any() }, &[4]);
    check(AuditFilter { mode: Some(Mode::DryRun), ..any() }, &[4]);
    check(AuditFilter { outcomes: vec![Outcome::Effective, Outcome::Unknown], ..any() }, &[6, 5]);
    check(AuditFilter { task_id: Some("task-4".into()), mode: Some(Mode::Live), ..any() }, &[]);
    let mut seen = Vec::new();
    reader
        .audit_each(&any(), |row| {
            seen.push(row.id.0);
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, [6, 1]);
}

#[test]
fn questions_about_the_audit_log_use_its_indexes() {
    let (_dir, path) = used_folder();
    let connection = Connection::open(path).unwrap();
    let check = |condition: &str, index: &str| {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM audit WHERE {condition}");
        let mut statement = connection.prepare(&sql).unwrap();
        let plan: Vec<String> =
            statement.query_map((), |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(plan[0].contains(index), "{condition}: {plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{condition}: {plan:?}");
    };
    check("true ORDER BY time DESC, id DESC LIMIT 9", "audit_time");
    check("server = 'a' AND rule = 'b' ORDER BY time DESC, id DESC LIMIT 9", "audit_time");
    check("time >= 1 AND outcome IN ('planned') ORDER BY time, id", "audit_time");
    check("server = 'a' AND task_id = 'b'", "audit_task");
    check("server = 'a' AND mode = 'live' AND outcome = 'planned' ORDER BY id", "audit_open");
}

#[test]
fn a_second_daemon_is_told_who_has_the_folder() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    let OpenError::Locked { pid, .. } = &error else { panic!("{error:?}") };
    assert!(cfg!(windows) || *pid == Some(std::process::id()));
    assert!(error.to_string().contains("--state-dir"), "{error}");
    let clone = store.clone();
    drop(store);
    Store::open(dir.path()).unwrap_err();
    drop(clone);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_folder_without_a_database_has_nothing_to_read() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let error = Reader::open(&state).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    assert!(!state.exists());
    // The moment between the creation of the file and of what is in it.
    fs::create_dir(&state).unwrap();
    fs::write(state.join(DATABASE), "").unwrap();
    let error = Reader::open(&state).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error:?}");
    Store::open(&state).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn only_this_user_can_read_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("a/b");
    let store = Store::open(&state).unwrap();
    store.write(rows(vec![row(1)])).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{entry:?}");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["lock", "taskwarden.db", "taskwarden.db-shm", "taskwarden.db-wal"]);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let (dir, path) = used_folder();
    let garbage = "name,size\n".repeat(2000);
    fs::write(&path, &garbage).unwrap();
    for error in [Store::open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        assert!(matches!(error, OpenError::Store(StoreError::Corrupt { .. })), "{error:?}");
        assert!(error.to_string().contains("taskwarden.db"), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), garbage);
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let (dir, path) = used_folder();
    let store = Store::open(dir.path()).unwrap();
    let batch = WriteBatch { memory: Some(memory(changes())), ..rows((1..100).map(row).collect()) };
    store.write(batch).await.unwrap();
    drop(store);
    // Every page but the first, as a disk that fails could leave them.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let error =
        Store::open(dir.path()).and_then(|store| Ok(store.reader()?.load(&home())?)).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Corrupt { .. })), "{error:?}");
}

#[test]
fn the_database_of_another_program_is_refused_and_left_alone() {
    for setup in [
        "CREATE TABLE note (text TEXT)",
        "PRAGMA application_id = 7; CREATE TABLE note (text TEXT)",
        "PRAGMA application_id = -7; PRAGMA user_version = -1",
        "PRAGMA user_version = 1",
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(DATABASE);
        Connection::open(&path).unwrap().execute_batch(setup).unwrap();
        let before = fs::read(&path).unwrap();
        for error in [Store::open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
            assert!(matches!(error, OpenError::NotOurs { .. }), "{setup}: {error:?}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn the_database_of_a_newer_version_is_refused() {
    let (dir, path) = used_folder();
    Connection::open(path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for error in [Store::open(dir.path()).unwrap_err(), Reader::open(dir.path()).unwrap_err()] {
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_older_database_is_copied_and_migrated_whole_or_not_at_all() {
    let (dir, path) = used_folder();
    let store = Store::open(dir.path()).unwrap();
    store.write(rows(vec![row(1)])).await.unwrap();
    drop(store);
    let version = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap()
    };

    let latest = u32::try_from(MIGRATIONS.len()).unwrap();
    let broken = [MIGRATIONS, &["ALTER TABLE audit ADD COLUMN cost INTEGER; SELECT nothing"]];
    database::open(&path, &broken.concat()).unwrap_err();
    assert_eq!(version(&path), latest);
    assert_eq!(audit(dir.path()), [row(1)]);

    let next = [MIGRATIONS, &["ALTER TABLE audit ADD COLUMN cost INTEGER"]].concat();
    drop(database::open(&path, &next).unwrap());
    assert_eq!(version(&path), latest + 1);
    let columns = Connection::open(&path).and_then(|db| {
        db.query_row("SELECT cost FROM audit", (), |row| row.get::<_, Option<i64>>(0))
    });
    assert_eq!(columns.unwrap(), None);

    let copy = dir.path().join(format!("taskwarden.db.v{latest}.bak"));
    assert_eq!(version(&copy), latest);
    fs::rename(&copy, &path).unwrap();
    assert_eq!(audit(dir.path()), [row(1)]);

    // The reader leaves migrating to the daemon.
    let error = database::open_read_only(&path, &next).unwrap_err();
    assert!(
        matches!(error, OpenError::Older { found, known, .. } if found == latest && known == found + 1),
        "{error:?}"
    );
    assert_eq!(version(&path), latest);
}

#[cfg(target_os = "linux")]
#[test]
fn the_folder_may_have_a_name_that_is_not_unicode() {
    use std::os::unix::ffi::OsStrExt;
    let dir = TempDir::new().unwrap();
    let state = dir.path().join(std::ffi::OsStr::from_bytes(b"st\xffate"));
    drop(Store::open(&state).unwrap());
    let next = [MIGRATIONS, &["ALTER TABLE audit ADD COLUMN cost INTEGER"]].concat();
    drop(database::open(&state.join(DATABASE), &next).unwrap());
    assert!(
        fs::metadata(state.join(format!("taskwarden.db.v{}.bak", MIGRATIONS.len()))).unwrap().len()
            > 4096
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_named_and_not_passed_over() {
    let (dir, path) = used_folder();
    let store = Store::open(dir.path()).unwrap();
    let batch = WriteBatch {
        memory: Some(memory(changes())),
        server_state: Some(json!(1)),
        ..rows(vec![row(1)])
    };
    store.write(batch).await.unwrap();
    let reader = store.reader().unwrap();
    let check = |table: &str, key: &str, damage: &str| {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&format!("UPDATE {table} SET {damage}")).unwrap();
        let error = match table {
            "audit" => reader.audit(&AuditFilter::default()).unwrap_err(),
            "server" => reader.server_state(&home()).unwrap_err(),
            _ => reader.load(&home()).unwrap_err(),
        };
        let StoreError::Row { table: found, key: at, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found, at.as_str()), (table, key));
    };
    check("audit", "1", "mode = 'loud'");
    check("audit", "1", "outcome = 'fine'");
    check("server", "", "json = '{'");
    check("rule", "s", "json = '7' WHERE rule = 's'");
    check("progress", r#"{"task":["copy","a"]} s"#, "json = '{}' WHERE rule = 's'");
    check("task", "copy a", "json = '{\"failed_at\": 1}' WHERE id = 'a' AND kind = 'copy'");
}

#[tokio::test]
async fn a_database_that_another_program_locks_works_again_when_it_lets_go() {
    let (dir, path) = used_folder();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Busy { .. })), "{error:?}");
    other.execute_batch("COMMIT").unwrap();
    let store = Store::open(dir.path()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store.write(rows(vec![row(1)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    assert!(audit(dir.path()).is_empty(), "reading goes on");
    other.execute_batch("COMMIT").unwrap();
    store.write(rows(vec![row(1)])).await.unwrap();
    assert_eq!(ids(&audit(dir.path())), [1]);
}

#[test]
fn a_start_writes_something_and_what_comes_after_is_synced() {
    let (dir, path) = used_folder();
    for path in [&path, &dir.path().join("new.db")] {
        let writer = Writer::open(path).unwrap();
        // Only that shows that there is room.
        assert!(fs::metadata(path.with_extension("db-wal")).unwrap().len() > 0);
        let synchronous = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let synchronous = writer.connection.pragma_query_value(None, "synchronous", synchronous);
        assert_eq!(synchronous.unwrap(), 2, "full");
    }
}

#[test]
fn a_long_log_of_a_daemon_that_was_killed_delays_no_start() {
    let (dir, path) = used_folder();
    let other = Connection::open(&path).unwrap();
    let much = "PRAGMA wal_autocheckpoint = 0; INSERT INTO seen_text (text) VALUES (hex(zeroblob(4000000)))";
    other.execute_batch(much).unwrap();
    // As a kill leaves them.
    let killed = TempDir::new().unwrap();
    for name in [DATABASE, "taskwarden.db-wal"] {
        fs::copy(dir.path().join(name), killed.path().join(name)).unwrap();
    }
    let path = killed.path().join(DATABASE);
    let length = || fs::metadata(&path).unwrap().len();
    let before = length();
    let mut writer = Writer::open(&path).unwrap();
    assert_eq!(length(), before, "the log is still to be copied into it");
    writer.commit(&[rows(vec![row(1)])]).pop().unwrap().unwrap();
    assert!(length() > before + 8_000_000, "{} bytes, {before} before", length());
}

#[test]
fn a_fresh_database_that_another_program_locks_is_a_clear_error() {
    let dir = TempDir::new().unwrap();
    let other = Connection::open(dir.path().join(DATABASE)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Busy { .. })), "{error:?}");
}

#[test]
fn a_full_disk_fails_every_request_of_the_commit_and_works_again() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::open(&dir.path().join(DATABASE)).unwrap();
    writer.commit(&[rows(vec![row(1)])]).pop().unwrap().unwrap();
    // SQLite reports the end of the room it may use as it does a full disk.
    let limit = |writer: &Writer, pages: i64| {
        writer
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    };
    limit(&writer, 1);
    let large = || rows((2..300).map(row).collect());
    let results = writer.commit(&[large(), rows(vec![row(300)])]);
    assert!(matches!(results[0], Err(StoreError::Full { .. })), "{:?}", results[0]);
    let stored = ids(&audit(dir.path()));
    assert_eq!(stored.contains(&300), results[1].is_ok());
    assert!(!stored.contains(&2), "{stored:?}");
    limit(&writer, 1_000_000);
    writer.commit(&[large()]).pop().unwrap().unwrap();
    assert!(audit(dir.path()).len() > 298);
}

#[test]
fn a_database_that_became_read_only_works_again() {
    let dir = TempDir::new().unwrap();
    let mut writer = Writer::open(&dir.path().join(DATABASE)).unwrap();
    writer.connection.pragma_update(None, "query_only", true).unwrap();
    let error = writer.commit(&[rows(vec![row(1)])]).pop().unwrap().unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    writer.connection.pragma_update(None, "query_only", false).unwrap();
    writer.commit(&[rows(vec![row(1)])]).pop().unwrap().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    // Nobody, root neither, can make folders there.
    let error = Store::open(Path::new("/sys/taskwarden")).unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::ReadOnly { .. })), "{error:?}");
}

#[test]
fn what_stands_in_the_way_of_the_files_is_named() {
    for name in [DATABASE, "lock"] {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_go_away_in_flight_are_noticed() {
    for name in [DATABASE, "taskwarden.db-wal"] {
        let (dir, _) = used_folder();
        let store = Store::open(dir.path()).unwrap();
        store.write(rows(vec![row(1)])).await.unwrap();
        let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let error = store.write(rows(vec![row(2)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Moved { .. }), "{error:?}");
        fs::copy(&aside, &path).unwrap();
        let error = store.write(rows(vec![row(2)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Moved { .. }), "{error:?}");
        assert!(error.to_string().contains(name), "{error}");
        fs::rename(&aside, &path).unwrap();
        store.write(rows(vec![row(2)])).await.unwrap();
        drop(store);
        assert_eq!(ids(&audit(dir.path())), [1, 2]);
    }
}

/// Where the child of the next test works.
const CHILD_FOLDER: &str = "TASKWARDEN_TEST_STORE";

/// The child: writes intents and their outcomes, and says so after each, until it is killed.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_FOLDER) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    loop {
        let id = store.next_intent_id().0;
        let changes = Changes {
            progress: vec![(
                Subject::Task(Kind::Copy, TaskId::from("t")),
                RuleName::from("r"),
                Some(Progress { attempts: u32::try_from(id).unwrap(), ..Progress::default() }),
            )],
            ..Changes::default()
        };
        store
            .write(WriteBatch { memory: Some(memory(changes)), ..rows(vec![row(id)]) })
            .await
            .unwrap();
        println!("\nplanned {id}");
        store.write(outcome(id, Outcome::Accepted, "yes")).await.unwrap();
        println!("\naccepted {id}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = TempDir::new().unwrap();
    let (mut planned, mut accepted) = (0, Vec::<i64>::new());
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "store::tests::child_that_writes_until_it_is_killed"])
            .env(CHILD_FOLDER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| match line.split_once(' ') {
            Some(("planned", id)) => planned = id.parse().unwrap(),
            Some(("accepted", id)) => accepted.push(id.parse().unwrap()),
            _ => {}
        };
        for _ in 0..40 + 7 * round {
            note(&lines.next().unwrap().unwrap());
        }
        child.kill().unwrap();
        // What it still said counts too.
        lines.map_while(Result::ok).for_each(|line| note(&line));
        child.wait().unwrap();

        let store = Store::open(dir.path()).unwrap();
        let rows = audit(dir.path());
        let last = i64::try_from(rows.len()).unwrap();
        assert!(
            !accepted.is_empty() && last >= planned && last <= planned + 1,
            "{last} of {planned}"
        );
        assert_eq!(ids(&rows), (1..=last).collect::<Vec<_>>());
        for id in &accepted {
            assert_eq!(rows[usize::try_from(id - 1).unwrap()].outcome, Outcome::Accepted);
        }
        // A row and the memory of it are there together.
        let memory = store.reader().unwrap().load(&home()).unwrap();
        let attempts = memory.progress[0].2.as_ref().unwrap().attempts;
        assert_eq!(i64::from(attempts), last);
        assert_eq!(store.next_intent_id().0, last + 1);
    }
}
