//! The story of one task, and what the rules make of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::count;
use crate::engine::audit::AuditRow;
use crate::engine::class::{Class, ClassTable};
use crate::engine::decide::Tick;
use crate::engine::explained::{Explained, explain};
use crate::engine::memory::{Memory, Snapshot, Subject};
use crate::engine::rule::RuleSet;
use crate::engine::story::{Event, Seen, tell};
use crate::engine::task::{Kind, ServerName, State, Task, TaskId};
use crate::store::{AuditFilter, LookFilter, Reader};

/// Which task.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskQuery {
    /// Its id.
    pub id: String,
    /// Its server, where several could have it.
    #[serde(default)]
    pub server: Option<String>,
    /// Its kind, where several could have it.
    #[serde(default)]
    pub kind: Option<String>,
    /// At most so many of its last events: 1 to 1000, usually 100.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Everything about one task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TaskView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// Its server.
    pub server: ServerName,
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: TaskId,
    /// Its name, secrets out; absent when nothing tells it any more.
    pub name: Option<String>,
    /// Its state when it was last seen; absent when it is not listed any more.
    pub state: Option<State>,
    /// Its error then, secrets out.
    pub error: Option<String>,
    /// The class of that error.
    pub class: Option<Class>,
    /// Its progress then, 0 to 100.
    pub progress: Option<f64>,
    /// What happened to it, in a sentence; times are of the daemon's time zone.
    pub story: String,
    /// What happened to it, the newest first.
    pub events: Vec<TaskEvent>,
    /// Whether there is more than these.
    pub more: bool,
    /// What every rule makes of it, as it was last seen; absent when it is not listed any more.
    pub explained: Option<Explained>,
    /// How many tasks of the rule that has it waited at the last look, by what for. Where that rule
    /// is said to act now, this one may be held back with them by a limit that counts all tasks.
    pub rule_waiting: BTreeMap<String, usize>,
}

/// Something that happened to a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TaskEvent {
    /// It was seen in another form.
    Seen {
        /// When.
        time: Timestamp,
        /// Its state before; absent when it was seen for the first time.
        was: Option<State>,
        /// Its state; absent when it left the list.
        state: Option<State>,
        /// Its error, secrets out.
        error: Option<String>,
        /// The class of that error.
        class: Option<Class>,
        /// Its progress, 0 to 100.
        progress: Option<f64>,
        /// Since when that has not moved, once that has lasted.
        still_since: Option<Timestamp>,
    },
    /// Something was done to it.
    Done {
        /// The audit row.
        row: AuditRow,
    },
}

/// Gathers it from the store.
///
/// # Errors
/// When the query is wrong, nothing is known of the task, or the store cannot be read.
pub async fn task(desk: &Desk, query: &TaskQuery) -> Result<TaskView, Problem> {
    let now = desk.clock.now();
    let limit = count("limit", query.limit, 100, 1000)? as usize;
    let id = TaskId::from(query.id.as_str());
    let looks = LookFilter {
        server: query.server.as_deref().map(Into::into),
        kind: query.kind.as_deref().map(Into::into),
        task: Some(id.clone()),
        ..LookFilter::default()
    };
    let rows = AuditFilter {
        server: looks.server.clone(),
        kind: looks.kind.clone(),
        task_id: looks.task.clone(),
        ..AuditFilter::default()
    };
    let rules = desk.control.rules();
    let statuses = desk.statuses();
    let gather = move |reader: &Reader| {
        let mut kept: VecDeque<Event> = VecDeque::new();
        let (mut more, mut found) = (false, None);
        reader.events_each(&looks, &rows, |event| {
            let place = match &event {
                Event::Seen(seen) => Some((seen.server.clone(), seen.kind.clone())),
                Event::Done(row) => row.kind.clone().map(|kind| (row.server.clone(), kind)),
            };
            // Ids are random, so two tasks with one do not happen by themselves.
            if found.is_none() {
                found.clone_from(&place);
            }
            if place == found {
                kept.push_back(event);
                if kept.len() > limit {
                    kept.pop_front();
                    more = true;
                }
            }
            ControlFlow::Continue(())
        })?;
        let Some((server, kind)) = found else {
            return Err(Problem::missing(format!(
                "nothing is known of a task `{id}`; its traces may be older than what is kept"
            )));
        };
        let events: &[Event] = kept.make_contiguous();
        let last = events.iter().rev().find_map(|event| match event {
            Event::Seen(seen) => Some(seen),
            Event::Done(_) => None,
        });
        let task = last.and_then(|seen| seen.task.as_ref());
        let explained = match (last, task) {
            (Some(seen), Some(task)) => explained(reader, &rules, seen, task, now)?,
            _ => None,
        };
        let owner = explained.as_ref().and_then(|explained| explained.rule.as_ref());
        let stands = statuses
            .iter()
            .filter(|status| status.server == server)
            .flat_map(|status| &status.rules)
            .find(|stands| Some(&stands.rule) == owner);
        Ok(TaskView {
            now,
            rule_waiting: stands.map(|stands| stands.waiting.clone()).unwrap_or_default(),
            name: name(events),
            state: task.map(|task| task.state),
            error: task.map(|task| task.error.to_string()).filter(|error| !error.is_empty()),
            class: last.and_then(|seen| seen.class(&rules.classes)),
            progress: task.map(|task| task.progress),
            story: tell(events, &rules.classes, &TimeZone::system()),
            more,
            explained,
            events: events.iter().rev().map(|event| shown(event, &rules.classes)).collect(),
            server,
            kind,
            id: id.clone(),
        })
    };
    desk.read(gather).await
}

/// The name that the last event with one tells.
fn name(events: &[Event]) -> Option<String> {
    events.iter().rev().find_map(|event| match event {
        Event::Seen(seen) => {
            let task = seen.task.as_ref().or(seen.before.as_ref())?;
            Some(task.name.shown().to_owned())
        }
        Event::Done(row) => row.task_name.clone(),
    })
}

/// What the rules make of the task as it was last seen, by the one evaluator.
fn explained(
    reader: &Reader,
    rules: &RuleSet,
    seen: &Seen,
    task: &Arc<Task>,
    now: Timestamp,
) -> Result<Option<Explained>, Problem> {
    let subjects = [
        Subject::Task(seen.kind.clone(), seen.id.clone()),
        Subject::Name(seen.kind.clone(), task.name.identity()),
    ];
    let changes = reader.load_one(&seen.server, (&seen.kind, &seen.id), &subjects)?;
    let mut memory = Memory::new(seen.server.clone());
    memory.restore(changes);
    let snapshot = Snapshot {
        server: seen.server.clone(),
        flavour: seen.flavour,
        skew: SignedDuration::ZERO,
        kinds: [(seen.kind.clone(), vec![Arc::clone(task)].into())].into(),
        unread: [].into(),
    };
    let tick = Tick { now, seed: 0 };
    Ok(explain(rules, &memory, &snapshot, tick, &seen.kind, &seen.id))
}

fn shown(event: &Event, classes: &ClassTable) -> TaskEvent {
    match event {
        Event::Done(row) => TaskEvent::Done { row: AuditRow::clone(row) },
        Event::Seen(seen) => {
            let task = seen.task.as_ref();
            TaskEvent::Seen {
                time: seen.time,
                was: seen.before.as_ref().map(|task| task.state),
                state: task.map(|task| task.state),
                error: task.map(|task| task.error.to_string()).filter(|error| !error.is_empty()),
                class: seen.class(classes),
                progress: task.map(|task| task.progress),
                still_since: seen.still_since,
            }
        }
    }
}
