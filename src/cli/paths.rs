//! Where the rules file and the state folder are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::{Common, Exit, Failure, findings, screen};
use crate::daemon::rules_files::{self, RulesFiles};
use crate::engine::text::plural;
use crate::rules::{Config, Loaded, Severity};

/// Where the unit of the package keeps it; only the daemon's user and root see into it.
const SYSTEM_STATE: &str = "/var/lib/taskwarden";

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folders of a kind (`config`, `state`) for the user: the XDG variable, else below the home.
fn user_folder(xdg: &str, below_home: &str) -> Option<PathBuf> {
    let base = variable(xdg)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(variable("HOME")?.join(below_home)))?;
    Some(base.join("taskwarden"))
}

/// The rules file: `--config`, `$TASKWARDEN_CONFIG`, then the first that exists of the working
/// folder's, the user's and the system's.
///
/// # Errors
///
/// When none exists.
pub fn config_path(common: &Common) -> Result<PathBuf, Failure> {
    if let Some(path) = common.config.clone().or_else(|| variable("TASKWARDEN_CONFIG")) {
        return Ok(path);
    }
    let mut places = vec![PathBuf::from("rules.yaml")];
    places.extend(user_folder("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("rules.yaml")));
    places.push(PathBuf::from("/etc/taskwarden/rules.yaml"));
    if let Some(found) = places.iter().find(|path| path.exists()) {
        return Ok(found.clone());
    }
    let places: Vec<String> = places.iter().map(|path| format!("`{}`", path.display())).collect();
    Err(Failure::new(
        Exit::Config,
        anyhow!(
            "no rules file found: looked for {}; name one with --config FILE",
            places.join(", ")
        ),
    ))
}

/// The state folder to look into: that of a daemon that this user would start, and, where there is
/// none, that of the system's.
///
/// # Errors
///
/// When not even the home folder is known.
pub fn state_dir(common: &Common) -> Result<PathBuf, Failure> {
    let own = own_state_dir(common)?;
    let system = PathBuf::from(SYSTEM_STATE);
    let named = common.state_dir.is_some() || variable("STATE_DIRECTORY").is_some();
    Ok(if !named && !own.exists() && system.exists() { system } else { own })
}

/// The state folder of a daemon that is started: `--state-dir`, `$STATE_DIRECTORY`, the user's state
/// folder.
///
/// # Errors
///
/// When not even the home folder is known.
pub fn own_state_dir(common: &Common) -> Result<PathBuf, Failure> {
    if let Some(dir) = &common.state_dir {
        return Ok(dir.clone());
    }
    // systemd separates several by colons; the first is ours.
    if let Some(first) = env::var("STATE_DIRECTORY")
        .ok()
        .and_then(|dirs| dirs.split(':').next().map(str::to_owned))
        .filter(|dir| !dir.is_empty())
    {
        return Ok(PathBuf::from(first));
    }
    user_folder("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        let error = anyhow!("no state folder: HOME is not set; name one with --state-dir DIR");
        Failure::new(Exit::Config, error)
    })
}

/// Reads the rules file and those that it includes.
///
/// # Errors
///
/// When one cannot be read.
pub fn read_rules(path: &Path) -> Result<RulesFiles, Failure> {
    RulesFiles::read(path).map_err(|error| Failure::new(Exit::Config, error))
}

/// Reads a file of rule tests.
///
/// # Errors
///
/// When it cannot be read.
pub fn read_test(path: &Path) -> anyhow::Result<String> {
    rules_files::read(path)
        .with_context(|| format!("the test file `{}` cannot be read", path.display()))
}

/// Reads and compiles the rules file, for commands that work with it. Warnings go to standard error,
/// and so do errors, with which the command ends.
///
/// # Errors
///
/// When the file cannot be read or used.
pub fn load_rules(common: &Common) -> Result<(RulesFiles, Config), Failure> {
    load_rules_telling(common, |loaded| {
        screen::say(&findings::human(loaded, screen::colored_talk(common)));
    })
}

/// The same, with the findings told by `tell` when there are some.
///
/// # Errors
///
/// When the file cannot be read or used.
pub fn load_rules_telling(
    common: &Common,
    tell: impl FnOnce(&Loaded),
) -> Result<(RulesFiles, Config), Failure> {
    let files = read_rules(&config_path(common)?)?;
    let loaded = files.load();
    if !loaded.findings.is_empty() && !common.quiet {
        tell(&loaded);
    }
    let errors =
        loaded.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    if let Some(config) = loaded.config {
        return Ok((files, config));
    }
    let errors = plural(errors, "error", "errors");
    Err(Failure::new(Exit::Config, anyhow!("`{}` has {errors}", files.main.path.display())))
}
