//! What is due next.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::count;
use crate::engine::task::{Kind, RuleName, ServerName, TaskId};
use crate::telemetry::status::DUE_SHOWN;

/// Which of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DueQuery {
    /// Only at this server.
    pub server: Option<String>,
    /// At most so many: 1 to 200, usually 50.
    pub limit: Option<u32>,
}

/// What is due next.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DueView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// How many of each server are known at most.
    pub of_each_server: usize,
    /// The tasks whose moment is known, the soonest first.
    pub due: Vec<DueTask>,
}

/// A task whose moment is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct DueTask {
    /// The moment.
    pub time: Timestamp,
    /// The server.
    pub server: ServerName,
    /// The rule.
    pub rule: RuleName,
    /// The queue.
    pub kind: Kind,
    /// The task; absent for a whole kind.
    pub task_id: Option<TaskId>,
    /// Its name, secrets out.
    pub task_name: Option<String>,
    /// What it waits for, by the gate's name.
    pub gate: String,
}

/// Gathers it from the board.
///
/// # Errors
/// When the query is wrong.
pub fn due(desk: &Desk, query: &DueQuery) -> Result<DueView, Problem> {
    let limit = count("limit", query.limit, 50, 200)?;
    let mut due: Vec<DueTask> = desk
        .statuses()
        .iter()
        .filter(|status| query.server.as_deref().is_none_or(|name| status.server.as_str() == name))
        .flat_map(|status| {
            status.due.iter().map(|due| DueTask {
                time: due.time,
                server: status.server.clone(),
                rule: due.rule.clone(),
                kind: due.kind.clone(),
                task_id: due.task_id.clone(),
                task_name: due.task_name.clone(),
                gate: due.gate.clone(),
            })
        })
        .collect();
    due.sort_unstable();
    due.truncate(limit as usize);
    Ok(DueView { now: desk.clock.now(), of_each_server: DUE_SHOWN, due })
}
