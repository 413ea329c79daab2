//! A copy of the database, made beside a daemon that goes on writing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::database::{self, DATABASE, MIGRATIONS};
use super::error::{Cause, OpenError, StoreError};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is a file already.
    #[error("`{}` exists; name another file, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// It would take the place of what it is a copy of.
    #[error("`{}` lies among the store's own files; name a file in another folder", .0.display())]
    OwnFile(PathBuf),
    /// The store cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy cannot be written, or what was read is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy was made and is not whole.
    #[error(
        "the copy is damaged ({0}), and so is the store probably; keep the last good backup, and look \
         at the disk"
    )]
    Damaged(String),
}

/// The half-made copy, which is gone unless it became the backup.
struct Half(PathBuf);

impl Drop for Half {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies the store of a state folder into a file that this user alone can read, as it is at one
/// moment. A daemon may be at work meanwhile and is not kept waiting. The file appears when it is
/// whole and was looked through. Tells its size in bytes.
///
/// # Errors
/// [`BackupError`]; then `target` is as it was.
pub fn backup(dir: &Path, target: &Path, overwrite: bool) -> Result<u64, BackupError> {
    let source = dir.join(DATABASE);
    let at = |path: &Path, cause: Cause| BackupError::Store(cause.at(path));
    let failed = |error: io::Error| at(target, error.into());
    let (Some(name), folder) = (target.file_name(), target.parent()) else {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "this names no file")));
    };
    if target.symlink_metadata().is_ok() && !overwrite {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let connection = database::open_read_only(&source, MIGRATIONS)?;
    if fs::canonicalize(folder).map_err(failed)? == fs::canonicalize(dir).map_err(failed)?
        && name.as_encoded_bytes().starts_with(DATABASE.as_bytes())
    {
        return Err(BackupError::OwnFile(target.to_owned()));
    }
    let mut half = name.to_owned();
    half.push(format!(".{}.part", std::process::id()));
    let half = Half(folder.join(half));
    let file = database::private().truncate(true).open(&half.0).map_err(failed)?;
    database::copy_into(&connection, &half.0).map_err(|cause| at(target, cause))?;
    drop(connection);
    let sound = look_through(&half.0).map_err(|cause| at(target, cause))?;
    if sound != "ok" {
        return Err(BackupError::Damaged(sound));
    }
    file.sync_all().map_err(failed)?;
    fs::rename(&half.0, target).map_err(failed)?;
    // The name, too, is to outlive a power cut.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
}

/// What SQLite finds wrong with a database; `ok` for nothing.
fn look_through(path: &Path) -> Result<String, Cause> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    Ok(connection.pragma_query_value(None, "quick_check", |row| row.get(0))?)
}
