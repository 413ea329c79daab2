//! `dead`: what rules gave up, to be tried again or put away.

use std::fmt::Write as _;

use anyhow::anyhow;

use super::pause::tell;
use super::{Common, Exit, Failure, Format, paths, running, screen};
use crate::daemon::control::Done;
use crate::engine::order::{DeadFilter, DeadLetter, Order};
use crate::engine::task::{ServerName, TaskId};
use crate::engine::text::{plural, printable, shorten};
use crate::store::Reader;
use crate::web::orders::parse_rate;
use crate::web::views::dead::{by_cause, letters};

/// What rules gave up: list it, try it again, or put it away
#[derive(Debug, clap::Args)]
pub struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DeadCommand {
    /// Show what was given up, grouped by cause
    List(ListArgs),
    /// Have the rules try it anew, one after the other, through all their gates
    Redrive(RedriveArgs),
    /// Put it away: it stays given up, and is not listed any more
    Drop(DropArgs),
}

/// Which of it.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only of this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Only what this rule gave up
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only with an error of this class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only tasks of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only the task with this id
    #[arg(long, value_name = "ID")]
    task: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct RedriveArgs {
    #[command(flatten)]
    which: Which,
    /// All of it
    #[arg(long)]
    all: bool,
    /// How fast: so many in so long, such as `5/min`
    #[arg(long, value_name = "RATE", default_value = "5/min")]
    rate: String,
}

#[derive(Debug, clap::Args)]
struct DropArgs {
    #[command(flatten)]
    which: Which,
    /// All of it
    #[arg(long)]
    all: bool,
}

impl Which {
    fn server(&self) -> Option<ServerName> {
        self.server.as_deref().map(Into::into)
    }

    fn filter(&self) -> DeadFilter {
        DeadFilter {
            rule: self.rule.as_deref().map(Into::into),
            class: self.class.as_deref().map(Into::into),
            kind: self.kind.as_deref().map(Into::into),
            task: self.task.as_deref().map(Into::into),
        }
    }

    /// Nothing is done to all of it by leaving something out.
    fn or_all(&self, all: bool) -> Result<DeadFilter, Failure> {
        let filter = self.filter();
        if all || self.server.is_some() || filter != DeadFilter::default() {
            return Ok(filter);
        }
        let error = anyhow!("say which, by --rule, --class, --kind, --task or --server, or --all");
        Err(Failure::new(Exit::Usage, error))
    }
}

pub(super) fn run(common: &Common, args: &DeadArgs) -> Result<Exit, Failure> {
    match &args.command {
        DeadCommand::List(args) => list(common, &args.which),
        DeadCommand::Redrive(args) => {
            let which = args.which.or_all(args.all)?;
            let every = parse_rate(&args.rate)
                .map_err(|why| Failure::new(Exit::Usage, anyhow!("--rate: {why}")))?;
            let done =
                running::order(common, args.which.server(), Order::Redrive { which, every })?;
            finish(common, &done, "tries again");
            Ok(Exit::Fine)
        }
        DeadCommand::Drop(args) => {
            let which = args.which.or_all(args.all)?;
            let done = running::order(common, args.which.server(), Order::Drop { which })?;
            finish(common, &done, "has put away");
            Ok(Exit::Fine)
        }
    }
}

fn finish(common: &Common, done: &[Done], what: &str) {
    tell(common, done, &|done| {
        let name = done.task_name.as_deref().filter(|name| !name.is_empty());
        let name = name.or(done.task_id.as_ref().map(TaskId::as_str)).unwrap_or("a task");
        let rule = printable(done.rule.as_str());
        format!("{}: rule `{rule}` {what} {}", done.server, printable(name))
    });
    if done.is_empty() {
        screen::say("nothing that was given up and is still listed is meant");
    }
}

fn list(common: &Common, which: &Which) -> Result<Exit, Failure> {
    let config = |error: anyhow::Error| Failure::new(Exit::Config, error);
    let reader = Reader::open(&paths::state_dir(common)?).map_err(|error| config(error.into()))?;
    let letters = letters(&reader, which.server().as_ref(), &which.filter())
        .map_err(|error| config(error.into()))?;
    if common.format == Format::Json {
        for letter in &letters {
            screen::print(&serde_json::to_string(letter).unwrap_or_default());
        }
        return Ok(Exit::Fine);
    }
    if letters.is_empty() {
        screen::print("nothing is given up");
    } else {
        screen::print(human(letters).trim_end());
    }
    Ok(Exit::Fine)
}

fn human(letters: Vec<DeadLetter>) -> String {
    let mut text = String::new();
    for letters in by_cause(letters) {
        let Some(last) = letters.last() else { continue };
        let class = last.class.as_ref().map_or("no error", |class| class.as_str());
        let (server, rule) = (&last.server, last.rule.as_str());
        let _ = writeln!(
            text,
            "{server}: rule `{}`, {class}: {}, last because {}",
            printable(rule),
            plural(letters.len(), "task", "tasks"),
            printable(&last.reason),
        );
        if !last.error.is_empty() {
            let _ = writeln!(text, "  error: {}", printable(&shorten(&last.error, 200)));
        }
        for letter in letters {
            let id = letter.task_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
            let gone = if letter.gone { "; no longer listed" } else { "" };
            let _ = writeln!(
                text,
                "  {}  {} {}{}{gone}",
                screen::local_time(letter.time),
                letter.kind,
                printable(&letter.task_name),
                printable(&id),
            );
        }
    }
    text
}
