//! The wire forms: from the text of an answer to the engine's types.
//!
//! Pure. Every field is read on its own, from its own slice of the text, so that one odd value costs
//! that value and not the list; but a list of which an item has no id is refused whole, since it must
//! not be taken for a shorter one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::about::Account;
use super::list::Reader;
use crate::engine::moment::Moment;
use crate::engine::name::{TaskName, scrub};
use crate::engine::task::{Common, State, Task, TaskId};

/// How a server writes `creator_role`, which tells the products apart (CONTRACT.md, "Task").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoleForm {
    /// One number: `OpenList`, and the published page.
    Number,
    /// An array of numbers: `AList` 3.62.
    Array,
    /// No task was listed, or each had `null`.
    #[default]
    None,
}

/// Why a text is not the answer it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// The JSON ends in the middle.
    #[error("it ends in the middle")]
    Truncated,
    /// It is no JSON, or no `{"code": ...}`.
    #[error("it is not an answer of the task API")]
    NotAnEnvelope,
    /// The envelope is fine, what it holds is not.
    #[error("{0}")]
    Data(String),
}

fn classify(error: &serde_json::Error) -> WireError {
    if error.is_eof() { WireError::Truncated } else { WireError::NotAnEnvelope }
}

/// The frame around every answer. Borrows from the text.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    /// What counts, rather than the HTTP status (CONTRACT.md, "Answers").
    pub(super) code: i64,
    /// Free text, as it came.
    pub(super) message: String,
    data: Data<'a>,
}

/// What an envelope holds.
#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    /// There is none.
    None,
    /// It was seen whole.
    Whole(&'a RawValue),
    /// All that stands behind `"data":`; it was not looked at.
    Unread { rest: &'a str, text: &'a str },
}

impl<'a> Envelope<'a> {
    /// Reads the frame of a list in the form in which servers write it, and leaves the list itself
    /// unread, since it can be long; reads an answer in any other form whole.
    pub(super) fn open(text: &'a str) -> Result<Self, WireError> {
        const USUAL: &str = r#"{"code":200,"message":"success","data":"#;
        match text.strip_prefix(USUAL) {
            Some(rest) if rest.starts_with("[{") => Ok(Self {
                code: 200,
                message: "success".to_owned(),
                data: Data::Unread { rest, text },
            }),
            _ => Self::parse(text),
        }
    }

    /// What stands behind `"data":`, where it was not looked at.
    pub(super) fn unread(&self) -> Option<&'a str> {
        match self.data {
            Data::Unread { rest, .. } => Some(rest),
            _ => None,
        }
    }

    /// Reads the frame; what is in it stays unread.
    pub(super) fn parse(text: &'a str) -> Result<Self, WireError> {
        let fields: Fields<'a, EnvelopeField> =
            serde_json::from_str(text.trim_start_matches('\u{feff}'))
                .map_err(|error| classify(&error))?;
        let code = fields
            .get(EnvelopeField::Code)
            .and_then(whole_number)
            .ok_or(WireError::NotAnEnvelope)?;
        let message = fields.get(EnvelopeField::Message).map(text_of).unwrap_or_default();
        let data = fields.get(EnvelopeField::Data).map_or(Data::None, Data::Whole);
        Ok(Self { code, message, data })
    }

    /// What the answer holds; a missing `data` is not a `null` one.
    fn data(&self) -> Result<&'a RawValue, WireError> {
        match self.data {
            Data::None => Err(WireError::Data("it has no `data`".to_owned())),
            Data::Whole(data) => Ok(data),
            Data::Unread { text, .. } => Self::parse(text)?.data(),
        }
    }

    /// The token of a login's answer.
    pub(super) fn token(&self) -> Option<String> {
        let fields: Fields<'_, TokenField> = serde_json::from_str(self.data().ok()?.get()).ok()?;
        let raw = fields.get(TokenField::Token)?;
        raw.get().starts_with('"').then(|| text_of(raw)).filter(|token| !token.is_empty())
    }

    /// The server's version, of the public settings.
    pub(super) fn version(&self) -> Option<String> {
        let fields: Fields<'_, SettingsField> =
            serde_json::from_str(self.data().ok()?.get()).ok()?;
        fields.get(SettingsField::Version).map(text_of).filter(|version| !version.is_empty())
    }
}

