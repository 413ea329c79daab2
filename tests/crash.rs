//! The daemon's process is killed again and again while the server works on: nothing runs twice,
//! nothing is forgotten, nothing is counted twice.
//!
//! The child is this very test program, started anew with a variable set. It dies by SIGKILL at one
//! of three kinds of moments: at one of the fault points, which lie before and after every write of the
//! store and every call, and of which a release build has nothing; when its n-th acting call arrives at
//! the server, before the call takes effect or before its answer leaves; or simply after a while.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::audit;
use common::past::looks;
use jiff::{SignedDuration, Timestamp};
use taskwarden::ambient::{Clock, at_fault_points};
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::engine::audit::{AuditRow, Outcome};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::scenario::{FlakyQueue, flaky_queue};
use taskwarden::sandbox::{
    self, Endpoint, Flavour, Model, Phase, Report, Sandbox, Settings, State, TaskReport, Trigger,
};
use taskwarden::telemetry::Sink;

/// Set for the child: the folder it runs in.
const CHILD: &str = "CRASH_TEST_FOLDER";
/// Set for the child: when virtual time began, in real milliseconds since 1970.
const BEGAN: &str = "CRASH_TEST_BEGAN";
/// Set for the child: the fault point at which it asks to be killed; none is never.
const POINT: &str = "CRASH_TEST_POINT";
/// Set for the child: how many times it passes that point before.
const PASSES: &str = "CRASH_TEST_PASSES";
/// What the child prints when it is there.
const HERE: &str = "kill me here";

/// In how many portions the tasks come.
const PORTIONS: usize = 10;

/// The fault points, in the order in which an action passes them.
const POINTS: [&str; 13] = [
    "looked",
    "decided",
    "before a write",
    "before a commit",
    "after a commit",
    "decision written",
    "intents noted",
    "intents written",
    "looked again",
    "before the call",
    "after the call",
    "answers noted",
    "answers written",
];

/// How many virtual seconds pass in a real one.
const SPEED: i64 = 25;

const RULES: &str = r"
rules:
  - name: flaky
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 6
    backoff: { initial: 20s, factor: 1.5, max: 10m, jitter: 0.2 }
    limits: { per_tick: 20, per_hour: 100000 }
    breaker: off
";

/// Virtual time, the same in both processes.
fn virtual_now(began: i64) -> Timestamp {
    let passed = Clock::system().now().as_millisecond() - began;
    Timestamp::from_millisecond(1_790_000_000_000 + passed * SPEED).unwrap()
}

/// What the child does; nothing in an ordinary run of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<i64>().unwrap();
    let (began, passes) = (number(BEGAN), AtomicI64::new(number(PASSES)));
    let point = std::env::var(POINT).unwrap();
    at_fault_points(move |name| {
        if name == point && passes.fetch_sub(1, Ordering::SeqCst) == 0 {
            println!("{HERE}");
            let _ = std::io::stdout().flush();
            loop {
                std::thread::park();
            }
        }
    });
    let clock = Clock::from_fn(move || virtual_now(began));
    let folder = Path::new(&folder);
    let text = std::fs::read_to_string(folder.join("rules.yaml")).unwrap();
    let mut config = load(Source::new("rules.yaml", &text)).config.unwrap();
    config.servers[0].timeout = Duration::from_secs(2);
    let options = Options {
        state_dir: folder.to_owned(),
        dry_run: false,
        clock,
        sink: Sink::new(|_| {}),
        seed: 0,
        speed: 1.0,
    };
    let daemon = Daemon::new(config, options).unwrap();
    let mut watch = daemon.watch(&"home".into()).unwrap();
    loop {
        watch.tick().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn spawn(folder: &Path, began: i64, point: &str, passes: u64) -> Arc<Mutex<Child>> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(CHILD, folder)
        .env(BEGAN, began.to_string())
        .env(POINT, point)
        .env(PASSES, passes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Arc::new(Mutex::new(child));
    let killer = Arc::clone(&child);
    std::thread::spawn(move || {
        if lines.map_while(Result::ok).any(|line| line.contains(HERE)) {
            let _ = killer.lock().unwrap().kill();
        }
    });
    child
}

/// Numbers that look random, and are the same in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

/// One life of the daemon, until it is killed; tells what killed it.
async fn live_and_die(
    sandbox: &Sandbox,
    folder: &Path,
    began: i64,
    life: usize,
    draws: &mut Draws,
) -> &'static str {
    let way = draws.below(10);
    let point = if way < 6 { POINTS[life % POINTS.len()] } else { "" };
    // A point that every write passes is to be met at the writes of intents and answers too.
    let passes = draws.below(if point.contains(" a ") { 7 } else { 2 });
    let child = spawn(folder, began, point, passes);
    if (6..9).contains(&way) {
        let phase = if draws.below(2) == 0 { Phase::Before } else { Phase::After };
        let (child, others) = (Arc::clone(&child), draws.below(5) / 4);
        sandbox.with_model(move |model| kill_at_call(model, child, phase, others));
    }
    let patience = if way < 9 { 5000 } else { 60 + draws.below(300) };
    for _ in 0..patience / 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if child.lock().unwrap().try_wait().unwrap().is_some() {
            return if way < 6 { point } else { "call" };
        }
    }
    let mut child = child.lock().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    "time"
}

