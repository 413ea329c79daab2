//! Hostile timing as tables: clocks that jump, calls that get lost, servers that forget.

use std::str::FromStr as _;

use croner::Cron;
use jiff::tz::TimeZone;

use super::super::audit::Outcome;
use super::super::class::Class;
use super::super::decide::{Planned, recheck};
use super::super::memory::{Changes, RulesProgress};
use super::super::order::{DeadFilter, Order};
use super::super::schedule::Schedule;
use super::super::task::TaskId;
use super::*;

fn lost() -> Answer {
    Answer::Lost("timed out".to_owned())
}

fn not_done() -> Answer {
    Answer::NotDone("cannot reach the server".to_owned())
}

fn hourly(mut rule: Rule) -> Rule {
    rule.schedule = Some(Schedule {
        text: "0 * * * *".to_owned(),
        cron: Cron::from_str("0 * * * *").unwrap(),
        zone: TimeZone::UTC,
        catch_up: false,
    });
    rule
}

/// A full hour by the clock of these tables.
const HOUR: i64 = 2800;

fn forgotten(id: &str) -> Task {
    task(id, State::Failed, None, "")
}

fn named(id: &str, ended: i64, error: &str) -> Task {
    Task { name: TaskName::new("copy [/src](/same) to [/dst](/)"), ..failed(id, ended, error) }
}

#[track_caller]
fn assert_log(world: &World, expected: &str) {
    assert_eq!(tidy(&world.log), tidy(expected));
}

/// What a restart of the daemon brings back.
fn restart(world: &mut World) {
    let stored = Changes {
        tasks: world
            .memory
            .tasks
            .iter()
            .flat_map(|(kind, tasks)| {
                tasks.iter().map(|(id, task)| (kind.clone(), id.clone(), Some((**task).clone())))
            })
            .collect(),
        progress: world
            .memory
            .progress
            .iter()
            .flat_map(|(subject, rules)| {
                rules
                    .iter()
                    .map(|(rule, progress)| (subject.clone(), rule.clone(), Some(progress.clone())))
            })
            .collect(),
        rules: world
            .memory
            .rules
            .iter()
            .map(|(rule, memory)| (rule.clone(), Some(memory.clone())))
            .collect(),
    };
    let mut memory = Memory::new("home".into());
    memory.restore(stored);
    world.memory = memory;
}

