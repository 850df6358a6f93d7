//! The replicas that each master lately had.
//!
//! During a fail-over a replica leaves its old master before the others learn of it, and the old
//! master lists the remaining ones only. A write that must survive the fail-over has to be on each
//! replica that the master lately had, since any of them may be the new master.

use std::cell::RefCell;
use std::time::Instant;

use crate::limits::REDIS_REPLICAS_REMEMBERED;
use crate::resp::topology::Endpoint;

/// The numbers of replicas, by master.
#[derive(Default)]
pub(in crate::redis) struct ReplicaCounts(RefCell<Vec<ReplicaCount>>);

struct ReplicaCount {
    master: Endpoint,
    replicas: u32,
    at: Instant,
}

impl ReplicaCounts {
    /// Records the number of replicas that a master lists.
    pub(in crate::redis) fn record(&self, master: &Endpoint, replicas: u32, now: Instant) {
        let mut counts = self.0.borrow_mut();
        let is_recent =
            |count: &ReplicaCount| now.saturating_duration_since(count.at) < REDIS_REPLICAS_REMEMBERED;
        // A later count that is not smaller replaces the others, so the list stays short.
        counts.retain(|count| is_recent(count) && (count.master != *master || count.replicas > replicas));
        counts.push(ReplicaCount { master: master.clone(), replicas, at: now });
    }

    /// Returns the largest number of replicas that a master lately had.
    pub(in crate::redis) fn most(&self, master: &Endpoint, now: Instant) -> u32 {
        let counts = self.0.borrow();
        let recent = counts.iter().filter(|count| {
            count.master == *master && now.saturating_duration_since(count.at) < REDIS_REPLICAS_REMEMBERED
        });
        recent.map(|count| count.replicas).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::instant;

    #[test]
    fn the_largest_recent_number_counts() {
        let master = |port| Endpoint { host: "a".to_owned(), port };
        let (counts, now) = (ReplicaCounts::default(), instant());
        assert_eq!(counts.most(&master(1), now), 0);
        counts.record(&master(1), 2, now);
        counts.record(&master(1), 1, now);
        counts.record(&master(2), 5, now);
        assert_eq!((counts.most(&master(1), now), counts.most(&master(2), now)), (2, 5));
        counts.record(&master(1), 3, now);
        assert_eq!(counts.0.borrow().len(), 2, "it replaces the smaller ones");
        counts.record(&master(1), 0, now + REDIS_REPLICAS_REMEMBERED / 2);
        assert_eq!(counts.most(&master(1), now + REDIS_REPLICAS_REMEMBERED / 2), 3);
        assert_eq!(counts.most(&master(1), now + REDIS_REPLICAS_REMEMBERED), 0, "the replicas are gone");
    }
}
