//! Estimates a server's latency, and derives the deadlines of reads from it.
//!
//! A decaying histogram: each reply to a read counts in one of four buckets per octave, in time or
//! late. Every half-life, and whenever it is full, all counts are halved. The deadlines follow from
//! a high quantile ([`REDIS_LATENCY_QUANTILE`]):
//!
//! ```text
//!           quantile          × REDIS_SILENCE_FACTOR
//! 0 ────────────┼──────────────────────┼──────────────────── redis_timeout
//!   usual       │ late: worth a hedge  │ silent: given up    │ given up in any case
//! ```
//!
//! A quantile has two advantages over mean and deviation. One slow reply does not move it. And it
//! rises quickly and falls slowly: one slow reply in a hundred is enough, and late replies count
//! too, so the deadline follows a slower server within a few dozen commands, and returns only after
//! hundreds of quick ones. Below [`REDIS_LATENCY_SAMPLES_MIN`] samples every command has the whole
//! timeout.

use std::time::{Duration, Instant};

use crate::limits::{
    REDIS_HEDGE_DELAY_MIN, REDIS_LATENCY_HALF_LIFE, REDIS_LATENCY_QUANTILE, REDIS_LATENCY_SAMPLES_MAX,
    REDIS_LATENCY_SAMPLES_MIN, REDIS_SILENCE_FACTOR, REDIS_SILENCE_MIN,
};
use crate::resp::ReplyDeadlines;

/// Buckets per octave.
const STEPS: u32 = 4;
const STEP_BITS: u32 = STEPS.ilog2();
/// From one microsecond to a little over an hour.
const OCTAVES: u32 = 32;
const BUCKETS: usize = (OCTAVES * STEPS) as usize;
/// Samples between two computations of the quantile.
const REVIEW_SAMPLES: u32 = 16;

/// The recent latencies of one server.
#[derive(Debug)]
pub(in crate::redis) struct LatencyEstimator {
    /// Replies by duration.
    counts: [u32; BUCKETS],
    /// The sum of the counts; at most [`REDIS_LATENCY_SAMPLES_MAX`].
    samples: u32,
    /// Samples since the last review.
    unreviewed: u32,
    /// The time at which the counts were last halved.
    halved: Instant,
    /// The longest deadline.
    command_timeout: Duration,
    /// The current deadlines.
    deadlines: ReplyDeadlines,
}

impl LatencyEstimator {
    /// An estimator without samples.
    pub(in crate::redis) fn new(command_timeout: Duration, now: Instant) -> Self {
        Self {
            counts: [0; BUCKETS],
            samples: 0,
            unreviewed: 0,
            halved: now,
            command_timeout,
            deadlines: ReplyDeadlines { silence: command_timeout, late: None },
        }
    }

    /// Returns the current deadlines.
    pub(in crate::redis) fn deadlines(&self) -> ReplyDeadlines {
        self.deadlines
    }

    /// Records a reply. Returns the new deadlines, if they were computed again.
    pub(in crate::redis) fn observe(&mut self, took: Duration, now: Instant) -> Option<ReplyDeadlines> {
        if let Some(count) = self.counts.get_mut(bucket_of(took)) {
            *count += 1;
            self.samples += 1;
            self.unreviewed += 1;
        }
        // A reply later than the deadline is worth an immediate review.
        let is_due = self.unreviewed >= REVIEW_SAMPLES || self.samples >= REDIS_LATENCY_SAMPLES_MAX;
        (is_due || took > self.deadlines.silence).then(|| self.review(now))
    }

    fn review(&mut self, now: Instant) -> ReplyDeadlines {
        self.unreviewed = 0;
        let is_old = now.saturating_duration_since(self.halved) >= REDIS_LATENCY_HALF_LIFE;
        if is_old || self.samples >= REDIS_LATENCY_SAMPLES_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.samples = self.counts.iter().sum();
            self.halved = now;
        }
        self.deadlines = match self.quantile() {
            Some(usual) => ReplyDeadlines {
                silence: usual
                    .saturating_mul(REDIS_SILENCE_FACTOR)
                    .max(REDIS_SILENCE_MIN)
                    .min(self.command_timeout),
                late: Some(usual.max(REDIS_HEDGE_DELAY_MIN)).filter(|late| *late < self.command_timeout),
            },
            None => ReplyDeadlines { silence: self.command_timeout, late: None },
        };
        self.deadlines
    }

    /// Returns the latency quantile, rounded up to the end of its bucket; `None` with too few
    /// samples.
    pub(in crate::redis) fn quantile(&self) -> Option<Duration> {
        if self.samples < REDIS_LATENCY_SAMPLES_MIN {
            return None;
        }
        let (of, all) = REDIS_LATENCY_QUANTILE;
        let mut beyond = self.samples - self.samples * of / all;
        for (bucket, &count) in self.counts.iter().enumerate().rev() {
            if count > 0 && count >= beyond {
                return Some(end_of(bucket));
            }
            beyond -= count;
        }
        None
    }
}

