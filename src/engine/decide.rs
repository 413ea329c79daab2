//! The one evaluator: rules, memory and a look at a server go in; actions, what to remember and the
//! reasons come out. `run`, `plan`, `explain`, `test` and `backtest` all call it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};
use jiff::{SignedDuration, Timestamp};

use super::alike::{Alike, Alikes, Settled, Taker};
use super::audit::{AuditRow, IntentId, Occasion, Outcome};
use super::backoff::draw;
use super::breaker::{Breaker, BreakerKey, BreakerSettings, CanaryState, Verdict};
use super::class::Class;
use super::listing::{Listing, Step};
use super::memory::{
    Changes, GaveUp, KindProgress, Memory, Noticed, Progress, Remembered, RuleMemory,
    RulesProgress, Snapshot, Subject, TaskMemory,
};
use super::moment::Moment;
use super::predicate::{Side, SpanField, Test, View, error_of, format_duration, span_since};
use super::rule::{Action, Effect, Identity, Mode, Rule, RuleSet};
use super::task::{Fingerprint, Flavour, Kind, RuleName, State, Task, TaskId};
use super::trace::{Gate, Look, RuleTrace, TaskTrace, Waiting};

/// The moment of a decision, and the seed of its draws.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// The present moment.
    pub now: Timestamp,
    /// Shifts all draws of jitter. The same for all commands of one installation.
    pub seed: u64,
}

/// What `decide` came to.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The actions, those that are due first at the front. At most one a task.
    pub actions: Vec<Planned>,
    /// The tasks that rules let go of.
    pub give_ups: Vec<GiveUp>,
    /// Breakers that opened or closed.
    pub breakers: Vec<BreakerChange>,
    /// What must be remembered, to be taken over by [`Memory::absorb`].
    pub memory: Changes,
    /// The tasks that a rule has taken and that wait, with what they wait for.
    pub waiting: Vec<Waiting>,
    /// The next moment at which something may become due, if one is known.
    pub next_due: Option<Timestamp>,
}

impl Decision {
    /// Whether it does, says or remembers something.
    #[must_use]
    pub fn does_something(&self) -> bool {
        self.actions.iter().any(|planned| planned.fresh)
            || !self.give_ups.is_empty()
            || !self.memory.is_empty()
    }
}

/// An action on a task, or on a whole kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The rule that asks for it.
    pub rule: RuleName,
    /// What to do.
    pub action: Action,
    /// In earnest, or to be shown only.
    pub mode: Mode,
    /// The queue.
    pub kind: Kind,
    /// The task; `None` for a whole kind.
    pub task: Option<Target>,
    /// Why, in words.
    pub reason: String,
    /// Whether it is news: a dry run or a `notify` speaks once of a task in a state.
    pub fresh: bool,
    /// Whether it is what `on_give_up` asks for.
    pub farewell: bool,
}

impl Planned {
    /// The audit row of it, with this number, when it is about to happen.
    #[must_use]
    pub fn row(&self, id: IntentId, occasion: &Occasion, mode: Mode) -> AuditRow {
        let task = self.task.as_ref();
        AuditRow {
            id,
            time: occasion.time,
            server: occasion.server.clone(),
            rule: Some(self.rule.clone()),
            action: self.action.as_str().to_owned(),
            kind: Some(self.kind.clone()),
            task_id: task.map(|task| task.id().clone()),
            task_name: task.map(|task| task.name().to_owned()),
            attempt: task.map(|task| task.attempt),
            reason: self.reason.clone(),
            error: task.map(|task| task.error.to_string()).filter(|error| !error.is_empty()),
            class: task.and_then(|task| task.class.clone()),
            mode,
            // A `notify` is done by being written down and told.
            outcome: if self.action == Action::Notify && mode == Mode::Live {
                Outcome::Effective
            } else {
                Outcome::Planned
            },
            detail: String::new(),
            rules_revision: occasion.rules_revision.clone(),
        }
    }
}

/// The task an action is about, as the decision saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// As it was listed.
    pub task: Arc<Task>,
    /// What the rule counts attempts on.
    pub subject: Subject,
    /// Which try this is, from 1; for what follows a give-up, how many were made.
    pub attempt: u32,
    /// Its error (the last one seen, if the server forgot it).
    pub error: Arc<str>,
    /// The class of that error, if there is one.
    pub class: Option<Class>,
}

impl Target {
    /// The task's id.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.task.id
    }

    /// Its name, secrets out.
    #[must_use]
    pub fn name(&self) -> &str {
        self.task.name.shown()
    }

    /// What must be unchanged when the action goes out.
    #[must_use]
    pub fn before(&self) -> Fingerprint {
        self.task.fingerprint()
    }
}

/// That a rule let go of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct GiveUp {
    /// The rule.
    pub rule: RuleName,
    /// The queue.
    pub kind: Kind,
    /// The task.
    pub task: Target,
    /// Why, in words.
    pub why: String,
    /// Whether people are to be told.
    pub notify: bool,
}

impl GiveUp {
    /// The audit row of it, with this number.
    #[must_use]
    pub fn row(&self, id: IntentId, occasion: &Occasion) -> AuditRow {
        let task = &self.task;
        AuditRow {
            id,
            time: occasion.time,
            server: occasion.server.clone(),
            rule: Some(self.rule.clone()),
            action: "give_up".to_owned(),
            kind: Some(self.kind.clone()),
            task_id: Some(task.id().clone()),
            task_name: Some(task.name().to_owned()),
            attempt: Some(task.attempt),
            reason: self.why.clone(),
            error: Some(task.error.to_string()).filter(|error| !error.is_empty()),
            class: task.class.clone(),
            mode: Mode::Live,
            outcome: Outcome::Effective,
            detail: String::new(),
            rules_revision: occasion.rules_revision.clone(),
        }
    }
}

/// That a breaker opened or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerChange {
    /// The rule.
    pub rule: RuleName,
    /// What it is about, e.g. a mount.
    pub key: String,
    /// Until when it is open; `None` when it closed.
    pub open_until: Option<Timestamp>,
}

/// Holds every task against the rules.
#[must_use]
pub fn decide(rules: &RuleSet, memory: &Memory, snapshot: &Snapshot, tick: Tick) -> Decision {
    Evaluation::new(rules, memory, snapshot, tick).run(None).0
}

/// The same for a part of the tasks. The rest must be such that no rule wants anything of them before
/// this moment's end, and no whole-kind rule may be about to act.
#[must_use]
pub fn decide_part(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    part: &[(&Kind, &Arc<Task>)],
) -> Decision {
    Evaluation::new(rules, memory, snapshot, tick).run_part(part)
}

/// The tasks of a server of which no rule wants anything before some moment. Most tasks are such, and
/// to find that out anew at every look would take most of a tick.
///
/// A task sleeps while it is listed as it was and no matcher that looks at time can come out otherwise.
/// One that a rule has taken, be it to let go of it, or with an action that waits to be judged, never does:
/// so all that rules see of a sleeping task comes from its listing. Whatever else changes what
/// rules make of tasks (other rules, what people ask for, a clock that is set) must wake all.
#[derive(Debug, Default)]
pub struct Sleepers {
    kinds: BTreeMap<Kind, Asleep>,
    settled: Settled,
    flavour: Flavour,
    last: Option<Timestamp>,
}

/// The tasks of a kind.
#[derive(Debug, Default)]
struct Asleep {
    tasks: Listing,
    /// Until when each of them sleeps; those that are awake have [`AWAKE`].
    until: Vec<Moment>,
}

/// When a task that is awake was to wake up: always.
const AWAKE: Moment = Moment::FIRST;

impl Sleepers {
    /// Wakes all of them.
    pub fn wake_all(&mut self) {
        self.kinds.clear();
        self.settled = Settled::default();
    }

