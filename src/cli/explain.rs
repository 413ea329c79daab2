//! `explain`: every rule and every matcher against one task, and what happens to it next.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use anyhow::anyhow;
use jiff::Timestamp;
use serde_json::Value;

use super::described::{About, describe, server_of};
use super::live::{self, Seen};
use super::{Common, Exit, Failure, Format, audit, paths, screen};
use crate::ambient::Clock;
use crate::engine::audit::AuditRow;
use crate::engine::class::Retry;
use crate::engine::decide::{Tick, until};
use crate::engine::described::Described;
use crate::engine::explained::{Explained, RuleExplained, explain, summary};
use crate::engine::predicate::{PredicateTrace, format_duration};
use crate::engine::rule::{Mode, RuleSet};
use crate::engine::task::{Kind, RuleName, State, TaskId};
use crate::engine::text::{moment as written, printable};
use crate::engine::trace::Gate;
use crate::rules::Config;
use crate::store::{AuditFilter, Reader};

/// Say what every rule makes of one task, and why, and what happens next
///
/// The task is one that a server lists, the one of an audit row, or a described one; for that no
/// server is needed. Nothing is sent that changes anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskwarden explain 5sBp1PrhLbDxDCc3bHvNq
  taskwarden explain 5sBp1PrhLbDxDCc3bHvNq --rule 'retry flaky copies'
  taskwarden explain --audit 1234
  taskwarden explain --kind copy --error 'too many requests' --name 'copy [/a](/x) to [/b](/)'")]
pub struct ExplainArgs {
    /// The id of a task on a server
    #[arg(value_name = "ID", conflicts_with_all = ["audit", "kind", "state", "error", "name", "status",
        "creator", "role", "age", "stalled_for", "attempts", "progress", "size", "flavour"])]
    id: Option<String>,
    /// The task of this row of the audit log
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["kind", "state", "error", "name",
        "status", "creator", "role", "age", "stalled_for", "attempts", "progress", "size",
        "flavour"])]
    audit: Option<i64>,
    /// Only what this rule makes of it: why, or why not
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only this server; for a described task the one that it is on [default: the first]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    #[command(flatten)]
    about: About,
    /// The moment to look at a described task [default: now]
    #[arg(long, value_name = "MOMENT", conflicts_with_all = ["id", "audit"])]
    now: Option<Timestamp>,
}

pub(super) fn run(common: &Common, args: &ExplainArgs) -> Result<Exit, Failure> {
    let (_, config) = paths::load_rules(common)?;
    if let Some(rule) = &args.rule
        && !config.rules.rules.iter().any(|known| known.name.as_str() == rule)
    {
        let names: Vec<String> =
            config.rules.rules.iter().map(|rule| format!("`{}`", rule.name)).collect();
        let error = anyhow!("no rule is called `{rule}`; there are {}", names.join(", "));
        return Err(Failure::new(Exit::Usage, error));
    }
    if let Some(number) = args.audit {
        return audited(common, args, &config, number);
    }
    let Some(id) = &args.id else {
        if args.about.is_empty() {
            let error = anyhow!("name a task by its id, by --audit, or describe one: --error ...");
            return Err(Failure::new(Exit::Usage, error));
        }
        let server = server_of(&config, args.server.as_deref())?;
        let now = args.now.unwrap_or_else(|| Clock::system().now());
        let task = args.about.task(&server)?;
        say_kind_is_odd(&config, &task.kind);
        let explained = described(&config.rules, &task, now);
        show(common, args, explained.as_ref(), now);
        return Ok(Exit::Fine);
    };
    let id = TaskId::from(id.as_str());
    let looks = live::look(common, &config, args.server.as_deref())?;
    match find(&config.rules, &looks.seen, &id) {
        Some((explained, now)) => {
            show(common, args, Some(&explained), now);
            Ok(Exit::Fine)
        }
        None => Ok(not_found(&looks.seen, looks.away, &id)),
    }
}

