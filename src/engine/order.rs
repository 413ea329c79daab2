//! What people ask of a memory: to pause a rule, and to try again or put away what rules gave up.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::{AuditRow, IntentId, Outcome};
use super::class::Class;
use super::memory::{Memory, Paused, Redrive, Subject};
use super::rule::Mode;
use super::task::{Kind, RuleName, ServerName, TaskId};

/// Something a person asks for, on one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// A rule is to rest.
    Pause {
        /// The rule.
        rule: RuleName,
        /// Until when; `None` is until it is resumed.
        until: Option<Timestamp>,
        /// Why, in that person's words.
        why: String,
    },
    /// A paused rule is to go on.
    Resume {
        /// The rule.
        rule: RuleName,
    },
    /// What was given up is to be tried anew, through all gates.
    Redrive {
        /// Which of it.
        which: DeadFilter,
        /// How long after each task the next may begin.
        every: SignedDuration,
    },
    /// What was given up is to be listed no longer.
    Drop {
        /// Which of it.
        which: DeadFilter,
    },
}

impl Order {
    /// Its name in the audit log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Redrive { .. } => "redrive",
            Self::Drop { .. } => "drop",
        }
    }

    /// The audit row of one thing that was done.
    #[must_use]
    pub fn row(
        &self,
        obeyed: &Obeyed,
        id: IntentId,
        now: Timestamp,
        server: &ServerName,
        revision: &str,
    ) -> AuditRow {
        let letter = obeyed.letter.as_ref();
        AuditRow {
            id,
            time: now,
            server: server.clone(),
            rule: Some(obeyed.rule.clone()),
            action: self.name().to_owned(),
            kind: letter.map(|letter| letter.kind.clone()),
            task_id: letter.and_then(|letter| letter.task_id.clone()),
            task_name: letter.map(|letter| letter.task_name.clone()),
            attempt: None,
            reason: obeyed.reason.clone(),
            error: letter.map(|letter| letter.error.clone()).filter(|error| !error.is_empty()),
            class: letter.and_then(|letter| letter.class.clone()),
            mode: Mode::Live,
            outcome: Outcome::Effective,
            detail: "a person asked for it".to_owned(),
            rules_revision: revision.to_owned(),
        }
    }
}

/// Which dead letters are meant; what is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadFilter {
    /// Those of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// Those whose last error is of this class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Those of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The one with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}

impl DeadFilter {
    /// Whether it means this one.
    #[must_use]
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| Some(wanted) == found)
        }
        fits(self.rule.as_ref(), Some(&letter.rule))
            && fits(self.class.as_ref(), letter.class.as_ref())
            && fits(self.kind.as_ref(), Some(&letter.kind))
            && fits(self.task.as_ref(), letter.task_id.as_ref())
    }
}

/// A task that a rule has given up.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// Its server.
    pub server: ServerName,
    /// The rule that gave it up.
    pub rule: RuleName,
    /// Its kind.
    pub kind: Kind,
    /// Its id; `None` when the rule counts by name.
    pub task_id: Option<TaskId>,
    /// Its name, secrets out.
    pub task_name: String,
    /// When it was given up.
    pub time: Timestamp,
    /// Why, in words.
    pub reason: String,
    /// Its error then, secrets out.
    pub error: String,
    /// The class of that error.
    pub class: Option<Class>,
    /// How often the rule had acted on it.
    pub attempts: u32,
    /// Whether it has left the server's lists since.
    pub gone: bool,
    /// What the attempts are counted on.
    #[serde(skip)]
    pub subject: Subject,
}

/// What became of an order, for one rule or one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Obeyed {
    /// The rule.
    pub rule: RuleName,
    /// The dead letter, where it is about one.
    pub letter: Option<DeadLetter>,
    /// What was done, in words.
    pub reason: String,
}

impl Memory {
    /// What rules have given up and nobody has put away, the oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for (subject, rules) in &self.progress {
            for (rule, progress) in rules.iter() {
                let Some(gave_up) = progress.gave_up.as_ref().filter(|gave_up| !gave_up.dropped)
                else {
                    continue;
                };
                let (kind, id) = match subject {
                    Subject::Task(kind, id) => (kind, Some(id)),
                    Subject::Name(kind, _) => (kind, None),
                };
                let gone = id.is_some_and(|id| {
                    self.task(kind, id).is_none_or(|task| task.gone_since.is_some())
                });
                letters.push(DeadLetter {
                    server: self.server.clone(),
                    rule: rule.clone(),
                    kind: kind.clone(),
                    task_id: id.cloned(),
                    task_name: gave_up.name.clone(),
                    time: gave_up.at,
                    reason: gave_up.why.clone(),
                    error: gave_up.error.clone(),
                    class: gave_up.class.clone(),
                    attempts: progress.attempts,
                    gone,
                    subject: subject.clone(),
                });
            }
        }
        letters.sort_by(|a, b| (a.time, &a.rule, &a.subject).cmp(&(b.time, &b.rule, &b.subject)));
        letters
    }

    /// Does what a person asks for; returns each thing that was done.
    pub fn obey(&mut self, order: &Order, now: Timestamp) -> Vec<Obeyed> {
        match order {
            Order::Pause { rule, until, why } => {
                let paused = Paused { until: *until, why: why.clone() };
                self.rule_mut(rule).paused = Some(paused);
                vec![Obeyed { rule: rule.clone(), letter: None, reason: why.clone() }]
            }
            Order::Resume { rule } => {
                if self.rules.get(rule).is_none_or(|memory| memory.paused.is_none()) {
                    return Vec::new();
                }
                self.rule_mut(rule).paused = None;
                vec![Obeyed { rule: rule.clone(), letter: None, reason: String::new() }]
            }
            Order::Redrive { which, every } => {
                let mut after = SignedDuration::ZERO;
                let mut obeyed = Vec::new();
                for letter in self.dead_letters() {
                    if letter.gone || !which.takes(&letter) {
                        continue;
                    }
                    let progress = self.progress_mut(&letter.subject, &letter.rule);
                    progress.attempts = 0;
                    progress.ineffective = 0;
                    progress.ineffective_why = Box::default();
                    progress.first_failure = None;
                    progress.gave_up = None;
                    progress.redrive = Some(Box::new(Redrive { at: now, after }));
                    after = after.checked_add(*every).unwrap_or(SignedDuration::MAX);
                    let reason = format!("given up before: {}", letter.reason);
                    let rule = letter.rule.clone();
                    obeyed.push(Obeyed { rule, letter: Some(letter), reason });
                }
                obeyed
            }
            Order::Drop { which } => {
                let mut obeyed = Vec::new();
                for letter in self.dead_letters() {
                    if !which.takes(&letter) {
                        continue;
                    }
                    let progress = self.progress_mut(&letter.subject, &letter.rule);
                    if let Some(gave_up) = &mut progress.gave_up {
                        gave_up.dropped = true;
                    }
                    let reason = letter.reason.clone();
                    let rule = letter.rule.clone();
                    obeyed.push(Obeyed { rule, letter: Some(letter), reason });
                }
                obeyed
            }
        }
    }
}
