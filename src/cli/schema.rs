//! `schema`: the JSON Schemas of rules files and of their tests, for editors.

use super::{Exit, screen};
use crate::rules;

/// Print the JSON Schema of rules files, with which editors complete and check them
///
/// Save it, and begin the rules file with
/// `# yaml-language-server: $schema=./taskwarden.schema.json`.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// The schema of files of rule tests instead
    #[arg(long)]
    tests: bool,
}

pub(super) fn run(args: &SchemaArgs) -> Exit {
    let schema = if args.tests { rules::test_schema() } else { rules::schema() };
    screen::print(&format!("{schema:#}"));
    Exit::Fine
}
