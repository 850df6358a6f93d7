//! How long a request may wait for its turn at the origin. Pure.
//!
//! A queue takes up bursts. One that stands for [`ORIGIN_QUEUE_STANDING`] takes up nothing: more
//! comes than goes, and all that it does is to make everybody wait as long as anybody may. Then
//! nobody who comes waits longer than a few turns take to come free, so that who is admitted is
//! served as ever, and the rest is told at once (as CoDel has it, RFC 8289).
//!
//! With that the queue is empty time and again, and yet there is as much load as before. So one
//! that forms within [`ORIGIN_QUEUE_RELAPSE`] of such a time stands from its beginning (RFC 8289
//! §5.5: what was learned is kept for a while). Without it every other moment is of patience, and
//! half of those who are served have waited for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{ORIGIN_QUEUE_RELAPSE, ORIGIN_QUEUE_STANDING, ORIGIN_QUEUE_TURNS, ORIGIN_QUEUE_WAIT_MIN};

/// What is known of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueTimeout {
    /// For a queue that does not stand.
    most: Duration,
    /// Since when somebody has waited without a break.
    crowded: Option<Instant>,
    /// When the queue was last known to stand, or to have relapsed.
    stood: Option<Instant>,
    /// How long an answer takes of late: a moving mean.
    usual: Duration,
}

impl QueueTimeout {
    /// Nobody waits.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, crowded: None, stood: None, usual: Duration::ZERO }
    }

    /// Whether anybody waits at all.
    pub(super) fn is_any(&self) -> bool {
        !self.most.is_zero()
    }

    /// How long somebody may who begins to wait now, where so many are asked at a time.
    pub(super) fn of_another(&mut self, places: usize, now: Instant) -> Duration {
        let since = *self.crowded.get_or_insert(now);
        if now.saturating_duration_since(since) >= ORIGIN_QUEUE_STANDING {
            self.stood = Some(now);
        } else if !self.has_stood(now) {
            return self.most;
        }
        let places = u32::try_from(places).unwrap_or(u32::MAX).max(1);
        let turns = self.usual.saturating_mul(ORIGIN_QUEUE_TURNS) / places;
        turns.max(ORIGIN_QUEUE_WAIT_MIN).min(self.most)
    }

    /// Somebody has waited for a turn in vain: what stood still does.
    pub(super) fn exhausted(&mut self, now: Instant) {
        if self.has_stood(now) {
            self.stood = Some(now);
        }
    }

    fn has_stood(&self, now: Instant) -> bool {
        self.stood.is_some_and(|stood| now.saturating_duration_since(stood) < ORIGIN_QUEUE_RELAPSE)
    }

    /// Nobody waits any more.
    pub(super) fn all_gone(&mut self) {
        self.crowded = None;
    }

    /// An answer began after so long.
    pub(super) fn took(&mut self, took: Duration) {
        let mean = self.usual;
        self.usual = if mean.is_zero() { took } else { (mean * 7 + took) / 8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(500);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Of a queue in which somebody has waited for so long, with answers of 40 ms.
    fn standing(since: Instant) -> QueueTimeout {
        let mut patience = QueueTimeout::new(MOST);
        patience.took(millis(40));
        assert_eq!(patience.of_another(8, since), MOST);
        patience
    }

    #[test]
    fn a_burst_may_take_its_time_and_a_queue_that_stands_may_not() {
        let begun = Instant::now();
        let mut patience = standing(begun);
        assert_eq!(patience.of_another(8, begun + ORIGIN_QUEUE_STANDING - millis(1)), MOST);
        let stands = begun + ORIGIN_QUEUE_STANDING;
        assert_eq!(patience.of_another(8, stands), millis(20), "four turns of eight places");
        assert_eq!(patience.of_another(1, stands), millis(160));
        assert_eq!(patience.of_another(4_096, stands), ORIGIN_QUEUE_WAIT_MIN);
        patience.took(Duration::from_secs(3_600));
        assert_eq!(patience.of_another(1, stands), MOST, "never longer than that");
    }

    #[test]
    fn one_that_was_empty_for_a_moment_stands_again_and_after_a_calm_second_it_does_not() {
        let begun = Instant::now();
        let mut patience = standing(begun);
        patience.all_gone();
        assert_eq!(patience.of_another(8, begun + millis(99)), MOST, "it has not stood");

        let mut patience = standing(begun);
        let stands = begun + ORIGIN_QUEUE_STANDING;
        assert!(patience.of_another(8, stands) < MOST);
        for later in [millis(1), ORIGIN_QUEUE_RELAPSE - millis(1)] {
            patience.all_gone();
            assert!(patience.of_another(8, stands + later) < MOST, "{later:?}");
        }
        patience.all_gone();
        assert_eq!(
            patience.of_another(8, stands + ORIGIN_QUEUE_RELAPSE),
            MOST,
            "a relapse alone does not prolong it"
        );
    }

    #[test]
    fn where_somebody_waits_in_vain_it_still_stands() {
        let begun = Instant::now();
        let mut patience = standing(begun);
        patience.exhausted(begun);
        patience.all_gone();
        assert_eq!(patience.of_another(8, begun + millis(1)), MOST, "a burst that was too large");

        let mut patience = standing(begun);
        let mut now = begun + ORIGIN_QUEUE_STANDING;
        patience.of_another(8, now);
        for _ in 0..10 {
            patience.all_gone();
            now += ORIGIN_QUEUE_RELAPSE / 2;
            assert!(patience.of_another(8, now) < MOST);
            patience.exhausted(now);
        }
    }

    #[test]
    fn nobody_waits_where_that_is_the_setting() {
        assert!(!QueueTimeout::new(Duration::ZERO).is_any());
        assert!(QueueTimeout::new(MOST).is_any());
    }
}
