//! What a stretch of history comes to: failures by class, mount and hour, what each further attempt
//! is worth, and the errors that no class is known for, put together by their wording.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::audit::{AuditRow, Outcome};
use super::class::Class;
use super::rule::{Action, Effect, Mode};
use super::task::{Kind, RuleName, ServerName, State, Task, TaskId};
use super::text::printable;

/// The counts of a stretch of history.
#[derive(Debug, Default)]
pub struct Report {
    /// Failures by class.
    pub classes: BTreeMap<Class, u32>,
    /// Failures by the mount of the destination, else of the source.
    pub mounts: BTreeMap<String, u32>,
    /// Failures by the hour of the day.
    pub hours: [u32; 24],
    /// What came of each attempt of each rule.
    pub attempts: BTreeMap<RuleName, BTreeMap<u32, Worth>>,
    clusters: HashMap<String, Cluster>,
    /// Retries of which it is not known yet what they came to.
    open: HashMap<(ServerName, Kind, TaskId), (RuleName, u32)>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Worth {
    /// How often the run that it began succeeded.
    pub succeeded: u32,
    /// How often it failed.
    pub failed: u32,
    /// How often neither was seen.
    pub unknown: u32,
}

impl Worth {
    /// How often it is known what came of it.
    #[must_use]
    pub fn known(self) -> u32 {
        self.succeeded + self.failed
    }
}

/// Errors of the same wording that no class is known for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Cluster {
    /// How many.
    pub count: u32,
    /// One of them.
    pub example: String,
    /// A regular expression that takes them.
    pub pattern: String,
    /// A rule class made from it, as the rules file would have it.
    pub suggestion: String,
}

/// What a rule's attempts say of its `max_attempts`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The rule.
    pub rule: RuleName,
    /// From this attempt on hardly one succeeds.
    pub from: u32,
    /// What came of those.
    pub worth: Worth,
}

/// So many different wordings are kept; more would be no help to anyone.
const MOST_CLUSTERS: usize = 5_000;

/// So many attempts must be known before their worth says something.
const ENOUGH: u32 = 20;

/// Attempts of which a smaller share succeeds are hardly worth their calls.
const HARDLY: f64 = 0.05;

impl Report {
    /// A task failed, at this hour of the day.
    pub fn note_failure(&mut self, task: &Task, class: &Class, hour: u8) {
        *self.classes.entry(class.clone()).or_default() += 1;
        let parts = task.name.parts();
        // A download names a path only; its first part is the mount as people make them.
        let mount = parts.dst.or(parts.src).map(|place| match place.mount.trim_end_matches('/') {
            "" => {
                let first = place.path.split('/').find(|part| !part.is_empty());
                format!("/{}", first.unwrap_or_default())
            }
            mount => mount.to_owned(),
        });
        *self.mounts.entry(mount.unwrap_or_else(|| "none".to_owned())).or_default() += 1;
        if let Some(count) = self.hours.get_mut(usize::from(hour)) {
            *count += 1;
        }
        if *class != Class::Unknown || task.error.is_empty() {
            return;
        }
        let shape = shape(&task.error);
        if let Some(cluster) = self.clusters.get_mut(&shape) {
            cluster.count += 1;
        } else if self.clusters.len() < MOST_CLUSTERS {
            let pattern = pattern(&shape, &task.error);
            let suggestion = format!("my_class: '{}'", pattern.replace('\'', "''"));
            let example = task.error.to_string();
            self.clusters.insert(shape, Cluster { count: 1, example, pattern, suggestion });
        }
    }

    /// Something was done.
    pub fn note_row(&mut self, row: &AuditRow) {
        let retry = Action::ALL
            .into_iter()
            .any(|action| action.as_str() == row.action && action.effect() == Effect::Retry);
        let (Some(rule), Some(kind), Some(id), Some(attempt)) =
            (&row.rule, &row.kind, &row.task_id, row.attempt)
        else {
            return;
        };
        let sent = matches!(row.outcome, Outcome::Accepted | Outcome::Effective | Outcome::Unknown);
        if retry && sent && row.mode == Mode::Live {
            let key = (row.server.clone(), kind.clone(), id.clone());
            if let Some((rule, attempt)) = self.open.insert(key, (rule.clone(), attempt)) {
                self.worth(&rule, attempt).unknown += 1;
            }
        }
    }

