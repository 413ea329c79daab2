//! What is written down of what the lists show: only what changed since it was last written down, so
//! that a server on which nothing happens costs nothing, however many tasks it lists.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::decide::Planned;
use super::listing::{Listing, Step};
use super::memory::{Memory, Snapshot};
use super::moment::Moment;
use super::task::{Flavour, Kind, ServerName, State, Task, TaskId};

/// A look at which something was seen or decided. The looks between two of these showed nothing new.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The server.
    pub server: ServerName,
    /// When.
    pub time: Timestamp,
    /// What came before it.
    pub after: After,
    /// Which product the server is.
    pub flavour: Flavour,
    /// How far its clock was ahead.
    pub skew: SignedDuration,
    /// The kinds that could not be read.
    pub unread: BTreeSet<Kind>,
    /// The kinds that the server did not seem to have, though it lists tasks of them at other times: a
    /// process that has just begun may not find them.
    pub absent: BTreeSet<Kind>,
    /// What was seen.
    pub seen: Vec<Observation>,
}

/// How long the queues of a server were at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSample {
    /// When.
    pub time: Timestamp,
    /// How many tasks each kind that was read lists, by state; `None` while the server could not be
    /// read.
    pub tasks: Option<QueueCounts>,
}

/// How many tasks each kind lists, by the name of their state.
pub type QueueCounts = BTreeMap<Kind, BTreeMap<String, usize>>;

/// Tells when a sample of the queues is worth a row.
#[derive(Debug, Default)]
pub struct Sampler {
    last: Option<QueueSample>,
}

impl Sampler {
    /// The shortest time between two samples.
    pub const SOONEST: SignedDuration = SignedDuration::from_mins(5);
    /// The longest: a gap that is longer is one in which nobody looked.
    pub const LATEST: SignedDuration = SignedDuration::from_mins(60);

    /// The sample to write down after a look at `now`, if one is due: when the counts are others than
    /// those written last, though not all the time, and now and then all the same.
    pub fn sample(&mut self, now: Timestamp, tasks: Option<&QueueCounts>) -> Option<QueueSample> {
        if let Some(last) = &self.last {
            // A clock that was set back begins anew.
            let since = now.duration_since(last.time);
            let early = since < Self::SOONEST && !since.is_negative();
            let same = since < Self::LATEST && last.tasks.as_ref() == tasks;
            if early || (same && !since.is_negative()) {
                return None;
            }
        }
        let sample = QueueSample { time: now, tasks: tasks.cloned() };
        self.last = Some(sample.clone());
        Some(sample)
    }
}

/// What came before a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another look, at this moment.
    Look(Timestamp),
    /// The server was away since the look at this moment.
    Away(Timestamp),
    /// Nothing by this process, or none since the clock was set.
    Start,
}

/// What was seen of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    /// The queue.
    pub kind: Kind,
    /// The task.
    pub id: TaskId,
    /// The listing; `None` when it left the list.
    pub task: Option<Arc<Task>>,
    /// Since when the progress of a running task has not moved, once that has lasted.
    pub still_since: Option<Timestamp>,
}

impl Observation {
    /// The same with the task as it is listed, if nothing of that would be written down anew: so whoever keeps
    /// what was seen keeps no second one.
    #[must_use]
    pub fn as_listed(self, kinds: &BTreeMap<Kind, Listing>) -> Self {
        let listed = kinds.get(&self.kind).and_then(|tasks| tasks.find(&self.id));
        match listed.filter(|listed| self.task.as_ref().is_some_and(|task| alike(task, listed))) {
            Some(listed) => Self { id: listed.id.clone(), task: Some(Arc::clone(listed)), ..self },
            None => self,
        }
    }
}

/// A list as it was last written down.
#[derive(Debug, Default)]
struct Written {
    tasks: Listing,
    /// Those of them that run, by their places, and so may come to a stand without being listed otherwise: since
    /// when each is known to stand still, if that was written down.
    running: BTreeMap<usize, Option<Moment>>,
}

