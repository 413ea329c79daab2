//! Every way of saving a rules file, with every sort of content, on the real file system: nothing is
//! missed and nothing comes twice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use taskwarden::daemon::reload::FollowedFile;

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

/// The next content that can be read; a file that is away for a moment may be told of as well.
async fn next(followed: &mut FollowedFile, cell: &str) -> String {
    loop {
        let wait = tokio::time::timeout(Duration::from_secs(30), followed.changed()).await;
        let content = wait.unwrap_or_else(|_| panic!("{cell}: a save was missed"));
        if let Ok(text) = content.text {
            return text;
        }
    }
}

async fn cell(way: Way, what: What, saves: usize) {
    let cell = format!("{way:?}, {what:?}");
    let root = tempfile::tempdir().unwrap();
    let first = if matches!(what, What::Same) { text(what, 0) } else { "# first\n".to_owned() };
    let mut editor = Editor::new(root.path(), way, &first);
    let mut followed = FollowedFile::new(&editor.path, &first);
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
            }
            continue;
        }
        let ((), mut came) = tokio::join!(
            editor.save(&text, matches!(what, What::Truncated)),
            next(&mut followed, &cell)
        );
        // A machine that is busy elsewhere can make the moment between the halves longer than the
        // rest that is waited for.
        if matches!(what, What::Truncated) && came == text[..text.len() / 2] {
            halves += 1;
            came = next(&mut followed, &cell).await;
        }
        assert_eq!(came, text, "{cell}, save {n}: it came twice, or half written");
    }
    assert!(halves * 50 <= saves, "{cell}: {halves} of {saves} were seen half written");
    if matches!(what, What::Same) {
        editor.save("# another\n", false).await;
        let mut came = next(&mut followed, &cell).await;
        while came == text(what, 0) {
            came = next(&mut followed, &cell).await;
        }
        assert_eq!(came, "# another\n", "{cell}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_save_is_missed_and_none_comes_twice() {
    let mut cells = tokio::task::JoinSet::new();
    for way in WAYS {
        for what in WHATS {
            // A folder that was removed gives no event when it is back, so that each such save takes
            // as long as the slow look, ten seconds.
            let saves = if matches!(way, Way::FolderRemovedAndBack) { 6 } else { 200 };
            cells.spawn(cell(way, what, saves));
        }
    }
    while let Some(done) = cells.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
