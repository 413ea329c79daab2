//! Random histories: whatever servers, clocks and calls do, the promises hold at every step.

use std::collections::{HashMap, HashSet};

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::decide::{Planned, Sleepers, examine, examine_briefly};
use super::super::memory::{Changes, Subject};
use super::super::moment::Moment;
use super::super::rule::Effect;
use super::super::schedule::Schedule;
use super::super::task::{RuleName, TaskId};
use super::super::trace::{Look, TaskTrace};
use super::*;

const IDS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Something that happens on the server between two looks.
#[derive(Clone, Debug)]
enum Event {
    /// The task enters a state, by a run that just took place.
    Enters(usize, State, &'static str),
    /// It leaves the list.
    Leaves(usize),
    /// It is there again, as it was.
    Returns(usize),
    /// The error text is gone.
    ErrorGoes(usize),
    /// A restart: times, errors and progress are gone.
    Restart,
    /// A restart that brings an old state back: what had succeeded is listed as failed.
    Echo(usize),
    /// The progress moves.
    Moves(usize),
}

#[derive(Clone, Debug)]
struct Step {
    /// How far the clock goes, or jumps.
    passes: i64,
    events: Vec<Event>,
    /// What comes of the actions, in turn.
    answers: Vec<u8>,
    /// The daemon is restarted before the look.
    restart: bool,
    /// Nothing could be read in this tick.
    unread: bool,
}

fn event() -> impl Strategy<Value = Event> {
    let task = 0..IDS.len();
    let errors = prop::sample::select(vec!["x", "y", "Too many requests x", ""]);
    let state = prop_oneof![
        4 => Just(State::Failed),
        2 => Just(State::Running),
        2 => Just(State::Succeeded),
        1 => prop::sample::select(State::KNOWN.to_vec()),
    ];
    prop_oneof![
        8 => (task.clone(), state, errors).prop_map(|(task, state, error)| {
            Event::Enters(task, state, error)
        }),
        1 => task.clone().prop_map(Event::Leaves),
        1 => task.clone().prop_map(Event::Returns),
        1 => task.clone().prop_map(Event::ErrorGoes),
        1 => Just(Event::Restart),
        1 => task.clone().prop_map(Event::Echo),
        1 => task.prop_map(Event::Moves),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let passes = prop_oneof![
        10 => 1_i64..200,
        2 => 200_i64..5000,
        1 => -5000_i64..0,
        1 => 50_000_i64..100_000,
    ];
    (
        passes,
        prop::collection::vec(event(), 0..4),
        prop::collection::vec(0_u8..8, 4),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(passes, events, answers, restart, unread)| Step {
            passes,
            events,
            answers,
            restart,
            unread,
        })
}

fn rules() -> RuleSet {
    let failed_with = |pattern| Predicate::All(vec![state(State::Failed), error(pattern)]);
    let mut by_id = rule("by id", Action::RetrySome, failed_with("x"));
    by_id.max_attempts = Some(3);
    by_id.on_give_up = vec![Action::Notify, Action::DeleteSome];
    by_id.limits.per_tick = Some(2);
    by_id.limits.per_hour = Some(20);
    by_id.breaker = Some(BreakerSettings {
        by: BreakerKey::DstMount,
        open_after: 3,
        within: Duration::from_secs(600),
        cool_down: Duration::from_secs(300),
        only_throttled: false,
    });
    let mut by_name = rule("by name", Action::RetrySome, failed_with("y"));
    by_name.identity = Identity::Name;
    by_name.max_attempts = Some(2);
    let stalled = Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(300));
    let mut cancel = rule("cancel", Action::Cancel, leaf("stalled_for", stalled));
    cancel.max_attempts = Some(2);
    let mut tell = rule("tell", Action::Notify, Predicate::All(vec![]));
    tell.continues = true;
    let mut clean = rule("clean", Action::DeleteSome, state(State::Succeeded));
    clean.schedule = Some(Schedule {
        text: "0 * * * *".to_owned(),
        cron: "0 * * * *".parse().unwrap(),
        zone: TimeZone::UTC,
        catch_up: true,
    });
    let mut dry = rule("dry", Action::RetrySome, state(State::Failed));
    dry.mode = Mode::DryRun;
    RuleSet { rules: vec![tell, dry, by_id, by_name, cancel, clean], ..RuleSet::default() }
}

/// Those that do not count by name, and some that only time makes take a task.
fn sleeping_rules() -> RuleSet {
    let mut kept: Vec<Rule> =
        rules().rules.into_iter().filter(|rule| rule.identity == Identity::Id).collect();
    kept.retain(|rule| rule.name.as_str() != "tell" && rule.name.as_str() != "dry");
    let after = |name: &str, field, comparison, seconds| {
        let span = Test::Span(field, comparison, Duration::from_secs(seconds));
        rule(name, Action::Notify, leaf("age", span))
    };
    kept.push(rule("all", Action::ClearSucceeded, state(State::Succeeded)));
    kept.push(after("old", SpanField::Age, Comparison::More, 100));
    kept.push(after("long", SpanField::RunningFor, Comparison::AtLeast, 50));
    kept.push(after("new", SpanField::Age, Comparison::Less, 7));
    kept.push(after("sharp", SpanField::Age, Comparison::Equal, 20));
    RuleSet { rules: kept, ..RuleSet::default() }
}

/// The server and the daemon, and what the test knows of them on its own account.
struct History {
    rules: RuleSet,
    memory: Memory,
    /// What the store has, by what was written to it.
    stored: Memory,
    seconds: i64,
    tasks: Vec<Option<Task>>,
    hidden: Vec<Option<Task>>,
    /// Tasks whose failure is an echo of the time before they succeeded.
    echoes: HashSet<&'static str>,
    /// As last listed.
    shown: HashMap<&'static str, State>,
    /// The earliest that a listed failure can have happened, by our clock.
    failed_at: HashMap<&'static str, i64>,
    intents: HashMap<IntentId, Pending>,
    accepted: HashSet<IntentId>,
    gave_up: HashSet<(Subject, RuleName)>,
    next_intent: i64,
    runs: i64,
    /// The moment of the last look.
    looked: i64,
    /// What the last look listed: what is as it was is the same, as the reader has it.
    listed: Vec<Arc<Task>>,
    /// Some of the rules, asked as the daemon asks.
    sleepers: Sleepers,
    slept_by: RuleSet,
}

impl History {
    fn new() -> Self {
        Self {
            rules: rules(),
            memory: Memory::new("home".into()),
            stored: Memory::new("home".into()),
            seconds: 0,
            tasks: vec![None; IDS.len()],
            hidden: vec![None; IDS.len()],
            echoes: HashSet::new(),
            shown: HashMap::new(),
            failed_at: HashMap::new(),
            intents: HashMap::new(),
            accepted: HashSet::new(),
            gave_up: HashSet::new(),
            next_intent: 0,
            runs: 0,
            looked: 0,
            listed: Vec::new(),
            sleepers: Sleepers::default(),
            slept_by: sleeping_rules(),
        }
    }

