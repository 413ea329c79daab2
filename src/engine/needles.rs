//! Texts that every match of an expression holds: looking for those is cheaper than compiling and
//! running it, and mostly says no.

use std::ops::Range;

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

/// Texts of which one is looked for.
pub(super) type Texts = Vec<Vec<u8>>;

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
///
/// Of each needle four bytes in a row are looked for, those that the fewest others have; where they stand, the needle
/// is held against the text. A word of bits tells of nearly all other bytes that no needle has them.
#[derive(Debug)]
pub(crate) struct Filter {
    /// By the bytes that are looked for.
    needles: Vec<Needle>,
    /// The first needle of each such bytes.
    first: HashMap<u32, usize>,
    /// The texts of all of them, one behind the other: there are thousands.
    texts: Vec<u8>,
    /// The bytes of the needles, as bits: so many of them that few others share one.
    seen: Marks,
    /// What is left of the last four bytes where needles are shorter.
    masks: Vec<u32>,
    /// The expressions that need nothing.
    open: Marks,
}

/// What an expression needs.
#[derive(Debug)]
struct Needle {
    gram: u32,
    text: Range<usize>,
    /// How far it reaches up to the bytes that are looked for, these included.
    up_to: usize,
    /// The expression.
    owner: usize,
}

/// A byte behind others, so that letters of ASCII are the same in lower and upper case. Other bytes become the same
/// too, but none is left out.
fn gram(before: u32, byte: u8) -> u32 {
    before << 8 | u32::from(byte | 0x20)
}

/// The bytes of a text, up to four at once, with the place behind them.
fn grams(text: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let behind = text.iter().enumerate().map(|(at, byte)| (at + 1, *byte));
    behind.scan(0, |last, (at, byte)| {
        *last = gram(*last, byte);
        Some((at, *last))
    })
}

/// What is left of four bytes where a needle is shorter.
fn mask(needle: &[u8]) -> u32 {
    u32::MAX >> (8 * (4 - needle.len().min(4)))
}

