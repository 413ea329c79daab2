//! Regular expressions and globs.

use globset::{Glob, GlobBuilder};
use regex::Regex;
use regex_syntax::ast;
use regex_syntax::hir::{Hir, HirKind};

use super::codes::Code;
use super::values::Fault;
use crate::engine::pattern::Pattern;

/// The longest pattern, in bytes.
const LONGEST: usize = 16_384;

/// What a single expression may cost.
const LARGEST: u64 = 1_000_000;

/// Up to this cost an expression compiles in less than a few milliseconds, to a small part of the size
/// at which compiling it is refused.
const LIGHT: u64 = 10_000;

/// Up to so many bytes in all, a set of globs does the same.
pub(super) const LIGHT_GLOBS: usize = 1_000;

/// What is known of a regular expression without compiling it.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// What it costs to compile, in automaton states more or less.
    pub(super) cost: u64,
    hir: Hir,
}

impl Weight {
    /// The expression to be compiled later, if it need not be compiled and looked at now.
    pub(super) fn later(&self, text: &str) -> Option<Pattern> {
        // One that is never found has no length at all.
        let may_be_empty = self.hir.properties().minimum_len().is_none_or(|length| length == 0);
        (self.cost <= LIGHT && !may_be_empty).then(|| Pattern::later(text, &self.hir))
    }
}

/// Holds that a text is a regular expression, and an affordable one. A file may have thousands, so the
/// parser is used again.
pub(super) fn weigh(parser: &mut regex_syntax::Parser, text: &str) -> Result<Weight, Fault> {
    if text.len() > LONGEST {
        return Err(too_long(text));
    }
    let hir = parser.parse(text).map_err(|error| syntax(text, &error))?;
    let cost = cost(&hir);
    if cost > LARGEST {
        return Err(too_large(text, "the expression grows too large".to_owned()));
    }
    Ok(Weight { cost, hir })
}

/// Compiles a regular expression.
pub(super) fn regex(text: &str) -> Result<Regex, Fault> {
    Regex::new(text).map_err(|error| {
        let message = match error {
            regex::Error::CompiledTooBig(_) => "the expression grows too large".to_owned(),
            other => other.to_string(),
        };
        too_large(text, message)
    })
}

fn too_large(text: &str, message: String) -> Fault {
    Fault::new(Code::InvalidRegex, 0..text.len(), message)
        .help("repeat less: a count such as `{1000}` multiplies what it repeats")
}

fn too_long(text: &str) -> Fault {
    let message = format!("the pattern is longer than {} KiB", LONGEST / 1024);
    Fault::new(Code::TooComplex, 0..text.len(), message).help("write several patterns in a list")
}

fn syntax(text: &str, error: &regex_syntax::Error) -> Fault {
    let (span, message, help) = match error {
        regex_syntax::Error::Parse(error) => {
            (error.span(), error.kind().to_string(), hint(text, error))
        }
        regex_syntax::Error::Translate(error) => (error.span(), error.kind().to_string(), None),
        other => {
            return Fault::new(Code::InvalidRegex, 0..text.len(), other.to_string());
        }
    };
    let fault =
        Fault::new(Code::InvalidRegex, span.start.offset..span.end.offset, message.to_lowercase());
    match help {
        Some(help) => fault.help(help),
        None => fault.help("see https://docs.rs/regex/#syntax for what an expression may hold"),
    }
}

fn hint(text: &str, error: &ast::Error) -> Option<&'static str> {
    use ast::ErrorKind as Kind;
    Some(match error.kind() {
        Kind::RepetitionMissing if text.starts_with(['*', '?']) => {
            "an expression is no glob: write `.*` for anything, or leave it out at the ends"
        }
        Kind::RepetitionMissing => "write `\\` before it to mean the character itself",
        Kind::GroupUnclosed => "close it with `)`, or write `\\(` to mean the character itself",
        Kind::GroupUnopened => "write `\\)` to mean the character itself",
        Kind::ClassUnclosed => "close it with `]`, or write `\\[` to mean the character itself",
        Kind::RepetitionCountUnclosed
        | Kind::RepetitionCountDecimalEmpty
        | Kind::DecimalEmpty
        | Kind::DecimalInvalid => "write `\\{` to mean the character itself",
        Kind::EscapeUnrecognized => "write `\\\\` to mean a backslash",
        Kind::EscapeUnexpectedEof => "a `\\` at the end escapes nothing; write `\\\\` to mean it",
        Kind::UnsupportedLookAround => {
            "this engine never looks around; say what must not hold under `not:`"
        }
        Kind::UnsupportedBackreference => "this engine has no back-references",
        Kind::FlagUnrecognized => "the flags are i, m, s, R, U, u and x",
        Kind::GroupNameDuplicate { .. } => "give each group its own name",
        _ => return None,
    })
}

