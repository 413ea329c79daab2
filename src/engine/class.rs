//! What sort of failure an error text tells of.
//!
//! The table is data (`classes.txt`), built from how `AList`, `OpenList` and the drives behind them
//! word their failures. A class is a hint for rules, so a text that says nothing is
//! [`Class::Unknown`] rather than a guess: a bare 403 is.

use std::convert::Infallible;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, OnceLock};

use memchr::{memchr2, memchr2_iter};
use regex_automata::meta;
use regex_automata::util::syntax;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::needles::{Filter, needles};
use super::pattern::{Pattern, compile};
use super::task::{Flavour, State};

/// A sort of failure. The named ones are the built-in table's; a rules file may add others.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[schemars(with = "String")]
#[serde(into = "String", from = "String")]
pub enum Class {
    /// The other side asks for a pause: rates, risk control, login locks.
    Throttled,
    /// The connection failed or broke.
    Network,
    /// Something took too long.
    Timeout,
    /// The login, a token, a signature or a right is missing, wrong or expired.
    Auth,
    /// A limit on traffic, numbers or sizes; it may come back with the next day.
    Quota,
    /// There is no room left.
    StorageFull,
    /// The source or the target is not there.
    NotFound,
    /// The target or the same task is there already.
    Exists,
    /// The drive refuses this content.
    Blocked,
    /// The other side failed, or answered what cannot be read.
    ServerError,
    /// The server stopped the work by itself, as in a restart.
    Interrupted,
    /// A person canceled it.
    Canceled,
    /// The text does not say, or says what no class is for (an operation that a drive does not
    /// support; see [`Verdict::retry`]).
    Unknown,
    /// A class that a rules file names.
    Other(Arc<str>),
}

impl Class {
    /// The classes of the built-in table.
    pub const KNOWN: [Self; 13] = [
        Self::Throttled,
        Self::Network,
        Self::Timeout,
        Self::Auth,
        Self::Quota,
        Self::StorageFull,
        Self::NotFound,
        Self::Exists,
        Self::Blocked,
        Self::ServerError,
        Self::Interrupted,
        Self::Canceled,
        Self::Unknown,
    ];

    /// The class's name in rules and in the audit trail.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Throttled => "throttled",
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::StorageFull => "storage_full",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Blocked => "blocked",
            Self::ServerError => "server_error",
            Self::Interrupted => "interrupted",
            Self::Canceled => "canceled",
            Self::Unknown => "unknown",
            Self::Other(name) => name,
        }
    }

    /// Whether the same task, run again later, may well succeed. A pattern of the table may know
    /// better: [`Verdict::retry`].
    #[must_use]
    pub fn retry_sensible(&self) -> Retry {
        match self {
            Self::Throttled
            | Self::Network
            | Self::Timeout
            | Self::ServerError
            | Self::Interrupted => Retry::Yes,
            Self::Quota | Self::Unknown | Self::Other(_) => Retry::Maybe,
            Self::Auth
            | Self::StorageFull
            | Self::NotFound
            | Self::Exists
            | Self::Blocked
            | Self::Canceled => Retry::No,
        }
    }
}

impl From<&str> for Class {
    fn from(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|class| class.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.into()))
    }
}

impl From<String> for Class {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl FromStr for Class {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(name))
    }
}

impl From<Class> for String {
    fn from(class: Class) -> Self {
        class.as_str().to_owned()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether running a task again is sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It may well succeed later.
    Yes,
    /// Nothing changes by waiting.
    No,
    /// The text leaves it open.
    Maybe,
}

/// What the table says of one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'t> {
    /// The class.
    pub class: Class,
    /// Whether running the task again is sensible.
    pub retry: Retry,
    /// The pattern that decided, to show in an explanation; `None` if none did.
    pub pattern: Option<&'t str>,
}

/// One pattern of the built-in table.
struct Entry {
    class: Class,
    retry: Retry,
    pattern: &'static str,
    /// Compiled when a text first gets this far: all of them would take some 20 ms and megabytes.
    compiled: OnceLock<meta::Regex>,
}

