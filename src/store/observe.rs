//! What the lists showed: writing it down by its parts, each text once, and reading it back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use serde::{Deserialize, Serialize};

use super::error::{Cause, StoreError};
use super::read::{Fault, Reader};
use crate::engine::audit::{IntentId, Trouble};
use crate::engine::listing::Listing;
use crate::engine::moment::Moment;
use crate::engine::name::TaskName;
use crate::engine::observe::{After, Look, Observation};
use crate::engine::task::{Common, Flavour, Kind, ServerName, State, Task, TaskId};

/// What does not change about a task.
#[derive(Serialize, Deserialize)]
struct About {
    name: TaskName,
    creator: Arc<str>,
    roles: Arc<[i64]>,
}

/// Writes down what was seen.
pub(super) fn write(connection: &Connection, looks: &[Look]) -> Result<(), Cause> {
    let mut put = connection.prepare_cached(
        "INSERT INTO look (server, time, before, away, flavour, skew, unread, absent) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for look in looks {
        let (before, away) = match look.after {
            After::Look(at) => (Some(at), false),
            After::Away(at) => (Some(at), true),
            After::Start => (None, false),
        };
        let skew = i64::try_from(look.skew.as_millis()).unwrap_or(0);
        put.execute(params![
            look.server.as_str(),
            look.time.as_microsecond(),
            before.map(Timestamp::as_microsecond),
            away,
            serde_json::to_string(&look.flavour)?,
            skew,
            serde_json::to_string(&look.unread)?,
            serde_json::to_string(&look.absent)?,
        ])?;
        let number = connection.last_insert_rowid();
        for seen in &look.seen {
            write_one(connection, &look.server, number, seen)?;
        }
    }
    Ok(())
}

fn write_one(
    connection: &Connection,
    server: &ServerName,
    look: i64,
    seen: &Observation,
) -> Result<(), Cause> {
    let key = (server.as_str(), seen.kind.as_str(), seen.id.as_str());
    let known: Option<(i64, String)> = connection
        .prepare_cached(
            "SELECT number, about FROM seen_task WHERE server = ?1 AND kind = ?2 AND id = ?3",
        )?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut put = connection.prepare_cached(
        "INSERT OR REPLACE INTO observation \
         (look, task, state, started, ended, progress, bytes, error, status, still_since) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let Some(task) = &seen.task else {
        // What nothing was written down of leaves no gap.
        if let Some((number, _)) = known {
            let none = None::<i64>;
            put.execute(params![look, number, none, none, none, 0.0, 0, none, none, none])?;
            replace_kept(connection, look, number)?;
        }
        return Ok(());
    };
    let about = serde_json::to_string(&About {
        name: task.name.clone(),
        creator: task.creator.clone(),
        roles: task.roles.clone(),
    })?;
    let number = if let Some((number, before)) = known {
        if before != about {
            connection
                .prepare_cached("UPDATE seen_task SET about = ?2 WHERE number = ?1")?
                .execute((number, about))?;
        }
        number
    } else {
        connection
            .prepare_cached(
                "INSERT INTO seen_task (server, kind, id, about) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((key.0, key.1, key.2, about))?;
        connection.last_insert_rowid()
    };
    put.execute(params![
        look,
        number,
        task.state.to_string(),
        nanoseconds(task.started.map(Moment::get)),
        nanoseconds(task.ended.map(Moment::get)),
        task.progress,
        i64::try_from(task.total_bytes).unwrap_or(i64::MAX),
        text(connection, &task.error)?,
        text(connection, &task.status)?,
        nanoseconds(seen.still_since),
    ])?;
    replace_kept(connection, look, number)
}

/// Lets go of how a task was seen at a look that is kept for that only.
fn replace_kept(connection: &Connection, look: i64, task: i64) -> Result<(), Cause> {
    connection.prepare_cached(REPLACE_KEPT)?.execute((task, look))?;
    Ok(())
}

/// With `look IN (SELECT ...)` it would go through all looks for each row that is written.
pub(super) const REPLACE_KEPT: &str = "DELETE FROM observation WHERE task = ?1 AND look < ?2 \
     AND EXISTS (SELECT 1 FROM look WHERE number = observation.look AND kept)";

/// The number of a text, which is written down if it was not yet.
fn text(connection: &Connection, text: &str) -> Result<Option<i64>, Cause> {
    if text.is_empty() {
        return Ok(None);
    }
    let known = connection
        .prepare_cached("SELECT number FROM seen_text WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(known);
    }
    connection.prepare_cached("INSERT INTO seen_text (text) VALUES (?1)")?.execute([text])?;
    Ok(Some(connection.last_insert_rowid()))
}

/// Writes down which calls went wrong, and how.
pub(super) fn write_troubles(
    connection: &Connection,
    troubles: &[(IntentId, Trouble)],
) -> Result<(), Cause> {
    for (intent, trouble) in troubles {
        connection
            .prepare_cached("INSERT OR REPLACE INTO trouble (intent, what) VALUES (?1, ?2)")?
            .execute((intent.0, serde_json::to_string(trouble)?))?;
    }
    Ok(())
}

/// Servers list nanoseconds, and one run is told from the next by them.
fn nanoseconds(moment: Option<Timestamp>) -> Option<i64> {
    i64::try_from(moment?.as_nanosecond()).ok()
}

fn moment(nanoseconds: Option<i64>) -> Result<Option<Timestamp>, Fault> {
    Ok(nanoseconds.map(|n| Timestamp::from_nanosecond(i128::from(n))).transpose()?)
}

/// Which looks are asked for: those that match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct LookFilter {
    /// At this moment or later.
    pub since: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// At this server.
    pub server: Option<ServerName>,
    /// Of tasks of this queue only.
    pub kind: Option<Kind>,
    /// Of this task only.
    pub task: Option<TaskId>,
}

