//! The `rules` and the `defaults` of a rules file.

use std::collections::BTreeMap;
use std::time::Duration;

use croner::Cron;
use jiff::civil::Time;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use regex::Regex;

use super::codes::Code;
use super::finding::Span;
use super::matchers::Sites;
use super::reader::{At, Bound, Fields, LONGEST, Place, Reader, SHORTEST, shorten, suggest};
use super::servers::first_key;
use super::yaml::Value;
use super::{cron, keys, values};
use crate::engine::backoff::{Backoff, Jitter};
use crate::engine::breaker::{BreakerKey, BreakerSettings};
use crate::engine::predicate::{Predicate, Test, format_duration};
use crate::engine::rule::{Action, Effect, Identity, Limits, Mode, Rule};
use crate::engine::schedule::{Hours, Schedule};
use crate::engine::task::{RuleName, State};

/// A rule with the places its parts have in the file.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) rule: Rule,
    pub(super) name_span: Span,
    pub(super) action_span: Span,
    pub(super) sites: Sites,
    /// The keys that the rule gives itself, without those from `defaults`.
    pub(super) own: Vec<(&'static str, Span)>,
    /// The places of the rule's own `on_give_up`, in its order.
    pub(super) farewells: Vec<Span>,
    pub(super) lost: Lost,
}

/// What of a rule could not be read, so that nothing can be concluded from its absence.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// The keys whose values were wrong, those of `defaults` among them.
    keys: Vec<&'static str>,
    /// Whether there are keys that do not exist, any of which may be meant for one that does.
    strange: bool,
    /// Whether the action does harm in a state that is named: an error, which makes lints of it noise.
    pub(super) harms: bool,
    /// Whether anything was wrong at all.
    pub(super) any: bool,
}

impl Lost {
    /// Whether the rule may have meant something by a key that it seems not to have.
    pub(super) fn has(&self, key: &str) -> bool {
        self.strange || self.broke(key)
    }

