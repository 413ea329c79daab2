//! Data goes to standard output, talk to standard error. The only module that prints.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};

use super::{Common, When};
use crate::engine::text::inert_json;

/// Prints a line of data. A reader that went away ends the command quietly; data that cannot be
/// written for another reason, such as a full disk, ends it with an error.
///
/// Texts of servers are made fit to be shown before, in words and in JSON alike; this does so again
/// to what JSON leaves as it is.
pub fn print(line: &str) {
    printed(writeln!(std::io::stdout().lock(), "{}", inert_json(line)));
}

/// Prints lines of data that end as they are to end.
pub fn print_lines(lines: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Nearly always it is UTF-8, which is sooner seen than put right.
    let lines =
        std::str::from_utf8(lines).map_or_else(|_| String::from_utf8_lossy(lines), Cow::Borrowed);
    printed(out.write_all(inert_json(&lines).as_bytes()).and_then(|()| out.flush()));
}

#[allow(clippy::exit, reason = "`taskwarden audit | head` must end like any filter")]
fn printed(result: std::io::Result<()>) {
    if let Err(error) = result {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        say(&format!("error: standard output cannot be written: {error}"));
        std::process::exit(1);
    }
}

/// Prints a line of talk.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", inert_json(line));
}

/// Whether data is to be coloured.
#[must_use]
pub fn colored(common: &Common) -> bool {
    wants_color(common, std::io::stdout().is_terminal())
}

/// Whether talk is to be coloured.
#[must_use]
pub fn colored_talk(common: &Common) -> bool {
    wants_color(common, std::io::stderr().is_terminal())
}

fn wants_color(common: &Common, terminal: bool) -> bool {
    match common.color {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    }
}

/// A moment in the machine's zone, to the second.
#[must_use]
pub fn local_time(moment: jiff::Timestamp) -> String {
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
