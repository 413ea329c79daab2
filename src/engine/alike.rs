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
    /// The rules that may take such a task, by their places among those at work; for the others it is settled that
    /// they do not match.
    pub(super) runs: Arc<[usize]>,
}

/// The same for all tasks. It holds as long as rules and flavour do.
#[derive(Debug, Default)]
pub(super) struct Alikes {
    by_text: HashMap<Arc<str>, Vec<(Kind, State, Alike)>>,
    /// The same by where kind and text lie: most texts are shared, and to read them takes its time.
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
    pub(super) fn get(&mut self, kind: &Kind, state: State, error: &str) -> Option<&Alike> {
        let place = place(kind, state, error);
        if !self.by_place.contains_key(&place) {
            let known = self.by_text.get(error)?;
            let known = known.iter().find(|(k, s, _)| (k, *s) == (kind, state))?;
            self.by_place.insert(place, known.2.clone());
        }
        self.by_place.get(&place)
    }

    /// Takes in what was found out.
    pub(super) fn put(&mut self, kind: &Kind, state: State, error: &str, alike: &Alike) {
        self.by_place.insert(place(kind, state, error), alike.clone());
        let known = (kind.clone(), state, alike.clone());
        self.by_text.entry(error.into()).or_default().push(known);
    }
}

fn place(kind: &Kind, state: State, error: &str) -> Place {
    (std::ptr::from_ref(kind).addr(), state, error.as_ptr().addr(), error.len())
}
