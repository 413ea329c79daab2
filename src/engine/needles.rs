//! Texts that every match of an expression holds: looking for those is cheaper than compiling and
//! running it, and mostly says no.

use std::sync::{Arc, OnceLock};

use aho_corasick::AhoCorasick;
use memchr::memchr2_iter;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::rule::Rule;

/// Shorter ones are in every other text.
const SHORTEST: usize = 2;

/// More of them are no help.
const MOST: usize = 64;

/// So many texts at most are put together from the members of an expression.
const MOST_COMBINED: usize = 32;

/// A class of more characters is not written out.
const MOST_CHARS: usize = 16;

/// Of these at least one is in any text in which the expression is found, letters of ASCII in lower case
/// like the text. `None` if no such texts are known.
pub(super) fn needles(hir: &Hir) -> Option<Vec<Box<[u8]>>> {
    let needles = Found::of(hir).required()?;
    Some(needles.into_iter().map(Vec::into_boxed_slice).collect())
}

type Texts = Vec<Vec<u8>>;

/// What is known of the texts that an expression matches, in lower case.
#[derive(Default)]
struct Found {
    /// All of them, where they are few.
    all: Option<Texts>,
    /// One of these is in each of them.
    inside: Option<Texts>,
}

impl Found {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::these(vec![Vec::new()]),
            HirKind::Literal(literal) => Self::these(vec![literal.0.to_ascii_lowercase()]),
            HirKind::Class(class) => Self { all: chars(class), inside: None },
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => {
                let once = Self::of(&repetition.sub);
                match (repetition.min, repetition.max) {
                    (1, Some(1)) => once,
                    (0, Some(1)) => {
                        let all = once.all.map(|mut all| {
                            all.push(Vec::new());
                            all
                        });
                        Self { all, inside: None }
                    }
                    (0, _) => Self::default(),
                    _ => Self { all: None, inside: once.required() },
                }
            }
            HirKind::Alternation(members) => {
                let (mut all, mut inside) = (Some(Texts::new()), Some(Texts::new()));
                for member in members.iter().map(Self::of) {
                    all = extended(all, member.all.as_ref(), MOST_COMBINED);
                    inside = extended(inside, member.required().as_ref(), MOST);
                }
                Self { all, inside }
            }
            HirKind::Concat(members) => Self::in_turn(members),
        }
    }

    fn these(all: Texts) -> Self {
        Self { all: Some(all), inside: None }
    }

    /// What is known of one after the other. All members are in a match, so any of them will do, and what
    /// stands side by side is put together.
    fn in_turn(members: &[Hir]) -> Self {
        let (mut whole, mut inside) = (true, None);
        let mut run = vec![Vec::new()];
        for member in members.iter().map(Self::of) {
            inside = better(inside, member.inside);
            match member.all {
                Some(next) if run.len() * next.len() <= MOST_COMBINED => run = product(&run, &next),
                next => {
                    whole = false;
                    let next = next.unwrap_or_else(|| vec![Vec::new()]);
                    inside = better(inside, Some(std::mem::replace(&mut run, next)));
                }
            }
        }
        if whole {
            Self { all: Some(run), inside }
        } else {
            Self { all: None, inside: better(inside, Some(run)) }
        }
    }

    /// The most telling texts of which one must be there.
    fn required(self) -> Option<Texts> {
        better(self.inside, self.all)
    }
}