/// Tells what is new in a look.
#[derive(Debug, Default)]
pub struct Observer {
    written: BTreeMap<Kind, Written>,
    header: Option<(Flavour, SignedDuration, BTreeSet<Kind>, BTreeSet<Kind>)>,
    last: Option<Timestamp>,
    away: bool,
}

/// A running task whose progress has not moved for so long is noted as still, with the moment from
/// which on it was.
pub const STILL: SignedDuration = SignedDuration::from_mins(5);

impl Observer {
    /// Takes in what was last written down of each task that was still listed then.
    pub fn restore(&mut self, last: impl IntoIterator<Item = Observation>) {
        let mut lists: BTreeMap<Kind, Vec<Observation>> = BTreeMap::new();
        for seen in last {
            lists.entry(seen.kind.clone()).or_default().push(seen);
        }
        for (kind, mut list) in lists {
            list.sort_by(|a, b| a.id.cmp(&b.id));
            list.dedup_by(|a, b| a.id == b.id);
            let mut running = BTreeMap::new();
            let mut tasks = Vec::with_capacity(list.len());
            for seen in list {
                let Some(task) = seen.task else { continue };
                if task.state == State::Running {
                    running.insert(tasks.len(), seen.still_since.map(Moment::from));
                }
                tasks.push(task);
            }
            self.written.insert(kind, Written { tasks: Listing::of_sorted(tasks), running });
        }
    }

    /// The server could not be read.
    pub fn note_away(&mut self) {
        self.away = true;
    }

    /// The clock was set: the moment of the look before says nothing about the time since.
    pub fn note_jump(&mut self) {
        self.last = None;
    }

    /// What a look shows that was not written down yet. `memory` has taken the look in already.
    /// `None` when nothing is new; `decided` is whether something was decided or judged, which makes
    /// it worth a row too. Of a task that is acted on, it is written down since when its progress has
    /// not moved, however short that is.
    pub fn look(
        &mut self,
        snapshot: &Snapshot,
        memory: &Memory,
        now: Timestamp,
        (decided, actions): (bool, &[Planned]),
    ) -> Option<Look> {
        let acted: HashSet<(&Kind, &TaskId)> = actions
            .iter()
            .filter_map(|planned| Some((&planned.kind, planned.task.as_ref()?.id())))
            .collect();
        let mut seen = Vec::new();
        for (kind, tasks) in &snapshot.kinds {
            let written = self.written.entry(kind.clone()).or_default();
            let mut note = |id: &TaskId, task: Option<&Arc<Task>>, still_since| {
                let (kind, id, task) = (kind.clone(), id.clone(), task.cloned());
                seen.push(Observation { kind, id, task, still_since });
            };
            let mut running = BTreeMap::new();
            let mut gone = Vec::new();
            for step in tasks.since(&written.tasks) {
                let (old, new) = match step {
                    Step::Same { old, .. } if !written.running.contains_key(&old) => continue,
                    Step::Same { old, new } | Step::Changed { old, new } => (Some(old), new),
                    Step::New { new } => (None, new),
                    Step::Gone { old } => {
                        gone.push(old);
                        continue;
                    }
                };
                let task = &tasks[new];
                let runs = task.state == State::Running;
                let noted = old.and_then(|old| written.running.get(&old).copied().flatten());
                let remembered = runs.then(|| memory.task(kind, &task.id)).flatten();
                let still_since = remembered.map(|memory| memory.progress_at).filter(|since| {
                    now.duration_since(since.get()) >= STILL
                        || acted.contains(&(kind, &task.id))
                        || noted == Some(*since)
                });
                let known = old.is_some_and(|old| alike(&written.tasks[old], task));
                if !known || noted != still_since {
                    note(&task.id, Some(task), still_since.map(Moment::get));
                }
                if runs {
                    running.insert(new, still_since);
                }
            }
            for old in gone {
                note(&written.tasks[old].id, None, None);
            }
            *written = Written { tasks: tasks.clone(), running };
        }
        let unread: BTreeSet<Kind> = snapshot.unread.keys().cloned().collect();
        let known = self.written.iter().filter(|(_, written)| !written.tasks.is_empty());
        let known = known.map(|(kind, _)| kind);
        let is_absent =
            |kind: &&Kind| !snapshot.kinds.contains_key(*kind) && !unread.contains(*kind);
        let absent: BTreeSet<Kind> = known.filter(is_absent).cloned().collect();
        let header = (snapshot.flavour, snapshot.skew, unread.clone(), absent.clone());
        let after = match (self.last.replace(now), std::mem::take(&mut self.away)) {
            (None, _) => After::Start,
            (Some(at), true) => After::Away(at),
            (Some(at), false) => After::Look(at),
        };
        let news = !seen.is_empty()
            || decided
            || !matches!(after, After::Look(_))
            || self.header.as_ref() != Some(&header);
        self.header = Some(header);
        news.then(|| Look {
            server: snapshot.server.clone(),
            time: now,
            after,
            flavour: snapshot.flavour,
            skew: snapshot.skew,
            unread,
            absent,
            seen,
        })
    }
}

