//! Rules that can be used and probably do not do what was meant. Of a rule with errors comes here what
//! could be read, and nothing is concluded from what could not ([`Lost`](super::rule::Lost)).

use std::time::Duration;

use jiff::civil::Time;

use super::codes::Code;
use super::finding::Span;
use super::matchers::{Members, Site};
use super::reader::Reader;
use super::revision::{self, conjuncts};
use super::rule::Draft;
use crate::engine::breaker::BreakerKey;
use crate::engine::class::Class;
use crate::engine::pattern::Pattern;
use crate::engine::predicate::{
    Comparison, Leaf, NumberField, PathField, Predicate, Side, SpanField, Test, TextField,
    format_duration,
};
use crate::engine::rule::{Action, Effect, Mode, Rule};
use crate::engine::schedule::Hours;
use crate::engine::task::{Kind, State};

/// Above this many rules, a look at every pair would take too long.
const MOST_COMPARED: usize = 1000;

pub(super) fn lint(reader: &mut Reader<'_>, drafts: &[Draft]) {
    for draft in drafts {
        unbounded(reader, draft);
        gives_up_first(reader, draft);
        no_effect(reader, draft);
        outside_hours(reader, draft);
        never(reader, draft);
    }
    if drafts.len() <= MOST_COMPARED {
        shadowed(reader, drafts);
    }
}

fn unbounded(reader: &mut Reader<'_>, draft: &Draft) {
    let rule = &draft.rule;
    if rule.action.effect() != Effect::Retry || rule.max_attempts.is_some() {
        return;
    }
    if ["max_attempts", "give_up_after", "schedule", "match"].iter().any(|key| draft.lost.has(key))
    {
        return;
    }
    let (bounded, help) = if rule.action.is_whole_kind() {
        (rule.schedule.is_some(), "add `max_attempts: 5`, or a `schedule`")
    } else {
        (rule.give_up_after.is_some(), "add `max_attempts: 8`, or `give_up_after: 2d`, or both")
    };
    let mut counted = false;
    rule.condition.leaves(false, &mut |leaf, negated| {
        counted |= !negated
            && matches!(
                leaf.test,
                Test::Number(
                    NumberField::Attempts,
                    Comparison::Less | Comparison::AtMost | Comparison::Equal,
                    _
                )
            );
    });
    if !bounded && !counted {
        let message = format!("`{}` goes on for ever with a task that never succeeds", rule.action);
        reader
            .report(Code::UnboundedRetry, draft.action_span, message)
            .label("retries without end")
            .help(help);
    }
}

/// A retry whose time is up before its first wait is over.
fn gives_up_first(reader: &mut Reader<'_>, draft: &Draft) {
    let rule = &draft.rule;
    let Some(limit) = rule.give_up_after else { return };
    if draft.lost.broke("give_up_after") || draft.lost.has("backoff") {
        return;
    }
    let first = rule.backoff.wait(0, 0.0);
    if rule.action.effect() != Effect::Retry || rule.action.is_whole_kind() || limit > first {
        return;
    }
    let span = draft.own_key("give_up_after").or_else(|| draft.own_key("backoff"));
    let message = format!(
        "the rule gives up {} after the first failure, and first tries {} after it",
        format_duration(limit),
        format_duration(first)
    );
    reader
        .report(Code::GiveUpTooSoon, span.unwrap_or(draft.name_span), message)
        .label("gives up before the first try")
        .help("make `give_up_after` longer, or `backoff: { initial: ... }` shorter");
}

