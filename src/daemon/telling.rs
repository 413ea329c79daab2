//! Tells people: makes notices of events, and sends what has come together for each target.
//!
//! Nothing here holds an action up: events are taken in memory, and messages go out beside the loops.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::supervise::secret;
use crate::ambient::Clock;
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::message::{Message, Topic};
use crate::engine::rule::Mode;
use crate::engine::task::ServerName;
use crate::engine::text::{moment, plural, printable, shorten};
use crate::notify::{Address, Courier, Lasts, Mailbox, NotSent, Notice, Pace};
use crate::rules::NotifyTarget;
use crate::store::{AuditFilter, OpenError, Store, WriteBatch};
use crate::telemetry::{Event, Sink};

/// The name under which the mailboxes stand in the store, where the servers have theirs; no server
/// can be called so.
pub const STORED_AS: &str = "-";

/// Looks in a row that fail before people are told that a server does not answer; less is a blip.
const LOOKS: u32 = 4;

/// How long events are gathered before they are written down.
const GATHER: Duration = Duration::from_millis(200);

/// The longest that what could not be written down waits.
const WRITE_AGAIN: Duration = Duration::from_secs(30);

/// Whom to tell what, and what waits to be told.
#[derive(Clone, Debug)]
pub struct Telling(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<NotifyTarget>,
    stored: Stored,
    /// Whether what is stored is older.
    changed: bool,
    sending: BTreeSet<String>,
}

/// What survives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    mailboxes: BTreeMap<String, Mailbox>,
    /// Up to when each target knows what was done.
    #[serde(default)]
    digests: BTreeMap<String, Timestamp>,
}

