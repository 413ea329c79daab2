//! What is told and when: notices are gathered, so that a storm of them is one message.
//!
//! Pure: time comes in as values.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::engine::message::Message;
use crate::engine::predicate::format_duration;

/// How many headings a message tells at the most.
const HEADINGS: usize = 20;
/// How many lines stand under a heading at the most.
const LINES: usize = 5;
/// How many messages wait for a target at the most.
const WAITING: usize = 20;
/// The first wait after a message could not be sent, which doubles up to an hour.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(30);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// Something that people may want to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What is counted together, such as "home: `retry` gave up".
    pub heading: String,
    /// What is told of this one; may be empty.
    pub line: String,
    /// Whether something does not work, or a task was given up.
    pub bad: bool,
    /// Whether it is a state of affairs that lasts, and is told again until it ends.
    pub lasts: Lasts,
}

/// Whether what is told lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// It has happened, and that is all.
    No,
    /// It lasts until its end is told under the same key.
    Begins(String),
    /// What lasted under this key is over.
    Ends(String),
}

/// When a target is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long more notices are waited for after the first.
    pub wait: Duration,
    /// The least time between two messages.
    pub interval: Duration,
    /// After how long what lasts is told again; `None` is never.
    pub repeat: Option<Duration>,
}

/// What waits to be told to one target. Survives restarts as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mailbox {
    headings: Vec<Heading>,
    /// When the first of them came.
    first: Option<Timestamp>,
    /// Notices beyond what a message holds.
    beyond: u32,
    /// When the last message was made.
    made: Option<Timestamp>,
    lasting: BTreeMap<String, Lasting>,
    /// Messages that are to be sent, oldest first.
    queue: VecDeque<Message>,
    /// Messages that had no room.
    dropped: u32,
    /// How often the first of the queue could not be sent.
    failures: u32,
    next_try: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Heading {
    text: String,
    bad: bool,
    count: u32,
    lines: Vec<String>,
}

/// What has begun and not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lasting {
    since: Timestamp,
    told: Timestamp,
    heading: String,
}

impl Mailbox {
    /// Takes a notice in.
    pub fn take(&mut self, notice: &Notice, now: Timestamp) {
        match &notice.lasts {
            Lasts::No => {}
            Lasts::Begins(key) => {
                if self.lasting.contains_key(key) {
                    return;
                }
                let lasting = Lasting { since: now, told: now, heading: notice.heading.clone() };
                self.lasting.insert(key.clone(), lasting);
            }
            // The end of what was never told to have begun is no news.
            Lasts::Ends(key) => {
                if self.lasting.remove(key).is_none() {
                    return;
                }
            }
        }
        self.note(&notice.heading, &notice.line, notice.bad);
        self.first.get_or_insert(now);
    }

    fn note(&mut self, text: &str, line: &str, bad: bool) {
        let known = self.headings.iter().position(|heading| heading.text == text);
        if known.is_none() {
            if self.headings.len() >= HEADINGS {
                self.beyond += 1;
                return;
            }
            let heading = Heading { text: text.to_owned(), bad, count: 0, lines: Vec::new() };
            self.headings.push(heading);
        }
        let last = self.headings.len().saturating_sub(1);
        let Some(heading) = self.headings.get_mut(known.unwrap_or(last)) else { return };
        heading.count += 1;
        heading.bad |= bad;
        if heading.lines.len() < LINES && !line.is_empty() {
            heading.lines.push(line.to_owned());
        }
    }

    /// When something is to be done with it next: a message made, or sent.
    #[must_use]
    pub fn due(&self, pace: Pace) -> Option<Timestamp> {
        let make = self.make_at(pace);
        let send = (!self.queue.is_empty()).then(|| self.next_try.unwrap_or(Timestamp::MIN));
        [make, send].into_iter().flatten().min()
    }

    fn make_at(&self, pace: Pace) -> Option<Timestamp> {
        let after = |at: Timestamp, wait: Duration| {
            SignedDuration::try_from(wait)
                .ok()
                .and_then(|wait| at.checked_add(wait).ok())
                .unwrap_or(Timestamp::MAX)
        };
        let gathered = self.first.map(|first| after(first, pace.wait));
        let again = pace
            .repeat
            .and_then(|repeat| self.lasting.values().map(|one| after(one.told, repeat)).min());
        let wanted = gathered.into_iter().chain(again).min()?;
        Some(self.made.map_or(wanted, |made| wanted.max(after(made, pace.interval))))
    }

