//! Who vouches for the master: the sentinels, while majority of them can be up.
//!
//! Whoever is cut off from the sentinels does not hear that there is another master, and goes on with one that nobody else
//! asks any more. So what was read from the master counts only while majority of the sentinels are up, which need majority of
//! theirs to agree on another one, and have been confirmed since they were.

use std::cell::Cell;

/// How many sentinels are up, and what follows from it.
pub(super) struct MasterLease {
    /// How many of them are a majority.
    majority: usize,
    up: Cell<usize>,
    /// How often the majority was lost.
    losses: Cell<u64>,
    /// At how many losses they were last confirmed, if they answered.
    confirmed: Cell<Option<u64>>,
}

/// The majority, as it was when somebody began to ask; `None` if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quorum(Option<u64>);

impl MasterLease {
    /// Of so many sentinels none is up yet.
    pub(super) fn new(sentinels: usize) -> Self {
        Self {
            majority: sentinels / 2 + 1,
            up: Cell::new(0),
            losses: Cell::new(0),
            confirmed: Cell::new(None),
        }
    }

    /// Whether so many are a majority.
    pub(super) fn is_majority(&self, sentinels: usize) -> bool {
        sentinels >= self.majority
    }

    /// One more is up. Whether they have to be confirmed now, since what they said before was not up.
    pub(super) fn sentinel_up(&self) -> bool {
        self.up.set(self.up.get() + 1);
        self.up.get() == self.majority
    }

    /// One of those that were up is not any more.
    pub(super) fn sentinel_down(&self) {
        if self.up.get() == self.majority {
            self.losses.set(self.losses.get() + 1);
        }
        self.up.set(self.up.get().saturating_sub(1));
    }

    /// Before they are confirmed who the master is.
    pub(super) fn quorum(&self) -> Quorum {
        Quorum(self.is_majority(self.up.get()).then(|| self.losses.get()))
    }

    /// They have been confirmed.
    pub(super) fn confirm(&self, Quorum(before): Quorum) {
        self.confirmed.set(before.or(self.confirmed.get()));
    }

    /// Whether the master that is known is the master.
    pub(super) fn is_valid(&self) -> bool {
        let Quorum(now) = self.quorum();
        now.is_some() && now == self.confirmed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_them_vouch_once_they_were_asked() {
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
    fn what_was_said_while_few_were_heard_has_to_be_asked_for() {
        let lease = MasterLease::new(2);
        lease.sentinel_up();
        lease.sentinel_up();
        let asking = lease.quorum();
        lease.sentinel_down();
        assert!(lease.sentinel_up());
        lease.confirm(asking);
        assert!(!lease.is_valid(), "it may have been said between");
        lease.confirm(lease.quorum());
        assert!(lease.is_valid());
    }
}
