//! The matchers of a rule, and how one is held against a task.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;
use smol_str::{SmolStr, ToSmolStr as _, format_smolstr};

use super::class::{Class, ClassTable, Retry};
use super::memory::TaskMemory;
use super::name::{Location, Parts};
use super::needles::{Texts, either};
use super::pattern::{Globs, Pattern};
use super::task::{Flavour, Kind, ServerName, State, Task};
use super::wait_hint::named_wait;

/// What must hold for a rule to take a task.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// All of them. Holds when empty.
    All(Vec<Self>),
    /// At least one of them.
    Any(Vec<Self>),
    /// The opposite.
    Not(Box<Self>),
    /// One matcher.
    Leaf(Leaf),
}

/// One matcher: a key of the rules file with what it asks for.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The key, as the rules file writes it.
    pub key: &'static str,
    /// What is asked for, as the rules file writes it; for people.
    pub expected: SmolStr,
    /// The compiled test.
    pub test: Test,
}

/// The compiled form of a matcher.
#[derive(Clone, Debug)]
pub enum Test {
    /// One of these servers.
    Server(Vec<ServerName>),
    /// One of these kinds.
    Kind(Vec<Kind>),
    /// One of these states.
    State(Vec<State>),
    /// One of these classes of error.
    Class(Vec<Class>),
    /// A text in which at least one of the patterns is found, unanchored.
    Text(TextField, Vec<Pattern>),
    /// A path, mount and path together, that a glob matches whole.
    Path(PathField, Globs),
    /// A mount that a glob matches whole; a final slash makes no difference.
    Mount(Side, Globs),
    /// One of these users.
    Creator(Vec<String>),
    /// One of these roles.
    Role(Vec<RoleTest>),
    /// A number that compares as asked.
    Number(NumberField, Comparison, f64),
    /// A length of time that compares as asked.
    Span(SpanField, Comparison, Duration),
}

/// A text of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// The error; where the server forgot it, the last one seen.
    Error,
    /// The name, secrets out.
    Name,
    /// The driver's free text.
    Status,
}

/// A path in a task's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathField {
    /// The file.
    File,
    /// Where it comes from; a download's URL.
    Src,
    /// Where it goes.
    Dst,
}

/// The two ends of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Where it comes from.
    Src,
    /// Where it goes.
    Dst,
}

/// A role of the user who made a task (CONTRACT.md, "Task": the numbers differ by product).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleTest {
    /// 2 on both.
    Admin,
    /// 1 on both.
    Guest,
    /// An ordinary user: 0 on `OpenList`, 3 on `AList`.
    User,
    /// This number.
    Number(i64),
}

/// A number of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberField {
    /// Percent, 0 to 100.
    Progress,
    /// Bytes.
    Size,
    /// Accepted actions of this rule on the task so far.
    Attempts,
}

/// A length of time about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanField {
    /// Since the end, else the start, else since it was first seen so.
    Age,
    /// How long it has been running; nothing when it is not.
    RunningFor,
    /// How long it has been running without its progress moving; nothing when it is not running.
    StalledFor,
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// Whether `left` stands so to `right`. Numbers come from servers and files as decimal texts,
    /// so equality is meant to the bit.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::AtLeast => left >= right,
            Self::More => left > right,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::AtLeast => ">=",
            Self::More => ">",
        })
    }
}

/// A task as the matchers see it: the listing, what is remembered of it, and the moment.
#[derive(Debug)]
pub struct View<'a> {
    /// The server that listed it.
    pub server: &'a ServerName,
    /// Which product that is.
    pub flavour: Flavour,
    /// The queue it is in.
    pub kind: &'a Kind,
    /// The listing.
    pub task: &'a Task,
    /// What is remembered of it.
    pub memory: &'a TaskMemory,
    /// The moment of the decision.
    pub now: Timestamp,
    classes: &'a ClassTable,
    parts: OnceCell<Parts<'a>>,
    /// File, source and target, as globs are held against them.
    paths: OnceCell<[Option<SmolStr>; 3]>,
    own: OnceCell<Box<OfError>>,
    /// What is known of tasks that are alike, instead of `own`.
    shared: Option<&'a OfError>,
}

/// What the error tells, looked for once for all tasks that are alike in server, state and error.
#[derive(Debug, Default)]
pub(super) struct OfError {
    judged: OnceLock<(Class, Retry)>,
    hinders: OnceLock<bool>,
    wait: OnceLock<Option<Duration>>,
    shown: OnceLock<SmolStr>,
}

/// The error's text: what the server lists, or, for a task that ended badly and whose error the server
/// forgot in a restart, the last one seen.
pub(super) fn error_of<'a>(task: &'a Task, memory: Option<&'a TaskMemory>) -> &'a Arc<str> {
    if task.error.is_empty() && matches!(task.state, State::Failed | State::Canceled) {
        memory.map_or(&task.error, |memory| &memory.last_error)
    } else {
        &task.error
    }
}