/// Who the caller of `/api/me` is.
pub(super) fn account(envelope: &Envelope<'_>) -> Result<Account, WireError> {
    let fields: Fields<'_, AccountField> = serde_json::from_str(envelope.data()?.get())
        .map_err(|_| WireError::Data("its `data` is not a user".to_owned()))?;
    let name = fields.get(AccountField::Username).map(text_of).unwrap_or_default();
    if name.is_empty() {
        return Err(WireError::Data("it has no `username`".to_owned()));
    }
    let roles = fields.get(AccountField::Role).map(|raw| roles(raw).0).unwrap_or_default();
    let otp = fields.get(AccountField::Otp).is_some_and(|raw| raw.get() == "true");
    Ok(Account { name, roles, otp })
}

/// The settings that have to do with tasks, by key. The others hold secrets, and are passed over
/// unread.
pub(super) fn task_settings(
    envelope: &Envelope<'_>,
) -> Result<BTreeMap<String, String>, WireError> {
    let items: Vec<Fields<'_, SettingField>> = serde_json::from_str(envelope.data()?.get())
        .map_err(|_| WireError::Data("its `data` is not a list of settings".to_owned()))?;
    let wanted =
        |key: &str| key.contains("allow_retry_canceled") || key.ends_with("_task_threads_num");
    Ok(items
        .iter()
        .filter_map(|item| {
            let key = item.get(SettingField::Key).map(text_of).filter(|key| wanted(key))?;
            Some((key, item.get(SettingField::Value).map(text_of)?))
        })
        .collect())
}

/// The mount paths of the storages; what else the list holds is passed over unread, for it holds the
/// credentials of drives.
pub(super) fn mounts(envelope: &Envelope<'_>) -> Result<Vec<String>, WireError> {
    let page: Fields<'_, PageField> = serde_json::from_str(envelope.data()?.get())
        .map_err(|_| WireError::Data("its `data` is not a page of storages".to_owned()))?;
    let content = page.get(PageField::Content).map_or("null", RawValue::get);
    let items: Option<Vec<Fields<'_, StorageField>>> = serde_json::from_str(content)
        .map_err(|_| WireError::Data("its `content` is not a list of storages".to_owned()))?;
    let items = items.unwrap_or_default();
    let total = page.get(PageField::Total).and_then(whole_number);
    if total.is_some_and(|total| usize::try_from(total).is_ok_and(|total| total > items.len())) {
        return Err(WireError::Data("it lists fewer storages than there are".to_owned()));
    }
    Ok(items.iter().filter_map(|item| item.get(StorageField::MountPath).map(text_of)).collect())
}

/// The texts of the tasks of a `done` or `undone` list, in the order they came. `null` is an empty list:
/// Go writes a nil slice so.
pub(super) fn items<'a>(envelope: &Envelope<'a>) -> Result<Vec<&'a RawValue>, WireError> {
    let items: Option<Vec<&RawValue>> = serde_json::from_str(envelope.data()?.get())
        .map_err(|_| WireError::Data("its `data` is not a list".to_owned()))?;
    Ok(items.unwrap_or_default())
}

/// Reads the answer of `info`: an object, or the published page's array. `None` is an empty array.
pub(super) fn info(envelope: &Envelope<'_>, id: &TaskId) -> Result<Option<Arc<Task>>, WireError> {
    let data = envelope.data()?;
    let found = if data.get().starts_with('[') {
        let mut reader = Reader::default();
        reader.begin();
        reader.take(envelope)?;
        let tasks = reader.finish();
        if tasks.is_empty() {
            return Ok(None);
        }
        tasks.find(id).cloned()
    } else {
        let (task, _) = task(data).map_err(|why| WireError::Data(format!("its `data` {why}")))?;
        Some(Arc::new(task)).filter(|task| task.id == *id)
    };
    found.map(Some).ok_or_else(|| WireError::Data("it is about another task".to_owned()))
}

