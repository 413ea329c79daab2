//! What a stretch of history comes to.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::super::desk::{Desk, PATIENCE, broke_down, too_many};
use super::super::problem::Problem;
use super::moment;
use crate::ambient::monotonic;
use crate::engine::class::{Class, ClassTable};
use crate::engine::report::{Cluster, Report, hour};
use crate::engine::rule::RuleSet;
use crate::engine::story::Event;
use crate::engine::task::RuleName;
use crate::store::{AuditFilter, LookFilter, Reader, StoreError};

/// Which stretch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportQuery {
    /// Since then: a moment, a day, or a length of time ago; usually `7d`.
    pub since: Option<String>,
    /// Until then; usually now.
    pub until: Option<String>,
    /// Only of this server.
    pub server: Option<String>,
    /// Only tasks of this kind.
    pub kind: Option<String>,
}

/// What a stretch of history comes to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReportView {
    /// When it was made, by the daemon's clock: some seconds ago at the most.
    pub now: Timestamp,
    /// The beginning of the stretch.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// How often tasks failed.
    pub failures: u64,
    /// Failures by class of error, the most frequent first.
    pub classes: Vec<ClassFailures>,
    /// Failures by mount, the most frequent first; at most 100.
    pub mounts: Vec<MountFailures>,
    /// Failures by the hour of the day, 24 numbers from midnight on.
    pub hours: Vec<u32>,
    /// The time zone of those hours.
    pub zone: String,
    /// What came of each attempt of each rule.
    pub attempts: Vec<AttemptWorth>,
    /// Where a lower `max_attempts` would hardly lose anything.
    pub advice: Vec<AdviceView>,
    /// Errors that no class is known for, by wording, the most frequent first; at most 100.
    pub unclassified: Vec<Cluster>,
}

/// Failures of a class.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClassFailures {
    /// The class.
    pub class: Class,
    /// How many.
    pub failures: u32,
}

/// Failures at a mount.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MountFailures {
    /// The mount of the destination, else of the source; `none` when the name tells none.
    pub mount: String,
    /// How many.
    pub failures: u32,
}

/// What came of an attempt.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AttemptWorth {
    /// The rule.
    pub rule: RuleName,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How often the run that it began succeeded.
    pub succeeded: u32,
    /// How often it failed.
    pub failed: u32,
    /// How often neither was seen.
    pub unknown: u32,
}

/// What a rule's attempts say of its `max_attempts`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AdviceView {
    /// The rule.
    pub rule: RuleName,
    /// What `max_attempts` could be.
    pub max_attempts: u32,
    /// Why, in words.
    pub text: String,
}

/// The most mounts and wordings that are shown.
const MOST: usize = 100;

