//! `test`: rules proved on a virtual timeline.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use regex::Regex;
use serde::Serialize;

use super::{Common, Exit, Failure, Format, explain, findings, live, paths, screen};
use crate::engine::explained::{Explained, of_trace};
use crate::engine::predicate::format_duration;
use crate::engine::rule::RuleSet;
use crate::engine::text::{plural, printable};
use crate::rules::cases::{self, Case, Coverage, Outcome, What, prove};
use crate::rules::{Config, Loaded, Source};

/// Run rule tests: tasks on a virtual timeline, and what the rules are to do about them
///
/// A test file stands beside its rules file: `rules.test.yaml` beside `rules.yaml`. No server is
/// needed, and no time passes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  taskwarden test rules.test.yaml
  taskwarden test rules.test.yaml --run throttled --coverage
  taskwarden test tests/*.test.yaml --junit report.xml")]
pub struct TestArgs {
    /// The test files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only the tests in whose name this is found
    #[arg(long, value_name = "REGEX")]
    run: Option<Regex>,
    /// Write a report in JUnit's form
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Say which rules never had a task, and which matchers were never true or never false
    #[arg(long)]
    coverage: bool,
}

/// A test as `--format json` shows it.
#[allow(clippy::struct_field_names, reason = "the names are those of the JSON")]
#[derive(Debug, Serialize)]
struct Line<'a> {
    file: &'a str,
    line: usize,
    test: &'a str,
    passed: bool,
    failures: Vec<FailureLine<'a>>,
}

#[derive(Debug, Serialize)]
struct FailureLine<'a> {
    line: usize,
    expected: &'a str,
    got: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<Explained>,
}

/// A test that was run.
struct Ran {
    file: String,
    case: Case,
    outcome: Outcome,
    /// What is shown of a failure.
    report: String,
}

pub(super) fn run(common: &Common, args: &TestArgs) -> Result<Exit, Failure> {
    let mut rules_read: BTreeMap<PathBuf, (Config, Coverage)> = BTreeMap::new();
    let mut ran: Vec<Ran> = Vec::new();
    let mut broken: Vec<(String, String)> = Vec::new();
    for file in &args.files {
        let shown = file.display().to_string();
        let text = match paths::read_test(file) {
            Ok(text) => text,
            Err(error) => {
                screen::say(&format!("error: {error:#}"));
                broken.push((shown, format!("{error:#}")));
                continue;
            }
        };
        let rules_path = rules_path(common, file, &text);
        if !rules_read.contains_key(&rules_path) {
            let rules = paths::read_rules(&rules_path).map_err(|failure| Failure {
                exit: Exit::Usage,
                error: failure.error.context(format!("{shown}: its rules")),
            })?;
            let loaded = rules.load();
            let Some(config) = loaded.config.clone() else {
                say_findings(common, &loaded);
                broken.push((shown, format!("its rules `{}` have errors", rules_path.display())));
                continue;
            };
            let coverage = Coverage::new(&config.rules);
            rules_read.insert(rules_path.clone(), (config, coverage));
        }
        let Some((config, coverage)) = rules_read.get_mut(&rules_path) else { continue };
        let loaded = cases::load(Source::new(&shown, &text), config);
        say_findings(common, &loaded.loaded);
        let Some(cases) = loaded.cases else {
            broken.push((shown, "the test file has errors".to_owned()));
            continue;
        };
        let wanted = |case: &Case| args.run.as_ref().is_none_or(|run| run.is_match(&case.name));
        for case in cases.into_iter().filter(wanted) {
            let coverage = args.coverage.then_some(&mut *coverage);
            let outcome = prove(&case, &config.rules, live::SEED, coverage);
            let report = report(&config.rules, &shown, &case, &outcome);
            show(common, &config.rules, &shown, &case, &outcome, &report);
            ran.push(Ran { file: shown.clone(), case, outcome, report });
        }
    }
    if let Some(path) = &args.junit {
        fs::write(path, junit(&ran, &broken))
            .with_context(|| format!("the report `{}` cannot be written", path.display()))
            .map_err(|error| Failure::new(Exit::Usage, error))?;
    }
    if args.coverage {
        for (path, (_, coverage)) in &rules_read {
            show_coverage(common, path, coverage);
        }
    }
    let failed = ran.iter().filter(|ran| !ran.outcome.failures.is_empty()).count();
    if common.format == Format::Json {
        for (file, error) in &broken {
            screen::print(&serde_json::json!({ "file": file, "error": error }).to_string());
        }
    }
    if ran.is_empty() && broken.is_empty() {
        let error = match &args.run {
            Some(run) => anyhow!("no test has a name in which `{run}` is found"),
            None => anyhow!("there are no tests"),
        };
        return Err(Failure::new(Exit::Usage, error));
    }
    if !common.quiet {
        let passed = ran.len() - failed;
        let broken = match broken.len() {
            0 => String::new(),
            count => format!(", {} not run", plural(count, "file", "files")),
        };
        screen::say(&format!("{passed} passed, {failed} failed{broken}"));
    }
    Ok(if failed > 0 || !broken.is_empty() { Exit::Findings } else { Exit::Fine })
}

fn say_findings(common: &Common, loaded: &Loaded) {
    let quiet = common.quiet
        && loaded
            .findings
            .iter()
            .all(|finding| finding.severity == crate::rules::Severity::Warning);
    if !loaded.findings.is_empty() && !quiet {
        screen::say(&findings::human(loaded, screen::colored(common)));
    }
}

/// The rules file of a test file: `--config`, the one it names, or the one beside it.
fn rules_path(common: &Common, file: &Path, text: &str) -> PathBuf {
    if let Some(config) = &common.config {
        return config.clone();
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    if let Some(named) = cases::rules_of(text) {
        return folder.join(named);
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let beside = [".test.yaml", ".test.yml"].iter().find_map(|end| {
        let stem = name.strip_suffix(end)?;
        Some(format!("{stem}.{}", end.rsplit('.').next()?))
    });
    folder.join(beside.unwrap_or_else(|| "rules.yaml".to_owned()))
}

fn show(
    common: &Common,
    rules: &RuleSet,
    file: &str,
    case: &Case,
    outcome: &Outcome,
    report: &str,
) {
    let passed = outcome.failures.is_empty();
    if common.format == Format::Json {
        let failures = outcome.failures.iter().map(|failure| FailureLine {
            line: failure.line,
            expected: &failure.expected,
            got: &failure.got,
            explained: failure
                .seen
                .clone()
                .map(|seen| of_trace(rules, &case.scenario.server, seen.trace)),
        });
        let line =
            Line { file, line: case.line, test: &case.name, passed, failures: failures.collect() };
        screen::print(&serde_json::to_string(&line).unwrap_or_default());
        return;
    }
    let name = printable(&case.name);
    if passed {
        if !common.quiet {
            screen::print(&format!("ok    {name}"));
        }
    } else {
        screen::print(&format!("FAIL  {name}\n{report}"));
    }
}

/// What is wrong with a test that failed, for people; empty for one that passed.
fn report(rules: &RuleSet, file: &str, case: &Case, outcome: &Outcome) -> String {
    /// Happenings that are shown before the rest is only counted.
    const SHOWN: usize = 40;
    let mut out = String::new();
    for failure in &outcome.failures {
        let _ = writeln!(out, "  {file}:{}", failure.line);
        if failure.expected.is_empty() {
            let _ = writeln!(out, "  nothing else was to happen:");
        } else {
            let _ = writeln!(out, "  - {}", failure.expected);
        }
        for got in &failure.got {
            let _ = writeln!(out, "  + {}", printable(got));
        }
        if let Some(seen) = &failure.seen {
            let server = &case.scenario.server;
            let owner = seen.trace.owner().map(|owner| owner.name.clone());
            let task = of_trace(rules, server, seen.trace.clone());
            let at = format_duration(seen.at);
            // The rule that is asked about, and the one that decided.
            let mut names: Vec<_> = failure.rule.iter().chain(&owner).collect();
            names.dedup();
            let _ = if names.is_empty() {
                writeln!(out, "  no rule wants it at {at}:")
            } else {
                writeln!(out, "  how it was decided, at {at}:")
            };
            let all: Vec<_> = rules.rules.iter().map(|rule| &rule.name).collect();
            for name in if names.is_empty() { all } else { names } {
                for line in explain::rule_human(&task, name, seen.tick.now).lines() {
                    let _ = writeln!(out, "    {line}");
                }
            }
        }
    }
    if !outcome.failures.is_empty() {
        let _ = writeln!(out, "  what happened:");
        for happening in outcome.happened.iter().take(SHOWN) {
            let mark = if matches!(happening.what, What::Became(..)) { ' ' } else { '>' };
            let at = format_duration(happening.at);
            let _ = writeln!(out, "    {at:>10} {mark} {happening}");
        }
        if outcome.happened.len() > SHOWN {
            let _ = writeln!(out, "    and {} more", outcome.happened.len() - SHOWN);
        }
    }
    out
}

#[derive(Debug, Serialize)]
struct CoverageLine<'a> {
    rules: String,
    rule: &'a str,
    took: bool,
    acted: bool,
    never_true: Vec<String>,
    never_false: Vec<String>,
}

fn show_coverage(common: &Common, path: &Path, coverage: &Coverage) {
    let mut text = String::new();
    let total = coverage.rules.len();
    let took = coverage.rules.iter().filter(|rule| rule.took).count();
    let predicates = || coverage.rules.iter().flat_map(|rule| &rule.predicates);
    let both = predicates().filter(|one| one.ever_true && one.ever_false).count();
    let _ = writeln!(
        text,
        "coverage of {}: {took} of {total} rules had a task; {both} of {} matchers were seen both \
         true and false",
        path.display(),
        predicates().count()
    );
    for rule in &coverage.rules {
        let never = |wanted: fn(&cases::PredicateCoverage) -> bool| -> Vec<String> {
            let found = rule.predicates.iter().filter(|one| !wanted(one));
            found.map(|one| format!("{} {}", one.path, one.expected)).collect()
        };
        let line = CoverageLine {
            rules: path.display().to_string(),
            rule: rule.name.as_str(),
            took: rule.took,
            acted: rule.acted,
            never_true: never(|one| one.ever_true),
            never_false: never(|one| one.ever_false),
        };
        if common.format == Format::Json {
            screen::print(&serde_json::to_string(&line).unwrap_or_default());
            continue;
        }
        let whole = line.acted && line.never_true.is_empty() && line.never_false.is_empty();
        if whole {
            continue;
        }
        let state = match (line.took, line.acted) {
            (false, _) => ": never had a task",
            (true, false) => ": never acted",
            _ => "",
        };
        let _ = writeln!(text, "  {}{state}", printable(line.rule));
        for (word, list) in [("true", &line.never_true), ("false", &line.never_false)] {
            for one in list {
                let _ = writeln!(text, "    never {word}: {}", printable(one));
            }
        }
    }
    if common.format != Format::Json {
        screen::print(text.trim_end());
    }
}

/// The report in the form that continuous integration reads.
fn junit(ran: &[Ran], broken: &[(String, String)]) -> String {
    let mut files: Vec<&str> = ran.iter().map(|ran| ran.file.as_str()).collect();
    files.dedup();
    let failed = |ran: &&Ran| !ran.outcome.failures.is_empty();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = ran.iter().filter(failed).count();
    let _ = writeln!(
        out,
        "<testsuites tests=\"{}\" failures=\"{failures}\" errors=\"{}\">",
        ran.len() + broken.len(),
        broken.len()
    );
    for (file, why) in broken {
        let (name, why) = (escaped(file), escaped(why));
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"1\" failures=\"0\" errors=\"1\">\n    \
             <testcase classname=\"{name}\" name=\"the file\" file=\"{name}\">\n      \
             <error message=\"{why}\"/>\n    </testcase>\n  </testsuite>"
        );
    }
    for file in files {
        let suite: Vec<&Ran> = ran.iter().filter(|ran| ran.file == file).collect();
        let failures = suite.iter().copied().filter(failed).count();
        let name = escaped(file);
        let tests = suite.len();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">"
        );
        for ran in suite {
            let test = escaped(&ran.case.name);
            let line = ran.case.line;
            let _ = write!(
                out,
                "    <testcase classname=\"{name}\" name=\"{test}\" file=\"{name}\" line=\"{line}\""
            );
            let Some(first) = ran.outcome.failures.first() else {
                out.push_str("/>\n");
                continue;
            };
            let message = match first.expected.as_str() {
                "" => "something happened that no expectation speaks of".to_owned(),
                expected => format!("expected: {expected}"),
            };
            let _ = writeln!(
                out,
                ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                escaped(&message),
                escaped(&ran.report)
            );
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text as XML takes it; what XML has no form for is dropped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(char),
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => {}
            char => out.push(char),
        }
    }
    out
}
