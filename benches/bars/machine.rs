//! What a measurement is made on and with.

use std::fs;
use std::time::{Duration, Instant};

#[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The machine, in words.
pub(crate) fn machine() -> String {
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

/// A number from `/proc/PID/FILE`, such as `VmRSS:` of `status`.
pub(crate) fn proc_number(pid: &str, file: &str, line: &str) -> u64 {
    try_proc_number(pid, file, line).expect("Linux, and it runs")
}

/// The same of a process that may have ended.
pub(crate) fn try_proc_number(pid: &str, file: &str, line: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let found = text.lines().find_map(|text| text.strip_prefix(line))?;
    found.split_whitespace().next()?.parse().ok()
}

/// The milliseconds that the processor worked for this process's children that have ended: other work on
/// the machine does not count.
pub(crate) fn millis_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    // Behind the name, which may hold anything; in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks * 10.0
}

/// The milliseconds that the processor has worked for this thread.
pub(crate) fn millis_of_thread() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos: f64 = stat.split(' ').next().and_then(|first| first.parse().ok()).expect("a number");
    nanos / 1e6
}
