//! Test files: rules proved on tasks that are not there.
//!
//! A file names tasks, what becomes of them on a virtual timeline, and what is to happen. Its
//! mistakes are findings like those of a rules file.

mod prove;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

pub use prove::{
    Coverage, Failure, Happening, Outcome, PredicateCoverage, RuleCoverage, What, prove,
};

use super::codes::Code;
use super::finding::{self, Span};
use super::keys::{Form, Key, Words, key};
use super::reader::{At, Bound, Fields, LONGEST, Place, Reader, shorten, suggest};
use super::yaml::{self, Value};
use super::{Config, Loaded, Shown, Source, values};
use crate::engine::name::TaskName;
use crate::engine::predicate::format_duration;
use crate::engine::rule::Action;
use crate::engine::simulate::{Actor, Cue, Scenario, Step};
use crate::engine::task::{Common, Flavour, Kind, RuleName, State, Task, TaskId};
use crate::engine::trace::Gate;

pub(super) const FILE: &[Key] = &[
    key(
        "rules",
        Form::Text,
        "The rules file, seen from this file; default: beside it, `X.yaml` for `X.test.yaml`.",
    ),
    key("tests", Form::Maps(CASE), "The tests."),
];

pub(super) const CASE: &[Key] = &[
    key("name", Form::Text, "What the test shows."),
    key("start", Form::Text, "The moment that the timeline calls 0; default 2026-01-01T00:00:00Z."),
    key("server", Form::Text, "The server the tasks are on; default the first of the rules file."),
    key("flavour", Form::Word(FLAVOURS), "The product it runs; default `openlist`."),
    key("poll", Form::Duration, "The time between two looks; default the server's."),
    key(
        "until",
        Form::Duration,
        "How long the test goes on; default the last moment it names, and a poll more.",
    ),
    key("away", Form::Maps(OUTAGE), "When the server does not answer."),
    key("tasks", Form::Maps(ACTOR), "The tasks that the server has."),
    key("expect", Form::Maps(EXPECTATION), "What must happen, and what must not."),
    key(
        "nothing_else",
        Form::Bool,
        "Whether an action that no expectation speaks of fails the test; default false.",
    ),
];

pub(super) const OUTAGE: &[Key] =
    &[key("from", Form::Duration, "From when on."), key("to", Form::Duration, "Until when.")];

pub(super) const ACTOR: &[Key] = &[
    key("id", Form::Text, "What expectations call it; default its number."),
    key("kind", Form::Words(Words::Kinds), "Its queue."),
    key("name", Form::Text, "Its name, as the server has it; default one of the usual form."),
    key("creator", Form::Text, "The user who made it."),
    key("role", Form::Count(0), "The number of that user's role."),
    key("size", Form::Size, "Its size."),
    key(
        "state",
        Form::Words(Words::States),
        "Its state at the start; without one it comes with its first step.",
    ),
    key("error", Form::Text, "Its error at the start."),
    key("status", Form::Text, "Its status at the start."),
    key("progress", Form::CompareNumber, "Its progress at the start, in percent."),
    key("age", Form::Duration, "How long before the start it came to its state."),
    key("timeline", Form::Maps(STEP), "What becomes of it."),
];

pub(super) const STEP: &[Key] = &[
    key("at", Form::Duration, "So long after the start."),
    key(
        "after_retry",
        Form::Duration,
        "So long after the next accepted retry; until then it runs.",
    ),
    key("after_cancel", Form::Duration, "So long after the next accepted cancel."),
    key(
        "times",
        Form::CountOrNone(1),
        "For how many retries or cancels in a row this holds, or `none` for all that come; default 1.",
    ),
    key("state", Form::Words(Words::States), "The state it comes to, or `gone`."),
    key("error", Form::Text, "The error with it."),
    key("status", Form::Text, "Its status from then on."),
    key("progress", Form::CompareNumber, "Its progress from then on, in percent."),
];

pub(super) const EXPECTATION: &[Key] = &[
    key("task", Form::Text, "The task; default any."),
    key("rule", Form::Text, "The rule; default any."),
    key("at", Form::Duration, "When: at this moment, or for what happens within a poll of it."),
    key("after", Form::Duration, "When: not before this moment; default from the start."),
    key("before", Form::Duration, "When: at this moment at the latest; default to the end."),
    key("action", Form::Action, "The action that happens, or `none`."),
    key("times", Form::Count(0), "How many times exactly; default at least once."),
    key("attempt", Form::Count(1), "Which attempt of the rule on the task it is."),
    key("gives_up", Form::Bool, "Whether the rule gives the task up."),
    key("waits", Form::Word(&Gate::NAMES), "What the task waits for."),
    key("taken_by", Form::Text, "The rule that has the task, or `none`."),
];

