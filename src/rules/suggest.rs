//! "Did you mean": the nearest of a few words.

/// The candidate that differs from `word` by few enough slips of the hand; none when nothing is
/// near. Case, `-` and blanks count for `_`.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A long text is no slip of the hand, and its distance would be dear.
    if word.is_empty() || word.len() > 60 {
        return None;
    }
    let fold = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let word = fold(word);
    let allowed = match word.chars().count() {
        0..=1 => return None,
        2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &fold(candidate), allowed)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The candidate from which `word` differs by one slip of the hand, where hardly another word could
/// be meant: for texts that may well hold words of their own.
#[must_use]
pub fn slip_of<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = nearest(word, candidates)?;
    let slips = distance(&word.to_lowercase(), near, 1);
    (word.chars().count() > 3 && slips.is_some()).then_some(near)
}

/// How many letters are added, lost, changed or swapped; `None` above `allowed` or when no letter
/// stayed in its place.
fn distance(left: &str, right: &str, allowed: usize) -> Option<usize> {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > allowed {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (row[j + 1] + 1).min(next[j] + 1).min(row[j] + usize::from(l != r));
            if i > 0 && j > 0 && left[i - 1] == *r && right[j - 1] == *l {
                best = best.min(before[j - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    let found = row[right.len()];
    // With three slips the first letter at least is right.
    let near = found <= allowed && (found < 3 || left.first() == right.first());
    (near && found < left.len().max(right.len())).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_told_from_another_word() {
        let fields = ["error", "name", "state", "kind", "id", "age", "creator"];
        for (word, expected) in [
            ("erorr", Some("error")),
            ("States", Some("state")),
            ("errno", None),
            ("note", None),
            ("ids", None),
            ("tag", None),
            ("created", None),
        ] {
            assert_eq!(slip_of(word, fields), expected, "{word}");
        }
    }

    #[test]
    fn finds_slips_and_nothing_else() {
        let keys = ["error", "name", "status", "retry_some", "offline_download", "kind"];
        for (word, expected) in [
            ("errors", Some("error")),
            ("eror", Some("error")),
            ("retry-some", Some("retry_some")),
            ("Offline Download", Some("offline_download")),
            ("knid", Some("kind")),
            ("schedule", None),
            ("x", None),
            ("stotus", Some("status")),
            ("fausing", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }
}
