//! The allowance of a client for taking its answers: a standstill and a rate floor in one number.
//!
//! A reader has an allowance of `client_body_timeout`. Time in which only the client is waited for
//! uses it up, and each byte that the client takes earns a part of it back ([`CLIENT_RATE_MIN`]),
//! up to the whole. So a client that takes nothing is cut after the timeout, and one that takes too
//! little is cut a while later.

use std::time::Duration;

use crate::limits::CLIENT_RATE_MIN;

/// The part of `client_body_timeout` that a reader has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaceAllowance {
    left: Duration,
}

/// Whether a reader may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderPace {
    /// Some of its allowance is left.
    Kept,
    /// It is used up.
    Lost,
}

impl PaceAllowance {
    /// The whole.
    pub(super) fn new(whole: Duration) -> Self {
        Self { left: whole }
    }

    /// Charges a time in which nothing but the client was waited for, and credits the bytes that it
    /// took meanwhile.
    pub(super) fn spend(&mut self, waited: Duration, taken: u64, whole: Duration) -> ReaderPace {
        let earned = u32::try_from(taken).unwrap_or(u32::MAX) / CLIENT_RATE_MIN;
        let left = self.left.saturating_add(Duration::from_secs(u64::from(earned)));
        self.left = left.min(whole.saturating_add(waited)).saturating_sub(waited);
        if self.left.is_zero() { ReaderPace::Lost } else { ReaderPace::Kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = Duration::from_secs(60);
    const SAMPLE: Duration = Duration::from_secs(15);

    /// How many samples a reader lasts that takes so many bytes in each; `None` beyond a thousand.
    fn lasts(taken: u64) -> Option<usize> {
        let mut allowance = PaceAllowance::new(WHOLE);
        (1..1_000).find(|_| allowance.spend(SAMPLE, taken, WHOLE) == ReaderPace::Lost)
    }

    #[test]
    fn a_standstill_lasts_the_whole_and_a_trickle_not_much_longer() {
        let rate = u64::from(CLIENT_RATE_MIN);
        assert_eq!(lasts(0), Some(4));
        assert_eq!(lasts(1), Some(4), "a byte now and then earns nothing");
        assert_eq!(lasts(7 * rate), Some(8), "half of the floor");
        assert_eq!(lasts(15 * rate), None, "the floor");
        assert_eq!(lasts(u64::MAX), None);
    }

    #[test]
    fn no_more_is_earned_than_the_whole() {
        let mut allowance = PaceAllowance::new(WHOLE);
        assert_eq!(allowance.spend(SAMPLE, 1 << 30, WHOLE), ReaderPace::Kept);
        let waits = (1..100).find(|_| allowance.spend(SAMPLE, 0, WHOLE) == ReaderPace::Lost);
        assert_eq!(waits, Some(4));
    }
}
