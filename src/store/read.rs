//! Reading what is stored: the memory of a server, and the audit log.

use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::de::DeserializeOwned;

use super::database::{self, DATABASE, MIGRATIONS};
use super::error::{Cause, OpenError, StoreError};
use crate::ambient::monotonic;
use crate::engine::audit::{AuditRow, IntentId, Outcome};
use crate::engine::memory::{Changes, Subject, TaskMemory};
use crate::engine::rule::Mode;
use crate::engine::task::{Kind, RuleName, ServerName, TaskId};

/// A look into the store, also beside a daemon that is running. It never keeps a writer waiting.
///
/// Its calls read the disk; async code makes them on a thread of their own.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

/// Which audit rows are asked for: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Of this server.
    pub server: Option<ServerName>,
    /// Of this rule.
    pub rule: Option<RuleName>,
    /// With this action or event.
    pub action: Option<String>,
    /// Of this queue.
    pub kind: Option<Kind>,
    /// On this task.
    pub task_id: Option<TaskId>,
    /// With one of these outcomes; empty is any.
    pub outcomes: Vec<Outcome>,
    /// In this mode.
    pub mode: Option<Mode>,
    /// Only what comes after this one when the newest come first.
    pub beyond: Option<(Timestamp, IntentId)>,
    /// At most so many: the first ones in the order asked for.
    pub limit: Option<u32>,
    /// Whether the newest come first; else the oldest do.
    pub newest_first: bool,
}

/// How many audit rows are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The server.
    pub server: ServerName,
    /// The rule.
    pub rule: RuleName,
    /// The action or event.
    pub action: String,
    /// Whether it was meant in earnest.
    pub mode: Mode,
    /// What came of it.
    pub outcome: Outcome,
    /// How many.
    pub count: u64,
}

pub(super) type Fault = Box<dyn Error + Send + Sync>;

