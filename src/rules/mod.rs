//! Rules files: YAML text -> configuration, rules and every finding, in one pass.
//!
//! Pure: no I/O, no clock, no async. Knows of `engine` only. It never opens a file: secrets stay
//! references, and time zones are those that come with the program.

pub mod cases;
mod codes;
mod cron;
mod finding;
mod keys;
mod lints;
mod listen;
mod matchers;
mod notify;
mod online;
mod pages;
mod patterns;
mod reader;
mod retention;
mod revision;
mod rule;
mod schema;
mod servers;
mod suggest;
mod values;
mod yaml;

use std::path::PathBuf;

use regex::Regex;

pub use codes::{Code, UnknownCode};
pub use finding::{Finding, Related, Severity, Span};
pub use listen::ListenConfig;
pub use notify::NotifyTarget;
pub use online::{Sighting, hold_against};
pub use retention::Retention;
pub use schema::schema;
pub use servers::{AuthConfig, SecretRef, ServerConfig};
pub use suggest::nearest;

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
    /// The text with its secrets blotted out, for rendering: every byte and every character that is
    /// left is where it was.
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
    /// Where metrics and health checks are served.
    pub listen: Option<ListenConfig>,
    /// Whom the daemon tells what.
    pub notify: Vec<NotifyTarget>,
    /// How long the store keeps what was done.
    pub retention: Retention,
}

impl Config {
    /// Where each secret of the file is.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let servers = self.servers.iter().flat_map(|server| match &server.auth {
            AuthConfig::Token(token) => vec![token],
            AuthConfig::Password { password, totp, .. } => {
                std::iter::once(password).chain(totp).collect()
            }
        });
        let listen = self.listen.iter().flat_map(|listen| &listen.token);
        let notify = self.notify.iter().flat_map(|target| {
            let headers = target.headers.iter().map(|(_, value)| value);
            target.url.iter().chain(&target.token).chain(headers)
        });
        servers.chain(listen).chain(notify)
    }
}

/// A size as rules files write it (`10GiB`), in bytes.
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size is not negative, and one out of range saturates"
    )]
    values::size(text).map(|bytes| bytes as u64).map_err(|fault| fault.message)
}

/// A length of time as rules files write it (`1h30m`, `2d`).
///
/// # Errors
///
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    values::duration(text).map_err(|fault| fault.message)
}

/// Reads a rules file, with every problem in it.
#[must_use]
pub fn load(source: Source<'_>) -> Loaded {
    let mut findings = Vec::new();
    let root = yaml::parse(source.text, &mut findings);
    let mut reader = Reader::new(source.text, findings);
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
    silence(source.text, &reader.secrets, &mut findings);
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
        let listen = fields.get("listen").and_then(|at| self.listen(at));
        let notify = fields.get("notify").map(|at| self.notify(at)).unwrap_or_default();
        let retention = match fields.get("retention") {
            Some(at) => self.retention(at),
            None => Retention::default(),
        };
        let servers = match fields.get("servers") {
            Some(at) => self.servers(at),
            None => Vec::new(),
        };
        let nothing = |at: At<'_>| {
            at.is_null() || matches!(&at.node.value, Value::Seq(items) if items.is_empty())
        };
        if fields.get("servers").is_none_or(nothing) {
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
        let drafts = match fields.get("rules") {
            Some(at) => self.rules(at, &defaults),
            None => Vec::new(),
        };
        if fields.get("rules").is_none_or(nothing) {
            let at = fields.get("rules").map_or(start, |at| at.key_span);
            self.report(Code::NoRules, at, "the file has no rules, so nothing will ever be done")
                .help("add `rules:` with a `name`, a `match` and an `action`");
        }
        lints::lint(self, &drafts);
        let shown_classes = shown_classes(&classes);
        let table = ClassTable::with_overrides(classes);
        let server_modes =
            servers.iter().map(|server| (server.name.clone(), server.mode)).collect();
        let rules = drafts.into_iter().map(|draft| draft.rule).collect();
        let rules = RuleSet { rules, classes: table, mode, server_modes, revision: String::new() };
        let mut config = Config { servers, rules, audit_log, listen, notify, retention };
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
            _ => self.wrong_type(at, "the number 1", "write `version: 1`"),
        }
    }

    fn classes(&mut self, at: At<'_>) -> Vec<(Class, Vec<Regex>)> {
        let entries = match &at.node.value {
            Value::Map(entries) => entries,
            Value::Null => return Vec::new(),
            _ => {
                self.wrong_type(
                    at,
                    "a map of classes",
                    "write `class_name: pattern`, or a list of patterns",
                );
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
            let help = "every error would be of this class; say what its errors have in common";
            if let Some(patterns) = self.regexes(at, help)
                && fine
            {
                classes.push((Class::from(name), patterns));
            }
        }
        classes
    }
}

/// The classes of a file in one form for one meaning.
fn shown_classes(classes: &[(Class, Vec<Regex>)]) -> String {
    // Their order stays: the first class that fits an error has it.
    let shown: Vec<(&str, Vec<&str>)> = classes
        .iter()
        .map(|(class, patterns)| (class.as_str(), patterns.iter().map(Regex::as_str).collect()))
        .collect();
    format!("{shown:?}")
}

