//! What is remembered from tick to tick, and how a fresh look is folded into it.
//!
//! The lists say what is; the memory says what was, what we did, and what we wait for. It is plain
//! data: the store keeps it, `decide` reads it, and it knows what of it changed, so that only that is
//! written.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::mem;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::{IntentId, Outcome};
use super::breaker::Breaker;
use super::class::Class;
use super::listing::{Listing, Step};
use super::moment::Moment;
use super::rule::{Action, Effect};
use super::task::{Fingerprint, Flavour, Kind, RuleName, ServerName, State, Task, TaskId};

/// One look at a server.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The server.
    pub server: ServerName,
    /// Which product it is.
    pub flavour: Flavour,
    /// How far its clock is ahead of ours; its times are moved back by this.
    pub skew: SignedDuration,
    /// The tasks of each kind that was read whole, undone and done together.
    pub kinds: BTreeMap<Kind, Listing>,
    /// The kinds the server has and that could not be read now, with why. Nothing is concluded
    /// about their tasks.
    pub unread: BTreeMap<Kind, String>,
}

/// What is remembered of the tasks of a kind.
pub type RememberedTasks = BTreeMap<TaskId, Box<TaskMemory>>;

/// How far rules have come with a task, by their names. Few have dealt with one, so it is a list, in just the
/// room that it needs.
#[derive(Clone, Debug, Default)]
pub struct RulesProgress(Box<[(RuleName, Progress)]>);

/// What is remembered of one server.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The server.
    pub server: ServerName,
    /// What is remembered of each task. Each lies in a place of its own, so that the map can be made and changed
    /// without moving them all.
    pub tasks: BTreeMap<Kind, RememberedTasks>,
    /// How far each rule has come with each task it dealt with.
    pub progress: BTreeMap<Subject, RulesProgress>,
    /// What is remembered of each rule.
    pub rules: BTreeMap<RuleName, RuleMemory>,
    /// When each kind was last read whole by this process; not stored.
    looked: BTreeMap<Kind, Timestamp>,
    /// The kinds whose last reading went well; not stored.
    heard: BTreeSet<Kind>,
    /// The list of each kind as it was last folded in whole; not stored.
    lists: BTreeMap<Kind, Folded>,
    /// The tasks with an action that waits to be judged, and maybe some that had one; not stored.
    judging: BTreeMap<Kind, BTreeSet<TaskId>>,
    /// Kinds of which something is remembered and that the server does not have, since when; not stored.
    lost: BTreeMap<Kind, Timestamp>,
    /// When a look was last taken in by this process; not stored.
    folded: Option<Timestamp>,
    dirty: Dirty,
}

/// A list that was folded in.
#[derive(Clone, Debug)]
struct Folded {
    tasks: Listing,
    /// When what is not listed any more was last looked at as a whole.
    swept: Timestamp,
}

/// What of a list is not as it was when it was last folded in, and what waits to be judged.
#[derive(Default)]
struct News<'s> {
    /// By id.
    listed: Vec<&'s Arc<Task>>,
    /// Those that left it.
    left: Vec<TaskId>,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    tasks: BTreeMap<Kind, Noted<TaskId>>,
    progress: Noted<(Subject, RuleName)>,
    rules: BTreeSet<RuleName>,
}

#[derive(Clone, Debug)]
struct Noted<K> {
    /// In no order, and some of them more than once.
    keys: Vec<K>,
    /// How many may stand there before those are taken out.
    room: usize,
}

/// What is to be put into a memory, or stands in the store; `None` for what is forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Tasks.
    pub tasks: Vec<(Kind, TaskId, Option<TaskMemory>)>,
    /// Rules' progress with tasks.
    pub progress: Vec<(Subject, RuleName, Option<Progress>)>,
    /// Rules.
    pub rules: Vec<(RuleName, Option<RuleMemory>)>,
}

impl Dirty {
    fn note(&mut self, kind: &Kind, id: &TaskId) {
        if let Some(tasks) = self.tasks.get_mut(kind) {
            tasks.note(id.clone());
        } else {
            self.tasks.entry(kind.clone()).or_default().note(id.clone());
        }
    }
}

impl<K> Default for Noted<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), room: 0 }
    }
}

impl<K: Ord> Noted<K> {
    fn note(&mut self, key: K) {
        self.make_room(1);
        self.keys.push(key);
    }

    /// The same of many at once.
    fn note_all(&mut self, keys: impl ExactSizeIterator<Item = K>) {
        self.make_room(keys.len());
        self.keys.extend(keys);
    }

    fn make_room(&mut self, more: usize) {
        if self.keys.len() + more > self.room {
            // While nothing can be written, the same ones are noted again and again.
            self.keys.sort_unstable();
            self.keys.dedup();
            self.room = (4 * (self.keys.len() + more)).max(1024);
        }
    }

    fn distinct(&self) -> Vec<&K> {
        let mut keys: Vec<&K> = self.keys.iter().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Changes {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.progress.is_empty() && self.rules.is_empty()
    }
}

/// What a rule counts attempts on: a task by its id, or all tasks of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One task.
    Task(Kind, TaskId),
    /// All tasks of a kind with the same name ([`super::name::TaskName::identity`]).
    Name(Kind, u64),
}

/// What is remembered of a task. All moments are by our clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskMemory {
    /// Its last listed state.
    pub state: State,
    /// Since when it is in that state, as near as known.
    pub state_since: Moment,
    /// When its last run began, if the server tells.
    pub started: Option<Moment>,
    /// When its last run ended, if the server tells.
    pub ended: Option<Moment>,
    /// The same two as listed, by the server's clock, to tell one run from the next.
    pub listed: (Option<Moment>, Option<Moment>),
    /// The moment of its last failure; backoff counts from it.
    pub failed_at: Option<Moment>,
    /// The moment of the first failure since it last succeeded.
    pub first_failed_at: Option<Moment>,
    /// The last error seen, secrets out. Kept when the server forgets it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub last_error: Arc<str>,
    /// The last listed progress, in percent.
    pub progress: f64,
    /// When the progress last moved.
    pub progress_at: Moment,
    /// The start of the run that succeeded, while no later run was seen. A restart of the server can
    /// list a task that had succeeded as failed again (CONTRACT.md); it is not retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<SucceededRun>,
    /// Whether the last cancel was ours, so that `context canceled` was not a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canceled_by_us: bool,
    /// Since when it is missing from lists that were read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Moment>,
    /// The action on it whose effect is not known yet. Few tasks have one, and it is larger than all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Box<Pending>>,
}

/// A run that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Succeeded", into = "Succeeded")]
pub struct SucceededRun(Moment);

/// The same as it is written.
#[derive(Serialize, Deserialize)]
struct Succeeded {
    started: Option<Moment>,
}

/// An action that was written down and whose effect is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its audit row.
    pub intent: IntentId,
    /// The rule that asked for it.
    pub rule: RuleName,
    /// What the rule counts attempts on.
    pub subject: Subject,
    /// The action.
    pub action: Action,
    /// The task as the decision saw it.
    pub before: Fingerprint,
    /// When it was written down.
    pub at: Timestamp,
    /// How long a call whose answer is missing may still be carried out.
    pub settles: Settling,
    /// Whether the server said yes. Such an action is counted as an attempt already.
    pub accepted: bool,
}

/// How long a call whose answer is missing may still be carried out, while its server works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settling {
    /// From when on the server was heard without a break; at first the moment of the call.
    pub from: Timestamp,
    /// For how long.
    pub wait: SignedDuration,
}

impl Settling {
    /// Whether a call that shows no sign of having been carried out by now never will be.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.from) >= self.wait
    }
}

