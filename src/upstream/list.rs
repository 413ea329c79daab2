//! Reading whole lists, again and again: a task that is listed word for word as it was before is not
//! read again, and is shared with the look before.
//!
//! Pure. Here is only what is quick about it: a text that does not have the usual form is read by
//! [`wire`], field by field, and that is what decides whether it is a list at all.

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock};

use foldhash::{HashMap, HashSet};
use memchr::memmem;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::wire::{self, Envelope, RoleForm, WireError};
use crate::engine::listing::Listing;
use crate::engine::name::{TaskName, scrub};
use crate::engine::task::{Common, State, Task, TaskId};

/// Reads the lists of one kind, and remembers what it read.
#[derive(Debug, Default)]
pub struct Reader {
    /// What the last look showed.
    last: Listing,
    /// The texts of its tasks, by the digest of an id. Beside the tasks, so that what is listed as it was costs
    /// no look at the task itself.
    marks: HashMap<u64, Mark>,
    commons: Commons,
    role_form: RoleForm,
    digests: foldhash::quality::RandomState,
    now: Now,
    under_way: bool,
}

/// The text of a task of the last look.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Equal for equal texts. That two texts, one after the other, had the same by chance is out of the
    /// question, and nobody outside knows with which numbers it was drawn.
    digest: u64,
    length: u32,
    /// The task's place in that look.
    place: u32,
}

/// What a look has shown so far.
#[derive(Debug, Default)]
struct Now {
    /// Which tasks of the last look are there still, changed or not.
    seen: Vec<bool>,
    missing: usize,
    /// Those that changed; of two at one place the later one counts.
    changed: Vec<(u32, Arc<Task>)>,
    /// Those that are new, each list's by id.
    fresh: Vec<Fresh>,
}

/// A task that is new.
#[derive(Debug)]
struct Fresh {
    task: Arc<Task>,
    /// The digest of its id.
    id: u64,
    mark: Mark,
}

/// The place of a task that is gone.
const NOWHERE: u32 = u32::MAX;

impl Reader {
    /// The tasks of a whole answer of a `done` or `undone` list, as the client reads it, by id.
    ///
    /// # Errors
    ///
    /// Why the text is no such answer, in words.
    pub fn read(&mut self, body: &str) -> Result<Listing, String> {
        self.begin();
        let envelope = Envelope::open(body).map_err(|error| error.to_string())?;
        self.take(&envelope).map_err(|error| error.to_string())?;
        Ok(self.finish())
    }

