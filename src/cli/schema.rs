//! `schema`: the JSON Schema of rules files, for editors.

use super::{Exit, screen};

/// Print the JSON Schema of rules files, with which editors complete and check them
///
/// Save it, and begin the rules file with
/// `# yaml-language-server: $schema=./taskwarden.schema.json`.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {}

pub(super) fn run(_: &SchemaArgs) -> Exit {
    screen::print(&format!("{:#}", crate::rules::schema()));
    Exit::Fine
}
