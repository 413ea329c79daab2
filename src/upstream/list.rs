//! Reading whole lists, again and again: a task that is listed word for word as it was before is not
//! read again, and is shared with the look before.
//!
//! Pure. Here is only what is quick about it: a text that does not have the usual form is read by
//! [`wire`], field by field, and that is what decides whether it is a list at all.

use std::borrow::{Borrow, Cow};
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::wire::{self, Envelope, RoleForm, WireError};
use crate::engine::name::{TaskName, scrub};
use crate::engine::task::{State, Task, TaskId};

/// Reads the lists of one kind, and remembers what it read.
#[derive(Debug, Default)]
pub struct Reader {
    known: HashMap<Known, Mark>,
    /// Texts that tasks share: there are few creators, states of work and errors.
    texts: Texts,
    role_form: RoleForm,
    digests: foldhash::quality::RandomState,
    /// The known tasks that this look has found, each at its place in the last one.
    found: Vec<Option<Arc<Task>>>,
    /// The others.
    fresh: Vec<(Arc<Task>, Mark)>,
    under_way: bool,
}

/// A task of the last look, found by its id.
#[derive(Debug)]
struct Known(Arc<Task>);

/// The text of a known task, and its place among them by id.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Equal for equal texts. That two texts of a task, one after the other, had the same by chance is
    /// out of the question, and nobody outside knows with which numbers it was drawn.
    digest: u64,
    length: usize,
    place: usize,
}

impl Borrow<str> for Known {
    fn borrow(&self) -> &str {
        self.0.id.as_str()
    }
}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.as_str().hash(state);
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Known {}

impl Reader {
    /// The tasks of a whole answer of a `done` or `undone` list, as the client reads it, by id.
    ///
    /// # Errors
    ///
    /// Why the text is no such answer, in words.
    pub fn read(&mut self, body: &str) -> Result<Vec<Arc<Task>>, String> {
        self.begin();
        let envelope = Envelope::open(body).map_err(|error| error.to_string())?;
        self.take(&envelope).map_err(|error| error.to_string())?;
        Ok(self.finish())
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        if self.under_way {
            // The last one was not finished, so that what it knows is neither old nor new.
            self.known.clear();
            self.fresh.clear();
        }
        self.under_way = true;
        self.found.clear();
        self.found.resize(self.known.len(), None);
    }

    /// Takes one list of the look in. A task that an earlier one had too counts as this one has it.
    pub(super) fn take(&mut self, envelope: &Envelope<'_>) -> Result<(), WireError> {
        if let Some(rest) = envelope.unread()
            && let Some(part) = self.usual_list(rest)
        {
            self.add(part);
            return Ok(());
        }
        let mut part = Part::default();
        for (index, item) in wire::items(envelope)?.into_iter().enumerate() {
            self.odd_task(item, &mut part)
                .map_err(|why| WireError::Data(format!("task {} of the list {why}", index + 1)))?;
        }
        self.add(part);
        Ok(())
    }

    /// The look ends: its tasks, by id, each once.
    pub(super) fn finish(&mut self) -> Vec<Arc<Task>> {
        self.under_way = false;
        let found = std::mem::take(&mut self.found);
        let mut fresh = by_id(std::mem::take(&mut self.fresh));
        let some_left = found.iter().any(Option::is_none);
        if some_left {
            self.known.retain(|_, mark| found[mark.place].is_some());
        }
        let kept = found.into_iter().flatten();
        let mut tasks: Vec<Arc<Task>> = Vec::with_capacity(kept.size_hint().0 + fresh.len());
        if fresh.is_empty() {
            tasks.extend(kept);
        } else {
            let kept: Vec<Arc<Task>> = kept.collect();
            let mut rest = &kept[..];
            for (task, mark) in &mut fresh {
                let (before, after) = rest.split_at(rest.partition_point(|kept| kept.id < task.id));
                tasks.extend_from_slice(before);
                rest = after;
                mark.place = tasks.len();
                tasks.push(Arc::clone(task));
            }
            tasks.extend_from_slice(rest);
        }
        if !self.known.is_empty() && (some_left || !fresh.is_empty()) {
            for (place, task) in tasks.iter().enumerate() {
                if let Some(mark) = self.known.get_mut(task.id.as_str()) {
                    mark.place = place;
                }
            }
        }
        self.known.reserve(fresh.len());
        self.known.extend(fresh.into_iter().map(|(task, mark)| (Known(task), mark)));
        self.texts.forget_unused();
        tasks
    }