    /// A look begins.
    pub(super) fn begin(&mut self) {
        if self.under_way {
            // The last one was not finished, so that what is known is neither old nor new.
            self.marks.clear();
        }
        self.under_way = true;
        self.now.changed.clear();
        self.now.fresh.clear();
        self.now.seen.clear();
        self.now.seen.resize(self.last.len(), false);
        self.now.missing = self.last.len();
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

    /// The look ends: its tasks.
    pub(super) fn finish(&mut self) -> Listing {
        self.under_way = false;
        let Now { seen, missing, mut changed, mut fresh } = std::mem::take(&mut self.now);
        if missing > 0 || !changed.is_empty() || !fresh.is_empty() {
            changed.sort_by_key(|(place, _)| *place);
            let moves = missing > 0 || !fresh.is_empty();
            if !fresh.is_sorted_by(|a, b| a.task.id < b.task.id) {
                // Of two with the same id the later one stays.
                fresh.reverse();
                fresh.sort_by(|a, b| a.task.id.cmp(&b.task.id));
                fresh.dedup_by(|a, b| a.task.id == b.task.id);
            }
            self.line_up(&seen, changed, fresh, moves);
        }
        self.commons.forget_unused();
        self.now.seen = seen;
        self.last.clone()
    }

    /// Makes the list anew: what is there still, as it is now, and what is new between it.
    fn line_up(
        &mut self,
        seen: &[bool],
        changed: Vec<(u32, Arc<Task>)>,
        fresh: Vec<Fresh>,
        moves: bool,
    ) {
        self.marks.reserve(fresh.len());
        let mut tasks: Vec<Arc<Task>> = Vec::with_capacity(self.last.len() + fresh.len());
        let mut places: Vec<u32> = Vec::with_capacity(if moves { self.last.len() } else { 0 });
        let mut changed = changed.into_iter().peekable();
        // Before which of the last look each new one comes.
        let before = |task: &Task| self.last.partition_point(|last| last.id < task.id);
        let mut new_marks = Vec::with_capacity(fresh.len());
        let mut new = fresh.into_iter().map(|fresh| (before(&fresh.task), fresh)).peekable();
        let next = |tasks: &[Arc<Task>]| u32::try_from(tasks.len()).unwrap_or(NOWHERE);
        let mut put = |Fresh { task, id, mark }: Fresh, tasks: &mut Vec<Arc<Task>>| {
            new_marks.push((id, Mark { place: next(tasks), ..mark }));
            tasks.push(task);
        };
        for (place, (task, seen)) in self.last.iter().zip(seen).enumerate() {
            let mut task = Cow::Borrowed(task);
            while let Some((_, now)) = changed.next_if(|(at, _)| usize::try_from(*at) == Ok(place))
            {
                task = Cow::Owned(now);
            }
            while let Some((_, fresh)) = new.next_if(|(before, _)| *before <= place) {
                put(fresh, &mut tasks);
            }
            if moves {
                places.push(if *seen { next(&tasks) } else { NOWHERE });
            }
            if *seen {
                tasks.push(task.into_owned());
            }
        }
        for (_, fresh) in new {
            put(fresh, &mut tasks);
        }
        if moves {
            self.marks.retain(|_, mark| {
                let place = usize::try_from(mark.place).ok().and_then(|place| places.get(place));
                mark.place = place.copied().unwrap_or(NOWHERE);
                mark.place != NOWHERE
            });
        }
        self.marks.extend(new_marks);
        self.last = Listing::of_sorted(tasks);
    }

    /// How roles are written, as far as any list has told.
    pub(super) fn role_form(&self) -> RoleForm {
        self.role_form
    }

    fn add(&mut self, part: Part) {
        let now = &mut self.now;
        let changed = part.changed.iter().map(|(place, _)| *place);
        for place in part.same.iter().copied().chain(changed) {
            let seen = usize::try_from(place).ok().and_then(|place| now.seen.get_mut(place));
            if let Some(seen) = seen {
                now.missing -= usize::from(!std::mem::replace(seen, true));
            }
        }
        now.changed.extend(part.changed);
        if now.fresh.is_empty() {
            now.fresh = part.fresh;
        } else {
            now.fresh.extend(part.fresh);
        }
        if self.role_form == RoleForm::None {
            self.role_form = part.role_form;
        }
    }

    /// Reads the rest of an answer in the form in which servers write it, from the `[` of the list on;
    /// `None` if it has another form, or is none.
    fn usual_list(&mut self, rest: &str) -> Option<Part> {
        let list =
            rest.trim_end_matches([' ', '\t', '\n', '\r']).strip_prefix('[')?.strip_suffix("]}")?;
        let (mut part, mut unknown, mut new, mut begin) = (Part::default(), Vec::new(), 0, 0);
        // No string holds this, for the quotes in it would have a backslash. Where it stands deeper inside a
        // task, what lies between is no task, and is not taken for one.
        let ends = BETWEEN.find_iter(list.as_bytes()).map(|at| at + 1);
        for end in ends.chain([list.len()]) {
            let raw = list.get(begin..end)?;
            begin = end + 1;
            let id = id_in_front(raw)?;
            if let Some(mark) = self.marks.get_mut(&self.digests.hash_one(id.as_bytes())) {
                if usize::try_from(mark.length) == Ok(raw.len())
                    && self.digests.hash_one(raw.as_bytes()) == mark.digest
                {
                    part.same.push(mark.place);
                    continue;
                }
                // Should the id come again, that one counts, whatever its text.
                mark.length = 0;
            } else {
                new += 1;
            }
            unknown.push((front(id), raw));
        }
        // Made in this order, they lie in it too, and all else goes through them in this order. Of two with the same id
        // the first one stays the first.
        unknown.sort_unstable_by_key(|(front, raw)| (*front, raw.as_ptr()));
        part.fresh.reserve_exact(new);
        let mut seen = Seen::default();
        for some in unknown.chunks(TOGETHER) {
            fetch(some.iter().map(|(_, raw)| *raw));
            for (_, raw) in some {
                let (task, form) = if let Some(plain) = Plain::read(raw) {
                    let form = plain.creator_role.form();
                    (plain.task(&mut seen, &mut self.commons)?, form)
                } else {
                    let (task, form) = wire::task(serde_json::from_str(raw).ok()?).ok()?;
                    // It may have several, of which the last one counts.
                    if task.id.as_str() != id_in_front(raw)? {
                        return None;
                    }
                    (task, form)
                };
                self.put(task, form, raw, &mut part);
            }
        }
        Some(part)
    }

    fn odd_task(&mut self, raw: &RawValue, part: &mut Part) -> Result<(), &'static str> {
        let (task, form) = wire::task(raw)?;
        self.put(task, form, raw.get(), part);
        Ok(())
    }