/// The bytes of a needle by which it may be looked for.
fn parts(needle: &[u8]) -> impl Iterator<Item = (usize, u32)> {
    let whole = grams(needle).skip(needle.len().min(4) - 1);
    whole.map(|(up_to, gram)| (up_to, gram & mask(needle)))
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

    fn has(&self, number: usize) -> bool {
        self.0[number / 64] & 1 << (number % 64) != 0
    }

    /// Where bytes have their bit, if there is a power of two of these.
    fn place(&self, gram: u32) -> usize {
        let spread = u64::from(gram).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (spread >> 40) as usize & (64 * self.0.len() - 1)
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
    /// Of some expressions, by their numbers, with what each of them needs.
    pub(super) fn new(needs: &[(usize, impl AsRef<[Texts]>)]) -> Self {
        // What few of them need tells most.
        let mut count: HashMap<&[u8], usize> = HashMap::new();
        for needle in needs.iter().flat_map(|(_, sets)| sets.as_ref()).flatten() {
            *count.entry(needle).or_default() += 1;
        }
        let most = |texts: &&Texts| texts.iter().filter_map(|text| count.get(&text[..])).max();
        let numbers = needs.iter().map(|(owner, _)| owner + 1).max().unwrap_or(0);
        let mut open = Marks::none(numbers);
        let mut wanted = Vec::new();
        for (owner, sets) in needs {
            let rarest = sets.as_ref().iter().min_by_key(most);
            if rarest.is_none() {
                open.set(*owner);
            }
            wanted.extend(rarest.into_iter().flatten().map(|text| (*owner, text)));
        }
        let mut count: HashMap<u32, usize> = HashMap::new();
        for (_, text) in &wanted {
            parts(text).for_each(|(_, gram)| *count.entry(gram).or_default() += 1);
        }
        let (mut needles, mut texts, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = Marks::none((16 * wanted.len()).next_power_of_two());
        for (owner, text) in wanted {
            let rarest = parts(text).min_by_key(|(_, gram)| count.get(gram));
            let Some((up_to, gram)) = rarest else { continue };
            seen.set(seen.place(gram));
            masks.push(mask(text));
            let from = texts.len();
            texts.extend(text);
            needles.push(Needle { gram, text: from..texts.len(), up_to, owner });
        }
        masks.sort_unstable();
        masks.dedup();
        needles.sort_by_key(|needle| needle.gram);
        needles.shrink_to_fit();
        texts.shrink_to_fit();
        let mut first = HashMap::new();
        for (place, needle) in needles.iter().enumerate() {
            first.entry(needle.gram).or_insert(place);
        }
        Self { needles, first, texts, seen, masks, open }
    }

    /// The expressions that may be found in the text, in order.
    pub(super) fn in_question(&self, text: &str) -> impl Iterator<Item = usize> {
        let text = text.as_bytes();
        let mut open = self.open.clone();
        for (up_to, last) in grams(text) {
            for mask in &self.masks {
                if self.seen.has(self.seen.place(last & mask)) {
                    self.mark(last & mask, text, up_to, &mut open);
                }
            }
        }
        open.numbers()
    }

    /// Marks the expressions whose needle stands where its four bytes were found. Few get this far, so it is kept out of
    /// the loop.
    #[inline(never)]
    fn mark(&self, gram: u32, text: &[u8], up_to: usize, open: &mut Marks) {
        let Some(first) = self.first.get(&gram) else { return };
        for needle in self.needles[*first..].iter().take_while(|needle| needle.gram == gram) {
            // A text may say ten thousand times what a thousand rules ask for.
            if open.has(needle.owner) {
                continue;
            }
            let wanted = &self.texts[needle.text.clone()];
            let from = up_to.checked_sub(needle.up_to);
            let there = from.and_then(|from| text.get(from..from + wanted.len()));
            if there.is_some_and(|there| there.eq_ignore_ascii_case(wanted)) {
                open.set(needle.owner);
            }
        }
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
            ("(?:timeout)*", &[]),
            ("limit(?:timeout){0,3}", &[&["limit"]]),
            ("timeout|[0-9]+", &[]),
            ("a.b", &[]),
        ] {
            assert_eq!(of(pattern), expected, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_holds_a_needle_is_in_question(
            needs in prop::collection::vec(
                prop::collection::vec(prop::collection::vec("[a-d1é]{2,7}", 1..4), 0..3),
                0..80,
            ),
            numbers in prop::sample::subsequence((0..160).collect::<Vec<_>>(), 80),
            text in "[a-dA-D1é\\PC]{0,24}",
            placed in prop::collection::vec(any::<prop::sample::Index>(), 3),
        ) {
            // Some of the needles stand in the text.
            let all: Vec<&String> = needs.iter().flatten().flatten().collect();
            let mut text = text;
            for index in placed {
                if !all.is_empty() {
                    text.push_str(&all[index.index(all.len())].to_ascii_uppercase());
                }
            }
            let bytes = |texts: &Vec<String>| texts.iter().map(|text| text.clone().into_bytes()).collect();
            let needs: Vec<(usize, Needles)> = needs
                .iter()
                .zip(numbers)
                .map(|(sets, number)| (number, sets.iter().map(bytes).collect()))
                .collect();
            let filter = Filter::new(&needs);
            let in_question: Vec<usize> = filter.in_question(&text).collect();
            prop_assert!(in_question.is_sorted());
            for (number, sets) in &needs {
                let asked = in_question.contains(number);
                // At most one of the sets is looked for, and all of them are needed.
                prop_assert!(asked || !found(sets, text.as_bytes()), "{sets:?}");
                let any = sets.iter().any(|texts| found(std::slice::from_ref(texts), text.as_bytes()));
                prop_assert!(!asked || sets.is_empty() || any, "{sets:?}");
            }
        }

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
