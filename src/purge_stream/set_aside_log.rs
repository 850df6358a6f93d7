//! The log of messages that were set aside: a line for each message, up to a number in a period,
//! and one line with the count of all others.
//!
//! A writer with an error can write a million malformed messages, which the reader takes in a
//! minute. They must not fill the log, and the metrics count each. An operator needs a few
//! identifiers: `XRANGE` shows the messages between the first and the last one.

use std::time::Instant;

use crate::limits::{PURGE_STREAM_LOGGED_MAX, PURGE_STREAM_LOGGED_PERIOD};
use crate::redis::stream::StreamId;

/// The messages that were set aside in the current period.
#[derive(Debug, Default)]
pub(super) struct SetAsideLog {
    period: Option<LogPeriod>,
}

#[derive(Debug)]
struct LogPeriod {
    begun: Instant,
    /// Messages with a line of their own.
    logged: usize,
    omitted: Option<OmittedMessages>,
}

/// The messages without a line of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OmittedMessages {
    pub(super) first: StreamId,
    pub(super) last: StreamId,
    pub(super) count: u64,
}

impl SetAsideLog {
    /// Notes a message; returns whether it gets a line.
    pub(super) fn admits(&mut self, id: StreamId, now: Instant) -> bool {
        let new = LogPeriod { begun: now, logged: 0, omitted: None };
        let period = self.period.get_or_insert(new);
        if period.logged < PURGE_STREAM_LOGGED_MAX {
            period.logged += 1;
            return true;
        }
        let omitted = period.omitted.get_or_insert(OmittedMessages { first: id, last: id, count: 0 });
        (omitted.last, omitted.count) = (id, omitted.count.saturating_add(1));
        false
    }

    /// Ends a period that is over. Returns the messages that got no line in it.
    pub(super) fn end_period(&mut self, now: Instant) -> Option<OmittedMessages> {
        let is_over = |period: &mut LogPeriod| {
            now.saturating_duration_since(period.begun) >= PURGE_STREAM_LOGGED_PERIOD
        };
        self.period.take_if(is_over)?.omitted
    }

    /// Returns the messages without a line when no further period follows.
    pub(super) fn end(&mut self) -> Option<OmittedMessages> {
        self.period.take()?.omitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::instant;

    fn id(number: usize) -> StreamId {
        StreamId { millis: number as u64, sequence: 0 }
    }

    #[test]
    fn a_period_has_a_limited_number_of_lines() {
        let (mut log, begun) = (SetAsideLog::default(), instant());
        let later = begun + PURGE_STREAM_LOGGED_PERIOD;
        for period in [begun, later] {
            for number in 0..PURGE_STREAM_LOGGED_MAX {
                assert!(log.admits(id(number), period), "{number}");
            }
            assert!(!log.admits(id(100), period) && !log.admits(id(101), period));
            assert_eq!(log.end_period(period), None, "the period is not over");
            let omitted = OmittedMessages { first: id(100), last: id(101), count: 2 };
            assert_eq!(log.end_period(period + PURGE_STREAM_LOGGED_PERIOD), Some(omitted));
        }
    }

    #[test]
    fn a_period_without_omitted_messages_ends_without_a_line() {
        let (mut log, begun) = (SetAsideLog::default(), instant());
        assert_eq!(log.end_period(begun), None);
        assert!(log.admits(id(1), begun));
        assert_eq!(log.end_period(begun + PURGE_STREAM_LOGGED_PERIOD), None);
        assert!((0..PURGE_STREAM_LOGGED_MAX).all(|number| log.admits(id(number), begun)));
        assert_eq!(log.end(), None);
        assert_eq!(log.end(), None);
        assert!((0..PURGE_STREAM_LOGGED_MAX).all(|number| log.admits(id(number), begun)));
        assert!(!log.admits(id(7), begun));
        assert_eq!(log.end(), Some(OmittedMessages { first: id(7), last: id(7), count: 1 }));
    }
}
