//! Looking back at what a daemon wrote down.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use taskwarden::engine::observe::Look;
use taskwarden::store::{LookFilter, Reader};

pub fn looks(state: &Path) -> Vec<Look> {
    let mut looks = Vec::new();
    let reader = Reader::open(state).unwrap();
    let take = |look| {
        looks.push(look);
        ControlFlow::Continue(())
    };
    reader.looks_each(&LookFilter::default(), take).unwrap();
    looks
}

/// What a command prints; it must end well.
pub fn taskwarden(state: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskwarden"));
    command.env_clear().env("TZ", "UTC").env("HOME", state).current_dir(state);
    let output = command.arg("--state-dir").arg(state).args(args).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Holds that a backtest with these arguments differs in nothing from what was done; how much that was.
pub fn assert_reproduced(state: &Path, args: &[&str]) -> u64 {
    let backtest: Vec<&str> = ["backtest", "-q"].iter().chain(args).copied().collect();
    let as_json: Vec<&str> = backtest.iter().copied().chain(["--format", "json"]).collect();
    let lines = json(&taskwarden(state, &as_json));
    let total = lines.last().unwrap();
    let figures = ["added", "removed", "moved"].map(|key| total[key].as_u64().unwrap());
    assert_eq!(figures, [0, 0, 0], "{args:?}\n{}", taskwarden(state, &backtest));
    assert_eq!(total["uncertain_tasks"], 0);
    total["same"].as_u64().unwrap()
}
