//! The READMEs: what they show loads, what they name exists, and the two say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use taskwarden::engine::audit::Outcome;
use taskwarden::engine::class::Class;
use taskwarden::engine::rule::Action;
use taskwarden::engine::task::{Kind, State};
use taskwarden::rules::{Severity, Source, Sources, load};

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// What a fragment of a rules file stands under.
const AROUND: &str = "version: 1\nservers: [{ name: home, url: 'http://127.0.0.1:5244', \
                      token: { env: OPENLIST_TOKEN } }]\nrules:\n";

/// A fenced block: what stands behind the fence, where it begins, and its text without the
/// indentation of a list.
struct Block {
    info: String,
    place: String,
    text: String,
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn blocks(name: &str) -> Vec<Block> {
    let page = page(name);
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().expect("a block that ends");
            if line.trim() == "```" {
                break;
            }
            let own = line.len() - line.trim_start().len();
            text.push_str(&line[indent.min(own)..]);
            text.push('\n');
        }
        blocks.push(Block {
            info: info.trim().to_owned(),
            place: format!("{name}:{}", number + 1),
            text,
        });
    }
    assert!(!blocks.is_empty(), "{name} shows nothing");
    blocks
}

/// The rows of the tables of a page, cells trimmed, without heads.
fn rows(name: &str) -> Vec<Vec<String>> {
    page(name)
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| {
            // `\|` is a bar within a cell.
            let line = line.replace("\\|", "\u{0}");
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().replace('\u{0}', "|"))
                .collect()
        })
        .collect()
}

/// The words in backquotes that stand in the first cells of tables.
fn named_in_tables(name: &str) -> BTreeSet<String> {
    rows(name).iter().flat_map(|cells| code_words(&cells[0])).collect()
}

fn code_words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_taskwarden"))
        .args(arguments)
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?} has no help");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that exist, those of commands too (`dead list`), with the options of each.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![Vec::new()];
    while let Some(command) = left.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let help = help(&words);
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = listed
            .take_while(|line| line.starts_with("  "))
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty() && *name != "help");
        left.extend(names.map(|name| [command.clone(), vec![name.to_owned()]].concat()));
        found.insert(command.join(" "), options(&help));
    }
    found.remove("");
    assert!(found.contains_key("run"), "{found:?}");
    found
}

/// The options that a help text heads a line with.
fn options(help: &str) -> BTreeSet<String> {
    help.lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| {
            let heads = line.trim_start().split("  ").next().unwrap_or_default();
            heads.split([',', ' ', '.', '[']).filter(|word| word.starts_with('-'))
        })
        .map(str::to_owned)
        .collect()
}

/// The calls of the program in a shell block, as words.
fn calls(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned).peekable();
            while words.peek().is_some_and(|word| word == "sudo" || word.contains('=')) {
                words.next();
            }
            let words: Vec<String> = words.collect();
            match words.first()?.as_str() {
                "taskwarden" => Some(words[1..].to_vec()),
                // `cargo run -- demo`.
                "cargo" if words.get(1)? == "run" => {
                    Some(words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect())
                }
                _ => None,
            }
        })
        .collect()
}

fn hold_against(place: &str, words: &[String], commands: &BTreeMap<String, BTreeSet<String>>) {
    let named: Vec<&str> =
        words.iter().map(String::as_str).take_while(|word| !word.starts_with('-')).collect();
    let call = words.join(" ");
    let (command, known) = (1..=named.len())
        .rev()
        .find_map(|length| commands.get_key_value(&named[..length].join(" ")))
        .unwrap_or_else(|| panic!("{place}: `{call}` is no command"));
    for word in words.iter().filter(|word| word.starts_with('-') && word.len() > 1) {
        let option = word.split('=').next().unwrap_or_default();
        assert!(known.contains(option), "{place}: `{command}` has no option `{option}`");
    }
}

