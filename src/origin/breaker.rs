//! Circuit breaker in front of the origin. Pure.
//!
//! ```text
//!            FAILURES in a row                  the pause is over: one request is the probe
//!   Closed ─────────────────────► Open(until) ────────────────────────────────────► Probing
//!     ▲  ▲                          ▲   other requests are refused at once             │  │
//!     │  └── any response           └───────── it failed, or its outcome is unknown ───┘  │
//!     └────────────────────────────────────────── it got a response ──────────────────────┘
//! ```
//!
//! A failure is a connection that is refused or not made in time, or a response that does not begin
//! in time. Any response, also a truncated or malformed one, shows that the origin is there. A
//! failed connect concerns the origin; a late response concerns its resource. So late responses
//! count only if they come from at least [`ORIGIN_RESOURCES_SEVERAL`] resources. The pause is short
//! and random, so that the nodes do not probe in step and a recovered origin gets its traffic back
//! within a second.

use std::time::Duration;

use tokio::time::Instant;

use super::signs::Resource;
use crate::limits::{
    ORIGIN_BREAKER_FAILURES, ORIGIN_BREAKER_PAUSE_MAX, ORIGIN_BREAKER_PAUSE_MIN, ORIGIN_RESOURCES_SEVERAL,
};

/// Circuit breaker of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginBreaker {
    /// Requests are sent. Counts the failures since the last response.
    Closed(ConsecutiveFailures),
    /// Requests are refused until this time.
    Open { until: Instant },
    /// One request is the probe; the others are refused.
    Probing,
}

/// Failures without a response between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ConsecutiveFailures {
    connects: u32,
    late_responses: u32,
    /// Resources of the late responses.
    resources: [Option<Resource>; ORIGIN_RESOURCES_SEVERAL as usize],
}

/// Part of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedPart {
    /// No connection was made.
    Connect,
    /// The response did not begin in time.
    Response(Resource),
}

impl ConsecutiveFailures {
    fn add(&mut self, failed: FailedPart) {
        match failed {
            FailedPart::Connect => self.connects = self.connects.saturating_add(1),
            FailedPart::Response(resource) => {
                self.late_responses = self.late_responses.saturating_add(1);
                if !self.resources.contains(&Some(resource))
                    && let Some(free) = self.resources.iter_mut().find(|known| known.is_none())
                {
                    *free = Some(resource);
                }
            }
        }
    }

    fn exceed_limit(&self) -> bool {
        let several = self.resources.iter().all(Option::is_some);
        let late_responses = if several { self.late_responses } else { 0 };
        self.connects.saturating_add(late_responses) >= ORIGIN_BREAKER_FAILURES
    }
}

/// Decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerVerdict {
    /// The request is sent.
    Pass,
    /// The request is sent as the probe. Its outcome must be reported, because it decides for all.
    Probe,
    /// The request is refused.
    Refuse,
}

impl OriginBreaker {
    /// Creates a closed breaker.
    pub(super) fn new() -> Self {
        Self::Closed(ConsecutiveFailures::default())
    }

    /// Returns whether a request would be refused now.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        match self {
            Self::Closed(_) => false,
            Self::Open { until } => now < *until,
            Self::Probing => true,
        }
    }

    /// Decides on a request.
    pub(super) fn admit(&mut self, now: Instant) -> BreakerVerdict {
        match self {
            Self::Closed(_) => BreakerVerdict::Pass,
            Self::Open { until } if now >= *until => {
                *self = Self::Probing;
                BreakerVerdict::Probe
            }
            Self::Open { .. } | Self::Probing => BreakerVerdict::Refuse,
        }
    }

    /// Records a response: the breaker closes.
    pub(super) fn record_response(&mut self) {
        *self = Self::new();
    }

    /// Records that a request failed, and returns whether this opened the breaker. `random`, from 0
    /// to 1, sets the pause.
    pub(super) fn record_failure(
        &mut self,
        failed: FailedPart,
        probe: BreakerVerdict,
        now: Instant,
        random: f64,
    ) -> BreakerOpened {
        match (*self, probe) {
            (Self::Closed(mut failures), _) => {
                failures.add(failed);
                if !failures.exceed_limit() {
                    *self = Self::Closed(failures);
                    return BreakerOpened::No;
                }
                *self = Self::Open { until: now + pause(random) };
                BreakerOpened::Yes
            }
            (Self::Probing, BreakerVerdict::Probe) => {
                *self = Self::Open { until: now + pause(random) };
                BreakerOpened::No
            }
            // A request that was sent before the breaker opened says nothing new.
            (Self::Open { .. } | Self::Probing, _) => BreakerOpened::No,
        }
    }

    /// Records that the outcome of the probe is unknown: the next request may be the probe.
    pub(super) fn record_abandoned(&mut self, now: Instant) {
        if *self == Self::Probing {
            *self = Self::Open { until: now };
        }
    }
}

