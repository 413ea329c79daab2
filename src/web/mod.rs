//! What the running daemon serves: to the commands over a socket in the state folder, and, where the
//! rules file says `listen:`, the dashboard, its API, metrics and health checks over HTTP.
//!
//! It reads the board and asks the daemon; it decides and stores nothing.

pub mod api;
pub mod desk;
pub mod doors;
pub mod events;
pub mod listener;
pub mod openapi;
pub mod orders;
pub mod pages;
pub mod problem;
pub mod query;
pub mod rate;
pub mod routes;
mod serve;
pub mod socket;
pub mod views;