    /// A task was seen in a state it had not been seen in, or left the list (`None`).
    pub fn note_state(&mut self, server: &ServerName, kind: &Kind, id: &TaskId, is: Option<State>) {
        if self.open.is_empty() || is.is_some_and(|state| !state.is_done()) {
            return;
        }
        let key = (server.clone(), kind.clone(), id.clone());
        let Some((rule, attempt)) = self.open.remove(&key) else { return };
        let worth = self.worth(&rule, attempt);
        match is {
            Some(State::Succeeded) => worth.succeeded += 1,
            Some(State::Failed) => worth.failed += 1,
            _ => worth.unknown += 1,
        }
    }

    fn worth(&mut self, rule: &RuleName, attempt: u32) -> &mut Worth {
        self.attempts.entry(rule.clone()).or_default().entry(attempt).or_default()
    }

    /// The errors that no class is known for, the most frequent wording first.
    #[must_use]
    pub fn clusters(&self) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = self.clusters.values().cloned().collect();
        clusters.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.pattern.cmp(&b.pattern)));
        clusters
    }

    /// Where a lower `max_attempts` would hardly lose anything.
    #[must_use]
    pub fn advice(&self) -> Vec<Advice> {
        let hardly = |worth: Worth| {
            worth.known() >= ENOUGH
                && f64::from(worth.succeeded) < HARDLY * f64::from(worth.known())
        };
        let mut advice = Vec::new();
        for (rule, attempts) in &self.attempts {
            let from = attempts.keys().filter(|from| **from > 1).find_map(|from| {
                let worth =
                    attempts.range(from..).fold(Worth::default(), |sum, (_, worth)| Worth {
                        succeeded: sum.succeeded + worth.succeeded,
                        failed: sum.failed + worth.failed,
                        unknown: sum.unknown + worth.unknown,
                    });
                hardly(worth).then_some((*from, worth))
            });
            if let Some((from, worth)) = from {
                advice.push(Advice { rule: rule.clone(), from, worth });
            }
        }
        advice
    }
}

impl Advice {
    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let Worth { succeeded, .. } = self.worth;
        let percent = 100.0 * f64::from(succeeded) / f64::from(self.worth.known());
        format!(
            "attempt {} and later succeed in {percent:.0}% ({succeeded} of {}): lower max_attempts to {}",
            self.from,
            self.worth.known(),
            self.from - 1
        )
    }
}

/// Stands for what differs from one error of a wording to the next.
const ANYTHING: char = '\u{2026}';
/// Stands for a number.
const NUMBER: char = '#';

/// How much of an error its wording is read from.
const LONGEST: usize = 300;

