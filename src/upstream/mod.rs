//! The client of the task API.
//!
//! Speaks HTTP to one server and hands out [`crate::engine`] types. It never decides anything about a
//! task, never retries an action, and never takes an answer that it does not understand for an empty
//! one. What the servers do is measured in `CONTRACT.md`; section names in the comments are from there.

mod about;
mod auth;
mod client;
mod error;
mod list;
mod wire;

#[cfg(test)]
mod tests;

pub use about::Account;
pub use auth::{Auth, LoginMemory, SecretError, SecretSource, TokenClaims};
pub use client::{
    Base, Batch, BatchError, BuildError, Client, ClientSettings, Discovery, Greeting, KindList,
    KindVerb, Transport, Verb,
};
pub use error::{At, Certainty, Error, Oddity};
pub use list::Reader;
pub use wire::RoleForm;