impl Telling {
    /// Begins with what an earlier daemon could not tell any more.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn new(targets: &[NotifyTarget], store: &Store) -> Result<Self, OpenError> {
        let stored = store.reader()?.server_state(&ServerName::new(STORED_AS))?;
        let stored = stored.and_then(|json| serde_json::from_value(json).ok()).unwrap_or_default();
        let state = State { stored, ..State::default() };
        let shared = Shared { state: Mutex::new(state), wake: tokio::sync::Notify::new() };
        let telling = Self(Arc::new(shared));
        telling.set(targets);
        Ok(telling)
    }

    /// Puts other targets in force. What waits for one that is still there goes on to wait.
    pub fn set(&self, targets: &[NotifyTarget]) {
        let mut state = self.state();
        state.targets = targets.to_vec();
        let named = |name: &String| targets.iter().any(|target| target.name == *name);
        let Stored { mailboxes, digests } = &mut state.stored;
        mailboxes.retain(|name, _| named(name));
        digests.retain(|name, _| named(name));
        drop(state);
        self.0.wake.notify_one();
    }

    /// A sink that takes events for people too, before it hands them on.
    #[must_use]
    pub fn beside(&self, sink: &Sink, clock: &Clock) -> Sink {
        let (telling, sink, clock) = (self.clone(), sink.clone(), clock.clone());
        Sink::new(move |event| {
            telling.take(event, clock.now());
            sink.emit(event);
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic left is still a list of messages.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Event, now: Timestamp) {
        let told = notices(event);
        if told.is_empty() {
            return;
        }
        let mut state = self.state();
        let State { targets, stored, changed, .. } = &mut *state;
        for target in targets.iter() {
            let mine = |topics: &[Topic]| topics.iter().any(|topic| target.events.contains(topic));
            for (topics, notice) in told.iter().filter(|(topics, _)| mine(topics)) {
                debug_assert!(!topics.is_empty(), "a notice is about something");
                stored.mailboxes.entry(target.name.clone()).or_default().take(notice, now);
                *changed = true;
            }
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Sends what is due until told to stop; what is left then waits in the store.
    pub async fn run(
        self,
        store: Store,
        clock: Clock,
        sink: Sink,
        speed: f64,
        mut stop: watch::Receiver<bool>,
    ) {
        // Made when there is something to carry: it reads the system's certificates.
        let mut courier = None;
        let mut calls: JoinSet<(String, Result<String, NotSent>)> = JoinSet::new();
        loop {
            self.tell_digests(&store, clock.now()).await;
            let written = self.write(&store).await;
            for (name, address, message) in self.due(clock.now()) {
                let courier = courier.get_or_insert_with(Courier::new).clone();
                calls.spawn(async move {
                    let said = match (courier, address) {
                        (Ok(courier), Ok(address)) => courier.send(&address, &message).await,
                        (Err(error), _) | (_, Err(error)) => Err(error),
                    };
                    (name, said)
                });
            }
            let wait = self.next(clock.now()).div_f64(speed.max(f64::MIN_POSITIVE));
            let wait = if written { wait } else { wait.min(WRITE_AGAIN) };
            let woken = tokio::select! {
                () = self.0.wake.notified() => true,
                () = tokio::time::sleep(wait) => false,
                Some(Ok((name, said))) = calls.join_next(), if !calls.is_empty() => {
                    self.settle(&name, said, clock.now(), &sink);
                    false
                }
                _ = stop.wait_for(|stop| *stop) => break,
            };
            if woken {
                tokio::time::sleep(GATHER).await;
            }
        }
        calls.shutdown().await;
        self.write(&store).await;
    }

    /// Sends all that has come together, once; for a daemon that ends after one tick.
    pub async fn send_once(&self, store: &Store, clock: &Clock, sink: &Sink) {
        let Ok(courier) = Courier::new() else { return };
        let now = clock.now();
        for (name, address, message) in self.due(now) {
            let said = match address {
                Ok(address) => courier.send(&address, &message).await,
                Err(error) => Err(error),
            };
            self.settle(&name, said, now, sink);
        }
        self.write(store).await;
    }

    /// The messages that are to be sent now.
    fn due(&self, now: Timestamp) -> Vec<(String, Result<Address, NotSent>, Message)> {
        let mut state = self.state();
        let State { targets, stored, changed, sending } = &mut *state;
        let mut due = Vec::new();
        for target in targets.iter() {
            let Some(mailbox) = stored.mailboxes.get_mut(&target.name) else { continue };
            let before = mailbox.clone();
            mailbox.make(pace(target), now);
            *changed |= *mailbox != before;
            if sending.contains(&target.name) {
                continue;
            }
            let Some(message) = mailbox.to_send(now) else { continue };
            sending.insert(target.name.clone());
            due.push((target.name.clone(), address(target), message));
        }
        due
    }

    /// What became of a message.
    fn settle(&self, name: &str, said: Result<String, NotSent>, now: Timestamp, sink: &Sink) {
        let mut state = self.state();
        state.sending.remove(name);
        state.changed = true;
        let Some(mailbox) = state.stored.mailboxes.get_mut(name) else { return };
        let target = name.to_owned();
        let event = match said {
            Ok(_) => {
                mailbox.sent();
                Some(Event::Told { target })
            }
            Err(error) => {
                let news = mailbox.failed(now, error.wait);
                news.then(|| Event::NotTold { target, error: error.to_string() })
            }
        };
        drop(state);
        if let Some(event) = event {
            sink.emit(&event);
        }
    }

    /// How long until something is to be done.
    fn next(&self, now: Timestamp) -> Duration {
        let state = self.state();
        let times = state.targets.iter().flat_map(|target| {
            let idle = !state.sending.contains(&target.name);
            let mailbox = state.stored.mailboxes.get(&target.name).filter(|_| idle);
            let digest = target
                .digest
                .as_ref()
                .and_then(|digest| digest.next_after(*state.stored.digests.get(&target.name)?));
            [mailbox.and_then(|mailbox| mailbox.due(pace(target))), digest]
        });
        let next = times.flatten().min();
        let longest = Duration::from_secs(3600);
        next.map_or(longest, |at| {
            Duration::try_from(at.duration_since(now)).unwrap_or_default().min(longest)
        })
    }

    /// Writes down what waits; tells whether that went well.
    async fn write(&self, store: &Store) -> bool {
        let stored = {
            let mut state = self.state();
            if !std::mem::take(&mut state.changed) {
                return true;
            }
            serde_json::to_value(&state.stored).unwrap_or_default()
        };
        let batch = WriteBatch {
            server_state: Some(stored),
            ..WriteBatch::new(ServerName::new(STORED_AS))
        };
        let written = store.write(batch).await.is_ok();
        if !written {
            self.state().changed = true;
        }
        written
    }

    /// Posts the digests whose moment has come.
    async fn tell_digests(&self, store: &Store, now: Timestamp) {
        let due: Vec<(String, Timestamp)> = {
            let mut state = self.state();
            let State { targets, stored, changed, .. } = &mut *state;
            let mut due = Vec::new();
            for target in targets.iter() {
                let Some(digest) = &target.digest else { continue };
                let Some(since) = stored.digests.get_mut(&target.name) else {
                    stored.digests.insert(target.name.clone(), now);
                    *changed = true;
                    continue;
                };
                // A clock that was set back makes nobody wait for years.
                *since = (*since).min(now);
                if digest.next_after(*since).is_some_and(|at| at <= now) {
                    due.push((target.name.clone(), *since));
                    *since = now;
                    *changed = true;
                }
            }
            due
        };
        for (name, since) in due {
            let store = store.clone();
            let count = move || digest(&store, since, now);
            let Ok(Some(message)) = tokio::task::spawn_blocking(count).await else { continue };
            self.state().stored.mailboxes.entry(name).or_default().post(message);
        }
    }
}

fn pace(target: &NotifyTarget) -> Pace {
    Pace { wait: target.wait, interval: target.interval, repeat: target.repeat }
}

/// A target with its secrets as they are now.
///
/// # Errors
///
/// Which secret cannot be had.
pub fn address(target: &NotifyTarget) -> Result<Address, NotSent> {
    let read = |reference: &crate::rules::SecretRef| -> Result<SecretString, NotSent> {
        secret(reference).read().map_err(|error| NotSent { why: error.to_string(), wait: None })
    };
    Ok(Address {
        service: target.service,
        url: target.url.as_ref().map(read).transpose()?,
        token: target.token.as_ref().map(read).transpose()?,
        to: target.to.clone(),
        from: target.from.clone(),
        username: target.username.clone(),
        password: target.password.as_ref().map(read).transpose()?,
        method: target.method.clone(),
        headers: target
            .headers
            .iter()
            .map(|(name, value)| {
                let value = read(value)?;
                let fine = value.expose_secret().bytes().all(|b| (b' '..=b'~').contains(&b));
                if fine {
                    Ok((name.clone(), value))
                } else {
                    let why = format!("the header `{name}` holds more than printable ASCII");
                    Err(NotSent { why, wait: None })
                }
            })
            .collect::<Result<_, _>>()?,
        body: target.body.clone(),
    })
}

/// What was done since, in numbers; nothing where nothing was.
fn digest(store: &Store, since: Timestamp, now: Timestamp) -> Option<Message> {
    let mut counts: BTreeMap<(ServerName, String), BTreeMap<Outcome, u32>> = BTreeMap::new();
    let (mut actions, mut given_up) = (0_usize, 0_usize);
    let filter = AuditFilter {
        since: Some(since),
        until: Some(now),
        mode: Some(Mode::Live),
        ..AuditFilter::default()
    };
    let reader = store.reader().ok()?;
    let read = reader.audit_each(&filter, |row| {
        if let Some(rule) = &row.rule {
            let what = format!("`{rule}` {}", row.action);
            *counts
                .entry((row.server.clone(), what))
                .or_default()
                .entry(row.outcome)
                .or_default() += 1;
            given_up += usize::from(row.action == "give_up");
            actions += usize::from(row.action != "give_up");
        }
        ControlFlow::Continue(())
    });
    read.ok()?;
    let hours = now.duration_since(since).round(jiff::Unit::Hour).unwrap_or(SignedDuration::ZERO);
    let hours =
        plural(usize::try_from(hours.as_hours()).unwrap_or_default().max(1), "hour", "hours");
    let title = format!(
        "{} and {} in {hours}",
        plural(actions, "action", "actions"),
        plural(given_up, "give-up", "give-ups")
    );
    let lines: Vec<String> = counts
        .iter()
        .map(|((server, what), outcomes)| {
            let outcomes: Vec<String> =
                outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
            format!("{}: {}: {}", printable(server.as_str()), printable(what), outcomes.join(", "))
        })
        .collect();
    let text =
        if lines.is_empty() { "nothing was to be done".to_owned() } else { lines.join("\n") };
    Some(Message { title, text, bad: given_up > 0 })
}

/// What people are told of an event, and whom it concerns: those who asked for one of the topics.
fn notices(event: &Event) -> Vec<(Vec<Topic>, Notice)> {
    let one = |topics: &[Topic], heading: String, line: String, bad: bool, lasts: Lasts| {
        vec![(topics.to_vec(), Notice { heading, line, bad, lasts })]
    };
    let short = |text: &str| printable(&shorten(text, 160)).into_owned();
    match event {
        Event::GaveUp { row, notify } => {
            let topics: &[Topic] =
                if *notify { &[Topic::GaveUp, Topic::Notify] } else { &[Topic::GaveUp] };
            let heading = format!("{} gave up", who(row));
            one(topics, heading, about(row, &row.reason), true, Lasts::No)
        }
        Event::Acted(row) if row.action == "notify" && row.mode == Mode::Live => {
            one(&[Topic::Notify], who(row), about(row, &row.reason), true, Lasts::No)
        }
        Event::Breaker { server, rule, key, open_until } => {
            let (server, rule) = (printable(server.as_str()), printable(rule.as_str()));
            let key = printable(key);
            let (heading, line) = if let Some(until) = open_until {
                let heading = format!("{server}: `{rule}` leaves {key} alone");
                (heading, format!("until {}", moment(*until)))
            } else {
                (format!("{server}: `{rule}` works on {key} again"), String::new())
            };
            one(&[Topic::Breaker], heading, line, open_until.is_some(), Lasts::No)
        }
        Event::ServerAway { server, error, login: true, .. } => {
            let heading = format!("{} refuses the log-in", printable(server.as_str()));
            let lasts = Lasts::Begins(format!("login {server}"));
            one(&[Topic::Login], heading, short(error), true, lasts)
        }
        Event::ServerAway { server, error, times, .. } if *times >= LOOKS => {
            let heading = format!("{} does not answer", printable(server.as_str()));
            let lasts = Lasts::Begins(format!("server {server}"));
            one(&[Topic::Server], heading, short(error), true, lasts)
        }
        Event::ServerReached { server, .. } => {
            let name = printable(server.as_str());
            let back = |topic, word: &str, heading| {
                one(
                    &[topic],
                    heading,
                    String::new(),
                    false,
                    Lasts::Ends(format!("{word} {server}")),
                )
            };
            let mut all = back(Topic::Server, "server", format!("{name} answers again"));
            all.extend(back(Topic::Login, "login", format!("{name} takes the log-in again")));
            all
        }
        Event::ReloadRefused { findings } => {
            let heading = "the rules file has errors, and the old rules stay".to_owned();
            let first = findings.lines().next().unwrap_or_default();
            one(&[Topic::Reload], heading, short(first), true, Lasts::Begins("reload".to_owned()))
        }
        Event::Reloaded { .. } => {
            let heading = "the rules file can be used again".to_owned();
            one(&[Topic::Reload], heading, String::new(), false, Lasts::Ends("reload".to_owned()))
        }
        Event::StoreAway { error } => {
            let heading = "nothing can be written down, so nothing is done".to_owned();
            one(&[Topic::Store], heading, short(error), true, Lasts::Begins("store".to_owned()))
        }
        Event::StoreBack => {
            let heading = "the store works again".to_owned();
            one(&[Topic::Store], heading, String::new(), false, Lasts::Ends("store".to_owned()))
        }
        Event::LoopDied { server } => {
            let name = printable(server.as_str());
            let heading = format!("the loop of {name} broke down and was started again");
            one(&[Topic::Daemon], heading, String::new(), true, Lasts::No)
        }
        Event::AuditLogAway { error } => {
            let heading = "the audit log file cannot be written".to_owned();
            one(&[Topic::Daemon], heading, short(error), true, Lasts::No)
        }
        _ => Vec::new(),
    }
}

fn who(row: &AuditRow) -> String {
    let server = printable(row.server.as_str());
    match &row.rule {
        Some(rule) => format!("{server}: `{}`", printable(rule.as_str())),
        None => server.into_owned(),
    }
}

fn about(row: &AuditRow, reason: &str) -> String {
    let name = row.task_name.as_deref().unwrap_or("all of them");
    let why = row.error.as_deref().unwrap_or(reason);
    format!("{}: {}", printable(&shorten(name, 120)), printable(&shorten(why, 160)))
}
