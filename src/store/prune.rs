//! Taking old rows away, a few at a time, on the connection that writes.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior};

use super::error::Cause;

/// How many rows go in one step: few enough that a write that comes meanwhile waits a few
/// milliseconds at most.
const ROWS: i64 = 200;

/// How many free pages are given back to the file system in one step.
const PAGES: i64 = 128;

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Audit rows from this moment on; `None` for all.
    pub audit_since: Option<Timestamp>,
    /// What was seen from this moment on, and the last look at each task that is still listed;
    /// `None` for all.
    pub seen_since: Option<Timestamp>,
    /// So many bytes at most, the oldest rows going first. What is remembered of tasks counts and
    /// stays.
    pub size: Option<u64>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows were taken away.
    pub rows: u64,
    /// How many bytes were given back to the file system.
    pub bytes: u64,
}

/// A table whose rows go with time.
struct Aging {
    /// From which moment on its rows are kept.
    since: fn(&Keep) -> Option<Timestamp>,
    /// Deletes at most `?2` rows from before `?1`, in microseconds since 1970, oldest first.
    delete: &'static str,
    /// Done with the same two when nothing is left to delete; empty for nothing.
    then: &'static str,
}

/// In the order in which they give way when the store is too large.
const AGING: &[Aging] = &[
    // The last that was seen of a task that is still listed stays: it is how the task is.
    Aging {
        since: |keep| keep.seen_since,
        delete: "DELETE FROM observation WHERE (look, task) IN (\
                     SELECT o.look, o.task FROM look JOIN observation AS o ON o.look = look.number \
                     WHERE look.time < ?1 AND NOT look.kept AND (o.state IS NULL OR EXISTS (\
                         SELECT 1 FROM observation AS n WHERE n.task = o.task AND n.look > o.look)) \
                     ORDER BY look.time LIMIT ?2)",
        // So that the next step need not look at all of them again.
        then: "UPDATE look SET kept = 1 WHERE number IN (\
                   SELECT number FROM look WHERE time < ?1 AND NOT kept LIMIT 10 * ?2)",
    },
    Aging {
        since: |keep| keep.seen_since,
        delete: "DELETE FROM look WHERE number IN (\
                     SELECT number FROM look WHERE time < ?1 \
                     AND number < (SELECT max(number) FROM look) \
                     AND NOT EXISTS (SELECT 1 FROM observation WHERE look = number) \
                     ORDER BY time LIMIT ?2)",
        then: "",
    },
    Aging {
        since: |keep| keep.seen_since,
        delete: "DELETE FROM queue WHERE (server, time) IN (\
                     SELECT server, time FROM queue WHERE time < ?1 ORDER BY time LIMIT ?2)",
        then: "",
    },
    // The last number stays, since it must not be given out again; and so does what was perhaps sent
    // and was not judged yet.
    Aging {
        since: |keep| keep.audit_since,
        delete: "DELETE FROM audit WHERE id IN (\
                     SELECT id FROM audit WHERE time < ?1 AND id < (SELECT max(id) FROM audit) \
                     AND NOT (mode = 'live' AND outcome = 'planned') ORDER BY time LIMIT ?2)",
        then: "",
    },
];

/// Does one step; `None` when nothing is left to do. Rows go first, then the room they leave.
pub(super) fn step(connection: &mut Connection, keep: &Keep) -> Result<Option<Pruned>, Cause> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut rows = 0;
    for table in AGING {
        if let Some(since) = (table.since)(keep) {
            rows += delete(&transaction, table, since.as_microsecond())?;
        }
    }
    if let Some(size) = keep.size {
        for table in AGING {
            if rows == 0 && used(&transaction)? > size {
                rows += delete(&transaction, table, i64::MAX)?;
            }
        }
    }
    let mut bytes = 0;
    if rows == 0 {
        let before = pragma(&transaction, "page_count")?;
        // Each row that it answers with is a page that is free now.
        let mut vacuum = transaction.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut freed = vacuum.query(())?;
        while freed.next()?.is_some() {}
        drop(freed);
        drop(vacuum);
        let pages = before.saturating_sub(pragma(&transaction, "page_count")?);
        bytes = pages * pragma(&transaction, "page_size")?;
    }
    transaction.commit()?;
    Ok((rows > 0 || bytes > 0).then_some(Pruned { rows, bytes }))
}

fn delete(connection: &Connection, table: &Aging, before: i64) -> Result<u64, Cause> {
    let gone = connection.prepare_cached(table.delete)?.execute((before, ROWS))? as u64;
    if gone == 0 && !table.then.is_empty() {
        connection.prepare_cached(table.then)?.execute((before, ROWS))?;
    }
    Ok(gone)
}

/// How many bytes hold something.
fn used(connection: &Connection) -> Result<u64, Cause> {
    let pages = pragma(connection, "page_count")?;
    let pages = pages.saturating_sub(pragma(connection, "freelist_count")?);
    Ok(pages * pragma(connection, "page_size")?)
}

fn pragma(connection: &Connection, name: &str) -> Result<u64, Cause> {
    let number: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(u64::try_from(number).unwrap_or(0))
}
