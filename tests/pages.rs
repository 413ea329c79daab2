//! The pages on matchers and actions and the cookbooks: what they show loads without a finding, the
//! tests that they show pass, and nothing that a rules file knows is without its page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use taskwarden::cli::findings;
use taskwarden::engine::rule::Action;
use taskwarden::rules::cases::{self, prove};
use taskwarden::rules::{Config, Source, load};

const COOKBOOKS: [&str; 2] = ["docs/cookbook.md", "docs/cookbook.zh-CN.md"];
const INDEX: &str = "docs/rules/README.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The pages in `docs/rules`, the index left out.
fn pages() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("docs/rules"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .map(|name| format!("docs/rules/{name}"))
        .collect();
    names.sort();
    names
}

/// The fenced blocks of a page: what stands behind the fence, the line it begins at, its text.
fn blocks(page: &str) -> Vec<(String, usize, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        blocks.push((info.to_owned(), number + 1, text.join("\n") + "\n"));
    }
    blocks
}

/// What stands outside blocks and backquotes; names of tasks, which look like links, stand inside.
fn prose(page: &str) -> String {
    let outside: Vec<&str> = page.split("\n```").step_by(2).collect();
    outside.join("\n").split('`').step_by(2).collect()
}

/// Loads what a part of a page shows and runs its tests; how many rules files and tests there were.
fn run(name: &str, page: &str) -> (usize, usize) {
    let (mut files, mut tests) = (0, 0);
    let mut config: Option<Config> = None;
    for (info, line, text) in blocks(page) {
        let place = format!("{name}:{line}");
        if info != "yaml" {
            assert!(!info.starts_with("yaml"), "{place}: a block of YAML that nothing looks at");
            continue;
        }
        if text.starts_with("version: 1\n") {
            let loaded = load(Source { path: &place, text: &text, world_readable: true });
            // What a page shows is copied: it may not even raise a warning.
            assert!(loaded.findings.is_empty(), "{}", findings::human(&loaded, false));
            config = loaded.config;
            assert!(config.is_some(), "{place}");
            files += 1;
            continue;
        }
        assert!(text.starts_with("tests:\n"), "{place}: neither rules nor tests");
        let config = config.as_ref().unwrap_or_else(|| panic!("{place}: tests without rules"));
        let loaded = cases::load(Source::new(&place, &text), config);
        let told = findings::human(&loaded.loaded, false);
        assert!(loaded.loaded.findings.is_empty(), "{told}");
        for case in loaded.cases.unwrap_or_else(|| panic!("{told}")) {
            tests += 1;
            let outcome = prove(&case, &config.rules, 0, None);
            let happened: Vec<String> =
                outcome.happened.iter().map(|one| format!("{:?} {one}", one.at)).collect();
            let failures: Vec<String> = outcome
                .failures
                .iter()
                .map(|failure| format!("- {}\n+ {}", failure.expected, failure.got.join("; ")))
                .collect();
            assert!(
                failures.is_empty(),
                "{place}: {}\n{}\n\n{}",
                case.name,
                failures.join("\n"),
                happened.join("\n")
            );
        }
    }
    (files, tests)
}

/// The names in the table `const NAME` of the keys of rules files.
fn keys_of(table: &str) -> BTreeSet<String> {
    let keys = include_str!("../src/rules/keys.rs");
    let head = format!("const {table}: ");
    let table = keys.split("pub(super) ").find(|part| part.starts_with(&head)).unwrap();
    table.split("key(").skip(1).map(|key| key.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn every_matcher_and_every_action_has_a_page() {
    let mut wanted = keys_of("MATCH");
    assert!(wanted.contains("stalled_for") && wanted.contains("not"), "{wanted:?}");
    wanted.extend(Action::ALL.iter().map(|action| action.as_str().to_owned()));
    let stem = |page: &String| Path::new(page).file_stem().unwrap().to_str().unwrap().to_owned();
    let there: BTreeSet<String> = pages().iter().map(stem).collect();
    assert_eq!(there, wanted);
}

#[test]
fn every_page_has_an_example_that_loads_and_tests_that_pass() {
    for name in pages() {
        let page = read(&name);
        let word = Path::new(&name).file_stem().unwrap().to_str().unwrap();
        assert!(page.starts_with(&format!("# `{word}`")), "{name}: another head");
        let (files, tests) = run(&name, &page);
        assert!(files >= 1 && tests >= 1, "{name} has {files} rules files and {tests} tests");
        let shown = blocks(&page).into_iter().any(|(_, _, text)| {
            text.starts_with("version:")
                && (text.contains(&format!("{word}:")) || text.contains(&format!("action: {word}")))
        });
        assert!(shown, "{name}: the example does not show `{word}`");
    }
}

#[test]
fn every_recipe_has_rules_and_tests_that_pass() {
    for name in COOKBOOKS {
        let page = read(name);
        let mut recipes = 0;
        for recipe in page.split("\n## ").skip(1) {
            let head = recipe.lines().next().unwrap();
            let (files, tests) = run(&format!("{name}, {head}"), &format!("## {recipe}"));
            assert!(files >= 1 && tests >= 1, "{name}, {head}: {files} files, {tests} tests");
            recipes += 1;
        }
        assert!(recipes >= 12, "{name} has {recipes} recipes");
    }
}

#[test]
fn both_cookbooks_show_the_same() {
    let [english, chinese] = COOKBOOKS.map(|name| {
        let shown = blocks(&read(name)).into_iter();
        shown.map(|(info, _, text)| (info, text)).collect::<Vec<_>>()
    });
    assert_eq!(english, chinese);
}

#[test]
fn the_index_leads_to_every_page_and_every_link_ends_somewhere() {
    let index = read(INDEX);
    for name in pages() {
        let file = name.rsplit('/').next().unwrap();
        assert!(index.contains(&format!("]({file})")), "{INDEX} does not lead to {file}");
    }
    let all = pages().into_iter().chain(COOKBOOKS.map(str::to_owned)).chain([INDEX.to_owned()]);
    for name in all {
        let folder: PathBuf = root().join(&name).parent().unwrap().to_owned();
        let page = prose(&read(&name));
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { root().join(&name) } else { folder.join(file) };
            let text = fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{name} leads to {target}: {error}"));
            let found = anchor.is_empty()
                || text.lines().filter(|line| line.starts_with('#')).any(|line| {
                    let head = line.trim_start_matches('#').trim().to_lowercase();
                    let head = head.replace([',', ':', '`', '.', '(', ')'], "").replace(' ', "-");
                    head == anchor
                });
            assert!(found, "{name} leads to {target}, and there is no such section");
        }
    }
}