/// How far a rule has come with a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Accepted actions.
    pub attempts: u32,
    /// The first failure that the rule dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Moment>,
    /// When the last action that was, or may have been, sent was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<Moment>,
    /// When an action was written down that then was not sent, or did not reach the server. It
    /// costs the rule's first wait, not the one that the attempts have grown it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent: Option<Moment>,
    /// Actions in a row that did not take or were refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ineffective: u32,
    /// Why the last of them did not take.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub ineffective_why: Box<str>,
    /// Set when the rule has let go of the task. Few rules have, and it is half of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<Box<GaveUp>>,
    /// Set when a person has had the rule try the task anew after it had let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<Box<Redrive>>,
    /// The look at the task that a `notify` or a dry run has spoken of, so that it speaks once.
    /// Always kept under the task's own subject, since two tasks of a name are two things to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed: Option<Noticed>,
    /// The failure the breaker has counted; kept under the task's own subject too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker_counted: Option<Moment>,
}

/// The state and moment that a `notify` or a dry run has spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// The state.
    pub state: State,
    /// Since when the task was in it.
    pub since: Moment,
    /// Whether a dry run spoke, which counts nothing as done once the rule is live.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// That, when and why a rule let go of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaveUp {
    /// When.
    pub at: Timestamp,
    /// Why, in words.
    pub why: String,
    /// The actions of `on_give_up` that are still to be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Action>,
    /// The task's name, secrets out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its error, secrets out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The class of that error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Whether a person has taken it off the list of dead letters.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

/// That a person has had a rule try a task anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// When that was asked for.
    pub at: Timestamp,
    /// How long after that it may begin, so that many do not begin at once.
    pub after: SignedDuration,
}

impl SucceededRun {
    /// What stands for a beginning that the server does not tell, so that `Option` takes no more room.
    const UNTOLD: Moment = Moment::FIRST;

    /// One that began then, by the server's clock as listed, if it tells.
    #[must_use]
    pub fn new(started: Option<Moment>) -> Self {
        Self(started.unwrap_or(Self::UNTOLD))
    }

    /// When it began.
    #[must_use]
    pub fn started(self) -> Option<Moment> {
        Some(self.0).filter(|started| *started != Self::UNTOLD)
    }
}

impl From<Succeeded> for SucceededRun {
    fn from(written: Succeeded) -> Self {
        Self::new(written.started)
    }
}

impl From<SucceededRun> for Succeeded {
    fn from(run: SucceededRun) -> Self {
        Self { started: run.started() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is remembered of a rule on one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleMemory {
    /// Firings up to this moment have been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_seen: Option<Timestamp>,
    /// The firing that is being worked off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<Timestamp>,
    /// How many tasks were acted on in each minute (since 1970) of the last hour.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub minutes: BTreeMap<i64, u32>,
    /// Its breakers by key; only those that are not idle.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BTreeMap<String, Breaker>,
    /// How far a whole-kind action has come with each kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<Kind, KindProgress>,
    /// Set while a person has paused the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// That a person paused a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Until when; `None` is until it is resumed.
    pub until: Option<Timestamp>,
    /// Why, in that person's words.
    pub why: String,
}

/// How far a whole-kind action has come with a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindProgress {
    /// Accepted actions since the kind last had nothing to act on.
    pub attempts: u32,
    /// When the last one was written down.
    pub last_action: Option<Timestamp>,
    /// The one whose effect is not known yet.
    pub pending: Option<KindPending>,
}

/// A whole-kind action whose effect is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindPending {
    /// Its audit row.
    pub intent: IntentId,
    /// The action.
    pub action: Action,
    /// When it was written down.
    pub at: Timestamp,
    /// How long a call whose answer is missing may still be carried out.
    pub settles: Settling,
    /// Whether the server said yes.
    pub accepted: bool,
}

/// What a later look told of an action.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The action's audit row.
    pub intent: IntentId,
    /// What came of it.
    pub outcome: Outcome,
    /// In words.
    pub detail: String,
}

/// What the server answered to an action on one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accepted,
    /// No, to this task.
    Rejected(String),
    /// The call cannot have been carried out: the server was not reached, or refused the call whole.
    NotDone(String),
    /// The second look showed another task; nothing was sent.
    SkippedChanged(String),
    /// Nothing tells whether it was carried out; later looks will.
    Lost(String),
}

impl Answer {
    /// What the audit row says of it.
    #[must_use]
    pub fn outcome(&self) -> (Outcome, &str) {
        match self {
            Self::Accepted => (Outcome::Accepted, ""),
            Self::Rejected(why) | Self::NotDone(why) => (Outcome::Rejected, why),
            Self::SkippedChanged(why) => (Outcome::SkippedChanged, why),
            Self::Lost(why) => (Outcome::Unknown, why),
        }
    }
}

impl TaskMemory {
    /// What is known of a task that was never seen.
    #[must_use]
    pub fn blank(now: Timestamp) -> Self {
        Self {
            state: State::Unknown(-1),
            state_since: now.into(),
            started: None,
            ended: None,
            listed: (None, None),
            failed_at: None,
            first_failed_at: None,
            last_error: Arc::default(),
            progress: 0.0,
            progress_at: now.into(),
            succeeded: None,
            canceled_by_us: false,
            gone_since: None,
            pending: None,
        }
    }

    fn new(task: &Task, skew: SignedDuration, now: Timestamp) -> Self {
        let mut fresh = Self { progress: task.progress, ..Self::blank(now) };
        fresh.enter_state(task, skew, Moment::FIRST, now.into());
        fresh
    }

    /// The task is in another state, or ran again to the same one; not before `floor`, when it was
    /// last seen as it had been.
    fn enter_state(&mut self, task: &Task, skew: SignedDuration, floor: Moment, now: Moment) {
        // A time that lies ahead by our clock is worth no more than the present moment.
        let ours = |time: Option<Moment>| Some(time?.back(skew)?.min(now));
        let another_run = task.started.is_some() && task.started != self.listed.0;
        if another_run
            && self.succeeded.is_some_and(|run| run.started() != task.started)
            && matches!(task.state, State::Running | State::Failed | State::Canceled)
        {
            // A later run was seen, so that it is no echo when the server lists its failure.
            self.succeeded = None;
        }
        if another_run && !dropped_at_once(task) {
            self.canceled_by_us = false;
        }
        self.state = task.state;
        let (started, ended) = (ours(task.started), ours(task.ended));
        (self.started, self.ended) = (started, ended);
        self.listed = (task.started, task.ended);
        // A server that sets its clock right between the run and our measuring of it would shift
        // the moment into the past, and a wait that counts from it would end early.
        let since = match task.state {
            state if state.is_done() => ended.unwrap_or(now).max(floor),
            State::Running => started.unwrap_or(now).max(floor),
            _ => now,
        };
        self.state_since = since;
        self.progress_at = now;
        match task.state {
            State::Pending | State::Running => self.canceled_by_us = false,
            State::Failed => {
                self.failed_at = Some(self.state_since);
                self.first_failed_at.get_or_insert(self.state_since);
            }
            State::Succeeded => {
                self.succeeded = Some(SucceededRun::new(task.started));
                self.failed_at = None;
                self.first_failed_at = None;
                self.last_error = Arc::default();
            }
            _ => {}
        }
        if !task.error.is_empty() {
            self.last_error.clone_from(&task.error);
        }
    }

    /// The task is not listed; returns what that tells of an action on it.
    fn leave(&mut self, now: Timestamp) -> Option<Verdict> {
        // A task may slip between the reading of the two lists once; twice it is gone.
        let seen_gone = self.gone_since.is_some();
        self.gone_since.get_or_insert(now.into());
        let pending = self.pending.as_ref()?;
        if pending.action.effect() == Effect::Remove && now > pending.at {
            return Some(Verdict::new(Outcome::Effective, "it left the list", true));
        }
        let why = "the task left the list before its state could be seen";
        seen_gone.then(|| Verdict::new(Outcome::Unknown, why, true))
    }

