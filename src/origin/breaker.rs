//! Whether the origin is asked at all: a circuit breaker. Pure.
//!
//! ```text
//!            FAILURES in a row                  the pause is over: one request is the probe
//!   Closed ─────────────────────► Open(until) ────────────────────────────────────► Probing
//!     ▲  ▲                          ▲   everybody else is refused at once              │  │
//!     │  └── any answer             └──────────── it failed, or nobody knows ──────────┘  │
//!     └─────────────────────────────────────────── it was answered ──────────────────────┘
//! ```
//!
//! What counts as a failure is what makes requests wait in vain: a connection that is refused or
//! not made in time, and an answer that does not begin in time. An answer of any status shows that
//! the origin is there, and so does one that is broken off or malformed. A connect that fails says
//! something of the origin; an answer that does not begin says something of its resource, so
//! [`ORIGIN_RESOURCES_SEVERAL`] resources have to be among them. The pause is short and drawn by
//! lot, so that a fleet does not probe in step and an origin that is back has its traffic within a
//! second.

use std::time::Duration;

use tokio::time::Instant;

use super::signs::Resource;
use crate::limits::{
    ORIGIN_BREAKER_FAILURES, ORIGIN_BREAKER_PAUSE_MAX, ORIGIN_BREAKER_PAUSE_MIN, ORIGIN_RESOURCES_SEVERAL,
};

/// The breaker of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginBreaker {
    /// Requests are sent. These in a row have failed.
    Closed(InARow),
    /// Nobody is sent until then.
    Open { until: Instant },
    /// One is on its way.
    Probing,
}

/// Failures without an answer between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InARow {
    connects: u32,
    answers: u32,
    /// Of which resources those answers would have been.
    resources: [Option<Resource>; ORIGIN_RESOURCES_SEVERAL as usize],
}

/// Which part of a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedPart {
    /// There was no connection.
    Connect,
    /// The answer did not begin in time.
    Answer(Resource),
}

impl InARow {
    fn add(&mut self, failed: FailedPart) {
        match failed {
            FailedPart::Connect => self.connects = self.connects.saturating_add(1),
            FailedPart::Answer(resource) => {
                self.answers = self.answers.saturating_add(1);
                if !self.resources.contains(&Some(resource))
                    && let Some(free) = self.resources.iter_mut().find(|known| known.is_none())
                {
                    *free = Some(resource);
                }
            }
        }
    }

    fn are_too_many(&self) -> bool {
        let several = self.resources.iter().all(Option::is_some);
        let answers = if several { self.answers } else { 0 };
        self.connects.saturating_add(answers) >= ORIGIN_BREAKER_FAILURES
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerVerdict {
    /// It is sent.
    Pass,
    /// It is sent, and what becomes of it decides for all: that has to be told.
    Probe,
    /// It is not sent.
    Refuse,
}

impl OriginBreaker {
    /// Closed.
    pub(super) fn new() -> Self {
        Self::Closed(InARow::default())
    }

    /// Whether a request would be refused now.
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

    /// Somebody is there.
    pub(super) fn answered(&mut self) {
        *self = Self::new();
    }

    /// A request that was sent failed. `lot`, from 0 to 1, draws the pause. Whether the breaker
    /// opens by this.
    pub(super) fn failed(
        &mut self,
        failed: FailedPart,
        probe: BreakerVerdict,
        now: Instant,
        lot: f64,
    ) -> BreakerOpened {
        match (*self, probe) {
            (Self::Closed(mut in_a_row), _) => {
                in_a_row.add(failed);
                if !in_a_row.are_too_many() {
                    *self = Self::Closed(in_a_row);
                    return BreakerOpened::No;
                }
                *self = Self::Open { until: now + pause(lot) };
                BreakerOpened::Yes
            }
            (Self::Probing, BreakerVerdict::Probe) => {
                *self = Self::Open { until: now + pause(lot) };
                BreakerOpened::No
            }
            // One that was sent before it opened says nothing new.
            (Self::Open { .. } | Self::Probing, _) => BreakerOpened::No,
        }
    }

    /// The probe ended, and nobody knows how: the next may try.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if *self == Self::Probing {
            *self = Self::Open { until: now };
        }
    }
}

/// Whether something opened the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerOpened {
    /// It did.
    Yes,
    /// It was open, or is still closed.
    No,
}

