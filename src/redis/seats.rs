//! Which connections of the process bring news: a table of numbers, and a seat in it for each.
//!
//! Whoever keeps something that was read over a connection keeps a [`Witness`] beside it, and finds out by one load whether
//! news of it would still come. **Always:** no incarnation is given twice.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::REDIS_SEATS_MAX;

/// Which connections bring news.
pub struct Seats {
    /// The incarnation in each seat; zero where nobody brings any.
    live: Box<[AtomicU64]>,
    /// The seats that nobody has.
    free: Mutex<Vec<u32>>,
    /// The last incarnation that was given.
    incarnations: AtomicU64,
}

/// That something was read over a connection which brings news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    incarnation: u64,
    pub(super) seat: u32,
}

impl Seats {
    /// All are free.
    pub fn new() -> Arc<Self> {
        let count = u32::try_from(REDIS_SEATS_MAX).unwrap_or(u32::MAX);
        Arc::new(Self {
            live: (0..count).map(|_| AtomicU64::new(0)).collect(),
            free: Mutex::new((0..count).rev().collect()),
            incarnations: AtomicU64::new(0),
        })
    }

    /// Whether news of what was read would still come.
    pub fn is_true(&self, witness: Witness) -> bool {
        self.at(witness.seat).is_some_and(|live| live.load(Ordering::Acquire) == witness.incarnation)
    }

    /// A witness that is true for as long as the other is kept: for tests of what is made of it.
    #[cfg(test)]
    pub(crate) fn take(self: &Arc<Self>) -> (impl Sized + use<>, Option<Witness>) {
        let presence = Presence::claim(Arc::clone(self));
        let witness = presence.as_ref().and_then(|presence| {
            presence.begin();
            presence.witness()
        });
        (presence, witness)
    }

    fn at(&self, seat: u32) -> Option<&AtomicU64> {
        self.live.get(usize::try_from(seat).ok()?)
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // One push or pop at a time: a panic between leaves nothing half done.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat that is taken.
pub(super) struct Presence {
    seats: Arc<Seats>,
    seat: u32,
    incarnation: Cell<u64>,
}

impl Presence {
    pub(super) fn claim(seats: Arc<Seats>) -> Option<Self> {
        let seat = seats.free().pop()?;
        Some(Self { seats, seat, incarnation: Cell::new(0) })
    }

    pub(super) fn begin(&self) {
        let incarnation = self.seats.incarnations.fetch_add(1, Ordering::Relaxed) + 1;
        self.put(incarnation);
    }

    pub(super) fn end(&self) {
        self.put(0);
    }

    fn put(&self, incarnation: u64) {
        self.incarnation.set(incarnation);
        if let Some(live) = self.seats.at(self.seat) {
            live.store(incarnation, Ordering::Release);
        }
    }

    pub(super) fn witness(&self) -> Option<Witness> {
        let incarnation = self.incarnation.get();
        (incarnation != 0).then_some(Witness { incarnation, seat: self.seat })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.end();
        self.seats.free().push(self.seat);
    }
}
