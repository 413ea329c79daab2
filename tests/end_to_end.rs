//! The daemon against the sandbox in each flavour, on a clock that the test turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{Told, Turned, audit, config, daemon, drive, sandbox};
use taskwarden::daemon::watch::Looked;
use taskwarden::engine::audit::{AuditRow, IntentId, Outcome};
use taskwarden::engine::rule::Mode;
use taskwarden::engine::task::Kind;
use taskwarden::sandbox::scenario::{FlakyQueue, flaky_queue};
use taskwarden::sandbox::{
    Endpoint, Fault, FaultPlan, Flavour, Phase, Report, Sandbox, Settings, State, TaskReport,
    Trigger,
};

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

fn settings(flavour: Flavour) -> Settings {
    Settings::new(flavour).pool("offline_download", 20, 0)
}

/// Whether nothing is left to do: no download is undone, and no rule waits. `None` when the look
/// did not show the downloads.
fn settled(looked: &Looked) -> Option<bool> {
    let Looked::Done(done) = looked else { return None };
    let (snapshot, decision) = &**done;
    let downloads = snapshot.kinds.get(&Kind::OfflineDownload)?;
    Some(
        decision.actions.is_empty()
            && decision.waiting.is_empty()
            && downloads.iter().all(|task| task.state.is_done()),
    )
}

fn assert_ended_well(report: &Report, queue: &FlakyQueue) {
    assert_eq!(report.violations(), Vec::<String>::new());
    for id in queue.fine.iter().chain(&queue.flaky) {
        let task = report.task(id).unwrap();
        assert_eq!(task.state, State::Succeeded, "{} {}", task.name, task.executions.len());
        assert_eq!(task.max_concurrent, 1, "{}", task.name);
        assert_eq!(task.executions_after_success, 0, "{}", task.name);
    }
    for id in &queue.hopeless {
        let task = report.task(id).unwrap();
        assert_eq!(task.state, State::Failed);
        assert_eq!(task.max_concurrent, 1);
    }
}

/// Every retry came after the wait of its rule, counted from the end of the run before, but for so
/// many seconds.
fn assert_waited(task: &TaskReport, slack: i64) {
    for (attempt, pair) in task.executions.windows(2).enumerate() {
        if pair[1].trigger == Trigger::RetryCall {
            let wait = pair[1].started.duration_since(pair[0].ended.unwrap());
            let least = 20_i64 << attempt;
            assert!(
                wait.as_secs() >= least - slack,
                "{}: {wait} before attempt {attempt}",
                task.name
            );
        }
    }
}