const FLAVOURS: &[&str] = &["openlist", "alist"];

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// The server, the tasks and what becomes of them.
    pub scenario: Scenario,
    /// What must happen and what must not.
    pub expect: Vec<Expectation>,
    /// Whether nothing else may happen.
    pub nothing_else: bool,
}

/// Something that must happen, or must not.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its line in the file.
    pub line: usize,
    /// The task; any if none.
    pub task: Option<TaskId>,
    /// The rule; any if none.
    pub rule: Option<RuleName>,
    /// What.
    pub claim: Claim,
    /// From and to when, both inside.
    pub window: (Duration, Duration),
}

/// What must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An action happens: this one, or any.
    Acts {
        /// Which; any if none.
        action: Option<Action>,
        /// Which attempt it is.
        attempt: Option<u32>,
        /// How many times exactly; at least once if none.
        times: Option<u32>,
    },
    /// A rule gives the task up, or does not.
    GivesUp(bool),
    /// The task waits for this gate.
    Waits(&'static str),
    /// This rule has the task, or none has.
    TakenBy(Option<RuleName>),
}

/// What became of a test file.
#[derive(Clone, Debug)]
pub struct LoadedCases {
    /// The tests; there if and only if no finding is an error.
    pub cases: Option<Vec<Case>>,
    /// The findings, for rendering.
    pub loaded: Loaded,
}

/// The rules file that a test file names, if it does.
#[must_use]
pub fn rules_of(text: &str) -> Option<String> {
    let root = yaml::parse(text, &mut Vec::new())?;
    let Value::Map(entries) = root.value else { return None };
    let entry = entries.into_iter().find(|entry| entry.key == "rules")?;
    match entry.value.value {
        Value::Text(scalar) => Some(scalar.text.into_owned()),
        _ => None,
    }
}

/// Reads a test file of these rules, with every problem in it.
#[must_use]
pub fn load(source: Source<'_>, config: &Config) -> LoadedCases {
    let mut findings = Vec::new();
    let root = yaml::parse(source.text, &mut findings);
    for finding in findings.iter_mut().filter(|finding| finding.code == Code::EmptyFile) {
        "the file holds no tests".clone_into(&mut finding.message);
        finding.help("begin with `tests:`");
    }
    let mut reader = Reader::new(vec![source.text], findings);
    reader.kinds = config
        .servers
        .iter()
        .flat_map(|server| server.kinds.iter().map(ToString::to_string))
        .collect();
    let cases = root.as_ref().and_then(|root| reader.test_file(root, config));
    let failed = reader.errors() > 0;
    let mut findings = reader.findings;
    finding::settle(&[source.text], &mut findings);
    LoadedCases {
        cases: cases.filter(|_| !failed),
        loaded: Loaded {
            config: None,
            findings,
            files: vec![Shown { path: source.path.to_owned(), text: source.text.to_owned() }],
        },
    }
}

/// The line of a place, the first being 1.
fn line_of(text: &str, span: Span) -> usize {
    let before = text.get(..span.start).unwrap_or_default();
    1 + before.bytes().filter(|byte| *byte == b'\n').count()
}

/// The keys that say what a task is like at the start.
pub(super) const AT_START: [&str; 5] = ["state", "error", "status", "progress", "age"];

/// What is gathered of a test while it is read.
#[derive(Default)]
struct Draft {
    tasks: Vec<Actor>,
    moments: BTreeSet<Duration>,
    last: Duration,
    poll: Duration,
}

impl Draft {
    fn note(&mut self, moment: Duration) {
        self.last = self.last.max(moment);
    }
}

