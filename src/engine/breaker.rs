//! The breaker: leaves a storage alone that fails, then tries it with one task, then slowly more.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::task::TaskId;

/// When a rule leaves a storage alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// What tasks share a breaker.
    pub by: BreakerKey,
    /// How many failures open it; at least 1.
    pub open_after: u32,
    /// The time in which they must come.
    pub within: Duration,
    /// How long it stays open the first time; each further time in a row twice as long, up to
    /// [`BreakerSettings::LONGEST`] or this, whichever is longer.
    pub cool_down: Duration,
    /// Whether only failures of the class `throttled` count. Otherwise failed retries count too.
    pub only_throttled: bool,
}

impl BreakerSettings {
    /// The longest a breaker stays open by doubling.
    pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

    fn open_for(&self, times: u32) -> SignedDuration {
        let longest = self.cool_down.max(Self::LONGEST);
        let doubled = self.cool_down.saturating_mul(1 << times.min(16)).min(longest);
        SignedDuration::try_from(doubled).unwrap_or(SignedDuration::MAX)
    }
}

/// What tasks share a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerKey {
    /// The mount they go to.
    DstMount,
    /// The mount they come from.
    SrcMount,
    /// Their kind.
    Kind,
    /// Their server.
    Server,
}

/// Where a breaker stands. Survives restarts with the rule's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaker {
    /// Everything may go; the moments of the failures that still count.
    Closed {
        /// When they happened, oldest first.
        failures: Vec<Timestamp>,
    },
    /// Nothing may go.
    Open {
        /// Until when.
        until: Timestamp,
        /// How many times in a row it opened before this one.
        times: u32,
    },
    /// One task was let through, and what becomes of it decides.
    HalfOpen {
        /// The task.
        canary: TaskId,
        /// When it was let through.
        since: Timestamp,
        /// How many times in a row it had opened.
        times: u32,
    },
    /// The canary came through: few may go at first, then more.
    Ramp {
        /// When the present step began.
        since: Timestamp,
        /// The step: `2^step` tasks may go in it.
        step: u32,
        /// How many have gone in this step.
        gone: u32,
        /// How many times in a row it had opened.
        times: u32,
    },
}

/// What became of the task that was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryState {
    /// It succeeded, or failed in a way that does not count.
    Through,
    /// It failed in a way that counts.
    Failed,
    /// It is under way.
    Running,
    /// It is in a queue.
    Waiting,
    /// It is nowhere to be seen, or shows no sign of the action.
    Gone,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: Vec::new() }
    }
}

/// What a breaker says to one more task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go.
    Pass,
    /// Go, as the one that tries.
    Canary,
    /// Wait at least until then.
    Wait(Timestamp),
}

impl Breaker {
    /// The steps of a ramp: 1, 2, 4 and 8 tasks. The last one goes on for as long as tasks wait for
    /// room in it: to let a whole backlog go because eight came through would open it again.
    const RAMP_STEPS: u32 = 4;

    /// A failure that counts happened. `canary` tells whether the failed task is the one that was
    /// let through. Returns whether this opened the breaker.
    pub fn fail(
        &mut self,
        settings: &BreakerSettings,
        task: &TaskId,
        at: Timestamp,
        now: Timestamp,
    ) -> bool {
        match self {
            Self::Closed { failures } => {
                let floor = now.checked_sub(settings.within).unwrap_or(Timestamp::MIN);
                failures.retain(|moment| *moment >= floor);
                if at >= floor {
                    failures.push(at.min(now));
                    // The order in which tasks are listed means nothing.
                    failures.sort_unstable();
                }
                if failures.len() < settings.open_after as usize {
                    return false;
                }
                *self = Self::open(settings, 0, now);
            }
            // Tasks that were under way when it opened may still fail; they say nothing new.
            Self::Open { .. } => return false,
            Self::HalfOpen { canary, times, .. } => {
                if canary != task {
                    return false;
                }
                *self = Self::open(settings, *times + 1, now);
            }
            Self::Ramp { since, times, .. } => {
                if at < *since {
                    return false;
                }
                *self = Self::open(settings, *times + 1, now);
            }
        }
        true
    }

    fn open(settings: &BreakerSettings, times: u32, now: Timestamp) -> Self {
        let until = now.checked_add(settings.open_for(times)).unwrap_or(Timestamp::MAX);
        Self::Open { until, times }
    }