/// Returns the bucket of a duration: its octave in microseconds, and the next two bits.
fn bucket_of(took: Duration) -> usize {
    // The first octave that has all steps.
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(STEPS.into());
    let octave = micros.ilog2();
    let step = (micros >> (octave - STEP_BITS)) & u64::from(STEPS - 1);
    let bucket = u64::from((octave - STEP_BITS) * STEPS) + step;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Returns the first duration beyond a bucket.
fn end_of(bucket: usize) -> Duration {
    let next = bucket as u64 + 1;
    let (octave, step) = (next / u64::from(STEPS), next % u64::from(STEPS));
    Duration::from_micros((u64::from(STEPS) + step) << octave)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::instant;

    const TIMEOUT: Duration = Duration::from_millis(50);

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// An estimator after these replies, one millisecond apart.
    fn after(phases: &[(u32, Duration)]) -> LatencyEstimator {
        let mut now = instant();
        let mut pace = LatencyEstimator::new(TIMEOUT, now);
        for &(replies, took) in phases {
            for _ in 0..replies {
                now += Duration::from_millis(1);
                pace.observe(took, now);
            }
        }
        pace
    }

    #[test]
    fn deadlines_follow_from_latencies() {
        let rows = [
            ("nothing is known", &[][..], TIMEOUT),
            ("too little is known", &[(REDIS_LATENCY_SAMPLES_MIN - 1, micros(200))], TIMEOUT),
            ("a quick server", &[(100, micros(200))], REDIS_SILENCE_MIN),
            ("one over a slow network", &[(1000, micros(6000))], micros(4 * 6144)),
            ("a slow one", &[(1000, micros(30_000))], TIMEOUT),
            (
                "a quick one with one slow reply",
                &[(500, micros(200)), (1, micros(80_000))],
                REDIS_SILENCE_MIN,
            ),
            (
                "a quick one that has become slow",
                &[(5000, micros(200)), (40, micros(8000))],
                micros(4 * 8192),
            ),
            (
                "a slow one that has become quick",
                &[(5000, micros(8000)), (20_000, micros(200))],
                REDIS_SILENCE_MIN,
            ),
        ];
        for (what, phases, silence) in rows {
            assert_eq!(after(phases).deadlines().silence, silence, "{what}");
        }
    }

    #[test]
    fn the_late_deadline_is_before_the_silence_deadline() {
        for took in [100, 1000, 3000, 10_000, 40_000, 100_000].map(micros) {
            let deadlines = after(&[(1000, took)]).deadlines();
            assert!(deadlines.late.is_none_or(|late| late <= deadlines.silence), "{took:?}: {deadlines:?}");
            assert_eq!(deadlines.late.is_none(), took >= micros(40_960), "{took:?}: {deadlines:?}");
        }
        assert_eq!(after(&[(1000, micros(10))]).deadlines().late, Some(REDIS_HEDGE_DELAY_MIN));
    }

    #[test]
    fn old_samples_decay_to_none() {
        let mut pace = after(&[(1000, micros(200))]);
        let mut now = pace.halved;
        for _ in 0..40 {
            now += REDIS_LATENCY_HALF_LIFE;
            pace.review(now);
        }
        assert_eq!(pace.samples, 0);
        assert_eq!(pace.deadlines().silence, TIMEOUT);
    }

    #[test]
    fn buckets_have_no_holes() {
        let mut before = 0;
        for value in (0..1_000_000).chain((20..60).map(|power| 1 << power)) {
            let bucket = bucket_of(micros(value));
            assert!(bucket == before || bucket == before + 1 || value >= 1 << 20, "{value}");
            if bucket < BUCKETS - 1 {
                assert!(micros(value) < end_of(bucket), "{value}");
                assert!(
                    end_of(bucket) <= micros((value + value / 4 + 1).max(5)),
                    "{value}: no more than a quarter more"
                );
            }
            before = bucket;
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn deadlines_stay_within_their_bounds(replies in prop::collection::vec((0_u64..200_000, 0_u64..50), 1..3000)) {
            let mut now = instant();
            let mut pace = LatencyEstimator::new(TIMEOUT, now);
            for (took, gap) in replies {
                now += Duration::from_millis(gap);
                pace.observe(micros(took), now);
                let ReplyDeadlines { silence, late } = pace.deadlines();
                prop_assert!((REDIS_SILENCE_MIN..=TIMEOUT).contains(&silence));
                prop_assert!(late.is_none_or(|late| (REDIS_HEDGE_DELAY_MIN..TIMEOUT).contains(&late)));
                prop_assert!(pace.samples <= REDIS_LATENCY_SAMPLES_MAX);
                prop_assert_eq!(pace.samples, pace.counts.iter().sum::<u32>());
            }
        }

        #[test]
        fn the_quantile_matches_the_sorted_samples(mut replies in prop::collection::vec(4_u64..200_000, 100..1000)) {
            let now = instant();
            let mut pace = LatencyEstimator::new(TIMEOUT, now);
            for &took in &replies {
                pace.observe(micros(took), now);
            }
            replies.sort_unstable();
            let (of, all) = REDIS_LATENCY_QUANTILE;
            let beyond = replies.len() - replies.len() * of as usize / all as usize;
            let exact = micros(replies[replies.len() - beyond]);
            let read = pace.quantile().unwrap();
            prop_assert!(read > exact && read <= exact + exact / 4 + micros(2), "{:?} for {:?}", read, exact);
        }
    }
}
