//! The `taskwarden` binary.
fn main() {}
