//! Moments as they are kept, a hundred thousand times over: in half the room that `jiff` takes for one.

use std::fmt;
use std::num::{NonZeroI64, NonZeroU8};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, to the nanosecond, in eight bytes; `Option` takes no more. One before the year 1678 or after 2261
/// becomes the first or last that has its place, and 1970-01-01T00:00:00Z becomes a nanosecond later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(NonZeroI64);

impl Moment {
    /// The first that has its place.
    pub const FIRST: Self = Self(NonZeroI64::MIN);

    /// The same, to reckon with.
    #[must_use]
    pub fn get(self) -> Timestamp {
        // All of these lie within the range of a `Timestamp`, as a test holds.
        Timestamp::from_nanosecond(i128::from(self.0.get())).unwrap_or_default()
    }

    /// The moment so many nanoseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_nanosecond(nanoseconds: i64) -> Self {
        Self(NonZeroI64::new(nanoseconds).unwrap_or(NonZeroI64::from(NonZeroU8::MIN)))
    }

    /// Has it changed as a [`Timestamp`]; hands on what `change` tells.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Timestamp) -> T) -> T {
        let mut wide = self.get();
        let told = change(&mut wide);
        *self = wide.into();
        told
    }

    /// So much earlier; `None` if that has no place here.
    #[must_use]
    pub fn back(self, by: SignedDuration) -> Option<Self> {
        let by = i64::try_from(by.as_nanos()).ok()?;
        self.0.get().checked_sub(by).map(Self::from_nanosecond)
    }
}

impl From<Timestamp> for Moment {
    fn from(timestamp: Timestamp) -> Self {
        let nanoseconds = timestamp.as_nanosecond();
        let out_of_range = if nanoseconds < 0 { i64::MIN } else { i64::MAX };
        Self::from_nanosecond(i64::try_from(nanoseconds).unwrap_or(out_of_range))
    }
}

impl From<Moment> for Timestamp {
    fn from(moment: Moment) -> Self {
        moment.get()
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Timestamp::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_have_their_place_and_so_has_none() {
        assert_eq!(size_of::<Option<Moment>>(), 8);
        let (first, last) = (Moment::from(Timestamp::MIN), Moment::from(Timestamp::MAX));
        assert_eq!(first.get().to_string(), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(last.get().to_string(), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(Moment::from(Timestamp::UNIX_EPOCH).get().as_nanosecond(), 1);
    }

    proptest! {
        #[test]
        fn a_moment_of_these_centuries_stays_what_it_is(one: i64, other: i64) {
            prop_assume!(one != 0 && other != 0);
            let timestamp = |nanoseconds: i64| Timestamp::from_nanosecond(nanoseconds.into()).unwrap();
            let moment = Moment::from(timestamp(one));
            prop_assert_eq!(moment.get(), timestamp(one));
            let order = moment.cmp(&Moment::from(timestamp(other)));
            prop_assert_eq!(order, timestamp(one).cmp(&timestamp(other)));
            let text = serde_json::to_string(&moment).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&timestamp(one)).unwrap());
            prop_assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
        }
    }
}
