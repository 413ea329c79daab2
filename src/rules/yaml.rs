//! YAML text -> a tree that knows where each part stands.
//!
//! Built from the parser's events and not through serde: duplicate keys are reported with both
//! places, a caret can point into a quoted text, and the walk goes on after a mistake.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Tag};

use super::codes::Code;
use super::finding::{Finding, Span};

/// The most parts a document may have, with aliases written out. The largest real file seen has
/// some thousand; an alias bomb has billions.
pub(super) const MOST_NODES: usize = 200_000;
/// A text counts as one more part for each time that it has so many bytes.
const LONG_TEXT: usize = 256;
/// The longest text that is looked at, in bytes.
const LONGEST_TEXT: usize = 16 << 20;

/// A part of the document. Texts that the file writes as they are stay in the file.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// Where it stands; an alias's content stands where the alias does not.
    pub(super) span: Span,
    pub(super) value: Value<'a>,
}

#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    /// Something that could not be read, and was reported.
    Bad,
    Bool(bool),
    /// Everything else that is one word or text; numbers keep their text.
    Text(Scalar<'a>),
    Seq(Vec<Node<'a>>),
    Map(Vec<Entry<'a>>),
}

/// A text or a number.
#[derive(Clone, Debug)]
pub(super) struct Scalar<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) number: bool,
    style: ScalarStyle,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) key_span: Span,
    pub(super) value: Node<'a>,
}

impl Entry<'_> {
    /// Where to point for the value: at it, or at the key when there is nothing to see.
    pub(super) fn spot(&self) -> Span {
        if self.value.span.is_empty() { self.key_span } else { self.value.span }
    }
}

impl Node<'_> {
    /// What it is, for people.
    pub(super) fn what(&self) -> &'static str {
        match &self.value {
            Value::Null | Value::Bad => "nothing",
            Value::Bool(_) => "true or false",
            Value::Text(scalar) if scalar.number => "a number",
            Value::Text(_) => "text",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Where a part of this text stands in the file. `range` is in bytes of the text's value; an
    /// empty range is widened to the character there.
    pub(super) fn part(&self, source: &str, range: std::ops::Range<usize>) -> Span {
        let Value::Text(scalar) = &self.value else { return self.span };
        let raw = source.get(self.span.range()).unwrap_or_default();
        let offsets = scalar.align(raw);
        let at = |value: usize| offsets.get(value).copied().unwrap_or(raw.len());
        if range.start >= scalar.text.len() && !scalar.text.is_empty() {
            // Behind the end: the last character carries the caret.
            let last = scalar.text.char_indices().next_back().map_or(0, |(last, _)| last);
            return self.span.within(at(last)..at(scalar.text.len()));
        }
        let mut end = range.end.max(range.start);
        if end == range.start {
            end += scalar.text[range.start..].chars().next().map_or(0, char::len_utf8);
        }
        self.span.within(at(range.start)..at(end))
    }
}

impl Scalar<'_> {
    /// For each byte of the value the byte of the raw text that it comes from; one more for the
    /// end.
    fn align(&self, raw: &str) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.text.len() + 1);
        let quoted = matches!(self.style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        let mut at = usize::from(quoted).min(raw.len());
        let mut end = at;
        for char in self.text.chars() {
            let (from, to) = self.step(raw, at, char);
            offsets.extend(std::iter::repeat_n(from, char.len_utf8()));
            (at, end) = (to, to);
        }
        offsets.push(end);
        offsets
    }

    /// Where, from `at` on, the raw text says `char`: from and to.
    fn step(&self, raw: &str, at: usize, char: char) -> (usize, usize) {
        let rest = raw.get(at..).unwrap_or_default();
        let double = self.style == ScalarStyle::DoubleQuoted;
        if double && let Some(escape) = rest.strip_prefix('\\') {
            let kind = escape.chars().next();
            if kind.is_some_and(|kind| kind == '\n' || kind == '\r') {
                // A line that goes on: nothing of it is in the value.
                let skipped = escape.len() - escape.trim_start().len();
                return self.step(raw, at + 1 + skipped, char);
            }
            let digits = match kind {
                Some('x') => 2,
                Some('u') if char > '\u{ffff}' => 10, // two halves of six characters each
                Some('u') => 4,
                Some('U') => 8,
                _ => 0,
            };
            let length = 1 + kind.map_or(0, char::len_utf8) + digits;
            return (at, (at + length).min(raw.len()));
        }
        if self.style == ScalarStyle::SingleQuoted && char == '\'' && rest.starts_with("''") {
            return (at, at + 2);
        }
        if rest.starts_with(char) && char != ' ' && char != '\n' {
            return (at, at + char.len_utf8());
        }
        let blank = rest.len() - rest.trim_start().len();
        if char == ' ' || char == '\n' {
            let gap = &rest[..blank];
            // A break that was folded into a blank, or kept as a break: one step over all of the
            // indentation that follows it.
            if let Some(break_at) = gap.find('\n').filter(|_| char == '\n' || !gap.starts_with(' '))
            {
                let next = gap[break_at + 1..].find(|c: char| c != ' ' && c != '\t');
                let next = next.map_or(blank, |next| break_at + 1 + next);
                return (at, at + next.max(1));
            }
            if rest.starts_with(' ') {
                let folded =
                    gap.contains('\n') && char == ' ' && self.style != ScalarStyle::Literal;
                return (at, at + if folded { blank } else { 1 });
            }
            return (at, at);
        }
        if raw.get(at + blank..).is_some_and(|rest| rest.starts_with(char)) {
            return (at + blank, at + blank + char.len_utf8());
        }
        (at, at)
    }
}

