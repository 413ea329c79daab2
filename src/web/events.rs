//! What happens, as it happens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::desk::Desk;
use super::problem::Problem;
use super::views::overview::{self, ServerView};
use crate::daemon::control::DaemonStatus;
use crate::engine::audit::AuditRow;
use crate::rules::ListenConfig;
use crate::telemetry::feed::News;
use crate::telemetry::status::Reload;

/// How many may look on at once.
pub(super) const LISTENERS: usize = 32;

/// How often something is sent when nothing happens, so that nobody on the way takes it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the `data` of an event is, by the event's name.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EventData {
    /// `action`: an audit row that is new or has another outcome.
    Action(Arc<AuditRow>),
    /// `server`: how a server is after a look.
    Server(Box<ServerView>),
    /// `reload`: what a reading of the rules file came to.
    Reload(Arc<Reload>),
    /// `lost`: so many events were not sent, since the reader was too slow. Load the page again.
    Lost(Lost),
}

/// That events were lost.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Lost {
    /// How many.
    pub lost: u64,
}

/// What one listener hears from.
struct Listener {
    news: broadcast::Receiver<News>,
    daemon: watch::Receiver<DaemonStatus>,
    /// Under these rules they came in; others end it, and a browser comes back by itself.
    listen: Option<ListenConfig>,
    clock: crate::ambient::Clock,
    _place: OwnedSemaphorePermit,
}

/// The stream. It ends when the daemon does, or when `listen:` changes.
///
/// # Errors
/// When too many look on already.
pub async fn events(State(desk): State<Desk>) -> Result<Response, Problem> {
    let Ok(place) = desk.listeners.clone().try_acquire_owned() else {
        return Err(Problem::busy(format!("{LISTENERS} others look on already"), 30));
    };
    let daemon = desk.control.status();
    let listen = daemon.borrow().listen.clone();
    let listener = Listener {
        news: desk.feed.subscribe(),
        daemon,
        listen,
        clock: desk.clock.clone(),
        _place: place,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    // Some proxies would gather it until there is much.
    let no = axum::http::HeaderValue::from_static("no");
    response.headers_mut().insert("x-accel-buffering", no);
    Ok(response)
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let listen = &self.listen;
            let news = tokio::select! {
                news = self.news.recv() => news,
                _ = self.daemon.wait_for(|status| status.listen != *listen) => return None,
            };
            let (name, data) = match news {
                Ok(News::Action(row)) => ("action", EventData::Action(row)),
                Ok(News::Server(status)) => {
                    let daemon = self.daemon.borrow();
                    let now = self.clock.now();
                    let view = overview::of(&status.server, Some(&status), &daemon, now);
                    ("server", EventData::Server(Box::new(view)))
                }
                Ok(News::Reload(reload)) => ("reload", EventData::Reload(reload)),
                Err(RecvError::Lagged(lost)) => ("lost", EventData::Lost(Lost { lost })),
                Err(RecvError::Closed) => return None,
            };
            // What cannot be written as JSON does not exist among these.
            if let Ok(event) = Event::default().event(name).json_data(&data) {
                return Some(event);
            }
        }
    }
}
