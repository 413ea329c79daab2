//! `match`: which rule takes which of many described tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::described::{FIELDS, describe, server_of};
use super::explain::{self, described, summarized};
use super::{Common, Exit, Failure, Format, paths, screen};
use crate::ambient::Clock;
use crate::engine::class::{Class, Retry};
use crate::engine::explained::{Explained, RuleExplained};
use crate::engine::task::{Kind, RuleName, ServerName};
use crate::engine::text::{plural, printable, shorten};
use crate::rules::{Config, nearest, slip_of};

/// Say which rule takes which of many tasks; a line each
///
/// A line is an error's text, or a JSON object with what is known of a task: `id`, `kind`, `state`,
/// `error`, `name` and the other fields of `explain` or of the API. A saved answer of the API's
/// `undone` or `done` will do too. Each is looked at as if it were alone on its server. With
/// `--format json` each line that is not blank is answered by the object of `explain` with its
/// number as `line`; one that is no task says why as `problem`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  grep -h ERROR *.log | taskwarden match - --kind copy
  curl -H \"Authorization: $TOKEN\" $URL/api/task/copy/done | taskwarden match - --kind copy
  taskwarden match errors.jsonl --format json | jq -r 'select(.verdict == \"no_match\") | .error'")]
pub struct MatchArgs {
    /// The lines; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The kind of the tasks that do not tell theirs
    #[arg(long, value_name = "KIND", default_value = "copy")]
    kind: String,
    /// The state of the tasks that do not tell theirs
    #[arg(long, value_name = "STATE", default_value = "failed")]
    state: String,
    /// The product of their server: `alist` or `openlist`
    #[arg(long, value_name = "PRODUCT")]
    flavour: Option<String>,
    /// The server they are on [default: the first of the rules file]
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Print the whole explanation of each for people too, as `explain` does
    #[arg(long)]
    explain: bool,
    /// The moment to look at them [default: now]
    #[arg(long, value_name = "MOMENT")]
    now: Option<Timestamp>,
}

/// The answer to one line.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    line: usize,
    #[serde(flatten)]
    task: &'a Explained,
}

/// The answer to a line that is no task: what a script asks of every answer is there, and empty.
#[derive(Debug, Default, Serialize)]
struct NoTask {
    line: usize,
    problem: String,
    verdict: Option<&'static str>,
    rule: Option<RuleName>,
    class: Option<Class>,
    retry_sensible: Option<Retry>,
    next_at: Option<Timestamp>,
    rules: Vec<RuleExplained>,
}

/// A line, or an item of a list: its number from 1, and what it says.
type Item = (usize, Result<Map<String, Value>, String>);

pub(super) fn run(common: &Common, args: &MatchArgs) -> Result<Exit, Failure> {
    let (_, config) = paths::load_rules(common)?;
    let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
    let text = read(&args.file).map_err(usage)?;
    let defaults = Defaults {
        kind: Kind::from(args.kind.as_str()),
        state: args.state.clone(),
        flavour: args.flavour.clone(),
        server: server_of(&config, args.server.as_deref())?,
    };
    // A wrong default is said once, and not on each line.
    defaults.task(Map::new()).map_err(|why| usage(anyhow!("--{why}")))?;
    if let Some(stranger) = strange_kind(&config, &defaults.kind) {
        return Err(usage(anyhow!("--kind: {stranger}")));
    }
    let now = args.now.unwrap_or_else(|| Clock::system().now());
    let desk = Desk { common, args, config: &config, defaults, now };
    let items = items(&text);
    let total = items.len();
    let mut sums = Sums::default();
    desk.answer(items, |answers| {
        for answers in answers {
            screen::print_lines(&answers.text);
            sums.add(answers.sums);
        }
    });
    let Sums { counts, bad, unread, strangers } = sums;
    if !common.quiet {
        if !unread.is_empty() {
            let unread: Vec<String> = unread.into_iter().collect();
            let unread = shorten(&unread.join(", "), 200).into_owned();
            screen::say(&format!(
                "note: these fields say nothing to a rule: {}",
                printable(&unread)
            ));
        }
        for stranger in strangers {
            screen::say(&format!("note: {}", printable(&stranger)));
        }
        screen::say(&plural(total, "task", "tasks"));
        for (rule, count) in &counts {
            let rule = rule.as_deref().map_or("no rule".into(), printable);
            screen::say(&format!("{count:>7}  {rule}"));
        }
        if bad > 0 {
            screen::say(&format!("{bad:>7}  could not be read"));
        }
    }
    Ok(if bad > 0 { Exit::Findings } else { Exit::Fine })
}

/// What every line is looked at with.
struct Desk<'a> {
    common: &'a Common,
    args: &'a MatchArgs,
    config: &'a Config,
    defaults: Defaults,
    now: Timestamp,
}

