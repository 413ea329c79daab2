//! Texts that every match of an expression holds: looking for those is cheaper than compiling and
//! running it, and mostly says no.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use foldhash::{HashMap, HashMapExt as _};
use memchr::memchr2_iter;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Shorter ones are in every other text.
const SHORTEST: usize = 2;

/// More of them are no help.
const MOST: usize = 256;

/// So many texts at most are put together from the members of an expression.
const MOST_COMBINED: usize = 32;

/// A class of more characters is not written out.
const MOST_CHARS: usize = 16;

/// So many sets are kept of an expression.
const MOST_SETS: usize = 3;

/// Sets of texts: of each at least one is in any text in which an expression is found, letters of ASCII in
/// lower case like the text. The most telling set comes first; there may be none.
pub(super) type Needles = Vec<Texts>;

/// What an expression needs.
pub(super) fn needles(hir: &Hir) -> Needles {
    Found::of(hir).required()
}

type Texts = Vec<Vec<u8>>;

/// What is known of the texts that an expression matches, in lower case.
#[derive(Default)]
struct Found {
    /// All of them, where they are few.
    all: Option<Texts>,
    /// Of each of these sets one is in each of them.
    inside: Needles,
}

impl Found {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::these(vec![Vec::new()]),
            HirKind::Literal(literal) => Self::these(vec![literal.0.to_ascii_lowercase()]),
            HirKind::Class(class) => Self { all: chars(class), ..Self::default() },
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
                (1, Some(1)) => Self::of(&repetition.sub),
                (0, Some(1)) => {
                    let all = Self::of(&repetition.sub).all.map(|mut all| {
                        all.push(Vec::new());
                        all
                    });
                    Self { all, ..Self::default() }
                }
                // Nothing need be there, or single characters, which tell nothing.
                (0, _) => Self::default(),
                _ if matches!(repetition.sub.kind(), HirKind::Class(_)) => Self::default(),
                _ => Self { all: None, inside: Self::of(&repetition.sub).required() },
            },
            HirKind::Alternation(members) => {
                let members: Vec<Self> = members.iter().map(Self::of).collect();
                let counts = members.iter().map(|member| member.all.as_ref().map(Vec::len));
                let count = counts.sum::<Option<usize>>();
                if count.is_some_and(|count| count <= MOST_COMBINED) {
                    // That says more than what is inside.
                    let all = members.into_iter().filter_map(|member| member.all).flatten();
                    return Self::these(all.collect());
                }
                let sets: Vec<Needles> = members.into_iter().map(Self::required).collect();
                Self { all: None, inside: either(&sets) }
            }
            HirKind::Concat(members) => Self::in_turn(members),
        }
    }

    fn these(all: Texts) -> Self {
        Self { all: Some(all), ..Self::default() }
    }

    /// What is known of one after the other: all members are in a match, and what stands side by side
    /// is put together.
    fn in_turn(members: &[Hir]) -> Self {
        let (mut whole, mut inside) = (true, Needles::new());
        let mut run = vec![Vec::new()];
        for member in members.iter().map(Self::of) {
            inside.extend(member.inside);
            match member.all {
                Some(next) if run.len() * next.len() <= MOST_COMBINED => run = product(run, &next),
                next => {
                    whole = false;
                    let next = next.unwrap_or_else(|| vec![Vec::new()]);
                    inside.push(std::mem::replace(&mut run, next));
                }
            }
        }
        if whole {
            return Self { all: Some(run), inside };
        }
        inside.push(run);
        Self { all: None, inside: best(inside) }
    }

    fn required(self) -> Needles {
        let mut sets = self.inside;
        sets.extend(self.all);
        best(sets)
    }
}

/// The sets that tell most: those of longer texts, or of fewer.
fn best(mut sets: Needles) -> Needles {
    let shortest = |texts: &Texts| texts.iter().map(Vec::len).min().unwrap_or(0);
    sets.retain(|texts| shortest(texts) >= SHORTEST);
    sets.sort_by_key(|texts| (std::cmp::Reverse(shortest(texts)), texts.len()));
    sets.truncate(MOST_SETS);
    sets
}

/// What each of several needs, one of which is enough.
pub(super) fn either<N: AsRef<[Texts]>>(each: &[N]) -> Needles {
    if each.iter().any(|sets| sets.as_ref().is_empty()) {
        return Needles::new();
    }
    let most = each.iter().map(|sets| sets.as_ref().len()).max().unwrap_or(0);
    let nth = |n: usize| {
        let nth = each.iter().filter_map(|sets| sets.as_ref().get(n).or(sets.as_ref().last()));
        nth.flatten().cloned().collect::<Texts>()
    };
    (0..most).map(nth).filter(|texts| texts.len() <= MOST).collect()
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

fn product(mut left: Texts, right: &Texts) -> Texts {
    if let [right] = right.as_slice() {
        for left in &mut left {
            left.extend_from_slice(right);
        }
        return left;
    }
    left.iter().flat_map(|left| right.iter().map(|right| [&left[..], right].concat())).collect()
}

/// Whether a text holds what an expression needs.
pub(super) fn found(needles: &[Texts], text: &[u8]) -> bool {
    needles.iter().all(|texts| texts.iter().any(|needle| holds(text, needle)))
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return true };
    memchr2_iter(*first, first.to_ascii_uppercase(), text).any(|at| {
        let there = text.get(at + 1..=at + rest.len());
        there.is_some_and(|there| there.eq_ignore_ascii_case(rest))
    })
}

