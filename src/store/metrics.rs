//! The metrics of the tiers.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::EntryError;
use crate::sealing::SharedSealKeys;
use crate::store::purge::state::PurgeState;
use crate::store::tiers::memory::MemoryTier;
use crate::telemetry::{Counter, Counters, Histograms, Registry};

crate::labels! {
    /// The result of a lookup.
    pub(super) enum LookupOutcome {
        /// Memory has the entry.
        Memory => "memory",
        /// Redis has the entry.
        Redis => "redis",
        /// A purge covers the entry that was found.
        Purged => "purged",
        /// Redis has no entry.
        Miss => "miss",
        /// Redis does not answer.
        Unavailable => "unavailable",
    }
}

crate::labels! {
    /// The effect of an invalidation from Redis.
    pub(super) enum InvalidationKind {
        /// Memory held the entry and has dropped it.
        Held => "held",
        /// Memory did not hold the entry, or an earlier invalidation had removed it.
        NotHeld => "not-held",
    }
}

crate::labels! {
    /// The kind of a change in Redis.
    pub(super) enum ChangeKind {
        /// A purge. Its time runs from the start of the purge, by the clock of the purging node,
        /// until this worker has processed every invalidation sent until then.
        Purge => "purge",
        /// A newer entry from another node. Its time runs from the receipt of that entry from the
        /// origin, by the other node's clock, until memory here drops the old one. This node learns
        /// both times when it reads the new entry from Redis.
        Write => "write",
    }
}

crate::labels! {
    /// The result of a request for the lease of a key.
    pub(super) enum LeaseOutcome {
        /// This node got the lease.
        Taken => "taken",
        /// Another node's lease has ended.
        Awaited => "awaited",
        /// Another node's lease was still held when the wait timed out.
        TimedOut => "timed-out",
        /// Redis expired this node's lease before the fetch ended: the node was away for too long.
        Lost => "lost",
        /// Redis does not answer, or cannot push the end of a lease.
        Unavailable => "unavailable",
    }
}

crate::labels! {
    /// The result of the repetition of a pending purge.
    pub(super) enum RepeatOutcome {
        /// Redis has the purge.
        Accepted => "accepted",
        /// Redis has refused it again, or has not answered.
        Refused => "refused",
    }
}

/// The counters of one worker.
pub(super) struct Metrics {
    lookups: Counters<LookupOutcome>,
    damaged: Counters<EntryError>,
    too_large: Counter,
    writes_lost: Counter,
    removals_lost: Counter,
    superseded: Counter,
    invalidations: Counters<InvalidationKind>,
    leases: Counters<LeaseOutcome>,
    repeated: Counters<RepeatOutcome>,
    coarsened: Counter,
    staleness: Histograms<ChangeKind>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            lookups: registry.counters(
                "cachewarp_store_lookups",
                "Lookups in the tiers, by result",
                "result",
            ),
            damaged: registry.counters(
                "cachewarp_entries_damaged",
                "Stored bytes that the decoder refused, by reason",
                "reason",
            ),
            too_large: registry
                .counter("cachewarp_entries_too_large", "Responses whose head exceeds the limit of an entry"),
            writes_lost: registry
                .counter("cachewarp_store_writes_lost", "Entries that memory holds and Redis did not store"),
            removals_lost: registry.counter(
                "cachewarp_store_removals_lost",
                "Removals that Redis did not confirm",
            ),
            superseded: registry.counter(
                "cachewarp_store_superseded",
                "Entries not stored in Redis because their key was purged after the fetch began",
            ),
            invalidations: registry.counters(
                "cachewarp_memory_invalidations",
                "Invalidations of entries pushed by Redis, by whether memory held the entry",
                "entry",
            ),
            staleness: registry.histograms(
                "cachewarp_staleness_seconds",
                "Time after a change in Redis during which this node may have served the previous entry, as far as clocks agree",
                "change",
            ),
            leases: registry.counters(
                "cachewarp_fetch_leases",
                "Requests for the lease of a key, by result",
                "result",
            ),
            repeated: registry.counters(
                "cachewarp_purges_repeated",
                "Repetitions of purges that Redis had not accepted, by result",
                "result",
            ),
            coarsened: registry.counter(
                "cachewarp_purges_coarsened",
                "Pending purges that a coarser one has replaced because they were too many",
            ),
        }
    }

    pub(super) fn purges_repeated(&self, accepted: usize, refused: usize) {
        self.repeated.add(RepeatOutcome::Accepted, accepted as u64);
        self.repeated.add(RepeatOutcome::Refused, refused as u64);
    }

    pub(super) fn purges_coarsened(&self, times: u64) {
        self.coarsened.add(times);
    }

    pub(super) fn lookup(&self, result: LookupOutcome) {
        self.lookups.inc(result);
    }

    pub(super) fn damaged(&self, damage: EntryError) {
        self.damaged.inc(damage);
    }

    pub(super) fn too_large(&self) {
        self.too_large.inc();
    }

    pub(super) fn removal_lost(&self) {
        self.removals_lost.inc();
    }

    pub(super) fn superseded(&self) {
        self.superseded.inc();
    }

    pub(super) fn invalidated(&self, held: bool) {
        self.invalidations.inc(if held { InvalidationKind::Held } else { InvalidationKind::NotHeld });
    }

    pub(super) fn observe_staleness(&self, change: ChangeKind, took: Duration) {
        self.staleness.observe(change, took);
    }

    pub(super) fn leased(&self, result: LeaseOutcome) {
        self.leases.inc(result);
    }

    pub(super) fn write_lost(&self) {
        self.writes_lost.inc();
    }
}

/// Registers the gauges of the memory tier.
pub(super) fn watch_memory(memory: &Arc<MemoryTier>, registry: &Registry) {
    let held = Arc::clone(memory);
    registry.sampled(
        "cachewarp_memory_bytes",
        "Bytes that the memory tier holds, overhead included",
        move || held.bytes() as f64,
    );
    let held = Arc::clone(memory);
    registry.sampled("cachewarp_memory_entries", "Entries that the memory tier holds", move || {
        held.entries() as f64
    });
    let held = Arc::clone(memory);
    registry.sampled_counter(
        "cachewarp_memory_evictions",
        "Entries that the memory tier removed to make room",
        move || held.evictions() as f64,
    );
}

/// Registers the gauge of the seals of a key.
pub(super) fn watch_seals(keys: &SharedSealKeys, registry: &Registry) {
    let keys = keys.clone();
    registry.sampled(
        "cachewarp_entry_key_seals",
        "Values that this process has sealed with the first key of entry_key_file",
        move || keys.get().map_or(0.0, |keys| keys.seals() as f64),
    );
}

/// Registers the gauge of the purges that Redis has not accepted.
pub(super) fn watch_pending_purges(purges: &Arc<PurgeState>, registry: &Registry) {
    let purges = Arc::clone(purges);
    registry.sampled(
        "cachewarp_purges_pending",
        "Purges that Redis has not accepted, and that this node repeats",
        move || purges.local().count() as f64,
    );
}
