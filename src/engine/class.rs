//! Stub; replaced when the table lands.
use super::task::{Flavour, State};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// x
    Throttled,
    /// x
    Canceled,
    /// x
    Interrupted,
    /// x
    Unknown,
    /// x
    Other(Arc<str>),
}
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
/// The table.
#[derive(Clone, Debug, Default)]
pub struct ClassTable;
impl ClassTable {
    /// x
    #[must_use]
    pub fn classify(&self, error: &str, _flavour: Flavour, _state: State) -> Class {
        if error.contains("many requests") { Class::Throttled } else { Class::Unknown }
    }
}