    /// Whether the listing of a task as failed is an echo of the time before it succeeded: no run
    /// later than the one that succeeded was seen.
    #[must_use]
    pub fn is_stale_failure(&self, task: &Task) -> bool {
        task.state == State::Failed
            && self.succeeded.is_some_and(|run| match (task.started, run.started()) {
                (None, _) => true,
                (Some(now), Some(then)) => now <= then,
                (Some(_), None) => false,
            })
    }
}

impl Memory {
    /// An empty memory.
    #[must_use]
    pub fn new(server: ServerName) -> Self {
        Self {
            server,
            tasks: BTreeMap::new(),
            progress: BTreeMap::new(),
            rules: BTreeMap::new(),
            looked: BTreeMap::new(),
            lists: BTreeMap::new(),
            judging: BTreeMap::new(),
            heard: BTreeSet::new(),
            lost: BTreeMap::new(),
            folded: None,
            dirty: Dirty::default(),
        }
    }

    /// Puts back what was stored; such an entry does not count as changed.
    pub fn restore(&mut self, changes: Changes) {
        let mut put: BTreeMap<Kind, Vec<(TaskId, Box<TaskMemory>)>> = BTreeMap::new();
        for (kind, id, task) in changes.tasks {
            match task {
                Some(task) => put.entry(kind).or_default().push((id, Box::new(task))),
                None => _ = self.tasks.get_mut(&kind).and_then(|tasks| tasks.remove(&id)),
            }
        }
        for (kind, tasks) in put {
            put_all(self.tasks.entry(kind).or_default(), tasks);
        }
        let mut progress = changes.progress;
        // Those of one subject come together.
        progress.sort_by(|a, b| a.0.cmp(&b.0));
        let mut new: Vec<(Subject, RulesProgress)> = Vec::new();
        for (subject, rule, progress) in progress {
            let known = self.progress.get_mut(&subject);
            let last = new.last_mut().filter(|(last, _)| *last == subject).map(|(_, rules)| rules);
            match (known.or(last), progress) {
                (Some(rules), Some(progress)) => *rules.get_mut(&rule) = progress,
                (Some(rules), None) => rules.remove(&rule),
                (None, Some(progress)) => {
                    new.push((subject, RulesProgress(Box::new([(rule, progress)]))));
                }
                (None, None) => {}
            }
        }
        put_all(&mut self.progress, new);
        for (rule, memory) in changes.rules {
            match memory {
                Some(memory) => self.rules.insert(rule, memory),
                None => self.rules.remove(&rule),
            };
        }
    }

    /// Takes over what `decide` wants remembered.
    pub fn absorb(&mut self, changes: Changes) {
        for (kind, id, _) in &changes.tasks {
            self.dirty.note(kind, id);
        }
        let progress = changes.progress.iter();
        self.dirty
            .progress
            .note_all(progress.map(|(subject, rule, _)| (subject.clone(), rule.clone())));
        for (rule, _) in &changes.rules {
            self.dirty.rules.insert(rule.clone());
        }
        self.restore(changes);
    }