    /// Puts a task that was read to the others.
    fn put(&mut self, task: Task, form: RoleForm, raw: &str, part: &mut Part) {
        if part.role_form == RoleForm::None {
            part.role_form = form;
        }
        let id = self.digests.hash_one(task.id.as_str().as_bytes());
        let mut mark = Mark {
            digest: self.digests.hash_one(raw.as_bytes()),
            // A longer one is read anew each time.
            length: u32::try_from(raw.len()).unwrap_or(0),
            place: NOWHERE,
        };
        let known = self.marks.get_mut(&id).filter(|known| {
            let place = usize::try_from(known.place).ok();
            // Two ids may have the same digest; then one of them is new at each look.
            place.and_then(|place| self.last.get(place)).is_some_and(|last| last.id == task.id)
        });
        let task = Arc::new(task);
        if let Some(known) = known {
            mark.place = known.place;
            *known = mark;
            part.changed.push((mark.place, task));
        } else {
            part.fresh.push(Fresh { task, id, mark });
        }
    }
}

/// What one list showed.
#[derive(Default)]
struct Part {
    /// The places of the tasks that are as they were.
    same: Vec<u32>,
    changed: Vec<(u32, Arc<Task>)>,
    fresh: Vec<Fresh>,
    role_form: RoleForm,
}

/// The id that a task's text begins with; `None` if it begins otherwise, or if the id could be written in other ways.
fn id_in_front(raw: &str) -> Option<&str> {
    let behind = Front(raw).skip(b"{\"id\":\"")?.0;
    let end = memchr::memchr2(b'"', b'\\', behind.as_bytes())?;
    behind.as_bytes()[end..].starts_with(b"\"").then_some(behind.get(..end)?)
}

/// What stands between two tasks of a list, from the end of one into the next.
static BETWEEN: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"},{\"id\":\""));

/// How many texts are fetched at once.
const TOGETHER: usize = 32;

/// Has texts that lie far apart brought from memory all at once, where one after the other each would be waited for:
/// that took longer than all that is done with them.
fn fetch<'t>(texts: impl Iterator<Item = &'t str>) {
    const LINE: usize = 64;
    let mut all = 0;
    for text in texts {
        for line in text.as_bytes().chunks(LINE) {
            all ^= line[0];
        }
    }
    std::hint::black_box(all);
}

/// The first letters of an id, which order as it does, but for ids that begin alike.
fn front(id: &str) -> u64 {
    let mut front = [0; 8];
    let length = id.len().min(front.len());
    front[..length].copy_from_slice(&id.as_bytes()[..length]);
    u64::from_be_bytes(front)
}

/// What tasks have in common, one copy each: there are few creators, states of work and errors.
#[derive(Debug)]
struct Commons {
    known: HashSet<Arc<Common>>,
    /// The one that was asked for last.
    last: Common,
    /// The room that their texts took when those that no task has any more were last taken out, in bytes.
    kept: usize,
    /// What came since then.
    new: usize,
}

/// As much may lie there unused; more only where tasks have more.
const UNUSED: usize = 256 * 1024;

/// What is kept of a task's common parts takes this much, roughly.
fn room(common: &Common) -> usize {
    100 + common.creator.len() + common.status.len() + common.error.len()
}

