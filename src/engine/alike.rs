//! What tasks of one kind, state and error have in common. There are few such errors, and looking for patterns in
//! each task's own would take most of a tick.

use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};

use foldhash::{HashMap, HashMapExt as _};

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

/// The same for all tasks, which holds as long as rules and flavour do.
#[derive(Debug, Default)]
pub(super) struct Settled(HashMap<(Kind, State, Arc<str>), Arc<Alike>>);

/// The same in an evaluation. While it lasts nothing that it looks at moves, so that what lies at one place is the same.
#[derive(Debug, Default)]
pub(super) struct Alikes {
    by_text: Settled,
    /// The same by where kind and text lie: many texts are shared, and to read them takes its time.
    by_place: HashMap<(usize, State, usize), Arc<Alike>>,
}

/// Where each task has an error of its own, there is little to remember.
const MOST: usize = 4096;

impl Alikes {
    /// An evaluation begins, with what earlier ones found.
    pub(super) fn new(by_text: Settled) -> Self {
        Self { by_text, by_place: HashMap::new() }
    }

    /// It ends: what outlives it. Of an error that nobody else holds any more, nothing does: it may be a whole web
    /// page, and another one at each look.
    pub(super) fn end(self) -> Settled {
        let mut settled = self.by_text;
        if settled.0.len() > MOST {
            return Settled::default();
        }
        // Tasks of two kinds or states may share one.
        let mut held_here: HashMap<usize, usize> = HashMap::new();
        for (_, _, error) in settled.0.keys() {
            *held_here.entry(error.as_ptr().addr()).or_default() += 1;
        }
        settled.0.retain(|(_, _, error), _| {
            held_here
                .get(&error.as_ptr().addr())
                .is_some_and(|held| Arc::strong_count(error) > *held)
        });
        settled
    }

    /// What is known of such tasks, which may be nothing yet.
    pub(super) fn of(&mut self, kind: &Kind, state: State, error: &Arc<str>) -> Arc<Alike> {
        let place = (std::ptr::from_ref(kind).addr(), state, error.as_ptr().addr());
        if let Some(known) = self.by_place.get(&place) {
            return Arc::clone(known);
        }
        match self.by_text.0.entry((kind.clone(), state, Arc::clone(error))) {
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

    static COPY: Kind = Kind::Copy;
    static MOVE: Kind = Kind::Move;

    /// Marks what is known of such tasks, or tells whether it was marked before.
    fn known(alikes: &mut Alikes, kind: &'static Kind, state: State, error: &Arc<str>) -> bool {
        let alike = alikes.of(kind, state, error);
        let known = alike.takers.get().is_some();
        alike.takers.get_or_init(Box::default);
        known
    }

    #[test]
    fn what_lies_where_another_error_lay_is_not_taken_for_it() {
        let mut alikes = Alikes::default();
        let first: Arc<str> = "busy".into();
        assert!(!known(&mut alikes, &COPY, State::Failed, &first));
        let mut error: Arc<str> = "busy".into();
        // Found by its text, then by its place.
        for _ in 0..2 {
            assert!(known(&mut alikes, &COPY, State::Failed, &error));
        }
        let mut alikes = Alikes::new(alikes.end());
        Arc::get_mut(&mut error).unwrap().make_ascii_uppercase();
        assert!(!known(&mut alikes, &COPY, State::Failed, &error));
        // What was found out of a text outlives the evaluation.
        assert!(known(&mut alikes, &COPY, State::Failed, &"busy".into()));
    }

    #[test]
    fn tasks_of_another_kind_or_state_are_not_alike() {
        let mut alikes = Alikes::default();
        let error: Arc<str> = "busy".into();
        for (kind, state) in
            [(&COPY, State::Failed), (&MOVE, State::Failed), (&COPY, State::Canceled)]
        {
            for before in [false, true, true] {
                assert_eq!(known(&mut alikes, kind, state, &error), before, "{kind} {state}");
            }
        }
    }

    #[test]
    fn errors_that_each_come_once_are_let_go_of() {
        let errors: Vec<Arc<str>> = (0..=MOST).map(|n| n.to_string().into()).collect();
        let mut alikes = Alikes::default();
        for error in &errors {
            known(&mut alikes, &COPY, State::Failed, error);
        }
        let mut alikes = Alikes::new(alikes.end());
        assert!(!known(&mut alikes, &COPY, State::Failed, &errors[1]));
    }

    #[test]
    fn an_error_that_no_task_has_any_more_is_let_go_of() {
        let mut alikes = Alikes::default();
        let errors: [Arc<str>; 2] = ["busy".into(), "a web page".into()];
        for error in &errors {
            known(&mut alikes, &COPY, State::Failed, error);
            known(&mut alikes, &MOVE, State::Failed, error);
        }
        let [busy, page] = errors;
        let gone = Arc::downgrade(&page);
        drop(page);
        let mut alikes = Alikes::new(alikes.end());
        assert!(known(&mut alikes, &COPY, State::Failed, &busy) && gone.upgrade().is_none());
    }
}
