//! The last purge orders of a process, without the names that they purge: a name may be a secret.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::RECENT_PURGES_KEPT;
use crate::purge::{PurgeName, PurgeOrder, PurgeOutcome};
use crate::time::Timestamp;

/// One purge order that this process has carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentPurge {
    /// The time of its begin.
    pub at: Timestamp,
    /// The number of its names of each kind, which is not a name itself.
    pub named: [(&'static str, u64); 5],
    /// `hard` or `soft`.
    pub strength: &'static str,
    /// Its outcome.
    pub outcome: PurgeOutcome,
    /// The time until its outcome was known.
    pub took: Duration,
}

impl RecentPurge {
    pub(super) fn of(order: &PurgeOrder, at: Timestamp, outcome: PurgeOutcome, took: Duration) -> Self {
        let count =
            |is_kind: fn(&PurgeName) -> bool| order.named.iter().filter(|name| is_kind(name)).count() as u64;
        let named = [
            ("urls", count(|name| matches!(name, PurgeName::Url(_)))),
            ("tags", count(|name| matches!(name, PurgeName::Tag(_)))),
            ("groups", count(|name| matches!(name, PurgeName::Group { .. }))),
            ("prefixes", count(|name| matches!(name, PurgeName::Prefix(_)))),
            ("all", count(|name| matches!(name, PurgeName::All))),
        ];
        Self { at, named, strength: order.strength_word(), outcome, took }
    }
}

/// The last purge orders, at most [`RECENT_PURGES_KEPT`].
#[derive(Debug, Default)]
pub(super) struct RecentPurges(Mutex<VecDeque<RecentPurge>>);

impl RecentPurges {
    pub(super) fn add(&self, purge: RecentPurge) {
        let mut purges = self.purges();
        purges.truncate(RECENT_PURGES_KEPT.saturating_sub(1));
        purges.push_front(purge);
    }

    /// Returns the purges, the latest first.
    pub(super) fn list(&self) -> Vec<RecentPurge> {
        self.purges().iter().cloned().collect()
    }

    fn purges(&self) -> MutexGuard<'_, VecDeque<RecentPurge>> {
        // A panic between two changes leaves a purge out at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::read;

    #[test]
    fn the_last_purges_are_kept_without_their_names() {
        let purges = RecentPurges::default();
        for number in 0..RECENT_PURGES_KEPT as u64 + 5 {
            let order =
                read(r#"{"url":"http://a.test/b?token=secret","tags":["t","u"],"soft":true}"#).unwrap();
            let at = Timestamp::from_millis(number);
            purges.add(RecentPurge::of(&order, at, PurgeOutcome::Everywhere, Duration::from_secs(1)));
        }
        let list = purges.list();
        assert_eq!(list.len(), RECENT_PURGES_KEPT);
        assert_eq!(list[0].at, Timestamp::from_millis(RECENT_PURGES_KEPT as u64 + 4));
        assert_eq!(list[0].named, [("urls", 1), ("tags", 2), ("groups", 0), ("prefixes", 0), ("all", 0)]);
        assert_eq!(list[0].strength, "soft");
        assert!(!format!("{list:?}").contains("secret"));
    }
}
