//! The words of the task API: states, endpoints, and what is answered. No wire forms.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::accounts::Role;

/// The state of a task (CONTRACT.md, "Task").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for a worker.
    Pending,
    /// Runs.
    Running,
    /// Done.
    Succeeded,
    /// Was told to stop.
    Canceling,
    /// Stopped.
    Canceled,
    /// Failed, and will retry itself.
    Errored,
    /// About to be failed.
    Failing,
    /// Failed for good.
    Failed,
    /// Waits for a worker, to run again.
    WaitingRetry,
    /// About to run again.
    BeforeRetry,
}

impl State {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Canceling,
        Self::Canceled,
        Self::Errored,
        Self::Failing,
        Self::Failed,
        Self::WaitingRetry,
        Self::BeforeRetry,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Running => 1,
            Self::Succeeded => 2,
            Self::Canceling => 3,
            Self::Canceled => 4,
            Self::Errored => 5,
            Self::Failing => 6,
            Self::Failed => 7,
            Self::WaitingRetry => 8,
            Self::BeforeRetry => 9,
        }
    }

    /// The word on the published page.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
            Self::Errored => "errored",
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::WaitingRetry => "waiting_retry",
            Self::BeforeRetry => "before_retry",
        }
    }

    /// Listed by `done` rather than `undone`.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Canceled | Self::Failed)
    }
}

/// An endpoint of the task API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the endpoints' own")]
pub enum Endpoint {
    Undone,
    Done,
    Info,
    Delete,
    Cancel,
    Retry,
    DeleteSome,
    CancelSome,
    RetrySome,
    ClearDone,
    ClearSucceeded,
    RetryFailed,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 12] = [
        Self::Undone,
        Self::Done,
        Self::Info,
        Self::Delete,
        Self::Cancel,
        Self::Retry,
        Self::DeleteSome,
        Self::CancelSome,
        Self::RetrySome,
        Self::ClearDone,
        Self::ClearSucceeded,
        Self::RetryFailed,
    ];

    /// The last part of its path.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Undone => "undone",
            Self::Done => "done",
            Self::Info => "info",
            Self::Delete => "delete",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::DeleteSome => "delete_some",
            Self::CancelSome => "cancel_some",
            Self::RetrySome => "retry_some",
            Self::ClearDone => "clear_done",
            Self::ClearSucceeded => "clear_succeeded",
            Self::RetryFailed => "retry_failed",
        }
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn acts(self) -> bool {
        !matches!(self, Self::Undone | Self::Done | Self::Info)
    }
}

/// A task as a client sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The user it belongs to; empty when unknown.
    pub creator: String,
    /// That user's role; none when unknown.
    pub role: Option<Role>,
    /// Its state.
    pub state: State,
    /// A number to show in place of the state's: [`super::Model::show_state_as`].
    pub shown_as: Option<i64>,
    /// What it is doing, in words.
    pub status: String,
    /// Percent.
    pub progress: f64,
    /// When it last started.
    pub started: Option<Timestamp>,
    /// When it last ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// Bytes to transfer.
    pub total_bytes: u64,
    /// The last error; empty without one.
    pub error: String,
}

/// The answer to a call of the task API.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A list.
    Tasks(Vec<TaskView>),
    /// One task.
    Task(Box<TaskView>),
    /// Done, with nothing to say.
    Nothing,
    /// A `*_some` call was carried out; what went wrong, by id.
    Errors(BTreeMap<String, &'static str>),
    /// There is no such task, or it belongs to somebody else.
    NotFound,
}
