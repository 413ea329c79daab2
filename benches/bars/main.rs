//! What an installation costs beside its ticks: loading rules, starting, waiting, writing down.
//! docs/performance.md tells how to run it, what it is held to and what was found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::format_push_string,
    reason = "a measurement prints, and may fail so"
)]

mod daemon;
mod hostile;
mod machine;
mod past;
mod store;

use std::env;
use std::fs;
use std::process::ExitCode;

use machine::{machine, median, millis_of_thread};
use taskwarden::rules::{Source, load};

/// Which way a measure is to go.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// The table as it grows, and whether a bar was missed.
#[derive(Default)]
pub(crate) struct Table {
    missed: bool,
}

impl Table {
    pub(crate) fn row(&mut self, what: &str, value: f64, unit: &str, bar: Bar) {
        let (word, bar, met) = match bar {
            Bar::AtMost(bar) => ("at most", bar, value <= bar),
            Bar::AtLeast(bar) => ("at least", bar, value >= bar),
        };
        self.missed |= !met;
        let digits = usize::from(value < 100.0) + usize::from(value < 10.0);
        let met = if met { "met" } else { "missed" };
        println!("| {what} | {value:.digits$} {unit} | {word} {bar} {unit} | {met} |");
    }
}

/// A rules file with so many rules of about 200 bytes, each with patterns of its own.
pub(crate) fn rules(count: usize, servers: &str) -> String {
    let mut out = format!("version: 1\nservers: {servers}\nrules:\n");
    for n in 0..count {
        out.push_str(&format!(
            "  - name: busy {n}\n    match:\n      kind: [copy, upload]\n      state: failed\n      \
             error: 'code:? {n}[0-9]{{3}}, (message|reason): .*{n}'\n      dst: '/drive {n}/**'\n    \
             action: retry_some\n    max_attempts: 8\n"
        ));
    }
    out
}

/// How long a rules file of 5,000 rules takes to load, on one thread, up to where an error can be held against them.
fn loading(table: &mut Table, runs: usize) {
    let text = rules(5_000, "[{name: home, url: 'http://h', token: t}]");
    let times = (0..runs).map(|_| {
        let before = millis_of_thread();
        let loaded = load(Source::new("bars", &text));
        loaded.config.as_ref().expect("a file without a fault").rules.get_ready();
        let time = millis_of_thread() - before;
        drop(loaded);
        time
    });
    let what = format!("load of 5,000 rules ({:.1} MB)", text.len() as f64 / 1e6);
    table.row(&what, median(times.collect()), "ms", Bar::AtMost(150.0));
}

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let runs = env::var("RUNS").map_or(5, |text| text.parse().expect("a whole number"));
    println!("{}, taskwarden {}\n", machine(), env!("CARGO_PKG_VERSION"));
    println!("| what | measured | bar | |");
    println!("|---|---|---|---|");
    let mut table = Table::default();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == part);
    if is_wanted("size") && env::var_os("TASKWARDEN").is_some() {
        let size = fs::metadata(daemon::path()).unwrap().len() as f64 / 1_048_576.0;
        table.row("size of the program", size, "MiB", Bar::AtMost(12.0));
    }
    if is_wanted("load") {
        loading(&mut table, runs);
    }
    if is_wanted("hostile") {
        hostile::check(&mut table, runs);
    }
    if is_wanted("audit") {
        store::audit(&mut table, runs);
    }
    if is_wanted("match") {
        daemon::matching(&mut table, runs);
    }
    if is_wanted("start") {
        daemon::starting(&mut table, 4 * runs);
    }
    if is_wanted("idle") {
        daemon::idling(&mut table);
    }
    if is_wanted("crowd") {
        daemon::crowded(&mut table);
    }
    if is_wanted("past") {
        past::looking_back(&mut table, runs.min(3));
    }
    if table.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
