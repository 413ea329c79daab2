//! The wait that an error text itself asks for.
//!
//! A drive that throttles often says for how long; coming back earlier prolongs it. A wait can only
//! lengthen a backoff, so a number that is misread costs time, not an account.

use std::sync::LazyLock;
use std::time::Duration;

use regex::{Captures, Regex};

/// No text makes a task wait longer than this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How much of an error is looked at. Some drives answer with whole web pages.
const LOOKED_AT: usize = 16 * 1024;

/// The wait that the error names, at most [`LONGEST_WAIT`]; `None` if it names none.
///
/// A pattern of the rule's own is looked at first. Its groups `hours`, `minutes` and `seconds` add
/// up; failing these, the group `wait`, or else the first group, is read as seconds or with a unit
/// (`90`, `1.5m`, `1h 30m`, `500 ms`, `5分钟`). If it does not match, or what it took is no duration,
/// the built-in forms are tried.
#[must_use]
pub fn named_wait(error: &str, custom: Option<&Regex>) -> Option<Duration> {
    let mut end = error.len().min(LOOKED_AT);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    let error = &error[..end];
    custom
        .and_then(|pattern| pattern.captures(error))
        .and_then(|found| custom_wait(&found))
        .or_else(|| builtin_wait(&error.to_ascii_lowercase()))
        .map(|wait| wait.min(LONGEST_WAIT))
}

fn custom_wait(found: &Captures<'_>) -> Option<Duration> {
    let units = [("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0)];
    let named: Vec<_> = units
        .iter()
        .filter_map(|(name, unit)| found.name(name).map(|text| (text.as_str(), unit)))
        .collect();
    if named.is_empty() {
        let text = found.name("wait").or_else(|| found.get(1))?;
        return duration(text.as_str());
    }
    let mut seconds = 0.0;
    for (text, unit) in named {
        seconds += number(text)? * unit;
    }
    sensible(seconds)
}

#[expect(clippy::expect_used, reason = "the patterns are constants, and the tests compile each")]
fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

/// A number with a unit, as it stands in the patterns below; with a `?` behind it, the unit may be missing.
macro_rules! amount {
    () => {
        r"(?<number>[0-9]+(?:\.[0-9]+)?)[ -]*(?<unit>毫秒|秒钟?|分钟|分|个?小时|天|(?:milliseconds?|millis|msecs?|ms|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|s|m|h|d)\b)"
    };
}

/// Built-in forms, in a text in lower case: a key or a header, an English sentence, a Chinese one. In a sentence a
/// number needs a unit, since a bare one may count anything: "after 3 attempts".
fn builtin_wait(error: &str) -> Option<Duration> {
    static KEY: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r#"retry[-_ ]?(?:after|in|delay)(?:[-_ ]?(?<suffix>milliseconds|millis|ms|seconds|secs|sec|s|minutes|mins))?(?:\\*["'])?(?:\s*[:=]\s*|\s+)(?:\\*["'])?"#,
            amount!(),
            "?"
        ))
    });
    static ENGLISH: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r"(?:(?:try|retry|retrying|available|wait(?:ing)?|come back|again|reset|resets|unlocks?|expires?)(?: [a-z]+){0,4}? (?:in|after|for)|wait(?:ing)?(?: at least)?|please wait)\s+(?:about |at least |another |approximately )?",
            amount!()
        ))
    });
    static CHINESE: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r"(?:请?(?:于|在|等待|等|间隔|稍后|稍候|稍等)|请|过|还需(?:要)?(?:等待)?|剩余(?:时间)?|[，,;；:：\s]|^)[ :：约]*",
            amount!(),
            r" *(?:之?后|以后|内?(?:请勿|不要)|再|重试)"
        ))
    });
    static CHINESE_WAIT: LazyLock<Regex> = LazyLock::new(|| {
        compile(concat!(
            r"(?:请?稍后|请?稍候|请?稍等|等待|冷却(?:时间)?|封禁|限制|锁定)[ :：约]*",
            amount!()
        ))
    });
    if let Some(found) = captures(&KEY, error) {
        let unit = found.name("unit").or_else(|| found.name("suffix")).map_or("", |m| m.as_str());
        return amount(&found["number"], unit);
    }
    // Where all is ASCII there is nothing to find for those that look for Chinese words.
    let chinese = [&CHINESE, &CHINESE_WAIT].into_iter().filter(|_| !error.is_ascii());
    std::iter::once(&ENGLISH).chain(chinese).find_map(|pattern| {
        let found = captures(pattern, error)?;
        amount(&found["number"], &found["unit"])
    })
}

/// Mostly there is nothing, which is found without a place for groups.
fn captures<'t>(pattern: &Regex, text: &'t str) -> Option<Captures<'t>> {
    pattern.is_match(text).then(|| pattern.captures(text)).flatten()
}

