//! The paths, and what each answers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::problem::Problem;
use crate::daemon::control::{DaemonStatus, Done};
use crate::engine::order::Order;
use crate::engine::task::ServerName;
use crate::telemetry::metrics::MEDIA_TYPE;
use crate::telemetry::status::{Reload, ServerStatus};

/// What `status` shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon as a whole.
    pub daemon: DaemonStatus,
    /// What the last reading of the rules file came to.
    pub reload: Option<Reload>,
    /// The servers that were looked at.
    pub servers: Vec<ServerStatus>,
}

/// An order as it is sent to the daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// On which server; all of them when it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// What.
    #[serde(flatten)]
    pub order: Order,
}

/// The paths that only read, for everyone who may reach them.
pub fn public() -> Router<Desk> {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

/// The path that has the rules read anew.
pub const RELOAD: &str = "/-/reload";

/// The same, routed.
pub fn reloading() -> Router<Desk> {
    Router::new().route(RELOAD, post(reload))
}

/// The paths for the commands of whoever owns the daemon.
pub fn owner() -> Router<Desk> {
    Router::new().route("/api/v1/status", get(status)).route("/api/v1/orders", post(order))
}

async fn metrics(State(desk): State<Desk>) -> impl IntoResponse {
    let servers = desk.control.status().borrow().servers.clone();
    desk.metrics.retain(|server| servers.iter().any(|known| known.as_str() == server));
    if let Ok(size) = desk.store.reader().map_err(drop).and_then(|r| r.size_bytes().map_err(drop)) {
        desk.metrics.note_store_size(size);
    }
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], desk.metrics.render())
}

/// Whether every loop goes on: a slow server does not count, a stuck loop does.
async fn healthz(State(desk): State<Desk>) -> Response {
    let daemon = desk.control.status().borrow().clone();
    let (now, shown) = (desk.clock.now(), desk.board.shown());
    let stuck: Vec<String> = daemon
        .servers
        .iter()
        .filter(|name| {
            let since = shown.servers.get(*name).map_or(daemon.started, |status| status.time);
            now.duration_since(since) > daemon.stuck_after
        })
        .map(|name| format!("the loop of server `{name}` is stuck"))
        .collect();
    verdict(&stuck)
}

/// Whether it does its work: every server was looked at, and what is done can be written down. A
/// server that is away is none of its faults.
async fn readyz(State(desk): State<Desk>) -> Response {
    let daemon = desk.control.status().borrow().clone();
    let shown = desk.board.shown();
    let unready: Vec<String> = daemon
        .servers
        .iter()
        .filter_map(|name| match shown.servers.get(name) {
            None => Some(format!("server `{name}` was not looked at yet")),
            Some(status) if !status.store_works => {
                Some("nothing can be written down, so nothing is done".to_owned())
            }
            Some(_) => None,
        })
        .collect();
    verdict(&unready)
}

fn verdict(faults: &[String]) -> Response {
    if faults.is_empty() {
        return (StatusCode::OK, "ok\n".to_owned()).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", faults.join("\n"))).into_response()
}

/// For scripts: the same as the API's, in plain words.
async fn reload(State(desk): State<Desk>) -> Response {
    match desk.control.reload().await {
        Ok(changes) => (StatusCode::OK, format!("{changes}\n")).into_response(),
        Err(findings) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("{findings}\n")).into_response()
        }
    }
}

async fn status(State(desk): State<Desk>) -> Json<Status> {
    let daemon = desk.control.status().borrow().clone();
    let mut shown = desk.board.shown();
    let servers = daemon
        .servers
        .iter()
        .filter_map(|name| shown.servers.remove(name))
        .map(|status| ServerStatus::clone(&status))
        .collect();
    Json(Status { daemon, reload: shown.reload, servers })
}

async fn order(
    State(desk): State<Desk>,
    Json(asked): Json<Asked>,
) -> Result<Json<Vec<Done>>, Problem> {
    Ok(Json(desk.control.order(asked.server, asked.order).await?))
}
