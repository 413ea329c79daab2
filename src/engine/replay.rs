//! The one evaluator over recorded history: what rules would have done, had they run then.
//!
//! What was recorded is the truth as long as the rules do what was really done. An action that was
//! really done and is not done here leaves its task as it was, until the rules come to do it; one that
//! is done here and was not done then takes its task out of sight, until it was done then. Of such a
//! task history cannot tell what would have become, so what follows on it is marked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::audit::{AuditRow, IntentId, Outcome, Trouble};
use super::decide::{Decision, Planned, Target, Tick, decide, decide_part};
use super::listing::Listing;
use super::memory::{Answer, KindPending, Memory, Pending, Settling, Snapshot, Subject};
use super::observe::{After, Look, Observation};
use super::predicate::{SpanField, Test};
use super::rule::{Action, Effect, Identity, Mode, RuleSet};
use super::task::{Flavour, Kind, RuleName, ServerName, State, Task, TaskId};
use super::trace::Gate;

/// An action, really done or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Deed {
    /// When.
    pub time: Timestamp,
    /// The server.
    pub server: ServerName,
    /// By which rule.
    pub rule: RuleName,
    /// What, by the audit log's name.
    pub action: String,
    /// The queue.
    pub kind: Kind,
    /// The task; `None` for a whole kind.
    pub task_id: Option<TaskId>,
    /// Its name.
    pub task_name: Option<String>,
    /// Which try.
    pub attempt: Option<u32>,
    /// In earnest or not.
    pub mode: Mode,
    /// Whether history cannot tell if it would have come to this.
    pub uncertain: bool,
}

impl Deed {
    /// What an audit row says was done; `None` for a row about something else than a rule's action.
    #[must_use]
    pub fn of(row: &AuditRow) -> Option<Self> {
        let known = row.action == GIVE_UP || action(row).is_some();
        Some(Self {
            time: row.time,
            server: row.server.clone(),
            rule: row.rule.clone().filter(|_| known)?,
            action: row.action.clone(),
            kind: row.kind.clone()?,
            task_id: row.task_id.clone(),
            task_name: row.task_name.clone(),
            attempt: row.attempt,
            mode: row.mode,
            uncertain: false,
        })
    }
}

/// The audit log's name for letting go of a task.
const GIVE_UP: &str = "give_up";

/// What a replay goes by beside the rules.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub server: ServerName,
    /// Shifts the draws of jitter.
    pub seed: u64,
    /// The time between two looks.
    pub poll: SignedDuration,
    /// How long a call without an answer may still be carried out.
    pub settles: SignedDuration,
    /// From when on the rules act; before it, they look on at what was really done.
    pub from: Timestamp,
    /// How often all tasks are looked at: [`WHOLE_EVERY`], or always with zero, which comes to the
    /// same and takes longer.
    pub whole_every: SignedDuration,
    /// Actions whose calls went wrong.
    pub troubles: BTreeMap<IntentId, Trouble>,
}

type Key = (Kind, TaskId);

/// How often all tasks are looked at, and what is old is forgotten, though little changes.
pub const WHOLE_EVERY: SignedDuration = SignedDuration::from_hours(6);

/// A replay of one server's history. Only the tasks of which something may be wanted are held against
/// the rules, since a month has very many looks.
pub struct Replay<'r> {
    rules: &'r RuleSet,
    settings: Settings,
    memory: Memory,
    /// What is listed, as the rules see it.
    shown: Snapshot,
    /// Running tasks, with the moment since when their progress does not move, if it does not.
    running: BTreeMap<Key, Option<Timestamp>>,
    /// Kinds that the server did not seem to have at the last recorded look.
    absent: BTreeSet<Kind>,
    /// Tasks that are not shown as they really were.
    apart: HashMap<Key, Apart>,
    /// Tasks of which history cannot tell what would have become.
    uncertain: BTreeSet<Key>,
    /// What is shown otherwise than at the last tick.
    changed: BTreeSet<Key>,
    /// Tasks with an action that waits to be judged.
    judging: BTreeSet<Key>,
    /// Tasks that a rule has and that wait for more than time.
    awake: BTreeSet<Key>,
    /// When a rule may see a task otherwise because time passed.
    wakes: BTreeSet<(Timestamp, Key)>,
    /// Whether the rules have been held against all tasks.
    decided: bool,
    /// When all tasks were last looked at.
    whole_at: Option<Timestamp>,
    /// Moments at which something may fall due.
    moments: BTreeSet<Timestamp>,
    last: Option<Timestamp>,
    intents: i64,
    /// What was done.
    pub deeds: Vec<Deed>,
}

