//! The rate of writes whose answers wait for the fleet: each wait costs every node a sync. Beyond
//! the rate, writes purge and do not wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::time;

/// The limiter of all workers: a second's worth of waits, which fills again at the rate.
pub(in crate::proxy) struct WriteRate {
    begin: Instant,
    /// The time that one wait takes from the second's worth, in nanoseconds; `None` if no write
    /// waits.
    interval: Option<u64>,
    /// The time since `begin` at which the whole second's worth is there again, in nanoseconds.
    full_at: AtomicU64,
}

impl WriteRate {
    /// Creates a limiter of this many waits per second; zero admits none.
    pub(in crate::proxy) fn per_second(waits: usize) -> Self {
        let interval =
            u64::try_from(waits).ok().and_then(|waits| nanos(Duration::from_secs(1)).checked_div(waits));
        Self { begin: time::instant(), interval, full_at: AtomicU64::new(0) }
    }

    /// Takes one wait, if there is one.
    pub(in crate::proxy) fn admits(&self, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = nanos(now.saturating_duration_since(self.begin));
        let take = |full_at: u64| {
            let next = full_at.max(now) + interval;
            (next <= now + nanos(Duration::from_secs(1))).then_some(next)
        };
        self.full_at.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_admits_the_rate_and_refills() {
        let rate = WriteRate::per_second(10);
        let now = time::instant();
        let admitted = |now: Instant| (0..100).filter(|_| rate.admits(now)).count();
        assert_eq!((admitted(now), admitted(now)), (10, 0));
        assert_eq!(admitted(now + Duration::from_millis(250)), 2);
        assert_eq!(admitted(now + Duration::from_secs(60)), 10);
        assert!(!WriteRate::per_second(0).admits(now));
        let fast = WriteRate::per_second(crate::limits::ON_WRITE_RATE_MAX);
        assert!((0..1_000).all(|_| fast.admits(now)));
    }
}
