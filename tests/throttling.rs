//! A drive that bans for half an hour who starts too much at once, under the shipped rules.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod common;

use std::time::Duration;

use common::{Told, Turned, config, daemon, sandbox};
use taskwarden::sandbox::{Flavour, Report, Sandbox, Settings, State, TaskScript, Throttle};

const TASKS: usize = 300;
const EXAMPLE: &str = include_str!("../rules.example.yaml");

fn settings() -> Settings {
    // As many workers as a person sets who wants it to go fast: all start at once.
    let mut settings = Settings::new(Flavour::OpenList).pool("copy", 20, 0);
    settings.throttles = vec![Throttle {
        mount: "/drive".to_owned(),
        starts_per_minute: 5,
        ban: Duration::from_secs(30 * 60),
        prolong: true,
        error: "failed to upload: googleapi: Error 429: Too many requests, \
                retryAfterSeconds: {seconds}"
            .to_owned(),
    }];
    settings
}

fn fill(sandbox: &Sandbox) {
    sandbox.with_model(|model| {
        for n in 0..TASKS {
            let name = format!("copy [/local](/series/{n:03}.mkv) to [/drive](/series)");
            let script = TaskScript::new("copy", name).on("/drive").bytes(1 << 30);
            model.add(script.succeeds(Duration::from_secs(20)));
        }
    });
}

fn left(report: &Report) -> usize {
    report.tasks.iter().filter(|task| task.state != State::Succeeded).count()
}

/// The shipped rules, pointed at the sandbox.
fn shipped_rules() -> String {
    EXAMPLE[EXAMPLE.find("\ndefaults:").unwrap()..].to_owned()
}

struct Run {
    hours: f64,
    starts: usize,
    refused: usize,
    bans: u32,
    left: usize,
}

impl Run {
    fn of(sandbox: &Sandbox, turned: &Turned, began: jiff::Timestamp) -> Self {
        let report = sandbox.with_model(|model| model.report());
        assert_eq!(report.violations(), Vec::<String>::new());
        let starts = report.tasks.iter().map(|task| task.executions.len()).sum();
        Self {
            hours: turned.now().duration_since(began).as_secs_f64() / 3600.0,
            starts,
            refused: starts - (TASKS - left(&report)),
            bans: report.bans.values().sum(),
            left: left(&report),
        }
    }
}

async fn with_shipped_rules(most_hours: u64) -> Run {
    let (turned, told) = (Turned::new(), Told::default());
    let sandbox = sandbox(settings(), &turned).await;
    fill(&sandbox);
    let began = turned.now();
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(config(&sandbox, "", &shipped_rules()), state.path(), &turned, &told);
    let mut watch = daemon.watch(&"home".into()).unwrap();
    for _ in 0..most_hours * 240 {
        watch.tick().await;
        turned.turn(Duration::from_secs(15));
        if left(&sandbox.with_model(|model| model.report())) == 0 {
            break;
        }
    }
    Run::of(&sandbox, &turned, began)
}

/// What a script does that calls `retry_failed` every few minutes.
async fn with_naive_retry(every: Duration, most_hours: u64) -> Run {
    let turned = Turned::new();
    let sandbox = sandbox(settings(), &turned).await;
    fill(&sandbox);
    let began = turned.now();
    for _ in 0..most_hours * 3600 / every.as_secs() {
        turned.turn(every);
        sandbox.with_model(|model| {
            let failed: Vec<String> = model
                .report()
                .tasks
                .into_iter()
                .filter(|task| task.state == State::Failed)
                .map(|task| task.id)
                .collect();
            for id in &failed {
                model.retry(id);
            }
        });
        if left(&sandbox.with_model(|model| model.report())) == 0 {
            break;
        }
    }
    Run::of(&sandbox, &turned, began)
}

#[tokio::test]
async fn the_shipped_rules_finish_and_are_banned_no_second_time() {
    let ours = with_shipped_rules(12).await;
    let often = with_naive_retry(Duration::from_secs(5 * 60), 24).await;
    let hourly = with_naive_retry(Duration::from_secs(3600), 100).await;
    // The table of docs/throttling.md.
    for (who, run) in [("shipped rules", &ours), ("every 5 min", &often), ("hourly", &hourly)] {
        println!(
            "{who}: {:.1} h, {} starts, {} refused, {} bans, {} left",
            run.hours, run.starts, run.refused, run.bans, run.left
        );
    }
    assert!(ours.hours < 3.0, "{}", ours.hours);
    assert!(often.left > 200 && hourly.hours > 10.0 * ours.hours);
    assert_eq!(ours.left, 0);
    assert_eq!(ours.bans, 1);
}
