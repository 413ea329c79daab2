//! Writing: one thread has the connection, and commits all that waits for it together.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params, params_from_iter};
use serde::Serialize;
use tokio::sync::oneshot;

use super::database::{self, DATABASE, Files, MIGRATIONS};
use super::error::{Cause, OpenError, StoreError};
use super::prune::{self, Keep, Pruned};
use super::read::Reader;
use super::{observe, queue};
use crate::ambient::{fault_point, monotonic};
use crate::engine::audit::{AuditRow, IntentId, Occasion, Outcome, Trouble};
use crate::engine::decide::{GiveUp, Planned};
use crate::engine::memory::Memory;
use crate::engine::observe::{Look, QueueSample};
use crate::engine::task::{Kind, RuleName, ServerName, TaskId};

/// The most requests that are committed together.
const GROUP: usize = 64;

/// How long the writer leaves the disk to others between two steps of pruning.
const REST: Duration = Duration::from_millis(20);

/// What is written down together: all of it or nothing.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// The server it is about.
    pub server: ServerName,
    /// The memory of it: what changed there is written. Shared, not copied, since a first look changes
    /// all of it.
    pub memory: Option<Arc<Memory>>,
    /// New audit rows, with numbers from [`Store::next_intent_id`]. Times are kept to the
    /// microsecond.
    pub new_rows: Vec<AuditRow>,
    /// What is done by being written down; each has a row too.
    pub shown: Vec<Shown>,
    /// What became known of earlier rows, or rows of this batch: the outcome and its detail take the
    /// place of those the row has.
    pub outcomes: Vec<(IntentId, Outcome, String)>,
    /// A new state of the connection to the server (what is known of its login), if it changed.
    pub server_state: Option<serde_json::Value>,
    /// What was seen.
    pub looks: Vec<Look>,
    /// How long the queues are.
    pub queue: Vec<QueueSample>,
    /// Actions whose calls went wrong.
    pub troubles: Vec<(IntentId, Trouble)>,
}

/// What a look has people told, what it would have done were it no dry run, and what rules let go of. There may be as
/// many as there are tasks, so their rows are made one by one as they are written.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When, where and by which rules.
    pub occasion: Occasion,
    /// What rules let go of, with the numbers of the rows.
    pub give_ups: Vec<(IntentId, GiveUp)>,
    /// All actions that were decided then.
    pub actions: Arc<Vec<Planned>>,
    /// The numbers of the rows, and the places of the actions that they are about.
    pub rows: Vec<(IntentId, usize)>,
}

impl Shown {
    fn rows(&self) -> impl Iterator<Item = AuditRow> {
        let give_ups = self.give_ups.iter().map(|(id, give_up)| give_up.row(*id, &self.occasion));
        give_ups.chain(self.rows.iter().filter_map(|(id, place)| {
            let planned = self.actions.get(*place)?;
            Some(planned.row(*id, &self.occasion, planned.mode))
        }))
    }
}

impl WriteBatch {
    /// A batch that holds nothing yet.
    #[must_use]
    pub fn new(server: ServerName) -> Self {
        Self {
            server,
            memory: None,
            new_rows: Vec::new(),
            shown: Vec::new(),
            outcomes: Vec::new(),
            server_state: None,
            looks: Vec::new(),
            queue: Vec::new(),
            troubles: Vec::new(),
        }
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.as_ref().is_none_or(|memory| !memory.has_changed())
            && self.new_rows.is_empty()
            && self.shown.is_empty()
            && self.outcomes.is_empty()
            && self.server_state.is_none()
            && self.looks.is_empty()
            && self.queue.is_empty()
            && self.troubles.is_empty()
    }
}

/// The store of a state folder, open for writing. Clones are handles of the same store; when the last
/// one is dropped, what waits is written, the database is closed and the folder unlocked.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    next_intent: AtomicI64,
    /// `None` only while the store is being dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Held to the end, after the writer has closed the database.
    _lock: File,
}

enum Request {
    Write { batch: Arc<WriteBatch>, reply: Reply<()> },
    Prune { keep: Keep, reply: Reply<Pruned> },
}

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Rows that are being taken away.
struct Pruning {
    keep: Keep,
    reply: Reply<Pruned>,
    done: Pruned,
    /// When the next step comes, however many writes come meanwhile.
    next: Instant,
}

