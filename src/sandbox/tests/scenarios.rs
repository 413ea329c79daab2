//! The scenarios have an end that a careful client reaches, and the referee lets it pass.

use super::scenario::*;
use super::*;

/// A careful client, as small as can be: every `every`, it retries what failed and may pass.
fn look_after(model: &mut Model, every: Duration, until: Timestamp) {
    let admin = Viewer::admin();
    while model.now() < until {
        for kind in model.settings().kinds.clone() {
            let Answer::Tasks(done) = model.call(&admin, &kind, Endpoint::Done, &[], None) else {
                panic!("a list answers with tasks");
            };
            let failed = done.iter().filter(|task| task.state == State::Failed);
            let passing = failed.filter(|task| !task.error.contains("404"));
            let ids: Vec<String> = passing.map(|task| task.id.clone()).take(100).collect();
            model.call(&admin, &kind, Endpoint::RetrySome, &ids, None);
        }
        model.advance(every);
    }
}

#[test]
fn the_demo_comes_to_its_end() {
    for flavour in BOTH {
        let mut model = Model::new(demo_settings(flavour), start(), 1);
        demo_scenario(&mut model);
        look_after(&mut model, secs(600), start() + secs(2 * 3600));
        let report = model.report();
        assert_eq!(report.violations(), Vec::<String>::new(), "{flavour:?}");
        assert!(report.bans["/drive"] > 0 && report.bans["/网盘"] > 0, "{:?}", report.bans);
        let left: Vec<_> =
            report.tasks.iter().filter(|task| task.state != State::Succeeded).collect();
        let left: Vec<_> = left.iter().map(|task| (task.state, task.name.as_str())).collect();
        assert_eq!(left.len(), 2, "{left:#?}");
        assert!(left.iter().any(|(state, name)| *state == State::Failed && name.contains("gone")));
        assert!(
            left.iter().any(|(state, name)| *state == State::Running && name.contains("quiet"))
        );
        for secret in [DEMO_PASSWORD, DEMO_SIGNATURE] {
            assert!(report.tasks.iter().any(|task| task.name.contains(secret)));
        }
    }
}

#[test]
fn a_flaky_queue_has_the_fates_that_were_asked_for() {
    for flavour in BOTH {
        let mut model = model_with(flavour, 5, 0);
        let queue = flaky_queue(&mut model, 500, 60, 40, 9);
        assert_eq!((queue.fine.len(), queue.flaky.len(), queue.hopeless.len()), (400, 60, 40));
        look_after(&mut model, secs(300), start() + secs(12 * 3600));
        let report = model.report();
        assert_eq!(report.violations(), Vec::<String>::new());
        for id in queue.fine.iter().chain(&queue.flaky) {
            assert_eq!(model.state(id), Some(State::Succeeded), "{flavour:?}");
        }
        for id in &queue.flaky {
            assert!((2..=5).contains(&model.executions(id).len()));
        }
        for id in &queue.hopeless {
            assert_eq!(model.state(id), Some(State::Failed));
        }
        let same = flaky_queue(&mut model_with(flavour, 5, 0), 500, 60, 40, 9);
        assert_eq!(same, queue, "the seed repeats it");
    }
}
