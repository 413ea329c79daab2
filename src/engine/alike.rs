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
    /// An evaluation ends. While it lasted nothing that it looked at moved, so that what lay at the same place
    /// was the same.
    pub(super) fn end(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_where_another_error_lay_is_not_taken_for_it() {
        let mut alikes = Alikes::default();
        let takers = [Taker { run: 1, holds: true }].into();
        let alike = Alike { of_error: Arc::default(), takers };
        alikes.put(&Kind::Copy, State::Failed, &"busy".into(), alike);
        let (kind, mut error) = (Kind::Copy, "busy".to_owned());
        assert_eq!(alikes.get(&kind, State::Failed, &error).unwrap().takers[0].run, 1);
        assert!(alikes.get(&kind, State::Canceled, &error).is_none());
        alikes.end();
        error.replace_range(.., "gone");
        assert!(alikes.get(&kind, State::Failed, &error).is_none());
        // What was found out of a text outlives the evaluation.
        assert!(alikes.get(&kind, State::Failed, "busy").is_some());
    }

    #[test]
    fn errors_that_each_come_once_are_let_go_of() {
        let mut alikes = Alikes::default();
        for n in 0..=MOST {
            let alike = Alike { of_error: Arc::default(), takers: Arc::default() };
            alikes.put(&Kind::Copy, State::Failed, &n.to_string().into(), alike);
        }
        alikes.end();
        assert!(alikes.get(&Kind::Copy, State::Failed, "1").is_none());
    }
}
