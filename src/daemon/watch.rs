//! One server's loop. Servers share nothing but the store and the rules, so that a slow or dead one
//! delays nobody else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::beat::Beat;
use super::control::{Done, OrderRequest};
use super::look::Eye;
use super::standing;
use crate::ambient::{Clock, WatchedClock, fault_point, monotonic};
use crate::engine::audit::{AuditRow, IntentId, Occasion, Outcome};
use crate::engine::decide::{Decision, GiveUp, Planned, Sleepers, Tick};
use crate::engine::memory::{Memory, Snapshot};
use crate::engine::observe::{Look, Observer, QueueSample, Sampler};
use crate::engine::rule::{Action, Mode, RuleSet};
use crate::engine::task::{Flavour, Kind, RuleName, ServerName};
use crate::store::{OpenError, Reader, Shown, Store, StoreError, WriteBatch};
use crate::telemetry::status::{Away, ServerStatus};
use crate::telemetry::{Event, Sink};
use crate::upstream::{self, Client};

/// The longest wait between two looks at a server where nothing happens.
const SLOWEST_POLL: Duration = Duration::from_secs(120);

/// What a server's loop needs.
pub struct Watch {
    pub(super) client: Arc<Client>,
    pub(super) store: Store,
    pub(super) rules: watch::Receiver<Arc<RuleSet>>,
    pub(super) stop: watch::Receiver<bool>,
    orders: mpsc::Receiver<OrderRequest>,
    pub(super) clock: Clock,
    watched_clock: WatchedClock,
    pub(super) sink: Sink,
    pub(super) seed: u64,
    beat: Beat,
    /// What the store remembers, while it is read; until then `memory` and `open` are empty.
    reading: Option<JoinHandle<Result<Remembered, StoreError>>>,
    /// Lent to the store while what changed is written.
    pub(super) memory: Arc<Memory>,
    observer: Observer,
    /// Reads what was last written down of each task, once there is a look to hold it against.
    unread: Mutex<Option<Reader>>,
    sleepers: Sleepers,
    /// The rules by which they sleep.
    slept_by: Option<Arc<RuleSet>>,
    sampler: Sampler,
    /// Rows of actions whose effect is not known yet.
    pub(super) open: HashMap<IntentId, AuditRow>,
    /// What could not be written down yet, the memory aside.
    pub(super) unwritten: WriteBatch,
    pub(super) request_timeout: Duration,
    poll: Duration,
    eye: Eye,
    away: Option<(Timestamp, u32)>,
    /// It was told that the store does not work.
    pub(super) store_away: bool,
    held: BTreeMap<RuleName, String>,
    quiet_polls: u32,
    login_memory: Option<serde_json::Value>,
    status: ServerStatus,
    /// How many seconds of the clock pass in one real second; 1 but for sped-up runs.
    speed: f64,
}

/// How much of what was seen waits for the store at most; the oldest goes first.
const MOST_LOOKS: usize = 10_000;

/// How many samples of the queues wait for the store at most; the oldest goes first.
const MOST_SAMPLES: usize = 1_000;

/// What a server's loop is made from.
pub struct WatchSettings {
    /// The server's name.
    pub server: ServerName,
    /// The client to it.
    pub client: Arc<Client>,
    /// The wait between looks while something happens there.
    pub poll: Duration,
    /// The longest a call may take.
    pub request_timeout: Duration,
    /// Kinds to look for beside the known ones.
    pub extra_kinds: Vec<Kind>,
    /// The store.
    pub store: Store,
    /// The rules in force.
    pub rules: watch::Receiver<Arc<RuleSet>>,
    /// Turns true when the daemon ends.
    pub stop: watch::Receiver<bool>,
    /// What people ask for.
    pub orders: mpsc::Receiver<OrderRequest>,
    /// Tells that the loop goes on.
    pub beat: Beat,
    /// The time.
    pub clock: Clock,
    /// Where events go.
    pub sink: Sink,
    /// Shifts the draws of jitter.
    pub seed: u64,
    /// How many seconds of `clock` pass in one real second; 1 but for sped-up runs.
    pub speed: f64,
}

