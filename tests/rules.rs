//! Rules files as data: each file in `rules/broken` has one mistake (or what its first line says)
//! and a snapshot of what people see of it; each in `rules/good` is accepted without a word.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use taskwarden::cli::findings;
use taskwarden::rules::{Code, Loaded, Source, load};

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules").join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

fn check(text: &str) -> Loaded {
    load(Source { path: "rules.yaml", text, world_readable: true })
}

#[test]
fn each_broken_file_is_told_so() {
    let files = files("broken");
    assert!(files.len() > 120);
    let mut wrong = Vec::new();
    for (path, text) in files {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let loaded = check(&text);
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let expected: BTreeSet<&str> = expected.split(", ").collect();
        let found: BTreeSet<&str> = loaded.findings.iter().map(|f| f.code.as_str()).collect();
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
        let has_error =
            found.iter().any(|code| code.parse::<Code>().unwrap().severity().as_str() == "error");
        assert_eq!(loaded.config.is_none(), has_error, "{name}");
        for finding in &loaded.findings {
            assert!(text.get(finding.span.range()).is_some(), "{name}: {finding:?}");
        }
        for secret in ["hunter2", "super-secret", "7f9c2ba4"] {
            let printed = [
                findings::human(&loaded, true),
                findings::json(&loaded).join("\n"),
                findings::sarif(std::slice::from_ref(&loaded)),
                findings::github(&loaded).join("\n"),
                format!("{:?}", loaded.config),
            ];
            for printed in printed {
                assert!(!printed.contains(secret), "{name} prints a secret: {printed}");
            }
        }
        insta::with_settings!({
            snapshot_path => "rules/snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, findings::human(&loaded, false));
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_code_has_a_broken_file() {
    let found: BTreeSet<Code> =
        files("broken").iter().flat_map(|(_, text)| check(text).findings).map(|f| f.code).collect();
    let missing: Vec<&str> =
        Code::ALL.iter().filter(|code| !found.contains(code)).map(|code| code.as_str()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_good_file_is_accepted_without_a_word() {
    let mut files = files("good");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.example.yaml");
    let text = fs::read_to_string(&example).unwrap();
    files.push((example, text));
    for (path, text) in files {
        let loaded = check(&text);
        assert!(
            loaded.findings.is_empty() && loaded.config.is_some(),
            "{}:\n{}",
            path.display(),
            findings::human(&loaded, false)
        );
    }
}

#[test]
fn every_finding_says_its_mend() {
    for (path, text) in files("broken") {
        for finding in check(&text).findings {
            let help = finding.help.unwrap_or_default();
            assert!(!help.is_empty(), "{}: {}", path.display(), finding.message);
            assert!(finding.message.len() < 200 && help.len() < 400, "{}", path.display());
        }
    }
}
