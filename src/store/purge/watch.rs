//! The fetches under way that a change has superseded (RFC 9111 §4.4, and purges).
//!
//! Each request that asks the origin for a storable answer watches its resource from before it asks
//! until it has stored the answer. A change of the resource reaches all watches of it, and no
//! answer from before the change is stored: neither by the leader of a shared fetch, nor by an
//! unshared fetch, a validation, a background refresh, a `HEAD` or a `POST`. A watch covers the
//! resource and not a variant, because a change covers all variants.
//!
//! **Always:** a resource is in the table only while a watch of it exists, so the table has at most
//! one resource for each request under way. [`InvalidationWatch::unless_superseded`] does its work
//! before the change or not at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hash::SeededBuildHasher;
use crate::limits::SHARED_FETCH_SHARDS;

/// The watched resources, each by the half of its key's digest that names it.
pub(in crate::store) struct InvalidationWatches(Box<[WatchShard]>);

type WatchedResources = HashMap<u128, WatchedResource, SeededBuildHasher>;

type WatchShard = Mutex<WatchedResources>;

/// A resource, shared by the watches that began since its last change.
#[derive(Default)]
struct WatchedResource {
    signs: Arc<InvalidationSigns>,
    watchers: usize,
}

/// The changes of a resource since a watch began.
#[derive(Default)]
pub(in crate::store) struct InvalidationSigns {
    /// The resource has changed: every answer fetched before is superseded.
    superseded: AtomicBool,
    /// Redis holds another value by now, perhaps only one that another node has fetched.
    overwritten: AtomicBool,
}

impl InvalidationSigns {
    pub(in crate::store) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    pub(in crate::store) fn is_overwritten(&self) -> bool {
        self.overwritten.load(Ordering::Acquire)
    }
}

/// One fetch's watch of its resource. Dropping it ends the watch.
pub(in crate::store) struct InvalidationWatch {
    watches: Arc<InvalidationWatches>,
    resource: u128,
    signs: Arc<InvalidationSigns>,
}

impl InvalidationWatches {
    /// Returns an empty table.
    pub(in crate::store) fn new() -> Arc<Self> {
        Arc::new(Self((0..SHARED_FETCH_SHARDS).map(|_| WatchShard::default()).collect()))
    }

    /// Starts a watch.
    pub(in crate::store) fn watch(self: &Arc<Self>, resource: u128) -> InvalidationWatch {
        let signs = self.shard(resource).map(|mut shard| {
            let watched = shard.entry(resource).or_default();
            watched.watchers += 1;
            Arc::clone(&watched.signs)
        });
        InvalidationWatch { watches: Arc::clone(self), resource, signs: signs.unwrap_or_default() }
    }

    /// Marks all watches of the resource as superseded. A watch that starts afterwards sees the new
    /// state.
    pub(in crate::store) fn changed(&self, resource: u128) {
        if let Some(mut shard) = self.shard(resource)
            && let Some(WatchedResource { signs, .. }) = shard.remove(&resource)
        {
            signs.superseded.store(true, Ordering::Release);
        }
    }

    /// Marks all watches of the resource: Redis holds another value.
    pub(in crate::store) fn overwritten(&self, resource: u128) {
        if let Some(shard) = self.shard(resource)
            && let Some(WatchedResource { signs, .. }) = shard.get(&resource)
        {
            signs.overwritten.store(true, Ordering::Release);
        }
    }

    fn shard(&self, resource: u128) -> Option<MutexGuard<'_, WatchedResources>> {
        let index = usize::try_from(resource % self.0.len() as u128).ok()?;
        // Each critical section makes one insertion or removal: a panic leaves nothing half done.
        Some(self.0.get(index)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl InvalidationWatch {
    /// Returns whether the resource has changed since the watch began.
    pub(in crate::store) fn is_superseded(&self) -> bool {
        self.signs.is_superseded()
    }

    /// Returns whether Redis has pushed an invalidation of the resource since the watch began.
    pub(in crate::store) fn is_overwritten(&self) -> bool {
        self.signs.is_overwritten()
    }

    /// Returns the shared flags, for requests that join the fetch.
    pub(in crate::store) fn signs(&self) -> Arc<InvalidationSigns> {
        Arc::clone(&self.signs)
    }

    /// Runs some short work unless the resource has changed; a change waits for the work to end.
    pub(in crate::store) fn unless_superseded(&self, work: impl FnOnce()) {
        if let Some(_held) = self.watches.shard(self.resource)
            && !self.is_superseded()
        {
            work();
        }
    }
}

impl Drop for InvalidationWatch {
    fn drop(&mut self) {
        if let Some(mut shard) = self.watches.shard(self.resource)
            && let Entry::Occupied(mut slot) = shard.entry(self.resource)
            // After a change, the entry may belong to later watches.
            && Arc::ptr_eq(&slot.get().signs, &self.signs)
        {
            slot.get_mut().watchers -= 1;
            if slot.get().watchers == 0 {
                slot.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(watches: &InvalidationWatches) -> usize {
        watches.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_change_supersedes_earlier_watches() {
        let watches = InvalidationWatches::new();
        let before = [watches.watch(1), watches.watch(1)];
        let other = watches.watch(2);
        watches.changed(1);
        let after = watches.watch(1);
        assert!(before.iter().all(InvalidationWatch::is_superseded));
        assert!(!other.is_superseded() && !after.is_superseded());
        drop(before);
        watches.changed(1);
        assert!(after.is_superseded(), "dropped watches keep its slot");
    }

    #[test]
    fn a_superseded_watch_runs_no_work() {
        let watches = InvalidationWatches::new();
        let watch = watches.watch(1);
        let mut done = 0;
        watch.unless_superseded(|| done += 1);
        watches.overwritten(1);
        assert!(watch.is_overwritten() && !watch.is_superseded());
        watch.unless_superseded(|| done += 1);
        watches.changed(1);
        watch.unless_superseded(|| done += 1);
        assert_eq!(done, 2);
    }

    #[test]
    fn dropped_watches_leave_no_entry() {
        let watches = InvalidationWatches::new();
        let (one, two) = (watches.watch(1), watches.watch(1));
        drop(one);
        assert_eq!(watched(&watches), 1);
        drop(two);
        assert_eq!(watched(&watches), 0);
        watches.changed(1);
        watches.overwritten(1);
        drop(watches.watch(1));
        assert_eq!(watched(&watches), 0);
    }
}