/// Keys that the rule gives itself and that change nothing.
fn no_effect(reader: &mut Reader<'_>, draft: &Draft) {
    let rule = &draft.rule;
    let action = rule.action;
    let retries = action.effect() == Effect::Retry;
    for (key, span) in &draft.own {
        let why = match *key {
            "catch_up" if rule.schedule.is_none() && !draft.lost.has("schedule") => {
                "there is no `schedule` whose firings could be missed".to_owned()
            }
            "timezone"
                if rule.schedule.is_none()
                    && rule.only_during.is_none()
                    && !draft.lost.has("schedule")
                    && !draft.lost.has("only_during") =>
            {
                "there is no `schedule` and no `only_during` that would speak of it".to_owned()
            }
            "retry_after" if !retries || action.is_whole_kind() => {
                format!("`{action}` waits for no task's error")
            }
            "breaker" if !retries || action.is_whole_kind() => {
                format!("`{action}` does not strain a storage task by task, so it has no breaker")
            }
            "max_attempts" | "give_up_after" | "on_give_up" | "identity" | "backoff" | "limits"
                if action == Action::Notify =>
            {
                "`notify` tells of each failure once and is never given up".to_owned()
            }
            "give_up_after" | "on_give_up" | "identity" | "per_tick" | "per_hour" | "max_share"
                if action.is_whole_kind() =>
            {
                format!("`{action}` is one call for a whole kind")
            }
            "on_give_up" | "only_during" | "breaker" if draft.lost.broke(key) => continue,
            "on_give_up" if retries => {
                let placed = rule.on_give_up.iter().zip(&draft.farewells);
                for (action, span) in placed.filter(|(action, _)| action.effect() == Effect::Cancel)
                {
                    let message = format!(
                        "`{action}` has no effect here: a task that a retry gives up has failed, and cannot be canceled"
                    );
                    reader
                        .report(Code::NoEffect, *span, message)
                        .label("without effect")
                        .help("drop it, or write `delete_some` to take the task off the list");
                }
                continue;
            }
            "only_during" if rule.only_during.as_ref().is_some_and(whole_day) => {
                "these hours are the whole day".to_owned()
            }
            "breaker" if strays_from(draft).is_some() => strays_from(draft).unwrap_or_default(),
            _ => continue,
        };
        reader
            .report(Code::NoEffect, *span, format!("`{key}` has no effect here: {why}"))
            .label("without effect")
            .help("drop it");
    }
}

/// Whether hours leave no minute of the day out.
fn whole_day(hours: &Hours) -> bool {
    hours.covers(Time::midnight()) && hours.windows.iter().all(|(_, end)| hours.covers(*end))
}

/// Why the key of the rule's breaker is one that none of its kinds has.
fn strays_from(draft: &Draft) -> Option<String> {
    let breaker = draft.rule.breaker.as_ref()?;
    let kinds = must_hold(draft).find_map(|site| match &site.leaf.test {
        Test::Kind(kinds) => Some(kinds),
        _ => None,
    })?;
    let lacks =
        breaker.by == BreakerKey::SrcMount && kinds.iter().all(|kind| no_source(kind, true));
    lacks.then(|| "tasks of this kind do not say a `src_mount`; use `by: dst_mount`".to_owned())
}

/// A schedule that only ever fires outside the hours in which the rule may act.
fn outside_hours(reader: &mut Reader<'_>, draft: &Draft) {
    let (Some(schedule), Some(hours)) = (&draft.rule.schedule, &draft.rule.only_during) else {
        return;
    };
    if ["schedule", "only_during"].iter().any(|key| draft.lost.has(key)) {
        return;
    }
    let pattern = &schedule.cron.pattern;
    let minutes = pattern.minutes.values();
    let inside = pattern.hours.values().into_iter().any(|hour| {
        minutes.iter().any(|minute| {
            let (hour, minute) = (i8::try_from(hour), i8::try_from(*minute));
            let time = hour
                .ok()
                .zip(minute.ok())
                .and_then(|(hour, minute)| jiff::civil::Time::new(hour, minute, 0, 0).ok());
            time.is_some_and(|time| hours.covers(time))
        })
    });
    if !inside {
        let own = |key| draft.own_key(key);
        let span = own("schedule").or_else(|| own("only_during")).unwrap_or(draft.name_span);
        let message = "`schedule` fires only outside the hours of `only_during`";
        let finding = reader.report(Code::ScheduleOutsideHours, span, message);
        finding.help("a firing waits until the hours begin; move one of the two so that they meet");
        if let Some(other) = own("only_during").filter(|other| *other != span) {
            finding.related(other, "the hours are given here");
        }
    }
}

