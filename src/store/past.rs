//! What was seen and what was done, in one stream.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{AuditFilter, LookFilter, Reader, StoreError};
use crate::engine::observe::{Look, Observation};
use crate::engine::story::{Event, Seen};
use crate::engine::task::{Kind, ServerName, Task, TaskId};

impl Reader {
    /// Hands out everything that happened, in order: what was seen at a look, then what was done after
    /// it.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn events_each(
        &self,
        looks: &LookFilter,
        rows: &AuditFilter,
        mut take: impl FnMut(Event) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let rows = self.audit(rows)?;
        let mut rows = rows.into_iter().peekable();
        let mut listed: HashMap<(ServerName, Kind, TaskId), Arc<Task>> = HashMap::new();
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
        self.looks_each(looks, each)?;
        if !ended {
            for row in rows {
                if take(Event::Done(Box::new(row))).is_break() {
                    break;
                }
            }
        }
        Ok(())
    }
}
