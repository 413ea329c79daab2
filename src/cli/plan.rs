//! `plan`: one look at the live servers, and what would come of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::live::{self, Seen};
use super::{Common, Exit, Failure, Format, paths, screen};
use crate::engine::class::Class;
use crate::engine::decide::{Decision, Target, Tick, decide, until};
use crate::engine::memory::Snapshot;
use crate::engine::predicate::format_duration;
use crate::engine::rule::{Action, Mode};
use crate::engine::task::{Kind, RuleName, ServerName, Task, TaskId};
use crate::engine::text::printable;
use crate::engine::trace::Gate;
use crate::rules::Config;

/// Look at the servers once; say what would be done, and what waits until when
///
/// Nothing is sent that changes anything, and nothing is remembered. What a running daemon remembers
/// (attempts, waits) counts, if its state folder can be read.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

/// What would happen to one task, or one whole kind; a line of `--format json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    server: &'a ServerName,
    rule: &'a RuleName,
    action: Action,
    mode: Mode,
    kind: &'a Kind,
    task_id: Option<&'a TaskId>,
    task_name: Option<String>,
    attempt: Option<u32>,
    error: Option<String>,
    class: Option<Class>,
    /// `now` or `later`.
    when: &'static str,
    /// When it becomes due; for what happens now the present moment.
    due: Option<Timestamp>,
    reason: String,
    /// What it waits for.
    gate: Option<&'a Gate>,
}

pub(super) fn run(common: &Common, args: &PlanArgs) -> Result<Exit, Failure> {
    let (_, config) = paths::load_rules(common)?;
    let looks = live::look(common, &config, args.server.as_deref())?;
    for Seen { snapshot, memory, now } in &looks.seen {
        let tick = Tick { now: *now, seed: live::SEED };
        let decision = decide(&config.rules, memory, snapshot, tick);
        show(common, &config, snapshot, &decision, *now);
    }
    Ok(if looks.away { Exit::Unreached } else { Exit::Fine })
}

fn show(
    common: &Common,
    config: &Config,
    snapshot: &Snapshot,
    decision: &Decision,
    now: Timestamp,
) {
    let lines = lines(config, snapshot, decision, now);
    if common.format == Format::Json {
        for line in &lines {
            screen::print(&serde_json::to_string(line).unwrap_or_default());
        }
        for (kind, error) in &snapshot.unread {
            screen::say(&format!("warning: {kind} is not in the plan: {}", printable(error)));
        }
        return;
    }
    screen::print(human(snapshot, &lines, now).trim_end());
}

fn lines<'a>(
    config: &Config,
    snapshot: &'a Snapshot,
    decision: &'a Decision,
    now: Timestamp,
) -> Vec<Line<'a>> {
    let tasks: BTreeMap<(&Kind, &TaskId), &Task> = snapshot
        .kinds
        .iter()
        .flat_map(|(kind, tasks)| tasks.iter().map(move |task| ((kind, &task.id), task.as_ref())))
        .collect();
    let mut lines: Vec<Line<'a>> = Vec::new();
    for planned in &decision.actions {
        let task = planned.task.as_ref();
        lines.push(Line {
            server: &snapshot.server,
            rule: &planned.rule,
            action: planned.action,
            mode: planned.mode,
            kind: &planned.kind,
            task_id: task.map(Target::id),
            task_name: task.map(|task| task.name().to_owned()),
            attempt: task.map(|task| task.attempt),
            error: task.map(|task| task.error.to_string()).filter(|error| !error.is_empty()),
            class: task.and_then(|task| task.class.clone()),
            when: "now",
            due: Some(now),
            reason: planned.reason.clone(),
            gate: None,
        });
    }
    for waiting in &decision.waiting {
        if matches!(waiting.gate, Gate::Noticed | Gate::OneAction) {
            continue;
        }
        let Some(rule) = config.rules.rules.iter().find(|rule| rule.name == waiting.rule) else {
            continue;
        };
        let task = waiting.task.as_ref().and_then(|id| tasks.get(&(&waiting.kind, id)));
        lines.push(Line {
            server: &snapshot.server,
            rule: &waiting.rule,
            action: rule.action,
            mode: config.rules.mode_of(rule, &snapshot.server),
            kind: &waiting.kind,
            task_id: waiting.task.as_ref(),
            task_name: task.map(|task| task.name.shown().to_owned()),
            attempt: match waiting.gate {
                Gate::Backoff { attempt, .. } => Some(attempt),
                _ => None,
            },
            error: task.map(|task| task.error.to_string()).filter(|error| !error.is_empty()),
            class: task.filter(|task| !task.error.is_empty()).map(|task| {
                config.rules.classes.classify(&task.error, snapshot.flavour, task.state)
            }),
            when: "later",
            due: waiting.gate.until(),
            reason: waiting.gate.to_string(),
            gate: Some(&waiting.gate),
        });
    }
    lines
}

fn human(snapshot: &Snapshot, lines: &[Line<'_>], now: Timestamp) -> String {
    /// Tasks of one rule that are shown one by one before the rest is only counted.
    const SHOWN: usize = 20;
    let mut out = String::new();
    let tasks: usize = snapshot.kinds.values().map(|tasks| tasks.len()).sum();
    let (server, flavour) = (&snapshot.server, snapshot.flavour);
    let _ = writeln!(out, "{server} ({flavour}): {tasks} tasks in {} kinds", snapshot.kinds.len());
    for (kind, error) in &snapshot.unread {
        let _ = writeln!(out, "  {kind} could not be read: {}", printable(error));
    }
    for (when, title) in [("now", "would do now"), ("later", "waits")] {
        let mut groups: Vec<(&RuleName, Action, Mode, Vec<&Line<'_>>)> = Vec::new();
        for line in lines.iter().filter(|line| line.when == when) {
            match groups.iter_mut().find(|group| group.0 == line.rule && group.1 == line.action) {
                Some(group) => group.3.push(line),
                None => groups.push((line.rule, line.action, line.mode, vec![line])),
            }
        }
        let nothing = if groups.is_empty() { " nothing" } else { "" };
        let _ = writeln!(out, "  {title}:{nothing}");
        for (rule, action, mode, mut members) in groups {
            let mode = if mode == Mode::DryRun { " (dry run)" } else { "" };
            members.sort_by_key(|line| line.due);
            let count = members.len();
            let _ = writeln!(
                out,
                "    {action} by rule `{}`{mode}, {count}:",
                printable(rule.as_str())
            );
            for line in members.iter().take(SHOWN) {
                let what = match (line.task_id, &line.task_name) {
                    (Some(id), Some(name)) => {
                        format!("{}  {}", printable(id.as_str()), printable(name))
                    }
                    (Some(id), None) => printable(id.as_str()).into_owned(),
                    (None, _) => format!("all of {}", line.kind),
                };
                let soon = match line.due.filter(|due| *due > now) {
                    Some(due) => format!(" (in {})", format_duration(until(now, due))),
                    None => String::new(),
                };
                let _ = writeln!(out, "      {what}\n        {}{soon}", printable(&line.reason));
                if let Some(error) = &line.error {
                    let class =
                        line.class.as_ref().map_or_else(String::new, |class| format!(" ({class})"));
                    let _ = writeln!(out, "        error{class}: {}", printable(error));
                }
            }
            if count > SHOWN {
                let _ =
                    writeln!(out, "      and {} more; `--format json` lists all", count - SHOWN);
            }
        }
    }
    out
}
