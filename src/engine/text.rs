//! Text from a server made fit for one line of a terminal, a log or a page.
//!
//! Matchers never see these forms: a rule matches what the server wrote.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Whether the character can change how the text around it is drawn: control characters (line ends
/// and ESC among them), and those that turn the writing direction around.
fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with everything that could move the cursor, colour the terminal, break the line or turn
/// the writing direction around written as a visible escape: `\n`, `\u{1b}`.
///
/// A backslash stays as it is, so the result is for the eye and cannot be turned back.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(disturbs) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(&text[..first]);
    for c in text[first..].chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            c if disturbs(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// JSON in which what could disturb the terminal that it is shown on, and what JSON itself leaves as it is,
/// is written as JSON escapes it, so that it means the same.
#[must_use]
pub fn inert_json(json: &str) -> Cow<'_, str> {
    // As most of it is; there may be megabytes.
    if json.is_ascii() && !json.as_bytes().contains(&0x7f) {
        return Cow::Borrowed(json);
    }
    let disturbs = |c: char| !c.is_ascii_control() && disturbs(c) || c == '\u{7f}';
    let Some(first) = json.find(disturbs) else {
        return Cow::Borrowed(json);
    };
    let mut out = String::with_capacity(json.len() + 16);
    out.push_str(&json[..first]);
    for c in json[first..].chars() {
        if disturbs(c) {
            // All of them have four digits at most.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// At most `max_chars` characters of the text; a cut is shown as `…`, which counts as one.
#[must_use]
pub fn shorten(text: &str, max_chars: usize) -> Cow<'_, str> {
    // A byte is at least as long as a character, so short texts need no counting.
    if text.len() <= max_chars || text.chars().nth(max_chars).is_none() {
        return Cow::Borrowed(text);
    }
    let Some(kept) = max_chars.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let end = text.char_indices().nth(kept).map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}…", &text[..end]))
}

/// A count with its noun: `1 task`, `2 tasks`.
#[must_use]
pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A moment for people and logs: to the second, in UTC.
#[must_use]
pub fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment as people give it: in full, a day (its beginning in `zone`), or a length of time ago.
///
/// # Errors
/// That it is none of these, in words.
pub fn when(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    if let Ok(day) = text.parse::<jiff::civil::Date>()
        && let Ok(start) = day.to_zoned(zone.clone())
    {
        return Ok(start.timestamp());
    }
    let ago =
        humantime::parse_duration(text).ok().and_then(|ago| SignedDuration::try_from(ago).ok());
    ago.and_then(|ago| now.checked_sub(ago).ok()).ok_or_else(|| {
        format!(
            "`{text}` is no moment: write one like 2026-11-24T03:00:00Z, a day like 2026-11-24, or \
             a length of time ago like 2h"
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_disturbs_a_line_becomes_visible() {
        for (text, expected) in [
            ("plain 中文 é", "plain 中文 é"),
            ("", ""),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31mred\u{1b}[0m", r"\u{1b}[31mred\u{1b}[0m"),
            ("nul\0del\u{7f}", r"nul\u{0}del\u{7f}"),
            ("c1\u{9b}31m", r"c1\u{9b}31m"),
            ("a\u{202e}gpj.exe", r"a\u{202e}gpj.exe"),
            ("\u{2066}x\u{2069}\u{200f}\u{61c}", r"\u{2066}x\u{2069}\u{200f}\u{61c}"),
            ("line\u{2028}sep", r"line\u{2028}sep"),
            (r"C:\dir", r"C:\dir"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_cut_keeps_whole_characters() {
        for (text, max, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("一二三四", 3, "一二…"),
            ("一二三", 3, "一二三"),
            ("x", 0, ""),
            ("xy", 1, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(shorten(text, max), expected, "{text} {max}");
        }
    }

    proptest! {
        #[test]
        fn printable_leaves_nothing_behind(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(disturbs));
            prop_assert_eq!(printable(&shown), shown.as_ref());
        }

        #[test]
        fn shorten_holds_its_bound(text in any::<String>(), max in 0usize..40) {
            prop_assert!(shorten(&text, max).chars().count() <= max);
        }
    }
}
