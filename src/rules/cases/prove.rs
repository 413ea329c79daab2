//! Runs a test, and holds what happened against what was expected.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Case, Claim, Expectation};
use crate::engine::decide::{Tick, examine};
use crate::engine::predicate::{PredicateTrace, format_duration};
use crate::engine::rule::{Action, Mode, RuleSet};
use crate::engine::simulate::{Look, simulate};
use crate::engine::task::{Flavour, Kind, RuleName, State, TaskId};
use crate::engine::text::printable;
use crate::engine::trace::{self, TaskTrace};

/// What came of a test.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The expectations that did not come true; none is a pass.
    pub failures: Vec<Failure>,
    /// Everything that happened, in order.
    pub happened: Vec<Happening>,
}

/// An expectation that did not come true.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its line in the file.
    pub line: usize,
    /// What was expected, in words; empty for something that no expectation speaks of.
    pub expected: String,
    /// What was there instead, a line each.
    pub got: Vec<String>,
    /// How the rules saw the task where it matters, and when.
    pub seen: Option<Seen>,
    /// The task, if it is about one.
    pub task: Option<TaskId>,
    /// The rule it is about, or that decided.
    pub rule: Option<RuleName>,
    /// Where to look for the reason: when something happened that should not have, or came in
    /// another's place, else the end of the time in which one thing was expected.
    pub moment: Duration,
}

/// How the rules saw a task.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When, from the start.
    pub at: Duration,
    /// The moment and the seed.
    pub tick: Tick,
    /// The product of the server.
    pub flavour: Flavour,
    /// Everything that was looked at.
    pub trace: TaskTrace,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Happening {
    /// When, from the start.
    pub at: Duration,
    /// The queue.
    pub kind: Kind,
    /// The task; `None` for a whole kind.
    pub task: Option<TaskId>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The task is listed in another state; `None` is gone.
    Became(Option<State>, String),
    /// A rule acted.
    Acted {
        /// The rule.
        rule: RuleName,
        /// What it did.
        action: Action,
        /// Which attempt it is; `None` for a whole kind, and for what follows a give-up.
        attempt: Option<u32>,
        /// Whether `on_give_up` asks for it.
        farewell: bool,
        /// In earnest or not.
        mode: Mode,
    },
    /// A rule gave the task up.
    GaveUp {
        /// The rule.
        rule: RuleName,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.task {
            Some(task) => printable(task.as_str()).into_owned(),
            None => format!("all of {}", self.kind),
        };
        match &self.what {
            What::Became(None, _) => write!(f, "{what} is gone"),
            What::Became(Some(state), error) if error.is_empty() => write!(f, "{what} is {state}"),
            What::Became(Some(state), error) => {
                write!(f, "{what} is {state}: {}", printable(error))
            }
            What::Acted { rule, action, attempt, farewell, mode } => {
                let rule = printable(rule.as_str());
                write!(f, "{action} of {what} by `{rule}`")?;
                if let Some(attempt) = attempt.filter(|_| *action != Action::Notify) {
                    write!(f, ", attempt {attempt}")?;
                }
                if *farewell {
                    f.write_str(" (on_give_up)")?;
                }
                if *mode == Mode::DryRun {
                    f.write_str(" (dry run)")?;
                }
                Ok(())
            }
            What::GaveUp { rule, why } => {
                write!(f, "`{}` gives {what} up: {}", printable(rule.as_str()), printable(why))
            }
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = self.task.as_ref().map_or("any task".into(), |task| printable(task.as_str()));
        let by = match &self.rule {
            Some(rule) => format!(" by `{}`", printable(rule.as_str())),
            None => String::new(),
        };
        match &self.claim {
            Claim::Acts { action, attempt, times } => {
                let action = action.map_or("action".to_owned(), |action| action.to_string());
                match times {
                    Some(0) => write!(f, "no {action} of {task}{by}")?,
                    Some(times) => write!(f, "{times} x {action} of {task}{by}")?,
                    None => write!(f, "{action} of {task}{by}")?,
                }
                if let Some(attempt) = attempt {
                    write!(f, ", attempt {attempt}")?;
                }
            }
            Claim::GivesUp(true) => write!(f, "{task} is given up{by}")?,
            Claim::GivesUp(false) => write!(f, "{task} is not given up{by}")?,
            Claim::Waits(gate) => write!(f, "{task} waits for {gate}{by}")?,
            Claim::TakenBy(None) => write!(f, "no rule has {task}")?,
            Claim::TakenBy(Some(rule)) => {
                write!(f, "`{}` has {task}", printable(rule.as_str()))?;
            }
        }
        let (from, to) = (format_duration(self.window.0), format_duration(self.window.1));
        if self.window.0 == self.window.1 {
            write!(f, ", at {from}")
        } else if self.window.1 == Duration::MAX {
            match self.window.0 {
                Duration::ZERO => f.write_str(", at any time"),
                _ => write!(f, ", from {from} on"),
            }
        } else {
            write!(f, ", from {from} to {to}")
        }
    }
}

/// Which rules and matchers the tests have seen at work.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Each rule of the file, in file order.
    pub rules: Vec<RuleCoverage>,
}

