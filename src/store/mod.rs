//! The store: what must outlive the process, in an embedded database in the state folder.
//!
//! Speaks of tasks, intents and outcomes; that it is SQLite stays inside, so that another database can
//! take its place. It keeps what it is given and decides nothing; it reads no clock.
//!
//! A state folder holds `taskwarden.db` (with `-wal` and `-shm` beside it), `lock`, and after a change
//! of layout `taskwarden.db.vN.bak`.

mod backup;
mod checkup;
mod database;
mod error;
mod observe;
mod past;
mod prune;
mod queue;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use backup::{BackupError, backup};
pub use checkup::Checkup;
pub use database::{BUSY_WAIT, DATABASE, Lock, lock_of, try_to_write};
pub use error::{OpenError, Source, StoreError};
pub use observe::LookFilter;
pub use prune::{Keep, Pruned};
pub use read::{AuditFilter, Reader, Tally};
pub use write::{Shown, Store, WriteBatch};
