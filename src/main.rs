//! The `taskwarden` binary: parses the command line, and maps the result to an exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    ExitCode::from(taskwarden::cli::main(taskwarden::cli::Args::parse()).code())
}
