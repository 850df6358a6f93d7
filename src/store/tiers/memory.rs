//! The memory tier: the same bytes as in Redis, up to `cache_memory_size`.
//!
//! quick_cache (Clock-PRO: a scan does not evict the hot entries) holds each encoded entry in one
//! exact allocation, so the counted bytes are resident bytes, and no entry pins a read buffer. The
//! key is the half of the cache key's digest that is the entry's name in Redis, so that the
//! invalidations of that name find it; the entry contains the whole digest, and the decoder
//! compares it. All workers share the tier; a lookup holds a shard's lock while it increments a
//! reference count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use crate::entry::{self, EntryHeader, KeyGeneration};
use crate::hash::SeededBuildHasher;
use crate::limits::{
    MEMORY_ENTRIES_MAX, MEMORY_ENTRY_OVERHEAD_BYTES, MEMORY_ENTRY_TYPICAL_BYTES, MEMORY_SHARD_ENTRIES_MIN,
    MEMORY_SHARDS_MAX,
};
use crate::store::purge::verdict::CheckedAt;
use crate::store::trust::EntryTrust;
use crate::time::Timestamp;

/// One entry in memory.
#[derive(Clone)]
pub(in crate::store) struct MemoryEntry {
    /// The bytes from [`crate::entry::encode`], in an allocation of their own.
    pub(in crate::store) bytes: Bytes,
    /// The trust that Redis still has these bytes.
    pub(in crate::store) trust: EntryTrust,
    /// The purge state at which the entry was found valid.
    pub(in crate::store) checked: CheckedAt,
}

/// The memory tier.
pub(in crate::store) struct MemoryTier {
    cache: MemoryCache,
    evictions: Arc<AtomicU64>,
}

type MemoryCache = Cache<u128, MemoryEntry, EntryWeight, SeededBuildHasher, CountedEvictions>;

impl MemoryTier {
    /// Allocates a tier of at most `bytes`, overhead included, for bodies of at most
    /// `body_bytes_max`.
    pub(in crate::store) fn new(bytes: usize, body_bytes_max: usize) -> Self {
        let entries = (bytes / MEMORY_ENTRY_TYPICAL_BYTES).clamp(1, MEMORY_ENTRIES_MAX);
        let weight = u64::try_from(bytes).unwrap_or(u64::MAX);
        let options = OptionsBuilder::new()
            .shards(shards(bytes, body_bytes_max))
            .estimated_items_capacity(entries)
            .weight_capacity(weight)
            .build();
        let evictions = Arc::new(AtomicU64::new(0));
        let counted = CountedEvictions { count: Arc::clone(&evictions), inner: DefaultLifecycle::default() };
        let hash = SeededBuildHasher::default();
        let cache = match options {
            Ok(options) => Cache::with_options(options, EntryWeight, hash, counted),
            // Unreachable while every option above is set.
            Err(_) => Cache::with(entries, weight, EntryWeight, hash, counted),
        };
        Self { cache, evictions }
    }

    pub(in crate::store) fn get(&self, name: u128) -> Option<MemoryEntry> {
        self.cache.get(&name)
    }

    pub(in crate::store) fn insert(&self, name: u128, held: MemoryEntry) {
        self.cache.insert(name, held);
    }

    /// Records the purge state at which the entry `of` was found valid, unless another one has
    /// replaced it.
    pub(in crate::store) fn set_checked(&self, name: u128, of: &MemoryEntry, checked: CheckedAt) {
        // If there is no entry, the cache frees the slot at once.
        drop(self.cache.entry(&name, Some(Duration::ZERO), |_, held| {
            if held.bytes.as_ptr() == of.bytes.as_ptr() {
                held.checked = checked;
            }
            EntryAction::Retain(())
        }));
    }

    /// Removes an entry; returns whether there was one.
    pub(in crate::store) fn remove(&self, name: u128) -> bool {
        self.cache.remove(&name).is_some()
    }

    /// Removes the entry with these bytes; a later entry stays.
    pub(in crate::store) fn remove_this(&self, name: u128, bytes: &Bytes) {
        self.cache.remove_if(&name, |held| held.bytes.as_ptr() == bytes.as_ptr());
    }

    /// Removes an entry unless it was stored after this purge: its key generation differs.
    pub(in crate::store) fn remove_unless_behind(&self, name: u128, purge: KeyGeneration) {
        self.cache.remove_if(&name, |held| {
            EntryHeader::read(&held.bytes).is_none_or(|header| header.key_generation != purge)
        });
    }

    /// Removes an entry that Redis has invalidated; returns whether there was one. An entry whose
    /// write to Redis has no reply yet stays, because the invalidation concerns the value before
    /// it.
    pub(in crate::store) fn invalidate(&self, name: u128) -> bool {
        self.cache.remove_if(&name, |held| !matches!(held.trust, EntryTrust::InFlight(_))).is_some()
    }

    /// Marks an entry as stale, in a process without Redis.
    pub(in crate::store) fn mark_stale(&self, name: u128, key_generation: KeyGeneration, now: Timestamp) {
        if let Some(held) = self.get(name)
            && let Some(bytes) = entry::mark_stale(&held.bytes, key_generation, now)
        {
            self.insert(name, MemoryEntry { bytes, checked: CheckedAt::NEVER, ..held });
        }
    }

