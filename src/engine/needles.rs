//! Texts that every match of an expression holds: looking for those is cheaper than compiling and
//! running it, and mostly says no.

use regex_syntax::hir::{Hir, HirKind};

/// Shorter ones are in every other text.
const SHORTEST: usize = 2;

/// More of them are no help.
const MOST: usize = 64;

/// Of these at least one is in any text in which the expression is found. `None` if no such texts are
/// known.
pub(super) fn needles(hir: &Hir) -> Option<Vec<Box<[u8]>>> {
    match hir.kind() {
        HirKind::Literal(literal) => (literal.0.len() >= SHORTEST).then(|| vec![literal.0.clone()]),
        HirKind::Capture(capture) => needles(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => needles(&repetition.sub),
        // All members are in a match, so any of them will do: the one with the longest needles.
        HirKind::Concat(members) => members
            .iter()
            .filter_map(needles)
            .max_by_key(|needles| (shortest(needles), std::cmp::Reverse(needles.len()))),
        HirKind::Alternation(members) => {
            let mut all = Vec::new();
            for member in members {
                all.extend(needles(member)?);
            }
            (all.len() <= MOST).then_some(all)
        }
        _ => None,
    }
}

fn shortest(needles: &[Box<[u8]>]) -> usize {
    needles.iter().map(|needle| needle.len()).min().unwrap_or(0)
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
            (r"\bcode:? [0-9]{3}, (?:message|reason)", Some(vec!["message", "reason"])),
            ("timeout|throttled?", Some(vec!["timeout", "throttle"])),
            ("(?:ab)+x?", Some(vec!["ab"])),
            ("频繁|过快", Some(vec!["频繁", "过快"])),
            ("(?:timeout)?", None),
            ("timeout|[0-9]+", None),
            ("(?i)timeout", None),
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
            pattern in "(ab|cd|bc|[ab]){1,3}(\\||x?|(ab|dc)\\?|(cab|bca)\\+|\\*){0,2}(ab|cd){0,2}",
            text in "[abcdx]{0,12}",
        ) {
            let Ok(regex) = regex::Regex::new(&pattern) else { return Ok(()) };
            if let Some(needles) = of(&pattern) && regex.is_match(&text) {
                prop_assert!(needles.iter().any(|needle| text.contains(needle)), "{needles:?}");
            }
        }
    }
}