    /// Makes a message of what has come together, if its time has come.
    pub fn make(&mut self, pace: Pace, now: Timestamp) {
        self.pull_back(now);
        if self.make_at(pace).is_none_or(|at| at > now) {
            return;
        }
        if let Some(repeat) = pace.repeat {
            let mut again = Vec::new();
            for lasting in self.lasting.values_mut() {
                let passed = Duration::try_from(now.duration_since(lasting.told));
                if passed.is_ok_and(|passed| passed >= repeat) {
                    lasting.told = now;
                    let since = now.duration_since(lasting.since);
                    let since = format_duration(Duration::try_from(since).unwrap_or_default());
                    again.push((format!("still: {}", lasting.heading), format!("for {since}")));
                }
            }
            for (heading, line) in again {
                self.note(&heading, &line, true);
            }
        }
        let headings = std::mem::take(&mut self.headings);
        let beyond = std::mem::take(&mut self.beyond);
        (self.first, self.made) = (None, Some(now));
        self.post(message(&headings, beyond));
    }

    /// Puts a message behind those that wait already.
    pub fn post(&mut self, message: Message) {
        if self.queue.len() >= WAITING {
            self.queue.pop_front();
            self.dropped += 1;
            self.failures = 0;
        }
        self.queue.push_back(message);
    }

    /// The message to be sent now, if its time has come.
    #[must_use]
    pub fn to_send(&self, now: Timestamp) -> Option<Message> {
        if self.next_try.is_some_and(|at| at > now) {
            return None;
        }
        let mut message = self.queue.front()?.clone();
        if self.dropped > 0 {
            let (dropped, s) = (self.dropped, if self.dropped == 1 { "" } else { "s" });
            let _ = write!(message.text, "\n({dropped} older message{s} had no room and went)");
        }
        Some(message)
    }

    /// The message was sent.
    pub fn sent(&mut self) {
        self.queue.pop_front();
        (self.dropped, self.failures, self.next_try) = (0, 0, None);
    }

    /// It could not be sent; the service may have said how long to wait. Tells whether that is news.
    pub fn failed(&mut self, now: Timestamp, wait: Option<Duration>) -> bool {
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        let named = wait.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or_default();
        let wait = doubled.max(named.min(LONGEST_WAIT));
        self.next_try = now.checked_add(wait).ok();
        self.failures += 1;
        self.failures == 1
    }

    /// Moments that lie ahead by a clock that was set back hold nothing longer than they could.
    fn pull_back(&mut self, now: Timestamp) {
        for moment in [&mut self.first, &mut self.made].into_iter().flatten() {
            *moment = (*moment).min(now);
        }
        for lasting in self.lasting.values_mut() {
            (lasting.since, lasting.told) = (lasting.since.min(now), lasting.told.min(now));
        }
        let latest = now.checked_add(LONGEST_WAIT).unwrap_or(Timestamp::MAX);
        self.next_try = self.next_try.map(|at| at.min(latest));
    }
}

