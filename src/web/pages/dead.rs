//! What rules gave up, to be tried again or put away.

use axum::Form;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::visit::Visit;
use crate::engine::class::Class;
use crate::engine::order::DeadLetter;
use crate::engine::task::{RuleName, ServerName};
use crate::web::desk::Desk;
use crate::web::orders::{self, DropAsked, RedriveAsked};
use crate::web::views::dead::{DeadGroup, DeadQuery, DeadView, dead};

/// The most tasks of a group that are shown.
const LETTERS: usize = 10;

#[derive(Serialize)]
struct Page {
    tasks: usize,
    more_groups: usize,
    groups: Vec<Group>,
}

/// What one button is about: everything of a server, a rule and a class.
#[derive(Serialize)]
struct Group {
    server: ServerName,
    rule: RuleName,
    class: Option<Class>,
    tasks: usize,
    listed: usize,
    causes: Vec<Cause>,
    letters: Vec<DeadLetter>,
}

#[derive(Serialize)]
struct Cause {
    reason: String,
    error: String,
}

/// Puts causes together that cannot be told apart when something is asked for. Tasks without an error
/// have no class to ask for, so that they go with all others of their rule.
fn merge(groups: Vec<DeadGroup>) -> Vec<Group> {
    let classless = |group: &DeadGroup| {
        groups.iter().any(|other| {
            other.class.is_none() && other.server == group.server && other.rule == group.rule
        })
    };
    let classes: Vec<Option<Class>> =
        groups.iter().map(|group| group.class.clone().filter(|_| !classless(group))).collect();
    let mut merged: Vec<Group> = Vec::new();
    for (group, class) in groups.into_iter().zip(classes) {
        let cause = Cause { reason: group.reason, error: group.error };
        let same = merged.iter_mut().find(|known| {
            known.server == group.server && known.rule == group.rule && known.class == class
        });
        match same {
            None => merged.push(Group {
                server: group.server,
                rule: group.rule,
                class,
                tasks: group.tasks,
                listed: group.listed,
                causes: vec![cause],
                letters: group.letters,
            }),
            Some(known) => {
                known.tasks += group.tasks;
                known.listed += group.listed;
                known.causes.push(cause);
                known.letters.extend(group.letters);
            }
        }
    }
    for group in &mut merged {
        group.letters.sort_by_key(|letter| std::cmp::Reverse(letter.time));
        group.letters.truncate(LETTERS);
    }
    merged.sort_by_key(|group| std::cmp::Reverse(group.tasks));
    merged
}

pub(super) async fn show(State(desk): State<Desk>, visit: Visit) -> Response {
    let page = dead(&desk, &DeadQuery::default()).await;
    let page = page.map(|DeadView { tasks, more_groups, groups, .. }| Page {
        tasks,
        more_groups,
        groups: merge(groups),
    });
    visit.answer("dead.html", page)
}

/// Which group is meant; a class that is empty is any.
#[derive(Deserialize)]
pub(super) struct GroupForm {
    server: String,
    rule: String,
    class: String,
    /// How fast it is tried again.
    #[serde(default)]
    rate: String,
}

pub(super) async fn redrive(
    State(desk): State<Desk>,
    visit: Visit,
    Form(form): Form<GroupForm>,
) -> Response {
    let GroupForm { server, rule, class, rate } = form;
    let asked = RedriveAsked {
        server: Some(server),
        rule: Some(rule),
        class: Some(class),
        rate: Some(rate),
        ..RedriveAsked::default()
    };
    visit.done("/dead", "redriven", orders::redrive(&desk, &asked).await)
}

pub(super) async fn put_away(
    State(desk): State<Desk>,
    visit: Visit,
    Form(form): Form<GroupForm>,
) -> Response {
    let GroupForm { server, rule, class, rate: _ } = form;
    let asked = DropAsked {
        server: Some(server),
        rule: Some(rule),
        class: Some(class),
        ..DropAsked::default()
    };
    visit.done("/dead", "dropped", orders::put_away(&desk, &asked).await)
}
