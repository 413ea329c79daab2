//! Rules in their compiled form: what `decide` works on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::backoff::Backoff;
use super::breaker::BreakerSettings;
use super::class::{self, Class, ClassTable};
use super::needles::Filter;
use super::predicate::{Predicate, Test};
use super::schedule::{Hours, Schedule};
use super::task::{RuleName, ServerName, State};

/// All rules of a configuration, compiled.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// The rules in file order.
    pub rules: Vec<Rule>,
    /// The table that sorts errors, with the file's own entries.
    pub classes: ClassTable,
    /// The mode of the whole file.
    pub mode: Mode,
    /// The modes of single servers.
    pub server_modes: BTreeMap<ServerName, Mode>,
    /// Tells one meaning of the rules from another: the same for files that differ only in form.
    pub revision: String,
    /// Made of the conditions when first asked, which are not to change from then on.
    pub(crate) filter: OnceLock<Arc<Filter>>,
}

impl RuleSet {
    /// The mode in which a rule works on a server: the most careful of all that apply.
    #[must_use]
    pub fn mode_of(&self, rule: &Rule, server: &ServerName) -> Mode {
        self.mode_on(server).max(rule.mode)
    }

    /// The same without what the rule says.
    pub(super) fn mode_on(&self, server: &ServerName) -> Mode {
        self.mode.max(self.server_modes.get(server).copied().unwrap_or_default())
    }

    /// The rules, by their places, whose condition may hold for a task with this error. Most are ruled out
    /// by one look at the error, whatever their number.
    pub(super) fn in_question(&self, error: &str) -> impl Iterator<Item = usize> {
        self.filter().in_question(error)
    }

    /// Makes what the first error would else wait for: what finds its rules, and, once in a process, the table of errors.
    /// Some 10 ms each.
    pub fn get_ready(&self) {
        self.filter();
        class::get_ready();
    }

    fn filter(&self) -> &Filter {
        self.filter.get_or_init(|| {
            let needs = self.rules.iter().map(|rule| rule.condition.error_needles());
            Arc::new(Filter::new(&needs.enumerate().collect::<Vec<_>>()))
        })
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name; state is kept under it.
    pub name: RuleName,
    /// Which tasks it takes.
    pub condition: Predicate,
    /// What it does with them.
    pub action: Action,
    /// Whether it acts, shows what it would do, or rests.
    pub mode: Mode,
    /// Whether later rules look at its tasks too.
    pub continues: bool,
    /// What makes two tasks the same for the count of attempts.
    pub identity: Identity,
    /// The most accepted actions on one task; `None` is no limit.
    pub max_attempts: Option<u32>,
    /// How long after the first failure the rule still tries.
    pub give_up_after: Option<Duration>,
    /// What is done once when the rule gives a task up.
    pub on_give_up: Vec<Action>,
    /// The wait between tries.
    pub backoff: Backoff,
    /// Finds a wait in the error text, beside the built-in forms.
    pub retry_after: Option<Regex>,
    /// When it is looked at; `None` is on every tick.
    pub schedule: Option<Schedule>,
    /// The hours in which it may act.
    pub only_during: Option<Hours>,
    /// How much it may do.
    pub limits: Limits,
    /// When it leaves a failing storage alone.
    pub breaker: Option<BreakerSettings>,
}

impl Rule {
    /// Whether the rule asks for canceled tasks in so many words (`state: canceled` or
    /// `class: canceled`); only then is a task that a person canceled retried.
    #[must_use]
    pub fn asks_for_canceled(&self) -> bool {
        let mut asks = false;
        self.condition.leaves(false, &mut |leaf, negated| {
            asks |= !negated
                && match &leaf.test {
                    Test::State(states) => states.contains(&State::Canceled),
                    Test::Class(classes) => classes.contains(&Class::Canceled),
                    _ => false,
                };
        });
        asks
    }
}

/// What a rule does with a task, by the API's names.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs failed tasks again, one call for many.
    RetrySome,
    /// Cancels undone tasks, one call for many.
    CancelSome,
    /// Removes done tasks from the list, one call for many.
    DeleteSome,
    /// Runs a failed task again, one call a task.
    Retry,
    /// Cancels an undone task, one call a task.
    Cancel,
    /// Removes a done task from the list, one call a task.
    Delete,
    /// Removes all succeeded tasks of a kind.
    ClearSucceeded,
    /// Removes all succeeded, failed and canceled tasks of a kind.
    ClearDone,
    /// Runs every failed task of a kind again, whatever its error.
    RetryFailed,
    /// Tells people, and does nothing to the task.
    Notify,
}

