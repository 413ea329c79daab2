//! Values written as text: durations, sizes, comparisons, shares, hours, addresses. Each reader
//! says where in the text it stopped to understand.

use std::ops::Range;
use std::time::Duration;

use jiff::civil::Time;

use super::codes::Code;
use crate::engine::predicate::Comparison;

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// The bytes of the value that are at fault; an empty range is the character there.
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(code: Code, range: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, range, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, for a value that begins `by` bytes into a longer one.
    fn shifted(mut self, by: usize) -> Self {
        self.range = self.range.start + by..self.range.end + by;
        self
    }
}

const DURATION_HELP: &str =
    "write a number and a unit (ms, s, m, h, d, w), such as `90s` or `1h30m`";

/// `90s`, `1h30m`, `2d`.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    let fault = |range, message: &str, help: &str| {
        Fault::new(Code::InvalidDuration, range, message).help(help)
    };
    let mut total = Duration::ZERO;
    let mut at = 0;
    if text.trim().is_empty() {
        return Err(fault(0..text.len(), "a duration is missing", DURATION_HELP));
    }
    let trimmed = text.trim_end().len();
    while at < trimmed {
        let rest = &text[at..trimmed];
        let blank = rest.len() - rest.trim_start().len();
        at += blank;
        let rest = &text[at..trimmed];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            let message = match rest.chars().next() {
                Some('-') => "a duration cannot be negative",
                Some('+') => "a duration has no sign",
                _ => "a number is missing here",
            };
            return Err(fault(at..at, message, DURATION_HELP));
        }
        let amount: u64 = rest[..digits]
            .parse()
            .map_err(|_| fault(at..at + digits, "the number is too large", DURATION_HELP))?;
        let behind = &rest[digits..];
        if behind.starts_with('.') || behind.starts_with(',') {
            let help = "write whole numbers: `1h30m` for one and a half hours";
            return Err(fault(at + digits..at + digits, "a duration has no fractions", help));
        }
        let gap = behind.len() - behind.trim_start().len();
        let word = &behind[gap..];
        let length = word.len() - word.trim_start_matches(char::is_alphabetic).len();
        let unit = &word[..length];
        let unit_at = at + digits + gap;
        let millis = match unit {
            "ms" | "msec" | "millis" => 1,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            "w" | "week" | "weeks" => 604_800_000_u64,
            "" if word.is_empty() => {
                let help = format!("`{amount}s` for seconds, `{amount}m` for minutes");
                return Err(fault(at..at + digits, "the unit is missing", &help));
            }
            "" => {
                return Err(fault(unit_at..unit_at, "a unit is missing here", DURATION_HELP));
            }
            "M" | "mo" | "month" | "months" | "y" | "year" | "years" => {
                let help = "months and years differ in length: count in days (`d`) or weeks (`w`)";
                return Err(fault(unit_at..unit_at + length, "not a unit of fixed length", help));
            }
            _ => {
                let message = format!("`{unit}` is not a unit of time");
                return Err(fault(unit_at..unit_at + length, &message, DURATION_HELP));
            }
        };
        total = amount
            .checked_mul(millis)
            .and_then(|millis| total.checked_add(Duration::from_millis(millis)))
            // jiff, which the engine counts with, ends at some 20,000 years.
            .filter(|total| total.as_secs() < 3_155_760_000)
            .ok_or_else(|| {
                fault(0..trimmed, "longer than a hundred years", "write a shorter one")
            })?;
        at = unit_at + length;
    }
    Ok(total)
}

const SIZE_HELP: &str = "write a number and a unit (B, KiB, MiB, GiB, TiB or KB, MB, GB, TB)";

