//! `report`: what a stretch of history comes to.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::past::{self, Period};
use super::{Common, Exit, Failure, Format, screen};
use crate::engine::report::Report;
use crate::engine::text::{plural, printable, shorten};
use crate::store::{AuditFilter, LookFilter};
use crate::web::views::report::gather;

/// What failed, where and when, what each further attempt was worth, and errors without a class
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    #[command(flatten)]
    period: Period,
    /// Only of this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Only tasks of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
}

/// So many lines of a table are shown to people.
const SHOWN: usize = 15;

pub(super) fn run(common: &Common, args: &ReportArgs) -> Result<Exit, Failure> {
    let (since, until) = args.period.moments()?;
    let reader = past::reader(common)?;
    let classes = past::classes(common);
    let (server, kind) =
        (args.server.as_deref().map(Into::into), args.kind.as_deref().map(Into::into));
    let looks = LookFilter { since, until, server, kind, task: None };
    let rows = AuditFilter {
        since,
        until,
        server: looks.server.clone(),
        kind: looks.kind.clone(),
        ..AuditFilter::default()
    };
    let zone = TimeZone::system();
    let report = gather(&reader, &looks, &rows, &classes, &zone).map_err(past::config)?;
    if common.format == Format::Json {
        for line in lines(&report) {
            screen::print(&line.to_string());
        }
    } else {
        screen::print(human(&report).trim_end());
    }
    Ok(Exit::Fine)
}

/// The report as JSON, one object a line; `about` tells what it is about.
fn lines(report: &Report) -> Vec<Value> {
    let mut lines = Vec::new();
    for (class, failures) in &report.classes {
        lines.push(json!({ "about": "class", "class": class, "failures": failures }));
    }
    for (mount, failures) in &report.mounts {
        lines.push(json!({ "about": "mount", "mount": mount, "failures": failures }));
    }
    for (hour, failures) in report.hours.iter().enumerate().filter(|(_, failures)| **failures > 0) {
        lines.push(json!({ "about": "hour", "hour": hour, "failures": failures }));
    }
    for (rule, attempts) in &report.attempts {
        for (attempt, worth) in attempts {
            lines.push(json!({
                "about": "attempt", "rule": rule, "attempt": attempt,
                "succeeded": worth.succeeded, "failed": worth.failed, "unknown": worth.unknown,
            }));
        }
    }
    for advice in report.advice() {
        lines.push(json!({
            "about": "advice", "rule": advice.rule, "max_attempts": advice.from - 1,
            "text": advice.text(),
        }));
    }
    for cluster in report.clusters() {
        lines.push(json!({
            "about": "unclassified", "count": cluster.count, "example": cluster.example,
            "pattern": cluster.pattern, "suggestion": cluster.suggestion,
        }));
    }
    lines
}

fn human(report: &Report) -> String {
    let failures: u32 = report.classes.values().sum();
    if failures == 0 && report.attempts.is_empty() {
        return "nothing failed in this time, and nothing was retried".to_owned();
    }
    let mut text = format!("{}\n", plural(failures as usize, "failure", "failures"));
    let classes: Vec<(String, u32)> =
        report.classes.iter().map(|(class, count)| (class.to_string(), *count)).collect();
    let mounts: Vec<(String, u32)> =
        report.mounts.iter().map(|(mount, count)| (mount.clone(), *count)).collect();
    table(&mut text, "by class", classes, true);
    table(&mut text, "by mount", mounts, true);
    let hours = report.hours.iter().enumerate().filter(|(_, count)| **count > 0);
    let hours = hours.map(|(hour, count)| (format!("{hour:02}:00"), *count)).collect();
    table(&mut text, "by hour", hours, false);
    for (rule, attempts) in &report.attempts {
        let _ = writeln!(text, "\nattempts of rule `{}`", printable(rule.as_str()));
        for (attempt, worth) in attempts {
            let rate = if worth.known() == 0 {
                "nothing known".to_owned()
            } else {
                let percent = 100.0 * f64::from(worth.succeeded) / f64::from(worth.known());
                format!("{percent:.0}% of {} succeeded", worth.known())
            };
            let unknown = match worth.unknown {
                0 => String::new(),
                unknown => format!(", {unknown} not known"),
            };
            let _ = writeln!(text, "  attempt {attempt}: {rate}{unknown}");
        }
    }
    for advice in report.advice() {
        let _ = writeln!(text, "  -> `{}`: {}", printable(advice.rule.as_str()), advice.text());
    }
    let clusters = report.clusters();
    if !clusters.is_empty() {
        let _ = writeln!(
            text,
            "\nerrors without a class; a line under `classes:` in the rules file gives them one"
        );
        for cluster in clusters.iter().take(SHOWN) {
            let example = shorten(&cluster.example, 160);
            let _ = writeln!(text, "  {:>6}  {}", cluster.count, printable(&example));
            let _ = writeln!(text, "          {}", printable(&cluster.suggestion));
        }
        if clusters.len() > SHOWN {
            let _ = writeln!(text, "  and {} more wordings", clusters.len() - SHOWN);
        }
    }
    text
}

fn table(text: &mut String, title: &str, mut lines: Vec<(String, u32)>, by_count: bool) {
    if by_count {
        lines.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }
    let _ = writeln!(text, "\n{title}");
    let most = lines.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
    let shown = if by_count { SHOWN } else { 24 };
    for (name, count) in lines.iter().take(shown) {
        let bar = "#".repeat((count * 30).div_ceil(most) as usize);
        let _ = writeln!(text, "  {count:>6}  {:<20} {bar}", printable(name));
    }
    if lines.len() > shown {
        let _ = writeln!(text, "  and {} more", lines.len() - shown);
    }
}
