//! Tasks as a server lists them, in the shape the rules see.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use smol_str::SmolStr;

use super::moment::Moment;
use super::name::TaskName;

/// Implements what a thin string newtype needs.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident($text:ty)) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(with = "String")]
        #[serde(transparent)]
        pub struct $name($text);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<$text>) -> Self {
                Self(text.into())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id! {
    /// A task's id as the server gave it (21 characters in practice; not relied on). A task that is
    /// made again gets a new one (CONTRACT.md, "Task"). It lies in place, since there are very many.
    TaskId(SmolStr)
}
text_id! {
    /// The name of a server, as the rules file gives it.
    ServerName(Arc<str>)
}
text_id! {
    /// The name of a rule, unique in its file. State is kept under it.
    RuleName(Arc<str>)
}

/// What a queue of a server does. Kinds are an open set (CONTRACT.md, "Requests"): the named ones
/// are those known today, [`Kind::Other`] is whatever else a rules file names.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(with = "String")]
#[serde(into = "String", from = "String")]
pub enum Kind {
    /// A file sent to the server by a client.
    Upload,
    /// A copy between mounts.
    Copy,
    /// A move between mounts; `OpenList` only.
    Move,
    /// A download that the server or a tool beside it does.
    OfflineDownload,
    /// The hand-over of a finished download to its destination mount.
    OfflineDownloadTransfer,
    /// Unpacking an archive.
    Decompress,
    /// The upload of what was unpacked.
    DecompressUpload,
    /// A change of S3 storage class; `AList` only.
    S3Transition,
    /// A kind this version has no name for.
    Other(Arc<str>),
}

impl Kind {
    /// The kinds known by name, in the order they are polled.
    pub const KNOWN: [Self; 8] = [
        Self::Upload,
        Self::Copy,
        Self::Move,
        Self::OfflineDownload,
        Self::OfflineDownloadTransfer,
        Self::Decompress,
        Self::DecompressUpload,
        Self::S3Transition,
    ];

    /// The kind's name in the API's paths.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Upload => "upload",
            Self::Copy => "copy",
            Self::Move => "move",
            Self::OfflineDownload => "offline_download",
            Self::OfflineDownloadTransfer => "offline_download_transfer",
            Self::Decompress => "decompress",
            Self::DecompressUpload => "decompress_upload",
            Self::S3Transition => "s3_transition",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.into()))
    }
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a task stands (CONTRACT.md, "States").
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(with = "String")]
#[serde(into = "String", try_from = "String")]
pub enum State {
    /// 0: in the queue.
    Pending,
    /// 1: a worker has it.
    Running,
    /// 2: done, well.
    Succeeded,
    /// 3: a cancel was asked for and has not been carried out; on `AList` it can stay so for ever.
    Canceling,
    /// 4: done, by a cancel.
    Canceled,
    /// 5: failed, and the server will retry by itself.
    Errored,
    /// 6: on the way to failed.
    Failing,
    /// 7: done, badly.
    Failed,
    /// 8: waits for a worker to run it again; may hide a run that still goes on.
    WaitingRetry,
    /// 9: about to run again.
    BeforeRetry,
    /// A number outside 0-9: kept, never acted on. One that has no place here becomes the nearest.
    Unknown(i16),
}

impl State {
    /// The states with a name, in the order of their numbers 0 to 9.
    pub const KNOWN: [Self; 10] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Canceling,
        Self::Canceled,
        Self::Errored,
        Self::Failing,
        Self::Failed,
        Self::WaitingRetry,
        Self::BeforeRetry,
    ];

    /// The state with this number on the wire.
    #[must_use]
    pub fn from_number(number: i64) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|index| Self::KNOWN.get(index).copied())
            .unwrap_or_else(|| {
                let nearest = number.clamp(i16::MIN.into(), i16::MAX.into());
                Self::Unknown(i16::try_from(nearest).unwrap_or(-1))
            })
    }

    /// The state's name, as the published page writes it; `None` for an unknown one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
            Self::Errored => "errored",
            Self::Failing => "failing",
            Self::Failed => "failed",
            Self::WaitingRetry => "waiting_retry",
            Self::BeforeRetry => "before_retry",
            Self::Unknown(_) => return None,
        })
    }

    /// Whether the server lists the state under `done` (2, 4 and 7).
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Canceled | Self::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(number) => write!(f, "unknown({number})"),
            known => f.write_str(known.name().unwrap_or_default()),
        }
    }
}

