//! The one place that touches the ambient clock, the random source and raw HTTP clients.
//!
//! Everything else takes the time, a seed or a client as a value (`clippy.toml` bans the rest), so
//! that decisions can be replayed and tests can turn the clock.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// A source of wall-clock time that can be handed to whoever needs it.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the place that may read the clock")]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that answers whatever `read` answers; for tests and sped-up runs.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The present moment by this clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A monotonic reading, for measuring how long something took.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place that may read the clock")]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// Sixty-four bits that differ from run to run; not for secrets.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place that may draw random bits")]
pub fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A fresh HTTP client builder; the caller sets timeouts, user agent, proxies and trust.
#[allow(clippy::disallowed_methods, reason = "this is the place that may build clients")]
pub fn http_client_builder() -> reqwest::ClientBuilder {
    // Without a provider for the whole process the first TLS client panics. A second one is refused,
    // which is as good: somebody was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