fn cost(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty => 0,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => 4 * class.ranges().len() as u64,
        HirKind::Class(_) | HirKind::Look(_) => 1,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min + 1).max(1);
            cost(&repetition.sub).saturating_add(1).saturating_mul(u64::from(times))
        }
        HirKind::Capture(capture) => cost(&capture.sub).saturating_add(2),
        HirKind::Concat(members) | HirKind::Alternation(members) => {
            members.iter().map(cost).fold(1, u64::saturating_add)
        }
    }
}

/// Whether an expression is found in any text whatever.
pub(super) fn matches_everything(regex: &Regex) -> bool {
    ["", "a", "\n", "a\nb", "中", " 1", "%Z\r\n\t-"].iter().all(|text| regex.is_match(text))
}

/// Compiles a glob in which `*` stays within one folder and `**` crosses them.
pub(super) fn glob(text: &str) -> Result<Glob, Fault> {
    if text.len() > LONGEST {
        return Err(too_long(text));
    }
    GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build().map_err(|error| {
        use globset::ErrorKind as Kind;
        let (range, help) = match error.kind() {
            Kind::UnclosedClass => {
                (last(text, '['), "close it with `]`, or write `[[]` to mean the character itself")
            }
            Kind::UnclosedAlternates => {
                (last(text, '{'), "close it with `}`, or write `[{]` to mean the character itself")
            }
            Kind::UnopenedAlternates => {
                (last(text, '}'), "write `[}]` to mean the character itself")
            }
            Kind::DanglingEscape => {
                (last(text, '\\'), "a `\\` at the end escapes nothing; write `[\\\\]` to mean it")
            }
            Kind::InvalidRange(from, to) => {
                let shown = format!("{from}-{to}");
                let at = text.find(&shown).unwrap_or(0);
                (at..at + shown.len(), "write the smaller end first")
            }
            _ => (0..text.len(), "see https://docs.rs/globset/#syntax for what a glob may hold"),
        };
        Fault::new(Code::InvalidGlob, range, error.kind().to_string()).help(help)
    })
}

/// Where a `**` is part of a name, so that it is no more than a `*`.
pub(super) fn glued_stars(glob: &str) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    for name in glob.split('/') {
        // Inside braces and brackets slashes and stars mean other things.
        if name.contains(['{', '[', '\\']) {
            return None;
        }
        if name != "**"
            && let Some(stars) = name.find("**")
        {
            return Some(at + stars..at + stars + 2);
        }
        at += name.len() + 1;
    }
    None
}

/// Whether a glob begins with a name, as no path of a task does.
pub(super) fn is_relative(glob: &str) -> bool {
    !glob.starts_with(['/', '*', '?', '[', '{', '!', '\\'])
}

/// Whether a glob that begins with a name may match an address: its scheme comes before any slash.
pub(super) fn may_be_url(glob: &str) -> bool {
    let name = glob.split(['*', '?', '[', '{', '\\', '/']).next().unwrap_or_default();
    name.contains(':') || (name.len() < glob.len() && !glob[name.len()..].starts_with('/'))
}

/// Where a glob has a part that no path has, since the servers clean them: `.`, `..`, or nothing
/// between two slashes. `urls` are let keep their slashes.
pub(super) fn unclean(glob: &str, urls: bool) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    let mut names = glob.split('/').peekable();
    while let Some(name) = names.next() {
        // Inside braces and brackets slashes and dots mean other things.
        if name.contains(['{', '[', '\\']) || (urls && name.ends_with(':')) {
            return None;
        }
        if matches!(name, "." | "..") {
            return Some(at..at + name.len());
        }
        if name.is_empty() && at > 0 && names.peek().is_some() && !urls {
            return Some(at - 1..at + 1);
        }
        at += name.len() + 1;
    }
    None
}

