//! What can be looked at on this machine: the rules file, the state folder, the unit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::super::acquaintance::Kept;
use super::super::{Common, Exit, paths};
use super::Line;
use crate::daemon::rules_files::world_readable;
use crate::engine::text::plural;
use crate::rules::{Config, SecretRef, ServerConfig, Severity};
use crate::store::{self, AuditFilter, Lock, Reader, StoreError};

/// Where packages and administrators put the unit.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/taskwarden.service",
    "/usr/lib/systemd/system/taskwarden.service",
    "/lib/systemd/system/taskwarden.service",
];

/// Reads the rules file; without a configuration no server is asked.
pub(super) fn config(common: &Common) -> (Vec<Line>, Option<Config>) {
    let files = match paths::config_path(common).and_then(|path| paths::read_rules(&path)) {
        Ok(files) => files,
        Err(failure) => {
            let fix = "write one; `rules.example.yaml` is a beginning";
            let line = Line::fail("config", format!("{:#}", failure.error), fix);
            return (vec![line.ending(Exit::Config)], None);
        }
    };
    let path = files.main.path.display().to_string();
    let loaded = files.load();
    let count = |severity| loaded.findings.iter().filter(|f| f.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let Some(config) = loaded.config else {
        let errors = plural(errors, "error", "errors");
        let detail = format!("`{path}` has {errors}, so the daemon cannot start with it");
        let line = Line::fail("config", detail, "`taskwarden check` shows each with its mend");
        return (vec![line.ending(Exit::Config)], None);
    };
    let (rules, servers) = (config.rules.rules.len(), config.servers.len());
    let (rules, for_servers) =
        (plural(rules, "rule", "rules"), plural(servers, "server", "servers"));
    let detail = format!("`{path}` has {rules} for {for_servers}");
    let mut lines = vec![if config.servers.is_empty() {
        Line::fail("config", format!("`{path}` names no server"), "add one under `servers:`")
            .ending(Exit::Config)
    } else if warnings > 0 {
        let detail = format!("{detail}, with {}", plural(warnings, "warning", "warnings"));
        Line::warn("config", detail, "`taskwarden check` shows each with its mend")
    } else {
        Line::ok("config", detail)
    }];
    for open in config.secrets().filter_map(open_to_all) {
        let detail = format!("everyone here can read the secret file `{}`", open.display());
        let fix =
            format!("`chmod 600 {}`, and have it belong to the daemon's user", open.display());
        lines.push(Line::warn("secrets", detail, fix));
    }
    if config.secrets().any(|secret| matches!(secret, SecretRef::Literal(_))) {
        lines.push(if files.main.world_readable {
            let detail = format!("a secret stands in `{path}`, which everyone here can read");
            let fix = "move it to `{ env: NAME }` or `{ file: PATH }`, or `chmod 600` the file";
            Line::warn("secrets", detail, fix)
        } else {
            Line::ok("secrets", format!("a secret stands in `{path}`, which is not open to all"))
        });
    }
    (lines, Some(config))
}

/// The file of a secret that others than its owner and group may read.
fn open_to_all(secret: &SecretRef) -> Option<&Path> {
    match secret {
        SecretRef::File(path) if world_readable(path) => Some(path),
        _ => None,
    }
}

/// Looks at the state folder and what is in it.
pub(super) fn state(dir: &Path, kept: &Kept, now: Timestamp) -> Vec<Line> {
    let mut lines = vec![folder(dir)];
    match kept.reader() {
        Ok(Some(reader)) => {
            lines.push(match reader.size_bytes() {
                Ok(size) => Line::ok("database", format!("opens; {} KiB", size.div_ceil(1024))),
                Err(error) => broken(&error),
            });
            lines.push(last_day(reader, now).unwrap_or_else(|error| broken(&error)));
        }
        // The folder's line says so.
        Ok(None) => {}
        Err(error) => lines.push(broken(error)),
    }
    lines
}

fn folder(dir: &Path) -> Line {
    let shown = dir.display();
    match std::fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let detail = format!("there is no folder `{shown}` yet, so no daemon has run with it");
            let fix = "start `taskwarden run`, or name the daemon's folder with --state-dir";
            return Line::warn("state", detail, fix);
        }
        Ok(about) if about.is_dir() => {}
        found => {
            let why = found.map_or_else(|error| error.to_string(), |_| "is no folder".to_owned());
            let detail = format!("`{shown}` cannot be used: {why}");
            return Line::fail("state", detail, "name another folder with --state-dir");
        }
    }
    match store::lock_of(dir) {
        Ok(Lock::Held(pid)) => {
            let pid = pid.map_or_else(String::new, |pid| format!(", process {pid}"));
            Line::ok("state", format!("`{shown}` is in use by a running daemon{pid}"))
        }
        Ok(Lock::Free) => match store::try_to_write(dir) {
            Ok(()) => {
                Line::ok("state", format!("`{shown}` can be written; no daemon runs with it"))
            }
            Err(error) => {
                let detail = format!("`{shown}` cannot be written by this user: {error}");
                Line::fail("state", detail, "run as the daemon's user, or give this one the right")
            }
        },
        Err(error) => {
            let detail = format!("the lock in `{shown}` cannot be read: {error}");
            Line::fail("state", detail, "run as the daemon's user, or as root")
        }
    }
}