/// The states in which a rule can take a task.
fn states(draft: &Draft) -> Vec<State> {
    let rule = &draft.rule;
    let canceled = rule.action.effect() != Effect::Retry || rule.asks_for_canceled();
    State::KNOWN
        .into_iter()
        .filter(|state| rule.action.fits(*state) && (*state != State::Canceled || canceled))
        .filter(|state| {
            must_hold(draft).all(|site| match &site.leaf.test {
                Test::State(states) => states.contains(state),
                _ => true,
            })
        })
        .filter(|state| {
            draft.sites.groups.iter().all(|group| match &group.members {
                Members::Not(Predicate::All(members)) => match members.as_slice() {
                    [Predicate::Leaf(Leaf { test: Test::State(states), .. })] => {
                        !states.contains(state)
                    }
                    _ => true,
                },
                _ => true,
            })
        })
        .collect()
}

fn must_hold(draft: &Draft) -> impl Iterator<Item = &Site> {
    draft.sites.leaves.iter().filter(|site| site.must_hold)
}

/// What is known of every task that a rule takes, and where the rule says so.
struct Known<'d> {
    states: Vec<State>,
    states_span: Span,
    states_words: &'static str,
    kinds: Option<(&'d [Kind], Span)>,
}

impl<'d> Known<'d> {
    fn of(draft: &'d Draft) -> Self {
        let given = must_hold(draft).find(|site| matches!(site.leaf.test, Test::State(_)));
        let kinds = must_hold(draft).find_map(|site| match &site.leaf.test {
            Test::Kind(kinds) => Some((kinds.as_slice(), site.key_span)),
            _ => None,
        });
        Self {
            states: states(draft),
            states_span: given.map_or(draft.action_span, |site| site.key_span),
            states_words: match given {
                Some(_) => "the states are given here",
                None => "the action decides the states",
            },
            kinds,
        }
    }

    fn only(&self, state: State) -> bool {
        self.states == [state]
    }

    /// Why a matcher cannot hold for such a task.
    fn excludes(&self, leaf: &Leaf) -> Option<Excluded> {
        let key = leaf.key;
        let by_state = |message: String, help: &'static str| {
            Some(Excluded { message, help, because: (self.states_span, self.states_words) })
        };
        let by_kind = |message: String, help: &'static str, span: Span| {
            Some(Excluded { message, help, because: (span, "the kind is given here") })
        };
        match &leaf.test {
            Test::State(states) if states.iter().all(|state| !self.states.contains(state)) => {
                by_state(
                    format!("the rule looks at no task that is {}", leaf.expected),
                    "drop it, or ask for those states",
                )
            }
            Test::Span(SpanField::RunningFor | SpanField::StalledFor, ..)
                if !self.states.contains(&State::Running) =>
            {
                by_state(
                    format!("`{key}` holds only for running tasks, and the rule looks at none"),
                    "use `age` for tasks that have ended",
                )
            }
            Test::Text(TextField::Error, patterns)
                if self.only(State::Succeeded) && !patterns.iter().any(|p| p.is_match("")) =>
            {
                by_state(
                    "a task that succeeded has no error".to_owned(),
                    "drop `error`, or ask for `state: failed`",
                )
            }
            Test::Class(classes)
                if self.only(State::Succeeded) && !classes.contains(&Class::Unknown) =>
            {
                by_state(
                    "a task that succeeded has no error to sort".to_owned(),
                    "drop `class`, or ask for `state: failed`",
                )
            }
            Test::Class(classes)
                if self.only(State::Canceled) && !classes.contains(&Class::Canceled) =>
            {
                by_state(
                    "a canceled task is of the class `canceled`, whatever its error".to_owned(),
                    "drop `class`, or hold the text against `error`",
                )
            }
            Test::Mount(Side::Dst, _) => {
                let (_, span) = self
                    .kinds
                    .filter(|(kinds, _)| kinds.iter().all(|kind| *kind == Kind::OfflineDownload))?;
                by_kind(
                    "an offline download names a folder and no mount".to_owned(),
                    "use `dst`, such as `dst: /media/**`",
                    span,
                )
            }
            Test::Mount(Side::Src, _) | Test::Path(PathField::Src, _) => {
                let (_, span) = self.kinds.filter(|(kinds, _)| {
                    kinds.iter().all(|kind| no_source(kind, key == "src_mount"))
                })?;
                by_kind(
                    format!("tasks of this kind do not say a `{key}`"),
                    "use `dst` or `dst_mount`, where they go",
                    span,
                )
            }
            _ => None,
        }
    }
}

