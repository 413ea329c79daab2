//! Servers and their health, and the queue by kind and state now.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::desk::Desk;
use crate::daemon::control::DaemonStatus;
use crate::engine::rule::Mode;
use crate::engine::task::{Flavour, Kind, ServerName};
use crate::telemetry::status::{Away, Reload, ServerStatus};

/// How everything stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// The daemon's version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// The rules file, if it follows one.
    pub config: Option<String>,
    /// The revision of the rules in force.
    pub revision: String,
    /// What the last reading of the rules file came to, if it was read since the start.
    pub reload: Option<Reload>,
    /// Sums over all servers.
    pub totals: Totals,
    /// The queue of all servers together, by kind.
    pub kinds: Vec<KindTasks>,
    /// The servers, in the order of the rules file.
    pub servers: Vec<ServerView>,
}

/// Sums over all servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// Tasks that are listed.
    pub tasks: usize,
    /// Those that are not done: pending, running, waiting for a retry by the server.
    pub undone: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that a rule has and that wait for something.
    pub waiting: usize,
    /// Those that a rule has given up and nobody has put away.
    pub dead: usize,
    /// Rules that a person has paused, each counted once a server.
    pub paused: usize,
    /// Rules that only show what they would do, each counted once a server.
    pub dry_run: usize,
    /// Breakers that are not closed.
    pub breakers: usize,
    /// Servers that are not well.
    pub unwell: usize,
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It was read, and what is done there can be written down.
    Well,
    /// It was not looked at yet.
    Starting,
    /// Some of its kinds could not be read.
    Partly,
    /// It cannot be read.
    Away,
    /// Nothing is done there, because it cannot be written down.
    Unwritable,
    /// Its loop does not go on.
    Stuck,
}

/// One server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ServerView {
    /// Its name.
    pub server: ServerName,
    /// How it is.
    pub health: Health,
    /// When it was looked at last.
    pub time: Option<Timestamp>,
    /// How long that took, in seconds.
    pub look_seconds: f64,
    /// Which product it is.
    pub flavour: Flavour,
    /// Since when it cannot be read, and why.
    pub away: Option<Away>,
    /// By how many seconds its clock is ahead of ours.
    pub skew_seconds: i64,
    /// The kinds that could not be read.
    pub unread: Vec<Unread>,
    /// Its queue, by kind; as it was last read while it is away.
    pub kinds: Vec<KindTasks>,
    /// How many tasks wait, by what they wait for.
    pub waiting: BTreeMap<String, usize>,
    /// How many tasks rules have given up and nobody has put away.
    pub dead: usize,
    /// How many of its rules a person has paused.
    pub paused: usize,
    /// How many breakers are not closed.
    pub breakers: usize,
}

/// A kind that could not be read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unread {
    /// The kind.
    pub kind: Kind,
    /// Why, secrets out.
    pub error: String,
}

/// The tasks of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KindTasks {
    /// The kind.
    pub kind: Kind,
    /// How many.
    pub tasks: usize,
    /// How many in each state that any is in.
    pub states: BTreeMap<String, usize>,
}

/// Gathers it from the board; costs the same however many tasks there are.
#[must_use]
pub fn overview(desk: &Desk) -> Overview {
    let daemon = desk.control.status().borrow().clone();
    let now = desk.clock.now();
    let mut shown = desk.board.shown();
    let mut totals = Totals::default();
    let mut kinds: BTreeMap<Kind, BTreeMap<String, usize>> = BTreeMap::new();
    let mut servers = Vec::new();
    for name in &daemon.servers {
        let status = shown.servers.remove(name);
        let server = of(name, status.as_deref(), &daemon, now);
        if let Some(status) = &status {
            totals.dry_run += status.rules.iter().filter(|rule| rule.mode == Mode::DryRun).count();
            for (kind, states) in &status.tasks {
                let sums = kinds.entry(kind.clone()).or_default();
                for (state, count) in states {
                    *sums.entry(state.clone()).or_default() += count;
                }
            }
        }
        totals.waiting += server.waiting.values().sum::<usize>();
        totals.dead += server.dead;
        totals.paused += server.paused;
        totals.breakers += server.breakers;
        totals.unwell += usize::from(server.health != Health::Well);
        servers.push(server);
    }
    for states in kinds.values() {
        for (state, count) in states {
            totals.tasks += count;
            match state.as_str() {
                "succeeded" | "canceled" => {}
                "failed" => totals.failed += count,
                _ => totals.undone += count,
            }
        }
    }
    Overview {
        now,
        version: daemon.version,
        started: daemon.started,
        config: daemon.config,
        revision: daemon.revision,
        reload: shown.reload,
        totals,
        kinds: kinds.into_iter().map(|(kind, states)| kind_tasks(&kind, &states)).collect(),
        servers,
    }
}

/// One server, as the overview and the stream of events have it.
#[must_use]
pub fn of(
    name: &ServerName,
    status: Option<&ServerStatus>,
    daemon: &DaemonStatus,
    now: Timestamp,
) -> ServerView {
    let since = status.map_or(daemon.started, |status| status.time);
    let stuck = now.duration_since(since) > daemon.stuck_after;
    let Some(status) = status else {
        return ServerView {
            server: name.clone(),
            health: if stuck { Health::Stuck } else { Health::Starting },
            time: None,
            look_seconds: 0.0,
            flavour: Flavour::Unknown,
            away: None,
            skew_seconds: 0,
            unread: Vec::new(),
            kinds: Vec::new(),
            waiting: BTreeMap::new(),
            dead: 0,
            paused: 0,
            breakers: 0,
        };
    };
    let health = if stuck {
        Health::Stuck
    } else if !status.store_works {
        Health::Unwritable
    } else if status.away.is_some() {
        Health::Away
    } else if status.unread.is_empty() {
        Health::Well
    } else {
        Health::Partly
    };
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    for (gate, count) in status.rules.iter().flat_map(|rule| &rule.waiting) {
        *waiting.entry(gate.clone()).or_default() += count;
    }
    let unread = status.unread.iter();
    ServerView {
        server: name.clone(),
        health,
        time: Some(status.time),
        look_seconds: status.look_seconds,
        flavour: status.flavour,
        away: status.away.clone(),
        skew_seconds: status.skew_seconds,
        unread: unread
            .map(|(kind, error)| Unread { kind: kind.clone(), error: error.clone() })
            .collect(),
        kinds: status.tasks.iter().map(|(kind, states)| kind_tasks(kind, states)).collect(),
        waiting,
        dead: status.rules.iter().map(|rule| rule.dead).sum(),
        paused: status.rules.iter().filter(|rule| rule.paused.is_some()).count(),
        breakers: status.rules.iter().map(|rule| rule.breakers.len()).sum(),
    }
}

fn kind_tasks(kind: &Kind, states: &BTreeMap<String, usize>) -> KindTasks {
    KindTasks { kind: kind.clone(), tasks: states.values().sum(), states: states.clone() }
}
