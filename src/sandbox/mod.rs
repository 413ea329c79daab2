//! A faithful fake of an `AList` or `OpenList` server, in this process: for `taskwarden demo`, and
//! as the referee of tests.
//!
//! [`Model`] is the server without its sockets: a discrete-event simulation of worker pools, queues,
//! the server's own retries and what each endpoint does to a task. [`Sandbox`] puts it behind a real
//! socket and breaks calls on request. [`scenario`] fills it with work.
//!
//! This module imports nothing from the rest of the crate, not even the wire types: it is written
//! from what live servers were seen to do, so that it cannot share a mistake with the client that is
//! tested against it. It never reads the clock and never draws a random number of its own; both come
//! in as values.

mod accounts;
mod faults;
mod http;
mod line;
mod model;
mod report;
mod rng;
pub mod scenario;
mod script;
mod settings;
mod task;
mod wire;

#[cfg(test)]
mod tests;

pub use accounts::{LoginLock, Otp, Role, User, Viewer};
pub use faults::{Fault, FaultPlan, Faults, Phase, RequestLine};
pub use http::{Options, Sandbox};
pub use model::Model;
pub use report::{Call, Execution, Outcome, Report, Target, TaskReport, Trigger};
pub use script::{Attempt, AttemptScript, TaskScript, Throttle};
pub use settings::{Flavour, Pool, Settings};
pub use task::{Answer, Endpoint, State, TaskView};
