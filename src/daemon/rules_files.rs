//! Reads a rules file and the files that it includes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, glob_with};
use sha2::{Digest, Sha256};

use crate::rules::{self, Loaded, Source, Sources};

/// How large a rules file may be, and how large all of them together, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How many files may be included: more than anyone has, and few enough to be watched.
const MOST_FILES: usize = 500;

/// `*` crosses no folder, and the hidden files beside a file are an editor's or a volume's own.
const GLOBS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct RulesFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Whether everyone on the machine may read it.
    pub world_readable: bool,
}

/// A rules file and the files that it includes.
#[derive(Clone, Debug)]
pub struct RulesFiles {
    /// The file itself.
    pub main: RulesFile,
    /// What it includes, in the order in which the rules follow.
    pub included: Vec<RulesFile>,
    /// The entries of `rule_files`.
    pub(super) patterns: Vec<String>,
    /// Those that no file fits.
    unmatched: Vec<String>,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the rules file `{}` cannot be read", .path.display())]
pub struct Unreadable {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: io::Error,
}

impl RulesFiles {
    /// Reads the file at `path` and what it includes.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let main = RulesFile::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::included_by(main, &folder)
    }

    /// Reads what a text includes that came from elsewhere, with paths from `folder` on. In what is
    /// said of it the text is called `name`.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read.
    pub fn of_text(name: &str, text: String, folder: &Path) -> Result<Self, Unreadable> {
        let main = RulesFile { path: PathBuf::from(name), text, world_readable: false };
        Self::included_by(main, folder)
    }

    fn included_by(main: RulesFile, folder: &Path) -> Result<Self, Unreadable> {
        let patterns = rules::rule_files(&main.text);
        let own = main.path.canonicalize().ok();
        let mut files =
            Self { main, included: Vec::new(), patterns: Vec::new(), unmatched: Vec::new() };
        let mut size = files.main.text.len() as u64;
        for pattern in patterns {
            let found = find(folder, &pattern)?;
            if found.is_empty() {
                files.unmatched.push(pattern.clone());
            }
            for path in found {
                let known = files.included.iter().any(|file| file.path == path);
                // A pattern that takes in the file it stands in does not mean that one.
                if known || (own.is_some() && path.canonicalize().ok() == own) {
                    continue;
                }
                let file = RulesFile::read(&path)?;
                size += file.text.len() as u64;
                let too_many = files.included.len() >= MOST_FILES;
                if too_many || size > LARGEST {
                    let message = format!(
                        "`rule_files` takes in more than {MOST_FILES} files, or more than {} MiB; \
                         name fewer",
                        LARGEST >> 20
                    );
                    let cause = io::Error::new(io::ErrorKind::FileTooLarge, message);
                    return Err(Unreadable { path, cause });
                }
                files.included.push(file);
            }
            files.patterns.push(pattern);
        }
        Ok(files)
    }

    /// Compiles them.
    #[must_use]
    pub fn load(&self) -> Loaded {
        self.with_sources(|sources| rules::load(sources))
    }

    /// Hands them out as the rules module takes them.
    pub fn with_sources<T>(&self, take: impl FnOnce(Sources<'_>) -> T) -> T {
        let files = std::iter::once(&self.main).chain(&self.included);
        let names: Vec<String> = files.map(|file| file.path.display().to_string()).collect();
        let source = |file: usize| {
            let RulesFile { text, world_readable, .. } =
                file.checked_sub(1).map_or(&self.main, |included| &self.included[included]);
            Source { path: &names[file], text, world_readable: *world_readable }
        };
        take(Sources {
            main: source(0),
            included: (1..names.len()).map(source).collect(),
            unmatched: self.unmatched.clone(),
        })
    }

    /// Tells contents apart.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for RulesFile { path, text, .. } in std::iter::once(&self.main).chain(&self.included) {
            for part in [path.as_os_str().as_encoded_bytes(), text.as_bytes()] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        for pattern in &self.unmatched {
            digest.update(pattern.as_bytes());
        }
        digest.finalize().into()
    }
}

impl RulesFile {
    fn read(path: &Path) -> Result<Self, Unreadable> {
        let text = read(path).map_err(|cause| Unreadable { path: path.to_owned(), cause })?;
        Ok(Self { path: path.to_owned(), text, world_readable: world_readable(path) })
    }
}

/// The files that fit a pattern, by name.
fn find(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, Unreadable> {
    let mut found = Vec::new();
    for path in matches(folder, pattern) {
        let path = path.map_err(|error| {
            let path = error.path().to_owned();
            Unreadable { path, cause: error.into() }
        })?;
        // To read what is no file could take for ever. What is gone already is told of in reading.
        if std::fs::metadata(&path).map_or(true, |about| about.is_file()) {
            found.push(path);
        }
    }
    Ok(found)
}

fn matches(folder: &Path, pattern: &str) -> impl Iterator<Item = glob::GlobResult> + use<> {
    let whole = if folder.as_os_str().is_empty() || pattern.starts_with('/') {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", Pattern::escape(&folder.to_string_lossy()))
    };
    // `rule_files` lets none through that is no pattern.
    glob_with(&whole, GLOBS).into_iter().flatten()
}

/// The folders in which files that fit a pattern can come and go, those of them that exist.
pub(super) fn folders(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let plain = |part: &str| !part.contains(['*', '?', '[']);
    let parts: Vec<&str> = pattern.split('/').collect();
    let fixed = parts.iter().take(parts.len() - 1).take_while(|part| plain(part)).count();
    let start = match parts[..fixed].join("/") {
        root if root.is_empty() && pattern.starts_with('/') => PathBuf::from("/"),
        below => folder.join(below),
    };
    let mut folders = vec![start];
    for end in fixed + 1..parts.len() {
        let found = matches(folder, &parts[..end].join("/")).flatten();
        folders.extend(found.filter(|path| path.is_dir()).take(MOST_FILES));
    }
    // A link's file is changed where it really is.
    let real = matches(folder, pattern).flatten().filter_map(|path| path.canonicalize().ok());
    folders.extend(real.take(MOST_FILES).filter_map(|path| Some(path.parent()?.to_owned())));
    folders
}

/// Reads a file of rules or of their tests; at most 16 MiB.
///
/// # Errors
///
/// What keeps it from being read, as text that names the file's own fault.
pub fn read(path: &Path) -> io::Result<String> {
    String::from_utf8(read_from(File::open(path)?)?).map_err(|error| {
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

/// Reads what a file of rules or of their tests may have at most: a device may never end.
///
/// # Errors
///
/// When there is more, or it cannot be read.
pub fn read_from(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("it has more than {} MiB, and is no rules file", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// Whether everyone on the machine may read the file.
#[must_use]
pub fn world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}