    /// Returns the bytes held, overhead included.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Returns the number of entries that were removed to make room.
    pub(in crate::store) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Returns the number of entries held.
    pub(in crate::store) fn entries(&self) -> usize {
        self.cache.len()
    }
}

/// Returns the number of shards: a power of two, so that quick_cache does not round it up.
fn shards(bytes: usize, body_bytes_max: usize) -> usize {
    let part_min = body_bytes_max.max(1).saturating_mul(MEMORY_SHARD_ENTRIES_MIN);
    let shards = (bytes / part_min).clamp(1, MEMORY_SHARDS_MAX);
    1 << shards.ilog2()
}

/// The cache's own treatment of evicted entries, and their count. A replacement is no eviction.
#[derive(Clone)]
struct CountedEvictions {
    count: Arc<AtomicU64>,
    inner: DefaultLifecycle<u128, MemoryEntry>,
}

impl Lifecycle<u128, MemoryEntry> for CountedEvictions {
    type RequestState = <DefaultLifecycle<u128, MemoryEntry> as Lifecycle<u128, MemoryEntry>>::RequestState;

    fn before_evict(&self, _: &mut Self::RequestState, _: &u128, _: &mut MemoryEntry) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn on_evict(&self, state: &mut Self::RequestState, name: u128, held: MemoryEntry) {
        self.inner.on_evict(state, name, held);
    }
}

/// The weight of an entry: its resident bytes.
#[derive(Clone)]
struct EntryWeight;

impl Weighter<u128, MemoryEntry> for EntryWeight {
    fn weight(&self, _: &u128, held: &MemoryEntry) -> u64 {
        (held.bytes.len() + MEMORY_ENTRY_OVERHEAD_BYTES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn held(bytes: usize) -> MemoryEntry {
        MemoryEntry {
            bytes: Bytes::from(vec![0; bytes]),
            trust: EntryTrust::Always,
            checked: CheckedAt::NEVER,
        }
    }

    #[test]
    fn the_tier_stays_within_its_bound() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        for n in 0..5_000 {
            memory.insert(n, held(1_000));
            assert!(memory.bytes() <= 1 << 20);
        }
        assert!(memory.entries() > 500, "{} entries fill the tier", memory.entries());
        assert_eq!(memory.evictions(), 5_000 - memory.entries() as u64);
        let (name, _) = (0..5_000).filter_map(|n| Some((n, memory.get(n)?))).next().unwrap();
        memory.insert(name, held(1_000));
        assert_eq!(memory.evictions(), 5_000 - memory.entries() as u64, "a replacement is no eviction");
    }

    #[test]
    fn a_scan_does_not_evict_hot_entries() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        let hot = 0..100_u128;
        for n in hot.clone() {
            memory.insert(n, held(1_000));
        }
        // The scan inserts twenty times the tier's capacity and looks up none of it again; hot keys
        // get a lookup now and then.
        for n in 0..20_000_u128 {
            memory.insert(1_000 + n, held(1_000));
            if n % 4 == 0 {
                let hot_key = n / 4 % 100;
                if memory.get(hot_key).is_none() {
                    memory.insert(hot_key, held(1_000));
                }
            }
        }
        let left = hot.filter(|n| memory.get(*n).is_some()).count();
        assert!(left >= 95, "{left} of 100 are left");
    }

    #[test]
    fn an_entry_larger_than_the_tier_is_not_kept() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        memory.insert(1, held(2 << 20));
        assert!(memory.get(1).is_none());
    }

    #[test]
    fn the_largest_body_fits_its_shard() {
        const MIB: usize = 1 << 20;
        for (bytes, body_bytes_max, want) in [
            (64 * MIB, MIB, 16),
            (64 * MIB, 32 * MIB, 1),
            (48 * MIB, MIB, 8),
            (MIB, MIB, 1),
            (1 << 40, MIB, 64),
        ] {
            assert_eq!(shards(bytes, body_bytes_max), want);
        }
        let memory = MemoryTier::new(64 * MIB, 16 * MIB);
        for n in 0..3 {
            memory.insert(n, held(16 * MIB));
            assert!(memory.get(n).is_some());
        }
    }

    #[test]
    fn a_replacing_entry_has_not_been_checked() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        let (old, new) = (held(10), held(10));
        let at = |revision| CheckedAt { revision, ..CheckedAt::NEVER };
        memory.insert(1, old.clone());
        memory.set_checked(1, &old, at(7));
        assert_eq!(memory.get(1).unwrap().checked, at(7));
        memory.insert(1, new);
        memory.set_checked(1, &old, at(8));
        memory.set_checked(2, &old, at(8));
        assert_eq!(memory.get(1).unwrap().checked, CheckedAt::NEVER);
    }

    #[test]
    fn replacing_an_entry_does_not_remove_its_successor() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        let (old, new) = (held(10), held(10));
        memory.insert(1, new.clone());
        memory.remove_this(1, &old.bytes);
        assert!(memory.get(1).is_some());
        memory.remove_this(1, &new.bytes);
        assert!(memory.get(1).is_none());
    }

    #[test]
    fn removed_entries_are_gone() {
        let memory = MemoryTier::new(1 << 20, 4 << 10);
        memory.insert(1, held(10));
        assert_eq!(memory.get(1).unwrap().bytes.len(), 10);
        assert!(memory.remove(1) && !memory.remove(1));
        assert!(memory.get(1).is_none());
        assert_eq!((memory.bytes(), memory.entries()), (0, 0));
    }
}