/// Reads the answer of a `*_some` endpoint: the errors by id, as they came. An id that is not in it was
/// accepted.
pub(super) fn outcomes(envelope: &Envelope<'_>) -> Result<BTreeMap<String, String>, WireError> {
    let data = envelope.data()?;
    let not_a_map = || WireError::Data("its `data` is not a map of ids".to_owned());
    let errors: BTreeMap<String, Option<&RawValue>> =
        serde_json::from_str(data.get()).map_err(|_| not_a_map())?;
    Ok(errors
        .into_iter()
        .filter_map(|(id, error)| Some((id, error.filter(|raw| raw.get() != "null")?)))
        .map(|(id, error)| (id, text_of(error)))
        .collect())
}

/// One task, and how its role was written.
pub(super) fn task(raw: &RawValue) -> Result<(Task, RoleForm), &'static str> {
    let fields: Fields<'_, TaskField> =
        serde_json::from_str(raw.get()).map_err(|_| "is not an object")?;
    let id = fields.get(TaskField::Id).map(text_of).unwrap_or_default();
    if id.is_empty() {
        return Err("has no `id`");
    }
    let text = |field| fields.get(field).map(plain_text).unwrap_or_default();
    let (roles, form) = fields.get(TaskField::CreatorRole).map(roles).unwrap_or_default();
    let task = Task {
        id: TaskId::new(id),
        name: TaskName::new(&text(TaskField::Name)),
        progress: fields
            .get(TaskField::Progress)
            .and_then(number)
            .map_or(0.0, |percent| percent.clamp(0.0, 100.0)),
        started: fields.get(TaskField::StartTime).and_then(time),
        ended: fields.get(TaskField::EndTime).and_then(time),
        total_bytes: fields.get(TaskField::TotalBytes).and_then(bytes).unwrap_or(0),
        common: Common {
            creator: text(TaskField::Creator).into(),
            roles: roles.into(),
            state: fields.get(TaskField::State).map_or(UNREADABLE, state),
            status: scrub(&text(TaskField::Status)).into(),
            error: scrub(&text(TaskField::Error)).into(),
        }
        .into(),
    };
    Ok((task, form))
}

/// A state that cannot be read is one that nothing acts on.
const UNREADABLE: State = State::Unknown(-1);

fn state(raw: &RawValue) -> State {
    if let Some(number) = whole_number(raw) {
        return State::from_number(number);
    }
    plain_text(raw).trim().to_ascii_lowercase().parse().unwrap_or(UNREADABLE)
}

fn roles(raw: &RawValue) -> (Vec<i64>, RoleForm) {
    if let Ok(Some(items)) = serde_json::from_str::<Option<Vec<&RawValue>>>(raw.get()) {
        return (items.into_iter().filter_map(whole_number).collect(), RoleForm::Array);
    }
    whole_number(raw).map_or((Vec::new(), RoleForm::None), |role| (vec![role], RoleForm::Number))
}

/// `null`, an empty text and Go's zero time (year 1, in any offset) are no time.
fn time(raw: &RawValue) -> Option<Moment> {
    time_of(&plain_text(raw))
}

/// The same of a string's text.
pub(super) fn time_of(text: &str) -> Option<Moment> {
    if text.is_empty() {
        return None;
    }
    usual_time(text.as_bytes()).or_else(|| {
        let time: Timestamp = text.trim().parse().ok()?;
        (time > Timestamp::UNIX_EPOCH).then(|| time.into())
    })
}

