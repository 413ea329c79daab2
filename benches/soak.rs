//! A day and more of the daemon at ten thousand tasks, sped up: memory, files and the store must stay as
//! they are. docs/soak.md tells how to run it and what was found.
//!
//! The sandbox remembers every task and call for its referee and grows, so the daemon that is measured
//! runs in a process of its own: this very program, started again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement prints, and may fail so"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::rules::{Source, load};
use taskwarden::sandbox::scenario::flaky_queue;
use taskwarden::sandbox::{self, Flavour, Sandbox, Settings};
use taskwarden::store::{AuditFilter, Reader};
use taskwarden::telemetry::Sink;

/// How many tasks come in a quarter of an hour; each is deleted four hours after its end, so ten
/// thousand of them are listed from then on.
const BATCH: usize = 625;
const BATCHES_AN_HOUR: usize = 4;

/// What the store may come to, in MiB: `retention.size` below, and the write-ahead log beside it, which
/// keeps up to 16 MiB.
const STORE: f64 = 64.0 + 16.0;

/// The hours until the lists have their length.
const WARM_UP: usize = 5;

const RULES: &str = "
retention: { audit: 6h, size: 64MiB }
rules:
  - name: retry
    match: { kind: offline_download, state: failed, not: { class: not_found } }
    action: retry_some
    max_attempts: 6
    backoff: { initial: 1m, factor: 2, max: 30m }
    limits: { per_tick: 100, per_hour: none }
    breaker: off
  - name: delete what is done with
    match: { kind: offline_download, state: [failed, succeeded], age: 4h }
    action: delete_some
    max_attempts: 6
    limits: { per_tick: 100, per_hour: none, max_share: none }
";

fn number(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

/// The same clock in both processes: `speed` virtual seconds a second since `since`.
fn fast_clock(since: Timestamp, speed: u32) -> Clock {
    let real = Clock::system();
    Clock::from_fn(move || {
        let passed = real.now().duration_since(since).as_secs_f64() * f64::from(speed);
        since + SignedDuration::from_secs_f64(passed)
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The process that is measured.
fn daemon(args: &[String]) {
    let [_, dir, url, token, since, speed] = args else { unreachable!("started by itself") };
    let text = format!(
        "version: 1\nservers: [{{name: home, url: '{url}', token: '{token}', poll: 15s}}]\n{RULES}"
    );
    let config = load(Source::new("soak", &text)).config.expect("rules that load");
    let speed: u32 = speed.parse().unwrap();
    let options = Options {
        state_dir: dir.into(),
        dry_run: false,
        clock: fast_clock(since.parse().unwrap(), speed),
        sink: Sink::new(|_| {}),
        seed: 0,
        speed: f64::from(speed),
    };
    runtime().block_on(async { Daemon::new(config, options).unwrap().run(None).await.unwrap() });
}

/// What was measured at the end of an hour.
#[derive(Clone, Copy, Debug)]
struct Sample {
    listed: usize,
    rows: usize,
    memory: f64,
    files: usize,
    store: f64,
}

const MIB: f64 = 1_048_576.0;

impl Sample {
    fn take(child: &Child, dir: &Path, sandbox: &Sandbox) -> Self {
        let proc = format!("/proc/{}", child.id());
        let status = fs::read_to_string(format!("{proc}/status")).expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let reader = Reader::open(dir).unwrap();
        let mut rows = 0;
        reader
            .audit_each(&AuditFilter::default(), |_| {
                rows += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        Self {
            listed: sandbox
                .with_model(|model| model.report().tasks.iter().filter(|task| task.listed).count()),
            rows,
            memory: kib / 1024.0,
            files: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
            store: reader.size_bytes().unwrap() as f64 / MIB,
        }
    }
}

async fn watch(hours: usize, speed: u32) -> Result<(), String> {
    let since = Clock::system().now();
    let clock = fast_clock(since, speed);
    let now = clock.clone();
    let sandbox = Sandbox::start(sandbox::Options {
        settings: Settings::new(Flavour::OpenList).pool("offline_download", 100, 0),
        now: Arc::new(move || now.now()),
        seed: 1,
    })
    .await
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .arg("daemon")
        .arg(dir.path())
        .args([sandbox.url(), sandbox.token().to_owned(), since.to_string(), speed.to_string()])
        .spawn()
        .unwrap();
    println!("| hour | tasks listed | audit rows | memory (MiB) | open files | store (MiB) |");
    println!("|---|---|---|---|---|---|");
    let mut samples = Vec::new();
    for quarter in 0..(WARM_UP + hours) * BATCHES_AN_HOUR {
        let draw = quarter as u64;
        sandbox.with_model(|model| flaky_queue(model, BATCH, BATCH * 3 / 10, BATCH / 20, draw));
        let until = since + SignedDuration::from_mins(15 * (i64::try_from(quarter).unwrap() + 1));
        let wait = until.duration_since(clock.now()).as_secs_f64() / f64::from(speed);
        tokio::time::sleep(Duration::from_secs_f64(wait.max(0.0))).await;
        if (quarter + 1) % BATCHES_AN_HOUR == 0 {
            let Sample { listed, rows, memory, files, store } =
                Sample::take(&child, dir.path(), &sandbox);
            let hour = (quarter + 1) / BATCHES_AN_HOUR;
            println!("| {hour} | {listed} | {rows} | {memory:.1} | {files} | {store:.1} |");
            samples.push(Sample { listed, rows, memory, files, store });
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let violations = sandbox.with_model(|model| model.report().violations());
    judge(&samples[WARM_UP..], &violations)
}

/// The second half of the time may not need more than the first, but for what chance adds.
fn judge(samples: &[Sample], violations: &[String]) -> Result<(), String> {
    let (first, second) = samples.split_at(samples.len() / 2);
    let mut faults = violations.to_vec();
    let mut look = |what: &str, of: fn(&Sample) -> f64, slack: f64| {
        let most = |samples: &[Sample]| samples.iter().map(of).fold(0.0_f64, f64::max);
        let (before, after) = (most(first), most(second));
        println!("most {what}: {before:.1} in the first half, {after:.1} in the second");
        if after > before * slack {
            faults.push(format!("{what} grew from {before:.1} to {after:.1}"));
        }
    };
    look("memory (MiB)", |sample| sample.memory, 1.1);
    look("open files", |sample| sample.files as f64, 1.2);
    let store = samples.iter().map(|sample| sample.store).fold(0.0_f64, f64::max);
    println!("most store (MiB): {store:.1}, of {STORE} that it may come to");
    if store > STORE * 1.05 {
        faults.push(format!("the store grew to {store:.1} MiB"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "daemon") {
        daemon(&args);
        return ExitCode::SUCCESS;
    }
    let (hours, speed) = (number("SOAK_HOURS", 24), number("SOAK_SPEED", 120));
    match runtime().block_on(watch(hours as usize, speed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(faults) => {
            println!("{faults}");
            ExitCode::FAILURE
        }
    }
}
