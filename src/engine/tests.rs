//! Decisions as tables: a task's history goes in, what every tick does with it comes out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use smol_str::SmolStr;

use super::audit::IntentId;
use super::backoff::{Backoff, Jitter};
use super::breaker::{BreakerKey, BreakerSettings};
use super::decide::{Decision, Sleepers, Tick, decide};
use super::listing::Listing;
use super::memory::{Answer, KindPending, Memory, Pending, Settling, Snapshot};
use super::name::TaskName;
use super::predicate::{Comparison, Leaf, NumberField, Predicate, SpanField, Test, TextField};
use super::rule::{Action, Identity, Limits, Mode, Rule, RuleSet};
use super::task::{Common, Flavour, Kind, State, Task};

mod doubts;
mod histories;
mod naive;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn task(id: &str, state: State, seconds: Option<(i64, i64)>, error: &str) -> Task {
    Task {
        id: id.into(),
        name: TaskName::new(&format!("copy [/src](/{id}) to [/dst](/)")),
        progress: 0.0,
        started: seconds.map(|(started, _)| at(started).into()),
        ended: seconds.filter(|_| state.is_done()).map(|(_, ended)| at(ended).into()),
        total_bytes: 1,
        common: Common {
            creator: "admin".into(),
            roles: [2].into(),
            state,
            status: "".into(),
            error: error.into(),
        }
        .into(),
    }
}

fn failed(id: &str, ended: i64, error: &str) -> Task {
    task(id, State::Failed, Some((ended - 1, ended)), error)
}

fn leaf(key: &'static str, test: Test) -> Predicate {
    Predicate::Leaf(Leaf { key, expected: SmolStr::default(), test })
}

fn state(state: State) -> Predicate {
    leaf("state", Test::State(vec![state]))
}

fn error(pattern: &str) -> Predicate {
    leaf("error", Test::Text(TextField::Error, vec![regex::Regex::new(pattern).unwrap().into()]))
}

fn rule(name: &str, action: Action, condition: Predicate) -> Rule {
    Rule {
        name: name.into(),
        condition,
        action,
        mode: Mode::Live,
        continues: false,
        identity: Identity::Id,
        max_attempts: None,
        give_up_after: None,
        on_give_up: Vec::new(),
        backoff: Backoff {
            initial: Duration::from_secs(60),
            factor: 2.0,
            max: Duration::from_secs(3600),
            jitter: Jitter::Fraction(0.0),
        },
        retry_after: None,
        schedule: None,
        only_during: None,
        limits: Limits {
            per_tick: None,
            per_hour: None,
            max_share: None,
            only_if_undone_below: None,
        },
        breaker: None,
    }
}

fn retry(name: &str) -> Rule {
    rule(name, Action::RetrySome, state(State::Failed))
}

/// Opens when two tasks of a mount were throttled within ten minutes, for five.
fn breaker() -> BreakerSettings {
    BreakerSettings {
        by: BreakerKey::DstMount,
        open_after: 2,
        within: Duration::from_secs(600),
        cool_down: Duration::from_secs(300),
        only_throttled: true,
    }
}

/// A server, its rules and what is remembered, driven tick by tick.
struct World {
    rules: RuleSet,
    memory: Memory,
    flavour: Flavour,
    intents: i64,
    /// By how many seconds our clock was set; the server's was not.
    set: i64,
    log: String,
}

