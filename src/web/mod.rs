//! What the running daemon serves: to the commands over a socket in the state folder, and, where the
//! rules file says `listen:`, metrics and health checks over HTTP.
//!
//! It reads the board and asks the daemon; it decides and stores nothing.

pub mod listener;
pub mod routes;
pub mod socket;
