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
use std::sync::{Arc, LazyLock};

use aho_corasick::AhoCorasick;

pub use codes::{Code, UnknownCode};
pub use finding::{Finding, Related, Severity, Span};
pub use listen::ListenConfig;
pub use notify::NotifyTarget;
pub use online::{Sighting, hold_against};
pub use retention::Retention;
pub use schema::{schema, test_schema};
pub use servers::{AuthConfig, SecretRef, ServerConfig};
pub use suggest::{nearest, slip_of};

use crate::engine::class::{Class, ClassTable};
use crate::engine::pattern::Pattern;
use crate::engine::rule::{Mode, RuleSet};
use reader::{At, Fields, Place, Reader, shorten};
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

/// A rules file with the files that it includes, as they were read.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The file itself.
    pub main: Source<'a>,
    /// Those that its `rule_files` name, in the order in which their rules follow.
    pub included: Vec<Source<'a>>,
    /// The entries of `rule_files` that no file fits.
    pub unmatched: Vec<String>,
}

impl<'a> From<Source<'a>> for Sources<'a> {
    fn from(main: Source<'a>) -> Self {
        Self { main, included: Vec::new(), unmatched: Vec::new() }
    }
}

impl<'a> Sources<'a> {
    fn texts(&self) -> Vec<&'a str> {
        std::iter::once(&self.main).chain(&self.included).map(|source| source.text).collect()
    }
}

/// What became of a rules file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration; there if and only if no finding is an error.
    pub config: Option<Config>,
    /// Everything that is wrong, in the order of the texts.
    pub findings: Vec<Finding>,
    /// The file itself, then those that it includes.
    pub files: Vec<Shown>,
}

impl Loaded {
    /// The file that a place is in.
    #[must_use]
    pub fn file(&self, span: Span) -> &Shown {
        const NONE: &Shown = &Shown { path: String::new(), text: String::new() };
        self.files.get(span.file).unwrap_or(NONE)
    }
}

/// A file, for rendering.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its path.
    pub path: String,
    /// Its text with its secrets blotted out: every byte and every character that is left is where
    /// it was.
    pub text: String,
}

/// A rules file that has no errors.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers in file order; may be empty, and then there is nothing to run on.
    pub servers: Vec<ServerConfig>,
    /// The rules, compiled.
    pub rules: Arc<RuleSet>,
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
            target.url.iter().chain(&target.token).chain(&target.password).chain(headers)
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

/// The entries of `rule_files` in a rules file, for whoever is to read those files. What is wrong
/// with them is for [`load`] to tell.
#[must_use]
pub fn rule_files(text: &str) -> Vec<String> {
    // The key alone, or a letter of it escaped: few files have either, and those need not be read twice.
    if !["rule_files", "\\x", "\\u", "\\U"].iter().any(|sign| text.contains(sign)) {
        return Vec::new();
    }
    let Some(root) = yaml::parse(text, &mut Vec::new()) else { return Vec::new() };
    let mut reader = Reader::new(vec![text], Vec::new());
    let fields = reader.fields(&root, root.span, Place::Top);
    let files = fields.and_then(|fields| fields.get("rule_files")).map(|at| reader.rule_files(at));
    files.unwrap_or_default().into_iter().map(|(pattern, _)| pattern).collect()
}

/// Reads a rules file, with every problem in it and in the files that it includes.
#[must_use]
pub fn load<'a>(sources: impl Into<Sources<'a>>) -> Loaded {
    let sources = sources.into();
    let (texts, mut left) = (sources.texts(), yaml::MOST_NODES);
    let mut findings = Vec::new();
    let mut roots = texts
        .iter()
        .enumerate()
        .map(|(file, text)| yaml::parse_part(file, text, &mut left, &mut findings));
    let root = roots.next().flatten();
    let included: Vec<_> = roots.flatten().collect();
    let in_included = |finding: &&mut Finding| finding.span.file > 0;
    for finding in findings.iter_mut().filter(in_included) {
        if finding.code == Code::EmptyFile {
            finding.help("begin with `version: 1`, then `rules:`, or take the file away");
        }
    }
    let mut reader = Reader::new(texts.clone(), findings);
    let config = root.as_ref().and_then(|root| reader.file(root, &included, &sources.unmatched));
    if sources.main.world_readable {
        for (span, message) in std::mem::take(&mut reader.literals) {
            reader.report(Code::LiteralSecret, span, message).help(
                "move it to `{ env: NAME }` or `{ file: PATH }`, or close the file with `chmod 600`",
            );
        }
    }
    let failed = reader.errors() > 0;
    let mut findings = reader.findings;
    finding::settle(&texts, &mut findings);
    silence(&texts, &reader.secrets, &mut findings);
    let files = std::iter::once(&sources.main).chain(&sources.included).enumerate();
    let files = files.map(|(file, source)| {
        let secrets = reader.secrets.iter().filter(|span| span.file == file);
        let text = mask(source.text, secrets.copied());
        Shown { path: source.path.to_owned(), text }
    });
    Loaded { config: config.filter(|_| !failed), findings, files: files.collect() }
}