/// The expressions that a text leaves in question, by one look at it for what each of them needs.
#[derive(Debug)]
pub(crate) struct Filter {
    /// `None` if none of them needs anything.
    search: Option<AhoCorasick>,
    /// The expression of each needle.
    owners: Vec<usize>,
    /// The expressions that need nothing.
    open: Marks,
}

/// A set of small numbers, a bit each: to go through few of many.
#[derive(Clone, Debug)]
struct Marks(Vec<u64>);

impl Marks {
    /// None of the numbers below `count`.
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn set(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    /// Those that are set, in order.
    fn numbers(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(place, mut bits)| {
            std::iter::from_fn(move || {
                let number = (bits != 0).then(|| place * 64 + bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                number
            })
        })
    }
}

impl Filter {
    /// Of as many expressions as there are needles given.
    pub(super) fn new(needs: &[Needles]) -> Self {
        Self::of(needs, AhoCorasick::builder().ascii_case_insensitive(true))
    }

    /// The same for texts whose ASCII letters are in lower case: that takes half the time and the memory.
    pub(super) fn of_lower_case(needs: &[Needles]) -> Self {
        Self::of(needs, AhoCorasick::builder().dense_depth(1))
    }

    fn of(needs: &[Needles], search: &AhoCorasickBuilder) -> Self {
        // What few of them need tells most.
        let mut count: HashMap<&[u8], usize> = HashMap::new();
        for needle in needs.iter().flatten().flatten() {
            *count.entry(needle).or_default() += 1;
        }
        let most = |texts: &&Texts| texts.iter().filter_map(|text| count.get(&text[..])).max();
        let (mut needles, mut owners) = (Vec::new(), Vec::new());
        let mut open = Marks::none(needs.len());
        for (index, sets) in needs.iter().enumerate() {
            let rarest = sets.iter().min_by_key(most);
            if rarest.is_none() {
                open.set(index);
            }
            for needle in rarest.into_iter().flatten() {
                needles.push(needle);
                owners.push(index);
            }
        }
        match search.build(&needles) {
            Ok(search) if !needles.is_empty() => Self { search: Some(search), owners, open },
            // Too many of them: then all are in question.
            _ => {
                for index in 0..needs.len() {
                    open.set(index);
                }
                Self { search: None, owners: Vec::new(), open }
            }
        }
    }

    /// The expressions that may be found in the text, in order.
    pub(super) fn in_question(&self, text: &str) -> impl Iterator<Item = usize> {
        let mut open = self.open.clone();
        let found = self.search.iter().flat_map(|search| search.find_overlapping_iter(text));
        for found in found {
            open.set(self.owners[found.pattern().as_usize()]);
        }
        open.numbers()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pattern: &str) -> Vec<Vec<String>> {
        let shown = |needle: &Vec<u8>| String::from_utf8_lossy(needle).into_owned();
        let needles = needles(&regex_syntax::parse(pattern).unwrap());
        needles.iter().map(|texts| texts.iter().map(shown).collect()).collect()
    }

    #[test]
    fn the_longest_texts_that_must_be_there_are_found() {
        for (pattern, expected) in [
            ("connection refused", &[&["connection refused"][..]][..]),
            (
                r"\bcode:? [0-9]{3}, (?:message|reason)",
                &[&[", message", ", reason"], &["code: ", "code "]],
            ),
            ("code:? 12[0-9]{3}, .*12", &[&["code: 12", "code 12"], &[", "], &["12"]]),
            (r"\b50[02]\b", &[&["500", "502"]]),
            ("timeout|throttled?", &[&["timeout", "throttled", "throttle"]]),
            ("(?:ab)+x?", &[&["ab"]]),
            ("频繁|过快", &[&["频繁", "过快"]]),
            ("(abc.*de|fgh)", &[&["abc", "fgh"], &["de", "fgh"]]),
            ("(?i)Timeout", &[&["timeout"]]),
            ("timed? ?out", &[&["timed out", "timedout", "time out", "timeout"]]),
            ("(?i)ks", &[&["ks", "k\u{17f}", "\u{212a}s", "\u{212a}\u{17f}"]]),
            (r"\d+ of \d+", &[&[" of "]]),
            ("(?:timeout)?", &[]),
            ("timeout|[0-9]+", &[]),
            ("a.b", &[]),
        ] {
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
            if regex.is_match(&text) {
                let needles = needles(&regex_syntax::parse(&pattern).unwrap());
                prop_assert!(found(&needles, text.as_bytes()), "{needles:?}");
            }
        }
    }
}