    /// Whether something changed since the last call of [`Memory::saved`].
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let Dirty { tasks, progress, rules } = &self.dirty;
        !(tasks.is_empty() && progress.keys.is_empty() && rules.is_empty())
    }

    /// The tasks that changed since then, as they are now; `None` for one that is forgotten.
    pub fn changed_tasks(&self) -> impl Iterator<Item = (&Kind, &TaskId, Option<&TaskMemory>)> {
        self.dirty.tasks.iter().flat_map(|(kind, tasks)| {
            let mut memory = Cursor::new(self.tasks.get(kind));
            let task = move |id| (kind, id, memory.find(id).map(Box::as_ref));
            tasks.distinct().into_iter().map(task)
        })
    }

    /// The same of rules' progress with tasks.
    pub fn changed_progress(
        &self,
    ) -> impl Iterator<Item = (&Subject, &RuleName, Option<&Progress>)> {
        let distinct = self.dirty.progress.distinct().into_iter();
        distinct.map(|(subject, rule)| (subject, rule, self.progress_of(subject, rule)))
    }

    /// The same of rules.
    pub fn changed_rules(&self) -> impl Iterator<Item = (&RuleName, Option<&RuleMemory>)> {
        self.dirty.rules.iter().map(|rule| (rule, self.rules.get(rule)))
    }

    /// All of that in one.
    #[cfg(test)]
    pub(crate) fn changes(&self) -> Changes {
        let tasks = self.changed_tasks();
        let progress = self.changed_progress();
        let rules = self.changed_rules();
        Changes {
            tasks: tasks
                .map(|(kind, id, task)| (kind.clone(), id.clone(), task.cloned()))
                .collect(),
            progress: progress
                .map(|(subject, rule, one)| (subject.clone(), rule.clone(), one.cloned()))
                .collect(),
            rules: rules.map(|(rule, memory)| (rule.clone(), memory.cloned())).collect(),
        }
    }

    /// All changes so far are stored.
    pub fn saved(&mut self) {
        self.dirty = Dirty::default();
    }

    /// The audit rows of all actions whose effect is not known yet.
    #[must_use]
    pub fn pending_intents(&self) -> BTreeSet<IntentId> {
        let tasks = self.tasks.values().flat_map(BTreeMap::values);
        let tasks = tasks.filter_map(|task| Some(task.pending.as_ref()?.intent));
        let kinds = self.rules.values().flat_map(|rule| rule.kinds.values());
        tasks.chain(kinds.filter_map(|kind| Some(kind.pending.as_ref()?.intent))).collect()
    }

    /// What is remembered of a task.
    #[must_use]
    pub fn task(&self, kind: &Kind, id: &TaskId) -> Option<&TaskMemory> {
        self.tasks.get(kind)?.get(id).map(Box::as_ref)
    }

    /// What is remembered of the tasks of a kind, for whoever asks for them by id, one after the other.
    pub(super) fn walk<'m>(&'m self, kind: &'m Kind) -> Walk<'m> {
        let tasks = Cursor::new(self.tasks.get(kind));
        Walk { kind, tasks, progress: Cursor::new(Some(&self.progress)) }
    }

    /// The same, to be changed.
    pub fn task_mut(&mut self, kind: &Kind, id: &TaskId) -> Option<&mut TaskMemory> {
        let task = self.tasks.get_mut(kind)?.get_mut(id)?;
        self.dirty.note(kind, id);
        Some(task)
    }

    /// How far a rule has come with a task.
    #[must_use]
    pub fn progress_of(&self, subject: &Subject, rule: &RuleName) -> Option<&Progress> {
        self.progress.get(subject)?.get(rule)
    }

    /// The same, to be changed; made if there is none.
    pub fn progress_mut(&mut self, subject: &Subject, rule: &RuleName) -> &mut Progress {
        self.dirty.progress.note((subject.clone(), rule.clone()));
        self.progress.entry(subject.clone()).or_default().get_mut(rule)
    }

    /// What is remembered of a rule, to be changed; made if there is none.
    pub fn rule_mut(&mut self, rule: &RuleName) -> &mut RuleMemory {
        self.dirty.rules.insert(rule.clone());
        self.rules.entry(rule.clone()).or_default()
    }

    fn forget_progress(&mut self, subject: &Subject) {
        if let Some(rules) = self.progress.remove(subject) {
            for (rule, _) in rules.0 {
                self.dirty.progress.note((subject.clone(), rule));
            }
        }
    }

    /// Folds a look into the memory, and judges the actions whose effect it shows.
    pub fn fold(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<Judgement> {
        let mut judgements = Vec::new();
        let mut swept = false;
        self.pull_back(now);
        for kind in snapshot.unread.keys() {
            self.heard.remove(kind);
        }
        for (kind, tasks) in &snapshot.kinds {
            if self.heard.insert(kind.clone()) {
                self.settle_anew(kind, now);
            }
            let look = Glance {
                kind,
                flavour: snapshot.flavour,
                skew: snapshot.skew,
                last: self.looked.insert(kind.clone(), now),
                now,
            };
            let news = self.news(&look, tasks);
            let mut succeeded = Vec::new();
            if let Some(news) = &news {
                let listed = news.listed.iter().copied();
                self.fold_tasks(&look, listed, &mut judgements, &mut succeeded);
            } else {
                self.fold_tasks(&look, tasks, &mut judgements, &mut succeeded);
            }
            // After all judgements, so that the order of the list makes no difference.
            for subject in succeeded {
                self.forget_progress(&subject);
            }
            if let Some(news) = news {
                for id in news.left {
                    self.fold_left(kind, &id, now, &mut judgements);
                }
            } else {
                self.fold_absent(kind, tasks, now, &mut judgements);
                swept = true;
            }
            self.judge_whole_kind(kind, tasks, now, &mut judgements);
        }
        if swept {
            self.forget_lost_kinds(snapshot, now, &mut judgements);
            self.forget_old_names(snapshot, now);
        }
        judgements
    }

    /// Compares a list with the one before, and keeps it for the next; `None` when all of it must be
    /// looked at, as now and then for what is not listed any more.
    fn news<'s>(&mut self, look: &Glance<'_>, tasks: &'s Listing) -> Option<News<'s>> {
        let Glance { kind, last, now, .. } = *look;
        let before = self.lists.remove(kind);
        let awaited = self.still_judging(kind);
        let lately =
            |moment: Timestamp, within| moment <= now && now.duration_since(moment) <= within;
        let usable = last.is_some_and(|last| lately(last, LONG_UNSEEN));
        let before = before.filter(|before| usable && lately(before.swept, SWEEP_EVERY));
        let known = self.tasks.get(kind).map_or(0, BTreeMap::len);
        let news = before.as_ref().map(|before| differences(&before.tasks, tasks));
        let news = news.filter(|news| news.left.is_empty() || known <= tasks.len() + MOST_GONE);
        let (Some(before), Some(mut news)) = (before, news) else {
            self.lists.insert(kind.clone(), Folded { tasks: tasks.clone(), swept: now });
            let tasks = self.tasks.get(kind).into_iter().flatten();
            let judging =
                tasks.filter(|(_, task)| task.pending.is_some()).map(|(id, _)| id.clone());
            self.judging.insert(kind.clone(), judging.collect());
            return None;
        };
        self.lists.insert(kind.clone(), Folded { tasks: tasks.clone(), swept: before.swept });
        for id in awaited {
            match tasks.binary_search_by(|task| task.id.cmp(&id)) {
                Ok(place) => news.listed.push(&tasks[place]),
                Err(_) => news.left.push(id),
            }
        }
        news.listed.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        news.left.sort_unstable();
        news.left.dedup();
        Some(news)
    }

    /// The tasks of a kind with an action that waits to be judged.
    fn still_judging(&mut self, kind: &Kind) -> Vec<TaskId> {
        let tasks = self.tasks.get(kind);
        let Some(judging) = self.judging.get_mut(kind) else { return Vec::new() };
        judging.retain(|id| {
            tasks.and_then(|tasks| tasks.get(id)).is_some_and(|task| task.pending.is_some())
        });
        judging.iter().cloned().collect()
    }

    /// Folds a look of which it is known what differs from the one before: only the tasks that are
    /// named are looked at, and what is old is not forgotten. The named ones must be all that changed
    /// and all that wait to be judged.
    pub fn fold_part(
        &mut self,
        snapshot: &Snapshot,
        part: &[(&Kind, &TaskId, Option<&Task>)],
        now: Timestamp,
    ) {
        let mut judgements = Vec::new();
        let mut lasts = BTreeMap::new();
        for kind in snapshot.kinds.keys() {
            // Else who holds the list would copy it to change it.
            self.lists.remove(kind);
            if self.heard.insert(kind.clone()) {
                self.settle_anew(kind, now);
            }
            lasts.insert(kind, self.looked.insert(kind.clone(), now));
        }
        let mut succeeded = Vec::new();
        for (kind, id, task) in part {
            let last = lasts.get(*kind).copied().flatten();
            if let Some(task) = task {
                let (flavour, skew) = (snapshot.flavour, snapshot.skew);
                let look = Glance { kind, flavour, skew, last, now };
                if !self.fold_known(&look, task, &mut judgements, &mut succeeded) {
                    let (id, memory) = self.meet(&look, task, &mut succeeded);
                    self.dirty.note(kind, &id);
                    self.tasks.entry((*kind).clone()).or_default().insert(id, memory);
                }
            } else if let Some(verdict) = self.task_mut(kind, id).and_then(|task| task.leave(now)) {
                self.close(kind, id, verdict, now, &mut judgements);
            }
        }
        for subject in succeeded {
            self.forget_progress(&subject);
        }
        for kind in snapshot.kinds.keys() {
            if self
                .rules
                .values()
                .any(|rule| rule.kinds.get(kind).is_some_and(|kind| kind.pending.is_some()))
            {
                let tasks = snapshot.kinds.get(kind).map_or(&[][..], |tasks| tasks);
                self.judge_whole_kind(kind, tasks, now, &mut judgements);
            }
        }
    }

    /// Moments that lie ahead, by a clock that was set back while nobody looked, become the present
    /// one: what waits for them would else wait until the clock is there again, which may be years.
    fn pull_back(&mut self, now: Timestamp) {
        // A clock that only goes on leaves nothing ahead.
        if self.folded.replace(now).is_some_and(|last| last <= now) {
            return;
        }
        self.each_moment(|moment| {
            let ahead = *moment > now;
            *moment = (*moment).min(now);
            ahead
        });
        for (rule, memory) in &mut self.rules {
            let mut changed = false;
            for breaker in memory.breakers.values_mut() {
                changed |= breaker.pull_back(now);
            }
            if changed {
                self.dirty.rules.insert(rule.clone());
            }
        }
    }

    /// Moves everything remembered along with a clock that was set, by as much: what waits goes on
    /// to wait as long as it had to. Schedules stay, since they speak of the wall clock.
    pub fn shift(&mut self, by: SignedDuration) {
        let move_by = |moment: &mut Timestamp| {
            *moment = moment.saturating_add(by).unwrap_or(*moment);
            true
        };
        self.each_moment(move_by);
        // To the next full minute, so that what was done in an hour is not let go of too early.
        let minutes = -(-by.as_secs()).div_euclid(60);
        for (rule, memory) in &mut self.rules {
            let counted = mem::take(&mut memory.minutes);
            memory.minutes =
                counted.into_iter().map(|(minute, count)| (minute + minutes, count)).collect();
            for breaker in memory.breakers.values_mut() {
                breaker.shift(by);
            }
            if let Some(until) = memory.paused.as_mut().and_then(|paused| paused.until.as_mut()) {
                move_by(until);
            }
            if memory.firing.as_mut().map(move_by).is_some() && by.is_positive() {
                // The firing is about the tasks that were there when it was noticed.
                memory.schedule_seen.as_mut().map(move_by);
            }
            self.dirty.rules.insert(rule.clone());
        }
        self.folded.as_mut().map(move_by);
    }

    /// Shows every moment that is remembered, but for those of rules themselves, to `change`, which
    /// tells whether it changed it.
    fn each_moment(&mut self, mut change: impl FnMut(&mut Timestamp) -> bool) {
        for (kind, tasks) in &mut self.tasks {
            for (id, task) in tasks {
                let mut changed = false;
                let moments = [
                    Some(&mut task.state_since),
                    Some(&mut task.progress_at),
                    task.started.as_mut(),
                    task.ended.as_mut(),
                    task.failed_at.as_mut(),
                    task.first_failed_at.as_mut(),
                    task.gone_since.as_mut(),
                ];
                for moment in moments.into_iter().flatten() {
                    changed |= moment.change(&mut change);
                }
                if let Some(pending) = &mut task.pending {
                    changed |= change(&mut pending.at) | change(&mut pending.settles.from);
                }
                if changed {
                    self.dirty.note(kind, id);
                }
            }
        }
        for (subject, rules) in &mut self.progress {
            for (rule, progress) in &mut rules.0 {
                let mut changed = false;
                let moments = [
                    progress.first_failure.as_mut(),
                    progress.last_action.as_mut(),
                    progress.unsent.as_mut(),
                    progress.breaker_counted.as_mut(),
                    progress.noticed.as_mut().map(|noticed| &mut noticed.since),
                ];
                for moment in moments.into_iter().flatten() {
                    changed |= moment.change(&mut change);
                }
                let rare = [
                    progress.gave_up.as_mut().map(|gave_up| &mut gave_up.at),
                    progress.redrive.as_mut().map(|redrive| &mut redrive.at),
                ];
                for moment in rare.into_iter().flatten() {
                    changed |= change(moment);
                }
                if changed {
                    self.dirty.progress.note((subject.clone(), rule.clone()));
                }
            }
        }
        for (rule, memory) in &mut self.rules {
            let mut changed = false;
            for kind in memory.kinds.values_mut() {
                if let Some(moment) = &mut kind.last_action {
                    changed |= change(moment);
                }
                if let Some(pending) = &mut kind.pending {
                    changed |= change(&mut pending.at) | change(&mut pending.settles.from);
                }
            }
            if changed {
                self.dirty.rules.insert(rule.clone());
            }
        }
        for moment in self.looked.values_mut().chain(self.lost.values_mut()) {
            change(moment);
        }
    }

    /// What is remembered of a kind goes once the server has not had it for as long as a task's memory
    /// outlives the task.
    fn forget_lost_kinds(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let there =
            |kind: &Kind| snapshot.kinds.contains_key(kind) || snapshot.unread.contains_key(kind);
        self.lost.retain(|kind, _| !there(kind));
        for kind in self.tasks.keys().filter(|kind| !there(kind)) {
            self.lost.entry(kind.clone()).or_insert(now);
        }
        let old = |since: &Timestamp| now.duration_since(*since) > KEEP_GONE;
        let old: Vec<Kind> = self
            .lost
            .iter()
            .filter(|(_, since)| old(since))
            .map(|(kind, _)| kind.clone())
            .collect();
        for kind in old {
            let ids: Vec<TaskId> =
                self.tasks.get(&kind).into_iter().flatten().map(|(id, _)| id.clone()).collect();
            for id in &ids {
                let verdict = Verdict::new(Outcome::Unknown, "the server lost its kind", true);
                self.close(&kind, id, verdict, now, judgements);
                self.dirty.note(&kind, id);
            }
            self.tasks.remove(&kind);
            let of_it = |subject: &&Subject| match subject {
                Subject::Task(of, _) | Subject::Name(of, _) => *of == kind,
            };
            let subjects: Vec<Subject> = self.progress.keys().filter(of_it).cloned().collect();
            for subject in &subjects {
                self.forget_progress(subject);
            }
        }
    }

    /// What is remembered under a name goes once it is old and no task has the name any more.
    fn forget_old_names(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let old = |rules: &RulesProgress| {
            rules.iter().all(|(_, progress)| {
                let gave_up = progress.gave_up.as_ref().map(|gave_up| gave_up.at.into());
                let last = progress.last_action.max(progress.unsent).max(gave_up);
                last.max(progress.first_failure)
                    .is_none_or(|last| now.duration_since(last.get()) > KEEP_GONE)
            })
        };
        let mut names: BTreeSet<(Kind, u64)> = self
            .progress
            .iter()
            .filter_map(|(subject, rules)| match subject {
                Subject::Name(kind, name) if snapshot.kinds.contains_key(kind) && old(rules) => {
                    Some((kind.clone(), *name))
                }
                _ => None,
            })
            .collect();
        if names.is_empty() {
            return;
        }
        for (kind, tasks) in &snapshot.kinds {
            for task in tasks {
                names.remove(&(kind.clone(), task.name.identity()));
            }
        }
        for (kind, name) in names {
            self.forget_progress(&Subject::Name(kind, name));
        }
    }

    /// `succeeded` takes up what a success wipes.
    fn fold_tasks<'t>(
        &mut self,
        look: &Glance<'_>,
        tasks: impl IntoIterator<Item = &'t Arc<Task>>,
        judgements: &mut Vec<Judgement>,
        succeeded: &mut Vec<Subject>,
    ) {
        let tasks = tasks.into_iter();
        let known = self.tasks.get(look.kind).map_or(0, BTreeMap::len);
        let listed = tasks.size_hint().0;
        let mut new = Vec::with_capacity(if known < listed { listed } else { 0 });
        for task in tasks {
            if known == 0 || !self.fold_known(look, task, judgements, succeeded) {
                new.push(self.meet(look, task, succeeded));
            }
        }
        if !new.is_empty() {
            let ids = new.iter().map(|(id, _)| id.clone());
            self.dirty.tasks.entry(look.kind.clone()).or_default().note_all(ids);
        }
        put_all(self.tasks.entry(look.kind.clone()).or_default(), new);
    }

    /// What is to be remembered of a task that is new.
    fn meet(
        &self,
        look: &Glance<'_>,
        task: &Task,
        succeeded: &mut Vec<Subject>,
    ) -> (TaskId, Box<TaskMemory>) {
        if task.state == State::Succeeded && self.may_remember_progress() {
            succeeded.push(Subject::Name(look.kind.clone(), task.name.identity()));
        }
        (task.id.clone(), Box::new(TaskMemory::new(task, look.skew, look.now)))
    }

    /// What waits to be judged may come to have some.
    fn may_remember_progress(&self) -> bool {
        !self.progress.is_empty() || self.judging.values().any(|judging| !judging.is_empty())
    }

    /// A task that is remembered; false if it is not.
    fn fold_known(
        &mut self,
        look: &Glance<'_>,
        task: &Task,
        judgements: &mut Vec<Judgement>,
        succeeded: &mut Vec<Subject>,
    ) -> bool {
        let Glance { kind, flavour, skew, last, now } = *look;
        let remembers_progress = self.may_remember_progress();
        let Some(memory) = self.tasks.get_mut(kind).and_then(|tasks| tasks.get_mut(&task.id))
        else {
            return false;
        };
        let was_gone = memory.gone_since.take().is_some();
        if was_gone {
            self.dirty.note(kind, &task.id);
        }
        let verdict =
            memory.pending.as_ref().and_then(|pending| judge(pending, task, flavour, now));
        if let Some(last) = last
            && now.duration_since(last) > LONG_UNSEEN
            && memory.state == State::Running
        {
            // The machine slept, or the network was gone: whether it moved then, nobody saw.
            let unseen = now.duration_since(last);
            let later = memory.progress_at.get().checked_add(unseen);
            memory.progress_at = later.map_or(now, |moment| moment.min(now)).into();
            self.dirty.note(kind, &task.id);
        }
        if (memory.progress - task.progress).abs() > f64::EPSILON {
            memory.progress = task.progress;
            memory.progress_at = now.into();
            self.dirty.note(kind, &task.id);
        }
        // Recovered by a restart of the server: times and error are lost, nothing else happened.
        let recovered = task.started.is_none() && task.ended.is_none();
        let ran_again = !recovered && (task.started, task.ended) != memory.listed;
        let moved = memory.state != task.state || ran_again;
        if moved && !memory.is_stale_failure(task) {
            let floor = last.filter(|_| !was_gone).unwrap_or(Timestamp::MIN);
            memory.enter_state(task, skew, floor.into(), now.into());
            self.dirty.note(kind, &task.id);
            if task.state == State::Succeeded && remembers_progress {
                succeeded.push(Subject::Task(kind.clone(), task.id.clone()));
                succeeded.push(Subject::Name(kind.clone(), task.name.identity()));
            }
        } else if !task.error.is_empty() && *memory.last_error != *task.error {
            memory.last_error.clone_from(&task.error);
            self.dirty.note(kind, &task.id);
        }
        if let Some(verdict) = verdict {
            self.close(kind, &task.id, verdict, now, judgements);
        }
        true
    }

    /// A task that the list no longer has.
    fn fold_left(
        &mut self,
        kind: &Kind,
        id: &TaskId,
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let Some(memory) = self.tasks.get_mut(kind).and_then(|tasks| tasks.get_mut(id)) else {
            return;
        };
        if memory.gone_since.is_none() {
            self.dirty.note(kind, id);
        }
        if let Some(verdict) = memory.leave(now) {
            self.close(kind, id, verdict, now, judgements);
        }
    }

    /// All tasks that a whole list no longer has.
    fn fold_absent(
        &mut self,
        kind: &Kind,
        listed: &[Arc<Task>],
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let Some(tasks) = self.tasks.get_mut(kind) else { return };
        if tasks.len() == listed.len() {
            return;
        }
        let present: std::collections::HashSet<&TaskId> =
            listed.iter().map(|task| &task.id).collect();
        let mut closed = Vec::new();
        let mut forgotten = Vec::new();
        let mut kept = 0;
        for (id, memory) in tasks.iter_mut().filter(|(id, _)| !present.contains(id)) {
            if memory.gone_since.is_none() {
                self.dirty.note(kind, id);
            }
            let verdict = memory.leave(now);
            if memory.pending.is_some() {
                closed.extend(verdict.map(|verdict| (id.clone(), verdict)));
            } else if memory
                .gone_since
                .is_some_and(|since| now.duration_since(since.get()) > KEEP_GONE)
            {
                forgotten.push(id.clone());
            } else {
                kept += 1;
            }
        }
        if kept > MOST_GONE {
            let mut gone: Vec<(Moment, &TaskId)> = tasks
                .iter()
                .filter(|(id, memory)| memory.pending.is_none() && !present.contains(id))
                .filter_map(|(id, memory)| Some((memory.gone_since?, id)))
                .filter(|(since, _)| since.get() < now)
                .collect();
            gone.sort_unstable();
            // Some more than need be, so that not every look has to sort.
            let many = kept - MOST_GONE + MOST_GONE / 20;
            forgotten.extend(gone.into_iter().take(many).map(|(_, id)| id.clone()));
        }
        for (id, verdict) in closed {
            self.close(kind, &id, verdict, now, judgements);
        }
        for id in forgotten {
            if let Some(tasks) = self.tasks.get_mut(kind) {
                tasks.remove(&id);
            }
            self.forget_progress(&Subject::Task(kind.clone(), id.clone()));
            self.dirty.note(kind, &id);
        }
    }

    /// Ends the wait for an action's effect.
    fn close(
        &mut self,
        kind: &Kind,
        id: &TaskId,
        verdict: Verdict,
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let Some(pending) = self.task_mut(kind, id).and_then(|task| task.pending.take()) else {
            return;
        };
        let Verdict { outcome, detail, carried_out } = verdict;
        if carried_out
            && pending.action.effect() == Effect::Cancel
            && let Some(task) = self.task_mut(kind, id)
        {
            task.canceled_by_us = true;
        }
        if carried_out && !pending.accepted {
            self.count_attempt(&pending, now);
        }
        let progress = self.progress_mut(&pending.subject, &pending.rule);
        progress.last_action = progress.last_action.max(Some(pending.at.into()));
        match outcome {
            Outcome::Effective => progress.ineffective = 0,
            Outcome::Ineffective => {
                progress.ineffective += 1;
                progress.ineffective_why = detail.as_str().into();
            }
            _ => {}
        }
        judgements.push(Judgement { intent: pending.intent, outcome, detail });
    }

    fn count_attempt(&mut self, pending: &Pending, now: Timestamp) {
        let failed_at = match &pending.subject {
            Subject::Task(kind, id) => {
                self.task(kind, id).and_then(|task| Some(task.first_failed_at?.get()))
            }
            Subject::Name(..) => None,
        };
        let progress = self.progress_mut(&pending.subject, &pending.rule);
        progress.last_action = Some(pending.at.into());
        progress.unsent = None;
        if progress.bid_farewell(pending.action) {
            return;
        }
        progress.attempts += 1;
        progress.first_failure.get_or_insert(failed_at.unwrap_or(now).into());
    }

    fn judge_whole_kind(
        &mut self,
        kind: &Kind,
        tasks: &[Arc<Task>],
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let waiting: Vec<(RuleName, KindPending)> = self
            .rules
            .iter()
            .filter_map(|(rule, memory)| {
                Some((rule.clone(), memory.kinds.get(kind)?.pending.clone()?))
            })
            .collect();
        for (rule, pending) in waiting {
            // What was there before the call and is there still tells that the call did nothing.
            let left = tasks.iter().any(|task| {
                pending.action.fits(task.state)
                    && self
                        .task(kind, &task.id)
                        .is_some_and(|memory| memory.state_since.get() < pending.at)
            });
            let (outcome, detail) = match (left, pending.accepted) {
                (false, _) => {
                    (Outcome::Effective, "nothing that it was meant for is left".to_owned())
                }
                (true, true) => {
                    (Outcome::Ineffective, "tasks that it was meant for are still there".to_owned())
                }
                (true, false) if pending.settles.is_over(now) => {
                    (Outcome::Unknown, "no sign that it was carried out".to_owned())
                }
                (true, false) => continue,
            };
            if let Some(progress) = self.rule_mut(&rule).kinds.get_mut(kind) {
                progress.pending = None;
                if outcome == Outcome::Effective && pending.action.effect() == Effect::Remove {
                    *progress = KindProgress::default();
                } else if !pending.accepted && outcome == Outcome::Effective {
                    progress.attempts += 1;
                }
            }
            judgements.push(Judgement { intent: pending.intent, outcome, detail });
        }
    }

    /// Notes an action that is about to be written down.
    pub fn note_intent(&mut self, kind: &Kind, id: &TaskId, pending: Pending) {
        if let Some(task) = self.task_mut(kind, id) {
            task.pending = Some(Box::new(pending));
            self.judging.entry(kind.clone()).or_default().insert(id.clone());
        }
    }

    /// Notes what the server answered to an action on one task.
    pub fn note_answer(&mut self, kind: &Kind, id: &TaskId, answer: &Answer, now: Timestamp) {
        let Some(task) = self.task_mut(kind, id) else { return };
        match answer {
            Answer::Accepted => {
                let Some(pending) = &mut task.pending else { return };
                pending.accepted = true;
                let pending = pending.clone();
                self.count_attempt(&pending, now);
            }
            Answer::Rejected(why) => {
                let Some(pending) = task.pending.take() else { return };
                let progress = self.progress_mut(&pending.subject, &pending.rule);
                progress.last_action = Some(pending.at.into());
                progress.bid_farewell(pending.action);
                progress.ineffective += 1;
                progress.ineffective_why = format!("the server refused: {why}").into();
            }
            Answer::NotDone(_) | Answer::SkippedChanged(_) => {
                let Some(pending) = task.pending.take() else { return };
                self.progress_mut(&pending.subject, &pending.rule).unsent = Some(pending.at.into());
            }
            Answer::Lost(_) => {}
        }
        if !matches!(answer, Answer::Accepted | Answer::Lost(_)) {
            self.recall(id, now);
        }
    }

    /// Notes that a task that was let through was not sent, so that it tells a breaker nothing: another
    /// task may be its canary.
    pub fn recall(&mut self, id: &TaskId, now: Timestamp) {
        for (rule, memory) in &mut self.rules {
            for breaker in memory.breakers.values_mut() {
                let before = breaker.clone();
                breaker.recall(id, now);
                if *breaker != before {
                    self.dirty.rules.insert(rule.clone());
                }
            }
        }
    }

    /// Notes a whole-kind action that is about to be written down.
    pub fn note_kind_intent(&mut self, rule: &RuleName, kind: &Kind, pending: KindPending) {
        let progress = self.rule_mut(rule).kinds.entry(kind.clone()).or_default();
        progress.last_action = Some(pending.at);
        progress.pending = Some(pending);
    }

    /// Notes what the server answered to a whole-kind action.
    pub fn note_kind_answer(&mut self, rule: &RuleName, kind: &Kind, answer: &Answer) {
        let Some(progress) = self.rule_mut(rule).kinds.get_mut(kind) else { return };
        match answer {
            Answer::Accepted => {
                if let Some(pending) = &mut progress.pending {
                    pending.accepted = true;
                    progress.attempts += 1;
                }
            }
            Answer::Rejected(_) => {
                progress.pending = None;
                progress.attempts += 1;
            }
            Answer::NotDone(_) | Answer::SkippedChanged(_) => progress.pending = None,
            Answer::Lost(_) => {}
        }
    }

    /// The server could not be read. What was sent to it may lie there until it works again.
    pub fn note_away(&mut self) {
        self.heard.clear();
    }

    /// A kind is read for the first time after nothing was heard of it: only now does the time run
    /// after which a call without an answer counts as not carried out. A process that has just begun
    /// leaves alone what an earlier one had begun to wait for, or `run --once` would never judge it.
    fn settle_anew(&mut self, kind: &Kind, now: Timestamp) {
        let began = !self.looked.contains_key(kind);
        let waits = |at: Timestamp, accepted: bool, settles: &Settling| {
            !accepted && (!began || settles.from <= at)
        };
        for (id, task) in self.tasks.get_mut(kind).into_iter().flatten() {
            if let Some(pending) = &mut task.pending
                && waits(pending.at, pending.accepted, &pending.settles)
            {
                pending.settles.from = now;
                self.dirty.note(kind, id);
            }
        }
        for (rule, memory) in &mut self.rules {
            let pending = memory.kinds.get_mut(kind).and_then(|kind| kind.pending.as_mut());
            if let Some(pending) = pending
                && waits(pending.at, pending.accepted, &pending.settles)
            {
                pending.settles.from = now;
                self.dirty.rules.insert(rule.clone());
            }
        }
    }
}

