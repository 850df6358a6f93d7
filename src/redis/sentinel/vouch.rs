//! Who vouches for the master: the sentinels, while most of them can be heard.
//!
//! Whoever is cut off from the sentinels does not hear that there is another master, and goes on with one that nobody else
//! asks any more. So what was read from the master counts only while most of the sentinels are heard, which need most of
//! theirs to agree on another one, and have been asked since they were.

use std::cell::Cell;

/// How many sentinels are heard, and what follows from it.
pub(super) struct Vouchers {
    /// How many of them are a majority.
    most: usize,
    heard: Cell<usize>,
    /// How often the majority was lost.
    losses: Cell<u64>,
    /// At how many losses they were last asked, if they answered.
    asked: Cell<Option<u64>>,
}

/// The majority, as it was when somebody began to ask; `None` if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quorum(Option<u64>);

impl Vouchers {
    /// Of so many sentinels none is heard yet.
    pub(super) fn new(sentinels: usize) -> Self {
        Self { most: sentinels / 2 + 1, heard: Cell::new(0), losses: Cell::new(0), asked: Cell::new(None) }
    }

    /// Whether so many are a majority.
    pub(super) fn are_most(&self, sentinels: usize) -> bool {
        sentinels >= self.most
    }

    /// One more is heard. Whether they have to be asked now, since what they said before was not heard.
    pub(super) fn heard(&self) -> bool {
        self.heard.set(self.heard.get() + 1);
        self.heard.get() == self.most
    }

    /// One of those that were heard is not any more.
    pub(super) fn lost(&self) {
        if self.heard.get() == self.most {
            self.losses.set(self.losses.get() + 1);
        }
        self.heard.set(self.heard.get().saturating_sub(1));
    }

    /// Before they are asked who the master is.
    pub(super) fn quorum(&self) -> Quorum {
        Quorum(self.are_most(self.heard.get()).then(|| self.losses.get()))
    }

    /// They have been asked.
    pub(super) fn asked(&self, Quorum(before): Quorum) {
        self.asked.set(before.or(self.asked.get()));
    }

    /// Whether the master that is known is the master.
    pub(super) fn vouch(&self) -> bool {
        let Quorum(now) = self.quorum();
        now.is_some() && now == self.asked.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_them_vouch_once_they_were_asked() {
        let vouchers = Vouchers::new(3);
        assert!(!vouchers.heard());
        vouchers.asked(vouchers.quorum());
        assert!(!vouchers.vouch(), "one of three");
        let early = vouchers.quorum();
        assert!(vouchers.heard());
        vouchers.asked(early);
        assert!(!vouchers.vouch(), "asked before two could be heard");
        vouchers.asked(vouchers.quorum());
        assert!(vouchers.vouch());
        assert!(!vouchers.heard());
        vouchers.lost();
        assert!(vouchers.vouch(), "two are left");
    }

    #[test]
    fn what_was_said_while_few_were_heard_has_to_be_asked_for() {
        let vouchers = Vouchers::new(2);
        vouchers.heard();
        vouchers.heard();
        let asking = vouchers.quorum();
        vouchers.lost();
        assert!(vouchers.heard());
        vouchers.asked(asking);
        assert!(!vouchers.vouch(), "it may have been said between");
        vouchers.asked(vouchers.quorum());
        assert!(vouchers.vouch());
    }
}