#[test]
fn a_failure_after_a_later_run_is_no_echo_also_when_a_restart_forgot_its_times() {
    check(
        vec![retry("r")],
        &[
            (10, vec![task("a", State::Succeeded, Some((1, 5)), "")]),
            (20, vec![task("a", State::Running, Some((15, 0)), "")]),
            (30, vec![task("a", State::Failed, Some((15, 25)), "x")]),
            (40, vec![forgotten("a")]),
            (84, vec![forgotten("a")]),
            (85, vec![forgotten("a")]),
        ],
        "85 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn a_clock_that_is_set_back_holds_no_wait_for_ever() {
    let failed = || vec![failed("a", 5000, "x")];
    check(
        vec![retry("r")],
        &[(5000, failed()), (100, failed()), (159, failed()), (160, failed())],
        "160 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn a_clock_that_is_set_back_holds_no_judgement_for_ever() {
    let mut world = World::new(vec![retry("r")]);
    let failed = || vec![failed("a", 0, "x")];
    for seconds in [5000, 100, 129, 130] {
        world.tick(seconds, &failed(), &lost());
    }
    assert_log(
        &world,
        "5000 #1 r: retry_some a attempt 1
         130 #1 unknown: no answer came, and the task shows no sign that it was carried out",
    );
}

#[test]
fn a_clock_that_is_set_back_makes_no_room_in_the_hour() {
    let mut few = retry("r");
    few.limits.per_hour = Some(1);
    let both = || vec![failed("a", 0, "x"), failed("b", 1, "x")];
    check(
        vec![few],
        &[(5000, both()), (1400, both()), (1500, both())],
        "5000 #1 r: retry_some a attempt 1
         1500 #1 ineffective: the task stayed as it was",
    );
}

#[test]
fn a_clock_that_is_set_while_the_daemon_runs_moves_every_wait_along() {
    let rules = || {
        let mut few = retry("few");
        few.condition = error("few");
        few.limits.per_hour = Some(2);
        let mut short = retry("short");
        short.condition = error("short");
        short.give_up_after = Some(Duration::from_secs(400));
        let mut broken = retry("broken");
        broken.condition = error("broken");
        broken.breaker = Some(BreakerSettings {
            by: BreakerKey::DstMount,
            open_after: 2,
            within: Duration::from_secs(300),
            cool_down: Duration::from_secs(200),
            only_throttled: false,
        });
        let still =
            Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(500));
        let stalled = rule("stalled", Action::CancelSome, leaf("stalled_for", still));
        vec![few, short, broken, stalled]
    };
    let listed = |seconds: i64| {
        let mut tasks = vec![
            failed("a", 5, "few"),
            failed("b", 6, "few"),
            failed("c", 7, "few"),
            failed("d", 8, "short"),
            task("s", State::Running, Some((3, 0)), ""),
        ];
        for (id, from) in [("x", 10), ("y", 20), ("z", 30)] {
            // They fail again twenty seconds after each try.
            let run = (seconds - from) / 100;
            tasks.push(failed(id, from + 100 * run, "broken"));
        }
        tasks
    };
    let run = |set: &[(i64, i64)]| {
        let mut world = World::new(rules());
        for seconds in (10..4500).step_by(10) {
            for (_, by) in set.iter().filter(|(at, _)| *at == seconds) {
                world.set_clock(*by);
            }
            world.tick(seconds, &listed(seconds), &Answer::Accepted);
        }
        world.log
    };
    let quiet = run(&[]);
    for what in ["few: retry_some", "short lets go", "opens", "broken: retry_some", "stalled: "] {
        assert!(quiet.contains(what), "{what}: {quiet}");
    }
    for set in [
        &[(110, 18_000)][..],
        &[(110, -18_000)],
        &[(60, 7200), (400, -3600), (1000, 900_000)],
        &[(250, -86_400), (2000, 86_400)],
    ] {
        assert_eq!(run(set), quiet, "{set:?}");
    }
}

#[test]
fn a_server_that_sets_its_clock_right_ends_no_wait_early() {
    check(
        vec![retry("r")],
        &[
            (1000, vec![task("a", State::Running, Some((-900_000, 0)), "")]),
            (1010, vec![failed("a", -800_000, "x")]),
            (1059, vec![failed("a", -800_000, "x")]),
            (1060, vec![failed("a", -800_000, "x")]),
        ],
        "1060 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn a_retry_that_alist_drops_at_once_did_not_take() {
    let error = "Get \"http://host/file\": context canceled";
    let again = |at: i64| task("a", State::Failed, Some((at, at)), error);
    let asks = leaf("state", Test::State(vec![State::Failed, State::Canceled]));
    let table = [
        (100, vec![task("a", State::Failed, Some((0, 5)), "context canceled")]),
        (110, vec![again(101)]),
        (230, vec![again(101)]),
        (240, vec![again(231)]),
        (900, vec![again(231)]),
    ];
    let why = "the task failed again at once with `context canceled`: the server does not allow \
               retrying canceled tasks (its setting allow_retry_canceled)";
    let mut world = World::new(vec![rule("r", Action::RetrySome, asks.clone())]);
    world.flavour = Flavour::AList;
    run(&mut world, &table);
    assert_log(
        &world,
        &format!(
            "100 #1 r: retry_some a attempt 1
             110 #1 ineffective: {why}
             230 #2 r: retry_some a attempt 2
             240 #2 ineffective: {why}
             240 r lets go of a: retry_some did not take twice in a row: {why}"
        ),
    );
    // Elsewhere it is a failure like any other: there a person's cancel has a state of its own.
    let mut world = World::new(vec![rule("r", Action::RetrySome, asks)]);
    run(&mut world, &table);
    assert!(world.log.contains("110 #1 effective"), "{}", world.log);
    assert!(world.log.contains("900 #3 r: retry_some a attempt 3"), "{}", world.log);
}

#[test]
fn what_could_not_be_sent_costs_the_first_wait_and_no_attempt() {
    let mut world = World::new(vec![retry("r")]);
    world.rules.rules[0].max_attempts = Some(4);
    for (seconds, ended) in [(100, 0), (400, 110), (1000, 410)] {
        world.tick(seconds, &[failed("a", ended, "x")], &Answer::Accepted);
    }
    world.log.clear();
    let task = || vec![failed("a", 1010, "x")];
    world.tick(5000, &task(), &not_done());
    assert!(world.log.contains("attempt 4"), "{}", world.log);
    world.tick(5059, &task(), &not_done());
    world.tick(5060, &task(), &Answer::SkippedChanged("changed".to_owned()));
    world.tick(5119, &task(), &not_done());
    world.tick(5120, &task(), &Answer::Accepted);
    let tried: Vec<&str> = world.log.lines().filter(|line| line.contains("attempt 4")).collect();
    assert_eq!(tried.len(), 3, "{}", world.log);
    assert!(world.log.contains("5120 #6 r: retry_some a attempt 4"), "{}", world.log);
}

#[test]
fn a_firing_survives_a_crash_between_the_decision_and_the_call() {
    let done = || vec![task("a", State::Succeeded, Some((0, 5)), "")];
    let rules = vec![hourly(rule("r", Action::DeleteSome, state(State::Succeeded)))];
    let mut world = World::new(rules);
    world.tick(HOUR - 20, &done(), &Answer::Accepted);
    // The decision is stored, and then the power goes: no intent was written down.
    let now = at(HOUR + 5);
    let snapshot = Snapshot {
        server: "home".into(),
        flavour: Flavour::OpenList,
        skew: SignedDuration::ZERO,
        kinds: BTreeMap::from([(Kind::Copy, done().into_iter().map(Arc::new).collect())]),
        unread: BTreeMap::new(),
    };
    world.memory.fold(&snapshot, now);
    let decision = decide(&world.rules, &world.memory, &snapshot, Tick { now, seed: 0 });
    assert_eq!(decision.actions.len(), 1);
    world.memory.absorb(decision.memory);
    restart(&mut world);
    world.tick(HOUR + 300, &done(), &Answer::Accepted);
    world.tick(HOUR + 315, &[], &Answer::Accepted);
    world.tick(HOUR + 330, &[], &Answer::Accepted);
    let late = || vec![task("b", State::Succeeded, Some((HOUR + 335, HOUR + 338)), "")];
    world.tick(HOUR + 345, &late(), &Answer::Accepted);
    world.tick(HOUR + 3590, &late(), &Answer::Accepted);
    world.tick(HOUR + 3610, &late(), &Answer::Accepted);
    assert_log(
        &world,
        "3100 #1 r: delete_some a attempt 1
         3115 #1 effective: it left the list
         6410 #2 r: delete_some b attempt 1",
    );
}

#[test]
fn a_firing_is_about_what_was_there_when_it_fired() {
    let done = |id: &str, ended: i64| task(id, State::Succeeded, Some((ended - 3, ended)), "");
    check(
        vec![hourly(rule("r", Action::DeleteSome, state(State::Succeeded)))],
        &[
            (HOUR - 10, vec![done("a", 5)]),
            (HOUR + 5, vec![done("a", 5)]),
            (HOUR + 20, vec![done("b", HOUR + 10)]),
            (HOUR + 35, vec![done("b", HOUR + 10), done("c", HOUR + 30)]),
            (HOUR + 3605, vec![done("b", HOUR + 10), done("c", HOUR + 30)]),
        ],
        "2805 #1 r: delete_some a attempt 1
         2820 #1 effective: it left the list
         6405 #2 r: delete_some b attempt 1
         6405 #3 r: delete_some c attempt 1",
    );
}

#[test]
fn a_firing_whose_call_could_not_be_sent_is_not_over() {
    let mut world = World::new(vec![hourly(rule("r", Action::DeleteSome, state(State::Failed)))]);
    let tasks = || vec![failed("a", 0, "x")];
    world.tick(HOUR - 10, &tasks(), &not_done());
    world.tick(HOUR + 5, &tasks(), &not_done());
    world.tick(HOUR + 20, &tasks(), &not_done());
    world.tick(HOUR + 80, &tasks(), &Answer::Accepted);
    assert_log(
        &world,
        "2805 #1 r: delete_some a attempt 1
         2880 #2 r: delete_some a attempt 1",
    );
}

#[test]
fn tasks_of_one_name_share_their_attempts_and_take_turns() {
    let mut by_name = retry("r");
    by_name.identity = Identity::Name;
    by_name.max_attempts = Some(2);
    let both = |a: i64, b: i64| vec![named("a", a, "x"), named("b", b, "x")];
    check(
        vec![by_name],
        &[
            (100, both(0, 1)),
            (110, both(105, 1)),
            (300, both(105, 1)),
            (310, both(105, 305)),
            (320, both(105, 305)),
        ],
        "100 #1 r: retry_some a attempt 1
         110 #1 effective: the task is failed
         300 #2 r: retry_some b attempt 2
         310 #2 effective: the task is failed
         310 r lets go of a: all 2 attempts are used up",
    );
}

#[test]
fn a_lost_call_on_one_of_a_name_holds_the_others() {
    let mut by_name = retry("r");
    by_name.identity = Identity::Name;
    by_name.max_attempts = Some(1);
    let mut world = World::new(vec![by_name]);
    let both = || vec![named("a", 0, "x"), named("b", 1, "x")];
    for seconds in [100, 110, 120] {
        world.tick(seconds, &both(), &lost());
    }
    assert_log(&world, "100 #1 r: retry_some a attempt 1");
}

#[test]
fn tasks_of_one_name_are_told_of_once_each() {
    let mut tell = rule("tell", Action::Notify, state(State::Failed));
    tell.identity = Identity::Name;
    let both = || vec![named("a", 0, "x"), named("b", 1, "x")];
    check(
        vec![tell],
        &[(10, both()), (20, both()), (30, both())],
        "10 #1 tell: notify a attempt 1
         10 #2 tell: notify b attempt 1",
    );
}

#[test]
fn tasks_of_one_name_feed_the_breaker_once_a_failure() {
    let mut r = retry("r");
    r.identity = Identity::Name;
    r.breaker = Some(BreakerSettings {
        by: BreakerKey::DstMount,
        open_after: 3,
        within: Duration::from_secs(600),
        cool_down: Duration::from_secs(300),
        only_throttled: true,
    });
    let both = || vec![named("a", 0, "Too many requests"), named("b", 1, "Too many requests")];
    check(vec![r], &[(10, both()), (20, both()), (30, both())], "");
}

#[test]
fn what_a_dry_run_told_is_told_again_in_earnest() {
    let mut tell = rule("tell", Action::Notify, state(State::Failed));
    tell.mode = Mode::DryRun;
    let mut world = World::new(vec![tell]);
    let tasks = vec![failed("a", 0, "x")];
    world.tick(10, &tasks, &Answer::Accepted);
    world.tick(20, &tasks, &Answer::Accepted);
    world.rules.rules[0].mode = Mode::Live;
    world.tick(30, &tasks, &Answer::Accepted);
    world.tick(40, &tasks, &Answer::Accepted);
    assert_log(
        &world,
        "10 #1 tell: notify a attempt 1 (dry run)
         30 #2 tell: notify a attempt 1",
    );
}

#[test]
fn what_on_give_up_asks_for_is_done_once_whatever_comes_of_it() {
    for answer in [Answer::Accepted, Answer::Rejected("no".to_owned())] {
        let mut r = retry("r");
        r.max_attempts = Some(1);
        r.on_give_up = vec![Action::DeleteSome];
        let mut world = World::new(vec![r]);
        world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
        for seconds in [200, 210, 300, 900, 9000] {
            world.tick(seconds, &[failed("a", 105, "x")], &answer);
        }
        assert_eq!(world.log.matches("delete_some").count(), 1, "{}", world.log);
        let progress =
            world.memory.progress.values().flat_map(RulesProgress::iter).next().unwrap().1;
        assert_eq!(progress.attempts, 1, "a farewell is no attempt");
    }
}

#[test]
fn what_on_give_up_asks_for_is_sent_again_only_after_a_wait() {
    let mut r = retry("r");
    r.give_up_after = Some(Duration::from_secs(10));
    r.on_give_up = vec![Action::DeleteSome];
    let mut world = World::new(vec![r]);
    for seconds in [100, 110, 159, 160] {
        world.tick(seconds, &[failed("a", 0, "x")], &not_done());
    }
    assert_eq!(world.log.matches("delete_some").count(), 2, "{}", world.log);
}

#[test]
fn a_mass_give_up_keeps_to_the_limits() {
    let mut r = retry("r");
    r.give_up_after = Some(Duration::from_secs(10));
    r.on_give_up = vec![Action::DeleteSome];
    r.limits.per_tick = Some(2);
    let tasks: Vec<Task> = (0..5).map(|n| failed(&format!("t{n}"), 0, "x")).collect();
    let mut world = World::new(vec![r]);
    let decision = world.tick(100, &tasks, &Answer::Accepted);
    assert_eq!(decision.give_ups.len(), 5);
    assert_eq!(decision.actions.len(), 2);
}

#[test]
fn per_hour_holds_in_any_hour_not_only_between_full_minutes() {
    let mut one = retry("r");
    one.limits.per_hour = Some(1);
    // 40 seconds before a full minute, and then in the first second of the one 60 minutes later.
    let minute = HOUR + 60;
    let both = || vec![failed("a", 0, "x"), failed("b", 1, "x")];
    check(
        vec![one],
        &[
            (minute - 1, both()),
            (minute + 3540, vec![both().remove(1)]),
            (minute + 3660, vec![both().remove(1)]),
        ],
        "2859 #1 r: retry_some a attempt 1
         6520 #1 unknown: the task left the list before its state could be seen
         6520 #2 r: retry_some b attempt 1",
    );
}

#[test]
fn what_waits_for_room_in_the_hour_is_told_when_there_is_some() {
    let mut one = retry("r");
    one.limits.per_hour = Some(1);
    let mut world = World::new(vec![one]);
    let both = [failed("a", 0, "x"), failed("b", 1, "x")];
    let due = world.tick(100, &both, &Answer::Accepted).next_due.unwrap();
    let seconds = due.duration_since(at(0)).as_secs();
    for (seconds, count) in [(seconds - 1, 0), (seconds, 1)] {
        let decision = world.tick(seconds, &both[1..], &Answer::Accepted);
        assert_eq!(decision.actions.len(), count, "{seconds}");
    }
}

#[test]
fn a_breaker_for_throttling_leaves_other_failures_alone() {
    let mut r = retry("r");
    r.breaker = Some(breaker());
    let both = |ended| vec![failed("a", ended, "x"), failed("b", ended, "x")];
    check(
        vec![r],
        &[(100, both(0)), (110, both(105)), (225, both(105))],
        "100 #1 r: retry_some a attempt 1
         100 #2 r: retry_some b attempt 1
         110 #1 effective: the task is failed
         110 #2 effective: the task is failed
         225 #3 r: retry_some a attempt 2
         225 #4 r: retry_some b attempt 2",
    );
}

#[test]
fn what_on_give_up_asks_for_waits_for_no_breaker() {
    let mut r = retry("r");
    r.give_up_after = Some(Duration::from_secs(60));
    r.on_give_up = vec![Action::DeleteSome];
    r.breaker = Some(breaker());
    let both = || vec![failed("a", 5, "Too many requests"), failed("b", 5, "Too many requests")];
    let why = "the first failure was 1m5s ago, and the rule tries for 1m";
    check(
        vec![r],
        &[(10, both()), (70, both())],
        &format!(
            "10 breaker of /dst opens
             70 r lets go of a: {why}
             70 r lets go of b: {why}
             70 #1 r: delete_some a attempt 0
             70 #2 r: delete_some b attempt 0"
        ),
    );
}

#[test]
fn what_ended_badly_has_a_class_also_without_an_error() {
    let mut world = World::new(vec![rule("r", Action::Notify, Predicate::All(vec![]))]);
    let ended = |id, state| task(id, state, Some((0, 5)), "");
    let tasks =
        [ended("a", State::Failed), ended("b", State::Canceled), ended("c", State::Succeeded)];
    let decision = world.tick(10, &tasks, &Answer::Accepted);
    let class = |planned: &Planned| planned.task.as_ref().unwrap().class.clone();
    let classes: Vec<_> = decision.actions.iter().map(class).collect();
    assert_eq!(classes, [Some(Class::Unknown), Some(Class::Canceled), None]);
}

#[test]
fn an_error_of_the_past_is_none_of_a_task_that_runs() {
    let table =
        [(10, vec![failed("a", 5, "x")]), (30, vec![task("a", State::Running, Some((20, 0)), "")])];
    check(vec![rule("r", Action::Cancel, error("x"))], &table, "");
}

#[test]
fn a_task_that_ended_never_is_as_old_as_its_start() {
    let old = Test::Span(SpanField::Age, Comparison::AtLeast, Duration::from_secs(90));
    let waiting = task("a", State::WaitingRetry, Some((10, 0)), "x");
    check(
        vec![rule("r", Action::Notify, leaf("age", old))],
        &[(99, vec![waiting.clone()]), (100, vec![waiting])],
        "100 #1 r: notify a attempt 1",
    );
}

#[test]
fn a_rule_that_told_of_a_task_may_come_to_act_on_it() {
    let mut world = World::new(vec![rule("r", Action::Notify, state(State::Failed))]);
    let tasks = [failed("a", 5, "x")];
    world.tick(100, &tasks, &Answer::Accepted);
    world.rules = RuleSet { rules: vec![retry("r")], ..RuleSet::default() };
    world.tick(110, &tasks, &Answer::Accepted);
    assert_log(&world, "100 #1 r: notify a attempt 1\n110 #2 r: retry_some a attempt 1");
}

#[test]
fn retry_failed_waits_while_a_call_on_one_of_the_tasks_may_still_come_through() {
    let first = rule("first", Action::RetrySome, error("x"));
    let second = rule("second", Action::RetryFailed, error("y"));
    let mut world = World::new(vec![first, second]);
    let a = || failed("a", 0, "x");
    world.tick(100, &[a()], &lost());
    let both = || vec![a(), failed("b", 0, "y")];
    world.tick(110, &both(), &lost());
    world.tick(129, &both(), &lost());
    assert_log(&world, "100 #1 first: retry_some a attempt 1");
}

#[test]
fn what_nobody_saw_is_not_taken_for_a_stall() {
    let stalled = leaf(
        "stalled_for",
        Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(1800)),
    );
    let running = || vec![Task { progress: 7.0, ..task("a", State::Running, Some((0, 0)), "") }];
    // The machine sleeps from 100 to 9000.
    check(
        vec![rule("c", Action::CancelSome, stalled)],
        &[
            (10, running()),
            (100, running()),
            (9000, running()),
            (9500, running()),
            (10_000, running()),
            (10_400, running()),
            (10_709, running()),
            (10_710, running()),
        ],
        "10710 #1 c: cancel_some a attempt 1",
    );
}

#[test]
fn a_cancel_that_waits_for_hours_in_the_queue_took() {
    let pending = || task("a", State::Pending, None, "");
    let canceling = || task("a", State::Canceling, None, "");
    check(
        vec![rule("c", Action::CancelSome, state(State::Pending))],
        &[
            (10, vec![pending()]),
            (20, vec![canceling()]),
            (9000, vec![canceling()]),
            (18_000, vec![task("a", State::Canceled, None, "context canceled")]),
        ],
        "10 #1 c: cancel_some a attempt 1
         20 #1 effective: the task is canceling",
    );
}

#[test]
fn the_memory_of_an_old_name_goes_once_no_task_has_it() {
    let mut by_name = retry("r");
    by_name.identity = Identity::Name;
    let mut world = World::new(vec![by_name]);
    world.tick(100, &[named("a", 0, "x")], &Answer::Accepted);
    let days = |days: i64| days * 86_400;
    world.tick(days(3), &[], &Answer::Accepted);
    world.tick(days(3) + 60, &[], &Answer::Accepted);
    assert_eq!(world.memory.progress.len(), 1);
    world.tick(days(12), &[], &Answer::Accepted);
    assert_eq!(world.memory.progress.len(), 0);
    assert!(world.memory.task(&Kind::Copy, &TaskId::from("a")).is_none());
}

#[test]
fn an_empty_list_and_an_unread_kind_forget_nothing() {
    let mut world = World::new(vec![retry("r")]);
    world.rules.rules[0].max_attempts = Some(1);
    world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    world.tick(110, &[], &Answer::Accepted);
    world.tick(120, &[], &Answer::Accepted);
    world.tick(9000, &[failed("a", 105, "x")], &Answer::Accepted);
    world.tick(9100, &[failed("a", 105, "x")], &Answer::Accepted);
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         120 #1 unknown: the task left the list before its state could be seen
         9000 r lets go of a: all 1 attempts are used up",
    );
}

