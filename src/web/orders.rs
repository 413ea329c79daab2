//! What people ask to be done: the same for the API, for forms and for the commands.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::problem::Problem;
use crate::daemon::control::Done;
use crate::engine::order::{DeadFilter, Order};
use crate::rules::parse_duration;

/// To have a rule rest.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseAsked {
    /// The rule.
    pub rule: String,
    /// On this server only; else on all.
    #[serde(default)]
    pub server: Option<String>,
    /// For so long, such as `2h`; until it is resumed when it is not given.
    #[serde(default, rename = "for")]
    pub length: Option<String>,
    /// Why, for whoever looks.
    #[serde(default)]
    pub why: String,
}

/// To have a paused rule go on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeAsked {
    /// The rule.
    pub rule: String,
    /// On this server only; else on all.
    #[serde(default)]
    pub server: Option<String>,
}

/// Which of what was given up. Something must be named, or `all` be true.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DropAsked {
    /// Only of this server.
    pub server: Option<String>,
    /// Only what this rule gave up.
    pub rule: Option<String>,
    /// Only with an error of this class.
    pub class: Option<String>,
    /// Only tasks of this kind.
    pub kind: Option<String>,
    /// Only the task with this id.
    pub task: Option<String>,
    /// All of it.
    pub all: bool,
}

/// The same, to be tried again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedriveAsked {
    /// Only of this server.
    pub server: Option<String>,
    /// Only what this rule gave up.
    pub rule: Option<String>,
    /// Only with an error of this class.
    pub class: Option<String>,
    /// Only tasks of this kind.
    pub kind: Option<String>,
    /// Only the task with this id.
    pub task: Option<String>,
    /// All of it.
    pub all: bool,
    /// How fast: so many in so long, usually `5/min`.
    pub rate: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DoneView {
    /// How many things.
    pub count: usize,
    /// The first of them; at most 100.
    pub done: Vec<Done>,
}

/// What a reading of the rules file came to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Reloaded {
    /// What changed, in words.
    pub changes: String,
}

/// The most things that an answer names.
const NAMED: usize = 100;

fn view(mut done: Vec<Done>) -> DoneView {
    let count = done.len();
    done.truncate(NAMED);
    DoneView { count, done }
}

/// What a form leaves empty is not asked for.
fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// The longest reason that is kept, in characters.
const LONGEST_WHY: usize = 500;

/// Has a rule rest.
///
/// # Errors
/// When there is no such rule or server, or it cannot be done now.
pub async fn pause(desk: &Desk, asked: &PauseAsked) -> Result<DoneView, Problem> {
    let until = match filled(asked.length.as_deref()) {
        None => None,
        Some(text) => Some(
            in_so_long(text, desk.clock.now())
                .map_err(|why| Problem::wrong(format!("`for`: {why}")))?,
        ),
    };
    if asked.why.chars().count() > LONGEST_WHY {
        return Err(Problem::wrong(format!("`why`: at most {LONGEST_WHY} characters")));
    }
    let order = Order::Pause { rule: asked.rule.as_str().into(), until, why: asked.why.clone() };
    let server = filled(asked.server.as_deref()).map(Into::into);
    Ok(view(desk.control.order(server, order).await?))
}

/// The moment in so long, as people write it.
///
/// # Errors
/// Why it is none, in words.
pub fn in_so_long(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let length = parse_duration(text)?;
    SignedDuration::try_from(length)
        .ok()
        .and_then(|length| now.checked_add(length).ok())
        .ok_or_else(|| format!("`{text}` is too long"))
}

/// Has a paused rule go on.
///
/// # Errors
/// When it is not paused, or it cannot be done now.
pub async fn resume(desk: &Desk, asked: &ResumeAsked) -> Result<DoneView, Problem> {
    let order = Order::Resume { rule: asked.rule.as_str().into() };
    let server = filled(asked.server.as_deref()).map(Into::into);
    let done = desk.control.order(server, order).await?;
    if done.is_empty() {
        return Err(Problem::missing(format!("no rule `{}` is paused", asked.rule)));
    }
    Ok(view(done))
}

/// Has what was given up tried again.
///
/// # Errors
/// When nothing is named, the rate is none, or it cannot be done now.
pub async fn redrive(desk: &Desk, asked: &RedriveAsked) -> Result<DoneView, Problem> {
    let RedriveAsked { server, rule, class, kind, task, all, rate } = asked.clone();
    let which = which(&DropAsked { server: server.clone(), rule, class, kind, task, all })?;
    let every = parse_rate(filled(rate.as_deref()).unwrap_or("5/min"))
        .map_err(|why| Problem::wrong(format!("`rate`: {why}")))?;
    let server = filled(server.as_deref()).map(Into::into);
    Ok(view(desk.control.order(server, Order::Redrive { which, every }).await?))
}

/// Has what was given up put away.
///
/// # Errors
/// When nothing is named, or it cannot be done now.
pub async fn put_away(desk: &Desk, asked: &DropAsked) -> Result<DoneView, Problem> {
    let which = which(asked)?;
    let server = filled(asked.server.as_deref()).map(Into::into);
    Ok(view(desk.control.order(server, Order::Drop { which }).await?))
}

/// Nothing is done to all of it by leaving something out.
fn which(asked: &DropAsked) -> Result<DeadFilter, Problem> {
    let filter = DeadFilter {
        rule: filled(asked.rule.as_deref()).map(Into::into),
        class: filled(asked.class.as_deref()).map(Into::into),
        kind: filled(asked.kind.as_deref()).map(Into::into),
        task: filled(asked.task.as_deref()).map(Into::into),
    };
    let names = filter != DeadFilter::default() || filled(asked.server.as_deref()).is_some();
    if asked.all || names {
        return Ok(filter);
    }
    Err(Problem::wrong("say which, by `rule`, `class`, `kind`, `task` or `server`, or `all`"))
}

/// Has the rules file read now.
///
/// # Errors
/// The findings with which it is refused.
pub async fn reload(desk: &Desk) -> Result<Reloaded, Problem> {
    let refused = |findings| Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, findings);
    desk.control.reload().await.map(|changes| Reloaded { changes }).map_err(refused)
}

/// How long there is between two at a rate such as `5/min`.
///
/// # Errors
/// Why it is none, in words.
pub fn parse_rate(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no rate; write one like `5/min`, `100/h` or `1/10s`");
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let count: i32 = count.trim().parse().map_err(|_| wrong())?;
    let per = match per.trim() {
        "s" | "sec" | "second" => SignedDuration::from_secs(1),
        "m" | "min" | "minute" => SignedDuration::from_mins(1),
        "h" | "hour" => SignedDuration::from_hours(1),
        "d" | "day" => SignedDuration::from_hours(24),
        other => parse_duration(other)
            .ok()
            .and_then(|length| SignedDuration::try_from(length).ok())
            .ok_or_else(wrong)?,
    };
    if count < 1 {
        return Err(wrong());
    }
    per.checked_div(count).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_so_many_in_so_long() {
        for (text, millis) in [
            ("5/min", 12_000),
            ("1/10s", 10_000),
            ("100/h", 36_000),
            ("2 / s", 500),
            ("1/d", 86_400_000),
        ] {
            assert_eq!(parse_rate(text), Ok(SignedDuration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "0/min", "-1/min", "five/min", "5/", "5/fortnight", "99999999999/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