fn pause(lot: f64) -> Duration {
    ORIGIN_BREAKER_PAUSE_MIN
        + (ORIGIN_BREAKER_PAUSE_MAX - ORIGIN_BREAKER_PAUSE_MIN).mul_f64(lot.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::origin::signs::Signs;

    fn opened(now: Instant) -> OriginBreaker {
        let mut breaker = OriginBreaker::new();
        for number in 1..=ORIGIN_BREAKER_FAILURES {
            let last = number == ORIGIN_BREAKER_FAILURES;
            let opens = breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0);
            assert_eq!(opens, if last { BreakerOpened::Yes } else { BreakerOpened::No }, "{number}");
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let now = Instant::now();
        let mut breaker = OriginBreaker::new();
        for _ in 0..10 {
            for _ in 1..ORIGIN_BREAKER_FAILURES {
                breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0);
            }
            breaker.answered();
        }
        assert_eq!(breaker.admit(now), BreakerVerdict::Pass);
        assert!(opened(now).refuses(now));
    }

    #[test]
    fn answers_that_do_not_begin_open_it_when_they_are_of_several_resources() {
        let (now, signs) = (Instant::now(), Signs::new(Instant::now()));
        let asked = |breaker: &mut OriginBreaker, paths: &[&str]| {
            let outcomes = (0..1_000).zip(paths.iter().cycle()).map(|(_, path)| {
                breaker.failed(FailedPart::Answer(signs.resource(path)), BreakerVerdict::Pass, now, 0.0)
            });
            outcomes.filter(|opened| *opened == BreakerOpened::Yes).count()
        };
        let mut breaker = OriginBreaker::new();
        assert_eq!(asked(&mut breaker, &["/slow"]), 0);
        assert_eq!(asked(&mut breaker, &["/slow", "/slower"]), 0);
        for _ in 1..ORIGIN_BREAKER_FAILURES {
            assert_eq!(
                breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0),
                BreakerOpened::No
            );
        }
        assert_eq!(breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, now, 0.0), BreakerOpened::Yes);
        assert_eq!(asked(&mut OriginBreaker::new(), &["/slow", "/slower", "/slowest"]), 1);
    }

    #[test]
    fn one_probe_after_the_pause_decides() {
        let begun = Instant::now();
        let mut breaker = opened(begun);
        assert_eq!(breaker.admit(begun), BreakerVerdict::Refuse);
        let later = begun + ORIGIN_BREAKER_PAUSE_MIN;
        assert!(!breaker.refuses(later));
        assert_eq!(breaker.admit(later), BreakerVerdict::Probe);
        assert_eq!(breaker.admit(later), BreakerVerdict::Refuse, "one is enough");
        breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, later, 1.0);
        assert_eq!(breaker, OriginBreaker::Probing, "an old request says nothing");
        breaker.failed(FailedPart::Connect, BreakerVerdict::Probe, later, 1.0);
        assert_eq!(breaker, OriginBreaker::Open { until: later + ORIGIN_BREAKER_PAUSE_MAX });
        let again = later + ORIGIN_BREAKER_PAUSE_MAX;
        assert_eq!(breaker.admit(again), BreakerVerdict::Probe);
        breaker.abandoned(again);
        assert_eq!(breaker.admit(again), BreakerVerdict::Probe, "the next may try at once");
        breaker.answered();
        assert_eq!(breaker.admit(again), BreakerVerdict::Pass);
    }

    proptest! {
        /// Whatever happens: never two probes, and a while after the last event somebody may try.
        #[test]
        fn it_never_sticks(events in proptest::collection::vec((0_u8..4, 0_u64..2_000, 0.0..1.0), 0..200)) {
            let (mut breaker, mut now) = (OriginBreaker::new(), Instant::now());
            let mut probing = false;
            for (event, step, lot) in events {
                now += Duration::from_millis(step);
                match event {
                    0 => match breaker.admit(now) {
                        BreakerVerdict::Probe => { prop_assert!(!probing); probing = true; }
                        BreakerVerdict::Pass => prop_assert!(!probing),
                        BreakerVerdict::Refuse => {}
                    },
                    1 => { breaker.failed(FailedPart::Connect, BreakerVerdict::Pass, now, lot); }
                    2 if probing => { breaker.failed(FailedPart::Connect, BreakerVerdict::Probe, now, lot); probing = false; }
                    3 if probing => { breaker.abandoned(now); probing = false; }
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
