//! taskwarden's evaluator beside other rule engines, over the same tasks and the same hundred rules.
//! `benches/engines/run` installs the others and runs this; docs/performance.md has what was found.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::format_push_string,
    reason = "a measurement prints, and may fail so"
)]

#[allow(dead_code, reason = "not every measurement needs all of it")]
#[path = "../bars/machine.rs"]
mod machine;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use jiff::Timestamp;
use machine::{machine, median, now};
use serde_json::{Value, json};
use taskwarden::engine::decide::{Decision, Tick, decide};
use taskwarden::engine::described::Described;
use taskwarden::engine::memory::{Memory, Snapshot};
use taskwarden::engine::rule::RuleSet;
use taskwarden::engine::task::{Kind, State, TaskId};
use taskwarden::rules::{Source, load};

const RULES: usize = 100;
const TASKS: usize = 2_000;

/// A rule as all engines are given it: one of these kinds, this state, and an error in which the
/// expression is found. Its words mean the same to all of them.
fn rules() -> Vec<Value> {
    let kinds = [&["copy", "upload"][..], &["copy", "move"], &["offline_download"]];
    let rules = (0..RULES).map(|n| {
        json!({
            "name": format!("rule {n}"),
            "kind": kinds[n % 3],
            "state": "failed",
            "error": format!("code:? {n}[0-9]{{3}}, (message|reason): .*{n}|drive {n} (is|was) busy"),
        })
    });
    rules.collect()
}

/// Tasks of three kinds, so many percent of them failed, with so many distinct errors; three of four
/// errors are some rule's.
fn tasks(failed: usize, errors: usize) -> Vec<Value> {
    let tasks = (0..TASKS).map(|n| {
        let error = n * 7 % errors;
        let code = error % (RULES * 4 / 3);
        let kind = ["copy", "move", "offline_download"][code % 3];
        // Spread evenly, whatever the error.
        let (state, error) = if n * 37 % 100 < failed {
            ("failed", format!("failed to upload [/drive/f]: code: {code}{:03}, message: wait for {error} of {code}", error % 1000))
        } else {
            ("succeeded", String::new())
        };
        json!({ "kind": kind, "state": state, "error": error })
    });
    tasks.collect()
}

fn rule_set(rules: &[Value]) -> Arc<RuleSet> {
    let mut text =
        "version: 1\nservers: [{name: home, url: 'http://h', token: t}]\nrules:\n".to_owned();
    for rule in rules {
        // JSON is YAML.
        text.push_str(&format!(
            "  - {{ name: {}, match: {{ kind: {}, state: {}, error: {} }}, action: retry_some, max_attempts: 3 }}\n",
            rule["name"], rule["kind"], rule["state"], rule["error"]
        ));
    }
    let loaded = load(Source::new("engines", &text));
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.findings)).rules
}

fn id(n: usize) -> TaskId {
    TaskId::from(format!("{n:021}").as_str())
}

fn snapshot(tasks: &[Value], now: Timestamp) -> Snapshot {
    let mut all: Option<Snapshot> = None;
    for (n, task) in tasks.iter().enumerate() {
        let word = |key: &str| task[key].as_str().unwrap();
        let state = if word("state") == "failed" { State::Failed } else { State::Succeeded };
        let described = Described {
            id: id(n),
            name: format!("copy [/a](/{n}.mkv) to [/b](/)"),
            error: word("error").to_owned(),
            ..Described::new("home".into(), Kind::from(word("kind")), state)
        };
        let one = described.snapshot(now);
        match &mut all {
            None => all = Some(one),
            Some(all) => {
                for (kind, tasks) in one.kinds {
                    let listed = all.kinds.entry(kind).or_default();
                    tasks.iter().for_each(|task| listed.put(&task.id, Some(Arc::clone(task))));
                }
            }
        }
    }
    all.unwrap()
}

/// What an engine came to: microseconds a task of each round, and the rule of each task.
struct Ran {
    micros: Vec<f64>,
    chosen: Vec<Option<String>>,
}