/// The characters of a class, if they are few.
fn chars(class: &Class) -> Option<Texts> {
    let mut all: Texts = match class {
        Class::Unicode(class) => {
            let count: usize =
                class.ranges().iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum();
            if count > MOST_CHARS {
                return None;
            }
            let chars = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            chars.map(|c| c.to_ascii_lowercase().to_string().into_bytes()).collect()
        }
        Class::Bytes(class) => {
            let count: usize =
                class.ranges().iter().map(regex_syntax::hir::ClassBytesRange::len).sum();
            if count > MOST_CHARS {
                return None;
            }
            let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            bytes.map(|byte| vec![byte.to_ascii_lowercase()]).collect()
        }
    };
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn product(left: &Texts, right: &Texts) -> Texts {
    left.iter().flat_map(|left| right.iter().map(|right| [&left[..], right].concat())).collect()
}

/// Both together, if both are known and they are not too many.
fn extended(texts: Option<Texts>, more: Option<&Texts>, most: usize) -> Option<Texts> {
    let (mut texts, more) = texts.zip(more)?;
    texts.extend(more.iter().cloned());
    (texts.len() <= most).then_some(texts)
}

/// The texts that tell more: the longer ones, or the fewer.
fn better(left: Option<Texts>, right: Option<Texts>) -> Option<Texts> {
    let worth = |texts: &Texts| {
        let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
        (shortest, std::cmp::Reverse(texts.len()))
    };
    let useful = |texts: &Texts| worth(texts).0 >= SHORTEST;
    match (left.filter(useful), right.filter(useful)) {
        (Some(left), Some(right)) if worth(&left) < worth(&right) => Some(right),
        (left, right) => left.or(right),
    }
}

/// Whether a text holds one of the needles.
pub(super) fn found(needles: &[Box<[u8]>], text: &[u8]) -> bool {
    needles.iter().any(|needle| {
        let Some((first, rest)) = needle.split_first() else { return true };
        memchr2_iter(*first, first.to_ascii_uppercase(), text).any(|at| {
            let there = text.get(at + 1..=at + rest.len());
            there.is_some_and(|there| there.eq_ignore_ascii_case(rest))
        })
    })
}

/// The rules that an error leaves in question, by one look at it for the needles of all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index(OnceLock<Arc<Built>>);

#[derive(Debug)]
struct Built {
    /// `None` if no rule has needles.
    search: Option<AhoCorasick>,
    /// The rule of each needle.
    rule_of: Vec<usize>,
    /// The rules that have none.
    open: Vec<bool>,
}

impl Index {
    /// For each rule whether its condition may hold for a task with this error; made when first asked.
    pub(super) fn in_question(&self, rules: &[Rule], error: &str) -> Vec<bool> {
        let built = self.0.get_or_init(|| Arc::new(Built::new(rules)));
        let mut open = built.open.clone();
        let found = built.search.iter().flat_map(|search| search.find_overlapping_iter(error));
        for found in found {
            open[built.rule_of[found.pattern().as_usize()]] = true;
        }
        open
    }
}

impl Built {
    fn new(rules: &[Rule]) -> Self {
        let (mut needles, mut rule_of, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (index, rule) in rules.iter().enumerate() {
            let found = rule.condition.error_needles();
            open.push(found.is_none());
            for needle in found.into_iter().flatten() {
                needles.push(needle);
                rule_of.push(index);
            }
        }
        let search = AhoCorasick::builder().ascii_case_insensitive(true).build(&needles);
        match search {
            Ok(search) if !needles.is_empty() => Self { search: Some(search), rule_of, open },
            // Too many of them: then all rules are.
            _ => Self { search: None, rule_of: Vec::new(), open: vec![true; rules.len()] },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pattern: &str) -> Option<Vec<String>> {
        let hir = regex_syntax::parse(pattern).unwrap();
        let needles = needles(&hir)?;
        Some(needles.iter().map(|needle| String::from_utf8_lossy(needle).into_owned()).collect())
    }

    #[test]
    fn the_longest_texts_that_must_be_there_are_found() {
        for (pattern, expected) in [
            ("connection refused", Some(vec!["connection refused"])),
            (r"\bcode:? [0-9]{3}, (?:message|reason)", Some(vec![", message", ", reason"])),
            ("code:? 12[0-9]{3}, .*12", Some(vec!["code: 12", "code 12"])),
            (r"\b50[02]\b", Some(vec!["500", "502"])),
            ("timeout|throttled?", Some(vec!["timeout", "throttled", "throttle"])),
            ("(?:ab)+x?", Some(vec!["ab"])),
            ("频繁|过快", Some(vec!["频繁", "过快"])),
            ("(?:timeout)?", None),
            ("timeout|[0-9]+", None),
            ("(?i)Timeout", Some(vec!["timeout"])),
            ("timed? ?out", Some(vec!["timed out", "timedout", "time out", "timeout"])),
            ("(?i)ks", Some(vec!["ks", "k\u{17f}", "\u{212a}s", "\u{212a}\u{17f}"])),
            (r"\d+ of \d+", Some(vec![" of "])),
            ("a.b", None),
        ] {
            let expected =
                expected.map(|texts| texts.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(of(pattern), expected, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_match_is_without_them(
            pattern in "(\\(\\?i\\))?(ab|cd|bc|[ab]|A|ks){1,3}(\\||x?|(ab|dc)\\?|(cab|bca)\\+|\\*|\\{2\\}){0,2}(ab|cd){0,2}",
            text in "[abcdxABCDksKS\u{17f}\u{212a}]{0,12}",
        ) {
            let Ok(regex) = regex::Regex::new(&pattern) else { return Ok(()) };
            if let Some(needles) = of(&pattern) && regex.is_match(&text) {
                let text = text.to_ascii_lowercase();
                prop_assert!(needles.iter().any(|needle| text.contains(needle)), "{needles:?}");
            }
        }
    }
}
