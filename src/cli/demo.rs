//! `demo`: the daemon at work on an embedded server, nothing else to set up.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Common, Exit, Failure, findings, paths, runtime, screen};
use crate::ambient::{Clock, monotonic, random_u64};
use crate::daemon::reload::FollowedFile;
use crate::daemon::supervise::{Daemon, Options};
use crate::engine::audit::Outcome;
use crate::engine::rule::Mode;
use crate::engine::task::State;
use crate::rules::{Config, ListenConfig, Source};
use crate::sandbox::scenario::{demo_scenario, demo_settings};
use crate::sandbox::{self, Flavour, Sandbox};
use crate::telemetry::feed::Feed;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Board;
use crate::telemetry::{Event, Level, Sink};
use crate::web::desk::Desk;
use crate::web::listener;

/// The rules that the demo runs, unless `--config` names others.
const EXAMPLE: &str = include_str!("../../rules.example.yaml");

/// Looks in a row that find nothing left to do before the demo counts as settled.
const QUIET_LOOKS: u32 = 3;

/// The port of the dashboard in all examples.
const USUAL_PORT: u16 = 9790;

/// See it at work: an embedded server with flaky tasks, the daemon on the example rules, and the
/// dashboard
///
/// Needs no network and no set-up, and leaves nothing behind. Time runs faster than it really does.
/// With `--config FILE` the rules of that file are used instead (its servers are not); save it while
/// the demo runs and watch it being reloaded.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many seconds of the demo pass in one real second
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=600))]
    speed: u32,
    /// End once nothing is left to do, with a summary
    #[arg(long)]
    once_settled: bool,
    /// Where the dashboard is, on this machine only [default: 9790, or any that is free]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Imitate this server
    #[arg(long, value_enum, default_value_t)]
    flavour: DemoFlavour,
}

/// A server to imitate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum DemoFlavour {
    /// `OpenList` v4.
    #[default]
    Openlist,
    /// `AList` v3.62.
    Alist,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Tally {
    actions: BTreeMap<String, u32>,
    gave_up: u32,
}

/// A folder that is gone when it is dropped.
pub(super) struct ScratchFolder(pub(super) PathBuf);