impl Reader {
    /// Opens the store of a state folder for reading; takes no lock.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when no daemon has run there yet, and what else keeps it from being
    /// read.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(DATABASE);
        Ok(Self { connection: database::open_read_only(&path, MIGRATIONS)?, path })
    }

    /// Ends what is read through it once so much time has passed, counted from now: with
    /// [`StoreError::TooLong`].
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn within(mut self, time: Duration) -> Result<Self, StoreError> {
        /// Steps of the database between two looks at the clock: a fraction of a millisecond.
        const STEPS: i32 = 10_000;
        let began = monotonic();
        let is_over = move || began.elapsed() > time;
        let set = self.connection.progress_handler(STEPS, Some(is_over));
        set.map_err(|error| Cause::Sql(error).at(&self.path))?;
        Ok(self)
    }

    /// Everything remembered of a server, for
    /// [`Memory::restore`](crate::engine::memory::Memory::restore). Takes some microseconds an entry,
    /// so with many thousands of tasks it is better done beside the first poll than before it.
    ///
    /// # Errors
    /// [`StoreError::Row`] for an entry that cannot be read, and whatever the disk does.
    pub fn load(&self, server: &ServerName) -> Result<Changes, StoreError> {
        // Many tasks failed alike, and many are dealt with by the same rule.
        let (mut errors, mut names) = (HashSet::new(), HashSet::new());
        let mut load = || {
            Ok(Changes {
                tasks: self.entries("task", "kind, id, json", server, |row| {
                    let (kind, id) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                    let mut task: TaskMemory = json(row, 2)?;
                    task.last_error = once(&mut errors, task.last_error);
                    Ok((Kind::from(kind), TaskId::from(id), Some(task)))
                })?,
                progress: self.entries("progress", "subject, rule, json", server, |row| {
                    let rule = once(&mut names, RuleName::from(row.get_ref(1)?.as_str()?));
                    Ok((json::<Subject>(row, 0)?, rule, Some(json(row, 2)?)))
                })?,
                rules: self.entries("rule", "rule, json", server, |row| {
                    Ok((RuleName::from(row.get_ref(0)?.as_str()?), Some(json(row, 1)?)))
                })?,
            })
        };
        load().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// What is remembered of one task and of all rules, for
    /// [`Memory::restore`](crate::engine::memory::Memory::restore). `subjects` are what rules may
    /// count its attempts on.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn load_one(
        &self,
        server: &ServerName,
        (kind, id): (&Kind, &TaskId),
        subjects: &[Subject],
    ) -> Result<Changes, StoreError> {
        let load = || {
            let mut changes = Changes::default();
            changes.tasks.extend(self.task_entry(server, kind, id)?);
            let sql = "SELECT rule, json FROM progress WHERE server = ?1 AND subject = ?2";
            let mut statement = self.connection.prepare(sql)?;
            for subject in subjects {
                let text = serde_json::to_string(subject)?;
                let mut rows = statement.query([server.as_str(), &text])?;
                while let Some(row) = rows.next()? {
                    let read = || {
                        let rule = RuleName::from(row.get_ref(0)?.as_str()?);
                        Ok((subject.clone(), rule, Some(json(row, 1)?)))
                    };
                    changes.progress.push(read().map_err(|source| Cause::Row {
                        table: "progress",
                        key: text.clone(),
                        source,
                    })?);
                }
            }
            changes.rules = self.entries("rule", "rule, json", server, |row| {
                Ok((RuleName::from(row.get_ref(0)?.as_str()?), Some(json(row, 1)?)))
            })?;
            Ok(changes)
        };
        load().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// What is remembered of the tasks of a server that rules have given up, for
    /// [`Memory::dead_letters`](crate::engine::memory::Memory::dead_letters).
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn load_given_up(&self, server: &ServerName) -> Result<Changes, StoreError> {
        let load = || {
            let mut changes = Changes::default();
            // A quotation mark inside a text is written otherwise, so only the field is found so.
            let sql = "SELECT subject, rule, json FROM progress \
                       WHERE server = ?1 AND instr(json, '\"gave_up\":{') > 0";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([server.as_str()])?;
            while let Some(row) = rows.next()? {
                let read = || {
                    let rule = RuleName::from(row.get_ref(1)?.as_str()?);
                    Ok((json::<Subject>(row, 0)?, rule, Some(json(row, 2)?)))
                };
                let entry = read().map_err(|source| Cause::Row {
                    table: "progress",
                    key: row.get(0).unwrap_or_default(),
                    source,
                })?;
                if let Subject::Task(kind, id) = &entry.0 {
                    changes.tasks.extend(self.task_entry(server, kind, id)?);
                }
                changes.progress.push(entry);
            }
            Ok(changes)
        };
        load().map_err(|cause: Cause| cause.at(&self.path))
    }

    fn task_entry(
        &self,
        server: &ServerName,
        kind: &Kind,
        id: &TaskId,
    ) -> Result<Option<(Kind, TaskId, Option<TaskMemory>)>, Cause> {
        let sql = "SELECT json FROM task WHERE server = ?1 AND kind = ?2 AND id = ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([server.as_str(), kind.as_str(), id.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let entry = json(row, 0).map_err(|source| Cause::Row {
            table: "task",
            key: format!("{kind} {id}"),
            source,
        })?;
        Ok(Some((kind.clone(), id.clone(), Some(entry))))
    }

    /// What rules did since a moment, counted.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn tally(&self, since: Timestamp) -> Result<Vec<Tally>, StoreError> {
        let read = || {
            let sql = "SELECT server, rule, action, mode, outcome, count(*) FROM audit \
                       WHERE time >= ?1 AND rule IS NOT NULL GROUP BY 1, 2, 3, 4, 5";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([since.as_microsecond()])?;
            let mut tallies = Vec::new();
            while let Some(row) = rows.next()? {
                let read = || {
                    Ok(Tally {
                        server: ServerName::from(row.get_ref(0)?.as_str()?),
                        rule: RuleName::from(row.get_ref(1)?.as_str()?),
                        action: row.get(2)?,
                        mode: word(row.get_ref(3)?.as_str()?)?,
                        outcome: row.get_ref(4)?.as_str()?.parse()?,
                        count: u64::try_from(row.get::<_, i64>(5)?)?,
                    })
                };
                tallies.push(read().map_err(|source: Fault| Cause::Row {
                    table: "audit",
                    key: String::new(),
                    source,
                })?);
            }
            Ok(tallies)
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// What was last stored as the state of a server, see
    /// [`WriteBatch::server_state`](super::WriteBatch::server_state).
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn server_state(
        &self,
        server: &ServerName,
    ) -> Result<Option<serde_json::Value>, StoreError> {
        let states = self.entries("server", "json", server, |row| json(row, 0));
        Ok(states.map_err(|cause| cause.at(&self.path))?.pop())
    }

    /// The servers that rules have dealt with.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn servers(&self) -> Result<Vec<ServerName>, StoreError> {
        let load = || {
            let sql = "SELECT server FROM progress UNION SELECT server FROM rule ORDER BY 1";
            let mut statement = self.connection.prepare(sql)?;
            let rows =
                statement.query_map((), |row| Ok(ServerName::from(row.get_ref(0)?.as_str()?)))?;
            rows.collect::<Result<Vec<_>, _>>().map_err(Cause::from)
        };
        load().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// The audit rows that match, by time.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut rows = Vec::new();
        self.audit_each(filter, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// Hands out the audit rows that match, by time, one by one until `take` breaks; holds no more
    /// than one in memory.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn audit_each(
        &self,
        filter: &AuditFilter,
        mut take: impl FnMut(AuditRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (sql, values) = filter.query();
        self.audit_rows(&sql, &values, &mut take)
    }

    /// The audit rows with these numbers, but for those that are not there any more.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn audit_rows_of(&self, ids: &BTreeSet<IntentId>) -> Result<Vec<AuditRow>, StoreError> {
        let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE id = ?");
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            self.audit_rows(&sql, &[id.0.into()], &mut |row| {
                rows.push(row);
                ControlFlow::Continue(())
            })?;
        }
        Ok(rows)
    }

    /// The size of the store on the disk, in bytes.
    ///
    /// # Errors
    /// [`StoreError`] when the file is not there any more.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let size = |path: &Path| Ok::<u64, std::io::Error>(std::fs::metadata(path)?.len());
        let database = size(&self.path).map_err(|error| Cause::Io(error).at(&self.path))?;
        Ok(database + size(&self.path.with_extension("db-wal")).unwrap_or(0))
    }

    /// The rows of a table that belong to a server. The last of `columns` is the entry, those before
    /// it are its key.
    fn entries<T>(
        &self,
        table: &'static str,
        columns: &str,
        server: &ServerName,
        mut parse: impl FnMut(&Row<'_>) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Cause> {
        let sql = format!("SELECT {columns} FROM {table} WHERE server = ?1");
        let mut statement = self.connection.prepare(&sql)?;
        let keys = statement.column_count() - 1;
        let mut rows = statement.query([server.as_str()])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(parse(row).map_err(|source| {
                let key: Vec<String> =
                    (0..keys).map(|index| row.get(index).unwrap_or_default()).collect();
                Cause::Row { table, key: key.join(" "), source }
            })?);
        }
        Ok(entries)
    }

    fn audit_rows(
        &self,
        sql: &str,
        values: &[Value],
        take: &mut dyn FnMut(AuditRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                let audit = audit_row(row).map_err(|source| {
                    let key = row.get::<_, i64>(0).unwrap_or_default().to_string();
                    Cause::Row { table: "audit", key, source }
                })?;
                if take(audit).is_break() {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl AuditFilter {
    fn query(&self) -> (String, Vec<Value>) {
        let mut sql = format!("SELECT {AUDIT_COLUMNS} FROM audit WHERE true");
        let mut values = Vec::new();
        let mut hold = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        };
        let moment = |time: Option<Timestamp>| time.map(|time| time.as_microsecond().into());
        hold("time >= ?", moment(self.since));
        hold("time < ?", moment(self.until));
        hold("server = ?", self.server.as_ref().map(|server| server.to_string().into()));
        hold("rule = ?", self.rule.as_ref().map(|rule| rule.to_string().into()));
        hold("action = ?", self.action.clone().map(Value::from));
        hold("kind = ?", self.kind.as_ref().map(|kind| kind.to_string().into()));
        hold("task_id = ?", self.task_id.as_ref().map(|id| id.to_string().into()));
        hold("mode = ?", self.mode.map(|mode| mode.to_string().into()));
        if let Some((time, id)) = self.beyond {
            sql.push_str(" AND (time, id) < (?, ?)");
            values.extend([time.as_microsecond().into(), id.0.into()]);
        }
        if !self.outcomes.is_empty() {
            sql.push_str(" AND outcome IN (?");
            sql.push_str(&", ?".repeat(self.outcomes.len() - 1));
            sql.push(')');
            values.extend(self.outcomes.iter().map(|outcome| outcome.to_string().into()));
        }
        sql.push_str(if self.newest_first {
            " ORDER BY time DESC, id DESC"
        } else {
            " ORDER BY time, id"
        });
        if let Some(limit) = self.limit {
            sql.push_str(" LIMIT ?");
            values.push(i64::from(limit).into());
        }
        (sql, values)
    }
}

/// The columns of an audit row, in the order in which [`audit_row`] reads them.
pub(super) const AUDIT_COLUMNS: &str = "id, time, server, rule, action, kind, task_id, task_name, \
     attempt, reason, error, class, mode, outcome, detail, rules_revision";

pub(super) fn audit_row(row: &Row<'_>) -> Result<AuditRow, Fault> {
    Ok(AuditRow {
        id: IntentId(row.get(0)?),
        time: Timestamp::from_microsecond(row.get(1)?)?,
        server: ServerName::from(row.get_ref(2)?.as_str()?),
        rule: row.get_ref(3)?.as_str_or_null()?.map(RuleName::from),
        action: row.get(4)?,
        kind: row.get_ref(5)?.as_str_or_null()?.map(Kind::from),
        task_id: row.get_ref(6)?.as_str_or_null()?.map(TaskId::from),
        task_name: row.get(7)?,
        attempt: row.get(8)?,
        reason: row.get(9)?,
        error: row.get(10)?,
        class: row.get_ref(11)?.as_str_or_null()?.map(word).transpose()?,
        mode: word(row.get_ref(12)?.as_str()?)?,
        outcome: row.get_ref(13)?.as_str()?.parse()?,
        detail: row.get(14)?,
        rules_revision: row.get(15)?,
    })
}

/// A value that is one word in JSON.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::from(text))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    Ok(serde_json::from_str(row.get_ref(column)?.as_str()?)?)
}

/// A text in the form in which it came first: what many rows have is kept once.
fn once<T: Clone + Eq + Hash>(known: &mut HashSet<T>, text: T) -> T {
    if let Some(known) = known.get(&text) {
        return known.clone();
    }
    known.insert(text.clone());
    text
}
