//! What happened to tasks and what was done about it, and how that is told of one of them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::audit::{AuditRow, Outcome};
use super::class::{Class, ClassTable};
use super::predicate::format_duration;
use super::rule::{Action, Effect, Mode};
use super::task::{Flavour, Kind, ServerName, State, Task, TaskId};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A task was seen in another form.
    Seen(Box<Seen>),
    /// Something was done.
    Done(Box<AuditRow>),
}

/// A task that was seen in another form.
#[derive(Debug)]
pub struct Seen {
    /// When.
    pub time: Timestamp,
    /// The server.
    pub server: ServerName,
    /// Which product that is.
    pub flavour: Flavour,
    /// The queue.
    pub kind: Kind,
    /// The task.
    pub id: TaskId,
    /// As it was seen before, if it was.
    pub before: Option<Arc<Task>>,
    /// As it is; `None` when it left the list.
    pub task: Option<Arc<Task>>,
    /// Since when the progress of a running task has not moved, once that has lasted.
    pub still_since: Option<Timestamp>,
}

impl Seen {
    /// The class of its error, if it has one.
    #[must_use]
    pub fn class(&self, classes: &ClassTable) -> Option<Class> {
        let task = self.task.as_ref().filter(|task| !task.error.is_empty())?;
        Some(classes.classify(&task.error, self.flavour, task.state))
    }

    /// Whether it failed since it was seen before.
    #[must_use]
    pub fn failed(&self) -> Option<&Task> {
        let task = self.task.as_ref().filter(|task| task.state == State::Failed)?;
        let recovered = task.started.is_none() && task.ended.is_none();
        let again = self.before.as_ref().is_none_or(|before| {
            before.state != State::Failed
                || (!recovered && (before.started, before.ended) != (task.started, task.ended))
        });
        again.then_some(task)
    }

    /// Whether more than its progress changed.
    #[must_use]
    pub fn is_news(&self) -> bool {
        match (&self.before, &self.task) {
            (Some(before), Some(task)) => before.fingerprint() != task.fingerprint(),
            _ => true,
        }
    }
}

/// The story of one task in a sentence, with times of this zone; empty when nothing is known of it.
#[must_use]
pub fn tell(events: &[Event], classes: &ClassTable, zone: &TimeZone) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut day = None;
    let mut at = |moment: Timestamp| {
        let local = moment.to_zoned(zone.clone());
        let form =
            if day.replace(local.date()) == Some(local.date()) { "%H:%M" } else { "%F %H:%M" };
        local.strftime(form).to_string()
    };
    let mut failed_at: Option<Timestamp> = None;
    for event in events {
        match event {
            Event::Seen(seen) => {
                let before = seen.before.as_ref().map(|task| task.state);
                let Some(task) = &seen.task else {
                    parts.push(format!("left the list {}", at(seen.time)));
                    continue;
                };
                if before == Some(task.state) && seen.failed().is_none() {
                    continue;
                }
                let class =
                    seen.class(classes).map_or_else(String::new, |class| format!(" {class}"));
                failed_at = (task.state == State::Failed).then_some(seen.time);
                parts.push(format!("{} {}{class}", task.state, at(seen.time)));
            }
            Event::Done(row) => {
                if let Some(since) = failed_at.take() {
                    let waited = Duration::try_from(row.time.duration_since(since));
                    let waited = waited.unwrap_or_default();
                    if waited >= Duration::from_secs(1) {
                        parts.push(format!("waited {}", format_duration(waited)));
                    }
                }
                parts.push(done(row, &at(row.time)));
            }
        }
    }
    parts.join("; ")
}

fn done(row: &AuditRow, at: &str) -> String {
    let effect = Action::ALL.into_iter().find(|action| action.as_str() == row.action);
    let verb = match effect.map(Action::effect) {
        Some(Effect::Retry) => "retried",
        Some(Effect::Cancel) => "canceled",
        Some(Effect::Remove) => "removed",
        Some(Effect::None) => "told",
        None if row.action == "give_up" => "given up",
        None => &row.action,
    };
    if row.mode == Mode::DryRun {
        return format!("would be {verb} {at} (dry run)");
    }
    let mut text = format!("{verb} {at}");
    if effect.is_some_and(|action| action.effect() == Effect::Retry)
        && let Some(attempt) = row.attempt
    {
        let _ = write!(text, ", attempt {attempt}");
    }
    match row.outcome {
        Outcome::Effective | Outcome::Accepted => {}
        Outcome::Planned => text.push_str(" (not sent yet)"),
        Outcome::SkippedChanged => text.push_str(" (not sent: it had changed)"),
        outcome => {
            let _ = write!(text, " ({outcome})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::audit::IntentId;
    use crate::engine::name::TaskName;
    use crate::engine::task::Common;

    fn at(clock: &str) -> Timestamp {
        format!("2026-11-24T{clock}Z").parse().unwrap()
    }

    fn seen(clock: &str, before: Option<State>, state: State, error: &str) -> Event {
        let task = |state| {
            Arc::new(Task {
                id: "a".into(),
                name: TaskName::new("upload a.bin to [/d](/x)"),
                progress: 0.0,
                started: None,
                ended: None,
                total_bytes: 0,
                common: Common {
                    creator: "".into(),
                    roles: [].into(),
                    state,
                    status: "".into(),
                    error: error.into(),
                }
                .into(),
            })
        };
        Event::Seen(Box::new(Seen {
            time: at(clock),
            server: "home".into(),
            flavour: Flavour::OpenList,
            kind: Kind::Upload,
            id: "a".into(),
            before: before.map(task),
            task: Some(task(state)),
            still_since: None,
        }))
    }

    #[test]
    fn a_task_has_a_story() {
        let row = AuditRow {
            id: IntentId(1),
            time: at("21:14:00"),
            server: "home".into(),
            rule: Some("again".into()),
            action: "retry_some".to_owned(),
            kind: Some(Kind::Upload),
            task_id: Some("a".into()),
            task_name: None,
            attempt: Some(2),
            reason: String::new(),
            error: None,
            class: None,
            mode: Mode::Live,
            outcome: Outcome::Effective,
            detail: String::new(),
            rules_revision: String::new(),
        };
        let events = [
            seen("21:04:00", Some(State::Running), State::Failed, "429 Too Many Requests"),
            Event::Done(Box::new(row)),
            seen("21:14:10", Some(State::Failed), State::Running, ""),
            seen("21:20:10", Some(State::Running), State::Running, ""),
            seen("21:31:00", Some(State::Running), State::Succeeded, ""),
        ];
        assert_eq!(
            tell(&events, &ClassTable::builtin(), &TimeZone::UTC),
            "failed 2026-11-24 21:04 throttled; waited 10m; retried 21:14, attempt 2; \
             running 21:14; succeeded 21:31"
        );
    }
}