    /// Comes to the same as [`decide`], without a look at those that sleep. The rules must be those
    /// of the last call, unless all were woken since.
    #[must_use]
    pub fn decide(
        &mut self,
        rules: &RuleSet,
        memory: &Memory,
        snapshot: &Snapshot,
        tick: Tick,
    ) -> Decision {
        let back = self.last.replace(tick.now).is_some_and(|last| last > tick.now);
        if back || self.flavour != snapshot.flavour {
            self.wake_all();
        }
        self.flavour = snapshot.flavour;
        self.kinds.retain(|kind, _| snapshot.kinds.contains_key(kind));
        for (kind, tasks) in &snapshot.kinds {
            self.kinds.entry(kind.clone()).or_default().line_up(tasks);
        }
        Evaluation::new(rules, memory, snapshot, tick).run_awake(self)
    }
}

impl Asleep {
    /// Lines up what is known of a kind with its list.
    fn line_up(&mut self, tasks: &Listing) {
        if self.tasks.is(tasks) {
            return;
        }
        let until = tasks.since(&self.tasks).filter_map(|step| match step {
            Step::Same { old, .. } => Some(self.until[old]),
            Step::Changed { .. } | Step::New { .. } => Some(AWAKE),
            Step::Gone { .. } => None,
        });
        self.until = until.collect();
        self.tasks = tasks.clone();
    }
}

/// The same, with everything written down that was looked at for one task; `None` when the snapshot
/// does not have it.
#[must_use]
pub fn explain(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    kind: &Kind,
    id: &TaskId,
) -> Option<TaskTrace> {
    examine(rules, memory, snapshot, tick, kind, id).1
}

/// The decision, and what was looked at for one task, of one evaluation.
#[must_use]
pub fn examine(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    kind: &Kind,
    id: &TaskId,
) -> (Decision, Option<TaskTrace>) {
    Evaluation::new(rules, memory, snapshot, tick).run(Some((kind, id)))
}

/// The same, but the trace holds only rules that may take the task, without their matchers: what is to be
/// known of one of many tasks or moments.
#[must_use]
pub fn examine_briefly(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    tick: Tick,
    kind: &Kind,
    id: &TaskId,
) -> (Decision, Option<TaskTrace>) {
    let mut evaluation = Evaluation::new(rules, memory, snapshot, tick);
    evaluation.brief = true;
    evaluation.run(Some((kind, id)))
}

/// Holds a fresh look at one task against the decision about it: whether it may still go out, or
/// why not. `memory` is what is remembered of the task since the decision.
///
/// # Errors
///
/// What about the task is no longer as it was, in words.
pub fn recheck(
    rules: &RuleSet,
    memory: &Memory,
    snapshot: &Snapshot,
    planned: &Planned,
    target: &Target,
    fresh: Option<&Task>,
    now: Timestamp,
) -> Result<(), String> {
    let Some(task) = fresh else { return Err("the task is gone".to_owned()) };
    let (was, is) = (target.before(), task.fingerprint());
    if was.state != is.state {
        return Err(format!("the task is {} now; it was {}", is.state, was.state));
    }
    if was != is {
        return Err(format!("the task is {} again, with another start, end or error", is.state));
    }
    if !planned.action.fits(task.state) {
        return Err(format!("{} does harm to a task that is {}", planned.action, task.state));
    }
    let Some(rule) = rules.rules.iter().find(|rule| rule.name == planned.rule) else {
        return Err("the rule is gone".to_owned());
    };
    if planned.farewell {
        // What is left to do after a give-up is not what the matchers were about.
        return Ok(());
    }
    let mut remembered = memory
        .task(&planned.kind, &task.id)
        .cloned()
        .unwrap_or_else(|| TaskMemory { state: task.state, ..TaskMemory::blank(now) });
    if (remembered.progress - task.progress).abs() > f64::EPSILON {
        remembered.progress_at = now.into();
    }
    let view = View::new(
        &snapshot.server,
        snapshot.flavour,
        &planned.kind,
        task,
        &remembered,
        &rules.classes,
        now,
    );
    if rule.condition.holds(&view, target.attempt - 1) {
        Ok(())
    } else {
        Err("the rule does not match the task any more".to_owned())
    }
}

/// A rule at work in one evaluation.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the tick")]
struct RuleRun<'a> {
    rule: &'a Rule,
    /// Its place among all rules, those that are off included.
    place: usize,
    mode: Mode,
    memory: RuleMemory,
    changed: bool,
    /// Whether this tick is a moment of its schedule, or it has none.
    fires: bool,
    /// When the firing that is being worked off was noticed. It is about the tasks that were there
    /// then; what comes later waits for the next one.
    fired_at: Option<Timestamp>,
    in_hours: bool,
    planned: u32,
    planned_by_kind: Vec<(Kind, u32)>,
    /// Whether a task waits for nothing but room in a limit.
    held_back: bool,
    /// For a whole-kind action: the tasks it is about, by kind.
    owned: BTreeMap<Kind, Owned>,
}

#[derive(Clone, Copy, Default)]
struct Owned {
    count: usize,
    /// How many of them the firing of the rule's schedule is about.
    at_firing: usize,
    oldest: Option<Timestamp>,
}

/// A task that rules have taken, in file order.
struct Candidate<'a> {
    kind: &'a Kind,
    task: &'a Arc<Task>,
    due: Timestamp,
    remembered: Remembered<'a>,
    /// Since when the task is as it is. This and the next are in what is remembered, too, which is far away by the time
    /// that candidates are in order.
    since: Moment,
    /// Whether an action on it waits to be judged.
    pending: bool,
    /// Its claims, by their places among all.
    claims: Range<usize>,
    alike: Arc<Alike>,
}

impl Candidate<'_> {
    /// What somebody who is told of it now has heard of.
    fn noticed(&self, mode: Mode) -> Noticed {
        let (state, since) = (self.task.state, self.since);
        Noticed { state, since, dry_run: mode == Mode::DryRun }
    }
}

/// A rule's claim on a task.
struct Claim {
    run: usize,
    action: Action,
    due: Timestamp,
    attempts: u32,
    /// Whether it is what is left to do after the rule gave up.
    farewell: bool,
    /// Whether an action on the task was written down and then not sent.
    unsent: bool,
}

struct Evaluation<'a> {
    rules: &'a RuleSet,
    memory: &'a Memory,
    snapshot: &'a Snapshot,
    tick: Tick,
    runs: Vec<RuleRun<'a>>,
    progress: HashMap<(Subject, RuleName), Progress>,
    /// Since when an action on some task of a name waits to be judged, by rule.
    names_pending: HashMap<(Subject, RuleName), Timestamp>,
    blank: TaskMemory,
    alikes: Alikes,
    /// The names that rules let go of in this evaluation.
    names_given_up: HashMap<Subject, Vec<usize>>,
    runs_by_name: HashMap<&'a RuleName, usize>,
    counts_names: bool,
    /// Whether a rule has something to do with the task that was looked at last, or waits to see what came of it.
    concerned: bool,
    /// Whether a trace is to hold no more than what comes of it.
    brief: bool,
    /// What rules claim, task by task.
    claims: Vec<Claim>,
    /// The undone tasks of each kind, counted once.
    undone: HashMap<&'a Kind, u32>,
    decision: Decision,
}

impl<'a> Evaluation<'a> {
    fn new(rules: &'a RuleSet, memory: &'a Memory, snapshot: &'a Snapshot, tick: Tick) -> Self {
        let mut runs = Vec::with_capacity(rules.rules.len());
        let mode = rules.mode_on(&snapshot.server);
        for (place, rule) in rules.rules.iter().enumerate() {
            let mode = mode.max(rule.mode);
            if mode != Mode::Off {
                runs.push(RuleRun::new(place, rule, mode, memory, tick.now));
            }
        }
        // Names are looked up for what rules have let go of.
        let named = runs.iter().filter(|_| !memory.progress.is_empty());
        let runs_by_name = named.enumerate().map(|(at, run)| (&run.rule.name, at)).collect();
        Self {
            rules,
            memory,
            snapshot,
            tick,
            runs,
            progress: HashMap::new(),
            names_pending: names_pending(rules, memory),
            blank: TaskMemory::blank(tick.now),
            alikes: Alikes::default(),
            names_given_up: HashMap::new(),
            runs_by_name,
            counts_names: rules.rules.iter().any(|rule| rule.identity == Identity::Name),
            concerned: false,
            brief: false,
            claims: Vec::new(),
            undone: if rules.rules.iter().any(|rule| rule.limits.only_if_undone_below.is_some()) {
                let kinds = snapshot.kinds.iter();
                kinds.map(|(kind, tasks)| (kind, count_undone(tasks))).collect()
            } else {
                HashMap::new()
            },
            decision: Decision::default(),
        }
    }

