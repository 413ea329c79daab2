//! Starts a loop for each server, hands new rules to them, and ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::audit_log::{self, AuditLog};
use super::beat::{Beat, STUCK};
use super::control::{Control, DaemonStatus, Done, OrderRequest, Refusal, Request, check_names};
use super::open_secrets::OpenSecrets;
use super::reload::{Content, FollowedFile};
use super::rules_files::RulesFiles;
use super::telling::Telling;
use super::watch::{Looked, Watch, WatchSettings};
use crate::ambient::Clock;
use crate::engine::audit::{AuditRow, Outcome};
use crate::engine::order::Order;
use crate::engine::rule::{Mode, Rule, RuleSet};
use crate::engine::task::{RuleName, ServerName};
use crate::rules::{
    AuthConfig, Config, Finding, Loaded, Retention, SecretRef, ServerConfig, Severity,
};
use crate::store::{Keep, OpenError, Pruned, Store, StoreError, WriteBatch};
use crate::telemetry::{Event, Sink, service};
use crate::upstream::{Auth, BuildError, Client, ClientSettings, SecretError, SecretSource};

/// How long the loops have to end when the daemon is told to. They let go of a call in flight
/// sooner, see [`super::act::GRACE`]; this leaves them the time to write that down, and ends before
/// the ten seconds that a user waits.
const GRACE: Duration = Duration::from_secs(9);

/// How often it is tried again to begin with a server whose memory could not be read.
const START_AGAIN: Duration = Duration::from_secs(10);

/// How often it is told that all loops go on, of the time after which nobody hopes for it any more.
const PULSES: u32 = 3;

/// However short that time.
const SHORTEST_PULSE: Duration = Duration::from_millis(100);

/// When old rows are first taken out of the store: after the first looks, which matter more.
const PRUNE_FIRST: Duration = Duration::from_secs(5);

/// How often that is done again.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// The server under which the daemon's own doings stand in the audit log.
const SELF: &str = "-";

/// The name under which it stands in the store when old rows were last looked for, where the servers
/// have what is known of them; these have names that are not empty.
pub const UPKEEP: &str = "";

/// What is stored under [`UPKEEP`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Upkeep {
    /// When old rows were last looked for, and those taken away that there were.
    pub pruned: Timestamp,
}

/// What the daemon runs with, beside the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state folder.
    pub state_dir: PathBuf,
    /// Whether nothing is done in earnest, whatever the file says.
    pub dry_run: bool,
    /// The time.
    pub clock: Clock,
    /// Where events go.
    pub sink: Sink,
    /// Shifts the draws of jitter; the same for all commands of an installation.
    pub seed: u64,
    /// How many seconds of `clock` pass in one real second; 1 but for sped-up runs.
    pub speed: f64,
}

impl Options {
    /// How long a time of `clock` really takes.
    fn real(&self, time: Duration) -> Duration {
        time.div_f64(self.speed.max(f64::MIN_POSITIVE)).max(Duration::from_millis(1))
    }
}

/// Why the daemon cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server's settings make no client.
    #[error("server `{server}`: {cause}")]
    Client {
        /// The server.
        server: ServerName,
        /// What is wrong.
        cause: BuildError,
    },
    /// An environment variable that holds a secret is not set, and never will be in this process.
    #[error("server `{server}`: {cause}")]
    Secret {
        /// The server.
        server: ServerName,
        /// What is wrong.
        cause: SecretError,
    },
    /// The audit log of the rules file cannot be written.
    #[error(transparent)]
    AuditLog(#[from] audit_log::CannotAppend),
    /// There is nothing to look after.
    #[error("the rules file names no server; add one under `servers:`")]
    NoServers,
    /// Only from [`Daemon::run_once`]: what would have to be written down was not done.
    #[error("server `{0}` was left alone, because nothing can be written down")]
    Unwritten(ServerName),
}

