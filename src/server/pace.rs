//! The reading allowance of a client: a stall timeout and a minimum rate in one number.
//!
//! A reader has an allowance of `client_body_timeout`. Time in which only the client is awaited
//! uses it up, and each byte that the client reads earns a part of it back ([`CLIENT_RATE_MIN`]),
//! up to the maximum. So the server cuts a client that reads nothing after the timeout, and one
//! that reads too slowly a while later.

use std::time::Duration;

use crate::limits::CLIENT_RATE_MIN;

/// The part of `client_body_timeout` that a reader has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct PaceAllowance {
    left: Duration,
}

/// The verdict on a reader's pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderPace {
    /// Some of the allowance is left.
    Kept,
    /// The allowance is exhausted.
    Lost,
}

impl PaceAllowance {
    /// Creates the full allowance.
    pub(super) fn new(whole: Duration) -> Self {
        Self { left: whole }
    }

    /// Subtracts a time in which only the client was awaited, and adds the time that the bytes read
    /// in it earn.
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

    /// Returns the number of samples after which a reader of `taken` bytes per sample is cut;
    /// `None` beyond a thousand.
    fn lasts(taken: u64) -> Option<usize> {
        let mut allowance = PaceAllowance::new(WHOLE);
        (1..1_000).find(|_| allowance.spend(SAMPLE, taken, WHOLE) == ReaderPace::Lost)
    }

    #[test]
    fn a_stalled_reader_lasts_the_timeout_and_a_slow_one_little_longer() {
        let rate = u64::from(CLIENT_RATE_MIN);
        assert_eq!(lasts(0), Some(4));
        assert_eq!(lasts(1), Some(4), "single bytes earn nothing");
        assert_eq!(lasts(7 * rate), Some(8), "half of the floor");
        assert_eq!(lasts(15 * rate), None, "the floor");
        assert_eq!(lasts(u64::MAX), None);
    }

    #[test]
    fn a_fast_reader_earns_at_most_the_maximum() {
        let mut allowance = PaceAllowance::new(WHOLE);
        assert_eq!(allowance.spend(SAMPLE, 1 << 30, WHOLE), ReaderPace::Kept);
        let waits = (1..100).find(|_| allowance.spend(SAMPLE, 0, WHOLE) == ReaderPace::Lost);
        assert_eq!(waits, Some(4));
    }
}
