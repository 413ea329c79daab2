//! Rules files: YAML text -> configuration, rules and every finding, in one pass.
//!
//! Pure: no I/O, no clock, no async. Knows of `engine` only. It never opens a file: secrets stay
//! references, and time zones are those that come with the program.

mod codes;
mod cron;
mod finding;
mod keys;
mod lints;
mod matchers;
mod patterns;
mod reader;
mod revision;
mod rule;
mod servers;
mod suggest;
mod values;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;

pub use codes::{Code, UnknownCode};
pub use finding::{Finding, Severity, Span};
pub use servers::{AuthConfig, SecretRef, ServerConfig};

use crate::engine::class::{Class, ClassTable};
use crate::engine::rule::{Mode, RuleSet};
use reader::{At, Place, Reader, shorten};
use rule::{Settings, modes};
use yaml::Value;

/// A rules file as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What to call the file in findings.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Whether everyone on the machine may read it; then a secret in it is a finding.
    pub world_readable: bool,
}

impl<'a> Source<'a> {
    /// A file that only its owner may read.
    #[must_use]
    pub fn new(path: &'a str, text: &'a str) -> Self {
        Self { path, text, world_readable: false }
    }
}

/// What became of a rules file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; there if and only if no finding is an error.
    pub config: Option<Config>,
    /// Everything that is wrong, in the order of the text.
    pub findings: Vec<Finding>,
    /// The file's path, for rendering.
    pub path: String,
    /// The text with a `*` in place of each byte of a secret, for rendering: every place is where it
    /// was.
    pub shown: String,
}

/// A rules file that has no errors.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers in file order; may be empty, and then there is nothing to run on.
    pub servers: Vec<ServerConfig>,
    /// The rules, compiled.
    pub rules: RuleSet,
    /// A file to which every action is appended, one JSON object a line.
    pub audit_log: Option<PathBuf>,
}

/// Reads a rules file, with every problem in it.
#[must_use]
pub fn load(source: Source<'_>) -> Loaded {
    let mut reader = Reader::new(source.text);
    let mut findings = Vec::new();
    let root = yaml::parse(source.text, &mut findings);
    reader.findings = findings;
    let config = root.as_ref().and_then(|root| reader.file(root));
    if source.world_readable {
        for (span, message) in std::mem::take(&mut reader.literals) {
            reader.report(Code::LiteralSecret, span, message).help(
                "move it to `{ env: NAME }` or `{ file: PATH }`, or close the file with `chmod 600`",
            );
        }
    }
    let failed = reader.errors() > 0;
    let mut findings = reader.findings;
    finding::settle(source.text, &mut findings);
    Loaded {
        config: config.filter(|_| !failed),
        findings,
        path: source.path.to_owned(),
        shown: mask(source.text, &reader.secrets),
    }
}

impl Reader<'_> {
    fn file(&mut self, root: &yaml::Node) -> Option<Config> {
        let fields = self.fields(root, root.span, Place::Top)?;
        let start = servers::first_key(root).unwrap_or(root.span);
        match fields.get("version") {
            Some(at) => self.version(at),
            None => {
                self.report(Code::MissingKey, start, "the file does not say its `version`")
                    .help("begin with `version: 1`");
            }
        }
        let mode = fields.get("mode").and_then(|at| self.word(at, &modes())).unwrap_or(Mode::Live);
        let audit_log = fields.get("audit_log").and_then(|at| self.path(at));
        let servers = match fields.get("servers") {
            Some(at) => self.servers(at),
            None => Vec::new(),
        };
        if servers.is_empty() && self.servers.is_empty() {
            let at = fields.get("servers").map_or(start, |at| at.key_span);
            self.report(
                Code::NoServers,
                at,
                "the file has no servers, so there is nothing to run on",
            )
            .help("add `servers:` with a `name`, a `url` and a `token`");
        }
        let classes = fields.get("classes").map(|at| self.classes(at)).unwrap_or_default();
        let defaults = match fields.get("defaults") {
            Some(at) => self.defaults(at),
            None => Settings::default(),
        };
        let (rules_given, drafts) = match fields.get("rules") {
            Some(at) => {
                let some = !matches!(&at.node.value, Value::Null)
                    && !matches!(&at.node.value, Value::Seq(items) if items.is_empty());
                (some, self.rules(at, &defaults))
            }
            None => (false, Vec::new()),
        };
        if !rules_given {
            let at = fields.get("rules").map_or(start, |at| at.key_span);
            self.report(Code::NoRules, at, "the file has no rules, so nothing will ever be done")
                .help("add `rules:` with a `name`, a `match` and an `action`");
        }
        lints::lint(self, &drafts);
        let shown_classes = shown_classes(&classes);
        let table = class_table(classes);
        let server_modes =
            servers.iter().map(|server| (server.name.clone(), server.mode)).collect();
        let rules = drafts.into_iter().map(|draft| draft.rule).collect();
        let rules = RuleSet { rules, classes: table, mode, server_modes, revision: String::new() };
        let mut config = Config { servers, rules, audit_log };
        config.rules.revision = revision::revision(&config, &shown_classes);
        Some(config)
    }

    fn version(&mut self, at: At<'_>) {
        match &at.node.value {
            Value::Text(scalar) if scalar.text == "1" => {}
            Value::Text(scalar) => {
                let message = format!(
                    "this program does not know version `{}` of the format",
                    shorten(&scalar.text)
                );
                self.report(Code::UnsupportedVersion, at.span, message).help("write `version: 1`");
            }
            _ => self.wrong_type(at, "the number 1"),
        }
    }

    fn classes(&mut self, at: At<'_>) -> Vec<(Class, Vec<Regex>)> {
        let entries = match &at.node.value {
            Value::Map(entries) => entries,
            Value::Null => return Vec::new(),
            _ => {
                self.wrong_type(at, "a map of classes with their patterns");
                return Vec::new();
            }
        };
        let mut classes = Vec::new();
        for entry in entries {
            let name = entry.key.as_str();
            let fine = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !fine {
                let message = format!("`{}` cannot be the name of a class", shorten(name));
                self.report(Code::UnknownClass, entry.key_span, message)
                    .help("write it in small letters, digits and `_`, such as `disk_asleep`");
            }
            self.classes.insert(name.to_owned());
            let at = At {
                node: &entry.value,
                span: entry.spot(),
                key: "classes",
                key_span: entry.key_span,
            };
            if let Some(patterns) = self.regexes(at)
                && fine
            {
                classes.push((class_named(name), patterns));
            }
        }
        classes
    }
}

