//! The keys that this process has removed lately without waiting for the replicas.
//!
//! Behind Sentinel, a replica may become the master a moment after the old master has accepted a
//! removal, and lack it: the removed entry would be valid again until it expires. So the process
//! removes these keys again once it has found the new master.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::key::CacheKey;
use crate::limits::{REMOVAL_RECENT_FOR, REMOVALS_RECENT_MAX};
use crate::time::{self, Timestamp};

/// The recent removals, the oldest first.
#[derive(Default)]
pub(in crate::store) struct RecentRemovals(Mutex<VecDeque<RecentRemoval>>);

struct RecentRemoval {
    accepted: Instant,
    key: CacheKey,
    /// The entries received before are removed.
    at: Timestamp,
}

impl RecentRemovals {
    /// Adds a removal that Redis has accepted. It replaces the oldest one if there are too many.
    pub(in crate::store) fn add(&self, key: CacheKey, at: Timestamp) {
        let accepted = time::instant();
        let mut removals = self.removals();
        while removals.front().is_some_and(|oldest| !oldest.is_recent(accepted))
            || removals.len() >= REMOVALS_RECENT_MAX
        {
            removals.pop_front();
        }
        removals.push_back(RecentRemoval { accepted, key, at });
    }

    /// Takes the removals that a new master may lack.
    pub(in crate::store) fn take(&self) -> Vec<(CacheKey, Timestamp)> {
        let now = time::instant();
        let removals = std::mem::take(&mut *self.removals());
        let recent = removals.into_iter().filter(|removal| removal.is_recent(now));
        recent.map(|removal| (removal.key, removal.at)).collect()
    }

    fn removals(&self) -> MutexGuard<'_, VecDeque<RecentRemoval>> {
        // Each critical section leaves complete values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentRemoval {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.accepted) <= REMOVAL_RECENT_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> CacheKey {
        CacheKey::from_digest([u8::try_from(number % 256).unwrap(); 32])
    }

    #[tokio::test(start_paused = true)]
    async fn old_and_surplus_removals_are_dropped() {
        let (removals, at) = (RecentRemovals::default(), Timestamp::EPOCH);
        removals.add(key(0), at);
        tokio::time::advance(REMOVAL_RECENT_FOR).await;
        removals.add(key(1), at);
        assert_eq!(removals.take(), [(key(0), at), (key(1), at)]);
        assert!(removals.take().is_empty());
        removals.add(key(2), at);
        tokio::time::advance(REMOVAL_RECENT_FOR * 2).await;
        assert!(removals.take().is_empty());
        (0..=REMOVALS_RECENT_MAX).for_each(|number| removals.add(key(number), at));
        let kept = removals.take();
        assert_eq!((kept.len(), kept.first()), (REMOVALS_RECENT_MAX, Some(&(key(1), at))));
    }
}
