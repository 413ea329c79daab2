//! `history`: what was seen of tasks and what was done to them, together in order.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::past::{self, Event, Period, Seen};
use super::{Common, Exit, Failure, Format, audit, screen};
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::class::{Class, ClassTable};
use crate::engine::predicate::format_duration;
use crate::engine::rule::{Action, Effect, Mode};
use crate::engine::task::{Kind, ServerName, State, TaskId};
use crate::engine::text::{printable, shorten};
use crate::store::{AuditFilter, LookFilter};

/// What happened to tasks, and what was done about it
///
/// With --task, the story of one task in a sentence, and its events.
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    period: Period,
    /// Only of this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Only what this rule did
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only tasks of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only with an error of this class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only the task with this id
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Only what was done, with this outcome; may be given several times
    #[arg(long, value_name = "OUTCOME")]
    outcome: Vec<Outcome>,
    /// Only the last so many events
    #[arg(short = 'n', long, value_name = "NUMBER")]
    limit: Option<usize>,
}

/// What was seen, as a line of `--format json`; what was done is the audit row.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    time: Timestamp,
    server: &'a ServerName,
    kind: &'a Kind,
    task_id: &'a TaskId,
    task_name: Option<&'a str>,
    was: Option<State>,
    state: Option<State>,
    error: Option<&'a str>,
    class: Option<Class>,
    progress: Option<f64>,
    still_since: Option<Timestamp>,
}

#[derive(Serialize)]
struct DoneLine<'a> {
    event: &'static str,
    #[serde(flatten)]
    row: &'a AuditRow,
}

pub(super) fn run(common: &Common, args: &HistoryArgs) -> Result<Exit, Failure> {
    let (since, until) = args.period.moments()?;
    let reader = past::reader(common)?;
    let classes = past::classes(common);
    let looks = LookFilter {
        since,
        until,
        server: args.server.as_deref().map(Into::into),
        kind: args.kind.as_deref().map(Into::into),
        task: args.task.as_deref().map(Into::into),
    };
    let rows = AuditFilter {
        since,
        until,
        server: looks.server.clone(),
        rule: args.rule.as_deref().map(Into::into),
        kind: looks.kind.clone(),
        task_id: looks.task.clone(),
        outcomes: args.outcome.clone(),
        ..AuditFilter::default()
    };
    let class: Option<Class> = args.class.as_deref().map(Into::into);
    let only_done = args.rule.is_some() || !args.outcome.is_empty();
    let wanted = |event: &Event| match event {
        Event::Seen(_) if only_done => false,
        Event::Seen(seen) => class.is_none() || (news(seen) && seen.class(&classes) == class),
        Event::Done(row) => class.is_none() || row.class == class,
    };
    let story = args.task.is_some() && common.format != Format::Json;
    let mut kept: VecDeque<Event> = VecDeque::new();
    past::each(&reader, &looks, &rows, |event| {
        if wanted(&event) {
            if story || args.limit.is_some() {
                kept.push_back(event);
                if args.limit.is_some_and(|limit| kept.len() > limit) {
                    kept.pop_front();
                }
            } else {
                screen::print(&shown(common, &event, &classes));
            }
        }
        ControlFlow::Continue(())
    })?;
    if story && !only_done && class.is_none() {
        let sentence = tell(kept.make_contiguous(), &classes, &TimeZone::system());
        if sentence.is_empty() {
            screen::say("nothing is known of that task in this time");
        } else {
            screen::print(&sentence);
        }
    }
    for event in &kept {
        screen::print(&shown(common, event, &classes));
    }
    Ok(Exit::Fine)
}

/// Whether more than its progress changed.
fn news(seen: &Seen) -> bool {
    match (&seen.before, &seen.task) {
        (Some(before), Some(task)) => before.fingerprint() != task.fingerprint(),
        _ => true,
    }
}

fn shown(common: &Common, event: &Event, classes: &ClassTable) -> String {
    match (event, common.format) {
        (Event::Seen(seen), Format::Json) => {
            serde_json::to_string(&line(seen, classes)).unwrap_or_default()
        }
        (Event::Done(row), Format::Json) => {
            serde_json::to_string(&DoneLine { event: "done", row }).unwrap_or_default()
        }
        (Event::Seen(seen), _) => human(seen, classes),
        (Event::Done(row), _) => audit::human(row),
    }
}

fn line<'a>(seen: &'a Seen, classes: &ClassTable) -> Line<'a> {
    let task = seen.task.as_ref();
    Line {
        event: "seen",
        time: seen.time,
        server: &seen.server,
        kind: &seen.kind,
        task_id: &seen.id,
        task_name: task.or(seen.before.as_ref()).map(|task| task.name.shown()),
        was: seen.before.as_ref().map(|task| task.state),
        state: task.map(|task| task.state),
        error: task.map(|task| &*task.error).filter(|error| !error.is_empty()),
        class: seen.class(classes),
        progress: task.map(|task| task.progress),
        still_since: seen.still_since,
    }
}