/// A daemon that is ready to run.
pub struct Daemon {
    options: Options,
    store: Store,
    /// As this run applies it, see [`effective`].
    config: Arc<Config>,
    clients: BTreeMap<ServerName, Arc<Client>>,
    rules: watch::Sender<Arc<RuleSet>>,
    stop: watch::Sender<bool>,
    loops: BTreeMap<ServerName, Loop>,
    /// The servers whose loops broke down, or could not read what is remembered of them.
    died: (mpsc::UnboundedSender<Death>, mpsc::UnboundedReceiver<Death>),
    /// The servers of which it was told that what is remembered of them cannot be read.
    unread: BTreeSet<ServerName>,
    log: AuditLog,
    secrets: OpenSecrets,
    telling: Telling,
    /// After how long without a sign of life a loop is stuck.
    stuck: Duration,
    /// Loops that were told to end and have not yet.
    ending: Vec<JoinHandle<()>>,
    /// The rules file as it is now cannot be used.
    refused: bool,
    rules_only: bool,
    requests: mpsc::Receiver<Request>,
    control: Control,
    status: watch::Sender<DaemonStatus>,
    /// Who waits to hear what came of reading the rules file.
    asked: Vec<oneshot::Sender<Result<String, String>>>,
}

/// A server whose loop ended, with why if that is no defect of ours.
type Death = (ServerName, Option<StoreError>);

struct Loop {
    stop: watch::Sender<bool>,
    orders: mpsc::Sender<OrderRequest>,
    beat: Beat,
    task: JoinHandle<()>,
    /// Whether it began with the daemon.
    first: bool,
}

/// How many orders of people may wait for a loop.
const ORDERS: usize = 16;

impl Daemon {
    /// Opens the store and makes the clients; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`StartError`], with which the daemon cannot start.
    pub fn new(config: Config, mut options: Options) -> Result<Self, StartError> {
        if config.servers.is_empty() {
            return Err(StartError::NoServers);
        }
        let open = || Store::open(&options.state_dir);
        let (clients, store) =
            if config.servers.iter().any(|server| server.url.starts_with("https:")) {
                // The one reads the system's certificates, the other waits for the disk.
                std::thread::scope(|scope| -> Result<_, StartError> {
                    let clients = scope.spawn(|| clients(&config, &options));
                    let store = open();
                    let clients = clients.join();
                    let clients = clients.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    Ok((clients?, store?))
                })?
            } else {
                (clients(&config, &options)?, open()?)
            };
        let log = AuditLog::default();
        log.set(config.audit_log.as_deref()).map_err(StartError::AuditLog)?;
        let telling = Telling::new(&config.notify, &store)?;
        let secrets = OpenSecrets::default();
        secrets.set(&config);
        options.sink = secrets.beside(&options.sink);
        options.sink = telling.beside(&log.beside(&options.sink), &options.clock);
        let config = Arc::new(effective(config, options.dry_run));
        let (rules, in_force) = watch::channel(Arc::clone(&config.rules));
        let (stop, _) = watch::channel(false);
        let (ask, requests) = mpsc::channel(ORDERS);
        let (status, seen) = watch::channel(status_of(&config, &options, None));
        Ok(Self {
            options,
            store,
            config,
            clients,
            rules,
            stop,
            loops: BTreeMap::new(),
            ending: Vec::new(),
            died: mpsc::unbounded_channel(),
            unread: BTreeSet::new(),
            log,
            secrets,
            telling,
            stuck: service::patience().map_or(STUCK, |patience| patience / 2),
            refused: false,
            rules_only: false,
            requests,
            control: Control { requests: ask, status: seen, rules: in_force },
            status,
            asked: Vec::new(),
        })
    }

    /// Has a new content of the rules file change the rules only: where it works and whom it tells
    /// stays as it began. For the demo, which runs the rules of others on a server of its own.
    #[must_use]
    pub fn rules_only(self) -> Self {
        Self { rules_only: true, ..self }
    }

    /// A handle that ends the daemon when `true` is sent.
    #[must_use]
    pub fn stopper(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }

