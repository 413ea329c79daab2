//! What happens, for those who look on at this moment: a page that is open.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::status::{Reload, ServerStatus};
use super::{Event, Sink};
use crate::engine::audit::AuditRow;

/// How many events one who reads slowly may be behind; then some are lost to them.
const BEHIND: usize = 256;

/// Something that whoever looks on is told.
#[derive(Clone, Debug)]
pub enum News {
    /// An action got its outcome, a rule gave up, or a person asked for something.
    Action(Arc<AuditRow>),
    /// A server was looked at.
    Server(Arc<ServerStatus>),
    /// The rules file was read.
    Reload(Arc<Reload>),
}

/// Hands on what happens.
#[derive(Clone, Debug)]
pub struct Feed(broadcast::Sender<News>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::channel(BEHIND).0)
    }
}

impl Feed {
    /// A sink that tells those who look on, and hands every event on to `sink`.
    #[must_use]
    pub fn beside(&self, sink: &Sink) -> Sink {
        let (feed, sink) = (self.0.clone(), sink.clone());
        Sink::new(move |event| {
            // With nobody there nothing is copied.
            if feed.receiver_count() > 0
                && let Some(news) = news(event)
            {
                let _ = feed.send(news);
            }
            sink.emit(event);
        })
    }

    /// Everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}

fn news(event: &Event) -> Option<News> {
    match event {
        Event::Acted(row) | Event::Ordered(row) | Event::GaveUp { row, .. } => {
            Some(News::Action(Arc::new(AuditRow::clone(row))))
        }
        Event::Status(status) => Some(News::Server(Arc::clone(status))),
        Event::Reloaded { .. } | Event::ReloadRefused { .. } => {
            Reload::of(event).map(Arc::new).map(News::Reload)
        }
        _ => None,
    }
}
