//! The loop: poll, fold, decide, act, record. The only place that acts on a server.

pub mod act;
pub mod audit_log;
pub mod beat;
pub mod control;
pub mod look;
mod open_secrets;
pub mod reload;
pub mod rules_files;
mod standing;
pub mod supervise;
pub mod telling;
pub mod watch;