/// A duration as a rule's pattern took it out of a text.
fn duration(text: &str) -> Option<Duration> {
    static WHOLE: LazyLock<Regex> =
        LazyLock::new(|| compile(concat!(r"(?i)^\s*", amount!(), r"?\s*$")));
    match WHOLE.captures(text) {
        Some(found) => amount(&found["number"], found.name("unit").map_or("", |m| m.as_str())),
        None => humantime::parse_duration(text.trim()).ok().filter(|wait| !wait.is_zero()),
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok()
}

/// A number of units, seconds if the unit is empty.
fn amount(text: &str, unit: &str) -> Option<Duration> {
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" | "秒" | "秒钟" => 1.0,
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" | "毫秒" => 0.001,
        "m" | "min" | "mins" | "minute" | "minutes" | "分" | "分钟" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" | "小时" | "个小时" => 3600.0,
        "d" | "day" | "days" | "天" => 86_400.0,
        _ => return None,
    };
    sensible(number(text)? * unit)
}

/// No wait, and a number that is rather a point in time than a duration, are no hint.
fn sensible(seconds: f64) -> Option<Duration> {
    const A_YEAR: f64 = 366.0 * 86_400.0;
    (seconds > 0.0 && seconds < A_YEAR)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_name_waits() {
        for (error, seconds) in [
            (r#"{"code":"TooManyRequests","retryAfterSeconds":30}"#, Some(30.0)),
            (r#"{\"retryAfterSeconds\":\"45\"}"#, Some(45.0)),
            ("retryAfterSeconds=30", Some(30.0)),
            ("Retry-After: 120", Some(120.0)),
            ("x-retry-after: 7", Some(7.0)),
            ("x-retry-after-ms: 1500", Some(1.5)),
            ("retry_after_ms=250", Some(0.25)),
            (r#""retryDelay": "23s""#, Some(23.0)),
            ("retry after 30s", Some(30.0)),
            ("Retry after 1.5 minutes", Some(90.0)),
            ("retry in 2h", Some(7200.0)),
            ("please try again in 5 minutes", Some(300.0)),
            ("Try again after about 2 hours.", Some(7200.0)),
            ("locked, please wait 10 seconds", Some(10.0)),
            ("wait 500ms", Some(0.5)),
            ("请30秒后再试", Some(30.0)),
            ("请于 10 分钟后重试", Some(600.0)),
            ("请稍后5分钟", Some(300.0)),
            ("操作频繁，2小时后再试", Some(7200.0)),
            ("请间隔1秒后再试", Some(1.0)),
            ("请等待3个小时", Some(10_800.0)),
            ("Retry-After: 99999999", None),
            ("Retry-After: 1000000", Some(604_800.0)),
            ("Retry-After: 0", None),
            ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("retry after 0.0s", None),
            ("please try again later", None),
            ("failed after 3 attempts", None),
            ("retrying in 3 places", None),
            ("waiting for 3 of 5", None),
            ("waiting for 3 of 5, please wait 10 seconds", Some(10.0)),
            ("http status code 429", None),
            ("请稍后再试", None),
            ("2026年11月5日", None),
            ("", None),
        ] {
            assert_eq!(named_wait(error, None).map(|w| w.as_secs_f64()), seconds, "{error}");
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        for before in ["", "x", "xx"] {
            let error = [before, &"频".repeat(LOOKED_AT), ", retry after 9s"].concat();
            assert_eq!(named_wait(&error, None), None);
        }
    }

    #[test]
    fn a_rule_may_say_where_the_wait_stands() {
        for (pattern, error, seconds) in [
            (r"cool (\S+)", "cool 90 now", Some(90)),
            (r"cool (\S+)", "cool 2m now", Some(120)),
            (r"cool ([^;]+)", "cool 1h 30m; x", Some(5400)),
            (r"cool ([^;]+)", "cool 5 分钟; x", Some(300)),
            (r"(?<x>a).*cool (?<wait>\d+)", "a, cool 7", Some(7)),
            (r"(?<hours>\d+):(?<minutes>\d+):(?<seconds>\d+)", "in 01:02:03", Some(3723)),
            (r"(?<minutes>\d+) Min", "15 Min", Some(900)),
            (r"cool (\S+)", "cool down, Retry-After: 8", Some(8)),
            (r"cool", "cool, retry after 9s", Some(9)),
            (r"cool (\S+)", "warm", None),
            (r"cool (\S+)", "cool -5", None),
            (r"cool (\S+)", "cool inf", None),
            (r"cool (\S+)", "cool 99999999999999999999", None),
            (r"cool (\S+)", "cool 30d", Some(604_800)),
            (r"(x)?cool", "cool", None),
        ] {
            let pattern = Regex::new(pattern).unwrap();
            let wait = named_wait(error, Some(&pattern));
            assert_eq!(wait, seconds.map(Duration::from_secs), "{pattern} {error}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_is_over_the_bound(text in any::<String>(), number in any::<u64>(), unit in "(s|ms|m|h|d|秒|)") {
            let pattern = Regex::new("<(.*)>").unwrap();
            for error in [text.clone(), format!("retry after {number}{unit}"), format!("<{number}{unit}{text}>")] {
                let wait = named_wait(&error, Some(&pattern));
                prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT && !wait.is_zero()));
            }
        }
    }
}