impl ScratchFolder {
    /// A new one among the system's temporary files. Others may write there too, so its name cannot be
    /// guessed, and nothing that is there already is used.
    pub(super) fn make(what: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("taskwarden-{what}-{:016x}", random_u64()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&path)
            .with_context(|| format!("the folder `{}` cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn run(common: &Common, args: &DemoArgs) -> Result<Exit, Failure> {
    let explicit = common.config.is_some();
    let files = explicit
        .then(|| paths::config_path(common).and_then(|path| paths::read_rules(&path)))
        .transpose()?;
    let loaded = match &files {
        Some(files) => files.load(),
        None => crate::rules::load(Source::new("rules.example.yaml", EXAMPLE)),
    };
    let path = loaded.files[0].path.clone();
    let Some(mut config) = loaded.config else {
        screen::say(&findings::human(&loaded, screen::colored_talk(common)));
        return Err(Failure::new(Exit::Config, anyhow!("`{path}` cannot be used")));
    };
    let scratch = ScratchFolder::make("demo").map_err(|error| Failure::new(Exit::Config, error))?;
    let followed = files.as_ref().map(FollowedFile::new);
    runtime()?.block_on(async {
        let clock = fast_clock(demo_start(), f64::from(args.speed));
        let flavour = match args.flavour {
            DemoFlavour::Openlist => Flavour::OpenList,
            DemoFlavour::Alist => Flavour::AList,
        };
        let now = clock.clone();
        let sandbox = Sandbox::start(sandbox::Options {
            settings: demo_settings(flavour),
            now: Arc::new(move || now.now()),
            seed: 1,
        })
        .await
        .context("the embedded server cannot be started")
        .map_err(|error| Failure::new(Exit::Config, error))?;
        sandbox.with_model(demo_scenario);
        aim_at(&mut config, &sandbox);
        let address = free_address(args.port)?;
        config.listen =
            Some(ListenConfig { address, token: None, hosts: Vec::new(), read_only: false });
        let shown = Shown::new(&clock, common);
        let (board, feed, metrics) =
            (Board::default(), Feed::default(), Metrics::new(clock.clone()));
        let sink = metrics.beside(&feed.beside(&board.beside(&shown.sink())));
        let options = Options {
            state_dir: scratch.0.clone(),
            dry_run: false,
            clock: clock.clone(),
            sink: sink.clone(),
            seed: 0,
            speed: f64::from(args.speed),
        };
        screen::say(&format!(
            "An embedded {} server with flaky tasks is at {}; an hour takes {}. Ctrl-C ends it.",
            match args.flavour {
                DemoFlavour::Openlist => "OpenList",
                DemoFlavour::Alist => "AList",
            },
            sandbox.url(),
            humantime::format_duration(Duration::from_secs(u64::from(3600 / args.speed.max(1)))),
        ));
        let daemon =
            Daemon::new(config, options).map_err(|error| Failure::new(Exit::Config, error))?;
        let daemon = daemon.rules_only();
        screen::say(&format!("The dashboard is at http://{address}/."));
        let mut desk = Desk::new((daemon.control(), daemon.store()), board, feed, metrics, clock);
        desk.speed = f64::from(args.speed);
        tokio::spawn(listener::follow(desk, sink));
        let stopper = daemon.stopper();
        let work = daemon.run(followed.map(|followed| (path.clone(), followed)));
        let watch = async {
            let settled = settle(&sandbox, &shown, args.once_settled);
            tokio::select! {
                () = settled => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            stopper.send_replace(true);
        };
        let (ended, ()) = tokio::join!(work, watch);
        ended.map_err(|error| Failure::new(Exit::Config, error))?;
        Ok(summary(&sandbox, &shown))
    })
}

/// The address of this machine with a port that is free.
fn free_address(port: Option<u16>) -> Result<SocketAddr, Failure> {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let bind = |port| TcpListener::bind(local(port)).and_then(|listener| listener.local_addr());
    let free = match port {
        Some(port) => bind(port),
        None => bind(USUAL_PORT).or_else(|_| bind(0)),
    };
    free.with_context(|| format!("{} cannot be had", local(port.unwrap_or(0))))
        .map_err(|error| Failure::new(Exit::Usage, error))
}

/// Twenty minutes before the nightly clean-up of the example rules, so that it can be seen.
fn demo_start() -> Timestamp {
    let today = Clock::system().now();
    let zone = TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC);
    let day = today.to_zoned(zone.clone()).date();
    day.at(3, 40, 0, 0).to_zoned(zone).map_or(today, |moment| moment.timestamp())
}

/// A clock that starts at `start` and runs `speed` times as fast as time does.
pub(super) fn fast_clock(start: Timestamp, speed: f64) -> Clock {
    let began = monotonic();
    Clock::from_fn(move || {
        let passed = began.elapsed().mul_f64(speed);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        start.checked_add(passed).unwrap_or(Timestamp::MAX)
    })
}

/// Has the rules look after the embedded server, under the name of the file's first one.
fn aim_at(config: &mut Config, sandbox: &Sandbox) {
    let (url, token) = (sandbox.url(), sandbox.token());
    let text = format!("version: 1\nservers: [{{name: demo, url: '{url}', token: '{token}'}}]\n");
    // Written by us from an address and a word, so it loads.
    let Some(mut demo) = crate::rules::load(Source::new("demo", &text)).config else { return };
    if let (Some(demo), Some(known)) = (demo.servers.first_mut(), config.servers.first()) {
        // The rules may name it.
        demo.name = known.name.clone();
        demo.poll = known.poll;
    }
    config.servers = demo.servers;
    // Nobody is to be told of what did not happen.
    config.notify = demo.notify;
    config.audit_log = demo.audit_log;
}

/// What the terminal shows of the daemon's events.
#[derive(Clone)]
struct Shown {
    clock: Clock,
    verbose: bool,
    color: bool,
    tally: Arc<Mutex<Tally>>,
    /// How many looks in a row found nothing that is due by itself.
    quiet: Arc<AtomicU32>,
}

impl Shown {
    fn new(clock: &Clock, common: &Common) -> Self {
        Self {
            clock: clock.clone(),
            verbose: common.verbose > 0,
            color: screen::colored(common),
            tally: Arc::default(),
            quiet: Arc::default(),
        }
    }

    fn sink(&self) -> Sink {
        let shown = self.clone();
        Sink::new(move |event| shown.take(event))
    }

    fn take(&self, event: &Event) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Polled { due, .. } if *due == 0 => {
                self.quiet.fetch_add(1, Ordering::Relaxed);
            }
            Event::Polled { .. } => self.quiet.store(0, Ordering::Relaxed),
            Event::Acted(row) if row.mode == Mode::Live && row.outcome == Outcome::Accepted => {
                *tally.actions.entry(row.action.clone()).or_default() += 1;
            }
            Event::GaveUp { .. } => tally.gave_up += 1,
            _ => {}
        }
        drop(tally);
        // What is about to happen is told once it happened.
        let planned = matches!(event, Event::Acted(row)
            if row.outcome == Outcome::Planned && row.mode == Mode::Live);
        let hidden = (event.level() == Level::Debug || planned) && !self.verbose;
        if hidden || matches!(event, Event::Status(_)) {
            return;
        }
        let time =
            self.clock.now().to_zoned(TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC));
        let (start, end) = match (self.color, event.level()) {
            (true, Level::Warn) => ("\x1b[33m", "\x1b[0m"),
            (true, Level::Error) => ("\x1b[31m", "\x1b[0m"),
            (true, Level::Debug) => ("\x1b[2m", "\x1b[0m"),
            _ => ("", ""),
        };
        screen::print(&format!("{start}{} {event}{end}", time.strftime("%H:%M:%S")));
    }
}

