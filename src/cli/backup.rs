//! `backup`: a copy of the store, also while a daemon works with it.

use std::path::PathBuf;

use super::{Common, Exit, Failure, paths, screen};
use crate::store;

/// Copy the store into a file, also while the daemon runs
///
/// The copy is of one moment, is looked through for damage, and appears only when it is whole. To go
/// back to it, stop the daemon, put the file in the state folder as `taskwarden.db`, take away
/// `taskwarden.db-wal` and `taskwarden.db-shm` there, and start the daemon.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Where to put the copy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(common: &Common, args: &BackupArgs) -> Result<Exit, Failure> {
    let dir = paths::state_dir(common)?;
    let bytes = store::backup(&dir, &args.file, args.force)
        .map_err(|error| Failure::new(Exit::Config, error))?;
    if !common.quiet {
        screen::say(&format!("{bytes} bytes are in `{}`", args.file.display()));
    }
    Ok(Exit::Fine)
}
