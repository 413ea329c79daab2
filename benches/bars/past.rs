//! Looking back: how long commands take over a month of a busy server.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use super::{Bar, Table, daemon};
use crate::machine::median;

#[path = "../../tests/common/busy.rs"]
mod busy;

/// The bar speaks of so many.
const TRANSITIONS: usize = 1_000_000;

/// How long the program takes to look back over a million transitions, and its memory.
pub(crate) fn looking_back(table: &mut Table, runs: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let state = dir.path().join("state");
    let (transitions, retries) = runtime.block_on(busy::busy_server(&state, TRANSITIONS));
    let other = busy::RULES.replace("60s", "90s").replace("max_attempts: 6", "max_attempts: 1");
    for (name, rules) in [("ran.yaml", busy::RULES), ("other.yaml", &other)] {
        fs::write(dir.path().join(name), rules).unwrap();
    }
    let ask = |args: &[&str]| {
        let (mut times, mut peak) = (Vec::new(), 0.0_f64);
        for _ in 0..runs {
            let mut command = daemon::program(dir.path(), args);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut time = 0.0;
            let code = loop {
                // Both only grow, so it does not matter much when they are asked for last.
                time = processor_seconds(child.id()).unwrap_or(time);
                peak = peak.max(peak_mebibytes(child.id()));
                if let Some(code) = child.try_wait().unwrap() {
                    break code;
                }
                std::thread::sleep(Duration::from_millis(10));
            };
            times.push(time);
            assert!(code.success(), "{args:?}: {code}");
        }
        (median(times), peak)
    };
    let (seconds, peak) = ask(&["backtest", "--rules", "ran.yaml"]);
    let what = format!("backtest of {transitions} transitions and {retries} retries");
    table.row(&what, seconds, "s", Bar::AtMost(30.0));
    println!("| its memory, at the most | {peak:.0} MiB | | |");
    for (what, args) in [
        (
            "the same, two rules files",
            &["backtest", "--rules", "other.yaml", "--against", "ran.yaml"][..],
        ),
        ("report of the same", &["report"]),
        ("history of the same, its last 20 events", &["history", "-n", "20"]),
    ] {
        let (seconds, peak) = ask(args);
        println!("| {what} | {seconds:.1} s, {peak:.0} MiB | | |");
    }
}

/// The time that a process has had of the processor, which other work on the machine does not lengthen.
fn processor_seconds(pid: u32) -> Option<f64> {
    /// The kernel tells hundredths of a second to everyone, whatever it counts in itself.
    const HUNDREDTHS: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / HUNDREDTHS)
}

fn peak_mebibytes(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    // One that has just ended has none any more.
    kibibytes.unwrap_or(0.0) / 1024.0
}
