//! Cron expressions: each field is held against its bounds here, so that a caret can stand under
//! the very part; croner compiles what passes.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::codes::Code;
use super::suggest::nearest;
use super::values::Fault;

struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    Field { name: "day of the week", min: 0, max: 7, names: &DAYS },
];
const DAY: usize = 2;
const MONTH: usize = 3;
const WEEKDAY: usize = 4;

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const HELP: &str =
    "five fields: minute hour day month weekday, such as `0 4 * * *` for 4:00 every day";

/// Compiles a five-field expression or a nickname.
///
/// # Errors
///
/// What is wrong with it, at most one fault a field.
pub(super) fn cron(text: &str) -> Result<Cron, Vec<Fault>> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') {
        let Some((_, fields)) = NICKNAMES.iter().find(|(name, _)| *name == trimmed) else {
            let names = NICKNAMES.iter().map(|(name, _)| *name);
            let help = match nearest(trimmed, names.clone()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("`{}` is no schedule", super::yaml::short(trimmed));
            return Err(vec![Fault::new(Code::InvalidCron, 0..text.len(), message).help(help)]);
        };
        return compile(fields, text.len()).map_err(|fault| vec![fault]);
    }
    let words = words(text);
    if words.len() != FIELDS.len() {
        return Err(vec![count_fault(text, &words)]);
    }
    let mut days_possible = true;
    let mut months = Vec::new();
    let mut first_day = 1;
    let mut faults = Vec::new();
    for (index, (field, (at, word))) in FIELDS.iter().zip(&words).enumerate() {
        let values = match field.check(index, *at, word) {
            Ok(values) => values,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        match index {
            DAY => first_day = values.iter().copied().min().unwrap_or(1),
            MONTH => months = values,
            WEEKDAY => {
                // A day of the week, where one is given, is enough.
                let any_weekday = *word == "*" || *word == "?";
                let longest = |month: &u8| match month {
                    2 => 29,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                days_possible = !any_weekday
                    || months.is_empty()
                    || months.iter().any(|month| first_day <= longest(month));
            }
            _ => {}
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if !days_possible {
        let (day, month) = (words[DAY], words[MONTH]);
        let range = day.0..month.0 + month.1.len();
        let message = "there is no such day in that month, so the schedule never fires";
        return Err(vec![
            Fault::new(Code::CronNeverFires, range, message)
                .help("for the last day of a month write `L` as its day"),
        ]);
    }
    compile(trimmed, text.len()).map_err(|fault| vec![fault])
}

fn compile(fields: &str, length: usize) -> Result<Cron, Fault> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(fields).map_err(|error| {
        Fault::new(
            Code::InvalidCron,
            0..length,
            error.to_string().trim_end_matches('.').to_lowercase(),
        )
        .help(HELP)
    })?;
    // One occurrence is computed, so that what croner accepts and cannot meet is found here.
    let start = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    cron.find_next_occurrence(&start, false).map_err(|_| {
        Fault::new(Code::CronNeverFires, 0..length, "the schedule never fires")
            .help("no date in the calendar meets all of its fields")
    })?;
    Ok(cron)
}

fn count_fault(text: &str, words: &[(usize, &str)]) -> Fault {
    let message = format!("a schedule has five fields, not {}", words.len());
    let range = words.get(FIELDS.len()).map_or(0..text.len(), |(at, _)| *at..text.trim_end().len());
    let help = match words.len() {
        6 => "seconds and years have no field here: minute hour day month weekday",
        _ => HELP,
    };
    Fault::new(Code::InvalidCron, range, message).help(help)
}

/// The words of a text with where they begin.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return words;
        }
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        words.push((text.len() - rest.len(), &rest[..length]));
        rest = &rest[length..];
        // More fields than this are counted no further.
        if words.len() > 16 {
            return words;
        }
    }
}

impl Field {
    /// Holds one field against its bounds; the plain values it names, empty for all or for those
    /// that depend on the calendar.
    fn check(&self, index: usize, at: usize, word: &str) -> Result<Vec<u8>, Fault> {
        if word.len() > 200 {
            return Err(self.fault(at..at + word.len(), "the field is too long".to_owned()));
        }
        let mut values = Vec::new();
        let mut everything = false;
        let mut start = at;
        for part in word.split(',') {
            let range = start..start + part.len();
            if part.is_empty() {
                return Err(self.fault(
                    start.saturating_sub(1).max(at)..start,
                    "a value is missing next to the comma".to_owned(),
                ));
            }
            match self.part(index, start, part)? {
                Some((from, to, step)) => {
                    let step = usize::from(step);
                    values.extend((from..=to).step_by(step));
                    everything |= part == "*";
                }
                None => everything = true,
            }
            start = range.end + 1;
        }
        Ok(if everything { Vec::new() } else { values })
    }