    fn happen(&mut self, event: &Event) {
        let now = self.seconds;
        match *event {
            Event::Enters(n, state, error) => {
                let times = (state != State::Pending).then_some((now - 1, now));
                let error =
                    if matches!(state, State::Failed | State::WaitingRetry) { error } else { "" };
                let mut task = task(IDS[n], state, times, error);
                if n < 2 {
                    task.name = TaskName::new("copy [/src](/same) to [/dst](/)");
                }
                // No two runs begin at the very same moment, even on a clock that is set back.
                self.runs += 1;
                let run = |moment: Moment| {
                    Moment::from(moment.get() + SignedDuration::from_nanos(self.runs))
                };
                task.started = task.started.map(run);
                task.ended = task.ended.map(run);
                self.tasks[n] = Some(task);
                self.echoes.remove(IDS[n]);
                self.failed_at.insert(IDS[n], now);
            }
            Event::Leaves(n) => self.hidden[n] = self.tasks[n].take().or(self.hidden[n].take()),
            Event::Returns(n) => self.tasks[n] = self.tasks[n].take().or(self.hidden[n].take()),
            Event::ErrorGoes(n) => {
                if let Some(task) = &mut self.tasks[n] {
                    task.error = "".into();
                }
            }
            Event::Restart => {
                for (id, task) in IDS.iter().zip(&mut self.tasks) {
                    let Some(task) = task else { continue };
                    let unseen = self.failed_at.get(id) >= Some(&self.looked);
                    let known = self.memory.task(&Kind::Copy, &TaskId::from(*id));
                    if unseen && known.is_some_and(|known| known.state == State::Failed) {
                        // It failed again and its times are gone before anybody looked.
                        self.failed_at.insert(id, i64::MIN / 2);
                    }
                    (task.started, task.ended, task.progress) = (None, None, 0.0);
                    task.error = "".into();
                }
            }
            Event::Echo(n) => {
                if let Some(task) = &mut self.tasks[n]
                    && task.state == State::Succeeded
                    && self.shown.get(IDS[n]) == Some(&State::Succeeded)
                {
                    (task.state, task.started, task.ended) = (State::Failed, None, None);
                    self.echoes.insert(IDS[n]);
                }
            }
            Event::Moves(n) => {
                if let Some(task) = &mut self.tasks[n] {
                    task.progress += 1.0;
                }
            }
        }
    }