/// A collection under construction.
enum Frame<'a> {
    Seq {
        start: usize,
        flow: bool,
        anchor: usize,
        items: Vec<Node<'a>>,
        size: usize,
    },
    Map {
        start: usize,
        flow: bool,
        anchor: usize,
        entries: Vec<Entry<'a>>,
        key: Key<'a>,
        size: usize,
    },
}

/// The key whose value comes next.
enum Key<'a> {
    None,
    Text(Cow<'a, str>, Span),
    /// Something that cannot be a key; reported already.
    Bad,
}

struct Builder<'a, 'f> {
    file: usize,
    text: &'a str,
    findings: &'f mut Vec<Finding>,
    frames: Vec<Frame<'a>>,
    anchors: BTreeMap<usize, (Node<'a>, usize)>,
    nodes: usize,
    most: usize,
    root: Option<Node<'a>>,
    documents: usize,
}

/// Reads the one document of a file. `None`, with a finding, when there is nothing to walk.
pub(super) fn parse<'a>(text: &'a str, findings: &mut Vec<Finding>) -> Option<Node<'a>> {
    parse_part(0, text, &mut MOST_NODES.clone(), findings)
}

/// The same for one of several files, which together may have no more parts than one alone: `left`
/// is how many more.
pub(super) fn parse_part<'a>(
    file: usize,
    text: &'a str,
    left: &mut usize,
    findings: &mut Vec<Finding>,
) -> Option<Node<'a>> {
    let at_start = Span::new(file, 0, 0);
    if text.len() > LONGEST_TEXT {
        let message = format!("the file has more than {} MiB", LONGEST_TEXT >> 20);
        let mut finding = Finding::new(Code::TooComplex, at_start, message);
        finding.help("is this the rules file?");
        findings.push(finding);
        return None;
    }
    let mut builder = Builder {
        file,
        text,
        findings,
        frames: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        most: *left,
        root: None,
        documents: 0,
    };
    let options = granit_parser::options! { emit_unresolved_aliases: true, emit_comments: false };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, at)) => {
                let span = at.byte_range().unwrap_or_default();
                let tag = at.tag_span().and_then(|tag| tag.byte_range());
                let tag = tag.map(|tag| Span::new(file, tag.start, tag.end));
                if !builder.event(event, Span::new(file, span.start, span.end), tag) {
                    return None;
                }
            }
            Err(error) => {
                builder.syntax(&error);
                return None;
            }
        }
    }
    *left = left.saturating_sub(builder.nodes);
    match builder.root.take() {
        Some(root) if !matches!(root.value, Value::Null) => Some(root),
        root => {
            builder.empty(root.map_or(at_start, |root| root.span));
            None
        }
    }
}

