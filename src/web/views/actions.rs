//! What was done, the newest first.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::{count, moment};
use crate::engine::audit::{AuditRow, IntentId, Outcome};
use crate::store::AuditFilter;

/// Which of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ActionsQuery {
    /// Only since then: a moment (`2026-11-24T03:00:00Z`), a day (`2026-11-24`), or a length of time
    /// ago (`2h`).
    pub since: Option<String>,
    /// Only until then.
    pub until: Option<String>,
    /// Only of this server; `-` is the daemon itself.
    pub server: Option<String>,
    /// Only by this rule.
    pub rule: Option<String>,
    /// Only this action, by its name in the API, or `give_up`, `reload`, `pause` and the like.
    pub action: Option<String>,
    /// Only tasks of this kind.
    pub kind: Option<String>,
    /// Only the task with this id.
    pub task: Option<String>,
    /// Only with one of these outcomes, between commas.
    pub outcome: Option<String>,
    /// At most so many: 1 to 500, usually 50.
    pub limit: Option<u32>,
    /// Only those after this place, which an earlier answer gave as `next`.
    pub after: Option<String>,
}

/// What was done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ActionsView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// The audit rows, the newest first.
    pub rows: Vec<AuditRow>,
    /// The place at which the next page begins, to be given as `after`; absent on the last page.
    pub next: Option<String>,
}

/// Gathers it from the store.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub async fn actions(desk: &Desk, query: &ActionsQuery) -> Result<ActionsView, Problem> {
    let now = desk.clock.now();
    let limit = count("limit", query.limit, 50, 500)?;
    let set = |key: &str, text: &Option<String>| {
        text.as_deref().map(|text| moment(key, Some(text), now, SignedDuration::ZERO)).transpose()
    };
    let filter = AuditFilter {
        since: set("since", &query.since)?,
        until: set("until", &query.until)?,
        server: query.server.as_deref().map(Into::into),
        rule: query.rule.as_deref().map(Into::into),
        action: query.action.clone(),
        kind: query.kind.as_deref().map(Into::into),
        task_id: query.task.as_deref().map(Into::into),
        outcomes: outcomes(query.outcome.as_deref())?,
        mode: None,
        beyond: query.after.as_deref().map(place).transpose()?,
        limit: Some(limit + 1),
        newest_first: true,
    };
    let mut rows = desk.read(move |reader| Ok(reader.audit(&filter)?)).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more);
    let next = next.map(|row| format!("{}-{}", row.time.as_microsecond(), row.id));
    Ok(ActionsView { now, rows, next })
}

fn outcomes(text: Option<&str>) -> Result<Vec<Outcome>, Problem> {
    let names = text.into_iter().flat_map(|text| text.split(','));
    let parse = |name: &str| {
        name.trim().parse::<Outcome>().map_err(|error| {
            let known: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
            Problem::wrong(format!("`outcome`: {error}; there is {}", known.join(", ")))
        })
    };
    names.map(parse).collect()
}

fn place(text: &str) -> Result<(Timestamp, IntentId), Problem> {
    let parse = || {
        let (time, id) = text.rsplit_once('-')?;
        let time = Timestamp::from_microsecond(time.parse().ok()?).ok()?;
        Some((time, IntentId(id.parse().ok()?)))
    };
    parse().ok_or_else(|| {
        Problem::wrong(
            "`after`: this is no place in the list; take the `next` of an earlier answer",
        )
    })
}
