//! Every rule and every matcher against one task, and what happens to it next: what `explain` and the
//! task's page show.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::class::{Class, Retry};
use super::decide::{Tick, examine, examine_briefly};
use super::forecast::{self, Next};
use super::memory::{Memory, Snapshot};
use super::predicate::PredicateTrace;
use super::rule::{Action, Mode, Rule, RuleSet};
use super::task::{Kind, RuleName, ServerName, State, TaskId};
use super::trace::{Gate, Look, TaskTrace};

/// Everything about one task; an object of `explain --format json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Explained {
    /// The server.
    pub server: ServerName,
    /// The queue.
    pub kind: Kind,
    /// The task.
    pub id: TaskId,
    /// Its name, secrets out.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its error (the last one seen, if the server forgot it).
    pub error: String,
    /// The class of that error.
    pub class: Option<Class>,
    /// Whether running it again later is sensible.
    pub retry_sensible: Option<Retry>,
    /// What became of it: that of the rule that has it, else `no_match`.
    pub verdict: &'static str,
    /// The rule that has it.
    pub rule: Option<RuleName>,
    /// What that rule does.
    pub action: Option<Action>,
    /// When something happens to it next, if nothing about it changes.
    pub next_at: Option<Timestamp>,
    /// What that is.
    pub next: Option<Next>,
    /// Every rule, in file order.
    pub rules: Vec<RuleExplained>,
}

/// What one rule makes of the task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RuleExplained {
    /// The rule.
    pub name: RuleName,
    /// What it does.
    pub action: Action,
    /// Whether it does so.
    pub mode: Mode,
    /// `off`, `taken_before`, `no_match`, `let_go`, `waits` or `acts`.
    pub verdict: &'static str,
    /// Why it let the task go, or what of the task it cannot act on.
    pub why: Option<String>,
    /// Accepted actions on the task so far.
    pub attempts: u32,
    /// The most of them.
    pub max_attempts: Option<u32>,
    /// When its next action is due, limits aside.
    pub due: Option<Timestamp>,
    /// Its matchers.
    pub predicates: Vec<PredicateTrace>,
    /// What keeps it from acting now.
    pub gates: Vec<GateExplained>,
}

/// What keeps a rule from acting now.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GateExplained {
    /// With its own fields.
    #[serde(flatten)]
    pub gate: Gate,
    /// The same in words.
    pub text: String,
}

/// What the rules make of a task that the snapshot has.
#[must_use]
pub fn explain(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    kind: &Kind,
    id: &TaskId,
) -> Option<Explained> {
    let (decision, trace) = examine(rules, memory, snapshot, tick, kind, id);
    let trace = trace?;
    let next = forecast::next(rules, memory, snapshot, tick, (&decision, &trace));
    Some(Explained {
        next_at: next.as_ref().map(|next| next.at),
        next,
        ..of_trace(rules, &snapshot.server, trace)
    })
}

/// The same without the rules and what happens next: what becomes of the task now, and by which rule.
#[must_use]
pub fn summary(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    kind: &Kind,
    id: &TaskId,
) -> Option<Explained> {
    let (_, trace) = examine_briefly(rules, memory, snapshot, tick, kind, id);
    let trace = trace?;
    // The others are not in the trace, and do nothing.
    let looked_at: Vec<RuleName> = trace.rules.iter().map(|look| look.name.clone()).collect();
    let looked_at = rules.rules.iter().filter(|rule| looked_at.contains(&rule.name));
    let told = told(rules, looked_at, &snapshot.server, trace);
    Some(Explained { rules: Vec::new(), ..told })
}

/// A trace with what the rules say beside it, without a forecast.
#[must_use]
pub fn of_trace(rules: &RuleSet, server: &ServerName, trace: TaskTrace) -> Explained {
    told(rules, rules.rules.iter(), server, trace)
}

/// The same with some of the rules.
fn told<'r>(
    rules: &RuleSet,
    some: impl Iterator<Item = &'r Rule>,
    server: &ServerName,
    trace: TaskTrace,
) -> Explained {
    let mut explained = Vec::with_capacity(some.size_hint().0);
    let mut traces = trace.rules.into_iter().peekable();
    for rule in some {
        let mut one = RuleExplained {
            name: rule.name.clone(),
            action: rule.action,
            mode: rules.mode_of(rule, server),
            verdict: "off",
            why: None,
            attempts: 0,
            max_attempts: rule.max_attempts,
            due: None,
            predicates: Vec::new(),
            gates: Vec::new(),
        };
        // Rules that are off are not looked at and so not in the trace.
        if let Some(look) = traces.next_if(|look| look.name == rule.name) {
            one.verdict = verdict(&look.look);
            one.why = match look.look {
                Look::LetGo { why } => Some(why),
                _ => look.implied,
            };
            one.attempts = look.attempts;
            one.due = look.due;
            one.predicates = match look.predicate {
                Some(all) if all.key == "all" => all.members,
                other => other.into_iter().collect(),
            };
            one.gates = look
                .gates
                .into_iter()
                .map(|gate| GateExplained { text: gate.to_string(), gate })
                .collect();
        }
        explained.push(one);
    }
    // A rule that lets others look too stands before the one that has the task in the end.
    let has = explained.iter().rfind(|rule| matches!(rule.verdict, "waits" | "acts" | "taken"));
    let lost = explained.iter().rfind(|rule| rule.verdict == "let_go");
    let owner = has.or(lost);
    Explained {
        server: server.clone(),
        kind: trace.kind,
        id: trace.id,
        name: trace.name,
        state: trace.state,
        retry_sensible: trace.retry,
        error: trace.error,
        class: trace.class,
        verdict: owner.map_or("no_match", |rule| rule.verdict),
        rule: owner.map(|rule| rule.name.clone()),
        action: owner.map(|rule| rule.action),
        next_at: None,
        next: None,
        rules: explained,
    }
}

fn verdict(look: &Look) -> &'static str {
    match look {
        Look::TakenBefore => "taken_before",
        Look::NoMatch => "no_match",
        Look::Taken => "taken",
        Look::LetGo { .. } => "let_go",
        Look::Waits => "waits",
        Look::Acts => "acts",
    }
}
