//! Why something happens, and why something does not: plain data for `plan`, `explain` and the
//! dashboard.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::class::{Class, Retry};
use super::predicate::PredicateTrace;
use super::rule::{Action, Rule};
use super::task::{Kind, RuleName, State, Task, TaskId};
use super::text::moment;

/// A task that a rule has taken and that waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// The queue.
    pub kind: Kind,
    /// The task; `None` for a whole kind.
    pub task: Option<TaskId>,
    /// The rule.
    pub rule: RuleName,
    /// What it waits for.
    pub gate: Gate,
}

/// What keeps a rule from acting now.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "gate", rename_all = "snake_case")]
pub enum Gate {
    /// Another rule acts on the task in this tick.
    OneAction,
    /// The effect of the last action is not known yet.
    Judging {
        /// When that was sent.
        since: Timestamp,
    },
    /// A person paused the rule.
    Paused {
        /// Until when; `None` is until it is resumed.
        until: Option<Timestamp>,
        /// Why.
        why: String,
    },
    /// It is not a moment of the rule's schedule.
    Schedule {
        /// The next one.
        until: Option<Timestamp>,
    },
    /// It is outside the rule's hours.
    OffHours {
        /// When they begin.
        until: Option<Timestamp>,
    },
    /// The wait after the last failure is not over.
    Backoff {
        /// When it is.
        until: Timestamp,
        /// Which try comes then, from 1.
        attempt: u32,
        /// The most tries.
        of: Option<u32>,
    },
    /// The storage is left alone.
    Breaker {
        /// Which.
        key: String,
        /// When it is looked at again.
        until: Timestamp,
    },
    /// The queue is long enough already.
    Undone {
        /// Undone tasks, with those that this tick adds.
        undone: u32,
        /// The rule acts below this.
        below: u32,
    },
    /// The tick's share of the list is used up.
    MaxShare {
        /// How many tasks that is.
        at_most: u32,
        /// The length of the list.
        of: usize,
    },
    /// The tick's number of tasks is used up.
    PerTick {
        /// That number.
        limit: u32,
    },
    /// The hour's number of tasks is used up.
    PerHour {
        /// That number.
        limit: u32,
        /// When there is room again.
        until: Timestamp,
    },
    /// A `notify` has spoken of it already.
    Noticed,
    /// All attempts on the kind are used up.
    Exhausted {
        /// How many there were.
        attempts: u32,
    },
    /// The whole-kind retry would touch tasks it must not: canceled by a person, or succeeded.
    WouldRetryUnmeant {
        /// How many.
        count: usize,
    },
}

impl Gate {
    /// The names of all of them.
    pub const NAMES: [&'static str; 14] = [
        "one_action",
        "judging",
        "paused",
        "schedule",
        "off_hours",
        "backoff",
        "breaker",
        "undone",
        "max_share",
        "per_tick",
        "per_hour",
        "noticed",
        "exhausted",
        "would_retry_unmeant",
    ];

