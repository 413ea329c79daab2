//! What is remembered from tick to tick, and how a fresh look is folded into it.
//!
//! The lists say what is; the memory says what was, what we did, and what we wait for. It is plain
//! data: the store keeps it, `decide` reads it, and every change is also handed out as [`Changes`] so
//! that only what changed is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::audit::{IntentId, Outcome};
use super::breaker::Breaker;
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
    /// The tasks of each kind that was read whole, undone and done together, each id once.
    pub kinds: BTreeMap<Kind, Vec<Task>>,
    /// The kinds the server has and that could not be read now, with why. Nothing is concluded
    /// about their tasks.
    pub unread: BTreeMap<Kind, String>,
}

/// What is remembered of one server.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The server.
    pub server: ServerName,
    /// What is remembered of each task.
    pub tasks: BTreeMap<Kind, HashMap<TaskId, TaskMemory>>,
    /// How far each rule has come with each task it dealt with.
    pub progress: HashMap<Subject, BTreeMap<RuleName, Progress>>,
    /// What is remembered of each rule.
    pub rules: BTreeMap<RuleName, RuleMemory>,
    dirty: Dirty,
}

#[derive(Clone, Debug, Default)]
struct Dirty {
    tasks: BTreeSet<(Kind, TaskId)>,
    progress: BTreeSet<(Subject, RuleName)>,
    rules: BTreeSet<RuleName>,
}

/// What changed in a memory since it was last asked; `None` for what is forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Tasks.
    pub tasks: Vec<(Kind, TaskId, Option<TaskMemory>)>,
    /// Rules' progress with tasks.
    pub progress: Vec<(Subject, RuleName, Option<Progress>)>,
    /// Rules.
    pub rules: Vec<(RuleName, Option<RuleMemory>)>,
}

impl Changes {
    /// Whether there is nothing to write.
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
    /// When it was first listed.
    pub first_seen: Timestamp,
    /// Its last listed state.
    pub state: State,
    /// Since when it is in that state, as near as known.
    pub state_since: Timestamp,
    /// When its last run began, if the server tells.
    pub started: Option<Timestamp>,
    /// When its last run ended, if the server tells.
    pub ended: Option<Timestamp>,
    /// The same two as listed, by the server's clock, to tell one run from the next.
    pub listed: (Option<Timestamp>, Option<Timestamp>),
    /// The moment of its last failure; backoff counts from it.
    pub failed_at: Option<Timestamp>,
    /// The moment of the first failure since it last succeeded.
    pub first_failed_at: Option<Timestamp>,
    /// The last error seen, secrets out. Kept when the server forgets it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub last_error: Box<str>,
    /// The last listed progress, in percent.
    pub progress: f64,
    /// When the progress last moved.
    pub progress_at: Timestamp,
    /// The start of the run that succeeded, while no later run was seen. A restart of the server can
    /// list a task that had succeeded as failed again (CONTRACT.md); it is not retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<SucceededRun>,
    /// Whether the last cancel was ours, so that `context canceled` was not a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub canceled_by_us: bool,
    /// Since when it is missing from lists that were read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Timestamp>,
    /// The action on it whose effect is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// A run that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SucceededRun {
    /// When it began, by the server's clock as listed.
    pub started: Option<Timestamp>,
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
    /// Until when a call whose answer is missing may still be carried out.
    pub settles: Timestamp,
    /// Whether the server said yes. Such an action is counted as an attempt already.
    pub accepted: bool,
}

/// How far a rule has come with a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Accepted actions.
    pub attempts: u32,
    /// The first failure that the rule dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<Timestamp>,
    /// When the last action was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<Timestamp>,
    /// Actions in a row that did not take or were refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ineffective: u32,
    /// Why the last of them did not take.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ineffective_why: String,
    /// Set when the rule has let go of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<GaveUp>,
    /// The look at the task that a `notify` or a dry run has spoken of, so that it speaks once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed: Option<Noticed>,
    /// The failure the breaker has counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker_counted: Option<Timestamp>,
}

