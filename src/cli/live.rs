//! One look at the live servers, beside a daemon or without one. Changes nothing anywhere.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Common, Exit, Failure, paths, runtime, screen};
use crate::ambient::Clock;
use crate::daemon::look::Eye;
use crate::daemon::supervise::{Options, clients};
use crate::engine::memory::{Memory, Snapshot};
use crate::rules::{Config, ServerConfig};
use crate::store::{OpenError, Reader};
use crate::telemetry::Sink;

/// The seed of the draws, which every command and the daemon must share.
pub(super) const SEED: u64 = 0;

/// A server as it is now.
pub(super) struct Seen {
    /// What it lists.
    pub(super) snapshot: Snapshot,
    /// What is remembered of it, this look included.
    pub(super) memory: Memory,
    /// The moment of the look.
    pub(super) now: Timestamp,
}

/// What came of looking at the servers.
pub(super) struct Looks {
    /// Those that answered, in the order of the rules file.
    pub(super) seen: Vec<Seen>,
    /// Whether one did not; it was said on standard error.
    pub(super) away: bool,
}

/// Looks at every server of the file, or at one.
pub(super) fn look(common: &Common, config: &Config, only: Option<&str>) -> Result<Looks, Failure> {
    let state_dir = paths::state_dir(common)?;
    let options = Options {
        state_dir: state_dir.clone(),
        dry_run: true,
        clock: Clock::system(),
        // What is worth telling is in what is printed.
        sink: Sink::new(|_| {}),
        seed: SEED,
        speed: 1.0,
    };
    let config_error = |error: anyhow::Error| Failure::new(Exit::Config, error);
    let servers: Vec<&ServerConfig> = config
        .servers
        .iter()
        .filter(|server| only.is_none_or(|name| name == server.name.as_str()))
        .collect();
    if servers.is_empty() {
        let error = match only {
            Some(name) => anyhow::anyhow!("the rules file names no server `{name}`"),
            None => anyhow::anyhow!("the rules file names no server; add one under `servers:`"),
        };
        return Err(Failure::new(Exit::Usage, error));
    }
    let clients = clients(config, &options).map_err(|error| config_error(error.into()))?;
    let reader = match Reader::open(&state_dir) {
        Ok(reader) => Some(reader),
        Err(OpenError::Missing { .. }) => {
            screen::say("note: no daemon has run with this state folder, so no attempts are known");
            None
        }
        Err(error) => return Err(config_error(error.into())),
    };
    let mut looks = Looks { seen: Vec::new(), away: false };
    runtime()?.block_on(async {
        for server in servers {
            let Some(client) = clients.get(&server.name) else { continue };
            let mut memory = Memory::new(server.name.clone());
            if let Some(reader) = &reader {
                let known =
                    reader.load(&server.name).map_err(|error| config_error(error.into()))?;
                memory.restore(known);
                if let Ok(Some(state)) = reader.server_state(&server.name)
                    && let Ok(state) = serde_json::from_value(state)
                {
                    client.restore_login_memory(state);
                }
            }
            let mut eye = Eye::new(
                server.name.clone(),
                Arc::clone(client),
                server.kinds.clone(),
                options.clock.clone(),
                options.sink.clone(),
            );
            match eye.look().await {
                Ok(snapshot) => {
                    let now = options.clock.now();
                    memory.fold(&snapshot, now);
                    looks.seen.push(Seen { snapshot, memory, now });
                }
                Err(error) => {
                    looks.away = true;
                    screen::say(&format!("error: {error}"));
                }
            }
        }
        Ok(())
    })?;
    Ok(looks)
}
