//! The first page: servers and their health, the queue, what comes and what came.

use std::collections::BTreeSet;

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
use crate::web::views::queue::{QueueQuery, QueueView, Series, queue};

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
    from: Timestamp,
    to: Timestamp,
    /// The class and the name of each area.
    key: Vec<(&'static str, String)>,
    /// The kinds of which anything was unfinished or had failed.
    kinds: Vec<KindCourse>,
}

/// The queue of one kind over time.
#[derive(Serialize)]
struct KindCourse {
    kind: Kind,
    chart: Chart,
    /// The last number of each area, if it is known.
    last: Option<Vec<u64>>,
    /// The states that any task was in, and how many were in each.
    states: Vec<String>,
    table: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    time: Timestamp,
    counts: Vec<u64>,
}

/// The areas of a chart, from the bottom up: the class, the state that names it, and its states. What
/// is done and well would hide the rest; the table has it.
const AREAS: [(&str, &str, &[&str]); 3] = [
    ("bad", "failed", &["failed", "failing", "errored"]),
    ("run", "running", &["running", "canceling"]),
    ("wait", "pending", &["pending", "waiting_retry", "before_retry"]),
];

/// So many moments have a line in the table.
const MOMENTS: usize = 12;

/// The last day, or the shorter time of which anything is known.
async fn course(desk: &Desk, language: Language) -> Result<Option<Course>, Problem> {
    let mut span = SignedDuration::from_hours(24);
    loop {
        let since = Some(format!("{}s", span.as_secs()));
        let view = queue(desk, &QueueQuery { since, ..QueueQuery::default() }).await?;
        let is_known = |index: &usize| {
            view.series.iter().any(|series| series.counts.get(*index).is_some_and(Option::is_some))
        };
        let known = (0..view.times.len()).filter(is_known).count();
        if known * 4 < view.times.len() && span > SignedDuration::from_mins(20) {
            span /= 4;
            continue;
        }
        return Ok((0..view.times.len())
            .find(is_known)
            .and_then(|from| draw(&view, from, language)));
    }
}

/// Draws what is known from the moment with number `from` on.
fn draw(view: &QueueView, from: usize, language: Language) -> Option<Course> {
    let kinds: BTreeSet<&Kind> = view.series.iter().map(|series| &series.kind).collect();
    let kinds = kinds.into_iter().filter_map(|kind| {
        let series: Vec<&Series> = view.series.iter().filter(|one| one.kind == *kind).collect();
        draw_kind(kind, &series, &view.times, from)
    });
    let key = AREAS.map(|(class, name, _)| {
        (class, words::word(language, "state", name).unwrap_or(name).to_owned())
    });
    let (from, to) = (*view.times.get(from)?, *view.times.last()?);
    Some(Course { from, to, key: key.to_vec(), kinds: kinds.collect() })
}

/// Draws one kind; `None` when nothing of it was unfinished or had failed.
fn draw_kind(
    kind: &Kind,
    series: &[&Series],
    times: &[Timestamp],
    from: usize,
) -> Option<KindCourse> {
    // How many were in each state, at the moments at which that is known.
    let at = |index: usize| -> Option<Vec<u64>> {
        series.iter().map(|series| *series.counts.get(index)?).collect()
    };
    let areas = |counts: &[u64]| -> Vec<u64> {
        let sum = |states: &[&str]| {
            let states = series.iter().zip(counts).filter(|(one, _)| states.contains(&&*one.state));
            states.map(|(_, count)| *count).sum()
        };
        AREAS.iter().map(|(_, _, states)| sum(states)).collect()
    };
    let points: Vec<(i64, Option<Vec<u64>>)> = (from..times.len())
        .map(|index| (times[index].as_second(), at(index).map(|counts| areas(&counts))))
        .collect();
    if !points.iter().flat_map(|(_, areas)| areas).flatten().any(|count| *count > 0) {
        return None;
    }
    let chart = chart::areas(&points, &AREAS.map(|(class, _, _)| class))?;
    let every = points.len().div_ceil(MOMENTS).max(1);
    let table = (from..times.len()).rev().step_by(every);
    Some(KindCourse {
        kind: kind.clone(),
        chart,
        last: points.last().and_then(|(_, areas)| areas.clone()),
        states: series.iter().map(|series| series.state.clone()).collect(),
        table: table.filter_map(|i| Some(Point { time: times[i], counts: at(i)? })).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_kind_that_is_not_done_has_a_chart_and_each_of_its_states_a_column() {
        let times: Vec<Timestamp> = (0..4)
            .map(|hour| Timestamp::from_second(1_790_000_000 + hour * 3600).unwrap())
            .collect();
        let series = |kind, state: &str, counts: [Option<u64>; 4]| Series {
            kind,
            state: state.to_owned(),
            counts: counts.to_vec(),
        };
        let view = QueueView {
            now: times[3],
            times,
            series: vec![
                series(Kind::Copy, "failed", [None, Some(1), None, Some(2)]),
                series(Kind::Copy, "failing", [None, Some(0), None, Some(3)]),
                series(Kind::Copy, "succeeded", [None, Some(7), None, Some(9)]),
                series(Kind::Move, "succeeded", [None, Some(1), Some(1), Some(1)]),
                series(Kind::Upload, "pending", [None, Some(4), Some(0), None]),
            ],
        };
        let course = draw(&view, 1, Language::English).unwrap();
        let kinds: Vec<_> = course.kinds.iter().map(|one| (&one.kind, one.last.clone())).collect();
        assert_eq!(kinds, [(&Kind::Upload, None), (&Kind::Copy, Some(vec![5, 0, 0]))]);
        let copy = &course.kinds[1];
        assert_eq!(copy.states, ["failed", "failing", "succeeded"]);
        let table: Vec<_> = copy.table.iter().map(|point| point.counts.clone()).collect();
        assert_eq!(table, [vec![2, 3, 9], vec![1, 0, 7]]);
        assert_eq!((course.from, course.to), (view.times[1], view.times[3]));
        assert!(copy.chart.svg.contains("area bad") && !copy.chart.svg.contains("area wait"));
    }

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
