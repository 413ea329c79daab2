//! What the service manager is told: that the daemon is up, that it reads its rules anew, how it
//! stands, and that its loops go on. Without one (no `NOTIFY_SOCKET`) nothing happens.

use std::sync::Mutex;
use std::time::Duration;

use sd_notify::NotifyState;

use super::{Event, Sink};
use crate::engine::text::plural;

/// A sink that tells the service manager, before it hands events on.
#[must_use]
pub fn beside(sink: &Sink) -> Sink {
    let sink = sink.clone();
    // How the last status line read, so that it is told when it changes.
    let last = Mutex::new(String::new());
    Sink::new(move |event| {
        match event {
            Event::Started { servers, rules, .. } => {
                let (servers, rules) =
                    (plural(*servers, "server", "servers"), plural(*rules, "rule", "rules"));
                let line = format!("looking after {servers} by {rules}");
                tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
            }
            Event::Reloaded { .. } => {
                tell(&[NotifyState::Ready, NotifyState::Status("the rules were read anew")]);
            }
            Event::ReloadRefused { .. } => {
                let line = "the rules file has errors; the old rules stay in force";
                tell(&[NotifyState::Ready, NotifyState::Status(line)]);
            }
            Event::Status(status) => {
                let line = if status.away.is_some() {
                    format!("{} does not answer", status.server)
                } else {
                    let tasks: usize = status.tasks.values().flat_map(|kind| kind.values()).sum();
                    format!("{}: {}", status.server, plural(tasks, "task", "tasks"))
                };
                if let Ok(mut last) = last.lock()
                    && *last != line
                {
                    tell(&[NotifyState::Status(&line)]);
                    *last = line;
                }
            }
            Event::Alive => tell(&[NotifyState::Watchdog]),
            Event::Stopping => tell(&[NotifyState::Stopping, NotifyState::Status("ending")]),
            _ => {}
        }
        sink.emit(event);
    })
}

/// The rules are about to be read because the service manager asked for it.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// How long the service manager waits to hear that all loops go on; `None` if it does not.
#[must_use]
pub fn patience() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

fn tell(state: &[NotifyState<'_>]) {
    // Nobody to tell is no error, and one who does not listen cannot be helped.
    let _ = sd_notify::notify(state);
}
