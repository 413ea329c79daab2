//! How long to wait between a failure and the next try.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher13;

/// The wait after the n-th failure: `initial * factor^n`, at most `max`, spread by `jitter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    /// The wait before the first try; more than zero.
    pub initial: Duration,
    /// What each further wait is multiplied by; at least 1.
    pub factor: f64,
    /// The longest wait, jitter included; at least `initial`.
    pub max: Duration,
    /// How the waits of tasks that failed together are spread.
    pub jitter: Jitter,
}

/// How a wait is spread, so that tasks that failed together are not tried together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Lengthens a wait by up to this share of it (0 to 1); a wait that `max` cuts is drawn from the
    /// same share below `max` instead, so that it still spreads.
    Fraction(f64),
    /// Draws the wait evenly from zero to its full length.
    Full,
}

impl Default for Backoff {
    /// One minute, doubled up to six hours, spread by a fifth.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(60),
            factor: 2.0,
            max: Duration::from_secs(6 * 3600),
            jitter: Jitter::Fraction(0.2),
        }
    }
}

impl Backoff {
    /// The wait before try number `attempt` (0 is the first), for a draw in `[0, 1)`.
    ///
    /// It is never longer than `max`, and, unless `max` cuts it or the jitter is full, never shorter
    /// than `initial * factor^attempt`.
    #[must_use]
    pub fn wait(&self, attempt: u32, draw: f64) -> Duration {
        let max = self.max.as_secs_f64();
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let nominal = self.initial.as_secs_f64() * self.factor.powi(exponent);
        // An overflow to infinity is cut like any other long wait.
        let seconds = match self.jitter {
            Jitter::Fraction(share) => nominal.min(max / (1.0 + share)) * (1.0 + share * draw),
            Jitter::Full => nominal.min(max) * draw,
        };
        Duration::try_from_secs_f64(seconds).map_or(self.max, |wait| wait.min(self.max))
    }
}

/// A draw in `[0, 1)` for a try of whatever the parts name, that is the same whenever it is made for the
/// same things, so that `explain` can tell the very moment of a retry and a restart does not change it.
/// A replay of months ago draws as well, so it depends neither on the machine nor on the compiler's version.
#[must_use]
pub fn draw(seed: u64, attempt: u32, parts: &[&str]) -> f64 {
    let mut told = SipHasher13::new_with_keys(seed, attempt.into());
    for part in parts {
        told.write(part.as_bytes());
        // No text has this byte: where one part ends counts too.
        told.write(&[0xFF]);
    }
    let [.., a, b, c, d] = told.finish().to_le_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grows_until_the_longest_wait() {
        let backoff = Backoff { jitter: Jitter::Fraction(0.0), ..Backoff::default() };
        let waits: Vec<u64> = (0..11).map(|n| backoff.wait(n, 0.5).as_secs() / 60).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
        assert_eq!(backoff.wait(u32::MAX, 0.5), backoff.max);
    }

    #[test]
    fn jitter_spreads_by_its_share_and_no_further() {
        let backoff = Backoff::default();
        let wait = |attempt, draw| backoff.wait(attempt, draw).as_secs_f64();
        assert_eq!((wait(0, 0.0), wait(0, 0.5)), (60.0, 66.0));
        assert!((wait(0, 1.0) - 72.0).abs() < 1e-9);
        // At the longest wait it spreads below.
        assert!((wait(30, 0.0) - 18_000.0).abs() < 1e-6 && (wait(30, 1.0) - 21_600.0).abs() < 1e-6);
        let full = Backoff { jitter: Jitter::Full, ..backoff };
        assert_eq!(full.wait(1, 0.25).as_secs(), 30);
    }

    #[test]
    fn the_draw_depends_on_each_part_and_on_nothing_else() {
        let drawn = draw(1, 0, &["a", "b"]).to_bits();
        assert_eq!(drawn, draw(1, 0, &["a", "b"]).to_bits());
        assert_ne!(drawn, draw(1, 0, &["ab", ""]).to_bits());
        assert_ne!(drawn, draw(2, 0, &["a", "b"]).to_bits());
        assert_ne!(drawn, draw(1, 1, &["a", "b"]).to_bits());
    }

    #[test]
    fn the_draw_is_the_same_for_good_and_spreads_evenly() {
        let of = |task: u32| draw(7, 2, &["home", "copy", &task.to_string(), "retry"]);
        insta::assert_snapshot!(of(1), @"0.2666810133960098");
        let draws: Vec<f64> = (0..10_000).map(of).collect();
        for tenth in 0..10_u32 {
            let within = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = draws.iter().filter(|draw| within.contains(draw)).count();
            assert!((850..1150).contains(&count), "{count} in {within:?}");
        }
    }

    proptest! {
        #[test]
        fn waits_keep_their_bounds(
            initial in 1_u64..100_000, factor in 1.0_f64..10.0, more in 0_u64..1_000_000,
            share in 0.0_f64..=1.0, attempt in 0_u32..2000, draw in 0.0_f64..1.0, full: bool,
        ) {
            let jitter = if full { Jitter::Full } else { Jitter::Fraction(share) };
            let initial = Duration::from_secs(initial);
            let backoff = Backoff { initial, factor, max: initial + Duration::from_secs(more), jitter };
            let wait = backoff.wait(attempt, draw);
            prop_assert!(wait <= backoff.max);
            if !full {
                let floor = (backoff.max.as_secs_f64() / (1.0 + share)).min(
                    backoff.initial.as_secs_f64() * factor.powi(i32::try_from(attempt).unwrap()));
                prop_assert!(wait.as_secs_f64() >= floor * 0.999_999);
                prop_assert!(backoff.wait(attempt + 1, draw) >= wait.mul_f64(0.999_999));
            }
        }
    }
}