    /// How roles are written, as far as any list has told.
    pub(super) fn role_form(&self) -> RoleForm {
        self.role_form
    }

    fn add(&mut self, part: Part) {
        for (place, task) in part.found {
            self.found[place] = Some(task);
        }
        self.fresh.extend(part.fresh);
        if self.role_form == RoleForm::None {
            self.role_form = part.role_form;
        }
    }

    /// Reads the rest of an answer in the form in which servers write it, from the `[` of the list on;
    /// `None` if it has another form, or is none.
    fn usual_list(&mut self, rest: &str) -> Option<Part> {
        let mut part = Part::default();
        let mut seen = Seen::default();
        let mut rest = rest.strip_prefix('[')?;
        loop {
            rest = self.usual_task(rest, &mut seen, &mut part)?;
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                let end = rest.strip_prefix("]}")?;
                return end.trim_ascii_end().is_empty().then_some(part);
            }
        }
    }

    /// Reads the task at the front of the text; returns the text behind it.
    fn usual_task<'t>(
        &mut self,
        text: &'t str,
        seen: &mut Seen<'t>,
        part: &mut Part,
    ) -> Option<&'t str> {
        let behind = text.strip_prefix("{\"id\":\"")?;
        let id = &behind[..memchr::memchr(b'"', behind.as_bytes())?];
        let known = self.known.get_key_value(id);
        // An object ends where it ends, so a text that begins with one has it in front, whatever follows.
        if let Some((known, mark)) = known
            && let Some(raw) = text.as_bytes().get(..mark.length)
            && self.digests.hash_one(raw) == mark.digest
        {
            part.found.push((mark.place, Arc::clone(&known.0)));
            return text.get(mark.length..);
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Plain<'t>>();
        if let Some(Ok(plain)) = values.next() {
            let length = values.byte_offset();
            let form = plain.creator_role.form();
            let task = plain.task(seen, &mut self.texts)?;
            self.put(task, form, &text[..length], part);
            return Some(&text[length..]);
        }
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<&'t RawValue>();
        let raw = values.next()?.ok()?;
        self.odd_task(raw, part).ok()?;
        Some(&text[values.byte_offset()..])
    }

    fn odd_task(&mut self, raw: &RawValue, part: &mut Part) -> Result<(), &'static str> {
        let (task, form) = wire::task(raw)?;
        self.put(task, form, raw.get(), part);
        Ok(())
    }

    /// Puts a task that was read to the others.
    fn put(&mut self, task: Task, form: RoleForm, raw: &str, part: &mut Part) {
        let task = Arc::new(task);
        let digest = self.digests.hash_one(raw.as_bytes());
        if part.role_form == RoleForm::None {
            part.role_form = form;
        }
        if let Some((_, before)) = self.known.remove_entry(task.id.as_str()) {
            let mark = Mark { digest, length: raw.len(), place: before.place };
            self.known.insert(Known(Arc::clone(&task)), mark);
            part.found.push((mark.place, task));
        } else {
            part.fresh.push((task, Mark { digest, length: raw.len(), place: 0 }));
        }
    }
}

/// What one list showed.
#[derive(Default)]
struct Part {
    found: Vec<(usize, Arc<Task>)>,
    fresh: Vec<(Arc<Task>, Mark)>,
    role_form: RoleForm,
}