impl Default for Commons {
    fn default() -> Self {
        let last = Common {
            creator: Arc::default(),
            roles: Arc::default(),
            state: State::Pending,
            status: Arc::default(),
            error: Arc::default(),
        };
        Self { known: HashSet::default(), last, kept: 0, new: 0 }
    }
}

impl Commons {
    fn share(&mut self, plain: &PlainCommon<'_>) -> Arc<Common> {
        // Where each error is its own, the rest often is as it was.
        let again = |text: &str, last: &Arc<str>| {
            if **last == *text { Arc::clone(last) } else { text.into() }
        };
        let last = &self.last;
        let roles = match &plain.creator_role {
            PlainRoles::None => &[][..],
            PlainRoles::One(role) => std::slice::from_ref(role),
            PlainRoles::Many(roles) => roles,
        };
        let common = Common {
            creator: again(&plain.creator.0, &last.creator),
            roles: if *last.roles == *roles { Arc::clone(&last.roles) } else { roles.into() },
            state: State::from_number(plain.state),
            status: again(&scrub(&plain.status.0), &last.status),
            error: again(&scrub(&plain.error.0), &last.error),
        };
        self.last = common.clone();
        if let Some(known) = self.known.get(&common) {
            return Arc::clone(known);
        }
        self.new += room(&common);
        let shared = Arc::new(common);
        self.known.insert(Arc::clone(&shared));
        shared
    }

    fn forget_unused(&mut self) {
        if self.new > self.kept + UNUSED {
            self.known.retain(|common| Arc::strong_count(common) > 1);
            (self.kept, self.new) = (self.known.iter().map(|common| room(common)).sum(), 0);
        }
    }
}

/// The same as an answer writes it.
#[derive(PartialEq, Eq, Hash)]
struct PlainCommon<'t> {
    creator: Text<'t>,
    creator_role: PlainRoles,
    state: i64,
    status: Text<'t>,
    error: Text<'t>,
}

/// What became of it in one answer.
type Seen<'t> = HashMap<PlainCommon<'t>, Arc<Common>>;

/// A task whose fields have the form in which servers write them. Anything else about it is an error
/// here, and is for [`wire::task`] to read.
#[derive(Debug, Deserialize)]
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
    fn read(raw: &'t str) -> Option<Self> {
        Self::usual(raw).or_else(|| serde_json::from_str(raw).ok())
    }

    /// Reads a task whose fields stand in the order in which servers write them, as nearly all do; `None` for all
    /// else. To look for each field by its name takes half as long again.
    fn usual(raw: &'t str) -> Option<Self> {
        if has_control(raw) {
            return None;
        }
        let mut at = Front(raw);
        let plain = Self {
            id: at.skip(b"{\"id\":")?.string()?,
            name: at.skip(b",\"name\":")?.string()?,
            creator: at.skip(b",\"creator\":")?.string()?,
            creator_role: at.skip(b",\"creator_role\":")?.roles()?,
            state: at.skip(b",\"state\":")?.whole_number()?,
            status: at.skip(b",\"status\":")?.string()?,
            progress: at.skip(b",\"progress\":")?.number()?,
            start_time: at.skip(b",\"start_time\":")?.string_or_null()?,
            end_time: at.skip(b",\"end_time\":")?.string_or_null()?,
            total_bytes: at.skip(b",\"total_bytes\":")?.whole_number()?,
            error: at.skip(b",\"error\":")?.string()?,
        };
        (at.0 == "}").then_some(plain)
    }

    fn task(self, seen: &mut Seen<'t>, commons: &mut Commons) -> Option<Task> {
        if self.id.0.is_empty() || self.progress.is_nan() {
            return None;
        }
        let common = PlainCommon {
            creator: self.creator,
            creator_role: self.creator_role,
            state: self.state,
            status: self.status,
            error: self.error,
        };
        let common = match seen.get(&common) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(seen.entry(common).or_insert_with_key(|new| commons.share(new))),
        };
        Some(Task {
            id: TaskId::new(self.id.0),
            name: TaskName::new(&self.name.0),
            progress: self.progress.clamp(0.0, 100.0),
            started: wire::time_of(&self.start_time.0),
            ended: wire::time_of(&self.end_time.0),
            total_bytes: self.total_bytes,
            common,
        })
    }
}