/// Whether a failure opened the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerOpened {
    /// The failure opened it.
    Yes,
    /// The breaker was open before, or is still closed.
    No,
}

fn pause(random: f64) -> Duration {
    ORIGIN_BREAKER_PAUSE_MIN
        + (ORIGIN_BREAKER_PAUSE_MAX - ORIGIN_BREAKER_PAUSE_MIN).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::origin::signs::OverloadSigns;

    fn opened(now: Instant) -> OriginBreaker {
        let mut breaker = OriginBreaker::new();
        for number in 1..=ORIGIN_BREAKER_FAILURES {
            let last = number == ORIGIN_BREAKER_FAILURES;
            let opens = breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0);
            assert_eq!(opens, if last { BreakerOpened::Yes } else { BreakerOpened::No }, "{number}");
        }
        breaker
    }

    #[test]
    fn consecutive_failures_open_the_breaker() {
        let now = Instant::now();
        let mut breaker = OriginBreaker::new();
        for _ in 0..10 {
            for _ in 1..ORIGIN_BREAKER_FAILURES {
                breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0);
            }
            breaker.record_response();
        }
        assert_eq!(breaker.admit(now), BreakerVerdict::Pass);
        assert!(opened(now).refuses(now));
    }

    #[test]
    fn late_responses_of_several_resources_open_the_breaker() {
        let (now, signs) = (Instant::now(), OverloadSigns::new(Instant::now()));
        let late = |breaker: &mut OriginBreaker, paths: &[&str]| {
            let outcomes = (0..1_000).zip(paths.iter().cycle()).map(|(_, path)| {
                breaker.record_failure(
                    FailedPart::Response(signs.resource(path)),
                    BreakerVerdict::Pass,
                    now,
                    0.0,
                )
            });
            outcomes.filter(|opened| *opened == BreakerOpened::Yes).count()
        };
        let mut breaker = OriginBreaker::new();
        assert_eq!(late(&mut breaker, &["/slow"]), 0);
        assert_eq!(late(&mut breaker, &["/slow", "/slower"]), 0);
        for _ in 1..ORIGIN_BREAKER_FAILURES {
            assert_eq!(
                breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0),
                BreakerOpened::No
            );
        }
        assert_eq!(
            breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0),
            BreakerOpened::Yes
        );
        assert_eq!(late(&mut OriginBreaker::new(), &["/slow", "/slower", "/slowest"]), 1);
    }

    #[test]
    fn one_probe_decides_after_the_pause() {
        let begun = Instant::now();
        let mut breaker = opened(begun);
        assert_eq!(breaker.admit(begun), BreakerVerdict::Refuse);
        let later = begun + ORIGIN_BREAKER_PAUSE_MIN;
        assert!(!breaker.refuses(later));
        assert_eq!(breaker.admit(later), BreakerVerdict::Probe);
        assert_eq!(breaker.admit(later), BreakerVerdict::Refuse, "there is one probe");
        breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, later, 1.0);
        assert_eq!(breaker, OriginBreaker::Probing, "an old request says nothing");
        breaker.record_failure(FailedPart::Connect, BreakerVerdict::Probe, later, 1.0);
        assert_eq!(breaker, OriginBreaker::Open { until: later + ORIGIN_BREAKER_PAUSE_MAX });
        let again = later + ORIGIN_BREAKER_PAUSE_MAX;
        assert_eq!(breaker.admit(again), BreakerVerdict::Probe);
        breaker.record_abandoned(again);
        assert_eq!(breaker.admit(again), BreakerVerdict::Probe, "the next may try at once");
        breaker.record_response();
        assert_eq!(breaker.admit(again), BreakerVerdict::Pass);
    }

    proptest! {
        /// For any events: there are never two probes, and some time after the last event a request
        /// may try.
        #[test]
        fn the_breaker_never_sticks(events in proptest::collection::vec((0_u8..4, 0_u64..2_000, 0.0..1.0), 0..200)) {
            let (mut breaker, mut now) = (OriginBreaker::new(), Instant::now());
            let mut probing = false;
            for (event, step, random) in events {
                now += Duration::from_millis(step);
                match event {
                    0 => match breaker.admit(now) {
                        BreakerVerdict::Probe => { prop_assert!(!probing); probing = true; }
                        BreakerVerdict::Pass => prop_assert!(!probing),
                        BreakerVerdict::Refuse => {}
                    },
                    1 => { breaker.record_failure(FailedPart::Connect, BreakerVerdict::Pass, now, random); }
                    2 if probing => { breaker.record_failure(FailedPart::Connect, BreakerVerdict::Probe, now, random); probing = false; }
                    3 if probing => { breaker.record_abandoned(now); probing = false; }
                    _ => {}
                }
                prop_assert_eq!(probing, breaker == OriginBreaker::Probing);
            }
            if !probing {
                prop_assert!(!breaker.refuses(now + ORIGIN_BREAKER_PAUSE_MAX));
            }
        }
    }
}