#[test]
fn every_rules_file_that_is_shown_loads() {
    for name in READMES {
        let mut shown = 0;
        for block in blocks(name).iter().filter(|block| block.info.starts_with("yaml")) {
            let text = match (block.info.as_str(), block.text.starts_with("version: 1\n")) {
                ("yaml", true) => block.text.clone(),
                ("yaml rule", false) => format!("{AROUND}{}", block.text),
                _ => panic!("{}: neither a whole file nor marked `yaml rule`", block.place),
            };
            let loaded = load(Source { path: &block.place, text: &text, world_readable: true });
            let findings: Vec<String> = loaded
                .findings
                .iter()
                .map(|finding| format!("{}: {}", finding.code, finding.message))
                .collect();
            // What a README shows is copied: it may not even raise a warning.
            assert!(findings.is_empty(), "{}: {}", block.place, findings.join("; "));
            assert!(loaded.config.is_some(), "{}", block.place);
            shown += 1;
        }
        assert!(shown >= 3, "{name} shows {shown} rules files");
    }
}

#[test]
fn every_command_that_is_shown_exists() {
    let commands = commands();
    for name in READMES {
        let mut shown = 0;
        for block in blocks(name).iter().filter(|block| block.info == "sh") {
            for words in calls(&block.text) {
                hold_against(&block.place, &words, &commands);
                shown += 1;
            }
        }
        assert!(shown > 5, "{name} shows {shown} calls");
        // In running text and tables too: `taskwarden run --dry-run`.
        for code in page(name).lines().flat_map(code_words) {
            let words: Vec<String> = code.split_whitespace().map(str::to_owned).collect();
            if words.len() > 1 && words[0] == "taskwarden" {
                hold_against(name, &words[1..], &commands);
            }
        }
    }
}

#[test]
fn the_several_files_that_are_shown_load_together() {
    let shown = blocks("docs/reload.md");
    let [main, included] = &*shown else { panic!("two files are shown") };
    let loaded = load(Sources {
        main: Source::new("rules.yaml", &main.text),
        included: vec![Source::new("rules.d/10-copies.yaml", &included.text)],
        unmatched: Vec::new(),
    });
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.config.unwrap().rules.rules.len(), 2);
}

#[test]
fn the_table_of_commands_is_whole() {
    let commands = commands();
    for name in READMES {
        let mut listed = BTreeSet::new();
        for cells in rows(name) {
            let Some(call) = cells[0].strip_prefix("`taskwarden ") else { continue };
            let command = call.trim_end_matches('`').split_whitespace().next().unwrap();
            for code in code_words(&cells[1]).iter().filter(|code| code.starts_with("--")) {
                let words = [command].into_iter().chain(code.split_whitespace());
                let words: Vec<String> = words.map(str::to_owned).collect();
                hold_against(name, &words, &commands);
            }
            listed.insert(command.to_owned());
        }
        let all: BTreeSet<String> =
            commands.keys().filter(|name| !name.contains(' ')).cloned().collect();
        assert_eq!(listed, all, "{name}");
    }
}

#[test]
fn both_pages_name_every_word_of_a_rules_file() {
    let keys = include_str!("../src/rules/keys.rs");
    // The name is the first text of each `key(` in the tables.
    let (mut matchers, mut others) = (BTreeSet::new(), BTreeSet::new());
    for table in keys.split("pub(super) const ").skip(1) {
        let into = if table.starts_with("MATCH:") { &mut matchers } else { &mut others };
        for key in table.split("key(").skip(1) {
            let name = key.trim_start().strip_prefix('"').and_then(|key| key.split('"').next());
            into.extend(name.map(str::to_owned));
        }
    }
    assert!(matchers.contains("stalled_for") && others.contains("only_if_undone_below"));
    // `env`, `file` and `credential` of a secret are told where secrets are.
    others.retain(|key| !["env", "file", "credential"].contains(&key.as_str()));

    for name in READMES {
        let named = named_in_tables(name);
        for word in matchers.iter().chain(&others) {
            assert!(named.contains(word), "{name} has no row for `{word}`");
        }
        for action in Action::ALL {
            assert!(named.contains(action.as_str()), "{name} has no row for `{action}`");
        }
        for outcome in Outcome::ALL {
            assert!(named.contains(outcome.as_str()), "{name} has no row for `{outcome}`");
        }
        let page = page(name);
        let words: BTreeSet<String> = page.lines().flat_map(code_words).collect();
        let states = State::KNOWN.iter().filter_map(|state| state.name());
        let kinds = Kind::KNOWN.iter().map(Kind::as_str);
        let classes = Class::KNOWN.iter().map(Class::as_str);
        for word in states.chain(kinds).chain(classes) {
            assert!(words.contains(word), "{name} does not name `{word}`");
        }
    }
}

