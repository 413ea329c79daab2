//! The one place that touches the ambient clock, the random source and raw HTTP clients.
//!
//! Everything else takes the time, a seed or a client as a value (`clippy.toml` bans the rest), so
//! that decisions can be replayed and tests can turn the clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A source of wall-clock time that can be handed to whoever needs it.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    elapsed: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the place that may read the clock")]
    pub fn system() -> Self {
        Self { now: Arc::new(Timestamp::now), elapsed: Some(Arc::new(uptime())) }
    }

    /// A clock that answers whatever `read` answers; for tests and sped-up runs.
    pub fn from_fn(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(read), elapsed: None }
    }

    /// The same clock, beside one that nobody sets: `elapsed` tells the time since some fixed moment.
    #[must_use]
    pub fn beside(self, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { elapsed: Some(Arc::new(elapsed)), ..self }
    }

    /// The present moment by this clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Begins to watch whether the clock is set.
    #[must_use]
    pub fn watched(&self) -> WatchedClock {
        WatchedClock { clock: self.clone(), last: self.both() }
    }

    fn both(&self) -> (Timestamp, Duration) {
        let now = self.now();
        let elapsed = match &self.elapsed {
            Some(elapsed) => elapsed(),
            // A clock of its own is never set.
            None => {
                Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
            }
        };
        (now, elapsed)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Less than this is the clock being slewed, or the machine being slow between two readings.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// A clock, and what it said last.
#[derive(Clone, Debug)]
pub struct WatchedClock {
    clock: Clock,
    last: (Timestamp, Duration),
}

impl WatchedClock {
    /// By how much the clock was set since this was last asked, forward or back; a sleep of the
    /// machine is time that passed.
    pub fn jump(&mut self) -> Option<SignedDuration> {
        let (now, elapsed) = self.clock.both();
        let (then, before) = std::mem::replace(&mut self.last, (now, elapsed));
        let passed = SignedDuration::try_from(elapsed.saturating_sub(before)).ok()?;
        let jump = now.duration_since(then).saturating_sub(passed);
        (jump.abs() > JUMP).then_some(jump)
    }
}

/// Tells the time since the machine was started, its sleep included.
#[cfg(target_os = "linux")]
fn uptime() -> impl Fn() -> Duration + Send + Sync {
    || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(time).unwrap_or_default()
    }
}

/// Tells the time since this call.
#[cfg(not(target_os = "linux"))]
fn uptime() -> impl Fn() -> Duration + Send + Sync {
    let start = monotonic();
    move || start.elapsed()
}

/// A monotonic reading, for measuring how long something took.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place that may read the clock")]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

/// A moment before or after a write or a call, at which the crash test may kill the daemon. There is
/// nothing of it in a release build.
#[inline]
pub fn fault_point(name: &'static str) {
    #[cfg(debug_assertions)]
    if let Some(reached) = REACHED.get() {
        reached(name);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
type Reached = Box<dyn Fn(&'static str) + Send + Sync>;

#[cfg(debug_assertions)]
static REACHED: std::sync::OnceLock<Reached> = std::sync::OnceLock::new();

/// Has `reached` called at every [`fault_point`] of this process from now on.
#[cfg(debug_assertions)]
pub fn at_fault_points(reached: impl Fn(&'static str) + Send + Sync + 'static) {
    // The first one stays.
    let _ = REACHED.set(Box::new(reached));
}

/// Sixty-four bits that differ from run to run; not for secrets.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place that may draw random bits")]
pub fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Text that nobody can guess: 256 random bits.
///
/// # Panics
/// When the system has no random bits, which no system that runs this far has.
#[must_use]
#[allow(clippy::expect_used, reason = "without random bits nothing can be kept safe")]
pub fn secret_text() -> String {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits).expect("the system gives random bits");
    bits.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    })
}

/// Whether the environment names a proxy that is spoken to over TLS.
#[must_use]
pub fn proxy_over_tls() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].iter().any(|name| {
        std::env::var(name)
            .is_ok_and(|proxy| proxy.trim().to_ascii_lowercase().starts_with("https:"))
    })
}

/// A fresh HTTP client builder; the caller sets timeouts, user agent, proxies and trust.
#[allow(clippy::disallowed_methods, reason = "this is the place that may build clients")]
pub fn http_client_builder() -> reqwest::ClientBuilder {
    // Without a provider for the whole process the first TLS client panics. A second one is refused,
    // which is as good: somebody was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}
