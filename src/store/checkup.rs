//! Looking the whole database through, for `doctor`.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{ErrorCode, OptionalExtension as _, Row};

use super::error::{Cause, StoreError};
use super::observe::LookFilter;
use super::read::{AUDIT_COLUMNS, Fault, Reader, audit_row, json};
use crate::ambient::monotonic;
use crate::engine::audit::Trouble;
use crate::engine::memory::{Progress, RuleMemory, Subject, TaskMemory};

/// The most faults that are kept by themselves; the others are counted.
const FAULTS: usize = 5;

/// How a database is that was looked through.
#[derive(Debug, Default)]
pub struct Checkup {
    /// The number of its layout.
    pub layout: u32,
    /// How many bytes hold something.
    pub used: u64,
    /// How many bytes of the file hold nothing.
    pub free: u64,
    /// The oldest audit row that may go for its age.
    pub oldest_audit: Option<Timestamp>,
    /// The oldest look that may go for its age.
    pub oldest_seen: Option<Timestamp>,
    /// How many rows were read.
    pub rows: u64,
    /// What the database finds wrong with itself.
    pub damage: Option<String>,
    /// Rows that cannot be read, the first few of them.
    pub unreadable: Vec<StoreError>,
    /// How many there are.
    pub unreadable_count: u64,
    /// Whether the time ran out before all was looked at.
    pub unfinished: bool,
}

/// Rows that must be understood besides being whole. The first column names them.
struct Entries {
    table: &'static str,
    sql: &'static str,
    parse: fn(&Row<'_>) -> Result<(), Fault>,
}

/// What the daemon cannot start without.
const MEMORY: &[Entries] = &[
    Entries {
        table: "task",
        sql: "SELECT server || ' ' || kind || ' ' || id, json FROM task",
        parse: |row| json::<TaskMemory>(row, 1).map(drop),
    },
    Entries {
        table: "progress",
        sql: "SELECT server || ' ' || subject || ' ' || rule, subject, json FROM progress",
        parse: |row| json::<Subject>(row, 1).and(json::<Progress>(row, 2)).map(drop),
    },
    Entries {
        table: "rule",
        sql: "SELECT server || ' ' || rule, json FROM rule",
        parse: |row| json::<RuleMemory>(row, 1).map(drop),
    },
    Entries {
        table: "server",
        sql: "SELECT server, json FROM server",
        parse: |row| json::<serde_json::Value>(row, 1).map(drop),
    },
];

const TROUBLE: Entries = Entries {
    table: "trouble",
    sql: "SELECT intent, what FROM trouble",
    parse: |row| json::<Trouble>(row, 1).map(drop),
};

/// What ends looking before its end.
enum End {
    TimeIsUp,
    Damaged(String),
    Failed(Cause),
}

impl From<Cause> for End {
    fn from(cause: Cause) -> Self {
        match &cause {
            Cause::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::OperationInterrupted) => Self::TimeIsUp,
                Some(ErrorCode::DatabaseCorrupt) => Self::Damaged(error.to_string()),
                _ => Self::Failed(cause),
            },
            _ => Self::Failed(cause),
        }
    }
}

impl From<rusqlite::Error> for End {
    fn from(error: rusqlite::Error) -> Self {
        Cause::Sql(error).into()
    }
}

impl Reader {
    /// Looks the database through: what is remembered, whether the file is whole, then all that was
    /// written down; for `budget` at most. A daemon that writes meanwhile is not kept waiting.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be looked at. What is wrong with it stands in the
    /// [`Checkup`].
    pub fn check_up(&self, budget: Duration) -> Result<Checkup, StoreError> {
        let until = monotonic() + budget;
        let mut found = Checkup::default();
        // Who checks a whole file cannot be asked to stop but from beside it.
        let (done, ended) = mpsc::channel::<()>();
        let handle = self.connection.get_interrupt_handle();
        let end = std::thread::scope(|scope| {
            scope.spawn(move || {
                if ended.recv_timeout(budget) == Err(RecvTimeoutError::Timeout) {
                    handle.interrupt();
                }
            });
            let end = self.look_through(until, &mut found);
            drop(done);
            end
        });
        match end {
            Ok(()) => {}
            Err(End::TimeIsUp) => found.unfinished = true,
            Err(End::Damaged(what)) => found.damage = Some(what),
            Err(End::Failed(cause)) => return Err(cause.at(&self.path)),
        }
        Ok(found)
    }

    fn look_through(&self, until: Instant, found: &mut Checkup) -> Result<(), End> {
        let number = |name: &str| -> Result<u64, rusqlite::Error> {
            let number: i64 = self.connection.pragma_query_value(None, name, |row| row.get(0))?;
            Ok(u64::try_from(number).unwrap_or(0))
        };
        found.layout = u32::try_from(number("user_version")?).unwrap_or(u32::MAX);
        let page = number("page_size")?;
        found.free = number("freelist_count")? * page;
        found.used = (number("page_count")? * page).saturating_sub(found.free);
        for entries in MEMORY {
            self.read_all(entries, until, found)?;
        }
        let whole: String =
            self.connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if whole != "ok" {
            return Err(End::Damaged(whole));
        }
        // The same that pruning leaves out.
        found.oldest_audit = self.oldest(
            "SELECT time FROM audit WHERE id < (SELECT max(id) FROM audit) \
             AND NOT (mode = 'live' AND outcome = 'planned') ORDER BY time LIMIT 1",
        )?;
        found.oldest_seen = self.oldest(
            "SELECT time FROM look WHERE NOT kept AND number < (SELECT max(number) FROM look) \
             ORDER BY time LIMIT 1",
        )?;
        let sql = format!("SELECT {AUDIT_COLUMNS} FROM audit");
        self.read_rows("audit", &sql, |row| audit_row(row).map(drop), until, found)?;
        self.read_all(&TROUBLE, until, found)?;
        let looks = self.looks_each(&LookFilter::default(), |look| {
            found.rows += 1 + look.seen.len() as u64;
            if monotonic() < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match looks {
            Ok(()) if monotonic() < until => Ok(()),
            Ok(()) => Err(End::TimeIsUp),
            // It was whole a moment ago.
            Err(StoreError::Failed { .. }) if monotonic() >= until => Err(End::TimeIsUp),
            Err(error) => {
                found.cannot_read(error);
                Ok(())
            }
        }
    }

    fn oldest(&self, sql: &str) -> Result<Option<Timestamp>, End> {
        let time: Option<i64> = self.connection.query_row(sql, (), |row| row.get(0)).optional()?;
        Ok(time.and_then(|time| Timestamp::from_microsecond(time).ok()))
    }

    fn read_all(&self, entries: &Entries, until: Instant, found: &mut Checkup) -> Result<(), End> {
        self.read_rows(entries.table, entries.sql, entries.parse, until, found)
    }

    fn read_rows(
        &self,
        table: &'static str,
        sql: &str,
        parse: impl Fn(&Row<'_>) -> Result<(), Fault>,
        until: Instant,
        found: &mut Checkup,
    ) -> Result<(), End> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            found.rows += 1;
            if let Err(source) = parse(row) {
                let key = match row.get(0)? {
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => text,
                    _ => String::new(),
                };
                found.cannot_read(Cause::Row { table, key, source }.at(&self.path));
            }
            if found.rows.is_multiple_of(256) && monotonic() >= until {
                return Err(End::TimeIsUp);
            }
        }
        Ok(())
    }
}

impl Checkup {
    fn cannot_read(&mut self, error: StoreError) {
        self.unreadable_count += 1;
        if self.unreadable.len() < FAULTS {
            self.unreadable.push(error);
        }
    }
}