/// The built-in table.
struct Builtin {
    entries: Vec<Entry>,
    all: Filter,
    /// Those of the classes that keep a task from being run again.
    hindering: Filter,
}

impl Builtin {
    #[expect(clippy::expect_used, reason = "the table is a constant, and a test reads all of it")]
    fn new(entries: Vec<Entry>) -> Self {
        let needs = |entry: &Entry| {
            let hir = regex_syntax::ParserBuilder::new()
                .unicode(false)
                .utf8(false)
                .build()
                .parse(&expand(entry.pattern))
                .expect("the table's patterns");
            needles(&hir)
        };
        let mut needs: Vec<_> = entries.iter().map(needs).enumerate().collect();
        let all = Filter::new(&needs);
        needs.retain(|(index, _)| ClassTable::HINDERING.contains(&entries[*index].class));
        Self { hindering: Filter::new(&needs), all, entries }
    }

    /// The first of some entries that matches a text in lower case.
    fn find(&self, some: &Filter, text: &str) -> Option<&Entry> {
        let in_question = some.in_question(text).map(|index| &self.entries[index]);
        in_question.into_iter().find(|entry| entry.is_match(text))
    }
}

impl Entry {
    /// Looks at a text in lower case.
    #[expect(
        clippy::expect_used,
        reason = "the table is a constant, and a test compiles all of it"
    )]
    fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| {
            // Over bytes and without folding case: half the time to compile and to match.
            let syntax = syntax::Config::new().unicode(false).utf8(false).multi_line(true);
            compile(&expand(self.pattern), syntax).expect("the table's patterns")
        });
        compiled.is_match(text.as_bytes())
    }
}

static BUILTIN: LazyLock<Builtin> =
    LazyLock::new(|| Builtin::new(parse(include_str!("classes.txt"))));

/// Makes what the first error would else wait for.
pub(super) fn get_ready() {
    LazyLock::force(&BUILTIN);
}

/// How much of an error is looked at. Some drives answer with web pages that hold images.
const LOOKED_AT: usize = 16 * 1024;

/// The error table: what a rules file adds, then what is built in.
#[derive(Clone, Debug, Default)]
pub struct ClassTable {
    overrides: Vec<(Class, Vec<Pattern>)>,
}

impl ClassTable {
    /// The version of the built-in table. It goes up whenever a text may be sorted otherwise.
    pub const VERSION: u32 = 3;

    /// The built-in table alone.
    #[must_use]
    pub fn builtin() -> Self {
        Self::default()
    }

    /// The built-in table behind patterns that are looked at first, in this order.
    #[must_use]
    pub fn with_overrides(overrides: Vec<(Class, Vec<Pattern>)>) -> Self {
        Self { overrides }
    }

    /// The class of a task's error.
    #[must_use]
    pub fn classify(&self, error: &str, flavour: Flavour, state: State) -> Class {
        self.judge(error, flavour, state).class
    }

    /// The classes that keep a task from being run again: a person canceled it, or its storage asks for a pause.
    pub const HINDERING: [Class; 2] = [Class::Canceled, Class::Throttled];

    /// Whether the class of a failed task's error may be one of these. Of most it may not, which takes less to find
    /// than what it is.
    #[must_use]
    pub fn may_hinder(&self, error: &str) -> bool {
        self.overrides.iter().any(|(class, _)| Self::HINDERING.contains(class))
            || BUILTIN.find(&BUILTIN.hindering, &readable(error)).is_some()
    }