impl<'a> View<'a> {
    /// Puts the parts together; class and name are looked at when first asked for.
    #[must_use]
    pub fn new(
        server: &'a ServerName,
        flavour: Flavour,
        kind: &'a Kind,
        task: &'a Task,
        memory: &'a TaskMemory,
        classes: &'a ClassTable,
        now: Timestamp,
    ) -> Self {
        let (parts, paths, own) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { server, flavour, kind, task, memory, now, classes, parts, paths, own, shared: None }
    }

    /// The same with what is found, or was, for tasks that are alike in server, state and error.
    pub(super) fn sharing(self, of_error: &'a OfError) -> Self {
        Self { shared: Some(of_error), ..self }
    }

    /// What the error tells.
    fn of_error(&self) -> &OfError {
        self.shared.unwrap_or_else(|| self.own.get_or_init(Box::default))
    }

    /// The error's text, also where the server forgot it.
    #[must_use]
    pub fn error(&self) -> &'a str {
        error_of(self.task, Some(self.memory))
    }

    /// The class of the error.
    #[must_use]
    pub fn class(&self) -> &Class {
        &self.judged().0
    }

    /// Whether the class of a failed task's error is this, one of [`ClassTable::HINDERING`].
    pub(super) fn hinders(&self, class: &Class) -> bool {
        let OfError { judged, hinders, .. } = self.of_error();
        // What is sorted already need not be looked at.
        let may = || judged.get().is_some() || self.classes.may_hinder(self.error());
        *hinders.get_or_init(may) && self.class() == class
    }

    /// The class of the error, and whether running the task again later is sensible.
    pub(super) fn judged(&self) -> &(Class, Retry) {
        self.of_error().judged.get_or_init(|| {
            let verdict = self.classes.judge(self.error(), self.flavour, self.task.state);
            (verdict.class, verdict.retry)
        })
    }

    /// The class of the error, for people; `None` for a task that has nothing to sort.
    #[must_use]
    pub fn shown_class(&self) -> Option<&Class> {
        self.shown_judged().map(|(class, _)| class)
    }

    /// The same with whether running the task again later is sensible.
    pub(super) fn shown_judged(&self) -> Option<&(Class, Retry)> {
        let ended_badly = matches!(self.task.state, State::Failed | State::Canceled);
        (ended_badly || !self.error().is_empty()).then(|| self.judged())
    }

    /// The wait that the error names; a pattern of a rule's own is looked at first.
    pub(super) fn named_wait(&self, custom: Option<&Regex>) -> Option<Duration> {
        if custom.is_some() {
            return named_wait(self.error(), custom);
        }
        *self.of_error().wait.get_or_init(|| named_wait(self.error(), None))
    }

    /// What the name says.
    #[must_use]
    pub fn parts(&self) -> &Parts<'a> {
        self.parts.get_or_init(|| self.task.name.parts())
    }

    /// The place at one end of the transfer.
    #[must_use]
    pub fn location(&self, side: Side) -> Option<Location<'a>> {
        match side {
            Side::Src => self.parts().src,
            Side::Dst => self.parts().dst,
        }
    }

    fn text(&self, field: TextField) -> &'a str {
        match field {
            TextField::Error => self.error(),
            TextField::Name => self.task.name.shown(),
            TextField::Status => &self.task.status,
        }
    }

    fn path(&self, field: PathField) -> Option<&SmolStr> {
        let [file, src, dst] = self.paths.get_or_init(|| {
            let parts = self.parts();
            let src = parts.src.map(joined).or_else(|| parts.url.map(SmolStr::new));
            [parts.file.map(SmolStr::new), src, parts.dst.map(joined)]
        });
        match field {
            PathField::File => file.as_ref(),
            PathField::Src => src.as_ref(),
            PathField::Dst => dst.as_ref(),
        }
    }

    fn number(&self, field: NumberField, attempts: u32) -> f64 {
        match field {
            NumberField::Progress => self.task.progress,
            #[allow(
                clippy::cast_precision_loss,
                reason = "no size compares to the last byte above 2^53"
            )]
            NumberField::Size => self.task.total_bytes as f64,
            NumberField::Attempts => f64::from(attempts),
        }
    }

    /// A length of time about the task; `None` where it has no meaning.
    #[must_use]
    pub fn span(&self, field: SpanField) -> Option<Duration> {
        let since = span_since(self.memory, self.task.state, field);
        // A moment in the future, by a clock that jumped, is no time ago.
        since.map(|since| Duration::try_from(self.now.duration_since(since)).unwrap_or_default())
    }
}

