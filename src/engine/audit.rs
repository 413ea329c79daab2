//! What is written down about every action: the audit row and its outcome.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::class::Class;
use super::rule::Mode;
use super::task::{Kind, RuleName, ServerName, TaskId};

/// The number of an audit row: of one intended action on one task (or one whole kind). Never used
/// twice in a state folder.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct IntentId(pub i64);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One row of the audit log. A row is written before its action is sent, as `planned`; its outcome
/// is filled in as it becomes known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Its number.
    pub id: IntentId,
    /// When the action was intended.
    pub time: Timestamp,
    /// The server it went to.
    pub server: ServerName,
    /// The rule that asked for it; `None` for events of the daemon itself.
    pub rule: Option<RuleName>,
    /// The API's name of the action, or `give_up`, `reload` and the like for an event.
    pub action: String,
    /// The queue.
    pub kind: Option<Kind>,
    /// The task; `None` for an action on a whole kind.
    pub task_id: Option<TaskId>,
    /// The task's name, secrets out.
    pub task_name: Option<String>,
    /// Which try of this rule on this task it is, from 1.
    pub attempt: Option<u32>,
    /// Why, in words.
    pub reason: String,
    /// The task's error, secrets out.
    pub error: Option<String>,
    /// The class of that error.
    pub class: Option<Class>,
    /// Whether it was meant in earnest.
    pub mode: Mode,
    /// What came of it.
    pub outcome: Outcome,
    /// More about the outcome; empty when there is nothing to say.
    pub detail: String,
    /// The rules that decided.
    pub rules_revision: String,
}

/// What the rows of one moment have in common.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// When.
    pub time: Timestamp,
    /// The server.
    pub server: ServerName,
    /// The rules that decided.
    pub rules_revision: String,
}

/// How a call went wrong. The outcome of its rows may come to be the same as if it had not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The look just before it failed, so nothing was sent.
    NoLook,
    /// The server was not reached, or refused the call whole.
    NotDone,
    /// No answer came.
    Lost,
}

/// What came of an action.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Written down; not sent yet, or never to be sent (dry run).
    Planned,
    /// The server said yes; whether it took is not known yet.
    Accepted,
    /// The server said no, or could not be reached.
    Rejected,
    /// The second look showed another task than the decision was about; nothing was sent.
    SkippedChanged,
    /// A later look showed that it took.
    Effective,
    /// A later look showed that it did not.
    Ineffective,
    /// Nothing tells whether it was carried out.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Planned,
        Self::Accepted,
        Self::Rejected,
        Self::SkippedChanged,
        Self::Effective,
        Self::Ineffective,
        Self::Unknown,
    ];

    /// The name in audit rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::SkippedChanged => "skipped_changed",
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no outcome.
#[derive(Debug, thiserror::Error)]
#[error("no outcome is called `{0}`")]
pub struct UnknownOutcome(String);

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| UnknownOutcome(text.to_owned()))
    }
}