/// What one look at a server came to.
#[derive(Debug)]
pub enum Looked {
    /// It was read and acted on; the decision is what was found.
    Done(Box<(Snapshot, Decision)>),
    /// It could not be read at all.
    Away(upstream::Error),
    /// What is remembered of it could not be read, without which nothing is decided.
    Unremembered(StoreError),
    /// The daemon is ending.
    Stopped,
}

impl Watch {
    /// Prepares the loop, and begins to read what the store remembers of the server. How often log-ins were
    /// refused must be known before anything is asked; all else takes some microseconds for each task, and is
    /// read beside the first look, upon which nothing is decided without it.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn new(settings: WatchSettings) -> Result<Self, OpenError> {
        let server = settings.server.clone();
        let reader = settings.store.reader()?;
        let login_memory = reader.server_state(&settings.server)?;
        if let Some(state) = &login_memory
            && let Ok(state) = serde_json::from_value(state.clone())
        {
            settings.client.restore_login_memory(state);
        }
        let name = server.clone();
        let reading = spawn_blocking(move || Remembered::read(reader, name));
        let status = ServerStatus {
            server: settings.server.clone(),
            time: settings.clock.now(),
            look_seconds: 0.0,
            flavour: Flavour::Unknown,
            away: None,
            store_works: true,
            skew_seconds: 0,
            tasks: BTreeMap::new(),
            unread: BTreeMap::new(),
            rules: Vec::new(),
            due: Vec::new(),
        };
        let eye = Eye::new(
            settings.server.clone(),
            settings.client.clone(),
            settings.extra_kinds,
            settings.clock.clone(),
            settings.sink.clone(),
        );
        Ok(Self {
            client: settings.client,
            store: settings.store,
            rules: settings.rules,
            stop: settings.stop,
            orders: settings.orders,
            watched_clock: settings.clock.watched(),
            clock: settings.clock,
            sink: settings.sink,
            seed: settings.seed,
            beat: settings.beat,
            reading: Some(reading),
            memory: Arc::new(Memory::new(server.clone())),
            observer: Observer::default(),
            unread: Mutex::default(),
            sleepers: Sleepers::default(),
            slept_by: None,
            sampler: Sampler::default(),
            open: HashMap::new(),
            unwritten: WriteBatch::new(server),
            request_timeout: settings.request_timeout,
            poll: settings.poll,
            eye,
            away: None,
            store_away: false,
            held: BTreeMap::new(),
            quiet_polls: 0,
            login_memory,
            status,
            speed: settings.speed,
        })
    }

    /// Looks after the server until the daemon ends.
    ///
    /// # Errors
    ///
    /// When what is remembered of it cannot be read.
    pub async fn run(mut self) -> Result<(), StoreError> {
        loop {
            let beat = self.beat.clone();
            // What was seen goes before the wait: a long list takes more room than all else.
            let wait = match beat.during(self.tick()).await {
                Looked::Stopped => return Ok(()),
                Looked::Unremembered(error) => return Err(error),
                Looked::Done(done) => self.pause_after(&done.0, &done.1),
                Looked::Away(error) => self.pause_after_failure(&error),
            };
            let wait = wait.div_f64(self.speed.max(f64::MIN_POSITIVE));
            let request = tokio::select! {
                () = beat.rest(wait) => None,
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
                Some(request) = self.orders.recv() => Some(request),
                // New rules are tried at once.
                changed = self.rules.changed() => if changed.is_err() { return Ok(()) } else { None },
            };
            if let Some(request) = request {
                self.heed(request).await;
            }
        }
    }

    /// How long until the next look: `poll`, or sooner when something is due, or later, up to four
    /// times as long, while nothing is undone and nothing waits.
    fn pause_after(&mut self, snapshot: &Snapshot, decision: &Decision) -> Duration {
        let undone = snapshot.kinds.values().flatten().any(|task| !task.state.is_done());
        let busy = undone
            || !decision.actions.is_empty()
            || decision.waiting.iter().any(|waiting| waiting.gate.until().is_none());
        self.quiet_polls = if busy { 0 } else { self.quiet_polls.saturating_add(1) };
        let slow = self.poll.saturating_mul(4).min(SLOWEST_POLL).max(self.poll);
        let wait = self.poll.saturating_mul(self.quiet_polls.clamp(1, 4)).min(slow);
        let Some(due) = decision.next_due else { return wait };
        let until = Duration::try_from(due.duration_since(self.clock.now())).unwrap_or_default();
        wait.min(until.max(self.poll.min(Duration::from_secs(1))))
    }

    /// How long a server that does not answer is left alone: longer each time, at most two minutes.
    fn pause_after_failure(&self, error: &upstream::Error) -> Duration {
        let times = self.away.map_or(1, |(_, times)| times);
        let wait = self.poll.saturating_mul(1 << times.saturating_sub(1).min(6)).min(SLOWEST_POLL);
        let named = error
            .until()
            .map(|at| Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default());
        // A login that must wait is looked at again now and then, since its cause may change; the
        // client itself keeps from trying too early.
        wait.max(named.unwrap_or_default().min(SLOWEST_POLL))
    }

    /// Whether the last attempt to write something down went well.
    #[must_use]
    pub fn can_write(&self) -> bool {
        !self.store_away
    }

    /// What the server lists, once what is remembered of it is there, and how many seconds it took since `began`;
    /// else how the tick ends.
    async fn look(
        &mut self,
        began: Instant,
    ) -> Result<(Result<Snapshot, upstream::Error>, f64), Looked> {
        let mut stop = self.stop.clone();
        loop {
            let snapshot = tokio::select! {
                snapshot = self.eye.look() => snapshot,
                _ = stop.wait_for(|stop| *stop) => return Err(Looked::Stopped),
            };
            let seconds = began.elapsed().as_secs_f64();
            if let Some(reading) = &mut self.reading {
                let read = tokio::select! {
                    read = reading => read,
                    _ = stop.wait_for(|stop| *stop) => return Err(Looked::Stopped),
                };
                match read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                    Ok(Remembered { memory, open, reader }) => {
                        self.reading = None;
                        (self.memory, self.open) = (Arc::new(memory), open);
                        self.unread = Mutex::new(Some(reader));
                    }
                    Err(error) => return Err(Looked::Unremembered(error)),
                }
            }
            let unread = self.unread.get_mut().unwrap_or_else(PoisonError::into_inner);
            // Only where there are lists to hold it against: a second set of tasks would be made else, and
            // leave holes in the heap for good.
            if let Ok(snapshot) = &snapshot
                && let Some(reader) = unread.take()
            {
                let (server, kinds) = (self.memory.server.clone(), snapshot.kinds.clone());
                let seen = tokio::select! {
                    seen = spawn_blocking(move || reader.last_seen(&server, &kinds)) => seen,
                    _ = stop.wait_for(|stop| *stop) => return Err(Looked::Stopped),
                };
                match seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                    Ok(seen) => self.observer.restore(seen),
                    Err(error) => return Err(Looked::Unremembered(error)),
                }
            }
            // Moments of a look across a jump of the clock mean nothing.
            if !self.follow_clock() {
                return Ok((snapshot, seconds));
            }
        }
    }

    /// One look, and what follows from it.
    pub async fn tick(&mut self) -> Looked {
        let began = monotonic();
        // What is not there yet cannot be moved along; it is once it is, with the first look.
        if self.reading.is_none() {
            self.follow_clock();
        }
        let known = self.eye.knows_the_server();
        let (snapshot, look_seconds) = match self.look(began).await {
            Ok(looked) => looked,
            Err(ended) => return ended,
        };
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.note_away(&error);
                self.save_login_memory().await;
                let sample = self.sampler.sample(self.clock.now(), None);
                self.note_queue(sample);
                let (since, _) = self.away.unwrap_or((self.clock.now(), 1));
                let away = Away { since, error: error.to_string() };
                let rules = standing::rules(&self.rules.borrow(), &self.memory, None);
                self.show(ServerStatus {
                    look_seconds,
                    away: Some(away),
                    due: Vec::new(),
                    rules,
                    ..self.status.clone()
                });
                return Looked::Away(error);
            }
        };
        // A server that is met for the first time has been announced by the look.
        if self.away.take().is_some() && known {
            self.eye.announce();
        }
        fault_point("looked");
        let now = self.clock.now();
        let rules = self.rules.borrow_and_update().clone();
        let judgements = self.memory_mut().fold(&snapshot, now);
        if !self.slept_by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &rules)) {
            self.sleepers.wake_all();
            self.slept_by = Some(Arc::clone(&rules));
        }
        let tick = Tick { now, seed: self.seed };
        let mut decision = self.sleepers.decide(&rules, &self.memory, &snapshot, tick);
        let decided = !judgements.is_empty() || decision.does_something();
        let seen = self.observer.look(&snapshot, &self.memory, now, (decided, &decision.actions));
        self.note_seen(seen);
        let tasks = standing::tasks(&snapshot);
        let sample = self.sampler.sample(now, Some(&tasks));
        self.note_queue(sample);
        for judgement in judgements {
            let outcome = (judgement.intent, judgement.outcome, judgement.detail);
            self.note_outcome(outcome);
        }
        self.memory_mut().absorb(std::mem::take(&mut decision.memory));
        let actions = Arc::new(std::mem::take(&mut decision.actions));
        let give_ups = std::mem::take(&mut decision.give_ups);
        self.report(&rules, &snapshot, (&decision, &actions, give_ups), now);
        fault_point("decided");
        if self.save().await {
            fault_point("decision written");
            self.act(&rules, &snapshot, &actions).await;
        }
        decision.actions = Arc::unwrap_or_clone(actions);
        self.show(ServerStatus {
            look_seconds,
            flavour: snapshot.flavour,
            away: None,
            skew_seconds: snapshot.skew.as_secs(),
            tasks,
            unread: snapshot.unread.clone(),
            rules: standing::rules(&rules, &self.memory, Some(&decision)),
            due: standing::due(&snapshot, &decision, self.clock.now()),
            ..self.status.clone()
        });
        Looked::Done(Box::new((snapshot, decision)))
    }

    /// What is remembered, to be changed. It is copied only while the store still holds it, which it does
    /// no more once a write is answered.
    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        Arc::make_mut(&mut self.memory)
    }

    fn note_queue(&mut self, sample: Option<QueueSample>) {
        let queue = &mut self.unwritten.queue;
        queue.extend(sample);
        if queue.len() > MOST_SAMPLES {
            queue.remove(0);
        }
    }

    fn note_seen(&mut self, look: Option<Look>) {
        let looks = &mut self.unwritten.looks;
        looks.extend(look);
        let many: usize = looks.iter().map(|look| 1 + look.seen.len()).sum();
        if many > MOST_LOOKS && looks.len() > 1 {
            looks.remove(0);
        }
    }

    /// Moves what is remembered along when our clock was set; tells whether it was.
    fn follow_clock(&mut self) -> bool {
        let Some(jump) = self.watched_clock.jump() else { return false };
        self.memory_mut().shift(jump);
        self.observer.note_jump();
        self.sleepers.wake_all();
        self.eye.shift(jump);
        if let Some((since, _)) = &mut self.away {
            *since = since.saturating_add(jump).unwrap_or(*since);
        }
        let server = self.memory.server.clone();
        self.sink.emit(&Event::ClockSet { server, seconds: jump.as_secs() });
        true
    }

    /// The present moment, after whatever happened to our clock. What is written down between two looks
    /// goes by it: else the next look would move it along by a jump that lies before it.
    pub(super) fn now(&mut self) -> Timestamp {
        self.follow_clock();
        self.clock.now()
    }

    /// Tells how things stand.
    fn show(&mut self, status: ServerStatus) {
        self.status =
            ServerStatus { time: self.clock.now(), store_works: !self.store_away, ..status };
        self.sink.emit(&Event::Status(Arc::new(self.status.clone())));
    }

    /// Does what a person asks for, and writes it down.
    pub(super) async fn heed(&mut self, OrderRequest { order, reply }: OrderRequest) {
        let now = self.now();
        let revision = self.rules.borrow().revision.clone();
        self.sleepers.wake_all();
        let obeyed = self.memory_mut().obey(&order, now);
        let done: Vec<Done> = obeyed
            .into_iter()
            .map(|obeyed| {
                let id = self.store.next_intent_id();
                let row = order.row(&obeyed, id, now, &self.memory.server, &revision);
                self.sink.emit(&Event::Ordered(Box::new(row.clone())));
                self.unwritten.new_rows.push(row);
                Done::new(&self.memory.server, &order, obeyed)
            })
            .collect();
        let answer = if self.save().await {
            Ok(done)
        } else {
            Err("it holds, but could not be written down yet, and a restart would forget it"
                .to_owned())
        };
        self.show_obeyed();
        // Who asked may have gone.
        let _ = reply.send(answer);
    }

    /// Tells what came of an order at once, so that whoever asked sees it before the next look.
    fn show_obeyed(&mut self) {
        // Before the first look there is nothing to tell.
        if self.status.rules.is_empty() {
            return;
        }
        let stands = standing::rules(&self.rules.borrow(), &self.memory, None);
        for rule in &mut self.status.rules {
            if let Some(stands) = stands.iter().find(|stands| stands.rule == rule.rule) {
                rule.paused.clone_from(&stands.paused);
                rule.dead = stands.dead;
            }
        }
        self.sink.emit(&Event::Status(Arc::new(self.status.clone())));
    }

    /// Does what people asked for meanwhile.
    pub(super) async fn heed_all(&mut self) {
        while let Ok(request) = self.orders.try_recv() {
            self.heed(request).await;
        }
    }

    fn note_away(&mut self, error: &upstream::Error) {
        self.memory_mut().note_away();
        self.observer.note_away();
        let (since, times) = self.away.map_or((self.clock.now(), 1), |(at, times)| (at, times + 1));
        self.away = Some((since, times));
        // Said at once, and then ever more rarely.
        if times.is_power_of_two() {
            let login = matches!(
                error,
                upstream::Error::AuthRefused { .. } | upstream::Error::LoginLocked { .. }
            );
            let (server, error) = (self.memory.server.clone(), error.to_string());
            self.sink.emit(&Event::ServerAway { server, error, times, since, login });
        }
    }

    /// Tells of what was decided, and puts what goes into the audit log aside to be written.
    fn report(
        &mut self,
        rules: &RuleSet,
        snapshot: &Snapshot,
        (decision, actions, give_ups): (&Decision, &Arc<Vec<Planned>>, Vec<GiveUp>),
        now: Timestamp,
    ) {
        let occasion = self.occasion(rules, now);
        let mut let_go = Vec::with_capacity(give_ups.len());
        for give_up in give_ups {
            let id = self.store.next_intent_id();
            let row = Box::new(give_up.row(id, &occasion));
            self.sink.emit(&Event::GaveUp { row, notify: give_up.notify });
            let_go.push((id, give_up));
        }
        let mut shown = Vec::new();
        for (place, planned) in actions.iter().enumerate() {
            let shown_only = planned.mode == Mode::DryRun || planned.action == Action::Notify;
            if shown_only && planned.fresh {
                let id = self.store.next_intent_id();
                let row = planned.row(id, &occasion, planned.mode);
                self.sink.emit(&Event::Acted(Box::new(row)));
                shown.push((id, place));
            }
        }
        if !(shown.is_empty() && let_go.is_empty()) {
            let actions = Arc::clone(actions);
            let shown = Shown { occasion, give_ups: let_go, actions, rows: shown };
            self.unwritten.shown.push(shown);
        }
        for change in &decision.breakers {
            self.sink.emit(&Event::Breaker {
                server: self.memory.server.clone(),
                rule: change.rule.clone(),
                key: change.key.clone(),
                open_until: change.open_until,
            });
        }
        let mut held: BTreeMap<RuleName, (usize, String)> = BTreeMap::new();
        for waiting in decision.waiting.iter().filter(|waiting| waiting.gate.is_limit()) {
            let entry =
                held.entry(waiting.rule.clone()).or_insert_with(|| (0, waiting.gate.to_string()));
            entry.0 += 1;
        }
        for (rule, (tasks, gate)) in &held {
            if !self.held.contains_key(rule) {
                let (server, rule) = (self.memory.server.clone(), rule.clone());
                self.sink.emit(&Event::HeldBack {
                    server,
                    rule,
                    tasks: *tasks,
                    gate: gate.clone(),
                });
            }
        }
        self.held = held.into_iter().map(|(rule, (_, gate))| (rule, gate)).collect();
        self.sink.emit(&Event::Polled {
            server: self.memory.server.clone(),
            tasks: snapshot.kinds.values().map(|tasks| tasks.len()).sum(),
            waiting: decision.waiting.len(),
            due: actions.iter().filter(|planned| planned.fresh).count()
                + decision.waiting.iter().filter(|waiting| waiting.gate.is_passing()).count(),
        });
    }

    /// What all rows of this moment have in common.
    pub(super) fn occasion(&self, rules: &RuleSet, now: Timestamp) -> Occasion {
        let server = self.memory.server.clone();
        Occasion { time: now, server, rules_revision: rules.revision.clone() }
    }

    /// An action's outcome became known, or better known.
    pub(super) fn note_outcome(&mut self, (intent, outcome, detail): (IntentId, Outcome, String)) {
        if let Some(mut row) = self.open.remove(&intent) {
            row.outcome = outcome;
            row.detail.clone_from(&detail);
            self.sink.emit(&Event::Acted(Box::new(row.clone())));
            if matches!(outcome, Outcome::Planned | Outcome::Accepted)
                || (outcome == Outcome::Unknown && self.still_pending(&row))
            {
                self.open.insert(intent, row);
            }
        }
        self.unwritten.outcomes.push((intent, outcome, detail));
    }

    /// Whether the memory still waits to see what an action did.
    fn still_pending(&self, row: &AuditRow) -> bool {
        let (Some(kind), Some(id)) = (&row.kind, &row.task_id) else { return true };
        self.memory
            .task(kind, id)
            .and_then(|task| task.pending.as_ref())
            .is_some_and(|pending| pending.intent == row.id)
    }

    /// Writes down all that changed; false when that is not possible now.
    pub(super) async fn save(&mut self) -> bool {
        self.save_with(Vec::new()).await
    }

    /// The same, with rows of actions that are about to be sent. Those are not kept for later when
    /// they cannot be written: what cannot be written down is not done.
    pub(super) async fn save_with(&mut self, intents: Vec<AuditRow>) -> bool {
        let login_memory = self.login_memory_if_changed();
        let kept = self.unwritten.new_rows.len();
        let nothing = WriteBatch::new(self.memory.server.clone());
        let mut batch = std::mem::replace(&mut self.unwritten, nothing);
        batch.new_rows.extend(intents);
        batch.memory = Some(Arc::clone(&self.memory));
        batch.server_state.clone_from(&login_memory);
        if batch.is_empty() && !self.store_away {
            return true;
        }
        let batch = Arc::new(batch);
        let written = self.store.write(Arc::clone(&batch)).await;
        let mut batch = Arc::unwrap_or_clone(batch);
        (batch.memory, batch.server_state) = (None, None);
        match written {
            Ok(()) => {
                self.memory_mut().saved();
                if login_memory.is_some() {
                    self.login_memory = login_memory;
                }
                if std::mem::take(&mut self.store_away) {
                    self.sink.emit(&Event::StoreBack);
                }
                true
            }
            Err(error) => {
                batch.new_rows.truncate(kept);
                self.unwritten = batch;
                if !std::mem::replace(&mut self.store_away, true) {
                    self.sink.emit(&Event::StoreAway { error: error.to_string() });
                }
                false
            }
        }
    }

    fn login_memory_if_changed(&self) -> Option<serde_json::Value> {
        let state = serde_json::to_value(self.client.login_memory()).ok()?;
        (self.login_memory.as_ref() != Some(&state)).then_some(state)
    }

    /// How often a login was refused must survive a crash too, also while no list can be read; and that the store
    /// works again is to be found out then, too.
    async fn save_login_memory(&mut self) {
        if self.store_away || self.login_memory_if_changed().is_some() {
            self.save().await;
        }
    }
}

/// What the store remembers of a server, but for its log-ins and what was written down of looks, which this reads.
struct Remembered {
    memory: Memory,
    open: HashMap<IntentId, AuditRow>,
    reader: Reader,
}

impl Remembered {
    fn read(reader: Reader, server: ServerName) -> Result<Self, StoreError> {
        let mut memory = Memory::new(server);
        memory.restore(reader.load(&memory.server)?);
        let open = reader.audit_rows_of(&memory.pending_intents())?;
        let unsettled = [Outcome::Planned, Outcome::Accepted, Outcome::Unknown];
        let open = open.into_iter().filter(|row| unsettled.contains(&row.outcome));
        let open = open.map(|row| (row.id, row)).collect();
        Ok(Self { memory, open, reader })
    }
}