#[test]
fn a_restart_of_both_sides_after_a_lost_call_counts_it_once() {
    let mut world = World::new(vec![retry("r")]);
    world.tick(100, &[failed("a", 0, "x")], &lost());
    restart(&mut world);
    // Whether it ran again, and the server then forgot that too, nobody can tell.
    world.tick(110, &[forgotten("a")], &Answer::Accepted);
    world.tick(120, &[forgotten("a")], &Answer::Accepted);
    world.tick(220, &[forgotten("a")], &Answer::Accepted);
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         110 #1 unknown: the server lost the task's times, so it was restarted, and nothing tells whether the task ran again
         220 #2 r: retry_some a attempt 2",
    );
}

#[test]
fn a_canary_that_was_never_sent_lets_another_go() {
    let mut r = retry("r");
    r.backoff.initial = Duration::from_secs(1);
    r.breaker = Some(breaker());
    let throttled = |id: &str| failed(id, 5, "Too many requests");
    let both = || vec![throttled("a"), throttled("b")];
    let mut world = World::new(vec![r]);
    world.tick(10, &both(), &not_done());
    world.tick(310, &both(), &not_done());
    world.tick(312, &both(), &Answer::Accepted);
    assert_log(
        &world,
        "10 breaker of /dst opens
         310 #1 r: retry_some a attempt 1
         312 #2 r: retry_some b attempt 1",
    );
}

