//! The referee: what a client did to the server, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::faults::{Fault, Phase};
use super::task::{Endpoint, State};

/// What made an attempt at a task start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The task was new.
    Initial,
    /// The server retried by itself.
    ServerRetry,
    /// A client's call.
    RetryCall,
    /// Somebody else retried it: [`super::Model::retry`].
    Person,
    /// The server was restarted and began again.
    Restart,
}

/// How an attempt at a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Succeeded,
    /// Failed with this error.
    Failed(String),
    /// Refused at once by a throttling storage, with this error.
    Throttled(String),
    /// Stopped by a cancel.
    Canceled,
    /// The server went down.
    Killed,
}

/// One attempt at a task, seen or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// When a worker began.
    pub started: Timestamp,
    /// When it ended, if it has.
    pub ended: Option<Timestamp>,
    /// What made it start.
    pub trigger: Trigger,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// The task had left the list when it started: work that nobody can see.
    pub unseen: bool,
}

impl Execution {
    fn overlaps(&self, later: &Self) -> bool {
        later.started >= self.started && self.ended.is_none_or(|ended| later.started < ended)
    }
}

/// Everything that happened to one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The state the server shows, or last showed.
    pub state: State,
    /// It is still in the lists.
    pub listed: bool,
    /// Every attempt, in the order they started.
    pub executions: Vec<Execution>,
    /// The most attempts that ever ran at the same time; more than 1 is harm.
    pub max_concurrent: usize,
    /// Attempts that started although one had succeeded before.
    pub executions_after_success: usize,
}

/// A task at the moment a call named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its id.
    pub id: String,
    /// The state the server showed, if it had the task.
    pub state: Option<State>,
    /// Attempts that ran.
    pub running: usize,
    /// Attempts that waited for a worker.
    pub queued: usize,
}

/// A call of the task API, as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Virtual time of arrival.
    pub at: Timestamp,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The kind.
    pub kind: String,
    /// The ids as sent, in order, repeats included.
    pub ids: Vec<String>,
    /// The tasks they named, before the call took effect.
    pub targets: Vec<Target>,
    /// It took effect: it was not refused and, for a call on one task, the task was there.
    pub applied: bool,
    /// What went wrong with it on the way.
    pub fault: Option<(Fault, Phase)>,
}

/// What the referee saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Every task there ever was, in the order they were made.
    pub tasks: Vec<TaskReport>,
    /// Every call of the task API.
    pub calls: Vec<Call>,
    /// Logins that were granted.
    pub logins_right: u32,
    /// Logins refused for a wrong password, user or one-time code.
    pub logins_wrong: u32,
    /// Logins refused by the lock.
    pub logins_locked: u32,
    /// Devices that have logged in, by user and User-Agent.
    pub devices: usize,
    /// Bans by throttling storages, by mount.
    pub bans: BTreeMap<String, u32>,
}

impl Report {
    /// The report on one task.
    #[must_use]
    pub fn task(&self, id: &str) -> Option<&TaskReport> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// The calls that change tasks.
    pub fn actions(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.endpoint.acts())
    }

    /// Everything a careful client never does, one line each.
    ///
    /// A call is judged by what the server showed at the moment it arrived, also when a fault kept it
    /// from taking effect.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for call in &self.calls {
            violations_of(call, &mut found);
        }
        for task in &self.tasks {
            let twice = task.executions.iter().enumerate().any(|(at, first)| {
                task.executions[at + 1..].iter().any(|second| {
                    let triggers = [first.trigger, second.trigger];
                    first.overlaps(second)
                        && triggers.contains(&Trigger::RetryCall)
                        && !triggers.contains(&Trigger::Person)
                })
            });
            if twice {
                found.push(format!("{} {}: ran twice at once", task.kind, task.id));
            }
        }
        found
    }
}

fn violations_of(call: &Call, found: &mut Vec<String>) {
    let mut say = |what: String| {
        found.push(format!("{} {} {}: {what}", call.at, call.kind, call.endpoint.name()));
    };
    if call.ids.len() > 100 {
        say(format!("{} ids in one batch", call.ids.len()));
    }
    let mut seen = BTreeSet::new();
    for id in &call.ids {
        if !seen.insert(id) {
            say(format!("{id} twice in one batch"));
        }
    }
    for target in &call.targets {
        let Some(state) = target.state else { continue };
        let busy = target.running + target.queued > 0;
        let harm = match call.endpoint {
            Endpoint::Retry | Endpoint::RetrySome => match state {
                State::Succeeded => Some("retried after success"),
                State::Failed | State::Canceled => None,
                State::Canceling if !busy => None,
                _ => Some("retried while running or pending"),
            },
            Endpoint::Delete | Endpoint::DeleteSome => match state {
                State::Succeeded | State::Failed | State::Canceled => None,
                State::Canceling if !busy => None,
                _ => Some("deleted while running or pending"),
            },
            Endpoint::Cancel | Endpoint::CancelSome => {
                state.is_done().then_some("canceled when finished")
            }
            _ => None,
        };
        if let Some(harm) = harm {
            say(format!("{} was {}: {harm}", target.id, state.name()));
        }
    }
}
