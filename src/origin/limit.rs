//! Limit on concurrent requests to the origin: additive increase, multiplicative decrease. Pure.
//!
//! An overloaded origin becomes slower for every request. So the limit follows the capacity that
//! the origin shows, as TCP's congestion window does. A sign of overload (a time-out, a `503`)
//! lowers it to [`KEPT`] of the requests in flight. This begins a new round: signs of requests sent
//! before it are ignored. Responses while the limit is in use raise it, by one after as many as the
//! limit, and after [`CALM`] without a decrease by one each, which doubles it each round trip. So a
//! second after a fault the limit no longer constrains.
//!
//! One sign concerns one resource; `signs.rs` decides which signs prove overload. With no more
//! requests in flight than the floor, a sign lowers nothing, because so few cannot be the cause.
//!
//! Latency is not a sign: an API has fast and slow resources, and a change in their mixture is no
//! overload. The queue in front (`limiter.rs`) limits the wait.
//!
//! **Always:** the limit stays between its floor and its ceiling, and equals its ceiling while the
//! origin shows no overload.

use std::time::Duration;

use tokio::time::Instant;

use super::signs::OverloadEvidence;
use crate::limits::ORIGIN_LIMIT_MIN;

/// Fraction of the requests in flight that the limit keeps after a sign of overload.
const KEPT: (usize, usize) = (3, 4);
/// Time without a decrease after which the limit grows quickly.
const CALM: Duration = Duration::from_secs(1);

/// Concurrency limit of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConcurrencyLimit {
    limit: usize,
    floor: usize,
    ceiling: usize,
    /// Responses since the last increase.
    responses: usize,
    /// Time of the last decrease.
    lowered: Option<Instant>,
    /// Reason why the limit is below its ceiling.
    reason: LoweredBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoweredBecause {
    /// Resources that usually respond well gave signs of overload.
    Proven,
    /// Only unproven resources gave signs: the first good response reverts the decrease.
    Unproven,
}

/// Whether a sign of overload lowered the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LimitLowered {
    /// The limit was lowered; a new round begins.
    Yes,
    /// The limit is unchanged.
    No,
}

