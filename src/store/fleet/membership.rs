//! The fleet as this process knows it: the nodes that a purge has to wait for, and the time for
//! which this node may serve from memory without Redis.
//!
//! A node registers in Redis, and renews its registration while it is connected (`register.rs`).
//! Without Redis, memory serves an entry for at most `memory_alone_max` after the last confirmed
//! renewal, and the registration lives longer than that ([`REGISTRATION_EXTRA`]). So every node
//! that may serve a purged entry alone is registered, unless Redis has lost the registry.
//!
//! **Always:** a registration that this process has seen counts until its time is over or the node
//! has left, even if Redis has lost it: after a restart, a node may not have registered again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::limits::{
    REGISTRATION_EXTRA, REGISTRATION_INTERVAL_MAX, REGISTRATION_INTERVAL_MIN, SILENT_SYNCS_MAX,
};
use crate::store::fleet::registry::{NodeRegistry, RegisteredNode, RegistryVersion};
use crate::time;

/// This node's part in the fleet, and the other nodes that it knows; shared by its workers.
pub(in crate::store) struct FleetMembership {
    /// The random identifier of this process.
    pub(in crate::store) id: u64,
    /// The name that operators read.
    pub(in crate::store) name: Box<str>,
    /// The number of workers that acknowledge syncs: those that have been subscribed.
    workers: AtomicU32,
    /// The number of workers that have opened the store.
    opened: AtomicU32,
    alone_max: Duration,
    begin: Instant,
    /// The time at which the last confirmed renewal was sent, in nanoseconds since `begin` plus
    /// one; zero while this node is not registered.
    renewed: AtomicU64,
    /// Whether Redis refuses registrations: the user has too few rights.
    refused: AtomicBool,
    /// Whether this node has left: it does not register again.
    left: AtomicBool,
    known: Mutex<KnownNodes>,
    /// The names of the nodes that used other routes in the last sync.
    other_rules: Mutex<Vec<String>>,
    /// The signal to renew the registration now.
    pub(in crate::store) due: Notify,
}

#[derive(Default)]
struct KnownNodes {
    version: RegistryVersion,
    nodes: Vec<KnownNode>,
}

/// A node that this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct KnownNode {
    pub(in crate::store) node: RegisteredNode,
    /// The end of its registration, by the clock of this process.
    until: Instant,
    /// The registry in which it was last seen.
    listing: NodeListing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NodeListing {
    /// The registry lists it.
    Listed,
    /// An earlier registry listed it, which Redis has lost.
    Lost,
}

impl KnownNode {
    /// Returns whether a purge must reach the node.
    pub(in crate::store) fn is_registered(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Returns whether purges do not wait for the node: it has left several syncs unanswered.
    pub(in crate::store) fn is_dropped(&self) -> bool {
        self.node.silent >= SILENT_SYNCS_MAX
    }

    /// Returns whether Redis has lost its registration.
    pub(in crate::store) fn is_lost(&self) -> bool {
        self.listing == NodeListing::Lost
    }
}

impl FleetMembership {
    pub(in crate::store) fn new(name: &str, alone_max: Duration) -> Self {
        Self {
            id: fastrand::u64(..),
            name: name.into(),
            workers: AtomicU32::new(0),
            opened: AtomicU32::new(0),
            alone_max,
            begin: time::instant(),
            renewed: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            left: AtomicBool::new(false),
            known: Mutex::default(),
            other_rules: Mutex::default(),
            due: Notify::new(),
        }
    }