/// A described task of a kind that no server has would silently match nothing.
fn say_kind_is_odd(config: &Config, kind: &Kind) {
    let listed = config.servers.iter().any(|server| server.kinds.contains(kind));
    if matches!(kind, Kind::Other(_)) && !listed {
        let names: Vec<&str> = Kind::KNOWN.iter().map(Kind::as_str).collect();
        screen::say(&format!("note: `{kind}` is none of the kinds {}", names.join(", ")));
    }
}

/// The task as the first server that lists it has it.
fn find(rules: &RuleSet, seen: &[Seen], id: &TaskId) -> Option<(Explained, Timestamp)> {
    seen.iter().find_map(|Seen { snapshot, memory, now }| {
        let (kind, _) = snapshot.kinds.iter().find(|(_, tasks)| tasks.find(id).is_some())?;
        let tick = Tick { now: *now, seed: live::SEED };
        explain(rules, memory, snapshot, tick, kind, id).map(|explained| (explained, *now))
    })
}

fn not_found(seen: &[Seen], away: bool, id: &TaskId) -> Exit {
    let mut unread = false;
    for Seen { snapshot, memory, .. } in seen {
        for (kind, why) in &snapshot.unread {
            unread = true;
            let why = printable(why);
            screen::say(&format!("error: {}: {kind} could not be read: {why}", snapshot.server));
        }
        for (kind, tasks) in &memory.tasks {
            if let Some(gone) = tasks.get(id).and_then(|task| Some(task.gone_since?.get())) {
                screen::say(&format!(
                    "note: {} listed it among {kind} until {}",
                    snapshot.server,
                    screen::local_time(gone)
                ));
            }
        }
    }
    screen::say(&format!("error: no server that answered lists a task {id:?}"));
    if away || unread { Exit::Unreached } else { Exit::Findings }
}

