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
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use answer::{answer, mix, rules};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use taskwarden::engine::decide::{Sleepers, Tick};
use taskwarden::engine::memory::{Memory, Snapshot};
use taskwarden::engine::rule::RuleSet;
use taskwarden::engine::task::{Flavour, Kind};
use taskwarden::rules::{Source, load};
use taskwarden::upstream::Reader;

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

/// What it takes of the processor, in milliseconds: other work on the machine does not count.
fn timed<T>(what: impl FnOnce() -> T) -> (T, f64) {
    let spent = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let began = spent();
    let value = what();
    (value, spent() - began)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn rule_set(count: usize) -> Arc<RuleSet> {
    let text = rules(count);
    let loaded = load(Source::new("bench", &text));
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings)).rules
}

/// What the loop of a server keeps from look to look.
struct Loop {
    reader: Reader,
    memory: Memory,
    sleepers: Sleepers,
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

impl Loop {
    fn new() -> Self {
        let (reader, memory) = (Reader::default(), Memory::new(SERVER.into()));
        Self { reader, memory, sleepers: Sleepers::default(), ticks: 0 }
    }

    /// One tick over an answer, which goes once it is read.
    fn tick(&mut self, rules: &RuleSet, body: String) -> Parts {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let now = start + SignedDuration::from_secs(15 * self.ticks);
        self.ticks += 1;
        let (tasks, read) = timed(|| self.reader.read(&body).unwrap());
        drop(body);
        let snapshot = Snapshot {
            server: SERVER.into(),
            flavour: Flavour::OpenList,
            skew: SignedDuration::ZERO,
            kinds: BTreeMap::from([(Kind::Copy, tasks)]),
            unread: BTreeMap::new(),
        };
        let (judgements, fold) = timed(|| self.memory.fold(&snapshot, now));
        let (decision, decide) = timed(|| {
            let tick = Tick { now, seed: 1 };
            let decision = self.sleepers.decide(rules, &self.memory, &snapshot, tick);
            self.memory.absorb(decision.memory.clone());
            decision
        });
        black_box((judgements, &decision));
        // What goes at the end of a tick belongs to it as well.
        let ((), end) = timed(|| {
            self.memory.saved();
            drop((snapshot, decision));
        });
        Parts { read, fold, decide: decide + end }
    }
}

/// What the measures are held to, and whether one of them missed it.
#[derive(Default)]
struct Verdicts {
    missed: bool,
}

impl Verdicts {
    fn of(&mut self, measured: f64, bar: f64) -> &'static str {
        self.missed |= measured > bar;
        if measured <= bar { "met" } else { "missed" }
    }
}

/// One line of the table: a measure beside the bare parse of the same run.
fn row(verdicts: &mut Verdicts, what: &str, (bare, parts): (&[f64], &[Parts]), bar: f64) {
    let of = |part: fn(Parts) -> f64| median(parts.iter().map(|parts| part(*parts)).collect());
    let ratio = median(parts.iter().zip(bare).map(|(parts, bare)| parts.whole() / bare).collect());
    println!(
        "| {what} | {ratio:.2} x | {bar:.1} x | {} | {:.0} ms | {:.0} | {:.0} | {:.0} |",
        verdicts.of(ratio, bar),
        of(Parts::whole),
        of(|parts| parts.read),
        of(|parts| parts.fold),
        of(|parts| parts.decide),
    );
}

