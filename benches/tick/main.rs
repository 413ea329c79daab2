//! How long a tick takes beside a bare parse of the same bytes. docs/performance.md tells how to run
//! it, what it is held to and what was found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement prints, and may fail so"
)]

mod answer;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use answer::{answer, mix, rules};
use jiff::{SignedDuration, Timestamp};
use taskwarden::engine::decide::{Tick, decide};
use taskwarden::engine::memory::{Memory, Snapshot};
use taskwarden::engine::rule::RuleSet;
use taskwarden::engine::task::{Flavour, Kind};
use taskwarden::rules::{Source, load};
use taskwarden::upstream::read_list;

const SERVER: &str = "home";

/// What the bare parse makes of a task.
#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only its making is measured")]
struct Bare {
    id: String,
    name: String,
    creator: String,
    creator_role: i64,
    state: i64,
    status: String,
    progress: f64,
    start_time: Option<String>,
    end_time: Option<String>,
    total_bytes: u64,
    error: String,
}

#[derive(serde::Deserialize)]
#[allow(dead_code, reason = "only its making is measured")]
struct BareAnswer {
    code: i64,
    message: String,
    data: Vec<Bare>,
}

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = what();
    (value, began.elapsed())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn rule_set(count: usize) -> RuleSet {
    let text = rules(count);
    let loaded = load(Source::new("bench", &text));
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings)).rules
}

/// What the loop of a server keeps from look to look.
struct Loop {
    memory: Memory,
    ticks: i64,
}

/// How long the parts of a tick took, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Parts {
    read: f64,
    fold: f64,
    decide: f64,
}

impl Parts {
    fn whole(self) -> f64 {
        self.read + self.fold + self.decide
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Loop {
    fn new() -> Self {
        Self { memory: Memory::new(SERVER.into()), ticks: 0 }
    }

    fn tick(&mut self, rules: &RuleSet, body: &str) -> Parts {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let now = start + SignedDuration::from_secs(15 * self.ticks);
        self.ticks += 1;
        let (snapshot, read) = timed(|| {
            let mut tasks = read_list(body).unwrap();
            tasks.sort_unstable_by(|a, b| a.id.cmp(&b.id));
            Snapshot {
                server: SERVER.into(),
                flavour: Flavour::OpenList,
                skew: SignedDuration::ZERO,
                kinds: BTreeMap::from([(Kind::Copy, tasks)]),
                unread: BTreeMap::new(),
            }
        });
        let (judgements, fold) = timed(|| self.memory.fold(&snapshot, now));
        let (decision, decide) =
            timed(|| decide(rules, &self.memory, &snapshot, Tick { now, seed: 1 }));
        let ((), absorb) = timed(|| self.memory.absorb(decision.memory.clone()));
        black_box((judgements, &decision));
        self.memory.saved();
        Parts { read: millis(read), fold: millis(fold), decide: millis(decide) + millis(absorb) }
    }
}

/// One line of the table: a measure beside the bare parse of the same run.
fn row(what: &str, bare: &[f64], parts: &[Parts], bar: f64) {
    let of = |part: fn(Parts) -> f64| median(parts.iter().map(|parts| part(*parts)).collect());
    let ratio = median(parts.iter().zip(bare).map(|(parts, bare)| parts.whole() / bare).collect());
    println!(
        "| {what} | {ratio:.2} x | {bar:.1} x | {:.0} ms | {:.0} | {:.0} | {:.0} |",
        of(Parts::whole),
        of(|parts| parts.read),
        of(|parts| parts.fold),
        of(|parts| parts.decide),
    );
}

fn bare(body: &str) -> f64 {
    let (parsed, time) = timed(|| serde_json::from_str::<BareAnswer>(body).unwrap());
    assert!(!black_box(parsed).data.is_empty());
    millis(time)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model =
        model.map_or("an unnamed processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    format!("{model}, {cores} cores, {} MiB", kib / 1024)
}

fn ticks(tasks: u64, runs: u64) {
    let body = answer(tasks, 1, |_| false);
    println!("{tasks} tasks, {:.1} MB, medians of {runs} runs\n", body.len() as f64 / 1e6);
    let bares: Vec<f64> = (0..runs).map(|_| bare(&body)).collect();
    println!("bare parse: {:.0} ms\n", median(bares));
    println!("| tick | beside the bare parse | bar | whole | read | fold | decide |");
    println!("|---|---|---|---|---|---|---|");
    for (count, bar) in [(100, 2.0), (1000, 3.0)] {
        let rules = rule_set(count);
        let (mut bares, mut parts) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            bares.push(bare(&body));
            parts.push(Loop::new().tick(&rules, &body));
        }
        row(&format!("cold, {count} rules"), &bares, &parts, bar);
    }
    let rules = rule_set(100);
    for (what, share, bar) in [("nothing changed", 0, 1.2), ("1% changed", 1, 1.3)] {
        let mut server = Loop::new();
        server.tick(&rules, &body);
        let (mut bares, mut parts) = (Vec::new(), Vec::new());
        for look in 2..2 + runs {
            let body = answer(tasks, look, |n| mix(n ^ look) % 100 < share);
            bares.push(bare(&body));
            parts.push(server.tick(&rules, &body));
        }
        row(&format!("{what}, 100 rules"), &bares, &parts, bar);
    }
}

/// The memory of this process in bytes, by a line of `/proc/self/status`.
fn resident(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// In a process of its own: ticks over the answer in a file, as the loop of a server makes them.
fn memory(path: &str) {
    let rules = rule_set(100);
    let mut server = Loop::new();
    server.tick(&rules, &answer(10, 1, |_| false));
    let idle = resident("VmRSS:");
    let mut bytes = 0;
    for _ in 0..3 {
        let body = fs::read_to_string(path).unwrap();
        bytes = body.len();
        server.tick(&rules, &body);
    }
    let beside = |measured: f64| (measured - idle) / bytes as f64;
    println!("| memory | beside the answer | bar |");
    println!("|---|---|---|");
    println!("| after a tick, above idle | {:.2} x | 1.5 x |", beside(resident("VmRSS:")));
    println!(
        "| the most during a tick, above idle | {:.2} x | 3.0 x |",
        beside(resident("VmHWM:"))
    );
}

/// How the time of a first tick grows with the tasks and with the rules.
fn growth() {
    println!("| first tick | whole | for each task |");
    println!("|---|---|---|");
    for (tasks, count) in [
        (1_000, 100),
        (10_000, 100),
        (100_000, 100),
        (100_000, 10),
        (100_000, 1000),
        (1_000_000, 100),
    ] {
        let (rules, body) = (rule_set(count), answer(tasks, 1, |_| false));
        // The first use of a pattern compiles it.
        Loop::new().tick(&rules, &answer(1_000, 1, |_| false));
        let whole = Loop::new().tick(&rules, &body).whole();
        let each = whole * 1000.0 / tasks as f64;
        println!("| {tasks} tasks, {count} rules | {whole:.0} ms | {each:.1} µs |");
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    if let [_, mode, path] = &args[..]
        && mode == "memory"
    {
        return memory(path);
    }
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    println!("{}, taskwarden {}", machine(), env!("CARGO_PKG_VERSION"));
    let tasks = number("TASKS", 100_000);
    ticks(tasks, number("RUNS", 5));
    println!();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), answer(tasks, 1, |_| false)).unwrap();
    let child = Command::new(env::current_exe().unwrap()).arg("memory").arg(file.path()).status();
    assert!(child.unwrap().success());
    println!();
    growth();
}
