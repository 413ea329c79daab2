//! `history`: what was seen of tasks and what was done to them, together in order.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::past::{self, Period, config};
use super::{Common, Exit, Failure, Format, audit, screen};
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::class::{Class, ClassTable};
use crate::engine::story::{Event, Seen, tell};
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
        Event::Seen(seen) => class.is_none() || (seen.is_news() && seen.class(&classes) == class),
        Event::Done(row) => class.is_none() || row.class == class,
    };
    let story = args.task.is_some() && common.format != Format::Json;
    let mut kept: VecDeque<Event> = VecDeque::new();
    let mut any = false;
    let gather = |event| {
        if wanted(&event) {
            any = true;
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
    };
    reader.events_each(&looks, &rows, gather).map_err(config)?;
    if !any {
        past::say_nothing(common, &reader, looks.server.as_ref(), class.as_ref())?;
        return Ok(Exit::Fine);
    }
    if story && !only_done && class.is_none() {
        let sentence = tell(kept.make_contiguous(), &classes, &TimeZone::system());
        if !sentence.is_empty() {
            screen::print(&sentence);
        }
    }
    for event in &kept {
        screen::print(&shown(common, event, &classes));
    }
    Ok(Exit::Fine)
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
