//! `notify`: tries a target of the rules file out.

use anyhow::anyhow;
use serde::Serialize;

use super::{Common, Exit, Failure, Format, paths, runtime, screen};
use crate::daemon::telling;
use crate::engine::message::Message;
use crate::engine::text::printable;
use crate::notify::Courier;
use crate::rules::nearest;

/// Try out whom the daemon tells what
#[derive(Debug, clap::Args)]
pub struct NotifyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Send a test message to a target, or to all; 3 if one does not take it
    Test {
        /// The target, by its name in the rules file [default: all]
        #[arg(value_name = "TARGET")]
        target: Option<String>,
    },
}

/// What became of a test, as `--format json` shows it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    target: &'a str,
    service: &'a str,
    taken: bool,
    answer: String,
}

pub(super) fn run(common: &Common, args: &NotifyArgs) -> Result<Exit, Failure> {
    let Verb::Test { target: wanted } = &args.verb;
    let (file, config) = paths::load_rules(common)?;
    let usage = |error| Failure::new(Exit::Usage, error);
    let names = || config.notify.iter().map(|target| target.name.as_str());
    if config.notify.is_empty() {
        return Err(usage(anyhow!(
            "`{}` has no targets under `notify:`",
            file.main.path.display()
        )));
    }
    if let Some(wanted) = wanted
        && !names().any(|name| name == wanted)
    {
        let meant = nearest(wanted, names());
        let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
        return Err(usage(anyhow!("no target is called `{}`{meant}", printable(wanted))));
    }
    let message = Message {
        title: "taskwarden: a test".to_owned(),
        text: "Whoever reads this is told what goes wrong. 这是一条测试消息。".to_owned(),
        bad: false,
    };
    let asked = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    let mut all = true;
    runtime()?.block_on(async {
        let courier = Courier::new().map_err(|error| Failure::new(Exit::Config, anyhow!(error)))?;
        for target in config.notify.iter().filter(|target| asked(&target.name)) {
            let said = match telling::address(target) {
                Ok(address) => courier.send(&address, &message).await,
                Err(error) => Err(error),
            };
            all &= said.is_ok();
            let taken = said.is_ok();
            let answer = said.unwrap_or_else(|error| error.to_string());
            if common.format == Format::Json {
                let (target, service) = (target.name.as_str(), target.service.as_str());
                let line = Line { target, service, taken, answer };
                screen::print(&serde_json::to_string(&line).unwrap_or_default());
            } else {
                let word = if taken { "ok  " } else { "FAIL" };
                screen::print(&format!("{word}  {}: {answer}", printable(&target.name)));
            }
        }
        Ok(if all { Exit::Fine } else { Exit::Unreached })
    })
}