#[test]
fn a_call_may_lie_in_a_server_that_is_away_and_counts_from_its_return() {
    let mut world = World::new(vec![retry("r")]);
    let list = [failed("a", 0, "x")];
    world.tick(100, &list, &lost());
    // It takes thirty seconds for a call to settle, but nothing was heard of the server in them.
    world.memory.note_away();
    world.tick(500, &list, &Answer::Accepted);
    world.tick(529, &list, &Answer::Accepted);
    assert_log(&world, "100 #1 r: retry_some a attempt 1");
    world.tick(530, &list, &Answer::Accepted);
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         530 #1 unknown: no answer came, and the task shows no sign that it was carried out
         530 #2 r: retry_some a attempt 1",
    );
}

#[test]
fn what_was_given_up_is_tried_anew_when_a_person_asks_and_one_after_the_other() {
    let mut once = retry("r");
    once.max_attempts = Some(1);
    once.give_up_after = Some(Duration::from_secs(3600));
    let mut world = World::new(vec![once]);
    let list = |at| vec![failed("a", at, "x"), failed("b", at, "x")];
    world.tick(100, &list(0), &Answer::Accepted);
    world.tick(110, &list(105), &Answer::Accepted);
    let letters = world.memory.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!((letters[0].attempts, letters[0].error.as_str()), (1, "x"));
    world.log.clear();
    // Long after `give_up_after`: the time counts from the wish.
    let which = DeadFilter { rule: Some("r".into()), ..DeadFilter::default() };
    let order = Order::Redrive { which: which.clone(), every: SignedDuration::from_secs(60) };
    assert_eq!(world.memory.obey(&order, at(9000)).len(), 2);
    assert_eq!(world.memory.dead_letters(), []);
    assert_eq!(world.memory.obey(&order, at(9000)), []);
    world.tick(9001, &list(105), &Answer::Accepted);
    world.tick(9059, &[failed("a", 9010, "x"), failed("b", 105, "x")], &Answer::Accepted);
    world.tick(9060, &[failed("a", 9010, "x"), failed("b", 105, "x")], &Answer::Accepted);
    assert_log(
        &world,
        "9001 #3 r: retry_some a attempt 1
         9059 #3 effective: the task is failed
         9059 r lets go of a: all 1 attempts are used up
         9060 #4 r: retry_some b attempt 1",
    );
    // Put away, it stays given up and is not listed.
    assert_eq!(world.memory.obey(&Order::Drop { which }, at(9070)).len(), 1);
    assert_eq!(world.memory.dead_letters(), []);
    world.tick(20_000, &[failed("a", 9010, "x")], &Answer::Accepted);
    assert!(!world.log.contains("20000"), "{}", world.log);
}

