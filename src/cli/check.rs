//! `check`: every problem of rules files in one go.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Common, Exit, Failure, Format, findings, paths, screen};
use crate::rules::{Code, Severity, Source};

/// Find every problem in rules files: where it is, and how to mend it
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The files; `-` is standard input [default: the rules file that `run` would take]
    files: Vec<PathBuf>,
    /// Print the page of a code that a finding carries, such as `unknown-key`
    #[arg(long, value_name = "CODE", conflicts_with = "files")]
    explain: Option<Code>,
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
    let (mut errors, mut warnings) = (0, 0);
    let mut all = Vec::new();
    for file in &files {
        let loaded = if file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input cannot be read")
                .map_err(|error| Failure::new(Exit::Usage, error))?;
            crate::rules::load(Source::new("<stdin>", &text))
        } else {
            let file = paths::read_rules(file).map_err(failed)?;
            crate::rules::load(file.source(&file.path.display().to_string()))
        };
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
        let files =
            if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
        screen::say(&format!("{files}: {errors} error(s), {warnings} warning(s)"));
    }
    let failed = errors > 0 || (args.deny.is_some() && warnings > 0);
    Ok(if failed { Exit::Findings } else { Exit::Fine })
}