/// A time in the form in which Go writes it, `2026-11-23T19:32:47.116464675+08:00` with none to nine digits behind
/// the seconds, or with `Z`. `None` for whatever is not plainly one: that is read by `jiff`, which takes several times
/// as long, and there are two times a task.
fn usual_time(text: &[u8]) -> Option<Moment> {
    const DAYS_BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    #[rustfmt::skip]
    let &[y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2, ref rest @ ..] = text
    else {
        return None;
    };
    // Whether all are digits is asked once, at the end.
    let mut plain = true;
    let mut digit = |byte: u8| {
        let digit = byte.wrapping_sub(b'0');
        plain &= digit < 10;
        u32::from(digit)
    };
    let mut two = |tens, ones| digit(tens) * 10 + digit(ones);
    let (year, month, day) = (two(y1, y2) * 100 + two(y3, y4), two(mo1, mo2), two(d1, d2));
    let (hour, minute, second) = (two(h1, h2), two(mi1, mi2), two(s1, s2));
    let (nanosecond, zone) = match rest {
        [b'.', rest @ ..] => {
            let digits = rest.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, zone) = rest.split_at(digits);
            let number = digits.iter().fold(0, |number, byte| number * 10 + u32::from(byte - b'0'));
            let missing = 9 - u32::try_from(digits.len()).ok().filter(|digits| *digits > 0)?;
            (number * 10_u32.pow(missing), zone)
        }
        _ => (0, rest),
    };
    let (sign, east_hours, east_minutes) = match *zone {
        [b'Z'] => (1, 0, 0),
        [b'+', h1, h2, b':', m1, m2] => (1, two(h1, h2), two(m1, m2)),
        [b'-', h1, h2, b':', m1, m2] => (-1, two(h1, h2), two(m1, m2)),
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    plain &= (1971..=2261).contains(&year) && (1..=12).contains(&month);
    plain &= (1..=length).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !plain || east_hours > 23 || east_minutes > 59 {
        return None;
    }
    let leap_days = |year: u32| year / 4 - year / 100 + year / 400;
    let days = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
        + DAYS_BEFORE[usize::try_from(month - 1).ok()?]
        + u32::from(is_leap && month > 2)
        + day
        - 1;
    let east = i64::from(east_hours * 3600 + east_minutes * 60) * sign;
    let seconds = i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second) - east;
    Some(Moment::from_nanosecond(seconds * 1_000_000_000 + i64::from(nanosecond)))
}

/// The digits of a number, or of a number in a string.
fn digits(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    if text.starts_with('"') { Cow::Owned(plain_text(raw).trim().to_owned()) } else { text.into() }
}

fn number(raw: &RawValue) -> Option<f64> {
    digits(raw).parse().ok().filter(|number: &f64| !number.is_nan())
}

#[allow(clippy::cast_possible_truncation, reason = "a number out of range saturates")]
fn whole_number(raw: &RawValue) -> Option<i64> {
    digits(raw).parse().ok().or_else(|| number(raw).map(|number| number as i64))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number out of range saturates, a negative one to 0"
)]
fn bytes(raw: &RawValue) -> Option<u64> {
    digits(raw).parse().ok().or_else(|| number(raw).map(|number| number as u64))
}

/// A string's text; `null` is empty; of anything else, and of a string with broken escapes, the
/// JSON text itself.
fn text_of(raw: &RawValue) -> String {
    plain_text(raw).into_owned()
}

/// The same, borrowed where the text has no escapes.
fn plain_text(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    if text == "null" {
        return Cow::Borrowed("");
    }
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(inner) = inner.filter(|inner| !inner.contains('\\')) {
        // It was read as JSON before, so a quote or a control character cannot stand in it.
        return Cow::Borrowed(inner);
    }
    let read = serde_json::from_str(text).map(Cow::Owned);
    read.unwrap_or_else(|_| Cow::Borrowed(text.trim_matches('"')))
}

/// The names of an object's fields that are read.
trait FieldName: Copy + for<'de> Deserialize<'de> {
    /// How many there are, the one for all others included.
    const COUNT: usize;
    /// Its place; `None` for a field that is passed over.
    fn index(self) -> Option<usize>;
}

macro_rules! field_names {
    ($name:ident { $($field:ident),+ }) => {
        #[derive(Clone, Copy, Deserialize)]
        #[serde(field_identifier, rename_all = "snake_case")]
        enum $name {
            $($field,)+
            #[serde(other)]
            Other,
        }

        impl FieldName for $name {
            const COUNT: usize = Self::Other as usize;

            fn index(self) -> Option<usize> {
                (!matches!(self, Self::Other)).then_some(self as usize)
            }
        }
    };
}

