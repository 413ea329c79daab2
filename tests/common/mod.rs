//! A sandbox server, a daemon on it, and a clock that the test turns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]
#![allow(unreachable_pub, reason = "a module of test binaries has no outside")]
#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::format_push_string, reason = "a test has time")]

pub mod busy;
pub mod past;
pub mod process;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use taskwarden::ambient::Clock;
use taskwarden::daemon::supervise::{Daemon, Options};
use taskwarden::daemon::watch::{Looked, Watch};
use taskwarden::engine::audit::AuditRow;
use taskwarden::rules::{Config, Source, load};
use taskwarden::sandbox::{self, Sandbox, Settings};
use taskwarden::store::{AuditFilter, Reader};
use taskwarden::telemetry::Sink;
use tokio::net::TcpSocket;

/// Time that stands still until it is turned, and a wall clock that can be set beside it.
#[derive(Clone, Debug)]
pub struct Turned {
    time: Arc<AtomicI64>,
    set: Arc<AtomicI64>,
}

impl Turned {
    pub fn new() -> Self {
        Self { time: Arc::new(AtomicI64::new(1_790_000_000_000)), set: Arc::new(AtomicI64::new(0)) }
    }

    /// The time, which nobody sets; a sandbox goes by it.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.time.load(Ordering::SeqCst)).unwrap()
    }

    pub fn turn(&self, by: Duration) {
        self.time.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the wall clock of the daemon's machine.
    pub fn set(&self, seconds: i64) {
        self.set.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// The clock of the daemon's machine.
    pub fn clock(&self) -> Clock {
        let (wall, steady) = (self.clone(), self.clone());
        let set = move || SignedDuration::from_millis(wall.set.load(Ordering::SeqCst));
        let time = self.clone();
        Clock::from_fn(move || time.now() + set()).beside(move || {
            Duration::try_from(steady.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap()
        })
    }
}

/// The rules for a sandbox server; `rules` is the part of the file from `rules:` on.
pub fn config(sandbox: &Sandbox, server: &str, rules: &str) -> Config {
    let text = format!(
        "version: 1\nservers:\n  - name: home\n    url: {}\n    token: {}\n{server}\n{rules}",
        sandbox.url(),
        sandbox.token(),
    );
    let loaded = load(Source::new("test.yaml", &text));
    match &loaded.config {
        Some(config) => config.clone(),
        None => panic!("{}", taskwarden::cli::findings::human(&loaded, false)),
    }
}

pub async fn sandbox(settings: Settings, turned: &Turned) -> Sandbox {
    let turned = turned.clone();
    Sandbox::start(sandbox::Options { settings, now: Arc::new(move || turned.now()), seed: 7 })
        .await
        .unwrap()
}

/// An address on this machine for a daemon to listen on. It is bound here and never listens, so that
/// nobody else is given the port meanwhile: not another test's server, nor the end of a connection.
#[derive(Debug)]
pub struct Reserved(TcpSocket);

impl Reserved {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// What the daemon told, line by line.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    pub fn sink(&self) -> Sink {
        let told = self.clone();
        Sink::new(move |event| told.0.lock().unwrap().push(event.to_string()))
    }

    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

pub fn options(state_dir: &Path, turned: &Turned, told: &Told) -> Options {
    Options {
        state_dir: state_dir.to_owned(),
        dry_run: false,
        clock: turned.clock(),
        sink: told.sink(),
        seed: 0,
        speed: 1.0,
    }
}

pub fn daemon(config: Config, state_dir: &Path, turned: &Turned, told: &Told) -> Daemon {
    Daemon::new(config, options(state_dir, turned, told)).unwrap()
}

/// Ticks until `done`, turning the clock by `poll` after each; panics after `most` ticks.
pub async fn drive(
    watch: &mut Watch,
    turned: &Turned,
    poll: Duration,
    most: usize,
    mut done: impl FnMut(&Looked) -> bool,
) {
    for _ in 0..most {
        let looked = watch.tick().await;
        if done(&looked) {
            return;
        }
        turned.turn(poll);
    }
    panic!("not done after {most} ticks");
}

pub fn audit(state_dir: &Path) -> Vec<AuditRow> {
    Reader::open(state_dir).unwrap().audit(&AuditFilter::default()).unwrap()
}
