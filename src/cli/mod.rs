//! The command line: one file a command. Arguments as typed are one type, what they mean another;
//! rendering stands apart from deciding.

mod acquaintance;
pub mod audit;
pub mod backtest;
pub mod backup;
pub mod check;
pub mod dead;
pub mod demo;
pub mod described;
pub mod doctor;
pub mod explain;
pub mod findings;
pub mod history;
pub mod live;
pub mod log;
pub mod match_;
pub mod notify;
mod past;
pub mod paths;
pub mod pause;
pub mod plan;
pub mod reference;
pub mod reload;
pub mod report;
pub mod run;
mod running;
pub mod schema;
pub mod screen;
pub mod self_test;
pub mod status;
pub mod test;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Rules and automatic retries for the task queues of `AList` and `OpenList` servers.
#[derive(Debug, Parser)]
#[command(name = "taskwarden", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 fine; 1 findings; 2 wrong usage; 3 a server could not be \
                        reached or refused; 78 the daemon cannot start with this configuration.")]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The rules file [default: `$TASKWARDEN_CONFIG`, `./rules.yaml`, the user's and then the system's
    /// config folder]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the daemon keeps its memory [default: `$STATE_DIRECTORY`, the user's state folder, and, but
    /// for `run`, the system's]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How results are printed; `json` is one object a line
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Whether to colour what is printed (`NO_COLOR` is respected)
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For scripts: one JSON object a line.
    Json,
    /// `check` only: SARIF 2.1.0, for code scanners.
    Sarif,
    /// `check` only: annotations for GitHub workflows.
    Github,
}

/// Whether to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Check(check::CheckArgs),
    Test(test::TestArgs),
    Plan(plan::PlanArgs),
    Explain(Box<explain::ExplainArgs>),
    Match(Box<match_::MatchArgs>),
    Audit(audit::AuditArgs),
    History(history::HistoryArgs),
    Report(report::ReportArgs),
    Backtest(backtest::BacktestArgs),
    Dead(dead::DeadArgs),
    Status(status::StatusArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Reload(reload::ReloadArgs),
    Notify(notify::NotifyArgs),
    Backup(backup::BackupArgs),
    Doctor(doctor::DoctorArgs),
    SelfTest(self_test::SelfTestArgs),
    Schema(schema::SchemaArgs),
    Completions(reference::CompletionsArgs),
    Man(reference::ManArgs),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine,
    /// 1: a check, a test or an expectation failed.
    Findings,
    /// 2: wrong usage.
    Usage,
    /// 3: a server could not be reached, or refused.
    Unreached,
    /// 78: the daemon cannot start with this configuration.
    Config,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Unreached => 3,
            Self::Config => 78,
        }
    }
}

/// A command that cannot go on, with the exit code it ends with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is wrong and what to do.
    pub error: anyhow::Error,
}

impl Failure {
    /// Makes one.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

/// Runs the command; the text of a failure goes to standard error.
#[must_use]
pub fn main(args: Args) -> Exit {
    let Args { common, command } = args;
    if matches!(common.format, Format::Sarif | Format::Github)
        && !matches!(command, Command::Check(_))
    {
        screen::say("error: --format sarif and github are for `check`; use human or json");
        return Exit::Usage;
    }
    let log_format = match &command {
        Command::Run(args) => args.log_format,
        _ => log::LogFormat::Human,
    };
    log::start(&common, log_format);
    let result = match command {
        Command::Run(args) => run::run(&common, &args),
        Command::Demo(args) => demo::run(&common, &args),
        Command::Check(args) => check::run(&common, &args),
        Command::Test(args) => test::run(&common, &args),
        Command::Plan(args) => plan::run(&common, &args),
        Command::Explain(args) => explain::run(&common, &args),
        Command::Match(args) => match_::run(&common, &args),
        Command::Audit(args) => audit::run(&common, &args),
        Command::History(args) => history::run(&common, &args),
        Command::Report(args) => report::run(&common, &args),
        Command::Backtest(args) => backtest::run(&common, &args),
        Command::Dead(args) => dead::run(&common, &args),
        Command::Status(args) => status::run(&common, &args),
        Command::Pause(args) => pause::pause(&common, &args),
        Command::Resume(args) => pause::resume(&common, &args),
        Command::Reload(args) => reload::run(&common, &args),
        Command::Notify(args) => notify::run(&common, &args),
        Command::Backup(args) => backup::run(&common, &args),
        Command::Doctor(args) => doctor::run(&common, &args),
        Command::SelfTest(args) => self_test::run(&common, &args),
        Command::Schema(args) => Ok(schema::run(&args)),
        Command::Completions(args) => Ok(reference::completions(&args)),
        Command::Man(args) => reference::man(&args),
    };
    result.unwrap_or_else(|failure| {
        screen::say(&format!("error: {:#}", failure.error));
        failure.exit
    })
}

/// A runtime for the commands that talk to servers, which works on the thread that waits for it.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Config, error))
}