/// Why a matcher cannot hold.
struct Excluded {
    message: String,
    help: &'static str,
    because: (Span, &'static str),
}

/// Matchers that cannot hold, alone or together.
fn never(reader: &mut Reader<'_>, draft: &Draft) {
    if draft.lost.harms {
        return;
    }
    let sites: Vec<&Site> = must_hold(draft).collect();
    let mut told = |span: Span, message: String, other: Option<(Span, &str)>, help: &str| {
        let finding = reader.report(Code::NeverMatches, span, message);
        finding.label("never holds").help(help);
        if let Some((other, words)) = other {
            finding.related(other, words);
        }
    };
    for site in draft.sites.leaves.iter().filter(|site| !site.negated) {
        if let Some(why) = hopeless(&site.leaf.test, &draft.rule) {
            told(
                site.span,
                format!("`{}` never holds: {why}", site.leaf.key),
                None,
                "change the bound",
            );
        }
    }
    for (index, site) in sites.iter().enumerate() {
        if let Some(other) =
            sites[..index].iter().find(|other| disjoint(&other.leaf.test, &site.leaf.test))
        {
            told(
                site.key_span,
                format!(
                    "`{0}: {1}` and `{0}: {2}` never hold together",
                    site.leaf.key, other.leaf.expected, site.leaf.expected
                ),
                Some((other.key_span, "the other is here")),
                "drop one of them, or put them under `any:` if either will do",
            );
            return;
        }
    }
    let known = Known::of(draft);
    let mut given = Vec::new();
    conjuncts(&draft.rule.condition, &mut given);
    for group in &draft.sites.groups {
        let Members::Not(inner) = &group.members else { continue };
        // What could not be read left a finding, and nothing to judge.
        if matches!(inner, Predicate::All(members) if members.is_empty()) {
            continue;
        }
        let others: Vec<&Predicate> =
            given.iter().copied().filter(|other| !matches!(other, Predicate::Not(_))).collect();
        if known.states.is_empty() || implied(&others, inner) {
            told(
                group.key_span,
                "`not` takes away all that the other matchers and the action leave".to_owned(),
                Some((known.states_span, known.states_words)).filter(|_| known.states.is_empty()),
                "drop it, or widen the other matchers",
            );
            return;
        }
    }
    for site in &sites {
        if let Some(excluded) = known.excludes(&site.leaf) {
            told(site.key_span, excluded.message, Some(excluded.because), excluded.help);
        }
    }
    for group in &draft.sites.groups {
        let Members::Any(members) = &group.members else { continue };
        let reasons: Vec<(Span, Option<Excluded>)> = members
            .iter()
            .map(|(member, span)| {
                let mut leaves = Vec::new();
                conjuncts(member, &mut leaves);
                let why = leaves.into_iter().find_map(|member| match member {
                    Predicate::Leaf(leaf) => known.excludes(leaf).or_else(|| {
                        let other =
                            sites.iter().find(|site| disjoint(&site.leaf.test, &leaf.test))?;
                        Some(Excluded {
                            message: format!(
                                "`{0}: {1}` never holds beside `{0}: {2}`",
                                leaf.key, leaf.expected, other.leaf.expected
                            ),
                            help: "drop one of them",
                            because: (other.key_span, "the other is here"),
                        })
                    }),
                    _ => None,
                });
                (*span, why)
            })
            .collect();
        for (span, why) in reasons {
            let Some(why) = why else { continue };
            told(span, why.message, Some(why.because), why.help);
        }
    }
}

/// Whether the names of this kind's tasks tell nothing of where they come from (CONTRACT.md,
/// "Names").
fn no_source(kind: &Kind, mount: bool) -> bool {
    match kind {
        Kind::Upload | Kind::DecompressUpload => true,
        Kind::OfflineDownload => mount,
        _ => false,
    }
}

/// Why a single test can never hold.
fn hopeless(test: &Test, rule: &Rule) -> Option<String> {
    let Test::Number(field, comparison, bound) = test else {
        return None;
    };
    let (least, most) = match field {
        NumberField::Progress => (0.0, Some((100.0, "no task is beyond 100%".to_owned()))),
        // A server counts bytes in a signed number of 64 bits.
        NumberField::Size => (0.0, Some((2_f64.powi(63), "sizes end at 8 EiB".to_owned()))),
        NumberField::Attempts => {
            let most = rule.max_attempts.map(|max| {
                (f64::from(max) - 1.0, format!("after {max} attempts the rule gives the task up"))
            });
            (0.0, most)
        }
    };
    let wanted = range(*comparison, *bound)?;
    if wanted
        .overlap(&Range { low: least, high: f64::INFINITY, open_low: false, open_high: false })
        .is_none()
    {
        return Some("nothing is below zero".to_owned());
    }
    let (most, why) = most?;
    wanted
        .overlap(&Range { low: f64::NEG_INFINITY, high: most, open_low: false, open_high: false })
        .is_none()
        .then_some(why)
}

/// The numbers that a comparison takes in.
struct Range {
    low: f64,
    high: f64,
    open_low: bool,
    open_high: bool,
}

impl Range {
    fn overlap(&self, other: &Self) -> Option<()> {
        let below =
            |a: &Self, b: &Self| a.high < b.low || (a.high <= b.low && (a.open_high || b.open_low));
        (!below(self, other) && !below(other, self)).then_some(())
    }