    /// One member of a list: first, last and step, or none for what depends on the calendar.
    fn part(&self, index: usize, at: usize, part: &str) -> Result<Option<(u8, u8, u8)>, Fault> {
        let (base, step) = match part.split_once('/') {
            Some((base, step)) => {
                let step_at = at + base.len() + 1;
                let range = step_at..step_at + step.len();
                let step_ = step.parse::<u8>().ok().filter(|step| (1..=self.max).contains(step));
                let step_ = step_.ok_or_else(|| {
                    self.fault(range, format!("a step is a number from 1 to {}", self.max))
                })?;
                (base, Some(step_))
            }
            None => (part, None),
        };
        let calendar = index == DAY || index == WEEKDAY;
        if base == "*" || (calendar && base == "?") {
            return Ok(Some((self.min, self.max, step.unwrap_or(1))));
        }
        if step.is_none() && self.is_special(index, base) {
            return Ok(None);
        }
        if let Some((from, to)) = base.split_once('-') {
            let first = self.value(at, from)?;
            if index == WEEKDAY && first == 7 {
                let fault = self.fault(at..at + from.len(), "no range begins with 7".to_owned());
                return Err(fault.help(format!("Sunday is 0 too: write `0-{to}`, or `0` alone")));
            }
            let mut last = self.value(at + from.len() + 1, to)?;
            if index == WEEKDAY && last == 0 && first > 0 {
                last = 7;
            }
            if first > last {
                let max = if index == WEEKDAY { 6 } else { self.max };
                let fault = self.fault(at..at + base.len(), "the range runs backwards".to_owned());
                return Err(fault.help(format!("write `{from}-{max},{}-{to}`", self.min)));
            }
            return Ok(Some((first, last, step.unwrap_or(1))));
        }
        let value = self.value(at, base)?;
        if let Some(step) = step {
            let fault =
                self.fault(at..at + part.len(), "a step needs a range before it".to_owned());
            let help = format!("write `{value}-{}/{step}` or `*/{step}`", self.max);
            return Err(fault.help(help));
        }
        Ok(Some((value, value, 1)))
    }

    /// `L`, `LW`, `15W`; `5L`, `5#2`.
    fn is_special(&self, index: usize, word: &str) -> bool {
        let word = word.to_ascii_uppercase();
        let fits = |text: &str| self.value(0, text).is_ok();
        match index {
            DAY => word == "L" || word == "LW" || word.strip_suffix('W').is_some_and(fits),
            WEEKDAY => {
                word.strip_suffix('L').is_some_and(fits)
                    || word.split_once('#').is_some_and(|(day, nth)| {
                        fits(day) && matches!(nth, "1" | "2" | "3" | "4" | "5")
                    })
            }
            _ => false,
        }
    }

    fn value(&self, at: usize, word: &str) -> Result<u8, Fault> {
        let range = at..at + word.len();
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            let value = word.parse::<u8>().ok();
            return value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
                let message = format!("{word} is no {}", self.name);
                self.fault(range, message)
            });
        }
        let lower = word.to_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.min + u8::try_from(index).unwrap_or_default());
        }
        if word.is_empty() {
            return Err(self.fault(range, "a number is missing here".to_owned()));
        }
        let fault = self.fault(range, format!("`{word}` is no {}", self.name));
        // `monday` for `mon`.
        let prefix = self.names.iter().find(|name| lower.starts_with(**name));
        Err(match prefix.copied().or_else(|| nearest(&lower, self.names.iter().copied())) {
            Some(name) => fault.help(format!("did you mean `{name}`?")),
            None => fault,
        })
    }

    fn fault(&self, range: std::ops::Range<usize>, message: String) -> Fault {
        let names = match self.names {
            [] => String::new(),
            names => format!(", or a name: {}", names.join(" ")),
        };
        let help = format!("the {} goes from {} to {}{names}", self.name, self.min, self.max);
        Fault::new(Code::InvalidCron, range, message).help(help)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_five_fields_and_nicknames() {
        for text in [
            "0 4 * * *",
            "*/5 * * * *",
            "0 0-6/2 1,15 jan-mar mon-FRI",
            "0 0 L * *",
            "0 0 29 2 *",
            "0 0 * * 5L",
            "0 0 * * 1#2",
            "0 0 15W * *",
            "0 0 31 2 mon",
            "0 0 * * 5-7",
            "0 0 * * sat-sun",
            "@daily",
            "@midnight",
            " 0 4 * * * ",
            "0 0 ? * 1",
        ] {
            cron(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        }
    }

    #[test]
    fn points_at_the_part_that_is_wrong() {
        for (text, range) in [
            ("60 4 * * *", "60"),
            ("0 24 * * *", "24"),
            ("0 0 0 * *", "0"),
            ("0 0 1 13 *", "13"),
            ("0 0 * * 8", "8"),
            ("0 0 * * monday", "monday"),
            ("0 22-6 * * *", "22-6"),
            ("0 0 * * 7-0", "7"),
            ("0 0 * * 7-2", "7"),
            ("*/0 * * * *", "0"),
            ("5/10 * * * *", "5/10"),
            ("0 0 30 2 *", "30 2"),
            ("0 0 31 4,6 *", "31 4,6"),
            ("0 0 * * * *", "*"),
            ("1,,2 * * * *", ","),
        ] {
            let fault = cron(text).unwrap_err().remove(0);
            assert_eq!(&text[fault.range], range, "{text}");
        }
        assert_eq!(cron("0 0 30 2 *").unwrap_err()[0].code, Code::CronNeverFires);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9*/,#LW@a-z -]{0,24}|\\PC{0,24}") {
            let _ = cron(&text);
        }

        #[test]
        fn what_passes_the_fields_passes_croner(
            text in "(\\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})? (\\*|[0-9]{1,2}) (\\*|L|[0-9]{1,2}W?) (\\*|[0-9]{1,2}|jan) (\\*|[0-9](L|#[0-9])?|fri-sun)"
        ) {
            for fault in cron(&text).err().into_iter().flatten() {
                prop_assert!(fault.code == Code::CronNeverFires || fault.range != (0..text.len()), "{fault:?}");
            }
        }
    }
}