impl Reader<'_> {
    fn test_file(&mut self, root: &yaml::Node, config: &Config) -> Option<Vec<Case>> {
        let fields = self.fields(root, root.span, Place::TestFile)?;
        if let Some(at) = fields.get("rules") {
            self.text(at);
        }
        let Some(tests) = fields.get("tests") else {
            self.report(Code::MissingKey, root.span, "the file has no `tests`")
                .help("add `tests:` with a `name`, `tasks` and what to `expect`");
            return None;
        };
        let mut names = BTreeMap::new();
        let cases =
            self.members(tests, "tests", |reader, item| reader.case(item, config, &mut names));
        Some(cases)
    }

    /// Reads each member of a list of maps.
    fn members<'n, T>(
        &mut self,
        at: At<'n>,
        what: &str,
        mut read: impl FnMut(&mut Self, At<'n>) -> Option<T>,
    ) -> Vec<T> {
        let Value::Seq(items) = &at.node.value else {
            self.wrong_type(at, &format!("a list of {what}"), "begin each with `- `");
            return Vec::new();
        };
        let items = items.iter().map(|node| At {
            node,
            span: if node.span.start == node.span.end { at.key_span } else { node.span },
            ..at
        });
        items.filter_map(|item| read(self, item)).collect()
    }

    fn case(
        &mut self,
        at: At<'_>,
        config: &Config,
        names: &mut BTreeMap<String, Span>,
    ) -> Option<Case> {
        let fields = self.fields(at.node, at.span, Place::Case)?;
        let name = if let Some(name) = fields.get("name") {
            let text = self.text(name).map(str::to_owned);
            if let Some(text) = &text
                && let Some(first) = names.insert(text.clone(), name.span)
            {
                let message = format!("two tests are called `{}`", shorten(text));
                self.report(Code::DuplicateKey, name.span, message)
                    .label("a second time")
                    .related(first, "first here")
                    .help("give each its own name: `--run` and reports tell tests apart by it");
            }
            text
        } else {
            self.report(Code::MissingKey, at.span, "the test has no `name`")
                .help("say what it shows: `name: a throttled copy waits`");
            None
        };
        let start = match fields.get("start") {
            Some(at) => self.moment(at),
            None => "2026-01-01T00:00:00Z".parse().ok(),
        };
        let server = match fields.get("server") {
            None => config.servers.first(),
            Some(at) => self.text(at).and_then(|text| {
                let known = config.servers.iter().find(|server| server.name.as_str() == text);
                if known.is_none() {
                    let names = config.servers.iter().map(|server| server.name.as_str());
                    let message = format!("the rules name no server `{}`", shorten(text));
                    let finding = self.report(Code::UnknownServer, at.span, message);
                    suggest(finding, text, names);
                }
                known
            }),
        };
        let flavours = [("openlist", Flavour::OpenList), ("alist", Flavour::AList)];
        let flavour = fields.get("flavour").and_then(|at| self.word(at, &flavours));
        let poll = fields
            .get("poll")
            .and_then(|at| self.duration(at, Duration::from_secs(1), Duration::from_secs(3600)))
            .or(server.map(|server| server.poll))
            .unwrap_or(Duration::from_secs(15));
        let mut draft = Draft { poll, ..Draft::default() };
        let away = match fields.get("away") {
            Some(at) => self.members(at, "times", |reader, item| reader.outage(item, &mut draft)),
            None => Vec::new(),
        };
        match fields.get("tasks") {
            Some(at) => {
                self.members(at, "tasks", |reader, item| reader.actor(item, &mut draft));
            }
            None => {
                self.report(Code::MissingKey, at.span, "the test has no `tasks`")
                    .help("add `tasks:` with a `kind` and a `state`");
            }
        }
        let until = fields.get("until").and_then(|at| self.offset(at));
        let expect = if let Some(at) = fields.get("expect") {
            self.members(at, "expectations", |reader, item| {
                reader.expectation(item, config, &mut draft)
            })
        } else {
            self.report(Code::MissingKey, at.span, "the test expects nothing")
                .help("add `expect:` with an `action`, or with `action: none`");
            Vec::new()
        };
        if let (Some(until), Some(at)) = (until, fields.get("until"))
            && draft.last > until
        {
            let message = format!(
                "the test ends at {}, and speaks of {}",
                format_duration(until),
                format_duration(draft.last)
            );
            self.report(Code::OutOfRange, at.span, message)
                .help("let it end later, or drop `until`: it then ends after the last of them");
        }
        let nothing_else = fields.get("nothing_else").and_then(|at| self.bool(at)).unwrap_or(false);
        Some(Case {
            name: name?,
            line: line_of(self.text_at(at.span), at.span),
            scenario: Scenario {
                server: server.map_or_else(|| "server".into(), |server| server.name.clone()),
                flavour: flavour.unwrap_or(Flavour::OpenList),
                start: start?,
                poll,
                until: until.unwrap_or(draft.last + poll),
                moments: draft.moments,
                away,
                tasks: draft.tasks,
            },
            expect,
            nothing_else,
        })
    }

    fn offset(&mut self, at: At<'_>) -> Option<Duration> {
        self.duration(at, Duration::ZERO, LONGEST)
    }

    fn moment(&mut self, at: At<'_>) -> Option<Timestamp> {
        let text = self.text(at)?;
        let moment = text.parse();
        if moment.is_err() {
            let message = format!("`{}` is no moment", shorten(text));
            self.report(Code::UnknownValue, at.span, message)
                .help("write one with its zone, such as `2026-01-01T00:00:00Z`");
        }
        moment.ok()
    }

    fn outage(&mut self, at: At<'_>, draft: &mut Draft) -> Option<(Duration, Duration)> {
        let fields = self.fields(at.node, at.span, Place::Outage)?;
        let from = fields.get("from").map_or(Some(Duration::ZERO), |at| self.offset(at))?;
        let Some(to) = fields.get("to") else {
            self.report(Code::MissingKey, at.span, "the time away has no end")
                .help("add `to:`, seen from the start");
            return None;
        };
        let until = self.offset(to)?;
        if until <= from {
            self.report(Code::OutOfRange, to.span, "the time away ends before it begins")
                .help("both are seen from the start of the test");
        }
        draft.note(until);
        Some((from, until))
    }

    fn actor(&mut self, at: At<'_>, draft: &mut Draft) -> Option<()> {
        let fields = self.fields(at.node, at.span, Place::Actor)?;
        let number = draft.tasks.len() + 1;
        let id = fields.get("id").and_then(|at| self.text(at)).map(str::to_owned);
        let id = id.unwrap_or_else(|| number.to_string());
        if draft.tasks.iter().any(|other| other.task.id.as_str() == id) {
            let span = fields.get("id").map_or(at.span, |at| at.span);
            self.report(Code::DuplicateKey, span, format!("two tasks are called `{id}`"))
                .help("expectations tell tasks apart by their ids");
        }
        let kind = if let Some(at) = fields.get("kind") {
            self.kind(at)
        } else {
            self.report(Code::MissingKey, at.span, "the task has no `kind`")
                .help("say which queue it is in: `kind: copy`");
            None
        };
        let name = fields.get("name").and_then(|at| self.text(at)).map(str::to_owned);
        let role = fields.get("role").and_then(|at| self.count(at, 0));
        let size = fields.get("size").and_then(|at| {
            let text = self.text(at)?;
            values::size(text).map_err(|fault| self.fault(at, fault)).ok()
        });
        let creator = fields.get("creator").and_then(|at| self.text(at)).unwrap_or_default();
        let mut script = Vec::new();
        if let Some(first) = AT_START.iter().find_map(|key| fields.get(key)) {
            if fields.get("state").is_none() {
                let message = format!("`{}` says nothing without a `state`", first.key);
                self.report(Code::MissingKey, first.key_span, message)
                    .help("add the `state` at the start, or put it into a step");
            }
            script.extend(self.step_of(&fields, Cue::At(Duration::ZERO), draft));
        }
        if let Some(timeline) = fields.get("timeline") {
            script.extend(self.members(timeline, "steps", |reader, item| reader.step(item, draft)));
        }
        if script.is_empty() && self.errors() == 0 {
            self.report(Code::MissingKey, at.span, "nothing ever becomes of the task")
                .help("give it a `state`, or a `timeline`");
        }
        let kind = kind?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size is not negative, and one out of range saturates"
        )]
        let task = Task {
            id: TaskId::from(id.as_str()),
            name: TaskName::new(&name.unwrap_or_else(|| usual_name(&kind, &id))),
            progress: 0.0,
            started: None,
            ended: None,
            total_bytes: size.unwrap_or_default() as u64,
            common: Common {
                creator: creator.into(),
                roles: role.into_iter().map(i64::from).collect(),
                state: State::Pending,
                status: "".into(),
                error: "".into(),
            }
            .into(),
        };
        draft.tasks.push(Actor { kind, task, script });
        Some(())
    }

    fn step(&mut self, at: At<'_>, draft: &mut Draft) -> Option<Step> {
        let fields = self.fields(at.node, at.span, Place::Step)?;
        let cues: Vec<At<'_>> = ["at", "after_retry", "after_cancel"]
            .iter()
            .filter_map(|key| fields.get(key))
            .collect();
        let [cue] = cues[..] else {
            let code = if cues.is_empty() { Code::MissingKey } else { Code::ConflictingKeys };
            let span = cues.get(1).map_or(at.span, |second| second.key_span);
            self.report(code, span, "a step has one of `at`, `after_retry` and `after_cancel`")
                .help("say when it happens: `at: 5m`, or `after_retry: 2m`");
            // What else is wrong with the step is told all the same.
            self.step_of(&fields, Cue::At(Duration::ZERO), draft);
            return None;
        };
        let after = self.offset(cue);
        let when = after.unwrap_or_default();
        let cue = match cue.key {
            "at" => Cue::At(when),
            "after_retry" => Cue::AfterRetry(when),
            _ => Cue::AfterCancel(when),
        };
        if fields.get("state").is_none() {
            self.report(Code::MissingKey, at.span, "the step has no `state`")
                .help("say what the task comes to: `state: failed`, or `state: gone`");
        }
        if let (Some(times), Cue::At(_)) = (fields.get("times"), cue) {
            self.report(Code::ConflictingKeys, times.key_span, "a moment comes once")
                .help("`times` goes with `after_retry` and `after_cancel`");
        }
        let step = self.step_of(&fields, cue, draft);
        after.and(step)
    }

    /// The part that is the same for a step and for the task at the start.
    fn step_of(&mut self, fields: &Fields<'_>, cue: Cue, draft: &mut Draft) -> Option<Step> {
        let (Cue::At(after) | Cue::AfterRetry(after) | Cue::AfterCancel(after)) = cue;
        draft.note(after);
        let gone = fields
            .get("state")
            .filter(|at| matches!(&at.node.value, Value::Text(scalar) if scalar.text == "gone"));
        let state = match (gone, fields.get("state")) {
            (None, Some(at)) => self.state(at).map(Some),
            _ => Some(None),
        };
        let text = |reader: &mut Self, key| match fields.get(key) {
            Some(at) => reader.text(at).map(str::to_owned),
            None => None,
        };
        let error = text(self, "error").unwrap_or_default();
        let status = text(self, "status");
        let progress = fields.get("progress").and_then(|at| {
            let text = self.text(at)?;
            let number = values::number(text, true).map_err(|fault| self.fault(at, fault)).ok()?;
            if !(0.0..=100.0).contains(&number) {
                self.report(Code::OutOfRange, at.span, "`progress` lies between 0 and 100")
                    .help("write a percentage, such as `50`");
                return None;
            }
            Some(number)
        });
        let age = fields.get("age").and_then(|at| self.offset(at)).unwrap_or_default();
        let times = match fields.get("times") {
            Some(at) => self.count_or_none(at, 1).map(Bound::value),
            None => Some(Some(1)),
        };
        Some(Step { cue, times: times?, state: state?, error, status, progress, age })
    }

    fn expectation(
        &mut self,
        at: At<'_>,
        config: &Config,
        draft: &mut Draft,
    ) -> Option<Expectation> {
        let fields = self.fields(at.node, at.span, Place::Expectation)?;
        let task = match fields.get("task") {
            None => None,
            Some(at) => self.text(at).map(|text| {
                let mut known: Vec<&str> =
                    draft.tasks.iter().map(|actor| actor.task.id.as_str()).collect();
                known.dedup();
                let known = || known.iter().copied();
                if !known().any(|id| id == text) {
                    let message = format!("the test has no task `{}`", shorten(text));
                    let finding = self.report(Code::UnknownValue, at.span, message);
                    suggest(finding, text, known());
                }
                TaskId::from(text)
            }),
        };
        // Values that cannot be read left a finding, and the test is not run.
        let rule = fields.get("rule").and_then(|at| self.rule_ref(at, config));
        let lasting = fields.get("waits").or(fields.get("taken_by")).is_some();
        let window = self.window(&fields, lasting, draft);
        let claims: Vec<At<'_>> = ["action", "gives_up", "waits", "taken_by"]
            .iter()
            .filter_map(|key| fields.get(key))
            .collect();
        let [claim] = claims[..] else {
            let code = if claims.is_empty() { Code::MissingKey } else { Code::ConflictingKeys };
            let span = claims.get(1).map_or(at.span, |second| second.key_span);
            let message = "an expectation has one of `action`, `gives_up`, `waits` and `taken_by`";
            self.report(code, span, message).help("write one expectation for each");
            return None;
        };
        for key in ["times", "attempt"] {
            if let Some(odd) = fields.get(key).filter(|_| claim.key != "action") {
                let message = format!("`{key}` goes with `action`");
                self.report(Code::ConflictingKeys, odd.key_span, message).help("drop it");
            }
        }
        let is_none =
            |at: At<'_>| matches!(&at.node.value, Value::Text(scalar) if scalar.text == "none");
        for key in ["times", "attempt"] {
            if let Some(odd) = fields.get(key).filter(|_| claim.key == "action" && is_none(claim)) {
                let message = format!("`{key}` says nothing of an action that does not happen");
                self.report(Code::ConflictingKeys, odd.key_span, message)
                    .help("drop it, or name the action");
            }
        }
        let times = fields.get("times").and_then(|at| self.count(at, 0));
        let attempt = fields.get("attempt").and_then(|at| self.count(at, 1));
        let claim = match claim.key {
            "action" if is_none(claim) => Claim::Acts { action: None, attempt, times: Some(0) },
            "action" => {
                let words = Action::ALL.map(|action| (action.as_str(), action));
                let action = self.word(claim, &words)?;
                Claim::Acts { action: Some(action), attempt, times }
            }
            "gives_up" => Claim::GivesUp(self.bool(claim)?),
            "waits" => Claim::Waits(self.word(claim, &Gate::NAMES.map(|name| (name, name)))?),
            _ if is_none(claim) => Claim::TakenBy(None),
            _ => Claim::TakenBy(Some(self.rule_ref(claim, config)?)),
        };
        Some(Expectation {
            line: line_of(self.text_at(at.span), at.span),
            task,
            rule,
            claim,
            window: window?,
        })
    }

    fn window(
        &mut self,
        fields: &Fields<'_>,
        lasting: bool,
        draft: &mut Draft,
    ) -> Option<(Duration, Duration)> {
        let range = fields.get("after").or(fields.get("before"));
        if let (Some(at), Some(range)) =
            (fields.get("at").or(lasting.then_some(range).flatten()), range)
        {
            let message = if lasting {
                format!("`{}` does not go with what holds at a moment", range.key)
            } else {
                format!("`at` and `{}` exclude each other", range.key)
            };
            let span = if lasting { range.key_span } else { at.key_span };
            self.report(Code::ConflictingKeys, span, message)
                .help("`at` is one moment, `after` and `before` are the ends of a time");
            return None;
        }
        if let Some(at) = fields.get("at") {
            let moment = self.offset(at)?;
            draft.moments.insert(moment);
            draft.note(moment);
            return Some((moment, if lasting { moment } else { moment + draft.poll }));
        }
        if lasting {
            draft.moments.insert(Duration::ZERO);
            return Some((Duration::ZERO, Duration::ZERO));
        }
        let after = fields.get("after").map_or(Some(Duration::ZERO), |at| self.offset(at))?;
        let before = fields.get("before").map_or(Some(Duration::MAX), |at| self.offset(at))?;
        draft.note(after);
        if before != Duration::MAX {
            draft.note(before);
        }
        if before < after
            && let Some(at) = fields.get("before")
        {
            self.report(Code::OutOfRange, at.span, "`before` lies before `after`")
                .help("both are seen from the start of the test");
        }
        Some((after, before))
    }

    fn rule_ref(&mut self, at: At<'_>, config: &Config) -> Option<RuleName> {
        let text = self.text(at)?;
        let known = || config.rules.rules.iter().map(|rule| rule.name.as_str());
        if known().any(|name| name == text) {
            return Some(RuleName::from(text));
        }
        let message = format!("no rule is called `{}`", shorten(text));
        let finding = self.report(Code::UnknownValue, at.span, message);
        suggest(finding, text, known());
        None
    }
}

/// A name of the form that tasks of a kind have.
fn usual_name(kind: &Kind, id: &str) -> String {
    match kind {
        Kind::Upload | Kind::DecompressUpload => format!("upload {id} to [/dst](/)"),
        Kind::Copy | Kind::Move => format!("{kind} [/src](/{id}) to [/dst](/)"),
        Kind::OfflineDownload => format!("download https://example.com/{id} to (/dst)"),
        Kind::OfflineDownloadTransfer => format!("transfer [](/tmp/{id}) to [/dst](/)"),
        Kind::Decompress => format!("decompress [/src](/{id})[/] to [/dst](/)"),
        _ => id.to_owned(),
    }
}
