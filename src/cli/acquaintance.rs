//! Getting to know servers for `doctor` and `check --online`, with as much care about logins as the
//! daemon takes.

use std::path::Path;

use crate::ambient::Clock;
use crate::daemon::supervise::{StartError, client};
use crate::engine::task::Kind;
use crate::rules::{AuthConfig, Config, ServerConfig, Sighting};
use crate::store::{OpenError, Reader};
use crate::upstream::Client;

/// What the daemon keeps, as far as it could be read.
pub(super) struct Kept(Result<Option<Reader>, OpenError>);

impl Kept {
    pub(super) fn open(state_dir: &Path) -> Self {
        Self(match Reader::open(state_dir) {
            Ok(reader) => Ok(Some(reader)),
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// The store; none when no daemon has run yet.
    pub(super) fn reader(&self) -> Result<Option<&Reader>, &OpenError> {
        self.0.as_ref().map(Option::as_ref)
    }

    /// Hands a client what is remembered of refused logins.
    ///
    /// # Errors
    /// When that cannot be read and the client would log in: one more wrong login could be the one
    /// that locks the address.
    fn restore(&self, server: &ServerConfig, client: &Client) -> Result<(), String> {
        let logs_in = matches!(server.auth, AuthConfig::Password { .. });
        let unreadable = |error: &dyn std::error::Error| {
            format!("no login is tried, since it cannot be read how many were refused: {error}")
        };
        let state = match self.reader() {
            Ok(None) => return Ok(()),
            Ok(Some(reader)) => {
                reader.server_state(&server.name).map_err(|error| unreadable(&error))
            }
            Err(error) => Err(unreadable(error)),
        };
        let state = state.and_then(|state| {
            let state = state.map(serde_json::from_value).transpose();
            state.map_err(|error| unreadable(&error))
        });
        match state {
            Ok(Some(state)) => client.restore_login_memory(state),
            Err(error) if logs_in => return Err(error),
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }
}

/// Why there is no client to ask a server with.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoClient {
    /// The daemon could not start either.
    #[error(transparent)]
    Settings(StartError),
    /// It would have to log in, and should not.
    #[error("{0}")]
    Careful(String),
}

/// A client that knows of refused logins.
pub(super) fn careful_client(
    server: &ServerConfig,
    kept: &Kept,
    clock: &Clock,
) -> Result<Client, NoClient> {
    let client = client(server, clock).map_err(NoClient::Settings)?;
    kept.restore(server, &client).map_err(NoClient::Careful)?;
    Ok(client)
}

/// Asks a server for what rules on it depend on. A part that the user may not see is left open.
pub(super) async fn sight(client: &Client, candidates: &[Kind]) -> Sighting {
    let server = client.server().clone();
    let found = match client.discover(candidates).await {
        Ok(found) => found,
        Err(error) => return Sighting::away(server, error.to_string()),
    };
    let account = client.me().await.ok();
    let limited = account.filter(|account| !account.is_admin()).map(|account| account.name);
    let mounts = if limited.is_none() { client.mounts().await.ok() } else { None };
    let kinds = found.unsure.is_empty().then_some(found.kinds);
    Sighting { server, away: None, kinds, mounts, limited }
}

/// The kinds to look for on every server: the known ones, and those that any server adds, since a
/// rule may name these for all servers.
pub(super) fn candidates(config: &Config) -> Vec<Kind> {
    let mut kinds = Kind::KNOWN.to_vec();
    for kind in config.servers.iter().flat_map(|server| &server.kinds) {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    kinds
}
