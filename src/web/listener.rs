//! The address that `listen:` names: metrics and health checks, for other programs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::desk::Desk;
use super::{api, pages, routes};
use crate::daemon::supervise::secret;
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
            Ok(listener) => axum::serve(listener, router(desk.clone())).await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = failed
            && !std::mem::replace(&mut told, true)
        {
            let address = listen.address;
            sink.emit(&Event::ListenAway { address, error: error.to_string() });
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

fn router(desk: Desk) -> Router {
    routes::public()
        .merge(routes::reloading())
        .merge(api::routes())
        .merge(pages::routes())
        .layer(middleware::from_fn_with_state(desk.clone(), admit))
        .with_state(desk)
}

/// Lets through who shows the token or, where there is none, who asked for this machine by an
/// address: a name in the `Host` header may be one that a web page made lead here. Goes by the rules
/// in force, also on a connection that is older than they are.
async fn admit(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let listen = desk.control.status().borrow().listen.clone();
    let Some(listen) = listen else { return StatusCode::NOT_FOUND.into_response() };
    let path = request.uri().path();
    let Some(token) = &listen.token else {
        if !names_this_machine(request.headers(), listen.address) {
            let why = "ask for the address itself, such as http://127.0.0.1, and not for a name\n";
            return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
        }
        // Any page in a browser on this machine could ask for it.
        if path == routes::RELOAD {
            let why = "this needs a `token` in `listen:`; or use `taskwarden reload`\n";
            return (StatusCode::FORBIDDEN, why).into_response();
        }
        return next.run(request).await;
    };
    if matches!(path, "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    // Read anew each time, so that it can be changed.
    match secret(token).read() {
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
        Ok(wanted) if shows(request.headers(), &wanted) => next.run(request).await,
        Ok(_) => {
            let why = "send the token of `listen:` as `Authorization: Bearer TOKEN`\n";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], why).into_response()
        }
    }
}

fn shows(headers: &HeaderMap, wanted: &SecretString) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let Some((scheme, given)) = given else { return false };
    // Digests, so that the time it takes tells nothing of how much was right.
    scheme.eq_ignore_ascii_case("bearer")
        && Sha256::digest(given.trim()) == Sha256::digest(wanted.expose_secret())
}

fn names_this_machine(headers: &HeaderMap, address: SocketAddr) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    if let Ok(named) = host.parse::<SocketAddr>() {
        return named.ip() == address.ip() || named.ip().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