impl RulesProgress {
    /// How far a rule has come.
    #[must_use]
    pub fn get(&self, rule: &RuleName) -> Option<&Progress> {
        self.place(rule).ok().map(|place| &self.0[place].1)
    }

    /// How far each has come.
    pub fn iter(&self) -> impl Iterator<Item = (&RuleName, &Progress)> {
        self.0.iter().map(|(rule, progress)| (rule, progress))
    }

    /// The same of one, to be changed; made if there is none.
    fn get_mut(&mut self, rule: &RuleName) -> &mut Progress {
        let place = self.place(rule).unwrap_or_else(|place| {
            let mut rules = mem::take(&mut self.0).into_vec();
            rules.reserve_exact(1);
            rules.insert(place, (rule.clone(), Progress::default()));
            self.0 = rules.into();
            place
        });
        &mut self.0[place].1
    }

    fn remove(&mut self, rule: &RuleName) {
        let rules = mem::take(&mut self.0).into_vec().into_iter();
        self.0 = rules.filter(|(known, _)| known != rule).collect();
    }

    fn place(&self, rule: &RuleName) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(rule))
    }
}

impl Progress {
    /// From when on the rule may try the task anew, if a person has asked for that; `give_up_after`
    /// counts from then.
    #[must_use]
    pub fn redriven(&self) -> Option<Timestamp> {
        let Redrive { at, after } = self.redrive.as_deref()?;
        Some(at.checked_add(*after).unwrap_or(Timestamp::MAX))
    }