const COLUMNS: &str = "look.number, look.server, look.time, look.before, look.away, look.flavour, \
     look.skew, look.unread, look.absent, seen_task.kind, seen_task.id, seen_task.about, observation.state, \
     observation.started, observation.ended, observation.progress, observation.bytes, \
     error.text, status.text, observation.still_since, observation.task";

const JOINS: &str = "LEFT JOIN observation ON observation.look = look.number \
     LEFT JOIN seen_task ON seen_task.number = observation.task \
     LEFT JOIN seen_text AS error ON error.number = observation.error \
     LEFT JOIN seen_text AS status ON status.number = observation.status";

impl LookFilter {
    fn query(&self) -> (String, Vec<Value>) {
        let mut sql = format!("SELECT {COLUMNS} FROM look {JOINS} WHERE true");
        let mut values: Vec<Value> = Vec::new();
        let mut hold = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        };
        let moment = |time: Option<Timestamp>| time.map(|time| time.as_microsecond().into());
        hold("look.time >= ?", moment(self.since));
        hold("look.time < ?", moment(self.until));
        hold("look.server = ?", self.server.as_ref().map(|server| server.to_string().into()));
        hold("seen_task.kind = ?", self.kind.as_ref().map(|kind| kind.to_string().into()));
        hold(
            "observation.task IN (SELECT number FROM seen_task WHERE id = ?)",
            self.task.as_ref().map(|id| id.to_string().into()),
        );
        sql.push_str(" ORDER BY look.time, look.number");
        (sql, values)
    }
}

impl Reader {
    /// Hands out the looks that match, by time, one by one until `take` breaks. With `kind` or
    /// `task`, looks that show nothing of it are left out.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn looks_each(
        &self,
        filter: &LookFilter,
        mut take: impl FnMut(Look) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let (sql, values) = filter.query();
        let mut read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query(params_from_iter(&values))?;
            let mut current: Option<(i64, Look)> = None;
            // The same for all rows of a task, and dear to read.
            let mut abouts: BTreeMap<i64, (String, About)> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(0)?;
                let wrong = |source| Cause::Row { table: "look", key: number.to_string(), source };
                if current.as_ref().is_none_or(|(known, _)| *known != number) {
                    if let Some((_, done)) = current.take()
                        && take(done).is_break()
                    {
                        return Ok(());
                    }
                    current = Some((number, look(row).map_err(wrong)?));
                }
                if let Some((_, look)) = &mut current
                    && let Some(seen) = observation(row, 9, &mut abouts).map_err(wrong)?
                {
                    look.seen.push(seen);
                }
            }
            if let Some((_, done)) = current {
                let _ = take(done);
            }
            Ok(())
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// What was last seen of each task of a server that was then still listed, with the tasks of the lists as they
    /// are now where these are [still alike](Observation::as_listed).
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn last_seen(
        &self,
        server: &ServerName,
        listed: &BTreeMap<Kind, Listing>,
    ) -> Result<Vec<Observation>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM seen_task \
             JOIN observation ON observation.task = seen_task.number AND observation.look = \
                 (SELECT max(o.look) FROM observation AS o WHERE o.task = seen_task.number) \
             JOIN look ON look.number = observation.look \
             LEFT JOIN seen_text AS error ON error.number = observation.error \
             LEFT JOIN seen_text AS status ON status.number = observation.status \
             WHERE seen_task.server = ?1 AND observation.state IS NOT NULL"
        );
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([server.as_str()])?;
            let (mut seen, mut abouts) = (Vec::new(), BTreeMap::new());
            while let Some(row) = rows.next()? {
                let key = || row.get::<_, i64>(0).unwrap_or_default().to_string();
                let one = observation(row, 9, &mut abouts);
                abouts.clear();
                let one = one.map_err(|source| Cause::Row { table: "look", key: key(), source })?;
                seen.extend(one.map(|seen| seen.as_listed(listed)));
            }
            Ok(seen)
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// How a task was last seen before the look with this number; `None` when it was not, or had left
    /// the list.
    pub(super) fn seen_before(
        &self,
        (server, kind, id): (&ServerName, &Kind, &TaskId),
        look: i64,
    ) -> Result<Option<Arc<Task>>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM seen_task \
             JOIN observation ON observation.task = seen_task.number \
             JOIN look ON look.number = observation.look \
             LEFT JOIN seen_text AS error ON error.number = observation.error \
             LEFT JOIN seen_text AS status ON status.number = observation.status \
             WHERE seen_task.server = ?1 AND seen_task.kind = ?2 AND seen_task.id = ?3 \
             AND observation.look < ?4 ORDER BY observation.look DESC LIMIT 1"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut rows = statement.query((server.as_str(), kind.as_str(), id.as_str(), look))?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let seen = observation(row, 9, &mut BTreeMap::new());
            let wrong = |source| Cause::Row { table: "look", key: look.to_string(), source };
            Ok(seen.map_err(wrong)?.and_then(|seen| seen.task))
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// The number of the first look from a moment on; `None` when there is none before it.
    pub(super) fn first_look_since(&self, since: Timestamp) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT (SELECT number FROM look WHERE time >= ?1 ORDER BY time, number LIMIT 1) \
                   WHERE EXISTS (SELECT 1 FROM look WHERE time < ?1)";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([since.as_microsecond()])?;
            Ok(rows.next()?.map(|row| row.get(0)).transpose()?.flatten())
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// The actions whose calls went wrong, and how.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn troubles(&self) -> Result<BTreeMap<IntentId, Trouble>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare("SELECT intent, what FROM trouble")?;
            let mut rows = statement.query(())?;
            let mut troubles = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let (intent, what): (i64, String) = (row.get(0)?, row.get(1)?);
                let trouble = serde_json::from_str(&what).map_err(|error| Cause::Row {
                    table: "trouble",
                    key: intent.to_string(),
                    source: error.into(),
                })?;
                troubles.insert(IntentId(intent), trouble);
            }
            Ok(troubles)
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }

    /// The servers of which something was seen.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn seen_servers(&self) -> Result<Vec<ServerName>, StoreError> {
        let read = || {
            let sql = "SELECT DISTINCT server FROM look ORDER BY 1";
            let mut statement = self.connection.prepare(sql)?;
            let rows =
                statement.query_map((), |row| Ok(ServerName::from(row.get_ref(0)?.as_str()?)))?;
            rows.collect::<Result<Vec<_>, _>>().map_err(Cause::from)
        };
        read().map_err(|cause: Cause| cause.at(&self.path))
    }
}

