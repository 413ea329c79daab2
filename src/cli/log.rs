//! The log on standard error: for people, for the journal, or a record a line for machines.

use std::fmt::{self, Write as _};

use clap::ValueEnum;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Common;
use super::screen::{colored_talk, local_time};
use crate::ambient::Clock;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For the journal where that is what listens, else for people.
    #[default]
    Auto,
    /// For people: time, level, text.
    Human,
    /// `key=value` pairs, a record a line.
    Logfmt,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether people read it as it comes.
    pub(super) fn is_for_people(self) -> bool {
        self == Self::Human || (self == Self::Auto && !listened_to_by_the_journal())
    }
}

fn listened_to_by_the_journal() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

/// Starts the log.
pub(super) fn start(common: &Common, format: LogFormat) {
    let own = |level| Targets::new().with_target("taskwarden", level);
    let heard = match (common.quiet, common.verbose) {
        (true, _) => own(Level::ERROR),
        (_, 0) => own(Level::INFO),
        (_, 1) => own(Level::DEBUG),
        _ => Targets::new().with_default(Level::DEBUG),
    };
    let lines = match format {
        // The journal has the time itself, and takes the level from the front of the line.
        LogFormat::Auto if listened_to_by_the_journal() => Lines::Journal,
        LogFormat::Auto | LogFormat::Human => Lines::Human { colored: colored_talk(common) },
        LogFormat::Logfmt => Lines::Logfmt,
        LogFormat::Json => Lines::Json,
    };
    let written = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // Otherwise a log that nobody reads any more makes it print to the same place, which
        // panics, and with that ends a server's loop.
        .log_internal_errors(false)
        .event_format(lines);
    // A second start, in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(heard).with(written).try_init();
}

/// The form of a line.
#[derive(Clone, Copy, Debug)]
enum Lines {
    Human { colored: bool },
    Journal,
    Logfmt,
    Json,
}

/// What a record says, in its order.
#[derive(Debug, Default)]
struct Record {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut record = Record::default();
        event.record(&mut record);
        writeln!(writer, "{}", self.line(*event.metadata().level(), record))
    }
}

impl Lines {
    fn line(self, level: Level, record: Record) -> String {
        let Record { message, fields } = record;
        let now = || Clock::system().now();
        match self {
            Self::Human { colored } => {
                let time = local_time(now());
                let (on, off) = match level {
                    _ if !colored => ("", ""),
                    Level::ERROR => ("\u{1b}[31m", "\u{1b}[0m"),
                    Level::WARN => ("\u{1b}[33m", "\u{1b}[0m"),
                    Level::INFO => ("\u{1b}[32m", "\u{1b}[0m"),
                    _ => ("\u{1b}[2m", "\u{1b}[0m"),
                };
                format!("{time} {on}{level:>5}{off} {message}")
            }
            Self::Journal => {
                let priority = match level {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    _ => 7,
                };
                // The journal makes a record of each line.
                let lines: Vec<String> =
                    message.lines().map(|line| format!("<{priority}>{line}")).collect();
                lines.join("\n")
            }
            Self::Logfmt => {
                let level = level.as_str().to_lowercase();
                let mut line = format!("time={} level={level}", now());
                for (name, value) in &fields {
                    let _ = write!(line, " {name}={}", quoted(value));
                }
                let _ = write!(line, " msg={}", quoted(&message));
                line
            }
            Self::Json => {
                let mut object = Map::new();
                object.insert("time".to_owned(), Value::from(now().to_string()));
                object.insert("level".to_owned(), Value::from(level.as_str().to_lowercase()));
                for (name, value) in fields {
                    object.insert(name.to_owned(), Value::from(value));
                }
                object.insert("msg".to_owned(), Value::from(message));
                Value::Object(object).to_string()
            }
        }
    }
}

/// A value of logfmt: as it is, or in quotes where something in it would end it.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    Value::from(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: Lines) -> String {
        let record = Record {
            message: "home: a \"b\"\nc".to_owned(),
            fields: vec![("event", "acted".to_owned()), ("rule", "retry flaky".to_owned())],
        };
        lines.line(Level::WARN, record)
    }

    #[test]
    fn a_record_is_one_line_in_every_form() {
        assert_eq!(line(Lines::Journal), "<4>home: a \"b\"\n<4>c");
        let text = line(Lines::Logfmt);
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.strip_prefix("time=").unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(rest, r#"level=warn event=acted rule="retry flaky" msg="home: a \"b\"\nc""#);
        let json: Value = serde_json::from_str(&line(Lines::Json)).unwrap();
        assert_eq!((&json["event"], &json["level"]), (&"acted".into(), &"warn".into()));
        assert_eq!(json["msg"], "home: a \"b\"\nc");
        let human = line(Lines::Human { colored: false });
        assert!(human.ends_with("  WARN home: a \"b\"\nc"), "{human}");
    }
}
