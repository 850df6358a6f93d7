//! The table of the process's tracked connections, with the incarnation of each.
//!
//! A cached reply carries a [`TrackingToken`], and one load tells whether its connection still
//! receives invalidations. **Always:** no incarnation is used twice.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::REDIS_TRACKING_SLOTS_MAX;

/// The table of tracked connections.
pub struct TrackingTable {
    /// The incarnation in each slot; zero for none.
    live: Box<[AtomicU64]>,
    /// The free slots.
    free: Mutex<Vec<u32>>,
    /// The last incarnation used.
    incarnations: AtomicU64,
    /// The number of incarnations that have ended.
    losses: AtomicU64,
}

/// The proof that a reply was read over a tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackingToken {
    incarnation: u64,
    pub(in crate::redis) slot: u32,
}

impl TrackingTable {
    /// Creates a table of free slots.
    pub fn new() -> Arc<Self> {
        let count = u32::try_from(REDIS_TRACKING_SLOTS_MAX).unwrap_or(u32::MAX);
        Arc::new(Self {
            live: (0..count).map(|_| AtomicU64::new(0)).collect(),
            free: Mutex::new((0..count).rev().collect()),
            incarnations: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        })
    }

    /// Returns whether invalidations of the reply would still arrive.
    pub fn is_valid(&self, token: TrackingToken) -> bool {
        self.at(token.slot).is_some_and(|live| live.load(Ordering::Acquire) == token.incarnation)
    }

    /// Returns a number that grows before any token becomes invalid: while it is the same, every
    /// token that was valid still is.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Returns a token that is valid while the other value is kept, for tests.
    #[cfg(test)]
    pub(crate) fn take(self: &Arc<Self>) -> (impl Sized + use<>, Option<TrackingToken>) {
        let slot = TrackingSlot::claim(Arc::clone(self));
        let token = slot.as_ref().and_then(|slot| {
            slot.activate();
            slot.token()
        });
        (slot, token)
    }

    fn at(&self, slot: u32) -> Option<&AtomicU64> {
        self.live.get(usize::try_from(slot).ok()?)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // One push or pop at a time: a panic in between leaves nothing half done.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claimed slot.
pub(in crate::redis) struct TrackingSlot {
    table: Arc<TrackingTable>,
    slot: u32,
    incarnation: Cell<u64>,
}

impl TrackingSlot {
    pub(in crate::redis) fn claim(table: Arc<TrackingTable>) -> Option<Self> {
        let slot = table.free().pop()?;
        Some(Self { table, slot, incarnation: Cell::new(0) })
    }

    pub(in crate::redis) fn activate(&self) {
        let incarnation = self.table.incarnations.fetch_add(1, Ordering::Relaxed) + 1;
        self.put(incarnation);
    }

    pub(in crate::redis) fn deactivate(&self) {
        self.put(0);
    }

    fn put(&self, incarnation: u64) {
        if self.incarnation.replace(incarnation) != 0 {
            self.table.losses.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(live) = self.table.at(self.slot) {
            live.store(incarnation, Ordering::Release);
        }
    }

    pub(in crate::redis) fn token(&self) -> Option<TrackingToken> {
        let incarnation = self.incarnation.get();
        (incarnation != 0).then_some(TrackingToken { incarnation, slot: self.slot })
    }
}

impl Drop for TrackingSlot {
    fn drop(&mut self) {
        self.deactivate();
        self.table.free().push(self.slot);
    }
}