/// What an action does, whichever endpoint does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The task runs again.
    Retry,
    /// The task stops.
    Cancel,
    /// The task leaves the list.
    Remove,
    /// Nothing happens to the task.
    None,
}

impl Action {
    /// All of them, in the order the documentation lists them.
    pub const ALL: [Self; 10] = [
        Self::RetrySome,
        Self::CancelSome,
        Self::DeleteSome,
        Self::Retry,
        Self::Cancel,
        Self::Delete,
        Self::ClearSucceeded,
        Self::ClearDone,
        Self::RetryFailed,
        Self::Notify,
    ];

    /// The name in rules files, audit rows and, but for `notify`, in the API's paths.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetrySome => "retry_some",
            Self::CancelSome => "cancel_some",
            Self::DeleteSome => "delete_some",
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
            Self::ClearSucceeded => "clear_succeeded",
            Self::ClearDone => "clear_done",
            Self::RetryFailed => "retry_failed",
            Self::Notify => "notify",
        }
    }

    /// What it does to a task.
    #[must_use]
    pub fn effect(self) -> Effect {
        match self {
            Self::RetrySome | Self::Retry | Self::RetryFailed => Effect::Retry,
            Self::CancelSome | Self::Cancel => Effect::Cancel,
            Self::DeleteSome | Self::Delete | Self::ClearSucceeded | Self::ClearDone => {
                Effect::Remove
            }
            Self::Notify => Effect::None,
        }
    }

    /// Whether one call acts on a whole kind, whatever the matchers say of single tasks.
    #[must_use]
    pub fn is_whole_kind(self) -> bool {
        matches!(self, Self::ClearSucceeded | Self::ClearDone | Self::RetryFailed)
    }

    /// Whether the action has its meaning on a task in this state and does no harm there
    /// (CONTRACT.md, "What the endpoints do to a task").
    #[must_use]
    pub fn fits(self, state: State) -> bool {
        use State::{
            BeforeRetry, Canceled, Errored, Failed, Pending, Running, Succeeded, WaitingRetry,
        };
        match self {
            Self::RetryFailed => state == Failed,
            Self::ClearSucceeded => state == Succeeded,
            Self::RetrySome | Self::Retry => matches!(state, Failed | Canceled),
            Self::CancelSome | Self::Cancel => {
                matches!(state, Pending | Running | Errored | WaitingRetry | BeforeRetry)
            }
            Self::DeleteSome | Self::Delete | Self::ClearDone => state.is_done(),
            Self::Notify => true,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a rule acts. The later one of two is the more careful.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    #[default]
    Live,
    /// It shows what it would do; nothing counts as done.
    DryRun,
    /// It is not looked at.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::DryRun => "dry_run",
            Self::Off => "off",
        })
    }
}

/// What makes two tasks the same one for a rule's count of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The server's id.
    #[default]
    Id,
    /// Kind and name, so that a task made again keeps its count.
    Name,
}

/// How much a rule may do on one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The most tasks in one tick.
    pub per_tick: Option<u32>,
    /// The most tasks in any hour.
    pub per_hour: Option<u32>,
    /// The largest share (0 to 1) of a kind's list in one tick; at least one task may always go.
    pub max_share: Option<f64>,
    /// Acts only while the kind has fewer undone tasks than this.
    pub only_if_undone_below: Option<u32>,
}

impl Limits {
    /// The limits of a rule that sets none. A retry is what can hammer a drive, so it is held the
    /// tightest.
    #[must_use]
    pub fn built_in(action: Action) -> Self {
        let (per_tick, per_hour) = match action.effect() {
            Effect::Retry => (Some(20), Some(200)),
            Effect::Cancel => (Some(20), None),
            Effect::Remove | Effect::None => (Some(100), None),
        };
        Self { per_tick, per_hour, max_share: None, only_if_undone_below: None }
    }
}
