//! The rules, how they stand, and what they did.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::moment;
use crate::engine::memory::Paused;
use crate::engine::rule::{Action, Mode};
use crate::engine::task::{RuleName, ServerName};
use crate::telemetry::status::BreakerStatus;

/// Which of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RulesQuery {
    /// Effects are counted since then: a moment, a day, or a length of time ago; usually `24h`.
    pub since: Option<String>,
}

/// The rules.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RulesView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// Since when effects are counted.
    pub since: Timestamp,
    /// The revision of the rules in force.
    pub revision: String,
    /// The rules in file order.
    pub rules: Vec<RuleView>,
}

/// One rule.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleView {
    /// Its name.
    pub rule: RuleName,
    /// What it does.
    pub action: Action,
    /// The most accepted actions on one task; absent for no limit.
    pub max_attempts: Option<u32>,
    /// The cron expression when it has one.
    pub schedule: Option<String>,
    /// What it did since then on all servers, by outcome. Dry runs are not among them.
    pub effects: BTreeMap<String, u64>,
    /// How often it only showed what it would have done.
    pub shown: u64,
    /// How many tasks it gave up since then.
    pub gave_up: u64,
    /// How it stands on each server that was looked at.
    pub servers: Vec<RuleOnServer>,
}

/// How a rule stands on one server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleOnServer {
    /// The server.
    pub server: ServerName,
    /// Whether it acts there.
    pub mode: Mode,
    /// Set while a person has paused it there.
    pub paused: Option<Paused>,
    /// How many of its tasks wait, by what they wait for.
    pub waiting: BTreeMap<String, usize>,
    /// How many tasks it has given up and nobody has put away.
    pub dead: usize,
    /// Its breakers that are not closed.
    pub breakers: Vec<BreakerStatus>,
}

/// Gathers them from the board, and their effects from the store.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub async fn rules(desk: &Desk, query: &RulesQuery) -> Result<RulesView, Problem> {
    let now = desk.clock.now();
    let since = moment("since", query.since.as_deref(), now, SignedDuration::from_hours(24))?;
    let tallies = desk.read(move |reader| Ok(reader.tally(since)?)).await?;
    let set = desk.control.rules();
    let statuses = desk.statuses();
    let rules = set.rules.iter().map(|rule| {
        let mut view = RuleView {
            rule: rule.name.clone(),
            action: rule.action,
            max_attempts: rule.max_attempts,
            schedule: rule.schedule.as_ref().map(|schedule| schedule.text.clone()),
            effects: BTreeMap::new(),
            shown: 0,
            gave_up: 0,
            servers: Vec::new(),
        };
        for tally in tallies.iter().filter(|tally| tally.rule == rule.name) {
            if tally.action == "give_up" {
                view.gave_up += tally.count;
            } else if !Action::ALL.iter().any(|action| action.as_str() == tally.action) {
                // What people asked for is none of the rule's doing.
            } else if tally.mode == Mode::Live {
                *view.effects.entry(tally.outcome.to_string()).or_default() += tally.count;
            } else {
                view.shown += tally.count;
            }
        }
        for status in &statuses {
            let stands = status.rules.iter().filter(|stands| stands.rule == rule.name);
            view.servers.extend(stands.map(|stands| RuleOnServer {
                server: status.server.clone(),
                mode: stands.mode,
                paused: stands.paused.clone(),
                waiting: stands.waiting.clone(),
                dead: stands.dead,
                breakers: stands.breakers.clone(),
            }));
        }
        view
    });
    let rules = rules.collect();
    Ok(RulesView { now, since, revision: set.revision.clone(), rules })
}
