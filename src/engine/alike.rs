//! What tasks of one kind, state and error have in common. There are few such errors, and looking for patterns in
//! each task's own would take most of a tick.

use std::sync::Arc;

use foldhash::HashMap;

use super::predicate::OfError;
use super::task::{Kind, State};

/// What is known of tasks that are alike.
#[derive(Clone, Debug)]
pub(super) struct Alike {
    /// What their error tells.
    pub(super) of_error: Arc<OfError>,
    /// The rules that may take such a task, in file order; for the others it is settled that they do not match.
    pub(super) takers: Arc<[Taker]>,
}

/// A rule that may take a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taker {
    /// Its place among those at work.
    pub(super) run: usize,
    /// Whether it is settled that its matchers hold.
    pub(super) holds: bool,
}

/// The same for all tasks. It holds as long as rules and flavour do.
#[derive(Debug, Default)]
pub(super) struct Alikes {
    by_text: HashMap<Arc<str>, Vec<(Kind, State, Alike)>>,
    /// The same by where kind and text lie: many texts are shared, and to read them takes its time.
    by_place: HashMap<Place, Alike>,
}

type Place = (usize, State, usize, usize);

/// Where each task has an error of its own, there is little to remember.
const MOST: usize = 4096;

impl Alikes {
    /// An evaluation begins. While it lasts nothing that it looks at moves, so that what lies at the same place
    /// is the same.
    pub(super) fn begin(&mut self) {
        self.by_place.clear();
        if self.by_text.len() > MOST {
            self.by_text.clear();
        }
    }

    /// What is known, if such a task was looked at before.
    pub(super) fn get(&mut self, kind: &Kind, state: State, error: &str) -> Option<Alike> {
        let place = (std::ptr::from_ref(kind).addr(), state, error.as_ptr().addr(), error.len());
        if let Some(known) = self.by_place.get(&place) {
            return Some(known.clone());
        }
        let known = self.by_text.get(error)?;
        let (_, _, known) = known.iter().find(|(k, s, _)| (k, *s) == (kind, state))?;
        self.by_place.insert(place, known.clone());
        Some(known.clone())
    }

    /// Takes in what was found out.
    pub(super) fn put(&mut self, kind: &Kind, state: State, error: &Arc<str>, alike: Alike) {
        // Few errors are those of tasks of several kinds.
        let known = self.by_text.entry(Arc::clone(error)).or_insert_with(|| Vec::with_capacity(1));
        known.push((kind.clone(), state, alike));
    }
}
