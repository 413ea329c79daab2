//! `completions` and `man`: the command line, told to shells and to `man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::{Args, Exit, Failure, screen};

/// Print the completions of a shell
///
/// For bash, say: `taskwarden completions bash > /etc/bash_completion.d/taskwarden`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Print a manual page, in the form that `man` reads
///
/// Without a command it is the page of the program: `taskwarden man | man -l -`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The page of this command
    command: Option<String>,
    /// Write all pages into this folder instead, for packages
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "taskwarden", &mut text);
    screen::print(String::from_utf8_lossy(&text).trim_end());
    Exit::Fine
}

pub(super) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let mut program = Args::command();
    if let Some(dir) = &args.dir {
        clap_mangen::generate_to(program, dir)
            .with_context(|| format!("the pages cannot be written into `{}`", dir.display()))
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        return Ok(Exit::Fine);
    }
    // Fills in what the commands take over from the program.
    program.build();
    let mut text = Vec::new();
    let rendered = match &args.command {
        None => clap_mangen::Man::new(program).render(&mut text),
        Some(name) => {
            let known = program.get_subcommands().map(clap::Command::get_name);
            let known = known.filter(|name| *name != "help").collect::<Vec<_>>().join(", ");
            let command = program.find_subcommand(name).cloned().ok_or_else(|| {
                let error = anyhow::anyhow!("there is no command `{name}`; there are {known}");
                Failure::new(Exit::Usage, error)
            })?;
            let title = format!("taskwarden-{name}");
            clap_mangen::Man::new(command).title(title).render(&mut text)
        }
    };
    rendered.map_err(|error| Failure::new(Exit::Usage, error))?;
    screen::print(String::from_utf8_lossy(&text).trim_end());
    Ok(Exit::Fine)
}
