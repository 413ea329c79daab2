//! The tasks of one kind, as one look showed them.

use std::cmp::Ordering;
use std::ops::Deref;
use std::sync::Arc;

use super::task::{Task, TaskId};

/// A whole list, by id, each id once. A copy shares it, so that whoever remembers a list can tell at a glance that
/// the next one is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing(Arc<Vec<Arc<Task>>>);

/// What became of a task from one list to the next, by its places in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is listed as it was.
    Same {
        /// Its place before.
        old: usize,
        /// Its place now.
        new: usize,
    },
    /// It is listed otherwise.
    Changed {
        /// Its place before.
        old: usize,
        /// Its place now.
        new: usize,
    },
    /// It was not listed before.
    New {
        /// Its place now.
        new: usize,
    },
    /// It is not listed any more.
    Gone {
        /// Its place before.
        old: usize,
    },
}

impl Listing {
    /// The tasks, which servers list in no order. Of two with the same id the later one counts.
    #[must_use]
    pub fn new(mut tasks: Vec<Arc<Task>>) -> Self {
        if !tasks.is_sorted_by(|a, b| a.id < b.id) {
            tasks.sort_by(|a, b| a.id.cmp(&b.id));
            // The first of a run stays where `dedup_by` finds it, so the run is turned round.
            tasks.reverse();
            tasks.dedup_by(|a, b| a.id == b.id);
            tasks.reverse();
        }
        Self(Arc::new(tasks))
    }

    /// The same of tasks that are sorted by id, each id once.
    #[must_use]
    pub fn of_sorted(tasks: Vec<Arc<Task>>) -> Self {
        debug_assert!(tasks.is_sorted_by(|a, b| a.id < b.id), "they are sorted");
        Self(Arc::new(tasks))
    }

    /// Whether both are one list, and not only alike.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A task by its id.
    #[must_use]
    pub fn find(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.place(id).ok().map(|place| &self.0[place])
    }

    /// Lists a task as it is now, or takes it off.
    pub fn put(&mut self, id: &TaskId, task: Option<Arc<Task>>) {
        match (self.place(id), task) {
            (Ok(place), Some(task)) => Arc::make_mut(&mut self.0)[place] = task,
            (Ok(place), None) => {
                Arc::make_mut(&mut self.0).remove(place);
            }
            (Err(place), Some(task)) => Arc::make_mut(&mut self.0).insert(place, task),
            (Err(_), None) => {}
        }
    }

    /// How this list differs from one before, by id.
    pub fn since<'l>(&'l self, before: &'l Self) -> impl Iterator<Item = Step> + 'l {
        let (mut old, mut new) = (0, 0);
        std::iter::from_fn(move || {
            let step = match (before.get(old), self.get(new)) {
                (None, None) => return None,
                // The very same task, not only an equal one: the reader shares what is listed as it was.
                (Some(was), Some(is)) if Arc::ptr_eq(was, is) => Step::Same { old, new },
                (None, Some(_)) => Step::New { new },
                (Some(_), None) => Step::Gone { old },
                (Some(was), Some(is)) => match was.id.cmp(&is.id) {
                    Ordering::Less => Step::Gone { old },
                    Ordering::Equal => Step::Changed { old, new },
                    Ordering::Greater => Step::New { new },
                },
            };
            old += usize::from(!matches!(step, Step::New { .. }));
            new += usize::from(!matches!(step, Step::Gone { .. }));
            Some(step)
        })
    }

    fn place(&self, id: &TaskId) -> Result<usize, usize> {
        self.0.binary_search_by(|task| task.id.cmp(id))
    }
}

impl Deref for Listing {
    type Target = [Arc<Task>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Vec<Arc<Task>>> for Listing {
    fn from(tasks: Vec<Arc<Task>>) -> Self {
        Self::new(tasks)
    }
}

impl FromIterator<Arc<Task>> for Listing {
    fn from_iter<I: IntoIterator<Item = Arc<Task>>>(tasks: I) -> Self {
        Self::new(tasks.into_iter().collect())
    }
}

impl<'l> IntoIterator for &'l Listing {
    type Item = &'l Arc<Task>;
    type IntoIter = std::slice::Iter<'l, Arc<Task>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::name::TaskName;
    use crate::engine::task::{Common, State};

    fn task(id: u8, version: u8) -> Arc<Task> {
        Arc::new(Task {
            id: TaskId::new(format!("{id:02}")),
            name: TaskName::new("upload a to [/b](/)"),
            progress: version.into(),
            started: None,
            ended: None,
            total_bytes: 0,
            common: Common {
                creator: "".into(),
                roles: [].into(),
                state: State::Running,
                status: "".into(),
                error: "".into(),
            }
            .into(),
        })
    }

    proptest! {
        #[test]
        fn a_list_is_what_was_put_into_it(puts in prop::collection::vec((0_u8..8, 0_u8..4), 0..30)) {
            let tasks: Vec<Arc<Task>> = puts.iter().map(|(id, version)| task(*id, *version)).collect();
            let whole = Listing::new(tasks.clone());
            let mut known = BTreeMap::new();
            for one in &tasks {
                known.insert(one.id.clone(), Arc::clone(one));
            }
            prop_assert_eq!(&whole[..], &known.values().cloned().collect::<Vec<_>>()[..]);
            // One by one, with an older copy that must not change.
            let (mut grown, mut copies) = (Listing::default(), Vec::new());
            for (n, one) in tasks.iter().enumerate() {
                copies.push((grown.clone(), grown.to_vec()));
                if n % 3 == 2 {
                    grown.put(&one.id, None);
                    prop_assert!(grown.find(&one.id).is_none());
                }
                grown.put(&one.id, Some(Arc::clone(one)));
                prop_assert!(Arc::ptr_eq(grown.find(&one.id).unwrap(), one));
            }
            prop_assert_eq!(&grown, &whole);
            for (copy, was) in copies {
                prop_assert_eq!(&copy[..], &was[..]);
            }
        }

        #[test]
        fn the_steps_lead_from_one_list_to_the_next(
            was in prop::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
            is in prop::collection::btree_map(0_u8..12, 0_u8..3, 0..12),
        ) {
            let tasks: Vec<Vec<Arc<Task>>> =
                (0..12).map(|id| (0..3).map(|version| task(id, version)).collect()).collect();
            let list = |of: &BTreeMap<u8, u8>| -> Listing {
                of.iter().map(|(id, at)| &tasks[usize::from(*id)][usize::from(*at)]).cloned().collect()
            };
            let (before, now) = (list(&was), list(&is));
            let mut made = Vec::new();
            for step in now.since(&before) {
                match step {
                    Step::Same { old, new } => {
                        prop_assert!(Arc::ptr_eq(&before[old], &now[new]));
                        made.push(Arc::clone(&before[old]));
                    }
                    Step::Changed { old, new } => {
                        prop_assert!(before[old].id == now[new].id && before[old] != now[new]);
                        made.push(Arc::clone(&now[new]));
                    }
                    Step::New { new } => {
                        prop_assert!(before.find(&now[new].id).is_none());
                        made.push(Arc::clone(&now[new]));
                    }
                    Step::Gone { old } => prop_assert!(now.find(&before[old].id).is_none()),
                }
            }
            prop_assert_eq!(&made[..], &now[..]);
            let (kept, gone) = (before.len(), before.iter().filter(|t| now.find(&t.id).is_none()).count());
            prop_assert_eq!(now.since(&before).count(), now.len() + gone);
            prop_assert!(kept >= gone && now.is(&now.clone()) && !now.is(&list(&is)));
        }
    }
}
