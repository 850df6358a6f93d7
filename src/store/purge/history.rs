//! The history of the purge log, as a process knows it: a log that goes back is recognised.

use std::collections::VecDeque;

use crate::entry::PurgeGeneration;

/// The purge generation that a process knows, and the epochs that have ended.
pub(in crate::store) struct LogHistory {
    pub(in crate::store::purge) generation: PurgeGeneration,
    /// The last ones first.
    pub(in crate::store::purge) ended: VecDeque<u64>,
}

impl LogHistory {
    /// Returns whether the known state is later than a log that was read after this was taken: its
    /// server has lost purges.
    pub(in crate::store) fn is_after(&self, read: PurgeGeneration) -> bool {
        let is_same = read.epoch == self.generation.epoch;
        (is_same && read.count < self.generation.count) || (!is_same && self.ended.contains(&read.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_count_or_an_ended_epoch_is_a_loss() {
        let at = |epoch, count| PurgeGeneration { epoch, count };
        let history = LogHistory { generation: at(3, 5), ended: VecDeque::from([2, 1]) };
        for (read, is_lost) in [
            (at(3, 5), false),
            (at(3, 6), false),
            (at(3, 4), true),
            (at(4, 0), false),
            (at(2, 9), true),
            (at(1, 9), true),
        ] {
            assert_eq!(history.is_after(read), is_lost, "{read:?}");
        }
        let none = LogHistory { generation: PurgeGeneration::default(), ended: VecDeque::new() };
        assert!(!none.is_after(at(1, 0)));
    }
}