/// A task that is not shown as it really was.
struct Apart {
    truth: Option<Observation>,
    /// Done here and not then, or else then and not here.
    ahead: bool,
    effect: Effect,
}

impl<'r> Replay<'r> {
    /// Nothing has been seen yet.
    #[must_use]
    pub fn new(rules: &'r RuleSet, settings: Settings) -> Self {
        let server = settings.server.clone();
        Self {
            rules,
            memory: Memory::new(server.clone()),
            shown: Snapshot {
                server,
                flavour: Flavour::Unknown,
                skew: SignedDuration::ZERO,
                kinds: BTreeMap::new(),
                unread: BTreeMap::new(),
            },
            running: BTreeMap::new(),
            absent: BTreeSet::new(),
            apart: HashMap::new(),
            uncertain: BTreeSet::new(),
            changed: BTreeSet::new(),
            judging: BTreeSet::new(),
            awake: BTreeSet::new(),
            wakes: BTreeSet::new(),
            decided: false,
            whole_at: None,
            moments: BTreeSet::new(),
            last: None,
            intents: 0,
            deeds: Vec::new(),
            settings,
        }
    }

    /// Of how many tasks history cannot tell what would have become.
    #[must_use]
    pub fn uncertain(&self) -> usize {
        self.uncertain.len()
    }

    /// Takes in a recorded look. `rows` were written after it and before the next; `cut_short` is
    /// whether that next one is of another process.
    pub fn look(&mut self, look: Look, rows: &[AuditRow], cut_short: bool) {
        self.pass_time(&look);
        let Look { time, flavour, skew, unread, absent, seen, .. } = look;
        self.absent = absent;
        (self.shown.flavour, self.shown.skew) = (flavour, skew);
        let why = "could not be read";
        self.shown.unread = unread.into_iter().map(|kind| (kind, why.to_owned())).collect();
        for one in seen {
            self.take_in(one);
        }
        self.tick(time, Some((rows, cut_short)));
        self.last = Some(time);
    }

    /// The time since the last recorded look, at which looks showed nothing new and decided nothing.
    fn pass_time(&mut self, next: &Look) {
        let previous = match next.after {
            // The clock may have been set back between the two.
            After::Look(at) | After::Away(at) => at.min(next.time),
            After::Start => {
                // What is not stored begins anew with a process.
                let mut memory = Memory::new(self.settings.server.clone());
                memory.tasks = std::mem::take(&mut self.memory.tasks);
                memory.progress = std::mem::take(&mut self.memory.progress);
                memory.rules = std::mem::take(&mut self.memory.rules);
                self.memory = memory;
                self.moments.clear();
                self.whole_at = None;
                return;
            }
        };
        let Some(last) = self.last else { return };
        while let Some(moment) = self.moments.first().copied().filter(|at| *at <= previous) {
            self.moments.pop_first();
            if moment > last && moment < previous {
                self.tick(moment, None);
            }
        }
        if previous > last {
            self.tick(previous, None);
        }
        if matches!(next.after, After::Away(_)) {
            self.memory.note_away();
            self.whole_at = None;
        }
    }

