//! Carries out what was decided: writes it down, looks again, sends, writes down the answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

use super::watch::Watch;
use crate::ambient::{fault_point, monotonic};
use crate::engine::audit::{AuditRow, IntentId, Trouble};
use crate::engine::decide::{Planned, Target, recheck};
use crate::engine::memory::{Answer, KindPending, Pending, RuleMemory, Settling, Snapshot};
use crate::engine::rule::{Action, Effect, Mode, RuleSet};
use crate::engine::task::{Kind, RuleName, Task, TaskId};
use crate::upstream::{self, Batch, Certainty, KindVerb, Verb};

/// The bytes one task takes in a list, roughly, and so what reading the list costs against asking
/// for single tasks.
const BYTES_A_TASK: usize = 400;

/// What one `info` costs in bytes: the answer, the headers both ways, and the wait.
const BYTES_AN_INFO: usize = 16_000;

/// How long a call in flight has to be answered when the daemon is told to end. After it the answer
/// counts as lost, and the next start finds out what came of the call.
pub(super) const GRACE: Duration = Duration::from_secs(6);

/// What an answer that nobody waited for means.
const ENDED: &str = "taskwarden ended before the answer came";

/// How many single tasks are asked for at a time.
const INFOS_AT_ONCE: usize = 4;

/// Planned actions that go out in one call.
struct Group<'a> {
    rule: &'a RuleName,
    action: Action,
    kind: &'a Kind,
    members: Vec<(&'a Planned, &'a Target)>,
}

/// What the second look found.
struct Fresh {
    tasks: HashMap<TaskId, Arc<Task>>,
    /// Whether it took so long that it ended before all targets were asked for.
    cut_short: bool,
}

impl Watch {
    /// Carries out the actions that are meant in earnest, call by call, until one of them shows
    /// that the server or the store does not work, or the daemon ends.
    pub(super) async fn act(&mut self, rules: &RuleSet, snapshot: &Snapshot, actions: &[Planned]) {
        let mut go_on = true;
        for group in groups(actions) {
            // Once there are new rules, nothing goes out by the old ones.
            let ends = *self.stop.borrow() || self.rules.has_changed().unwrap_or(true);
            go_on = go_on && !ends;
            if go_on {
                self.heed_all().await;
            }
            let paused = |rule: &RuleMemory| rule.paused.is_some();
            if !go_on || self.memory.rules.get(group.rule).is_some_and(paused) {
                let now = self.now();
                for (_, target) in &group.members {
                    self.memory_mut().recall(target.id(), now);
                }
                continue;
            }
            go_on = if group.members.is_empty() {
                self.act_on_kind(rules, snapshot, &group, actions).await
            } else {
                self.act_on_tasks(rules, snapshot, &group).await
            };
        }
    }