/// Sorts by id; of two with the same the later one stays.
fn by_id(fresh: Vec<(Arc<Task>, Mark)>) -> Vec<(Arc<Task>, Mark)> {
    // The first letters beside each task, since to look into so many tasks takes its time.
    let front = |id: &TaskId| {
        let id = id.as_str().as_bytes();
        let mut front = [0; 16];
        let length = id.len().min(front.len());
        front[..length].copy_from_slice(&id[..length]);
        u128::from_be_bytes(front)
    };
    let mut keyed: Vec<_> = fresh.into_iter().map(|one| (front(&one.0.id), one)).collect();
    keyed.sort_by(|(a, (x, _)), (b, (y, _))| a.cmp(b).then_with(|| x.id.cmp(&y.id)));
    let mut sorted: Vec<(Arc<Task>, Mark)> = Vec::with_capacity(keyed.len());
    for (_, one) in keyed {
        match sorted.last_mut() {
            Some(last) if last.0.id == one.0.id => *last = one,
            _ => sorted.push(one),
        }
    }
    sorted
}

/// Texts of which there is one copy each.
#[derive(Debug, Default)]
struct Texts {
    known: HashSet<Arc<str>>,
    roles: Vec<Arc<[i64]>>,
    /// How many there were when those that nobody has any more were last taken out.
    kept: usize,
}

/// What became of the texts of one answer, secrets out.
type Seen<'t> = HashMap<Cow<'t, str>, Arc<str>>;

impl Texts {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.known.insert(Arc::clone(&shared));
        shared
    }

    /// The same, secrets out.
    fn share_scrubbed<'t>(&mut self, text: Cow<'t, str>, seen: &mut Seen<'t>) -> Arc<str> {
        if let Some(known) = seen.get(&*text) {
            return Arc::clone(known);
        }
        let shared = self.share(&scrub(&text));
        seen.insert(text, Arc::clone(&shared));
        shared
    }

    fn share_roles(&mut self, roles: &[i64]) -> Arc<[i64]> {
        if let Some(known) = self.roles.iter().find(|known| ***known == *roles) {
            return Arc::clone(known);
        }
        let shared: Arc<[i64]> = roles.into();
        // Few in any case; a server that gives each task roles of its own is not worth more.
        if self.roles.len() < 64 {
            self.roles.push(Arc::clone(&shared));
        }
        shared
    }

    fn forget_unused(&mut self) {
        if self.known.len() > 2 * self.kept + 1024 {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.kept = self.known.len();
        }
    }
}

/// A task whose fields have the form in which servers write them. Anything else about it is an error
/// here, and is for [`wire::task`] to read.
#[derive(Deserialize)]
struct Plain<'t> {
    #[serde(borrow)]
    id: Text<'t>,
    #[serde(borrow)]
    name: Text<'t>,
    #[serde(borrow, default)]
    creator: Text<'t>,
    #[serde(default)]
    creator_role: PlainRoles,
    state: i64,
    #[serde(borrow, default)]
    status: Text<'t>,
    progress: f64,
    #[serde(borrow, default)]
    start_time: Text<'t>,
    #[serde(borrow, default)]
    end_time: Text<'t>,
    #[serde(default)]
    total_bytes: u64,
    #[serde(borrow, default)]
    error: Text<'t>,
}

impl<'t> Plain<'t> {
    fn task(self, seen: &mut Seen<'t>, texts: &mut Texts) -> Option<Task> {
        if self.id.0.is_empty() || self.progress.is_nan() {
            return None;
        }
        let roles = match &self.creator_role {
            PlainRoles::None => &[][..],
            PlainRoles::One(role) => std::slice::from_ref(role),
            PlainRoles::Many(roles) => roles,
        };
        Some(Task {
            id: TaskId::new(self.id.0),
            name: TaskName::new(&self.name.0),
            creator: texts.share(&self.creator.0),
            roles: texts.share_roles(roles),
            state: State::from_number(self.state),
            status: texts.share_scrubbed(self.status.0, seen),
            progress: self.progress.clamp(0.0, 100.0),
            started: wire::time_of(&self.start_time.0),
            ended: wire::time_of(&self.end_time.0),
            total_bytes: self.total_bytes,
            error: texts.share_scrubbed(self.error.0, seen),
        })
    }
}

