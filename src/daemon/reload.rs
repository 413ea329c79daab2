//! Watches the rules file, however it is saved.
//!
//! The folder is watched rather than the file, since a file watch goes deaf after a rename; the
//! content is compared, since reading raises events of its own; and the file is read anew now and
//! then without any event, for file systems that send none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// How long a file must rest before it is read: editors save in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// How long it is waited for that rest: a busy folder, such as one with logs in it, never rests.
const LONGEST_UNREST: Duration = Duration::from_secs(2);

/// How often the file is read without an event.
const SLOW_READ: Duration = Duration::from_secs(10);

/// Has a followed file read at once.
#[derive(Clone, Debug)]
pub struct Poke {
    events: mpsc::Sender<()>,
    asked: Arc<AtomicBool>,
}

impl Poke {
    /// Has the file read and handed out, also if nothing in it changed.
    pub fn read_now(&self) {
        self.asked.store(true, Ordering::Release);
        // A full channel will wake the reader too.
        let _ = self.events.try_send(());
    }
}

/// What became of a followed file.
#[derive(Debug)]
pub struct Content {
    /// Its text, or why it cannot be read.
    pub text: io::Result<String>,
    /// Whether a person asked for it, who then wants to hear something.
    pub asked: bool,
}

/// A file that is followed through its saves.
pub struct FollowedFile {
    path: PathBuf,
    seen: Option<[u8; 32]>,
    events: mpsc::Receiver<()>,
    poke: Poke,
    /// An event came, and the file was not read since; kept here since whoever waits for
    /// [`FollowedFile::changed`] may be called away.
    stirred: bool,
    // Dropping it ends the watch.
    watcher: Option<notify::RecommendedWatcher>,
    watched: Vec<PathBuf>,
}

impl FollowedFile {
    /// Follows the file at `path`, whose present content is `content`.
    #[must_use]
    pub fn new(path: &Path, content: &str) -> Self {
        let (send, events) = mpsc::channel(1);
        let poke = Poke { events: send.clone(), asked: Arc::default() };
        // One waiting event says all there is to say, so a full channel is fine.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = send.try_send(());
            }
        })
        .ok();
        let seen = Some(digest(content.as_bytes()));
        let mut followed = Self {
            path: path.to_owned(),
            seen,
            events,
            poke,
            stirred: false,
            watcher,
            watched: Vec::new(),
        };
        followed.watch_folders();
        followed
    }

    /// A handle that has the file read at once.
    #[must_use]
    pub fn poke(&self) -> Poke {
        self.poke.clone()
    }

    /// Waits until the file has another content than before, and returns it, or why it cannot be
    /// read (once for each spell of that), or until a person asks for it. Nothing is lost when the
    /// wait is broken off.
    pub async fn changed(&mut self) -> Content {
        loop {
            // A missing sender cannot be: `self` holds one.
            if !self.stirred {
                let event = tokio::time::timeout(SLOW_READ, self.events.recv()).await;
                self.stirred = matches!(event, Ok(Some(())));
            }
            if self.stirred {
                let rest = async {
                    while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {
                    }
                };
                let _ = tokio::time::timeout(LONGEST_UNREST, rest).await;
            }
            self.stirred = false;
            let asked = self.poke.asked.swap(false, Ordering::AcqRel);
            self.watch_folders();
            let text = read(&self.path);
            let seen = text.as_ref().ok().map(|text| digest(text.as_bytes()));
            if std::mem::replace(&mut self.seen, seen) != seen || asked {
                return Content { text, asked };
            }
        }
    }

    /// Watches the folder of the path and, where it is a link, the folder of what it points to.
    /// A folder that was removed and made again must be watched anew, and there is no event for that.
    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let folder = |path: &Path| {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            parent.unwrap_or(Path::new(".")).to_owned()
        };
        let mut wanted = vec![folder(&self.path)];
        if let Ok(real) = self.path.canonicalize() {
            wanted.push(folder(&real));
        }
        wanted.sort();
        wanted.dedup();
        for old in &self.watched {
            let _ = watcher.unwatch(old);
        }
        self.watched = wanted
            .into_iter()
            .filter(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok())
            .collect();
    }
}

/// Reads a rules file; at most 16 MiB.
///
/// # Errors
///
/// What keeps it from being read, as text that names the file's own fault.
pub fn read(path: &Path) -> io::Result<String> {
    const MOST: u64 = 16 * 1024 * 1024;
    let size = std::fs::metadata(path)?.len();
    if size > MOST {
        let message = format!("it has {size} bytes, and a rules file may have {MOST} at most");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(std::fs::read(path)?).map_err(|error| {
        let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
        let before = String::from_utf8_lossy(&bytes[..at]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = format!(
            "it is not UTF-8: line {line}, column {column} begins with a byte that no character \
             does; save it as UTF-8"
        );
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Whether everyone on the machine may read the file.
#[must_use]
pub fn world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