#[test]
fn both_pages_name_every_field_of_an_audit_row() {
    let row = taskwarden::engine::audit::AuditRow {
        id: taskwarden::engine::audit::IntentId(1),
        time: jiff::Timestamp::UNIX_EPOCH,
        server: "home".into(),
        rule: None,
        action: "retry_some".to_owned(),
        kind: None,
        task_id: None,
        task_name: None,
        attempt: None,
        reason: String::new(),
        error: None,
        class: None,
        mode: taskwarden::engine::rule::Mode::Live,
        outcome: Outcome::Planned,
        detail: String::new(),
        rules_revision: String::new(),
    };
    let json = serde_json::to_value(&row).unwrap();
    for name in READMES {
        let named = named_in_tables(name);
        for field in json.as_object().unwrap().keys() {
            assert!(named.contains(field), "{name} has no row for `{field}`");
        }
    }
}

#[test]
fn both_pages_show_the_same() {
    let shown = |name: &str| -> Vec<(String, String)> {
        blocks(name)
            .into_iter()
            .filter(|block| block.info != "text")
            .map(|block| {
                // Comments and the texts in quotes are for people, and so is a token's placeholder.
                let lines = block.text.lines().map(|line| match line.split_once(" #") {
                    Some((code, _)) => code.trim_end(),
                    None => line,
                });
                let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
                let lines = lines.filter(|line| !line.starts_with("export "));
                (block.info, lines.collect::<Vec<_>>().join("\n"))
            })
            .collect()
    };
    let [english, chinese] = READMES.map(shown);
    assert_eq!(english, chinese);
    // The outputs are the program's, so they are the same too.
    let outputs = |name: &str| -> Vec<String> {
        let blocks = blocks(name).into_iter().filter(|block| block.info == "text");
        blocks.map(|block| block.text).collect()
    };
    assert_eq!(outputs(READMES[0]), outputs(READMES[1]));
    // Each leads to the other, at the top.
    for (name, other) in [(READMES[0], READMES[1]), (READMES[1], READMES[0])] {
        let top: Vec<String> = page(name).lines().take(5).map(str::to_owned).collect();
        assert!(top.iter().any(|line| line.contains(&format!("({other})"))), "{name}");
    }
}

#[test]
fn the_tables_of_both_pages_have_the_same_rows() {
    let heads = |name: &str| -> Vec<Vec<String>> {
        let rows = rows(name).into_iter().map(|cells| code_words(&cells[0]));
        rows.filter(|words| !words.is_empty()).collect()
    };
    assert_eq!(heads(READMES[0]), heads(READMES[1]));
}

#[test]
fn every_file_that_a_page_leads_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in READMES.into_iter().chain(["ARCHITECTURE.md"]) {
        for target in page(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_file = !target.contains("://") && !target.starts_with('#');
            assert!(!is_file || root.join(target).exists(), "{name} leads to `{target}`");
        }
    }
}

#[test]
fn the_architecture_page_names_every_folder() {
    let page = page("ARCHITECTURE.md");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let row = if path.is_dir() { format!("| `{name}` |") } else { continue };
        assert!(page.contains(&row), "{name} has no row");
    }
}

#[test]
fn the_shown_finding_is_what_check_says() {
    let text = "version: 1\nservers:\n  - name: home\n    url: http://127.0.0.1:5244\n    token: { \
                env: OPENLIST_TOKEN }\nrules:\n  - name: retry flaky transfers\n    max_attempts: 3\
                \n    match: { kind: [copy, move], state: running }\n    action: retry_some\n";
    let loaded = load(Source { path: "rules.yaml", text, world_readable: false });
    assert!(loaded.findings.iter().any(|finding| finding.severity == Severity::Error));
    let told = taskwarden::cli::findings::human(&loaded, false);
    for name in READMES {
        let shown =
            blocks(name).into_iter().find(|block| block.text.starts_with("error[")).unwrap();
        assert_eq!(shown.text.trim_end(), told.trim_end(), "{}", shown.place);
    }
}

#[test]
fn the_toolchain_that_is_asked_for_is_the_manifests() {
    let manifest = include_str!("../Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    for name in READMES {
        assert!(page(name).contains(version), "{name} does not name Rust {version}");
    }
    let run = include_str!("../.ci/run");
    assert!(run.trim_end().ends_with("cargo test --locked"), ".ci/run ends with the tests");
}