    /// Whether the value of a key was wrong, so that the rule has another one or none.
    pub(super) fn broke(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

impl Draft {
    /// Where the rule itself gives a key.
    pub(super) fn own_key(&self, key: &str) -> Option<Span> {
        self.own.iter().find(|(own, _)| *own == key).map(|(_, span)| *span)
    }
}

/// The keys of a rule that may stand under `defaults` too. `None` is not given.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    mode: Option<Mode>,
    continues: Option<bool>,
    identity: Option<Identity>,
    max_attempts: Option<Bound<u32>>,
    give_up_after: Option<Bound<Duration>>,
    on_give_up: Option<Vec<Action>>,
    initial: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    jitter: Option<Jitter>,
    retry_after: Option<Bound<Regex>>,
    schedule: Option<Bound<(String, Cron)>>,
    timezone: Option<TimeZone>,
    catch_up: Option<bool>,
    only_during: Option<Bound<Vec<(Time, Time)>>>,
    per_tick: Option<Bound<u32>>,
    per_hour: Option<Bound<u32>>,
    max_share: Option<Bound<f64>>,
    only_if_undone_below: Option<Bound<u32>>,
    breaker: Option<BreakerSetting>,
    lost: Lost,
}

#[derive(Clone, Debug)]
enum BreakerSetting {
    Off,
    On(BreakerFields),
}

#[derive(Clone, Debug, Default)]
struct BreakerFields {
    by: Option<BreakerKey>,
    open_after: Option<u32>,
    within: Option<Duration>,
    cool_down: Option<Duration>,
}

/// The words of a mode.
pub(super) fn modes() -> [(&'static str, Mode); 3] {
    [("live", Mode::Live), ("dry_run", Mode::DryRun), ("off", Mode::Off)]
}

impl Settings {
    /// These where given, else the other ones.
    fn or(self, other: &Self) -> Self {
        let other = other.clone();
        let breaker = match (self.breaker, other.breaker) {
            (Some(BreakerSetting::On(own)), Some(BreakerSetting::On(other))) => {
                Some(BreakerSetting::On(BreakerFields {
                    by: own.by.or(other.by),
                    open_after: own.open_after.or(other.open_after),
                    within: own.within.or(other.within),
                    cool_down: own.cool_down.or(other.cool_down),
                }))
            }
            (own, other) => own.or(other),
        };
        let mut lost = self.lost;
        lost.keys.extend(other.lost.keys);
        lost.strange |= other.lost.strange;
        Self {
            lost,
            mode: self.mode.or(other.mode),
            continues: self.continues.or(other.continues),
            identity: self.identity.or(other.identity),
            max_attempts: self.max_attempts.or(other.max_attempts),
            give_up_after: self.give_up_after.or(other.give_up_after),
            on_give_up: self.on_give_up.or(other.on_give_up),
            initial: self.initial.or(other.initial),
            factor: self.factor.or(other.factor),
            max: self.max.or(other.max),
            jitter: self.jitter.or(other.jitter),
            retry_after: self.retry_after.or(other.retry_after),
            schedule: self.schedule.or(other.schedule),
            timezone: self.timezone.or(other.timezone),
            catch_up: self.catch_up.or(other.catch_up),
            only_during: self.only_during.or(other.only_during),
            per_tick: self.per_tick.or(other.per_tick),
            per_hour: self.per_hour.or(other.per_hour),
            max_share: self.max_share.or(other.max_share),
            only_if_undone_below: self.only_if_undone_below.or(other.only_if_undone_below),
            breaker,
        }
    }

    fn backoff(&self) -> Backoff {
        let built_in = Backoff::default();
        let initial = self.initial.unwrap_or_else(|| {
            // A `max` below the built-in first wait shortens that too.
            self.max.map_or(built_in.initial, |max| max.min(built_in.initial))
        });
        Backoff {
            initial,
            factor: self.factor.unwrap_or(built_in.factor),
            // Twice as long, so that jitter can lengthen the first wait.
            max: self.max.unwrap_or(built_in.max.max(initial.saturating_mul(2))),
            jitter: self.jitter.unwrap_or(built_in.jitter),
        }
    }

    fn breaker(&self, action: Action, initial: Duration) -> Option<BreakerSettings> {
        if action.effect() != Effect::Retry || action.is_whole_kind() {
            return None;
        }
        let (fields, only_throttled) = match &self.breaker {
            Some(BreakerSetting::Off) => return None,
            Some(BreakerSetting::On(fields)) => (fields.clone(), false),
            None => (BreakerFields::default(), true),
        };
        let scale = initial.saturating_mul(10);
        Some(BreakerSettings {
            by: fields.by.unwrap_or(BreakerKey::DstMount),
            open_after: fields.open_after.unwrap_or(5),
            within: fields.within.unwrap_or(scale),
            cool_down: fields.cool_down.unwrap_or(scale),
            only_throttled,
        })
    }

    fn limits(&self, action: Action) -> Limits {
        let built_in = Limits::built_in(action);
        Limits {
            per_tick: self.per_tick.map_or(built_in.per_tick, Bound::value),
            per_hour: self.per_hour.map_or(built_in.per_hour, Bound::value),
            max_share: self.max_share.map_or(built_in.max_share, Bound::value),
            only_if_undone_below: self
                .only_if_undone_below
                .map_or(built_in.only_if_undone_below, Bound::value),
        }
    }

    fn rule(self, name: RuleName, action: Action, condition: Predicate) -> Rule {
        let backoff = self.backoff();
        let breaker = self.breaker(action, backoff.initial);
        let limits = self.limits(action);
        let zone = self.timezone.unwrap_or(TimeZone::UTC);
        let catch_up = self.catch_up.unwrap_or_default();
        let schedule = self.schedule.and_then(Bound::value).map(|(text, cron)| Schedule {
            text,
            cron,
            zone: zone.clone(),
            catch_up,
        });
        Rule {
            name,
            condition,
            action,
            mode: self.mode.unwrap_or_default(),
            continues: self.continues.unwrap_or_default(),
            identity: self.identity.unwrap_or_default(),
            max_attempts: self.max_attempts.and_then(Bound::value),
            give_up_after: self.give_up_after.and_then(Bound::value),
            on_give_up: self.on_give_up.unwrap_or_default(),
            backoff,
            retry_after: self.retry_after.and_then(Bound::value),
            schedule,
            only_during: self
                .only_during
                .and_then(Bound::value)
                .map(|windows| Hours { windows, zone }),
            limits,
            breaker,
        }
    }
}

impl Reader<'_> {
    pub(super) fn defaults(&mut self, at: At<'_>) -> Settings {
        match self.fields(at.node, at.span, Place::Defaults) {
            Some(fields) => self.settings(&fields, None),
            None => Settings::default(),
        }
    }

    /// Reads the lists of rules of all files, as one. What of a rule could not be read left a finding, and
    /// the rule is without it; one without an action is left out.
    pub(super) fn rules(&mut self, lists: &[At<'_>], defaults: &Settings) -> Vec<Draft> {
        let mut items = Vec::new();
        for at in lists {
            match &at.node.value {
                Value::Seq(nodes) => items.extend(nodes.iter().map(|node| (at, node))),
                Value::Null => {}
                _ => self.wrong_type(*at, "a list of rules", "begin each rule with `- name: ...`"),
            }
        }
        let mut names: BTreeMap<&str, Span> = BTreeMap::new();
        let mut drafts = Vec::with_capacity(items.len());
        for (at, node) in items {
            let span = if node.span.is_empty() { at.key_span } else { node.span };
            let Some(fields) = self.fields(node, span, Place::Rule) else { continue };
            let name = if let Some(at) = fields.get("name") {
                self.text(at).map(|name| (name, at.span))
            } else {
                let start = first_key(node).unwrap_or(span);
                self.report(Code::MissingKey, start, "a rule needs a `name`")
                    .help("add `name:` with a few words; the audit trail calls the rule so");
                None
            };
            if let Some((name, span)) = name {
                if let Some(first) = names.get(name) {
                    let first = *first;
                    self.report(
                        Code::DuplicateRule,
                        span,
                        format!("two rules are called `{}`", shorten(name)),
                    )
                    .label("a second time")
                    .related(first, "first here")
                    .help(
                        "give each rule its own name: what is remembered of tasks is kept under it",
                    );
                } else {
                    names.insert(name, span);
                }
            }
            drafts.extend(self.rule(name, &fields, span, defaults));
        }
        drafts
    }

    fn rule(
        &mut self,
        name: Option<(&str, Span)>,
        fields: &Fields<'_>,
        span: Span,
        defaults: &Settings,
    ) -> Option<Draft> {
        let before = self.errors();
        let (text, name_span) = name.unwrap_or(("", span));
        let action = if let Some(at) = fields.get("action") {
            self.action(at).map(|action| (action, at.span))
        } else {
            let names = keys::ACTIONS.map(Action::as_str).join(", ");
            self.report(Code::MissingKey, name_span, "the rule needs an `action`")
                .help(format!("add `action:` with one of {names}"));
            None
        };
        let settings = self.settings(fields, Some(defaults)).or(defaults);
        let mut lost = settings.lost.clone();
        let mut sites = Sites::default();
        let matching = fields.get("match");
        let matched = self.errors();
        let condition = match matching {
            Some(at) => self.condition(at, &mut sites),
            None => Predicate::All(Vec::new()),
        };
        let (action, action_span) = action?;
        if self.errors() > matched {
            lost.keys.push("match");
            // Without one of its members a group says something else.
            sites.groups.clear();
        }
        let harmless = self.errors();
        self.harm(action, action_span, &sites);
        lost.harms = self.errors() > harmless;
        if matching.is_none() && lost.strange {
            // It may well be there, under another name.
        } else if matching.is_none_or(|at| {
            matches!(&at.node.value, Value::Null)
                || matches!(&at.node.value, Value::Map(entries) if entries.is_empty())
        }) {
            let at = matching.map_or(name_span, |at| at.key_span);
            self.report(
                Code::EmptyMatch,
                at,
                format!("without matchers the rule takes every task that `{action}` fits"),
            )
            .help("say under `match:` which tasks are meant, such as `match: { kind: copy }`");
        }
        lost.any = self.errors() > before || text.is_empty();
        let own = own_keys(fields);
        let farewells = fields.get("on_give_up").map(At::items).unwrap_or_default();
        let farewells = farewells.into_iter().map(|item| item.span).collect();
        let rule = settings.rule(RuleName::new(text), action, condition);
        Some(Draft { rule, name_span, action_span, sites, own, farewells, lost })
    }

    fn action(&mut self, at: At<'_>) -> Option<Action> {
        let items = match &at.node.value {
            Value::Seq(_) => {
                self.wrong_type(
                    at,
                    "one action",
                    "write one rule for each action; `continue: true` lets both look at a task",
                );
                return None;
            }
            _ => at,
        };
        let text = self.text(items)?;
        let found = Action::ALL.into_iter().find(|action| action.as_str() == text);
        if found.is_none() {
            let message = format!("there is no action `{}`", shorten(text));
            let finding = self.report(Code::UnknownAction, at.span, message);
            let meant = match text {
                "remove" | "remove_some" | "clear" | "delete_all" => Some("delete_some"),
                "stop" | "kill" | "abort" | "cancel_all" => Some("cancel_some"),
                "restart" | "rerun" | "requeue" | "retry_all" => Some("retry_some"),
                "alert" | "log" | "warn" => Some("notify"),
                _ => None,
            };
            match meant {
                Some(meant) => {
                    finding.help(format!("did you mean `{meant}`?"));
                }
                None => suggest(finding, text, Action::ALL.into_iter().map(Action::as_str)),
            }
        }
        found
    }

    /// Actions on states where they do harm are errors, whatever else the rule says.
    fn harm(&mut self, action: Action, action_span: Span, sites: &Sites) {
        if action.is_whole_kind() {
            self.whole_kind(action, action_span, sites);
        }
        for (state, span, negated) in &sites.states {
            if *negated || action.fits(*state) {
                continue;
            }
            let retries = action.effect() == Effect::Retry && !action.is_whole_kind();
            let code = if retries { Code::RetryHarmfulState } else { Code::ActionStateMismatch };
            let message = format!("`{action}` {}", harm_of(action, *state));
            let fitting: Vec<&str> = [Action::RetrySome, Action::CancelSome, Action::DeleteSome]
                .into_iter()
                .filter(|other| other.fits(*state))
                .map(Action::as_str)
                .collect();
            let own: Vec<&str> = State::KNOWN
                .into_iter()
                .filter(|state| action.fits(*state))
                .filter_map(State::name)
                .collect();
            let own = own.join(", ");
            let help = match fitting.as_slice() {
                [] => format!("no action fits `{state}`; `{action}` fits {own}"),
                others => {
                    format!("use `{}` on `{state}`; `{action}` fits {own}", others.join("` or `"))
                }
            };
            self.report(code, *span, message)
                .label(format!("not for `{action}`"))
                .related(action_span, "the action is given here")
                .help(help);
        }
    }

    /// A whole-kind call asks about nothing but its kind.
    fn whole_kind(&mut self, action: Action, action_span: Span, sites: &Sites) {
        let (instead, touched) = match action {
            Action::ClearSucceeded => ("delete_some", "every succeeded task"),
            Action::ClearDone => ("delete_some", "every succeeded, failed and canceled task"),
            _ => ("retry_some", "every failed task"),
        };
        for site in &sites.leaves {
            let honoured = match site.leaf.key {
                "server" | "kind" => true,
                "state" => {
                    let all_done = |test: &Test| {
                        let Test::State(states) = test else { return false };
                        State::KNOWN
                            .iter()
                            .filter(|state| state.is_done())
                            .all(|state| states.contains(state))
                    };
                    site.must_hold && (action != Action::ClearDone || all_done(&site.leaf.test))
                }
                _ => false,
            };
            if honoured {
                continue;
            }
            let message = format!(
                "`{action}` acts on {touched} of a kind and cannot honour `{}`",
                site.leaf.key
            );
            let help = match (action, site.leaf.key) {
                (Action::ClearDone, "state") => {
                    "use `delete_some`, or `clear_succeeded` for all succeeded ones".to_owned()
                }
                _ => format!("use `{instead}`"),
            };
            self.report(Code::WholeKindMatcher, site.key_span, message)
                .label("would be ignored")
                .related(action_span, "the action is given here")
                .help(help);
        }
    }

    fn on_give_up(&mut self, at: At<'_>) -> Option<Vec<Action>> {
        if let Value::Text(scalar) = &at.node.value
            && keys::NONE.contains(&&*scalar.text)
        {
            return Some(Vec::new());
        }
        self.list(at, |reader, item| {
            if item.is_none() {
                let message = "`none` stands alone, and not in a list";
                reader
                    .report(Code::ConflictingKeys, item.span, message)
                    .help("drop it, or the others");
                return None;
            }
            let action = reader.action(item)?;
            let fine = matches!(
                action,
                Action::Notify
                    | Action::Delete
                    | Action::DeleteSome
                    | Action::Cancel
                    | Action::CancelSome
            );
            if !fine {
                let message = format!("`{action}` cannot be what is done with a task given up");
                reader
                    .report(Code::GiveUpAction, item.span, message)
                    .help("use `notify`, `delete_some` or `cancel_some`");
            }
            fine.then_some(action)
        })
    }

    fn settings(&mut self, fields: &Fields<'_>, defaults: Option<&Settings>) -> Settings {
        let mut settings = Settings::default();
        settings.lost.strange = fields.strange;
        for at in fields.iter() {
            let before = self.errors();
            match at.key {
                "mode" => settings.mode = self.word(at, &modes()),
                "continue" => settings.continues = self.bool(at),
                "identity" => {
                    let words = [("id", Identity::Id), ("name", Identity::Name)];
                    settings.identity = self.word(at, &words);
                }
                "max_attempts" => settings.max_attempts = self.count_or_none(at, 1),
                "give_up_after" => settings.give_up_after = self.duration_or_none(at),
                "on_give_up" => settings.on_give_up = self.on_give_up(at),
                "backoff" => self.backoff(at, &mut settings, defaults),
                "retry_after" => settings.retry_after = self.retry_after(at),
                "schedule" => settings.schedule = self.schedule(at),
                "timezone" => settings.timezone = self.timezone(at),
                "catch_up" => settings.catch_up = self.bool(at),
                "only_during" => settings.only_during = self.only_during(at),
                "limits" => self.limits(at, &mut settings),
                "breaker" => settings.breaker = self.breaker(at),
                _ => {}
            }
            if self.errors() > before {
                settings.lost.keys.push(at.key);
            }
        }
        settings
    }

    fn backoff(&mut self, at: At<'_>, settings: &mut Settings, defaults: Option<&Settings>) {
        let Some(fields) = self.fields(at.node, at.span, Place::Backoff) else { return };
        for at in fields.iter() {
            match at.key {
                "initial" => settings.initial = self.duration(at, SHORTEST, LONGEST),
                "max" => settings.max = self.duration(at, SHORTEST, LONGEST),
                "factor" => settings.factor = self.factor(at),
                "jitter" => settings.jitter = self.jitter(at),
                _ => {}
            }
        }
        let initial = settings.initial.or(defaults.and_then(|d| d.initial));
        // Only a `max` that someone wrote can be too small.
        let max = settings.max.or(defaults.and_then(|d| d.max));
        if let (Some(initial), Some(max)) = (initial, max)
            && initial > max
        {
            let at = fields.get("max").or_else(|| fields.get("initial"));
            let span = at.map_or(at_span(&fields), |at| at.span);
            let (initial, max) = (format_duration(initial), format_duration(max));
            self.report(
                Code::OutOfRange,
                span,
                format!("the longest wait, {max}, is shorter than the first, {initial}"),
            )
            .help("make `max` at least `initial`");
        }
    }

    fn factor(&mut self, at: At<'_>) -> Option<f64> {
        let text = self.text(at)?;
        match text.trim().parse::<f64>() {
            Ok(factor) if (1.0..=100.0).contains(&factor) => Some(factor),
            Ok(_) => {
                let message = "`factor` lies between 1 and 100";
                self.report(Code::OutOfRange, at.span, message)
                    .help("1 keeps every wait as long as the first, 2 doubles it each time");
                None
            }
            Err(_) => {
                self.report(Code::InvalidNumber, at.span, "`factor` takes a number")
                    .help("2 doubles each wait, 1 keeps them all the same");
                None
            }
        }
    }

    fn jitter(&mut self, at: At<'_>) -> Option<Jitter> {
        let text = self.text(at)?;
        if text == "full" {
            return Some(Jitter::Full);
        }
        if keys::NONE.contains(&text) {
            return Some(Jitter::Fraction(0.0));
        }
        match values::share(text) {
            Ok(share) => Some(Jitter::Fraction(share)),
            Err(fault) => {
                self.fault(at, fault.help("write a share from 0 to 1, or `full`"));
                None
            }
        }
    }

    fn retry_after(&mut self, at: At<'_>) -> Option<Bound<Regex>> {
        if at_none(at) {
            return Some(Bound::Lifted);
        }
        let (text, _) = self.expression(at)?;
        let regex = self.compiled(at, text)?;
        if regex.captures_len() < 2 {
            self.report(Code::RegexWithoutGroup, at.span, "`retry_after` captures nothing")
                .help("put parentheses around the wait: `retry after (\\d+)`");
            return None;
        }
        Some(Bound::Set(regex))
    }

    pub(super) fn schedule(&mut self, at: At<'_>) -> Option<Bound<(String, Cron)>> {
        if at_none(at) {
            return Some(Bound::Lifted);
        }
        let text = self.text(at)?;
        match cron::cron(text) {
            Ok(cron) => Some(Bound::Set((text.trim().to_owned(), cron))),
            Err(faults) => {
                for fault in faults {
                    self.fault(at, fault);
                }
                None
            }
        }
    }

    pub(super) fn timezone(&mut self, at: At<'_>) -> Option<TimeZone> {
        let text = self.text(at)?;
        // The zones that come with the program, so that a file means the same everywhere.
        let zones = TimeZoneDatabase::bundled();
        if let Ok(zone) = zones.get(text) {
            return Some(zone);
        }
        let message = format!("there is no time zone `{}`", shorten(text));
        let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
        let lower = text.to_lowercase();
        // People know the city.
        let city = names.iter().find(|name| {
            !lower.is_empty() && name.to_lowercase().rsplit('/').next() == Some(lower.as_str())
        });
        let help = match lower.as_str() {
            "beijing" | "asia/beijing" | "cst" | "china" | "gmt+8" | "utc+8" | "+08:00" | "+8" => {
                "did you mean `Asia/Shanghai`?".to_owned()
            }
            "z" | "zulu" | "gmt+0" | "utc+0" | "+00:00" | "+0" => "did you mean `UTC`?".to_owned(),
            "pst" | "pdt" => "did you mean `America/Los_Angeles`?".to_owned(),
            "bst" => "did you mean `Europe/London`?".to_owned(),
            "jst" => "did you mean `Asia/Tokyo`?".to_owned(),
            // The zone is not called after the capital.
            near if super::suggest::slip_of(near, ["asia/beijing", "beijing"]).is_some() => {
                "did you mean `Asia/Shanghai`?".to_owned()
            }
            _ => match city
                .map(String::as_str)
                .or_else(|| super::suggest::nearest(text, names.iter().map(String::as_str)))
            {
                Some(name) => format!("did you mean `{name}`?"),
                None => "write an IANA name such as `Asia/Shanghai` or `Europe/Berlin`".to_owned(),
            },
        };
        self.report(Code::InvalidTimezone, at.span, message).help(help);
        None
    }

    fn only_during(&mut self, at: At<'_>) -> Option<Bound<Vec<(Time, Time)>>> {
        if at_none(at) {
            return Some(Bound::Lifted);
        }
        let windows = self.list(at, |reader, item| {
            let text = reader.text(item)?;
            match values::hours(text) {
                Ok(window) => Some(window),
                Err(fault) => {
                    reader.fault(item, fault);
                    None
                }
            }
        });
        windows.map(Bound::Set)
    }

    fn limits(&mut self, at: At<'_>, settings: &mut Settings) {
        if at_none(at) {
            (settings.per_tick, settings.per_hour) = (Some(Bound::Lifted), Some(Bound::Lifted));
            (settings.max_share, settings.only_if_undone_below) =
                (Some(Bound::Lifted), Some(Bound::Lifted));
            return;
        }
        let Some(fields) = self.fields(at.node, at.span, Place::Limits) else { return };
        for at in fields.iter() {
            match at.key {
                "per_tick" => settings.per_tick = self.count_or_none(at, 1),
                "per_hour" => settings.per_hour = self.count_or_none(at, 1),
                "max_share" => settings.max_share = self.max_share(at),
                "only_if_undone_below" => {
                    settings.only_if_undone_below = self.count_or_none(at, 1);
                }
                _ => {}
            }
        }
    }

    fn max_share(&mut self, at: At<'_>) -> Option<Bound<f64>> {
        if at_none(at) {
            return Some(Bound::Lifted);
        }
        let text = self.text(at)?;
        match values::share(text) {
            Ok(share) if share > 0.0 => Some(Bound::Set(share)),
            Ok(_) => {
                self.report(Code::OutOfRange, at.span, "`max_share` is above 0").help(
                    "for a rule that rests write `mode: off`; for no limit `max_share: none`",
                );
                None
            }
            Err(fault) => {
                self.fault(at, fault);
                None
            }
        }
    }

    fn breaker(&mut self, at: At<'_>) -> Option<BreakerSetting> {
        match &at.node.value {
            Value::Bool(false) => return Some(BreakerSetting::Off),
            Value::Text(scalar) if scalar.text == "off" || keys::NONE.contains(&&*scalar.text) => {
                return Some(BreakerSetting::Off);
            }
            Value::Map(_) | Value::Null => {}
            _ => {
                self.wrong_type(
                    at,
                    "a map, or `off`",
                    "such as `{ by: dst_mount, open_after: 5 }`",
                );
                return None;
            }
        }
        let fields = self.fields(at.node, at.span, Place::Breaker)?;
        let mut breaker = BreakerFields::default();
        for at in fields.iter() {
            match at.key {
                "by" => {
                    let words = [
                        ("dst_mount", BreakerKey::DstMount),
                        ("src_mount", BreakerKey::SrcMount),
                        ("kind", BreakerKey::Kind),
                        ("server", BreakerKey::Server),
                    ];
                    breaker.by = self.word(at, &words);
                }
                "open_after" => breaker.open_after = self.count(at, 1),
                "within" => breaker.within = self.duration(at, SHORTEST, LONGEST),
                "cool_down" => breaker.cool_down = self.duration(at, SHORTEST, LONGEST),
                _ => {}
            }
        }
        Some(BreakerSetting::On(breaker))
    }
}

/// The keys that a rule gives itself, those of `limits` among them.
fn own_keys(fields: &Fields<'_>) -> Vec<(&'static str, Span)> {
    let mut own = Vec::new();
    for at in fields.iter() {
        own.push((at.key, at.key_span));
        if let ("limits", Value::Map(entries)) = (at.key, &at.node.value) {
            own.extend(entries.iter().filter_map(|entry| {
                let key = keys::LIMITS.iter().find(|key| key.name == entry.key)?;
                Some((key.name, entry.key_span))
            }));
        }
    }
    own
}

fn at_none(at: At<'_>) -> bool {
    matches!(&at.node.value, Value::Text(scalar) if keys::NONE.contains(&&*scalar.text))
}

fn at_span(fields: &Fields<'_>) -> Span {
    fields.iter().next().map(|at| at.key_span).unwrap_or_default()
}

/// What an action does to a task in a state that it does not fit (CONTRACT.md, "What the endpoints
/// do to a task").
fn harm_of(action: Action, state: State) -> String {
    match (action.effect(), state) {
        (Effect::Retry, State::Running | State::Pending) => {
            format!("of a {state} task runs it a second time, concurrently")
        }
        (Effect::Retry, State::Succeeded) => "of a succeeded task runs it again".to_owned(),
        (Effect::Retry, State::WaitingRetry | State::BeforeRetry | State::Errored) => {
            format!("of a task in `{state}`, which the server retries itself, can run it twice")
        }
        (Effect::Retry, State::Canceling) => {
            "of a task in `canceling` makes it fail, even if it had succeeded".to_owned()
        }
        (Effect::Cancel, state) if state.is_done() => {
            format!("of a {state} task does nothing, or leaves it canceling for ever")
        }
        (Effect::Remove, State::Pending) => {
            "of a pending task hides it, and it still runs".to_owned()
        }
        (Effect::Remove, State::Running) => {
            "of a running task hides it while its work goes on".to_owned()
        }
        _ => format!("has no good meaning for a task in `{state}`"),
    }
}