    /// The class of a task's error, with what led to it.
    #[must_use]
    pub fn judge<'t>(&'t self, error: &str, flavour: Flavour, state: State) -> Verdict<'t> {
        let plain = |class: Class| Verdict { retry: class.retry_sensible(), class, pattern: None };
        // Whatever the text: this state is a person's doing, also after a restart lost the text.
        if state == State::Canceled {
            return plain(Class::Canceled);
        }
        if error.trim().is_empty() {
            return plain(Class::Unknown);
        }
        for (class, patterns) in &self.overrides {
            if let Some(pattern) = patterns.iter().find(|pattern| pattern.is_match(error)) {
                return Verdict { pattern: Some(pattern.as_str()), ..plain(class.clone()) };
            }
        }
        let Some(entry) = BUILTIN.find(&BUILTIN.all, &readable(error)) else {
            return plain(Class::Unknown);
        };
        // A person's cancel leaves another state on OpenList, so there a failure with this text
        // comes from the server itself; on AList the two look the same (CONTRACT.md).
        if entry.class == Class::Canceled
            && flavour == Flavour::OpenList
            && error.contains("context cancel")
        {
            return Verdict { pattern: Some(entry.pattern), ..plain(Class::Interrupted) };
        }
        Verdict { class: entry.class.clone(), retry: entry.retry, pattern: Some(entry.pattern) }
    }
}

/// The text as the patterns see it: in lower case, without paths, and behind it the names that
/// programs give their errors, a line each, as words: `NotEnoughSpace`, `invalid_access_token`.
fn readable(error: &str) -> String {
    let text = without_paths(error);
    let mut out = text.to_ascii_lowercase();
    if out == text && !out.contains('_') {
        return out;
    }
    let names = text.as_bytes().split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
    let begins = |before: u8, byte: u8| {
        byte == b'_' || (byte.is_ascii_uppercase() && before.is_ascii_lowercase())
    };
    for mut name in names.filter(|name| name.len() <= LONGEST_NAME) {
        while let [b'_', rest @ ..] | [rest @ .., b'_'] = name {
            name = rest;
        }
        // Most are one word.
        if !name.windows(2).any(|pair| begins(pair[0], pair[1])) {
            continue;
        }
        out.push('\n');
        let mut before = b' ';
        for byte in name.iter().copied() {
            if begins(before, byte) {
                out.push(' ');
            }
            if byte != b'_' {
                out.push(char::from(byte.to_ascii_lowercase()));
            }
            before = byte;
        }
    }
    out
}

/// Longer words are no names but keys, and tell nothing.
const LONGEST_NAME: usize = 64;

/// The text with the paths of files blanked: they tell of no failure.
fn without_paths(error: &str) -> String {
    let mut end = error.len().min(LOOKED_AT);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    let text = &error[..end];
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for path in Paths::of(text) {
        out.push_str(&text[at..path.start]);
        at = path.end;
        blank(&text[path], &mut out);
    }
    out.push_str(&text[at..]);
    out
}

/// The paths in a text, in order: `[/mount/file]`, what follows the scheme of an address, and what stands between the
/// name of a call and the next colon (`open /a/b: no such file`). Few texts have many slashes, so these are looked
/// for first.
struct Paths<'t> {
    text: &'t [u8],
    /// Where the last one ended.
    from: usize,
    /// Where the next closing bracket, or the end of its line, was found.
    bracket: usize,
    /// The same of the next colon with a space behind it.
    colon: usize,
}

/// What is done to a file, as programs call it.
const CALLS: [&[u8]; 19] = [
    b"open",
    b"create",
    b"write",
    b"read",
    b"stat",
    b"lstat",
    b"mkdir",
    b"rename",
    b"remove",
    b"unlink",
    b"get",
    b"put",
    b"post",
    b"head",
    b"move",
    b"copy",
    b"delete",
    b"mkcol",
    b"propfind",
];

impl<'t> Paths<'t> {
    fn of(text: &'t str) -> Self {
        Self { text: text.as_bytes(), from: 0, bracket: 0, colon: 0 }
    }