impl<'a> Builder<'a, '_> {
    fn empty(&mut self, span: Span) {
        let mut finding = Finding::new(Code::EmptyFile, span, "the file holds no rules");
        finding.help("begin with `version: 1`, then `servers:` and `rules:`");
        self.findings.push(finding);
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = error.marker().byte_offset().unwrap_or_default().min(self.text.len());
        let rest = self.text.get(at..).unwrap_or_default();
        let width = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let span = Span::new(self.file, at, at + width);
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            let message = "lists and maps are nested too deep";
            let mut finding = Finding::new(Code::TooComplex, span, message);
            finding.help("a rules file needs some ten levels at most");
            self.findings.push(finding);
            return;
        }
        let (message, help) = explain(error.kind(), rest);
        let mut finding = Finding::new(Code::YamlSyntax, span, message);
        finding.help(help);
        self.findings.push(finding);
    }

    /// Takes one event in; false stops.
    fn event(&mut self, event: Event<'a>, span: Span, tag_span: Option<Span>) -> bool {
        let tag_span = tag_span.unwrap_or(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let mut finding = Finding::new(
                        Code::MultipleDocuments,
                        span,
                        "the file holds more than one YAML document",
                    );
                    finding.help("put all rules under one `rules:`, and drop the `---` between");
                    self.findings.push(finding);
                    return false;
                }
                true
            }
            Event::Scalar(text, style, anchor, tag) => {
                let size = 1 + text.len() / LONG_TEXT;
                let value = self.scalar(text, style, tag.as_deref(), tag_span);
                self.complete(Node { span, value }, anchor, size)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), &["seq"], tag_span);
                let flow = style == granit_parser::StructureStyle::Flow;
                let (start, items) = (span.start, Vec::new());
                self.frames.push(Frame::Seq { start, flow, anchor, items, size: 1 });
                true
            }
            Event::MappingStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), &["map"], tag_span);
                let flow = style == granit_parser::StructureStyle::Flow;
                let (start, entries, key) = (span.start, Vec::new(), Key::None);
                self.frames.push(Frame::Map { start, flow, anchor, entries, key, size: 1 });
                true
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id) else {
                    let mut finding = Finding::new(
                        Code::UnknownAlias,
                        span,
                        "an alias stands inside its own anchor",
                    );
                    finding.help("an anchor's content cannot hold itself");
                    self.findings.push(finding);
                    return self.complete(Node { span, value: Value::Bad }, 0, 1);
                };
                let size = *size;
                // Looked at before the copy, so that a bomb is never written out.
                if self.nodes + size > self.most {
                    return self.too_many(span);
                }
                let node = node.clone();
                self.complete(node, 0, size)
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("no anchor is called `{}`", short(&name));
                let mut finding = Finding::new(Code::UnknownAlias, span, message);
                finding.help("`*` begins an alias; put quotes around a text that begins with it");
                self.findings.push(finding);
                self.complete(Node { span, value: Value::Bad }, 0, 1)
            }
            _ => true,
        }
    }

    fn too_many(&mut self, span: Span) -> bool {
        let message = format!("the file has more than {MOST_NODES} parts, aliases written out");
        let mut finding = Finding::new(Code::TooComplex, span, message);
        finding.help("split the file, or use fewer aliases");
        self.findings.push(finding);
        false
    }

    fn tag(&mut self, tag: Option<&Tag>, allowed: &[&str], span: Span) {
        if let Some(tag) = tag
            && !tag.core_suffix().is_some_and(|suffix| allowed.contains(&suffix))
        {
            let mut finding =
                Finding::new(Code::UnsupportedTag, span, "YAML tags have no meaning here");
            finding.help("drop the word that begins with `!`; a text that begins so needs quotes");
            self.findings.push(finding);
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Value<'a> {
        self.tag(tag, &["str", "int", "float", "bool", "null"], span);
        let plain = style == ScalarStyle::Plain && tag.is_none();
        match &*text {
            "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
            "true" | "True" | "TRUE" if plain => Value::Bool(true),
            "false" | "False" | "FALSE" if plain => Value::Bool(false),
            _ => {
                let number = plain && text.parse::<f64>().is_ok_and(f64::is_finite);
                Value::Text(Scalar { text, number, style })
            }
        }
    }

    fn close(&mut self, end: Span) -> bool {
        let Some(frame) = self.frames.pop() else { return false };
        let (start, flow, anchor, size, value) = match frame {
            Frame::Seq { start, flow, anchor, items, size } => {
                (start, flow, anchor, size, Value::Seq(items))
            }
            Frame::Map { start, flow, anchor, entries, size, .. } => {
                (start, flow, anchor, size, Value::Map(self.merge(entries)))
            }
        };
        let end = if flow { end.end } else { end.start };
        let shown = self.text.get(start..end).unwrap_or_default().trim_end();
        let span = Span::new(self.file, start, start + shown.len());
        // Its members are counted already.
        self.nodes = self.nodes.saturating_sub(size - 1);
        self.complete(Node { span, value }, anchor, size)
    }

    fn complete(&mut self, node: Node<'a>, anchor: usize, size: usize) -> bool {
        self.nodes += size;
        if self.nodes > self.most {
            return self.too_many(node.span);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
            // The copy is held in memory like any other.
            self.nodes += size;
        }
        match self.frames.last_mut() {
            None => self.root = Some(node),
            Some(Frame::Seq { items, size: all, .. }) => {
                items.push(node);
                *all += size;
            }
            Some(Frame::Map { entries, key, size: all, .. }) => {
                *all += size;
                match std::mem::replace(key, Key::None) {
                    Key::Bad => {}
                    Key::Text(key, key_span) => {
                        entries.push(Entry { key, key_span, value: node });
                    }
                    Key::None => {
                        *key = match node.value {
                            Value::Text(scalar) => Key::Text(scalar.text, node.span),
                            Value::Bool(true) => Key::Text("true".into(), node.span),
                            Value::Bool(false) => Key::Text("false".into(), node.span),
                            Value::Bad => Key::Bad,
                            Value::Null | Value::Seq(_) | Value::Map(_) => {
                                let message = format!("a key must be a word, not {}", node.what());
                                let mut finding = Finding::new(Code::WrongType, node.span, message);
                                finding.help(
                                    "write `key: value`; put quotes around text with `{` or `[`",
                                );
                                self.findings.push(finding);
                                Key::Bad
                            }
                        }
                    }
                }
            }
        }
        true
    }

    /// Reports keys given twice, keeping the first, and puts in what `<<` brings.
    fn merge(&mut self, entries: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
        // As nearly all maps are.
        let plain = |at: usize, entry: &Entry| {
            entry.key != "<<" && entries[..at].iter().all(|before| before.key != entry.key)
        };
        if entries.len() <= 16 && entries.iter().enumerate().all(|(at, entry)| plain(at, entry)) {
            return entries;
        }
        let mut seen: BTreeMap<Cow<'a, str>, Span> = BTreeMap::new();
        let mut kept: Vec<Entry<'a>> = Vec::with_capacity(entries.len());
        let mut merged: Vec<Entry<'a>> = Vec::new();
        for entry in entries {
            if let Some(first) = seen.get(&entry.key) {
                let message = format!("the key `{}` is given twice", short(&entry.key));
                let mut finding = Finding::new(Code::DuplicateKey, entry.key_span, message);
                finding.label("a second time").related(*first, "first here");
                finding.help("keep one of the two; for several values write a list");
                self.findings.push(finding);
                continue;
            }
            seen.insert(entry.key.clone(), entry.key_span);
            if entry.key != "<<" {
                kept.push(entry);
                continue;
            }
            let sources = match entry.value.value {
                Value::Map(entries) => {
                    vec![Node { span: entry.value.span, value: Value::Map(entries) }]
                }
                Value::Seq(items) => items,
                value => vec![Node { span: entry.value.span, value }],
            };
            for source in sources {
                if let Value::Map(entries) = source.value {
                    merged.extend(entries);
                } else {
                    let message = format!("`<<` takes a map, not {}", source.what());
                    let span = if source.span.is_empty() { entry.key_span } else { source.span };
                    let mut finding = Finding::new(Code::WrongType, span, message);
                    finding.help("write `<<: *anchor`, with the anchor on a map");
                    self.findings.push(finding);
                }
            }
        }
        for entry in merged {
            if let std::collections::btree_map::Entry::Vacant(free) = seen.entry(entry.key.clone())
            {
                free.insert(entry.key_span);
                kept.push(entry);
            }
        }
        kept
    }
}

