//! How a server and its rules stand after a look, for whoever asks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::breaker::Breaker;
use crate::engine::decide::Decision;
use crate::engine::memory::{Memory, RulesProgress, Snapshot};
use crate::engine::observe::QueueCounts;
use crate::engine::rule::RuleSet;
use crate::engine::task::{Kind, RuleName, TaskId};
use crate::telemetry::status::{BreakerStatus, DUE_SHOWN, Due, RuleStatus};

/// How many tasks each kind lists, by state.
pub(super) fn tasks(snapshot: &Snapshot) -> QueueCounts {
    let count = |tasks: &[Arc<crate::engine::task::Task>]| {
        let mut states: HashMap<_, usize> = HashMap::new();
        for task in tasks {
            *states.entry(task.state).or_default() += 1;
        }
        states.into_iter().map(|(state, count)| (state.to_string(), count)).collect()
    };
    snapshot.kinds.iter().map(|(kind, tasks)| (kind.clone(), count(tasks))).collect()
}

/// How the rules stand. Without a decision nothing is known to wait.
pub(super) fn rules(
    rules: &RuleSet,
    memory: &Memory,
    decision: Option<&Decision>,
) -> Vec<RuleStatus> {
    let mut dead: HashMap<&RuleName, usize> = HashMap::new();
    for (rule, progress) in memory.progress.values().flat_map(RulesProgress::iter) {
        if progress.gave_up.as_ref().is_some_and(|gave_up| !gave_up.dropped) {
            *dead.entry(rule).or_default() += 1;
        }
    }
    let mut waiting: HashMap<&RuleName, BTreeMap<String, usize>> = HashMap::new();
    for one in decision.into_iter().flat_map(|decision| &decision.waiting) {
        let gates = waiting.entry(&one.rule).or_default();
        *gates.entry(one.gate.name().to_owned()).or_default() += 1;
    }
    let stands = rules.rules.iter().map(|rule| {
        let remembered = memory.rules.get(&rule.name);
        RuleStatus {
            rule: rule.name.clone(),
            mode: rules.mode_of(rule, &memory.server),
            paused: remembered.and_then(|memory| memory.paused.clone()),
            waiting: waiting.remove(&rule.name).unwrap_or_default(),
            dead: dead.remove(&rule.name).unwrap_or_default(),
            breakers: remembered.map(|memory| breakers(&memory.breakers)).unwrap_or_default(),
        }
    });
    stands.collect()
}

fn breakers(breakers: &BTreeMap<String, Breaker>) -> Vec<BreakerStatus> {
    let stands = breakers.iter().filter_map(|(key, breaker)| {
        let (state, until) = match breaker {
            Breaker::Closed { .. } => return None,
            Breaker::Open { until, .. } => ("open", Some(*until)),
            Breaker::HalfOpen { .. } => ("half_open", None),
            Breaker::Ramp { .. } => ("ramp", None),
        };
        Some(BreakerStatus { key: key.clone(), state: state.to_owned(), until })
    });
    stands.collect()
}

/// The tasks that come next, the soonest first.
pub(super) fn due(snapshot: &Snapshot, decision: &Decision, now: Timestamp) -> Vec<Due> {
    let mut soon: Vec<(Timestamp, usize)> = decision
        .waiting
        .iter()
        .enumerate()
        .filter_map(|(at, one)| Some((one.gate.until().filter(|until| *until > now)?, at)))
        .collect();
    if soon.len() > DUE_SHOWN {
        soon.select_nth_unstable(DUE_SHOWN);
        soon.truncate(DUE_SHOWN);
    }
    soon.sort_unstable();
    let wanted: HashMap<&TaskId, &Kind> = soon
        .iter()
        .filter_map(|(_, at)| {
            Some((decision.waiting[*at].task.as_ref()?, &decision.waiting[*at].kind))
        })
        .collect();
    let mut names = HashMap::new();
    for (kind, tasks) in &snapshot.kinds {
        for task in tasks.iter().filter(|task| wanted.get(&task.id) == Some(&kind)) {
            names.insert((kind, &task.id), task.name.shown());
        }
    }
    soon.into_iter()
        .map(|(time, at)| {
            let one = &decision.waiting[at];
            let name = one.task.as_ref().and_then(|id| names.get(&(&one.kind, id)));
            Due {
                time,
                rule: one.rule.clone(),
                kind: one.kind.clone(),
                task_id: one.task.clone(),
                task_name: name.map(|name| (*name).to_owned()),
                gate: one.gate.name().to_owned(),
            }
        })
        .collect()
}
