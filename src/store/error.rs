//! What can go wrong with the state folder, by what is to be done about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::engine::audit::IntentId;

/// A cause, kept behind a pointer since one failed commit fails every request in it.
pub type Source = Arc<dyn Error + Send + Sync>;

/// The state folder cannot be opened. `run` ends with 78 on every one of these.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon works with this folder.
    #[error(
        "another taskwarden{} works with the state folder `{}`; stop it, or give this one a folder \
         of its own with --state-dir",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), .dir.display()
    )]
    Locked {
        /// The state folder.
        dir: PathBuf,
        /// The other one's process, if it could be read.
        pid: Option<u32>,
    },
    /// There is nothing to read yet. Only from [`super::Reader::open`].
    #[error(
        "there is no database `{}` yet: no daemon has run with this state folder; choose another \
         with --state-dir, or start one with `taskwarden run`",
        .path.display()
    )]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The file is an SQLite database of another program.
    #[error(
        "`{}` is a database of another program; choose another folder with --state-dir",
        .path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A later version of taskwarden has changed the database's layout.
    #[error(
        "`{}` has layout {found}, and this taskwarden knows up to {known}; run the newer \
         taskwarden again, or put back a `.bak` copy that it left beside the database",
        .path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The latest layout known here.
        known: u32,
    },
    /// The database waits for its migration, which only a daemon does. Only from
    /// [`super::Reader::open`].
    #[error(
        "`{}` has the old layout {found}, and {known} is needed; start `taskwarden run` once, \
         which migrates it",
        .path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its layout.
        found: u32,
        /// The layout needed.
        known: u32,
    },
    /// The folder or the database does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something could not be stored or read. A daemon that gets one from a write stops acting, since
/// what cannot be written down is not done, keeps polling, and tries the write again: the store works
/// again by itself once the cause is gone.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another program holds the database locked, for longer than [`super::BUSY_WAIT`].
    #[error(
        "another program holds the database `{}` locked; close it (a database browser, a backup?)",
        .path.display()
    )]
    Busy {
        /// The database.
        path: PathBuf,
        /// What the database said.
        source: Source,
    },
    /// No right to write, or a file system that is read-only.
    #[error(
        "cannot write to `{}`; give this user the right to write there and in its folder, or choose \
         another folder with --state-dir",
        .path.display()
    )]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Source,
    },
    /// No space left, or over quota.
    #[error("no space left to write `{}`; free some on its disk or raise the quota", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Source,
    },
    /// Not a database, or a damaged one.
    #[error(
        "`{}` is damaged or no database; put back a copy, or move it away to begin with an empty \
         one (attempts are then counted from zero)",
        .path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What the database said.
        source: Source,
    },
    /// The file that is open is no longer the one of this name: what is written to it would be lost.
    #[error(
        "`{}` was removed or replaced while it is in use; put it back, or restart taskwarden",
        .path.display()
    )]
    Moved {
        /// The file.
        path: PathBuf,
    },
    /// One entry cannot be read. It is not passed over: attempts would be forgotten with it.
    #[error(
        "the entry `{key}` of table `{table}` in `{}` cannot be read; a newer taskwarden wrote it, \
         or it is damaged; run that version, put back a copy of the file, or delete the entry",
        .path.display()
    )]
    Row {
        /// The database.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// The entry's key, without the server.
        key: String,
        /// What is wrong with it.
        source: Source,
    },
    /// The batch itself is wrong, which is a defect of the caller; it would fail again.
    #[error("these changes cannot be stored in `{}`", .path.display())]
    Batch {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        source: Source,
    },
    /// It took longer than the reader was given, see [`super::Reader::within`].
    #[error("`{}` holds too much to be looked through in the time there is", .path.display())]
    TooLong {
        /// The database.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot use `{}`", .path.display())]
    Failed {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: Source,
    },
    /// The thread that writes has ended, which it does only after a defect.
    #[error("the store has stopped; restart taskwarden")]
    Stopped,
}

/// What went wrong, before it is sorted and gets its path.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
    #[error("there is no audit row {0} to give an outcome to")]
    NoIntent(IntentId),
    #[error("entry {key} of {table}: {source}")]
    Row { table: &'static str, key: String, source: Box<dyn Error + Send + Sync> },
    #[error("{} is gone", .0.display())]
    Moved(PathBuf),
    #[error("the file could only be opened for reading")]
    OpenedReadOnly,
    #[error(
        "the file system does not allow a write-ahead log; put the state folder on a local disk"
    )]
    NoWriteAheadLog,
}

impl Cause {
    /// Sorts what happened while `path` was used.
    pub(super) fn at(self, path: &Path) -> StoreError {
        use io::ErrorKind as Kind;
        /// The file grew no further (`SQLITE_IOERR_SHMSIZE`).
        const NO_ROOM_FOR_INDEX: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

        let path = path.to_owned();
        match self {
            Self::Moved(path) => StoreError::Moved { path },
            Self::Row { table, key, source } => {
                StoreError::Row { path, table, key, source: source.into() }
            }
            Self::Encode(_) | Self::NoIntent(_) => {
                StoreError::Batch { path, source: self.shared() }
            }
            Self::OpenedReadOnly => StoreError::ReadOnly { path, source: self.shared() },
            Self::NoWriteAheadLog => StoreError::Failed { path, source: self.shared() },
            Self::Io(ref error) => match error.kind() {
                Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
                    StoreError::ReadOnly { path, source: self.shared() }
                }
                Kind::StorageFull | Kind::QuotaExceeded => {
                    StoreError::Full { path, source: self.shared() }
                }
                _ => StoreError::Failed { path, source: self.shared() },
            },
            Self::Sql(ref error) => {
                let extended = error.sqlite_error().map(|error| error.extended_code);
                match error.sqlite_error_code() {
                    _ if extended == Some(NO_ROOM_FOR_INDEX) => {
                        StoreError::Full { path, source: self.shared() }
                    }
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        StoreError::Busy { path, source: self.shared() }
                    }
                    Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                        StoreError::ReadOnly { path, source: self.shared() }
                    }
                    Some(ErrorCode::OperationInterrupted) => StoreError::TooLong { path },
                    Some(ErrorCode::DiskFull) => StoreError::Full { path, source: self.shared() },
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                        StoreError::Corrupt { path, source: self.shared() }
                    }
                    Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig) => {
                        StoreError::Batch { path, source: self.shared() }
                    }
                    _ => StoreError::Failed { path, source: self.shared() },
                }
            }
        }
    }

    fn shared(self) -> Source {
        Arc::new(self)
    }
}
