//! What was done, page by page.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::path_part;
use super::visit::Visit;
use super::words::{self, Language};
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::rule::{Action, Mode};
use crate::engine::text::{printable, shorten};
use crate::web::desk::Desk;
use crate::web::problem::Problem;
use crate::web::query::Asked;
use crate::web::views::actions::{ActionsQuery, actions};

/// An audit row, and what is read out when it appears.
#[derive(Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    row: AuditRow,
    say: String,
}

pub(super) fn rows(language: Language, rows: Vec<AuditRow>) -> Vec<Row> {
    let word = |of, name: &str| words::word(language, of, name).unwrap_or_default();
    let say = |row: &AuditRow| {
        let action = match word("action", &row.action) {
            "" => &row.action,
            known => known,
        };
        let outcome = match row.mode {
            Mode::Live => word("outcome", row.outcome.as_str()),
            _ => word("mode", "dry_run"),
        };
        let name = row.task_name.as_deref().unwrap_or_default();
        format!("{action}, {outcome}: {}", printable(&shorten(name, 80)))
    };
    rows.into_iter().map(|row| Row { say: say(&row), row }).collect()
}

#[derive(Serialize)]
struct Page {
    asked: ActionsQuery,
    rows: Vec<Row>,
    filtered: bool,
    newest_shown: bool,
    newest: String,
    older: Option<String>,
    servers: Vec<String>,
    rules: Vec<String>,
    kinds: Vec<String>,
    actions: Vec<&'static str>,
    outcomes: [&'static str; 7],
}

/// What else stands in the audit log.
const EVENTS: [&str; 6] = ["give_up", "pause", "resume", "redrive", "drop", "reload"];

pub(super) async fn show(
    State(desk): State<Desk>,
    visit: Visit,
    asked: Result<Asked<ActionsQuery>, Problem>,
) -> Response {
    let page = async { page(&desk, visit.language, asked?.0).await };
    visit.answer("actions.html", page.await)
}

async fn page(desk: &Desk, language: Language, asked: ActionsQuery) -> Result<Page, Problem> {
    let view = actions(desk, &asked).await?;
    let daemon = desk.control.status().borrow().clone();
    let mut kinds: Vec<String> = desk
        .statuses()
        .iter()
        .flat_map(|status| status.tasks.keys().map(ToString::to_string).collect::<Vec<_>>())
        .chain(asked.kind.clone())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let (filters, place) = (address(&asked), |after: &str| format!("after={}", path_part(after)));
    let link = |more: Option<String>| {
        let parts: Vec<String> = filters.iter().cloned().chain(more).collect();
        if parts.is_empty() {
            "/actions".to_owned()
        } else {
            format!("/actions?{}", parts.join("&"))
        }
    };
    Ok(Page {
        rows: rows(language, view.rows),
        filtered: !filters.is_empty(),
        newest_shown: asked.after.is_none(),
        newest: link(None),
        older: view.next.map(|next| link(Some(place(&next)))),
        servers: daemon.servers.iter().map(ToString::to_string).collect(),
        rules: daemon.rules.iter().map(ToString::to_string).collect(),
        kinds,
        actions: Action::ALL.iter().map(|action| action.as_str()).chain(EVENTS).collect(),
        outcomes: Outcome::ALL.map(Outcome::as_str),
        asked,
    })
}

/// What is asked for, as the parts of a query.
fn address(asked: &ActionsQuery) -> Vec<String> {
    let ActionsQuery { since, until, server, rule, action, kind, task, outcome, limit, after: _ } =
        asked;
    let limit = limit.map(|limit| limit.to_string());
    let parts = [
        ("since", since),
        ("until", until),
        ("server", server),
        ("rule", rule),
        ("action", action),
        ("kind", kind),
        ("task", task),
        ("outcome", outcome),
        ("limit", &limit),
    ];
    let set = parts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    set.map(|(name, value)| format!("{name}={}", path_part(value))).collect()
}
