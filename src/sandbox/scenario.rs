//! Work for a sandbox.