impl ConcurrencyLimit {
    /// Creates a limit at its ceiling.
    pub(super) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(1);
        Self {
            limit: ceiling,
            floor: ORIGIN_LIMIT_MIN.min(ceiling),
            ceiling,
            responses: 0,
            lowered: None,
            reason: LoweredBecause::Unproven,
        }
    }

    /// Returns the number of requests that may be in flight.
    pub(super) fn allows(&self) -> usize {
        self.limit
    }

    /// Records a response in time, with `in_flight` requests in flight.
    pub(super) fn record_response(&mut self, in_flight: usize, now: Instant) {
        if self.reason == LoweredBecause::Unproven {
            self.limit = self.ceiling;
        }
        // A response with capacity to spare says nothing about a higher limit.
        if self.limit == self.ceiling || in_flight.saturating_mul(2) < self.limit {
            return;
        }
        self.responses += 1;
        let calm = self.lowered.is_none_or(|lowered| now.saturating_duration_since(lowered) >= CALM);
        if calm || self.responses >= self.limit {
            self.limit += 1;
            self.responses = 0;
        }
    }

    /// Returns whether a request sent at `sent` belongs to this round. An earlier request says
    /// nothing about the lowered limit.
    pub(super) fn is_current_round(&self, sent: Instant) -> bool {
        self.lowered.is_none_or(|lowered| sent >= lowered)
    }

    /// Records overload with this evidence.
    pub(super) fn record_overload(
        &mut self,
        evidence: OverloadEvidence,
        in_flight: usize,
        now: Instant,
    ) -> LimitLowered {
        let reason = match evidence {
            OverloadEvidence::Overload => LoweredBecause::Proven,
            OverloadEvidence::Unproven => LoweredBecause::Unproven,
            OverloadEvidence::SingleResource => return LimitLowered::No,
        };
        if in_flight <= self.floor {
            return LimitLowered::No;
        }
        if self.limit == self.ceiling || reason == LoweredBecause::Proven {
            self.reason = reason;
        }
        let (numerator, denominator) = KEPT;
        let kept = self.limit.min(in_flight).saturating_mul(numerator) / denominator;
        self.limit = kept.clamp(self.floor, self.ceiling);
        self.responses = 0;
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

    /// Records a sufficient sign for a request that was sent at `sent`.
    fn sign(limit: &mut ConcurrencyLimit, in_flight: usize, sent: Instant, now: Instant) {
        if limit.is_current_round(sent) {
            limit.record_overload(OverloadEvidence::Overload, in_flight, now);
        }
    }

    #[test]
    fn signs_lower_the_limit_once_a_round() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        sign(&mut limit, 80, begun, after(begun, 10));
        assert_eq!(limit.allows(), 60, "three quarters of the requests in flight");
        sign(&mut limit, 79, after(begun, 5), after(begun, 12));
        assert_eq!(limit.allows(), 60, "sent before it was lowered");
        sign(&mut limit, 60, after(begun, 11), after(begun, 20));
        assert_eq!(limit.allows(), 45);
        sign(&mut limit, 5, after(begun, 30), after(begun, 40));
        assert_eq!(limit.allows(), ORIGIN_LIMIT_MIN);
    }

    #[test]
    fn signs_of_one_resource_do_not_lower_the_limit() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        (0..100).for_each(|_| {
            assert_eq!(limit.record_overload(OverloadEvidence::SingleResource, 80, begun), LimitLowered::No);
        });
        assert_eq!(limit.allows(), 100);
    }

    #[test]
    fn a_good_response_reverts_a_decrease_by_unproven_signs() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        limit.record_overload(OverloadEvidence::Unproven, 80, begun);
        limit.record_overload(OverloadEvidence::Unproven, 60, begun);
        assert_eq!(limit.allows(), 45);
        limit.record_response(1, begun);
        assert_eq!(limit.allows(), 100);
        limit.record_overload(OverloadEvidence::Unproven, 80, begun);
        limit.record_overload(OverloadEvidence::Overload, 60, begun);
        limit.record_overload(OverloadEvidence::Unproven, 45, begun);
        limit.record_response(1, begun);
        assert_eq!(limit.allows(), 33, "the decrease by proven signs stays");
    }

    #[test]
    fn signs_at_the_floor_do_not_lower_the_limit() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        (0..100).for_each(|_| sign(&mut limit, ORIGIN_LIMIT_MIN, begun, begun));
        assert_eq!(limit.allows(), 100);
    }

    #[test]
    fn the_limit_grows_by_one_a_round_and_after_a_calm_second_by_one_a_response() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(100);
        sign(&mut limit, 40, begun, begun);
        assert_eq!(limit.allows(), 30);
        for _ in 0..30 {
            limit.record_response(30, after(begun, 500));
        }
        assert_eq!(limit.allows(), 31);
        for _ in 0..31 {
            limit.record_response(31, after(begun, 1_000));
        }
        assert_eq!(limit.allows(), 62, "twice the limit after a round");
        limit.record_response(10, after(begun, 1_000));
        assert_eq!(limit.allows(), 62, "the limit is not in use");
        for _ in 0..1_000 {
            limit.record_response(100, after(begun, 1_000));
        }
        assert_eq!(limit.allows(), 100, "its ceiling");
    }

    #[test]
    fn a_small_ceiling_is_also_the_floor() {
        let begun = Instant::now();
        let mut limit = ConcurrencyLimit::new(1);
        sign(&mut limit, 9, begun, begun);
        assert_eq!(limit.allows(), 1);
        assert_eq!(ConcurrencyLimit::new(0).allows(), 1);
    }

    proptest! {
        /// For any events: the limit keeps its bounds, a response never lowers it, and a sign never
        /// raises it.
        #[test]
        fn the_limit_keeps_its_bounds(
            ceiling in 1_usize..5_000,
            events in proptest::collection::vec((any::<bool>(), 0_usize..6_000, 0_u64..3_000), 0..200),
        ) {
            let begun = Instant::now();
            let mut limit = ConcurrencyLimit::new(ceiling);
            let mut millis = 0;
            for (is_good, in_flight, step) in events {
                let (before, sent) = (limit.allows(), after(begun, millis));
                millis += step;
                if is_good {
                    limit.record_response(in_flight, after(begun, millis));
                    prop_assert!(limit.allows() >= before && limit.allows() <= before + 1);
                } else {
                    sign(&mut limit, in_flight, sent, after(begun, millis));
                    prop_assert!(limit.allows() <= before);
                }
                prop_assert!(limit.allows() >= ORIGIN_LIMIT_MIN.min(ceiling) && limit.allows() <= ceiling);
            }
        }
    }
}
