//! What the commands that look back have in common: where they read, and which time.

use anyhow::anyhow;
use jiff::Timestamp;

use super::{Common, Exit, Failure, audit, paths, screen};
use crate::ambient::Clock;
use crate::engine::class::{Class, ClassTable};
use crate::engine::task::ServerName;
use crate::engine::text::printable;
use crate::store::Reader;

/// A stretch of time, as typed.
#[derive(Debug, clap::Args)]
pub(super) struct Period {
    /// Only since then: a moment (`2026-11-24T03:00:00Z`), a day (`2026-11-24`), or a length of
    /// time ago (`2h`, `7d`)
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
    /// Only until then
    #[arg(long, value_name = "WHEN")]
    pub(super) until: Option<String>,
}

impl Period {
    /// Its beginning and its end.
    pub(super) fn moments(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Failure> {
        let now = Clock::system().now();
        let moment = |text: &Option<String>| {
            text.as_deref().map(|text| audit::parse_when(text, now)).transpose()
        };
        let (since, until) = (moment(&self.since)?, moment(&self.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            let error = anyhow!("--since: {since} is not before --until, which is {until}");
            return Err(Failure::new(Exit::Usage, error));
        }
        Ok((since, until))
    }
}

/// Opens the store for reading.
pub(super) fn reader(common: &Common) -> Result<Reader, Failure> {
    Reader::open(&paths::state_dir(common)?).map_err(config)
}

/// A failure to read what is stored.
pub(super) fn config(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Config, error)
}

/// Says that nothing is there that is like what was asked for, and what may be mistaken about it.
pub(super) fn say_nothing(
    common: &Common,
    reader: &Reader,
    server: Option<&ServerName>,
    class: Option<&Class>,
) -> Result<(), Failure> {
    if common.quiet {
        return Ok(());
    }
    screen::say("nothing like this was seen or done in this time");
    if let Some(server) = server {
        let seen = reader.seen_servers().map_err(config)?;
        if !seen.contains(server) {
            let seen: Vec<_> = seen.iter().map(|name| printable(name.as_str())).collect();
            let name = printable(server.as_str());
            screen::say(&format!(
                "of a server `{name}` nothing was ever seen; of these it was: {}",
                seen.join(", ")
            ));
        }
    }
    if let Some(Class::Other(name)) = class {
        let classes = Class::KNOWN.map(|class| class.to_string()).join(", ");
        screen::say(&format!("`{}` is none of the built-in classes: {classes}", printable(name)));
    }
    Ok(())
}

/// The table that sorts errors: that of the rules file where there is one that can be used.
pub(super) fn classes(common: &Common) -> ClassTable {
    let files = paths::config_path(common).and_then(|path| paths::read_rules(&path));
    let config = files.ok().and_then(|files| files.load().config);
    config.map_or_else(ClassTable::builtin, |config| config.rules.classes.clone())
}