    /// Time passed, and the canary may have come to something: a ramp goes on, old failures stop
    /// counting, the canary's fate decides. One that has run for a whole cool-down without failing
    /// counts as through, since throttling shows early; one that vanished, or that waits in a queue
    /// for ten cool-downs, is given up and another is let go.
    pub fn pass_time(
        &mut self,
        settings: &BreakerSettings,
        now: Timestamp,
        canary_state: impl FnOnce(&TaskId, Timestamp) -> CanaryState,
    ) {
        let elapsed =
            |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        match self {
            Self::Closed { failures } => {
                failures.retain(|moment| elapsed(*moment) <= settings.within);
            }
            Self::Open { until, times } => {
                // A clock that was set back must not keep it open longer than it ever would be.
                let longest = now.checked_add(settings.open_for(*times)).unwrap_or(Timestamp::MAX);
                *until = (*until).min(longest);
            }
            Self::HalfOpen { canary, since, times } => {
                let (cool_down, waited) = (settings.cool_down, elapsed(*since));
                let times = *times;
                match canary_state(canary, *since) {
                    CanaryState::Failed => *self = Self::open(settings, times + 1, now),
                    CanaryState::Running | CanaryState::Gone if waited < cool_down => {}
                    CanaryState::Through | CanaryState::Running => {
                        *self = Self::Ramp { since: now, step: 0, gone: 0, times };
                    }
                    CanaryState::Waiting if waited < cool_down * 10 => {}
                    CanaryState::Waiting | CanaryState::Gone => {
                        *self = Self::Open { until: now, times };
                    }
                }
            }
            Self::Ramp { since, step, gone, .. } => {
                let last = *step + 1 >= Self::RAMP_STEPS;
                if elapsed(*since) < settings.ramp_step() {
                } else if last && *gone < 1 << *step {
                    *self = Self::default();
                } else if *gone > 0 {
                    let next = if last { *step } else { *step + 1 };
                    (*since, *step, *gone) = (now, next, 0);
                }
            }
        }
    }

    /// Moments that lie ahead, by a clock that was set back, become the present one; tells whether
    /// there were any. How long it is open, [`Breaker::pass_time`] sees to.
    pub fn pull_back(&mut self, now: Timestamp) -> bool {
        let clamp = |moment: &mut Timestamp| {
            let ahead = *moment > now;
            *moment = (*moment).min(now);
            ahead
        };
        match self {
            Self::Closed { failures } => {
                failures.iter_mut().fold(false, |changed, moment| clamp(moment) | changed)
            }
            Self::Open { .. } => false,
            Self::HalfOpen { since, .. } | Self::Ramp { since, .. } => clamp(since),
        }
    }

    /// Moves along with a clock that was set.
    pub fn shift(&mut self, by: SignedDuration) {
        let move_by = |moment: &mut Timestamp| {
            *moment = moment.saturating_add(by).unwrap_or(*moment);
        };
        match self {
            Self::Closed { failures } => failures.iter_mut().for_each(move_by),
            Self::Open { until: moment, .. }
            | Self::HalfOpen { since: moment, .. }
            | Self::Ramp { since: moment, .. } => move_by(moment),
        }
    }

    /// The canary was not sent after all: another may go.
    pub fn recall(&mut self, task: &TaskId, now: Timestamp) {
        if let Self::HalfOpen { canary, times, .. } = self
            && canary == task
        {
            *self = Self::Open { until: now, times: *times };
        }
    }

    /// Whether one more task may go now.
    #[must_use]
    pub fn ask(&self, settings: &BreakerSettings, now: Timestamp) -> Verdict {
        match self {
            Self::Closed { .. } => Verdict::Pass,
            Self::Open { until, .. } if now >= *until => Verdict::Canary,
            Self::Open { until, .. } => Verdict::Wait(*until),
            Self::HalfOpen { since, .. } => {
                Verdict::Wait(since.checked_add(settings.cool_down).unwrap_or(Timestamp::MAX))
            }
            Self::Ramp { since, gone, step, .. } => {
                // Evenly over the step: who counts starts counts them by the minute.
                let slot = settings.ramp_step().saturating_mul(*gone) / (1 << *step);
                match since.checked_add(slot) {
                    Ok(slot) if now >= slot && *gone < 1 << *step => Verdict::Pass,
                    Ok(slot) => Verdict::Wait(slot),
                    Err(_) => Verdict::Wait(Timestamp::MAX),
                }
            }
        }
    }

    /// A task goes now, as [`Breaker::ask`] allowed.
    pub fn go(&mut self, task: &TaskId, now: Timestamp) {
        match self {
            Self::Open { times, .. } => {
                *self = Self::HalfOpen { canary: task.clone(), since: now, times: *times };
            }
            Self::Ramp { gone, .. } => *gone += 1,
            Self::Closed { .. } | Self::HalfOpen { .. } => {}
        }
    }

    /// Whether there is nothing to remember about it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self, Self::Closed { failures } if failures.is_empty())
    }
}

