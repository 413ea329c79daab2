//! The first page: servers and their health, the queue, what comes and what came.

use axum::extract::State;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::actions::{Row, rows};
use super::chart::{self, Chart};
use super::visit::Visit;
use super::words::{self, Language};
use crate::engine::task::{Kind, State as TaskState};
use crate::web::desk::Desk;
use crate::web::problem::Problem;
use crate::web::views::actions::{ActionsQuery, actions};
use crate::web::views::due::{DueQuery, DueTask, due};
use crate::web::views::overview::{KindTasks, Overview, ServerView, overview};
use crate::web::views::queue::{QueueQuery, QueueView, queue};

/// So many lines the lists of the page have at most.
const LINES: u32 = 12;

#[derive(Serialize)]
struct Page {
    overview: Overview,
    servers: Vec<Card>,
    columns: Vec<String>,
    rows: Vec<Line>,
    due: Vec<DueTask>,
    latest: Vec<Row>,
    course: Option<Course>,
}

/// A server with the sums that stand out.
#[derive(Serialize)]
struct Card {
    #[serde(flatten)]
    server: ServerView,
    undone: usize,
    failed: usize,
    waits: usize,
}

/// A line of the table of the queue.
#[derive(Serialize)]
struct Line {
    kind: Kind,
    counts: Vec<usize>,
    all: usize,
}

pub(super) async fn show(State(desk): State<Desk>, visit: Visit) -> Response {
    let page = page(&desk, visit.language).await;
    visit.answer("overview.html", page)
}

async fn page(desk: &Desk, language: Language) -> Result<Page, Problem> {
    let overview = overview(desk);
    let servers = overview.servers.iter().map(card).collect();
    let (columns, lines) = table(&overview.kinds);
    let due = due(desk, &DueQuery { limit: Some(LINES), ..DueQuery::default() })?.due;
    let asked = ActionsQuery { limit: Some(LINES), ..ActionsQuery::default() };
    let latest = rows(language, actions(desk, &asked).await?.rows);
    let course = course(desk, language).await?;
    Ok(Page { overview, servers, columns, rows: lines, due, latest, course })
}

fn card(server: &ServerView) -> Card {
    let count = |wanted: fn(&str) -> bool| {
        let states = server.kinds.iter().flat_map(|kind| &kind.states);
        states.filter(|(state, _)| wanted(state)).map(|(_, count)| count).sum()
    };
    Card {
        server: server.clone(),
        undone: count(|state| !matches!(state, "succeeded" | "canceled" | "failed")),
        failed: count(|state| state == "failed"),
        waits: server.waiting.values().sum(),
    }
}

/// The states that any task is in, in the order of their numbers, and the kinds with how many are in
/// each.
fn table(kinds: &[KindTasks]) -> (Vec<String>, Vec<Line>) {
    let has = |state: &str| kinds.iter().any(|kind| kind.states.contains_key(state));
    let known = TaskState::KNOWN.iter().filter_map(|state| state.name()).filter(|name| has(name));
    let mut columns: Vec<String> = known.map(str::to_owned).collect();
    for state in kinds.iter().flat_map(|kind| kind.states.keys()) {
        if !columns.contains(state) {
            columns.push(state.clone());
        }
    }
    let lines = kinds.iter().filter(|kind| kind.tasks > 0).map(|kind| Line {
        kind: kind.kind.clone(),
        counts: columns.iter().map(|s| kind.states.get(s).copied().unwrap_or(0)).collect(),
        all: kind.tasks,
    });
    let lines = lines.collect();
    (columns, lines)
}

/// The queue over time.
#[derive(Serialize)]
struct Course {
    chart: Chart,
    /// The class and the name of each area.
    key: Vec<(&'static str, String)>,
    from: Timestamp,
    to: Timestamp,
    table: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    time: Timestamp,
    counts: Option<Vec<u64>>,
}

/// The areas of the chart, from the bottom up: the class, the state that names it, and its states. What
/// is done and well would hide the rest.
const AREAS: [(&str, &str, &[&str]); 3] = [
    ("bad", "failed", &["failed", "failing", "errored"]),
    ("run", "running", &["running", "canceling"]),
    ("wait", "pending", &["pending", "waiting_retry", "before_retry"]),
];

/// The last day, or the shorter time of which anything is known.
async fn course(desk: &Desk, language: Language) -> Result<Option<Course>, Problem> {
    let mut span = SignedDuration::from_hours(24);
    loop {
        let since = Some(format!("{}s", span.as_secs()));
        let view = queue(desk, &QueueQuery { since, ..QueueQuery::default() }).await?;
        let points = points(&view);
        let known = points.iter().filter(|point| point.counts.is_some()).count();
        if known * 4 < points.len() && span > SignedDuration::from_mins(20) {
            span /= 4;
            continue;
        }
        return Ok(draw(points, language));
    }
}

fn points(view: &QueueView) -> Vec<Point> {
    let at = |index: usize| {
        let mut sums = vec![0; AREAS.len()];
        let mut known = false;
        for series in &view.series {
            let Some(Some(count)) = series.counts.get(index) else { continue };
            known = true;
            let area = AREAS.iter().position(|(_, _, states)| states.contains(&&*series.state));
            if let Some(sum) = area.and_then(|area| sums.get_mut(area)) {
                *sum += count;
            }
        }
        known.then_some(sums)
    };
    let times = view.times.iter().enumerate();
    times.map(|(index, time)| Point { time: *time, counts: at(index) }).collect()
}

fn draw(points: Vec<Point>, language: Language) -> Option<Course> {
    let known = points.iter().position(|point| point.counts.is_some())?;
    let points: Vec<Point> = points.into_iter().skip(known).collect();
    let (from, to) = (points.first()?.time, points.last()?.time);
    let drawn: Vec<(i64, Option<Vec<u64>>)> =
        points.iter().map(|point| (point.time.as_second(), point.counts.clone())).collect();
    let chart = chart::areas(&drawn, &AREAS.map(|(class, _, _)| class))?;
    let key = AREAS.map(|(class, name, _)| {
        (class, words::word(language, "state", name).unwrap_or(name).to_owned())
    });
    let every = points.len().div_ceil(12).max(1);
    let mut table: Vec<Point> = points.into_iter().rev().step_by(every).collect();
    table.retain(|point| point.counts.is_some());
    Some(Course { chart, key: key.to_vec(), from, to, table })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_state_that_there_is() {
        let states = |states: &[(&str, usize)]| -> BTreeMap<String, usize> {
            states.iter().map(|(state, count)| ((*state).to_owned(), *count)).collect()
        };
        let kind = |kind, all: &[(&str, usize)]| KindTasks {
            kind,
            tasks: all.iter().map(|(_, count)| count).sum(),
            states: states(all),
        };
        let (columns, lines) = table(&[
            kind(Kind::Copy, &[("failed", 2), ("pending", 1)]),
            kind(Kind::Upload, &[("unknown(12)", 5)]),
            kind(Kind::Move, &[]),
        ]);
        assert_eq!(columns, ["pending", "failed", "unknown(12)"]);
        let lines: Vec<_> = lines.iter().map(|line| (line.counts.clone(), line.all)).collect();
        assert_eq!(lines, [(vec![1, 2, 0], 3), (vec![0, 0, 5], 5)]);
    }
}
