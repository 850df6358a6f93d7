//! The changes of tag generations that Redis has pushed to this process.
//!
//! An entry whose tags were found unchanged stays so until Redis pushes a change of one of them, or
//! a connection that would receive the push is lost. Its [`TagStamp`] is the sum of the counters of
//! its tags and of the losses: while the sum is the same, no tag is looked up again, however many
//! other tags are purged, and however many tag generations the process has forgotten.
//!
//! **Always:** a counter grows after the cached generation is removed. A check reads the stamp
//! before it reads generations, so a generation that is read before a removal has an old stamp.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::TagDigest;
use crate::limits::TAG_CHANGE_COUNTERS;
use crate::redis::TrackingTable;

/// The state of an entry's tags at a check; zero if they were not all known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct TagStamp(u64);

impl TagStamp {
    /// The stamp of tags that were not all known.
    pub(in crate::store) const UNKNOWN: Self = Self(0);
}

/// The counters.
pub(in crate::store) struct TagChanges {
    /// Blocks, which are set to zero as a whole: simulations create a table for each node.
    counters: Box<[[AtomicU64; COUNTERS_IN_BLOCK]]>,
    tracking: Arc<TrackingTable>,
}

const COUNTERS_IN_BLOCK: usize = 1024;
const _: () = assert!(TAG_CHANGE_COUNTERS.is_multiple_of(COUNTERS_IN_BLOCK));

impl TagChanges {
    pub(in crate::store) fn new(tracking: Arc<TrackingTable>) -> Self {
        let blocks = 0..TAG_CHANGE_COUNTERS / COUNTERS_IN_BLOCK;
        let counters = blocks.map(|_| [const { AtomicU64::new(0) }; COUNTERS_IN_BLOCK]).collect();
        Self { counters, tracking }
    }

    /// Counts a change of a tag, after its cached generation was removed or replaced.
    pub(in crate::store) fn changed(&self, tag: u128) {
        if let Some(counter) = self.counter(tag) {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Returns the stamp of these tags. All counters only grow, so the sum changes with any.
    pub(in crate::store) fn stamp(&self, tags: impl Iterator<Item = TagDigest>) -> TagStamp {
        let counts = tags.filter_map(|tag| Some(self.counter(tag.0)?.load(Ordering::Acquire)));
        TagStamp(counts.fold(self.tracking.losses() + 1, u64::wrapping_add))
    }

    fn counter(&self, tag: u128) -> Option<&AtomicU64> {
        let number = usize::try_from(tag % TAG_CHANGE_COUNTERS as u128).ok()?;
        self.counters.as_flattened().get(number)
    }
}