/// Kills the child when an acting call of its arrives, after letting `others` pass. A hook that
/// outlives its child does nothing: that child is reaped.
fn kill_at_call(model: &mut Model, child: Arc<Mutex<Child>>, phase: Phase, others: u64) {
    model.on_next(
        phase,
        |_, endpoint| endpoint == Endpoint::RetrySome,
        move |model| {
            if others > 0 {
                return kill_at_call(model, child, phase, others - 1);
            }
            let mut child = child.lock().unwrap();
            let _ = child.kill();
            let _ = child.wait();
        },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_forgets_nothing_and_doubles_nothing() {
    survives(Flavour::OpenList, 205, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_on_alist_too() {
    survives(Flavour::AList, 75, 200).await;
}

/// Has the daemon killed so many times, while it looks after so many tasks.
#[allow(clippy::print_stdout, reason = "a test may say what it did")]
async fn survives(flavour: Flavour, kills: usize, tasks: usize) {
    let began = Clock::system().now().as_millisecond();
    let settings = Settings::new(flavour).pool("offline_download", 20, 0);
    let now = Arc::new(move || virtual_now(began));
    let sandbox = Sandbox::start(sandbox::Options { settings, now, seed: 5 }).await.unwrap();
    let mut queue = FlakyQueue { fine: Vec::new(), flaky: Vec::new(), hopeless: Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    let rules = format!(
        "version: 1\nservers:\n  - name: home\n    url: {}\n    token: {}\n    poll: 5s\n{RULES}",
        sandbox.url(),
        sandbox.token()
    );
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();

    let (mut draws, mut ways) = (Draws(1), HashMap::new());
    for life in 0..kills {
        // They come in portions, so that there is something to do in every life.
        if life % kills.div_ceil(PORTIONS) == 0 {
            let (tasks, seed) = (tasks / PORTIONS, u64::try_from(life).unwrap());
            let portion =
                sandbox.with_model(|model| flaky_queue(model, tasks, tasks * 4 / 5, 1, seed));
            queue.fine.extend(portion.fine);
            queue.flaky.extend(portion.flaky);
            queue.hopeless.extend(portion.hopeless);
        }
        let way = live_and_die(&sandbox, folder.path(), began, life, &mut draws).await;
        *ways.entry(way).or_insert(0) += 1;
    }
    assert_eq!(queue.hopeless.len(), PORTIONS);
    println!("killed: {ways:?}; at virtual {}", virtual_now(began));
    // From here on it lives.
    let child = spawn(folder.path(), began, "", 0);
    let mut settled = false;
    for _ in 0..1800 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let report = sandbox.with_model(|model| model.report());
        settled = is_settled(&report, &queue, &audit(folder.path()));
        if settled {
            break;
        }
    }
    let _ = child.lock().unwrap().kill();
    let _ = child.lock().unwrap().wait();
    let report = sandbox.with_model(|model| model.report());
    let rows = audit(folder.path());
    assert_eq!(report.violations(), Vec::<String>::new());
    assert!(settled, "not settled");
    // A tenth of a second that an answer takes is seconds of virtual time: on a busy machine the same
    // clock seems to be another one.
    let skews = looks(folder.path()).into_iter().map(|look| look.skew);
    let ahead = skews.max().unwrap_or_default().max(SignedDuration::ZERO);
    assert!(ahead < SignedDuration::from_secs(15), "{ahead:#}");
    for id in queue.fine.iter().chain(&queue.flaky).chain(&queue.hopeless) {
        hold(report.task(id).unwrap(), &report, &rows, ahead);
    }
    for id in &queue.hopeless {
        assert_eq!(retries(report.task(id).unwrap()), 6, "all attempts, and not one more");
    }
    let at_points: usize = POINTS.iter().filter_map(|point| ways.get(point)).sum();
    assert!(at_points >= kills * 3 / 10 && ways["call"] >= kills / 5, "{ways:?}");
    let met = POINTS.iter().filter(|point| ways.contains_key(**point)).count();
    assert!(met == POINTS.len() || (met > 9 && kills < 100), "{ways:?}");
}

fn is_settled(report: &Report, queue: &FlakyQueue, rows: &[AuditRow]) -> bool {
    let state = |id: &String| report.task(id).unwrap().state;
    let open = rows.iter().any(|row| matches!(row.outcome, Outcome::Planned | Outcome::Accepted));
    queue.fine.iter().chain(&queue.flaky).all(|id| state(id) == State::Succeeded)
        && !open
        && queue
            .hopeless
            .iter()
            .all(|id| rows.iter().any(|row| row.action == "give_up" && is_of(row, id)))
}

fn is_of(row: &AuditRow, id: &str) -> bool {
    row.task_id.as_ref().is_some_and(|task| task.as_str() == id)
}

fn retries(task: &TaskReport) -> usize {
    task.executions.iter().filter(|run| run.trigger == Trigger::RetryCall).count()
}

/// Holds what the audit log says of a task against what the server saw.
fn hold(task: &TaskReport, report: &Report, rows: &[AuditRow], ahead: SignedDuration) {
    let (id, name) = (&task.id, &task.name);
    assert_eq!(task.max_concurrent, 1, "{name}");
    assert_eq!(task.executions_after_success, 0, "{name}");
    let rows: Vec<&AuditRow> = rows.iter().filter(|row| is_of(row, id)).collect();
    let give_ups = rows.iter().filter(|row| row.action == "give_up").count();
    assert_eq!(give_ups, usize::from(task.state == State::Failed), "{name}");
    // Each intent stands for one call at the most, and for one attempt if it was carried out.
    let intents: Vec<&&AuditRow> = rows.iter().filter(|row| row.action == "retry_some").collect();
    let calls = report.actions().filter(|call| call.applied && call.ids.contains(id)).count();
    let mut attempts = 0;
    for row in &intents {
        assert_eq!(row.attempt, Some(attempts + 1), "{name}: {intents:#?}");
        attempts += match row.outcome {
            Outcome::Effective => 1,
            Outcome::Unknown | Outcome::SkippedChanged | Outcome::Rejected => 0,
            other => panic!("{name}: {other} {}", row.detail),
        };
    }
    assert_eq!(retries(task), attempts as usize, "{name}: {intents:#?}");
    assert_eq!(calls, attempts as usize, "{name}");
    // None came before its wait, counted from the end of the run before; the daemon believes that
    // moment to be earlier by as much as it takes the server's clock to be ahead.
    for (n, pair) in task.executions.windows(2).enumerate() {
        let wait = pair[1].started.duration_since(pair[0].ended.unwrap());
        let least = 20.0 * 1.5_f64.powi(i32::try_from(n).unwrap());
        let least = SignedDuration::from_secs_f64(least) - ahead;
        assert!(wait >= least, "{name}: {wait:#} before {n}, at most {ahead:#} ahead");
    }
}