    /// Counts a worker that opens the store; returns whether it is the first.
    pub(in crate::store) fn worker_opened(&self) -> bool {
        self.opened.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Counts a worker that is subscribed for the first time.
    pub(in crate::store) fn worker_subscribed(&self) {
        self.workers.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the number of workers that acknowledge syncs.
    pub(in crate::store) fn workers(&self) -> u32 {
        self.workers.load(Ordering::Acquire)
    }

    /// Returns the lifetime of a registration.
    pub(in crate::store) fn lifetime(&self) -> Duration {
        self.alone_max.saturating_add(REGISTRATION_EXTRA)
    }

    /// Returns the pause between two renewals: a fraction of the time that they allow.
    pub(in crate::store) fn renewal_interval(&self) -> Duration {
        (self.alone_max / 8).clamp(REGISTRATION_INTERVAL_MIN, REGISTRATION_INTERVAL_MAX)
    }

    /// Records a confirmed renewal that was sent then.
    pub(in crate::store) fn renewed(&self, sent: Instant) {
        self.refused.store(false, Ordering::Release);
        if !self.has_left() {
            let since = sent.saturating_duration_since(self.begin).as_nanos();
            self.renewed.fetch_max(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
        }
    }

    /// Records that Redis refuses registrations; returns whether it did not before.
    pub(in crate::store) fn refuse(&self) -> bool {
        !self.refused.swap(true, Ordering::AcqRel)
    }

    /// Ends the membership: this node serves nothing alone, and does not register again.
    pub(in crate::store) fn leave(&self) {
        self.left.store(true, Ordering::Release);
        self.renewed.store(0, Ordering::Release);
    }

    pub(in crate::store) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Returns whether this node may serve from memory alone the entries that it had when it lost
    /// Redis. If Redis refuses to register the node, the time counts from the loss of its
    /// connections.
    pub(in crate::store) fn may_serve_alone(&self, now: Instant, disconnected_for: Duration) -> bool {
        if self.refused.load(Ordering::Acquire) {
            return disconnected_for < self.alone_max;
        }
        let renewed = self.renewed.load(Ordering::Acquire).checked_sub(1).map(Duration::from_nanos);
        renewed.is_some_and(|since| now.saturating_duration_since(self.begin + since) < self.alone_max)
    }

    /// Returns the longest time for which memory serves an entry alone.
    pub(in crate::store) fn alone_max(&self) -> Duration {
        self.alone_max
    }

    /// Returns the version of the last known registry.
    pub(in crate::store) fn version(&self) -> RegistryVersion {
        self.known().version
    }

    /// Records a registry that was read. `sent` is the version known when the read was sent: a
    /// lower one in the reply means that Redis has lost changes.
    pub(in crate::store) fn record(&self, registry: NodeRegistry, sent: RegistryVersion, now: Instant) {
        let NodeRegistry { now: redis_now, version, nodes } = registry;
        let mut known = self.known();
        let is_same = version.birth == known.version.birth;
        let went_back = version.birth == sent.birth && version.revision < sent.revision;
        if is_same && !went_back && version.revision < known.version.revision {
            // A later read was answered first.
            return;
        }
        let is_lost = !is_same || went_back;
        let left_over: Vec<_> = known
            .nodes
            .drain(..)
            .filter(|one| now < one.until && (is_lost || one.is_lost()))
            .filter(|one| nodes.iter().all(|node| node.id != one.node.id))
            .map(|one| KnownNode { listing: NodeListing::Lost, ..one })
            .collect();
        let listed = nodes.into_iter().map(|node| {
            let left = Duration::from_millis(node.expires.saturating_sub(redis_now));
            KnownNode { until: now + left, listing: NodeListing::Listed, node }
        });
        known.nodes = listed.chain(left_over).collect();
        known.version = version;
    }

    /// Counts a sync that these nodes left unanswered, for those that Redis does not list.
    pub(in crate::store) fn note_silent(&self, ids: &[u64]) {
        for one in &mut self.known().nodes {
            if one.is_lost() && ids.contains(&one.node.id) {
                one.node.silent = one.node.silent.saturating_add(1);
            }
        }
    }

    /// Records the nodes that use other routes, and logs a change of them.
    pub(in crate::store) fn note_other_rules(&self, names: Vec<String>) {
        // The lock guards one assignment.
        let mut known = self.other_rules.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == names {
            return;
        }
        if names.is_empty() {
            tracing::info!("all nodes use the routes of this node");
        } else {
            let nodes = names.join(", ");
            tracing::warn!(nodes, "nodes use other routes; purges are unconfirmed until all use the same");
        }
        *known = names;
    }

    /// Returns the names of the nodes that used other routes in the last sync.
    pub(in crate::store) fn other_rules(&self) -> Vec<String> {
        self.other_rules.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the known nodes, expired ones included.
    pub(in crate::store) fn nodes(&self) -> Vec<KnownNode> {
        self.known().nodes.clone()
    }

    fn known(&self) -> MutexGuard<'_, KnownNodes> {
        // A panic leaves the nodes of one registry or of none.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: RegistryVersion = RegistryVersion { birth: 1, revision: 5 };

    fn registry(version: RegistryVersion, nodes: &[(u64, u64)]) -> NodeRegistry {
        let node = |&(id, expires): &(u64, u64)| RegisteredNode {
            id,
            expires,
            silent: 0,
            workers: 1,
            name: format!("n{id}").into(),
        };
        NodeRegistry { now: 1_000, version, nodes: nodes.iter().map(node).collect() }
    }

    fn membership() -> FleetMembership {
        FleetMembership::new("n", Duration::from_secs(10))
    }

    fn registered(fleet: &FleetMembership, now: Instant) -> Vec<u64> {
        let mut ids: Vec<_> =
            fleet.nodes().iter().filter(|one| one.is_registered(now)).map(|one| one.node.id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_registration_counts_until_it_expires_or_the_node_leaves() {
        let (fleet, now) = (membership(), time::instant());
        fleet.record(registry(FIRST, &[(1, 4_000), (2, 2_000)]), fleet.version(), now);
        assert_eq!(registered(&fleet, now), [1, 2]);
        assert_eq!(registered(&fleet, now + Duration::from_millis(1_500)), [1]);
        let next = RegistryVersion { revision: 6, ..FIRST };
        fleet.record(registry(next, &[(1, 900), (2, 2_000)]), fleet.version(), now);
        assert_eq!(registered(&fleet, now), [2], "the first node has left");
        fleet.record(registry(FIRST, &[(1, 4_000)]), RegistryVersion::default(), now);
        assert_eq!(registered(&fleet, now), [2], "an earlier reply arrives late");
    }

    #[test]
    fn a_registration_that_redis_has_lost_still_counts() {
        for lost in [RegistryVersion { birth: 2, revision: 1 }, RegistryVersion { revision: 3, ..FIRST }] {
            let (fleet, now) = (membership(), time::instant());
            fleet.record(registry(FIRST, &[(1, 4_000), (2, 4_000)]), fleet.version(), now);
            fleet.record(registry(lost, &[(1, 5_000)]), fleet.version(), now);
            assert_eq!(registered(&fleet, now), [1, 2], "{lost:?}");
            let next = RegistryVersion { revision: lost.revision + 1, ..lost };
            fleet.record(registry(next, &[(1, 5_000)]), fleet.version(), now);
            assert_eq!(registered(&fleet, now), [1, 2], "{lost:?}");
            for _ in 0..SILENT_SYNCS_MAX {
                assert!(!fleet.nodes().iter().any(KnownNode::is_dropped));
                fleet.note_silent(&[1, 2]);
            }
            let dropped: Vec<_> =
                fleet.nodes().iter().filter(|one| one.is_dropped()).map(|one| one.node.id).collect();
            assert_eq!(dropped, [2], "Redis counts for the listed node");
            let next = RegistryVersion { revision: lost.revision + 2, ..lost };
            fleet.record(registry(next, &[(1, 5_000), (2, 5_000)]), fleet.version(), now);
            assert!(fleet.nodes().iter().all(|one| !one.is_lost()), "it has registered again");
            assert_eq!(registered(&fleet, now + Duration::from_secs(4)), [0; 0]);
        }
    }

    #[test]
    fn a_node_serves_alone_for_a_time_after_its_last_renewal() {
        let (fleet, now) = (membership(), time::instant());
        let (soon, late) = (Duration::from_secs(9), Duration::from_secs(11));
        assert!(!fleet.may_serve_alone(now, soon), "it was never registered");
        fleet.renewed(now);
        assert!(fleet.may_serve_alone(now + soon, late));
        assert!(!fleet.may_serve_alone(now + late, soon));
        assert!(fleet.lifetime() > Duration::from_secs(12));
        assert!(fleet.refuse() && !fleet.refuse());
        assert!(fleet.may_serve_alone(now + late, soon) && !fleet.may_serve_alone(now + soon, late));
        fleet.renewed(now + late);
        assert!(fleet.may_serve_alone(now + late + soon, late));
        fleet.leave();
        fleet.renewed(now + late);
        assert!(!fleet.may_serve_alone(now + late, Duration::ZERO), "it has left");
        let never = FleetMembership::new("n", Duration::ZERO);
        never.renewed(now);
        assert!(!never.may_serve_alone(now, Duration::ZERO));
    }
}