    fn run_part(mut self, part: &[(&'a Kind, &'a Arc<Task>)]) -> Decision {
        self.advance_breakers();
        let mut candidates = Vec::new();
        for (kind, task) in part {
            let remembered = self.memory.walk(kind).find(&task.id);
            candidates.extend(self.look(kind, task, remembered, None));
        }
        self.weigh_all(candidates, None, None);
        self.finish(None).0
    }

    fn run_awake(mut self, sleepers: &mut Sleepers) -> Decision {
        let (now, snapshot) = (self.tick.now, self.snapshot);
        // Tasks of a name share what rules remember of them.
        if self.counts_names {
            return self.run(None).0;
        }
        self.advance_breakers();
        self.alikes = Alikes::new(std::mem::take(&mut sleepers.settled));
        let spans = spans(self.rules);
        let mut candidates = Vec::new();
        for (kind, tasks) in &snapshot.kinds {
            let Some(asleep) = sleepers.kinds.get_mut(kind) else { continue };
            let mut memory = self.memory.walk(kind);
            for (task, until) in tasks.iter().zip(&mut asleep.until) {
                if *until > now.into() {
                    continue;
                }
                let remembered = memory.find(&task.id);
                candidates.extend(self.look(kind, task, remembered, None));
                let known = remembered.task.filter(|_| !self.concerned);
                *until = known.map_or(AWAKE, |known| wake(&spans, task.state, known, now).into());
            }
        }
        sleepers.settled = std::mem::take(&mut self.alikes).end();
        self.weigh_all(candidates, None, None);
        self.weigh_whole_kinds(None);
        self.finish(None).0
    }

    fn run(mut self, focus: Option<(&Kind, &TaskId)>) -> (Decision, Option<TaskTrace>) {
        self.advance_breakers();
        let mut trace = None;
        let mut candidates = Vec::new();
        let snapshot = self.snapshot;
        for (kind, tasks) in &snapshot.kinds {
            let mut memory = self.memory.walk(kind);
            for task in tasks {
                let mut looks = focus
                    .is_some_and(|(k, id)| k == kind && *id == task.id)
                    .then(|| TaskTrace::new(kind, task));
                let is_focus = looks.is_some();
                let remembered = memory.find(&task.id);
                candidates.extend(self.look(kind, task, remembered, looks.as_mut()));
                if is_focus {
                    trace = looks;
                }
            }
        }
        self.weigh_all(candidates, focus, trace.as_mut());
        self.weigh_whole_kinds(trace.as_mut());
        self.finish(trace)
    }

    fn weigh_all(
        &mut self,
        mut candidates: Vec<Candidate<'a>>,
        focus: Option<(&Kind, &TaskId)>,
        mut trace: Option<&mut TaskTrace>,
    ) {
        candidates.sort_unstable_by(|a, b| {
            a.due
                .cmp(&b.due)
                .then_with(|| a.kind.cmp(b.kind))
                .then_with(|| a.task.id.cmp(&b.task.id))
        });
        let claims = std::mem::take(&mut self.claims);
        self.decision.waiting.reserve(candidates.len());
        let mut gates = Vec::new();
        for candidate in candidates {
            let is_focus =
                focus.is_some_and(|(k, id)| k == candidate.kind && *id == candidate.task.id);
            let trace = if is_focus { trace.as_deref_mut() } else { None };
            self.weigh(&candidate, &claims[candidate.claims.clone()], &mut gates, trace);
        }
    }

    /// Lets time and the fate of canaries work on the breakers.
    fn advance_breakers(&mut self) {
        let (now, memory, rules, flavour) =
            (self.tick.now, self.memory, self.rules, self.snapshot.flavour);
        for run in &mut self.runs {
            let Some(settings) = &run.rule.breaker else { continue };
            for (key, breaker) in &mut run.memory.breakers {
                let before = breaker.clone();
                breaker.pass_time(settings, now, |canary, since| {
                    let found = memory.tasks.values().find_map(|tasks| tasks.get(canary));
                    match found {
                        Some(task) if task.gone_since.is_some() => CanaryState::Gone,
                        None => CanaryState::Gone,
                        Some(task) => match task.state {
                            State::Succeeded => CanaryState::Through,
                            State::Running => CanaryState::Running,
                            State::Failed if task.failed_at.is_some_and(|at| at.get() > since) => {
                                let class =
                                    rules.classes.classify(&task.last_error, flavour, task.state);
                                if settings.only_throttled && class != Class::Throttled {
                                    CanaryState::Through
                                } else {
                                    CanaryState::Failed
                                }
                            }
                            State::Canceled | State::Failed => CanaryState::Gone,
                            _ => CanaryState::Waiting,
                        },
                    }
                });
                run.changed |= *breaker != before;
                note_breaker(&mut self.decision.breakers, run.rule, key, [&before, breaker], now);
            }
            let count = run.memory.breakers.len();
            run.memory.breakers.retain(|_, breaker| !breaker.is_idle());
            run.changed |= run.memory.breakers.len() != count;
        }
    }