fn broken(error: &dyn std::error::Error) -> Line {
    let mut detail = error.to_string();
    // What helps stands in the words of the error.
    let fix = match detail.split_once("; ") {
        Some((what, fix)) => {
            let parts = (what.to_owned(), fix.to_owned());
            detail = parts.0;
            parts.1
        }
        None => "look at the file and its disk".to_owned(),
    };
    Line::fail("database", detail, fix)
}

/// What was done in the last day.
fn last_day(reader: &Reader, now: Timestamp) -> Result<Line, StoreError> {
    let since = now.checked_sub(SignedDuration::from_hours(24)).ok();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    reader.audit_each(&AuditFilter { since, ..AuditFilter::default() }, |row| {
        *outcomes.entry(row.outcome.to_string()).or_default() += 1;
        ControlFlow::Continue(())
    })?;
    let shown: Vec<String> =
        outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let shown = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
    Ok(Line::ok("audit", format!("in the last 24 hours: {shown}")))
}

/// The tasks of a server that rules have let go of.
pub(super) fn given_up(server: &ServerConfig, kept: &Kept) -> Option<Line> {
    let reader = kept.reader().ok().flatten()?;
    let known = match reader.load(&server.name) {
        Ok(known) => known,
        Err(error) => return Some(broken(&error)),
    };
    let gave_up = known.progress.iter().filter(|(_, _, progress)| {
        progress.as_ref().is_some_and(|progress| progress.gave_up.is_some())
    });
    let count = gave_up.count();
    if count == 0 {
        return Some(Line::ok("given_up", "no task is given up"));
    }
    let fix = "`taskwarden audit --action give_up` shows which, and why";
    Some(Line::warn(
        "given_up",
        format!("rules have given up on {}", plural(count, "task", "tasks")),
        fix,
    ))
}

/// Looks for the systemd unit.
pub(super) fn unit() -> Line {
    let template = |path: &str| path.replace(".service", "@.service");
    let units = UNITS.iter().flat_map(|path| [(*path).to_owned(), template(path)]);
    if let Some(found) = units.into_iter().find(|path| Path::new(path).exists()) {
        return Line::ok("unit", format!("`{found}` is installed"));
    }
    if !Path::new("/run/systemd/system").exists() {
        return Line::ok("unit", "systemd does not run here; something else must start the daemon");
    }
    let fix = "copy `systemd/taskwarden.service` to /etc/systemd/system, then `systemctl enable \
               --now taskwarden`";
    Line::warn("unit", "the systemd unit is not installed, so nothing starts the daemon", fix)
}
