//! What rules gave up, grouped by cause.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::desk::Desk;
use super::super::problem::Problem;
use super::count;
use crate::engine::class::Class;
use crate::engine::memory::Memory;
use crate::engine::order::{DeadFilter, DeadLetter};
use crate::engine::task::{RuleName, ServerName};
use crate::store::{Reader, StoreError};

/// Which of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeadQuery {
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
    /// At most so many tasks of each group: 1 to 1000, usually 10.
    pub each: Option<u32>,
}

/// What rules gave up and nobody has put away.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeadView {
    /// The present moment by the daemon's clock.
    pub now: Timestamp,
    /// How many tasks.
    pub tasks: usize,
    /// How many of them are still listed, so that they can be tried again.
    pub listed: usize,
    /// The causes, that of the most tasks first; at most 200.
    pub groups: Vec<DeadGroup>,
    /// How many more causes there are.
    pub more_groups: usize,
}

/// Tasks that were given up for the same cause.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeadGroup {
    /// The server.
    pub server: ServerName,
    /// The rule.
    pub rule: RuleName,
    /// The class of the errors; absent where there was no error.
    pub class: Option<Class>,
    /// Why, of the last one, in words.
    pub reason: String,
    /// The error of the last one, secrets out.
    pub error: String,
    /// How many tasks.
    pub tasks: usize,
    /// How many of them are still listed, so that they can be tried again.
    pub listed: usize,
    /// When the first of them was given up.
    pub first: Timestamp,
    /// When the last of them was given up.
    pub last: Timestamp,
    /// The last of them, the newest first.
    pub letters: Vec<DeadLetter>,
}

/// What is given up on all servers, or on one.
///
/// # Errors
/// When the store cannot be read.
pub fn letters(
    reader: &Reader,
    server: Option<&ServerName>,
    filter: &DeadFilter,
) -> Result<Vec<DeadLetter>, StoreError> {
    let mut letters = Vec::new();
    for name in reader.servers()? {
        if server.is_some_and(|server| *server != name) {
            continue;
        }
        let mut memory = Memory::new(name.clone());
        memory.restore(reader.load_given_up(&name)?);
        letters.extend(memory.dead_letters().into_iter().filter(|letter| filter.takes(letter)));
    }
    Ok(letters)
}

/// The letters by cause (the same server, rule, class and reason, numbers aside), the most frequent
/// cause first.
#[must_use]
pub fn by_cause(letters: Vec<DeadLetter>) -> Vec<Vec<DeadLetter>> {
    let mut groups: BTreeMap<_, Vec<DeadLetter>> = BTreeMap::new();
    for letter in letters {
        let why = letter.reason.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
        let class = letter.class.as_ref().map_or("no error", Class::as_str).to_owned();
        let cause = (letter.server.clone(), letter.rule.clone(), class, why.to_owned());
        groups.entry(cause).or_default().push(letter);
    }
    let mut groups: Vec<Vec<DeadLetter>> = groups.into_values().collect();
    groups.sort_by_key(|letters| Reverse(letters.len()));
    groups
}

/// The most causes that are shown.
const MOST_GROUPS: usize = 200;

/// Gathers it from the store.
///
/// # Errors
/// When the query is wrong, or the store cannot be read.
pub async fn dead(desk: &Desk, query: &DeadQuery) -> Result<DeadView, Problem> {
    let now = desk.clock.now();
    let each = count("each", query.each, 10, 1000)? as usize;
    let server: Option<ServerName> = query.server.as_deref().map(Into::into);
    let filter = DeadFilter {
        rule: query.rule.as_deref().map(Into::into),
        class: query.class.as_deref().map(Into::into),
        kind: query.kind.as_deref().map(Into::into),
        task: query.task.as_deref().map(Into::into),
    };
    let gather = move |reader: &Reader| {
        let letters = letters(reader, server.as_ref(), &filter)?;
        let tasks = letters.len();
        let listed = letters.iter().filter(|letter| !letter.gone).count();
        let groups = by_cause(letters);
        let more_groups = groups.len().saturating_sub(MOST_GROUPS);
        let groups = groups.into_iter().take(MOST_GROUPS);
        let groups = groups.filter_map(|letters| group(letters, each)).collect();
        Ok(DeadView { now, tasks, listed, groups, more_groups })
    };
    desk.read(gather).await
}

fn group(mut letters: Vec<DeadLetter>, each: usize) -> Option<DeadGroup> {
    let (tasks, listed) = (letters.len(), letters.iter().filter(|letter| !letter.gone).count());
    let first = letters.first()?.time;
    letters.reverse();
    letters.truncate(each);
    let last = letters.first()?;
    Some(DeadGroup {
        server: last.server.clone(),
        rule: last.rule.clone(),
        class: last.class.clone(),
        reason: last.reason.clone(),
        error: last.error.clone(),
        tasks,
        listed,
        first,
        last: last.time,
        letters,
    })
}
