//! The memory of a process without keys that other nodes seal their entries.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::SEALED_REMEMBERED;
use crate::time::Timestamp;

/// The last time at which this process, without keys, has read a sealed value.
#[derive(Debug, Default)]
pub(in crate::store) struct SealedSeen(AtomicU64);

impl SealedSeen {
    /// Notes a sealed value; returns whether the last one was long ago.
    pub(in crate::store) fn note(&self, now: Timestamp) -> bool {
        let before = Timestamp::from_millis(self.0.swap(now.as_millis(), Ordering::Relaxed));
        now.since(before) >= SEALED_REMEMBERED
    }

    /// Returns whether the last sealed value was read a short time ago.
    pub(in crate::store) fn is_recent(&self, now: Timestamp) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last != 0 && now.since(Timestamp::from_millis(last)) < SEALED_REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_is_remembered_for_a_while() {
        let (seen, start) = (SealedSeen::default(), Timestamp::from_millis(1_700_000_000_000));
        assert!(!seen.is_recent(start));
        assert!(seen.note(start), "the first one");
        let later = start.plus(SEALED_REMEMBERED / 2);
        assert!(seen.is_recent(later) && !seen.note(later));
        let end = later.plus(SEALED_REMEMBERED);
        assert!(!seen.is_recent(end) && seen.note(end));
    }
}