fn look(row: &Row<'_>) -> Result<Look, Fault> {
    let before: Option<i64> = row.get(3)?;
    let after = match (before.map(Timestamp::from_microsecond).transpose()?, row.get(4)?) {
        (None, _) => After::Start,
        (Some(at), true) => After::Away(at),
        (Some(at), false) => After::Look(at),
    };
    Ok(Look {
        server: row.get_ref(1)?.as_str()?.into(),
        time: Timestamp::from_microsecond(row.get(2)?)?,
        after,
        flavour: serde_json::from_str::<Flavour>(row.get_ref(5)?.as_str()?)?,
        skew: SignedDuration::from_millis(row.get(6)?),
        unread: serde_json::from_str(row.get_ref(7)?.as_str()?)?,
        absent: serde_json::from_str(row.get_ref(8)?.as_str()?)?,
        seen: Vec::new(),
    })
}

/// Reads the columns of an observation, from `first` on; `None` when the look showed nothing.
fn observation(
    row: &Row<'_>,
    first: usize,
    abouts: &mut BTreeMap<i64, (String, About)>,
) -> Result<Option<Observation>, Fault> {
    let Some(kind) = row.get_ref(first)?.as_str_or_null()? else { return Ok(None) };
    let (kind, id) = (Kind::from(kind), TaskId::from(row.get_ref(first + 1)?.as_str()?));
    let Some(state) = row.get_ref(first + 3)?.as_str_or_null()? else {
        return Ok(Some(Observation { kind, id, task: None, still_since: None }));
    };
    let number: i64 = row.get(first + 11)?;
    let text = row.get_ref(first + 2)?.as_str()?;
    if abouts.get(&number).is_none_or(|(known, _)| known != text) {
        // Tasks come one after the other, and those that went do not come back.
        if abouts.len() > 20_000 {
            abouts.clear();
        }
        abouts.insert(number, (text.to_owned(), serde_json::from_str(text)?));
    }
    let about = &abouts[&number].1;
    let words = |column: usize| -> Result<Arc<str>, Fault> {
        Ok(row.get_ref(column)?.as_str_or_null()?.unwrap_or_default().into())
    };
    let task = Task {
        id: id.clone(),
        name: about.name.clone(),
        progress: row.get(first + 6)?,
        started: row.get::<_, Option<i64>>(first + 4)?.map(Moment::from_nanosecond),
        ended: row.get::<_, Option<i64>>(first + 5)?.map(Moment::from_nanosecond),
        total_bytes: u64::try_from(row.get::<_, i64>(first + 7)?).unwrap_or(0),
        common: Common {
            creator: about.creator.clone(),
            roles: about.roles.clone(),
            state: state.parse::<State>()?,
            status: words(first + 9)?,
            error: words(first + 8)?,
        }
        .into(),
    };
    let still_since = moment(row.get(first + 10)?)?;
    Ok(Some(Observation { kind, id, task: Some(task.into()), still_since }))
}
