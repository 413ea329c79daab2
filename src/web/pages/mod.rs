//! The pages of the dashboard.
//!
//! A page is complete as it leaves here; the one script only keeps it up to date. What pages show comes
//! from `views`, and is what the API answers too.

mod actions;
mod assets;
mod chart;
mod dead;
mod overview;
mod render;
mod report;
mod rules;
mod visit;
mod words;

use std::fmt::Write as _;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};

use serde::Deserialize;
use serde_json::json;

use super::desk::Desk;
use super::doors::LOGIN;
use super::problem::Problem;
use super::query::Asked;
use super::views::task::TaskQuery;
use super::views::{breakers, task};
use visit::Visit;
pub(super) use visit::dress;

/// The paths of the pages.
pub fn routes() -> Router<Desk> {
    Router::new()
        .route("/", get(overview::show))
        .route("/actions", get(actions::show))
        .route("/task", get(show_task))
        .route("/rules", get(rules::show))
        .route("/rules/pause", post(rules::pause))
        .route("/rules/resume", post(rules::resume))
        .route("/dead", get(dead::show))
        .route("/dead/redrive", post(dead::redrive))
        .route("/dead/drop", post(dead::put_away))
        .route("/breakers", get(show_breakers))
        .route("/report", get(report::show))
        .route("/assets/{digest}/{name}", get(assets::serve))
        .route(LOGIN, get(login))
}

async fn show_task(
    State(desk): State<Desk>,
    visit: Visit,
    asked: Result<Asked<TaskQuery>, Problem>,
) -> Response {
    let view = async { task::task(&desk, &asked?.0).await };
    visit.answer("task.html", view.await)
}

async fn show_breakers(State(desk): State<Desk>, visit: Visit) -> Response {
    visit.answer("breakers.html", Ok(breakers::breakers(&desk)))
}

/// Where the page to log in leads, and what became of the last try.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LoginQuery {
    next: String,
    failed: Option<u8>,
    wait: Option<u64>,
}

async fn login(visit: Visit, query: Result<Query<LoginQuery>, QueryRejection>) -> Response {
    let Query(LoginQuery { next, failed, wait }) = query.unwrap_or_default();
    visit
        .answer("login.html", Ok(json!({ "next": next, "failed": failed.is_some(), "wait": wait })))
}

/// A text as one part of an address.
fn path_part(text: &str) -> String {
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            part.push(char::from(byte));
        } else {
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}
