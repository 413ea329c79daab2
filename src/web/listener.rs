//! The address that `listen:` names: the dashboard, its API, metrics and health checks.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::post;
use tokio::net::TcpListener;

use super::desk::Desk;
use super::problem::Problem;
use super::{api, doors, pages, routes, serve};
use crate::rules::ListenConfig;
use crate::telemetry::{Event, Sink};

/// How long it is waited before an address that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Serves wherever the rules in force say, until the daemon ends.
pub async fn follow(desk: Desk, sink: Sink) {
    let mut status = desk.control.status();
    loop {
        let listen = status.borrow_and_update().listen.clone();
        let work = async {
            match &listen {
                Some(listen) => serve(listen, &desk, &sink).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = work => {}
            changed = moved(&mut status, listen.as_ref()) => if !changed { return },
        }
    }
}

/// Waits until the rules in force name another address; false when the daemon ends.
async fn moved(
    status: &mut tokio::sync::watch::Receiver<crate::daemon::control::DaemonStatus>,
    listen: Option<&ListenConfig>,
) -> bool {
    status.wait_for(|status| status.listen.as_ref() != listen).await.is_ok()
}

/// Serves on one address; tries again while it cannot be had, and tells so once.
async fn serve(listen: &ListenConfig, desk: &Desk, sink: &Sink) {
    let mut told = false;
    loop {
        let failed = match TcpListener::bind(listen.address).await {
            Ok(listener) => return serve::serve(listener, router(desk.clone())).await,
            Err(error) => error,
        };
        if !std::mem::replace(&mut told, true) {
            let address = listen.address;
            sink.emit(&Event::ListenAway { address, error: failed.to_string() });
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// All that is served there.
pub fn router(desk: Desk) -> Router {
    routes::public()
        .merge(routes::reloading())
        .merge(api::routes())
        .merge(pages::routes())
        .route(doors::LOGIN, post(doors::login))
        .route(doors::LOGOUT, post(doors::logout))
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(DefaultBodyLimit::max(doors::BODY))
        .layer(middleware::from_fn_with_state(desk.clone(), doors::admit))
        .layer(middleware::from_fn_with_state(desk.clone(), pages::dress))
        .with_state(desk)
}

async fn nothing() -> Problem {
    Problem::missing("there is no such path; /api/v1/openapi.json names those of the API")
}

async fn not_so() -> Problem {
    let text = "this path is asked for otherwise; /api/v1/openapi.json tells how";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text)
}