/// `10GiB`, `1.5 GB`, in bytes.
pub(super) fn size(text: &str) -> Result<f64, Fault> {
    let fault =
        |range, message: &str, help: &str| Fault::new(Code::InvalidSize, range, message).help(help);
    let start = text.len() - text.trim_start().len();
    let text = text.trim_end();
    let rest = text.get(start..).unwrap_or_default();
    let digits =
        rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    if digits == 0 {
        return Err(fault(start..start, "a number is missing here", SIZE_HELP));
    }
    let number: f64 = rest[..digits]
        .parse()
        .map_err(|_| fault(start..start + digits, "not a number", SIZE_HELP))?;
    let unit = rest[digits..].trim_start();
    let unit_at = text.len() - unit.len();
    let scale = match unit.to_ascii_lowercase().as_str() {
        "b" => 1.0,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        // Nothing is nothing in any unit.
        "" if number == 0.0 => 1.0,
        "" => {
            let help = format!("`{0}B` for bytes, `{0}MiB`, `{0}GiB`", &rest[..digits]);
            return Err(fault(start..start + digits, "the unit is missing", &help));
        }
        "k" | "m" | "g" | "t" => {
            let letter = unit.to_ascii_uppercase();
            let help = format!("`{letter}iB` counts in 1024s, `{letter}B` in 1000s");
            return Err(fault(unit_at..text.len(), "the unit is cut short", &help));
        }
        _ => {
            let message = format!("`{}` is not a unit of size", super::yaml::short(unit));
            return Err(fault(unit_at..text.len(), &message, SIZE_HELP));
        }
    };
    Ok(number * scale)
}

/// An operator, if one stands at the front, and where the rest begins.
pub(super) fn operator(text: &str) -> Result<(Option<Comparison>, usize), Fault> {
    let start = text.len() - text.trim_start().len();
    let rest = &text[start..];
    let length = rest.len() - rest.trim_start_matches(['<', '>', '=', '!', '≥', '≤', '~']).len();
    let comparison = match &rest[..length] {
        "" => return Ok((None, start)),
        "<" => Comparison::Less,
        "<=" | "≤" => Comparison::AtMost,
        "=" | "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        ">=" | "≥" => Comparison::AtLeast,
        ">" => Comparison::More,
        other => {
            let message = format!("`{other}` is not an operator");
            let range = start..start + length;
            let help = match other {
                "=>" => "did you mean `>=`?",
                "=<" => "did you mean `<=`?",
                _ => "use one of <, <=, ==, !=, >=, >",
            };
            return Err(Fault::new(Code::InvalidComparison, range, message).help(help));
        }
    };
    let behind = &rest[length..];
    Ok((Some(comparison), start + length + behind.len() - behind.trim_start().len()))
}

/// Reads an operator and what it compares with.
pub(super) fn comparison<T>(
    text: &str,
    read: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<(Option<Comparison>, T), Fault> {
    let (comparison, at) = operator(text)?;
    if comparison.is_some() && at >= text.len() {
        let message = "nothing stands behind the operator";
        return Err(Fault::new(Code::InvalidComparison, 0..text.len(), message)
            .help("write the value behind it, such as `>= 10GiB` or `< 50`"));
    }
    read(&text[at..]).map(|value| (comparison, value)).map_err(|fault| fault.shifted(at))
}

/// A plain number, with or without a percent sign.
pub(super) fn number(text: &str, percent: bool) -> Result<f64, Fault> {
    let bare = text.trim();
    let bare = if percent { bare.strip_suffix('%').unwrap_or(bare).trim_end() } else { bare };
    bare.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| {
        let message = format!("`{}` is not a number", super::yaml::short(text.trim()));
        Fault::new(Code::InvalidComparison, 0..text.len(), message)
            .help("write a number, with an operator or without, such as `50` or `< 50`")
    })
}

/// A share of a whole: `0.1` or `10%`.
pub(super) fn share(text: &str) -> Result<f64, Fault> {
    let fault = |code, message: &str| {
        Fault::new(code, 0..text.len(), message)
            .help("write a share from 0 to 1, or from 0% to 100%")
    };
    let bare = text.trim();
    let (bare, scale) = match bare.strip_suffix('%') {
        Some(bare) => (bare.trim_end(), 100.0),
        None => (bare, 1.0),
    };
    let number: f64 = bare.parse().map_err(|_| fault(Code::InvalidNumber, "not a share"))?;
    let share = number / scale;
    if !(0.0..=1.0).contains(&share) {
        return Err(fault(Code::OutOfRange, "a share lies between 0 and 1"));
    }
    Ok(share)
}

