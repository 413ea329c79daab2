//! Holds the import rules of ARCHITECTURE.md: which folder may know of which, and what the pure ones
//! must never touch.
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::fs;
use std::path::{Path, PathBuf};

/// A folder of `src`, the folders it may import, and words that must not stand in it.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    banned: &'static [&'static str],
}

const IMPURE: &[&str] = &[
    "tokio::",
    "reqwest::",
    "rusqlite::",
    "axum::",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "Timestamp::now",
    "SystemTime",
    "Instant",
    "async fn",
    ".await",
    "RandomState",
];

const LAYERS: &[Layer] = &[
    Layer { name: "engine", imports: &[], banned: IMPURE },
    Layer { name: "rules", imports: &["engine"], banned: IMPURE },
    Layer { name: "sandbox", imports: &[], banned: &["rusqlite::", "reqwest::"] },
    Layer { name: "upstream", imports: &["engine", "ambient"], banned: &["rusqlite::", "axum::"] },
    Layer { name: "notify", imports: &["engine", "ambient"], banned: &["rusqlite::", "axum::"] },
    Layer { name: "store", imports: &["engine", "ambient"], banned: &["reqwest::", "axum::"] },
    Layer {
        name: "telemetry",
        imports: &["engine", "ambient"],
        banned: &["rusqlite::", "reqwest::"],
    },
    Layer {
        name: "daemon",
        imports: &["engine", "rules", "upstream", "store", "notify", "telemetry", "ambient"],
        banned: &["rusqlite::", "reqwest::", "axum::"],
    },
    Layer {
        name: "web",
        imports: &["engine", "rules", "store", "telemetry", "daemon", "ambient"],
        banned: &["rusqlite::"],
    },
    Layer {
        name: "cli",
        imports: &[
            "web",
            "engine",
            "rules",
            "upstream",
            "store",
            "notify",
            "telemetry",
            "daemon",
            "ambient",
            "sandbox",
        ],
        banned: &["rusqlite::", "reqwest::", "axum::"],
    },
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The code of a file without its tests and comments, by line number.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim() == "#[cfg(test)]"
            && text.lines().nth(index + 1).is_some_and(|next| next.starts_with("mod tests {"))
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            lines.push((index + 1, line.to_owned()));
        }
    }
    lines
}

#[test]
fn every_folder_imports_only_what_it_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for layer in LAYERS {
        for path in sources(&root.join(layer.name)).iter().filter(|path| !is_test(path)) {
            for (number, line) in code(path) {
                let place = format!("{}:{number}", path.strip_prefix(&root).unwrap().display());
                for (at, _) in line.match_indices("crate::") {
                    let rest = &line[at + "crate::".len()..];
                    let folder: String =
                        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    if folder != layer.name && !layer.imports.contains(&folder.as_str()) {
                        wrong.push(format!("{place}: {} must not import {folder}", layer.name));
                    }
                }
                for word in layer.banned {
                    if line.contains(word) {
                        wrong.push(format!("{place}: {} must not use `{word}`", layer.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_of_src_is_listed_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(LAYERS.iter().any(|layer| layer.name == name), "{name} has no import rules");
        }
    }
}