    /// Acts on single tasks by one call; false when there is no use in going on.
    async fn act_on_tasks(
        &mut self,
        rules: &RuleSet,
        snapshot: &Snapshot,
        group: &Group<'_>,
    ) -> bool {
        let now = self.now();
        let occasion = self.occasion(rules, now);
        let rows: Vec<AuditRow> = group
            .members
            .iter()
            .map(|(planned, _)| planned.row(self.store.next_intent_id(), &occasion, Mode::Live))
            .collect();
        for (row, (planned, target)) in rows.iter().zip(&group.members) {
            let pending = Pending {
                intent: row.id,
                rule: planned.rule.clone(),
                subject: target.subject.clone(),
                action: planned.action,
                before: target.before(),
                at: now,
                settles: self.settling(now),
                accepted: false,
            };
            self.memory_mut().note_intent(group.kind, target.id(), pending);
        }
        fault_point("intents noted");
        if !self.save_with(rows.clone()).await {
            // Nothing was written down and nothing is sent: the tasks wait for nothing.
            self.take_back(group);
            return false;
        }
        fault_point("intents written");
        let intents: HashMap<TaskId, IntentId> =
            rows.iter().filter_map(|row| Some((row.task_id.clone()?, row.id))).collect();
        self.open.extend(rows.into_iter().map(|row| (row.id, row)));

        let mut stop = self.stop.clone();
        let fresh = tokio::select! {
            fresh = self.look_again(snapshot, group) => {
                fresh.map_err(|error| format!("the second look failed: {error}"))
            }
            _ = stop.wait_for(|stop| *stop) => Err("taskwarden ends".to_owned()),
        };
        fault_point("looked again");
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(why) => {
                let failed = intents.values().map(|intent| (*intent, Trouble::NoLook));
                self.unwritten.troubles.extend(failed);
                for (_, target) in &group.members {
                    self.answer(
                        group.kind,
                        target.id(),
                        &intents,
                        &Answer::SkippedChanged(why.clone()),
                    );
                }
                self.save().await;
                return false;
            }
        };
        let now = self.now();
        let mut targets = Vec::new();
        for (planned, target) in &group.members {
            let task = fresh.tasks.get(target.id()).map(Arc::as_ref);
            let checked = if task.is_none() && fresh.cut_short {
                Err("the server answers too slowly to look at all of them again".to_owned())
            } else {
                recheck(rules, &self.memory, snapshot, planned, target, task, now)
            };
            match checked {
                Ok(()) => targets.push(target.id().clone()),
                Err(why) => {
                    self.answer(group.kind, target.id(), &intents, &Answer::SkippedChanged(why));
                }
            }
        }
        let mut go_on = true;
        if !targets.is_empty() {
            fault_point("before the call");
            let answers = self.send(group, targets.clone()).await;
            fault_point("after the call");
            go_on = answers.is_ok();
            let answers = answers.unwrap_or_else(|answer| {
                targets.iter().map(|id| (id.clone(), answer.clone())).collect()
            });
            for (id, answer) in answers {
                self.answer(group.kind, &id, &intents, &answer);
            }
        }
        fault_point("answers noted");
        let saved = self.save().await;
        fault_point("answers written");
        saved && go_on
    }

    /// One call for all of them, or one for the only one. An `Err` is about the whole call.
    async fn send(
        &self,
        group: &Group<'_>,
        ids: Vec<TaskId>,
    ) -> Result<Vec<(TaskId, Answer)>, Answer> {
        let verb = match group.action.effect() {
            Effect::Retry => Verb::Retry,
            Effect::Cancel => Verb::Cancel,
            Effect::Remove => Verb::Delete,
            Effect::None => return Ok(Vec::new()),
        };
        if matches!(group.action, Action::Retry | Action::Cancel | Action::Delete) {
            let mut answers = Vec::new();
            for id in ids {
                let answer = match self.in_grace(self.client.act_one(group.kind, verb, &id)).await {
                    None => return Err(Answer::Lost(ENDED.to_owned())),
                    Some(Ok(())) => Answer::Accepted,
                    Some(Err(
                        error @ (upstream::Error::NotFound { .. }
                        | upstream::Error::BadRequest { .. }),
                    )) => Answer::Rejected(error.to_string()),
                    Some(Err(error)) => return Err(failed(&error)),
                };
                answers.push((id, answer));
            }
            return Ok(answers);
        }
        // `groups` makes them of 1 to 100 tasks, each once; the type holds it once more.
        let batch = Batch::new(ids).map_err(|error| Answer::Rejected(error.to_string()))?;
        let answers = self.in_grace(self.client.act_some(group.kind, verb, &batch)).await;
        let answers = answers.ok_or_else(|| Answer::Lost(ENDED.to_owned()))?;
        let answers = answers.map_err(|error| failed(&error))?;
        Ok(answers
            .into_iter()
            .map(|(id, answer)| match answer {
                Ok(()) => (id, Answer::Accepted),
                Err(why) => (id, Answer::Rejected(why)),
            })
            .collect())
    }

    /// Reads the targets again, in the cheaper of two ways.
    async fn look_again(
        &self,
        snapshot: &Snapshot,
        group: &Group<'_>,
    ) -> Result<Fresh, upstream::Error> {
        let listed = snapshot.kinds.get(group.kind).map_or(0, |tasks| tasks.len());
        if group.members.len() * BYTES_AN_INFO <= BYTES_AN_INFO + listed * BYTES_A_TASK {
            // The first looks grow old while the last ones are taken.
            let (began, longest) = (monotonic(), self.request_timeout / 3);
            let looks: Vec<_> = group
                .members
                .iter()
                .map(|(_, target)| {
                    let (client, kind, id) =
                        (Arc::clone(&self.client), group.kind.clone(), target.id().clone());
                    async move {
                        if began.elapsed() > longest {
                            return None;
                        }
                        Some(client.info(&kind, &id).await)
                    }
                })
                .collect();
            let mut fresh = Fresh { tasks: HashMap::new(), cut_short: false };
            let mut looks = futures_util::stream::iter(looks).buffer_unordered(INFOS_AT_ONCE);
            while let Some(look) = looks.next().await {
                match look {
                    Some(task) => {
                        fresh.tasks.extend(task?.map(|task| (task.id.clone(), task)));
                    }
                    None => fresh.cut_short = true,
                }
            }
            return Ok(fresh);
        }
        let list = self.client.list(group.kind).await?;
        let tasks = list.tasks.iter().map(|task| (task.id.clone(), Arc::clone(task))).collect();
        Ok(Fresh { tasks, cut_short: false })
    }

    /// Acts on a whole kind; false when there is no use in going on.
    async fn act_on_kind(
        &mut self,
        rules: &RuleSet,
        snapshot: &Snapshot,
        group: &Group<'_>,
        actions: &[Planned],
    ) -> bool {
        let Some(planned) = actions.iter().find(|planned| {
            planned.task.is_none() && planned.rule == *group.rule && planned.kind == *group.kind
        }) else {
            return true;
        };
        let verb = match group.action {
            Action::ClearSucceeded => KindVerb::ClearSucceeded,
            Action::ClearDone => KindVerb::ClearDone,
            Action::RetryFailed => KindVerb::RetryFailed,
            _ => return true,
        };
        let now = self.now();
        let occasion = self.occasion(rules, now);
        let row = planned.row(self.store.next_intent_id(), &occasion, Mode::Live);
        let pending = KindPending {
            intent: row.id,
            action: group.action,
            at: now,
            settles: self.settling(now),
            accepted: false,
        };
        self.memory_mut().note_kind_intent(group.rule, group.kind, pending);
        if !self.save_with(vec![row.clone()]).await {
            self.memory_mut().note_kind_answer(
                group.rule,
                group.kind,
                &Answer::SkippedChanged(String::new()),
            );
            return false;
        }
        let intent = row.id;
        self.open.insert(intent, row);
        let mut stop = self.stop.clone();
        let list = tokio::select! {
            list = self.client.list(group.kind) => {
                list.map_err(|error| format!("the second look failed: {error}"))
            }
            _ = stop.wait_for(|stop| *stop) => Err("taskwarden ends".to_owned()),
        };
        let answer = match list {
            Err(why) => {
                self.unwritten.troubles.push((intent, Trouble::NoLook));
                Answer::SkippedChanged(why)
            }
            Ok(list) => match unmeant(group.action, snapshot, &list.tasks) {
                Some(why) => Answer::SkippedChanged(why),
                None => self.send_to_kind(group.kind, verb).await,
            },
        };
        self.memory_mut().note_kind_answer(group.rule, group.kind, &answer);
        self.note_trouble(intent, &answer);
        let (outcome, detail) = answer.outcome();
        self.note_outcome((intent, outcome, detail.to_owned()));
        self.save().await && answer == Answer::Accepted
    }

    async fn send_to_kind(&self, kind: &Kind, verb: KindVerb) -> Answer {
        fault_point("before the call");
        let answer = self.in_grace(self.client.act_kind(kind, verb)).await;
        fault_point("after the call");
        match answer {
            None => Answer::Lost(ENDED.to_owned()),
            Some(Ok(())) => Answer::Accepted,
            Some(Err(error)) => failed(&error),
        }
    }

    fn answer(
        &mut self,
        kind: &Kind,
        id: &TaskId,
        intents: &HashMap<TaskId, IntentId>,
        answer: &Answer,
    ) {
        let now = self.now();
        self.memory_mut().note_answer(kind, id, answer, now);
        if let Some(intent) = intents.get(id) {
            self.note_trouble(*intent, answer);
            let (outcome, detail) = answer.outcome();
            self.note_outcome((*intent, outcome, detail.to_owned()));
        }
    }

    fn note_trouble(&mut self, intent: IntentId, answer: &Answer) {
        let trouble = match answer {
            Answer::NotDone(_) => Trouble::NotDone,
            Answer::Lost(_) => Trouble::Lost,
            _ => return,
        };
        self.unwritten.troubles.push((intent, trouble));
    }

    /// Waits for the answer to a call; `None` when the daemon ends and it does not come in time.
    async fn in_grace<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        let ended = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            answer = call => Some(answer),
            () = ended => None,
        }
    }

    /// Forgets intents that were never written down.
    fn take_back(&mut self, group: &Group<'_>) {
        let now = self.now();
        for (_, target) in &group.members {
            let answer = Answer::SkippedChanged(String::new());
            self.memory_mut().note_answer(group.kind, target.id(), &answer, now);
        }
    }

    /// How long a call that goes out now may still be carried out when no answer comes.
    fn settling(&self, now: Timestamp) -> Settling {
        let longest = self.request_timeout.saturating_mul(2) + Duration::from_secs(5);
        Settling {
            from: now,
            wait: SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX),
        }
    }
}