    /// Whether the rule had let go already, so that this was what `on_give_up` asked for; that is
    /// done once, and is no attempt.
    fn bid_farewell(&mut self, action: Action) -> bool {
        let Some(gave_up) = &mut self.gave_up else { return false };
        gave_up.left.retain(|left| *left != action);
        true
    }
}

/// What is remembered of a task.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remembered<'m> {
    /// Of itself.
    pub(super) task: Option<&'m TaskMemory>,
    /// How far rules have come with it.
    pub(super) progress: Option<&'m RulesProgress>,
}

/// A walk through what is remembered of the tasks of a kind.
pub(super) struct Walk<'m> {
    kind: &'m Kind,
    tasks: Cursor<'m, TaskId, Box<TaskMemory>>,
    progress: Cursor<'m, Subject, RulesProgress>,
}

impl<'m> Walk<'m> {
    /// What is remembered of a task.
    pub(super) fn find(&mut self, id: &TaskId) -> Remembered<'m> {
        let progress = self.progress.map.filter(|map| !map.is_empty());
        let subject = progress.map(|_| Subject::Task(self.kind.clone(), id.clone()));
        Remembered {
            task: self.tasks.find(id).map(Box::as_ref),
            progress: subject.and_then(|subject| self.progress.find(&subject)),
        }
    }
}

