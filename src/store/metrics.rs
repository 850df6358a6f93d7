//! What the tiers count.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::EntryError;
use crate::store::tiers::memory::MemoryTier;
use crate::telemetry::{Counter, Counters, Histograms, Registry};

crate::labels! {
    /// How a lookup ended.
    pub(super) enum LookupOutcome {
        /// Found in this process.
        Memory => "memory",
        /// Found in Redis.
        Redis => "redis",
        /// Found, and purged since.
        Purged => "purged",
        /// Redis has nothing.
        Miss => "miss",
        /// Redis could not be asked.
        Unavailable => "unavailable",
    }
}

crate::labels! {
    /// What Redis' news of a change were about.
    pub(super) enum InvalidationKind {
        /// Something that was held in memory, and is not any more.
        Held => "held",
        /// Something that memory did not have, or had lost to an earlier one.
        NotHeld => "not-held",
    }
}

crate::labels! {
    /// What changed in Redis.
    pub(super) enum ChangeKind {
        /// Something was purged: from when the fleet was told, by the clock of the node that
        /// purged, until this worker had heard everything that had changed until then.
        Purge => "purge",
        /// Another node has stored something else: from when it had that from the origin, by its
        /// clock, until memory here let go of the old. Known when the new is read from Redis.
        Write => "write",
    }
}

crate::labels! {
    /// What came of a question for the lease of a key.
    pub(super) enum LeaseOutcome {
        /// It was free, and is ours.
        Taken => "taken",
        /// Another's, which has ended.
        Awaited => "awaited",
        /// Another's, which had not ended when we had waited long enough.
        TimedOut => "timed-out",
        /// Ours, and ended by Redis before we were done: we were away for too long.
        Lost => "lost",
        /// Redis could not be asked, or cannot say when a lease ends.
        Unavailable => "unavailable",
    }
}

/// One worker's counters.
pub(super) struct Metrics {
    lookups: Counters<LookupOutcome>,
    damaged: Counters<EntryError>,
    too_large: Counter,
    writes_lost: Counter,
    removals_lost: Counter,
    overtaken: Counter,
    invalidations: Counters<InvalidationKind>,
    leases: Counters<LeaseOutcome>,
    staleness: Histograms<ChangeKind>,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            lookups: registry.counters(
                "cachewarp_store_lookups",
                "Lookups in the tiers, by where they ended",
                "result",
            ),
            damaged: registry.counters(
                "cachewarp_entries_damaged",
                "Stored bytes that were refused, by reason",
                "reason",
            ),
            too_large: registry
                .counter("cachewarp_entries_too_large", "Responses whose head exceeds the entry's bound"),
            writes_lost: registry
                .counter("cachewarp_store_writes_lost", "Entries that memory has and Redis did not take"),
            removals_lost: registry.counter(
                "cachewarp_store_removals_lost",
                "Entries that were to be removed and that Redis may still have",
            ),
            overtaken: registry.counter(
                "cachewarp_store_overtaken",
                "Entries that Redis did not take, since their key was purged after their fetch began",
            ),
            invalidations: registry.counters(
                "cachewarp_memory_invalidations",
                "News from Redis that an entry has changed, by whether memory had it",
                "entry",
            ),
            staleness: registry.histograms(
                "cachewarp_staleness_seconds",
                "For how long after a change in Redis this node may have served what was there before, as well as clocks can tell",
                "change",
            ),
            leases: registry.counters(
                "cachewarp_fetch_leases",
                "Questions whether another node fetches the same already, by what came of them",
                "result",
            ),
        }
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

    pub(super) fn overtaken(&self) {
        self.overtaken.inc();
    }

    pub(super) fn invalidated(&self, held: bool) {
        self.invalidations.inc(if held { InvalidationKind::Held } else { InvalidationKind::NotHeld });
    }

    pub(super) fn caught_up(&self, change: ChangeKind, took: Duration) {
        self.staleness.observe(change, took);
    }

    pub(super) fn leased(&self, result: LeaseOutcome) {
        self.leases.inc(result);
    }

    pub(super) fn write_lost(&self) {
        self.writes_lost.inc();
    }
}

/// Shows the size of the memory tier.
pub(super) fn watch_memory(memory: &Arc<MemoryTier>, registry: &Registry) {
    let held = Arc::clone(memory);
    registry.sampled(
        "cachewarp_memory_bytes",
        "Bytes that the memory tier holds, everything counted",
        move || held.bytes() as f64,
    );
    let held = Arc::clone(memory);
    registry.sampled("cachewarp_memory_entries", "Entries that the memory tier holds", move || {
        held.entries() as f64
    });
}
