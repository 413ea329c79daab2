//! `status`: how the running daemon stands.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Common, Exit, Failure, Format, running, screen};
use crate::ambient::Clock;
use crate::engine::decide::until;
use crate::engine::predicate::format_duration;
use crate::engine::rule::Mode;
use crate::engine::text::{plural, printable};
use crate::telemetry::status::{RuleStatus, ServerStatus};
use crate::web::routes::Status;

/// Show how the running daemon stands: servers, rules, breakers, and what is due next
///
/// Ends with 3 if no daemon runs, or if it cannot read one of its servers.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

pub(super) fn run(common: &Common, _args: &StatusArgs) -> Result<Exit, Failure> {
    let status = running::status(common)?;
    if common.format == Format::Json {
        screen::print(&serde_json::to_string(&status).unwrap_or_default());
    } else {
        screen::print(human(&status, Clock::system().now()).trim_end());
    }
    let away = status.servers.iter().any(|server| server.away.is_some());
    Ok(if away { Exit::Unreached } else { Exit::Fine })
}

fn human(status: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    let daemon = &status.daemon;
    let _ = writeln!(
        text,
        "taskwarden {}, process {}, since {}",
        daemon.version,
        daemon.pid,
        screen::local_time(daemon.started)
    );
    let config = daemon.config.as_deref().unwrap_or("built in");
    let _ = writeln!(text, "rules: {} of revision {}", printable(config), daemon.revision);
    if let Some(reload) = status.reload.as_ref().filter(|reload| !reload.accepted) {
        let _ = writeln!(text, "THE RULES FILE AS IT IS NOW IS NOT IN FORCE:\n{}", reload.detail);
    }
    for name in &daemon.servers {
        match status.servers.iter().find(|server| server.server == *name) {
            Some(server) => write_server(&mut text, server, now),
            None => {
                let _ = writeln!(text, "\n{}: not looked at yet", printable(name.as_str()));
            }
        }
    }
    text
}

fn write_server(text: &mut String, server: &ServerStatus, now: Timestamp) {
    let name = printable(server.server.as_str());
    let ago = format_duration(until(server.time, now));
    let _ = match &server.away {
        Some(away) => {
            let since = screen::local_time(away.since);
            writeln!(text, "\n{name}: AWAY since {since}: {}", printable(&away.error))
        }
        None => writeln!(text, "\n{name}: {} server, looked at {ago} ago", server.flavour),
    };
    if !server.store_works {
        let _ = writeln!(text, "  NOTHING IS DONE, because it cannot be written down");
    }
    if server.skew_seconds != 0 {
        let _ = writeln!(text, "  its clock is {} s ahead of ours", server.skew_seconds);
    }
    for (kind, states) in &server.tasks {
        let states: Vec<_> =
            states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        if !states.is_empty() {
            let _ = writeln!(text, "  {kind}: {}", states.join(", "));
        }
    }
    for (kind, why) in &server.unread {
        let _ = writeln!(text, "  {kind}: not read: {}", printable(why));
    }
    for rule in &server.rules {
        write_rule(text, rule);
    }
    if !server.due.is_empty() {
        let _ = writeln!(text, "  next:");
    }
    for due in &server.due {
        let what = match (&due.task_name, &due.task_id) {
            (Some(name), _) => printable(name).into_owned(),
            (None, Some(id)) => printable(id.as_str()).into_owned(),
            (None, None) => due.kind.to_string(),
        };
        let _ = writeln!(
            text,
            "    {} (in {})  {}: {what}",
            screen::local_time(due.time),
            format_duration(until(now, due.time)),
            printable(due.rule.as_str()),
        );
    }
}

fn write_rule(text: &mut String, rule: &RuleStatus) {
    let mut parts = Vec::new();
    if rule.mode != Mode::Live {
        parts.push(rule.mode.to_string());
    }
    if let Some(paused) = &rule.paused {
        let until = paused.until.map_or_else(
            || "until it is resumed".to_owned(),
            |until| format!("until {}", screen::local_time(until)),
        );
        let why = if paused.why.is_empty() { String::new() } else { format!(": {}", paused.why) };
        parts.push(format!("PAUSED {until}{}", printable(&why)));
    }
    let waiting: usize = rule.waiting.values().sum();
    if waiting > 0 {
        let gates: Vec<_> =
            rule.waiting.iter().map(|(gate, count)| format!("{gate} {count}")).collect();
        parts.push(format!("{waiting} waiting ({})", gates.join(", ")));
    }
    if rule.dead > 0 {
        parts.push(format!("{} given up", plural(rule.dead, "task", "tasks")));
    }
    for breaker in &rule.breakers {
        let until = breaker
            .until
            .map_or_else(String::new, |until| format!(" until {}", screen::local_time(until)));
        parts.push(format!("breaker {} {}{until}", printable(&breaker.key), breaker.state));
    }
    if parts.is_empty() {
        parts.push("nothing waits".to_owned());
    }
    let _ = writeln!(text, "  rule `{}`: {}", printable(rule.rule.as_str()), parts.join("; "));
}