/// What the tests have seen of a rule.
#[derive(Clone, Debug)]
pub struct RuleCoverage {
    /// The rule.
    pub name: RuleName,
    /// Whether it ever had a task.
    pub took: bool,
    /// Whether it ever acted.
    pub acted: bool,
    /// Its matchers, in file order.
    pub predicates: Vec<PredicateCoverage>,
}

/// What the tests have seen of a matcher.
#[derive(Clone, Debug)]
pub struct PredicateCoverage {
    /// The groups it stands in and its key, e.g. `any.error`.
    pub path: String,
    /// What it asks for.
    pub expected: String,
    /// Whether it ever held.
    pub ever_true: bool,
    /// Whether it ever did not.
    pub ever_false: bool,
}

impl Coverage {
    /// Nothing is seen yet of these rules.
    #[must_use]
    pub fn new(rules: &RuleSet) -> Self {
        let rules = rules.rules.iter().map(|rule| RuleCoverage {
            name: rule.name.clone(),
            took: false,
            acted: false,
            predicates: Vec::new(),
        });
        Self { rules: rules.collect() }
    }

    fn note(&mut self, trace: &TaskTrace) {
        for seen in &trace.rules {
            let Some(rule) = self.rules.iter_mut().find(|rule| rule.name == seen.name) else {
                continue;
            };
            rule.took |= !matches!(seen.look, trace::Look::NoMatch | trace::Look::TakenBefore);
            rule.acted |= seen.look == trace::Look::Acts;
            let mut flat = Vec::new();
            if let Some(predicate) = &seen.predicate {
                flatten(predicate, "", &mut flat);
            }
            if rule.predicates.is_empty() {
                rule.predicates = flat;
                continue;
            }
            for (known, now) in rule.predicates.iter_mut().zip(flat) {
                known.ever_true |= now.ever_true;
                known.ever_false |= now.ever_false;
            }
        }
    }
}

fn flatten(predicate: &PredicateTrace, above: &str, out: &mut Vec<PredicateCoverage>) {
    let group = matches!(predicate.key, "all" | "any" | "not");
    // The outermost `all` is the `match` itself.
    let path = match (above, group && out.is_empty() && above.is_empty()) {
        (_, true) if predicate.key == "all" => String::new(),
        ("", _) => predicate.key.to_owned(),
        (above, _) => format!("{above}.{}", predicate.key),
    };
    if !group {
        out.push(PredicateCoverage {
            path,
            expected: predicate.expected.to_string(),
            ever_true: predicate.held,
            ever_false: !predicate.held,
        });
        return;
    }
    for member in &predicate.members {
        flatten(member, &path, out);
    }
}