impl World {
    fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: RuleSet { rules, ..RuleSet::default() },
            memory: Memory::new("home".into()),
            flavour: Flavour::OpenList,
            intents: 0,
            set: 0,
            log: String::new(),
        }
    }

    /// Sets our clock while the daemon runs.
    fn set_clock(&mut self, by: i64) {
        self.memory.shift(SignedDuration::from_secs(by));
        self.set += by;
    }

    /// One tick over the `copy` queue; every action is answered as given.
    fn tick(&mut self, seconds: i64, tasks: &[Task], answer: &Answer) -> Decision {
        let now = at(seconds + self.set);
        let snapshot = Snapshot {
            server: "home".into(),
            flavour: self.flavour,
            skew: SignedDuration::from_secs(-self.set),
            kinds: BTreeMap::from([(Kind::Copy, tasks.iter().cloned().map(Arc::new).collect())]),
            unread: BTreeMap::new(),
        };
        for judgement in self.memory.fold(&snapshot, now) {
            let (id, outcome) = (judgement.intent, judgement.outcome);
            writeln!(self.log, "{seconds:>5} #{id} {outcome}: {}", judgement.detail).unwrap();
        }
        let decision = decide(&self.rules, &self.memory, &snapshot, Tick { now, seed: 0 });
        self.memory.absorb(decision.memory.clone());
        for give_up in &decision.give_ups {
            let (rule, id, why) = (&give_up.rule, give_up.task.id(), &give_up.why);
            writeln!(self.log, "{seconds:>5} {rule} lets go of {id}: {why}").unwrap();
        }
        for change in &decision.breakers {
            let open = change.open_until.is_some();
            let word = if open { "opens" } else { "closes" };
            writeln!(self.log, "{seconds:>5} breaker of {} {word}", change.key).unwrap();
        }
        for planned in decision.actions.iter().filter(|planned| planned.fresh) {
            let (rule, action, mode) = (&planned.rule, planned.action, planned.mode);
            let Some(target) = &planned.task else {
                self.intents += 1;
                let (id, kind) = (self.intents, &planned.kind);
                writeln!(self.log, "{seconds:>5} #{id} {rule}: {action} {kind}").unwrap();
                let pending = KindPending {
                    intent: IntentId(id),
                    action,
                    at: now,
                    settles: Settling { from: now, wait: SignedDuration::from_secs(30) },
                    accepted: false,
                };
                self.memory.note_kind_intent(rule, kind, pending);
                self.memory.note_kind_answer(rule, kind, answer);
                continue;
            };
            let dry = if mode == Mode::DryRun { " (dry run)" } else { "" };
            let attempt = target.attempt;
            self.intents += 1;
            writeln!(
                self.log,
                "{seconds:>5} #{} {rule}: {action} {} attempt {attempt}{dry}",
                self.intents,
                target.id()
            )
            .unwrap();
            if mode == Mode::Live && action != Action::Notify {
                let pending = Pending {
                    intent: IntentId(self.intents),
                    rule: rule.clone(),
                    subject: target.subject.clone(),
                    action,
                    before: target.before(),
                    at: now,
                    settles: Settling { from: now, wait: SignedDuration::from_secs(30) },
                    accepted: false,
                };
                self.memory.note_intent(&planned.kind, target.id(), pending);
                self.memory.note_answer(&planned.kind, target.id(), answer, now);
            }
        }
        decision
    }
}

/// A look that shows this queue.
fn copies(world: &World, tasks: Listing) -> Snapshot {
    Snapshot {
        server: "home".into(),
        flavour: world.flavour,
        skew: SignedDuration::ZERO,
        kinds: BTreeMap::from([(Kind::Copy, tasks)]),
        unread: BTreeMap::new(),
    }
}

/// Runs a table of moments and listings, each action accepted, and compares what happened.
#[track_caller]
fn check(rules: Vec<Rule>, table: &[(i64, Vec<Task>)], expected: &str) {
    let mut world = World::new(rules);
    run(&mut world, table);
    assert_eq!(tidy(&world.log), tidy(expected));
}

fn run(world: &mut World, table: &[(i64, Vec<Task>)]) {
    for (seconds, tasks) in table {
        world.tick(*seconds, tasks, &Answer::Accepted);
    }
}

