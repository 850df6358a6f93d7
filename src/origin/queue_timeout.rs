//! Time-out of the queue in front of the origin. Pure.
//!
//! A queue absorbs bursts. A queue that has not been empty for [`ORIGIN_QUEUE_STANDING`] is a
//! standing queue (CoDel, RFC 8289): arrivals exceed departures, and the queue only makes every
//! request wait as long as it may. From then on a new request may wait only for the time in which a
//! few permits become free. Admitted requests get their usual latency, and the others fail quickly.
//!
//! A short time-out empties the queue again and again while the load stays. So a queue that forms
//! within [`ORIGIN_QUEUE_RELAPSE`] of a standing queue counts as standing from its start (RFC 8289
//! §5.5 keeps the learned state for a while). Otherwise the time-out would be long half of the
//! time, and half of the served requests would have waited for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{ORIGIN_QUEUE_RELAPSE, ORIGIN_QUEUE_STANDING, ORIGIN_QUEUE_TURNS, ORIGIN_QUEUE_WAIT_MIN};

/// State of the queue and the time-out that follows from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueTimeout {
    /// Time-out of a queue that is not standing.
    max: Duration,
    /// Time since which the queue has not been empty.
    waiting_since: Option<Instant>,
    /// Time at which the queue was last standing, or a request timed out in a relapse.
    last_standing: Option<Instant>,
    /// Moving mean of the time to a response head.
    mean_latency: Duration,
}

impl QueueTimeout {
    /// Creates the state of an empty queue.
    pub(super) fn new(max: Duration) -> Self {
        Self { max, waiting_since: None, last_standing: None, mean_latency: Duration::ZERO }
    }

    /// Returns whether requests may wait at all.
    pub(super) fn allows_waiting(&self) -> bool {
        !self.max.is_zero()
    }

    /// Returns the time-out of a request that begins to wait now, with this many permits.
    pub(super) fn for_next(&mut self, permits: usize, now: Instant) -> Duration {
        let since = *self.waiting_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= ORIGIN_QUEUE_STANDING {
            self.last_standing = Some(now);
        } else if !self.was_standing(now) {
            return self.max;
        }
        let permits = u32::try_from(permits).unwrap_or(u32::MAX).max(1);
        let wait = self.mean_latency.saturating_mul(ORIGIN_QUEUE_TURNS) / permits;
        wait.max(ORIGIN_QUEUE_WAIT_MIN).min(self.max)
    }

    /// Records that a waiting request timed out. This prolongs the state of a standing queue.
    pub(super) fn record_timeout(&mut self, now: Instant) {
        if self.was_standing(now) {
            self.last_standing = Some(now);
        }
    }

    fn was_standing(&self, now: Instant) -> bool {
        self.last_standing.is_some_and(|at| now.saturating_duration_since(at) < ORIGIN_QUEUE_RELAPSE)
    }

    /// Records that the queue is empty.
    pub(super) fn record_empty(&mut self) {
        self.waiting_since = None;
    }

    /// Records the time to a response head.
    pub(super) fn record_latency(&mut self, latency: Duration) {
        let mean = self.mean_latency;
        self.mean_latency = if mean.is_zero() { latency } else { (mean * 7 + latency) / 8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(500);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns the state of a queue that is not empty since `since`, with a mean latency of 40 ms.
    fn standing(since: Instant) -> QueueTimeout {
        let mut timeout = QueueTimeout::new(MOST);
        timeout.record_latency(millis(40));
        assert_eq!(timeout.for_next(8, since), MOST);
        timeout
    }

    #[test]
    fn only_a_standing_queue_shortens_the_timeout() {
        let begun = Instant::now();
        let mut timeout = standing(begun);
        assert_eq!(timeout.for_next(8, begun + ORIGIN_QUEUE_STANDING - millis(1)), MOST);
        let standing_at = begun + ORIGIN_QUEUE_STANDING;
        assert_eq!(timeout.for_next(8, standing_at), millis(20), "four responses with eight permits");
        assert_eq!(timeout.for_next(1, standing_at), millis(160));
        assert_eq!(timeout.for_next(4_096, standing_at), ORIGIN_QUEUE_WAIT_MIN);
        timeout.record_latency(Duration::from_secs(3_600));
        assert_eq!(timeout.for_next(1, standing_at), MOST, "never above the setting");
    }

    #[test]
    fn a_queue_relapses_after_a_moment_but_not_after_a_calm_second() {
        let begun = Instant::now();
        let mut timeout = standing(begun);
        timeout.record_empty();
        assert_eq!(timeout.for_next(8, begun + millis(99)), MOST, "it was not standing");

        let mut timeout = standing(begun);
        let standing_at = begun + ORIGIN_QUEUE_STANDING;
        assert!(timeout.for_next(8, standing_at) < MOST);
        for later in [millis(1), ORIGIN_QUEUE_RELAPSE - millis(1)] {
            timeout.record_empty();
            assert!(timeout.for_next(8, standing_at + later) < MOST, "{later:?}");
        }
        timeout.record_empty();
        assert_eq!(
            timeout.for_next(8, standing_at + ORIGIN_QUEUE_RELAPSE),
            MOST,
            "a relapse alone does not prolong the state"
        );
    }

    #[test]
    fn a_timeout_prolongs_a_standing_queue() {
        let begun = Instant::now();
        let mut timeout = standing(begun);
        timeout.record_timeout(begun);
        timeout.record_empty();
        assert_eq!(timeout.for_next(8, begun + millis(1)), MOST, "a burst that was too large");

        let mut timeout = standing(begun);
        let mut now = begun + ORIGIN_QUEUE_STANDING;
        timeout.for_next(8, now);
        for _ in 0..10 {
            timeout.record_empty();
            now += ORIGIN_QUEUE_RELAPSE / 2;
            assert!(timeout.for_next(8, now) < MOST);
            timeout.record_timeout(now);
        }
    }

    #[test]
    fn a_zero_setting_disallows_waiting() {
        assert!(!QueueTimeout::new(Duration::ZERO).allows_waiting());
        assert!(QueueTimeout::new(MOST).allows_waiting());
    }
}
