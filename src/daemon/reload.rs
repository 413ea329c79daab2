//! Watches the rules file and those that it includes, however they are saved.
//!
//! Folders are watched rather than files, since a file watch goes deaf after a rename; contents are
//! compared, since reading raises events of its own; and all is read anew now and then without any
//! event, for file systems that send none: together with the looks at servers, so that nothing wakes
//! up for it. All files are read as one: what is handed out is what they held together while nothing
//! was written.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};

use super::rules_files::{RulesFiles, Unreadable, folders};
use crate::ambient::monotonic;

/// How long the files must rest before they are read: editors save in several steps, and people
/// several files.
const QUIET: Duration = Duration::from_millis(200);

/// How long it is waited for events to rest: a busy folder, such as one with logs in it, never does.
/// What the files hold must rest all the same.
const LONGEST_UNREST: Duration = Duration::from_secs(2);

/// How often the files are read without an event, at most; also by itself while one is away.
const SLOW_READ: Duration = Duration::from_secs(10);

/// Has a followed file read at once.
#[derive(Clone, Debug)]
pub struct Poke {
    events: mpsc::Sender<()>,
    asked: Arc<AtomicBool>,
    awake: Arc<Notify>,
}

impl Poke {
    /// The process is awake anyway: the file is read if it was not for a while.
    pub fn read_in_passing(&self) {
        self.awake.notify_one();
    }

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
    /// What it and those that it includes hold, or which cannot be read.
    pub files: Result<RulesFiles, Unreadable>,
    /// Whether a person asked for it, who then wants to hear something.
    pub asked: bool,
}

/// A rules file that is followed through its saves, with those that it includes.
pub struct FollowedFile {
    path: PathBuf,
    /// The entries of its `rule_files`, as they were last read.
    patterns: Vec<String>,
    slow_read: Duration,
    seen: Option<[u8; 32]>,
    events: mpsc::Receiver<()>,
    poke: Poke,
    /// An event came, and the file was not read since; kept here since whoever waits for
    /// [`FollowedFile::changed`] may be called away.
    stirred: bool,
    read_at: Instant,
    /// The file or its folder is away, and may be back without any event.
    away: bool,
    // Dropping it ends the watch.
    watcher: Option<notify::RecommendedWatcher>,
    watched: Vec<Watched>,
    /// Folders are watched since the last reading that were not before.
    watches_others: bool,
}

/// A folder that is watched, and which one it was.
#[derive(PartialEq)]
struct Watched {
    path: PathBuf,
    /// Its device and number, and when it was made, since numbers are given out again; `None` where
    /// that is not to be had.
    identity: Option<(u64, u64, SystemTime)>,
}

impl Watched {
    fn now(path: PathBuf) -> Self {
        let identity = std::fs::metadata(&path).and_then(|about| {
            let made = about.created()?;
            Ok((about.dev(), about.ino(), made))
        });
        Self { path, identity: identity.ok() }
    }
}

