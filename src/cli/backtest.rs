//! `backtest`: what other rules would have done with what was seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::past::{self, Period, config};
use super::{Common, Exit, Failure, Format, live, paths, screen};
use crate::engine::audit::{AuditRow, IntentId, Trouble};
use crate::engine::observe::{After, Look};
use crate::engine::replay::{Deed, Difference, Replay, Settings, WHOLE_EVERY, differences};
use crate::engine::rule::Mode;
use crate::engine::task::{RuleName, ServerName, TaskId};
use crate::engine::text::{plural, printable};
use crate::rules::Config;
use crate::store::{AuditFilter, LookFilter, Reader};

/// What other rules would have done, held against what was done
///
/// The rules decide over the history that the daemon has written down, as `run` would have. Nothing
/// is sent and nothing is changed.
#[derive(Debug, clap::Args)]
pub struct BacktestArgs {
    /// The rules file to try
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// Compare with what these rules would have done, not with what was really done
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    #[command(flatten)]
    period: Period,
    /// Only this server
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
}

/// The wait between looks and the longest call at a server that the tried rules do not name.
const POLL: SignedDuration = SignedDuration::from_secs(15);
const TIMEOUT: SignedDuration = SignedDuration::from_mins(1);

/// What came of folding rules over history.
struct Folded {
    deeds: Vec<Deed>,
    uncertain: usize,
    looks: usize,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

pub(super) fn run(common: &Common, args: &BacktestArgs) -> Result<Exit, Failure> {
    let period = args.period.moments()?;
    let new = load(common, &args.rules)?;
    let old = args.against.as_deref().map(|path| load(common, path)).transpose()?;
    compare(common, &new, old.as_ref(), period, args.server.as_deref())?;
    Ok(Exit::Fine)
}

/// Shows what `new` would have done in a time, held against `old` or what was done.
pub(super) fn compare(
    common: &Common,
    new: &Config,
    old: Option<&Config>,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    only: Option<&str>,
) -> Result<(), Failure> {
    let reader = past::reader(common)?;
    let mut servers = reader.seen_servers().map_err(config)?;
    if servers.is_empty() {
        return Err(config(anyhow!(
            "nothing was recorded yet: let `run` look at the servers first"
        )));
    }
    if let Some(only) = only {
        servers.retain(|server| server.as_str() == only);
        if servers.is_empty() {
            let error = anyhow!("nothing was ever seen of a server `{only}`");
            return Err(Failure::new(Exit::Usage, error));
        }
    }
    let troubles = reader.troubles().map_err(config)?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let (mut uncertain, mut asked) = (0, 0);
    for server in servers {
        let filter = AuditFilter { server: Some(server.clone()), until, ..AuditFilter::default() };
        let rows = reader.audit(&filter).map_err(config)?;
        let within = |row: &&AuditRow| since.is_none_or(|since| row.time >= since);
        asked += rows
            .iter()
            .filter(within)
            .filter(|row| matches!(row.action.as_str(), "pause" | "resume" | "redrive" | "drop"))
            .count();
        let fold = |config: &Config| {
            let settings = settings(config, &server, since, troubles.clone());
            fold(&reader, config, settings, &rows, until)
        };
        let tried = fold(new)?;
        note(common, &server, &tried, since);
        uncertain += tried.uncertain;
        match old {
            None => before.extend(rows.iter().filter(within).filter_map(Deed::of)),
            Some(old) => {
                let folded = fold(old)?;
                uncertain += folded.uncertain;
                before.extend(folded.deeds);
            }
        }
        after.extend(tried.deeds);
    }
    let (equal, differences) = differences(&before, &after);
    if common.format == Format::Json {
        for difference in &differences {
            screen::print(&serde_json::to_string(difference).unwrap_or_default());
        }
        let count = |change: &str| count(&differences, None, change);
        let total = json!({
            "change": "total", "same": equal, "added": count("+"), "removed": count("-"),
            "moved": count("~"), "uncertain_tasks": uncertain,
        });
        screen::print(&total.to_string());
    } else {
        screen::print(human(&before, &after, equal, &differences).trim_end());
    }
    if uncertain > 0 {
        screen::say(&format!(
            "warning: of {} history cannot tell what would have become, since other things were \
             done to them then; what is done to them after that is marked with `?`",
            plural(uncertain, "task", "tasks")
        ));
    }
    if asked > 0 {
        screen::say(&format!(
            "warning: {} (pause, resume, redrive, drop) in this time are left out of it",
            plural(asked, "thing that a person asked for", "things that people asked for")
        ));
    }
    Ok(())
}

/// The rules of a file.
pub(super) fn load(common: &Common, path: &std::path::Path) -> Result<Config, Failure> {
    let common = Common { config: Some(path.to_owned()), ..common.clone() };
    Ok(paths::load_rules(&common)?.1)
}

fn settings(
    config: &Config,
    server: &ServerName,
    since: Option<Timestamp>,
    troubles: BTreeMap<IntentId, Trouble>,
) -> Settings {
    let known = config.servers.iter().find(|one| one.name == *server);
    let length = |of: fn(&crate::rules::ServerConfig) -> std::time::Duration, default| {
        known.and_then(|one| SignedDuration::try_from(of(one)).ok()).unwrap_or(default)
    };
    let timeout = length(|one| one.timeout, TIMEOUT);
    Settings {
        server: server.clone(),
        seed: live::SEED,
        poll: length(|one| one.poll, POLL),
        settles: timeout + timeout + SignedDuration::from_secs(5),
        from: since.unwrap_or(Timestamp::MIN),
        whole_every: WHOLE_EVERY,
        troubles,
    }
}

/// Has rules decide over what was recorded of a server.
fn fold(
    reader: &Reader,
    rules: &Config,
    settings: Settings,
    rows: &[AuditRow],
    until: Option<Timestamp>,
) -> Result<Folded, Failure> {
    let filter =
        LookFilter { server: Some(settings.server.clone()), until, ..LookFilter::default() };
    let from = settings.from;
    let mut replay = Replay::new(&rules.rules, settings);
    let (mut looks, mut first, mut last) = (0, None, None);
    let mut rest = rows;
    let mut held: Option<Look> = None;
    let mut feed = |replay: &mut Replay<'_>, look: Look, next: Option<&Look>| {
        let end = rest.partition_point(|row| next.is_none_or(|next| row.time < next.time));
        let (here, later) = rest.split_at(end);
        rest = later;
        let here = &here[here.partition_point(|row| row.time < look.time)..];
        replay.look(look, here, next.is_some_and(|next| next.after == After::Start));
    };
    let each = |look: Look| {
        if look.time >= from {
            looks += 1;
            first.get_or_insert(look.time);
            last = Some(look.time);
        }
        if let Some(before) = held.take() {
            feed(&mut replay, before, Some(&look));
        }
        held = Some(look);
        ControlFlow::Continue(())
    };
    reader.looks_each(&filter, each).map_err(config)?;
    if let Some(look) = held {
        feed(&mut replay, look, None);
    }
    let uncertain = replay.uncertain();
    Ok(Folded { deeds: replay.deeds, uncertain, looks, first, last })
}

