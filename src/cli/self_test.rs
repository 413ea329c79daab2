//! `self-test`: does this program work on this machine, with nothing set up.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::civil;
use jiff::tz::TimeZoneDatabase;
use serde::Serialize;

use super::demo::{ScratchFolder, fast_clock};
use super::{Common, Exit, Failure, Format, runtime, screen};
use crate::ambient::{Clock, http_client_builder};
use crate::daemon::supervise::{Daemon, Options};
use crate::engine::audit::Outcome;
use crate::engine::task::Kind;
use crate::rules::Source;
use crate::sandbox::scenario::flaky_queue;
use crate::sandbox::{self, Flavour, Sandbox, Settings};
use crate::store::{AuditFilter, Reader, Store, WriteBatch};
use crate::telemetry::{Event, Level, Sink};

/// How many seconds of the embedded server pass in one real second.
const SPEED: u32 = 240;

/// The longest that the daemon may take, in real time.
const LONGEST: Duration = Duration::from_secs(30);

/// How many tasks the embedded server has, and how many of them fail at first.
const TASKS: usize = 10;
const FLAKY: usize = 4;

const RULES: &str = "
rules:
  - name: self-test
    match: { kind: offline_download, state: failed }
    action: retry_some
    max_attempts: 8
    backoff: { initial: 2s, factor: 1, jitter: 0 }
    limits: none
    breaker: off
";

/// Find out whether the program works on this machine
///
/// Needs no rules file and no server, sends nothing to any network, and leaves nothing behind. In a
/// few seconds it looks for time zones and certificates, writes a store and reads it back, and has
/// the daemon retry tasks of an embedded server. It ends with 1 if anything of that fails.
#[derive(Debug, clap::Args)]
pub struct SelfTestArgs {}

/// What one check found; a line of `--format json`.
#[derive(Debug, Serialize)]
struct Line {
    check: &'static str,
    status: &'static str,
    detail: String,
}

