//! A task that somebody describes: put up as the only one on its server, so that the evaluator can
//! look at it like at any other.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::memory::{Memory, Snapshot, Subject};
use super::moment::Moment;
use super::name::{TaskName, scrub};
use super::rule::{Identity, RuleSet};
use super::task::{Common, Flavour, Kind, ServerName, State, Task, TaskId};

/// What is said of a task; what is not said is as on a task that has just come to its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The server it is on.
    pub server: ServerName,
    /// Which product that is.
    pub flavour: Flavour,
    /// Its queue.
    pub kind: Kind,
    /// Its id.
    pub id: TaskId,
    /// Its name, as a server would send it.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// Its error.
    pub error: String,
    /// The driver's free text.
    pub status: String,
    /// The user who made it.
    pub creator: String,
    /// The roles of that user.
    pub roles: Vec<i64>,
    /// Percent.
    pub progress: f64,
    /// Its size in bytes.
    pub size: u64,
    /// When its last run began.
    pub started: Option<Timestamp>,
    /// When its last run ended.
    pub ended: Option<Timestamp>,
    /// How long it is in its state.
    pub age: Option<Duration>,
    /// How long its progress has not moved.
    pub stalled_for: Option<Duration>,
    /// How many actions of each rule it has seen.
    pub attempts: u32,
}

impl Described {
    /// A task of which no more than kind and state is known.
    #[must_use]
    pub fn new(server: ServerName, kind: Kind, state: State) -> Self {
        Self {
            server,
            flavour: Flavour::Unknown,
            kind,
            id: TaskId::from("described"),
            name: String::new(),
            state,
            error: String::new(),
            status: String::new(),
            creator: String::new(),
            roles: Vec::new(),
            progress: 0.0,
            size: 0,
            started: None,
            ended: None,
            age: None,
            stalled_for: None,
            attempts: 0,
        }
    }

    /// The look at a server that lists this task and no other.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let ago = |length: Option<Duration>| {
            let length = SignedDuration::try_from(length.unwrap_or_default()).unwrap_or_default();
            now.checked_sub(length).unwrap_or(Timestamp::MIN)
        };
        let running = self.state == State::Running;
        let age = self.age.max(self.stalled_for.filter(|_| running));
        let task = Task {
            id: self.id.clone(),
            name: TaskName::new(&self.name),
            progress: self.progress,
            started: self.started.or_else(|| running.then(|| ago(age))).map(Moment::from),
            ended: self.ended.or_else(|| self.state.is_done().then(|| ago(age))).map(Moment::from),
            total_bytes: self.size,
            common: Common {
                creator: self.creator.as_str().into(),
                roles: self.roles.as_slice().into(),
                state: self.state,
                status: scrub(&self.status).into(),
                error: scrub(&self.error).into(),
            }
            .into(),
        };
        Snapshot {
            server: self.server.clone(),
            flavour: self.flavour,
            skew: SignedDuration::ZERO,
            kinds: BTreeMap::from([(self.kind.clone(), vec![task.into()].into())]),
            unread: BTreeMap::new(),
        }
    }

    /// What a daemon would remember of this task.
    #[must_use]
    pub fn memory(&self, rules: &RuleSet, snapshot: &Snapshot, now: Timestamp) -> Memory {
        let mut memory = Memory::new(self.server.clone());
        memory.fold(snapshot, now);
        let since = |length: Option<Duration>| {
            let length = SignedDuration::try_from(length?).ok()?;
            now.checked_sub(length).ok()
        };
        if let Some(task) = memory.task_mut(&self.kind, &self.id) {
            if let Some(since) = since(self.stalled_for) {
                task.progress_at = since.into();
            }
            if let Some(since) = since(self.age).filter(|_| !self.state.is_done()) {
                task.state_since = since.into();
            }
        }
        if self.attempts > 0 {
            let name = TaskName::new(&self.name).identity();
            for rule in &rules.rules {
                let subject = match rule.identity {
                    Identity::Id => Subject::Task(self.kind.clone(), self.id.clone()),
                    Identity::Name => Subject::Name(self.kind.clone(), name),
                };
                memory.progress_mut(&subject, &rule.name).attempts = self.attempts;
            }
        }
        memory
    }
}