/// Ends when the server has nothing more to do and the daemon waits for nothing that comes by
/// itself; never, unless `end` is set.
async fn settle(sandbox: &Sandbox, shown: &Shown, end: bool) {
    let mut told = false;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let idle = sandbox.with_model(|model| model.next_event().is_none());
        if !idle {
            shown.quiet.store(0, Ordering::Relaxed);
        } else if shown.quiet.load(Ordering::Relaxed) >= QUIET_LOOKS {
            if end {
                return;
            }
            if !told {
                screen::say("Everything is settled; Ctrl-C ends the demo.");
                told = true;
            }
        }
    }
}

/// Tells what came of it; findings if the daemon did anything that it must never do.
fn summary(sandbox: &Sandbox, shown: &Shown) -> Exit {
    let report = sandbox.with_model(|model| model.report());
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for task in &report.tasks {
        let state = if task.listed {
            State::from_number(task.state.number()).to_string()
        } else {
            format!("{} and cleared", State::from_number(task.state.number()))
        };
        *states.entry(state).or_default() += 1;
    }
    let list =
        |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
    let states = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let tally = shown.tally.lock().unwrap_or_else(PoisonError::into_inner);
    let actions = tally.actions.iter().map(|(action, count)| format!("{count} {action}")).collect();
    screen::print("");
    screen::print(&format!("tasks:    {}", list(states)));
    screen::print(&format!("actions:  {}", list(actions)));
    screen::print(&format!("given up: {}", tally.gave_up));
    let violations = report.violations();
    if violations.is_empty() {
        screen::print(
            "referee:  no task ran twice at once, none was touched in a state where it does harm",
        );
        Exit::Fine
    } else {
        screen::print(&format!("referee:  {}", violations.join("\n          ")));
        Exit::Findings
    }
}