impl Store {
    /// Opens the store of a state folder: creates the folder if need be, makes this process its only
    /// daemon, and brings the database to the present layout.
    ///
    /// # Errors
    /// [`OpenError`], with which a daemon cannot start.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        database::create_folder(dir).map_err(|cause| cause.at(dir))?;
        let lock = database::lock(dir)?;
        let writer = Writer::open(&dir.join(DATABASE))?;
        let last =
            last_intent(&writer.connection).map_err(|error| Cause::Sql(error).at(&writer.path))?;
        let (requests, waiting) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| Cause::Io(error).at(dir))?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            next_intent: AtomicI64::new(last.0 + 1),
            requests: Some(requests),
            writer: Some(writer),
            _lock: lock,
        })))
    }

    /// A number for an audit row that no row has or had, counted up from 1. One that is not written
    /// before the end of the process is given out again by the next.
    #[must_use]
    pub fn next_intent_id(&self) -> IntentId {
        IntentId(self.0.next_intent.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes a batch down. When this returns `Ok`, the batch is on the disk and outlives a power
    /// cut. The batch is written also when the caller stops waiting. When the answer is there, nothing
    /// of it is held any more.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the batch is stored, and it may be written again once the
    /// cause is gone. (With [`StoreError::Moved`] it may be stored, in a file that is lost unless it
    /// is put back.)
    pub async fn write(&self, batch: impl Into<Arc<WriteBatch>>) -> Result<(), StoreError> {
        let batch = batch.into();
        if batch.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Request::Write { batch, reply }).await
    }

    /// Takes old rows away, and gives the room back that they leave. It is done in small steps
    /// between writes, which never wait for more than one of them. A second call takes the place of
    /// one that is still at work.
    ///
    /// # Errors
    /// [`StoreError`]; what was taken away before stays so. [`StoreError::Stopped`] when the store
    /// closes or another call comes meanwhile.
    pub async fn prune(&self, keep: Keep) -> Result<Pruned, StoreError> {
        self.ask(|reply| Request::Prune { keep, reply }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.0.requests.as_ref().ok_or(StoreError::Stopped)?;
        requests.send(request(reply)).map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }

    /// A look into the store on a connection of its own.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn reader(&self) -> Result<Reader, OpenError> {
        Reader::open(&self.0.dir)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dir", &self.0.dir).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // It fails only if the writer panicked, and those who waited for it know.
            let _ = writer.join();
        }
    }
}

/// The one that has the connection which writes.
pub(super) struct Writer {
    pub(super) connection: Connection,
    path: PathBuf,
    files: Files,
}

impl Writer {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let connection = database::open(path, MIGRATIONS)?;
        let files = Files::of(path).map_err(|cause| cause.at(path))?;
        Ok(Self { connection, path: path.to_owned(), files })
    }

    fn run(mut self, waiting: &mpsc::Receiver<Request>) {
        let mut pruning: Option<Pruning> = None;
        loop {
            let first = match &pruning {
                None => waiting.recv().map_err(RecvTimeoutError::from),
                Some(pruning) => {
                    waiting.recv_timeout(pruning.next.saturating_duration_since(monotonic()))
                }
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    pruning = pruning.and_then(|pruning| self.prune(pruning));
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut batches, mut replies) = (Vec::new(), Vec::new());
            for request in std::iter::once(first).chain(waiting.try_iter()).take(GROUP) {
                match request {
                    Request::Write { batch, reply } => {
                        batches.push(batch);
                        replies.push(reply);
                    }
                    Request::Prune { keep, reply } => {
                        let next = monotonic() + REST;
                        pruning = Some(Pruning { keep, reply, done: Pruned::default(), next });
                    }
                }
            }
            if batches.is_empty() {
                continue;
            }
            let results = self.commit(&batches);
            drop(batches);
            for (reply, result) in replies.into_iter().zip(results) {
                // Who stopped waiting needs no answer.
                let _ = reply.send(result);
            }
        }
    }

    /// One step of pruning; gives it back while there is more to do.
    fn prune(&mut self, mut pruning: Pruning) -> Option<Pruning> {
        let step = self
            .files
            .check()
            .and_then(|()| prune::step(&mut self.connection, &pruning.keep))
            .map_err(|cause| cause.at(&self.path));
        let answer = match step {
            Ok(Some(step)) => {
                pruning.done.rows += step.rows;
                pruning.done.bytes += step.bytes;
                pruning.next = monotonic() + REST;
                return Some(pruning);
            }
            Ok(None) => Ok(pruning.done),
            Err(error) => Err(error),
        };
        let _ = pruning.reply.send(answer);
        None
    }

    /// Writes batches in one commit, and tells for each whether it is on the disk.
    pub(super) fn commit(
        &mut self,
        batches: &[impl Borrow<WriteBatch>],
    ) -> Vec<Result<(), StoreError>> {
        match self.transact(batches) {
            Ok(results) => results
                .into_iter()
                .map(|result| result.map_err(|cause| cause.at(&self.path)))
                .collect(),
            Err(cause) => vec![Err(cause.at(&self.path)); batches.len()],
        }
    }

    /// The outer error is about all of them.
    fn transact(
        &mut self,
        batches: &[impl Borrow<WriteBatch>],
    ) -> Result<Vec<Result<(), Cause>>, Cause> {
        self.files.check()?;
        fault_point("before a write");
        let mut transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(batches.len());
        for batch in batches {
            let savepoint = transaction.savepoint()?;
            match apply(&savepoint, batch.borrow()) {
                Ok(()) => {
                    savepoint.commit()?;
                    results.push(Ok(()));
                }
                // Some errors, such as a full disk, end the whole transaction.
                Err(cause) if savepoint.is_autocommit() => return Err(cause),
                Err(cause) => {
                    savepoint.finish()?;
                    results.push(Err(cause));
                }
            }
        }
        fault_point("before a commit");
        transaction.commit()?;
        fault_point("after a commit");
        // They may have gone between the first look and the commit.
        self.files.check()?;
        Ok(results)
    }
}

