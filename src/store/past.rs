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
        // A task that was seen before that moment is not new at it.
        let first = looks.since.map(|since| self.first_look_since(since)).transpose()?.flatten();
        let mut failure = None;
        let mut rows = rows.into_iter().peekable();
        let mut listed: HashMap<(ServerName, Kind, TaskId), Option<Arc<Task>>> = HashMap::new();
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
                let known = if task.is_some() || first.is_some() {
                    listed.insert(key.clone(), task.clone())
                } else {
                    listed.remove(&key)
                };
                let (server, kind, id) = key;
                let before = match (known, first) {
                    (None, Some(first)) => match self.seen_before((&server, &kind, &id), first) {
                        Ok(before) => before,
                        Err(error) => {
                            failure = Some(error);
                            return ControlFlow::Break(());
                        }
                    },
                    (known, _) => known.flatten(),
                };
                let seen = Seen { time, server, flavour, kind, id, before, task, still_since };
                if take(Event::Seen(Box::new(seen))).is_break() {
                    ended = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        self.looks_each(looks, each)?;
        if let Some(error) = failure {
            return Err(error);
        }
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