    /// Shows what was seen of a task, unless it is apart.
    fn take_in(&mut self, seen: Observation) {
        if let Some(apart) = self.apart.get_mut(&(seen.kind.clone(), seen.id.clone())) {
            apart.truth = Some(seen);
        } else {
            self.show(seen);
        }
    }

    fn show(&mut self, seen: Observation) {
        let Observation { kind, id, task, still_since } = seen;
        let runs = task.as_ref().is_some_and(|task| task.state == State::Running);
        let key = (kind, id);
        let tasks = self.shown.kinds.entry(key.0.clone()).or_default();
        tasks.put(&key.1, task);
        self.changed.insert(key.clone());
        if runs {
            self.running.insert(key, still_since);
        } else {
            self.running.remove(&key);
        }
    }

    fn listed(&self, key: &Key) -> Option<&Arc<Task>> {
        listed(&self.shown, key)
    }

    /// One look as the daemon takes it.
    fn tick(&mut self, now: Timestamp, real: Option<(&[AuditRow], bool)>) {
        let hidden: Vec<Kind> = self.shown.unread.keys().chain(&self.absent).cloned().collect();
        let hidden: Vec<(Kind, Listing)> =
            hidden.into_iter().filter_map(|kind| self.shown.kinds.remove_entry(&kind)).collect();
        let whole = !hidden.is_empty()
            || self.whole_at.is_none_or(|at| now.duration_since(at) >= self.settings.whole_every);
        let changed = std::mem::take(&mut self.changed);
        if whole {
            self.memory.fold(&self.shown, now);
            // What was left out is looked at whole when it can be read again.
            self.whole_at = hidden.is_empty().then_some(now);
        } else {
            let part: Vec<(&Kind, &TaskId, Option<&Task>)> = changed
                .union(&self.judging)
                .map(|key| (&key.0, &key.1, listed(&self.shown, key).map(Arc::as_ref)))
                .collect();
            self.memory.fold_part(&self.shown, &part, now);
        }
        // The daemon saw all their movements; only that they stopped was written down.
        for ((kind, id), still_since) in &self.running {
            if let Some(task) = self.memory.task_mut(kind, id) {
                task.progress_at = still_since.unwrap_or(now).into();
            }
        }
        for key in &changed {
            self.note_moments(key);
        }
        self.awake.extend(changed);
        // With the verdict, what the rules make of a task changes too.
        self.awake.extend(self.judging.iter().cloned());
        let memory = &self.memory;
        self.judging
            .retain(|(kind, id)| memory.task(kind, id).is_some_and(|task| task.pending.is_some()));
        while let Some((at, _)) = self.wakes.first()
            && *at <= now
        {
            self.awake.extend(self.wakes.pop_first().map(|(_, key)| key));
        }
        let (rows, cut_short) = real.unwrap_or((&[], false));
        let done = |row: &&AuditRow| {
            row.mode == Mode::Live && action(row).is_some_and(|a| a.effect() != Effect::None)
        };
        let mut left: Vec<&AuditRow> = rows.iter().filter(done).collect();
        let tick = Tick { now, seed: self.settings.seed };
        let decision = if whole || !self.decided || self.needs_whole(now) {
            decide(self.rules, &self.memory, &self.shown, tick)
        } else {
            let part: Vec<(&Kind, &Arc<Task>)> =
                self.awake.iter().filter_map(|key| Some((&key.0, self.listed(key)?))).collect();
            decide_part(self.rules, &self.memory, &self.shown, tick, &part)
        };
        self.decided = true;
        self.memory.absorb(decision.memory.clone());
        self.fall_asleep(&decision);
        // A call that went wrong ends the acting of a look, and what was left comes later.
        let cut_short =
            cut_short || left.iter().any(|row| self.settings.troubles.contains_key(&row.id));
        self.carry_out(&decision, &mut left, cut_short, now);
        self.note_due(&decision, now);
        for row in left {
            if now < self.settings.from {
                self.take_over(row);
            } else {
                self.diverge(row);
            }
        }
        self.memory.saved();
        self.shown.kinds.extend(hidden);
    }