/// The classes that there are without a file.
const BUILT_IN_CLASSES: [&str; 13] = [
    "throttled",
    "network",
    "timeout",
    "auth",
    "quota",
    "storage_full",
    "not_found",
    "exists",
    "blocked",
    "server_error",
    "interrupted",
    "canceled",
    "unknown",
];

fn class_named(name: &str) -> Class {
    match name {
        "throttled" => Class::Throttled,
        "canceled" => Class::Canceled,
        "interrupted" => Class::Interrupted,
        "unknown" => Class::Unknown,
        other => Class::Other(other.into()),
    }
}

fn class_table(own: Vec<(Class, Vec<Regex>)>) -> ClassTable {
    ClassTable::with_overrides(own)
}

/// The classes of a file in one form for one meaning.
fn shown_classes(classes: &[(Class, Vec<Regex>)]) -> String {
    let shown: BTreeMap<String, Vec<&str>> = classes
        .iter()
        .map(|(class, patterns)| (class.to_string(), patterns.iter().map(Regex::as_str).collect()))
        .collect();
    format!("{shown:?}")
}

/// The text with secrets blotted out. Beside the places that were found to hold one, every value
/// behind a key that looks like a secret's goes: the text may be too broken to know better.
fn mask(text: &str, secrets: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let blot = |bytes: &mut Vec<u8>, span: std::ops::Range<usize>| {
        for byte in bytes.get_mut(span).into_iter().flatten() {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    };
    for secret in secrets {
        blot(&mut bytes, secret.range());
    }
    let suspicious = suspicious_values(text);
    for span in suspicious {
        blot(&mut bytes, span);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The rest of each line behind `token:`, `password:` and `totp:`, but for references, and the user
/// part of URLs.
fn suspicious_values(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        'key: for key in ["token", "password", "totp"] {
            for (at, _) in line.match_indices(key) {
                let rest = line[at + key.len()..].trim_start_matches(['"', '\'', ' ']);
                let Some(value) = rest.strip_prefix(':') else { continue };
                let value = value.trim();
                let reference = ["env", "file"].iter().any(|word| {
                    let inner = value.trim_start_matches(['{', ' ', '"', '\'']);
                    inner.strip_prefix(word).is_some_and(|rest| {
                        rest.trim_start_matches(['"', '\'', ' ']).starts_with(':')
                    })
                });
                if !reference && !value.is_empty() && !value.starts_with('#') {
                    let from = start + line.len() - line[at + key.len()..].len();
                    let from = from + text[from..].find(value).unwrap_or(0);
                    found.push(from..from + value.len());
                    // All that follows on the line is out already.
                    break 'key;
                }
            }
        }
        for (at, _) in line.match_indices("://") {
            let rest = &line[at + 3..];
            let end = rest.find(['/', ' ', '"', '\'', '\n', '\r']).unwrap_or(rest.len());
            if let Some(user) = rest[..end].rfind('@') {
                found.push(start + at + 3..start + at + 3 + user);
            }
        }
        start += line.len();
    }
    found
}