    /// Finds the rules that take a task.
    #[allow(clippy::too_many_lines, reason = "the order of the questions is the semantics")]
    fn look(
        &mut self,
        kind: &'a Kind,
        task: &'a Arc<Task>,
        remembered: Remembered<'a>,
        mut trace: Option<&mut TaskTrace>,
    ) -> Option<Candidate<'a>> {
        let blank;
        let known = if let Some(remembered) = remembered.task {
            remembered
        } else {
            blank = TaskMemory { state: task.state, ..self.blank.clone() };
            &blank
        };
        let error = error_of(task, remembered.task);
        let alike = self.alikes.of(kind, task.state, error);
        let view = self.view(kind, task, known).sharing(&alike.of_error);
        if trace.is_some() {
            // It tells the class, which says all that is asked of an error.
            let _ = view.shown_class();
        }
        let settled = alike.takers.get_or_init(|| self.takers(error, &view));
        let mut takers = Cow::Borrowed(&**settled);
        let gave_up = self.runs_that_gave_up(kind, task, remembered);
        let mut concerned = known.pending.is_some();
        let whole = trace.is_some() && !self.brief;
        if whole {
            takers = (0..self.runs.len()).map(|run| Taker { run, holds: false }).collect();
        }
        // What is left to do after a give-up is done whether or not the rule still matches.
        for run in gave_up {
            if let Err(place) = takers.binary_search_by_key(&run, |taker| taker.run) {
                takers.to_mut().insert(place, Taker { run, holds: false });
            }
        }
        let (mut taken, mut shown) = (false, false);
        let mut claims = std::mem::take(&mut self.claims);
        let first = claims.len();
        for Taker { run: index, holds: settled } in takers.iter().copied() {
            let run = &self.runs[index];
            let rule = run.rule;
            // A rule in dry run must not change what the live ones do.
            let late = taken || (shown && run.mode == Mode::DryRun);
            if late && !whole {
                if taken {
                    break;
                }
                continue;
            }
            let subject = subject(rule, kind, task);
            let progress = self.progress_of(&subject, &rule.name, remembered);
            let attempts = progress.map_or(0, |progress| progress.attempts);
            if late {
                if let Some(trace) = trace.as_deref_mut() {
                    let mut look = RuleTrace::new(rule, Look::TakenBefore);
                    look.predicate = Some(rule.condition.trace(&view, attempts));
                    look.implied = run.implied(&view);
                    look.attempts = attempts;
                    trace.rules.push(look);
                }
                continue;
            }
            let gave_up = progress.and_then(|progress| progress.gave_up.clone());
            let left = gave_up.as_ref().and_then(|gave_up| {
                gave_up.left.iter().copied().find(|action| action.fits(task.state))
            });
            let predicate = whole.then(|| rule.condition.trace(&view, attempts));
            // What was written down is what holds.
            let holds = || match &predicate {
                Some(predicate) => predicate.held,
                None => settled || rule.condition.holds(&view, attempts),
            };
            let matched = if left.is_some() || gave_up.is_some() {
                holds() || left.is_some()
            } else {
                run.action_fits(&view) && holds() && run.may_take(&view)
            };
            if let Some(trace) = trace.as_deref_mut() {
                let mut look =
                    RuleTrace::new(rule, if matched { Look::Taken } else { Look::NoMatch });
                look.predicate = predicate;
                look.implied = if whole { run.implied(&view) } else { None };
                look.attempts = attempts;
                trace.rules.push(look);
            }
            if !matched {
                continue;
            }
            concerned = true;
            let class = || view.shown_class().cloned();
            if let Some(gave_up) = gave_up {
                let Some(action) = left else {
                    if let Some(trace) = trace.as_deref_mut() {
                        trace
                            .last_rule(|look| look.look = Look::LetGo { why: gave_up.why.clone() });
                    }
                    continue;
                };
                let (due, unsent) = self.farewell_due(rule, &gave_up, progress);
                claims.push(Claim { run: index, action, due, attempts, farewell: true, unsent });
            } else if let Some(why) = self.gives_up(rule, &view, &subject, progress) {
                let progress = progress.cloned().unwrap_or_default();
                let target = target(task, subject.clone(), attempts, error, class());
                let left = self.give_up(index, kind, target, progress, &why);
                if let Some(trace) = trace.as_deref_mut() {
                    trace.last_rule(|look| look.look = Look::LetGo { why: why.clone() });
                }
                let Some(action) = left else { continue };
                let due = self.tick.now;
                claims.push(Claim {
                    run: index,
                    action,
                    due,
                    attempts,
                    farewell: true,
                    unsent: false,
                });
            } else {
                let due = self.due(rule, &view, &subject, progress);
                let unsent = progress.is_some_and(|progress| progress.unsent.is_some());
                self.feed_breaker(index, &view, attempts, remembered);
                let run = &mut self.runs[index];
                if rule.action.is_whole_kind() {
                    let at_firing = run.is_about(view.memory.state_since.get());
                    let owned = run.owned.entry(kind.clone()).or_default();
                    owned.count += 1;
                    owned.at_firing += usize::from(at_firing);
                    let failed = view.memory.failed_at.unwrap_or(view.memory.state_since).get();
                    owned.oldest = Some(owned.oldest.map_or(failed, |oldest| oldest.min(failed)));
                } else {
                    let action = rule.action;
                    claims.push(Claim {
                        run: index,
                        action,
                        due,
                        attempts,
                        farewell: false,
                        unsent,
                    });
                }
            }
            if !rule.continues {
                match self.runs[index].mode {
                    Mode::DryRun => shown = true,
                    _ => taken = true,
                }
            }
        }
        self.concerned = concerned;
        if let Some(trace) = trace {
            view.error().clone_into(&mut trace.error);
            (trace.class, trace.retry) = view.shown_judged().cloned().unzip();
        }
        let due = claims[first..].iter().map(|claim| claim.due).min();
        let own = first..claims.len();
        self.claims = claims;
        let (since, pending) = (known.state_since, known.pending.is_some());
        Some(Candidate { kind, task, due: due?, remembered, since, pending, claims: own, alike })
    }

    /// The rules that may take tasks like this one.
    fn takers(&self, error: &str, view: &View<'_>) -> Box<[Taker]> {
        let may_take = |place: usize| {
            // Those that are off are not at work.
            let index = self.runs.binary_search_by_key(&place, |run| run.place).ok()?;
            let run = &self.runs[index];
            let settled = run.action_fits(view).then(|| run.rule.condition.settled(view))?;
            (settled != Some(false)).then_some(Taker { run: index, holds: settled.is_some() })
        };
        // Mostly there is one.
        let mut takers = Vec::with_capacity(1);
        takers.extend(self.rules.in_question(error).filter_map(may_take));
        takers.into_boxed_slice()
    }

    /// The rules that have let go of a task, or of its name.
    fn runs_that_gave_up(&self, kind: &Kind, task: &Task, own: Remembered<'_>) -> Vec<usize> {
        let mut runs = Vec::new();
        let mut note = |rules: Option<&RulesProgress>| {
            let rules = rules.into_iter().flat_map(RulesProgress::iter);
            let gave_up = rules.filter(|(_, progress)| progress.gave_up.is_some());
            runs.extend(gave_up.filter_map(|(rule, _)| self.runs_by_name.get(rule)));
        };
        note(own.progress);
        if self.counts_names {
            let name = Subject::Name(kind.clone(), task.name.identity());
            note(self.memory.progress.get(&name));
            runs.extend(self.names_given_up.get(&name).into_iter().flatten());
        }
        runs
    }

    /// How far a rule has come with a subject of a task.
    fn progress_of<'s>(
        &'s self,
        subject: &Subject,
        rule: &RuleName,
        own: Remembered<'s>,
    ) -> Option<&'s Progress> {
        // What this evaluation wrote comes before what was remembered.
        if !self.progress.is_empty()
            && let Some(progress) = self.progress.get(&(subject.clone(), rule.clone()))
        {
            return Some(progress);
        }
        match subject {
            Subject::Task(..) => own.progress?.get(rule),
            Subject::Name(..) => self.memory.progress_of(subject, rule),
        }
    }

    /// Why a rule lets go of a task it could take, if it does.
    fn gives_up(
        &self,
        rule: &Rule,
        view: &View<'_>,
        subject: &Subject,
        progress: Option<&Progress>,
    ) -> Option<String> {
        if rule.action == Action::Notify || rule.action.is_whole_kind() {
            return None;
        }
        if view.memory.pending.is_some() || self.name_pending(subject, rule).is_some() {
            return None;
        }
        if let Some(progress) = progress {
            if progress.ineffective >= 2 {
                let why = &progress.ineffective_why;
                return Some(format!("{} did not take twice in a row: {why}", rule.action));
            }
            if rule.max_attempts.is_some_and(|max| progress.attempts >= max) {
                return Some(format!("all {} attempts are used up", progress.attempts));
            }
        }
        let limit = rule.give_up_after?;
        let seen = view.memory.first_failed_at.map(Moment::get);
        let ours = progress.and_then(|progress| progress.first_failure).map(Moment::get);
        let first = match (ours, seen) {
            (Some(ours), Some(seen)) => ours.min(seen),
            (ours, seen) => ours.or(seen)?,
        };
        let first = first.max(progress.and_then(Progress::redriven).unwrap_or(first));
        let elapsed = Duration::try_from(self.tick.now.duration_since(first)).unwrap_or_default();
        (elapsed >= limit).then(|| {
            format!(
                "the first failure was {} ago, and the rule tries for {}",
                format_duration(elapsed),
                format_duration(limit)
            )
        })
    }

    /// Since when an action on another task of the same name waits to be judged, for a rule that
    /// counts by name.
    fn name_pending(&self, subject: &Subject, rule: &Rule) -> Option<Timestamp> {
        if self.names_pending.is_empty() || rule.identity != Identity::Name {
            return None;
        }
        self.names_pending.get(&(subject.clone(), rule.name.clone())).copied()
    }

    /// When what `on_give_up` asks for is due: at once, and a wait later if it could not be sent.
    fn farewell_due(
        &self,
        rule: &Rule,
        gave_up: &GaveUp,
        progress: Option<&Progress>,
    ) -> (Timestamp, bool) {
        let now = self.tick.now;
        let Some(progress) = progress else { return (now, false) };
        let tried = progress.last_action.max(progress.unsent).map(Moment::get);
        let tried = tried.filter(|at| *at >= gave_up.at);
        let due = tried.and_then(|at| at.min(now).checked_add(rule.backoff.wait(0, 0.0)).ok());
        (due.unwrap_or(now), progress.unsent.is_some())
    }

    /// Lets go of a task; returns what `on_give_up` still wants done to it.
    fn give_up(
        &mut self,
        index: usize,
        kind: &Kind,
        task: Target,
        mut progress: Progress,
        why: &str,
    ) -> Option<Action> {
        let run = &self.runs[index];
        // A dry run lets go without a word: nothing it would have done was done.
        if run.mode == Mode::DryRun {
            return None;
        }
        let rule = run.rule;
        let left: Vec<Action> =
            rule.on_give_up.iter().copied().filter(|action| *action != Action::Notify).collect();
        let next = left.iter().copied().find(|action| action.fits(task.task.state));
        let gave_up = GaveUp {
            at: self.tick.now,
            why: why.to_owned(),
            left,
            name: task.name().to_owned(),
            error: task.error.to_string(),
            class: task.class.clone(),
            dropped: false,
        };
        progress.gave_up = Some(Box::new(gave_up));
        if matches!(task.subject, Subject::Name(..)) {
            self.names_given_up.entry(task.subject.clone()).or_default().push(index);
        }
        self.progress.insert((task.subject.clone(), rule.name.clone()), progress);
        self.decision.give_ups.push(GiveUp {
            rule: rule.name.clone(),
            kind: kind.clone(),
            task,
            why: why.to_owned(),
            notify: rule.on_give_up.contains(&Action::Notify),
        });
        next
    }

    /// When the rule's next action on the task is due, limits aside.
    fn due(
        &self,
        rule: &Rule,
        view: &View<'_>,
        subject: &Subject,
        progress: Option<&Progress>,
    ) -> Timestamp {
        let now = self.tick.now;
        let attempts = progress.map_or(0, |progress| progress.attempts);
        let refused = progress.map_or(0, |progress| progress.ineffective);
        // A moment that lies ahead, by a clock that was set back, is worth no more than now.
        let past = |at: Option<Moment>| at.map(|at| at.get().min(now));
        let last = past(progress.and_then(|progress| progress.last_action));
        let unsent = past(progress.and_then(|progress| progress.unsent));
        let (from, tries) = match rule.action.effect() {
            Effect::Retry => {
                let failed = view.memory.failed_at.unwrap_or(view.memory.state_since);
                let failed = failed.get().min(now);
                (last.map_or(failed, |last| last.max(failed)), attempts.max(refused))
            }
            Effect::Cancel | Effect::Remove => match (last, unsent) {
                (Some(last), _) => (last, attempts.max(refused).saturating_sub(1)),
                (None, Some(unsent)) => (unsent, 0),
                (None, None) => {
                    return progress.and_then(Progress::redriven).map_or(now, |at| at.max(now));
                }
            },
            Effect::None => return now,
        };
        let id = match subject {
            Subject::Task(_, id) => Cow::Borrowed(id.as_str()),
            Subject::Name(_, name) => Cow::Owned(format!("{name:016x}")),
        };
        let server = self.snapshot.server.as_str();
        let parts = [server, view.kind.as_str(), &id, rule.name.as_str()];
        let drawn = draw(self.tick.seed, tries, &parts);
        let mut wait = rule.backoff.wait(tries, drawn);
        if rule.action.effect() == Effect::Retry
            && let Some(named) = view.named_wait(rule.retry_after.as_ref())
        {
            wait = wait.max(named);
        }
        let due = from.checked_add(wait).unwrap_or(Timestamp::MAX);
        // What was not sent is no attempt, and costs no more than the first wait.
        let unsent = unsent.and_then(|at| at.checked_add(rule.backoff.wait(0, drawn)).ok());
        due.max(unsent.unwrap_or(due)).max(progress.and_then(Progress::redriven).unwrap_or(due))
    }

    /// Tells the rule's breaker of a failure it has not heard of.
    fn feed_breaker(
        &mut self,
        index: usize,
        view: &View<'_>,
        attempts: u32,
        remembered: Remembered<'_>,
    ) {
        let rule = self.runs[index].rule;
        let Some(settings) = &rule.breaker else { return };
        let now = self.tick.now;
        let failed_at = view.memory.failed_at.filter(|_| view.task.state == State::Failed);
        let Some(failed_at) = failed_at.map(Moment::get) else { return };
        let long_ago =
            Duration::try_from(now.duration_since(failed_at)).unwrap_or_default() > settings.within;
        if long_ago || self.runs[index].mode != Mode::Live {
            return;
        }
        // Each task's failure counts once, also where tasks of a name share their attempts.
        let own = Subject::Task(view.kind.clone(), view.task.id.clone());
        let progress = self.progress_of(&own, &rule.name, remembered);
        if progress.is_some_and(|progress| progress.breaker_counted == Some(failed_at.into())) {
            return;
        }
        let retried = attempts > 0;
        if ((retried && !settings.only_throttled) || view.hinders(&Class::Throttled))
            && let Some(key) = breaker_key(settings, view)
        {
            let mut progress = progress.cloned().unwrap_or_default();
            progress.breaker_counted = Some(failed_at.into());
            self.progress.insert((own, rule.name.clone()), progress);
            let run = &mut self.runs[index];
            let breaker = run.memory.breakers.entry(key.clone()).or_default();
            let before = breaker.clone();
            breaker.fail(settings, &view.task.id, failed_at, now);
            run.changed = true;
            note_breaker(&mut self.decision.breakers, rule, &key, [&before, breaker], now);
        }
    }

    /// The key of the breaker that a claim has to ask; `None` while none is at work.
    fn asked_breaker(&self, candidate: &Candidate<'_>, claim: &Claim) -> Option<String> {
        let run = &self.runs[claim.run];
        let settings = run.rule.breaker.as_ref()?;
        if claim.farewell || run.memory.breakers.is_empty() {
            return None;
        }
        breaker_key(settings, &self.view_of(candidate))
    }

    /// Decides which of the rules that took a task acts on it now, if any. What stands in `gates` is of another task.
    fn weigh(
        &mut self,
        candidate: &Candidate<'a>,
        claims: &[Claim],
        gates: &mut Vec<Gate>,
        mut trace: Option<&mut TaskTrace>,
    ) {
        let now = self.tick.now;
        let mut acted = false;
        let own = Subject::Task(candidate.kind.clone(), candidate.task.id.clone());
        for claim in claims {
            let subject = subject(self.runs[claim.run].rule, candidate.kind, candidate.task);
            let pending = candidate.remembered.task.filter(|_| candidate.pending);
            let pending = pending
                .and_then(|task| Some(task.pending.as_ref()?.at))
                .or_else(|| self.name_pending(&subject, self.runs[claim.run].rule));
            let notify = claim.action == Action::Notify;
            gates.clear();
            if acted && !notify {
                gates.push(Gate::OneAction);
            }
            if let Some(since) = pending.filter(|_| !notify) {
                gates.push(Gate::Judging { since });
            }
            self.gates(candidate, claim, trace.is_some(), gates);
            let fresh = |evaluation: &Self| {
                let run = &evaluation.runs[claim.run];
                let progress = evaluation.progress_of(&own, &run.rule.name, candidate.remembered);
                progress.and_then(|progress| progress.noticed.as_ref())
                    != Some(&candidate.noticed(run.mode))
            };
            if notify && !fresh(self) {
                gates.push(Gate::Noticed);
            }
            let run = &self.runs[claim.run];
            if let Some(trace) = trace.as_deref_mut() {
                let look = if gates.is_empty() { Look::Acts } else { Look::Waits };
                trace.rule(&run.rule.name, |rule| {
                    if !matches!(rule.look, Look::LetGo { .. }) {
                        rule.look = look;
                    }
                    rule.gates.clone_from(gates);
                    rule.attempts = claim.attempts;
                    rule.due = Some(claim.due);
                });
            }
            if let Some(gate) = gates.first() {
                if gate.is_room() || (claim.unsent && matches!(gate, Gate::Backoff { .. })) {
                    self.runs[claim.run].held_back = true;
                }
                let gate = gates.swap_remove(0);
                self.wait(candidate.kind, Some(&candidate.task.id), claim.run, gate);
                continue;
            }
            let mode = run.mode;
            let live = mode == Mode::Live;
            let fresh = fresh(self);
            if fresh && (notify || mode == Mode::DryRun) {
                let progress = self.progress_of(&own, &run.rule.name, candidate.remembered);
                let progress = progress.cloned().unwrap_or_default();
                let noticed = Progress { noticed: Some(candidate.noticed(mode)), ..progress };
                self.progress.insert((own.clone(), run.rule.name.clone()), noticed);
            }
            let reason = self.reason(candidate, claim);
            let view = self.view_of(candidate);
            let target = target(
                candidate.task,
                subject.clone(),
                claim.attempts + u32::from(!claim.farewell),
                error_of(candidate.task, candidate.remembered.task),
                view.shown_class().cloned(),
            );
            self.decision.actions.push(Planned {
                rule: self.runs[claim.run].rule.name.clone(),
                action: claim.action,
                mode,
                kind: candidate.kind.clone(),
                task: Some(target),
                reason,
                fresh: live && !notify || fresh,
                farewell: claim.farewell,
            });
            if !notify {
                // What a dry run would do keeps no live rule from acting.
                acted |= live;
                if live && matches!(subject, Subject::Name(..)) {
                    // Tasks of one name share their attempts, so they take turns.
                    let rule = self.runs[claim.run].rule.name.clone();
                    self.names_pending.insert((subject, rule), now);
                }
                let key = self.asked_breaker(candidate, claim).filter(|_| live);
                let run = &mut self.runs[claim.run];
                run.planned += 1;
                match run.planned_by_kind.iter_mut().find(|(kind, _)| kind == candidate.kind) {
                    Some((_, planned)) => *planned += 1,
                    None => run.planned_by_kind.push((candidate.kind.clone(), 1)),
                }
                if live {
                    run.count_minute(now);
                    if let Some(key) = key
                        && let Some(breaker) = run.memory.breakers.get_mut(&key)
                    {
                        breaker.go(&candidate.task.id, now);
                    }
                }
            }
        }
    }

    /// What keeps a claim from acting now; the first only, unless `all` are asked for.
    fn gates(&self, candidate: &Candidate<'_>, claim: &Claim, all: bool, gates: &mut Vec<Gate>) {
        let now = self.tick.now;
        let run = &self.runs[claim.run];
        let rule = run.rule;
        let enough = |gates: &Vec<Gate>| !all && !gates.is_empty();
        run.common_gates(now, gates);
        if !run.is_about(candidate.since.get()) {
            gates.push(run.next_firing(now));
        }
        if enough(gates) {
            return;
        }
        if claim.due > now {
            gates.push(Gate::Backoff {
                until: claim.due,
                attempt: claim.attempts + 1,
                of: rule.max_attempts,
            });
        }
        if enough(gates) || claim.action == Action::Notify {
            return;
        }
        if let (Some(settings), Some(key)) = (&rule.breaker, self.asked_breaker(candidate, claim))
            && let Some(breaker) = run.memory.breakers.get(&key)
            && let Verdict::Wait(until) = breaker.ask(settings, now)
        {
            gates.push(Gate::Breaker { key, until });
        }
        if enough(gates) {
            return;
        }
        let list = self.snapshot.kinds.get(candidate.kind).map_or(0, |tasks| tasks.len());
        let planned_here = run
            .planned_by_kind
            .iter()
            .find(|(kind, _)| kind == candidate.kind)
            .map_or(0, |(_, planned)| *planned);
        if let Some(below) = rule.limits.only_if_undone_below {
            let undone = self.undone(candidate.kind);
            let undone = match rule.action.effect() {
                Effect::Retry => undone.saturating_add(planned_here),
                _ => undone,
            };
            if undone >= below {
                gates.push(Gate::Undone { undone, below });
            }
        }
        if let Some(share) = rule.limits.max_share {
            let at_most = share_of(share, list);
            if planned_here >= at_most {
                gates.push(Gate::MaxShare { at_most, of: list });
            }
        }
        if let Some(limit) = rule.limits.per_tick
            && run.planned >= limit
        {
            gates.push(Gate::PerTick { limit });
        }
        if let Some(limit) = rule.limits.per_hour {
            let in_hour: u32 = run.memory.minutes.values().sum();
            let in_hour = if run.mode == Mode::Live { in_hour } else { in_hour + run.planned };
            if in_hour >= limit {
                let oldest = run.memory.minutes.keys().next().copied().unwrap_or(0);
                let until = Timestamp::from_second((oldest + 61) * 60).unwrap_or(now);
                gates.push(Gate::PerHour { limit, until });
            }
        }
    }

    /// How many tasks of a kind are undone.
    fn undone(&self, kind: &Kind) -> u32 {
        self.undone.get(kind).copied().unwrap_or(0)
    }

    /// Notes that a task (or a whole kind) waits.
    fn wait(&mut self, kind: &Kind, id: Option<&TaskId>, run: usize, gate: Gate) {
        if let Some(until) = gate.until().filter(|until| *until > self.tick.now) {
            let next = self.decision.next_due.map_or(until, |next| next.min(until));
            self.decision.next_due = Some(next);
        }
        self.decision.waiting.push(Waiting {
            kind: kind.clone(),
            task: id.cloned(),
            rule: self.runs[run].rule.name.clone(),
            gate,
        });
    }

    fn reason(&self, candidate: &Candidate<'_>, claim: &Claim) -> String {
        let rule = self.runs[claim.run].rule;
        let now = self.tick.now;
        let since = candidate.since.get();
        let ago =
            format_duration(Duration::try_from(now.duration_since(since)).unwrap_or_default());
        let state = candidate.task.state;
        if claim.farewell {
            return format!("on_give_up: the rule gave the task up; {state} for {ago}");
        }
        match claim.action.effect() {
            Effect::Retry => match rule.max_attempts {
                Some(max) => format!("{state} for {ago}; attempt {} of {max}", claim.attempts + 1),
                None => format!("{state} for {ago}; attempt {}", claim.attempts + 1),
            },
            Effect::Cancel if state == State::Running => {
                let stalled =
                    candidate.remembered.task.map_or(now, |memory| memory.progress_at.get());
                let stalled = Duration::try_from(now.duration_since(stalled)).unwrap_or_default();
                let progress = candidate.task.progress;
                format!("running for {ago}, at {progress}% for {}", format_duration(stalled))
            }
            _ => format!("{state} for {ago}"),
        }
    }

    /// Decides about the actions that act on a whole kind.
    fn weigh_whole_kinds(&mut self, mut trace: Option<&mut TaskTrace>) {
        let now = self.tick.now;
        let snapshot = self.snapshot;
        for index in 0..self.runs.len() {
            let rule = self.runs[index].rule;
            if !rule.action.is_whole_kind() {
                continue;
            }
            self.forget_finished_kinds(index);
            let owned = std::mem::take(&mut self.runs[index].owned);
            for (kind, owned) in owned {
                let tasks = snapshot.kinds.get(&kind).map_or(&[][..], |tasks| tasks);
                let gates = self.whole_kind_gates(index, &kind, owned, tasks);
                if let Some(trace) = trace.as_deref_mut().filter(|trace| trace.kind == kind) {
                    trace.rule(&rule.name, |look| {
                        if look.look == Look::Taken {
                            look.look = if gates.is_empty() { Look::Acts } else { Look::Waits };
                            look.gates.clone_from(&gates);
                        }
                    });
                }
                if let Some(gate) = gates.into_iter().next() {
                    let run = &mut self.runs[index];
                    let tried = run.memory.kinds.get(&kind).map_or(0, |kind| kind.attempts) > 0;
                    // What was not sent, or whose answer is missing, is still of this firing.
                    run.held_back |= gate.is_room()
                        || matches!(gate, Gate::Judging { .. })
                        || (!tried && matches!(gate, Gate::Backoff { .. }));
                    self.wait(&kind, None, index, gate);
                    continue;
                }
                let run = &mut self.runs[index];
                if run.mode == Mode::Live {
                    run.memory.kinds.entry(kind.clone()).or_default().last_action = Some(now);
                    run.count_minute(now);
                }
                run.planned += 1;
                self.decision.actions.push(Planned {
                    rule: rule.name.clone(),
                    action: rule.action,
                    mode: run.mode,
                    reason: format!(
                        "{} of {} tasks of kind {kind} are meant",
                        owned.count,
                        tasks.len()
                    ),
                    kind,
                    task: None,
                    fresh: true,
                    farewell: false,
                });
            }
        }
    }

    /// A kind in which nothing is left to do starts anew.
    fn forget_finished_kinds(&mut self, index: usize) {
        let snapshot = self.snapshot;
        let run = &mut self.runs[index];
        let (owned, retries) = (&run.owned, run.rule.action.effect() == Effect::Retry);
        let count = run.memory.kinds.len();
        run.memory.kinds.retain(|kind, progress| {
            let finished = snapshot.kinds.get(kind).is_some_and(|tasks| {
                let under_way = retries && tasks.iter().any(|task| !task.state.is_done());
                !owned.contains_key(kind) && !under_way
            });
            !finished || progress.pending.is_some()
        });
        run.changed |= run.memory.kinds.len() != count;
    }

    fn whole_kind_gates(
        &self,
        index: usize,
        kind: &Kind,
        owned: Owned,
        tasks: &[Arc<Task>],
    ) -> Vec<Gate> {
        let now = self.tick.now;
        let run = &self.runs[index];
        let rule = run.rule;
        let mut gates = Vec::new();
        run.common_gates(now, &mut gates);
        let fresh = KindProgress::default();
        let progress = run.memory.kinds.get(kind).unwrap_or(&fresh);
        let own = progress.pending.as_ref().map(|pending| pending.at);
        // A call on one of the tasks whose answer is missing may still be carried out.
        let of_tasks = || {
            let pending = tasks
                .iter()
                .filter(|task| rule.action.fits(task.state))
                .filter_map(|task| Some(self.memory.task(kind, &task.id)?.pending.as_ref()?.at));
            pending.min()
        };
        if let Some(since) = own.or_else(of_tasks) {
            gates.push(Gate::Judging { since });
        }
        if run.fired_at.is_some() && owned.at_firing == 0 {
            gates.push(run.next_firing(now));
        }
        let retries = rule.action.effect() == Effect::Retry;
        if rule.max_attempts.is_some_and(|max| progress.attempts >= max) {
            gates.push(Gate::Exhausted { attempts: progress.attempts });
        }
        let from = match progress.last_action {
            Some(last) if progress.attempts > 0 => {
                Some((last.min(now), progress.attempts - u32::from(!retries)))
            }
            last if retries => owned.oldest.max(last).map(|from| (from.min(now), 0)),
            // The last one was not sent, or not carried out.
            last => last.map(|last| (last.min(now), 0)),
        };
        if let Some((from, tries)) = from {
            let parts = [self.snapshot.server.as_str(), kind.as_str(), rule.name.as_str()];
            let wait = rule.backoff.wait(tries, draw(self.tick.seed, tries, &parts));
            let until = from.checked_add(wait).unwrap_or(Timestamp::MAX);
            if until > now {
                let attempt = progress.attempts + 1;
                gates.push(Gate::Backoff { until, attempt, of: rule.max_attempts });
            }
        }
        if retries {
            let canceled = tasks
                .iter()
                .filter(|task| {
                    self.memory.task(kind, &task.id).is_some_and(|memory| {
                        let view = self.view(kind, task, memory);
                        task.state == State::Failed
                            && (memory.is_stale_failure(task) || canceled_by_person(&view))
                    })
                })
                .count();
            if canceled > 0 {
                gates.push(Gate::WouldRetryUnmeant { count: canceled });
            }
        }
        if let Some(below) = rule.limits.only_if_undone_below {
            let undone = self.undone(kind);
            if undone >= below {
                gates.push(Gate::Undone { undone, below });
            }
        }
        gates
    }

    fn view<'v>(&self, kind: &'v Kind, task: &'v Task, memory: &'v TaskMemory) -> View<'v>
    where
        'a: 'v,
    {
        let (server, flavour) = (&self.snapshot.server, self.snapshot.flavour);
        View::new(server, flavour, kind, task, memory, &self.rules.classes, self.tick.now)
    }

    fn view_of<'v>(&'v self, candidate: &'v Candidate<'a>) -> View<'v> {
        let memory = candidate.remembered.task.unwrap_or(&self.blank);
        let view = self.view(candidate.kind, candidate.task, memory);
        view.sharing(&candidate.alike.of_error)
    }

    fn finish(mut self, trace: Option<TaskTrace>) -> (Decision, Option<TaskTrace>) {
        let now = self.tick.now;
        for run in &mut self.runs {
            // What was decided may still get lost in a crash: a firing is over when a later look
            // finds nothing left to do.
            let under_way = run.planned > 0 && run.mode == Mode::Live;
            if run.memory.firing.is_some()
                && !under_way
                && !run.held_back
                && self.snapshot.unread.is_empty()
            {
                run.memory.firing = None;
                run.changed = true;
            }
            if let Some(next) =
                run.rule.schedule.as_ref().and_then(|schedule| schedule.next_after(now))
            {
                let due = self.decision.next_due.map_or(next, |due| due.min(next));
                self.decision.next_due = Some(due);
            }
            if run.changed {
                let memory = std::mem::take(&mut run.memory);
                self.decision.memory.rules.push((run.rule.name.clone(), Some(memory)));
            }
        }
        self.decision.memory.progress = self
            .progress
            .into_iter()
            .map(|((subject, rule), progress)| (subject, rule, Some(progress)))
            .collect();
        // Two decisions about the same are the same, to the last entry.
        self.decision.memory.progress.sort_unstable_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        (self.decision, trace)
    }
}

