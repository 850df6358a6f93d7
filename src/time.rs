//! The only clock.
//!
//! Decisions take the time as an argument, and the code around them reads it here. So a test of a
//! decision never waits, and a reader finds every reading of the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of wall-clock time, in milliseconds since the Unix epoch. Entries store it, and
/// machines compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself, 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Returns the moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later: the clocks of a fleet
    /// differ.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment `duration` later, to the millisecond, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    /// Converts a time; one before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

/// Returns the time of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    SystemTime::now().into()
}

/// Returns the nanoseconds of the wall clock since the Unix epoch, for spans.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the time of the monotonic clock, for latencies and deadlines inside one process.
///
/// The timers use this clock too, so a test pauses both together.
pub fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Draws a duration between half of `longest` and all of it, so that a fleet does not act in step.
pub fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Returns the whole milliseconds of a duration, saturating at 2^64 - 1.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns a duration in milliseconds, cut to whole microseconds. The one division rounds to the
/// nearest number, so a log line has at most three decimal digits.
#[expect(clippy::cast_precision_loss, reason = "2^53 µs are 285 years")]
pub fn logged_millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// A wall clock that follows the paused clock of a test.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Instant;

    use super::{Timestamp, instant, millis};

    thread_local! {
        static WALL_CLOCK: Cell<Option<WallClock>> = const { Cell::new(None) };
    }

    /// The wall clock of a node: it shows `shown` at `at`.
    #[derive(Clone, Copy)]
    pub(crate) struct WallClock {
        pub(crate) at: Instant,
        pub(crate) shown: Timestamp,
    }

    /// Does some work by this clock, or by the clock of the system.
    pub(crate) fn by_clock<T>(clock: Option<WallClock>, work: impl FnOnce() -> T) -> T {
        let before = WALL_CLOCK.replace(clock);
        let done = work();
        WALL_CLOCK.set(before);
        done
    }

    pub(super) fn now() -> Option<Timestamp> {
        let WallClock { at, shown } = WALL_CLOCK.get()?;
        Some(Timestamp::from_millis(shown.as_millis() + millis(instant() - at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        let early = Timestamp::from_millis(10);
        let late = Timestamp::from_millis(25);
        assert_eq!(late.since(early), Duration::from_millis(15));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(u64::MAX).plus(Duration::from_secs(1)).as_millis(), u64::MAX);
        assert_eq!(early.plus(Duration::MAX).as_millis(), u64::MAX);
    }

    #[test]
    fn logged_milliseconds_have_three_decimal_digits() {
        assert_eq!(logged_millis(Duration::from_nanos(1_414_365)).to_string(), "1.414");
        for micros in (0..100_000_000).step_by(7_919) {
            let text = logged_millis(Duration::from_nanos(micros * 1_000 + 999)).to_string();
            let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
            assert!(digits <= 3, "{text}");
        }
    }

    #[test]
    fn a_time_before_the_epoch_becomes_the_epoch() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::EPOCH);
    }
}
