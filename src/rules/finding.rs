//! Findings: what is wrong with a rules file, and where; rendering is `cli`'s.

use std::collections::BTreeMap;
use std::ops::Range;

use super::codes::Code;

/// A range of bytes in the text of one of the files of a rule set, on character boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file, by its place in [`super::Loaded::files`]; 0 is the one that was named.
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// In a file, from the first byte up to, and without, the second.
    #[must_use]
    pub fn new(file: usize, start: usize, end: usize) -> Self {
        Self { file, start, end: end.max(start) }
    }

    /// The bytes as a range.
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// A part of it, by bytes from its start.
    pub(super) fn within(self, part: Range<usize>) -> Self {
        Self::new(self.file, self.start + part.start, self.start + part.end)
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what was meant.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a rules file. It never holds a secret's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a lowercase fragment.
    pub message: String,
    /// Where: the very word, or inside a regex or a cron field the very character.
    pub span: Span,
    /// The line of the span's start; the first is 1.
    pub line: usize,
    /// The column of the span's start, in characters; the first is 1.
    pub column: usize,
    /// The line of the span's end.
    pub end_line: usize,
    /// The column after the span's last character.
    pub end_column: usize,
    /// A few words to stand under the caret; may be empty.
    pub label: String,
    /// The mend.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
}

/// Another place that has to do with a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// The line of the span's start; the first is 1.
    pub line: usize,
    /// The column of the span's start, in characters; the first is 1.
    pub column: usize,
    /// What is there, in a few words.
    pub message: String,
}

impl Finding {
    pub(super) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            span,
            line: 0,
            column: 0,
            end_line: 0,
            end_column: 0,
            label: String::new(),
            help: None,
            related: Vec::new(),
        }
    }

    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn related(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.related.push(Related { span, line: 0, column: 0, message: message.into() });
        self
    }
}

/// Puts findings into the order of the texts, cuts their spans to one line each (a caret cannot
/// stand under several) and fills in lines and columns, in one walk over each text.
pub(super) fn settle(texts: &[&str], findings: &mut Vec<Finding>) {
    for finding in &mut *findings {
        finding.span = one_line(texts, finding.span);
        for related in &mut finding.related {
            related.span = one_line(texts, related.span);
        }
    }
    findings.sort_by(|a, b| {
        (a.span, a.code.as_str(), &a.message).cmp(&(b.span, b.code.as_str(), &b.message))
    });
    findings.dedup();
    let spans = findings
        .iter()
        .flat_map(|f| std::iter::once(f.span).chain(f.related.iter().map(|related| related.span)));
    let mut places: BTreeMap<(usize, usize), (usize, usize)> = spans
        .flat_map(|Span { file, start, end }| [((file, start), (1, 1)), ((file, end), (1, 1))])
        .collect();
    let mut walked = None;
    let (mut text, mut at, mut line, mut column) = ("", 0, 1, 1);
    for ((file, offset), place) in &mut places {
        if walked.replace(*file) != Some(*file) {
            text = texts.get(*file).copied().unwrap_or_default();
            // A byte-order mark is no character of the first line.
            at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
            (line, column) = (1, 1);
        }
        for char in text.get(at..*offset).unwrap_or_default().chars() {
            if char == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        at = at.max(*offset);
        *place = (line, column);
    }
    let place = |file, offset| places.get(&(file, offset)).copied().unwrap_or((1, 1));
    for finding in findings {
        let Span { file, start, end } = finding.span;
        (finding.line, finding.column) = place(file, start);
        (finding.end_line, finding.end_column) = place(file, end);
        for related in &mut finding.related {
            (related.line, related.column) = place(related.span.file, related.span.start);
        }
    }
}

fn one_line(texts: &[&str], span: Span) -> Span {
    let text = texts.get(span.file).copied().unwrap_or_default();
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let shown = text.get(start..end).unwrap_or_default();
    let line = shown.split('\n').next().unwrap_or_default().trim_end();
    Span::new(span.file, start, start + line.len())
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