impl<'a> RuleRun<'a> {
    fn new(place: usize, rule: &'a Rule, mode: Mode, memory: &Memory, now: Timestamp) -> Self {
        let mut memory = memory.rules.get(&rule.name).cloned().unwrap_or_default();
        let mut changed = false;
        if let Some(schedule) = &rule.schedule {
            // A rule that was never looked at starts now, and so does one whose clock was set back.
            let seen = memory.schedule_seen.filter(|seen| *seen <= now);
            match seen {
                None => {
                    memory.schedule_seen = Some(now);
                    changed = true;
                }
                Some(seen) => {
                    if let Some(firing) = schedule.fired_between(seen, now) {
                        memory.firing = Some(firing);
                        memory.schedule_seen = Some(now);
                        changed = true;
                    }
                }
            }
        }
        let minute = now.as_second().div_euclid(60);
        // What was done in the time that a clock was set back by still counts.
        let ahead: u32 = memory.minutes.split_off(&(minute + 1)).into_values().sum();
        if ahead > 0 {
            *memory.minutes.entry(minute).or_default() += ahead;
            changed = true;
        }
        // The oldest of them may be of this very hour by some seconds.
        memory.minutes.retain(|at, _| *at >= minute - 60);
        if memory
            .paused
            .as_ref()
            .is_some_and(|paused| paused.until.is_some_and(|until| until <= now))
        {
            memory.paused = None;
            changed = true;
        }
        let fired_at = memory.firing.and(memory.schedule_seen);
        Self {
            fired_at,
            rule,
            place,
            mode,
            fires: rule.schedule.is_none() || memory.firing.is_some(),
            in_hours: rule.only_during.as_ref().is_none_or(|hours| hours.contains(now)),
            memory,
            changed,
            planned: 0,
            planned_by_kind: Vec::new(),
            held_back: false,
            owned: BTreeMap::new(),
        }
    }

