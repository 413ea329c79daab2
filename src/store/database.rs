//! The state folder, its lock, and the database file: opening, telling it from others, migrating.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{Cause, OpenError};

/// The database's name in the state folder.
pub const DATABASE: &str = "taskwarden.db";

/// How long a write or a read waits for another program to unlock the database.
pub const BUSY_WAIT: Duration = Duration::from_secs(2);

/// The steps from an empty file to the present layout; a file's `user_version` counts those it has.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
];

/// With this a commit is on the disk when it is answered.
const SYNCHRONOUS: &str = "full";

/// Marks the file as ours: `twdn`.
const APPLICATION_ID: i64 = 0x7477_646e;

/// Creates the state folder if need be, for this user alone: audit rows hold the names of tasks.
pub(super) fn create_folder(dir: &Path) -> Result<(), Cause> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    Ok(builder.create(dir)?)
}

/// Options that make a new file readable by this user alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes this process the only daemon of the folder for as long as the file is kept open; the system
/// lets go of the lock however the process ends.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let failed = |error: io::Error| OpenError::Store(Cause::Io(error).at(&path));
    let mut file = private().open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            return Err(OpenError::Locked { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let note = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(failed)?;
    Ok(file)
}

/// Whether a daemon works with a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// None does.
    Free,
    /// One does, in this process if that could be read.
    Held(Option<u32>),
}

/// Looks whether a daemon works with a state folder; creates nothing.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn lock_of(dir: &Path) -> io::Result<Lock> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Free),
        Err(error) => return Err(error),
    };
    // Held for this moment only; a shared one keeps no second reader out.
    match file.try_lock_shared() {
        Ok(()) => Ok(Lock::Free),
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
            Ok(Lock::Held(pid))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether this user can make files in a state folder, found out by making one and taking it away.
///
/// # Errors
/// Why not.
pub fn try_to_write(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    private().create_new(true).open(&path)?;
    fs::remove_file(path)
}

/// Opens the database for writing, in the present layout, and creates it if need be.
pub(super) fn open(path: &Path, migrations: &[&str]) -> Result<Connection, OpenError> {
    let at = |cause: Cause| OpenError::Store(cause.at(path));
    // SQLite would create it readable by all, and gives the files beside it the rights of this one.
    private().open(path).map_err(|error| at(error.into()))?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(at)?;
    let found = layout(&connection, path)?;
    let known = latest(migrations);
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    give_back_room(&connection).map_err(at)?;
    prepare(&connection).map_err(at)?;
    if found < known {
        migrate(&mut connection, path, migrations, found).map_err(at)?;
    } else {
        prove_writable(&mut connection, path, known).map_err(at)?;
    }
    Ok(connection)
}

/// Opens the database for reading, beside a daemon that may be writing.
pub(super) fn open_read_only(path: &Path, migrations: &[&str]) -> Result<Connection, OpenError> {
    let at = |cause: Cause| OpenError::Store(cause.at(path));
    let missing = || OpenError::Missing { path: path.to_owned() };
    match fs::metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(at(error.into())),
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(at)?;
    let known = latest(migrations);
    match layout(&connection, path)? {
        0 => Err(missing()),
        found if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        found if found < known => Err(OpenError::Older { path: path.to_owned(), found, known }),
        _ => Ok(connection),
    }
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Cause> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn latest(migrations: &[&str]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

/// The layout of a database of ours, 0 for an empty file.
fn layout(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    // Both numbers are signed, and another program's may be negative.
    let read = || -> Result<(i64, i64, bool), rusqlite::Error> {
        Ok((
            connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
            connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
            connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", (), |row| {
                row.get(0)
            })?,
        ))
    };
    match read().map_err(|error| Cause::Sql(error).at(path))? {
        (APPLICATION_ID, version, _) => Ok(u32::try_from(version).unwrap_or(u32::MAX)),
        (0, 0, true) => Ok(0),
        _ => Err(OpenError::NotOurs { path: path.to_owned() }),
    }
}

/// Has the file shrink when rows go. That must be said before the first table is made; a file that
/// was made without is written anew.
fn give_back_room(connection: &Connection) -> Result<(), Cause> {
    const INCREMENTAL: i64 = 2;
    let mode: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if mode != INCREMENTAL {
        connection.execute_batch("PRAGMA auto_vacuum = incremental; VACUUM")?;
    }
    Ok(())
}

/// Writes the database into a file that is empty, as it is at this moment and without free pages.
pub(super) fn copy_into(connection: &Connection, path: &Path) -> Result<(), Cause> {
    // As bytes, since a path need not be Unicode.
    connection.execute("VACUUM INTO CAST(?1 AS TEXT)", [path.as_os_str().as_encoded_bytes()])?;
    Ok(())
}

/// Sets up a connection that writes.
fn prepare(connection: &Connection) -> Result<(), Cause> {
    if connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(Cause::OpenedReadOnly);
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Cause::NoWriteAheadLog);
    }
    connection.pragma_update(None, "synchronous", SYNCHRONOUS)?;
    // Without it macOS only hands the data to the drive. Does nothing elsewhere.
    connection.pragma_update(None, "fullfsync", true)?;
    // In KiB. What is written comes in the order of the keys, so that few pages are needed at a time; a first look at
    // a long list would fill four times as much, and it would stay.
    connection.pragma_update(None, "cache_size", -512)?;
    // A long read can make the log grow; this gives the room back, in bytes.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    Ok(())
}

