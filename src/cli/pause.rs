//! `pause` and `resume`: a rule rests, and goes on.

use anyhow::anyhow;

use super::{Common, Exit, Failure, Format, running, screen};
use crate::ambient::Clock;
use crate::daemon::control::Done;
use crate::engine::order::Order;
use crate::engine::text::printable;
use crate::web::orders::in_so_long;

/// Have a rule rest, until it is resumed or for some time; restarts do not end it
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// The rule's name
    rule: String,
    /// For how long, such as `2h`; until `resume` when it is not given
    #[arg(long = "for", value_name = "TIME")]
    length: Option<String>,
    /// Why, for whoever looks at `status`
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// On this server only
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

/// Have a paused rule go on
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The rule's name
    rule: String,
    /// On this server only
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

pub(super) fn pause(common: &Common, args: &PauseArgs) -> Result<Exit, Failure> {
    let usage = |why: String| Failure::new(Exit::Usage, anyhow!("--for: {why}"));
    let until = match &args.length {
        None => None,
        Some(text) => Some(in_so_long(text, Clock::system().now()).map_err(usage)?),
    };
    let rule = args.rule.as_str().into();
    let order = Order::Pause { rule, until, why: args.why.clone() };
    let done = running::order(common, args.server.as_deref().map(Into::into), order)?;
    let until = until.map_or_else(
        || "until it is resumed".to_owned(),
        |until| format!("until {}", screen::local_time(until)),
    );
    tell(common, &done, &|done| {
        format!("{}: rule `{}` rests {until}", done.server, printable(done.rule.as_str()))
    });
    Ok(Exit::Fine)
}

pub(super) fn resume(common: &Common, args: &ResumeArgs) -> Result<Exit, Failure> {
    let order = Order::Resume { rule: args.rule.as_str().into() };
    let done = running::order(common, args.server.as_deref().map(Into::into), order)?;
    if done.is_empty() {
        let error =
            anyhow!("no rule `{}` is paused; `taskwarden status` shows those that are", args.rule);
        return Err(Failure::new(Exit::Findings, error));
    }
    tell(common, &done, &|done| {
        format!("{}: rule `{}` goes on", done.server, printable(done.rule.as_str()))
    });
    Ok(Exit::Fine)
}

/// Prints what was done, a line each.
pub(super) fn tell(common: &Common, done: &[Done], human: &dyn Fn(&Done) -> String) {
    for done in done {
        screen::print(&match common.format {
            Format::Json => serde_json::to_string(done).unwrap_or_default(),
            _ => human(done),
        });
    }
}