/// Finds what stands in a map under keys of which the next is near the last.
struct Cursor<'m, K, V> {
    map: Option<&'m BTreeMap<K, V>>,
    range: Option<btree_map::Range<'m, K, V>>,
    at: Option<(&'m K, &'m V)>,
}

impl<'m, K: Ord, V> Cursor<'m, K, V> {
    /// Steps after which to look for a key from the start is quicker.
    const STEPS: usize = 16;

    fn new(map: Option<&'m BTreeMap<K, V>>) -> Self {
        Self { map, range: None, at: None }
    }

    fn find(&mut self, key: &K) -> Option<&'m V> {
        if let (Some(range), Some((mut known, mut value))) = (&mut self.range, self.at) {
            for _ in 0..Self::STEPS {
                match known.cmp(key) {
                    Ordering::Less => {
                        let Some(next) = range.next() else {
                            self.at = None;
                            return None;
                        };
                        (known, value) = next;
                    }
                    Ordering::Equal => {
                        self.at = Some((known, value));
                        return Some(value);
                    }
                    Ordering::Greater => break,
                }
            }
        }
        let mut range = self.map?.range::<K, _>(key..);
        self.at = range.next();
        self.range = Some(range);
        self.at.filter(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

/// One look at one kind.
struct Glance<'a> {
    kind: &'a Kind,
    flavour: Flavour,
    skew: SignedDuration,
    /// When the kind was read before, if this process did.
    last: Option<Timestamp>,
    now: Timestamp,
}

/// A pause between two looks after which a transfer without progress is not taken for stalled: much
/// longer than the slowest poll (two minutes).
const LONG_UNSEEN: SignedDuration = SignedDuration::from_mins(10);

/// What Go says of work that was told to stop; drivers put their own words before it.
const CANCELED: &str = "context canceled";

/// How often everything that is not listed any more is looked at, to forget what is old.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// A run that ended this soon was none: the server looked at the task and dropped it.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);

/// Whether a server that does not allow retrying canceled tasks took this one up only to drop it
/// (CONTRACT.md, "What the endpoints do to a task": `AList`).
fn dropped_at_once(task: &Task) -> bool {
    task.state == State::Failed
        && task.error.ends_with(CANCELED)
        && task
            .started
            .zip(task.ended)
            .is_some_and(|(started, ended)| ended.get().duration_since(started.get()) < AT_ONCE)
}

/// How long the memory of a task that left the lists is kept: servers that restart can bring back
/// what was deleted just before (CONTRACT.md).
const KEEP_GONE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Of how many such tasks of a kind it is kept; those that left last stay. A server writes its list
/// down whenever it is quiet, so only the latest can come back; and thousands may come and go in a day.
const MOST_GONE: usize = 20_000;

/// Puts many entries in. One by one they would come to the same, and lie in twice the room.
fn put_all<K: Ord, V>(map: &mut BTreeMap<K, V>, new: Vec<(K, V)>) {
    if new.len() > map.len() / 8 {
        map.append(&mut new.into_iter().collect());
    } else {
        map.extend(new);
    }
}

/// How a list differs from the one before.
fn differences<'s>(before: &Listing, tasks: &'s Listing) -> News<'s> {
    let mut news = News::default();
    if before.is(tasks) {
        return news;
    }
    for step in tasks.since(before) {
        match step {
            Step::Same { .. } => {}
            Step::Changed { new, .. } | Step::New { new } => news.listed.push(&tasks[new]),
            Step::Gone { old } => news.left.push(before[old].id.clone()),
        }
    }
    news
}