/// Folds what was seen and done into a report.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(
    reader: &Reader,
    looks: &LookFilter,
    rows: &AuditFilter,
    classes: &ClassTable,
    zone: &TimeZone,
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    reader.events_each(looks, rows, |event| {
        match event {
            Event::Done(row) => report.note_row(&row),
            Event::Seen(seen) => {
                if let Some(task) = seen.failed() {
                    let class = seen.class(classes).unwrap_or(Class::Unknown);
                    report.note_failure(task, &class, hour(seen.time, zone));
                }
                let again = seen.failed().is_some();
                let state = seen.task.as_ref().map(|task| task.state);
                if again || seen.before.as_ref().map(|task| task.state) != state {
                    report.note_state(&seen.server, &seen.kind, &seen.id, state);
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(report)
}

/// The reports that were made last. A report looks through all that was seen in its time, so it is made
/// for all who ask about the same, one after the other, and with rests.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    last: Vec<Last>,
    /// The next one is not made before.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Last {
    rules: Arc<RuleSet>,
    query: ReportQuery,
    at: Instant,
    view: ReportView,
}

/// How many reports are kept, and for how long.
const KEPT: usize = 8;
const NEW: Duration = Duration::from_secs(5);

/// Gathers it from the store, or gives the one that was made a moment ago.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub async fn report(desk: &Desk, query: &ReportQuery) -> Result<ReportView, Problem> {
    stretch(query, desk.clock.now())?;
    let turn = tokio::time::timeout(PATIENCE, Arc::clone(&desk.reports.0).lock_owned()).await;
    let mut made = turn.map_err(|_| too_many())?;
    let rules = desk.control.rules();
    made.last.retain(|last| last.at.elapsed() < NEW);
    let same = |last: &&Last| last.query == *query && Arc::ptr_eq(&last.rules, &rules);
    if let Some(last) = made.last.iter().find(same) {
        return Ok(last.view.clone());
    }
    let (desk, query) = (desk.clone(), query.clone());
    // On its own, so that the turn is not over before its time when nobody waits for it any more.
    let work = async move {
        if let Some(until) = made.rests_until {
            tokio::time::sleep(until.saturating_duration_since(monotonic())).await;
        }
        let began = monotonic();
        let view = make(&desk, &query).await;
        // Whatever is asked for, at most half of the time of one core goes into it.
        let at = monotonic();
        made.rests_until = Some(at + began.elapsed());
        let view = view?;
        if made.last.len() >= KEPT {
            made.last.remove(0);
        }
        made.last.push(Last { rules, query, at, view: view.clone() });
        Ok(view)
    };
    tokio::spawn(work).await.unwrap_or_else(|_| Err(broke_down()))
}

/// The beginning and the end of what is asked about.
fn stretch(query: &ReportQuery, now: Timestamp) -> Result<(Timestamp, Timestamp), Problem> {
    let since = moment("since", query.since.as_deref(), now, SignedDuration::from_hours(7 * 24))?;
    let until = moment("until", query.until.as_deref(), now, SignedDuration::ZERO)?;
    Ok((since, until))
}

async fn make(desk: &Desk, query: &ReportQuery) -> Result<ReportView, Problem> {
    let now = desk.clock.now();
    let (since, until) = stretch(query, now)?;
    let looks = LookFilter {
        since: Some(since),
        until: Some(until),
        server: query.server.as_deref().map(Into::into),
        kind: query.kind.as_deref().map(Into::into),
        task: None,
    };
    let rows = AuditFilter {
        since: looks.since,
        until: looks.until,
        server: looks.server.clone(),
        kind: looks.kind.clone(),
        ..AuditFilter::default()
    };
    let rules = desk.control.rules();
    let zone = TimeZone::system();
    let name = zone.iana_name().unwrap_or("local").to_owned();
    let gather = move |reader: &Reader| Ok(gather(reader, &looks, &rows, &rules.classes, &zone)?);
    let report = desk.read(gather).await?;
    Ok(view(&report, now, (since, until), name))
}

fn view(
    report: &Report,
    now: Timestamp,
    (since, until): (Timestamp, Timestamp),
    zone: String,
) -> ReportView {
    let mut classes: Vec<ClassFailures> = report
        .classes
        .iter()
        .map(|(class, failures)| ClassFailures { class: class.clone(), failures: *failures })
        .collect();
    classes.sort_by_key(|one| std::cmp::Reverse(one.failures));
    let mut mounts: Vec<MountFailures> = report
        .mounts
        .iter()
        .map(|(mount, failures)| MountFailures { mount: mount.clone(), failures: *failures })
        .collect();
    mounts.sort_by_key(|one| std::cmp::Reverse(one.failures));
    mounts.truncate(MOST);
    let attempts = report.attempts.iter().flat_map(|(rule, attempts)| {
        attempts.iter().map(|(attempt, worth)| AttemptWorth {
            rule: rule.clone(),
            attempt: *attempt,
            succeeded: worth.succeeded,
            failed: worth.failed,
            unknown: worth.unknown,
        })
    });
    let advice = report.advice().into_iter().map(|advice| AdviceView {
        rule: advice.rule.clone(),
        max_attempts: advice.from - 1,
        text: advice.text(),
    });
    let mut unclassified = report.clusters();
    unclassified.truncate(MOST);
    ReportView {
        now,
        since,
        until,
        failures: classes.iter().map(|one| u64::from(one.failures)).sum(),
        classes,
        mounts,
        hours: report.hours.to_vec(),
        zone,
        attempts: attempts.collect(),
        advice: advice.collect(),
        unclassified,
    }
}