    /// Whether all that this takes in the other does too.
    fn within(&self, other: &Self) -> bool {
        let low =
            self.low > other.low || (self.low >= other.low && (self.open_low || !other.open_low));
        let high = self.high < other.high
            || (self.high <= other.high && (self.open_high || !other.open_high));
        low && high
    }
}

fn range(comparison: Comparison, bound: f64) -> Option<Range> {
    let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
    let (low, high, open_low, open_high) = match comparison {
        Comparison::Less => (low, bound, false, true),
        Comparison::AtMost => (low, bound, false, false),
        Comparison::Equal => (bound, bound, false, false),
        Comparison::AtLeast => (bound, high, false, false),
        Comparison::More => (bound, high, true, false),
        Comparison::NotEqual => return None,
    };
    Some(Range { low, high, open_low, open_high })
}

/// Whether two tests can never hold for one task.
fn disjoint(left: &Test, right: &Test) -> bool {
    fn apart<T: PartialEq>(left: &[T], right: &[T]) -> bool {
        left.iter().all(|value| !right.contains(value))
    }
    let compared = |a: (Comparison, f64), b: (Comparison, f64)| {
        range(a.0, a.1).zip(range(b.0, b.1)).is_some_and(|(a, b)| a.overlap(&b).is_none())
    };
    match (left, right) {
        (Test::Server(left), Test::Server(right)) => apart(left, right),
        (Test::Kind(left), Test::Kind(right)) => apart(left, right),
        (Test::State(left), Test::State(right)) => apart(left, right),
        (Test::Class(left), Test::Class(right)) => apart(left, right),
        (Test::Creator(left), Test::Creator(right)) => apart(left, right),
        (Test::Number(a, ac, ab), Test::Number(b, bc, bb)) => {
            a == b && compared((*ac, *ab), (*bc, *bb))
        }
        (Test::Span(a, ac, ab), Test::Span(b, bc, bb)) => {
            a == b && compared((*ac, ab.as_secs_f64()), (*bc, bb.as_secs_f64()))
        }
        _ => false,
    }
}

/// Rules to which an earlier one leaves nothing.
fn shadowed(reader: &mut Reader<'_>, drafts: &[Draft]) {
    let looks: Vec<(Vec<State>, Vec<&Predicate>)> = drafts
        .iter()
        .map(|draft| {
            let mut members = Vec::new();
            conjuncts(&draft.rule.condition, &mut members);
            (states(draft), members)
        })
        .collect();
    for (index, later) in drafts.iter().enumerate() {
        if later.lost.any || later.rule.mode == Mode::Off || looks[index].0.is_empty() {
            continue;
        }
        let earlier = drafts[..index].iter().zip(&looks).find(|(earlier, (states, members))| {
            !earlier.lost.any
                && keeps_its_tasks(&earlier.rule, &later.rule)
                && looks[index].0.iter().all(|state| states.contains(state))
                && members.iter().all(|member| is_state(member) || implied(&looks[index].1, member))
        });
        if let Some((earlier, _)) = earlier {
            let message =
                format!("rule `{}` takes every task that this rule could", earlier.rule.name);
            reader
                .report(Code::ShadowedRule, later.name_span, message)
                .label("never gets a task")
                .related(earlier.name_span, "the first rule that matches a task keeps it")
                .help("put the narrower rule first, or let the other go on with `continue: true`, or bound it with `max_attempts`");
        }
    }
}

/// Whether a rule that takes a task leaves none of it to the other.
fn keeps_its_tasks(earlier: &Rule, later: &Rule) -> bool {
    let lets_go = earlier.max_attempts.is_some() || earlier.give_up_after.is_some();
    let counts = !matches!(earlier.action, Action::Notify) && !earlier.action.is_whole_kind();
    let mut asks_attempts = false;
    earlier.condition.leaves(false, &mut |leaf, _| asks_attempts |= leaf.key == "attempts");
    // A retry leaves what a person canceled to other rules; and two in a row without effect end it.
    let retry = earlier.action.effect() == Effect::Retry && !earlier.action.is_whole_kind();
    if earlier.continues || asks_attempts || (lets_go && counts) {
        return false;
    }
    if retry && later.action.effect() != Effect::Retry {
        return false;
    }
    earlier.mode == Mode::Live || (earlier.mode == Mode::DryRun && later.mode == Mode::DryRun)
}

fn is_state(predicate: &Predicate) -> bool {
    matches!(predicate, Predicate::Leaf(Leaf { test: Test::State(_), .. }))
}

/// Whether `wanted` holds wherever all of `given` do, as far as their forms tell.
fn implied(given: &[&Predicate], wanted: &Predicate) -> bool {
    match wanted {
        Predicate::All(members) => members.iter().all(|member| implied(given, member)),
        Predicate::Any(members) if members.iter().any(|member| implied(given, member)) => true,
        Predicate::Any(_) | Predicate::Not(_) => {
            let wanted = revision::predicate(wanted);
            given.iter().any(|given| {
                !matches!(given, Predicate::Leaf(_)) && revision::predicate(given) == wanted
            })
        }
        Predicate::Leaf(leaf) => given.iter().any(|given| match given {
            Predicate::Leaf(given) => narrower(given, leaf),
            Predicate::Any(members) => members.iter().all(|member| {
                let mut parts = Vec::new();
                conjuncts(member, &mut parts);
                implied(&parts, wanted)
            }),
            Predicate::All(_) | Predicate::Not(_) => false,
        }),
    }
}

/// Whether the first test holds only where the second does.
fn narrower(narrow: &Leaf, wide: &Leaf) -> bool {
    fn within<T: PartialEq>(narrow: &[T], wide: &[T]) -> bool {
        narrow.iter().all(|value| wide.contains(value))
    }
    let compared = |a: (Comparison, f64), b: (Comparison, f64)| {
        a == b || range(a.0, a.1).zip(range(b.0, b.1)).is_some_and(|(a, b)| a.within(&b))
    };
    if narrow.key != wide.key {
        return false;
    }
    match (&narrow.test, &wide.test) {
        (Test::Server(narrow), Test::Server(wide)) => within(narrow, wide),
        (Test::Kind(narrow), Test::Kind(wide)) => within(narrow, wide),
        (Test::State(narrow), Test::State(wide)) => within(narrow, wide),
        (Test::Class(narrow), Test::Class(wide)) => within(narrow, wide),
        (Test::Creator(narrow), Test::Creator(wide)) => within(narrow, wide),
        (Test::Role(narrow), Test::Role(wide)) => within(narrow, wide),
        (Test::Text(_, narrow), Test::Text(_, wide)) => {
            let wide: Vec<&str> = wide.iter().map(Pattern::as_str).collect();
            narrow.iter().all(|pattern| wide.contains(&pattern.as_str()))
        }
        (Test::Path(..), Test::Path(..)) | (Test::Mount(..), Test::Mount(..)) => {
            let wide: Vec<&str> = wide.expected.split(" | ").collect();
            wide.contains(&"**") || narrow.expected.split(" | ").all(|glob| wide.contains(&glob))
        }
        (Test::Number(_, nc, nb), Test::Number(_, wc, wb)) => compared((*nc, *nb), (*wc, *wb)),
        (Test::Span(_, nc, nb), Test::Span(_, wc, wb)) => {
            compared((*nc, seconds(*nb)), (*wc, seconds(*wb)))
        }
        _ => false,
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use crate::rules::{Code, Severity, Source, load};

    /// The lints of two rules, given as what stands behind their names, with the lines they are in.
    fn lints(rules: &[&str]) -> Vec<(Code, String)> {
        let mut text =
            "version: 1\nservers: [{ name: s, url: 'http://x', token: t }]\nrules:\n".to_owned();
        for (index, rule) in rules.iter().enumerate() {
            let line = format!("  - {{ name: r{index}, {rule} }}\n");
            text.push_str(&line);
        }
        let loaded = load(Source::new("x", &text));
        for finding in &loaded.findings {
            assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
        }
        let shown = &loaded.files[0].text;
        loaded.findings.iter().map(|f| (f.code, shown[f.span.range()].to_owned())).collect()
    }

    #[test]
    fn an_earlier_rule_that_takes_more_shadows() {
        let shadowed = |earlier: &str, later: &str| {
            lints(&[earlier, later]).contains(&(Code::ShadowedRule, "r1".to_owned()))
        };
        let delete = "action: delete_some";
        for (earlier, later) in [
            ("match: { state: failed }", "match: { state: failed }"),
            ("match: { state: failed }", "match: { state: failed, error: x }"),
            ("match: { state: [failed, canceled] }", "match: { state: failed }"),
            ("match: { kind: [copy, move] }", "match: { kind: copy, age: 7d }"),
            ("match: { age: 1d }", "match: { age: 7d, state: failed }"),
            ("match: { size: '> 1GiB' }", "match: { size: '>= 2GiB' }"),
            ("match: { error: [a, b] }", "match: { error: b }"),
            ("match: { any: [{ kind: copy }, { error: x }] }", "match: { error: x }"),
            (
                "match: { kind: [copy, move] }",
                "match: { any: [{ kind: copy }, { kind: move, age: 1d }] }",
            ),
            ("match: { not: { kind: copy } }", "match: { not: { kind: copy }, age: 1d }"),
            ("match: { dst_mount: '**' }", "match: { dst_mount: /a }"),
        ] {
            assert!(
                shadowed(&format!("{earlier}, {delete}"), &format!("{later}, {delete}")),
                "{earlier} {later}"
            );
        }
        for (earlier, later) in [
            ("match: { state: failed, error: x }", "match: { state: failed }"),
            ("match: { state: failed }", "match: { state: [failed, canceled] }"),
            ("match: { age: 7d }", "match: { age: 1d }"),
            ("match: { age: '> 1d' }", "match: { age: 1d }"),
            ("match: { kind: copy }", "match: { not: { kind: copy } }"),
            ("match: { state: failed }, continue: true", "match: { state: failed }"),
            ("match: { state: failed }, mode: off", "match: { state: failed }"),
            ("match: { state: failed }, mode: dry_run", "match: { state: failed }"),
            ("match: { state: failed }, max_attempts: 2", "match: { state: failed }"),
            ("match: { state: failed, attempts: '< 2' }", "match: { state: failed }"),
        ] {
            assert!(
                !shadowed(&format!("{earlier}, {delete}"), &format!("{later}, {delete}")),
                "{earlier} {later}"
            );
        }
        // A retry lets a task go when it does not take, and leaves what a person canceled.
        assert!(!shadowed(
            "match: { state: failed }, action: retry_some",
            "match: { state: failed }, action: delete_some"
        ));
        assert!(shadowed(
            "match: { kind: copy }, action: notify",
            "match: { kind: copy }, action: delete_some"
        ));
    }

    #[test]
    fn what_cannot_hold_is_told() {
        let never = |rule: &str| lints(&[rule]).iter().any(|(code, _)| *code == Code::NeverMatches);
        for rule in [
            "match: { state: succeeded, error: x }, action: delete_some",
            "match: { state: succeeded, class: network }, action: delete_some",
            "match: { stalled_for: 5m }, action: delete_some",
            "match: { state: pending, running_for: 5m }, action: cancel_some",
            "match: { kind: copy, all: [{ kind: move }] }, action: notify",
            "match: { progress: '> 100' }, action: notify",
            "match: { size: '< 0' }, action: notify",
            "match: { all: [{ size: '> 2GiB' }, { size: '< 1GiB' }] }, action: notify",
            "match: { kind: upload, src_mount: /a }, action: notify",
            "match: { kind: offline_download, dst_mount: /a }, action: notify",
            "match: { attempts: 3 }, max_attempts: 3, action: delete_some",
            "match: { kind: copy, not: { kind: copy } }, action: notify",
            "match: { kind: copy, not: { kind: [copy, move] } }, action: notify",
            "match: { not: { state: failed } }, action: retry_some, max_attempts: 3",
            "match: { state: canceled, class: network }, action: delete_some",
            "match: { state: succeeded, any: [{ error: a }, { class: network }] }, action: delete_some",
            "match: { state: succeeded, any: [{ error: a }, { kind: copy }] }, action: delete_some",
            "match: { kind: copy, any: [{ kind: move, age: 1d }, { kind: copy }] }, action: notify",
            "match: { size: '> 9000000TiB' }, action: notify",
            "match: { file: '/media/*.mkv' }, action: notify",
        ] {
            assert!(never(rule), "{rule}");
        }
        for rule in [
            "match: { state: succeeded, error: '^$' }, action: delete_some",
            "match: { any: [{ state: succeeded }, { error: x }] }, action: delete_some",
            "match: { state: running, stalled_for: 5m }, action: cancel_some",
            "match: { stalled_for: 5m }, action: cancel_some",
            "match: { progress: '>= 100' }, action: notify",
            "match: { all: [{ size: '>= 1GiB' }, { size: '<= 1GiB' }] }, action: notify",
            "match: { attempts: 2 }, max_attempts: 3, action: delete_some",
            "match: { kind: [upload, copy], src_mount: /a }, action: notify",
            "match: { kind: [copy, move], not: { kind: copy } }, action: notify",
            "match: { kind: copy, not: { kind: copy, age: 1d } }, action: notify",
            "match: { not: { state: [failed, canceled] } }, action: delete_some",
            "match: { state: [canceled, failed], class: network }, action: delete_some",
            "match: { state: canceled, class: canceled }, action: delete_some",
            "match: { not: { any: [{ state: succeeded, error: a }] } }, action: delete_some",
            "match: { file: '**/*.mkv' }, action: notify",
        ] {
            assert!(!never(rule), "{rule}");
        }
    }

    #[test]
    fn what_changes_nothing_is_told_at_its_word() {
        for (rule, word) in [
            ("on_give_up: [notify, cancel], action: retry_some, max_attempts: 2", "cancel"),
            ("only_during: ['00:00-12:00', '12:00-24:00'], action: notify", "only_during"),
            ("only_during: ['12:00-06:00', '05:00-13:00'], action: notify", "only_during"),
            (
                "match: { kind: upload }, breaker: { by: src_mount }, action: retry_some, max_attempts: 2",
                "breaker",
            ),
        ] {
            let rule = if rule.contains("match") {
                rule.to_owned()
            } else {
                format!("match: {{ kind: copy }}, {rule}")
            };
            assert_eq!(lints(&[&rule]), [(Code::NoEffect, word.to_owned())], "{rule}");
        }
        for rule in [
            "only_during: ['00:00-12:00', '12:01-24:00'], action: notify",
            "breaker: { by: src_mount }, action: retry_some, max_attempts: 2",
            "on_give_up: [notify, cancel], action: cancel_some, max_attempts: 2",
        ] {
            assert_eq!(lints(&[&format!("match: {{ kind: copy }}, {rule}")]), [], "{rule}");
        }
    }

    #[test]
    fn a_retry_that_gives_up_first_is_told() {
        let told = |rule: &str| {
            let rule = format!("match: {{ state: failed, kind: copy }}, {rule}");
            lints(&[&rule]).contains(&(Code::GiveUpTooSoon, "give_up_after".to_owned()))
        };
        assert!(told("action: retry_some, give_up_after: 30s"));
        assert!(told("action: retry_some, give_up_after: 1h, backoff: { initial: 1h }"));
        assert!(!told("action: retry_some, give_up_after: 2h, backoff: { initial: 1h }"));
        assert!(!told("action: retry_some, give_up_after: 30s, backoff: { jitter: full }"));
        assert!(!told("action: delete_some, give_up_after: 30s"));
    }
}
