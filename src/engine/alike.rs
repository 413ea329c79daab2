//! What tasks of one kind, state and error have in common. There are few such errors, and looking for patterns in
//! each task's own would take most of a tick.

use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use foldhash::HashMap;

use super::predicate::OfError;
use super::task::{Kind, State};

/// What is known of tasks that are alike.
#[derive(Debug, Default)]
pub(super) struct Alike {
    /// What their error tells.
    pub(super) of_error: OfError,
    /// The rules that may take such a task, in file order; for the others it is settled that they do not match.
    pub(super) takers: OnceLock<Box<[Taker]>>,
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
    by_text: HashMap<(Kind, State, Arc<str>), Arc<Alike>>,
    /// The same by where kind and text lie: many texts are shared, and to read them takes its time.
    by_place: HashMap<Place, Arc<Alike>>,
}

type Place = (usize, State, usize, usize);

/// Where each task has an error of its own, there is little to remember.
const MOST: usize = 4096;

impl Alikes {
    /// An evaluation ends. While it lasted nothing that it looked at moved, so that what lay at the same place
    /// was the same.
    pub(super) fn end(&mut self) {
        self.by_place.clear();
        if self.by_text.len() > MOST {
            self.by_text.clear();
        }
    }

    /// What is known of such tasks, which may be nothing yet.
    pub(super) fn of(&mut self, kind: &Kind, state: State, error: &Arc<str>) -> Arc<Alike> {
        let place = (std::ptr::from_ref(kind).addr(), state, error.as_ptr().addr(), error.len());
        if let Some(known) = self.by_place.get(&place) {
            return Arc::clone(known);
        }
        match self.by_text.entry((kind.clone(), state, Arc::clone(error))) {
            Entry::Occupied(known) => {
                self.by_place.insert(place, Arc::clone(known.get()));
                Arc::clone(known.get())
            }
            Entry::Vacant(new) => Arc::clone(new.insert(Arc::default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks what is known of such tasks, or tells whether it was marked before.
    fn known(alikes: &mut Alikes, state: State, error: &Arc<str>) -> bool {
        let alike = alikes.of(&KIND, state, error);
        let known = alike.takers.get().is_some();
        alike.takers.get_or_init(Box::default);
        known
    }

    static KIND: Kind = Kind::Copy;

    #[test]
    fn what_lies_where_another_error_lay_is_not_taken_for_it() {
        let mut alikes = Alikes::default();
        assert!(!known(&mut alikes, State::Failed, &"busy".into()));
        let mut error: Arc<str> = "busy".into();
        // Found by its text, then by its place.
        for _ in 0..2 {
            assert!(known(&mut alikes, State::Failed, &error));
        }
        assert!(!known(&mut alikes, State::Canceled, &"busy".into()));
        assert!(alikes.of(&Kind::Move, State::Failed, &"busy".into()).takers.get().is_none());
        alikes.end();
        Arc::get_mut(&mut error).unwrap().make_ascii_uppercase();
        assert!(!known(&mut alikes, State::Failed, &error));
        // What was found out of a text outlives the evaluation.
        assert!(known(&mut alikes, State::Failed, &"busy".into()));
    }

    #[test]
    fn errors_that_each_come_once_are_let_go_of() {
        let mut alikes = Alikes::default();
        for n in 0..=MOST {
            known(&mut alikes, State::Failed, &n.to_string().into());
        }
        alikes.end();
        assert!(!known(&mut alikes, State::Failed, &"1".into()));
    }
}