/// Runs a test. `coverage` is told what was seen, if it is wanted.
#[must_use]
pub fn prove(
    case: &Case,
    rules: &RuleSet,
    seed: u64,
    mut coverage: Option<&mut Coverage>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut states: BTreeMap<(Kind, TaskId), (State, String)> = BTreeMap::new();
    let mut held: Vec<Option<Result<(), Vec<String>>>> = vec![None; case.expect.len()];
    simulate(rules, &case.scenario, seed, |look| {
        note_states(look, &mut states, &mut outcome.happened);
        note_decision(look, &mut outcome.happened);
        for (expectation, held) in case.expect.iter().zip(&mut held) {
            if expectation.window.0 == look.at && held.is_none() {
                *held = holds_now(expectation, rules, look);
            }
        }
        let happened = !look.decision.actions.is_empty() || !look.decision.give_ups.is_empty();
        if let Some(coverage) = coverage.as_deref_mut()
            && (look.changed || happened || case.scenario.moments.contains(&look.at))
        {
            for (kind, tasks) in &look.snapshot.kinds {
                for task in tasks {
                    if let Some(trace) = examine_at(rules, look, kind, &task.id) {
                        coverage.note(&trace);
                    }
                }
            }
        }
    });
    let mut spoken_of = vec![false; outcome.happened.len()];
    for (expectation, held) in case.expect.iter().zip(held) {
        let failure = match &expectation.claim {
            Claim::Waits(_) | Claim::TakenBy(_) => {
                judge_lasting(expectation, held, &case.scenario.away)
            }
            Claim::Acts { .. } | Claim::GivesUp(_) => {
                judge_happenings(expectation, &outcome.happened, &mut spoken_of)
            }
        };
        outcome.failures.extend(failure);
    }
    if case.nothing_else {
        for (happening, _) in outcome.happened.iter().zip(&spoken_of).filter(|(_, said)| !**said) {
            if let What::Acted { rule, .. } = &happening.what {
                outcome.failures.push(Failure {
                    line: case.line,
                    expected: String::new(),
                    got: vec![line(happening)],
                    seen: None,
                    task: happening.task.clone(),
                    rule: Some(rule.clone()),
                    moment: happening.at,
                });
            }
        }
    }
    let wanted: Vec<Option<(Duration, TaskId)>> = outcome
        .failures
        .iter()
        .map(|failure| Some((failure.moment.min(case.scenario.until), subject(failure, case)?)))
        .collect();
    if wanted.iter().any(Option::is_some) {
        simulate(rules, &case.scenario, seed, |look| {
            for (failure, wanted) in outcome.failures.iter_mut().zip(&wanted) {
                let Some((at, task)) = wanted else { continue };
                if look.at <= *at {
                    failure.seen = see(rules, look, task).or(failure.seen.take());
                }
            }
        });
    }
    outcome
}

fn examine_at(rules: &RuleSet, look: &Look<'_>, kind: &Kind, id: &TaskId) -> Option<TaskTrace> {
    examine(rules, look.memory, look.snapshot, look.tick, kind, id).1
}

fn kind_of<'a>(look: &'a Look<'_>, id: &TaskId) -> Option<&'a Kind> {
    let lists = look.snapshot.kinds.iter();
    let mut lists = lists.filter(|(_, tasks)| tasks.iter().any(|task| task.id == *id));
    lists.next().map(|(kind, _)| kind)
}

fn see(rules: &RuleSet, look: &Look<'_>, task: &TaskId) -> Option<Seen> {
    let kind = kind_of(look, task)?;
    let trace = examine_at(rules, look, kind, task)?;
    Some(Seen { at: look.at, tick: look.tick, flavour: look.snapshot.flavour, trace })
}

fn note_states(
    look: &Look<'_>,
    states: &mut BTreeMap<(Kind, TaskId), (State, String)>,
    happened: &mut Vec<Happening>,
) {
    let mut gone: Vec<(Kind, TaskId)> = states.keys().cloned().collect();
    for (kind, tasks) in &look.snapshot.kinds {
        for task in tasks {
            let key = (kind.clone(), task.id.clone());
            gone.retain(|other| *other != key);
            let now = (task.state, task.error.to_string());
            if states.get(&key) != Some(&now) {
                let (state, error) = now.clone();
                happened.push(Happening {
                    at: look.at,
                    kind: kind.clone(),
                    task: Some(task.id.clone()),
                    what: What::Became(Some(state), error),
                });
                states.insert(key, now);
            }
        }
    }
    for key in gone {
        states.remove(&key);
        let (kind, task) = key;
        let what = What::Became(None, String::new());
        happened.push(Happening { at: look.at, kind, task: Some(task), what });
    }
}