fn bare(body: &str) -> f64 {
    let (parsed, time) = timed(|| serde_json::from_str::<BareAnswer>(body).unwrap());
    assert!(!black_box(parsed).data.is_empty());
    time
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

fn ticks(verdicts: &mut Verdicts, tasks: u64, runs: u64) {
    let body = answer(tasks, 1, |_| false);
    println!("{tasks} tasks, {:.1} MB, medians of {runs} runs\n", body.len() as f64 / 1e6);
    let bares: Vec<f64> = (0..runs).map(|_| bare(&body)).collect();
    println!("bare parse: {:.0} ms\n", median(bares));
    println!("| tick | beside the bare parse | bar | | whole | read | fold | decide |");
    println!("|---|---|---|---|---|---|---|---|");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &body).unwrap();
    for (count, bar) in [(100, 2.0), (1000, 3.0)] {
        for (compiled, so) in [("compiled", ""), ("fresh", ", no pattern compiled yet")] {
            let (mut bares, mut parts) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                bares.push(child(&["bare"], file.path())[0]);
                let first = child(&["cold", compiled, &count.to_string()], file.path());
                parts.push(Parts { read: first[0], fold: first[1], decide: first[2] });
            }
            row(verdicts, &format!("cold, {count} rules{so}"), (&bares, &parts), bar);
        }
    }
    let rules = rule_set(100);
    for (what, share, bar) in [("nothing changed", 0, 1.2), ("1% changed", 1, 1.3)] {
        let mut server = Loop::new();
        server.tick(&rules, body.clone());
        let (mut bares, mut parts) = (Vec::new(), Vec::new());
        for look in 2..2 + runs {
            let body = answer(tasks, look, |n| mix(n ^ look) % 100 < share);
            bares.push(bare(&body));
            parts.push(server.tick(&rules, body));
        }
        row(verdicts, &format!("{what}, 100 rules"), (&bares, &parts), bar);
    }
}

/// The memory of this process in bytes, by a line of `/proc/self/status`.
fn resident(line: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// What a process of its own measures of the answer in a file: nothing that another one left behind is in
/// the way of it, or of use to it.
fn child(measure: &[&str], answer: &Path) -> Vec<f64> {
    let child = Command::new(env::current_exe().unwrap()).args(measure).arg(answer).output();
    let child = child.unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let text = String::from_utf8(child.stdout).unwrap();
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// Such a process: prints what it measured.
fn measure(measure: &[&str], answer: &str) {
    let read = || fs::read_to_string(answer).unwrap();
    match measure {
        ["bare"] => {
            bare(&self::answer(1_000, 1, |_| false));
            println!("{}", bare(&read()));
        }
        // As a daemon takes its first look.
        ["cold", compiled, count] => {
            let rules = rule_set(count.parse().unwrap());
            // So does the daemon, while it waits for its first answers.
            rules.get_ready();
            // The first use of a pattern compiles it.
            if *compiled == "compiled" {
                Loop::new().tick(&rules, self::answer(1_000, 1, |_| false));
            }
            let Parts { read, fold, decide } = Loop::new().tick(&rules, read());
            println!("{read} {fold} {decide}");
        }
        // Ticks as the loop of a server makes them: what is taken above idle after one, and at most
        // during one, in bytes.
        ["memory", count] => {
            let empty = resident("VmRSS:");
            let rules = rule_set(count.parse().unwrap());
            let mut server = Loop::new();
            server.tick(&rules, self::answer(10, 1, |_| false));
            let idle = resident("VmRSS:");
            for _ in 0..3 {
                server.tick(&rules, read());
            }
            let steady = resident("VmRSS:");
            println!("{} {} {}", steady - idle, resident("VmHWM:") - idle, steady - empty);
        }
        other => panic!("{other:?} is no measure"),
    }
}

/// What such a process takes for so many tasks.
struct Taken {
    /// After a tick, above idle.
    steady: f64,
    /// At most, above idle.
    most: f64,
    /// After a tick, with the rules.
    whole: f64,
    /// The bytes of the answer.
    answer: f64,
}

fn memory_of(tasks: u64, rules: usize) -> Taken {
    let file = tempfile::NamedTempFile::new().unwrap();
    let body = answer(tasks, 1, |_| false);
    fs::write(file.path(), &body).unwrap();
    let taken = child(&["memory", &rules.to_string()], file.path());
    Taken { steady: taken[0], most: taken[1], whole: taken[2], answer: body.len() as f64 }
}

fn memory_table(verdicts: &mut Verdicts, tasks: u64) {
    let Taken { steady, most, answer, .. } = memory_of(tasks, 100);
    println!("| memory | beside the answer | bar | |");
    println!("|---|---|---|---|");
    for (what, measured, bar) in [
        ("after a tick, above idle", steady / answer, 1.5),
        ("the most during a tick, above idle", most / answer, 3.0),
    ] {
        let verdict = verdicts.of(measured, bar);
        println!("| {what} | {measured:.2} x | {bar:.1} x | {verdict} |");
    }
}

/// The power with which a measure grows: 1 is in line, by the line of least squares through logarithms.
fn power(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), log| (x + log.0, y + log.1));
    let (x, y) = (x / count, y / count);
    let over: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    over / logs.iter().map(|log| (log.0 - x).powi(2)).sum::<f64>()
}