field_names!(EnvelopeField { Code, Message, Data });
field_names!(TokenField { Token });
field_names!(SettingsField { Version });
field_names!(AccountField { Username, Role, Otp });
field_names!(SettingField { Key, Value });
field_names!(PageField { Content, Total });
field_names!(StorageField { MountPath });
field_names!(TaskField {
    Id,
    Name,
    Creator,
    CreatorRole,
    State,
    Status,
    Progress,
    StartTime,
    EndTime,
    TotalBytes,
    Error
});

/// An object's fields as slices of the text. A field given twice counts as it stood last, as Go and
/// browsers read it.
struct Fields<'a, N> {
    slices: Vec<Option<&'a RawValue>>,
    names: std::marker::PhantomData<N>,
}

impl<'a, N: FieldName> Fields<'a, N> {
    fn get(&self, name: N) -> Option<&'a RawValue> {
        name.index().and_then(|index| self.slices.get(index).copied().flatten())
    }
}

impl<'de, N: FieldName> Deserialize<'de> for Fields<'de, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<N>(std::marker::PhantomData<N>);

        impl<'de, N: FieldName> Visitor<'de> for ObjectVisitor<N> {
            type Value = Fields<'de, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut slices = vec![None; N::COUNT];
                while let Some(name) = map.next_key::<N>()? {
                    match name.index() {
                        Some(index) => slices[index] = Some(map.next_value::<&'de RawValue>()?),
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Fields { slices, names: std::marker::PhantomData })
            }
        }

        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::listing::Listing;

    /// Reads a list both ways, which must come to the same.
    fn parse_list(data: &str) -> Result<(Listing, RoleForm), WireError> {
        let text = format!(r#"{{"code":200,"message":"success","data":{data}}}"#);
        let read = |envelope: Result<Envelope<'_>, WireError>| {
            let mut reader = Reader::default();
            reader.begin();
            reader.take(&envelope?)?;
            Ok((reader.finish(), reader.role_form()))
        };
        let (quick, whole) = (read(Envelope::open(&text)), read(Envelope::parse(&text)));
        assert_eq!(quick, whole, "{data}");
        whole
    }

    fn one(fields: &str) -> Task {
        let (tasks, _) = parse_list(&format!(r#"[{{"id":"a",{fields}}}]"#)).unwrap();
        Task::clone(&tasks[0])
    }

    proptest! {
        #[test]
        fn a_time_is_read_as_jiff_reads_it(
            time in "(19[67]|20[0-9]|22[56])[0-9]-(0[0-9]|1[0-3])-([0-2][0-9]|3[0-2])T([01][0-9]|2[0-4]):[0-6][0-9]:[0-6][0-9]\\PC?(\\.[0-9]{0,10})?(Z|[+-][0-2][0-9]:[0-6][0-9]|\\PC?)",
        ) {
            let wide: Option<Timestamp> = time.trim().parse().ok();
            let wide = wide.filter(|time| *time > Timestamp::UNIX_EPOCH).map(Moment::from);
            prop_assert_eq!(time_of(&time), wide);
        }

        #[test]
        fn a_usual_time_is_read_without_help(
            seconds in 40_000_000_i64..9_000_000_000, nanosecond in 0_i32..1_000_000_000, hours in -23_i8..=23,
        ) {
            let time = Timestamp::new(seconds, nanosecond).unwrap();
            let there = time.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(hours)));
            let sign = if hours < 0 { '-' } else { '+' };
            let text = format!("{}{sign}{:02}:00", there.datetime(), hours.abs());
            prop_assert_eq!(usual_time(text.as_bytes()), Some(time.into()), "{}", text);
            prop_assert_eq!(usual_time(text.as_bytes()), time_of(&time.to_string()));
        }
    }

    #[test]
    fn every_form_of_a_state_is_read() {
        for (wire, state) in [
            ("7", State::Failed),
            ("7.0", State::Failed),
            ("\"7\"", State::Failed),
            ("\"failed\"", State::Failed),
            ("\"waiting_retry\"", State::WaitingRetry),
            ("\"Succeeded\"", State::Succeeded),
            ("0", State::Pending),
            ("42", State::Unknown(42)),
            ("-3", State::Unknown(-3)),
            ("1e999", State::Unknown(i16::MAX)),
            ("99999999999999999999", State::Unknown(i16::MAX)),
            ("\"asleep\"", UNREADABLE),
            ("null", UNREADABLE),
            ("{}", UNREADABLE),
            ("[]", UNREADABLE),
        ] {
            assert_eq!(one(&format!("\"state\":{wire}")).state, state, "{wire}");
        }
        assert_eq!(one("\"name\":\"x\"").state, UNREADABLE);
    }

    #[test]
    fn every_form_of_a_role_is_read() {
        for (wire, roles, form) in [
            ("2", vec![2], RoleForm::Number),
            ("-1", vec![-1], RoleForm::Number),
            ("\"2\"", vec![2], RoleForm::Number),
            ("[2]", vec![2], RoleForm::Array),
            ("[2,4]", vec![2, 4], RoleForm::Array),
            ("[]", vec![], RoleForm::Array),
            ("null", vec![], RoleForm::None),
            ("{}", vec![], RoleForm::None),
        ] {
            let (tasks, read) =
                parse_list(&format!(r#"[{{"id":"a","creator_role":{wire}}}]"#)).unwrap();
            assert_eq!((tasks[0].roles.to_vec(), read), (roles, form), "{wire}");
        }
    }

    #[test]
    fn every_form_of_a_time_is_read() {
        for (wire, time) in [
            ("null", None),
            ("\"\"", None),
            ("\"0001-01-01T00:00:00Z\"", None),
            ("\"0001-01-01T08:05:43+08:05\"", None),
            ("\"yesterday\"", None),
            ("17", None),
            ("\"2024-12-30T18:32:12.4250369+08:00\"", Some("2024-12-30T10:32:12.4250369Z")),
            ("\"2026-11-23T19:32:47.116464675Z\"", Some("2026-11-23T19:32:47.116464675Z")),
        ] {
            let task = one(&format!("\"start_time\":{wire},\"end_time\":{wire}"));
            let time = time.map(|time| Moment::from(time.parse::<Timestamp>().unwrap()));
            assert_eq!((task.started, task.ended), (time, time), "{wire}");
        }
    }

    #[test]
    fn odd_numbers_neither_panic_nor_escape_their_range() {
        for (wire, progress, bytes) in [
            ("12.5", 12.5, 12),
            ("-1", 0.0, 0),
            ("\"33\"", 33.0, 33),
            ("\"NaN\"", 0.0, 0),
            ("\"inf\"", 100.0, u64::MAX),
            ("1e999", 100.0, u64::MAX),
            ("18446744073709551615", 100.0, u64::MAX),
            ("null", 0.0, 0),
            ("{}", 0.0, 0),
        ] {
            let task = one(&format!("\"progress\":{wire},\"total_bytes\":{wire}"));
            assert!((task.progress - progress).abs() < f64::EPSILON, "{wire}");
            assert_eq!(task.total_bytes, bytes, "{wire}");
        }
    }

    #[test]
    fn missing_unknown_and_doubled_fields_are_borne() {
        let task = one(r#""error":"first","later":{"x":[1]},"error":"last","name":null"#);
        assert_eq!((&*task.error, task.name.shown(), &*task.creator), ("last", "", ""));
        let odd = one(r#""status":"\ud800","error":["a"],"creator":7"#);
        assert_eq!((&*odd.status, &*odd.error, &*odd.creator), (r"\ud800", "[\"a\"]", "7"));
        assert_eq!(parse_list(r#"[{"id":17}]"#).unwrap().0[0].id.as_str(), "17");
    }

    #[test]
    fn a_list_that_is_not_understood_is_not_a_shorter_list() {
        assert!(parse_list("null").unwrap().0.is_empty());
        assert!(parse_list("[]").unwrap().0.is_empty());
        for data in
            ["{}", "17", "\"\"", "[null]", "[7]", "[{}]", r#"[{"id":"a"},{"id":""}]"#, "[[]]"]
        {
            assert!(matches!(parse_list(data), Err(WireError::Data(_))), "{data}");
        }
        let error = parse_list(r#"[{"id":"a"},{"name":"b"}]"#).unwrap_err();
        assert_eq!(error.to_string(), "task 2 of the list has no `id`");
        let no_data = Envelope::parse(r#"{"code":200,"message":"success"}"#).unwrap();
        assert!(items(&no_data).is_err());
    }

    #[test]
    fn an_id_listed_twice_is_one_task() {
        let (tasks, _) =
            parse_list(r#"[{"id":"a","state":1},{"id":"b"},{"id":"a","state":7}]"#).unwrap();
        assert_eq!(tasks.len(), 2);
        assert_eq!(tasks[0].state, State::Failed);
    }

    #[test]
    fn info_is_an_object_or_an_array_and_about_the_task_asked_for() {
        let read = |data: &str| {
            let text = format!(r#"{{"code":200,"data":{data}}}"#);
            info(&Envelope::parse(&text).unwrap(), &TaskId::from("a"))
        };
        assert!(read(r#"{"id":"a"}"#).unwrap().is_some());
        assert!(read(r#"[{"id":"a"}]"#).unwrap().is_some());
        assert!(read(r#"[{"id":"b"},{"id":"a"}]"#).unwrap().is_some());
        assert!(read("[]").unwrap().is_none());
        for data in [r#"{"id":"b"}"#, r#"[{"id":"b"}]"#, "{}", "null", "7"] {
            assert!(read(data).is_err(), "{data}");
        }
    }

    #[test]
    fn outcomes_are_a_map_and_nothing_else() {
        let read = |data: &str| {
            let text = format!(r#"{{"code":200,"data":{data}}}"#);
            outcomes(&Envelope::parse(&text).unwrap())
        };
        assert!(read("{}").unwrap().is_empty());
        assert_eq!(read(r#"{"x":"task not found","y":null}"#).unwrap().len(), 1);
        for data in ["null", "[]", "7", "\"\""] {
            assert!(read(data).is_err(), "{data}");
        }
    }

    #[test]
    fn what_is_no_envelope_says_so() {
        for (text, error) in [
            ("", WireError::Truncated),
            ("{\"code\":200,\"da", WireError::Truncated),
            ("<html>", WireError::NotAnEnvelope),
            ("[]", WireError::NotAnEnvelope),
            ("{}", WireError::NotAnEnvelope),
            ("null", WireError::NotAnEnvelope),
            ("{\"code\":\"OK\"}", WireError::NotAnEnvelope),
            ("{\"code\":200}{}", WireError::NotAnEnvelope),
        ] {
            assert_eq!(Envelope::parse(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(Envelope::parse("\u{feff}{\"code\":\"200\"}").unwrap().code, 200);
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![
                Just("id".to_owned()),
                Just("state".to_owned()),
                Just("creator_role".to_owned()),
                Just("progress".to_owned()),
                Just("start_time".to_owned()),
                any::<String>(),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn read_every_way(text: &str) {
        let _ = Reader::default().read(text);
        if let Ok(envelope) = Envelope::parse(text) {
            let _ = items(&envelope);
            let _ = info(&envelope, &TaskId::from("a"));
            let _ = outcomes(&envelope);
            let _ = (envelope.token(), envelope.version());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            read_every_way(&text);
            read_every_way(&format!(r#"{{"code":200,"data":{text}}}"#));
        }

        #[test]
        fn no_json_panics(data in any_json()) {
            read_every_way(&serde_json::json!({ "code": 200, "data": data }).to_string());
            read_every_way(&serde_json::json!({ "code": 200, "data": [data] }).to_string());
            read_every_way(&data.to_string());
        }

        #[test]
        fn a_cut_answer_is_never_a_list(cut in 0_usize..100) {
            let whole = r#"{"code":200,"message":"success","data":[{"id":"a","name":"é","state":7},{"id":"b"}]}"#;
            let text = String::from_utf8_lossy(&whole.as_bytes()[..cut.min(whole.len() - 1)]);
            prop_assert!(Envelope::parse(&text).is_err());
        }
    }
}
