//! How many requests the origin is asked to work on at a time: additive increase, multiplicative
//! decrease. Pure.
//!
//! An origin that is asked for more than it can do gets slower for all of them. So the bound
//! follows what it shows it can do, as TCP's window does: signs of overload (a time-out, a `503`)
//! take it to [`KEPT`] of what was under way, once for all requests that began before; an answer
//! while the bound is in use lets it grow. After [`CALM`] without being lowered it grows by one an
//! answer, doubling with each round trip, so that a second after a fault the bound is no hindrance
//! any more; before, by one a round.
//!
//! One sign says something of one resource. Which signs show that the origin is overloaded is
//! decided in `signs.rs`; and when no more are under way than are always asked, their number is not
//! what is wrong.
//!
//! Latency is no sign here: an API has fast and slow resources, and a change in their mixture is no
//! overload. What bounds the wait is the queue in front (`limiter.rs`).
//!
//! What always holds: it is never below its floor nor above its ceiling, and in fair weather it is
//! its ceiling.

use std::time::Duration;

use tokio::time::Instant;

use super::signs::OverloadEvidence;
use crate::limits::ORIGIN_LIMIT_MIN;

/// What is left of the requests under way after a sign of overload, as a fraction.
const KEPT: (usize, usize) = (3, 4);
/// After so long without being lowered, the bound grows quickly.
const CALM: Duration = Duration::from_secs(1);

/// The bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConcurrencyLimit {
    now: usize,
    floor: usize,
    ceiling: usize,
    /// Answers since the bound grew last.
    answers: usize,
    /// When it was lowered last.
    lowered: Option<Instant>,
    /// Why it is below its ceiling.
    because: LoweredBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoweredBecause {
    /// Resources that usually answer well gave signs of overload.
    Proven,
    /// Only resources gave such signs of which nothing good is known: the first good answer takes
    /// it back.
    Unproven,
}

/// Whether a sign of overload lowered the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitLowered {
    /// A new round begins.
    Yes,
    /// It is as it was.
    No,
}