fn tidy(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What is loaded is copied before the loops have it.
#[test]
fn rules_that_are_ready_stay_so_in_a_copy() {
    let rules = RuleSet { rules: vec![retry("r")], ..RuleSet::default() };
    assert!(rules.clone().filter.get().is_none());
    rules.get_ready();
    assert!(rules.clone().filter.get().is_some());
}

#[test]
fn retries_come_after_growing_waits_from_the_failure() {
    let running = || task("a", State::Running, Some((70, 0)), "");
    check(
        vec![retry("r")],
        &[
            (10, vec![failed("a", 5, "timeout")]),
            (64, vec![failed("a", 5, "timeout")]),
            (65, vec![failed("a", 5, "timeout")]),
            (71, vec![running()]),
            (90, vec![failed("a", 80, "timeout")]),
            (199, vec![failed("a", 80, "timeout")]),
            (200, vec![failed("a", 80, "timeout")]),
        ],
        "65 #1 r: retry_some a attempt 1
         71 #1 effective: the task is running
         200 #2 r: retry_some a attempt 2",
    );
}

#[test]
fn a_rule_that_gave_up_lets_later_rules_have_the_task() {
    let mut first = retry("first");
    first.max_attempts = Some(1);
    let mut second = rule("second", Action::DeleteSome, state(State::Failed));
    second.backoff.initial = Duration::from_secs(1);
    check(
        vec![first, second],
        &[(100, vec![failed("a", 0, "x")]), (110, vec![failed("a", 105, "x")]), (120, vec![])],
        "100 #1 first: retry_some a attempt 1
         110 #1 effective: the task is failed
         110 first lets go of a: all 1 attempts are used up
         110 #2 second: delete_some a attempt 1
         120 #2 effective: it left the list",
    );
}

#[test]
fn the_first_match_keeps_a_task_while_it_waits_and_continue_lets_others_look() {
    let delete = || rule("delete", Action::DeleteSome, state(State::Failed));
    check(vec![retry("r"), delete()], &[(10, vec![failed("a", 5, "x")])], "");
    let mut open = retry("r");
    open.continues = true;
    check(
        vec![open, delete()],
        &[(10, vec![failed("a", 5, "x")])],
        "10 #1 delete: delete_some a attempt 1",
    );
}

#[test]
fn a_success_forgets_attempts() {
    let mut once = retry("r");
    once.max_attempts = Some(1);
    check(
        vec![once],
        &[
            (100, vec![failed("a", 0, "x")]),
            (110, vec![task("a", State::Succeeded, Some((101, 105)), "")]),
            (300, vec![failed("a", 200, "x")]),
        ],
        "100 #1 r: retry_some a attempt 1
         110 #1 effective: the task is succeeded
         300 #2 r: retry_some a attempt 1",
    );
}

#[test]
fn a_success_forgets_the_attempt_that_it_tells_of() {
    let mut once = retry("r");
    once.max_attempts = Some(1);
    let mut world = World::new(vec![once]);
    // Before the look nothing was counted.
    world.tick(100, &[failed("a", 0, "x")], &Answer::Lost("timed out".to_owned()));
    world.tick(110, &[task("a", State::Succeeded, Some((101, 105)), "")], &Answer::Accepted);
    world.tick(300, &[failed("a", 200, "x")], &Answer::Accepted);
    assert_eq!(
        tidy(&world.log),
        tidy(
            "100 #1 r: retry_some a attempt 1
             110 #1 effective: the task is succeeded
             300 #2 r: retry_some a attempt 1"
        )
    );
}

#[test]
fn what_is_known_of_a_task_that_left_goes_in_time_while_looks_go_on() {
    const WEEK: i64 = 7 * 24 * 3600;
    let mut world = World::new(vec![retry("r")]);
    let looks = |world: &mut World, seconds: std::ops::Range<i64>, tasks: &[Task]| {
        for seconds in seconds.step_by(300) {
            world.tick(seconds, tasks, &Answer::Accepted);
        }
        (world.memory.tasks[&Kind::Copy].len(), world.memory.progress.len())
    };
    assert_eq!(looks(&mut world, 0..900, &[failed("a", 0, "x")]), (1, 1));
    assert_eq!(looks(&mut world, 900..WEEK, &[]), (1, 1));
    assert_eq!(looks(&mut world, WEEK..WEEK + 2 * 3600, &[]), (0, 0));
}

#[test]
fn a_task_that_had_succeeded_and_is_listed_as_failed_again_is_left_alone() {
    let table = [
        (10, vec![task("a", State::Succeeded, Some((1, 5)), "")]),
        (20, vec![task("a", State::Failed, None, "")]),
        (9000, vec![task("a", State::Failed, None, "")]),
        // Its times may be there too.
        (9900, vec![failed("a", 2, "")]),
    ];
    check(vec![retry("r")], &table, "");
}

#[test]
fn a_server_restart_that_forgets_error_and_times_changes_nothing() {
    let flaky =
        rule("r", Action::RetrySome, Predicate::All(vec![state(State::Failed), error("timeout")]));
    check(
        vec![flaky],
        &[
            (10, vec![failed("a", 5, "timeout")]),
            (30, vec![task("a", State::Failed, None, "")]),
            (64, vec![task("a", State::Failed, None, "")]),
            (65, vec![task("a", State::Failed, None, "")]),
        ],
        "65 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn two_retries_in_a_row_that_did_not_take_end_it_once() {
    let canceled = || task("a", State::Canceled, Some((0, 5)), "context canceled");
    let r = rule("r", Action::RetrySome, state(State::Canceled));
    let table: Vec<_> = (1..20).map(|n| (n * 100, vec![canceled()])).collect();
    let why = "the task stayed canceled: the server does not allow retrying canceled tasks (its \
               setting allow_retry_canceled)";
    check(
        vec![r],
        &table,
        &format!(
            "100 #1 r: retry_some a attempt 1
             200 #1 ineffective: {why}
             300 #2 r: retry_some a attempt 2
             400 #2 ineffective: {why}
             400 r lets go of a: retry_some did not take twice in a row: {why}"
        ),
    );
}

#[test]
fn what_a_person_canceled_is_not_retried_unless_asked_for() {
    let on_alist = failed("a", 5, "context canceled");
    let on_openlist = task("b", State::Canceled, Some((0, 5)), "context canceled");
    let any_state = rule("r", Action::RetrySome, Predicate::All(vec![]));
    for (flavour, expected) in
        [(Flavour::AList, ""), (Flavour::Unknown, ""), (Flavour::OpenList, "a")]
    {
        let mut world = World::new(vec![any_state.clone()]);
        world.flavour = flavour;
        let tick = (1000, vec![on_alist.clone(), on_openlist.clone()]);
        let decision = world.tick(tick.0, &tick.1, &Answer::Accepted);
        let ids: Vec<_> = decision
            .actions
            .iter()
            .filter_map(|p| p.task.as_ref())
            .map(|t| t.id().as_str())
            .collect();
        assert_eq!(ids.join(" "), expected, "{flavour}");
    }
}

#[test]
fn a_lost_answer_is_judged_by_the_lists_and_never_sent_twice_blindly() {
    let mut world = World::new(vec![retry("r")]);
    let lost = Answer::Lost("timed out".to_owned());
    world.tick(100, &[failed("a", 0, "x")], &lost);
    world.tick(110, &[failed("a", 0, "x")], &lost);
    world.tick(131, &[failed("a", 0, "x")], &lost);
    world.tick(159, &[failed("a", 0, "x")], &lost);
    world.tick(160, &[failed("a", 0, "x")], &lost);
    world.tick(170, &[task("a", State::WaitingRetry, Some((0, 0)), "")], &lost);
    assert_eq!(
        tidy(&world.log),
        tidy(
            "100 #1 r: retry_some a attempt 1
             131 #1 unknown: no answer came, and the task shows no sign that it was carried out
             160 #2 r: retry_some a attempt 1
             170 #2 effective: the task is waiting_retry"
        )
    );
}

#[test]
fn no_rule_touches_a_task_in_a_state_where_its_action_does_harm() {
    for action in Action::ALL.into_iter().filter(|action| !action.is_whole_kind()) {
        let tasks: Vec<Task> = (0..12)
            .map(|number| {
                let state = State::from_number(number);
                task(&number.to_string(), state, Some((0, 1)), "")
            })
            .collect();
        let mut world = World::new(vec![rule("r", action, Predicate::All(vec![]))]);
        let decision = world.tick(100_000, &tasks, &Answer::Accepted);
        for planned in decision.actions {
            let state = planned.task.unwrap().task.state;
            assert!(action.fits(state), "{action} on {state}");
            assert!(!(action.effect() == super::rule::Effect::Retry && state != State::Failed));
        }
    }
}

#[test]
fn limits_hold_and_the_longest_due_go_first() {
    let tasks: Vec<Task> = (0..5).map(|n| failed(&format!("t{n}"), 10 - n, "x")).collect();
    let mut few = retry("r");
    few.limits.per_tick = Some(2);
    few.limits.per_hour = Some(3);
    let table = [(100, tasks.clone()), (120, tasks)];
    check(
        vec![few],
        &table,
        "100 #1 r: retry_some t4 attempt 1
         100 #2 r: retry_some t3 attempt 1
         120 #2 ineffective: the task stayed as it was
         120 #1 ineffective: the task stayed as it was
         120 #3 r: retry_some t2 attempt 1",
    );
}

#[test]
fn what_is_only_told_of_a_task_puts_it_behind_no_other() {
    let mut tell = rule("tell", Action::Notify, state(State::Failed));
    tell.continues = true;
    let mut one = retry("r");
    one.limits.per_tick = Some(1);
    check(
        vec![tell, one],
        &[(100, vec![failed("a", 9, "x"), failed("b", 0, "x")])],
        "100 #1 tell: notify b attempt 1
         100 #2 r: retry_some b attempt 1
         100 #3 tell: notify a attempt 1",
    );
}

#[test]
fn dry_run_says_so_once_and_keeps_no_live_rule_from_acting() {
    let mut dry = retry("dry");
    dry.mode = Mode::DryRun;
    check(
        vec![dry, retry("live")],
        &[(100, vec![failed("a", 0, "x")]), (101, vec![failed("a", 0, "x")])],
        "100 #1 dry: retry_some a attempt 1 (dry run)
         100 #2 live: retry_some a attempt 1
         101 #2 ineffective: the task stayed as it was",
    );
}

#[test]
fn several_rules_in_dry_run_hide_no_live_one() {
    let mut dry = [retry("one"), retry("two")];
    for rule in &mut dry {
        rule.mode = Mode::DryRun;
    }
    let [one, two] = dry;
    check(
        vec![one, two, retry("live")],
        &[(100, vec![failed("a", 0, "x")])],
        "100 #1 one: retry_some a attempt 1 (dry run)
         100 #2 live: retry_some a attempt 1",
    );
}

#[test]
fn a_stalled_transfer_is_canceled() {
    let stalled = leaf(
        "stalled_for",
        Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(100)),
    );
    let at_progress =
        |progress: f64| Task { progress, ..task("a", State::Running, Some((0, 0)), "") };
    check(
        vec![rule("c", Action::CancelSome, stalled)],
        &[
            (10, vec![at_progress(1.0)]),
            (100, vec![at_progress(2.0)]),
            (199, vec![at_progress(2.0)]),
            (200, vec![at_progress(2.0)]),
        ],
        "200 #1 c: cancel_some a attempt 1",
    );
}

#[test]
fn giving_up_does_what_is_asked_for_once() {
    let mut r = retry("r");
    r.give_up_after = Some(Duration::from_secs(50));
    r.on_give_up = vec![Action::Notify, Action::DeleteSome];
    check(
        vec![r],
        &[(10, vec![failed("a", 5, "x")]), (56, vec![failed("a", 5, "x")]), (66, vec![])],
        "56 r lets go of a: the first failure was 51s ago, and the rule tries for 50s
         56 #1 r: delete_some a attempt 0
         66 #1 effective: it left the list",
    );
}

#[test]
fn the_breaker_leaves_a_failing_mount_alone() {
    let mut r = retry("r");
    r.backoff.initial = Duration::from_secs(1);
    r.breaker = Some(breaker());
    let throttled = |id: &str| failed(id, 5, "Too many requests");
    let all = || vec![throttled("a"), throttled("b"), throttled("c")];
    let mut table: Vec<_> = (1..35).map(|n| (n * 10, all())).collect();
    table[31].1[0] = task("a", State::Running, Some((311, 0)), "");
    table[32].1[0] = task("a", State::Succeeded, Some((311, 325)), "");
    table[33].1[0] = task("a", State::Succeeded, Some((311, 325)), "");
    check(
        vec![r],
        &table,
        "10 breaker of /dst opens
         310 #1 r: retry_some a attempt 1
         320 #1 effective: the task is running
         330 #2 r: retry_some b attempt 1
         340 #2 ineffective: the task stayed as it was",
    );
}

#[test]
fn what_was_settled_by_other_rules_is_forgotten_when_all_wake() {
    let by = |name: &str, pattern| {
        rule(name, Action::RetrySome, Predicate::All(vec![state(State::Failed), error(pattern)]))
    };
    let mut world = World::new(Vec::new());
    let tasks = [failed("a", 5, "x"), failed("b", 5, "y")];
    world.tick(1000, &tasks, &Answer::Accepted);
    let snapshot = copies(&world, tasks.into_iter().map(Arc::new).collect());
    let mut sleepers = Sleepers::default();
    for rules in [vec![by("of x", "x"), by("of y", "y")], vec![by("of y", "y"), by("of x", "x")]] {
        let rules = RuleSet { rules, ..RuleSet::default() };
        sleepers.wake_all();
        let tick = Tick { now: at(1000), seed: 0 };
        let awake = sleepers.decide(&rules, &world.memory, &snapshot, tick);
        let taken: Vec<_> = awake.actions.iter().map(|planned| planned.rule.to_string()).collect();
        assert_eq!(taken, ["of x", "of y"]);
        let all = decide(&rules, &world.memory, &snapshot, tick);
        assert_eq!(format!("{awake:#?}"), format!("{all:#?}"));
    }
}

#[test]
fn a_task_that_sleeps_is_let_go_of_with_another_of_its_name() {
    let mut r =
        rule("r", Action::RetrySome, Predicate::All(vec![state(State::Failed), error("x")]));
    r.identity = Identity::Name;
    r.max_attempts = Some(1);
    r.on_give_up = vec![Action::DeleteSome];
    let mut world = World::new(vec![r]);
    let same = |task: Task| {
        Arc::new(Task { name: TaskName::new("copy [/src](/same) to [/dst](/)"), ..task })
    };
    let done = same(task("b", State::Succeeded, Some((1, 5)), ""));
    let mut sleepers = Sleepers::default();
    for (seconds, ended, count) in [(100, 5, 1), (110, 105, 2)] {
        let tasks = vec![same(failed("a", ended, "x")), Arc::clone(&done)];
        let snapshot = copies(&world, tasks.clone().into());
        world.memory.fold(&snapshot, at(seconds));
        let tick = Tick { now: at(seconds), seed: 0 };
        let awake = sleepers.decide(&world.rules, &world.memory, &snapshot, tick);
        // They take turns.
        assert_eq!(awake.actions.len() + awake.waiting.len(), count, "{seconds}");
        let tasks: Vec<Task> = tasks.iter().map(|task| (**task).clone()).collect();
        let all = world.tick(seconds, &tasks, &Answer::Accepted);
        assert_eq!(format!("{awake:#?}"), format!("{all:#?}"));
    }
}

#[test]
fn a_sleeping_task_wakes_at_the_very_moment() {
    let old = Test::Span(SpanField::Age, Comparison::AtLeast, Duration::from_secs(100));
    let rules = vec![rule("old", Action::DeleteSome, leaf("age", old))];
    let mut world = World::new(rules);
    let listed: Vec<Arc<Task>> = vec![Arc::new(failed("a", 5, "x"))];
    let tasks: Listing = listed.into();
    let mut sleepers = Sleepers::default();
    for (seconds, count) in [(10, 0), (104, 0), (105, 1)] {
        let snapshot = copies(&world, tasks.clone());
        world.memory.fold(&snapshot, at(seconds));
        let tick = Tick { now: at(seconds), seed: 0 };
        let decision = sleepers.decide(&world.rules, &world.memory, &snapshot, tick);
        assert_eq!(decision.actions.len(), count, "{seconds}");
    }
}

#[test]
fn a_task_whose_call_waits_to_be_judged_does_not_sleep() {
    let new = Test::Span(SpanField::Age, Comparison::Less, Duration::from_secs(80));
    let again = Test::Number(NumberField::Attempts, Comparison::AtLeast, 1.0);
    let either = Predicate::Any(vec![leaf("age", new), leaf("attempts", again)]);
    let rules = vec![rule("r", Action::RetrySome, either)];
    let mut world = World::new(rules);
    // Nothing will tell whether it ran, so the call counts once it is judged.
    let listed = task("a", State::Failed, None, "x");
    let shared: Listing = vec![Arc::new(listed.clone())].into();
    let mut sleepers = Sleepers::default();
    // It is new; a call is lost; it is not new any more; the call is judged.
    for (seconds, waits) in [(0, 1), (60, 0), (85, 0), (95, 1)] {
        let snapshot = copies(&world, shared.clone());
        let now = at(seconds);
        let mut memory = world.memory.clone();
        memory.fold(&snapshot, now);
        let tick = Tick { now, seed: 0 };
        let awake = sleepers.decide(&world.rules, &memory, &snapshot, tick);
        assert_eq!(awake.waiting.len(), waits, "{seconds}");
        let lost = Answer::Lost("timed out".to_owned());
        let all = world.tick(seconds, std::slice::from_ref(&listed), &lost);
        assert_eq!(format!("{awake:#?}"), format!("{all:#?}"));
    }
}

#[test]
fn the_tasks_of_a_kind_that_vanishes_do_not_sleep() {
    const DAY: i64 = 24 * 3600;
    let new = Test::Span(SpanField::Age, Comparison::Less, Duration::from_secs(7));
    let mut world = World::new(vec![rule("r", Action::Notify, leaf("age", new))]);
    let tasks: Listing = vec![Arc::new(task("a", State::Pending, None, ""))].into();
    let mut sleepers = Sleepers::default();
    // After a week the kind is forgotten, and its tasks are new once more.
    for (seconds, there, count) in
        [(0, true, 1), (10, true, 0), (DAY, false, 0), (9 * DAY, false, 0), (10 * DAY, true, 1)]
    {
        let mut snapshot = copies(&world, tasks.clone());
        if !there {
            snapshot.kinds = BTreeMap::from([(Kind::Upload, Listing::default())]);
        }
        world.memory.fold(&snapshot, at(seconds));
        let tick = Tick { now: at(seconds), seed: 0 };
        let decision = sleepers.decide(&world.rules, &world.memory, &snapshot, tick);
        assert_eq!(decision.actions.len(), count, "{seconds}");
    }
}

#[test]
fn what_was_settled_for_another_product_is_forgotten() {
    let mut world = World::new(Vec::new());
    let tasks = [failed("a", 5, "context canceled")];
    world.tick(1000, &tasks, &Answer::Accepted);
    let rules = RuleSet { rules: vec![retry("r")], ..RuleSet::default() };
    let mut sleepers = Sleepers::default();
    let listed: Listing = tasks.into_iter().map(Arc::new).collect();
    for (flavour, count) in [(Flavour::AList, 0), (Flavour::OpenList, 1), (Flavour::AList, 0)] {
        let snapshot = Snapshot {
            server: "home".into(),
            flavour,
            skew: SignedDuration::ZERO,
            kinds: BTreeMap::from([(Kind::Copy, listed.clone())]),
            unread: BTreeMap::new(),
        };
        let tick = Tick { now: at(1000), seed: 0 };
        let decision = sleepers.decide(&rules, &world.memory, &snapshot, tick);
        assert_eq!(decision.actions.len(), count, "{flavour}");
    }
}

#[test]
fn of_the_tasks_that_left_only_so_many_are_remembered() {
    let mut world = World::new(Vec::new());
    let many: Vec<Task> = (0..21_000).map(|n| failed(&format!("early-{n:05}"), 1, "x")).collect();
    let last = [failed("late", 1, "x")];
    let listed: Vec<Task> = many.iter().chain(&last).cloned().collect();
    world.tick(10, &listed, &Answer::Accepted);
    world.memory.saved();
    world.tick(20, &last, &Answer::Accepted);
    let count = |world: &World| world.memory.tasks[&Kind::Copy].len();
    // Once does not count: a task may slip between two lists.
    assert_eq!(count(&world), 21_001);
    world.memory.saved();
    world.tick(30, &[], &Answer::Accepted);
    assert_eq!(count(&world), 19_000);
    assert!(world.memory.task(&Kind::Copy, &"late".into()).is_some());
    // The store lets go of them too.
    let gone = world.memory.changes().tasks.iter().filter(|(.., task)| task.is_none()).count();
    assert_eq!(gone, 2_001);
}