/// The state and moment that a `notify` or a dry run has spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// The state.
    pub state: State,
    /// Since when the task was in it.
    pub since: Timestamp,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Until when a call whose answer is missing may still be carried out.
    pub settles: Timestamp,
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
            first_seen: now,
            state: State::Unknown(-1),
            state_since: now,
            started: None,
            ended: None,
            listed: (None, None),
            failed_at: None,
            first_failed_at: None,
            last_error: Box::default(),
            progress: 0.0,
            progress_at: now,
            succeeded: None,
            canceled_by_us: false,
            gone_since: None,
            pending: None,
        }
    }

    fn new(task: &Task, skew: SignedDuration, now: Timestamp) -> Self {
        let mut fresh = Self { progress: task.progress, ..Self::blank(now) };
        fresh.enter_state(task, skew, now);
        fresh
    }

    /// The task is in another state, or ran again to the same one.
    fn enter_state(&mut self, task: &Task, skew: SignedDuration, now: Timestamp) {
        // A time that lies ahead by our clock is worth no more than the present moment.
        let ours = |time: Option<Timestamp>| Some(time?.checked_sub(skew).ok()?.min(now));
        self.state = task.state;
        self.started = ours(task.started);
        self.ended = ours(task.ended);
        self.listed = (task.started, task.ended);
        self.state_since = match task.state {
            state if state.is_done() => self.ended.unwrap_or(now),
            State::Running => self.started.unwrap_or(now),
            _ => now,
        };
        self.progress_at = now;
        match task.state {
            State::Pending | State::Running => self.canceled_by_us = false,
            State::Failed => {
                self.failed_at = Some(self.state_since);
                self.first_failed_at.get_or_insert(self.state_since);
            }
            State::Succeeded => {
                self.succeeded = Some(SucceededRun { started: task.started });
                self.failed_at = None;
                self.first_failed_at = None;
                self.last_error = Box::default();
            }
            _ => {}
        }
        if !task.error.is_empty() {
            self.last_error.clone_from(&task.error);
        }
    }

    /// Whether the listing of a task as failed is an echo of the time before it succeeded: no run
    /// later than the one that succeeded was seen.
    #[must_use]
    pub fn is_stale_failure(&self, task: &Task) -> bool {
        task.state == State::Failed
            && self.succeeded.as_ref().is_some_and(|run| match (task.started, run.started) {
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
            progress: HashMap::new(),
            rules: BTreeMap::new(),
            dirty: Dirty::default(),
        }
    }

    /// Puts back what was stored; such an entry does not count as changed.
    pub fn restore(&mut self, changes: Changes) {
        for (kind, id, task) in changes.tasks {
            let tasks = self.tasks.entry(kind).or_default();
            match task {
                Some(task) => tasks.insert(id, task),
                None => tasks.remove(&id),
            };
        }
        for (subject, rule, progress) in changes.progress {
            let rules = self.progress.entry(subject).or_default();
            match progress {
                Some(progress) => rules.insert(rule, progress),
                None => rules.remove(&rule),
            };
        }
        for (rule, memory) in changes.rules {
            match memory {
                Some(memory) => self.rules.insert(rule, memory),
                None => self.rules.remove(&rule),
            };
        }
    }

    /// Takes over what `decide` wants remembered.
    pub fn absorb(&mut self, changes: Changes) {
        for (subject, rule, _) in &changes.progress {
            self.dirty.progress.insert((subject.clone(), rule.clone()));
        }
        for (rule, _) in &changes.rules {
            self.dirty.rules.insert(rule.clone());
        }
        self.restore(changes);
    }

    /// What changed since the last call of [`Memory::saved`].
    #[must_use]
    pub fn changes(&self) -> Changes {
        let task = |key: &(Kind, TaskId)| {
            (key.0.clone(), key.1.clone(), self.task(&key.0, &key.1).cloned())
        };
        let progress = |(subject, rule): &(Subject, RuleName)| {
            (subject.clone(), rule.clone(), self.progress_of(subject, rule).cloned())
        };
        let rule = |rule: &RuleName| (rule.clone(), self.rules.get(rule).cloned());
        Changes {
            tasks: self.dirty.tasks.iter().map(task).collect(),
            progress: self.dirty.progress.iter().map(progress).collect(),
            rules: self.dirty.rules.iter().map(rule).collect(),
        }
    }

    /// All changes so far are stored.
    pub fn saved(&mut self) {
        self.dirty = Dirty::default();
    }

    /// The audit rows of all actions whose effect is not known yet.
    #[must_use]
    pub fn pending_intents(&self) -> BTreeSet<IntentId> {
        let tasks = self.tasks.values().flat_map(HashMap::values);
        let tasks = tasks.filter_map(|task| Some(task.pending.as_ref()?.intent));
        let kinds = self.rules.values().flat_map(|rule| rule.kinds.values());
        tasks.chain(kinds.filter_map(|kind| Some(kind.pending.as_ref()?.intent))).collect()
    }

    /// What is remembered of a task.
    #[must_use]
    pub fn task(&self, kind: &Kind, id: &TaskId) -> Option<&TaskMemory> {
        self.tasks.get(kind)?.get(id)
    }

    /// The same, to be changed.
    pub fn task_mut(&mut self, kind: &Kind, id: &TaskId) -> Option<&mut TaskMemory> {
        let task = self.tasks.get_mut(kind)?.get_mut(id)?;
        self.dirty.tasks.insert((kind.clone(), id.clone()));
        Some(task)
    }

    /// How far a rule has come with a task.
    #[must_use]
    pub fn progress_of(&self, subject: &Subject, rule: &RuleName) -> Option<&Progress> {
        self.progress.get(subject)?.get(rule)
    }

    /// The same, to be changed; made if there is none.
    pub fn progress_mut(&mut self, subject: &Subject, rule: &RuleName) -> &mut Progress {
        self.dirty.progress.insert((subject.clone(), rule.clone()));
        self.progress.entry(subject.clone()).or_default().entry(rule.clone()).or_default()
    }

    /// What is remembered of a rule, to be changed; made if there is none.
    pub fn rule_mut(&mut self, rule: &RuleName) -> &mut RuleMemory {
        self.dirty.rules.insert(rule.clone());
        self.rules.entry(rule.clone()).or_default()
    }

    fn forget_progress(&mut self, subject: &Subject) {
        if let Some(rules) = self.progress.remove(subject) {
            for rule in rules.into_keys() {
                self.dirty.progress.insert((subject.clone(), rule));
            }
        }
    }

    /// Folds a look into the memory, and judges the actions whose effect it shows.
    pub fn fold(&mut self, snapshot: &Snapshot, now: Timestamp) -> Vec<Judgement> {
        let mut judgements = Vec::new();
        for (kind, tasks) in &snapshot.kinds {
            for task in tasks {
                self.fold_task(kind, task, snapshot.skew, now, &mut judgements);
            }
            self.fold_absent(kind, tasks, now, &mut judgements);
            self.judge_whole_kind(kind, tasks, now, &mut judgements);
        }
        judgements
    }

    fn fold_task(
        &mut self,
        kind: &Kind,
        task: &Task,
        skew: SignedDuration,
        now: Timestamp,
        judgements: &mut Vec<Judgement>,
    ) {
        let tasks = self.tasks.entry(kind.clone()).or_default();
        let key = || (kind.clone(), task.id.clone());
        let Some(memory) = tasks.get_mut(&task.id) else {
            tasks.insert(task.id.clone(), TaskMemory::new(task, skew, now));
            self.dirty.tasks.insert(key());
            if task.state == State::Succeeded {
                self.forget_progress(&Subject::Name(kind.clone(), task.name.identity()));
            }
            return;
        };
        if memory.gone_since.take().is_some() {
            self.dirty.tasks.insert(key());
        }
        let verdict = memory.pending.as_ref().and_then(|pending| judge(pending, task, now));
        if (memory.progress - task.progress).abs() > f64::EPSILON {
            memory.progress = task.progress;
            memory.progress_at = now;
            self.dirty.tasks.insert(key());
        }
        // Recovered by a restart of the server: times and error are lost, nothing else happened.
        let recovered = task.started.is_none() && task.ended.is_none();
        let ran_again = !recovered && (task.started, task.ended) != memory.listed;
        let moved = memory.state != task.state || ran_again;
        if moved && !memory.is_stale_failure(task) {
            memory.enter_state(task, skew, now);
            self.dirty.tasks.insert(key());
            if task.state == State::Succeeded {
                self.forget_progress(&Subject::Task(kind.clone(), task.id.clone()));
                self.forget_progress(&Subject::Name(kind.clone(), task.name.identity()));
            }
        } else if !task.error.is_empty() && *memory.last_error != *task.error {
            memory.last_error.clone_from(&task.error);
            self.dirty.tasks.insert(key());
        }
        if let Some(verdict) = verdict {
            self.close(kind, &task.id, verdict, now, judgements);
        }
    }

    /// Tasks that a whole list no longer has.
    fn fold_absent(
        &mut self,
        kind: &Kind,
        listed: &[Task],
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
        for (id, memory) in tasks.iter_mut().filter(|(id, _)| !present.contains(id)) {
            // A task may slip between the reading of the two lists once; twice it is gone.
            let seen_gone = memory.gone_since.is_some();
            if !seen_gone {
                memory.gone_since = Some(now);
                self.dirty.tasks.insert((kind.clone(), id.clone()));
            }
            if let Some(pending) = &memory.pending {
                if pending.action.effect() == Effect::Remove && now > pending.at {
                    closed.push((
                        id.clone(),
                        Verdict::new(Outcome::Effective, "it left the list", true),
                    ));
                } else if seen_gone {
                    let why = "the task left the list before its state could be seen";
                    closed.push((id.clone(), Verdict::new(Outcome::Unknown, why, true)));
                }
            } else if memory.gone_since.is_some_and(|since| now.duration_since(since) > KEEP_GONE) {
                forgotten.push(id.clone());
            }
        }
        for (id, verdict) in closed {
            self.close(kind, &id, verdict, now, judgements);
        }
        for id in forgotten {
            if let Some(tasks) = self.tasks.get_mut(kind) {
                tasks.remove(&id);
            }
            self.forget_progress(&Subject::Task(kind.clone(), id.clone()));
            self.dirty.tasks.insert((kind.clone(), id));
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
        // A success has wiped the count already; it stays wiped.
        let wiped = self.task(kind, id).is_some_and(|task| task.state == State::Succeeded);
        if !(wiped && pending.action.effect() == Effect::Retry) {
            if carried_out && !pending.accepted {
                self.count_attempt(&pending, now);
            }
            let progress = self.progress_mut(&pending.subject, &pending.rule);
            match outcome {
                Outcome::Effective => progress.ineffective = 0,
                Outcome::Ineffective => {
                    progress.ineffective += 1;
                    progress.ineffective_why.clone_from(&detail);
                }
                _ => {}
            }
        }
        judgements.push(Judgement { intent: pending.intent, outcome, detail });
    }

    fn count_attempt(&mut self, pending: &Pending, now: Timestamp) {
        let failed_at = match &pending.subject {
            Subject::Task(kind, id) => self.task(kind, id).and_then(|task| task.first_failed_at),
            Subject::Name(..) => None,
        };
        let progress = self.progress_mut(&pending.subject, &pending.rule);
        progress.attempts += 1;
        progress.last_action = Some(pending.at);
        progress.first_failure.get_or_insert(failed_at.unwrap_or(now));
    }

    fn judge_whole_kind(
        &mut self,
        kind: &Kind,
        tasks: &[Task],
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
                        .is_some_and(|memory| memory.state_since < pending.at)
            });
            let (outcome, detail) = match (left, pending.accepted) {
                (false, _) => {
                    (Outcome::Effective, "nothing that it was meant for is left".to_owned())
                }
                (true, true) => {
                    (Outcome::Ineffective, "tasks that it was meant for are still there".to_owned())
                }
                (true, false) if now >= pending.settles => {
                    (Outcome::Unknown, "no sign that it was carried out".to_owned())
                }
                (true, false) => continue,
            };
            if let Some(progress) = self.rule_mut(&rule).kinds.get_mut(kind) {
                progress.pending = None;
                if outcome == Outcome::Effective && pending.action.effect() == Effect::Remove {
                    progress.attempts = 0;
                } else if !pending.accepted && outcome == Outcome::Effective {
                    progress.attempts += 1;
                }
            }
            judgements.push(Judgement { intent: pending.intent, outcome, detail });
        }
    }

    /// Notes an action that is about to be written down.
    pub fn note_intent(&mut self, kind: &Kind, id: &TaskId, pending: Pending) {
        let (subject, rule, at) = (pending.subject.clone(), pending.rule.clone(), pending.at);
        if let Some(task) = self.task_mut(kind, id) {
            task.pending = Some(pending);
        }
        self.progress_mut(&subject, &rule).last_action = Some(at);
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
                progress.ineffective += 1;
                progress.ineffective_why = format!("the server refused: {why}");
            }
            Answer::NotDone(_) | Answer::SkippedChanged(_) => task.pending = None,
            Answer::Lost(_) => {}
        }
        if !matches!(answer, Answer::Accepted | Answer::Lost(_)) {
            // It was not sent, so it tells a breaker nothing: another task may be its canary.
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

    /// Drops what is remembered of rules that `keep` does not name.
    pub fn retain_rules(&mut self, keep: impl Fn(&RuleName) -> bool) {
        let gone: Vec<RuleName> = self.rules.keys().filter(|rule| !keep(rule)).cloned().collect();
        for rule in gone {
            self.rules.remove(&rule);
            self.dirty.rules.insert(rule);
        }
    }
}

/// How long the memory of a task that left the lists is kept: servers that restart can bring back
/// what was deleted just before (CONTRACT.md).
const KEEP_GONE: SignedDuration = SignedDuration::from_hours(7 * 24);

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
fn judge(pending: &Pending, task: &Task, now: Timestamp) -> Option<Verdict> {
    if now <= pending.at {
        return None;
    }
    let before = &pending.before;
    let settled = now >= pending.settles;
    let same_times = task.started == before.started && task.ended == before.ended;
    let same = task.state == before.state && same_times;
    let not_carried_out = |why: &str| {
        if pending.accepted {
            Some(Verdict::new(Outcome::Ineffective, why, true))
        } else if settled {
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
                && &*task.error == "context canceled"
                && &*before.error == "context canceled" =>
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