#[test]
fn a_paused_rule_waits_until_its_moment_or_until_it_is_resumed() {
    let mut world = World::new(vec![retry("r")]);
    let pause =
        Order::Pause { rule: "r".into(), until: Some(at(500)), why: "the drive moves".to_owned() };
    world.memory.obey(&pause, at(50));
    world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    assert_log(&world, "");
    world.tick(500, &[failed("a", 0, "x")], &Answer::Accepted);
    assert_log(&world, "500 #1 r: retry_some a attempt 1");
    let mut world = World::new(vec![retry("r")]);
    world.memory.obey(&pause, at(50));
    let resume = Order::Resume { rule: "r".into() };
    assert_eq!(world.memory.obey(&resume, at(90)).len(), 1);
    assert_eq!(world.memory.obey(&resume, at(90)), []);
    world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    assert_log(&world, "100 #1 r: retry_some a attempt 1");
}

#[test]
fn a_lost_call_is_judged_also_when_each_look_is_a_process_of_its_own() {
    let mut world = World::new(vec![retry("r")]);
    let list = [failed("a", 0, "x")];
    for seconds in [100, 700, 1300] {
        world.tick(seconds, &list, &lost());
        restart(&mut world);
    }
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         1300 #1 unknown: no answer came, and the task shows no sign that it was carried out
         1300 #2 r: retry_some a attempt 1",
    );
}

#[test]
fn an_error_is_remembered_through_a_run_whose_own_a_restart_took() {
    check(
        vec![rule("r", Action::RetrySome, Predicate::All(vec![state(State::Failed), error("x")]))],
        &[
            (10, vec![failed("a", 5, "x")]),
            (20, vec![task("a", State::Running, Some((15, 0)), "")]),
            (30, vec![forgotten("a")]),
            (90, vec![forgotten("a")]),
        ],
        "90 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn a_lost_call_on_a_task_without_times_counts() {
    let mut world = World::new(vec![retry("r")]);
    world.tick(100, &[failed("a", 0, "x")], &Answer::NotDone("away".to_owned()));
    // A restart of the server took the times, and another may take those of the run after the call.
    world.tick(160, &[forgotten("a")], &lost());
    world.tick(190, &[forgotten("a")], &lost());
    world.tick(290, &[forgotten("a")], &lost());
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         160 #2 r: retry_some a attempt 1
         190 #2 unknown: no answer came, and the task had no times that would tell whether it ran
         290 #3 r: retry_some a attempt 2",
    );
}

#[test]
fn a_clock_that_is_set_by_some_seconds_makes_no_room_in_the_hour() {
    for by in [-3601, -119, -90, -61, -1, 1, 59, 61, 90, 3599] {
        for start in [HOUR, HOUR + 20, HOUR + 59] {
            let mut few = retry("r");
            few.limits.per_hour = Some(1);
            let mut world = World::new(vec![few]);
            let list = || vec![failed("a", 0, "x"), failed("b", 1, "x")];
            world.tick(start, &list(), &Answer::Accepted);
            world.set_clock(by);
            world.tick(start + 1, &list()[1..], &Answer::Accepted);
            world.tick(start + 3599, &list()[1..], &Answer::Accepted);
            let second = "#2 r: retry_some b";
            assert!(!world.log.contains(second), "{by} from {start}: {}", world.log);
            // Nor is it held for much longer.
            world.tick(start + 3600 + 120, &list()[1..], &Answer::Accepted);
            assert!(world.log.contains(second), "{by} from {start}: {}", world.log);
        }
    }
}

#[test]
fn a_firing_under_way_goes_on_when_the_clock_is_set() {
    // To no moment at which it fires again.
    for by in [-7000, 1800, 3000] {
        let mut few = hourly(rule("r", Action::DeleteSome, state(State::Succeeded)));
        few.limits.per_tick = Some(1);
        let mut world = World::new(vec![few]);
        let done = |id: &str| task(id, State::Succeeded, Some((0, 5)), "");
        world.tick(HOUR - 10, &[done("a"), done("b"), done("c")], &Answer::Accepted);
        world.tick(HOUR + 5, &[done("a"), done("b"), done("c")], &Answer::Accepted);
        world.set_clock(by);
        world.tick(HOUR + 20, &[done("b"), done("c")], &Answer::Accepted);
        world.tick(HOUR + 35, &[done("c")], &Answer::Accepted);
        world.tick(HOUR + 50, &[], &Answer::Accepted);
        assert_eq!(world.log.matches("delete_some").count(), 3, "{by}: {}", world.log);
    }
}