async fn run_queue(
    flavour: Flavour,
    faults: bool,
    seed: u64,
    clock_is_set: &[(usize, i64)],
) -> (Report, FlakyQueue, tempfile::TempDir) {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox: Sandbox = sandbox(settings(flavour), &turned).await;
    let queue = sandbox.with_model(|model| flaky_queue(model, 200, 60, 12, seed));
    if faults {
        sandbox.with_model(|model| {
            model.faults().plan(FaultPlan {
                rate: 0.2,
                faults: vec![
                    Fault::Http5xx(500, "oops".to_owned()),
                    Fault::Http502Page,
                    Fault::Reset,
                    Fault::Truncate,
                    Fault::Code401,
                    Fault::Hang(Some(Duration::from_millis(400))),
                ],
                only: None,
                phase: None,
                seed,
            });
        });
    }
    let state = tempfile::tempdir().unwrap();
    let mut config = config(&sandbox, "", RULES);
    if faults {
        // Shorter than a file may say, so that hanging calls do not hold the test up.
        config.servers[0].timeout = Duration::from_millis(150);
    }
    config.audit_log = Some(state.path().join("audit.jsonl"));
    let daemon = daemon(config, state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let (mut quiet, mut looks) = (0, 0);
    drive(&mut watch, &turned, Duration::from_secs(10), 3000, |looked| {
        match settled(looked) {
            Some(true) => quiet += 1,
            Some(false) => quiet = 0,
            None => {}
        }
        looks += 1;
        clock_is_set.iter().filter(|(look, _)| *look == looks).for_each(|(_, by)| turned.set(*by));
        quiet >= 3
    })
    .await;
    if let Some((last, _)) = clock_is_set.last() {
        assert!(looks > *last, "the clock was set after {looks} looks");
        let times = told.text().matches("our clock was set").count();
        assert_eq!(times, clock_is_set.len(), "{}", told.text());
    }
    let report = sandbox.with_model(|model| model.report());
    drop((watch, daemon));
    (report, queue, state)
}

#[tokio::test]
async fn a_flaky_queue_ends_well_on_openlist() {
    flaky_queue_ends_well(Flavour::OpenList).await;
}

#[tokio::test]
async fn a_flaky_queue_ends_well_on_alist() {
    flaky_queue_ends_well(Flavour::AList).await;
}

async fn flaky_queue_ends_well(flavour: Flavour) {
    let (report, queue, state) = run_queue(flavour, false, 3, &[]).await;
    assert_ended_well(&report, &queue);
    queue.flaky.iter().for_each(|id| assert_waited(report.task(id).unwrap(), 0));
    let rows = audit(state.path());
    for id in &queue.hopeless {
        let of_task = |action: &str| {
            let rows =
                rows.iter().filter(|row| row.task_id.as_ref().is_some_and(|t| t.as_str() == id));
            rows.filter(|row| row.action == action).count()
        };
        assert_eq!(of_task("retry_some"), 7, "once by the first rule, six times by the second");
        assert_eq!(of_task("give_up"), 2, "each rule gives up once");
    }
    for id in &queue.flaky {
        let retries =
            rows.iter().filter(|row| row.task_id.as_ref().is_some_and(|t| t.as_str() == id));
        let executions = report.task(id).unwrap().executions.len();
        assert_eq!(retries.count(), executions - 1, "one row an attempt");
    }
    assert!(rows.iter().all(|row| row.outcome == Outcome::Effective), "{rows:#?}");
    // The file that follows along ends with the same outcome for each row.
    let lines = std::fs::read_to_string(state.path().join("audit.jsonl")).unwrap();
    let told: HashMap<IntentId, AuditRow> = lines
        .lines()
        .map(|line| serde_json::from_str::<AuditRow>(line).unwrap())
        .map(|row| (row.id, row))
        .collect();
    assert_eq!(told.len(), rows.len());
    assert!(rows.iter().all(|row| told[&row.id].outcome == row.outcome));
}

#[tokio::test]
async fn a_clock_that_is_set_again_and_again_ends_no_wait_early_and_stops_nothing() {
    let day = 86_400;
    let set = [(2, 5 * 3600), (4, -5 * 3600), (7, day), (9, 1200), (12, -40 * day), (20, 39 * day)];
    let (report, queue, state) = run_queue(Flavour::OpenList, false, 5, &set).await;
    assert_ended_well(&report, &queue);
    // A server tells its clock in whole seconds, and is believed within a few.
    queue.flaky.iter().for_each(|id| assert_waited(report.task(id).unwrap(), 4));
    let failures = audit(state.path());
    assert!(failures.iter().all(|row| row.outcome == Outcome::Effective), "{failures:#?}");
}

#[tokio::test]
async fn a_flaky_queue_ends_well_on_a_bad_line_to_openlist() {
    bad_line_ends_well(Flavour::OpenList).await;
}

#[tokio::test]
async fn a_flaky_queue_ends_well_on_a_bad_line_to_alist() {
    bad_line_ends_well(Flavour::AList).await;
}

/// A fifth of all calls fails, before or after they take effect.
async fn bad_line_ends_well(flavour: Flavour) {
    let (report, queue, state) = run_queue(flavour, true, 5, &[]).await;
    assert_ended_well(&report, &queue);
    queue.flaky.iter().for_each(|id| assert_waited(report.task(id).unwrap(), 0));
    // No call was made twice for one intent: a task was in at most as many calls as it has rows.
    let mut calls: HashMap<&str, usize> = HashMap::new();
    // One that was turned away with a 401 was not carried out, and goes out again.
    let acting = report.calls.iter().filter(|call| {
        call.endpoint == Endpoint::RetrySome && !matches!(call.fault, Some((Fault::Code401, _)))
    });
    for id in acting.flat_map(|call| &call.ids) {
        *calls.entry(id).or_default() += 1;
    }
    let rows = audit(state.path());
    for (id, calls) in calls {
        let intents = rows.iter().filter(|row| {
            row.mode == Mode::Live
                && row.action == "retry_some"
                && row.task_id.as_ref().is_some_and(|task| task.as_str() == id)
        });
        assert!(calls <= intents.count(), "{id}");
    }
    assert!(rows.iter().all(|row| !matches!(row.outcome, Outcome::Planned | Outcome::Accepted)));
    assert!(report.calls.iter().filter(|call| call.fault.is_some()).count() > 100);
}

#[tokio::test]
async fn one_stray_web_page_is_told_and_ends_no_kind() {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox: Sandbox = sandbox(settings(Flavour::OpenList), &turned).await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(config(&sandbox, "", RULES), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    let kinds = |looked: Looked| {
        let Looked::Done(done) = looked else { panic!("{looked:?}") };
        done.0.kinds.len()
    };
    assert_eq!(kinds(watch.tick().await), 7);
    for tick in 0..8 {
        turned.turn(Duration::from_secs(10));
        if tick % 2 == 0 {
            sandbox.with_model(|model| {
                model.faults().next_call(Endpoint::Undone, Fault::WrongHtml, Phase::Before);
            });
            assert_eq!(kinds(watch.tick().await), 6, "{}", told.text());
        } else {
            assert_eq!(kinds(watch.tick().await), 7, "{}", told.text());
        }
    }
    assert!(told.text().contains("is left out of this tick"), "{}", told.text());
}