fn note_decision(look: &Look<'_>, happened: &mut Vec<Happening>) {
    for give_up in &look.decision.give_ups {
        happened.push(Happening {
            at: look.at,
            kind: give_up.kind.clone(),
            task: Some(give_up.task.id().clone()),
            what: What::GaveUp { rule: give_up.rule.clone(), why: give_up.why.clone() },
        });
        if give_up.notify {
            happened.push(Happening {
                at: look.at,
                kind: give_up.kind.clone(),
                task: Some(give_up.task.id().clone()),
                what: What::Acted {
                    rule: give_up.rule.clone(),
                    action: Action::Notify,
                    attempt: None,
                    farewell: true,
                    mode: Mode::Live,
                },
            });
        }
    }
    for planned in look.decision.actions.iter().filter(|planned| planned.fresh) {
        happened.push(Happening {
            at: look.at,
            kind: planned.kind.clone(),
            task: planned.task.as_ref().map(|task| task.id().clone()),
            what: What::Acted {
                rule: planned.rule.clone(),
                action: planned.action,
                attempt: planned
                    .task
                    .as_ref()
                    .filter(|_| !planned.farewell)
                    .map(|task| task.attempt),
                farewell: planned.farewell,
                mode: planned.mode,
            },
        });
    }
}

/// Whether what must hold at a moment does; `None` when it is no such claim.
fn holds_now(
    expectation: &Expectation,
    rules: &RuleSet,
    look: &Look<'_>,
) -> Option<Result<(), Vec<String>>> {
    if !matches!(expectation.claim, Claim::Waits(_) | Claim::TakenBy(_)) {
        return None;
    }
    let ids: Vec<(&Kind, &TaskId)> = look
        .snapshot
        .kinds
        .iter()
        .flat_map(|(kind, tasks)| tasks.iter().map(move |task| (kind, &task.id)))
        .filter(|(_, id)| expectation.task.as_ref().is_none_or(|task| task == *id))
        .collect();
    let mut got = Vec::new();
    for (kind, id) in ids {
        let Some(trace) = examine_at(rules, look, kind, id) else { continue };
        let shown = printable(id.as_str()).into_owned();
        let owner = trace.owner();
        match &expectation.claim {
            Claim::TakenBy(rule) => {
                if owner.map(|owner| &owner.name) == rule.as_ref() {
                    return Some(Ok(()));
                }
                got.push(match owner {
                    Some(owner) => format!("`{}` has {shown}", printable(owner.name.as_str())),
                    None => format!("no rule has {shown}"),
                });
            }
            Claim::Waits(gate) => {
                let asked =
                    |name: &RuleName| expectation.rule.as_ref().is_none_or(|rule| rule == name);
                for rule in trace.rules.iter().filter(|rule| asked(&rule.name)) {
                    if rule.gates.iter().any(|one| one.name() == *gate) {
                        return Some(Ok(()));
                    }
                    got.extend(rule.gates.iter().map(|gate| format!("{shown}: {gate}")));
                }
                if got.is_empty() {
                    got.push(match owner {
                        Some(owner) => {
                            let owner = printable(owner.name.as_str());
                            format!("{shown} does not wait: `{owner}` has it")
                        }
                        None => format!("{shown} does not wait: no rule has it"),
                    });
                }
            }
            _ => {}
        }
    }
    if got.is_empty() {
        got.push("the task is not listed then".to_owned());
    }
    Some(Err(got))
}

fn judge_lasting(
    expectation: &Expectation,
    held: Option<Result<(), Vec<String>>>,
    away: &[(Duration, Duration)],
) -> Option<Failure> {
    let at = expectation.window.0;
    let got = match held {
        Some(Ok(())) => return None,
        Some(Err(got)) => got,
        None if away.iter().any(|(from, to)| (*from..*to).contains(&at)) => {
            vec!["the server is away then, so nothing is seen".to_owned()]
        }
        None => vec!["the test is over by then; see its `until`".to_owned()],
    };
    Some(Failure {
        line: expectation.line,
        expected: expectation.to_string(),
        got,
        seen: None,
        task: expectation.task.clone(),
        rule: expectation.rule.clone(),
        moment: at,
    })
}