    /// Whether rules look at more than single tasks: those that count by name, and those that are
    /// about to act on a whole kind, or have done so.
    fn needs_whole(&self, now: Timestamp) -> bool {
        self.rules.rules.iter().any(|rule| {
            let memory = self.memory.rules.get(&rule.name);
            let fires = || {
                let (Some(schedule), Some(memory)) = (&rule.schedule, memory) else { return true };
                let seen = memory.schedule_seen.filter(|seen| *seen <= now);
                memory.firing.is_some()
                    || !memory.kinds.is_empty()
                    || seen.is_none_or(|seen| schedule.fired_between(seen, now).is_some())
            };
            rule.identity == Identity::Name || (rule.action.is_whole_kind() && fires())
        })
    }

    /// Leaves alone what waits for nothing, or for a moment only.
    fn fall_asleep(&mut self, decision: &Decision) {
        self.awake.clear();
        for planned in &decision.actions {
            if let Some(target) = &planned.task {
                self.awake.insert((planned.kind.clone(), target.id().clone()));
            }
        }
        for waiting in &decision.waiting {
            let Some(id) = &waiting.task else { continue };
            let key = (waiting.kind.clone(), id.clone());
            // A firing that is worked off counts who still waits for it.
            let scheduled = || {
                let mut rules = self.rules.rules.iter();
                rules.any(|rule| rule.name == waiting.rule && rule.schedule.is_some())
            };
            match &waiting.gate {
                Gate::Noticed => {}
                Gate::Backoff { until, .. } if !scheduled() => {
                    self.wakes.insert((*until, key));
                }
                Gate::Schedule { until: Some(until) } | Gate::OffHours { until: Some(until) } => {
                    self.wakes.insert((*until, key));
                }
                _ => {
                    self.awake.insert(key);
                }
            }
        }
    }

    /// When the rules may see a task otherwise because time passed.
    fn note_moments(&mut self, key: &Key) {
        let (kind, id) = key;
        let Some(task) = self.memory.task(kind, id) else { return };
        let mut moments = Vec::new();
        for rule in &self.rules.rules {
            rule.condition.leaves(false, &mut |leaf, _| {
                let Test::Span(field, _, bound) = &leaf.test else { return };
                let running = task.state == State::Running;
                let from = match field {
                    SpanField::Age => task.ended.or(task.started).unwrap_or(task.state_since),
                    SpanField::RunningFor if running => task.started.unwrap_or(task.state_since),
                    SpanField::StalledFor if running => task.progress_at,
                    _ => return,
                };
                moments.push((from.get(), *bound));
            });
            if let Some(limit) = rule.give_up_after {
                let subject = Subject::Task(kind.clone(), id.clone());
                let ours = self.memory.progress_of(&subject, &rule.name);
                let ours = ours.and_then(|progress| progress.first_failure);
                moments.extend(task.first_failed_at.map(|from| (from.get(), limit)));
                moments.extend(ours.map(|from| (from.get(), limit)));
            }
        }
        for (from, length) in moments {
            let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
            // A bound that must be passed is passed a moment later.
            for more in [SignedDuration::ZERO, SignedDuration::from_millis(1)] {
                let Ok(at) = from.checked_add(length.saturating_add(more)) else { continue };
                self.moments.insert(at);
                self.wakes.insert((at, key.clone()));
            }
        }
    }

    fn note_due(&mut self, decision: &Decision, now: Timestamp) {
        self.moments.extend(decision.next_due);
        let more = decision
            .waiting
            .iter()
            .any(|waiting| matches!(waiting.gate, Gate::PerTick { .. } | Gate::MaxShare { .. }));
        if more || decision.actions.iter().any(|planned| planned.fresh) {
            self.moments.extend(now.checked_add(self.settings.poll).ok());
        }
    }