/// Whether nothing of a listing changed that makes a row. The progress counts by quarters, and a status
/// that counts something does not count.
fn alike(one: &Task, other: &Task) -> bool {
    let numbers = |task: &Task| {
        (task.state, task.started, task.ended, task.total_bytes, quarter(task.progress))
    };
    let words = |task: &'_ Task| {
        let parts = task.status.split(|c: char| c.is_ascii_digit() || c == '.');
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    numbers(one) == numbers(other)
        && (&one.error, &one.creator, &one.roles) == (&other.error, &other.creator, &other.roles)
        && (one.name == other.name || one.name.identity() == other.name.identity())
        && (one.status == other.status || words(one) == words(other))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4")]
fn quarter(progress: f64) -> u8 {
    (progress.clamp(0.0, 100.0) / 25.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::name::TaskName;
    use crate::engine::task::Common;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn task(id: &str, state: State) -> Task {
        Task {
            id: id.into(),
            name: TaskName::new("upload a.bin to [/d](/x)"),
            progress: 0.0,
            started: Some(at(0).into()),
            ended: None,
            total_bytes: 0,
            common: Common {
                creator: "".into(),
                roles: [].into(),
                state,
                status: "".into(),
                error: "".into(),
            }
            .into(),
        }
    }

    /// A server that is looked at every ten seconds.
    struct Looker {
        observer: Observer,
        memory: Memory,
        second: i64,
    }

    impl Looker {
        fn new() -> Self {
            let memory = Memory::new("home".into());
            Self { observer: Observer::default(), memory, second: 0 }
        }

        fn look(&mut self, tasks: &[Task]) -> Option<Look> {
            self.second += 10;
            let snapshot = Snapshot {
                server: "home".into(),
                flavour: Flavour::OpenList,
                skew: SignedDuration::ZERO,
                kinds: [(Kind::Upload, tasks.iter().cloned().map(Arc::new).collect())].into(),
                unread: BTreeMap::new(),
            };
            self.memory.fold(&snapshot, at(self.second));
            self.observer.look(&snapshot, &self.memory, at(self.second), (false, &[]))
        }
    }

    fn seen(look: Option<Look>) -> Vec<(String, Option<State>)> {
        let seen = look.into_iter().flat_map(|look| look.seen);
        seen.map(|one| (one.id.to_string(), one.task.map(|task| task.state))).collect()
    }

    #[test]
    fn what_was_seen_is_not_kept_beside_a_list_that_shows_the_same() {
        let seen = |id: &str, state| Observation {
            kind: Kind::Upload,
            id: id.into(),
            task: Some(task(id, state).into()),
            still_since: Some(at(1)),
        };
        let listed = ["same", "changed"].map(|id| Arc::new(task(id, State::Running)));
        let kinds = BTreeMap::from([(Kind::Upload, Listing::new(listed.to_vec()))]);
        let same = seen("same", State::Running).as_listed(&kinds);
        assert_eq!(same, seen("same", State::Running));
        assert!(Arc::ptr_eq(same.task.as_ref().unwrap(), &listed[0]));
        for other in [seen("changed", State::Failed), seen("gone", State::Running)] {
            assert_eq!(other.clone().as_listed(&kinds), other);
        }
        let elsewhere = Observation { kind: Kind::Copy, ..seen("same", State::Running) };
        let as_listed = elsewhere.as_listed(&kinds);
        assert!(!Arc::ptr_eq(as_listed.task.as_ref().unwrap(), &listed[0]));
        let left = Observation { task: None, ..seen("same", State::Running) };
        assert_eq!(left.clone().as_listed(&kinds), left);
    }

    #[test]
    fn what_does_not_change_is_written_once() {
        let mut looker = Looker::new();
        let tasks: Vec<Task> =
            (0..100_000).map(|id| task(&id.to_string(), State::Succeeded)).collect();
        assert_eq!(looker.look(&tasks).unwrap().seen.len(), 100_000);
        for _ in 0..3 {
            assert_eq!(looker.look(&tasks), None);
        }
        // Nor does another process write it again, but that it began.
        let written = tasks.iter().map(|task| Observation {
            kind: Kind::Upload,
            id: task.id.clone(),
            task: Some(task.clone().into()),
            still_since: None,
        });
        looker.observer = Observer::default();
        looker.observer.restore(written.collect::<Vec<_>>());
        let look = looker.look(&tasks).unwrap();
        assert_eq!((look.after, look.seen.len()), (After::Start, 0));
        assert_eq!(looker.look(&tasks), None);
    }

    #[test]
    fn a_transition_an_error_and_leaving_are_seen() {
        let mut looker = Looker::new();
        assert_eq!(
            seen(looker.look(&[task("a", State::Running)])),
            [("a".into(), Some(State::Running))]
        );
        let mut failed = task("a", State::Failed);
        failed.error = "too many requests".into();
        let look = looker.look(std::slice::from_ref(&failed)).unwrap();
        assert_eq!(look.after, After::Look(at(10)));
        assert_eq!(look.seen[0].task, Some(failed.clone().into()));
        let mut other = failed;
        other.error = "no space left".into();
        assert_eq!(seen(looker.look(&[other])), [("a".into(), Some(State::Failed))]);
        looker.observer.note_away();
        let look = looker.look(&[]);
        assert_eq!(look.as_ref().unwrap().after, After::Away(at(30)));
        assert_eq!(seen(look), [("a".into(), None)]);
        assert_eq!(looker.look(&[]), None);
    }

    #[test]
    fn progress_is_seen_by_quarters_and_so_is_its_end() {
        let mut looker = Looker::new();
        let at_percent = |progress: f64| {
            let mut task = Task { progress, ..task("a", State::Running) };
            task.status = format!("uploading {progress}%").into();
            task
        };
        let mut rows = Vec::new();
        for percent in 0..80 {
            if let Some(look) = looker.look(&[at_percent(f64::from(percent))]) {
                rows.push(look.seen[0].task.as_ref().unwrap().progress);
            }
        }
        assert_eq!(rows, [0.0, 25.0, 50.0, 75.0]);
        let moved = at(looker.second);
        let looks: Vec<Look> = (0..100).filter_map(|_| looker.look(&[at_percent(79.0)])).collect();
        assert_eq!(looks.len(), 1, "{looks:?}");
        assert_eq!(looks[0].seen[0].still_since, Some(moved));
        let look = looker.look(&[at_percent(80.0)]).unwrap();
        assert_eq!(look.seen[0].still_since, None);
        assert_eq!(looker.look(&[at_percent(81.0)]), None);
    }
}