fn judge_happenings(
    expectation: &Expectation,
    happened: &[Happening],
    spoken_of: &mut [bool],
) -> Option<Failure> {
    const SHOWN: usize = 8;
    let (from, to) = expectation.window;
    let about = |happening: &Happening| {
        (from..=to).contains(&happening.at)
            && (expectation.task.is_none() || expectation.task == happening.task)
    };
    let by = |rule: &RuleName| expectation.rule.as_ref().is_none_or(|asked| asked == rule);
    let mut hits = Vec::new();
    for (index, happening) in happened.iter().enumerate().filter(|(_, one)| about(one)) {
        let hit = match (&expectation.claim, &happening.what) {
            (
                Claim::Acts { action, attempt, .. },
                What::Acted { rule, action: done, attempt: tried, .. },
            ) => {
                by(rule)
                    && action.is_none_or(|action| action == *done)
                    && attempt.is_none_or(|attempt| Some(attempt) == *tried)
            }
            (Claim::GivesUp(_), What::GaveUp { rule, .. }) => by(rule),
            _ => false,
        };
        // Whoever expects the give-up expects to be told of it.
        let told = matches!(
            (&expectation.claim, &happening.what),
            (
                Claim::GivesUp(true),
                What::Acted { rule, action: Action::Notify, farewell: true, .. },
            ) if by(rule)
        );
        spoken_of[index] |= hit || told;
        if hit {
            hits.push(happening);
        }
    }
    let count = u32::try_from(hits.len()).unwrap_or(u32::MAX);
    let (fine, too_many) = match &expectation.claim {
        Claim::Acts { times: Some(times), .. } => (count == *times, count > *times),
        Claim::Acts { times: None, .. } | Claim::GivesUp(true) => (count > 0, false),
        _ => (count == 0, count > 0),
    };
    if fine {
        return None;
    }
    let moment = match &expectation.claim {
        // The one that is too many.
        Claim::Acts { times: Some(times), .. } if too_many => {
            hits.get(usize::try_from(*times).unwrap_or_default()).map(|one| one.at)
        }
        _ if too_many => hits.first().map(|one| one.at),
        // What keeps the rule from giving the task up to the end.
        Claim::GivesUp(true) => None,
        // What was done in its place, by the same rule if there is such.
        _ => {
            let mut decided: Vec<(bool, Duration)> = happened
                .iter()
                .filter(|one| about(one))
                .filter_map(|one| match &one.what {
                    What::Acted { rule, .. } | What::GaveUp { rule, .. } => {
                        Some((!by(rule), one.at))
                    }
                    What::Became(..) => None,
                })
                .filter(|(_, at)| hits.iter().all(|hit| hit.at != *at))
                .collect();
            decided.sort_unstable();
            decided.first().map(|(_, at)| *at)
        }
    };
    // What came instead tells more than nothing: other actions then, or the same at another time.
    let others: Vec<&Happening> = match (too_many, hits.is_empty()) {
        (true, _) | (_, false) => hits,
        _ => happened
            .iter()
            .filter(|one| expectation.task.is_none() || one.task == expectation.task)
            .filter(|one| !matches!(one.what, What::Became(..)))
            .collect(),
    };
    let rule = others.first().and_then(|one| match &one.what {
        What::Acted { rule, .. } | What::GaveUp { rule, .. } => Some(rule.clone()),
        What::Became(..) => None,
    });
    let mut got: Vec<String> = others.iter().take(SHOWN).map(|one| line(one)).collect();
    if others.len() > SHOWN {
        got.push(format!("and {} more", others.len() - SHOWN));
    }
    if got.is_empty() {
        got.push("nothing was done".to_owned());
    }
    Some(Failure {
        line: expectation.line,
        expected: expectation.to_string(),
        got,
        seen: None,
        task: expectation.task.clone().or_else(|| others.first().and_then(|one| one.task.clone())),
        rule: expectation.rule.clone().or(rule),
        moment: moment.unwrap_or(to),
    })
}

fn line(happening: &Happening) -> String {
    format!("{happening}, at {}", format_duration(happening.at))
}

/// The task whose trace tells the reason of a failure.
fn subject(failure: &Failure, case: &Case) -> Option<TaskId> {
    match (&failure.task, &case.scenario.tasks[..]) {
        (Some(task), _) => Some(task.clone()),
        (None, [only]) => Some(only.task.id.clone()),
        _ => None,
    }
}