/// Whether there is a byte below the blank, which no string of JSON may hold. Eight are looked at at once.
fn has_control(text: &str) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let below = words.iter().fold(0, |below, word| {
        let word = u64::from_ne_bytes(*word);
        // The highest bit of a byte is borrowed where it is below the blank, and where it is above ASCII.
        below | (word.wrapping_sub(ONES * u64::from(b' ')) & !word)
    });
    below & (ONES * 0x80) != 0 || rest.iter().any(|byte| *byte < b' ')
}

/// What of a task's text is not read yet.
struct Front<'t>(&'t str);

impl<'t> Front<'t> {
    /// Of a length that the compiler knows, so that it compares without a call.
    fn skip<const LENGTH: usize>(&mut self, text: &[u8; LENGTH]) -> Option<&mut Self> {
        if self.0.as_bytes().first_chunk() != Some(text) {
            return None;
        }
        self.0 = self.0.get(LENGTH..)?;
        Some(self)
    }

    fn string(&mut self) -> Option<Text<'t>> {
        let whole = self.0;
        let inside = self.skip(b"\"")?.0;
        let end = memchr::memchr2(b'"', b'\\', inside.as_bytes())?;
        self.0 = inside.get(end..)?;
        if self.skip(b"\"").is_some() {
            return Some(Text(Cow::Borrowed(inside.get(..end)?)));
        }
        // It has escapes.
        let mut values = serde_json::Deserializer::from_str(whole).into_iter::<String>();
        let text = values.next()?.ok()?;
        self.0 = whole.get(values.byte_offset()..)?;
        Some(Text(Cow::Owned(text)))
    }

    fn string_or_null(&mut self) -> Option<Text<'t>> {
        if self.skip(b"null").is_some() { Some(Text::default()) } else { self.string() }
    }

    fn number<N: Deserialize<'t>>(&mut self) -> Option<N> {
        let end = self.0.bytes().position(|byte| matches!(byte, b',' | b']' | b'}'))?;
        let (number, rest) = self.0.split_at(end);
        self.0 = rest;
        serde_json::from_str(number).ok()
    }

    fn whole_number<N: TryFrom<u64> + Deserialize<'t>>(&mut self) -> Option<N> {
        let bytes = self.0.as_bytes();
        let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
        // More digits may be too many, and of several the first is no 0.
        if !(1..19).contains(&end) || bytes[0] == b'0' {
            return self.number();
        }
        let digits = bytes[..end].iter().map(|digit| u64::from(digit - b'0'));
        self.0 = &self.0[end..];
        N::try_from(digits.fold(0, |number, digit| 10 * number + digit)).ok()
    }

    fn roles(&mut self) -> Option<PlainRoles> {
        if self.skip(b"[").is_none() {
            return self.whole_number().map(PlainRoles::One);
        }
        let mut roles = Vec::new();
        if self.skip(b"]").is_none() {
            roles.push(self.whole_number()?);
            while self.skip(b"]").is_none() {
                roles.push(self.skip(b",")?.whole_number()?);
            }
        }
        Some(PlainRoles::Many(roles))
    }
}

