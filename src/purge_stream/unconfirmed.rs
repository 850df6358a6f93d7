//! The messages whose purge is in Redis and not confirmed by every node.
//!
//! A node that is cut off, or has crashed, confirms nothing until its registration expires, and it
//! may serve its memory alone until then. So a message is repeated for that long. Afterwards no
//! node serves alone what it had at the time of the purge, and a further repetition would bring
//! nothing: the message is acknowledged. The time runs in this process, since the clock of Redis
//! need not agree with it; after a take-over it begins again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::PURGE_STREAM_UNCONFIRMED_MAX;
use crate::redis::stream::StreamId;

/// The unconfirmed messages of this node.
pub(super) struct UnconfirmedMessages {
    /// The longest time for which a message is repeated.
    repeated_for: Duration,
    messages: BTreeMap<StreamId, Unconfirmed>,
    /// The number of passes over the pending messages so far.
    passes: u64,
}

struct Unconfirmed {
    /// The time of the first attempt.
    since: Instant,
    /// The pass of the last attempt.
    pass: u64,
}

impl UnconfirmedMessages {
    pub(super) fn new(repeated_for: Duration) -> Self {
        Self { repeated_for, messages: BTreeMap::new(), passes: 0 }
    }

    /// Records an attempt for these messages that was not confirmed. Returns the messages that are
    /// not repeated any more.
    pub(super) fn record(&mut self, ids: &[StreamId], now: Instant) -> Vec<StreamId> {
        let mut over = Vec::new();
        for id in ids {
            let message = self.messages.entry(*id).or_insert(Unconfirmed { since: now, pass: 0 });
            message.pass = self.passes;
            if now.saturating_duration_since(message.since) >= self.repeated_for {
                self.messages.remove(id);
                over.push(*id);
            }
        }
        while self.messages.len() > PURGE_STREAM_UNCONFIRMED_MAX {
            over.extend(self.messages.pop_first().map(|(id, _)| id));
        }
        over
    }

    pub(super) fn remove(&mut self, ids: &[StreamId]) {
        for id in ids {
            self.messages.remove(id);
        }
    }

    pub(super) fn contains(&self, id: StreamId) -> bool {
        self.messages.contains_key(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Notes that a pass over the pending messages begins.
    pub(super) fn begin_pass(&mut self) {
        self.passes += 1;
    }

    /// Notes that a pass has seen every pending message: another node has taken over the others.
    pub(super) fn end_pass(&mut self) {
        self.messages.retain(|_, message| message.pass == self.passes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::instant;

    const LONG: Duration = Duration::from_secs(60);

    fn id(millis: u64) -> StreamId {
        StreamId { millis, sequence: 0 }
    }

    #[test]
    fn a_message_is_repeated_for_its_time() {
        let (mut unconfirmed, begun) = (UnconfirmedMessages::new(LONG), instant());
        assert!(unconfirmed.is_empty());
        assert_eq!(unconfirmed.record(&[id(1)], begun), []);
        assert_eq!(unconfirmed.record(&[id(1), id(2)], begun + LONG / 2), []);
        assert_eq!(unconfirmed.record(&[id(1), id(2)], begun + LONG), [id(1)]);
        assert!(unconfirmed.contains(id(2)) && !unconfirmed.contains(id(1)));
        unconfirmed.remove(&[id(2)]);
        assert!(unconfirmed.is_empty());
    }

    #[test]
    fn a_message_that_a_pass_does_not_see_belongs_to_another_node() {
        let (mut unconfirmed, now) = (UnconfirmedMessages::new(LONG), instant());
        unconfirmed.record(&[id(1), id(2)], now);
        unconfirmed.begin_pass();
        unconfirmed.record(&[id(2), id(3)], now);
        unconfirmed.end_pass();
        assert!(!unconfirmed.contains(id(1)));
        assert!(unconfirmed.contains(id(2)) && unconfirmed.contains(id(3)));
    }

    #[test]
    fn the_oldest_of_too_many_messages_are_not_repeated() {
        let mut unconfirmed = UnconfirmedMessages::new(LONG);
        let ids: Vec<_> = (1..=PURGE_STREAM_UNCONFIRMED_MAX as u64 + 2).map(id).collect();
        assert_eq!(unconfirmed.record(&ids, instant()), [id(1), id(2)]);
        assert!(unconfirmed.contains(id(3)));
    }
}
