//! The lease of the master: valid while a majority of the sentinels is reachable.
//!
//! A client that is cut off from the sentinels misses a fail-over, and keeps using a master that
//! the others have left. So reads from the master count as tracked only under two conditions: a
//! majority of the sentinels is reachable, without which the others cannot agree on another master,
//! and this majority has confirmed the master since it became reachable.

use std::cell::Cell;

/// The number of reachable sentinels, and the state of the lease.
pub(super) struct MasterLease {
    /// The size of a majority.
    majority: usize,
    up: Cell<usize>,
    /// The number of times that the majority was lost.
    losses: Cell<u64>,
    /// The number of losses at the last confirmation, if there was one.
    confirmed: Cell<Option<u64>>,
}

/// The majority at the start of a query; `None` if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quorum(Option<u64>);

impl MasterLease {
    /// A lease without any reachable sentinel.
    pub(super) fn new(sentinels: usize) -> Self {
        Self {
            majority: sentinels / 2 + 1,
            up: Cell::new(0),
            losses: Cell::new(0),
            confirmed: Cell::new(None),
        }
    }

    /// Returns whether this many sentinels are a majority.
    pub(super) fn is_majority(&self, sentinels: usize) -> bool {
        sentinels >= self.majority
    }

    /// Counts one more reachable sentinel. Returns whether the master must be confirmed now, since
    /// messages may have been missed.
    pub(super) fn sentinel_up(&self) -> bool {
        self.up.set(self.up.get() + 1);
        self.up.get() == self.majority
    }

    /// Counts one reachable sentinel less.
    pub(super) fn sentinel_down(&self) {
        if self.up.get() == self.majority {
            self.losses.set(self.losses.get() + 1);
        }
        self.up.set(self.up.get().saturating_sub(1));
    }

    /// Returns the majority, to be taken before the sentinels are queried.
    pub(super) fn quorum(&self) -> Quorum {
        Quorum(self.is_majority(self.up.get()).then(|| self.losses.get()))
    }

    /// Records that the sentinels confirmed the master.
    pub(super) fn confirm(&self, Quorum(before): Quorum) {
        self.confirmed.set(before.or(self.confirmed.get()));
    }

    /// Returns whether the known master is still the master.
    pub(super) fn is_valid(&self) -> bool {
        let Quorum(now) = self.quorum();
        now.is_some() && now == self.confirmed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_makes_the_lease_valid_once_it_confirmed() {
        let lease = MasterLease::new(3);
        assert!(!lease.sentinel_up());
        lease.confirm(lease.quorum());
        assert!(!lease.is_valid(), "one of three");
        let early = lease.quorum();
        assert!(lease.sentinel_up());
        lease.confirm(early);
        assert!(!lease.is_valid(), "confirmed before two could be up");
        lease.confirm(lease.quorum());
        assert!(lease.is_valid());
        assert!(!lease.sentinel_up());
        lease.sentinel_down();
        assert!(lease.is_valid(), "two are left");
    }

    #[test]
    fn losing_the_majority_requires_a_new_confirmation() {
        let lease = MasterLease::new(2);
        lease.sentinel_up();
        lease.sentinel_up();
        let asking = lease.quorum();
        lease.sentinel_down();
        assert!(lease.sentinel_up());
        lease.confirm(asking);
        assert!(!lease.is_valid(), "a message may have been missed");
        lease.confirm(lease.quorum());
        assert!(lease.is_valid());
    }
}
