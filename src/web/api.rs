//! The JSON API, version 1: the same data as the pages.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::desk::Desk;
use super::problem::Problem;
use super::query::Asked;
use super::views::actions::{ActionsQuery, ActionsView};
use super::views::breakers::BreakersView;
use super::views::dead::{DeadQuery, DeadView};
use super::views::due::{DueQuery, DueView};
use super::views::overview::Overview;
use super::views::queue::{QueueQuery, QueueView};
use super::views::report::{ReportQuery, ReportView};
use super::views::rules::{RulesQuery, RulesView};
use super::views::task::{TaskQuery, TaskView};
use super::views::{actions, breakers, dead, due, overview, queue, report, rules, task};

/// The paths of the API.
pub fn routes() -> Router<Desk> {
    Router::new()
        .route("/api/v1/overview", get(get_overview))
        .route("/api/v1/queue", get(get_queue))
        .route("/api/v1/due", get(get_due))
        .route("/api/v1/actions", get(get_actions))
        .route("/api/v1/task", get(get_task))
        .route("/api/v1/rules", get(get_rules))
        .route("/api/v1/dead", get(get_dead))
        .route("/api/v1/breakers", get(get_breakers))
        .route("/api/v1/report", get(get_report))
}

async fn get_overview(State(desk): State<Desk>) -> Json<Overview> {
    Json(overview::overview(&desk))
}

async fn get_queue(
    State(desk): State<Desk>,
    Asked(query): Asked<QueueQuery>,
) -> Result<Json<QueueView>, Problem> {
    queue::queue(&desk, &query).await.map(Json)
}

async fn get_due(
    State(desk): State<Desk>,
    Asked(query): Asked<DueQuery>,
) -> Result<Json<DueView>, Problem> {
    due::due(&desk, &query).map(Json)
}

async fn get_actions(
    State(desk): State<Desk>,
    Asked(query): Asked<ActionsQuery>,
) -> Result<Json<ActionsView>, Problem> {
    actions::actions(&desk, &query).await.map(Json)
}

async fn get_task(
    State(desk): State<Desk>,
    Asked(query): Asked<TaskQuery>,
) -> Result<Json<TaskView>, Problem> {
    task::task(&desk, &query).await.map(Json)
}

async fn get_rules(
    State(desk): State<Desk>,
    Asked(query): Asked<RulesQuery>,
) -> Result<Json<RulesView>, Problem> {
    rules::rules(&desk, &query).await.map(Json)
}

async fn get_dead(
    State(desk): State<Desk>,
    Asked(query): Asked<DeadQuery>,
) -> Result<Json<DeadView>, Problem> {
    dead::dead(&desk, &query).await.map(Json)
}

async fn get_breakers(State(desk): State<Desk>) -> Json<BreakersView> {
    Json(breakers::breakers(&desk))
}

async fn get_report(
    State(desk): State<Desk>,
    Asked(query): Asked<ReportQuery>,
) -> Result<Json<ReportView>, Problem> {
    report::report(&desk, &query).await.map(Json)
}
