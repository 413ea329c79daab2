//! `reload`: has the running daemon read its rules now.

use std::path::PathBuf;

use anyhow::anyhow;
use jiff::Timestamp;

use super::{Common, Exit, Failure, Format, audit, backtest, running, screen};
use crate::ambient::Clock;

/// Have the running daemon read its rules file now; 1 and the findings if it is refused
///
/// The daemon reads it by itself whenever it is saved; this waits for that and tells what came of
/// it.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    /// First show what the file would have done, held against what was done, as `backtest` does. The
    /// daemon reads a file by itself soon after it is saved: to see this before, have the new rules in
    /// another file and try that with `backtest`
    #[arg(long)]
    backtest: bool,
    /// How far back that looks: a moment, a day, or a length of time ago; 7d if not given
    #[arg(long, value_name = "WHEN", requires = "backtest")]
    since: Option<String>,
}

pub(super) fn run(common: &Common, args: &ReloadArgs) -> Result<Exit, Failure> {
    if args.backtest {
        let since = args.since.as_deref().unwrap_or("7d");
        let since = audit::parse_when(since, Clock::system().now())?;
        // A look back that is not possible keeps nobody from going on.
        if let Err(failure) = look_back(common, since) {
            let why = failure.error.to_string();
            screen::say(&format!("no backtest: {}", why.lines().next().unwrap_or_default()));
        }
    }
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

/// Shows what the file that the daemon follows would have done.
fn look_back(common: &Common, since: Timestamp) -> Result<(), Failure> {
    let Some(path) = running::status(common)?.daemon.config else {
        return Err(Failure::new(Exit::Usage, anyhow!("this daemon follows no rules file")));
    };
    let new = backtest::load(common, &PathBuf::from(path))?;
    backtest::compare(common, &new, None, (Some(since), None), None)
}
