//! `check`: every problem of rules files in one go.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::acquaintance::{Kept, candidates, careful_client, sight};
use super::{Common, Exit, Failure, Format, findings, paths, runtime, screen};
use crate::ambient::Clock;
use crate::daemon::rules_files::{self, RulesFiles, Unreadable};
use crate::engine::text::plural;
use crate::rules::{Code, Loaded, Severity, Sighting, hold_against, undecodable, unreadable};

/// Find every problem in rules files: where it is, and how to mend it
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The files; `-` is standard input [default: the rules file that `run` would take]
    files: Vec<PathBuf>,
    /// Print the page of a code that a finding carries, such as `unknown-key`
    #[arg(long, value_name = "CODE", conflicts_with = "files")]
    explain: Option<Code>,
    /// Ask the servers too: whether they have the kinds and mounts that the rules name, and whether
    /// the user sees all tasks
    #[arg(long, conflicts_with = "explain")]
    online: bool,
    /// Have warnings fail the check too
    #[arg(long, value_name = "WHAT", value_parser = ["warnings"])]
    deny: Option<String>,
}

pub(super) fn run(common: &Common, args: &CheckArgs) -> Result<Exit, Failure> {
    // Whatever keeps a file from being checked fails the check; 78 is for the daemon.
    let failed = |failure| Failure { exit: Exit::Findings, ..failure };
    if let Some(code) = args.explain {
        screen::print(code.page().trim_end());
        return Ok(Exit::Fine);
    }
    let files = if args.files.is_empty() {
        vec![paths::config_path(common).map_err(failed)?]
    } else {
        args.files.clone()
    };
    if args.online && files.len() > 1 {
        // Each would ask the same servers, with a login each.
        let error = anyhow::anyhow!("--online takes one file");
        return Err(Failure::new(Exit::Usage, error));
    }
    let (mut count, mut errors, mut warnings) = (0, 0, 0);
    let mut away = false;
    let mut all = Vec::new();
    for file in &files {
        // The others are checked all the same.
        let (mut loaded, files) = read(file);
        if args.online
            && let Some(files) = &files
        {
            away |= ask(common, &mut loaded, files)?;
        }
        count += loaded.files.len();
        for finding in &loaded.findings {
            match finding.severity {
                Severity::Error => errors += 1,
                Severity::Warning => warnings += 1,
            }
        }
        match common.format {
            Format::Human if loaded.findings.is_empty() => {}
            Format::Human => {
                screen::print(&findings::human(&loaded, screen::colored(common)));
            }
            Format::Json => {
                for line in findings::json(&loaded) {
                    screen::print(&line);
                }
            }
            Format::Github => {
                for line in findings::github(&loaded) {
                    screen::print(&line);
                }
            }
            Format::Sarif => {}
        }
        all.push(loaded);
    }
    if common.format == Format::Sarif {
        screen::print(&findings::sarif(&all));
    }
    if !common.quiet {
        screen::say(&format!(
            "{}: {}, {}",
            plural(count, "file", "files"),
            plural(errors, "error", "errors"),
            plural(warnings, "warning", "warnings")
        ));
    }
    let failed = errors > 0 || (args.deny.is_some() && warnings > 0);
    Ok(match (failed, away) {
        (true, _) => Exit::Findings,
        (false, true) => Exit::Unreached,
        (false, false) => Exit::Fine,
    })
}

/// Reads and compiles a file, or standard input; without the files when one of them cannot be read or
/// is no text.
fn read(file: &Path) -> (Loaded, Option<RulesFiles>) {
    let files = if file.as_os_str() == "-" {
        let bytes = match rules_files::read_from(std::io::stdin()) {
            Ok(bytes) => bytes,
            Err(error) => return (unreadable("<stdin>", &error.to_string()), None),
        };
        match String::from_utf8(bytes) {
            Ok(text) => RulesFiles::of_text("<stdin>", text, Path::new("")),
            Err(error) => return (undecodable("<stdin>", error.as_bytes()), None),
        }
    } else {
        RulesFiles::read(file)
    };
    match files {
        Ok(files) => (files.load(), Some(files)),
        Err(Unreadable { path, cause }) => {
            let shown = path.display().to_string();
            if cause.kind() == ErrorKind::InvalidData
                && let Ok(bytes) = std::fs::read(&path)
            {
                return (undecodable(&shown, &bytes), None);
            }
            (unreadable(&shown, &cause.to_string()), None)
        }
    }
}

/// Asks the servers of a file and adds what is wrong with it for them; whether one could not be
/// asked.
fn ask(common: &Common, loaded: &mut Loaded, files: &RulesFiles) -> Result<bool, Failure> {
    let Some(config) = &loaded.config else { return Ok(false) };
    let kept = Kept::open(&paths::state_dir(common)?);
    let clock = Clock::system();
    let candidates = candidates(config);
    let seen: Vec<Sighting> = runtime()?.block_on(async {
        let mut seen = Vec::new();
        for server in &config.servers {
            seen.push(match careful_client(server, &kept, &clock) {
                Ok(client) => sight(&client, &candidates).await,
                Err(error) => Sighting::away(server.name.clone(), error.to_string()),
            });
        }
        seen
    });
    for seen in seen.iter().filter(|seen| seen.away.is_none() && seen.mounts.is_none()) {
        if !common.quiet {
            let name = &seen.server;
            screen::say(&format!(
                "note: `{name}` does not list its storages to this user, so mounts were not checked"
            ));
        }
    }
    files.with_sources(|sources| hold_against(loaded, sources, &seen));
    Ok(seen.iter().any(|seen| seen.away.is_some()))
}