#[test]
fn what_on_give_up_asks_for_goes_out_also_when_the_rule_asks_for_the_same_and_never_did() {
    let mut r = rule("r", Action::DeleteSome, state(State::Failed));
    r.on_give_up = vec![Action::DeleteSome];
    let mut world = World::new(vec![r]);
    let refused = Answer::Rejected("permission denied".to_owned());
    world.tick(100, &[failed("a", 0, "x")], &refused);
    world.tick(200, &[failed("a", 0, "x")], &refused);
    let decision = world.tick(400, &[failed("a", 0, "x")], &refused);
    let [planned] = &decision.actions[..] else { panic!("{}", world.log) };
    let target = planned.task.as_ref().unwrap();
    assert_eq!((planned.farewell, target.attempt), (true, 0));
    let snapshot = Snapshot {
        server: "home".into(),
        flavour: Flavour::OpenList,
        skew: SignedDuration::ZERO,
        kinds: BTreeMap::new(),
        unread: BTreeMap::new(),
    };
    let again = failed("a", 0, "x");
    let checked =
        recheck(&world.rules, &world.memory, &snapshot, planned, target, Some(&again), at(400));
    assert_eq!(checked, Ok(()));
}

#[test]
fn only_two_in_a_row_that_did_not_take_end_it() {
    check(
        vec![retry("r")],
        &[
            (100, vec![failed("a", 0, "x")]),
            (110, vec![failed("a", 0, "x")]),
            (1000, vec![failed("a", 0, "x")]),
            (1010, vec![failed("a", 1005, "x")]),
            (3000, vec![failed("a", 1005, "x")]),
            (3010, vec![failed("a", 1005, "x")]),
            (9000, vec![failed("a", 1005, "x")]),
        ],
        "100 #1 r: retry_some a attempt 1
         110 #1 ineffective: the task stayed as it was
         1000 #2 r: retry_some a attempt 2
         1010 #2 effective: the task is failed
         3000 #3 r: retry_some a attempt 3
         3010 #3 ineffective: the task stayed as it was
         9000 #4 r: retry_some a attempt 4",
    );
}

#[test]
fn what_is_refused_twice_is_given_up_after_growing_waits() {
    let mut world = World::new(vec![retry("r")]);
    let refused = Answer::Rejected("no".to_owned());
    for seconds in [100, 159, 160, 219, 220, 279, 280, 340, 9000] {
        world.tick(seconds, &[failed("a", 0, "x")], &refused);
    }
    assert_log(
        &world,
        "100 #1 r: retry_some a attempt 1
         220 #2 r: retry_some a attempt 1
         279 r lets go of a: retry_some did not take twice in a row: the server refused: no",
    );
}

#[test]
fn a_success_under_a_name_forgets_the_attempts_of_the_name() {
    let mut by_name = retry("r");
    by_name.identity = Identity::Name;
    by_name.max_attempts = Some(1);
    let done = |id: &str, at: i64| Task {
        name: TaskName::new("copy [/src](/same) to [/dst](/)"),
        ..task(id, State::Succeeded, Some((at - 1, at)), "")
    };
    // The task itself, and then another of its name that was there from the start.
    check(
        vec![by_name],
        &[
            (100, vec![named("a", 0, "x")]),
            (110, vec![done("a", 105)]),
            (120, vec![done("a", 105), named("b", 115, "x")]),
            (300, vec![done("a", 105), named("b", 115, "x")]),
        ],
        "100 #1 r: retry_some a attempt 1
         110 #1 effective: the task is succeeded
         300 #2 r: retry_some b attempt 1",
    );
}

#[test]
fn the_success_of_a_new_task_forgets_the_attempts_of_its_name() {
    let mut by_name = retry("r");
    by_name.identity = Identity::Name;
    by_name.max_attempts = Some(1);
    let done = Task {
        name: TaskName::new("copy [/src](/same) to [/dst](/)"),
        ..task("b", State::Succeeded, Some((112, 118)), "")
    };
    check(
        vec![by_name],
        &[
            (100, vec![named("a", 0, "x")]),
            (120, vec![named("a", 115, "x"), done.clone()]),
            (175, vec![named("a", 115, "x"), done]),
        ],
        "100 #1 r: retry_some a attempt 1
         120 #1 effective: the task is failed
         175 #2 r: retry_some a attempt 1",
    );
}

#[test]
fn a_whole_kind_is_judged_by_what_was_there_before_the_call() {
    let done = |id: &str, ended: i64| task(id, State::Succeeded, Some((ended - 3, ended)), "");
    let clear = || vec![rule("c", Action::ClearSucceeded, state(State::Succeeded))];
    // What came later says nothing about the call.
    check(
        clear(),
        &[(10, vec![done("a", 5)]), (20, vec![done("b", 15)])],
        "10 #1 c: clear_succeeded copy
         20 #1 effective: nothing that it was meant for is left
         20 #2 c: clear_succeeded copy",
    );
    // What is there still does, and the next try waits.
    check(
        clear(),
        &[
            (10, vec![done("a", 5)]),
            (20, vec![done("a", 5)]),
            (69, vec![done("a", 5)]),
            (70, vec![done("a", 5)]),
        ],
        "10 #1 c: clear_succeeded copy
         20 #1 ineffective: tasks that it was meant for are still there
         70 #2 c: clear_succeeded copy",
    );
    // A call without an answer is given the time to come through.
    let mut world = World::new(clear());
    for seconds in [10, 20, 39, 40, 69] {
        world.tick(seconds, &[done("a", 5)], &lost());
    }
    assert_log(
        &world,
        "10 #1 c: clear_succeeded copy
         40 #1 unknown: no sign that it was carried out",
    );
    world.tick(70, &[done("a", 5)], &lost());
    assert!(world.log.contains("70 #2 c: clear_succeeded"), "{}", world.log);
}

#[test]
fn a_whole_kind_that_could_not_be_acted_on_costs_the_first_wait_and_keeps_its_firing() {
    let done = || vec![task("a", State::Succeeded, Some((0, 5)), "")];
    let clear = rule("c", Action::ClearSucceeded, state(State::Succeeded));
    for answer in [not_done(), lost()] {
        let mut world = World::new(vec![hourly(clear.clone())]);
        for seconds in [-10, 5, 20, 36, 64, 65] {
            world.tick(HOUR + seconds, &done(), &answer);
        }
        let calls = world.log.matches(": clear_succeeded").count();
        assert_eq!(calls, 2, "{}", world.log);
        assert!(world.log.contains(&format!("{} #2", HOUR + 65)), "{}", world.log);
    }
}