/// A string, borrowed where it has no escapes; `null` is empty.
#[derive(Default)]
struct Text<'t>(Cow<'t, str>);

impl<'de: 't, 't> Deserialize<'de> for Text<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// Roles, in the forms of both products.
#[derive(Default)]
enum PlainRoles {
    #[default]
    None,
    One(i64),
    Many(Vec<i64>),
}

impl<'de> Deserialize<'de> for PlainRoles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RolesVisitor;

        impl<'de> Visitor<'de> for RolesVisitor {
            type Value = PlainRoles;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a role, or a list of roles")
            }

            fn visit_i64<E>(self, role: i64) -> Result<Self::Value, E> {
                Ok(PlainRoles::One(role))
            }

            fn visit_u64<E: serde::de::Error>(self, role: u64) -> Result<Self::Value, E> {
                i64::try_from(role).map(PlainRoles::One).map_err(E::custom)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(PlainRoles::None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut roles = Vec::new();
                while let Some(role) = seq.next_element()? {
                    roles.push(role);
                }
                Ok(PlainRoles::Many(roles))
            }
        }

        deserializer.deserialize_any(RolesVisitor)
    }
}

impl PlainRoles {
    fn form(&self) -> RoleForm {
        match self {
            Self::None => RoleForm::None,
            Self::One(_) => RoleForm::Number,
            Self::Many(_) => RoleForm::Array,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use proptest::prelude::*;

    use super::*;

    fn answer(tasks: &[String]) -> String {
        format!(r#"{{"code":200,"message":"success","data":[{}]}}"#, tasks.join(","))
    }

    fn one(id: &str, state: u8, error: &str) -> String {
        format!(
            r#"{{"id":"{id}","name":"upload {id} to [/d](/)","creator":"admin","creator_role":2,"state":{state},"status":"","progress":1.5,"start_time":"2026-11-23T19:32:47Z","end_time":null,"total_bytes":7,"error":"{error}"}}"#
        )
    }

    /// One look at a server: an undone and a done list.
    fn look(reader: &mut Reader, undone: &str, done: &str) -> Result<Vec<Arc<Task>>, WireError> {
        reader.begin();
        reader.take(&Envelope::open(undone)?)?;
        reader.take(&Envelope::open(done)?)?;
        Ok(reader.finish())
    }

    fn ids(tasks: &[Arc<Task>]) -> Vec<&str> {
        tasks.iter().map(|task| task.id.as_str()).collect()
    }

    #[test]
    fn what_is_listed_as_it_was_is_shared() {
        let mut reader = Reader::default();
        let (a, b, c) = (one("a", 7, "x"), one("b", 7, "x"), one("c", 7, "x"));
        let first = look(&mut reader, &answer(&[]), &answer(&[c.clone(), a.clone(), b.clone()]));
        let first = first.unwrap();
        assert_eq!(ids(&first), ["a", "b", "c"]);
        assert!(Arc::ptr_eq(&first[0].error, &first[1].error));
        // One changes, one goes, one comes, and the others are listed in another order.
        let (b, d) = (one("b", 7, "y"), one("aa", 1, ""));
        let second = look(&mut reader, &answer(&[d]), &answer(&[b.clone(), a.clone()])).unwrap();
        assert_eq!(ids(&second), ["a", "aa", "b"]);
        assert!(Arc::ptr_eq(&first[0], &second[0]));
        assert_eq!(&*second[2].error, "y");
        let third = look(&mut reader, &answer(&[b, a]), &answer(&[c])).unwrap();
        assert_eq!(ids(&third), ["a", "b", "c"]);
        assert!(Arc::ptr_eq(&second[0], &third[0]) && Arc::ptr_eq(&second[2], &third[1]));
        assert!(!Arc::ptr_eq(&first[2], &third[2]));
    }

    #[test]
    fn the_done_list_counts_and_a_failed_look_leaves_nothing_behind() {
        let mut reader = Reader::default();
        let (old, new) = (one("a", 1, ""), one("a", 7, "x"));
        let tasks = look(&mut reader, &answer(from_ref(&old)), &answer(from_ref(&new))).unwrap();
        assert_eq!(tasks[0].state, State::Failed);
        let tasks = look(&mut reader, &answer(from_ref(&old)), &answer(from_ref(&new))).unwrap();
        assert_eq!((tasks.len(), tasks[0].state), (1, State::Failed));
        let b = one("b", 1, "");
        assert!(look(&mut reader, &answer(from_ref(&b)), r#"{"code":200,"da"#).is_err());
        assert!(look(&mut reader, &answer(&[b, old.clone()]), "[").is_err());
        let tasks = look(&mut reader, &answer(&[]), &answer(&[new, old])).unwrap();
        assert_eq!((tasks.len(), tasks[0].state), (1, State::Running));
    }

    #[test]
    fn what_stands_around_a_known_task_is_still_read() {
        let mut reader = Reader::default();
        let whole = answer(&[one("a", 7, "x"), one("b", 7, "x")]);
        assert_eq!(reader.read(&whole).unwrap().len(), 2);
        for cut in (0..whole.len()).rev() {
            assert!(reader.read(&whole[..cut]).is_err(), "{}", &whole[..cut]);
            assert_eq!(reader.read(&whole).unwrap().len(), 2);
        }
        for (odd, count) in [
            (whole.replace("},{", "} , \n{"), Some(2)),
            (whole.replace("]}", "] ,\"more\":[1]}\n"), Some(2)),
            (whole.replace("]}", "],\"data\":[]}"), Some(0)),
            (whole.replace("]}", ",null]}"), None),
            (whole.replace("]}", ",]}"), None),
            (whole.replace("]}", "]}]"), None),
            (whole.replace("},{", "}{"), None),
            (whole.replace("\"id\":\"b\"", "\"id\":\"\""), None),
            (whole.replace("\"state\":7", "\"state\":7,\"id\":\"c\""), Some(1)),
        ] {
            let read = reader.read(&odd);
            assert_eq!(read.as_ref().ok().map(Vec::len), count, "{odd}: {read:?}");
            assert_eq!(reader.read(&whole).unwrap().len(), 2);
        }
    }

    proptest! {
        #[test]
        fn a_reader_that_remembers_reads_what_a_new_one_reads(
            looks in prop::collection::vec(
                (
                    prop::collection::vec((0_u8..12, 0_u8..10, 0_u8..3), 0..8),
                    prop::collection::vec((0_u8..12, 0_u8..10, 0_u8..3), 0..8),
                    prop::bool::weighted(0.1),
                ),
                1..12,
            ),
        ) {
            let list = |tasks: &[(u8, u8, u8)]| {
                let task = |(id, state, error): &(u8, u8, u8)| {
                    one(&format!("t{id}"), *state, ["", "x", "get https://u:p@h/?sign=1"][usize::from(*error)])
                };
                answer(&tasks.iter().map(task).collect::<Vec<_>>())
            };
            let mut reader = Reader::default();
            for (undone, done, broken) in looks {
                let (undone, mut done) = (list(&undone), list(&done));
                if broken {
                    done.pop();
                }
                let read = look(&mut reader, &undone, &done);
                prop_assert_eq!(&read, &look(&mut Reader::default(), &undone, &done));
                if let Ok(tasks) = read {
                    prop_assert!(tasks.is_sorted_by(|a, b| a.id < b.id));
                    prop_assert!(tasks.iter().all(|task| !task.error.contains("u:p")));
                }
            }
        }
    }
}
