//! `run`: the daemon, or one tick.

use anyhow::anyhow;

use super::{Common, Exit, Failure, paths, runtime};
use crate::ambient::Clock;
use crate::daemon::reload::FollowedFile;
use crate::daemon::supervise::{Daemon, Options, StartError};
use crate::telemetry::Sink;

/// Look after the servers: poll, decide, act, record
///
/// Runs until it gets SIGTERM or SIGINT; it then lets the calls in flight end and records what came
/// of them. The rules file is read anew whenever it is saved, and on SIGHUP.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Look and act once, then end; 3 if a server could not be reached
    #[arg(long)]
    once: bool,
    /// Send nothing that changes anything; say what would be done
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(common: &Common, args: &RunArgs) -> Result<Exit, Failure> {
    let (file, config) = paths::load_rules(common)?;
    let options = Options {
        state_dir: paths::state_dir(common)?,
        dry_run: args.dry_run,
        clock: Clock::system(),
        sink: Sink::log(),
        seed: 0,
        speed: 1.0,
    };
    let start = |error: StartError| Failure::new(Exit::Config, error);
    runtime()?.block_on(async {
        let daemon = Daemon::new(config, options).map_err(start)?;
        if args.once {
            let away = daemon.run_once().await.map_err(start)?;
            return Ok(if away.is_empty() { Exit::Fine } else { Exit::Unreached });
        }
        let followed = FollowedFile::new(&file.path, &file.text);
        let poke = followed.poke();
        let stopper = daemon.stopper();
        let signals = tokio::spawn(async move {
            let ended = signals(poke).await;
            stopper.send_replace(true);
            ended
        });
        let path = file.path.display().to_string();
        daemon.run(Some((path, followed))).await.map_err(start)?;
        signals.abort();
        Ok(Exit::Fine)
    })
}

/// Waits for the signal to end; SIGHUP meanwhile has the rules read anew.
async fn signals(poke: tokio::sync::mpsc::Sender<()>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::new(Exit::Config, anyhow!(error)));
    let mut term = listen(SignalKind::terminate())?;
    let mut int = listen(SignalKind::interrupt())?;
    let mut hup = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => { let _ = poke.try_send(()); }
        }
    }
}