impl FollowedFile {
    /// Follows the files that were read as `files`.
    #[must_use]
    pub fn new(files: &RulesFiles) -> Self {
        let (send, events) = mpsc::channel(1);
        let poke = Poke { events: send.clone(), asked: Arc::default(), awake: Arc::default() };
        // One waiting event says all there is to say, so a full channel is fine.
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = send.try_send(());
            }
        })
        .ok();
        let mut followed = Self {
            path: files.main.path.clone(),
            patterns: files.patterns.clone(),
            slow_read: SLOW_READ,
            seen: Some(files.digest()),
            events,
            poke,
            stirred: false,
            read_at: monotonic(),
            away: false,
            watcher,
            watched: Vec::new(),
            watches_others: false,
        };
        followed.away = !followed.watch_folders();
        followed.watches_others = false;
        followed
    }

    /// The same as if no file system sent events, reading every `slow_read`.
    #[must_use]
    pub fn without_events(files: &RulesFiles, slow_read: Duration) -> Self {
        Self { watcher: None, away: true, slow_read, ..Self::new(files) }
    }

    /// A handle that has the file read at once.
    #[must_use]
    pub fn poke(&self) -> Poke {
        self.poke.clone()
    }

    /// Waits until the files hold something else than before, and returns it, or why one cannot be
    /// read (once for each spell of that), or until a person asks for it. Nothing is lost when the
    /// wait is broken off.
    pub async fn changed(&mut self) -> Content {
        loop {
            // A missing sender cannot be: `self` holds one.
            if !self.stirred {
                tokio::select! {
                    event = self.events.recv() => self.stirred = event.is_some(),
                    () = tokio::time::sleep(self.slow_read), if self.away => {}
                    () = self.poke.awake.notified() => {
                        if self.read_at.elapsed() < self.slow_read {
                            continue;
                        }
                    }
                }
            }
            let mut rested = false;
            if self.stirred {
                let rest = async {
                    while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {
                    }
                };
                rested = tokio::time::timeout(LONGEST_UNREST, rest).await.is_ok();
            }
            let (mut files, mut seen) = self.read();
            // Nothing told of what was written in a folder that was made anew, and something of what was
            // written while they were read.
            rested &= !std::mem::take(&mut self.watches_others) && self.events.is_empty();
            // No event told that they rest, so their contents must.
            while !rested && seen != self.seen {
                tokio::time::sleep(QUIET).await;
                let (again, now) = self.read();
                rested = now == seen;
                (files, seen) = (again, now);
            }
            self.stirred = false;
            let asked = self.poke.asked.swap(false, Ordering::AcqRel);
            if std::mem::replace(&mut self.seen, seen) != seen || asked {
                return Content { files, asked };
            }
        }
    }

    /// Reads the files, whose folders are watched from before on.
    fn read(&mut self) -> (Result<RulesFiles, Unreadable>, Option<[u8; 32]>) {
        let mut watching = self.watch_folders();
        let mut files = RulesFiles::read(&self.path);
        if let Ok(read) = &files
            && read.patterns != self.patterns
        {
            self.patterns.clone_from(&read.patterns);
            watching = self.watch_folders();
            files = RulesFiles::read(&self.path);
        }
        self.read_at = monotonic();
        self.away = !watching || files.is_err();
        let seen = files.as_ref().ok().map(RulesFiles::digest);
        (files, seen)
    }

    /// Watches the folders that the files are in or may come to be in and, where one is a link, the
    /// folder of what it points to; tells whether that can be done. A folder that was removed and made
    /// again must be watched anew; while it is away, the nearest one above it that is there tells of
    /// its coming.
    fn watch_folders(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let mut all = false;
        // What is made or removed while a watch is being set up is told of by nothing: it is looked once
        // more. Whoever is quicker than that again and again is found when they rest.
        for _ in 0..3 {
            let wanted = wanted(&self.path, &self.patterns);
            // The very same folders are watched still. To say so anew would wait for whoever hands out
            // the events, for as long as another program fills a folder with them.
            if wanted == self.watched && wanted.iter().all(|folder| folder.identity.is_some()) {
                return true;
            }
            for old in &self.watched {
                let _ = watcher.unwatch(&old.path);
            }
            let count = wanted.len();
            self.watches_others = true;
            self.watched = wanted
                .into_iter()
                .filter(|folder| watcher.watch(&folder.path, RecursiveMode::NonRecursive).is_ok())
                .collect();
            all = self.watched.len() == count;
        }
        all
    }
}

/// The folders to be watched for a file and the patterns of what it includes.
fn wanted(path: &Path, patterns: &[String]) -> Vec<Watched> {
    let parent = |path: &Path| path.parent().unwrap_or(Path::new("")).to_owned();
    let mut wanted = vec![parent(path)];
    wanted.extend(path.canonicalize().iter().map(|real| parent(real)));
    for pattern in patterns {
        wanted.extend(folders(&parent(path), pattern));
    }
    let there = |mut folder: PathBuf| {
        while !folder.is_dir() && folder.pop() {}
        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
    };
    let wanted: BTreeSet<PathBuf> = wanted.into_iter().map(there).collect();
    wanted.into_iter().map(Watched::now).collect()
}
