//! Findings of `check` as people, scripts, code scanners and workflows want them.
//!
//! Works on the text with its secrets blotted out, so that none can be printed.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::rules::{Code, Finding, Loaded, Related, Severity, Shown, Span};

/// Lines that are longer together than this, in bytes, are not shown.
const LONGEST_SHOWN: usize = 16_384;

/// So many findings of a file are shown to people, who read no more.
const MOST_SHOWN: usize = 1_000;

/// The look of a compiler's messages: place, line, caret, help. Ends without a line break; empty
/// when there are no findings.
#[must_use]
pub fn human(loaded: &Loaded, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let findings = &loaded.findings;
    let mut shown: Vec<String> = findings
        .iter()
        .take(MOST_SHOWN)
        .map(|finding| message(&renderer, loaded, finding))
        .collect();
    if let Some(more) = findings.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
        shown.push(format!(
            "and {more} more findings in this file, which the other formats have; mend these first"
        ));
    }
    shown.join("\n\n")
}

fn message(renderer: &Renderer, loaded: &Loaded, finding: &Finding) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code.as_str());
    let whole = finding.related.iter().fold(finding.span, |whole, related| {
        let (start, end) = (whole.start.min(related.span.start), whole.end.max(related.span.end));
        Span::new(whole.file, start, end)
    });
    let together = finding.related.iter().all(|related| related.span.file == whole.file);
    let Shown { path, text: shown } = loaded.file(finding.span);
    let mut far = Vec::new();
    let group = if let Some((start, text)) = together.then(|| lines(shown, whole)).flatten() {
        let first = finding.related.iter().map(|related| related.line).min();
        let inside = |span: Span| span.start - start..span.end - start;
        let label = (!finding.label.is_empty()).then_some(finding.label.as_str());
        let mut snippet = Snippet::source(text)
            .path(path)
            .line_start(first.map_or(finding.line, |first| first.min(finding.line)))
            .annotation(AnnotationKind::Primary.span(inside(finding.span)).label(label));
        for related in &finding.related {
            let words = related.message.as_str();
            snippet =
                snippet.annotation(AnnotationKind::Context.span(inside(related.span)).label(words));
        }
        title.element(snippet)
    } else {
        far = finding.related.iter().collect();
        if let Some((start, text)) = lines(shown, finding.span) {
            let label = (!finding.label.is_empty()).then_some(finding.label.as_str());
            let span = finding.span.start - start..finding.span.end - start;
            let annotation = AnnotationKind::Primary.span(span).label(label);
            let snippet = Snippet::source(text).path(path).line_start(finding.line);
            title.element(snippet.annotation(annotation))
        } else {
            title.element(Origin::path(path).line(finding.line).char_column(finding.column))
        }
    };
    let notes: Vec<String> = far
        .iter()
        .map(|Related { span, line, column, message }| {
            if span.file == finding.span.file {
                format!("{message}: line {line}, column {column}")
            } else {
                format!("{message}: {}:{line}:{column}", loaded.file(*span).path)
            }
        })
        .collect();
    let notes = notes.iter().map(|note| Level::NOTE.message(note.as_str()));
    let helps = finding.help.iter().map(|help| Level::HELP.message(help.as_str()));
    renderer.render(&[group.elements(notes).elements(helps)])
}

/// The lines that hold a span, and the byte they begin at; none when they are too long to show.
fn lines(text: &str, span: Span) -> Option<(usize, &str)> {
    // Looked for no further than what may be shown, so that many findings on one endless line
    // stay cheap.
    let bytes = text.as_bytes();
    let floor = span.start.saturating_sub(LONGEST_SHOWN);
    let start = match bytes.get(floor..span.start)?.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => floor + at + 1,
        None if floor == 0 => 0,
        None => return None,
    };
    let ceiling = (span.end + LONGEST_SHOWN).min(bytes.len());
    let end = match bytes.get(span.end..ceiling)?.iter().position(|byte| *byte == b'\n') {
        Some(at) => span.end + at,
        None if ceiling == bytes.len() => bytes.len(),
        None => return None,
    };
    let shown = text.get(start..end)?;
    let mark = shown.len() - shown.trim_start_matches('\u{feff}').len();
    (shown.len() <= LONGEST_SHOWN)
        .then(|| (start + mark, shown[mark..].trim_end_matches('\r')))
        .filter(|(start, shown)| *start <= span.start && span.end <= start + shown.len())
}