    /// When it opens, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Paused { until, .. } | Self::Schedule { until } | Self::OffHours { until } => {
                *until
            }
            Self::Backoff { until, .. }
            | Self::Breaker { until, .. }
            | Self::PerHour { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Its name, as JSON has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::OneAction => "one_action",
            Self::Judging { .. } => "judging",
            Self::Paused { .. } => "paused",
            Self::Schedule { .. } => "schedule",
            Self::OffHours { .. } => "off_hours",
            Self::Backoff { .. } => "backoff",
            Self::Breaker { .. } => "breaker",
            Self::Undone { .. } => "undone",
            Self::MaxShare { .. } => "max_share",
            Self::PerTick { .. } => "per_tick",
            Self::PerHour { .. } => "per_hour",
            Self::Noticed => "noticed",
            Self::Exhausted { .. } => "exhausted",
            Self::WouldRetryUnmeant { .. } => "would_retry_unmeant",
        }
    }

    /// Whether it opens by itself as the work goes on, unlike a schedule or a pause.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        !matches!(
            self,
            Self::Schedule { .. }
                | Self::OffHours { .. }
                | Self::Paused { .. }
                | Self::Noticed
                | Self::Exhausted { .. }
                | Self::WouldRetryUnmeant { .. }
        )
    }

    /// Whether it is a limit that people set, and may have forgotten.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::Undone { .. }
                | Self::PerHour { .. }
                | Self::Exhausted { .. }
                | Self::WouldRetryUnmeant { .. }
        )
    }

    /// Whether it is a matter of room: the task could go now if fewer others did.
    #[must_use]
    pub fn is_room(&self) -> bool {
        matches!(
            self,
            Self::Breaker { .. }
                | Self::Undone { .. }
                | Self::MaxShare { .. }
                | Self::PerTick { .. }
                | Self::PerHour { .. }
                | Self::Judging { .. }
        )
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneAction => f.write_str("another rule acts on the task in this tick"),
            Self::Judging { .. } => f.write_str("waits to see whether the last action took"),
            Self::Paused { until: Some(until), why } => {
                write!(f, "paused until {}: {why}", moment(*until))
            }
            Self::Paused { until: None, why } => write!(f, "paused: {why}"),
            Self::Schedule { until: Some(until) } => {
                write!(f, "its schedule fires next at {}", moment(*until))
            }
            Self::Schedule { until: None } => f.write_str("its schedule never fires again"),
            Self::OffHours { until: Some(until) } => {
                write!(f, "outside its hours until {}", moment(*until))
            }
            Self::OffHours { until: None } => f.write_str("outside its hours"),
            Self::Backoff { until, attempt, of: Some(of) } => {
                write!(f, "backs off until {}, then attempt {attempt} of {of}", moment(*until))
            }
            Self::Backoff { until, attempt, of: None } => {
                write!(f, "backs off until {}, then attempt {attempt}", moment(*until))
            }
            Self::Breaker { key, until } => {
                write!(f, "the breaker of {key} is open until {} at least", moment(*until))
            }
            Self::Undone { undone, below } => {
                write!(f, "{undone} tasks are undone; the rule acts below {below}")
            }
            Self::MaxShare { at_most, of } => {
                write!(f, "max_share allows {at_most} of {of} tasks in one tick")
            }
            Self::PerTick { limit } => write!(f, "per_tick allows {limit} tasks in one tick"),
            Self::PerHour { limit, until } => {
                write!(f, "per_hour allows {limit} tasks an hour; room again at {}", moment(*until))
            }
            Self::Noticed => f.write_str("has told of it already"),
            Self::Exhausted { attempts } => write!(f, "all {attempts} attempts are used up"),
            Self::WouldRetryUnmeant { count } => write!(
                f,
                "it would also retry {count} tasks that were canceled or had succeeded; \
                 use `retry_some`"
            ),
        }
    }
}

/// Everything that was looked at for one task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskTrace {
    /// The queue.
    pub kind: Kind,
    /// The task.
    pub id: TaskId,
    /// Its name, secrets out.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its error (the last one seen, if the server forgot it).
    pub error: String,
    /// The class of that error.
    pub class: Option<Class>,
    /// Whether running it again later is sensible.
    pub retry: Option<Retry>,
    /// Every rule, in file order.
    pub rules: Vec<RuleTrace>,
}

/// How one rule looked at a task.
#[derive(Clone, Debug, Serialize)]
pub struct RuleTrace {
    /// The rule.
    pub name: RuleName,
    /// What it does.
    pub action: Action,
    /// What came of it.
    #[serde(flatten)]
    pub look: Look,
    /// The matchers.
    pub predicate: Option<PredicateTrace>,
    /// What the engine itself asks and the task does not have.
    pub implied: Option<String>,
    /// Accepted actions of the rule on the task so far.
    pub attempts: u32,
    /// When its next action is due, limits aside.
    pub due: Option<Timestamp>,
    /// What keeps it from acting now.
    pub gates: Vec<Gate>,
}

/// What a rule came to for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Look {
    /// A rule before it has the task.
    TakenBefore,
    /// A matcher does not hold.
    NoMatch,
    /// It has the task.
    Taken,
    /// It matched once, and has given the task up.
    LetGo {
        /// Why.
        why: String,
    },
    /// It has the task, and something keeps it from acting now.
    Waits,
    /// It acts now.
    Acts,
}

impl TaskTrace {
    /// The rule that has the task: a rule that lets others look too stands before the one that has
    /// it in the end.
    #[must_use]
    pub fn owner(&self) -> Option<&RuleTrace> {
        self.rules.iter().rfind(|rule| matches!(rule.look, Look::Waits | Look::Acts | Look::Taken))
    }

    pub(super) fn new(kind: &Kind, task: &Task) -> Self {
        Self {
            kind: kind.clone(),
            id: task.id.clone(),
            name: task.name.shown().to_owned(),
            state: task.state,
            error: String::new(),
            class: None,
            retry: None,
            rules: Vec::new(),
        }
    }

    pub(super) fn last_rule(&mut self, change: impl FnOnce(&mut RuleTrace)) {
        if let Some(rule) = self.rules.last_mut() {
            change(rule);
        }
    }

    pub(super) fn rule(&mut self, name: &RuleName, change: impl FnOnce(&mut RuleTrace)) {
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.name == *name) {
            change(rule);
        }
    }
}

impl RuleTrace {
    pub(super) fn new(rule: &Rule, look: Look) -> Self {
        Self {
            name: rule.name.clone(),
            action: rule.action,
            look,
            predicate: None,
            implied: None,
            attempts: 0,
            due: None,
            gates: Vec::new(),
        }
    }
}
