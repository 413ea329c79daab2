//! `reload`: has the running daemon read its rules now.

use super::{Common, Exit, Failure, Format, running, screen};

/// Have the running daemon read its rules file now; 1 and the findings if it is refused
///
/// The daemon reads it by itself whenever it is saved; this waits for that and tells what came of
/// it.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {}

pub(super) fn run(common: &Common, _args: &ReloadArgs) -> Result<Exit, Failure> {
    let taken = running::reload(common)?;
    if common.format == Format::Json {
        let line = match &taken {
            Ok(changes) => serde_json::json!({ "accepted": true, "changes": changes }),
            Err(findings) => serde_json::json!({ "accepted": false, "findings": findings }),
        };
        screen::print(&line.to_string());
    } else {
        match &taken {
            Ok(changes) => screen::print(&format!("in force: {changes}")),
            Err(findings) => {
                screen::say(findings);
                screen::say("the rules file has errors, so the old rules stay in force");
            }
        }
    }
    Ok(if taken.is_ok() { Exit::Fine } else { Exit::Findings })
}
