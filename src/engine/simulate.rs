//! Rules against a server that is not there: tasks on a virtual timeline, looked at tick by tick.
//!
//! The fold is the daemon's: look, [`Memory::fold`], [`decide`], [`Memory::absorb`], act. What an
//! accepted action does to a task is what CONTRACT.md says of it, unless the task's script says
//! what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::audit::IntentId;
use super::decide::{Decision, Planned, Tick, decide};
use super::listing::Listing;
use super::memory::{Answer, KindPending, Memory, Pending, Settling, Snapshot};
use super::rule::{Effect, Mode, RuleSet};
use super::task::{Flavour, Kind, ServerName, State, Task, TaskId};

/// A server with its tasks, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The server.
    pub server: ServerName,
    /// Which product it is.
    pub flavour: Flavour,
    /// The moment that the script calls 0.
    pub start: Timestamp,
    /// The time between two looks.
    pub poll: Duration,
    /// How long the script goes on.
    pub until: Duration,
    /// Moments at which there is a look in any case.
    pub moments: BTreeSet<Duration>,
    /// When the server does not answer: from (inside) and to (outside).
    pub away: Vec<(Duration, Duration)>,
    /// The tasks.
    pub tasks: Vec<Actor>,
}

/// A task with its script.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Its queue.
    pub kind: Kind,
    /// What does not change: id, name, creator, size. State, error and times are the script's.
    pub task: Task,
    /// What becomes of it.
    pub script: Vec<Step>,
}

/// One thing that happens to a task.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, or after what.
    pub cue: Cue,
    /// How many times in a row it is used; `None` is always.
    pub times: Option<u32>,
    /// The new state; `None` is gone from the list.
    pub state: Option<State>,
    /// The error with it.
    pub error: String,
    /// The new status.
    pub status: Option<String>,
    /// The new progress.
    pub progress: Option<f64>,
    /// How long ago, at that moment, it came to that state.
    pub age: Duration,
}

/// When a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// So long after the start.
    At(Duration),
    /// So long after an accepted retry, which has the task running until then.
    AfterRetry(Duration),
    /// So long after an accepted cancel.
    AfterCancel(Duration),
}

/// One look at the server, for whoever watches the simulation.
#[derive(Debug)]
pub struct Look<'a> {
    /// How long after the start.
    pub at: Duration,
    /// The moment and the seed.
    pub tick: Tick,
    /// What is listed.
    pub snapshot: &'a Snapshot,
    /// What is remembered, this look included, and as `decide` had it.
    pub memory: &'a Memory,
    /// What came of it.
    pub decision: &'a Decision,
    /// Whether the lists differ from those of the look before.
    pub changed: bool,
}

/// An actor on stage.
struct Live<'a> {
    actor: &'a Actor,
    /// `None` before it is made and after it is gone.
    task: Option<Task>,
    /// Steps to come by the clock.
    due: Vec<(Timestamp, &'a Step)>,
    /// How many times each step of the script was used.
    used: Vec<u32>,
}

/// How far apart looks are while nothing is undone and nothing waits, in polls and at most; as the
/// daemon does it.
const QUIET_POLLS: u32 = 4;
const SLOWEST_POLL: Duration = Duration::from_secs(120);