    /// The path that a slash, or a backslash, belongs to as the first of its own.
    fn around(&mut self, slash: usize) -> Option<Range<usize>> {
        let rest = &self.text[slash..];
        let (call, path) = match &self.text[self.from..slash] {
            [.., b'['] if rest[0] == b'/' => return Some(slash - 1..self.closed(slash)?),
            [before @ .., b':'] if rest.starts_with(b"//") => {
                let scheme =
                    tail(before, |byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
                let skipped = scheme.iter().position(u8::is_ascii_alphabetic)?;
                let ends = |byte: &u8| b" \t\n\"'<>])".contains(byte);
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                return Some(slash - 1 - scheme.len() + skipped..slash + length);
            }
            [before @ .., b' ', drive, b':'] if drive.is_ascii_alphabetic() && rest[0] == b'\\' => {
                (before, slash - 2)
            }
            [before @ .., b' '] if rest[0] == b'/' || rest.starts_with(br"\\") => (before, slash),
            _ => return None,
        };
        let call = tail(call, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !CALLS.iter().any(|known| known.eq_ignore_ascii_case(call)) {
            return None;
        }
        Some(path - 1 - call.len()..self.named(slash)?)
    }

    /// Behind the next bracket of the line.
    fn closed(&mut self, from: usize) -> Option<usize> {
        if self.bracket < from {
            let found = memchr2(b']', b'\n', &self.text[from..]);
            self.bracket = found.map_or(self.text.len(), |there| from + there);
        }
        (self.text.get(self.bracket) == Some(&b']')).then_some(self.bracket + 1)
    }

    /// Behind the next colon with a space behind it, of the line.
    fn named(&mut self, from: usize) -> Option<usize> {
        if self.colon < from {
            let rest = &self.text[from..];
            let found = memchr2_iter(b':', b'\n', rest)
                .find(|at| rest[*at] == b'\n' || rest.get(at + 1) == Some(&b' '));
            self.colon = found.map_or(self.text.len(), |there| from + there);
        }
        (self.text.get(self.colon) == Some(&b':')).then_some(self.colon + 2)
    }
}

impl Iterator for Paths<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut at = self.from;
        loop {
            let slash = at + memchr2(b'/', b'\\', &self.text[at..])?;
            if let Some(path) = self.around(slash) {
                self.from = path.end;
                return Some(path);
            }
            at = slash + 1;
        }
    }
}

/// The last bytes of a text that are all such.
fn tail(text: &[u8], is_such: impl Fn(u8) -> bool) -> &[u8] {
    let length = text.iter().rev().take_while(|byte| is_such(**byte)).count();
    &text[text.len() - length..]
}

/// Writes what is left of a path: the mount if it tells something, an address's host, what was done to a file.
fn blank(path: &str, out: &mut String) {
    if let Some(place) = path.strip_prefix("[/") {
        let mount = place.split(['/', ']']).next().unwrap_or_default();
        // Often all that tells whose web page it was: 115's is its firewall.
        out.push_str(if mount.contains("115") { "[115]" } else { "[]" });
        return;
    }
    let left = match path.split_once("://").filter(|(scheme, _)| !scheme.contains(' ')) {
        Some((scheme, rest)) => [scheme, "://", rest.split('/').next().unwrap_or_default(), "/ "],
        None => [path.split(' ').next().unwrap_or_default(), " /: ", "", ""],
    };
    out.extend(left);
}

/// Reads the table. A line that fits no form is left out, which a test would show.
fn parse(text: &'static str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = (Class::Unknown, Retry::Maybe);
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('@') {
            let (class, retry) = header.split_once(' ').unwrap_or((header, ""));
            let class = Class::from(class);
            let retry = match retry {
                "yes" => Retry::Yes,
                "no" => Retry::No,
                "maybe" => Retry::Maybe,
                _ => class.retry_sensible(),
            };
            section = (class, retry);
        } else if !line.is_empty() && !line.starts_with([' ', '#']) && !line.starts_with("version ")
        {
            entries.push(Entry {
                class: section.0.clone(),
                retry: section.1,
                pattern: line,
                compiled: OnceLock::new(),
            });
        }
    }
    entries
}