/// The rule that has each task, whether it acts or waits.
fn chosen(decision: &Decision) -> Vec<Option<String>> {
    let acts = decision.actions.iter().filter_map(|planned| {
        Some((planned.task.as_ref()?.id().clone(), planned.rule.to_string()))
    });
    let waits = decision
        .waiting
        .iter()
        .filter_map(|waiting| Some((waiting.task.clone()?, waiting.rule.to_string())));
    let by_task: HashMap<TaskId, String> = acts.chain(waits).collect();
    (0..TASKS).map(|n| by_task.get(&id(n)).cloned()).collect()
}

/// Whole decisions: beside the rule of each task they hold what to do, why, and when.
fn ours(rules: &[Value], tasks: &[Value], rounds: usize) -> Ran {
    let rules = rule_set(rules);
    let moment: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let snapshot = snapshot(tasks, moment);
    let mut memory = Memory::new("home".into());
    memory.fold(&snapshot, moment);
    let round = || decide(&rules, &memory, &snapshot, Tick { now: moment, seed: 1 });
    // It warms up too.
    let chosen = chosen(&round());
    let micros = (0..rounds).map(|_| {
        let began = now();
        black_box(round());
        began.elapsed().as_secs_f64() * 1e6 / TASKS as f64
    });
    Ran { micros: micros.collect(), chosen }
}

/// Slow engines get no more than the first tasks, which are as mixed as all of them.
fn theirs(command: &mut Command, file: &Path, rounds: usize, most: usize) -> Ran {
    let ran = command
        .arg(file)
        .args([rounds.to_string(), most.to_string()])
        .output()
        .expect("it is installed");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let list = |key: &str| said[key].as_array().unwrap().clone();
    Ran {
        micros: list("micros").iter().map(|time| time.as_f64().unwrap()).collect(),
        chosen: list("chosen").iter().map(|rule| rule.as_str().map(str::to_owned)).collect(),
    }
}

fn main() -> ExitCode {
    let dir = env::var_os("ENGINES_DIR").map(|dir| fs::canonicalize(dir).unwrap());
    if dir.is_none() {
        println!("taskwarden alone: benches/engines/run installs the other engines\n");
    }
    println!("{}, taskwarden {}", machine(), env!("CARGO_PKG_VERSION"));
    println!("{RULES} rules, {TASKS} tasks, medians of several rounds on one core\n");
    println!("| engine | tasks | for each task | beside taskwarden | bar | |");
    println!("|---|---|---|---|---|---|");
    let (rules, mut missed) = (rules(), false);
    // Where each error is its own nothing that was found of one helps with the next, so that the loop, which remembers
    // nothing either, is not as far behind.
    for (what, failed, errors, re) in [
        ("all failed, 200 distinct errors", 100, 200, 10.0),
        ("all failed, each error its own", 100, TASKS, 4.0),
        ("a quarter failed, 200 distinct errors", 25, 200, 10.0),
    ] {
        let tasks = tasks(failed, errors);
        let ours = ours(&rules, &tasks, 51);
        let own = median(ours.micros);
        println!("| taskwarden | {what} | {own:.2} µs | 1 x | | |");
        assert!(ours.chosen.iter().flatten().count() > TASKS * failed / 200, "most have a rule");
        let Some(dir) = &dir else { continue };
        let file = dir.join("given.json");
        fs::write(&file, json!({ "rules": rules, "tasks": tasks }).to_string()).unwrap();
        let python = |name: &str| {
            let mut command = Command::new(dir.join("venv/bin/python"));
            command.arg(dir.join("engine.py")).arg(name);
            command
        };
        let mut node = Command::new("node");
        node.arg(dir.join("engine.mjs"));
        for (name, mut command, most, bar) in [
            ("a loop over Python's `re`", python("re"), TASKS, re),
            ("json-rules-engine 7.3.1", node, 500, 100.0),
            ("rule-engine 5.1.0", python("rule-engine"), 500, 100.0),
            ("zen-engine 2.1.3", python("zen-engine"), 100, 100.0),
        ] {
            let ran = theirs(&mut command, &file, 3, most);
            let differing =
                ran.chosen.iter().zip(&ours.chosen).filter(|(theirs, ours)| theirs != ours).count();
            assert_eq!(differing, 0, "{name} chooses other rules");
            let each = median(ran.micros);
            let (ratio, met) = (each / own, each / own >= bar);
            missed |= !met;
            let met = if met { "met" } else { "missed" };
            println!("| {name} | {what} | {each:.1} µs | {ratio:.0} x | {bar} x | {met} |");
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