    fn snapshot(&self, unread: bool) -> Snapshot {
        let before = |task: &Task| self.listed.iter().find(|before| ***before == *task).cloned();
        let shared = |task: &Task| before(task).unwrap_or_else(|| Arc::new(task.clone()));
        let tasks = self.tasks.iter().flatten().map(shared).collect();
        let (mut kinds, mut missing) = (BTreeMap::new(), BTreeMap::new());
        if unread {
            missing.insert(Kind::Copy, "timed out".to_owned());
        } else {
            kinds.insert(Kind::Copy, tasks);
        }
        Snapshot {
            server: "home".into(),
            flavour: Flavour::OpenList,
            skew: SignedDuration::ZERO,
            kinds,
            unread: missing,
        }
    }

    /// The count of attempts that a rule has on a subject.
    fn attempts(&self, subject: &Subject, rule: &RuleName) -> u32 {
        self.memory.progress_of(subject, rule).map_or(0, |progress| progress.attempts)
    }

    fn step(&mut self, step: &Step) {
        self.seconds += step.passes;
        let now = at(self.seconds);
        self.looked = self.looked.min(self.seconds);
        for event in &step.events {
            self.happen(event);
        }
        for moment in self.failed_at.values_mut() {
            *moment = (*moment).min(self.seconds);
        }
        if step.restart {
            self.memory = restored(&self.stored);
            self.sleepers = Sleepers::default();
        }
        let snapshot = self.snapshot(step.unread);
        let mut reversed = snapshot.clone();
        for tasks in reversed.kinds.values_mut() {
            *tasks = tasks.iter().rev().cloned().collect();
        }
        let mut mirror = restored(&self.memory);

        self.fold(&snapshot, now);
        let tick = Tick { now, seed: 3 };
        let decision = decide(&self.rules, &self.memory, &snapshot, tick);
        let awake = self.sleepers.decide(&self.slept_by, &self.memory, &snapshot, tick);
        let all = decide(&self.slept_by, &self.memory, &snapshot, tick);
        assert_eq!(format!("{awake:#?}"), format!("{all:#?}"));
        self.listed = snapshot.kinds.values().flatten().cloned().collect();
        // The same again, in another order, and after a restart: nothing hangs on any of these.
        let again = decide(&self.rules, &restored(&self.memory), &reversed, tick);
        assert_eq!(format!("{decision:#?}"), format!("{again:#?}"));
        if step.restart {
            mirror.fold(&reversed, now);
            let mirrored = decide(&self.rules, &mirror, &reversed, tick);
            assert_eq!(format!("{decision:#?}"), format!("{mirrored:#?}"));
        }
        self.hold_against_explain(&snapshot, tick, &decision);
        self.hold_against_brief(&snapshot, tick);

        self.memory.absorb(decision.memory.clone());
        for give_up in &decision.give_ups {
            let key = (give_up.task.subject.clone(), give_up.rule.clone());
            assert!(self.gave_up.insert(key), "gave up twice: {give_up:?}");
        }
        if !step.unread {
            self.looked = self.seconds;
        }
        for (id, task) in IDS.iter().zip(&self.tasks) {
            match task {
                Some(task) if !step.unread => self.shown.insert(id, task.state),
                Some(_) => None,
                None => self.shown.remove(id),
            };
        }
        self.store();
        self.act(&decision.actions, &step.answers, now);
        self.store();
    }