/// Writes out `{status:N}`, an HTTP status in the forms that drivers print, and `{code:N}`, a number
/// that a drive's API gives.
fn expand(pattern: &str) -> String {
    let status = r#"(?:\b(?:status|statuscode|code|http|https|error|errorcode|response|returned|server|got|upload|download)(?:[ _-]?(?:code|status|error|failed))*["']?(?:/[0-9.]+)?\s?(?:[:=(\[]|is|was|with)?\s?["'(\[]?(?:NUMBER)\b|\b(?:get|put|post|head|move|copy|delete|mkcol|propfind) /: (?:NUMBER)\b|<title>(?:NUMBER)\b|^(?:[a-z0-9_-]+: )?(?:NUMBER)(?:[ :|,]|$))"#;
    let code =
        r#"\b(?:code|errcode|err_code|error_code|errorcode)["']?\s?[:=]\s?["'(]?(?:NUMBER)\b"#;
    let errno = r#"\b(?:errno|error_code)["']?\s?[:=]\s?["'(]?(?:NUMBER)\b"#;
    // Only the text is in lower case yet; escapes such as `\W` do not occur in the table.
    let mut out = pattern.to_ascii_lowercase().replace("{zh}", r"(?:[\xc2-\xf4][\x80-\xbf]+)");
    for (name, form) in [("{status:", status), ("{code:", code), ("{errno:", errno)] {
        while let Some(start) = out.find(name) {
            let Some(end) = out[start..].find('}') else { break };
            let number = &out[start + name.len()..start + end];
            let written = form.replace("NUMBER", number);
            out.replace_range(start..=start + end, &written);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::engine::name::scrub;

    fn failed(error: &str, flavour: Flavour) -> Class {
        ClassTable::builtin().classify(error, flavour, State::Failed)
    }

    #[test]
    fn every_pattern_decides_its_examples() {
        let mut wrong = Vec::new();
        let mut examples = vec![0; BUILTIN.entries.len()];
        let mut current = None;
        for line in include_str!("classes.txt").lines() {
            if let Some(example) = line.strip_prefix("  = ") {
                let text = readable(example);
                let first = BUILTIN.entries.iter().position(|entry| entry.is_match(&text));
                let meant: usize = current.unwrap();
                examples[meant] += 1;
                if first != current {
                    let taken = first.map(|first| BUILTIN.entries[first].pattern);
                    wrong.push(format!(
                        "{example:?} is for {}, not {taken:?}",
                        BUILTIN.entries[meant].pattern
                    ));
                }
            } else if let Some(index) =
                BUILTIN.entries.iter().position(|entry| entry.pattern == line)
            {
                current = Some(index);
            }
        }
        for (entry, count) in BUILTIN.entries.iter().zip(examples) {
            assert!(Class::KNOWN.contains(&entry.class), "{}", entry.class);
            assert!(count > 0, "no example: {}", entry.pattern);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_is_skipped_does_not_match() {
        let open = BUILTIN.all.in_question("").count();
        assert!(open * 10 < BUILTIN.entries.len(), "{open} of the entries");
        let samples = include_str!("class_samples.txt").lines();
        for line in include_str!("classes.txt").lines().chain(samples) {
            let text = readable(line.strip_prefix("  = ").unwrap_or(line));
            let slow = BUILTIN.entries.iter().find(|entry| entry.is_match(&text));
            let quick = BUILTIN.find(&BUILTIN.all, &text);
            assert_eq!(quick.map(|entry| entry.pattern), slow.map(|entry| entry.pattern), "{text}");
        }
    }

    #[test]
    fn what_may_not_hinder_does_not() {
        let hindering = |class| ClassTable::HINDERING.contains(&class);
        let mine = ClassTable::with_overrides(vec![(
            Class::Throttled,
            vec![Regex::new("no such host").unwrap().into()],
        )]);
        for (table, least) in [(ClassTable::builtin(), 100), (mine, 101)] {
            let mut count = 0;
            let samples = include_str!("class_samples.txt").lines();
            for line in include_str!("classes.txt").lines().chain(samples) {
                let error = line.strip_prefix("  = ").unwrap_or(line);
                let hinders = hindering(table.classify(error, Flavour::AList, State::Failed));
                count += usize::from(hinders);
                assert!(table.may_hinder(error) || !hinders, "{error}");
            }
            assert!(count >= least, "{count}");
        }
        assert!(!ClassTable::builtin().may_hinder("no such host"));
        assert!(!ClassTable::builtin().may_hinder("code: 5, message: wait for 3 of 5"));
    }

    #[test]
    fn paths_and_names_are_made_readable() {
        for (error, text) in [
            ("failed get [/a/b.mkv] link", "failed get [] link"),
            ("[/115 drive/x] [x] [/d]", "[115] [x] []"),
            ("Get \"https://Host:5/a?b=c\": EOF", "get \"https://host:5/ \": eof"),
            ("at ftp://host", "at ftp://host/ "),
            (r"open C:\x: y: busy", "open /: y: busy"),
            ("http://open /x: busy", "http://open/  /x: busy"),
            ("NotEnough", "notenough\nnot enough"),
            (&"NotEnough".repeat(8), &"notenough".repeat(8)),
            ("_NotEnoughSpace_, a_b_, x", "_notenoughspace_, a_b_, x\nnot enough space\na b"),
        ] {
            assert_eq!(readable(error), text);
        }
    }

    /// The same as one expression, which takes several times as long.
    const PATHS: &str = concat!(
        r"\[/[^\]\n]*\]",
        r#"|[A-Za-z][A-Za-z0-9+.-]*://[^ \t\n"'<>\])]*"#,
        r"|(?-u:\b)(?i-u:open|create|write|read|stat|lstat|mkdir|rename|remove|unlink|get|put|post|head|move|copy|delete|mkcol|propfind)",
        r" (?:/|[A-Za-z]:\\|\\\\)[^\n]*?: ",
    );

    proptest! {
        #[test]
        fn paths_are_found_where_the_expression_finds_them(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "[", "]", "/", "[/a", "\\", ":", ": ", " ", "\n", "://", "Http", "+1", "-x", "9", "_", "é",
                    "open ", "GET", "lstat /", "c:\\", "\"", "<", "reopen /", "put z:\\", "move \\\\",
                ]),
                0..24,
            ),
        ) {
            let text = pieces.concat();
            let expected: Vec<_> = Regex::new(PATHS).unwrap().find_iter(&text).map(|found| found.range()).collect();
            prop_assert_eq!(Paths::of(&text).collect::<Vec<_>>(), expected, "{:?}", text);
        }
    }

    #[test]
    fn the_table_names_its_version() {
        let line = include_str!("classes.txt").lines().find_map(|l| l.strip_prefix("version "));
        assert_eq!(line, Some(ClassTable::VERSION.to_string().as_str()));
    }

    /// Texts as the drives word them, written down apart from the patterns.
    #[test]
    fn the_table_knows_other_texts() {
        let table = ClassTable::builtin();
        let (mut wanted, mut wanted_retry) = ("", "");
        let mut wrong = Vec::new();
        let mut right = 0;
        for line in include_str!("class_samples.txt").lines() {
            if let Some(header) = line.strip_prefix('@') {
                (wanted, wanted_retry) = header.split_once(' ').unwrap_or((header, ""));
            } else if !line.is_empty() && !line.starts_with('#') {
                // The engine never sees another text than the scrubbed one.
                let text = scrub(line);
                let verdict = table.judge(&text, Flavour::Unknown, State::Failed);
                let retry = serde_json::to_value(verdict.retry).unwrap();
                if verdict.class.as_str() == wanted
                    && (wanted_retry.is_empty() || retry == wanted_retry)
                {
                    right += 1;
                } else {
                    let class = verdict.class;
                    wrong.push(format!("{line:?} is {class} {retry}, not {wanted} {wanted_retry}"));
                }
            }
        }
        assert!(right > 600 && wrong.is_empty(), "{right} right\n{}", wrong.join("\n"));
    }

    #[test]
    fn a_cancel_means_what_its_server_means() {
        let cancel = "failed get [/a/b.mkv] link: context canceled";
        assert_eq!(failed(cancel, Flavour::AList), Class::Canceled);
        assert_eq!(failed(cancel, Flavour::Unknown), Class::Canceled);
        assert_eq!(failed(cancel, Flavour::OpenList), Class::Interrupted);
        assert_eq!(failed("aborted by client", Flavour::OpenList), Class::Canceled);
        let table = ClassTable::builtin();
        for flavour in [Flavour::AList, Flavour::OpenList, Flavour::Unknown] {
            for error in [cancel, "", "http status code 503"] {
                assert_eq!(table.classify(error, flavour, State::Canceled), Class::Canceled);
            }
            assert_eq!(table.classify(" ", flavour, State::Failed), Class::Unknown);
        }
    }

    #[test]
    fn what_a_rules_file_says_comes_first() {
        let table = ClassTable::with_overrides(vec![
            ("mine".into(), vec![Regex::new("(?i)moon phase").unwrap().into()]),
            (
                Class::Network,
                vec![Regex::new("nope").unwrap().into(), Regex::new("/timeout/").unwrap().into()],
            ),
        ]);
        let class = |error| table.classify(error, Flavour::AList, State::Failed).to_string();
        assert_eq!(class("wrong Moon Phase, status: 503"), "mine");
        assert_eq!(class("failed get [/timeout/x] link: status: 503"), "network");
        assert_eq!(class("status: 503"), "server_error");
        // A person's cancel stays one, whatever its text is called.
        let canceled = table.classify("moon phase", Flavour::AList, State::Canceled);
        assert_eq!(canceled, Class::Canceled);
    }

    #[test]
    fn classes_go_by_their_names() {
        for class in Class::KNOWN {
            let json = serde_json::to_string(&class).unwrap();
            assert_eq!(json, format!("\"{class}\""));
            assert_eq!(serde_json::from_str::<Class>(&json).unwrap(), class);
        }
        assert_eq!(Class::from("moon"), Class::Other("moon".into()));
    }

    #[test]
    fn a_pattern_knows_better_than_its_class() {
        let table = ClassTable::builtin();
        let judge = |error: &str| {
            let verdict = table.judge(error, Flavour::Unknown, State::Failed);
            (verdict.class.to_string(), verdict.retry, verdict.pattern.is_some())
        };
        assert_eq!(judge("not supported"), ("unknown".to_owned(), Retry::No, true));
        assert_eq!(judge("who knows"), ("unknown".to_owned(), Retry::Maybe, false));
        assert_eq!(judge("x509: nope"), ("network".to_owned(), Retry::No, true));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = ["x", &"频".repeat(LOOKED_AT)].concat();
        assert_eq!(failed(&long, Flavour::Unknown), Class::Unknown);
    }

    #[derive(Deserialize)]
    struct Sample {
        text: String,
        class: String,
        retry: Retry,
        arguable: bool,
    }

    /// Measures the table on texts from the servers' sources and from reports.
    #[test]
    fn the_table_reaches_its_bar_on_real_texts() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/upstream/errors.jsonl");
        let Ok(lines) = std::fs::read_to_string(path) else {
            println!("skipped: no texts to measure with at {path}");
            return;
        };
        let (mut all, mut right, mut sure, mut sure_right, mut retry_right) = (0, 0, 0, 0, 0);
        let mut misses = Vec::new();
        for line in lines.lines() {
            let sample: Sample = serde_json::from_str(line).unwrap();
            // The table has no class of its own for what a drive does not support.
            let wanted = if sample.class == "unsupported" { "unknown" } else { &sample.class };
            let table = ClassTable::builtin();
            let text = scrub(&sample.text);
            let verdict = table.judge(&text, Flavour::Unknown, State::Failed);
            let hit = verdict.class.as_str() == wanted;
            all += 1;
            right += usize::from(hit);
            sure += usize::from(!sample.arguable);
            sure_right += usize::from(hit && !sample.arguable);
            retry_right += usize::from(verdict.retry == sample.retry);
            if !hit {
                misses.push(format!(
                    "{} {:?} wanted {wanted}, not {} by {:?}",
                    if sample.arguable { "arguable" } else { "sure" },
                    sample.text,
                    verdict.class,
                    verdict.pattern.map(|p| crate::engine::text::shorten(p, 70)),
                ));
            }
        }
        println!(
            "{sure_right} of {sure} sure, {right} of {all} in all, retry {retry_right}\n{}",
            misses.join("\n")
        );
        assert!(sure_right * 100 >= sure * 95, "{sure_right} of {sure}\n{}", misses.join("\n"));
    }
}