impl ConcurrencyLimit {
    /// A bound at its ceiling.
    pub(super) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            now: ceiling,
            floor: ORIGIN_LIMIT_MIN.min(ceiling),
            ceiling,
            answers: 0,
            lowered: None,
            because: LoweredBecause::Unproven,
        }
    }

    /// How many may be under way.
    pub(super) fn allows(&self) -> usize {
        self.now
    }

    /// The origin answered in time, with so many under way.
    pub(super) fn answered(&mut self, under_way: usize, now: Instant) {
        if self.because == LoweredBecause::Unproven {
            self.now = self.ceiling;
        }
        // An answer with room to spare says nothing of what more would do.
        if self.now == self.ceiling || under_way.saturating_mul(2) < self.now {
            return;
        }
        self.answers += 1;
        let calm = self.lowered.is_none_or(|lowered| now.saturating_duration_since(lowered) >= CALM);
        if calm || self.answers >= self.now {
            self.now += 1;
            self.answers = 0;
        }
    }

    /// Whether a request that was sent at `sent` says anything new: what was sent before the bound
    /// was lowered tells of what was before.
    pub(super) fn is_of_this_round(&self, sent: Instant) -> bool {
        self.lowered.is_none_or(|lowered| sent >= lowered)
    }

    /// The origin is asked for too much, by this evidence.
    pub(super) fn overloaded(
        &mut self,
        evidence: OverloadEvidence,
        under_way: usize,
        now: Instant,
    ) -> LimitLowered {
        let because = match evidence {
            OverloadEvidence::Overload => LoweredBecause::Proven,
            OverloadEvidence::Unproven => LoweredBecause::Unproven,
            OverloadEvidence::OfOneResource => return LimitLowered::No,
        };
        if under_way <= self.floor {
            return LimitLowered::No;
        }
        if self.now == self.ceiling || because == LoweredBecause::Proven {
            self.because = because;
        }
        let (numerator, denominator) = KEPT;
        let kept = self.now.min(under_way).saturating_mul(numerator) / denominator;
        self.now = kept.clamp(self.floor, self.ceiling);
        self.answers = 0;
        self.lowered = Some(now);
        LimitLowered::Yes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(begun: Instant, millis: u64) -> Instant {
        begun + Duration::from_millis(millis)
    }

    /// A sign that is enough, to a request that was sent at `sent`.
    fn sign(limit: &mut ConcurrencyLimit, under_way: usize, sent: Instant, now: Instant) {
        if limit.is_of_this_round(sent) {
            limit.overloaded(OverloadEvidence::Overload, under_way, now);
        }
    }

    #[test]
    fn signs_lower_it_once_a_round() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        sign(&mut limit, 80, begun, after(begun, 10));
        assert_eq!(limit.allows(), 60, "three quarters of what was under way");
        sign(&mut limit, 79, after(begun, 5), after(begun, 12));
        assert_eq!(limit.allows(), 60, "sent before it was lowered");
        sign(&mut limit, 60, after(begun, 11), after(begun, 20));
        assert_eq!(limit.allows(), 45);
        sign(&mut limit, 5, after(begun, 30), after(begun, 40));
        assert_eq!(limit.allows(), ORIGIN_LIMIT_MIN);
    }

    #[test]
    fn signs_of_one_resource_do_not_lower_it() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        (0..100).for_each(|_| {
            assert_eq!(limit.overloaded(OverloadEvidence::OfOneResource, 80, begun), LimitLowered::No);
        });
        assert_eq!(limit.allows(), 100);
    }

    #[test]
    fn a_good_answer_takes_back_what_only_unproven_signs_did() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        limit.overloaded(OverloadEvidence::Unproven, 80, begun);
        limit.overloaded(OverloadEvidence::Unproven, 60, begun);
        assert_eq!(limit.allows(), 45);
        limit.answered(1, begun);
        assert_eq!(limit.allows(), 100);
        limit.overloaded(OverloadEvidence::Unproven, 80, begun);
        limit.overloaded(OverloadEvidence::Overload, 60, begun);
        limit.overloaded(OverloadEvidence::Unproven, 45, begun);
        limit.answered(1, begun);
        assert_eq!(limit.allows(), 33, "what proven ones did stays");
    }

    #[test]
    fn the_refusals_of_one_that_is_hardly_asked_do_not_lower_it() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        (0..100).for_each(|_| sign(&mut limit, ORIGIN_LIMIT_MIN, begun, begun));
        assert_eq!(limit.allows(), 100);
    }

    #[test]
    fn it_grows_by_one_a_round_and_after_a_calm_second_by_one_an_answer() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        sign(&mut limit, 40, begun, begun);
        assert_eq!(limit.allows(), 30);
        for _ in 0..30 {
            limit.answered(30, after(begun, 500));
        }
        assert_eq!(limit.allows(), 31);
        for _ in 0..31 {
            limit.answered(31, after(begun, 1_000));
        }
        assert_eq!(limit.allows(), 62, "twice as many after a round");
        limit.answered(10, after(begun, 1_000));
        assert_eq!(limit.allows(), 62, "it is not in use");
        for _ in 0..1_000 {
            limit.answered(100, after(begun, 1_000));
        }
        assert_eq!(limit.allows(), 100, "its ceiling");
    }

    #[test]
    fn a_small_ceiling_is_its_floor() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(1);
        sign(&mut limit, 9, begun, begun);
        assert_eq!(limit.allows(), 1);
        assert_eq!(ConcurrencyLimit::new(0).allows(), 1);
    }

    proptest! {
        /// Whatever happens: within its bounds, an answer never lowers it and a sign never raises
        /// it.
        #[test]
        fn it_keeps_its_bounds(
            ceiling in 1_usize..5_000,
            events in proptest::collection::vec((any::<bool>(), 0_usize..6_000, 0_u64..3_000), 0..200),
        ) {
            let begun = Instant::now();
            let mut limit = ConcurrencyLimit::new(ceiling);
            let mut millis = 0;
            for (good, under_way, step) in events {
                let (before, sent) = (limit.allows(), after(begun, millis));
                millis += step;
                if good {
                    limit.answered(under_way, after(begun, millis));
                    prop_assert!(limit.allows() >= before && limit.allows() <= before + 1);
                } else {
                    sign(&mut limit, under_way, sent, after(begun, millis));
                    prop_assert!(limit.allows() <= before);
                }
                prop_assert!(limit.allows() >= ORIGIN_LIMIT_MIN.min(ceiling) && limit.allows() <= ceiling);
            }
        }
    }
}
