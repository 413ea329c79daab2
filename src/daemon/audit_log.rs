//! The file that `audit_log:` names: every outcome as a line of JSON, for whoever follows it.
//!
//! It is a copy; what counts is the store. The file is opened anew for each line, so that it can be
//! moved away at any time.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::audit::AuditRow;
use crate::telemetry::{Event, Sink};

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the audit log `{}` cannot be written: {cause}", .path.display())]
pub struct CannotAppend {
    path: PathBuf,
    cause: io::Error,
}

/// Where the lines go, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct AuditLog(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    path: Option<PathBuf>,
    failing: bool,
}

impl AuditLog {
    /// Has the lines go to another file, or nowhere.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened for appending; then nothing changes.
    pub fn set(&self, path: Option<&Path>) -> Result<(), CannotAppend> {
        if let Some(path) = path {
            append(path, "")?;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            State { path: path.map(Path::to_owned), failing: false };
        Ok(())
    }

    /// A sink that writes the lines, and hands every event on to `sink`.
    #[must_use]
    pub fn beside(&self, sink: &Sink) -> Sink {
        let (log, sink) = (self.clone(), sink.clone());
        Sink::new(move |event| {
            if let Event::Acted(row) | Event::GaveUp { row, .. } = event
                && let Err(error) = log.write(row)
            {
                sink.emit(&Event::AuditLogAway { error: error.to_string() });
            }
            sink.emit(event);
        })
    }

    /// Writes a row; a failure is told once until a row could be written again.
    fn write(&self, row: &AuditRow) -> Result<(), CannotAppend> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &state.path else { return Ok(()) };
        let mut line = serde_json::to_string(row).unwrap_or_default();
        line.push('\n');
        let written = append(path, &line);
        let told = std::mem::replace(&mut state.failing, written.is_err());
        if told { Ok(()) } else { written }
    }
}

fn append(path: &Path, line: &str) -> Result<(), CannotAppend> {
    // Task names are nobody else's business.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(|cause| CannotAppend { path: path.to_owned(), cause })
}
