//! Reading typed values out of the tree. Whatever is wrong becomes a finding, and the reading goes
//! on with what is left.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;
use regex::Regex;

use super::cases;
use super::codes::Code;
use super::finding::{Finding, Severity, Span};
use super::keys::{self, Key};
use super::patterns::Weight;
use super::suggest::nearest;
use super::values::{self, Fault};
use super::yaml::{Entry, Node, Value, short};
use super::{patterns, yaml};
use crate::engine::pattern::{Globs, Pattern};
use crate::engine::predicate::format_duration;

/// What all patterns of a file may cost together, in automaton states more or less: some thousands
/// of ordinary ones.
const PATTERN_BUDGET: u64 = 4_000_000;

/// What the reading of a file, and of those that it includes, gathers.
pub(super) struct Reader<'a> {
    /// The texts, by the numbers that spans give their files.
    texts: Vec<&'a str>,
    pub(super) findings: Vec<Finding>,
    /// Where secrets stand; these places are never shown.
    pub(super) secrets: Vec<Span>,
    /// The names of the servers.
    pub(super) servers: BTreeSet<String>,
    /// The kinds that servers add to the known ones.
    pub(super) kinds: BTreeSet<String>,
    /// The names under `classes`.
    pub(super) classes: BTreeSet<String>,
    /// Secrets in the file itself: where, and what to say when everyone can read it.
    pub(super) literals: Vec<(Span, String)>,
    parser: regex_syntax::Parser,
    pattern_cost: u64,
    errors: usize,
}

/// A value under its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node<'n>,
    /// The value, or the key when there is nothing to see of the value.
    pub(super) span: Span,
    pub(super) key: &'static str,
    pub(super) key_span: Span,
}

impl<'n> At<'n> {
    /// The members of a list, or the one value.
    pub(super) fn items(self) -> Vec<Self> {
        match &self.node.value {
            Value::Seq(items) => items
                .iter()
                .map(|node| Self {
                    node,
                    span: if node.span.is_empty() { self.key_span } else { node.span },
                    ..self
                })
                .collect(),
            _ => vec![self],
        }
    }

    fn plain_text(self) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    pub(super) fn is_null(self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Whether the value lifts a limit: `none` or `unlimited`.
    pub(super) fn is_none(self) -> bool {
        self.plain_text().is_some_and(|text| keys::NONE.contains(&text))
    }
}

/// A value, or the word `none`, which lifts what would hold without it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound<T> {
    Lifted,
    Set(T),
}

impl<T> Bound<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Lifted => None,
            Self::Set(value) => Some(value),
        }
    }
}

/// The entries of a map that its table knows.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    found: Vec<At<'n>>,
    /// Whether there are others too, any of which may be meant for one that is missing here.
    pub(super) strange: bool,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, name: &str) -> Option<At<'n>> {
        self.found.iter().copied().find(|at| at.key == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = At<'n>> + '_ {
        self.found.iter().copied()
    }
}

/// Which map is read; decides where a key that is wrong here would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Top,
    Included,
    Server,
    Secret,
    Defaults,
    Rule,
    Match,
    Backoff,
    Limits,
    Breaker,
    Listen,
    Notify,
    Retention,
    TestFile,
    Case,
    Actor,
    Step,
    Outage,
    Expectation,
}

