//! What kind of server the sandbox is.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::Offset;

use super::accounts::{Role, User};
use super::script::Throttle;

/// Which of the two servers is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `OpenList` v4.
    OpenList,
    /// `AList` v3.62.
    AList,
}

impl Flavour {
    /// The kinds this server has (CONTRACT.md, "Requests").
    #[must_use]
    pub fn kinds(self) -> [&'static str; 7] {
        [
            "upload",
            "copy",
            "offline_download",
            "offline_download_transfer",
            "decompress",
            "decompress_upload",
            match self {
                Self::OpenList => "move",
                Self::AList => "s3_transition",
            },
        ]
    }
}

/// The worker pool of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Tasks that run at the same time.
    pub workers: usize,
    /// How often the server retries a failed task by itself.
    pub max_retry: u32,
}

impl Pool {
    /// The pool a kind has where nobody changed the settings: five workers, and 0 to 2 retries by
    /// kind (CONTRACT.md, "What the endpoints do to a task").
    #[must_use]
    pub fn usual(kind: &str) -> Self {
        let max_retry = match kind {
            "upload" => 0,
            "offline_download" => 1,
            _ => 2,
        };
        Self { workers: 5, max_retry }
    }
}

/// The settings of a sandbox server. Start from [`Settings::new`] and change what matters.
#[allow(clippy::struct_excessive_bools, reason = "a server has that many independent switches")]
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which server to imitate.
    pub flavour: Flavour,
    /// The kinds the server has; requests for another one get the web page.
    pub kinds: Vec<String>,
    /// Worker pools that differ from [`Pool::usual`], by kind.
    pub pools: BTreeMap<String, Pool>,
    /// Tasks survive a restart, with what CONTRACT.md says they lose. Off by default, as on the
    /// servers. Uploads never survive.
    pub persistence: bool,
    /// The server's setting of this name: a canceled task can be retried.
    pub allow_retry_canceled: bool,
    /// The static token, which is the first admin's and never expires.
    pub admin_token: String,
    /// Who may log in.
    pub users: Vec<User>,
    /// How long a login lasts.
    pub token_lifetime: Duration,
    /// A path in front of every route, such as `/list`; empty for none.
    pub prefix: String,
    /// Only `/api/admin/task/...` exists, as on older servers.
    pub legacy_only: bool,
    /// `info` answers an array of one, as the published page of the API shows.
    pub info_as_array: bool,
    /// States are words, as the published page of the API shows.
    pub string_states: bool,
    /// A missing time is `0001-01-01T00:00:00Z` rather than null.
    pub zero_times: bool,
    /// How far the server's own clock is ahead of the real time: in its `Date` header, in the times
    /// of tasks and in the expiry of its tokens.
    pub clock_offset: SignedDuration,
    /// The zone in which the server writes the times of tasks.
    pub utc_offset: Offset,
    /// The mount paths of its storages, as an admin lists them. Tasks may name others.
    pub mounts: Vec<String>,
    /// Storages that refuse to be hammered.
    pub throttles: Vec<Throttle>,
}

impl Settings {
    /// A server out of the box, with the user `admin`, password `testpass`.
    #[must_use]
    pub fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            kinds: flavour.kinds().map(str::to_owned).to_vec(),
            pools: BTreeMap::new(),
            persistence: false,
            allow_retry_canceled: false,
            admin_token: match flavour {
                Flavour::OpenList => "openlist-sandbox-static-token".to_owned(),
                Flavour::AList => "alist-sandbox-static-token".to_owned(),
            },
            users: vec![User::new("admin", "testpass", Role::Admin)],
            token_lifetime: Duration::from_secs(48 * 3600),
            prefix: String::new(),
            legacy_only: false,
            info_as_array: false,
            string_states: false,
            zero_times: false,
            clock_offset: SignedDuration::ZERO,
            utc_offset: Offset::UTC,
            mounts: Vec::new(),
            throttles: Vec::new(),
        }
    }

    /// The same server with `workers` workers and `max_retry` server-side retries for `kind`.
    #[must_use]
    pub fn pool(mut self, kind: &str, workers: usize, max_retry: u32) -> Self {
        self.pools.insert(kind.to_owned(), Pool { workers, max_retry });
        self
    }
}