const HOURS_HELP: &str = "write from and to on the 24-hour clock, such as `22:00-08:00`";

/// `22:00-08:00`.
pub(super) fn hours(text: &str) -> Result<(Time, Time), Fault> {
    let fault =
        |range, message: &str| Fault::new(Code::InvalidHours, range, message).help(HOURS_HELP);
    let Some(dash) = text.find(['-', '–']) else {
        return Err(fault(0..text.len(), "a `-` between two times is missing"));
    };
    let width = text[dash..].chars().next().map_or(1, char::len_utf8);
    let from = clock(&text[..dash], false).map_err(|message| fault(0..dash, message))?;
    let to = clock(&text[dash + width..], true)
        .map_err(|message| fault(dash + width..text.len(), message))?;
    if from == to {
        let whole = text[dash..].contains("24");
        let fault = fault(
            0..text.len(),
            if whole { "these hours are the whole day" } else { "the two times are the same" },
        );
        return Err(if whole { fault.help("leave `only_during` out") } else { fault });
    }
    Ok((from, to))
}

fn clock(text: &str, end: bool) -> Result<Time, &'static str> {
    const SHAPE: &str = "not a time of day";
    let (hour, minute) = text.trim().split_once(':').ok_or(SHAPE)?;
    let two = |text: &str| {
        let fine = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fine.then(|| text.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = (two(hour).ok_or(SHAPE)?, two(minute).ok_or(SHAPE)?);
    if end && (hour, minute) == (24, 0) {
        return Ok(Time::midnight());
    }
    Time::new(hour, minute, 0, 0).map_err(|_| "no such time of day")
}

/// An address that messages go to. Nothing of it is told: the key may be in it.
pub(super) fn web_address(text: &str) -> Result<(), Fault> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let odd = text.chars().any(|c| c.is_whitespace() || c.is_control());
    if host.is_some_and(|host| !host.is_empty()) && !odd {
        return Ok(());
    }
    Err(Fault::new(Code::InvalidUrl, 0..text.len(), "not an address that messages can go to")
        .help("write it like `https://ntfy.example/topic`"))
}