impl Place {
    fn table(self) -> &'static [Key] {
        match self {
            Self::Top => keys::TOP,
            Self::Included => keys::INCLUDED,
            Self::Server => keys::SERVER,
            Self::Secret => keys::SECRET,
            Self::Defaults => keys::SETTINGS,
            Self::Rule => keys::RULE,
            Self::Match => keys::MATCH,
            Self::Backoff => keys::BACKOFF,
            Self::Limits => keys::LIMITS,
            Self::Breaker => keys::BREAKER,
            Self::Listen => keys::LISTEN,
            Self::Notify => keys::NOTIFY,
            Self::Retention => keys::RETENTION,
            Self::TestFile => cases::FILE,
            Self::Case => cases::CASE,
            Self::Actor => cases::ACTOR,
            Self::Step => cases::STEP,
            Self::Outage => cases::OUTAGE,
            Self::Expectation => cases::EXPECTATION,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Top => "the file",
            Self::Included => "an included file",
            Self::Server => "a server",
            Self::Secret => "a secret",
            Self::Defaults => "`defaults`",
            Self::Rule => "a rule",
            Self::Match => "`match`",
            Self::Backoff => "`backoff`",
            Self::Limits => "`limits`",
            Self::Breaker => "`breaker`",
            Self::Listen => "`listen`",
            Self::Notify => "a target of `notify`",
            Self::Retention => "`retention`",
            Self::TestFile => "a test file",
            Self::Case => "a test",
            Self::Actor => "a task",
            Self::Step => "a step of a timeline",
            Self::Outage => "a time away",
            Self::Expectation => "an expectation",
        }
    }

    /// Where else keys belong that people put here, and how to say so.
    fn elsewhere(self) -> &'static [(Place, &'static str)] {
        match self {
            Self::Top => &[
                (Self::Rule, "it belongs in a rule, or under `defaults:` for all of them"),
                (Self::Server, "it belongs in a server, under `servers:`"),
                (Self::TestFile, "it belongs in a file of tests, which `taskwarden test` runs"),
            ],
            Self::Included => &[
                (Self::Top, "it belongs in the file that includes this one, and holds for all"),
                (Self::Rule, "it belongs in a rule"),
            ],
            Self::Server | Self::Retention => {
                &[(Self::Top, "it belongs at the top level of the file")]
            }
            Self::Defaults => &[
                (Self::Rule, "each rule says this for itself"),
                (Self::Backoff, "it belongs under `backoff:`"),
                (Self::Limits, "it belongs under `limits:`"),
                (Self::Breaker, "it belongs under `breaker:`"),
                (Self::Match, "it belongs under the `match:` of a rule"),
            ],
            Self::Rule => &[
                (Self::Match, "it belongs under `match:`"),
                (Self::Backoff, "it belongs under `backoff:`"),
                (Self::Limits, "it belongs under `limits:`"),
                (Self::Breaker, "it belongs under `breaker:`"),
                (Self::Top, "it belongs at the top level of the file"),
            ],
            Self::Match | Self::Backoff | Self::Limits | Self::Breaker => {
                &[(Self::Rule, "it belongs in the rule itself, one level up")]
            }
            Self::Actor => &[(Self::Step, "it belongs in a step, under `timeline:`")],
            Self::Secret
            | Self::Listen
            | Self::Notify
            | Self::TestFile
            | Self::Case
            | Self::Step
            | Self::Outage
            | Self::Expectation => &[],
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(texts: Vec<&'a str>, findings: Vec<Finding>) -> Self {
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        Self {
            texts,
            findings,
            secrets: Vec::new(),
            servers: BTreeSet::new(),
            kinds: BTreeSet::new(),
            classes: BTreeSet::new(),
            literals: Vec::new(),
            parser: regex_syntax::Parser::new(),
            pattern_cost: 0,
            errors,
        }
    }

    /// The text of the file that a place is in.
    pub(super) fn text_at(&self, span: Span) -> &'a str {
        self.texts.get(span.file).copied().unwrap_or_default()
    }

    pub(super) fn report(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Finding {
        let at = self.findings.len();
        self.errors += usize::from(code.severity() == Severity::Error);
        self.findings.push(Finding::new(code, span, message));
        &mut self.findings[at]
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    pub(super) fn fault(&mut self, at: At<'_>, fault: Fault) {
        let span = match &at.node.value {
            Value::Text(scalar) if !scalar.text.is_empty() => {
                at.node.part(self.text_at(at.span), fault.range)
            }
            _ => at.span,
        };
        let finding = self.report(fault.code, span, fault.message);
        finding.help = fault.help;
    }

    /// The value is not what the key takes; `help` says what to write, or is empty.
    pub(super) fn wrong_type(&mut self, at: At<'_>, wanted: &str, help: &str) {
        if matches!(at.node.value, Value::Bad) {
            return;
        }
        if at.is_null() {
            let message = format!("`{}` has no value", at.key);
            self.report(Code::EmptyValue, at.span, message)
                .help(format!("give it {wanted}, or drop the key"));
            return;
        }
        let message = format!("`{}` takes {wanted}, not {}", at.key, at.node.what());
        let help = if help.is_empty() { format!("give it {wanted}") } else { help.to_owned() };
        self.report(Code::WrongType, at.span, message)
            .label(format!("this is {}", at.node.what()))
            .help(help);
    }

    /// The entries of a map; those that do not belong there are reported.
    pub(super) fn fields<'n>(
        &mut self,
        node: &'n Node<'n>,
        span: Span,
        place: Place,
    ) -> Option<Fields<'n>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Some(Fields { found: Vec::new(), strange: false }),
            Value::Bad => return None,
            _ => {
                let message = format!("{} is a map, not {}", place.what(), node.what());
                let help = match place {
                    Place::Included => "begin with `version: 1`, then `rules:`",
                    Place::Top => "begin with `version: 1`, then `servers:` and `rules:`",
                    _ => "write `key: value` pairs, indented below it",
                };
                self.report(Code::WrongType, span, message)
                    .label(format!("this is {}", node.what()))
                    .help(help);
                return None;
            }
        };
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            match place.table().iter().find(|key| key.name == entry.key) {
                Some(key) => found.push(At {
                    node: &entry.value,
                    span: entry.spot(),
                    key: key.name,
                    key_span: entry.key_span,
                }),
                None => self.unknown_key(entry, place),
            }
        }
        let strange = found.len() < entries.len();
        Some(Fields { found, strange })
    }

    fn unknown_key(&mut self, entry: &Entry, place: Place) {
        let known = |table: &'static [Key], name: &str| {
            table.iter().find(|key| key.name == name).map(|key| key.name)
        };
        let shown = short(&entry.key);
        let synonym = keys::SYNONYMS
            .iter()
            .filter(|(word, _)| *word == entry.key)
            .find_map(|(_, name)| known(place.table(), name));
        if synonym.is_none()
            && let Some((_, help)) = place
                .elsewhere()
                .iter()
                .find(|(other, _)| known(other.table(), &entry.key).is_some())
        {
            let message = format!("`{shown}` is no key of {}", place.what());
            self.report(Code::MisplacedKey, entry.key_span, message).label("not here").help(*help);
            return;
        }
        let meant =
            synonym.or_else(|| nearest(&entry.key, place.table().iter().map(|key| key.name)));
        // A misspelt password is still one, and so may be whatever else people think a log-in needs.
        let near_secrets =
            matches!(place, Place::Server | Place::Secret | Place::Listen | Place::Notify);
        if near_secrets || meant.is_some_and(|name| matches!(name, "token" | "password" | "totp")) {
            self.secrets.push(entry.value.span);
        }
        let finding = self.report(
            Code::UnknownKey,
            entry.key_span,
            format!("{} has no key `{shown}`", place.what()),
        );
        finding.label("unknown key");
        if let Some(name) = meant {
            finding.help(format!("did you mean `{name}`?"));
        } else {
            let names: Vec<&str> = place.table().iter().map(|key| key.name).collect();
            finding.help(format!("the keys are {}", names.join(", ")));
        }
    }

    /// A text that is not empty.
    pub(super) fn text<'n>(&mut self, at: At<'n>) -> Option<&'n str> {
        match &at.node.value {
            Value::Text(scalar) if scalar.text.trim().is_empty() => {
                let message = format!("`{}` is empty", at.key);
                self.report(Code::EmptyValue, at.span, message)
                    .help("give it a value, or drop the key");
                None
            }
            Value::Text(scalar) => Some(&scalar.text),
            Value::Bool(value) => {
                let message = format!("`{}` takes text, not true or false", at.key);
                self.report(Code::WrongType, at.span, message)
                    .label("this is true or false")
                    .help(format!("put it in quotes to mean the word: '{value}'"));
                None
            }
            _ => {
                self.wrong_type(at, "text", "");
                None
            }
        }
    }

    pub(super) fn path(&mut self, at: At<'_>) -> Option<PathBuf> {
        self.text(at).map(PathBuf::from)
    }

    pub(super) fn bool(&mut self, at: At<'_>) -> Option<bool> {
        match &at.node.value {
            Value::Bool(value) => return Some(*value),
            Value::Text(scalar) => {
                let help = match scalar.text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" | "1" => "write `true`",
                    "no" | "off" | "n" | "false" | "0" => "write `false`",
                    _ => "",
                };
                self.wrong_type(at, "true or false", help);
            }
            _ => self.wrong_type(at, "true or false", ""),
        }
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, at: At<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = match &at.node.value {
            // `off` is a word to YAML 1.2, and false to those who grew up with 1.1.
            Value::Bool(false) if words.iter().any(|(word, _)| *word == "off") => "off",
            _ => self.text(at)?,
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let finding = self.report(
            Code::UnknownValue,
            at.span,
            format!("`{}` cannot be `{}`", at.key, short(text)),
        );
        suggest(finding, text, names);
        None
    }

    pub(super) fn duration(
        &mut self,
        at: At<'_>,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        let text = self.text(at)?;
        match values::duration(text) {
            Ok(duration) if (min..=max).contains(&duration) => Some(duration),
            Ok(_) => {
                let (min, max) = (format_duration(min), format_duration(max));
                let message = format!("`{}` lies between {min} and {max}", at.key);
                self.report(Code::OutOfRange, at.span, message)
                    .help(format!("write a duration from {min} to {max}"));
                None
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    pub(super) fn duration_or_none(&mut self, at: At<'_>) -> Option<Bound<Duration>> {
        if at.is_none() {
            return Some(Bound::Lifted);
        }
        self.duration(at, SHORTEST, LONGEST).map(Bound::Set)
    }

    /// A size from `min` to `max`, which are given with their names.
    pub(super) fn size(
        &mut self,
        at: At<'_>,
        (min, min_name): (u64, &str),
        (max, max_name): (u64, &str),
        help: &str,
    ) -> Option<u64> {
        let text = self.text(at)?;
        match values::size(text) {
            Ok(size) => {
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a size is not negative, and one out of range saturates"
                )]
                let size = size as u64;
                if (min..=max).contains(&size) {
                    return Some(size);
                }
                let message = format!("`{}` lies between {min_name} and {max_name}", at.key);
                self.report(Code::OutOfRange, at.span, message).help(help);
                None
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    pub(super) fn count(&mut self, at: At<'_>, min: u32) -> Option<u32> {
        self.whole_number(at, min, "")
    }

    pub(super) fn count_or_none(&mut self, at: At<'_>, min: u32) -> Option<Bound<u32>> {
        if at.is_none() {
            return Some(Bound::Lifted);
        }
        self.whole_number(at, min, ", or `none` for no limit").map(Bound::Set)
    }

    fn whole_number(&mut self, at: At<'_>, min: u32, or: &str) -> Option<u32> {
        let text = self.text(at)?;
        let number = text.trim().parse::<i128>().ok();
        let fits = number.and_then(|n| u32::try_from(n).ok()).filter(|number| *number >= min);
        if fits.is_none() {
            let (code, message) = match number {
                Some(number) if number < i128::from(min) => {
                    (Code::OutOfRange, format!("`{}` is at least {min}", at.key))
                }
                Some(_) => (Code::OutOfRange, format!("`{}` is too large", at.key)),
                None => (Code::InvalidNumber, format!("`{}` takes a whole number", at.key)),
            };
            let help = format!("write a whole number from {min} on{or}");
            self.report(code, at.span, message).help(help);
        }
        fits
    }

    /// A regular expression that can be afforded, with what is known of it. A number is read as its
    /// digits.
    pub(super) fn expression<'n>(&mut self, at: At<'n>) -> Option<(&'n str, Weight)> {
        let text = match &at.node.value {
            Value::Text(scalar) => &*scalar.text,
            _ => self.text(at)?,
        };
        if text.is_empty() {
            let message =
                format!("`{}` is empty, and an empty expression is found in every text", at.key);
            let help = match at.key {
                "classes" => EVERY_ERROR,
                _ => "drop the key to match every text, or write `^$` for an empty one",
            };
            self.report(Code::EmptyValue, at.span, message).help(help);
            return None;
        }
        if let Some((at_, control)) = text
            .char_indices()
            .find(|(_, c)| matches!(c, '\u{8}' | '\u{7}' | '\u{c}' | '\u{b}' | '\0'))
        {
            let span = at.node.part(self.text_at(at.node.span), at_..at_ + control.len_utf8());
            let message = "double quotes turned this into a control character";
            self.report(Code::ControlCharacter, span, message)
                .help("write the expression in single quotes, where `\\b` stays `\\b`");
        }
        // Weighed before it is compiled: what is compiled must be affordable.
        match patterns::weigh(&mut self.parser, text) {
            Ok(weight) => self.spend(at, weight.cost).then_some((text, weight)),
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    /// An expression that was weighed, compiled now.
    pub(super) fn compiled(&mut self, at: At<'_>, text: &str) -> Option<Regex> {
        patterns::regex(text).map_err(|fault| self.fault(at, fault)).ok()
    }

    fn spend(&mut self, at: At<'_>, cost: u64) -> bool {
        let before = self.pattern_cost;
        self.pattern_cost = before.saturating_add(cost);
        if self.pattern_cost <= PATTERN_BUDGET {
            return true;
        }
        if before <= PATTERN_BUDGET {
            let message = "the patterns of the file are too many and too large together";
            self.report(Code::TooComplex, at.span, message)
                .help("repeat less: a count such as `{1000}` multiplies what it repeats");
        }
        false
    }

    /// Expressions of which one must be found.
    pub(super) fn regexes(&mut self, at: At<'_>) -> Option<Vec<Pattern>> {
        self.list(at, |reader, item| {
            let (text, weight) = reader.expression(item)?;
            if let Some(pattern) = weight.later(text) {
                return Some(pattern);
            }
            let regex = reader.compiled(item, text)?;
            if patterns::matches_everything(&regex) {
                let message = "this expression is found in every text";
                let help = match item.key {
                    "classes" => EVERY_ERROR.to_owned(),
                    key => format!(
                        "drop the key to match every `{key}`, or write `.` for one that is not empty"
                    ),
                };
                reader.report(Code::CatchAllRegex, item.span, message).help(help);
            }
            Some(regex.into())
        })
    }

    /// A set of globs, with their texts.
    pub(super) fn globs(&mut self, at: At<'_>, mounts: bool) -> Option<(Globs, Vec<String>)> {
        let globs: Vec<Glob> = self.list(at, |reader, item| {
            let text = reader.text(item)?;
            let unclean = patterns::unclean(text, at.key == "src");
            if let Some(part) = unclean.filter(|_| at.key != "file") {
                let span = item.node.part(reader.text_at(item.node.span), part);
                let message = "the paths of tasks hold no `.`, no `..` and no empty name, so this never matches";
                reader
                    .report(Code::UncleanPath, span, message)
                    .label("in no path")
                    .help("write the whole path, from the mount on; `**` stands for folders of any depth");
            } else if match at.key {
                "src_mount" | "dst_mount" | "dst" => patterns::is_relative(text),
                // Of a download this is an address.
                "src" => patterns::is_relative(text) && !patterns::may_be_url(text),
                _ => false,
            } {
                let message = format!("`{}` of a task begins with `/`, and this does not", at.key);
                reader
                    .report(Code::RelativePath, item.span, message)
                    .help(format!("did you mean `/{}`?", short(text)));
            }
            if at.key == "file" && text.strip_prefix("**/").unwrap_or(text).contains('/') {
                let message = "`file` is the name alone, so a glob with folders never matches it";
                reader
                    .report(Code::NeverMatches, item.span, message)
                    .label("never holds")
                    .help("hold folders against `src` or `dst`");
            }
            if let Some(part) = patterns::glued_stars(text) {
                let span = item.node.part(reader.text_at(item.node.span), part);
                let message = "`**` crosses folders only where it stands between slashes";
                reader
                    .report(Code::GluedStars, span, message)
                    .label("the same as `*` here")
                    .help("write `/**/*` for any depth, such as `/media/**/*.mkv`");
            }
            let bare = match text.trim_end_matches('/') {
                "" => text,
                bare => bare,
            };
            match patterns::glob(if mounts { bare } else { text }) {
                Ok(glob) => reader.spend(item, 200 + 20 * text.len() as u64).then_some(glob),
                Err(fault) => {
                    reader.fault(item, fault);
                    None
                }
            }
        })?;
        let texts: Vec<String> = globs.iter().map(|glob| glob.glob().to_owned()).collect();
        let light = texts.iter().map(String::len).sum::<usize>() <= patterns::LIGHT_GLOBS;
        let set = Globs::later(globs);
        // Only what is large can turn out to be too large.
        match if light { Ok(()) } else { set.compile() } {
            Ok(()) => Some((set, texts)),
            Err(error) => {
                self.report(Code::InvalidGlob, at.span, error.to_string())
                    .help("write fewer or shorter globs");
                None
            }
        }
    }

    /// One value or a list of them; each is read, and what is listed twice is reported. None when
    /// one of them could not be read.
    pub(super) fn list<'n, T>(
        &mut self,
        at: At<'n>,
        mut read: impl FnMut(&mut Self, At<'n>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = at.items();
        if items.is_empty() {
            let message = format!("the list of `{}` is empty, so it never holds", at.key);
            self.report(Code::EmptyValue, at.span, message)
                .help("name at least one, or drop the key");
            return None;
        }
        let count = items.len();
        let mut seen: std::collections::BTreeMap<&str, Span> = std::collections::BTreeMap::new();
        let mut values = Vec::with_capacity(count);
        for item in items {
            if count > 1 && matches!(item.node.value, Value::Seq(_)) {
                self.report(Code::WrongType, item.span, format!("`{}` takes a flat list", at.key))
                    .help("take the inner brackets away");
                continue;
            }
            if let Some(text) = item.plain_text() {
                if let Some(first) = seen.get(text) {
                    let first = *first;
                    self.report(
                        Code::RepeatedValue,
                        item.span,
                        format!("`{}` is listed twice", short(text)),
                    )
                    .label("a second time")
                    .related(first, "first here")
                    .help("drop one of the two");
                } else {
                    seen.insert(text, item.span);
                }
            }
            values.extend(read(self, item));
        }
        (values.len() == count).then_some(values)
    }
}

/// What to do about a pattern of a class that is found in every text.
const EVERY_ERROR: &str = "every error would be of this class; say what its errors have in common";

/// The bounds of durations that have no tighter ones.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// Adds "did you mean", or else the list of what there is.
pub(super) fn suggest<'w>(
    finding: &mut Finding,
    word: &str,
    words: impl Iterator<Item = &'w str> + Clone,
) {
    if let Some(near) = nearest(word, words.clone()) {
        finding.help(format!("did you mean `{near}`?"));
        return;
    }
    let mut all: Vec<&str> = words.collect();
    let rest = all.len().saturating_sub(30);
    all.truncate(30);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    finding.help(format!("it is one of {}{more}", all.join(", ")));
}

pub(super) use yaml::short as shorten;
