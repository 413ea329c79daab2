//! Whether a loop goes on: it beats while it waits for anything that has an end, and not while it is
//! stuck.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ambient::monotonic;

/// A loop that has not beaten for so long is stuck, where nobody is less patient.
pub(super) const STUCK: Duration = Duration::from_secs(90);

/// A tick ends within this, however slow the server: its calls have time limits, but there may be many.
const LONGEST_TICK: Duration = Duration::from_secs(30 * 60);

/// When a loop last beat.
#[derive(Clone, Debug)]
pub struct Beat {
    last: Arc<Mutex<Instant>>,
    stuck: Duration,
}

impl Beat {
    /// A loop that begins now, and is stuck when it has not beaten for so long.
    #[must_use]
    pub fn new(stuck: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(monotonic())), stuck }
    }

    fn beat(&self, at: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Waits. It beats but once, ahead: a loop that does not wake up when it should is stuck.
    pub async fn rest(&self, wait: Duration) {
        let now = monotonic();
        self.beat(now.checked_add(wait).unwrap_or(now));
        tokio::time::sleep(wait).await;
    }

    /// Whether the loop goes on.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        // Nothing has elapsed since a moment that lies ahead.
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < self.stuck
    }

    /// Beats while a tick is at work. One that holds its thread beats no more, nor does one that has
    /// waited longer than any tick may.
    pub async fn during<T>(&self, tick: impl Future<Output = T>) -> T {
        let began = monotonic();
        let every = (self.stuck / 4).min(Duration::from_secs(5));
        let mut tick = std::pin::pin!(tick);
        loop {
            if began.elapsed() < LONGEST_TICK {
                self.beat(monotonic());
            }
            tokio::select! {
                done = &mut tick => return done,
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_beats_no_more_is_stuck_and_a_tick_is_a_sign_of_life() {
        let beat = Beat::new(STUCK);
        assert!(beat.goes_on());
        let Some(long_ago) = monotonic().checked_sub(STUCK) else { return };
        *beat.last.lock().unwrap() = long_ago;
        assert!(!beat.goes_on());
        assert_eq!(beat.during(std::future::ready(7)).await, 7);
        assert!(beat.goes_on());
        *beat.last.lock().unwrap() = long_ago;
        beat.rest(Duration::from_millis(1)).await;
        assert!(beat.goes_on(), "it woke up when it should");
    }
}