/// Runs the scenario, and shows every look to `watch`.
pub fn simulate(rules: &RuleSet, scenario: &Scenario, seed: u64, mut watch: impl FnMut(&Look<'_>)) {
    let mut stage: Vec<Live<'_>> =
        scenario.tasks.iter().map(|actor| Live::new(actor, scenario.start)).collect();
    let mut memory = Memory::new(scenario.server.clone());
    let mut intents = 0;
    let mut at = Duration::ZERO;
    let mut poll_at = Duration::ZERO;
    let mut before: Option<BTreeMap<Kind, Listing>> = None;
    loop {
        let now = moment(scenario.start, at);
        for live in &mut stage {
            live.pass_time(now);
        }
        let mut due = None;
        let mut quiet = true;
        if !scenario.away.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            let snapshot = snapshot(scenario, &stage);
            let tick = Tick { now, seed };
            memory.fold(&snapshot, now);
            let decision = decide(rules, &memory, &snapshot, tick);
            let changed = before.as_ref() != Some(&snapshot.kinds);
            let look = Look {
                at,
                tick,
                snapshot: &snapshot,
                memory: &memory,
                decision: &decision,
                changed,
            };
            watch(&look);
            memory.absorb(decision.memory.clone());
            for planned in &decision.actions {
                if planned.mode == Mode::Live && planned.action.effect() != Effect::None {
                    intents += 1;
                    act(&mut stage, &mut memory, planned, IntentId(intents), now, scenario);
                }
            }
            due = decision.next_due;
            quiet = decision.actions.is_empty()
                && snapshot.kinds.values().flatten().all(|task| task.state.is_done())
                && decision.waiting.iter().all(|waiting| waiting.gate.until().is_some());
            before = Some(snapshot.kinds);
        }
        if at >= poll_at {
            let poll = scenario.poll.max(Duration::from_secs(1));
            let slow = (poll * QUIET_POLLS).min(SLOWEST_POLL).max(poll);
            poll_at = at + if quiet { slow } else { poll };
        }
        let due = due.and_then(|due| Duration::try_from(due.duration_since(scenario.start)).ok());
        let asked = scenario.moments.range(at..).find(|moment| **moment > at).copied();
        let next = due.into_iter().chain(asked).filter(|next| *next > at).fold(poll_at, Ord::min);
        if next > scenario.until {
            break;
        }
        at = next;
    }
}

fn moment(start: Timestamp, after: Duration) -> Timestamp {
    SignedDuration::try_from(after)
        .ok()
        .and_then(|after| start.checked_add(after).ok())
        .unwrap_or(Timestamp::MAX)
}