/// From when on a length of time about a task counts, by what is remembered of it and its listed state.
pub(super) fn span_since(memory: &TaskMemory, state: State, field: SpanField) -> Option<Timestamp> {
    let running = state == State::Running;
    let since = match field {
        SpanField::Age => memory.ended.or(memory.started).unwrap_or(memory.state_since),
        SpanField::RunningFor if running => memory.started.unwrap_or(memory.state_since),
        SpanField::StalledFor if running => memory.progress_at,
        SpanField::RunningFor | SpanField::StalledFor => return None,
    };
    Some(since.get())
}

/// Mount and path together, with one slash between.
fn joined(location: Location<'_>) -> SmolStr {
    let mount = location.mount.trim_end_matches('/');
    if location.path.starts_with('/') || mount.is_empty() {
        format_smolstr!("{mount}{}", location.path)
    } else {
        format_smolstr!("{mount}/{}", location.path)
    }
}

/// A mount as it is compared: without a final slash, `/` itself excepted.
fn bare_mount(mount: &str) -> &str {
    match mount.trim_end_matches('/') {
        "" => mount,
        bare => bare,
    }
}

/// How one matcher, or one group of matchers, came out; for `explain`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PredicateTrace {
    /// The key: a matcher's, or `all`, `any`, `not`.
    pub key: &'static str,
    /// What the rule asks for; empty for a group.
    #[schemars(with = "String")]
    pub expected: SmolStr,
    /// What the task has; empty for a group.
    #[schemars(with = "String")]
    pub actual: SmolStr,
    /// Whether it held.
    pub held: bool,
    /// The members of a group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Self>,
}

impl Predicate {
    /// Whether it holds. `attempts` are the rule's own accepted actions on the task.
    #[must_use]
    pub fn holds(&self, view: &View<'_>, attempts: u32) -> bool {
        match self {
            Self::All(members) => members.iter().all(|member| member.holds(view, attempts)),
            Self::Any(members) => members.iter().any(|member| member.holds(view, attempts)),
            Self::Not(member) => !member.holds(view, attempts),
            Self::Leaf(leaf) => leaf.test.holds(view, attempts),
        }
    }

    /// How it comes out for all tasks that are alike in server, kind, state and error; `None` where it
    /// hangs on more than these.
    #[must_use]
    pub fn settled(&self, view: &View<'_>) -> Option<bool> {
        /// `decisive` is the member that settles the group whatever the others are.
        fn group(members: &[Predicate], view: &View<'_>, decisive: bool) -> Option<bool> {
            let mut settled = Some(!decisive);
            for member in members {
                match member.settled(view) {
                    Some(held) if held == decisive => return Some(decisive),
                    Some(_) => {}
                    None => settled = None,
                }
            }
            settled
        }
        match self {
            Self::All(members) => group(members, view, false),
            Self::Any(members) => group(members, view, true),
            Self::Not(member) => member.settled(view).map(|held| !held),
            Self::Leaf(leaf) => leaf.test.is_of_alike().then(|| leaf.test.holds(view, 0)),
        }
    }

    /// The same as [`Self::holds`], with every member looked at and written down.
    #[must_use]
    pub fn trace(&self, view: &View<'_>, attempts: u32) -> PredicateTrace {
        let group = |key, members: Vec<PredicateTrace>, held| PredicateTrace {
            key,
            expected: SmolStr::default(),
            actual: SmolStr::default(),
            held,
            members,
        };
        let traces = |members: &[Self]| -> Vec<PredicateTrace> {
            members.iter().map(|member| member.trace(view, attempts)).collect()
        };
        match self {
            Self::All(members) => {
                let members = traces(members);
                let held = members.iter().all(|member| member.held);
                group("all", members, held)
            }
            Self::Any(members) => {
                let members = traces(members);
                let held = members.iter().any(|member| member.held);
                group("any", members, held)
            }
            Self::Not(member) => {
                let member = member.trace(view, attempts);
                let held = !member.held;
                group("not", vec![member], held)
            }
            Self::Leaf(leaf) => PredicateTrace {
                key: leaf.key,
                expected: leaf.expected.clone(),
                actual: leaf.test.actual(view, attempts),
                held: leaf.test.holds(view, attempts),
                members: Vec::new(),
            },
        }
    }

