//! What a server tells of the user, of its settings and of its storages: for people who look for what
//! is wrong, and for checks of rules. No rule is decided by it.

use std::collections::BTreeMap;

use super::client::{Call, Client};
use super::error::Error;
use super::wire;

/// The user on whose behalf calls are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The numbers of the roles: one on `OpenList`, any on `AList` (CONTRACT.md, "Task").
    pub roles: Vec<i64>,
    /// Whether a login needs a one-time code.
    pub otp: bool,
}

impl Account {
    /// Whether the user sees and touches everybody's tasks: role 2 on both products.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.roles.contains(&2)
    }
}

impl Client {
    /// Asks who the user is.
    ///
    /// # Errors
    /// Why the server did not say.
    pub async fn me(&self) -> Result<Account, Error> {
        let (account, _) = self.call(&Call::get(&["api", "me"]), wire::account).await?;
        Ok(account)
    }

    /// Asks for the settings that have to do with tasks, by key; for admins only.
    ///
    /// # Errors
    /// Why the server did not say; [`Error::Forbidden`] for others than admins.
    pub async fn task_settings(&self) -> Result<BTreeMap<String, String>, Error> {
        let call = Call::get(&["api", "admin", "setting", "list"]);
        let answer = self.call(&call, wire::task_settings).await;
        answer.map(|(settings, _)| settings).map_err(without_excerpt)
    }

    /// Asks for the mount paths of all storages; for admins only.
    ///
    /// # Errors
    /// Why the server did not say; [`Error::Forbidden`] for others than admins.
    pub async fn mounts(&self) -> Result<Vec<String>, Error> {
        let call = Call::get(&["api", "admin", "storage", "list"]);
        let answer = self.call(&call, wire::mounts).await;
        answer.map(|(mounts, _)| mounts).map_err(without_excerpt)
    }
}

/// These answers hold tokens and passwords of others, of which not a word may show.
fn without_excerpt(error: Error) -> Error {
    match error {
        Error::Unexpected { at, status, oddity, .. } => {
            Error::Unexpected { at, status, oddity, excerpt: String::new() }
        }
        error => error,
    }
}