/// Says what the comparison stands on.
fn note(common: &Common, server: &ServerName, folded: &Folded, since: Option<Timestamp>) {
    if common.quiet {
        return;
    }
    let (Some(first), Some(last)) = (folded.first, folded.last) else {
        let server = printable(server.as_str());
        screen::say(&format!("{server}: nothing was recorded in this time"));
        return;
    };
    let begins = since.filter(|since| *since > first).unwrap_or(first);
    screen::say(&format!(
        "{}: {} to {}, {}",
        printable(server.as_str()),
        screen::local_time(begins),
        screen::local_time(last),
        plural(
            folded.looks,
            "look that showed or did something",
            "looks that showed or did something"
        ),
    ));
}

fn sign(difference: &Difference) -> &'static str {
    match difference {
        Difference::Added { .. } => "+",
        Difference::Removed { .. } => "-",
        Difference::Moved { .. } => "~",
    }
}

fn count(differences: &[Difference], rule: Option<&RuleName>, change: &str) -> usize {
    let differences = differences.iter().filter(|one| sign(one) == change);
    differences.filter(|one| rule.is_none_or(|rule| one.deed().rule == *rule)).count()
}

fn human(before: &[Deed], after: &[Deed], equal: usize, differences: &[Difference]) -> String {
    let mut text = String::new();
    for difference in differences {
        let deed = difference.deed();
        let _ = write!(
            text,
            "{} {}  {}  {:<15} {}",
            sign(difference),
            screen::local_time(deed.time),
            printable(deed.server.as_str()),
            deed.action,
            printable(deed.kind.as_str()),
        );
        if let Some(id) = &deed.task_id {
            let _ = write!(text, " {}", printable(TaskId::as_str(id)));
        }
        let _ = write!(text, "  rule `{}`", printable(deed.rule.as_str()));
        if let Some(attempt) = deed.attempt.filter(|attempt| *attempt > 0) {
            let _ = write!(text, ", attempt {attempt}");
        }
        if deed.mode == Mode::DryRun {
            text.push_str(" (dry run)");
        }
        if let Difference::Moved { was, .. } = difference {
            let _ = write!(text, "; was at {}", screen::local_time(*was));
        }
        text.push_str(if deed.uncertain { " ?\n" } else { "\n" });
    }
    let mut rules: BTreeMap<&RuleName, (usize, usize)> = BTreeMap::new();
    for deed in before {
        rules.entry(&deed.rule).or_default().0 += 1;
    }
    for deed in after {
        rules.entry(&deed.rule).or_default().1 += 1;
    }
    if !differences.is_empty() {
        text.push('\n');
    }
    let line = |name: &str, before: usize, after: usize, rule: Option<&RuleName>| {
        let count = |change| count(differences, rule, change);
        format!(
            "{name}: {before} before, {after} now ({} added, {} removed, {} moved)\n",
            count("+"),
            count("-"),
            count("~")
        )
    };
    for (rule, (before, after)) in rules {
        let name = format!("rule `{}`", printable(rule.as_str()));
        text.push_str(&line(&name, before, after, Some(rule)));
    }
    text.push_str(&line("in all", before.len(), after.len(), None));
    if differences.is_empty() {
        let _ = write!(text, "no difference in {}", plural(equal, "action", "actions"));
    }
    text
}