    /// Does what was decided: with the answer it really got, where it was really done.
    fn carry_out(
        &mut self,
        decision: &Decision,
        left: &mut Vec<&AuditRow>,
        cut_short: bool,
        now: Timestamp,
    ) {
        for give_up in &decision.give_ups {
            let key = (give_up.kind.clone(), give_up.task.id().clone());
            if now < self.settings.from {
                continue;
            }
            self.deeds.push(Deed {
                time: now,
                server: self.settings.server.clone(),
                rule: give_up.rule.clone(),
                action: GIVE_UP.to_owned(),
                kind: give_up.kind.clone(),
                task_id: Some(give_up.task.id().clone()),
                task_name: Some(give_up.task.name().to_owned()),
                attempt: Some(give_up.task.attempt),
                mode: Mode::Live,
                uncertain: self.uncertain.contains(&key),
            });
        }
        for planned in &decision.actions {
            if planned.mode == Mode::DryRun || planned.action.effect() == Effect::None {
                if planned.fresh {
                    self.note_deed(planned, now);
                }
                continue;
            }
            let real = left.iter().position(|row| is_same(row, planned)).map(|at| left.remove(at));
            if let Some(row) = real {
                let trouble = self.settings.troubles.get(&row.id).copied();
                self.note_deed(planned, row.time);
                self.remember(planned, row.id, row.time, &answer(row, trouble));
                if let Some(target) = &planned.task {
                    self.rejoin(&planned.kind, target.id());
                }
            } else if cut_short || now < self.settings.from {
                // It was not sent, and so tells a breaker nothing.
                if let Some(target) = &planned.task {
                    self.memory.recall(target.id(), now);
                }
            } else {
                self.note_deed(planned, now);
                self.intents -= 1;
                self.remember(planned, IntentId(self.intents), now, &Answer::Accepted);
                self.go_ahead(planned);
            }
        }
    }

    fn note_deed(&mut self, planned: &Planned, time: Timestamp) {
        if time < self.settings.from {
            return;
        }
        let task = planned.task.as_ref();
        let uncertain = match task {
            Some(task) => self.uncertain.contains(&(planned.kind.clone(), task.id().clone())),
            None => self.uncertain.iter().any(|(kind, _)| *kind == planned.kind),
        };
        self.deeds.push(Deed {
            time,
            server: self.settings.server.clone(),
            rule: planned.rule.clone(),
            action: planned.action.as_str().to_owned(),
            kind: planned.kind.clone(),
            task_id: task.map(|task| task.id().clone()),
            task_name: task.map(|task| task.name().to_owned()),
            attempt: task.map(|task| task.attempt),
            mode: planned.mode,
            uncertain,
        });
    }

    fn remember(&mut self, planned: &Planned, intent: IntentId, at: Timestamp, answer: &Answer) {
        let (action, accepted) = (planned.action, false);
        let settles = Settling { from: at, wait: self.settings.settles };
        let Some(target) = &planned.task else {
            let pending = KindPending { intent, action, at, settles, accepted };
            self.memory.note_kind_intent(&planned.rule, &planned.kind, pending);
            self.memory.note_kind_answer(&planned.rule, &planned.kind, answer);
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
            accepted,
        };
        self.memory.note_intent(&planned.kind, target.id(), pending);
        self.memory.note_answer(&planned.kind, target.id(), answer, at);
        let key = (planned.kind.clone(), target.id().clone());
        self.awake.insert(key.clone());
        self.judging.insert(key);
    }

    /// Something is done that was not done then.
    fn go_ahead(&mut self, planned: &Planned) {
        let effect = planned.action.effect();
        let Some(target) = &planned.task else {
            for id in self.fitting(planned.action, &planned.kind) {
                self.part(&planned.kind, &id, effect, true);
            }
            return;
        };
        let key = (planned.kind.clone(), target.id().clone());
        if self.apart.get(&key).is_some_and(|apart| !apart.ahead && apart.effect == effect) {
            // It was done then too, only sooner.
            self.rejoin(&planned.kind, target.id());
        } else {
            self.part(&planned.kind, target.id(), effect, true);
        }
    }

