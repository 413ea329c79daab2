//! The `retention` of a rules file.

use std::time::Duration;

use super::reader::{At, Place, Reader};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the store keeps what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long audit rows are kept; `None` for ever.
    pub audit: Option<Duration>,
    /// How long what was seen of tasks is kept; `None` for ever.
    pub observations: Option<Duration>,
    /// How many bytes the store may hold before its oldest rows go; `None` for no limit.
    pub size: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { audit: Some(90 * DAY), observations: Some(30 * DAY), size: Some(500 << 20) }
    }
}

impl Reader<'_> {
    /// What is wrong keeps its default; the file cannot be used then anyhow.
    pub(super) fn retention(&mut self, at: At<'_>) -> Retention {
        let mut retention = Retention::default();
        let Some(fields) = self.fields(at.node, at.span, Place::Retention) else {
            return retention;
        };
        for at in fields.iter() {
            match at.key {
                "audit" if at.is_none() => retention.audit = None,
                "audit" => retention.audit = self.duration(at, HOUR, 3650 * DAY),
                "observations" if at.is_none() => retention.observations = None,
                "observations" => retention.observations = self.duration(at, HOUR, 3650 * DAY),
                _ if at.is_none() => retention.size = None,
                _ => {
                    let (min, max) = ((16 << 20, "16MiB"), (1 << 40, "1TiB"));
                    retention.size = self.size(at, min, max, "500MiB is right for most");
                }
            }
        }
        retention
    }
}