/// The address of a server, without a final slash.
pub(super) fn url(text: &str) -> Result<String, Fault> {
    let fault = |range: Range<usize>, message: &str, help: &str| {
        Fault::new(Code::InvalidUrl, range, message).help(help)
    };
    let example = "write it like `http://127.0.0.1:5244`";
    let bad = text.char_indices().find(|(_, c)| c.is_whitespace() || c.is_control() || *c == '\\');
    if let Some((at, _)) = bad {
        return Err(fault(at..at, "this character cannot stand in an address", example));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let help = format!("did you mean `http://{}`?", super::yaml::short(text));
        // What has an `@` may hold a password, and is not shown again.
        let help = if text.contains('@') || text.len() < 3 { example } else { &help };
        return Err(fault(0..text.len(), "the address has no `http://` or `https://`", help));
    };
    if scheme != "http" && scheme != "https" {
        return Err(fault(0..scheme.len(), "the scheme must be `http` or `https`", example));
    }
    let start = scheme.len() + 3;
    let end = rest.find(['/', '?', '#']).map_or(text.len(), |end| start + end);
    let authority = &text[start..end];
    if let Some(at) = authority.rfind('@') {
        return Err(Fault::new(
            Code::UrlCredentials,
            start..start + at,
            "the address holds a user or a password",
        )
        .help("give them under `username:` and `password:`, or use a `token:`"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(fault(start..end, "the address names no host", example));
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '%');
    if let Some((at, _)) = host.char_indices().find(|(_, c)| !allowed(*c)) {
        let at = start + usize::from(authority.starts_with('[')) + at;
        return Err(fault(at..at, "this character cannot stand in a host name", example));
    }
    if let Some(port) = port
        && port.parse::<u16>().map_or(true, |port| port == 0)
    {
        let help = "a port is a number from 1 to 65535";
        return Err(fault(end - port.len()..end, "not a port", help));
    }
    let path = &text[end..];
    if let Some(at) = path.find(['?', '#']) {
        return Err(fault(
            end + at..text.len(),
            "the address goes on behind its path",
            "end it here",
        ));
    }
    for tail in ["/@manage", "/@login", "/api"] {
        if let Some(at) = path.find(tail) {
            let behind = &path[at + tail.len()..];
            if behind.is_empty() || behind.starts_with('/') {
                return Err(fault(
                    end + at..text.len(),
                    "this is a page of the server, not its address",
                    "end the address before it",
                ));
            }
        }
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("2d", 172_800.0),
            ("500ms", 0.5),
            ("1w", 604_800.0),
            ("2 days", 172_800.0),
            ("0s", 0.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64().to_bits(), f64::to_bits(seconds));
        }
        for (text, range) in [
            ("", 0..0),
            ("90", 0..2),
            ("1.5h", 1..1),
            ("h", 0..0),
            ("-5s", 0..0),
            ("+5m", 0..0),
            ("3x", 1..2),
            ("3 months", 2..8),
            ("1h30", 2..4),
            ("5m!", 2..2),
            ("99999999999999999999s", 0..20),
            ("9999999999w", 0..11),
        ] {
            assert_eq!(duration(text).unwrap_err().range, range, "{text}");
        }
    }

    #[test]
    fn sizes_and_shares() {
        for (text, bytes) in
            [("10GiB", 10_737_418_240.0), ("1.5 KB", 1500.0), ("7b", 7.0), ("0", 0.0)]
        {
            assert_eq!(size(text).unwrap().to_bits(), f64::to_bits(bytes), "{text}");
        }
        for text in ["", "GiB", "10", "10G", "10 XB", "1.2.3MB", "-1B"] {
            assert_eq!(size(text).unwrap_err().code, Code::InvalidSize, "{text}");
        }
        assert_eq!(share("10%").unwrap().to_bits(), 0.1_f64.to_bits());
        for text in ["1.1", "-1", "200%", "NaN", "x"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn comparisons() {
        let (op, value) = comparison(">= 10GiB", size).unwrap();
        assert_eq!(
            (op, value.to_bits()),
            (Some(Comparison::AtLeast), 10_737_418_240_f64.to_bits())
        );
        assert_eq!(comparison("30m", duration).unwrap().0, None);
        assert_eq!(comparison("=> 3m", duration).unwrap_err().range, 0..2);
        assert_eq!(comparison(">= 3x", duration).unwrap_err().range, 4..5);
        assert_eq!(comparison(">=", duration).unwrap_err().code, Code::InvalidComparison);
    }

    #[test]
    fn hours_of_the_day() {
        assert!(hours("22:00-08:00").is_ok());
        assert!(hours("0:00 - 24:00").is_err(), "the same moment");
        assert!(hours("9:30-24:00").is_ok());
        for (text, range) in
            [("25:00-08:00", 0..5), ("22:00-8", 6..7), ("22:00", 0..5), ("01:00-01:00", 0..11)]
        {
            assert_eq!(hours(text).unwrap_err().range, range, "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in [
            "http://127.0.0.1:5244",
            "https://nas.example/base/",
            "http://[::1]:5244",
            "http://apis.example/apix",
        ] {
            assert_eq!(url(text).unwrap(), text.trim_end_matches('/'));
        }
        for text in [
            "",
            "nas:5244",
            "ftp://x",
            "http://",
            "http://x:99999",
            "http://x y",
            "http://x/?a=b",
            "http://x/@manage/tasks",
            "http://x/api/task",
            "http://a{b}",
        ] {
            assert_eq!(url(text).unwrap_err().code, Code::InvalidUrl, "{text}");
        }
        assert_eq!(url("http://me:pass@x").unwrap_err().code, Code::UrlCredentials);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = duration(&text);
            let _ = size(&text);
            let _ = comparison(&text, size);
            let _ = share(&text);
            let _ = hours(&text);
            let _ = url(&text);
        }

        #[test]
        fn written_durations_are_read_back(seconds in 0_u64..1_000_000_000) {
            let duration_ = Duration::from_secs(seconds);
            let text = crate::engine::predicate::format_duration(duration_);
            prop_assert_eq!(duration(&text).unwrap(), duration_);
        }
    }
}
