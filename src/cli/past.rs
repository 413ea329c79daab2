//! What the commands that look back have in common: where they read, and which time.

use jiff::Timestamp;

use super::{Common, Exit, Failure, audit, paths};
use crate::ambient::Clock;
use crate::engine::class::ClassTable;
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
        Ok((moment(&self.since)?, moment(&self.until)?))
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

/// The table that sorts errors: that of the rules file where there is one that can be used.
pub(super) fn classes(common: &Common) -> ClassTable {
    let files = paths::config_path(common).and_then(|path| paths::read_rules(&path));
    let config = files.ok().and_then(|files| files.load().config);
    config.map_or_else(ClassTable::builtin, |config| config.rules.classes)
}