fn last(text: &str, char: char) -> std::ops::Range<usize> {
    text.rfind(char).map_or(0..text.len(), |at| at..at + char.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_into_a_broken_expression() {
        let mut parser = regex_syntax::Parser::new();
        for (text, range) in [
            ("timed? (out", "("),
            ("a)b", ")"),
            ("[abc", "["),
            ("*.timeout", "*"),
            ("中文\\q", "\\q"),
            ("a(?=b)", "(?="),
            ("x{3,2}", "{3,2}"),
        ] {
            let fault = weigh(&mut parser, text).unwrap_err();
            let shown = match &text[fault.range.clone()] {
                // An empty range is the character there.
                "" => &text[fault.range.start..=fault.range.start],
                shown => shown,
            };
            assert_eq!(shown, range, "{text}");
            assert_eq!(fault.code, Code::InvalidRegex);
        }
        assert!(weigh(&mut parser, "(\\w{100}){100}").is_err());
    }

    #[test]
    fn knows_what_matches_everything() {
        for (text, everything) in [
            ("", true),
            (".*", true),
            ("(timeout)?", true),
            ("a|", true),
            ("^.*", true),
            (".", false),
            ("^$", false),
            ("timeout", false),
        ] {
            assert_eq!(matches_everything(&regex(text).unwrap()), everything, "{text}");
        }
    }

    #[test]
    fn points_into_a_broken_glob() {
        for (text, range) in
            [("/a/[x", "["), ("/a/{x,y", "{"), ("/a}", "}"), ("/[z-a]", "z-a"), ("/a\\", "\\")]
        {
            assert_eq!(&text[glob(text).unwrap_err().range], range, "{text}");
        }
        let glob = glob("/media/*").unwrap().compile_matcher();
        assert!(glob.is_match("/media/a") && !glob.is_match("/media/a/b"));
    }

    #[test]
    fn stars_glued_to_a_name_are_found_and_cross_no_folder() {
        for (text, at) in [
            ("/media/**.mkv", Some(7..9)),
            ("**x", Some(0..2)),
            ("/a/b**/c", Some(4..6)),
            ("/media/**/*.mkv", None),
            ("**", None),
            ("/a/**", None),
            ("/a/{**,b}", None),
        ] {
            assert_eq!(glued_stars(text), at, "{text}");
        }
        let glued = glob("/media/**.mkv").unwrap().compile_matcher();
        assert!(glued.is_match("/media/a.mkv") && !glued.is_match("/media/a/b.mkv"));
    }

    #[test]
    fn parts_that_no_path_has_are_found() {
        for (text, part) in [
            ("../x", Some("..")),
            ("./x", Some(".")),
            ("/a/../b", Some("..")),
            ("/a/.", Some(".")),
            ("/a//b", Some("//")),
            ("//a", Some("//")),
            ("..", Some("..")),
            ("/a/..b/.c/...", None),
            ("/a/", None),
            ("/", None),
            ("**/*.mkv", None),
            ("/a/{..,b}", None),
        ] {
            assert_eq!(unclean(text, false).map(|part| &text[part]), part, "{text}");
        }
        for text in ["https://host/**", "magnet:*", "ht*", "*//x"] {
            assert_eq!(unclean(text, true), None, "{text}");
            assert!(!is_relative(text) || may_be_url(text), "{text}");
        }
        for text in ["films/**", "films", "../x", "a b/c:d"] {
            assert!(is_relative(text) && !may_be_url(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            if let Err(fault) = weigh(&mut regex_syntax::Parser::new(), &text) {
                prop_assert!(text.get(fault.range).is_some());
            }
            if let Err(fault) = glob(&text) {
                prop_assert!(text.get(fault.range).is_some());
            }
            for urls in [false, true] {
                prop_assert!(unclean(&text, urls).is_none_or(|part| text.get(part).is_some()));
            }
        }
    }
}