fn apply(connection: &Connection, batch: &WriteBatch) -> Result<(), Cause> {
    let server = batch.server.as_str();
    let mut insert = connection.prepare_cached(
        "INSERT INTO audit (id, time, server, rule, action, kind, task_id, task_name, attempt, \
         reason, error, class, mode, outcome, detail, rules_revision) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    let shown = batch.shown.iter().flat_map(Shown::rows).map(Cow::Owned);
    for row in batch.new_rows.iter().map(Cow::Borrowed).chain(shown) {
        insert.execute(params![
            row.id.0,
            row.time.as_microsecond(),
            row.server.as_str(),
            row.rule.as_ref().map(RuleName::as_str),
            row.action,
            row.kind.as_ref().map(Kind::as_str),
            row.task_id.as_ref().map(TaskId::as_str),
            row.task_name,
            row.attempt,
            row.reason,
            row.error,
            row.class.as_ref().map(word).transpose()?,
            word(&row.mode)?,
            row.outcome.as_str(),
            row.detail,
            row.rules_revision,
        ])?;
    }
    let mut update =
        connection.prepare_cached("UPDATE audit SET outcome = ?2, detail = ?3 WHERE id = ?1")?;
    for (id, outcome, detail) in &batch.outcomes {
        // A row that is missing below the last one was pruned, and needs no outcome any more.
        if update.execute(params![id.0, outcome.as_str(), detail])? == 0
            && *id > last_intent(connection)?
        {
            return Err(Cause::NoIntent(*id));
        }
    }
    if let Some(memory) = &batch.memory {
        for (kind, id, task) in memory.changed_tasks() {
            TASK.set(connection, &[server, kind.as_str(), id.as_str()], task)?;
        }
        for (subject, rule, progress) in memory.changed_progress() {
            let subject = serde_json::to_string(subject)?;
            PROGRESS.set(connection, &[server, &subject, rule.as_str()], progress)?;
        }
        for (rule, memory) in memory.changed_rules() {
            RULE.set(connection, &[server, rule.as_str()], memory)?;
        }
    }
    if let Some(state) = &batch.server_state {
        SERVER.set(connection, &[server], Some(state))?;
    }
    observe::write(connection, &batch.looks)?;
    queue::write(connection, &batch.server, &batch.queue)?;
    observe::write_troubles(connection, &batch.troubles)
}

/// The highest number an audit row has; 0 when there is none.
fn last_intent(connection: &Connection) -> Result<IntentId, rusqlite::Error> {
    let last = connection.query_row("SELECT max(id) FROM audit", (), |row| row.get(0))?;
    Ok(IntentId(Option::unwrap_or(last, 0)))
}

/// How an entry of a table is written.
struct Table {
    put: &'static str,
    delete: &'static str,
}

const TASK: Table = Table {
    put: "INSERT OR REPLACE INTO task (server, kind, id, json) VALUES (?1, ?2, ?3, ?4)",
    delete: "DELETE FROM task WHERE server = ?1 AND kind = ?2 AND id = ?3",
};
const PROGRESS: Table = Table {
    put: "INSERT OR REPLACE INTO progress (server, subject, rule, json) VALUES (?1, ?2, ?3, ?4)",
    delete: "DELETE FROM progress WHERE server = ?1 AND subject = ?2 AND rule = ?3",
};
const RULE: Table = Table {
    put: "INSERT OR REPLACE INTO rule (server, rule, json) VALUES (?1, ?2, ?3)",
    delete: "DELETE FROM rule WHERE server = ?1 AND rule = ?2",
};
const SERVER: Table = Table {
    put: "INSERT OR REPLACE INTO server (server, json) VALUES (?1, ?2)",
    delete: "DELETE FROM server WHERE server = ?1",
};

impl Table {
    /// Writes the entry with this key, or removes it.
    fn set(
        &self,
        connection: &Connection,
        key: &[&str],
        entry: Option<&impl Serialize>,
    ) -> Result<(), Cause> {
        if let Some(entry) = entry {
            let json = serde_json::to_string(entry)?;
            let values = key.iter().copied().chain([json.as_str()]);
            connection.prepare_cached(self.put)?.execute(params_from_iter(values))?;
        } else {
            connection.prepare_cached(self.delete)?.execute(params_from_iter(key))?;
        }
        Ok(())
    }
}

/// A value that is one word in JSON, as that word.
fn word(value: &impl Serialize) -> Result<String, serde_json::Error> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(word) => Ok(word),
        other => Ok(other.to_string()),
    }
}