    /// Something was done then that is not done here.
    fn diverge(&mut self, row: &AuditRow) {
        let sent =
            !matches!(row.outcome, Outcome::Rejected | Outcome::SkippedChanged | Outcome::Planned);
        let (Some(action), Some(kind)) = (action(row), &row.kind) else { return };
        if !sent {
            return;
        }
        let ids = match &row.task_id {
            Some(id) => vec![id.clone()],
            None => self.fitting(action, kind),
        };
        for id in ids {
            let key = (kind.clone(), id.clone());
            match self.apart.get(&key) {
                // It was done here too, only sooner.
                Some(apart) if apart.ahead && apart.effect == action.effect() => {
                    self.rejoin(kind, &id);
                }
                Some(_) => {}
                None => self.part(kind, &id, action.effect(), false),
            }
        }
    }

    fn fitting(&self, action: Action, kind: &Kind) -> Vec<TaskId> {
        let tasks = self.shown.kinds.get(kind).into_iter().flatten();
        tasks.filter(|task| action.fits(task.state)).map(|task| task.id.clone()).collect()
    }

    fn part(&mut self, kind: &Kind, id: &TaskId, effect: Effect, ahead: bool) {
        let key = (kind.clone(), id.clone());
        let listed = self.listed(&key).cloned();
        let truth = self.apart.remove(&key).and_then(|apart| apart.truth).or_else(|| {
            let still_since = None;
            listed.map(|task| Observation {
                kind: kind.clone(),
                id: id.clone(),
                task: Some(task),
                still_since,
            })
        });
        // A task that is done stays as it is while nobody acts on it; of one that ran on, and of one
        // that something was done to, nothing is known.
        let unknown = ahead || effect == Effect::Cancel;
        if unknown {
            self.uncertain.insert(key.clone());
        }
        self.running.remove(&key);
        self.apart.insert(key, Apart { truth, ahead, effect });
        if unknown {
            let gone =
                Observation { kind: kind.clone(), id: id.clone(), task: None, still_since: None };
            self.show(gone);
        }
    }

    /// Shows a task as it really was again.
    fn rejoin(&mut self, kind: &Kind, id: &TaskId) {
        let key = (kind.clone(), id.clone());
        let Some(apart) = self.apart.remove(&key) else { return };
        // It came to this at another time, so what came of it may have been another thing.
        self.uncertain.insert(key);
        if let Some(truth) = apart.truth {
            self.show(truth);
        }
    }

    /// Takes over what was really done before the rules act, and what they would not have done.
    fn take_over(&mut self, row: &AuditRow) {
        let (Some(rule), Some(kind)) = (&row.rule, &row.kind) else { return };
        let Some(action) = action(row) else { return };
        let live = row.mode == Mode::Live && action.effect() != Effect::None;
        if !live {
            return;
        }
        let rules = self.rules.rules.iter();
        let by_name =
            rules.filter(|one| one.name == *rule).any(|rule| rule.identity == Identity::Name);
        let task = row.task_id.as_ref().and_then(|id| {
            let task = self.listed(&(kind.clone(), id.clone()))?;
            let subject = if by_name {
                Subject::Name(kind.clone(), task.name.identity())
            } else {
                Subject::Task(kind.clone(), id.clone())
            };
            Some(Target {
                task: Arc::clone(task),
                subject,
                attempt: row.attempt.unwrap_or(1),
                error: task.error.clone(),
                class: row.class.clone(),
            })
        });
        if row.task_id.is_some() && task.is_none() {
            return;
        }
        let planned = Planned {
            rule: rule.clone(),
            action,
            mode: Mode::Live,
            kind: kind.clone(),
            task,
            reason: String::new(),
            fresh: true,
            farewell: false,
        };
        let trouble = self.settings.troubles.get(&row.id).copied();
        self.remember(&planned, row.id, row.time, &answer(row, trouble));
    }
}

