//! Looks whether files of secrets are open to everyone on the machine, at the start and whenever they
//! may have been replaced.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::rules_files::world_readable;
use crate::rules::{Config, SecretRef};
use crate::telemetry::{Event, Sink};

/// The files that hold secrets, and which of them are known to be open to all.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSecrets(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    paths: BTreeSet<PathBuf>,
    told: BTreeSet<PathBuf>,
}

impl OpenSecrets {
    /// Has other files looked at.
    pub(super) fn set(&self, config: &Config) {
        let paths = config.secrets().filter_map(|secret| match secret {
            SecretRef::File(path) => Some(path.clone()),
            _ => None,
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).paths = paths.collect();
    }

    /// A sink that looks at the files whenever a server was looked at, so that nothing wakes up for it,
    /// and hands every event on to `sink`.
    #[must_use]
    pub(super) fn beside(&self, sink: &Sink) -> Sink {
        let (secrets, sink) = (self.clone(), sink.clone());
        Sink::new(move |event| {
            if matches!(event, Event::Started { .. } | Event::Reloaded { .. } | Event::Status(_)) {
                for path in secrets.newly_open() {
                    sink.emit(&Event::SecretOpen { path });
                }
            }
            sink.emit(event);
        })
    }

    /// Each file is told of once, until it was closed.
    fn newly_open(&self) -> Vec<PathBuf> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |path: &&PathBuf| world_readable(path);
        let open: BTreeSet<PathBuf> = state.paths.iter().filter(open).cloned().collect();
        let newly = open.difference(&state.told).cloned().collect();
        state.told = open;
        newly
    }
}