    /// A handle for what people ask of the daemon while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The store, for looking into it.
    #[must_use]
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Looks after the servers until told to stop, following `file` through its saves.
    ///
    /// # Errors
    ///
    /// When what the store remembers cannot be read at the start.
    pub async fn run(mut self, mut file: Option<(String, FollowedFile)>) -> Result<(), StartError> {
        let path = file.as_ref().map(|(path, _)| path.clone());
        self.status.send_modify(|status| status.config = path);
        self.options.sink.emit(&Event::Started {
            servers: self.config.servers.len(),
            rules: self.config.rules.rules.len(),
            revision: self.config.rules.revision.clone(),
        });
        for server in self.config.servers.clone() {
            self.start(&server, true)?;
        }
        // While the first answers are on their way.
        let rules = Arc::clone(&self.rules.borrow());
        tokio::task::spawn_blocking(move || rules.get_ready());
        let told = tokio::spawn(self.telling.clone().run(
            self.store.clone(),
            self.options.clock.clone(),
            self.options.sink.clone(),
            self.options.speed,
            self.stop.subscribe(),
        ));
        let mut stop = self.stop.subscribe();
        let mut prune = Box::pin(tokio::time::sleep(self.options.real(PRUNE_FIRST)));
        let mut pruning = JoinSet::new();
        let mut again = tokio::time::interval(START_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let patience = service::patience();
        let mut pulse = tokio::time::interval(
            patience.map_or(PRUNE_EVERY, |patience| (patience / PULSES).max(SHORTEST_PULSE)),
        );
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ran = loop {
            let waiting = self.loops.len() < self.config.servers.len();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break Ok(()),
                content = next_content(&mut file) => {
                    let path = file.as_ref().map_or_else(String::new, |(path, _)| path.clone());
                    self.reload(&path, content).await;
                }
                Some(request) = self.requests.recv() => self.serve(request, file.as_ref()),
                Some((server, why)) = self.died.1.recv() => {
                    let first = self.loops.remove(&server).is_some_and(|one| one.first);
                    match why {
                        Some(error) if first => break Err(error.into()),
                        Some(error) => self.note_unread(server, &error),
                        None => self.options.sink.emit(&Event::LoopDied { server }),
                    }
                }
                _ = again.tick(), if waiting => self.start_missing(),
                _ = pulse.tick(), if patience.is_some() => {
                    if self.loops.values().all(|one| one.beat.goes_on()) {
                        self.options.sink.emit(&Event::Alive);
                    }
                }
                () = &mut prune => {
                    prune.set(tokio::time::sleep(self.options.real(PRUNE_EVERY)));
                    // Beside this loop, which must hear of a stop or a reload meanwhile.
                    pruning = JoinSet::new();
                    pruning.spawn(prune_store(
                        self.store.clone(),
                        self.config.retention,
                        self.options.clock.clone(),
                        self.options.sink.clone(),
                    ));
                }
            }
        };
        self.options.sink.emit(&Event::Stopping);
        // It has the store, which is to be closed. What is old still is for the next daemon.
        pruning.shutdown().await;
        for one in self.loops.values() {
            one.stop.send_replace(true);
        }
        let ends = self.loops.into_values().map(|one| one.task).chain(self.ending).chain([told]);
        let _ = tokio::time::timeout(GRACE, futures_util::future::join_all(ends)).await;
        ran
    }

    /// The loop of one server, to be driven tick by tick.
    ///
    /// # Errors
    ///
    /// When what the store remembers cannot be read, or there is no such server.
    pub fn watch(&self, server: &ServerName) -> Result<Watch, StartError> {
        let Some(server) = self.config.servers.iter().find(|known| known.name == *server) else {
            return Err(StartError::NoServers);
        };
        // Nobody asks anything of a loop that is driven so.
        self.watch_server(server, self.stop.subscribe(), mpsc::channel(1).1, Beat::new(self.stuck))
    }

    /// Looks at every server once and acts; tells which could not be reached, with why.
    ///
    /// # Errors
    ///
    /// When what the store remembers cannot be read.
    pub async fn run_once(self) -> Result<Vec<(ServerName, String)>, StartError> {
        let mut ticks = JoinSet::new();
        for server in self.config.servers.clone() {
            let mut watch = self.watch(&server.name)?;
            ticks.spawn(async move {
                let looked = watch.tick().await;
                if !watch.can_write() {
                    return Err(StartError::Unwritten(server.name));
                }
                match looked {
                    Looked::Away(error) => Ok(Some((server.name, error.to_string()))),
                    Looked::Unremembered(error) => Err(error.into()),
                    Looked::Done(_) | Looked::Stopped => Ok(None),
                }
            });
        }
        let looks: Result<Vec<_>, _> = ticks.join_all().await.into_iter().collect();
        let (clock, sink) = (self.options.clock.clone(), self.options.sink.clone());
        prune_store(self.store.clone(), self.config.retention, clock, sink).await;
        self.telling.send_once(&self.store, &self.options.clock, &self.options.sink).await;
        Ok(looks?.into_iter().flatten().collect())
    }

