//! The evaluator beside the plainest one there can be: every rule held against every task, in file order.

use proptest::prelude::*;

use super::super::class::Class;
use super::super::memory::TaskMemory;
use super::super::pattern::Pattern;
use super::super::predicate::{RoleTest, View};
use super::super::rule::Effect;
use super::*;

const ERRORS: [&str; 6] =
    ["", "x 1", "x 2", "Too many requests", "context canceled", "connection reset by peer"];

fn tests() -> impl Strategy<Value = Predicate> {
    // Read as the rules file's are, with what is known of them before they are compiled.
    let text = |field, pattern| {
        let hir = regex_syntax::parse(pattern).unwrap();
        Test::Text(field, vec![Pattern::later(pattern, &hir)])
    };
    prop_oneof![
        prop::sample::subsequence(State::KNOWN.to_vec(), 1..5)
            .prop_map(|states| leaf("state", Test::State(states))),
        prop::sample::select(vec![Kind::Copy, Kind::Upload])
            .prop_map(|kind| leaf("kind", Test::Kind(vec![kind]))),
        prop::sample::subsequence(Class::KNOWN.to_vec(), 1..4)
            .prop_map(|classes| leaf("class", Test::Class(classes))),
        prop::sample::select(vec![
            "x",
            "1",
            "(?i)TOO many",
            "^$",
            "c",
            "x [12]",
            "reset|canceled$"
        ])
        .prop_map(move |pattern| leaf("error", text(TextField::Error, pattern))),
        prop::sample::select(vec!["a", "[0-3]", "src"])
            .prop_map(move |pattern| leaf("name", text(TextField::Name, pattern))),
        prop::sample::select(vec!["admin", "ann"])
            .prop_map(|creator| leaf("creator", Test::Creator(vec![creator.to_owned()]))),
        prop::sample::select(vec![RoleTest::Admin, RoleTest::User, RoleTest::Number(7)])
            .prop_map(|role| leaf("role", Test::Role(vec![role]))),
        (0_u32..4).prop_map(|days| {
            let age = Duration::from_secs(u64::from(days) * 3600);
            leaf("age", Test::Span(SpanField::Age, Comparison::AtLeast, age))
        }),
    ]
}

fn predicate() -> impl Strategy<Value = Predicate> {
    tests().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Predicate::Any),
            inner.prop_map(|member| Predicate::Not(Box::new(member))),
        ]
    })
}

fn listed() -> impl Strategy<Value = Vec<Task>> {
    let one = (
        prop::sample::select(State::KNOWN.to_vec()),
        prop::sample::select(ERRORS.to_vec()),
        0_i64..20_000,
        prop::sample::select(vec!["admin", "ann"]),
        prop::sample::select(vec![0_i64, 2, 7]),
    );
    prop::collection::vec(one, 1..12).prop_map(|tasks| {
        let made =
            tasks.into_iter().enumerate().map(|(n, (state, error, ended, creator, role))| {
                let mut task = task(&format!("t{n:02}"), state, Some((ended, ended + 1)), error);
                (task.creator, task.roles) = (creator.into(), [role].into());
                task
            });
        made.collect()
    })
}

/// The first rule that takes the task; none has dealt with it before.
fn owner<'a>(
    rules: &'a RuleSet,
    memory: &TaskMemory,
    task: &Task,
    now: Timestamp,
) -> Option<&'a Rule> {
    let server = "home".into();
    rules.rules.iter().find(|rule| {
        // A view for each rule, so that nothing is shared.
        let flavour = Flavour::OpenList;
        let classes = &rules.classes;
        let view = View::new(&server, flavour, &Kind::Copy, task, memory, classes, now);
        let unasked = rule.action.effect() == Effect::Retry
            && task.state == State::Canceled
            && !rule.asks_for_canceled();
        let persons = rule.action.effect() == Effect::Retry
            && !rule.asks_for_canceled()
            && task.state == State::Failed
            && !task.error.is_empty()
            && *view.class() == Class::Canceled;
        rule.mode != Mode::Off
            && rule.action.fits(task.state)
            && !unasked
            && !persons
            && rule.condition.holds(&view, 0)
    })
}

proptest! {
    #[test]
    fn each_task_goes_to_the_rule_that_a_plain_search_finds(
        conditions in prop::collection::vec((predicate(), 0_usize..4, prop::bool::weighted(0.2)), 1..24),
        tasks in listed(),
    ) {
        let actions = [Action::RetrySome, Action::CancelSome, Action::DeleteSome, Action::Notify];
        let rules = conditions.into_iter().enumerate().map(|(n, (condition, action, off))| {
            let mut rule = rule(&format!("r{n}"), actions[action], condition);
            if off {
                rule.mode = Mode::Off;
            }
            rule
        });
        let mut world = World::new(rules.collect());
        let decision = world.tick(30_000, &tasks, &Answer::Accepted);
        for task in &tasks {
            let memory = world.memory.task(&Kind::Copy, &task.id).unwrap();
            let expected = owner(&world.rules, memory, task, at(30_000)).map(|rule| &rule.name);
            let acts = decision.actions.iter().find_map(|planned| {
                planned.task.as_ref().filter(|target| *target.id() == task.id).map(|_| &planned.rule)
            });
            let waits = decision.waiting.iter().find_map(|waiting| {
                (waiting.task.as_ref() == Some(&task.id)).then_some(&waiting.rule)
            });
            prop_assert_eq!(acts.or(waits), expected, "{:?}", task);
        }
    }

    #[test]
    fn what_is_settled_for_alike_tasks_is_what_holds(condition in predicate(), tasks in listed()) {
        let world = World::new(vec![]);
        for task in &tasks {
            let memory = TaskMemory { state: task.state, ..TaskMemory::blank(at(30_000)) };
            let (server, classes) = ("home".into(), &world.rules.classes);
            let flavour = Flavour::OpenList;
            let view = View::new(&server, flavour, &Kind::Copy, task, &memory, classes, at(30_000));
            if let Some(settled) = condition.settled(&view) {
                for attempts in [0, 3] {
                    prop_assert_eq!(settled, condition.holds(&view, attempts));
                }
            }
        }
    }
}
