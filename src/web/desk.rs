//! What the pages and the API answer from.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::doors::Doors;
use super::events::LISTENERS;
use super::problem::Problem;
use super::views::report::Reports;
use crate::ambient::Clock;
use crate::daemon::control::Control;
use crate::store::{Reader, Store};
use crate::telemetry::feed::Feed;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::{Board, ServerStatus};

/// How many readings of the store go on at once; each may take a core and some memory.
const READINGS: usize = 3;

/// How long a question waits for its turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long one reading of the store may take, so that no question keeps the machine busy for long.
const BUDGET: Duration = Duration::from_secs(10);

/// What the paths answer from.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The daemon.
    pub control: Control,
    /// How its servers stand.
    pub board: Board,
    /// What happens.
    pub feed: Feed,
    /// What was counted.
    pub metrics: Metrics,
    /// The store.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// How many seconds of it pass in a second; other than 1 in the demo only.
    pub speed: f64,
    /// Who may come in.
    pub doors: Arc<Doors>,
    pub(super) listeners: Arc<Semaphore>,
    pub(super) reports: Reports,
    readings: Arc<Semaphore>,
}

impl Desk {
    /// A desk of a daemon.
    #[must_use]
    pub fn new(
        (control, store): (Control, Store),
        board: Board,
        feed: Feed,
        metrics: Metrics,
        clock: Clock,
    ) -> Self {
        Self {
            control,
            board,
            feed,
            metrics,
            store,
            clock,
            speed: 1.0,
            doors: Arc::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            reports: Reports::default(),
            readings: Arc::new(Semaphore::new(READINGS)),
        }
    }

    /// The servers that were looked at, in the order of the rules file.
    #[must_use]
    pub fn statuses(&self) -> Vec<Arc<ServerStatus>> {
        let mut shown = self.board.shown();
        let names = self.control.status().borrow().servers.clone();
        names.iter().filter_map(|name| shown.servers.remove(name)).collect()
    }

    /// Reads the store, on a thread where that delays nobody and for ten seconds at most.
    ///
    /// # Errors
    /// Those of `look`, and when too many do so, it takes too long or the store cannot be opened.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Reader) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.readings).acquire_owned());
        let turn = turn.await.ok().and_then(Result::ok).ok_or_else(too_many)?;
        let store = self.store.clone();
        let read = move || {
            let _turn = turn;
            look(&store.reader()?.within(BUDGET)?)
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(broke_down()))
    }
}

/// What a question gets that waited for its turn in vain.
pub(super) fn too_many() -> Problem {
    Problem::busy("too many questions at once; try again", 5)
}

/// What a question gets whose answer panicked.
pub(super) fn broke_down() -> Problem {
    let text = "this answer broke down, which is a defect of taskwarden; please report it";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}