    /// Whether the rule's action has its meaning on the task's state.
    fn action_fits(&self, view: &View<'_>) -> bool {
        let state = view.task.state;
        self.rule.action.fits(state)
            && (state != State::Canceled
                || self.rule.action.effect() != Effect::Retry
                || self.rule.asks_for_canceled())
    }

    /// Whether nothing else about the task forbids it: a retry never touches what a person
    /// canceled, unless asked to, nor what had succeeded.
    fn may_take(&self, view: &View<'_>) -> bool {
        self.rule.action.effect() != Effect::Retry
            || !(view.memory.is_stale_failure(view.task)
                || (canceled_by_person(view) && !self.rule.asks_for_canceled()))
    }

    /// What the engine itself asks of a task beside the rule's matchers, where it does not hold.
    fn implied(&self, view: &View<'_>) -> Option<String> {
        let state = view.task.state;
        if !self.rule.action.fits(state) {
            return Some(format!(
                "{} does nothing good to a task that is {state}",
                self.rule.action
            ));
        }
        if !self.action_fits(view)
            || (self.rule.action.effect() == Effect::Retry
                && canceled_by_person(view)
                && !self.rule.asks_for_canceled())
        {
            return Some(
                "a task that a person canceled is retried only by a rule that says \
                 `state: canceled` or `class: canceled`"
                    .to_owned(),
            );
        }
        (!self.may_take(view)).then(|| {
            "the task had succeeded; a restart of the server lists it as failed again".to_owned()
        })
    }

