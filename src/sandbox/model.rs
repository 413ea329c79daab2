//! The server without its sockets: worker pools, queues, and what every endpoint does to a task.
//!
//! Nothing here waits. Time only moves in [`Model::advance_to`], which carries out everything that
//! was due until then; between two events nothing is touched, and progress is worked out when
//! somebody looks. This module must never know of HTTP or JSON.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::accounts::{Accounts, LoginLock, Viewer, later};
use super::faults::{Fault, Faults, Phase};
use super::report::{Call, Execution, Outcome, Report, Target, TaskReport, Trigger};
use super::rng::Rng;
use super::script::{Attempt, AttemptScript, TaskScript, Throttle};
use super::settings::{Flavour, Pool, Settings};
use super::task::{Answer, Endpoint, State, TaskView};

/// A kind is written to disk once nothing happened in it for this long (CONTRACT.md, "After a server
/// restart").
const QUIET: Duration = Duration::from_secs(3);
/// A task below this size reports no progress, as was seen with files of a few bytes.
const SHOWS_PROGRESS: u64 = 64;
/// What Go says of work that was told to stop.
const CANCELED: &str = "context canceled";
/// The window in which a storage counts starts.
const MINUTE: Duration = Duration::from_secs(60);

/// What is left of a task on the server's disk.
#[derive(Clone, Copy, Debug)]
struct Saved {
    state: State,
    retries: u32,
    total_bytes: u64,
}

#[allow(clippy::struct_excessive_bools, reason = "independent facts, not one state")]
#[derive(Debug)]
struct Task {
    id: String,
    kind: usize,
    script: TaskScript,
    next_attempt: usize,
    listed: bool,
    state: State,
    shown_as: Option<i64>,
    status: String,
    error: String,
    progress: f64,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    total_bytes: u64,
    retries: u32,
    /// The task's context was canceled, which outlives the run it stopped.
    context_canceled: bool,
    running: Vec<u64>,
    queued: usize,
    saved: Option<Saved>,
    unsaved: bool,
    executions: Vec<Execution>,
    max_concurrent: usize,
    has_succeeded: bool,
    executions_after_success: usize,
}

/// A worker's run at a task.
#[derive(Debug)]
struct Run {
    task: usize,
    execution: usize,
    started: Timestamp,
    attempt: AttemptScript,
    throttled: bool,
    moving: bool,
    canceled: bool,
}

#[derive(Debug)]
struct Kind {
    name: String,
    pool: Pool,
    busy: usize,
    queue: VecDeque<(usize, Trigger)>,
    listed: BTreeSet<usize>,
    /// Runs that move bytes right now; each keeps the kind from being saved.
    moving: usize,
    last_noise: Timestamp,
    unsaved: Vec<usize>,
}

impl Kind {
    /// Kinds that come back after a restart, if any do (CONTRACT.md, "After a server restart").
    fn persists(&self) -> bool {
        !matches!(self.name.as_str(), "upload" | "decompress_upload" | "s3_transition")
    }
}

type Act = Box<dyn FnOnce(&mut Model) + Send>;
type Matches = Box<dyn Fn(&str, Endpoint) -> bool + Send>;

enum Event {
    Arrive(usize),
    End(u64),
    Silence(u64),
    Act(Act),
}

struct Hook {
    phase: Phase,
    matches: Matches,
    act: Act,
}

struct Storage {
    throttle: Throttle,
    starts: VecDeque<Timestamp>,
    banned_until: Option<Timestamp>,
    bans: u32,
}

/// A simulated server.
pub struct Model {
    settings: Settings,
    now: Timestamp,
    up: bool,
    tasks: Vec<Task>,
    by_id: BTreeMap<String, usize>,
    kinds: Vec<Kind>,
    runs: BTreeMap<u64, Run>,
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    events: BTreeMap<u64, Event>,
    next_serial: u64,
    storages: Vec<Storage>,
    hooks: Vec<Hook>,
    calls: Vec<Call>,
    rng: Rng,
    faults: Faults,
    pub(super) accounts: Accounts,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("now", &self.now)
            .field("tasks", &self.tasks.len())
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}

