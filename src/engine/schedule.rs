//! When a rule is looked at: cron firings and hours of the day, in a time zone.

use croner::Cron;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A five-field cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The expression as written.
    pub text: String,
    /// The compiled expression.
    pub cron: Cron,
    /// The zone whose wall clock the expression speaks of.
    pub zone: TimeZone,
    /// Whether a firing that came while nothing looked runs once when something looks again.
    pub catch_up: bool,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone, self.catch_up) == (&other.text, &other.zone, other.catch_up)
    }
}

impl Schedule {
    /// How late a firing may be noticed and still count as on time. Longer than the slowest poll
    /// (two minutes), so that only a daemon or a server that was away misses one.
    pub const GRACE: SignedDuration = SignedDuration::from_mins(10);

    /// The first firing after `moment`; `None` when there is none in the calendar's range.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let zoned = moment.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&zoned, false).ok().map(|next| next.timestamp())
    }

    /// The last firing in `(since, until]` that counts: any, with `catch_up`, and otherwise one that
    /// is not older than [`Self::GRACE`].
    #[must_use]
    pub fn fired_between(&self, since: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let floor = until.checked_sub(Self::GRACE).unwrap_or(Timestamp::MIN);
        let from = if self.catch_up { since } else { since.max(floor) };
        self.next_after(from).filter(|firing| *firing <= until)
    }
}

/// Hours of the day in which a rule may act.
#[derive(Clone, Debug)]
pub struct Hours {
    /// The windows, each from the first time (inside) to the second (outside); one that ends
    /// before it begins goes on past midnight.
    pub windows: Vec<(Time, Time)>,
    /// The zone whose wall clock the windows speak of.
    pub zone: TimeZone,
}

impl Hours {
    /// Whether `moment` is inside a window.
    #[must_use]
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.covers(moment.to_zoned(self.zone.clone()).time())
    }

    /// Whether a time of day is inside a window.
    #[must_use]
    pub fn covers(&self, time: Time) -> bool {
        self.windows.iter().any(|(from, to)| {
            if from < to { *from <= time && time < *to } else { time >= *from || time < *to }
        })
    }

    /// The next moment at which a window opens, looking at most two days ahead.
    #[must_use]
    pub fn next_open(&self, moment: Timestamp) -> Option<Timestamp> {
        let today = moment.to_zoned(self.zone.clone()).date();
        (0..=2)
            .filter_map(|days| today.checked_add(SignedDuration::from_hours(24 * days)).ok())
            .flat_map(|day| {
                self.windows.iter().filter_map(move |(from, _)| {
                    // A time that summer time skips opens at the first moment after the gap.
                    day.to_datetime(*from).to_zoned(self.zone.clone()).ok()
                })
            })
            .map(|zoned| zoned.timestamp())
            .filter(|open| *open > moment)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(cron: &str, zone: &str, catch_up: bool) -> Schedule {
        Schedule {
            text: cron.to_owned(),
            cron: Cron::from_str(cron).unwrap(),
            zone: TimeZone::get(zone).unwrap(),
            catch_up,
        }
    }

    #[test]
    fn fires_in_its_own_zone() {
        let nightly = schedule("0 4 * * *", "Asia/Shanghai", false);
        assert_eq!(
            nightly.next_after(at("2026-11-24T00:00:00Z")),
            Some(at("2026-11-24T20:00:00Z"))
        );
    }

    #[test]
    fn a_skipped_hour_and_a_doubled_hour_fire_once() {
        // Berlin: 02:00-03:00 does not exist on 2026-03-29 and comes twice on 2026-10-25.
        let berlin = schedule("30 2 * * *", "Europe/Berlin", false);
        let mut firings = Vec::new();
        for (from, to) in [
            ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
        ] {
            let mut moment = at(from);
            while let Some(next) = berlin.next_after(moment).filter(|next| *next < at(to)) {
                firings.push(next.to_string());
                moment = next;
            }
        }
        assert_eq!(
            firings,
            [
                "2026-03-29T01:00:00Z",
                "2026-03-30T00:30:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z"
            ]
        );
    }

    #[test]
    fn a_missed_firing_counts_only_with_catch_up() {
        let (since, until) = (at("2026-11-24T00:00:00Z"), at("2026-11-24T06:00:00Z"));
        assert_eq!(schedule("0 4 * * *", "UTC", false).fired_between(since, until), None);
        let caught = schedule("0 4 * * *", "UTC", true).fired_between(since, until);
        assert_eq!(caught, Some(at("2026-11-24T04:00:00Z")));
        let on_time =
            schedule("0 4 * * *", "UTC", false).fired_between(since, at("2026-11-24T04:02:00Z"));
        assert_eq!(on_time, caught);
    }

    #[test]
    fn hours_may_go_past_midnight() {
        let hours = Hours {
            windows: vec![("22:00".parse().unwrap(), "08:00".parse().unwrap())],
            zone: TimeZone::UTC,
        };
        assert!(hours.contains(at("2026-11-24T23:00:00Z")));
        assert!(hours.contains(at("2026-11-24T07:59:59Z")));
        assert!(!hours.contains(at("2026-11-24T08:00:00Z")));
        assert_eq!(hours.next_open(at("2026-11-24T08:00:00Z")), Some(at("2026-11-24T22:00:00Z")));
        assert_eq!(hours.next_open(at("2026-11-24T23:00:00Z")), Some(at("2026-11-25T22:00:00Z")));
    }
}
