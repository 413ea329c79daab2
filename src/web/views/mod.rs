//! What the pages show and the API answers: one file a view, each plain data with the function that
//! gathers it.
//!
//! The texts of tasks come from whoever names files: they are data here, and whoever shows them
//! escapes them. Secrets were taken out when the texts were read from the server.

pub mod actions;
pub mod breakers;
pub mod dead;
pub mod due;
pub mod overview;
pub mod queue;
pub mod report;
pub mod rules;
pub mod task;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::problem::Problem;
use crate::engine::text::when;

/// The moment that a query names as `key`, or so long ago.
fn moment(
    key: &str,
    text: Option<&str>,
    now: Timestamp,
    otherwise: SignedDuration,
) -> Result<Timestamp, Problem> {
    match text {
        Some(text) => when(text, now, &TimeZone::system())
            .map_err(|why| Problem::wrong(format!("`{key}`: {why}"))),
        None => Ok(now.checked_sub(otherwise).unwrap_or(Timestamp::MIN)),
    }
}

/// A number that a query names as `key`, or the usual one; never more than `most`.
fn count(key: &str, given: Option<u32>, usual: u32, most: u32) -> Result<u32, Problem> {
    match given {
        None => Ok(usual),
        Some(given) if (1..=most).contains(&given) => Ok(given),
        Some(given) => Err(Problem::wrong(format!("`{key}`: {given} is not from 1 to {most}"))),
    }
}