    fn common_gates(&self, now: Timestamp, gates: &mut Vec<Gate>) {
        if let Some(paused) = &self.memory.paused {
            gates.push(Gate::Paused { until: paused.until, why: paused.why.clone() });
        }
        if !self.fires {
            gates.push(self.next_firing(now));
        }
        if !self.in_hours {
            let until = self.rule.only_during.as_ref().and_then(|hours| hours.next_open(now));
            gates.push(Gate::OffHours { until });
        }
    }

    /// Whether the firing that is worked off is about a task that has been as it is since then.
    fn is_about(&self, since: Timestamp) -> bool {
        self.fired_at.is_none_or(|fired_at| since <= fired_at)
    }

    fn next_firing(&self, now: Timestamp) -> Gate {
        Gate::Schedule {
            until: self.rule.schedule.as_ref().and_then(|schedule| schedule.next_after(now)),
        }
    }

    fn count_minute(&mut self, now: Timestamp) {
        *self.memory.minutes.entry(now.as_second().div_euclid(60)).or_default() += 1;
        self.changed = true;
    }
}

/// What a rule counts attempts at a task on.
fn subject(rule: &Rule, kind: &Kind, task: &Task) -> Subject {
    match rule.identity {
        Identity::Id => Subject::Task(kind.clone(), task.id.clone()),
        Identity::Name => Subject::Name(kind.clone(), task.name.identity()),
    }
}