    fn watch_server(
        &self,
        server: &ServerConfig,
        stop: watch::Receiver<bool>,
        orders: mpsc::Receiver<OrderRequest>,
        beat: Beat,
    ) -> Result<Watch, StartError> {
        let Some(client) = self.clients.get(&server.name) else {
            return Err(StartError::NoServers);
        };
        Ok(Watch::new(WatchSettings {
            server: server.name.clone(),
            client: client.clone(),
            poll: server.poll,
            request_timeout: server.timeout,
            extra_kinds: server.kinds.clone(),
            store: self.store.clone(),
            rules: self.rules.subscribe(),
            stop,
            orders,
            beat,
            clock: self.options.clock.clone(),
            sink: self.options.sink.clone(),
            seed: self.options.seed,
            speed: self.options.speed,
        })?)
    }

    fn start(&mut self, server: &ServerConfig, first: bool) -> Result<(), StartError> {
        let (stop, receiver) = watch::channel(false);
        let (orders, waiting) = mpsc::channel(ORDERS);
        let beat = Beat::new(self.stuck);
        let mut watch = self.watch_server(server, receiver, waiting, beat.clone())?;
        watch.store_away = self.unread.remove(&server.name);
        let work = tokio::spawn(watch.run());
        let (died, name) = (self.died.0.clone(), server.name.clone());
        let task = tokio::spawn(async move {
            let why = match work.await {
                Ok(Err(error)) => Some(error),
                // A loop only ends so by a defect of ours; the server must not go unwatched for it.
                Err(error) if error.is_panic() => None,
                _ => return,
            };
            let _ = died.send((name, why));
        });
        self.loops.insert(server.name.clone(), Loop { stop, orders, beat, task, first });
        Ok(())
    }

    /// Begins with the servers that nobody looks after.
    fn start_missing(&mut self) {
        for server in self.config.servers.clone() {
            if !self.loops.contains_key(&server.name)
                && let Err(error) = self.start(&server, false)
            {
                self.note_unread(server.name, &error);
            }
        }
    }

    /// Tells that a server is left alone for now; its loop tells of the end of that.
    fn note_unread(&mut self, server: ServerName, error: &dyn Error) {
        let error = format!("server `{server}`: {error}");
        self.options.sink.emit(&Event::StoreAway { error });
        self.unread.insert(server);
    }

    /// Takes a new content of the rules file over, whole or not at all.
    async fn reload(&mut self, path: &str, content: Content) {
        let taken = match content.files {
            Err(error) => Err(format!("{}: {}", error.path.display(), error.cause)),
            Ok(files) => self.take_over(path, &files).await,
        };
        let was_refused = std::mem::replace(&mut self.refused, taken.is_err());
        // Taken out first: a borrow that lived on would keep the new one from being put in.
        let DaemonStatus { started, config, .. } = self.status.borrow().clone();
        let status = status_of(&self.config, &self.options, config);
        self.status.send_replace(DaemonStatus { started, ..status });
        for asked in self.asked.drain(..) {
            // Who asked may have gone.
            let _ = asked.send(taken.clone());
        }
        match taken {
            Err(findings) => {
                let detail = findings.lines().next().unwrap_or_default().to_owned();
                self.options.sink.emit(&Event::ReloadRefused { findings });
                let reason = "the rules file cannot be used";
                self.record_reload(Outcome::Rejected, reason, detail).await;
            }
            // Who asked, or was told that the file is broken, is told that all is well.
            Ok(changes) if changes == UNCHANGED && (was_refused || content.asked) => {
                self.options.sink.emit(&Event::Reloaded {
                    changes,
                    revision: self.config.rules.revision.clone(),
                });
            }
            Ok(_) => {}
        }
    }

