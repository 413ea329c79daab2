//! `run`: the daemon, or one tick.

use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::anyhow;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::log::LogFormat;
use super::{Common, Exit, Failure, findings, paths, runtime, screen};
use crate::ambient::Clock;
use crate::daemon::reload::{FollowedFile, Poke};
use crate::daemon::supervise::{Daemon, Options, StartError, one_line_each};
use crate::rules::Severity;
use crate::telemetry::feed::Feed;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::status::Board;
use crate::telemetry::{Event, Sink, service};
use crate::web::desk::Desk;
use crate::web::{listener, socket};

/// Look after the servers: poll, decide, act, record
///
/// Runs until it gets SIGTERM or SIGINT; it then lets the calls in flight end and records what came
/// of them. The rules file is read anew whenever it is saved, and on SIGHUP.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Look and act once, then end; 3 if a server could not be reached
    #[arg(long)]
    once: bool,
    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) log_format: LogFormat,
    /// Send nothing that changes anything; say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(common: &Common, args: &RunArgs) -> Result<Exit, Failure> {
    let (files, config) = paths::load_rules_telling(common, |loaded| {
        // A snippet of the file is for people; a log has a record a line.
        if args.log_format.is_for_people() || loaded.config.is_none() {
            screen::say(&findings::human(loaded, screen::colored_talk(common)));
        } else {
            for finding in one_line_each(loaded, Severity::Warning) {
                Sink::log().emit(&Event::RulesWarning { finding });
            }
        }
    })?;
    let options = Options {
        state_dir: paths::own_state_dir(common)?,
        dry_run: args.dry_run,
        clock: Clock::system(),
        sink: Sink::log(),
        seed: 0,
        speed: 1.0,
    };
    let start = |error: StartError| Failure::new(Exit::Config, error);
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen()?;
        let (board, metrics) = (Board::default(), Metrics::new(options.clock.clone()));
        let followed = FollowedFile::new(&files);
        let poke = followed.poke();
        let feed = Feed::default();
        let shown = feed.beside(&board.beside(&in_passing(&poke, &options.sink)));
        let sink = service::beside(&metrics.beside(&shown));
        let (dir, clock) = (options.state_dir.clone(), options.clock.clone());
        let options = Options { sink: sink.clone(), ..options };
        let daemon = Daemon::new(config, options).map_err(start)?;
        let stopper = daemon.stopper();
        tokio::spawn(async move {
            signals.until_the_end(&poke).await;
            stopper.send_replace(true);
        });
        if args.once {
            let away = daemon.run_once().await.map_err(start)?;
            return Ok(if away.is_empty() { Exit::Fine } else { Exit::Unreached });
        }
        let desk = Desk::new((daemon.control(), daemon.store()), board, feed, metrics, clock);
        let (serving, over) = serve(dir, desk, sink)?;
        let path = files.main.path.display().to_string();
        let ran = daemon.run(Some((path, followed))).await;
        // It has the store too, which is closed when nobody has it any more.
        drop(over);
        let _ = serving.join();
        ran.map_err(start)?;
        Ok(Exit::Fine)
    });
    // Not for what hangs all the same, such as a name that is being looked up.
    runtime.shutdown_background();
    ended
}

/// Serves until what comes with the thread is dropped, on that thread: a long page delays no look, and a long look no
/// page.
fn serve(
    dir: PathBuf,
    desk: Desk,
    sink: Sink,
) -> Result<(JoinHandle<()>, oneshot::Sender<()>), Failure> {
    // For what is being asked of the store.
    const GRACE: Duration = Duration::from_secs(1);
    let runtime = runtime()?;
    let (over, until) = oneshot::channel::<()>();
    let pages = listener::follow(desk.clone(), sink.clone());
    let commands = async move {
        if let Err(error) = socket::serve(&dir, desk).await {
            sink.emit(&Event::ControlAway { error: error.to_string() });
        }
    };
    let work = move || {
        runtime.spawn(pages);
        runtime.spawn(commands);
        let _ = runtime.block_on(until);
        runtime.shutdown_timeout(GRACE);
    };
    let thread = Builder::new().name("web".to_owned()).spawn(work);
    Ok((thread.map_err(|error| Failure::new(Exit::Config, error))?, over))
}

/// A sink that has the rules file read in passing whenever a server was looked at.
fn in_passing(poke: &Poke, sink: &Sink) -> Sink {
    let (poke, sink) = (poke.clone(), sink.clone());
    Sink::new(move |event| {
        if matches!(event, Event::Status(_)) {
            poke.read_in_passing();
        }
        sink.emit(event);
    })
}

/// The signals that a daemon heeds. From when this is made on, none of them kills the process.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new(Exit::Config, anyhow!(error)));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal to end; SIGHUP meanwhile has the rules read anew.
    async fn until_the_end(mut self, poke: &Poke) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => {
                    service::reloading();
                    poke.read_now();
                }
            }
        }
    }
}