    /// Writes down what changed, which must be all that did.
    fn store(&mut self) {
        self.stored.restore(through_json(self.memory.changes()));
        self.memory.saved();
        assert_eq!(everything(&self.stored), everything(&self.memory));
    }

    /// Folds the look in, and holds every count against what the judgements say.
    fn fold(&mut self, snapshot: &Snapshot, now: Timestamp) {
        let before = restored(&self.memory);
        // Tasks that are not known to be as they were are all looked at.
        let mut anew = (self.memory.clone(), snapshot.clone());
        for tasks in anew.1.kinds.values_mut() {
            *tasks = tasks.iter().map(|task| Arc::new((**task).clone())).collect();
        }
        let judgements = self.memory.fold(snapshot, now);
        assert_eq!(anew.0.fold(&anew.1, now), judgements);
        assert_eq!(everything(&anew.0), everything(&self.memory));
        let mut carried_out: HashMap<(Subject, RuleName), u32> = HashMap::new();
        for judgement in &judgements {
            let pending = self.intents.remove(&judgement.intent).expect("judged once only");
            let no_sign = judgement.detail.ends_with("no sign that it was carried out");
            let farewell = before
                .progress_of(&pending.subject, &pending.rule)
                .is_some_and(|progress| progress.gave_up.is_some());
            if !self.accepted.contains(&judgement.intent) && !no_sign && !farewell {
                *carried_out.entry((pending.subject, pending.rule)).or_default() += 1;
            }
        }
        let all = before.progress.iter().chain(&self.memory.progress);
        let keys: HashSet<(Subject, RuleName)> = all
            .flat_map(|(subject, rules)| {
                rules.iter().map(|(rule, _)| (subject.clone(), rule.clone()))
            })
            .collect();
        for (subject, rule) in keys {
            let was = before.progress_of(&subject, &rule).map_or(0, |progress| progress.attempts);
            let more = carried_out.get(&(subject.clone(), rule.clone())).copied().unwrap_or(0);
            let is = self.attempts(&subject, &rule);
            let wiped = is <= more
                && self.memory.progress_of(&subject, &rule).is_none_or(|progress| {
                    progress.gave_up.is_none() && progress.noticed.is_none()
                });
            assert!(is == was + more || wiped, "{subject:?} {rule}: {was} + {more} became {is}");
            if self
                .memory
                .progress_of(&subject, &rule)
                .is_none_or(|progress| progress.gave_up.is_none())
            {
                self.gave_up.remove(&(subject, rule));
            }
        }
    }

    fn hold_against_explain(&self, snapshot: &Snapshot, tick: Tick, decision: &Decision) {
        for id in IDS {
            let id = TaskId::from(id);
            let (again, trace) =
                examine(&self.rules, &self.memory, snapshot, tick, &Kind::Copy, &id);
            // Here every rule is held against the task, also those that cannot take it.
            assert_eq!(format!("{decision:?}"), format!("{again:?}"));
            let listed = snapshot.kinds.values().flatten().any(|task| task.id == id);
            assert_eq!(trace.is_some(), listed);
            for look in trace.into_iter().flat_map(|trace| trace.rules) {
                let planned = decision.actions.iter().any(|planned| {
                    planned.rule == look.name
                        && planned.task.as_ref().is_some_and(|target| *target.id() == id)
                });
                let let_go = matches!(look.look, Look::LetGo { .. });
                assert!(let_go || planned == (look.look == Look::Acts), "{look:?}");
            }
        }
    }

    /// What a brief look at a task tells is what a whole one does.
    fn hold_against_brief(&self, snapshot: &Snapshot, tick: Tick) {
        let id = IDS[0].into();
        let looks = |(_, trace): (_, Option<TaskTrace>)| -> Vec<String> {
            let rules = trace.into_iter().flat_map(|trace| trace.rules);
            let taken =
                rules.filter(|rule| !matches!(rule.look, Look::NoMatch | Look::TakenBefore));
            taken.map(|rule| format!("{} {:?} {:?}", rule.name, rule.look, rule.gates)).collect()
        };
        let whole = examine(&self.rules, &self.memory, snapshot, tick, &Kind::Copy, &id);
        let brief = examine_briefly(&self.rules, &self.memory, snapshot, tick, &Kind::Copy, &id);
        assert_eq!(looks(brief), looks(whole));
    }