    /// What is in the error of every task for which it holds.
    pub(super) fn error_needles(&self) -> Cow<'_, [Texts]> {
        let either = |each: Vec<Cow<'_, [Texts]>>| either(&each).into();
        match self {
            Self::All(members) => {
                let mut each = members.iter().map(Self::error_needles);
                // Mostly one of them asks for the error, and what it needs is not copied.
                let first = each.find(|needles| !needles.is_empty()).unwrap_or_default();
                each.filter(|needles| !needles.is_empty()).fold(first, |mut all, more| {
                    all.to_mut().extend(more.into_owned());
                    all
                })
            }
            Self::Any(members) => either(members.iter().map(Self::error_needles).collect()),
            Self::Leaf(Leaf { test: Test::Text(TextField::Error, patterns), .. }) => {
                match patterns.as_slice() {
                    [pattern] => pattern.needles().into(),
                    _ => either(patterns.iter().map(|each| each.needles().into()).collect()),
                }
            }
            Self::Not(_) | Self::Leaf(_) => Cow::default(),
        }
    }

    /// Every matcher in it, with whether it stands under an odd number of `not`.
    pub fn leaves<'a>(&'a self, negated: bool, visit: &mut impl FnMut(&'a Leaf, bool)) {
        match self {
            Self::All(members) | Self::Any(members) => {
                for member in members {
                    member.leaves(negated, visit);
                }
            }
            Self::Not(member) => member.leaves(!negated, visit),
            Self::Leaf(leaf) => visit(leaf, negated),
        }
    }
}

impl Test {
    /// Whether it comes out the same for all tasks that are alike in server, kind, state and error.
    fn is_of_alike(&self) -> bool {
        match self {
            Self::Server(_)
            | Self::Kind(_)
            | Self::State(_)
            | Self::Class(_)
            | Self::Text(TextField::Error, _) => true,
            Self::Text(TextField::Name | TextField::Status, _)
            | Self::Path(..)
            | Self::Mount(..)
            | Self::Creator(_)
            | Self::Role(_)
            | Self::Number(..)
            | Self::Span(..) => false,
        }
    }

    /// Whether it holds for the task. What the task does not have never holds.
    #[must_use]
    pub fn holds(&self, view: &View<'_>, attempts: u32) -> bool {
        match self {
            Self::Server(servers) => servers.contains(view.server),
            Self::Kind(kinds) => kinds.contains(view.kind),
            Self::State(states) => states.contains(&view.task.state),
            Self::Class(classes) => classes.contains(view.class()),
            Self::Text(field, patterns) => {
                let text = view.text(*field);
                patterns.iter().any(|pattern| pattern.is_match(text))
            }
            Self::Path(field, globs) => view.path(*field).is_some_and(|path| globs.is_match(path)),
            Self::Mount(side, globs) => view
                .location(*side)
                .is_some_and(|location| globs.is_match(bare_mount(location.mount))),
            Self::Creator(names) => names.iter().any(|name| **name == *view.task.creator),
            Self::Role(roles) => roles.iter().any(|role| role.holds(view)),
            Self::Number(field, comparison, bound) => {
                comparison.holds(&view.number(*field, attempts), bound)
            }
            Self::Span(field, comparison, bound) => {
                view.span(*field).is_some_and(|span| comparison.holds(&span, bound))
            }
        }
    }

    /// What the task has where this test looks; for people.
    fn actual(&self, view: &View<'_>, attempts: u32) -> SmolStr {
        let none = || SmolStr::new_static("none");
        match self {
            Self::Server(_) => view.server.as_str().into(),
            Self::Kind(_) => view.kind.as_str().into(),
            Self::State(_) => view.task.state.to_smolstr(),
            Self::Class(_) => view.class().as_str().into(),
            // Often asked for and long.
            Self::Text(TextField::Error, _) => {
                view.of_error().shown.get_or_init(|| view.error().into()).clone()
            }
            Self::Text(field, _) => view.text(*field).into(),
            Self::Path(field, _) => view.path(*field).cloned().unwrap_or_else(none),
            Self::Mount(side, _) => {
                view.location(*side).map_or_else(none, |place| bare_mount(place.mount).into())
            }
            Self::Creator(_) => SmolStr::new(&*view.task.creator),
            Self::Role(_) => {
                let roles: Vec<String> = view.task.roles.iter().map(ToString::to_string).collect();
                roles.join(", ").into()
            }
            Self::Number(NumberField::Size, ..) => {
                format_smolstr!("{} bytes", view.task.total_bytes)
            }
            Self::Number(field, ..) => view.number(*field, attempts).to_smolstr(),
            Self::Span(field, ..) => {
                view.span(*field).map_or_else(none, |span| format_duration(span).into())
            }
        }
    }
}

impl RoleTest {
    fn holds(self, view: &View<'_>) -> bool {
        let roles = &view.task.roles;
        match self {
            Self::Admin => roles.contains(&2),
            Self::Guest => roles.contains(&1),
            // The number 0 is nobody's role on AList, and 3 nobody's on OpenList.
            Self::User => roles.contains(&0) || roles.contains(&3),
            Self::Number(number) => roles.contains(&number),
        }
    }
}

/// A length of time to the second, as the rules file would write it (`1h30m`).
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) && !duration.is_zero() {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, 'd'),
        (seconds / 3600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}
