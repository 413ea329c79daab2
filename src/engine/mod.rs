//! The task model, the matchers and the one evaluator.
//!
//! Pure: no clock, no randomness, no I/O, no async. Time and seed come in as values; what must be
//! remembered goes out as values. `tests/architecture.rs` holds this.

mod alike;
pub mod audit;
pub mod backoff;
pub mod breaker;
pub mod class;
pub mod decide;
pub mod described;
pub mod explained;
pub mod forecast;
pub mod listing;
pub mod memory;
pub mod message;
pub mod moment;
pub mod name;
mod needles;
pub mod observe;
pub mod order;
pub mod pattern;
pub mod predicate;
mod redact;
pub mod replay;
pub mod report;
pub mod rule;
pub mod schedule;
pub mod simulate;
pub mod story;
pub mod task;
#[cfg(test)]
mod tests;
pub mod text;
pub mod trace;
pub mod wait_hint;
