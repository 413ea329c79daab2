//! What happens, as one event type: the log line, the demo's screen and (later) the metrics are
//! made from it.

pub mod feed;
pub mod metrics;
pub mod service;
pub mod status;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use self::status::ServerStatus;
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::predicate::format_duration;
use crate::engine::rule::Mode;
use crate::engine::task::{Flavour, Kind, RuleName, ServerName};
use crate::engine::text::{moment, plural, printable};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only for those who look closely.
    Debug,
    /// The course of things.
    Info,
    /// Someone should look at it some day.
    Warn,
    /// Something does not work.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The daemon is up.
    Started {
        /// How many servers it looks after.
        servers: usize,
        /// How many rules it has.
        rules: usize,
        /// Their revision.
        revision: String,
    },
    /// A server answered for the first time, or again.
    ServerReached {
        /// The server.
        server: ServerName,
        /// Which product it is.
        flavour: Flavour,
        /// The kinds it has.
        kinds: Vec<Kind>,
    },
    /// A server could not be read.
    ServerAway {
        /// The server.
        server: ServerName,
        /// Why, secrets out.
        error: String,
        /// How many looks in a row failed.
        times: u32,
        /// Since when.
        since: Timestamp,
        /// Whether it answers, and refuses the log-in.
        login: bool,
    },
    /// A message went to people.
    Told {
        /// Whom it went to.
        target: String,
    },
    /// A message could not be sent, and waits; said once until one goes.
    NotTold {
        /// Whom it was to go to.
        target: String,
        /// Why, secrets out.
        error: String,
    },
    /// Some kinds of a server could not be read, and are left out of a tick.
    KindUnread {
        /// The server.
        server: ServerName,
        /// The kind.
        kind: Kind,
        /// Why, secrets out.
        error: String,
    },
    /// The lists of a server were read.
    Polled {
        /// The server.
        server: ServerName,
        /// How many tasks they had.
        tasks: usize,
        /// How many of them wait for a rule's moment.
        waiting: usize,
        /// How many of those wait for something that comes by itself within hours (a backoff, room
        /// in a limit, the effect of the last action), with the actions of this look.
        due: usize,
    },
    /// How a server stands after a look, also a failed one. Shown on request only.
    Status(Arc<ServerStatus>),
    /// A person asked for something, and it was done.
    Ordered(Box<AuditRow>),
    /// Nobody can ask the running daemon anything.
    ControlAway {
        /// Why.
        error: String,
    },
    /// The address that `listen:` names cannot be had.
    ListenAway {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: String,
    },
    /// A server's clock differs from ours.
    ClockSkew {
        /// The server.
        server: ServerName,
        /// By how many seconds it is ahead.
        seconds: i64,
    },
    /// Our own clock was set while the daemon ran.
    ClockSet {
        /// The server whose waits were moved along.
        server: ServerName,
        /// By how many seconds, forward if positive.
        seconds: i64,
    },
    /// An action got its outcome, as its audit row says.
    Acted(Box<AuditRow>),
    /// A rule let go of a task.
    GaveUp {
        /// The audit row of it.
        row: Box<AuditRow>,
        /// Whether the rule wants people told.
        notify: bool,
    },
    /// A breaker opened or closed.
    Breaker {
        /// The server.
        server: ServerName,
        /// The rule.
        rule: RuleName,
        /// What it is about.
        key: String,
        /// Until when it is open; `None` when it closed.
        open_until: Option<Timestamp>,
    },
    /// A limit holds tasks back.
    HeldBack {
        /// The server.
        server: ServerName,
        /// The rule.
        rule: RuleName,
        /// How many tasks.
        tasks: usize,
        /// What holds them.
        gate: String,
    },
    /// The rules file was read anew.
    Reloaded {
        /// What differs, in words.
        changes: String,
        /// The revision.
        revision: String,
    },
    /// Something in the rules that are in force now deserves a look.
    RulesWarning {
        /// Where and what, as `check` says it.
        finding: String,
    },
    /// The rules file changed and cannot be used; the old rules stay.
    ReloadRefused {
        /// The findings, as `check` prints them.
        findings: String,
    },
    /// Nothing can be written down, so nothing is done.
    StoreAway {
        /// Why.
        error: String,
    },
    /// The store works again.
    StoreBack,
    /// The file that `audit_log:` names cannot be written.
    AuditLogAway {
        /// Why.
        error: String,
    },
    /// Old rows were taken out of the store.
    Pruned {
        /// How many.
        rows: u64,
        /// How many bytes its file shrank by.
        bytes: u64,
    },
    /// Old rows could not be taken out of the store.
    NotPruned {
        /// Why.
        error: String,
    },
    /// Everyone on the machine can read a file that holds a secret.
    SecretOpen {
        /// The file.
        path: PathBuf,
    },
    /// A server's loop broke down by a defect of ours; it is started again.
    LoopDied {
        /// The server.
        server: ServerName,
    },
    /// Every loop goes on; said three times in as long as a watchdog waits.
    Alive,
    /// The daemon ends.
    Stopping,
}