/// What is said of a file that is not text: the findings of its first byte that no character begins
/// with, and nothing of what stands around it.
#[must_use]
pub fn undecodable(path: &str, bytes: &[u8]) -> Loaded {
    let at = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    let before = String::from_utf8_lossy(&bytes[..at]);
    let span = Span::new(0, at, at);
    let mut findings = Vec::new();
    let message = "the file is not UTF-8: here is a byte that no character begins with";
    findings.push(Finding::new(Code::YamlSyntax, span, message));
    findings[0].help("save it as UTF-8");
    finding::settle(&[&before], &mut findings);
    // Where a secret is cannot be told, so no line is shown.
    let files = vec![Shown { path: path.to_owned(), text: String::new() }];
    Loaded { config: None, findings, files }
}

/// What is said of a file that cannot be read, for the given reason.
#[must_use]
pub fn unreadable(path: &str, why: &str) -> Loaded {
    let message = format!("`{path}` cannot be read: {why}");
    let mut finding = Finding::new(Code::UnreadableFile, Span::default(), message);
    finding.help("correct the path, or let this user read the file");
    let mut findings = vec![finding];
    finding::settle(&[""], &mut findings);
    let files = vec![Shown { path: path.to_owned(), text: String::new() }];
    Loaded { config: None, findings, files }
}

impl Reader<'_> {
    /// Reads the file and those that it includes; `unmatched` are the entries of `rule_files` that no
    /// file fits.
    fn file(
        &mut self,
        root: &yaml::Node,
        included: &[yaml::Node],
        unmatched: &[String],
    ) -> Option<Config> {
        let fields = self.fields(root, root.span, Place::Top)?;
        let start = servers::first_key(root).unwrap_or(root.span);
        self.version(&fields, start);
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
        let files = fields.get("rule_files").map(|at| self.rule_files(at)).unwrap_or_default();
        for (pattern, span) in &files {
            if unmatched.contains(pattern) {
                self.no_such_file(pattern, *span);
            }
        }
        let included: Vec<_> = included
            .iter()
            .filter_map(|root| {
                let fields = self.fields(root, root.span, Place::Included)?;
                self.version(&fields, servers::first_key(root).unwrap_or(root.span));
                Some(fields)
            })
            .collect();
        let lists: Vec<At<'_>> = std::iter::once(&fields)
            .chain(&included)
            .filter_map(|fields| fields.get("rules"))
            .collect();
        let drafts = self.rules(&lists, &defaults);
        if files.is_empty() && fields.get("rules").is_none_or(nothing) {
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
        let rules = RuleSet { rules, classes: table, mode, server_modes, ..RuleSet::default() };
        let rules = rules.into();
        let mut config = Config { servers, rules, audit_log, listen, notify, retention };
        let revision = revision::revision(&config, &shown_classes);
        Arc::make_mut(&mut config.rules).revision = revision;
        Some(config)
    }

    /// The entries of `rule_files` that can be used, and where they stand.
    fn rule_files(&mut self, at: At<'_>) -> Vec<(String, Span)> {
        let mut files = Vec::new();
        self.list(at, |reader, item| {
            let text = reader.text(item)?;
            let fault = match glob::Pattern::new(text) {
                Err(error) => {
                    Some((error.msg, "`[` opens a set of characters: write `[[]` for it"))
                }
                Ok(_) if text.split('/').any(|part| part == "**") => Some((
                    "`rule_files` does not go through folders of any depth",
                    "name the folders, such as `rules.d/*.yaml` or `rules.d/*/*.yaml`",
                )),
                Ok(_) => None,
            };
            match fault {
                Some((message, help)) => {
                    reader.report(Code::InvalidGlob, item.span, message).help(help);
                }
                None => files.push((text.to_owned(), item.span)),
            }
            Some(())
        });
        files
    }

    fn no_such_file(&mut self, pattern: &str, span: Span) {
        let shown = shorten(pattern);
        if pattern.contains(['*', '?', '[']) {
            self.report(Code::NoRuleFiles, span, format!("no file matches `{shown}`"))
                .help("it is read as soon as there is one; paths begin at the folder of this file");
        } else {
            self.report(Code::MissingRuleFile, span, format!("there is no file `{shown}`"))
                .help("correct the path, which begins at the folder of this file, or drop it");
        }
    }

    fn version(&mut self, fields: &Fields<'_>, start: Span) {
        let Some(at) = fields.get("version") else {
            self.report(Code::MissingKey, start, "the file does not say its `version`")
                .help("begin with `version: 1`");
            return;
        };
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

    fn classes(&mut self, at: At<'_>) -> Vec<(Class, Vec<Pattern>)> {
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
            let name = &*entry.key;
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
                classes.push((Class::from(name), patterns));
            }
        }
        classes
    }
}