/// How time and memory grow with the tasks and with the rules.
fn growth(verdicts: &mut Verdicts, runs: u64) {
    let first = |tasks: u64, count: usize, runs: u64| {
        let (rules, body) = (rule_set(count), answer(tasks, 1, |_| false));
        // The first use of a pattern compiles it.
        Loop::new().tick(&rules, answer(1_000, 1, |_| false));
        median((0..runs).map(|_| Loop::new().tick(&rules, body.clone()).whole()).collect())
    };
    println!("| first tick | whole | for each task | memory after it, for each task |");
    println!("|---|---|---|---|");
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for tasks in [1_000, 10_000, 100_000, 1_000_000] {
        let whole = first(tasks, 100, if tasks > 100_000 { 1 } else { runs });
        let each = whole * 1000.0 / tasks as f64;
        let Taken { steady, .. } = memory_of(tasks, 100);
        times.push((tasks as f64, whole));
        sizes.push((tasks as f64, steady));
        let bytes = steady / tasks as f64;
        println!("| {tasks} tasks, 100 rules | {whole:.0} ms | {each:.2} µs | {bytes:.0} bytes |");
    }
    let (mut by_rules, mut sizes_by_rules) = (Vec::new(), Vec::new());
    for count in [10, 100, 1000] {
        let whole = first(100_000, count, runs);
        let each = whole * 1000.0 / 100_000.0;
        by_rules.push((count as f64, whole));
        // Here with what the rules themselves take.
        let size = memory_of(100_000, count).whole;
        sizes_by_rules.push((count as f64, size));
        let bytes = size / 100_000.0;
        println!(
            "| 100000 tasks, {count} rules | {whole:.0} ms | {each:.2} µs | {bytes:.0} bytes with the rules |"
        );
    }
    println!("\n| growth | power | bar | |");
    println!("|---|---|---|---|");
    // What a measure of so few points can tell from a straight line.
    for (what, power, bar) in [
        ("time with tasks, 1,000 to 1,000,000", power(&times), 1.1),
        ("memory with tasks, 1,000 to 1,000,000", power(&sizes), 1.1),
        ("time with rules, 10 to 1,000", power(&by_rules), 0.9),
        ("memory with rules, 10 to 1,000", power(&sizes_by_rules), 0.9),
    ] {
        println!("| {what} | {power:.2} | {bar:.1} | {} |", verdicts.of(power, bar));
    }
}

/// The same again, with what the daemon's unit puts in the environment; `None` if it is there.
fn as_the_unit_does() -> Option<ExitCode> {
    let unit = include_str!("../../systemd/taskwarden.service");
    let set = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
    let set: Vec<(&str, &str)> =
        set.flat_map(str::split_whitespace).map(|set| set.split_once('=').unwrap()).collect();
    if set.iter().all(|(name, value)| env::var(name).is_ok_and(|it| it == *value)) {
        return None;
    }
    let again =
        Command::new(env::current_exe().unwrap()).args(env::args().skip(1)).envs(set).status();
    Some(if again.unwrap().success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> ExitCode {
    if let Some(ended) = as_the_unit_does() {
        return ended;
    }
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // `cargo bench` gives `--bench`.
    if let [what @ .., answer] = &args[..]
        && !what.is_empty()
        && *answer != "--bench"
    {
        measure(what, answer);
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
    };
    println!("{}, taskwarden {}", machine(), env!("CARGO_PKG_VERSION"));
    let (tasks, runs) = (number("TASKS", 100_000), number("RUNS", 5));
    let mut verdicts = Verdicts::default();
    ticks(&mut verdicts, tasks, runs);
    println!();
    memory_table(&mut verdicts, tasks);
    println!();
    if env::var_os("GROWTH").is_none_or(|growth| growth != "0") {
        growth(&mut verdicts, runs);
    }
    if verdicts.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
