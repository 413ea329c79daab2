//! What can go wrong with a call, sorted by what the caller will do about it.

use std::fmt;

use jiff::Timestamp;

use super::auth::SecretError;
use crate::engine::task::{Kind, ServerName};
use crate::engine::text::moment;

/// Which call of which server an error is about; shows as `home: GET /api/task/copy/done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The server's name in the rules file.
    pub server: ServerName,
    /// Method and path, without query.
    pub endpoint: String,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.endpoint)
    }
}

/// Whether an action may have been carried out although its call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The server did nothing: the request never left, or was turned down.
    NotDone,
    /// It may have acted: look before anything is sent again.
    Unknown,
}

/// In what way an answer was not one of the task API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A web page (CONTRACT.md, "Requests": a path that the server does not know is answered so).
    WebPage,
    /// Nothing at all.
    Empty,
    /// JSON that ends in the middle.
    Truncated,
    /// An HTTP error without the API's frame, such as a proxy's 502.
    HttpError,
    /// Something else than the API's frame.
    NotAnEnvelope,
    /// The frame is right and what it holds is not; says what.
    Data(String),
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebPage => "a web page instead of JSON",
            Self::Empty => "an empty answer",
            Self::Truncated => "an answer that ends in the middle",
            Self::HttpError => "an error page, not from the task API",
            Self::NotAnEnvelope => "an answer that is not of the task API",
            Self::Data(what) => return write!(f, "an answer that cannot be understood: {what}"),
        })
    }
}

/// Why a call failed. Texts that came from outside have their secrets taken out; causes are flattened
/// into text, because one failed login is handed to every caller that waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No connection: name, network, refused port, TLS. Nothing was sent. Try again later.
    #[error("{at}: cannot reach the server: {cause}")]
    Unreachable {
        /// The call.
        at: At,
        /// What the network said.
        cause: String,
    },
    /// The request went out and no whole answer came back: timeout, reset, cut body. Try again later.
    #[error("{at}: no whole answer came: {cause}")]
    Lost {
        /// The call.
        at: At,
        /// What the network said.
        cause: String,
    },
    /// An answer came that is not one of the task API, or makes no sense. Try again later.
    #[error("{at}: HTTP {status}, {oddity}{}", shown(.excerpt))]
    Unexpected {
        /// The call.
        at: At,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        oddity: Oddity,
        /// Its first words, at most 80 characters; empty if it was empty.
        excerpt: String,
    },
    /// The answer is larger than the cap.
    #[error("{at}: the answer is larger than {limit} bytes, the cap for it")]
    TooLarge {
        /// The call.
        at: At,
        /// The cap, in bytes.
        limit: u64,
    },
    /// The server has no such kind: its paths answer with a web page. A proxy's page with status 200
    /// looks the same, which [`super::Client::discover`] can tell apart.
    #[error("{at}: the server has no tasks of kind `{kind}`")]
    KindAbsent {
        /// The call.
        at: At,
        /// The kind.
        kind: Kind,
    },
    /// The server sends elsewhere; not followed, since a POST would become a GET. Fix the address.
    #[error(
        "{at}: HTTP {status}, the server redirects to {location}; set `url` to the address that it redirects to"
    )]
    Redirected {
        /// The call.
        at: At,
        /// The HTTP status, 3xx.
        status: u16,
        /// Where to, without query; `an unnamed place` if it does not say.
        location: String,
    },
    /// No task API at this address at all. Fix the address or its prefix.
    #[error("{at}: no task API at {url}: the address, or the prefix in it, is probably wrong; it answered HTTP {status}, {oddity}{}", shown(.excerpt))]
    NoApi {
        /// The last call.
        at: At,
        /// The base address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What came.
        oddity: Oddity,
        /// Its first words.
        excerpt: String,
    },
    /// A token, password or TOTP secret could not be read. Fix its source.
    #[error("{server}: {source}")]
    Secret {
        /// The server that needs it.
        server: ServerName,
        /// What is wrong.
        source: SecretError,
    },
    /// The token or login is refused, and is not tried again before `until` unless it changes.
    #[error("{at}: {reason}{}", retry_at(*.until))]
    AuthRefused {
        /// The call that was refused, or would have been made.
        at: At,
        /// What was refused and what helps.
        reason: String,
        /// When it is tried again by itself; `None`: not before it changes.
        until: Option<Timestamp>,
    },
    /// The server has locked this address out, or would if asked now (CONTRACT.md, "Answers"): each
    /// try starts its lock again. Wait.
    #[error("{at}: the server has locked logins from this address (429); next try at {}", moment(*.until))]
    LoginLocked {
        /// The login call.
        at: At,
        /// When the next login may be tried.
        until: Timestamp,
    },
    /// `code` 403: the user has not the right.
    #[error("{at}: forbidden (403): {message}")]
    Forbidden {
        /// The call.
        at: At,
        /// The server's words.
        message: String,
    },
    /// `code` 404: no such task, or it is another user's.
    #[error("{at}: not found (404): {message}")]
    NotFound {
        /// The call.
        at: At,
        /// The server's words.
        message: String,
    },
    /// `code` 400: a request that the server does not take.
    #[error("{at}: bad request (400): {message}")]
    BadRequest {
        /// The call.
        at: At,
        /// The server's words.
        message: String,
    },
    /// `code` 429, on another call than a login. Slow down.
    #[error("{at}: too many requests (429): {message}")]
    Throttled {
        /// The call.
        at: At,
        /// The server's words.
        message: String,
    },
    /// Any other `code`, 500 for the most part.
    #[error("{at}: the server failed ({code}): {message}")]
    Server {
        /// The call.
        at: At,
        /// The code.
        code: i64,
        /// The server's words.
        message: String,
    },
}

fn shown(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": `{excerpt}`") }
}

fn retry_at(until: Option<Timestamp>) -> String {
    until.map_or_else(
        || "; not tried again before it changes".to_owned(),
        |until| format!("; not tried again before {}, unless it changes", moment(until)),
    )
}

impl Error {
    /// Whether the action of a failed call may have been carried out all the same.
    #[must_use]
    pub fn certainty(&self) -> Certainty {
        match self {
            Self::Unexpected { status, .. }
                if matches!(*status, 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429) =>
            {
                Certainty::NotDone
            }
            Self::Lost { .. }
            | Self::Unexpected { .. }
            | Self::TooLarge { .. }
            | Self::Server { .. } => Certainty::Unknown,
            Self::Unreachable { .. }
            | Self::KindAbsent { .. }
            | Self::Redirected { .. }
            | Self::NoApi { .. }
            | Self::Secret { .. }
            | Self::AuthRefused { .. }
            | Self::LoginLocked { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::BadRequest { .. }
            | Self::Throttled { .. } => Certainty::NotDone,
        }
    }

    /// Whether every other call to this server would fail in the same way now, so that the rest of a
    /// round can be spared.
    #[must_use]
    pub fn is_whole_server(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Redirected { .. }
            | Self::NoApi { .. }
            | Self::Secret { .. }
            | Self::AuthRefused { .. }
            | Self::LoginLocked { .. }
            | Self::Throttled { .. } => true,
            Self::Unexpected { status, .. } => matches!(status, 401 | 429 | 502..=504),
            _ => false,
        }
    }

    /// Until when the client itself will turn calls down, if it knows.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::AuthRefused { until, .. } => *until,
            Self::LoginLocked { until, .. } => Some(*until),
            _ => None,
        }
    }
}