/// What is told of all lines in the end.
#[derive(Default)]
struct Sums {
    counts: BTreeMap<Option<String>, usize>,
    bad: usize,
    unread: BTreeSet<String>,
    strangers: BTreeSet<String>,
}

impl Sums {
    fn add(&mut self, other: Self) {
        for (rule, count) in other.counts {
            *self.counts.entry(rule).or_default() += count;
        }
        self.bad += other.bad;
        self.unread.extend(other.unread);
        self.strangers.extend(other.strangers);
    }
}

/// The answers to some lines, as they are printed.
#[derive(Default)]
struct Answers {
    text: Vec<u8>,
    sums: Sums,
}

/// So many lines are looked at in one go: enough to be worth a thread, and few enough that a reader
/// need not wait.
const AT_ONCE: usize = 64;

impl Desk<'_> {
    /// Answers all lines, on as many threads as there are processors; `take` gets the answers in order.
    fn answer(&self, items: Vec<Item>, mut take: impl FnMut(Vec<Answers>)) {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let parts = (0..threads).map(|_| items.by_ref().take(AT_ONCE).collect::<Vec<_>>());
            let mut parts = parts.filter(|part| !part.is_empty());
            let Some(own) = parts.next() else { break };
            take(std::thread::scope(|scope| {
                let others: Vec<_> =
                    parts.map(|part| scope.spawn(|| self.answer_to(part))).collect();
                let own = self.answer_to(own);
                let others = others.into_iter().map(|other| match other.join() {
                    Ok(answers) => answers,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                std::iter::once(own).chain(others).collect()
            }));
        }
    }

    fn answer_to(&self, items: Vec<Item>) -> Answers {
        let mut answers = Answers::default();
        for (line, item) in items {
            self.look(line, item, &mut answers);
        }
        answers
    }

    fn look(&self, line: usize, item: Result<Map<String, Value>, String>, answers: &mut Answers) {
        let Answers { text, sums } = answers;
        let task = item.and_then(|fields| {
            let unknown = fields.keys().filter(|key| !FIELDS.contains(&key.as_str()));
            for key in unknown {
                if let Some(known) = meant(key).filter(|known| !fields.contains_key(*known)) {
                    return Err(format!("a task has no field `{key}`; did you mean `{known}`?"));
                }
                sums.unread.insert(key.clone());
            }
            self.defaults.task(fields)
        });
        if let Ok(task) = &task {
            sums.strangers.extend(strange_kind(self.config, &task.kind));
            sums.strangers.extend(strange_server(self.config, &task.server));
        }
        // People see no more of each than what comes of it, unless they ask.
        let whole = self.common.format == Format::Json || self.args.explain;
        let look = if whole { described } else { summarized };
        let explained =
            task.and_then(|task| look(&self.config.rules, &task, self.now).ok_or(String::new()));
        match explained {
            Ok(explained) => {
                let rule = explained.rule.as_ref().map(RuleName::to_string);
                *sums.counts.entry(rule).or_insert(0_usize) += 1;
                self.show(line, &explained, text);
            }
            Err(problem) => {
                sums.bad += 1;
                if self.common.format == Format::Json {
                    let problem = NoTask { line, problem, ..NoTask::default() };
                    let _ = serde_json::to_writer(&mut *text, &problem);
                } else {
                    let _ = write!(text, "{line:>5}  problem: {}", printable(&problem));
                }
            }
        }
        text.push(b'\n');
    }

    fn show(&self, line: usize, task: &Explained, text: &mut Vec<u8>) {
        if self.common.format == Format::Json {
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(text, &Answer { line, task });
            return;
        }
        if self.args.explain {
            let _ = write!(text, "{line}: {}", explain::human(task, None, self.now));
            return;
        }
        let rule = task.rule.as_ref().map_or("-", RuleName::as_str);
        let class = task.class.as_ref().map_or("-", Class::as_str);
        let shown = if task.error.is_empty() { &task.name } else { &task.error };
        let _ = write!(
            text,
            "{line:>5}  {:<8}  {class:<12}  {:<30}  {}",
            task.verdict,
            shorten(&printable(rule), 30),
            printable(&shorten(shown, 100)),
        );
    }
}

/// What to say of a kind that neither this program nor the rules file knows.
fn strange_kind(config: &Config, kind: &Kind) -> Option<String> {
    let own = || config.servers.iter().flat_map(|server| &server.kinds);
    if !matches!(kind, Kind::Other(_)) || own().any(|known| known == kind) {
        return None;
    }
    let known = Kind::KNOWN.iter().chain(own()).map(Kind::as_str);
    let meant = nearest(kind.as_str(), known);
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Some(format!("no kind of tasks is called `{}`{meant}", shorten(kind.as_str(), 60)))
}

