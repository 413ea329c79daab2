//! Races on purpose: tasks that change between the daemon's decision and its call are left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Told, Turned, audit, config, daemon, sandbox};
use taskwarden::daemon::supervise::Daemon;
use taskwarden::daemon::watch::Watch;
use taskwarden::engine::audit::Outcome;
use taskwarden::sandbox::{
    Endpoint, Fault, FaultPlan, Flavour, Model, Phase, Sandbox, Settings, State, TaskScript,
};

const KIND: &str = "offline_download";
const FAR: Duration = Duration::from_secs(100_000);

/// What happens to a task while the daemon makes up its mind.
type Change = fn(&mut Model, &str);

const FAILED_CHANGES: [(&str, Change); 8] = [
    ("a person retries it", |model, id| model.retry(id)),
    ("a person deletes it", |model, id| model.delete(id)),
    ("it is pending", |model, id| model.force_state(id, State::Pending)),
    ("it is running", |model, id| model.force_state(id, State::Running)),
    ("it succeeded", |model, id| model.force_state(id, State::Succeeded)),
    ("it is being canceled", |model, id| model.force_state(id, State::Canceling)),
    ("it waits for a retry", |model, id| model.force_state(id, State::WaitingRetry)),
    ("a person retries it and it fails again", |model, id| {
        model.retry(id);
        model.advance(Duration::from_secs(30));
    }),
];

const RUNNING_CHANGES: [(&str, Change); 4] = [
    ("it succeeded", |model, id| model.force_state(id, State::Succeeded)),
    ("it failed", |model, id| model.force_state(id, State::Failed)),
    ("a person cancels it", |model, id| model.cancel(id)),
    ("a person deletes it", |model, id| model.delete(id)),
];

struct Race {
    turned: Turned,
    sandbox: Sandbox,
    state: tempfile::TempDir,
    watch: Watch,
    _daemon: Daemon,
    ids: Vec<String>,
}

impl Race {
    /// `count` tasks that the rule will act on at the next tick.
    async fn new(flavour: Flavour, count: usize, script: &TaskScript, rule: &str) -> Self {
        let (turned, told) = (Turned::new(), Told::default());
        let settings = Settings::new(flavour).pool(KIND, 50, 0);
        let sandbox = sandbox(settings, &turned).await;
        let ids: Vec<String> = (0..count)
            .map(|n| {
                let name = format!("download http://mirror.example/{n}.bin to (/downloads)");
                let script = TaskScript { name, ..script.clone() };
                sandbox.with_model(|model| model.add(script))
            })
            .collect();
        let state = tempfile::tempdir().unwrap();
        let rules = format!(
            "rules:\n  - name: r\n    match: {rule}\n    backoff: {{ initial: 60s, jitter: 0 }}\n    breaker: off\n    \
             limits: {{ per_tick: 50 }}\n"
        );
        let config = config(&sandbox, "", &rules);
        let daemon = daemon(config, state.path(), &turned, &told);
        let mut watch = daemon.watch(&"home".into()).unwrap();
        turned.turn(Duration::from_secs(10));
        watch.tick().await;
        assert_eq!(audit(state.path()).len(), 0, "nothing is due yet");
        turned.turn(Duration::from_secs(75));
        Self { turned, sandbox, state, watch, _daemon: daemon, ids }
    }

    /// Has `change` happen to all tasks once the tick's look is over, when the daemon looks again.
    fn change_before_second_look(&self, change: Change) {
        let ids = self.ids.clone();
        self.sandbox.with_model(|model| {
            model.on_next(
                Phase::After,
                |kind, endpoint| kind == KIND && endpoint == Endpoint::Done,
                move |model| {
                    model.on_next(
                        Phase::Before,
                        |kind, endpoint| {
                            kind == KIND && matches!(endpoint, Endpoint::Info | Endpoint::Undone)
                        },
                        move |model| ids.iter().for_each(|id| change(model, id)),
                    );
                },
            );
        });
    }

    fn acting_calls(&self) -> usize {
        let report = self.sandbox.with_model(|model| model.report());
        report.calls.iter().filter(|call| call.endpoint.acts()).count()
    }
}

async fn is_left_alone(script: &TaskScript, rule: &str, changes: &[(&str, Change)]) {
    for flavour in [Flavour::OpenList, Flavour::AList] {
        // One is looked at again by itself, many by their list.
        for count in [1, 9] {
            for (what, change) in changes {
                let mut race = Race::new(flavour, count, script, rule).await;
                race.change_before_second_look(*change);
                race.watch.tick().await;
                assert_eq!(race.acting_calls(), 0, "{what}, {count} on {flavour:?}");
                let rows = audit(race.state.path());
                assert_eq!(rows.len(), count, "{what}: {rows:#?}");
                for row in rows {
                    assert_eq!(row.outcome, Outcome::SkippedChanged, "{what}: {}", row.detail);
                }
            }
            // And without any change it acts, so that the test tests something.
            let mut race = Race::new(flavour, count, script, rule).await;
            race.watch.tick().await;
            assert_eq!(race.acting_calls(), 1, "{count} on {flavour:?}");
            race.turned.turn(Duration::from_secs(5));
            race.watch.tick().await;
            assert!(audit(race.state.path()).iter().all(|row| row.outcome == Outcome::Effective));
        }
    }
}

fn failing() -> TaskScript {
    let error = "http status code 503";
    TaskScript::new(KIND, "").fails(2, Duration::from_secs(2), error).succeeds(FAR)
}

#[tokio::test]
async fn a_server_that_forbids_an_action_is_asked_twice_and_the_task_given_up() {
    let rule = "{ state: failed }\n    action: retry_some\n    max_attempts: 9";
    let mut race = Race::new(Flavour::OpenList, 1, &failing(), rule).await;
    race.sandbox.with_model(|model| {
        model.faults().plan(FaultPlan {
            rate: 1.0,
            faults: vec![Fault::Code403],
            only: Some(Arc::new(|line| line.endpoint == Some(Endpoint::RetrySome))),
            phase: None,
            seed: 1,
        });
    });
    for _ in 0..40 {
        race.watch.tick().await;
        race.turned.turn(Duration::from_secs(60));
    }
    assert_eq!(race.acting_calls(), 2);
    let rows = audit(race.state.path());
    let [first, second, give_up] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!((first.outcome, second.outcome), (Outcome::Rejected, Outcome::Rejected));
    assert_eq!(give_up.action, "give_up");
    assert!(give_up.reason.contains("forbidden (403): permission denied"), "{}", give_up.reason);
    assert_eq!(give_up.attempt, Some(0));
}

#[tokio::test]
async fn a_retry_is_dropped_when_the_task_changed_meanwhile() {
    let rule = "{ state: failed }\n    action: retry_some";
    is_left_alone(&failing(), rule, &FAILED_CHANGES).await;
}

#[tokio::test]
async fn a_delete_is_dropped_when_the_task_changed_meanwhile() {
    // Due at once, so the rule waits for its age instead.
    let rule = "{ state: failed, age: 70s }\n    action: delete_some";
    is_left_alone(&failing(), rule, &FAILED_CHANGES).await;
}

#[tokio::test]
async fn a_cancel_is_dropped_when_the_task_changed_meanwhile() {
    let rule = "{ state: running, running_for: 70s }\n    action: cancel_some";
    is_left_alone(&TaskScript::new(KIND, "").succeeds(FAR), rule, &RUNNING_CHANGES).await;
}