/// Puts what may go out in one call together, in the order in which it is due.
fn groups(actions: &[Planned]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for planned in actions {
        if planned.mode != Mode::Live || planned.action == Action::Notify {
            continue;
        }
        let (rule, action, kind) = (&planned.rule, planned.action, &planned.kind);
        let Some(target) = &planned.task else {
            groups.push(Group { rule, action, kind, members: Vec::new() });
            continue;
        };
        let single = matches!(action, Action::Retry | Action::Cancel | Action::Delete);
        let room = groups.iter_mut().rev().find(|group| {
            !single
                && group.rule == rule
                && group.action == action
                && group.kind == kind
                && !group.members.is_empty()
                && group.members.len() < Batch::MAX
        });
        match room {
            Some(group) => group.members.push((planned, target)),
            None => groups.push(Group { rule, action, kind, members: vec![(planned, target)] }),
        }
    }
    groups
}

/// What a call that brought no clear answer means for what it was to do.
fn failed(error: &upstream::Error) -> Answer {
    match error.certainty() {
        // The right does not come by itself: to ask for ever would only fill the logs.
        _ if matches!(error, upstream::Error::Forbidden { .. }) => {
            Answer::Rejected(error.to_string())
        }
        Certainty::NotDone => Answer::NotDone(error.to_string()),
        Certainty::Unknown => Answer::Lost(error.to_string()),
    }
}

/// Why a whole-kind action must not go out after all, by the list as it is now.
fn unmeant(action: Action, snapshot: &Snapshot, tasks: &[Arc<Task>]) -> Option<String> {
    let meant = tasks.iter().filter(|task| action.fits(task.state)).count();
    if meant == 0 {
        return Some("nothing that it is meant for is left".to_owned());
    }
    if action != Action::RetryFailed {
        return None;
    }
    // A task that failed since the decision has not been held against the rules yet; it may be one
    // that a person canceled.
    let known = |task: &Task| {
        snapshot
            .kinds
            .values()
            .flatten()
            .any(|seen| seen.id == task.id && seen.fingerprint() == task.fingerprint())
    };
    let strangers = tasks.iter().filter(|task| action.fits(task.state) && !known(task)).count();
    (strangers > 0).then(|| format!("{strangers} more tasks failed since the decision"))
}
