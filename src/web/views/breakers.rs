//! Breakers that are not closed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::desk::Desk;
use crate::engine::task::{RuleName, ServerName};

/// The breakers that leave a storage alone, wholly or in part.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BreakersView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// Those that are not closed; all others are.
    pub breakers: Vec<BreakerView>,
}

/// A breaker that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BreakerView {
    /// The server.
    pub server: ServerName,
    /// The rule.
    pub rule: RuleName,
    /// What it is about, e.g. a mount.
    pub key: String,
    /// `open`, `half_open` (one task is tried) or `ramp` (a few are).
    pub state: String,
    /// Until when it is open.
    pub until: Option<Timestamp>,
    /// How many tasks of the rule wait for breakers.
    pub waiting: usize,
}

/// Gathers them from the board.
#[must_use]
pub fn breakers(desk: &Desk) -> BreakersView {
    let mut breakers = Vec::new();
    for status in desk.statuses() {
        for rule in &status.rules {
            breakers.extend(rule.breakers.iter().map(|breaker| BreakerView {
                server: status.server.clone(),
                rule: rule.rule.clone(),
                key: breaker.key.clone(),
                state: breaker.state.clone(),
                until: breaker.until,
                waiting: rule.waiting.get("breaker").copied().unwrap_or(0),
            }));
        }
    }
    BreakersView { now: desk.clock.now(), breakers }
}