/// The lengths of time that matchers look at, each once.
fn spans(rules: &RuleSet) -> Vec<(SpanField, Duration)> {
    let mut spans = Vec::new();
    for rule in &rules.rules {
        rule.condition.leaves(false, &mut |leaf, _| {
            if let Test::Span(field, _, bound) = &leaf.test
                && !spans.contains(&(*field, *bound))
            {
                spans.push((*field, *bound));
            }
        });
    }
    spans
}

/// When one of them next comes out otherwise for a task that is listed as it is.
fn wake(
    spans: &[(SpanField, Duration)],
    state: State,
    known: &TaskMemory,
    now: Timestamp,
) -> Timestamp {
    let moments = spans.iter().filter_map(|(field, bound)| {
        let from = span_since(known, state, *field)?;
        let at = from.checked_add(*bound).unwrap_or(Timestamp::MAX);
        // A bound that must be passed is passed a moment later.
        let at = if at == now { at.checked_add(SignedDuration::from_nanos(1)).ok()? } else { at };
        (at > now).then_some(at)
    });
    moments.min().unwrap_or(Timestamp::MAX)
}

/// Where an action of a rule that counts by name waits to be judged.
fn names_pending(rules: &RuleSet, memory: &Memory) -> HashMap<(Subject, RuleName), Timestamp> {
    if rules.rules.iter().all(|rule| rule.identity != Identity::Name) {
        return HashMap::new();
    }
    let pending = memory.tasks.values().flat_map(BTreeMap::values);
    pending
        .filter_map(|task| task.pending.as_ref())
        .filter(|pending| matches!(pending.subject, Subject::Name(..)))
        .map(|pending| ((pending.subject.clone(), pending.rule.clone()), pending.at))
        .collect()
}

fn target(
    task: &Arc<Task>,
    subject: Subject,
    attempt: u32,
    error: &Arc<str>,
    class: Option<Class>,
) -> Target {
    Target { task: Arc::clone(task), subject, attempt, error: Arc::clone(error), class }
}

/// Whether a task counts as canceled by a person (CONTRACT.md, "Error texts": on `AList` a cancel
/// cannot be told from other ends with `context canceled`).
fn canceled_by_person(view: &View<'_>) -> bool {
    !view.memory.canceled_by_us
        && matches!(view.task.state, State::Failed | State::Canceled)
        && (view.task.state == State::Canceled
            || (!view.error().is_empty() && view.hinders(&Class::Canceled)))
}

fn breaker_key(settings: &BreakerSettings, view: &View<'_>) -> Option<String> {
    let mount = |side| {
        let place = view.location(side)?;
        let mount = place.mount.trim_end_matches('/');
        if !mount.is_empty() {
            return Some(mount.to_owned());
        }
        // A download names a path only; its first part is the mount as people make them.
        let first = place.path.split('/').find(|part| !part.is_empty())?;
        Some(format!("/{first}"))
    };
    match settings.by {
        BreakerKey::DstMount => mount(Side::Dst),
        BreakerKey::SrcMount => mount(Side::Src),
        BreakerKey::Kind => Some(view.kind.to_string()),
        BreakerKey::Server => Some(view.server.to_string()),
    }
}

fn note_breaker(
    changes: &mut Vec<BreakerChange>,
    rule: &Rule,
    key: &str,
    [before, after]: [&Breaker; 2],
    now: Timestamp,
) {
    // One that only hands over to another canary does not open.
    let open = |breaker: &Breaker| match breaker {
        Breaker::Open { until, .. } if *until > now => Some(*until),
        _ => None,
    };
    let closed = |breaker: &Breaker| matches!(breaker, Breaker::Closed { .. });
    if (open(after).is_some() && open(before).is_none()) || (closed(after) && !closed(before)) {
        changes.push(BreakerChange {
            rule: rule.name.clone(),
            key: key.to_owned(),
            open_until: open(after),
        });
    }
}

fn count_undone(tasks: &[Arc<Task>]) -> u32 {
    let undone = tasks.iter().filter(|task| !task.state.is_done()).count();
    u32::try_from(undone).unwrap_or(u32::MAX)
}

/// This share of so many tasks, rounded down, but one at the least.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is 0 to 1 and lists are far below 2^32 tasks"
)]
fn share_of(share: f64, count: usize) -> u32 {
    ((share * count as f64) as u32).max(1)
}

/// How long until a moment, for people; zero when it is past.
#[must_use]
pub fn until(now: Timestamp, moment: Timestamp) -> Duration {
    Duration::try_from(moment.duration_since(now).max(SignedDuration::ZERO)).unwrap_or_default()
}