/// Writes what is there already, since opening alone succeeds on a database that another program
/// holds locked, and on a full disk. If that is lost, nothing is, so no disk is waited for:
/// - A log that is empty, as after an orderly end, is begun without a sync. Nothing older can be taken for a part of it,
///   and the next write syncs all of it, and that it is there.
/// - One that is begun anew over what it held is synced as ever.
/// - A long one, as a daemon leaves that is killed after a first look at many tasks, is not copied into the
///   database now but with the next write.
fn prove_writable(connection: &mut Connection, path: &Path, layout: u32) -> Result<(), Cause> {
    /// As SQLite has it, in pages.
    const LONG_LOG: u32 = 1000;
    let is_empty = fs::metadata(path.with_extension("db-wal")).is_ok_and(|log| log.len() == 0);
    connection.pragma_update(None, "synchronous", if is_empty { "off" } else { "normal" })?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "user_version", layout)?;
    transaction.commit()?;
    connection.pragma_update(None, "wal_autocheckpoint", LONG_LOG)?;
    Ok(connection.pragma_update(None, "synchronous", SYNCHRONOUS)?)
}

/// Brings the database from layout `found` to the last one, whole or not at all, after a copy.
fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
    found: u32,
) -> Result<(), Cause> {
    if found > 0 {
        let copy = path.with_extension(format!("db.v{found}.bak"));
        // One that is there is of a migration that did not come to its end.
        let file = private().truncate(true).open(&copy)?;
        copy_into(connection, &copy)?;
        file.sync_all()?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in migrations.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", latest(migrations))?;
    Ok(transaction.commit()?)
}

/// The open files of a database, to notice when their names no longer lead to them.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, FileId)>);

/// Device and number of a file where the system has them.
type FileId = (u64, u64);

impl Files {
    /// Those of a database that is open for writing and was read from.
    pub(super) fn of(path: &Path) -> Result<Self, Cause> {
        let log = path.with_extension("db-wal");
        let ids = [path.to_owned(), log].into_iter().map(|path| {
            let id = file_id(&path)?;
            Ok((path, id))
        });
        Ok(Self(ids.collect::<Result<_, Cause>>()?))
    }

    /// Holds that each name still leads to its file.
    pub(super) fn check(&self) -> Result<(), Cause> {
        for (path, id) in &self.0 {
            match file_id(path) {
                Ok(found) if found == *id => {}
                Ok(_) => return Err(Cause::Moved(path.clone())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(Cause::Moved(path.clone()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        Ok((0, 0))
    }
}