/// Explains the task of an audit row: as it is now, or, when it is gone, as the row tells of it.
fn audited(
    common: &Common,
    args: &ExplainArgs,
    config: &Config,
    number: i64,
) -> Result<Exit, Failure> {
    let failure = |error: anyhow::Error| Failure::new(Exit::Config, error);
    let reader = Reader::open(&paths::state_dir(common)?).map_err(|error| failure(error.into()))?;
    let mut found = None;
    reader
        .audit_each(&AuditFilter::default(), |row| {
            if row.id.0 == number {
                found = Some(row);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .map_err(|error| failure(error.into()))?;
    let Some(row) = found else {
        let error = anyhow!("the audit log has no row {number}; `audit --format json` shows `id`s");
        return Err(Failure::new(Exit::Findings, error));
    };
    let (Some(kind), Some(id)) = (&row.kind, &row.task_id) else {
        let error = anyhow!("row {number} is not about one task:\n{}", audit::human(&row));
        return Err(Failure::new(Exit::Findings, error));
    };
    if common.format != Format::Json {
        screen::print(&format!("{}\n", audit::human(&row)));
    }
    let server = args.server.as_deref().unwrap_or(row.server.as_str());
    let known = config.servers.iter().any(|known| known.name.as_str() == server);
    let looks = if known {
        live::look(common, config, Some(server))?
    } else {
        live::Looks { seen: Vec::new(), away: false }
    };
    if let Some((explained, now)) = find(&config.rules, &looks.seen, id) {
        show(common, args, Some(&explained), now);
        return Ok(Exit::Fine);
    }
    let why = match (known, looks.away) {
        (false, _) => "the rules file does not name its server any more",
        (_, true) => "its server could not be read",
        _ => "the task is gone",
    };
    screen::say(&format!("note: {why}; this is the task as the audit row tells of it"));
    let task = of_row(&row, kind).map_err(|why| failure(anyhow!(why)))?;
    show(common, args, described(&config.rules, &task, row.time).as_ref(), row.time);
    Ok(if looks.away { Exit::Unreached } else { Exit::Fine })
}

/// The task at the moment of an audit row, as far as the row tells.
fn of_row(row: &AuditRow, kind: &Kind) -> Result<Described, String> {
    let state = match row.action.as_str() {
        "cancel" | "cancel_some" => State::Running,
        "clear_succeeded" => State::Succeeded,
        _ if row.error.is_none() => State::Succeeded,
        _ => State::Failed,
    };
    let fields: serde_json::Map<String, Value> = [
        ("kind", Value::from(kind.as_str())),
        ("state", Value::from(state.to_string())),
        ("id", Value::from(row.task_id.as_ref().map(TaskId::as_str))),
        ("name", Value::from(row.task_name.clone())),
        ("error", Value::from(row.error.clone())),
        ("attempts", Value::from(row.attempt.unwrap_or(1).saturating_sub(1))),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    describe(&fields, &row.server, Some(kind))
}

/// What the rules make of a described task.
#[must_use]
pub fn described(rules: &RuleSet, task: &Described, now: Timestamp) -> Option<Explained> {
    let snapshot = task.snapshot(now);
    let memory = task.memory(rules, &snapshot, now);
    let tick = Tick { now, seed: live::SEED };
    explain(rules, &memory, &snapshot, tick, &task.kind, &task.id)
}

/// What becomes of a described task now, and by which rule.
pub(super) fn summarized(rules: &RuleSet, task: &Described, now: Timestamp) -> Option<Explained> {
    let snapshot = task.snapshot(now);
    let memory = task.memory(rules, &snapshot, now);
    let tick = Tick { now, seed: live::SEED };
    summary(rules, &memory, &snapshot, tick, &task.kind, &task.id)
}

fn show(common: &Common, args: &ExplainArgs, explained: Option<&Explained>, now: Timestamp) {
    let Some(explained) = explained else { return };
    let only = args.rule.as_deref();
    if common.format == Format::Json {
        screen::print(&json(explained, only));
    } else {
        screen::print(human(explained, only, now).trim_end());
    }
}

/// The object of `--format json`; with a rule's name only that rule stands under `rules`.
fn json(explained: &Explained, only: Option<&str>) -> String {
    let mut value = serde_json::to_value(explained).unwrap_or_default();
    if let (Some(only), Some(Value::Array(rules))) = (only, value.get_mut("rules")) {
        rules.retain(|rule| rule.get("name").and_then(Value::as_str) == Some(only));
    }
    value.to_string()
}

/// The explanation for people.
#[must_use]
pub fn human(task: &Explained, only: Option<&str>, now: Timestamp) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{}  {}  {}  {}",
        printable(task.server.as_str()),
        task.kind,
        printable(task.id.as_str()),
        task.state
    );
    if !task.name.is_empty() {
        let _ = writeln!(out, "  name   {}", printable(&task.name));
    }
    if !task.error.is_empty() {
        let _ = writeln!(out, "  error  {}", printable(&task.error));
    }
    if let (Some(class), Some(retry)) = (&task.class, task.retry_sensible) {
        let sensible = match retry {
            Retry::Yes => "a retry later is sensible",
            Retry::No => "a retry will not help",
            Retry::Maybe => "a retry may help or not",
        };
        let _ = writeln!(out, "  class  {class}: {sensible}");
    }
    let _ = writeln!(out, "  next   {}", next_line(task, now));
    for rule in &task.rules {
        if only.is_some_and(|only| only != rule.name.as_str()) {
            continue;
        }
        let _ = writeln!(out);
        rule_lines(&mut out, task, rule, now);
    }
    out
}

/// What one rule makes of the task, for people; empty for a rule that there is not.
#[must_use]
pub fn rule_human(task: &Explained, rule: &RuleName, now: Timestamp) -> String {
    let mut out = String::new();
    for one in task.rules.iter().filter(|one| one.name == *rule) {
        rule_lines(&mut out, task, one, now);
    }
    out
}

fn next_line(task: &Explained, now: Timestamp) -> String {
    if let Some(next) = &task.next {
        let rule = printable(next.rule.as_str());
        let what = match next.action {
            Some(action) => format!("{action} by `{rule}`"),
            None => format!("`{rule}` gives it up"),
        };
        let when = if next.at <= now {
            "now".to_owned()
        } else {
            let moment = screen::local_time(next.at);
            format!("at {moment}, in {}, if nothing changes", format_duration(until(now, next.at)))
        };
        return format!("{what} {when}");
    }
    match task.rules.iter().rfind(|rule| rule.verdict == "waits") {
        Some(rule) => match rule.gates.iter().find(|gate| gate.gate.until().is_none()) {
            Some(gate) => format!("no moment is known: {}", gate_text(&gate.gate, now)),
            None => "no moment is known".to_owned(),
        },
        None => "nothing: no rule wants it".to_owned(),
    }
}

fn rule_lines(out: &mut String, task: &Explained, rule: &RuleExplained, now: Timestamp) {
    let name = printable(rule.name.as_str());
    let mode = if rule.mode == Mode::DryRun { ", dry run" } else { "" };
    let (mark, says) = match rule.verdict {
        "off" => ("-", "is off".to_owned()),
        "taken_before" => {
            let matches = rule.why.is_none() && rule.predicates.iter().all(|one| one.held);
            let before = task
                .rules
                .iter()
                .filter(|other| matches!(other.verdict, "waits" | "acts" | "taken" | "let_go"))
                .rfind(|other| other.name != rule.name);
            let before = before.map_or("an earlier rule".to_owned(), |before| {
                format!("`{}`", printable(before.name.as_str()))
            });
            let would = if matches { "would match, but" } else { "does not match, and" };
            ("-", format!("{would} {before} has the task"))
        }
        "no_match" => ("✗", "does not match".to_owned()),
        "let_go" => ("✗", "has let it go".to_owned()),
        "acts" => ("✓", "acts now".to_owned()),
        _ => ("✓", "has it, and waits".to_owned()),
    };
    let _ = writeln!(out, "{mark} {name} ({}{mode}): {says}", rule.action);
    predicate_lines(out, &rule.predicates, 6);
    if let Some(why) = &rule.why {
        let _ = writeln!(out, "      ✗ {}", printable(why));
    }
    if rule.attempts > 0 {
        let of = rule.max_attempts.map_or_else(String::new, |max| format!(" of {max}"));
        let _ = writeln!(out, "      attempts so far: {}{of}", rule.attempts);
    }
    for gate in &rule.gates {
        let _ = writeln!(out, "      waits: {}", gate_text(&gate.gate, now));
    }
}

/// A gate in words, with its moment by the clock on the wall.
fn gate_text(gate: &Gate, now: Timestamp) -> String {
    let text = gate.to_string();
    let text = match gate.until() {
        Some(at) => {
            let moment = screen::local_time(at);
            let left = format_duration(until(now, at));
            text.replace(&written(at), &format!("{moment} (in {left})"))
        }
        None => text,
    };
    printable(&text).into_owned()
}

fn predicate_lines(out: &mut String, predicates: &[PredicateTrace], indent: usize) {
    let width = |text: &str| text.chars().count();
    let keys = predicates.iter().map(|one| width(one.key)).max().unwrap_or(0);
    let leaves = predicates.iter().filter(|one| one.members.is_empty());
    let wanted = leaves.map(|one| width(&one.expected)).filter(|width| *width <= 40).max();
    let wanted = wanted.unwrap_or(0);
    for one in predicates {
        let mark = if one.held { "✓" } else { "✗" };
        let key = format!("{:<keys$}", one.key);
        if one.members.is_empty() {
            let expected = printable(&one.expected);
            let actual = match one.actual.as_str() {
                "" => "(empty)".to_owned(),
                text => printable(text).into_owned(),
            };
            let _ = writeln!(out, "{:indent$}{mark} {key}  {expected:<wanted$}  is {actual}", "");
        } else {
            let _ = writeln!(out, "{:indent$}{mark} {}", "", one.key);
            predicate_lines(out, &one.members, indent + 4);
        }
    }
}