pub(super) fn run(common: &Common, _: &SelfTestArgs) -> Result<Exit, Failure> {
    let mut exit = Exit::Fine;
    let mut tell = |check, found: anyhow::Result<String>| {
        let (status, detail) = match found {
            Ok(detail) => ("ok", detail),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        if status != "ok" {
            exit = Exit::Findings;
        }
        let line = Line { check, status, detail };
        match common.format {
            Format::Json => screen::print(&serde_json::to_string(&line).unwrap_or_default()),
            _ if common.quiet && status == "ok" => {}
            _ => {
                let color = match (screen::colored(common), status) {
                    (false, _) => ["", ""],
                    (true, "ok") => ["\x1b[32m", "\x1b[0m"],
                    (true, _) => ["\x1b[31m", "\x1b[0m"],
                };
                let [on, off] = color;
                screen::print(&format!("{on}{status:<4}{off}  {check:<12}  {}", line.detail));
            }
        }
    };
    tell("time zones", time_zones());
    tell("certificates", certificates());
    let scratch = ScratchFolder::make("self-test");
    match scratch {
        Err(error) => tell("store", Err(error)),
        Ok(scratch) => {
            let runtime = runtime()?;
            tell("store", runtime.block_on(store(&scratch.0.join("store"))));
            tell("daemon", runtime.block_on(daemon(&scratch.0.join("daemon"))));
        }
    }
    Ok(exit)
}

/// Schedules go by the time zones that come with the program; what is shown, by the system's.
fn time_zones() -> anyhow::Result<String> {
    let zone = TimeZoneDatabase::bundled().get("Europe/Berlin")?;
    let hour = |day: civil::Date| day.at(12, 0, 0, 0).to_zoned(zone.clone());
    let [winter, summer] = [hour(civil::date(2026, 1, 1))?, hour(civil::date(2026, 7, 1))?];
    let shift = summer.offset().seconds() - winter.offset().seconds();
    ensure!(shift == 3600, "summer time in Berlin is {shift} seconds off winter time");
    let count = TimeZoneDatabase::bundled().available().count();
    Ok(format!("{count} come with the program"))
}

fn certificates() -> anyhow::Result<String> {
    http_client_builder().build().context(
        "no certificates to trust were found, so no server can be reached by https; install the \
         package `ca-certificates`",
    )?;
    Ok("the system's can be read".to_owned())
}

/// What was written is there again after the store was closed, and in a copy of it.
async fn store(dir: &Path) -> anyhow::Result<String> {
    let state = serde_json::json!({ "self-test": "秋" });
    let store = Store::open(dir)?;
    let batch = WriteBatch { server_state: Some(state.clone()), ..WriteBatch::new("home".into()) };
    store.write(batch).await?;
    drop(store);
    let copy = dir.join("copy");
    std::fs::create_dir(&copy).with_context(|| format!("cannot make `{}`", copy.display()))?;
    crate::store::backup(dir, &copy.join(crate::store::DATABASE), false)?;
    for dir in [dir, &copy] {
        let read = Reader::open(dir)?.server_state(&"home".into())?;
        ensure!(read.as_ref() == Some(&state), "what was written is not what is read");
    }
    Ok("what is written is read back, from a copy too".to_owned())
}

/// The daemon retries the failed tasks of an embedded server until they succeed.
async fn daemon(dir: &Path) -> anyhow::Result<String> {
    let clock = fast_clock(Clock::system().now(), f64::from(SPEED));
    let now = clock.clone();
    let sandbox = Sandbox::start(sandbox::Options {
        settings: Settings::new(Flavour::OpenList).pool("offline_download", TASKS, 0),
        now: Arc::new(move || now.now()),
        seed: 1,
    })
    .await
    .context("the embedded server cannot be started")?;
    let queue = sandbox.with_model(|model| flaky_queue(model, TASKS, FLAKY, 0, 1));
    let (url, token) = (sandbox.url(), sandbox.token());
    let text = format!(
        "version: 1\nservers: [{{name: home, url: '{url}', token: '{token}', poll: 5s}}]\n{RULES}"
    );
    let loaded = crate::rules::load(Source::new("self-test", &text));
    let config = loaded.config.ok_or_else(|| anyhow!("its own rules are refused"))?;
    // What goes wrong on the way is the likely cause of what fails in the end.
    let trouble: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = trouble.clone();
    let sink = Sink::new(move |event: &Event| {
        if event.level() == Level::Error {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(event.to_string());
        }
    });
    let options = Options {
        state_dir: dir.to_owned(),
        dry_run: false,
        clock,
        sink,
        seed: 0,
        speed: f64::from(SPEED),
    };
    let daemon = Daemon::new(config, options)?;
    let stopper = daemon.stopper();
    let watch = async {
        let settled = async {
            while !sandbox.with_model(|model| {
                model.report().tasks.iter().all(|task| task.state == sandbox::State::Succeeded)
            }) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let settled = tokio::time::timeout(LONGEST, settled).await.is_ok();
        stopper.send_replace(true);
        settled
    };
    let (ended, settled) = tokio::join!(daemon.run(None), watch);
    ended?;
    let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
    ensure!(trouble.is_empty(), "{trouble}");
    let violations = sandbox.with_model(|model| model.report().violations().join("; "));
    ensure!(violations.is_empty(), "{violations}");
    if !settled {
        bail!("failed tasks were not retried until they succeeded, within {LONGEST:?}");
    }
    let filter = AuditFilter { kind: Some(Kind::OfflineDownload), ..AuditFilter::default() };
    let rows = Reader::open(dir)?.audit(&filter)?;
    let sent = rows.iter().filter(|row| {
        matches!(row.outcome, Outcome::Accepted | Outcome::Effective) && row.action == "retry_some"
    });
    let sent = sent.count();
    ensure!(sent >= queue.flaky.len(), "the audit trail has {sent} retries");
    Ok(format!("{} failed tasks succeeded after {sent} retries", queue.flaky.len()))
}