/// What was seen, for people: one line, and the task and its error below it.
fn human(seen: &Seen, classes: &ClassTable) -> String {
    let became = seen.task.as_ref().map_or("gone".to_owned(), |task| task.state.to_string());
    let mut text = format!(
        "{}  {}  {became:<16} {:<15}  {}  {}",
        screen::local_time(seen.time),
        printable(seen.server.as_str()),
        seen.before.as_ref().map_or_else(|| "new".to_owned(), |task| format!("was {}", task.state)),
        printable(seen.kind.as_str()),
        printable(seen.id.as_str()),
    );
    if let Some(task) = seen.task.as_ref().or(seen.before.as_ref()) {
        let _ = write!(text, "\n    {}", printable(task.name.shown()));
    }
    let Some(task) = &seen.task else { return text };
    if task.state == State::Running {
        let _ = write!(text, "\n    at {:.0}%", task.progress);
        if let Some(since) = seen.still_since {
            let _ = write!(text, ", not moved since {}", screen::local_time(since));
        }
    }
    if let Some(class) = seen.class(classes) {
        let _ = write!(text, "\n    error ({class}): {}", printable(&shorten(&task.error, 300)));
    }
    text
}

/// The story of one task in a sentence.
fn tell(events: &[Event], classes: &ClassTable, zone: &TimeZone) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut day = None;
    let mut at = |moment: Timestamp| {
        let local = moment.to_zoned(zone.clone());
        let form =
            if day.replace(local.date()) == Some(local.date()) { "%H:%M" } else { "%F %H:%M" };
        local.strftime(form).to_string()
    };
    let mut failed_at: Option<Timestamp> = None;
    for event in events {
        match event {
            Event::Seen(seen) => {
                let before = seen.before.as_ref().map(|task| task.state);
                let Some(task) = &seen.task else {
                    parts.push(format!("left the list {}", at(seen.time)));
                    continue;
                };
                if before == Some(task.state) && seen.failed().is_none() {
                    continue;
                }
                let class =
                    seen.class(classes).map_or_else(String::new, |class| format!(" {class}"));
                failed_at = (task.state == State::Failed).then_some(seen.time);
                parts.push(format!("{} {}{class}", task.state, at(seen.time)));
            }
            Event::Done(row) => {
                if let Some(since) = failed_at.take() {
                    let waited = Duration::try_from(row.time.duration_since(since));
                    let waited = waited.unwrap_or_default();
                    if waited >= Duration::from_secs(1) {
                        parts.push(format!("waited {}", format_duration(waited)));
                    }
                }
                parts.push(done(row, &at(row.time)));
            }
        }
    }
    parts.join("; ")
}

fn done(row: &AuditRow, at: &str) -> String {
    let effect = Action::ALL.into_iter().find(|action| action.as_str() == row.action);
    let verb = match effect.map(Action::effect) {
        Some(Effect::Retry) => "retried",
        Some(Effect::Cancel) => "canceled",
        Some(Effect::Remove) => "removed",
        Some(Effect::None) => "told",
        None if row.action == "give_up" => "given up",
        None => &row.action,
    };
    if row.mode == Mode::DryRun {
        return format!("would be {verb} {at} (dry run)");
    }
    let mut text = format!("{verb} {at}");
    if effect.is_some_and(|action| action.effect() == Effect::Retry)
        && let Some(attempt) = row.attempt
    {
        let _ = write!(text, ", attempt {attempt}");
    }
    match row.outcome {
        Outcome::Effective | Outcome::Accepted => {}
        Outcome::Planned => text.push_str(" (not sent yet)"),
        Outcome::SkippedChanged => text.push_str(" (not sent: it had changed)"),
        outcome => {
            let _ = write!(text, " ({outcome})");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::audit::IntentId;
    use crate::engine::name::TaskName;
    use crate::engine::task::{Flavour, Task};

    fn at(clock: &str) -> Timestamp {
        format!("2026-11-24T{clock}Z").parse().unwrap()
    }

    fn seen(clock: &str, before: Option<State>, state: State, error: &str) -> Event {
        let task = |state| Task {
            id: "a".into(),
            name: TaskName::new("upload a.bin to [/d](/x)"),
            creator: "".into(),
            roles: vec![],
            state,
            status: "".into(),
            progress: 0.0,
            started: None,
            ended: None,
            total_bytes: 0,
            error: error.into(),
        };
        Event::Seen(Box::new(Seen {
            time: at(clock),
            server: "home".into(),
            flavour: Flavour::OpenList,
            kind: Kind::Upload,
            id: "a".into(),
            before: before.map(task),
            task: Some(task(state)),
            still_since: None,
        }))
    }

    #[test]
    fn a_task_has_a_story() {
        let row = AuditRow {
            id: IntentId(1),
            time: at("21:14:00"),
            server: "home".into(),
            rule: Some("again".into()),
            action: "retry_some".to_owned(),
            kind: Some(Kind::Upload),
            task_id: Some("a".into()),
            task_name: None,
            attempt: Some(2),
            reason: String::new(),
            error: None,
            class: None,
            mode: Mode::Live,
            outcome: Outcome::Effective,
            detail: String::new(),
            rules_revision: String::new(),
        };
        let events = [
            seen("21:04:00", Some(State::Running), State::Failed, "429 Too Many Requests"),
            Event::Done(Box::new(row)),
            seen("21:14:10", Some(State::Failed), State::Running, ""),
            seen("21:20:10", Some(State::Running), State::Running, ""),
            seen("21:31:00", Some(State::Running), State::Succeeded, ""),
        ];
        assert_eq!(
            tell(&events, &ClassTable::builtin(), &TimeZone::UTC),
            "failed 2026-11-24 21:04 throttled; waited 10m; retried 21:14, attempt 2; \
             running 21:14; succeeded 21:31"
        );
    }
}