#[test]
fn a_whole_kind_waits_for_its_last_call_and_backs_off() {
    let all = || rule("r", Action::RetryFailed, state(State::Failed));
    let mut world = World::new(vec![all()]);
    for seconds in [100, 110, 129, 130, 159, 160] {
        world.tick(seconds, &[failed("a", 0, "x")], &lost());
    }
    assert_log(
        &world,
        "100 #1 r: retry_failed copy
         130 #1 unknown: no sign that it was carried out
         160 #2 r: retry_failed copy",
    );
    let mut soon = all();
    soon.backoff.initial = Duration::from_secs(5);
    let mut world = World::new(vec![soon]);
    for seconds in [100, 110, 129] {
        world.tick(seconds, &[failed("a", 0, "x")], &lost());
    }
    assert_log(&world, "100 #1 r: retry_failed copy");
    // Each accepted one makes the next wait longer, and what a person canceled holds it up.
    let mut world = World::new(vec![all()]);
    world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    for seconds in [120, 219, 220] {
        world.tick(seconds, &[failed("a", 110, "x")], &Answer::Accepted);
    }
    assert_log(
        &world,
        "100 #1 r: retry_failed copy
         120 #1 effective: nothing that it was meant for is left
         220 #2 r: retry_failed copy",
    );
    let mut world = World::new(vec![all()]);
    world.flavour = Flavour::AList;
    let canceled = || failed("b", 0, "context canceled");
    world.tick(100, &[failed("a", 0, "x"), canceled()], &Answer::Accepted);
    world.tick(9000, &[failed("a", 0, "x"), canceled()], &Answer::Accepted);
    assert_log(&world, "");
}

#[test]
fn what_the_daemon_itself_canceled_is_retried_only_where_a_rule_says_so() {
    let stalled = Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(300));
    let cancel = rule("c", Action::CancelSome, leaf("stalled_for", stalled));
    check(
        vec![cancel, rule("r", Action::RetrySome, Predicate::All(vec![]))],
        &[
            (10, vec![task("a", State::Running, Some((0, 0)), "")]),
            (310, vec![task("a", State::Running, Some((0, 0)), "")]),
            (320, vec![task("a", State::Canceled, Some((0, 315)), "context canceled")]),
            (9000, vec![task("a", State::Canceled, Some((0, 315)), "context canceled")]),
        ],
        "310 #1 c: cancel_some a attempt 1
         320 #1 effective: the task is canceled",
    );
}

#[test]
fn what_the_daemon_itself_canceled_is_no_persons_cancel_on_alist() {
    let stalled = Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(300));
    let cancel = rule("c", Action::CancelSome, leaf("stalled_for", stalled));
    let mut world = World::new(vec![cancel, retry("r")]);
    world.flavour = Flavour::AList;
    let canceled = || task("a", State::Failed, Some((0, 315)), "context canceled");
    run(
        &mut world,
        &[
            (10, vec![task("a", State::Running, Some((0, 0)), "")]),
            (310, vec![task("a", State::Running, Some((0, 0)), "")]),
            (320, vec![canceled()]),
            (375, vec![canceled()]),
        ],
    );
    assert!(world.log.contains("375 #2 r: retry_some a"), "{}", world.log);
}

#[test]
fn two_rules_that_both_look_act_once_a_tick_on_a_task() {
    let mut first = retry("first");
    first.continues = true;
    let mut world = World::new(vec![first, retry("second")]);
    let decision = world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    assert_eq!(decision.actions.len(), 1, "{}", world.log);
    assert_eq!(decision.actions[0].rule.as_str(), "first");
}

#[test]
fn a_wait_that_the_error_names_is_waited_for_also_when_the_server_forgot_it() {
    let error = "Too many requests, retryAfterSeconds: 300";
    check(
        vec![retry("r")],
        &[
            (10, vec![failed("a", 5, error)]),
            (100, vec![forgotten("a")]),
            (304, vec![forgotten("a")]),
            (305, vec![forgotten("a")]),
        ],
        "305 #1 r: retry_some a attempt 1",
    );
}

#[test]
fn each_rule_looks_for_the_wait_in_its_own_way() {
    let error = "cool 300, retry after 90s";
    let mut own = retry("own");
    own.retry_after = Some(regex::Regex::new(r"cool (\d+)").unwrap());
    own.continues = true;
    // The same tasks, but one of the rules looks first.
    for (rules, expected) in [
        (vec![own.clone(), retry("any")], "95 #1 any: retry_some a attempt 1"),
        (vec![own.clone()], "305 #1 own: retry_some a attempt 1"),
    ] {
        let at = [10, 94, 95, 304, 305].map(|seconds| (seconds, vec![failed("a", 5, error)]));
        let mut world = World::new(rules);
        for (seconds, tasks) in at {
            if world.log.is_empty() {
                world.tick(seconds, &tasks, &Answer::Accepted);
            }
        }
        assert_log(&world, expected);
    }
}

/// A rule with a breaker that two throttled tasks open, and what follows in a world of three.
fn broken(fate: impl Fn(i64) -> Option<Task>) -> String {
    let mut r = retry("r");
    r.backoff.initial = Duration::from_secs(1);
    r.backoff.factor = 1.0;
    r.breaker = Some(breaker());
    let throttled = |id: &str| failed(id, 5, "Too many requests");
    let mut world = World::new(vec![r]);
    for seconds in (10..1300).step_by(10) {
        let mut list = vec![throttled("b"), throttled("c")];
        if seconds <= 310 {
            list.push(throttled("a"));
        } else {
            list.extend(fate(seconds));
        }
        world.tick(seconds, &list, &Answer::Accepted);
    }
    world.log
}

#[test]
fn a_canary_that_vanishes_hands_over_after_a_cool_down() {
    let log = broken(|_| None);
    assert!(log.contains("310 #1 r: retry_some a"), "{log}");
    assert!(log.contains("610 #2 r: retry_some b"), "{log}");
    assert_eq!(log.matches("breaker of").count(), 1, "that is no opening: {log}");
    // Nor does one hold it up that was last seen in a queue.
    let log = broken(|seconds| (seconds == 320).then(|| task("a", State::WaitingRetry, None, "")));
    assert!(log.contains("610 #2 r: retry_some b"), "{log}");
}

#[test]
fn a_canary_that_fails_for_another_reason_is_through_and_a_throttled_one_is_not() {
    let other = broken(|_| Some(failed("a", 315, "no such file")));
    assert!(other.contains("320 #2 r: retry_some"), "{other}");
    let again = broken(|_| Some(failed("a", 315, "Too many requests")));
    assert!(again.contains("320 breaker of /dst opens"), "{again}");
    let second = again.lines().find(|line| line.contains("#2 r")).unwrap();
    assert!(second.trim().starts_with("920"), "twice the cool-down: {again}");
}

