//! Every way of saving a rules file, with every sort of content, on the real file system: nothing is
//! missed and nothing comes twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskwarden::ambient::monotonic;
use taskwarden::daemon::reload::{Content, FollowedFile};
use taskwarden::daemon::rules_files::RulesFiles;
use tokio::sync::Mutex;

/// Which file is saved, and what tells of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    /// The rules file.
    Main,
    /// A file that the rules file includes.
    Included,
    /// The rules file, on a file system that sends no events, as NFS does for what others write.
    Unheard,
}

/// How the file is saved.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Truncated and written again, as `echo >` and nano do.
    InPlace,
    /// Renamed away, written anew, the old one removed, as vim does.
    RenameAway,
    /// Written beside and renamed over, as most editors and configuration management do.
    RenameOver,
    /// A link to a folder is swapped, as Kubernetes does with a `ConfigMap`.
    SwapLink,
    /// Removed, and there again after a while.
    RemoveAndBack,
    /// Its folder removed, and there again.
    FolderRemovedAndBack,
}

/// What is saved.
#[derive(Clone, Copy, Debug)]
enum What {
    /// Rules.
    Valid,
    /// No rules.
    Invalid,
    /// Half of it first, the rest a moment later.
    Truncated,
    /// Nothing, and then something: an empty file is a content like any other.
    Empty,
    /// What is there already; only the last save differs.
    Same,
}

const WHICH: [Which; 3] = [Which::Main, Which::Included, Which::Unheard];
const WAYS: [Way; 6] = [
    Way::InPlace,
    Way::RenameAway,
    Way::RenameOver,
    Way::SwapLink,
    Way::RemoveAndBack,
    Way::FolderRemovedAndBack,
];
const WHATS: [What; 5] = [What::Valid, What::Invalid, What::Truncated, What::Empty, What::Same];

/// A moment shorter than the rest that a file must have before it is read.
const MOMENT: Duration = Duration::from_millis(30);

struct Editor {
    way: Way,
    folder: PathBuf,
    path: PathBuf,
    saves: usize,
}

impl Editor {
    fn new(root: &Path, way: Way, text: &str) -> Self {
        let folder = root.join("folder");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("rules.yaml");
        if matches!(way, Way::SwapLink) {
            fs::create_dir(folder.join("..0")).unwrap();
            fs::write(folder.join("..0/rules.yaml"), text).unwrap();
            symlink("..0", folder.join("..data")).unwrap();
            symlink("..data/rules.yaml", &path).unwrap();
        } else {
            fs::write(&path, text).unwrap();
        }
        Self { way, folder, path, saves: 0 }
    }

    /// Writes a file, in two steps if it is to be seen half written.
    async fn write(&self, path: &Path, text: &str, halves: bool) {
        if halves {
            fs::write(path, &text[..text.len() / 2]).unwrap();
            tokio::time::sleep(MOMENT).await;
        }
        fs::write(path, text).unwrap();
    }

    async fn save(&mut self, text: &str, halves: bool) {
        self.saves += 1;
        let (folder, path, n) = (&self.folder, &self.path, self.saves);
        match self.way {
            Way::InPlace => self.write(path, text, halves).await,
            Way::RenameAway => {
                let old = folder.join("rules.yaml~");
                fs::rename(path, &old).unwrap();
                self.write(path, text, halves).await;
                fs::remove_file(old).unwrap();
            }
            Way::RenameOver => {
                let new = folder.join(".rules.yaml.tmp");
                self.write(&new, text, halves).await;
                fs::rename(new, path).unwrap();
            }
            Way::SwapLink => {
                let (old, new) =
                    (folder.join(format!("..{}", n - 1)), folder.join(format!("..{n}")));
                fs::create_dir(&new).unwrap();
                self.write(&new.join("rules.yaml"), text, halves).await;
                let link = folder.join("..data_tmp");
                symlink(format!("..{n}"), &link).unwrap();
                fs::rename(link, folder.join("..data")).unwrap();
                fs::remove_dir_all(old).unwrap();
            }
            Way::RemoveAndBack => {
                fs::remove_file(path).unwrap();
                tokio::time::sleep(MOMENT).await;
                self.write(path, text, halves).await;
            }
            Way::FolderRemovedAndBack => {
                fs::remove_dir_all(folder).unwrap();
                tokio::time::sleep(MOMENT).await;
                fs::create_dir(folder).unwrap();
                self.write(path, text, halves).await;
            }
        }
    }
}