impl BreakerSettings {
    /// How long a step of the ramp lasts: the pace of failures that would open the breaker.
    fn ramp_step(&self) -> Duration {
        self.within / self.open_after.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn settings() -> BreakerSettings {
        BreakerSettings {
            by: BreakerKey::DstMount,
            open_after: 3,
            within: Duration::from_secs(60),
            cool_down: Duration::from_secs(100),
            only_throttled: false,
        }
    }

    fn opened() -> Breaker {
        let (settings, mut breaker) = (settings(), Breaker::default());
        for second in 0..3 {
            breaker.fail(&settings, &"a".into(), at(second), at(second));
        }
        breaker
    }

    #[test]
    fn opens_after_enough_failures_in_time() {
        let (settings, mut breaker) = (settings(), Breaker::default());
        assert!(!breaker.fail(&settings, &"a".into(), at(0), at(0)));
        assert!(!breaker.fail(&settings, &"a".into(), at(50), at(50)));
        assert!(!breaker.fail(&settings, &"a".into(), at(70), at(70)), "the first one is too old");
        assert!(breaker.fail(&settings, &"a".into(), at(71), at(71)));
        assert_eq!(breaker.ask(&settings, at(72)), Verdict::Wait(at(171)));
    }

    #[test]
    fn one_canary_then_a_ramp_then_closed() {
        let (settings, mut breaker) = (settings(), opened());
        assert_eq!(breaker.ask(&settings, at(101)), Verdict::Wait(at(102)));
        assert_eq!(breaker.ask(&settings, at(102)), Verdict::Canary);
        breaker.go(&"c".into(), at(102));
        assert!(matches!(breaker.ask(&settings, at(103)), Verdict::Wait(_)), "only one");
        assert!(!breaker.fail(&settings, &"b".into(), at(104), at(104)), "not the canary");
        breaker.pass_time(&settings, at(110), |_, _| CanaryState::Through);
        let mut now = 110;
        for step in 0..Breaker::RAMP_STEPS + 2 {
            // The last step goes on while tasks wait.
            let tasks = 1 << step.min(Breaker::RAMP_STEPS - 1);
            for n in 0..tasks {
                let slot = now + 20 * n / tasks;
                assert_eq!(breaker.ask(&settings, at(slot + 1)), Verdict::Pass, "{step}, task {n}");
                breaker.go(&"d".into(), at(slot + 1));
                assert!(matches!(breaker.ask(&settings, at(slot)), Verdict::Wait(_)));
            }
            now += 20;
            breaker.pass_time(&settings, at(now), |_, _| CanaryState::Gone);
        }
        breaker.go(&"d".into(), at(now));
        breaker.pass_time(&settings, at(now + 20), |_, _| CanaryState::Gone);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn opening_again_waits_longer() {
        let (settings, mut breaker) = (settings(), opened());
        breaker.go(&"c".into(), at(102));
        assert!(breaker.fail(&settings, &"c".into(), at(105), at(105)));
        assert_eq!(breaker.ask(&settings, at(106)), Verdict::Wait(at(305)));
    }

    #[test]
    fn a_canary_that_vanishes_does_not_hold_it_for_ever() {
        let (settings, mut breaker) = (settings(), opened());
        breaker.go(&"c".into(), at(102));
        breaker.pass_time(&settings, at(201), |_, _| CanaryState::Gone);
        assert!(matches!(breaker, Breaker::HalfOpen { .. }));
        breaker.pass_time(&settings, at(202), |_, _| CanaryState::Gone);
        assert_eq!(breaker.ask(&settings, at(202)), Verdict::Canary);
        breaker.go(&"d".into(), at(202));
        breaker.pass_time(&settings, at(302), |_, _| CanaryState::Running);
        assert_eq!(breaker.ask(&settings, at(302)), Verdict::Pass, "a long run counts as through");
    }

    #[test]
    fn a_canary_that_waits_in_a_queue_for_ten_cool_downs_is_given_up() {
        let (settings, mut breaker) = (settings(), opened());
        breaker.go(&"c".into(), at(102));
        breaker.pass_time(&settings, at(1101), |_, _| CanaryState::Waiting);
        assert!(matches!(breaker, Breaker::HalfOpen { .. }));
        breaker.pass_time(&settings, at(1102), |_, _| CanaryState::Waiting);
        assert_eq!(breaker.ask(&settings, at(1102)), Verdict::Canary);
    }

    #[test]
    fn a_failure_during_the_ramp_opens_it_for_longer_and_an_older_one_does_not() {
        let (settings, mut breaker) = (settings(), opened());
        breaker.go(&"c".into(), at(102));
        breaker.pass_time(&settings, at(110), |_, _| CanaryState::Through);
        assert!(!breaker.fail(&settings, &"b".into(), at(109), at(111)), "from before");
        assert!(matches!(breaker, Breaker::Ramp { .. }));
        assert!(breaker.fail(&settings, &"b".into(), at(112), at(112)));
        assert_eq!(breaker.ask(&settings, at(113)), Verdict::Wait(at(312)), "twice a cool-down");
    }

    #[test]
    fn a_clock_that_was_set_back_holds_it_open_no_longer_than_a_cool_down() {
        let (settings, mut breaker) = (settings(), opened());
        breaker.pass_time(&settings, at(-900_000), |_, _| CanaryState::Gone);
        assert_eq!(breaker.ask(&settings, at(-900_000)), Verdict::Wait(at(-899_900)));
    }
}