/// An error's wording: numbers, quoted parts, paths, addresses and identifiers taken out.
#[must_use]
pub fn shape(error: &str) -> String {
    let mut shape = String::new();
    let put = |shape: &mut String, c: char| {
        if !(shape.ends_with(c) && (c == ANYTHING || c == NUMBER)) {
            shape.push(c);
        }
    };
    let text: String = error.chars().take(LONGEST).collect();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' | '`' => Some(first),
            '\'' if !shape.ends_with(char::is_alphanumeric) => Some(first),
            '[' => Some(']'),
            '\u{201c}' => Some('\u{201d}'),
            '\u{300c}' => Some('\u{300d}'),
            _ => None,
        };
        let inside = &rest[first.len_utf8()..];
        if let Some(close) = close
            && let Some(end) = inside.find(close)
            && !inside[..end].contains('\n')
        {
            shape.push(first);
            put(&mut shape, ANYTHING);
            shape.push(close);
            rest = &inside[end + close.len_utf8()..];
            continue;
        }
        if !(first.is_ascii_alphanumeric() || first == '/') {
            put(&mut shape, if first == NUMBER { ANYTHING } else { first });
            rest = inside;
            continue;
        }
        // A word, with what may stand in a path, an address or an identifier.
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || "/._-:%?&=+~@\\".contains(c)))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let tail = word.trim_end_matches(|c: char| ".:?,".contains(c));
        let (word, after) = (tail, &word[tail.len()..]);
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let letters = word.chars().filter(char::is_ascii_alphabetic).count();
        let names_something = word.contains('/')
            || (digits > 0 && letters > 0 && word.len() >= 8)
            || (digits > 0 && word.contains(':'));
        if names_something {
            put(&mut shape, ANYTHING);
        } else {
            for c in word.chars() {
                put(&mut shape, if c.is_ascii_digit() { NUMBER } else { c });
            }
        }
        for c in after.chars() {
            put(&mut shape, c);
        }
        rest = &rest[end..];
    }
    shape
}

/// A wording with fewer letters than this would take errors of all sorts.
const LETTERS: usize = 3;

/// A regular expression that takes the errors of a wording; where that says too little, only the one that
/// is given.
#[must_use]
pub fn pattern(shape: &str, error: &str) -> String {
    let wording = shape.trim_matches(|c: char| c == ANYTHING || c.is_whitespace());
    if wording.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS {
        return expression(wording, |c| match c {
            NUMBER => Some(r"\d+"),
            ANYTHING => Some(".*"),
            _ => None,
        });
    }
    let whole = error.chars().nth(LONGEST).is_none();
    let text: String = error.chars().take(LONGEST).collect();
    format!("^{}{}", expression(&text, |_| None), if whole { "$" } else { "" })
}

/// Takes a text as it stands, but for what `stands_for` something else.
fn expression(text: &str, stands_for: impl Fn(char) -> Option<&'static str>) -> String {
    let mut expression = String::new();
    for c in text.chars() {
        match stands_for(c) {
            Some(other) => expression.push_str(other),
            None if c.is_whitespace() && c != ' ' => expression.push_str(r"\s"),
            // What cannot be seen does not get into a rules file.
            None if matches!(printable(c.encode_utf8(&mut [0; 4])), Cow::Owned(_)) => {
                expression.push('.');
            }
            None => expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    expression
}

/// The hour of the day at a moment.
#[must_use]
pub fn hour(moment: Timestamp, zone: &jiff::tz::TimeZone) -> u8 {
    u8::try_from(moment.to_zoned(zone.clone()).hour()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn errors_of_one_wording_have_one_shape_and_a_pattern_that_takes_them() {
        for (errors, shape) in [
            (
                vec!["drive said 17: \"a b.mkv\" is odd", "drive said 4: \"c\" is odd"],
                "drive said #: \"\u{2026}\" is odd",
            ),
            (
                vec!["cannot stat /115/a/b.mkv here", "cannot stat /x/c.iso here"],
                "cannot stat \u{2026} here",
            ),
            (
                vec!["Get https://a.example/x?y=1: weird", "Get https://b.example/z: weird"],
                "Get \u{2026}: weird",
            ),
            (vec!["文件 [一] 不对劲", "文件 [二二] 不对劲"], "文件 [\u{2026}] 不对劲"),
            (
                vec!["trace 5f3a9c01d2 lost (x)", "trace ab12cd34ef99 lost (x)"],
                "trace \u{2026} lost (x)",
            ),
            (vec!["it isn't so"], "it isn't so"),
            (vec![""], ""),
        ] {
            for error in &errors {
                assert_eq!(super::shape(error), shape, "{error}");
                assert!(Regex::new(&pattern(shape, error)).unwrap().is_match(error), "{error}");
            }
        }
    }

    #[test]
    fn attempts_that_hardly_succeed_are_pointed_out() {
        let mut report = Report::default();
        for (attempt, succeeded, failed) in
            [(1, 30, 70), (2, 20, 50), (3, 10, 40), (4, 1, 39), (5, 0, 20)]
        {
            *report.worth(&"r".into(), attempt) = Worth { succeeded, failed, unknown: 3 };
        }
        let advice = report.advice();
        assert_eq!(advice.len(), 1);
        assert_eq!(
            advice[0].text(),
            "attempt 4 and later succeed in 2% (1 of 60): lower max_attempts to 3"
        );
        // Too few say nothing.
        report.attempts.clear();
        *report.worth(&"r".into(), 2) = Worth { succeeded: 0, failed: 19, unknown: 50 };
        assert_eq!(report.advice(), []);
    }
}
