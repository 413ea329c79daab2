//! The metrics, counted from the same events as the log lines.
//!
//! Names go by the conventions of Prometheus. Labels hold names from the rules file and words of
//! ours, never the names of tasks: anyone who uploads a file can make one of those.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::status::ServerStatus;
use super::{Event, Sink};
use crate::ambient::Clock;
use crate::engine::rule::Mode;

type Labels = Vec<(&'static str, String)>;
type Real = Gauge<f64, AtomicU64>;

/// The media type of what [`Metrics::render`] writes.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts events. Clones are handles of the same counts.
#[derive(Clone)]
pub struct Metrics(Arc<Counts>);

struct Counts {
    registry: Registry,
    clock: Clock,
    polls: Family<Labels, Counter>,
    look: Family<Labels, Histogram, fn() -> Histogram>,
    up: Family<Labels, Gauge>,
    last_look: Family<Labels, Real>,
    skew: Family<Labels, Gauge>,
    unread: Family<Labels, Gauge>,
    tasks: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    dead: Family<Labels, Gauge>,
    paused: Family<Labels, Gauge>,
    breakers: Family<Labels, Gauge>,
    actions: Family<Labels, Counter>,
    give_ups: Family<Labels, Counter>,
    reloads: Family<Labels, Counter>,
    reload_ok: Gauge,
    reload_time: Real,
    store_ok: Gauge,
    store_bytes: Gauge,
    /// The status that the gauges of tasks and rules show, by server.
    state: std::sync::Mutex<std::collections::BTreeMap<String, Arc<ServerStatus>>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

fn seconds_histogram() -> Histogram {
    Histogram::new([0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Metrics {
    /// All counts at zero.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("taskwarden");
        let polls: Family<Labels, Counter> = Family::default();
        let look = Family::new_with_constructor(seconds_histogram as fn() -> Histogram);
        let real: fn() -> Family<Labels, Real> = Family::default;
        let whole: fn() -> Family<Labels, Gauge> = Family::default;
        let count: fn() -> Family<Labels, Counter> = Family::default;
        let (up, skew, unread, tasks) = (whole(), whole(), whole(), whole());
        let (waiting, dead, paused, breakers) = (whole(), whole(), whole(), whole());
        let (last_look, actions, give_ups, reloads) = (real(), count(), count(), count());
        let (reload_ok, store_ok, store_bytes) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        let reload_time = Real::default();
        registry.register("polls", "Looks at a server, by whether it could be read", polls.clone());
        registry.register_with_unit("look", "How long a look took", Unit::Seconds, look.clone());
        registry.register("server_up", "Whether the last look could read the server", up.clone());
        registry.register_with_unit(
            "last_look_timestamp",
            "When the server was last looked at, since 1970",
            Unit::Seconds,
            last_look.clone(),
        );
        registry.register_with_unit(
            "clock_skew",
            "By how much the server's clock is ahead of ours",
            Unit::Seconds,
            skew.clone(),
        );
        registry.register(
            "kinds_unread",
            "Kinds that the last look could not read",
            unread.clone(),
        );
        registry.register("tasks", "Tasks that are listed", tasks.clone());
        registry.register("tasks_waiting", "Tasks that wait, by what for", waiting.clone());
        registry.register("dead_letters", "Tasks that a rule has given up", dead.clone());
        registry.register("rule_paused", "Whether a person has paused the rule", paused.clone());
        registry.register(
            "breakers_not_closed",
            "Breakers that leave a storage alone, wholly or in part",
            breakers.clone(),
        );
        registry.register("action_outcomes", "Outcomes that actions reached", actions.clone());
        registry.register("give_ups", "Tasks given up since the start", give_ups.clone());
        registry.register("config_reloads", "Readings of a changed rules file", reloads.clone());
        registry.register(
            "config_last_reload_successful",
            "Whether the rules file as it is now is in force",
            reload_ok.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the rules in force were read, since 1970",
            Unit::Seconds,
            reload_time.clone(),
        );
        registry.register("store_works", "Whether the store can be written", store_ok.clone());
        registry.register_with_unit(
            "store_size",
            "The size of the database",
            Unit::Bytes,
            store_bytes.clone(),
        );
        let build: Family<Build, Gauge> = Family::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The version that runs", build);
        reload_ok.set(1);
        store_ok.set(1);
        reload_time.set(unix(&clock));
        Self(Arc::new(Counts {
            registry,
            clock,
            polls,
            look,
            up,
            last_look,
            skew,
            unread,
            tasks,
            waiting,
            dead,
            paused,
            breakers,
            actions,
            give_ups,
            reloads,
            reload_ok,
            reload_time,
            store_ok,
            store_bytes,
            state: std::sync::Mutex::default(),
        }))
    }

    /// A sink that counts, and hands every event on to `sink`.
    #[must_use]
    pub fn beside(&self, sink: &Sink) -> Sink {
        let (metrics, sink) = (self.clone(), sink.clone());
        Sink::new(move |event| {
            metrics.count(event);
            sink.emit(event);
        })
    }

    fn count(&self, event: &Event) {
        let counts = &*self.0;
        match event {
            Event::Status(status) => counts.note_status(status),
            Event::Acted(row) if row.mode == Mode::Live => {
                let rule = row.rule.as_ref().map_or_else(String::new, ToString::to_string);
                counts
                    .actions
                    .get_or_create(&vec![
                        ("server", row.server.to_string()),
                        ("rule", rule),
                        ("action", row.action.clone()),
                        ("outcome", row.outcome.to_string()),
                    ])
                    .inc();
            }
            Event::GaveUp { row, .. } => {
                let rule = row.rule.as_ref().map_or_else(String::new, ToString::to_string);
                let labels = vec![("server", row.server.to_string()), ("rule", rule)];
                counts.give_ups.get_or_create(&labels).inc();
            }
            Event::Reloaded { .. } => {
                counts.reloads.get_or_create(&vec![("result", "accepted".to_owned())]).inc();
                counts.reload_ok.set(1);
                counts.reload_time.set(unix(&counts.clock));
            }
            Event::ReloadRefused { .. } => {
                counts.reloads.get_or_create(&vec![("result", "refused".to_owned())]).inc();
                counts.reload_ok.set(0);
            }
            Event::StoreAway { .. } => {
                counts.store_ok.set(0);
            }
            Event::StoreBack => {
                counts.store_ok.set(1);
            }
            _ => {}
        }
    }

    /// Notes the size of the database.
    pub fn note_store_size(&self, bytes: u64) {
        self.0.store_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Drops what is counted of servers that are not looked after any more.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut state = self.0.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = state.len();
        state.retain(|server, _| keep(server));
        if state.len() != before {
            let servers: Vec<_> = state.values().cloned().collect();
            self.0.set_gauges(&servers);
        }
    }

    /// All of it, as text in the OpenMetrics format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.0.registry);
        text
    }
}

impl Counts {
    fn note_status(&self, status: &Arc<ServerStatus>) {
        let server = status.server.to_string();
        let label = || vec![("server", server.clone())];
        let result = if status.away.is_none() { "read" } else { "away" };
        self.polls
            .get_or_create(&vec![("server", server.clone()), ("result", result.to_owned())])
            .inc();
        self.look.get_or_create(&label()).observe(status.look_seconds);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.insert(server, Arc::clone(status));
        let servers: Vec<_> = state.values().cloned().collect();
        self.set_gauges(&servers);
    }

    /// Gauges of what went must go, so all are set anew.
    fn set_gauges(&self, servers: &[Arc<ServerStatus>]) {
        let gauges = [
            &self.up,
            &self.skew,
            &self.unread,
            &self.tasks,
            &self.waiting,
            &self.dead,
            &self.paused,
            &self.breakers,
        ];
        for gauge in gauges {
            gauge.clear();
        }
        self.last_look.clear();
        for status in servers {
            let server = || ("server", status.server.to_string());
            self.up.get_or_create(&vec![server()]).set(i64::from(status.away.is_none()));
            #[allow(clippy::cast_precision_loss, reason = "exact for thousands of years")]
            self.last_look.get_or_create(&vec![server()]).set(status.time.as_second() as f64);
            self.skew.get_or_create(&vec![server()]).set(status.skew_seconds);
            self.unread.get_or_create(&vec![server()]).set(number(status.unread.len()));
            for (kind, states) in &status.tasks {
                for (name, count) in states {
                    let labels =
                        vec![server(), ("kind", kind.to_string()), ("state", name.clone())];
                    self.tasks.get_or_create(&labels).set(number(*count));
                }
            }
            for rule in &status.rules {
                let labels = || vec![server(), ("rule", rule.rule.to_string())];
                for (gate, count) in &rule.waiting {
                    let mut labels = labels();
                    labels.push(("gate", gate.clone()));
                    self.waiting.get_or_create(&labels).set(number(*count));
                }
                self.dead.get_or_create(&labels()).set(number(rule.dead));
                self.paused.get_or_create(&labels()).set(i64::from(rule.paused.is_some()));
                self.breakers.get_or_create(&labels()).set(number(rule.breakers.len()));
            }
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unix(clock: &Clock) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact for thousands of years")]
    let seconds = clock.now().as_second() as f64;
    seconds
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