/// What an event is about, for log records.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    server: Option<&'a str>,
    rule: Option<&'a str>,
    kind: Option<&'a str>,
    task_id: Option<&'a str>,
    action: Option<&'a str>,
    outcome: Option<&'a str>,
}

impl Event {
    /// The stable name of its sort, in log records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::ServerReached { .. } => "server_reached",
            Self::ServerAway { .. } => "server_away",
            Self::Told { .. } => "told",
            Self::NotTold { .. } => "not_told",
            Self::KindUnread { .. } => "kind_unread",
            Self::Polled { .. } => "polled",
            Self::Status(_) => "status",
            Self::Ordered(_) => "ordered",
            Self::ControlAway { .. } => "control_away",
            Self::ListenAway { .. } => "listen_away",
            Self::ClockSkew { .. } => "clock_skew",
            Self::ClockSet { .. } => "clock_set",
            Self::Acted(_) => "acted",
            Self::GaveUp { .. } => "gave_up",
            Self::Breaker { .. } => "breaker",
            Self::HeldBack { .. } => "held_back",
            Self::Reloaded { .. } => "reloaded",
            Self::RulesWarning { .. } => "rules_warning",
            Self::ReloadRefused { .. } => "reload_refused",
            Self::StoreAway { .. } => "store_away",
            Self::StoreBack => "store_back",
            Self::AuditLogAway { .. } => "audit_log_away",
            Self::Pruned { .. } => "pruned",
            Self::NotPruned { .. } => "not_pruned",
            Self::SecretOpen { .. } => "secret_open",
            Self::LoopDied { .. } => "loop_died",
            Self::Alive => "alive",
            Self::Stopping => "stopping",
        }
    }

    fn about(&self) -> About<'_> {
        match self {
            Self::Acted(row) | Self::Ordered(row) | Self::GaveUp { row, .. } => About {
                server: Some(row.server.as_str()),
                rule: row.rule.as_ref().map(RuleName::as_str),
                kind: row.kind.as_ref().map(Kind::as_str),
                task_id: row.task_id.as_ref().map(crate::engine::task::TaskId::as_str),
                action: Some(&row.action),
                outcome: Some(row.outcome.as_str()),
            },
            Self::Breaker { server, rule, .. } | Self::HeldBack { server, rule, .. } => About {
                server: Some(server.as_str()),
                rule: Some(rule.as_str()),
                ..About::default()
            },
            Self::KindUnread { server, kind, .. } => About {
                server: Some(server.as_str()),
                kind: Some(kind.as_str()),
                ..About::default()
            },
            Self::ServerReached { server, .. }
            | Self::ServerAway { server, .. }
            | Self::Polled { server, .. }
            | Self::ClockSkew { server, .. }
            | Self::ClockSet { server, .. }
            | Self::LoopDied { server } => {
                About { server: Some(server.as_str()), ..About::default() }
            }
            _ => About::default(),
        }
    }

    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Polled { .. } | Self::Status(_) => Level::Debug,
            Self::ServerAway { .. }
            | Self::StoreAway { .. }
            | Self::ReloadRefused { .. }
            | Self::AuditLogAway { .. }
            | Self::LoopDied { .. } => Level::Error,
            Self::KindUnread { .. }
            | Self::GaveUp { .. }
            | Self::ControlAway { .. }
            | Self::ListenAway { .. }
            | Self::ClockSkew { .. }
            | Self::ClockSet { .. }
            | Self::NotTold { .. }
            | Self::NotPruned { .. }
            | Self::SecretOpen { .. }
            | Self::RulesWarning { .. }
            | Self::Breaker { open_until: Some(_), .. } => Level::Warn,
            Self::Acted(row) => match row.outcome {
                Outcome::Ineffective | Outcome::Unknown | Outcome::Rejected => Level::Warn,
                _ if row.action == "notify" => Level::Warn,
                Outcome::Effective => Level::Debug,
                _ => Level::Info,
            },
            _ => Level::Info,
        }
    }
}

