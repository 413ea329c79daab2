//! Messages to people: what is told and when, and the forms in which services take it.
//!
//! Knows nothing of the daemon: `daemon::telling` makes notices of events and sends what is due.

mod group;
mod mail;
mod service;

pub use group::{Lasts, Mailbox, Notice, Pace};
pub use service::{Address, Courier, NotSent};