fn snapshot(scenario: &Scenario, stage: &[Live<'_>]) -> Snapshot {
    let mut kinds: BTreeMap<Kind, Vec<Arc<Task>>> = BTreeMap::new();
    for live in stage {
        let tasks = kinds.entry(live.actor.kind.clone()).or_default();
        tasks.extend(live.task.clone().map(Arc::new));
    }
    Snapshot {
        server: scenario.server.clone(),
        flavour: scenario.flavour,
        skew: SignedDuration::ZERO,
        kinds: kinds.into_iter().map(|(kind, tasks)| (kind, tasks.into())).collect(),
        unread: BTreeMap::new(),
    }
}

/// Carries an action out: every call is accepted.
fn act(
    stage: &mut [Live<'_>],
    memory: &mut Memory,
    planned: &Planned,
    intent: IntentId,
    now: Timestamp,
    scenario: &Scenario,
) {
    let (at, action) = (now, planned.action);
    let settles = Settling { from: now, wait: SignedDuration::ZERO };
    let flavour = scenario.flavour;
    let Some(target) = &planned.task else {
        let pending = KindPending { intent, action, at, settles, accepted: false };
        memory.note_kind_intent(&planned.rule, &planned.kind, pending);
        memory.note_kind_answer(&planned.rule, &planned.kind, &Answer::Accepted);
        for live in stage.iter_mut().filter(|live| live.actor.kind == planned.kind) {
            if live.task.as_ref().is_some_and(|task| action.fits(task.state)) {
                live.suffer(action.effect(), now, flavour);
            }
        }
        return;
    };
    let pending = Pending {
        intent,
        rule: planned.rule.clone(),
        subject: target.subject.clone(),
        action,
        before: target.before(),
        at,
        settles,
        accepted: false,
    };
    memory.note_intent(&planned.kind, target.id(), pending);
    memory.note_answer(&planned.kind, target.id(), &Answer::Accepted, now);
    if let Some(live) = find(stage, &planned.kind, target.id()) {
        live.suffer(action.effect(), now, flavour);
    }
}

fn find<'l, 'a>(stage: &'l mut [Live<'a>], kind: &Kind, id: &TaskId) -> Option<&'l mut Live<'a>> {
    stage.iter_mut().find(|live| live.actor.kind == *kind && live.actor.task.id == *id)
}

impl<'a> Live<'a> {
    fn new(actor: &'a Actor, start: Timestamp) -> Self {
        let due = actor.script.iter().filter_map(|step| match step.cue {
            Cue::At(after) => Some((moment(start, after), step)),
            _ => None,
        });
        Self { actor, task: None, due: due.collect(), used: vec![0; actor.script.len()] }
    }

    /// Does what is due by now, in order.
    fn pass_time(&mut self, now: Timestamp) {
        self.due.sort_by_key(|(at, _)| *at);
        while let Some((at, step)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(0);
            self.become_as(step, at);
        }
    }

    fn become_as(&mut self, step: &Step, at: Timestamp) {
        let Some(state) = step.state else {
            self.task = None;
            return;
        };
        let since = SignedDuration::try_from(step.age).unwrap_or_default();
        let at = at.checked_sub(since).unwrap_or(at);
        let was = self.task.take();
        let running = was.as_ref().filter(|task| task.state == State::Running);
        let mut task = was.clone().unwrap_or_else(|| self.actor.task.clone());
        match state {
            // Its progress moves, and it goes on.
            State::Running if running.is_some() => {}
            State::Running => {
                (task.started, task.ended, task.progress) = (Some(at.into()), None, 0.0);
            }
            State::Pending => (task.started, task.ended) = (None, None),
            state if state.is_done() => {
                task.started = running.map_or(Some(at.into()), |task| task.started);
                task.ended = Some(at.into());
            }
            _ => {}
        }
        task.state = state;
        task.error = step.error.as_str().into();
        if let Some(status) = &step.status {
            task.status = status.as_str().into();
        }
        if let Some(progress) = step.progress {
            task.progress = progress;
        }
        self.task = Some(task);
    }

    /// Lets an accepted action do its work.
    fn suffer(&mut self, effect: Effect, now: Timestamp, flavour: Flavour) {
        match effect {
            Effect::None => {}
            Effect::Remove => {
                self.call_off();
                self.task = None;
            }
            Effect::Retry => {
                if let Some(task) = &mut self.task {
                    task.state = State::Running;
                    (task.started, task.ended) = (Some(now.into()), None);
                    (task.error, task.status, task.progress) = ("".into(), "".into(), 0.0);
                }
                self.cue(now, |cue| match cue {
                    Cue::AfterRetry(after) => Some(after),
                    _ => None,
                });
            }
            Effect::Cancel => {
                self.call_off();
                let scripted = self.cue(now, |cue| match cue {
                    Cue::AfterCancel(after) => Some(after),
                    _ => None,
                });
                if scripted {
                    return;
                }
                if let Some(task) = &mut self.task {
                    // CONTRACT.md: AList lists a task that was canceled as failed.
                    task.state = match flavour {
                        Flavour::AList => State::Failed,
                        _ => State::Canceled,
                    };
                    task.error = "context canceled".into();
                    task.ended = Some(now.into());
                }
            }
        }
    }

    /// What was to come of the last action comes no more.
    fn call_off(&mut self) {
        self.due.retain(|(_, step)| matches!(step.cue, Cue::At(_)));
    }

    /// Puts the next step that waits for such a cue on the clock; false when there is none.
    fn cue(&mut self, now: Timestamp, wanted: impl Fn(Cue) -> Option<Duration>) -> bool {
        for (step, used) in self.actor.script.iter().zip(&mut self.used) {
            if let Some(after) = wanted(step.cue)
                && step.times.is_none_or(|times| *used < times)
            {
                *used += 1;
                self.due.push((moment(now, after), step));
                return true;
            }
        }
        false
    }
}
