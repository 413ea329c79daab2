//! `doctor`: is everything there that the daemon needs, and what helps where it is not.
//!
//! Looks and never changes anything, but for an empty file in the state folder that it takes away
//! again, to see whether it can be written. Logs in at most once a server, and not at all where the daemon
//! would not.

mod here;
mod server;

use serde::Serialize;

use super::acquaintance::{Kept, candidates};
use super::{Common, Exit, Failure, Format, paths, runtime, screen};
use crate::ambient::Clock;
use crate::engine::task::ServerName;
use crate::engine::text::{plural, printable};
use crate::store::{Lock, lock_of};

/// Look for what keeps the daemon from its work: servers, tokens, rights, clocks, the state folder
///
/// Nothing is changed. Each line is ok, warn or fail, and says what helps. A server is asked with at
/// most one login, and with none when the daemon remembers refused ones and would wait.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

/// What one check found; a line of `--format json`.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    server: Option<ServerName>,
    status: Status,
    detail: String,
    fix: Option<String>,
    /// What a failure ends the command with.
    #[serde(skip)]
    exit: Exit,
}

impl Line {
    fn new(check: &'static str, status: Status, detail: impl Into<String>) -> Self {
        // Much of it comes from servers.
        let detail = printable(&detail.into()).into_owned();
        Self { check, server: None, status, detail, fix: None, exit: Exit::Findings }
    }

    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self::new(check, Status::Ok, detail)
    }

    fn warn(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, Status::Warn, detail) }
    }

    fn fail(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..Self::new(check, Status::Fail, detail) }
    }

    /// Its failure ends the command with this.
    fn ending(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    fn human(&self, color: bool) -> String {
        let (on, off) = if color { (self.status.color(), "\x1b[0m") } else { ("", "") };
        let mut text =
            format!("  {on}{:<4}{off}  {:<9} {}", self.status.word(), self.check, self.detail);
        if let Some(fix) = &self.fix {
            text.push_str("\n                  fix: ");
            text.push_str(fix);
        }
        text
    }
}

/// What was found so far.
struct Findings<'a> {
    common: &'a Common,
    exit: Exit,
    counts: [usize; 3],
}

impl Findings<'_> {
    fn title(&self, title: &str) {
        if self.common.format == Format::Human && !self.common.quiet {
            screen::print(title);
        }
    }

    fn tell(&mut self, line: &Line) {
        self.counts[line.status as usize] += 1;
        if line.status == Status::Fail && line.exit.code() > 0 {
            self.exit = worse(self.exit, line.exit);
        }
        match self.common.format {
            Format::Json => screen::print(&serde_json::to_string(line).unwrap_or_default()),
            _ if self.common.quiet && line.status == Status::Ok => {}
            _ => screen::print(&line.human(screen::colored(self.common))),
        }
    }
}

/// Which of two ends says more: a configuration that cannot be used, then a server that cannot be
/// reached, then anything else.
fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit| match exit {
        Exit::Config => 3,
        Exit::Unreached => 2,
        Exit::Findings | Exit::Usage => 1,
        Exit::Fine => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

pub(super) fn run(common: &Common, _: &DoctorArgs) -> Result<Exit, Failure> {
    let clock = Clock::system();
    let state_dir = paths::state_dir(common)?;
    let mut findings = Findings { common, exit: Exit::Fine, counts: [0; 3] };
    findings.title("this machine");
    let (lines, config) = here::config(common);
    for line in &lines {
        findings.tell(line);
    }
    let kept = Kept::open(&state_dir);
    for line in &here::state(
        &state_dir,
        &kept,
        config.as_ref().map(|config| &config.retention),
        clock.now(),
    ) {
        findings.tell(line);
    }
    findings.tell(&here::unit());
    if let Some(config) = config {
        let candidates = candidates(&config);
        let daemon_runs = matches!(lock_of(&state_dir), Ok(Lock::Held(_)));
        let runtime = runtime()?;
        for server in &config.servers {
            findings.title(&format!("\nserver {} ({})", server.name, printable(&server.url)));
            let mut tell = |line: Line| {
                findings.tell(&Line { server: Some(server.name.clone()), ..line });
            };
            here::given_up(server, &kept).into_iter().for_each(&mut tell);
            let asked = server::Examination {
                server,
                config: &config,
                candidates: &candidates,
                daemon_runs,
            };
            runtime.block_on(asked.run(&kept, &clock, &mut tell));
        }
    }
    if common.format == Format::Human && !common.quiet {
        let [ok, warn, fail] = findings.counts;
        let warn = plural(warn, "warning", "warnings");
        let fail = plural(fail, "failure", "failures");
        screen::say(&format!("{ok} ok, {warn}, {fail}"));
    }
    Ok(findings.exit)
}