fn listed<'s>(shown: &'s Snapshot, key: &Key) -> Option<&'s Arc<Task>> {
    shown.kinds.get(&key.0)?.find(&key.1)
}

/// The action an audit row is about.
fn action(row: &AuditRow) -> Option<Action> {
    Action::ALL.into_iter().find(|action| action.as_str() == row.action)
}

/// Whether what was really done has the effect that is planned, on the same.
fn is_same(row: &AuditRow, planned: &Planned) -> bool {
    row.kind.as_ref() == Some(&planned.kind)
        && row.task_id.as_ref() == planned.task.as_ref().map(Target::id)
        && action(row).is_some_and(|action| match planned.task {
            Some(_) => action.effect() == planned.action.effect(),
            None => action == planned.action,
        })
}

/// What the server answered, as far as is known.
fn answer(row: &AuditRow, trouble: Option<Trouble>) -> Answer {
    let why = row.detail.clone();
    match trouble {
        Some(Trouble::NoLook) => return Answer::SkippedChanged(why),
        Some(Trouble::NotDone) => return Answer::NotDone(why),
        Some(Trouble::Lost) => return Answer::Lost(why),
        None => {}
    }
    match row.outcome {
        Outcome::Accepted | Outcome::Effective | Outcome::Ineffective => Answer::Accepted,
        Outcome::Rejected => Answer::Rejected(why),
        Outcome::SkippedChanged => Answer::SkippedChanged(why),
        Outcome::Unknown | Outcome::Planned => Answer::Lost(why),
    }
}

/// How two lists of deeds differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Difference {
    /// It is done by the new rules only.
    Added {
        /// What.
        #[serde(flatten)]
        deed: Deed,
    },
    /// It is not done by the new rules.
    Removed {
        /// What.
        #[serde(flatten)]
        deed: Deed,
    },
    /// It is done at another time.
    Moved {
        /// What, and when it is done by the new rules.
        #[serde(flatten)]
        deed: Deed,
        /// When it was done before.
        was: Timestamp,
    },
}

impl Difference {
    /// What it is about.
    #[must_use]
    pub fn deed(&self) -> &Deed {
        match self {
            Self::Added { deed } | Self::Removed { deed } | Self::Moved { deed, .. } => deed,
        }
    }
}

type Same<'d> = (&'d ServerName, &'d Kind, Option<&'d TaskId>, &'d RuleName, &'d str);

/// How the deeds of new rules differ from those before, by time; and how many are the same. The first
/// retry of a task by a rule is compared with the first, the second with the second.
#[must_use]
pub fn differences(before: &[Deed], after: &[Deed]) -> (usize, Vec<Difference>) {
    let mut pairs: BTreeMap<Same<'_>, (Vec<&Deed>, Vec<&Deed>)> = BTreeMap::new();
    for deed in before {
        pairs.entry(same(deed)).or_default().0.push(deed);
    }
    for deed in after {
        pairs.entry(same(deed)).or_default().1.push(deed);
    }
    let (mut equal, mut differences) = (0, Vec::new());
    for (before, after) in pairs.into_values() {
        for place in 0..before.len().max(after.len()) {
            match (before.get(place), after.get(place)) {
                (Some(before), Some(after)) if before.time == after.time => equal += 1,
                (Some(before), Some(after)) => {
                    let (deed, was) = ((*after).clone(), before.time);
                    differences.push(Difference::Moved { deed, was });
                }
                (Some(before), None) => {
                    differences.push(Difference::Removed { deed: (*before).clone() });
                }
                (None, Some(after)) => {
                    differences.push(Difference::Added { deed: (*after).clone() });
                }
                (None, None) => {}
            }
        }
    }
    differences.sort_by(|a, b| a.deed().cmp(b.deed()));
    (equal, differences)
}

fn same(deed: &Deed) -> Same<'_> {
    (&deed.server, &deed.kind, deed.task_id.as_ref(), &deed.rule, &deed.action)
}