    /// What changed, or why the files cannot be used.
    async fn take_over(&mut self, path: &str, files: &RulesFiles) -> Result<String, String> {
        // Thousands of rules take their time, which is not taken from the loops.
        let (files, before) = (files.clone(), Arc::clone(&self.config));
        let (rules_only, dry_run) = (self.rules_only, self.options.dry_run);
        let load = tokio::task::spawn_blocking(move || {
            let mut loaded = files.load();
            let Some(config) = loaded.config.take() else {
                return Err(one_line_each(&loaded, Severity::Error).join("\n"));
            };
            let warnings = one_line_each(&loaded, Severity::Warning);
            let mut config = effective(config, dry_run);
            if rules_only {
                config.servers.clone_from(&before.servers);
                config.listen.clone_from(&before.listen);
                config.notify.clone_from(&before.notify);
                config.audit_log.clone_from(&before.audit_log);
            }
            config.rules.get_ready();
            Ok((differences(&before, &config), Arc::new(config), warnings))
        });
        let (changes, config, warnings) = load.await.map_err(|error| error.to_string())??;
        if config.servers.is_empty() {
            return Err(format!("{path}: {}", StartError::NoServers));
        }
        let clients =
            clients(&config, &self.options).map_err(|error| format!("{path}: {error}"))?;
        self.log.set(config.audit_log.as_deref()).map_err(|error| format!("{path}: {error}"))?;
        self.telling.set(&config.notify);
        self.secrets.set(&config);
        if changes.is_empty() {
            self.config = config;
            return Ok(UNCHANGED.to_owned());
        }
        // Loops of servers that went or changed end first, so that no two look after one server.
        // The others need not wait for that.
        let same = |name: &ServerName| {
            let find = |config: &Config| {
                config.servers.iter().find(|server| server.name == *name).cloned()
            };
            find(&self.config) == find(&config)
        };
        let ended: Vec<ServerName> =
            self.loops.keys().filter(|name| !same(name)).cloned().collect();
        let mut ending = Vec::new();
        for name in ended {
            if let Some(one) = self.loops.remove(&name) {
                one.stop.send_replace(true);
                ending.push(one.task);
            }
        }
        for (name, client) in clients {
            if !self.loops.contains_key(&name) {
                self.clients.insert(name, client);
            }
        }
        self.config = config;
        for finding in warnings {
            self.options.sink.emit(&Event::RulesWarning { finding });
        }
        let revision = self.config.rules.revision.clone();
        self.rules.send_replace(Arc::clone(&self.config.rules));
        self.options.sink.emit(&Event::Reloaded { changes: changes.clone(), revision });
        self.record_reload(Outcome::Accepted, &changes, String::new()).await;
        self.ending.extend(ending);
        let mut stop = self.stop.subscribe();
        let stopped = tokio::select! {
            _ = futures_util::future::join_all(&mut self.ending) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        self.ending.retain(|task| !task.is_finished());
        if !stopped {
            self.start_missing();
        }
        Ok(changes)
    }

    /// Does what is asked of the daemon as a whole.
    fn serve(&mut self, request: Request, file: Option<&(String, FollowedFile)>) {
        match request {
            Request::Reload(reply) => match file {
                Some((_, file)) => {
                    self.asked.push(reply);
                    file.poke().read_now();
                }
                None => {
                    let _ = reply.send(Err("this daemon follows no rules file".to_owned()));
                }
            },
            Request::Order { server, order, reply } => {
                let (servers, rules) = names(&self.config);
                if let Err(refusal) = check_names(&order, server.as_ref(), &servers, &rules) {
                    let _ = reply.send(Err(refusal));
                    return;
                }
                let asked: Vec<ServerName> = server.map_or(servers, |server| vec![server]);
                let loops: Vec<_> = asked
                    .into_iter()
                    .map(|server| {
                        let orders = self.loops.get(&server).map(|one| one.orders.clone());
                        (server, orders)
                    })
                    .collect();
                // The loops may be waiting for their servers; the daemon does not wait with them.
                tokio::spawn(async move {
                    let _ = reply.send(pass_on(order, loops).await);
                });
            }
        }
    }

    async fn record_reload(&self, outcome: Outcome, reason: &str, detail: String) {
        let mut batch = WriteBatch::new(SELF.into());
        batch.new_rows.push(AuditRow {
            id: self.store.next_intent_id(),
            time: self.options.clock.now(),
            server: SELF.into(),
            rule: None,
            action: "reload".to_owned(),
            kind: None,
            task_id: None,
            task_name: None,
            attempt: None,
            reason: reason.to_owned(),
            error: None,
            class: None,
            mode: Mode::Live,
            outcome,
            detail,
            rules_revision: self.config.rules.revision.clone(),
        });
        if let Err(error) = self.store.write(batch).await {
            self.options.sink.emit(&Event::StoreAway { error: error.to_string() });
        }
    }
}

/// What a new content comes to that means the same as the old one.
const UNCHANGED: &str = "nothing changed";

/// Hands an order to loops, and gathers what they did.
async fn pass_on(
    order: Order,
    loops: Vec<(ServerName, Option<mpsc::Sender<OrderRequest>>)>,
) -> Result<Vec<Done>, Refusal> {
    let asked = loops.into_iter().map(|(server, orders)| {
        let order = order.clone();
        async move {
            let idle =
                || Refusal::NotNow(format!("server `{server}` is not looked after just now"));
            let (reply, answer) = oneshot::channel();
            let orders = orders.ok_or_else(idle)?;
            orders.send(OrderRequest { order, reply }).await.map_err(|_| idle())?;
            let answer = answer.await.map_err(|_| idle())?;
            answer.map_err(|why| Refusal::NotNow(format!("server `{server}`: {why}")))
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    Ok(answers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn names(config: &Config) -> (Vec<ServerName>, Vec<RuleName>) {
    let servers = config.servers.iter().map(|server| server.name.clone());
    (servers.collect(), config.rules.rules.iter().map(|rule| rule.name.clone()).collect())
}

fn status_of(config: &Config, options: &Options, path: Option<String>) -> DaemonStatus {
    let (servers, rules) = names(config);
    // A look asks each kind for two lists, four kinds at a time, and there are at most ten kinds or
    // so; a call may take `timeout`, and what follows from a look some more of them.
    let longest = config.servers.iter().map(|server| server.timeout.max(server.poll)).max();
    let longest = longest.unwrap_or_default().saturating_mul(10) + Duration::from_secs(300);
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: options.clock.now(),
        config: path,
        revision: config.rules.revision.clone(),
        servers,
        rules,
        listen: config.listen.clone(),
        stuck_after: SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX),
    }
}

/// What the store keeps at a moment.
fn keep(retention: &Retention, now: Timestamp) -> Keep {
    let since = |age: Option<Duration>| age.and_then(|age| now.checked_sub(age).ok());
    Keep {
        audit_since: since(retention.audit),
        seen_since: since(retention.observations),
        size: retention.size,
    }
}

/// Takes old rows away, and writes down that it was done, for those who wonder.
async fn prune_store(store: Store, retention: Retention, clock: Clock, sink: Sink) {
    let pruned = match store.prune(keep(&retention, clock.now())).await {
        Ok(pruned) => {
            let mut batch = WriteBatch::new(UPKEEP.into());
            batch.server_state = serde_json::to_value(Upkeep { pruned: clock.now() }).ok();
            store.write(batch).await.map(|()| pruned)
        }
        Err(error) => Err(error),
    };
    match pruned {
        Ok(Pruned { rows: 0, bytes: 0 }) | Err(StoreError::Stopped) => {}
        Ok(Pruned { rows, bytes }) => sink.emit(&Event::Pruned { rows, bytes }),
        Err(error) => sink.emit(&Event::NotPruned { error: error.to_string() }),
    }
}

async fn next_content(file: &mut Option<(String, FollowedFile)>) -> Content {
    match file {
        Some((_, file)) => file.changed().await,
        None => std::future::pending().await,
    }
}

/// The rules file as this run applies it.
fn effective(mut config: Config, dry_run: bool) -> Config {
    if dry_run {
        let rules = Arc::make_mut(&mut config.rules);
        rules.mode = rules.mode.max(Mode::DryRun);
    }
    config
}

/// The clients of all servers.
///
/// # Errors
///
/// The first server whose settings make none.
pub fn clients(
    config: &Config,
    options: &Options,
) -> Result<BTreeMap<ServerName, Arc<Client>>, StartError> {
    let clients = config.servers.iter().map(|server| {
        let client = client(server, &options.clock)?;
        Ok((server.name.clone(), Arc::new(client)))
    });
    clients.collect()
}

/// The client of one server.
///
/// # Errors
///
/// When its settings make none, or a variable that holds a secret is not set.
pub fn client(server: &ServerConfig, clock: &Clock) -> Result<Client, StartError> {
    let settings = client_settings(server, clock);
    settings
        .auth
        .check_variables()
        .map_err(|cause| StartError::Secret { server: server.name.clone(), cause })?;
    Client::new(settings).map_err(|cause| StartError::Client { server: server.name.clone(), cause })
}

/// Where a secret of the rules file is read from.
#[must_use]
pub fn secret(secret: &SecretRef) -> SecretSource {
    match secret {
        SecretRef::Env(name) => SecretSource::Env(name.clone()),
        SecretRef::Credential(name) => SecretSource::Credential(name.clone()),
        SecretRef::File(path) => SecretSource::File(path.clone()),
        SecretRef::Literal(text) => SecretSource::Literal(text.clone()),
    }
}

fn client_settings(server: &ServerConfig, clock: &Clock) -> ClientSettings {
    ClientSettings {
        server: server.name.clone(),
        base_url: server.url.clone(),
        auth: match &server.auth {
            AuthConfig::Token(token) => Auth::Token(secret(token)),
            AuthConfig::Password { username, password, totp } => Auth::Password {
                username: username.clone(),
                password: secret(password),
                totp: totp.as_ref().map(secret),
            },
        },
        connect_timeout: server.connect_timeout,
        request_timeout: server.timeout,
        max_body: server.max_body,
        ca_file: server.ca_file.clone(),
        clock: clock.clone(),
    }
}

/// The findings of a severity, a line each; `check` shows them with their source.
#[must_use]
pub fn one_line_each(loaded: &Loaded, severity: Severity) -> Vec<String> {
    let wanted = loaded.findings.iter().filter(|finding| finding.severity == severity);
    let lines = wanted.map(|finding| {
        let Finding { code, message, span, line, column, help, .. } = finding;
        let path = &loaded.file(*span).path;
        let help = help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        let word = if severity == Severity::Error { "error" } else { "warning" };
        format!("{path}:{line}:{column}: {word}[{code}]: {message}{help}")
    });
    lines.collect()
}

/// What differs between two configurations, in words; empty when they mean the same.
fn differences(old: &Config, new: &Config) -> String {
    let mut parts = Vec::new();
    let by_name = |config: &'_ Config| -> BTreeMap<RuleName, String> {
        let rules = config.rules.rules.iter();
        rules.map(|rule| (rule.name.clone(), format!("{rule:?}"))).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let in_order = |rules: &'_ [Rule], wanted: &dyn Fn(&RuleName) -> bool| -> Vec<String> {
        let names = rules.iter().map(|rule| &rule.name).filter(|name| wanted(name));
        names.map(|name| format!("`{name}`")).collect()
    };
    let added = in_order(&new.rules.rules, &|name| !before.contains_key(name));
    let removed = in_order(&old.rules.rules, &|name| !after.contains_key(name));
    let changed = in_order(&new.rules.rules, &|name| {
        before.get(name).is_some_and(|rule| after.get(name) != Some(rule))
    });
    for (word, names) in [("added", added), ("changed", changed), ("removed", removed)] {
        if !names.is_empty() {
            parts.push(format!("{word} {}", names.join(", ")));
        }
    }
    if old.servers != new.servers {
        parts.push("servers changed".to_owned());
    }
    if old.listen != new.listen {
        parts.push("listen changed".to_owned());
    }
    if old.audit_log != new.audit_log {
        parts.push("audit_log changed".to_owned());
    }
    if old.notify != new.notify {
        parts.push("notify changed".to_owned());
    }
    if old.retention != new.retention {
        parts.push("retention changed".to_owned());
    }
    if parts.is_empty() && old.rules.revision != new.rules.revision {
        parts.push("order, classes or modes changed".to_owned());
    }
    parts.join("; ")
}