/// What to say of a server that the rules file does not have.
fn strange_server(config: &Config, server: &ServerName) -> Option<String> {
    let known = || config.servers.iter().map(|known| known.name.as_str());
    if config.servers.is_empty() || known().any(|known| known == server.as_str()) {
        return None;
    }
    let meant = nearest(server.as_str(), known());
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Some(format!("the rules file names no server `{}`{meant}", shorten(server.as_str(), 60)))
}

fn read(file: &PathBuf) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut bytes).context("standard input cannot be read")?;
    } else {
        bytes = fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    }
    Ok(String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').to_owned())
}

/// What holds for tasks that do not say otherwise.
struct Defaults {
    kind: Kind,
    state: String,
    flavour: Option<String>,
    server: ServerName,
}

impl Defaults {
    fn task(
        &self,
        mut fields: Map<String, Value>,
    ) -> Result<crate::engine::described::Described, String> {
        if fields.get("state").is_none_or(|state| state.is_null() || *state == "") {
            fields.insert("state".to_owned(), Value::from(self.state.clone()));
        }
        if let Some(flavour) = &self.flavour
            && fields.get("flavour").is_none_or(Value::is_null)
        {
            fields.insert("flavour".to_owned(), Value::from(flavour.clone()));
        }
        describe(&fields, &self.server, Some(&self.kind))
    }
}

/// The tasks of a text: of one JSON value that holds a list, or of its lines.
fn items(text: &str) -> Vec<Item> {
    let one = text.trim().lines().count() == 1;
    if text.trim_start().starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        // An object that is written over several lines is one task.
        if let (false, Value::Object(fields)) = (one, &value)
            && !matches!(fields.get("data"), Some(Value::Array(_) | Value::Null))
        {
            return vec![(1, item(text))];
        }
        let list = match value {
            Value::Array(list) => Some(list),
            Value::Object(mut answer) => match answer.remove("data") {
                Some(Value::Array(list)) => Some(list),
                // The API's empty list.
                Some(Value::Null) if answer.contains_key("code") => Some(Vec::new()),
                _ => None,
            },
            _ => None,
        };
        if let Some(list) = list {
            let read = |item| match item {
                Value::Object(fields) => Ok(fields),
                Value::String(error) => Ok(error_only(&error)),
                other => Err(format!("a task is a JSON object, not {other}")),
            };
            return list.into_iter().map(read).zip(1..).map(|(item, at)| (at, item)).collect();
        }
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .flat_map(|(line, at)| match answer(line) {
            Some(tasks) => tasks.into_iter().map(|task| (at, Ok(task))).collect(),
            None => vec![(at, item(line))],
        })
        .collect()
}

/// The tasks of a line that is an answer of the API, as when several are put into one file.
fn answer(line: &str) -> Option<Vec<Map<String, Value>>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        code: i64,
        data: Vec<Map<String, Value>>,
    }
    let line = line.trim();
    let Answer { code, data } =
        line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
    // The errors of drives have such a form too.
    (code == 200 && data.iter().all(|task| task.contains_key("id"))).then_some(data)
}

fn item(line: &str) -> Result<Map<String, Value>, String> {
    if !line.trim_start().starts_with('{') {
        return Ok(error_only(line.trim_end()));
    }
    match serde_json::from_str(line) {
        Ok(Value::Object(fields))
            if fields.is_empty() || fields.keys().any(|key| FIELDS.contains(&key.as_str())) =>
        {
            Ok(fields)
        }
        Ok(Value::Object(fields))
            if fields.len() == 1 && fields.keys().any(|key| meant(key).is_some()) =>
        {
            Ok(fields)
        }
        // Errors hold the answers of drives, which are JSON too.
        Ok(_) => Ok(error_only(line.trim())),
        Err(error) => Err(format!(
            "begins like a JSON object and is none: {error}; give an error's text as \
             {{\"error\": \"...\"}}"
        )),
    }
}

/// The field that a mistyped one was to be.
fn meant(key: &str) -> Option<&'static str> {
    /// Other fields of an audit row and of our own answers, which are no slips.
    const OTHERS: &[&str] = &[
        "time",
        "rule",
        "rules",
        "action",
        "attempt",
        "reason",
        "class",
        "mode",
        "outcome",
        "detail",
        "rules_revision",
        "line",
        "verdict",
        "retry_sensible",
        "next_at",
        "problem",
    ];
    let known = FIELDS.contains(&key) || OTHERS.contains(&key);
    if known { None } else { slip_of(key, FIELDS.iter().copied()) }
}

fn error_only(text: &str) -> Map<String, Value> {
    Map::from_iter([("error".to_owned(), Value::from(text))])
}