impl Model {
    /// A server without tasks, at the moment `now`.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp, seed: u64) -> Self {
        let storages = settings
            .throttles
            .iter()
            .map(|throttle| Storage {
                throttle: throttle.clone(),
                starts: VecDeque::new(),
                banned_until: None,
                bans: 0,
            })
            .collect();
        let mut rng = Rng::new(seed);
        let accounts = Accounts::new(&settings, rng.next());
        let mut model = Self {
            settings,
            now,
            up: true,
            tasks: Vec::new(),
            by_id: BTreeMap::new(),
            kinds: Vec::new(),
            runs: BTreeMap::new(),
            due: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_serial: 0,
            storages,
            hooks: Vec::new(),
            calls: Vec::new(),
            rng,
            faults: Faults::default(),
            accounts,
        };
        for kind in model.settings.kinds.clone() {
            model.kind_at(&kind);
        }
        model
    }

    /// The settings the server was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The time by the server's own clock, which may be wrong: [`Settings::clock_offset`].
    #[must_use]
    pub fn shown(&self, time: Timestamp) -> Timestamp {
        time.checked_add(self.settings.clock_offset).unwrap_or(time)
    }

    /// The faults on calls.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// The lock after wrong logins.
    #[must_use]
    pub fn login_lock(&self) -> LoginLock {
        self.accounts.lock()
    }

    /// Makes every token from a login invalid, at once.
    pub fn forget_logins(&mut self) {
        self.accounts.forget_logins();
    }

    /// The admin resets the static token.
    pub fn reset_admin_token(&mut self, token: &str) {
        self.accounts.reset_admin_token(token);
    }

    // ---- time ----

    /// Carries out everything that is due until `time`. A time in the past changes nothing.
    pub fn advance_to(&mut self, time: Timestamp) {
        while let Some(Reverse((at, serial))) = self.due.peek().copied() {
            if at > time {
                break;
            }
            self.due.pop();
            self.now = self.now.max(at);
            match self.events.remove(&serial) {
                Some(Event::Arrive(task)) => self.arrive(task),
                Some(Event::End(run)) => self.end(run),
                Some(Event::Silence(run)) => self.fall_silent(run),
                Some(Event::Act(act)) => act(self),
                None => {}
            }
        }
        self.now = self.now.max(time);
    }

    /// Carries out everything that is due within the next `span`.
    pub fn advance(&mut self, span: Duration) {
        self.advance_to(later(self.now, span));
    }

    /// The moment of the next event, if there is one.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Does something at a later moment.
    pub fn at(&mut self, time: Timestamp, act: impl FnOnce(&mut Self) + Send + 'static) {
        self.schedule(time, Event::Act(Box::new(act)));
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        let serial = self.serial();
        self.due.push(Reverse((at, serial)));
        self.events.insert(serial, event);
    }

    // ---- work ----

    /// Adds a task, and says its id. A kind that the server does not have gets a pool, but no routes.
    pub fn add(&mut self, script: TaskScript) -> String {
        let task = self.make(script);
        self.arrive(task);
        self.tasks[task].id.clone()
    }

    /// Adds a task at a later moment, and says the id it will have.
    pub fn add_at(&mut self, time: Timestamp, script: TaskScript) -> String {
        let task = self.make(script);
        self.schedule(time, Event::Arrive(task));
        self.tasks[task].id.clone()
    }

    /// Adds a task that is over already, as if it had run before the sandbox began.
    pub fn add_finished(&mut self, script: TaskScript, state: State, error: &str) -> String {
        let at = self.make(script);
        let view = self.view_at(at);
        let total_bytes = self.tasks[at].script.total_bytes;
        let succeeded = state == State::Succeeded;
        let view = TaskView {
            state,
            error: error.to_owned(),
            started: Some(self.now),
            ended: Some(self.now),
            total_bytes: if succeeded { total_bytes } else { 0 },
            progress: if succeeded { finished_progress(total_bytes) } else { 0.0 },
            ..view
        };
        self.place_at(at, &view);
        view.id
    }

    /// Adds a task that looks exactly like `view`, its id included. A pending one waits for a worker;
    /// a running one has stalled; what it does when it runs again is in its script, whose name and
    /// creator must be the view's.
    pub fn place(&mut self, script: TaskScript, view: &TaskView) {
        let at = self.make(script);
        self.by_id.remove(&self.tasks[at].id);
        self.by_id.insert(view.id.clone(), at);
        self.tasks[at].id.clone_from(&view.id);
        self.place_at(at, view);
    }

    fn place_at(&mut self, at: usize, view: &TaskView) {
        self.list(at);
        let task = &mut self.tasks[at];
        task.state = view.state;
        task.shown_as = view.shown_as;
        task.status.clone_from(&view.status);
        task.error.clone_from(&view.error);
        task.progress = view.progress;
        task.started = view.started;
        task.ended = view.ended;
        task.total_bytes = view.total_bytes;
        task.has_succeeded = view.state == State::Succeeded;
        task.context_canceled = matches!(view.state, State::Canceling | State::Canceled);
        match view.state {
            State::Pending | State::WaitingRetry => self.enqueue(at, Trigger::Initial),
            State::Running => {
                let kind = task.kind;
                let started = view.started.unwrap_or(self.now);
                let attempt = AttemptScript {
                    reaches: view.progress,
                    ..AttemptScript::stall(Duration::ZERO)
                };
                self.kinds[kind].busy += 1;
                self.run(at, Trigger::Initial, started, attempt, false);
            }
            _ => {}
        }
    }

    fn kind_at(&mut self, name: &str) -> usize {
        if let Some(at) = self.kinds.iter().position(|kind| kind.name == name) {
            return at;
        }
        let pool = self.settings.pools.get(name).copied().unwrap_or_else(|| Pool::usual(name));
        self.kinds.push(Kind {
            name: name.to_owned(),
            pool,
            busy: 0,
            queue: VecDeque::new(),
            listed: BTreeSet::new(),
            moving: 0,
            last_noise: self.now,
            unsaved: Vec::new(),
        });
        self.kinds.len() - 1
    }

    fn make(&mut self, script: TaskScript) -> usize {
        let id = self.rng.task_id();
        let kind = self.kind_at(&script.kind);
        let at = self.tasks.len();
        self.by_id.insert(id.clone(), at);
        self.tasks.push(Task {
            id,
            kind,
            script,
            next_attempt: 0,
            listed: false,
            state: State::Pending,
            shown_as: None,
            status: String::new(),
            error: String::new(),
            progress: 0.0,
            started: None,
            ended: None,
            total_bytes: 0,
            retries: 0,
            context_canceled: false,
            running: Vec::new(),
            queued: 0,
            saved: None,
            unsaved: false,
            executions: Vec::new(),
            max_concurrent: 0,
            has_succeeded: false,
            executions_after_success: 0,
        });
        at
    }

    fn list(&mut self, task: usize) {
        self.noise(task);
        let kind = self.tasks[task].kind;
        self.kinds[kind].listed.insert(task);
        self.tasks[task].listed = true;
    }

    fn arrive(&mut self, task: usize) {
        self.list(task);
        self.enqueue(task, Trigger::Initial);
    }

    fn enqueue(&mut self, task: usize, trigger: Trigger) {
        let kind = self.tasks[task].kind;
        self.tasks[task].queued += 1;
        self.kinds[kind].queue.push_back((task, trigger));
        self.dispatch(kind);
    }

    fn dispatch(&mut self, kind: usize) {
        while self.up && self.kinds[kind].busy < self.kinds[kind].pool.workers {
            let Some((task, trigger)) = self.kinds[kind].queue.pop_front() else { return };
            self.take(task, trigger);
        }
    }

    /// A worker takes a task off the queue.
    fn take(&mut self, at: usize, trigger: Trigger) {
        self.noise(at);
        let now = self.now;
        let task = &mut self.tasks[at];
        task.queued -= 1;
        if task.state == State::Canceling {
            task.state = State::Canceled;
            CANCELED.clone_into(&mut task.error);
            return;
        }
        if task.context_canceled && !self.settings.allow_retry_canceled {
            match self.settings.flavour {
                Flavour::OpenList => {
                    task.state = State::Canceled;
                    CANCELED.clone_into(&mut task.error);
                }
                Flavour::AList => {
                    task.state = State::Failed;
                    task.error = canceled_at_once(&task.script.name);
                    task.started = Some(now);
                    task.ended = Some(now);
                }
            }
            return;
        }
        task.context_canceled = false;
        let kind = task.kind;
        self.kinds[kind].busy += 1;
        self.start(at, trigger);
    }

    fn start(&mut self, at: usize, trigger: Trigger) {
        self.noise(at);
        let refused = self.tasks[at].script.mount.clone().and_then(|mount| self.throttle(&mount));
        let throttled = refused.is_some();
        let now = self.now;
        let task = &mut self.tasks[at];
        let attempt = if let Some(error) = refused {
            AttemptScript::fail(Duration::ZERO, error)
        } else {
            task.next_attempt += 1;
            task.script.attempt(task.next_attempt - 1)
        };
        task.state = State::Running;
        task.started = Some(now);
        task.ended = None;
        if attempt.reaches > 0.0 {
            task.total_bytes = task.script.total_bytes;
            task.progress = 0.0;
        }
        status(&task.script.kind, attempt.reaches > 0.0).clone_into(&mut task.status);
        self.run(at, trigger, now, attempt, throttled);
    }

    /// A worker begins an attempt.
    fn run(
        &mut self,
        at: usize,
        trigger: Trigger,
        started: Timestamp,
        attempt: AttemptScript,
        throttled: bool,
    ) {
        let serial = self.serial();
        let task = &mut self.tasks[at];
        task.running.push(serial);
        task.max_concurrent = task.max_concurrent.max(task.running.len());
        task.executions_after_success += usize::from(task.has_succeeded);
        let unseen = !task.listed;
        task.executions.push(Execution { started, ended: None, trigger, outcome: None, unseen });
        let execution = task.executions.len() - 1;
        let moving = attempt.reaches > 0.0 && !attempt.duration.is_zero();
        self.kinds[task.kind].moving += usize::from(moving);
        let until = later(started, attempt.duration);
        let event = match attempt.outcome {
            Attempt::Stall => Event::Silence(serial),
            Attempt::Succeed | Attempt::Fail { .. } => Event::End(serial),
        };
        let run = Run { task: at, execution, started, attempt, throttled, moving, canceled: false };
        self.runs.insert(serial, run);
        self.schedule(until, event);
    }

    /// Counts a start on a mount; the error if the storage refuses it.
    fn throttle(&mut self, mount: &str) -> Option<String> {
        let now = self.now;
        let storage = self.storages.iter_mut().find(|storage| storage.throttle.mount == mount)?;
        let throttle = &storage.throttle;
        let banned = storage.banned_until.is_some_and(|until| now < until);
        while storage.starts.front().is_some_and(|start| later(*start, MINUTE) <= now) {
            storage.starts.pop_front();
        }
        if !banned && storage.starts.len() < throttle.starts_per_minute {
            storage.starts.push_back(now);
            return None;
        }
        if !banned {
            storage.bans += 1;
        }
        if !banned || throttle.prolong {
            storage.banned_until = Some(later(now, throttle.ban));
        }
        let rest = storage.banned_until.map_or(0, |until| until.duration_since(now).as_secs());
        Some(throttle.error.replace("{seconds}", &rest.to_string()))
    }

    fn fall_silent(&mut self, serial: u64) {
        let Some(run) = self.runs.get_mut(&serial) else { return };
        if std::mem::take(&mut run.moving) {
            let task = run.task;
            self.noise(task);
            self.kinds[self.tasks[task].kind].moving -= 1;
        }
    }

    fn end(&mut self, serial: u64) {
        let Some(run) = self.runs.remove(&serial) else { return };
        let (at, now) = (run.task, self.now);
        self.noise(at);
        let progress = reached(&run, now);
        let task = &mut self.tasks[at];
        let kind = task.kind;
        self.kinds[kind].moving -= usize::from(run.moving);
        task.running.retain(|other| *other != serial);
        task.ended = Some(now);
        if run.attempt.reaches > 0.0 {
            task.progress = progress;
        }
        let mut again = false;
        let outcome = match &run.attempt.outcome {
            _ if run.canceled => {
                CANCELED.clone_into(&mut task.error);
                task.state = match self.settings.flavour {
                    Flavour::OpenList => State::Canceled,
                    Flavour::AList => State::Failed,
                };
                Outcome::Canceled
            }
            Attempt::Succeed | Attempt::Stall => {
                task.state = State::Succeeded;
                task.error.clear();
                task.has_succeeded = true;
                task.progress = finished_progress(task.total_bytes);
                Outcome::Succeeded
            }
            Attempt::Fail { error } => {
                task.error.clone_from(error);
                again = task.retries < self.kinds[kind].pool.max_retry;
                task.state = if again { State::WaitingRetry } else { State::Failed };
                task.retries += u32::from(again);
                if run.throttled {
                    Outcome::Throttled(error.clone())
                } else {
                    Outcome::Failed(error.clone())
                }
            }
        };
        let succeeded = outcome == Outcome::Succeeded;
        let execution = &mut task.executions[run.execution];
        execution.ended = Some(now);
        execution.outcome = Some(outcome);
        let follow_up = if succeeded { task.script.follow_up.clone() } else { None };

        match self.settings.flavour {
            // The same worker goes straight on.
            Flavour::OpenList if again => self.start(at, Trigger::ServerRetry),
            Flavour::AList if again => {
                self.kinds[kind].busy -= 1;
                self.enqueue(at, Trigger::ServerRetry);
            }
            _ => {
                self.kinds[kind].busy -= 1;
                self.dispatch(kind);
            }
        }
        if let Some(script) = follow_up {
            self.add(*script);
        }
    }

    // ---- what the endpoints do, on anybody's behalf ----

    /// Retries a task as somebody else than the client would, whatever its state: a running or
    /// pending one runs a second time, a succeeded one again.
    pub fn retry(&mut self, id: &str) {
        if let Some(at) = self.listed(id) {
            self.retry_task(at, Trigger::Person);
        }
    }

    /// Cancels a task as somebody else than the client would.
    pub fn cancel(&mut self, id: &str) {
        if let Some(at) = self.listed(id) {
            self.cancel_task(at);
            self.advance_to(self.now);
        }
    }

    /// Deletes a task as somebody else than the client would. What runs or waits goes on unseen.
    pub fn delete(&mut self, id: &str) {
        if let Some(at) = self.listed(id) {
            self.delete_task(at);
        }
    }

    fn retry_task(&mut self, at: usize, trigger: Trigger) {
        let task = &self.tasks[at];
        if self.settings.flavour == Flavour::OpenList
            && task.state == State::Canceled
            && !self.settings.allow_retry_canceled
        {
            return;
        }
        self.noise(at);
        let task = &mut self.tasks[at];
        task.state = State::WaitingRetry;
        task.error.clear();
        task.retries = 0;
        self.enqueue(at, trigger);
    }

    fn cancel_task(&mut self, at: usize) {
        let task = &self.tasks[at];
        if self.settings.flavour == Flavour::OpenList && task.state.is_done() {
            return;
        }
        self.noise(at);
        let task = &mut self.tasks[at];
        task.state = State::Canceling;
        task.context_canceled = true;
        let stops = later(self.now, task.script.cancel_lag);
        for serial in task.running.clone() {
            if let Some(run) = self.runs.get_mut(&serial) {
                run.canceled = true;
                self.schedule(stops, Event::End(serial));
            }
        }
    }

    fn delete_task(&mut self, at: usize) {
        self.noise(at);
        self.tasks[at].listed = false;
        self.kinds[self.tasks[at].kind].listed.remove(&at);
    }

    // ---- calls ----

    /// Runs `act` around the next call that `matches` (kind and endpoint) picks, once: before it
    /// takes effect, or after its answer was made. So a test can change a task between the client's
    /// look and its call.
    pub fn on_next(
        &mut self,
        phase: Phase,
        matches: impl Fn(&str, Endpoint) -> bool + Send + 'static,
        act: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.hooks.push(Hook { phase, matches: Box::new(matches), act: Box::new(act) });
    }

    fn run_hooks(&mut self, phase: Phase, kind: &str, endpoint: Endpoint) {
        // Those that match now: a hook that sets the next one must not find it run at once.
        let (due, rest): (Vec<_>, _) = std::mem::take(&mut self.hooks)
            .into_iter()
            .partition(|hook| hook.phase == phase && (hook.matches)(kind, endpoint));
        self.hooks = rest;
        for hook in due {
            (hook.act)(self);
        }
    }

    /// A client's call arrives and is carried out; the referee sees it.
    ///
    /// For `info`, `delete`, `cancel` and `retry`, `ids` has one id; for lists and whole-kind calls
    /// none.
    pub fn call(
        &mut self,
        viewer: &Viewer,
        kind: &str,
        endpoint: Endpoint,
        ids: &[String],
        fault: Option<(Fault, Phase)>,
    ) -> Answer {
        self.run_hooks(Phase::Before, kind, endpoint);
        self.log(kind, endpoint, ids, fault);
        let answer = self.carry_out(viewer, kind, endpoint, ids);
        let applied = match &answer {
            Answer::NotFound => false,
            Answer::Errors(errors) => ids.iter().any(|id| !errors.contains_key(id)),
            _ => true,
        };
        if let Some(call) = self.calls.last_mut() {
            call.applied = applied;
        }
        self.advance_to(self.now);
        self.run_hooks(Phase::After, kind, endpoint);
        answer
    }

    /// A client's call arrived but was refused, or lost before it took effect.
    pub fn call_lost(
        &mut self,
        kind: &str,
        endpoint: Endpoint,
        ids: &[String],
        fault: Option<(Fault, Phase)>,
    ) {
        self.log(kind, endpoint, ids, fault);
    }

    fn log(
        &mut self,
        kind: &str,
        endpoint: Endpoint,
        ids: &[String],
        fault: Option<(Fault, Phase)>,
    ) {
        let targets = if endpoint.acts() { ids } else { &[] };
        let targets = targets
            .iter()
            .map(|id| {
                let task = self.listed(id).map(|at| &self.tasks[at]);
                Target {
                    id: id.clone(),
                    state: task.map(|task| task.state),
                    running: task.map_or(0, |task| task.running.len()),
                    queued: task.map_or(0, |task| task.queued),
                }
            })
            .collect();
        self.calls.push(Call {
            at: self.now,
            endpoint,
            kind: kind.to_owned(),
            ids: ids.to_vec(),
            targets,
            applied: false,
            fault,
        });
    }

    fn carry_out(
        &mut self,
        viewer: &Viewer,
        kind: &str,
        endpoint: Endpoint,
        ids: &[String],
    ) -> Answer {
        match endpoint {
            Endpoint::Undone => Answer::Tasks(self.tasks(viewer, kind, |state| !state.is_done())),
            Endpoint::Done => Answer::Tasks(self.tasks(viewer, kind, State::is_done)),
            Endpoint::Info => ids
                .first()
                .and_then(|id| self.visible(viewer, kind, id))
                .map_or(Answer::NotFound, |at| Answer::Task(Box::new(self.view_at(at)))),
            Endpoint::Delete | Endpoint::Cancel | Endpoint::Retry => {
                match ids.first().and_then(|id| self.visible(viewer, kind, id)) {
                    None => Answer::NotFound,
                    Some(at) => {
                        self.act(endpoint, at);
                        Answer::Nothing
                    }
                }
            }
            Endpoint::DeleteSome | Endpoint::CancelSome | Endpoint::RetrySome => {
                let mut errors = BTreeMap::new();
                for id in ids {
                    match self.visible(viewer, kind, id) {
                        None => {
                            errors.insert(id.clone(), "task not found");
                        }
                        Some(at) => self.act(endpoint, at),
                    }
                }
                Answer::Errors(errors)
            }
            Endpoint::ClearDone | Endpoint::ClearSucceeded | Endpoint::RetryFailed => {
                for at in self.seen(viewer, kind) {
                    let state = self.tasks[at].state;
                    match endpoint {
                        Endpoint::ClearDone if state.is_done() => self.delete_task(at),
                        Endpoint::ClearSucceeded if state == State::Succeeded => {
                            self.delete_task(at);
                        }
                        Endpoint::RetryFailed if state == State::Failed => {
                            self.retry_task(at, Trigger::RetryCall);
                        }
                        _ => {}
                    }
                }
                Answer::Nothing
            }
        }
    }

    fn act(&mut self, endpoint: Endpoint, at: usize) {
        match endpoint {
            Endpoint::Delete | Endpoint::DeleteSome => self.delete_task(at),
            Endpoint::Cancel | Endpoint::CancelSome => self.cancel_task(at),
            _ => self.retry_task(at, Trigger::RetryCall),
        }
    }

    fn listed(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied().filter(|at| self.tasks[*at].listed)
    }

    fn may_see(&self, viewer: &Viewer, at: usize) -> bool {
        viewer.admin || self.tasks[at].script.creator == viewer.name
    }

    fn visible(&self, viewer: &Viewer, kind: &str, id: &str) -> Option<usize> {
        let at = self.listed(id)?;
        let here = self.kinds[self.tasks[at].kind].name == kind;
        (here && self.may_see(viewer, at)).then_some(at)
    }

    fn seen(&self, viewer: &Viewer, kind: &str) -> Vec<usize> {
        let kind = self.kinds.iter().find(|other| other.name == kind);
        kind.into_iter()
            .flat_map(|kind| &kind.listed)
            .copied()
            .filter(|at| self.may_see(viewer, *at))
            .collect()
    }

    fn tasks(&mut self, viewer: &Viewer, kind: &str, keep: fn(State) -> bool) -> Vec<TaskView> {
        let mut seen = self.seen(viewer, kind);
        seen.retain(|at| keep(self.tasks[*at].state));
        // The servers keep their tasks in a map, so the order is new every time.
        self.rng.shuffle(&mut seen);
        seen.into_iter().map(|at| self.view_at(at)).collect()
    }

    fn view_at(&self, at: usize) -> TaskView {
        let task = &self.tasks[at];
        let run = task.running.last().and_then(|serial| self.runs.get(serial));
        let moving = run.filter(|run| run.attempt.reaches > 0.0);
        let role = self.accounts.role(&task.script.creator);
        TaskView {
            id: task.id.clone(),
            name: task.script.name.clone(),
            creator: task.script.creator.clone(),
            role,
            state: task.state,
            shown_as: task.shown_as,
            status: task.status.clone(),
            progress: moving.map_or(task.progress, |run| reached(run, self.now)),
            started: task.started,
            ended: task.ended,
            total_bytes: task.total_bytes,
            error: task.error.clone(),
        }
    }

    // ---- restart ----

    /// Something changed in the kind of this task: what was quiet long enough before is on disk now.
    fn noise(&mut self, at: usize) {
        let kind = self.tasks[at].kind;
        self.save_if_quiet(kind);
        self.kinds[kind].last_noise = self.now;
        if !std::mem::replace(&mut self.tasks[at].unsaved, true) {
            self.kinds[kind].unsaved.push(at);
        }
    }

    fn save_if_quiet(&mut self, kind: usize) {
        let kind = &mut self.kinds[kind];
        if kind.moving > 0 || later(kind.last_noise, QUIET) > self.now {
            return;
        }
        for at in kind.unsaved.drain(..) {
            let task = &mut self.tasks[at];
            if std::mem::take(&mut task.unsaved) {
                task.saved = task.listed.then_some(Saved {
                    state: task.state,
                    retries: task.retries,
                    total_bytes: task.total_bytes,
                });
            }
        }
    }

    /// The server process ends: everything that runs dies, everything in memory is forgotten.
    pub fn shut_down(&mut self) {
        for kind in 0..self.kinds.len() {
            self.save_if_quiet(kind);
            let kind = &mut self.kinds[kind];
            kind.unsaved.clear();
            kind.moving = 0;
            kind.busy = 0;
        }
        for (_, run) in std::mem::take(&mut self.runs) {
            let execution = &mut self.tasks[run.task].executions[run.execution];
            execution.ended = Some(self.now);
            execution.outcome = Some(Outcome::Killed);
        }
        self.accounts.restart();
        self.up = false;
    }

    /// The server process starts: kinds that persist come back from disk, with what CONTRACT.md
    /// ("After a server restart") says they have lost; pending and running tasks start again.
    pub fn boot(&mut self) {
        self.up = true;
        for kind in &mut self.kinds {
            // With what came while it was down, which nobody took.
            kind.queue.clear();
        }
        for at in 0..self.tasks.len() {
            let kind = self.tasks[at].kind;
            let kept = self.settings.persistence && self.kinds[kind].persists();
            let task = &mut self.tasks[at];
            task.running.clear();
            task.queued = 0;
            task.unsaved = false;
            let Some(saved) = task.saved.filter(|_| kept) else {
                task.listed = false;
                self.kinds[kind].listed.remove(&at);
                continue;
            };
            task.listed = true;
            task.error.clear();
            task.status.clear();
            task.progress = 0.0;
            task.started = None;
            task.ended = None;
            task.context_canceled = false;
            task.retries = saved.retries;
            task.total_bytes = match self.settings.flavour {
                Flavour::OpenList => saved.total_bytes,
                Flavour::AList => 0,
            };
            task.state = match saved.state {
                State::Running => State::Pending,
                State::Canceling => State::Canceled,
                State::Failing | State::Errored => State::Failed,
                other => other,
            };
            let runs = !task.state.is_done();
            self.kinds[kind].listed.insert(at);
            if runs {
                self.enqueue(at, Trigger::Restart);
            }
        }
    }

    /// Restarts the server process.
    pub fn restart(&mut self) {
        self.shut_down();
        self.boot();
    }

    // ---- knobs for tests ----

    /// Shows a task in another state, as if something unseen had happened to it. What runs goes on.
    pub fn force_state(&mut self, id: &str, state: State) {
        if let Some(at) = self.listed(id) {
            self.noise(at);
            self.tasks[at].state = state;
        }
    }

    /// Puts this state of a task on the server's disk, so that a restart brings it back: a task that
    /// had succeeded may be listed as failed again (CONTRACT.md, "After a server restart").
    pub fn remember_as(&mut self, id: &str, state: State) {
        if let Some(at) = self.listed(id) {
            let task = &mut self.tasks[at];
            task.unsaved = false;
            let (retries, total_bytes) = (task.retries, task.total_bytes);
            task.saved = Some(Saved { state, retries, total_bytes });
        }
    }

    /// Shows any number as the state of a task, also one outside 0-9; none ends that.
    pub fn show_state_as(&mut self, id: &str, number: Option<i64>) {
        if let Some(at) = self.listed(id) {
            self.tasks[at].shown_as = number;
        }
    }

    /// Holds the books against each other.
    #[cfg(test)]
    pub(super) fn check_books(&self) {
        for (at, kind) in self.kinds.iter().enumerate() {
            let runs = || self.runs.values().filter(|run| self.tasks[run.task].kind == at);
            assert_eq!(kind.busy, runs().count(), "busy workers of {}", kind.name);
            assert_eq!(kind.moving, runs().filter(|run| run.moving).count(), "moving");
            assert!(kind.busy >= kind.pool.workers || kind.queue.is_empty(), "idle workers");
            assert!(kind.listed.iter().all(|task| self.tasks[*task].listed), "listed");
        }
        for (at, task) in self.tasks.iter().enumerate() {
            let queue = &self.kinds[task.kind].queue;
            assert_eq!(task.queued, queue.iter().filter(|(other, _)| *other == at).count());
            assert_eq!(task.running.len(), self.runs.values().filter(|run| run.task == at).count());
            let runs = task.state == State::Running && task.listed;
            assert!(!runs || !task.running.is_empty(), "nothing runs behind {task:?}");
        }
    }

    // ---- the referee ----

    /// A task as an admin sees it, if it is in the lists.
    #[must_use]
    pub fn view(&self, id: &str) -> Option<TaskView> {
        self.listed(id).map(|at| self.view_at(at))
    }

    /// The state of a task, if it is in the lists.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<State> {
        self.listed(id).map(|at| self.tasks[at].state)
    }

    /// The most attempts at a task that ever ran at once.
    #[must_use]
    pub fn max_concurrent(&self, id: &str) -> usize {
        self.by_id.get(id).map_or(0, |at| self.tasks[*at].max_concurrent)
    }

    /// Every attempt at a task so far.
    #[must_use]
    pub fn executions(&self, id: &str) -> &[Execution] {
        self.by_id.get(id).map_or(&[], |at| &self.tasks[*at].executions)
    }

    /// Everything that happened.
    #[must_use]
    pub fn report(&self) -> Report {
        let tasks = self.tasks.iter().map(|task| TaskReport {
            id: task.id.clone(),
            kind: task.script.kind.clone(),
            name: task.script.name.clone(),
            state: task.state,
            listed: task.listed,
            executions: task.executions.clone(),
            max_concurrent: task.max_concurrent,
            executions_after_success: task.executions_after_success,
        });
        let bans =
            self.storages.iter().map(|storage| (storage.throttle.mount.clone(), storage.bans));
        let logins = self.accounts.count;
        Report {
            tasks: tasks.collect(),
            calls: self.calls.clone(),
            logins_right: logins.right,
            logins_wrong: logins.wrong,
            logins_locked: logins.locked,
            devices: self.accounts.devices.len(),
            bans: bans.collect(),
        }
    }
}

/// The percentage an attempt has reached at a moment.
#[allow(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
fn reached(run: &Run, now: Timestamp) -> f64 {
    let gone = now.duration_since(run.started).as_secs_f64();
    let whole = run.attempt.duration.as_secs_f64();
    let share = if whole > 0.0 { (gone / whole).clamp(0.0, 1.0) } else { 1.0 };
    run.attempt.reaches * share
}

fn finished_progress(total_bytes: u64) -> f64 {
    if total_bytes < SHOWS_PROGRESS { 0.0 } else { 100.0 }
}

/// The words that were seen in `status`, by kind; `moving` once bytes flow.
fn status(kind: &str, moving: bool) -> &'static str {
    match kind {
        "offline_download" => "",
        "decompress" => "walking and decompressing",
        _ if moving => "uploading",
        _ => "getting src object",
    }
}

/// The error of a task that starts with its context canceled: each driver wraps it in its own way, a
/// download as Go's HTTP client does.
fn canceled_at_once(name: &str) -> String {
    match name.strip_prefix("download ").and_then(|rest| rest.rsplit_once(" to (")) {
        Some((url, _)) => format!("Get \"{url}\": context canceled"),
        None => CANCELED.to_owned(),
    }
}
