//! What the commands that look back have in common: where they read, and which time.

use std::collections::HashMap;
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::{Common, Exit, Failure, audit, paths};
use crate::ambient::Clock;
use crate::engine::audit::AuditRow;
use crate::engine::class::{Class, ClassTable};
use crate::engine::observe::{Look, Observation};
use crate::engine::task::{Flavour, Kind, ServerName, State, Task, TaskId};
use crate::store::{AuditFilter, LookFilter, Reader};

/// A stretch of time, as typed.
#[derive(Debug, clap::Args)]
pub(super) struct Period {
    /// Only since then: a moment (`2026-11-24T03:00:00Z`), a day (`2026-11-24`), or a length of
    /// time ago (`2h`, `7d`)
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<String>,
}

impl Period {
    /// Its beginning and its end.
    pub(super) fn moments(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        let now = Clock::system().now();
        let moment = |text: &Option<String>| {
            text.as_deref().map(|text| audit::parse_when(text, now)).transpose()
        };
        Ok((moment(&self.since)?, moment(&self.until)?))
    }
}

/// Opens the store for reading.
pub(super) fn reader(common: &Common) -> Result<Reader, Failure> {
    Reader::open(&paths::state_dir(common)?).map_err(config)
}

/// A failure to read what is stored.
pub(super) fn config(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Config, error)
}

/// The table that sorts errors: that of the rules file where there is one that can be used.
pub(super) fn classes(common: &Common) -> ClassTable {
    let file = paths::config_path(common).and_then(|path| paths::read_rules(&path));
    let config = file.ok().and_then(|file| {
        let path = file.path.display().to_string();
        crate::rules::load(file.source(&path)).config
    });
    config.map_or_else(ClassTable::builtin, |config| config.rules.classes)
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A task was seen in another form.
    Seen(Box<Seen>),
    /// Something was done.
    Done(Box<AuditRow>),
}

/// A task that was seen in another form.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) time: Timestamp,
    pub(super) server: ServerName,
    pub(super) flavour: Flavour,
    pub(super) kind: Kind,
    pub(super) id: TaskId,
    /// As it was seen before, if it was.
    pub(super) before: Option<Task>,
    /// As it is; `None` when it left the list.
    pub(super) task: Option<Task>,
    pub(super) still_since: Option<Timestamp>,
}

impl Seen {
    /// The class of its error, if it has one.
    pub(super) fn class(&self, classes: &ClassTable) -> Option<Class> {
        let task = self.task.as_ref().filter(|task| !task.error.is_empty())?;
        Some(classes.classify(&task.error, self.flavour, task.state))
    }

    /// Whether it failed since it was seen before.
    pub(super) fn failed(&self) -> Option<&Task> {
        let task = self.task.as_ref().filter(|task| task.state == State::Failed)?;
        let recovered = task.started.is_none() && task.ended.is_none();
        let again = self.before.as_ref().is_none_or(|before| {
            before.state != State::Failed
                || (!recovered && (before.started, before.ended) != (task.started, task.ended))
        });
        again.then_some(task)
    }
}

/// Hands out everything that happened, in order: what was seen at a look, then what was done after
/// it.
pub(super) fn each(
    reader: &Reader,
    looks: &LookFilter,
    rows: &AuditFilter,
    mut take: impl FnMut(Event) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let rows = reader.audit(rows).map_err(config)?;
    let mut rows = rows.into_iter().peekable();
    let mut listed: HashMap<(ServerName, Kind, TaskId), Task> = HashMap::new();
    let mut ended = false;
    let each = |look: Look| {
        let Look { server, time, flavour, seen, .. } = look;
        while let Some(row) = rows.next_if(|row| row.time < time) {
            if take(Event::Done(Box::new(row))).is_break() {
                ended = true;
                return ControlFlow::Break(());
            }
        }
        for Observation { kind, id, task, still_since } in seen {
            let key = (server.clone(), kind, id);
            let before = match &task {
                Some(task) => listed.insert(key.clone(), task.clone()),
                None => listed.remove(&key),
            };
            let (server, kind, id) = key;
            let seen = Seen { time, server, flavour, kind, id, before, task, still_since };
            if take(Event::Seen(Box::new(seen))).is_break() {
                ended = true;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    reader.looks_each(looks, each).map_err(config)?;
    if !ended {
        for row in rows {
            if take(Event::Done(Box::new(row))).is_break() {
                break;
            }
        }
    }
    Ok(())
}
