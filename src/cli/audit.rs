//! `audit`: what was done, by time, rule, task and outcome.

use std::fmt::Write as _;

use anyhow::anyhow;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Common, Exit, Failure, Format, paths, screen};
use crate::ambient::Clock;
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::text::{printable, when};
use crate::store::{AuditFilter, Reader};

/// Show what was done, when, why, and what came of it
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    /// Only since then: a moment (`2026-11-24T03:00:00Z`), a day (`2026-11-24`), or a length of
    /// time ago (`2h`, `7d`)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only of this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Only by this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only this action, by its name in the API, or `give_up`, `reload`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only tasks of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only the task with this id
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only with this outcome; may be given several times
    #[arg(long, value_name = "OUTCOME")]
    outcome: Vec<Outcome>,
    /// Only the last so many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    limit: Option<u32>,
}

pub(super) fn run(common: &Common, args: &AuditArgs) -> Result<Exit, Failure> {
    let now = Clock::system().now();
    let moment =
        |text: &Option<String>| text.as_deref().map(|text| parse_when(text, now)).transpose();
    let filter = AuditFilter {
        since: moment(&args.since)?,
        until: moment(&args.until)?,
        server: args.server.as_deref().map(Into::into),
        rule: args.rule.as_deref().map(Into::into),
        action: args.action.clone(),
        kind: args.kind.as_deref().map(Into::into),
        task_id: args.task.as_deref().map(Into::into),
        outcomes: args.outcome.clone(),
        limit: args.limit,
        newest_first: args.limit.is_some(),
        ..AuditFilter::default()
    };
    let config = |error: anyhow::Error| Failure::new(Exit::Config, error);
    let reader = Reader::open(&paths::state_dir(common)?).map_err(|error| config(error.into()))?;
    let show = |row: &AuditRow| match common.format {
        Format::Json => screen::print(&serde_json::to_string(row).unwrap_or_default()),
        _ => screen::print(&human(row)),
    };
    if args.limit.is_some() {
        // The last ones are found from the end, and shown in the order in which they happened.
        let rows = reader.audit(&filter).map_err(|error| config(error.into()))?;
        rows.iter().rev().for_each(show);
    } else {
        reader
            .audit_each(&filter, |row| {
                show(&row);
                std::ops::ControlFlow::Continue(())
            })
            .map_err(|error| config(error.into()))?;
    }
    Ok(Exit::Fine)
}

/// A row for people: one line, and what else there is below it.
#[must_use]
pub fn human(row: &AuditRow) -> String {
    let mut line = format!(
        "{}  {}  {:<16} {:<15}",
        screen::local_time(row.time),
        row.server,
        row.outcome,
        row.action
    );
    if let Some(kind) = &row.kind {
        let _ = write!(line, "  {kind}");
    }
    if let Some(id) = &row.task_id {
        let _ = write!(line, "  {}", printable(id.as_str()));
    }
    if let Some(name) = &row.task_name {
        let _ = write!(line, "\n    {}", printable(name));
    }
    let mut why = Vec::new();
    if let Some(rule) = &row.rule {
        why.push(format!("rule `{}`", printable(rule.as_str())));
    }
    for text in [&row.reason, &row.detail] {
        if !text.is_empty() {
            why.push(printable(text).into_owned());
        }
    }
    if let Some(error) = &row.error {
        let class = row.class.as_ref().map_or_else(String::new, |class| format!(" ({class})"));
        why.push(format!("error{class}: {}", printable(error)));
    }
    if !why.is_empty() {
        let _ = write!(line, "\n    {}", why.join("; "));
    }
    line
}

/// A moment as people give it.
pub(super) fn parse_when(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    when(text, now, &TimeZone::system()).map_err(|why| Failure::new(Exit::Usage, anyhow!(why)))
}