#[test]
fn a_firing_is_not_over_while_a_kind_is_unread() {
    let mut world =
        World::new(vec![hourly(rule("r", Action::DeleteSome, state(State::Succeeded)))]);
    let done = || vec![task("a", State::Succeeded, Some((0, 5)), "")];
    world.tick(HOUR - 10, &done(), &Answer::Accepted);
    let now = at(HOUR + 5);
    let unread = Snapshot {
        server: "home".into(),
        flavour: Flavour::OpenList,
        skew: SignedDuration::ZERO,
        kinds: BTreeMap::new(),
        unread: BTreeMap::from([(Kind::Copy, "timed out".to_owned())]),
    };
    world.memory.fold(&unread, now);
    let decision = decide(&world.rules, &world.memory, &unread, Tick { now, seed: 0 });
    world.memory.absorb(decision.memory);
    world.tick(HOUR + 20, &done(), &Answer::Accepted);
    assert!(world.log.contains("#1 r: delete_some a"), "{}", world.log);
}

#[test]
fn nothing_is_given_up_while_a_call_may_still_come_through() {
    let mut r = retry("r");
    r.give_up_after = Some(Duration::from_secs(110));
    r.on_give_up = vec![Action::DeleteSome];
    let mut world = World::new(vec![r]);
    for seconds in [100, 115, 129, 130, 131] {
        world.tick(seconds, &[failed("a", 0, "x")], &lost());
    }
    let lets_go = world.log.lines().find(|line| line.contains("lets go")).unwrap();
    assert!(lets_go.trim().starts_with("130"), "{}", world.log);
}

#[test]
fn shares_and_queues_count_what_this_very_tick_adds() {
    let list: Vec<Task> = (0..10).map(|n| failed(&format!("t{n}"), 0, "x")).collect();
    let mut share = retry("r");
    share.limits.max_share = Some(0.3);
    assert_eq!(World::new(vec![share]).tick(100, &list, &Answer::Accepted).actions.len(), 3);
    let mut queue = retry("r");
    queue.limits.only_if_undone_below = Some(4);
    assert_eq!(World::new(vec![queue]).tick(100, &list, &Answer::Accepted).actions.len(), 4);
    let mut least = retry("r");
    least.limits.max_share = Some(0.01);
    assert_eq!(World::new(vec![least]).tick(100, &list, &Answer::Accepted).actions.len(), 1);
}

#[test]
fn a_second_look_that_shows_anything_else_drops_the_action() {
    let stalled = Test::Span(SpanField::StalledFor, Comparison::AtLeast, Duration::from_secs(300));
    let mut world =
        World::new(vec![rule("c", Action::CancelSome, leaf("stalled_for", stalled)), retry("r")]);
    let running = || task("s", State::Running, Some((0, 0)), "");
    world.tick(10, &[running(), failed("a", 5, "x")], &Answer::Accepted);
    let decision = world.tick(400, &[running(), failed("a", 5, "x")], &Answer::Accepted);
    let [cancel, retry] = &decision.actions[..] else { panic!("{}", world.log) };
    let snapshot = Snapshot {
        server: "home".into(),
        flavour: Flavour::OpenList,
        skew: SignedDuration::ZERO,
        kinds: BTreeMap::new(),
        unread: BTreeMap::new(),
    };
    let look = |planned: &Planned, fresh: Option<&Task>| {
        let target = planned.task.as_ref().unwrap();
        recheck(&world.rules, &world.memory, &snapshot, planned, target, fresh, at(401))
    };
    let (cancel, retry) =
        if cancel.rule.as_str() == "c" { (cancel, retry) } else { (retry, cancel) };
    assert_eq!(look(cancel, Some(&running())), Ok(()));
    assert_eq!(look(retry, Some(&failed("a", 5, "x"))), Ok(()));
    let moved = Task { progress: 50.0, ..running() };
    let why = look(cancel, Some(&moved)).unwrap_err();
    assert_eq!(why, "the rule does not match the task any more");
    for (fresh, why) in [
        (None, "gone"),
        (Some(failed("a", 6, "x")), "with another start, end or error"),
        (Some(failed("a", 5, "y")), "with another start, end or error"),
        (Some(task("a", State::Running, Some((4, 0)), "x")), "running now"),
        (Some(task("a", State::Succeeded, Some((4, 5)), "x")), "succeeded now"),
    ] {
        let told = look(retry, fresh.as_ref()).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn what_is_remembered_of_a_kind_that_a_server_lost_goes_in_time_and_not_before() {
    const DAY: i64 = 24 * 3600;
    let mut world = World::new(vec![retry("r")]);
    world.tick(0, &[failed("a", 0, "x")], &Answer::Accepted);
    world.tick(100, &[failed("a", 0, "x")], &Answer::Accepted);
    world.tick(400, &[failed("a", 120, "x"), failed("b", 390, "x")], &lost());
    let remembered = |world: &World| (world.memory.tasks.len(), world.memory.progress.len());
    let before = remembered(&world);
    assert_eq!(before.0, 1);
    assert!(before.1 > 0, "{}", world.log);
    let without = |world: &mut World, seconds, unread: bool| {
        let why = [(Kind::Copy, "502".to_owned())];
        let snapshot = Snapshot {
            server: "home".into(),
            flavour: Flavour::OpenList,
            skew: SignedDuration::ZERO,
            kinds: BTreeMap::from([(Kind::Upload, Vec::new().into())]),
            unread: why.into_iter().filter(|_| unread).collect(),
        };
        world.memory.fold(&snapshot, at(seconds))
    };
    // A kind that cannot be read is there; one that was away for some days is remembered as ever.
    for day in 1..30 {
        assert!(without(&mut world, day * DAY, true).is_empty());
    }
    for day in 30..37 {
        without(&mut world, day * DAY, false);
    }
    assert_eq!(remembered(&world).1, before.1);
    without(&mut world, 37 * DAY, true);
    for day in 38..45 {
        assert!(without(&mut world, day * DAY, false).is_empty(), "{day}");
    }
    assert_eq!(remembered(&world).1, before.1);
    let _ = world.memory.changes();
    // Gone for good: nothing of it stays, and what waited to be judged is told to be unknown.
    let judged = without(&mut world, 46 * DAY, false);
    assert!(judged.iter().all(|judgement| judgement.outcome == Outcome::Unknown));
    assert_eq!(judged.len(), 1);
    assert!(!world.memory.tasks.contains_key(&Kind::Copy));
    assert_eq!(world.memory.progress.len(), 0);
    let changes = world.memory.changes();
    assert_eq!(changes.tasks.len(), 2);
    assert!(changes.tasks.iter().all(|(_, _, task)| task.is_none()));
    assert!(!changes.progress.is_empty());
    assert!(changes.progress.iter().all(|(_, _, progress)| progress.is_none()));
}