/// A string, borrowed where it has no escapes; `null` is empty.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
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
#[derive(Debug, Default, PartialEq, Eq, Hash)]
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
    fn look(reader: &mut Reader, undone: &str, done: &str) -> Result<Listing, WireError> {
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
        assert!(Arc::ptr_eq(&first[0].creator, &second[2].creator));
        let third = look(&mut reader, &answer(&[b, a]), &answer(&[c])).unwrap();
        assert_eq!(ids(&third), ["a", "b", "c"]);
        assert!(Arc::ptr_eq(&second[0], &third[0]) && Arc::ptr_eq(&second[2], &third[1]));
        assert!(!Arc::ptr_eq(&first[2], &third[2]));
    }

    #[test]
    fn what_is_new_before_others_moves_them_along() {
        let mut reader = Reader::default();
        let (a, b) = (one("a", 7, "x"), one("b", 7, "x"));
        for tasks in [&[b.clone()][..], &[b.clone(), a.clone()], &[b.clone(), a.clone()], &[b]] {
            let read = reader.read(&answer(tasks)).unwrap();
            assert_eq!(read, Reader::default().read(&answer(tasks)).unwrap());
        }
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
            assert_eq!(read.as_ref().ok().map(|tasks| tasks.len()), count, "{odd}: {read:?}");
            assert_eq!(reader.read(&whole).unwrap().len(), 2);
        }
    }

    #[test]
    fn an_error_that_is_another_one_at_each_look_takes_no_more_room() {
        let mut reader = Reader::default();
        for look in 0..40 {
            let error = format!("{look} {}", "page ".repeat(10_000));
            reader.read(&answer(&[one("a", 7, &error), one("b", 7, "x")])).unwrap();
            let unused: usize = reader.commons.known.iter().map(|common| room(common)).sum();
            assert!(unused <= 2 * UNUSED, "{unused} bytes after look {look}");
        }
    }

    /// What the slow reader makes of the lists, one after the other.
    fn read_slowly(bodies: [&str; 2]) -> Result<Vec<Task>, WireError> {
        let mut all = std::collections::BTreeMap::new();
        for body in bodies {
            for item in wire::items(&Envelope::open(body)?)? {
                let (task, _) = wire::task(item).map_err(|why| WireError::Data(why.to_owned()))?;
                all.insert(task.id.clone(), task);
            }
        }
        Ok(all.into_values().collect())
    }

    #[test]
    fn of_two_that_are_one_the_later_counts_however_its_id_is_written() {
        for (first, second) in [
            (one("ab", 1, ""), one("a\\u0062", 7, "x")),
            (one("a\\u0062", 7, "x"), one("ab", 1, "")),
            (one("c", 1, ""), r#"{"id":"a","state":7,"id":"c"}"#.to_owned()),
        ] {
            let body = answer(&[first, second]);
            let mut reader = Reader::default();
            let truth = read_slowly([&body, &answer(&[])]).unwrap();
            assert_eq!(truth.len(), 1);
            for _ in 0..2 {
                assert_eq!(*reader.read(&body).unwrap()[0], truth[0], "{body}");
            }
        }
        // So many that a sort which is not stable moves equal ones.
        let many: Vec<String> =
            (0..200).map(|n| one(&format!("t{}", n % 3), 7, &n.to_string())).collect();
        let errors: Vec<_> = Reader::default()
            .read(&answer(&many))
            .unwrap()
            .iter()
            .map(|task| task.error.to_string())
            .collect();
        assert_eq!(errors, ["198", "199", "197"]);
        let fed = answer(&[one("a", 7, "x")]) + "\u{c}";
        assert!(Reader::default().read(&fed).is_err());
    }

    #[rustfmt::skip]
    /// A task with some odd fields, and maybe in another order than usual.
    fn odd() -> impl Strategy<Value = String> {
        const NUMBERS: [&str; 16] = [
            "7", "1", "-0", "0", "00", "1e3", "7.0", "null", "\"7\"", "999999999999999999", "1000000000000000000",
            "9223372036854775808", "18446744073709551616", "-3", "5 ", "1.5",
        ];
        const ROLES: [&str; 14] = [
            "2", "[2]", "[]", "null", "[2,3]", "[2, 3]", "[ ]", "[2,]", "[null]", "-1", "[00]", "[9223372036854775808]",
            "[2 3]", "[2-3]",
        ];
        const IDS: [&str; 8] = ["a", "b", "ab", "a\\u0062", "longshared1", "longshared2", "longshared", "é"];
        const TEXTS: [&str; 8] =
            ["x", "y", "", "a\\u0062", "\\ud800", "},{\\\"id\\\":\\\"", "get https://u:p@h/?sign=1", "a\tb"];
        const MORE: [&str; 8] = [
            "", "", "", "", r#","more":[{"id":"q"},{"id":"r","state":7}]"#, r#","state":7"#, r#","id":"a""#,
            r#","more":" \"},{\"id\":\" ""#,
        ];
        // Most fields are as usual, so that whole lists can be read.
        let some = |from: &'static [&'static str], usual| {
            (prop::bool::weighted(0.06), prop::sample::select(from))
                .prop_map(move |(odd, text)| if odd { text } else { usual })
        };
        let parts = (
            prop::sample::select(&IDS[..]), some(&NUMBERS, "7"), some(&NUMBERS, "1.5"), some(&NUMBERS, "7"),
            some(&ROLES, "2"), some(&TEXTS, "x"), some(&TEXTS, ""), some(&MORE, ""), some(&["bob"], "ann"), 0_u8..20,
        );
        parts.prop_map(|(id, state, progress, bytes, roles, error, status, more, creator, order)| match order {
            0 => format!(r#"{{"state":{state},"id":"{id}","error":"{error}","progress":{progress}{more}}}"#),
            1 => format!(r#"{{"id":"{id}","state":{state},"creator":null,"creator_role":{roles},"progress":{progress}{more}}}"#),
            _ => format!(
                r#"{{"id":"{id}","name":"upload {id} to [/d](/)","creator":"{creator}","creator_role":{roles},"state":{state},"status":"{status}","progress":{progress},"start_time":"2026-11-23T19:32:47Z","end_time":null,"total_bytes":{bytes},"error":"{error}"{more}}}"#
            ),
        })
    }

    proptest! {
        #[test]
        fn a_control_character_is_found_wherever_it_is(text in "[\\x00-\\x22a~\\x7fé漢]{0,20}") {
            prop_assert_eq!(has_control(&text), text.bytes().any(|byte| byte < b' '));
        }

        #[test]
        fn a_task_in_the_usual_order_is_read_as_in_any(
            texts in prop::collection::vec("[a\"\\\\\\n é/]{0,4}", 5), roles in prop::collection::vec(-2_i64..9, 0..3),
            number: bool, state in -3_i64..12, progress in -1.0_f64..101.0, bytes: u64, times in 0_usize..3,
            at in 0_usize..400, byte in "[\"\\\\,:{}\\[\\]0-9.a -]",
        ) {
            let text = |n: usize| serde_json::to_string(&texts[n]).unwrap();
            let time = ["null", "\"\"", "\"2026-11-23T19:32:47.1Z\""][times];
            let roles = serde_json::to_string(&roles).unwrap();
            let roles = if number { state.to_string() } else { roles };
            let usual = format!(
                r#"{{"id":{},"name":{},"creator":{},"creator_role":{roles},"state":{state},"status":{},"progress":{progress},"start_time":{time},"end_time":{time},"total_bytes":{bytes},"error":{}}}"#,
                text(0), text(1), text(2), text(3), text(4),
            );
            let form = |plain: Option<Plain<'_>>| plain.map(|plain| format!("{plain:?}"));
            let read = form(Plain::usual(&usual));
            prop_assert!(read.is_some(), "{}", usual);
            prop_assert_eq!(&read, &form(serde_json::from_str(&usual).ok()));
            // Whatever it is taken for when something in it is wrong, it is nothing else.
            let mut wrong: Vec<char> = usual.chars().collect();
            let place = at % wrong.len();
            wrong[place] = byte.chars().next().unwrap();
            let wrong: String = wrong.into_iter().collect();
            if let Some(read) = form(Plain::usual(&wrong)) {
                prop_assert_eq!(Some(read), form(serde_json::from_str(&wrong).ok()), "{}", wrong);
            }
        }

        #[test]
        fn odd_lists_are_read_as_field_by_field(
            looks in prop::collection::vec((prop::collection::vec(odd(), 0..5), prop::collection::vec(odd(), 0..5)), 1..5),
        ) {
            let mut reader = Reader::default();
            for (undone, done) in looks {
                let (undone, done) = (answer(&undone), answer(&done));
                let truth = read_slowly([&undone, &done]);
                match look(&mut reader, &undone, &done) {
                    Ok(read) => {
                        let read: Vec<Task> = read.iter().map(|task| (**task).clone()).collect();
                        prop_assert_eq!(Ok(read), truth, "{}\n{}", undone, done);
                    }
                    Err(_) => prop_assert!(truth.is_err(), "{}\n{}", undone, done),
                }
            }
        }

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