/// The classes of a file in one form for one meaning.
fn shown_classes(classes: &[(Class, Vec<Pattern>)]) -> String {
    // Their order stays: the first class that fits an error has it.
    let shown: Vec<(&str, Vec<&str>)> = classes
        .iter()
        .map(|(class, patterns)| (class.as_str(), patterns.iter().map(Pattern::as_str).collect()))
        .collect();
    format!("{shown:?}")
}

/// The text with secrets blotted out. Beside the places that were found to hold one, every value
/// behind a key that looks like a secret's goes: the text may be too broken to know better.
fn mask(text: &str, secrets: impl Iterator<Item = Span>) -> String {
    let mut spans: Vec<std::ops::Range<usize>> = secrets.map(Span::range).collect();
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
fn silence(texts: &[&str], secrets: &[Span], findings: &mut [Finding]) {
    let mut words: Vec<&str> = secrets
        .iter()
        .filter_map(|span| texts.get(span.file)?.get(span.range()))
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

/// The keys behind which secrets stand.
const SECRET_KEYS: [&str; 3] = ["token", "password", "totp"];

/// What stands behind `token:`, `password:` and `totp:`, with the deeper lines that go on with it,
/// but for references; and the user part of URLs.
fn suspicious_values(text: &str) -> Vec<std::ops::Range<usize>> {
    #[expect(clippy::expect_used, reason = "four short words")]
    static SIGNS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        AhoCorasick::new(SECRET_KEYS.iter().chain(&["://"])).expect("four short words")
    });
    let mut signs = SIGNS.find_iter(text).map(|sign| sign.start()).peekable();
    let mut found = Vec::new();
    let mut start = 0;
    // The column of a key whose value goes on below, and whether the lines there are to go.
    let mut open: Option<(usize, bool)> = None;
    for line in text.split_inclusive('\n') {
        let mut signed = false;
        while signs.next_if(|sign| *sign < start + line.len()).is_some() {
            signed = true;
        }
        // Nearly all lines are such, and there may be millions.
        if !signed && open.is_none() {
            start += line.len();
            continue;
        }
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
        if let Some((at, value)) = signed.then(|| secret_on(line)).flatten() {
            let secret = !is_reference(value) && value != "{}" && !value.starts_with('#');
            if secret && !value.is_empty() {
                found.push(start + at..start + at + value.len());
            }
            if open.is_none() {
                open = Some((column, secret));
            }
        }
        for (at, _) in line.match_indices("://").filter(|_| signed) {
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
    let first = SECRET_KEYS
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
            let all = format!("{:?}{:?}", loaded.findings, loaded.files);
            assert!(!all.contains("hunter2"), "{server}: {all}");
        }
        for url in ["http://h/?token=hunter2", "http://h/#hunter2"] {
            let text = format!(
                "version: 1\nservers: [{{ name: h, url: '{url}', token: {{ env: T }} }}]\nrules: []\n"
            );
            let loaded = load(Source::new("rules.yaml", &text));
            let all = format!("{:?}{:?}", loaded.findings, loaded.files);
            assert!(!all.contains("hunter2"), "{url}: {all}");
        }
    }

    #[test]
    fn secrets_are_blotted_out_of_texts_however_broken() {
        let shown = |text: &str| mask(text, std::iter::empty());
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
