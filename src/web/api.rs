//! The JSON API, version 1: the same data as the pages.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;

use super::desk::Desk;
use super::doors::Visitor;
use super::events::EventData;
use super::openapi::{Endpoint, inline, named};
use super::orders::{DoneView, DropAsked, PauseAsked, RedriveAsked, Reloaded, ResumeAsked};
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
use super::{events, openapi, orders};

/// The paths of the API, with what they take and answer: routed and described from this one table.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/api/v1/overview",
        changes: false,
        about: "Servers and their health, and the queue by kind and state now.",
        takes: None,
        answers: named::<Overview>,
        media: "application/json",
        handler: || get(get_overview),
    },
    Endpoint {
        path: "/api/v1/queue",
        changes: false,
        about: "The queue by kind and state over time.",
        takes: Some(inline::<QueueQuery>),
        answers: named::<QueueView>,
        media: "application/json",
        handler: || get(get_queue),
    },
    Endpoint {
        path: "/api/v1/due",
        changes: false,
        about: "What is due next.",
        takes: Some(inline::<DueQuery>),
        answers: named::<DueView>,
        media: "application/json",
        handler: || get(get_due),
    },
    Endpoint {
        path: "/api/v1/actions",
        changes: false,
        about: "What was done, the newest first, page by page.",
        takes: Some(inline::<ActionsQuery>),
        answers: named::<ActionsView>,
        media: "application/json",
        handler: || get(get_actions),
    },
    Endpoint {
        path: "/api/v1/task",
        changes: false,
        about: "The story of one task, and what every rule makes of it.",
        takes: Some(inline::<TaskQuery>),
        answers: named::<TaskView>,
        media: "application/json",
        handler: || get(get_task),
    },
    Endpoint {
        path: "/api/v1/rules",
        changes: false,
        about: "The rules, how they stand, and what they did.",
        takes: Some(inline::<RulesQuery>),
        answers: named::<RulesView>,
        media: "application/json",
        handler: || get(get_rules),
    },
    Endpoint {
        path: "/api/v1/dead",
        changes: false,
        about: "What rules gave up, grouped by cause.",
        takes: Some(inline::<DeadQuery>),
        answers: named::<DeadView>,
        media: "application/json",
        handler: || get(get_dead),
    },
    Endpoint {
        path: "/api/v1/breakers",
        changes: false,
        about: "The breakers that are not closed.",
        takes: None,
        answers: named::<BreakersView>,
        media: "application/json",
        handler: || get(get_breakers),
    },
    Endpoint {
        path: "/api/v1/report",
        changes: false,
        about: "What a stretch of history comes to.",
        takes: Some(inline::<ReportQuery>),
        answers: named::<ReportView>,
        media: "application/json",
        handler: || get(get_report),
    },
    Endpoint {
        path: "/api/v1/session",
        changes: false,
        about: "How you came in, and what must come with all that changes something.",
        takes: None,
        answers: named::<Visitor>,
        media: "application/json",
        handler: || get(get_session),
    },
    Endpoint {
        path: "/api/v1/events",
        changes: false,
        about: "What happens, as it happens: server-sent events, whose data are these by their names.",
        takes: None,
        answers: named::<EventData>,
        media: "text/event-stream",
        handler: || get(events::events),
    },
    Endpoint {
        path: "/api/v1/rules/pause",
        changes: true,
        about: "Has a rule rest.",
        takes: Some(inline::<PauseAsked>),
        answers: named::<DoneView>,
        media: "application/json",
        handler: || post(post_pause),
    },
    Endpoint {
        path: "/api/v1/rules/resume",
        changes: true,
        about: "Has a paused rule go on.",
        takes: Some(inline::<ResumeAsked>),
        answers: named::<DoneView>,
        media: "application/json",
        handler: || post(post_resume),
    },
    Endpoint {
        path: "/api/v1/dead/redrive",
        changes: true,
        about: "Has what was given up tried again, through all gates.",
        takes: Some(inline::<RedriveAsked>),
        answers: named::<DoneView>,
        media: "application/json",
        handler: || post(post_redrive),
    },
    Endpoint {
        path: "/api/v1/dead/drop",
        changes: true,
        about: "Has what was given up put away.",
        takes: Some(inline::<DropAsked>),
        answers: named::<DoneView>,
        media: "application/json",
        handler: || post(post_drop),
    },
    Endpoint {
        path: "/api/v1/reload",
        changes: true,
        about: "Has the rules file read now.",
        takes: None,
        answers: named::<Reloaded>,
        media: "application/json",
        handler: || post(post_reload),
    },
];

/// The path of the description.
pub const DESCRIPTION: &str = "/api/v1/openapi.json";

/// The paths of the API.
pub fn routes() -> Router<Desk> {
    ENDPOINTS
        .iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, (endpoint.handler)()))
        .route(
            DESCRIPTION,
            get(|| async { ([(header::CONTENT_TYPE, "application/json")], openapi::WRITTEN) }),
        )
}

/// The JSON of a request, read strictly.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
            let text = "send JSON, and say so: `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::wrong(format!("the request is wrong: {error}")))
    }
}

async fn get_session(visitor: Visitor) -> Json<Visitor> {
    Json(visitor)
}

async fn post_pause(
    State(desk): State<Desk>,
    Body(asked): Body<PauseAsked>,
) -> Result<Json<DoneView>, Problem> {
    orders::pause(&desk, &asked).await.map(Json)
}

async fn post_resume(
    State(desk): State<Desk>,
    Body(asked): Body<ResumeAsked>,
) -> Result<Json<DoneView>, Problem> {
    orders::resume(&desk, &asked).await.map(Json)
}

async fn post_redrive(
    State(desk): State<Desk>,
    Body(asked): Body<RedriveAsked>,
) -> Result<Json<DoneView>, Problem> {
    orders::redrive(&desk, &asked).await.map(Json)
}

async fn post_drop(
    State(desk): State<Desk>,
    Body(asked): Body<DropAsked>,
) -> Result<Json<DoneView>, Problem> {
    orders::put_away(&desk, &asked).await.map(Json)
}

async fn post_reload(State(desk): State<Desk>) -> Result<Json<Reloaded>, Problem> {
    orders::reload(&desk).await.map(Json)
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