fn text(what: What, n: usize) -> String {
    match what {
        What::Valid | What::Truncated => format!("version: 1\nservers: []\nrules: [] # {n}\n"),
        What::Invalid => format!("version: [{n}\n"),
        What::Empty if n % 2 == 1 => String::new(),
        What::Empty => format!("# {n}\n"),
        What::Same => "version: 1\nrules: []\n".to_owned(),
    }
}

/// What the file of a cell holds; `None` while it is away.
fn held(which: Which, content: Content) -> Option<String> {
    let RulesFiles { main, mut included, .. } = content.files.ok()?;
    if which == Which::Included { included.pop().map(|file| file.text) } else { Some(main.text) }
}

/// The next content that can be read; a file that is away for a moment may be told of as well.
async fn next(followed: &mut FollowedFile, which: Which, cell: &str) -> String {
    loop {
        // Where events tell of it, sooner than what they missed would be seen by reading.
        let longest = Duration::from_secs(if which == Which::Unheard { 60 } else { 9 });
        let wait = tokio::time::timeout(longest, followed.changed()).await;
        let content = wait.unwrap_or_else(|_| panic!("{cell}: a save was missed"));
        if let Some(text) = held(which, content) {
            return text;
        }
    }
}

/// Follows files by events, once the system gives a watch: it has some hundred for all that a user runs,
/// and what is followed without one is read every ten seconds only.
async fn followed_by_events(files: &RulesFiles) -> FollowedFile {
    followed(|| FollowedFile::new(files)).await
}

async fn followed(follow: impl FnOnce() -> FollowedFile) -> FollowedFile {
    static ONE_BY_ONE: Mutex<()> = Mutex::const_new(());
    let _one = ONE_BY_ONE.lock().await;
    let began = monotonic();
    // Two at once, since they are given back a moment after they are dropped.
    let watch = || notify::recommended_watcher(|_: notify::Result<notify::Event>| {});
    while [watch(), watch()].iter().any(Result::is_err) {
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(300), "see fs.inotify.max_user_instances");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    follow()
}