/// The text names no state.
#[derive(Debug, thiserror::Error)]
#[error("no task state is called `{0}`")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(state) = Self::KNOWN.into_iter().find(|state| state.name() == Some(text)) {
            return Ok(state);
        }
        text.strip_prefix("unknown(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|number| number.parse().ok())
            .map(Self::from_number)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl TryFrom<String> for State {
    type Error = UnknownState;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<State> for String {
    fn from(state: State) -> Self {
        state.to_string()
    }
}

/// Which product a server is. The same state means different things on each (CONTRACT.md, "What the
/// endpoints do to a task").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// `AList`: a task that a person canceled is listed as failed.
    #[serde(rename = "alist")]
    AList,
    /// `OpenList`: a canceled task is listed as canceled.
    #[serde(rename = "openlist")]
    OpenList,
    /// Nothing that tells was seen yet; the more careful reading holds.
    #[default]
    Unknown,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AList => "AList",
            Self::OpenList => "OpenList",
            Self::Unknown => "unknown",
        })
    }
}

/// One task as one answer listed it. Times are the server's own, not yet corrected for its clock.
///
/// It hands out [`Common`] as its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The server's id for it.
    pub id: TaskId,
    /// Its name; secrets are out already.
    pub name: TaskName,
    /// Percent, 0 to 100; may be 0 on a task that succeeded.
    pub progress: f64,
    /// When the last run began; `None` before the first and after a restart of the server.
    pub started: Option<Moment>,
    /// When the last run ended.
    pub ended: Option<Moment>,
    /// Size in bytes; 0 when not known yet.
    pub total_bytes: u64,
    /// What others may have in common with it.
    pub common: Arc<Common>,
}

/// What many tasks have in common, so that a hundred thousand of them take half the room. To change it on one task
/// leaves the others as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Common {
    /// The user who made the task; empty when unknown.
    pub creator: Arc<str>,
    /// The roles of that user: one number on `OpenList` (0 user, 1 guest, 2 admin, -1 unknown), a
    /// list on `AList` (1 guest, 2 admin, 3 general, 4 and up custom).
    pub roles: Arc<[i64]>,
    /// Where it stands.
    pub state: State,
    /// Free text of the driver; may be left over from an earlier step. Secrets are out already.
    pub status: Arc<str>,
    /// The last error's text, empty if none. Secrets are out already.
    pub error: Arc<str>,
}

/// The same as it is written.
#[derive(Serialize)]
struct Written<'t> {
    id: &'t TaskId,
    name: &'t TaskName,
    creator: &'t str,
    roles: &'t [i64],
    state: State,
    status: &'t str,
    progress: f64,
    started: Option<Moment>,
    ended: Option<Moment>,
    total_bytes: u64,
    error: &'t str,
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written {
            id: &self.id,
            name: &self.name,
            creator: &self.creator,
            roles: &self.roles,
            state: self.state,
            status: &self.status,
            progress: self.progress,
            started: self.started,
            ended: self.ended,
            total_bytes: self.total_bytes,
            error: &self.error,
        };
        written.serialize(serializer)
    }
}

impl Deref for Task {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl DerefMut for Task {
    fn deref_mut(&mut self) -> &mut Common {
        Arc::make_mut(&mut self.common)
    }
}

impl Task {
    /// What tells one look at a task from another: if any part differs, something happened to it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            state: self.state,
            started: self.started,
            ended: self.ended,
            error: self.error.clone(),
        }
    }
}

/// The parts of a task that must be unchanged for a decision about it to hold still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Where it stood.
    pub state: State,
    /// When its last run began.
    pub started: Option<Moment>,
    /// When its last run ended.
    pub ended: Option<Moment>,
    /// Its error text, secrets out.
    pub error: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_round_trip_through_numbers_and_names() {
        for number in 0..10 {
            let state = State::from_number(number);
            assert_eq!(state.to_string().parse::<State>().unwrap(), state);
            assert!(!matches!(state, State::Unknown(_)));
        }
        assert_eq!(State::from_number(12), State::Unknown(12));
        assert_eq!("unknown(12)".parse::<State>().unwrap(), State::Unknown(12));
        assert_eq!(State::from_number(-1), State::Unknown(-1));
        assert!("done".parse::<State>().is_err());
    }

    #[test]
    fn kinds_are_an_open_set() {
        assert_eq!(Kind::from("copy"), Kind::Copy);
        assert_eq!(Kind::from("sync"), Kind::Other("sync".into()));
        assert_eq!(Kind::from("sync").to_string(), "sync");
    }
}
