//! The next moment at which something happens to a task, if nothing about it changes until then.
//!
//! No second evaluator: the moments at which the answer can change are gathered from what the rules
//! say, and the evaluator is asked at each.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::decide::{Decision, Tick, examine_briefly};
use super::memory::{Memory, Snapshot};
use super::moment::Moment;
use super::predicate::{Test, View};
use super::rule::{Action, Rule, RuleSet};
use super::task::RuleName;
use super::trace::{Look, TaskTrace};

/// What happens next.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Next {
    /// When.
    pub at: Timestamp,
    /// By which rule.
    pub rule: RuleName,
    /// The action; `None` when the rule gives the task up.
    pub action: Option<Action>,
}

/// The most moments that are looked at. Each is one at which a wait ends, so a few are enough.
const MOST_MOMENTS: usize = 24;

/// What happens next to a task; a `notify` only when its rule has the task or nothing else comes. `None` when nothing is
/// known to happen: no rule wants the task, or what it waits for has no moment. `first` is what
/// [`examine`](super::decide::examine) made of the task at the moment of `tick`.
#[must_use]
pub fn next(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    first: (&Decision, &TaskTrace),
) -> Option<Next> {
    let (decision, trace) = first;
    let mut told = None;
    if let Some(next) = happens(decision, trace, tick.now, &mut told) {
        return Some(next);
    }
    let mut memory = memory.clone();
    // A schedule begins to count at the first look.
    memory.absorb(decision.memory.clone());
    let mut moments: BTreeSet<Timestamp> = changes(rules, &memory, snapshot, trace, tick.now);
    for _ in 0..MOST_MOMENTS {
        let Some(now) = moments.pop_first() else { break };
        let tick = Tick { now, ..tick };
        let (decision, trace) =
            examine_briefly(rules, &memory, snapshot, tick, &trace.kind, &trace.id);
        let trace = trace?;
        if let Some(next) = happens(&decision, &trace, now, &mut told) {
            return Some(next);
        }
        moments.extend(changes(rules, &memory, snapshot, &trace, now));
    }
    told
}

/// What a decision does to the task; a `notify` is put aside into `told`.
fn happens(
    decision: &Decision,
    trace: &TaskTrace,
    now: Timestamp,
    told: &mut Option<Next>,
) -> Option<Next> {
    if let Some(give_up) =
        decision.give_ups.iter().find(|lost| lost.kind == trace.kind && *lost.task.id() == trace.id)
    {
        return Some(Next { at: now, rule: give_up.rule.clone(), action: None });
    }
    for rule in trace.rules.iter().filter(|rule| acts(&rule.look, rule.gates.is_empty())) {
        let planned = decision.actions.iter().find(|planned| {
            planned.rule == rule.name
                && planned.kind == trace.kind
                && planned.task.as_ref().is_none_or(|task| *task.id() == trace.id)
        });
        let Some(action) = planned.map(|planned| planned.action) else { continue };
        let next = Next { at: now, rule: rule.name.clone(), action: Some(action) };
        let owns = trace.owner().is_some_and(|owner| owner.name == rule.name);
        if action != Action::Notify || owns {
            return Some(next);
        }
        told.get_or_insert(next);
    }
    None
}

fn acts(look: &Look, open: bool) -> bool {
    matches!(look, Look::Acts) || (matches!(look, Look::LetGo { .. }) && open)
}

/// The moments after which a rule may see the task otherwise.
fn changes(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    trace: &TaskTrace,
    now: Timestamp,
) -> BTreeSet<Timestamp> {
    let mut moments = BTreeSet::new();
    for rule in &trace.rules {
        moments.extend(rule.due);
        moments.extend(rule.gates.iter().filter_map(super::trace::Gate::until));
    }
    let listed = snapshot.kinds.get(&trace.kind).into_iter().flatten();
    let (Some(task), Some(remembered)) =
        (listed.into_iter().find(|task| task.id == trace.id), memory.task(&trace.kind, &trace.id))
    else {
        moments.retain(|at| *at > now);
        return moments;
    };
    let (server, flavour) = (&snapshot.server, snapshot.flavour);
    let view = View::new(server, flavour, &trace.kind, task, remembered, &rules.classes, now);
    let after = |length: Duration| now.checked_add(SignedDuration::try_from(length).ok()?).ok();
    for rule in &rules.rules {
        rule.condition.leaves(false, &mut |leaf, _| {
            if let Test::Span(field, _, bound) = &leaf.test
                && let Some(span) = view.span(*field)
                && let Some(left) = bound.checked_sub(span)
            {
                moments.extend(after(left));
                // A bound that must be passed is passed a moment later.
                moments.extend(after(left + Duration::from_secs(1)));
            }
        });
        moments.extend(gives_up_at(
            rule,
            memory,
            trace,
            remembered.first_failed_at.map(Moment::get),
        ));
    }
    moments.retain(|at| *at > now);
    moments
}

fn gives_up_at(
    rule: &Rule,
    memory: &Memory,
    trace: &TaskTrace,
    first_failed: Option<Timestamp>,
) -> Option<Timestamp> {
    let limit = SignedDuration::try_from(rule.give_up_after?).ok()?;
    let subject = super::memory::Subject::Task(trace.kind.clone(), trace.id.clone());
    let ours = memory
        .progress_of(&subject, &rule.name)
        .and_then(|ours| ours.first_failure)
        .map(Moment::get);
    let first = match (ours, first_failed) {
        (Some(ours), Some(seen)) => ours.min(seen),
        (ours, seen) => ours.or(seen)?,
    };
    first.checked_add(limit).ok()
}