/// The text with secrets blotted out. Beside the places that were found to hold one, every value
/// behind a key that looks like a secret's goes: the text may be too broken to know better.
fn mask(text: &str, secrets: &[Span]) -> String {
    let mut spans: Vec<std::ops::Range<usize>> = secrets.iter().map(|span| span.range()).collect();
    spans.extend(suspicious_values(text));
    spans.sort_by_key(|span| span.start);
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for span in spans {
        let (start, end) = (span.start.max(at), span.end.max(at));
        shown.push_str(text.get(at..start).unwrap_or_default());
        // A character of the same width each, so that no place moves.
        shown.extend(text.get(start..end).unwrap_or_default().chars().map(
            |c| match c.len_utf8() {
                _ if c == '\n' || c == '\r' => c,
                1 => '*',
                2 => '\u{b7}',
                3 => '\u{2022}',
                _ => '\u{1f784}',
            },
        ));
        at = end;
    }
    shown.push_str(text.get(at..).unwrap_or_default());
    shown
}

/// Takes the texts of secrets out of what findings say: an alias can carry one to where nobody
/// expects it.
fn silence(text: &str, secrets: &[Span], findings: &mut [Finding]) {
    let mut words: Vec<&str> = secrets
        .iter()
        .filter_map(|span| text.get(span.range()))
        .map(|word| word.split_once(' ').filter(|_| word.starts_with('&')).map_or(word, |w| w.1))
        .map(|word| word.trim_matches(['"', '\'', ' ', '\n']))
        // Shorter ones would cut holes into every text, and tell nothing.
        .filter(|word| word.len() >= 6)
        .collect();
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    for finding in findings {
        let related = finding.related.iter_mut().map(|related| &mut related.message);
        let said = [&mut finding.message, &mut finding.label].into_iter();
        for said in said.chain(finding.help.as_mut()).chain(related) {
            for word in &words {
                if said.contains(word) {
                    *said = said.replace(word, "***");
                }
            }
        }
    }
}

/// What stands behind `token:`, `password:` and `totp:`, with the deeper lines that go on with it,
/// but for references; and the user part of URLs.
fn suspicious_values(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    // The column of a key whose value goes on below, and whether the lines there are to go.
    let mut open: Option<(usize, bool)> = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let column = line.len() - line.trim_start_matches([' ', '-', '\t', '\u{feff}']).len();
        if let Some((key, secret)) = open
            && !bare.is_empty()
        {
            if column <= key {
                open = None;
            } else if secret && !is_reference(bare) {
                found.push(start..start + line.len());
            }
        }
        if let Some((at, value)) = secret_on(line) {
            let secret = !is_reference(value) && value != "{}" && !value.starts_with('#');
            if secret && !value.is_empty() {
                found.push(start + at..start + at + value.len());
            }
            if open.is_none() {
                open = Some((column, secret));
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

/// The value behind the first key of a line that looks like a secret's, and where it begins.
fn secret_on(line: &str) -> Option<(usize, &str)> {
    let first = ["token", "password", "totp"]
        .iter()
        .flat_map(|key| {
            line.match_indices(key).filter_map(|(at, _)| {
                let rest = line[at + key.len()..].trim_start_matches(['"', '\'', ' ']);
                let value = rest.strip_prefix(':')?;
                (!is_reference(value.trim_start())).then_some(line.len() - value.len())
            })
        })
        .min()?;
    let value = line[first..].trim_end();
    Some((line[first..].len() - line[first..].trim_start().len() + first, value.trim_start()))
}

/// Whether a value says where a secret is, and not what it is.
fn is_reference(value: &str) -> bool {
    let inner = value.trim_start_matches(['{', ' ', '"', '\'']);
    ["env", "file", "credential"].iter().any(|word| {
        inner
            .strip_prefix(word)
            .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_finding_shows_what_may_be_a_secret_wherever_it_stands() {
        for server in [
            "pass: hunter2",
            "secret: hunter2",
            "authorization: 'Bearer hunter2'",
            "auth: { user: me, key: hunter2 }",
            "pasword: &p hunter2, mode: *p",
            "token: { value: hunter2 }",
        ] {
            let text = format!(
                "version: 1\nservers:\n  - {{ name: h, url: 'http://h', {server} }}\nrules: []\n"
            );
            let loaded = load(Source::new("rules.yaml", &text));
            assert!(!loaded.findings.is_empty(), "{server}");
            let all = format!("{:?}{}", loaded.findings, loaded.shown);
            assert!(!all.contains("hunter2"), "{server}: {all}");
        }
        for url in ["http://h/?token=hunter2", "http://h/#hunter2"] {
            let text = format!(
                "version: 1\nservers: [{{ name: h, url: '{url}', token: {{ env: T }} }}]\nrules: []\n"
            );
            let loaded = load(Source::new("rules.yaml", &text));
            let all = format!("{:?}{}", loaded.findings, loaded.shown);
            assert!(!all.contains("hunter2"), "{url}: {all}");
        }
    }

    #[test]
    fn secrets_are_blotted_out_of_texts_however_broken() {
        let shown = |text: &str| mask(text, &[]);
        for (text, expected) in [
            ("token: abc\n", "token: ***\n"),
            ("  - { name: a, token: abc }\n", "  - { name: a, token: *****\n"),
            ("token: { env: NAME }\n", "token: { env: NAME }\n"),
            ("token:\n  env: NAME\nurl: x\n", "token:\n  env: NAME\nurl: x\n"),
            (
                "a:\n  password: |\n    hun\n    ter2\n  b: c\n",
                "a:\n  password: *\n*******\n********\n  b: c\n",
            ),
            ("password:\n  hunter\nb: c\n", "password:\n********\nb: c\n"),
            ("\"totp\" : 中文\r\n", "\"totp\" : \u{2022}\u{2022}\r\n"),
            ("url: http://me:pass@host/x@y\n", "url: http://*******@host/x@y\n"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
