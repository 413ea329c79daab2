//! How a server and its rules stand after a look: what `status`, the metrics and the health checks
//! show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Sink};
use crate::engine::memory::Paused;
use crate::engine::rule::Mode;
use crate::engine::task::{Flavour, Kind, RuleName, ServerName, TaskId};

/// The most tasks that are named as due next.
pub const DUE_SHOWN: usize = 20;

/// How a server stands after the last look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The server.
    pub server: ServerName,
    /// When it was looked at.
    pub time: Timestamp,
    /// How long the look took, in seconds.
    pub look_seconds: f64,
    /// Which product it is.
    pub flavour: Flavour,
    /// Since when it cannot be read, and why; `None` while it can.
    pub away: Option<Away>,
    /// Whether what is done can be written down.
    pub store_works: bool,
    /// By how many seconds its clock is ahead of ours.
    pub skew_seconds: i64,
    /// How many tasks each kind lists, by state.
    pub tasks: BTreeMap<Kind, BTreeMap<String, usize>>,
    /// The kinds that could not be read, with why.
    pub unread: BTreeMap<Kind, String>,
    /// The rules in file order.
    pub rules: Vec<RuleStatus>,
    /// The tasks that come next, the soonest first; at most [`DUE_SHOWN`].
    pub due: Vec<Due>,
}

/// That a server cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Away {
    /// Since when.
    pub since: Timestamp,
    /// Why, secrets out.
    pub error: String,
}

/// How a rule stands on a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The rule.
    pub rule: RuleName,
    /// Whether it acts, by its own, the server's and the file's mode.
    pub mode: Mode,
    /// Set while a person has paused it.
    pub paused: Option<Paused>,
    /// How many of its tasks wait, by what they wait for.
    pub waiting: BTreeMap<String, usize>,
    /// How many tasks it has given up and nobody has put away.
    pub dead: usize,
    /// Its breakers that leave a storage alone, wholly or in part.
    pub breakers: Vec<BreakerStatus>,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerStatus {
    /// What it is about, e.g. a mount.
    pub key: String,
    /// `open`, `half_open` or `ramp`.
    pub state: String,
    /// Until when it is open.
    pub until: Option<Timestamp>,
}

/// A task whose moment is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The moment.
    pub time: Timestamp,
    /// The rule.
    pub rule: RuleName,
    /// The queue.
    pub kind: Kind,
    /// The task; `None` for a whole kind.
    pub task_id: Option<TaskId>,
    /// Its name, secrets out.
    pub task_name: Option<String>,
    /// What it waits for, by the gate's name.
    pub gate: String,
}

/// The last status of every server.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Shown>>);

/// What a board shows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// By server.
    pub servers: BTreeMap<ServerName, Arc<ServerStatus>>,
    /// What the last reading of the rules file came to, if it was read since the start.
    pub reload: Option<Reload>,
}

/// What a reading of the rules file came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reload {
    /// Whether it was taken over.
    pub accepted: bool,
    /// What changed, or why it was refused.
    pub detail: String,
}

impl Reload {
    /// What an event tells of it.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Reloaded { changes, .. } => {
                Some(Self { accepted: true, detail: changes.clone() })
            }
            Event::ReloadRefused { findings } => {
                Some(Self { accepted: false, detail: findings.clone() })
            }
            _ => None,
        }
    }
}

impl Board {
    /// A sink that keeps the board, and hands every event on to `sink`.
    #[must_use]
    pub fn beside(&self, sink: &Sink) -> Sink {
        let (board, sink) = (self.clone(), sink.clone());
        Sink::new(move |event| {
            board.take(event);
            sink.emit(event);
        })
    }

    fn take(&self, event: &Event) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Status(status) => {
                shown.servers.insert(status.server.clone(), Arc::clone(status));
            }
            event => {
                if let Some(reload) = Reload::of(event) {
                    shown.reload = Some(reload);
                }
            }
        }
    }

    /// What it shows now.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