impl fmt::Display for Event {
    #[allow(clippy::too_many_lines, reason = "one table of texts")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { servers, rules, revision } => {
                let servers = plural(*servers, "server", "servers");
                let rules = plural(*rules, "rule", "rules");
                write!(f, "looking after {servers} with {rules}, revision {revision}")
            }
            Self::ServerReached { server, flavour, kinds } => {
                let kinds: Vec<&str> = kinds.iter().map(Kind::as_str).collect();
                write!(
                    f,
                    "{server}: reached; {flavour} server with {}",
                    printable(&kinds.join(", "))
                )
            }
            // The error begins with the server's name.
            Self::ServerAway { error, times: 1, .. } => f.write_str(&printable(error)),
            Self::ServerAway { error, times, since, .. } => {
                let since = moment(*since);
                write!(f, "{} (still failing, {times} times since {since})", printable(error))
            }
            Self::KindUnread { kind, error, .. } => {
                write!(f, "{}; {kind} is left out of this tick", printable(error))
            }
            Self::Polled { server, tasks, waiting, .. } => {
                write!(f, "{server}: {tasks} tasks, {waiting} of them wait for a rule's moment")
            }
            Self::Told { target } => write!(f, "told {}", printable(target)),
            Self::NotTold { target, error } => {
                write!(f, "{} cannot be told: {error}; it is tried again", printable(target))
            }
            Self::ClockSet { server, seconds } => {
                let word = if *seconds > 0 { "forward" } else { "back" };
                let by = std::time::Duration::from_secs(seconds.unsigned_abs());
                let by = format_duration(by);
                write!(
                    f,
                    "{server}: our clock was set {word} by {by}; what waits goes on waiting as long \
                     as it had to"
                )
            }
            Self::ClockSkew { server, seconds } => {
                let word = if *seconds > 0 { "ahead of" } else { "behind" };
                let by = std::time::Duration::from_secs(seconds.unsigned_abs());
                let by = format_duration(by);
                write!(
                    f,
                    "{server}: its clock is {by} {word} ours; its times are corrected for that"
                )
            }
            Self::Acted(row) | Self::GaveUp { row, .. } | Self::Ordered(row) => write_row(f, row),
            Self::Status(status) => write!(f, "{}: looked at", status.server),
            Self::ListenAway { address, error } => write!(
                f,
                "no metrics and health checks on {address}, which cannot be had: {error}; it is \
                 tried again"
            ),
            Self::ControlAway { error } => {
                write!(f, "status, pause, reload and the like will not reach this daemon: {error}")
            }
            Self::Breaker { server, rule, key, open_until: Some(until) } => {
                write!(
                    f,
                    "{server}: rule `{rule}` leaves {} alone until {}",
                    printable(key),
                    moment(*until)
                )
            }
            Self::Breaker { server, rule, key, open_until: None } => {
                write!(f, "{server}: rule `{rule}` works on {} as usual again", printable(key))
            }
            Self::HeldBack { server, rule, tasks, gate } => {
                write!(
                    f,
                    "{server}: rule `{rule}` holds {} back: {gate}",
                    plural(*tasks, "task", "tasks")
                )
            }
            Self::Reloaded { changes, revision } => {
                write!(f, "rules reloaded ({changes}), revision {revision}")
            }
            Self::RulesWarning { finding } => f.write_str(&printable(finding)),
            Self::ReloadRefused { findings } => {
                write!(f, "the rules file has errors, so the old rules stay in force\n{findings}")
            }
            Self::StoreAway { error } => {
                write!(f, "nothing is done, because it cannot be written down: {error}")
            }
            Self::StoreBack => f.write_str("the store works again"),
            Self::AuditLogAway { error } => {
                write!(f, "{error}; the store has every row all the same")
            }
            Self::Pruned { rows, bytes } => {
                let rows = plural(usize::try_from(*rows).unwrap_or(usize::MAX), "row", "rows");
                write!(f, "{rows} left the store for their age, and it shrank by {bytes} bytes")
            }
            Self::NotPruned { error } => {
                write!(f, "old rows stay in the store for now: {error}")
            }
            Self::SecretOpen { path } => write!(
                f,
                "everyone on this machine can read the secret file `{0}`; `chmod 600 {0}`, and have it \
                 belong to the daemon's user",
                printable(&path.display().to_string())
            ),
            Self::LoopDied { server } => write!(
                f,
                "{server}: its loop broke down, which is a defect of taskwarden; please report what \
                 stands above; it starts again in a moment"
            ),
            Self::Alive => f.write_str("all loops go on"),
            Self::Stopping => f.write_str("stopping"),
        }
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, row: &AuditRow) -> fmt::Result {
    write!(f, "{}: ", row.server)?;
    if row.mode == Mode::DryRun {
        f.write_str("would ")?;
    }
    f.write_str(&row.action)?;
    match (&row.task_name, &row.task_id) {
        (Some(name), Some(id)) => write!(f, " `{}` ({})", printable(name), printable(id.as_str()))?,
        (None, Some(id)) => write!(f, " {}", printable(id.as_str()))?,
        _ => {
            if let Some(kind) = &row.kind {
                write!(f, " {kind}")?;
            }
        }
    }
    if row.mode != Mode::DryRun {
        write!(f, ": {}", row.outcome)?;
    }
    if !row.detail.is_empty() {
        write!(f, ": {}", printable(&row.detail))?;
    }
    if let Some(rule) = &row.rule {
        write!(f, "; rule `{}`", printable(rule.as_str()))?;
    }
    if !row.reason.is_empty() {
        write!(f, ", {}", printable(&row.reason))?;
    }
    if let Some(error) = row.error.as_ref().filter(|error| !error.is_empty()) {
        write!(f, "; error: {}", printable(error))?;
    }
    Ok(())
}

/// Where events go.
#[derive(Clone)]
pub struct Sink(Arc<dyn Fn(&Event) + Send + Sync>);

/// A log record of an event: its name and what it is about as fields, and the text.
macro_rules! said {
    ($level:ident, $event:ident) => {{
        let about = $event.about();
        tracing::$level!(
            event = $event.name(),
            server = about.server,
            rule = about.rule,
            kind = about.kind,
            task_id = about.task_id,
            action = about.action,
            outcome = about.outcome,
            "{}",
            $event
        );
    }};
}

impl Sink {
    /// Hands every event to `take`.
    pub fn new(take: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// The log: one line an event.
    #[must_use]
    pub fn log() -> Self {
        Self::new(|event| match event.level() {
            _ if matches!(event, Event::Status(_) | Event::Alive) => {}
            Level::Debug => said!(debug, event),
            Level::Info => said!(info, event),
            Level::Warn => said!(warn, event),
            Level::Error => said!(error, event),
        })
    }

    /// Takes an event.
    pub fn emit(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}
