//! What can be looked at on this machine: the rules file, the state folder, the unit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::acquaintance::Kept;
use super::super::{Common, Exit, paths};
use super::Line;
use crate::daemon::rules_files::world_readable;
use crate::daemon::supervise::{UPKEEP, Upkeep};
use crate::engine::decide::until;
use crate::engine::predicate::format_duration;
use crate::engine::task::ServerName;
use crate::engine::text::{moment, plural};
use crate::rules::{Config, Retention, SecretRef, ServerConfig, Severity};
use crate::store::{self, AuditFilter, Checkup, Lock, Reader, StoreError};

/// How long the database is looked through at most.
const BUDGET: Duration = Duration::from_secs(10);

/// How long a row may outstay its time: it is looked for once an hour.
const OVERDUE: Duration = Duration::from_secs(2 * 3600);

/// Where packages and administrators put the unit.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

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

/// Looks at the state folder and what is in it, held against what the rules file says is kept.
pub(super) fn state(
    dir: &Path,
    kept: &Kept,
    retention: Option<&Retention>,
    now: Timestamp,
) -> Vec<Line> {
    let mut lines = vec![folder(dir)];
    match kept.reader() {
        Ok(Some(reader)) => match reader.check_up(BUDGET) {
            Ok(checkup) => {
                lines.extend(database(&checkup));
                if let Some(retention) = retention {
                    lines.push(kept_rows(&checkup, reader, retention, now));
                }
                // What is damaged need not be told twice.
                if checkup.damage.is_none() {
                    lines.push(last_day(reader, now).unwrap_or_else(|error| broken(&error)));
                }
            }
            Err(error) => lines.push(broken(&error)),
        },
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

/// Whether the database is whole and can be understood.
fn database(checkup: &Checkup) -> Vec<Line> {
    let Checkup { layout, used, free, rows, .. } = checkup;
    if let Some(damage) = &checkup.damage {
        let detail = format!("is damaged: {damage}");
        let fix = "stop the daemon and put back a copy that `taskwarden backup` made, or move \
                   `taskwarden.db*` away to begin with an empty one (attempts are then counted from \
                   zero); and look at the disk";
        return vec![Line::fail("database", detail, fix)];
    }
    let mut lines: Vec<Line> = checkup.unreadable.iter().map(|error| broken(error)).collect();
    let more = checkup.unreadable_count - lines.len() as u64;
    if more > 0 {
        let detail = format!("{more} more rows cannot be read");
        lines.push(Line::fail("database", detail, "put back a copy of the file"));
    }
    let (used, free) = (used.div_ceil(1024), free.div_ceil(1024));
    let size = format!("layout {layout}, {used} KiB in use and {free} KiB free in it");
    if checkup.unfinished {
        let detail = format!(
            "{size}; it is too large to be looked through in {} s, nothing is wrong with what was \
             seen, {rows} rows",
            BUDGET.as_secs()
        );
        lines.push(Line::warn("database", detail, "`taskwarden backup FILE` looks at all of it"));
    } else if lines.is_empty() {
        lines.push(Line::ok("database", format!("whole, each of {rows} rows can be read; {size}")));
    }
    lines
}

/// Whether old rows go, as the rules file says.
fn kept_rows(checkup: &Checkup, reader: &Reader, retention: &Retention, now: Timestamp) -> Line {
    let last = reader.server_state(&ServerName::new(UPKEEP)).ok().flatten();
    let last = last.and_then(|state| serde_json::from_value::<Upkeep>(state).ok());
    let mut detail = match last {
        Some(Upkeep { pruned }) => format!("old rows were last looked for at {}", moment(pruned)),
        None => "old rows were never looked for yet".to_owned(),
    };
    let mut late = Vec::new();
    for (what, oldest, age) in [
        ("action", checkup.oldest_audit, retention.audit),
        ("look", checkup.oldest_seen, retention.observations),
    ] {
        let Some(oldest) = oldest else { continue };
        let is = Duration::from_secs(until(oldest, now).as_secs());
        let _ = write!(detail, "; the oldest {what} is {} old", format_duration(is));
        if let Some(age) = age {
            let _ = write!(detail, " and may be {}", format_duration(age));
            if is > age + OVERDUE {
                late.push(what);
            }
        }
    }
    let large = retention.size.filter(|size| checkup.used > size.saturating_add(size / 10));
    if let Some(size) = large {
        let (used, size) = (checkup.used >> 20, size >> 20);
        let _ = write!(detail, "; {used} MiB are in use, and `retention` allows {size} MiB");
    }
    if late.is_empty() && large.is_none() {
        return Line::ok("retention", detail);
    }
    let fix = "the daemon takes old rows away once an hour while it runs: start it, or see in its log \
               why it cannot; what is remembered of tasks counts and stays";
    Line::warn("retention", detail, fix)
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

/// Looks for the systemd unit, the one of a single daemon or the template of several.
pub(super) fn unit() -> Line {
    unit_below(Path::new("/"))
}

fn unit_below(root: &Path) -> Line {
    let names = ["taskwarden.service", "taskwarden@.service"];
    let mut units = UNITS.iter().flat_map(|folder| names.map(|name| format!("{folder}/{name}")));
    if let Some(found) = units.find(|unit| root.join(unit).exists()) {
        return Line::ok("unit", format!("`/{found}` is installed"));
    }
    if !root.join("run/systemd/system").exists() {
        return Line::ok("unit", "systemd does not run here; something else must start the daemon");
    }
    let fix = "copy `systemd/taskwarden.service` to /etc/systemd/system, then `systemctl enable \
               --now taskwarden`";
    Line::warn("unit", "the systemd unit is not installed, so nothing starts the daemon", fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_unit_counts_as_installed() {
        let root = tempfile::tempdir().unwrap();
        let line = || {
            let Line { status, detail, .. } = unit_below(root.path());
            format!("{status:?}: {detail}")
        };
        assert!(line().starts_with("Ok: systemd does not run here"), "{}", line());
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        assert!(line().starts_with("Warn: the systemd unit is not installed"), "{}", line());
        for unit in
            ["lib/systemd/system/taskwarden@.service", "etc/systemd/system/taskwarden.service"]
        {
            std::fs::create_dir_all(root.path().join(unit).parent().unwrap()).unwrap();
            std::fs::write(root.path().join(unit), "").unwrap();
            assert_eq!(line(), format!("Ok: `/{unit}` is installed"));
        }
    }
}