/// The first characters of a text that may be long, on one line.
pub(super) fn short(text: &str) -> String {
    let mut shown: String =
        text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// What a syntax error means, and what to do about it.
fn explain(kind: &ErrorKind, rest: &str) -> (String, &'static str) {
    let message = match kind {
        ErrorKind::UnclosedQuotedScalar => "the quote is never closed".to_owned(),
        ErrorKind::UnclosedFlowCollection { open } => format!("the `{open}` is never closed"),
        ErrorKind::UnexpectedCharacter { character } => {
            format!("a value cannot begin with `{character}`")
        }
        ErrorKind::MappingValueNotAllowed => "a `:` is not allowed here".to_owned(),
        ErrorKind::UnknownQuotedScalarEscape => "double quotes know no such escape".to_owned(),
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "a tab stands where YAML wants blanks".to_owned()
        }
        ErrorKind::SimpleKeyExpected => "a `:` is missing behind the key".to_owned(),
        ErrorKind::ExpectedFlowMappingSeparator => {
            "a `,` or a `}` is missing before this".to_owned()
        }
        ErrorKind::ExpectedFlowSequenceSeparator => {
            "a `,` or a `]` is missing before this".to_owned()
        }
        ErrorKind::ExpectedBlockSequenceEntry => {
            "this stands in the column of a list, and has no `-` before it".to_owned()
        }
        ErrorKind::ExpectedBlockMappingKey => {
            "this stands in the column of a key, and is none".to_owned()
        }
        kind => kind.to_string().trim_end_matches('.').to_owned(),
    };
    let help = match kind {
        ErrorKind::UnclosedQuotedScalar => {
            "close it with the same quote; inside '...' write '' for one quote"
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::MisplacedFlowCollectionEnd
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::InvalidColonPlacement => {
            "each `[` needs its `]` and each `{` its `}`, with commas between the members"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put the value in single quotes: '...'",
        ErrorKind::MappingValueNotAllowed => {
            "put a text with `: ` in single quotes; otherwise look at the indentation"
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "write a regex in single quotes: '\\d+', where a backslash is itself"
        }
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed => "indent with blanks",
        ErrorKind::SimpleKeyExpected => "write `key: value`, with a blank behind the colon",
        _ if rest.starts_with(['>', '|']) => {
            "a text that begins with `>` or `|` needs quotes, such as `'> 5GB'`"
        }
        _ if rest.starts_with('\t') => "indent with blanks",
        _ => "look at the indentation: the members of one list or map begin in the same column",
    };
    (message, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(text: &str) -> (Node<'_>, Vec<Finding>) {
        let mut findings = Vec::new();
        let root = parse(text, &mut findings).unwrap();
        let Value::Map(mut entries) = root.value else { panic!("{root:?}") };
        (entries.remove(0).value, findings)
    }

    #[test]
    fn a_part_of_a_text_is_found_in_the_file_however_it_is_written() {
        for text in [
            "a: ab(c d\n",
            "a: 'it''s ab(c d'\n",
            "a: \"\\u4e2d\\x41\\t中ab(c d\"\n",
            "a: \"x\\\n   ab(c d\"\n",
            "a: 'one\n   two ab(c d'\n",
            "a: |\n   lit\n     ab(c d\n",
            "a: >-\n  folded\n  ab(c d\n",
            "a: one\n  two ab(c d\n",
        ] {
            let (node, _) = value_of(text);
            let Value::Text(scalar) = &node.value else { panic!() };
            for needle in ["ab", "(", "c", "d"] {
                let at = scalar.text.rfind(needle).unwrap();
                let span = node.part(text, at..at + needle.len());
                assert_eq!(&text[span.range()], needle, "{text:?}");
                assert_eq!(span.start, text.rfind(needle).unwrap(), "{text:?}");
            }
        }
    }

    #[test]
    fn plain_words_have_the_types_of_the_core_schema() {
        for (text, what) in [
            ("a: on", "text"),
            ("a: yes", "text"),
            ("a: true", "true or false"),
            ("a: 12", "a number"),
            ("a: '12'", "text"),
            ("a: 1e3", "a number"),
            ("a: .nan", "text"),
            ("a: nan", "text"),
            ("a: ~", "nothing"),
            ("a:", "nothing"),
            ("a: ''", "text"),
            ("a: !!str true", "text"),
            ("a: [x]", "a list"),
            ("a: {x: y}", "a map"),
        ] {
            assert_eq!(value_of(text).0.what(), what, "{text}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused_unexploded() {
        let mut text = "a: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..20 {
            let members = vec![format!("*a{}", n - 1); 10].join(",");
            let line = format!("a{n}: &a{n} [{members}]\n");
            text.push_str(&line);
        }
        // One level is enough where the text is long.
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(1_000));
        for text in [text, long] {
            let mut findings = Vec::new();
            assert!(parse(&text, &mut findings).is_none());
            assert_eq!(findings[0].code, Code::TooComplex);
        }
    }

    #[test]
    fn explicit_keys_win_over_merged_ones_and_earlier_merges_over_later() {
        let text = "x: {<<: [{a: 1, b: 1}, {b: 2, c: 2}], a: 0}\n";
        let (node, findings) = value_of(text);
        let Value::Map(entries) = node.value else { panic!() };
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| match &entry.value.value {
                Value::Text(scalar) => format!("{}{}", entry.key, scalar.text),
                _ => panic!(),
            })
            .collect();
        assert_eq!(shown, ["a0", "b1", "c2"]);
        assert_eq!(findings, []);
    }
}