async fn cell(which: Which, way: Way, what: What, saves: usize) {
    let cell = format!("{which:?}, {way:?}, {what:?}");
    let root = tempfile::tempdir().unwrap();
    let first = if matches!(what, What::Same) { text(what, 0) } else { "# first\n".to_owned() };
    let mut editor = Editor::new(root.path(), way, &first);
    let including = root.path().join("main.yaml");
    fs::write(&including, "version: 1\nrule_files: folder/*.yaml\n").unwrap();
    let read = |path: &Path| RulesFiles::read(path).unwrap();
    let mut followed = match which {
        Which::Main => followed_by_events(&read(&editor.path)).await,
        Which::Included => followed_by_events(&read(&including)).await,
        // It has a watch for a moment.
        Which::Unheard => {
            followed(|| FollowedFile::without_events(&read(&editor.path), MOMENT)).await
        }
    };
    let mut halves = 0;
    for n in 1..=saves {
        let text = text(what, n);
        if matches!(what, What::Same) {
            // Nothing comes of it; a file that was away for a moment may be told to be back.
            editor.save(&text, false).await;
            let none = tokio::time::timeout(Duration::from_millis(250), followed.changed()).await;
            if let Ok(content) = none {
                let away = matches!(way, Way::RemoveAndBack | Way::FolderRemovedAndBack);
                assert!(away, "{cell}: the same content came again: {content:?}");
                let back = held(which, content);
                assert!(back.is_none_or(|back| back == text), "{cell}: it came half written");
            }
            continue;
        }
        let ((), mut came) = tokio::join!(
            editor.save(&text, matches!(what, What::Truncated)),
            next(&mut followed, which, &cell)
        );
        // A machine that is busy elsewhere can bring the word of the first half later than the end of
        // the rest that is waited for.
        if matches!(what, What::Truncated) && came == text[..text.len() / 2] {
            halves += 1;
            came = next(&mut followed, which, &cell).await;
        }
        assert_eq!(came, text, "{cell}, save {n}: it came twice, or half written");
    }
    assert!(halves * 4 <= saves, "{cell}: {halves} of {saves} were seen half written");
    if matches!(what, What::Same) {
        editor.save("# another\n", false).await;
        let mut came = next(&mut followed, which, &cell).await;
        while came == text(what, 0) {
            came = next(&mut followed, which, &cell).await;
        }
        assert_eq!(came, "# another\n", "{cell}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_save_is_missed_and_none_comes_twice() {
    let mut cells = tokio::task::JoinSet::new();
    for which in WHICH {
        for way in WAYS {
            for what in WHATS {
                // Where nothing tells of a save, or not of all of it, each takes two rests or three.
                let other_folder = matches!(way, Way::SwapLink | Way::FolderRemovedAndBack);
                let saves = if which == Which::Unheard || other_folder { 100 } else { 200 };
                cells.spawn(cell(which, way, what, saves));
            }
        }
    }
    while let Some(done) = cells.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// What is written in a folder that is made anew is told of by nothing until that one is watched.
#[tokio::test]
async fn a_folder_that_is_filled_anew_is_not_read_by_half() {
    for which in [Which::Main, Which::Included] {
        let mut tries = 0;
        // A machine that is busy elsewhere can hold the second half up for as long as files rest.
        while let Err(between) = filled_anew(which).await {
            tries += 1;
            assert!(
                between > Duration::from_millis(150) && tries < 50,
                "{which:?}: half after {between:?}"
            );
        }
    }
}

/// Fills a folder that is made anew in two steps, of which the first may not be told by itself; else how
/// long it was until the second.
async fn filled_anew(which: Which) -> Result<(), Duration> {
    let root = tempfile::tempdir().unwrap();
    let editor = Editor::new(root.path(), Way::FolderRemovedAndBack, "# first\n");
    let including = root.path().join("main.yaml");
    fs::write(&including, "version: 1\nrule_files: folder/*.yaml\n").unwrap();
    let read = if which == Which::Main { &editor.path } else { &including };
    let mut followed = followed_by_events(&RulesFiles::read(read).unwrap()).await;
    let save = async {
        fs::remove_dir_all(&editor.folder).unwrap();
        // It is read in the middle between the half and the whole, if it is read once.
        tokio::time::sleep(Duration::from_millis(150)).await;
        fs::create_dir(&editor.folder).unwrap();
        let began = monotonic();
        fs::write(&editor.path, "# sec").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        fs::write(&editor.path, "# second\n").unwrap();
        began.elapsed()
    };
    let (between, came) = tokio::join!(save, next(&mut followed, which, "filled anew"));
    if came == "# second\n" { Ok(()) } else { Err(between) }
}

/// A rules file in a folder of its own that includes `rules.d/*.yaml` and `sites/*/rules.yaml`.
struct Including {
    root: tempfile::TempDir,
    followed: FollowedFile,
}

impl Including {
    const MAIN: &str = "version: 1\nrule_files: [rules.d/*.yaml, sites/*/rules.yaml]\n";

    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("rules.yaml");
        fs::write(&main, Self::MAIN).unwrap();
        let followed = followed_by_events(&RulesFiles::read(&main).unwrap()).await;
        Self { root, followed }
    }

    fn save(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The next content: the files that are included, by path, with their texts.
    async fn next(&mut self) -> Vec<(String, String)> {
        // Sooner than they would be seen without events.
        let wait = tokio::time::timeout(Duration::from_secs(9), self.followed.changed()).await;
        let files = wait.unwrap().files.unwrap();
        let below = |path: &Path| path.strip_prefix(self.root.path()).unwrap().to_owned();
        let files = files.included.into_iter();
        files.map(|file| (below(&file.path).display().to_string(), file.text)).collect()
    }

    async fn quiet(&mut self) {
        let none = tokio::time::timeout(Duration::from_millis(500), self.followed.changed()).await;
        assert!(none.is_err(), "{none:?}");
    }
}

fn named<const N: usize>(files: [(&str, &str); N]) -> Vec<(String, String)> {
    files.map(|(path, text)| (path.to_owned(), text.to_owned())).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn included_files_come_and_go() {
    let mut rules = Including::new().await;
    rules.quiet().await;
    // A folder that did not exist, and then one in which a folder must first appear.
    rules.save("rules.d/20.yaml", "b");
    assert_eq!(rules.next().await, named([("rules.d/20.yaml", "b")]));
    rules.save("sites/home/rules.yaml", "h");
    let both = [("rules.d/20.yaml", "b"), ("sites/home/rules.yaml", "h")];
    assert_eq!(rules.next().await, named(both));
    // By name within a pattern, whatever came first.
    rules.save("rules.d/10.yaml", "a");
    let three = [("rules.d/10.yaml", "a"), both[0], both[1]];
    assert_eq!(rules.next().await, named(three));
    // What no pattern means, an editor's copies among it, is nothing to tell of.
    for other in ["rules.d/.10.yaml", "rules.d/10.yaml~", "rules.d/10.yaml.bak", "rules.d/x/1.yaml"]
    {
        rules.save(other, "no");
    }
    fs::create_dir(rules.root.path().join("rules.d/folder.yaml")).unwrap();
    rules.quiet().await;
    // A link, whose file is changed where it really is.
    rules.save("elsewhere/shared.txt", "s");
    symlink("../elsewhere/shared.txt", rules.root.path().join("rules.d/30.yaml")).unwrap();
    let four = [three[0], three[1], ("rules.d/30.yaml", "s"), three[2]];
    assert_eq!(rules.next().await, named(four));
    rules.save("elsewhere/shared.txt", "t");
    let four = [three[0], three[1], ("rules.d/30.yaml", "t"), three[2]];
    assert_eq!(rules.next().await, named(four));
    // Away with a file, with a folder of folders, and with all.
    fs::remove_file(rules.root.path().join("rules.d/10.yaml")).unwrap();
    assert_eq!(rules.next().await, named([four[1], four[2], four[3]]));
    fs::remove_dir_all(rules.root.path().join("sites")).unwrap();
    assert_eq!(rules.next().await, named([four[1], four[2]]));
    fs::remove_dir_all(rules.root.path().join("rules.d")).unwrap();
    assert_eq!(rules.next().await, []);
    rules.save("sites/work/rules.yaml", "w");
    assert_eq!(rules.next().await, named([("sites/work/rules.yaml", "w")]));
    // Other patterns are followed from the save on that brings them.
    rules.save("rules.yaml", "version: 1\nrule_files: more/*.yaml\n");
    assert_eq!(rules.next().await, []);
    rules.save("more/1.yaml", "m");
    assert_eq!(rules.next().await, named([("more/1.yaml", "m")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_saved_one_after_the_other_come_together() {
    async fn together(events: bool) {
        let mut rules = Including::new().await;
        if !events {
            let files = RulesFiles::read(&rules.root.path().join("rules.yaml")).unwrap();
            rules.followed = FollowedFile::without_events(&files, MOMENT);
        }
        for n in 1..=60 {
            let text = n.to_string();
            let paths = ["rules.d/1.yaml", "sites/home/rules.yaml", "rules.d/2.yaml"];
            let saved = async {
                for path in paths {
                    rules.save(path, &text);
                    tokio::time::sleep(MOMENT).await;
                }
                rules.save("rules.yaml", &format!("{}# {n}\n", Including::MAIN));
            };
            saved.await;
            let whole = [(paths[0], &*text), (paths[2], &*text), (paths[1], &*text)];
            assert_eq!(rules.next().await, named(whole), "save {n}, events: {events}");
        }
    }
    tokio::join!(together(true), together(false));
}
