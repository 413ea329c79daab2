//! The task model, the matchers and the one evaluator.
//!
//! Pure: no clock, no randomness, no I/O, no async. Time and seed come in as values; what must be
//! remembered goes out as values. `tests/architecture.rs` holds this.

pub mod class;
pub mod name;
mod redact;
pub mod task;
pub mod text;
pub mod wait_hint;