fn message(headings: &[Heading], beyond: u32) -> Message {
    let counted = |heading: &Heading| match heading.count {
        1 => heading.text.clone(),
        count => format!("{} ({count} times)", heading.text),
    };
    let mut text = String::new();
    for heading in headings {
        if headings.len() > 1 || beyond > 0 {
            text.push_str(&counted(heading));
            text.push('\n');
        }
        for line in &heading.lines {
            text.push_str("- ");
            text.push_str(line);
            text.push('\n');
        }
        let more = usize::try_from(heading.count).unwrap_or(usize::MAX) - heading.lines.len();
        if more > 0 && !heading.lines.is_empty() {
            let _ = writeln!(text, "- and {more} more");
        }
    }
    if beyond > 0 {
        let _ = writeln!(text, "and {beyond} more of other sorts");
    }
    let title = match headings {
        [only] => counted(only),
        [first, ..] => format!("{}, and {} more", counted(first), headings.len() - 1),
        [] => "news".to_owned(),
    };
    let text = text.trim_end().to_owned();
    let bad = headings.iter().any(|heading| heading.bad);
    Message { text: if text.is_empty() { title.clone() } else { text }, title, bad }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + seconds).unwrap()
    }

    const PACE: Pace = Pace {
        wait: Duration::from_secs(30),
        interval: Duration::from_secs(300),
        repeat: Some(Duration::from_secs(3600)),
    };

    fn notice(heading: &str, line: &str, lasts: Lasts) -> Notice {
        Notice { heading: heading.to_owned(), line: line.to_owned(), bad: true, lasts }
    }

    /// Takes notices at moments and tells what is sent when, a second at a time.
    fn told(notices: &[(i64, Notice)], until: i64) -> Vec<(i64, Message)> {
        let mut mailbox = Mailbox::default();
        let mut told = Vec::new();
        for second in 0..until {
            for (_, notice) in notices.iter().filter(|(at, _)| *at == second) {
                mailbox.take(notice, at(second));
            }
            // What is due and what is done agree.
            let due = mailbox.due(PACE).is_some_and(|due| due <= at(second));
            mailbox.make(PACE, at(second));
            let message = mailbox.to_send(at(second));
            assert_eq!(due, message.is_some(), "at {second}");
            if let Some(message) = message {
                mailbox.sent();
                told.push((second, message));
            }
        }
        told
    }

    #[test]
    fn a_storm_of_a_thousand_is_one_message() {
        let storm: Vec<(i64, Notice)> = (0..1000)
            .map(|n| (n / 50, notice("home: `retry` gave up", &format!("file {n}"), Lasts::No)))
            .collect();
        let told = told(&storm, 1000);
        let [(30, message)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(message.title, "home: `retry` gave up (1000 times)");
        assert_eq!(
            message.text,
            "- file 0\n- file 1\n- file 2\n- file 3\n- file 4\n- and 995 more"
        );
    }

    #[test]
    fn the_next_message_waits_for_the_interval() {
        let one = |n| notice("h", &format!("{n}"), Lasts::No);
        let told = told(&[(0, one(1)), (40, one(2)), (100, one(3)), (600, one(4))], 1000);
        let told: Vec<(i64, &str)> = told.iter().map(|(at, m)| (*at, m.text.as_str())).collect();
        assert_eq!(told, [(30, "- 1"), (330, "- 2\n- 3"), (630, "- 4")]);
    }

    #[test]
    fn what_lasts_is_told_again_until_it_ends() {
        let key = || "away".to_owned();
        let notices = [
            (0, notice("home does not answer", "refused", Lasts::Begins(key()))),
            (500, notice("home does not answer", "refused", Lasts::Begins(key()))),
            (5000, notice("home answers again", "", Lasts::Ends(key()))),
            (6000, notice("home answers again", "", Lasts::Ends(key()))),
        ];
        let told = told(&notices, 20_000);
        let told: Vec<(i64, &str)> = told.iter().map(|(at, m)| (*at, m.title.as_str())).collect();
        assert_eq!(
            told,
            [
                (30, "home does not answer"),
                (3600, "still: home does not answer"),
                (5030, "home answers again")
            ]
        );
    }

    #[test]
    fn a_message_says_what_it_cannot_hold() {
        let mut mailbox = Mailbox::default();
        for n in 0..30 {
            mailbox.take(&notice(&format!("sort {n}"), "", Lasts::No), at(0));
        }
        mailbox.make(PACE, at(30));
        let message = mailbox.to_send(at(30)).unwrap();
        assert_eq!(message.title, "sort 0, and 19 more");
        assert!(message.text.ends_with("sort 19\nand 10 more of other sorts"), "{}", message.text);
    }

    #[test]
    fn a_dead_target_is_tried_ever_more_rarely_and_holds_so_much() {
        let mut mailbox = Mailbox::default();
        for n in 0..25 {
            let (title, text) = (format!("{n}"), String::new());
            mailbox.post(Message { title, text, bad: false });
        }
        let mut tries = Vec::new();
        for second in 0..12_000 {
            if mailbox.to_send(at(second)).is_some() {
                assert_eq!(mailbox.failed(at(second), None), tries.is_empty());
                tries.push(second);
            }
        }
        assert_eq!(tries, [0, 30, 90, 210, 450, 930, 1890, 3810, 7410, 11010]);
        // As a restart would find it.
        let stored = serde_json::to_string(&mailbox).unwrap();
        let mut mailbox: Mailbox = serde_json::from_str(&stored).unwrap();
        let message = mailbox.to_send(at(20_000)).unwrap();
        assert_eq!(message.title, "5");
        assert_eq!(message.text, "\n(5 older messages had no room and went)");
        mailbox.sent();
        let message = mailbox.to_send(at(20_000)).unwrap();
        assert_eq!((message.title.as_str(), message.text.as_str()), ("6", ""));
        // What the service asks for counts, within reason.
        mailbox.failed(at(20_000), Some(Duration::from_secs(600)));
        assert!(mailbox.to_send(at(20_599)).is_none() && mailbox.to_send(at(20_600)).is_some());
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_for_ever() {
        let mut mailbox = Mailbox::default();
        mailbox.take(&notice("h", "", Lasts::No), at(1_000_000));
        mailbox.make(PACE, at(0));
        mailbox.make(PACE, at(30));
        assert!(mailbox.to_send(at(30)).is_some());
    }
}
