//! The rules, and how a person has one rest.

use axum::Form;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::visit::Visit;
use crate::web::desk::Desk;
use crate::web::orders::{self, PauseAsked, ResumeAsked};
use crate::web::views::rules::{RuleView, RulesQuery, RulesView, rules};

#[derive(Serialize)]
struct Page {
    since: Timestamp,
    revision: String,
    rules: Vec<Card>,
}

/// A rule with what stands out of it on all servers.
#[derive(Serialize)]
struct Card {
    #[serde(flatten)]
    rule: RuleView,
    paused: bool,
    why: Option<String>,
    waits: usize,
    dead: usize,
}

fn card(rule: RuleView) -> Card {
    let paused = rule.servers.iter().filter_map(|on| on.paused.as_ref());
    Card {
        why: paused.clone().map(|paused| paused.why.clone()).find(|why| !why.is_empty()),
        paused: paused.count() > 0,
        waits: rule.servers.iter().flat_map(|on| on.waiting.values()).sum(),
        dead: rule.servers.iter().map(|on| on.dead).sum(),
        rule,
    }
}

pub(super) async fn show(State(desk): State<Desk>, visit: Visit) -> Response {
    let page = rules(&desk, &RulesQuery::default()).await;
    let page = page.map(|RulesView { since, revision, rules, .. }| Page {
        since,
        revision,
        rules: rules.into_iter().map(card).collect(),
    });
    visit.answer("rules.html", page)
}

#[derive(Deserialize)]
pub(super) struct PauseForm {
    rule: String,
    /// A length of time; empty is until it is resumed.
    #[serde(rename = "for")]
    length: String,
    why: String,
}

pub(super) async fn pause(
    State(desk): State<Desk>,
    visit: Visit,
    Form(form): Form<PauseForm>,
) -> Response {
    let PauseForm { rule, length, why } = form;
    let asked = PauseAsked { rule, server: None, length: Some(length), why };
    visit.done("/rules", "paused", orders::pause(&desk, &asked).await)
}

#[derive(Deserialize)]
pub(super) struct ResumeForm {
    rule: String,
}

pub(super) async fn resume(
    State(desk): State<Desk>,
    visit: Visit,
    Form(form): Form<ResumeForm>,
) -> Response {
    let asked = ResumeAsked { rule: form.rule, server: None };
    visit.done("/rules", "resumed", orders::resume(&desk, &asked).await)
}
