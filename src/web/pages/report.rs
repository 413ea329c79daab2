//! What a stretch of history comes to, drawn.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::chart::{self, Chart};
use super::visit::Visit;
use crate::engine::task::RuleName;
use crate::web::desk::Desk;
use crate::web::problem::Problem;
use crate::web::query::Asked;
use crate::web::views::report::{AttemptWorth, ReportQuery, ReportView, report};

/// The most mounts and wordings that are shown.
const SHOWN: usize = 15;

#[derive(Serialize)]
struct Page {
    asked: ReportQuery,
    report: ReportView,
    more_mounts: usize,
    hours: Chart,
    attempts: Vec<OfRule>,
    servers: Vec<String>,
}

/// What each attempt of a rule was worth.
#[derive(Serialize)]
struct OfRule {
    rule: RuleName,
    attempts: Vec<Attempt>,
    advice: Vec<String>,
}

#[derive(Serialize)]
struct Attempt {
    #[serde(flatten)]
    worth: AttemptWorth,
    known: u32,
    percent: u32,
}

pub(super) async fn show(
    State(desk): State<Desk>,
    visit: Visit,
    asked: Result<Asked<ReportQuery>, Problem>,
) -> Response {
    let page = async { page(&desk, asked?.0).await };
    visit.answer("report.html", page.await)
}

async fn page(desk: &Desk, asked: ReportQuery) -> Result<Page, Problem> {
    let asked = ReportQuery { since: asked.since.or(Some("7d".to_owned())), ..asked };
    let mut report = report(desk, &asked).await?;
    let more_mounts = report.mounts.len().saturating_sub(SHOWN);
    report.mounts.truncate(SHOWN);
    report.unclassified.truncate(SHOWN);
    let hours: Vec<u64> = report.hours.iter().map(|count| u64::from(*count)).collect();
    let mut attempts: Vec<OfRule> = Vec::new();
    for worth in std::mem::take(&mut report.attempts) {
        let known = worth.succeeded + worth.failed;
        let percent = (worth.succeeded * 100 + known / 2).checked_div(known).unwrap_or(0);
        let attempt = Attempt { worth, known, percent };
        if let Some(rule) = attempts.iter_mut().find(|rule| rule.rule == attempt.worth.rule) {
            rule.attempts.push(attempt);
            continue;
        }
        let rule = attempt.worth.rule.clone();
        let advice = report.advice.iter().filter(|advice| advice.rule == rule);
        let advice = advice.map(|advice| advice.text.clone()).collect();
        attempts.push(OfRule { rule, attempts: vec![attempt], advice });
    }
    let servers = desk.control.status().borrow().servers.iter().map(ToString::to_string).collect();
    Ok(Page { asked, more_mounts, hours: chart::columns(&hours), attempts, servers, report })
}
