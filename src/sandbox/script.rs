//! What the tasks of a sandbox will do when they run.

use std::time::Duration;

/// How one attempt at a task ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The work is done.
    Succeed,
    /// The work fails with this error text.
    Fail {
        /// What the task list will show as `error`.
        error: String,
    },
    /// The peer falls silent: the task stays `running` for ever and its progress stands still
    /// (CONTRACT.md, "What the endpoints do to a task").
    Stall,
}

/// One attempt at a task.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptScript {
    /// Virtual time until the outcome; for a stall, until the silence begins.
    pub duration: Duration,
    /// How it ends.
    pub outcome: Attempt,
    /// The percentage that `progress` has reached by then. 0 means that the attempt never moves any
    /// bytes, so that it does not count as progress of its kind either.
    pub reaches: f64,
}

impl AttemptScript {
    /// An attempt that succeeds after `duration`.
    #[must_use]
    pub fn succeed(duration: Duration) -> Self {
        Self { duration, outcome: Attempt::Succeed, reaches: 100.0 }
    }

    /// An attempt that fails after `duration`: half way, or before it began when it fails within a
    /// second.
    #[must_use]
    pub fn fail(duration: Duration, error: impl Into<String>) -> Self {
        let reaches = if duration < Duration::from_secs(1) { 0.0 } else { 47.0 };
        Self { duration, outcome: Attempt::Fail { error: error.into() }, reaches }
    }

    /// An attempt that moves to 12 percent during `duration` and then falls silent.
    #[must_use]
    pub fn stall(duration: Duration) -> Self {
        Self { duration, outcome: Attempt::Stall, reaches: 12.0 }
    }
}

/// A task, and what will become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskScript {
    /// The kind, such as `copy`.
    pub kind: String,
    /// The name, in the form the servers write (CONTRACT.md, "Names").
    pub name: String,
    /// The user it belongs to; empty when unknown.
    pub creator: String,
    /// What its attempts do, in order; the last one repeats for ever. Without any, it succeeds.
    pub attempts: Vec<AttemptScript>,
    /// Bytes to transfer, shown once an attempt has moved any.
    pub total_bytes: u64,
    /// The storage whose [`Throttle`] counts this task's starts.
    pub mount: Option<String>,
    /// How long a running attempt goes on after it was told to cancel; the task is `canceling`
    /// meanwhile.
    pub cancel_lag: Duration,
    /// A task that each success of this one adds, as a finished download adds its transfer.
    pub follow_up: Option<Box<TaskScript>>,
}

impl TaskScript {
    /// A task of the admin's that has no attempts yet.
    #[must_use]
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            creator: "admin".to_owned(),
            attempts: Vec::new(),
            total_bytes: 0,
            mount: None,
            cancel_lag: Duration::ZERO,
            follow_up: None,
        }
    }

    /// Adds an attempt.
    #[must_use]
    pub fn then(mut self, attempt: AttemptScript) -> Self {
        self.attempts.push(attempt);
        self
    }

    /// Adds `times` attempts that each fail with `error` after `duration`.
    #[must_use]
    pub fn fails(mut self, times: usize, duration: Duration, error: &str) -> Self {
        self.attempts.extend(std::iter::repeat_n(AttemptScript::fail(duration, error), times));
        self
    }

    /// Adds an attempt that succeeds after `duration`.
    #[must_use]
    pub fn succeeds(self, duration: Duration) -> Self {
        self.then(AttemptScript::succeed(duration))
    }

    /// Makes it another user's task.
    #[must_use]
    pub fn by(mut self, creator: impl Into<String>) -> Self {
        self.creator = creator.into();
        self
    }

    /// Sets its size in bytes.
    #[must_use]
    pub fn bytes(mut self, total: u64) -> Self {
        self.total_bytes = total;
        self
    }

    /// Puts it on a storage that may throttle.
    #[must_use]
    pub fn on(mut self, mount: impl Into<String>) -> Self {
        self.mount = Some(mount.into());
        self
    }

    /// The attempt number `n`, counted from 0.
    pub(super) fn attempt(&self, n: usize) -> AttemptScript {
        self.attempts
            .get(n)
            .or(self.attempts.last())
            .cloned()
            .unwrap_or_else(|| AttemptScript::succeed(Duration::ZERO))
    }
}

/// A storage whose provider bans an account that starts too much at once (CONTRACT.md, "Cloud drives
/// throttle").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The mount, as scripts name it in [`TaskScript::mount`].
    pub mount: String,
    /// Starts within one minute that are still fine.
    pub starts_per_minute: usize,
    /// How long every start fails once there was one too many.
    pub ban: Duration,
    /// A start during the ban begins it anew.
    pub prolong: bool,
    /// The error text; `{seconds}` in it becomes the rest of the ban.
    pub error: String,
}
