//! The only clock.
//!
//! Everything that decides takes the time as an argument; the code that carries asks here, so that a test of a
//! decision never waits and a reader finds every reading of the clock in one place.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of wall-clock time: milliseconds since the Unix epoch. Stored in entries, compared across machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself, 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after. Clocks of a fleet differ, so "before" happens.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more, to the millisecond, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

/// The wall clock, now.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The monotonic clock, now: for latencies and deadlines inside one process.
///
/// It is the timers' clock, so that in a test both stand still together.
pub fn instant() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Whole milliseconds of a duration, saturating at 2^64 - 1.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
    fn times_before_the_epoch_are_the_epoch() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::EPOCH);
    }
}
