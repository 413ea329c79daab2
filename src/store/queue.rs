//! How long the queues were over time.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{Cause, StoreError};
use super::read::{Fault, Reader};
use crate::engine::observe::QueueSample;
use crate::engine::task::ServerName;

pub(super) fn write(
    connection: &Connection,
    server: &ServerName,
    samples: &[QueueSample],
) -> Result<(), Cause> {
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO queue (server, time, tasks) VALUES (?1, ?2, ?3)")?;
    for sample in samples {
        let tasks = sample.tasks.as_ref().map(serde_json::to_string).transpose()?;
        put.execute(params![server.as_str(), sample.time.as_microsecond(), tasks])?;
    }
    Ok(())
}

impl Reader {
    /// How long the queues of a server were from `since` to `until`, by time; the first sample is the
    /// one that stood at `since`, if there was one.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn queue(
        &self,
        server: &ServerName,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<QueueSample>, StoreError> {
        let read = || {
            let before: Option<i64> = self
                .connection
                .prepare("SELECT max(time) FROM queue WHERE server = ?1 AND time <= ?2")?
                .query_row(params![server.as_str(), since.as_microsecond()], |row| row.get(0))
                .optional()?
                .flatten();
            let mut statement = self.connection.prepare(
                "SELECT time, tasks FROM queue WHERE server = ?1 AND time >= ?2 AND time < ?3 \
                 ORDER BY time",
            )?;
            let first = before.unwrap_or_else(|| since.as_microsecond());
            let mut rows =
                statement.query(params![server.as_str(), first, until.as_microsecond()])?;
            let mut samples = Vec::new();
            while let Some(row) = rows.next()? {
                samples.push(sample(row).map_err(|source| Cause::Row {
                    table: "queue",
                    key: server.to_string(),
                    source,
                })?);
            }
            Ok(samples)
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }
}

fn sample(row: &Row<'_>) -> Result<QueueSample, Fault> {
    let tasks = row.get_ref(1)?.as_str_or_null()?.map(serde_json::from_str).transpose()?;
    Ok(QueueSample { time: Timestamp::from_microsecond(row.get(0)?)?, tasks })
}