/// One JSON object a finding: `code`, `severity`, `file`, `line`, `column`, `end_line`,
/// `end_column`, `message`, `help`, `related`. Lines and columns begin at 1; columns count
/// characters.
#[must_use]
pub fn json(loaded: &Loaded) -> Vec<String> {
    loaded.findings.iter().map(|finding| object(loaded, finding).to_string()).collect()
}

fn object(loaded: &Loaded, finding: &Finding) -> Value {
    let related: Vec<Value> = finding
        .related
        .iter()
        .map(|related| {
            json!({
                "file": loaded.file(related.span).path,
                "line": related.line,
                "column": related.column,
                "message": related.message,
            })
        })
        .collect();
    json!({
        "code": finding.code.as_str(),
        "severity": finding.severity.as_str(),
        "file": loaded.file(finding.span).path,
        "line": finding.line,
        "column": finding.column,
        "end_line": finding.end_line,
        "end_column": finding.end_column,
        "message": finding.message,
        "help": finding.help,
        "related": related,
    })
}

/// A SARIF 2.1.0 log of all files, for code scanners.
#[must_use]
pub fn sarif(files: &[Loaded]) -> String {
    let rules: Vec<Value> = Code::ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.as_str(),
                "shortDescription": { "text": code.title() },
                "help": { "text": code.page(), "markdown": code.page() },
                "defaultConfiguration": { "level": code.severity().as_str() },
            })
        })
        .collect();
    let results: Vec<Value> = files
        .iter()
        .flat_map(|file| file.findings.iter().map(|finding| result(file, finding)))
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    log.to_string()
}

fn result(file: &Loaded, finding: &Finding) -> Value {
    let place = |span: Span, line: usize, column: usize, end: Option<(usize, usize)>| {
        let mut region = json!({ "startLine": line, "startColumn": column });
        if let Some((line, column)) = end {
            region["endLine"] = json!(line);
            region["endColumn"] = json!(column);
        }
        json!({ "artifactLocation": { "uri": uri(&file.file(span).path) }, "region": region })
    };
    let text = match &finding.help {
        Some(help) => format!("{}. Help: {help}", finding.message),
        None => finding.message.clone(),
    };
    let end = Some((finding.end_line, finding.end_column));
    let related: Vec<Value> = finding
        .related
        .iter()
        .map(|related| {
            json!({
                "physicalLocation": place(related.span, related.line, related.column, None),
                "message": { "text": related.message },
            })
        })
        .collect();
    json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": Code::ALL.iter().position(|code| *code == finding.code),
        "level": finding.severity.as_str(),
        "message": { "text": text },
        "locations": [{ "physicalLocation": place(finding.span, finding.line, finding.column, end) }],
        "relatedLocations": related,
    })
}

/// A path as a URI reference: what may not stand in one is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                uri.push(char::from(byte));
            }
            b'\\' => uri.push('/'),
            _ => {
                // Writing into a string cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

/// Annotations for GitHub workflows, one line a finding.
#[must_use]
pub fn github(loaded: &Loaded) -> Vec<String> {
    loaded
        .findings
        .iter()
        .map(|finding| {
            let text = match &finding.help {
                Some(help) => format!("{}\nhelp: {help}", finding.message),
                None => finding.message.clone(),
            };
            format!(
                "::{} file={},line={},col={},endLine={},endColumn={},title={}::{}",
                finding.severity.as_str(),
                property(&loaded.file(finding.span).path),
                finding.line,
                finding.column,
                finding.end_line,
                finding.end_column,
                finding.code,
                data(&text),
            )
        })
        .collect()
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
