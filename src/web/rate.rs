//! How often somebody may do something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many callers are told apart. Beyond that those go that have been quiet the longest.
const CALLERS: usize = 4096;

/// A number of goes for each caller, which come back over time.
#[derive(Debug)]
pub struct Rate {
    /// How many at once.
    burst: f64,
    /// How long until one has come back.
    every: Duration,
    callers: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Rate {
    /// So many at once, and one more every so long.
    #[must_use]
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst: f64::from(burst), every, callers: Mutex::default() }
    }

    /// Takes one go.
    ///
    /// # Errors
    /// How many seconds it is until there is one.
    pub fn take(&self, caller: IpAddr, now: Instant) -> Result<(), u64> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS && !callers.contains_key(&network(caller)) {
            self.forget(&mut callers, now);
        }
        let (left, at) = callers.entry(network(caller)).or_insert((self.burst, now));
        let back = now.saturating_duration_since(*at).div_duration_f64(self.every);
        (*left, *at) = ((*left + back).min(self.burst), now);
        if *left < 1.0 {
            return Err(self.every.mul_f64(1.0 - *left).as_secs() + 1);
        }
        *left -= 1.0;
        Ok(())
    }

    /// Gives one go back.
    pub fn give_back(&self, caller: IpAddr) {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = callers.get_mut(&network(caller)) {
            *left = (*left + 1.0).min(self.burst);
        }
    }

    /// Those that have all their goes again; if there are none, the quietest half.
    fn forget(&self, callers: &mut HashMap<IpAddr, (f64, Instant)>, now: Instant) {
        let whole = self.every.mul_f64(self.burst);
        callers.retain(|_, (_, at)| now.saturating_duration_since(*at) < whole);
        if callers.len() >= CALLERS {
            let mut ages: Vec<Instant> = callers.values().map(|(_, at)| *at).collect();
            let (_, middle, _) = ages.select_nth_unstable(CALLERS / 2);
            let middle = *middle;
            callers.retain(|_, (_, at)| *at > middle);
        }
    }
}

/// One caller has a whole network of the new addresses.
fn network(caller: IpAddr) -> IpAddr {
    match caller.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::monotonic;

    #[test]
    fn goes_are_used_up_and_come_back() {
        let (rate, start) = (Rate::new(2, Duration::from_secs(10)), monotonic());
        let one = IpAddr::from([192, 0, 2, 1]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(rate.take(one, at(0)), Ok(()));
        assert_eq!(rate.take(one, at(0)), Ok(()));
        assert_eq!(rate.take(one, at(1)), Err(9 + 1));
        assert_eq!(rate.take(IpAddr::from([192, 0, 2, 2]), at(1)), Ok(()), "another has its own");
        assert_eq!(rate.take(one, at(10)), Ok(()));
        assert!(rate.take(one, at(11)).is_err());
        rate.give_back(one);
        assert_eq!(rate.take(one, at(11)), Ok(()));
        // A whole network of the new addresses is one caller.
        let six = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, last, 1, 2, 3]);
        assert!(rate.take(six(1), at(0)).is_ok() && rate.take(six(2), at(0)).is_ok());
        assert!(rate.take(six(3), at(0)).is_err());
    }

    #[test]
    fn many_callers_take_no_more_room() {
        let (rate, now) = (Rate::new(1, Duration::from_secs(10)), monotonic());
        for caller in 0..20_000_u32 {
            let _ = rate.take(IpAddr::from(caller.to_be_bytes()), now);
        }
        assert!(rate.callers.lock().unwrap().len() <= CALLERS);
    }
}