    fn act(&mut self, actions: &[Planned], answers: &[u8], now: Timestamp) {
        let mut touched = HashSet::new();
        for (n, planned) in actions.iter().enumerate() {
            let target = planned.task.clone().unwrap();
            let (id, action) = (target.id().clone(), planned.action);
            let listed = self.tasks.iter().flatten().find(|task| task.id == id).unwrap();
            assert!(action.fits(listed.state), "{action} on {}", listed.state);
            if action.effect() == Effect::Retry {
                assert_eq!(listed.state, State::Failed);
                assert!(!self.echoes.contains(id.as_str()), "{id} had succeeded");
                let waited = self.seconds - self.failed_at[id.as_str()];
                assert!(waited >= 60, "{id} after {waited} s");
            }
            if planned.mode == Mode::DryRun || action == Action::Notify {
                continue;
            }
            assert!(touched.insert(id.clone()), "{id} twice in one tick");
            let memory = self.memory.task(&Kind::Copy, &id).unwrap();
            assert!(memory.pending.is_none(), "{id} still waits to be judged");
            self.next_intent += 1;
            let pending = Pending {
                intent: IntentId(self.next_intent),
                rule: planned.rule.clone(),
                subject: target.subject.clone(),
                action,
                before: target.before(),
                at: now,
                settles: Settling { from: at(self.seconds), wait: SignedDuration::from_secs(30) },
                accepted: false,
            };
            let (subject, rule) = (target.subject.clone(), planned.rule.clone());
            let was = self.attempts(&subject, &rule);
            let farewell = self.gave_up.contains(&(subject.clone(), rule.clone()));
            self.memory.note_intent(&Kind::Copy, &id, pending.clone());
            let answer = match answers[n % answers.len()] {
                0 => Answer::Rejected("no".to_owned()),
                1 => Answer::NotDone("away".to_owned()),
                2 => Answer::SkippedChanged("changed".to_owned()),
                3 | 4 => Answer::Lost("timed out".to_owned()),
                _ => Answer::Accepted,
            };
            self.memory.note_answer(&Kind::Copy, &id, &answer, now);
            let more = u32::from(answer == Answer::Accepted && !farewell);
            assert_eq!(self.attempts(&subject, &rule), was + more);
            match answer {
                Answer::Accepted => {
                    self.accepted.insert(pending.intent);
                    self.intents.insert(pending.intent, pending);
                }
                Answer::Lost(_) => {
                    self.intents.insert(pending.intent, pending);
                }
                _ => {}
            }
            let max = self.rules.rules.iter().find(|known| known.name == rule).unwrap();
            if let Some(max) = max.max_attempts {
                assert!(self.attempts(&subject, &rule) <= max, "too many attempts of {rule}");
            }
        }
    }
}

/// All that a memory has the store keep.
fn everything(memory: &Memory) -> Changes {
    let mut changes = Changes::default();
    for (kind, tasks) in &memory.tasks {
        for (id, task) in tasks {
            changes.tasks.push((kind.clone(), id.clone(), Some((**task).clone())));
        }
    }
    for (subject, rules) in &memory.progress {
        for (rule, progress) in rules.iter() {
            changes.progress.push((subject.clone(), rule.clone(), Some(progress.clone())));
        }
    }
    for (rule, known) in &memory.rules {
        changes.rules.push((rule.clone(), Some(known.clone())));
    }
    changes.tasks.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    changes.progress.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    changes
}

/// The same after it was written and read.
fn through_json(changes: Changes) -> Changes {
    fn through<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }
    let Changes { tasks, progress, rules } = changes;
    Changes {
        tasks: tasks.into_iter().map(|(kind, id, task)| (kind, id, through(&task))).collect(),
        progress: progress
            .into_iter()
            .map(|(subject, rule, progress)| (subject, rule, through(&progress)))
            .collect(),
        rules: rules.into_iter().map(|(rule, known)| (rule, through(&known))).collect(),
    }
}

/// What a restart brings back.
fn restored(memory: &Memory) -> Memory {
    let mut restored = Memory::new(memory.server.clone());
    restored.restore(through_json(everything(memory)));
    restored
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn the_promises_hold_through_any_history(steps in prop::collection::vec(step(), 1..60)) {
        let mut history = History::new();
        for step in &steps {
            history.step(step);
        }
    }
}