/// What a look tells of an action.
struct Verdict {
    outcome: Outcome,
    detail: String,
    /// Whether it was, or may have been, carried out, and so counts as an attempt.
    carried_out: bool,
}

impl Verdict {
    fn new(outcome: Outcome, detail: &str, carried_out: bool) -> Self {
        Self { outcome, detail: detail.to_owned(), carried_out }
    }
}

/// Judges an action by a look that was taken after it; `None` while it is too early.
fn judge(pending: &Pending, task: &Task, flavour: Flavour, now: Timestamp) -> Option<Verdict> {
    if now <= pending.at {
        return None;
    }
    let before = &pending.before;
    let settled = pending.settles.is_over(now);
    let same_times = task.started == before.started && task.ended == before.ended;
    let same = task.state == before.state && same_times;
    let not_carried_out = |why: &str| {
        if pending.accepted {
            Some(Verdict::new(Outcome::Ineffective, why, true))
        } else if settled {
            let retried = pending.action.effect() == Effect::Retry;
            if retried && before.started.is_none() && before.ended.is_none() {
                // A run since then may have lost its times as the one before did.
                let why =
                    "no answer came, and the task had no times that would tell whether it ran";
                return Some(Verdict::new(Outcome::Unknown, why, true));
            }
            let why = "no answer came, and the task shows no sign that it was carried out";
            Some(Verdict::new(Outcome::Unknown, why, false))
        } else {
            None
        }
    };
    match pending.action.effect() {
        Effect::Retry if same && task.error == before.error => {
            let why = if before.state == State::Canceled {
                "the task stayed canceled: the server does not allow retrying canceled tasks \
                 (its setting allow_retry_canceled)"
            } else {
                "the task stayed as it was"
            };
            not_carried_out(why)
        }
        Effect::Retry
            if task.state == before.state && task.started.is_none() && task.ended.is_none() =>
        {
            let why = "the server lost the task's times, so it was restarted, and nothing tells \
                       whether the task ran again";
            Some(Verdict::new(Outcome::Unknown, why, true))
        }
        Effect::Retry
            if task.state == State::Failed
                && flavour != Flavour::OpenList
                && before.error.ends_with(CANCELED)
                && dropped_at_once(task) =>
        {
            let why = "the task failed again at once with `context canceled`: the server does not \
                       allow retrying canceled tasks (its setting allow_retry_canceled)";
            Some(Verdict::new(Outcome::Ineffective, why, true))
        }
        Effect::Retry => {
            Some(Verdict::new(Outcome::Effective, &format!("the task is {}", task.state), true))
        }
        Effect::Cancel if task.state == State::Canceling || task.state.is_done() => {
            Some(Verdict::new(Outcome::Effective, &format!("the task is {}", task.state), true))
        }
        Effect::Cancel if settled => not_carried_out(&format!("the task is still {}", task.state)),
        Effect::Cancel | Effect::None => None,
        Effect::Remove => not_carried_out("the task is still listed"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn progress_is_restored_in_whatever_order_it_comes() {
        let (a, b) = (Subject::Name(Kind::Copy, 1), Subject::Name(Kind::Copy, 2));
        let mut memory = Memory::new("home".into());
        for attempts in [1, 2] {
            let some = Some(Progress { attempts, ..Progress::default() });
            let entries = [(&a, "s"), (&b, "r"), (&a, "r"), (&b, "q")];
            let progress = entries.map(|(of, rule)| (of.clone(), rule.into(), some.clone()));
            memory.restore(Changes { progress: progress.into(), ..Changes::default() });
            for (of, rule) in entries {
                assert_eq!(memory.progress_of(of, &rule.into()), some.as_ref(), "{rule}");
            }
            let rules = |of| memory.progress[of].iter().map(|(rule, _)| rule.as_str());
            assert_eq!(rules(&a).chain(rules(&b)).collect::<Vec<_>>(), ["r", "s", "q", "r"]);
        }
        let gone = vec![(a.clone(), "s".into(), None), (b.clone(), "never".into(), None)];
        memory.restore(Changes { progress: gone, ..Changes::default() });
        let left = [&a, &b].map(|of| memory.progress[of].iter().count());
        assert_eq!(left, [1, 2]);
    }

    #[test]
    fn what_is_kept_of_each_task_keeps_to_its_room() {
        // Allocators give room in steps of 16 bytes, of which 8 are their own.
        assert_eq!(size_of::<TaskMemory>(), 7 * 16 + 8);
        assert_eq!(size_of::<(RuleName, Progress)>(), 6 * 16 + 8);
    }

    #[test]
    fn a_run_that_succeeded_is_written_with_its_beginning_or_without() {
        let second = Moment::from_nanosecond(1_000_000_000);
        for (started, written) in
            [(None, r#"{"started":null}"#), (Some(second), r#"{"started":"1970-01-01T00:00:01Z"}"#)]
        {
            let run = SucceededRun::new(started);
            assert_eq!(run.started(), started);
            assert_eq!(serde_json::to_string(&run).unwrap(), written);
            assert_eq!(serde_json::from_str::<SucceededRun>(written).unwrap(), run);
        }
    }

    #[test]
    fn what_is_noted_again_and_again_takes_no_more_room() {
        let mut noted = Noted::default();
        for n in 0..10_000 {
            noted.note(n % 10);
            noted.note_all(0..10);
        }
        assert!(noted.keys.len() <= 1024, "{}", noted.keys.len());
        assert!(noted.distinct().into_iter().eq(&(0..10).collect::<Vec<_>>()));
    }

    proptest! {
        #[test]
        fn a_cursor_finds_what_the_map_has(
            map in prop::collection::btree_map(0_u8..100, any::<u8>(), 0..60),
            asked in prop::collection::vec((0_u8..100, 0_u8..4), 0..20),
        ) {
            let mut cursor = Cursor::new(Some(&map));
            // Some keys near each other, then others in whatever order.
            for key in asked.into_iter().flat_map(|(from, more)| from..=from + more) {
                prop_assert_eq!(cursor.find(&key), map.get(&key), "{}", key);
            }
        }
    }
}
