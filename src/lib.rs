//! taskwarden: rules and automatic retries for the task queues of `AList` and `OpenList` servers.
//!
//! The folders are the architecture; `ARCHITECTURE.md` says what each may know of the others.

pub mod ambient;
pub mod cli;
pub mod daemon;
pub mod engine;
pub mod notify;
pub mod rules;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod web;
