//! The use of the purges that a node with keys remembers (`remembered.rs`).

use crate::entry::{PurgeGeneration, TagDigest};
use crate::store::purge::cached::Cached;
use crate::store::purge::log::{PurgeLog, TagGeneration};
use crate::store::purge::names::PurgeStrength;
use crate::store::purge::state::PurgeState;
use crate::time::Timestamp;

impl PurgeState {
    /// Returns the generation of a tag that was read, with the purges that a node with keys
    /// remembers.
    pub(in crate::store) fn not_before(
        &self,
        tag: TagDigest,
        read: Option<TagGeneration>,
    ) -> Option<TagGeneration> {
        let known = if self.remembered.is_some() { self.tags.get(&tag.0) } else { None };
        match known.and_then(|known| known.value) {
            Some(known) => read.map(|read| read.not_before(known)),
            None => read,
        }
    }

    /// Remembers the hard purge of a key, or the removal of a variant, in a node with keys.
    pub(in crate::store) fn remember(&self, name: u128, at: Timestamp) {
        if let Some(remembered) = &self.remembered {
            remembered.add(name, at);
        }
    }

    /// Returns a log that was read, with the purges that a node with keys remembers.
    pub(in crate::store) fn with_known(&self, log: PurgeLog, now: Timestamp) -> PurgeLog {
        match &self.remembered {
            Some(remembered) => remembered.with_known(log, now),
            None => log,
        }
    }

    /// Remembers the purge of a tag that this process has written, in a node with keys. The tag
    /// stays unknown until it is read.
    pub(in crate::store) fn remember_tag(
        &self,
        tag: TagDigest,
        PurgeGeneration { epoch, count }: PurgeGeneration,
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        if self.remembered.is_none() {
            return;
        }
        let none = TagGeneration { epoch, hard: 0, soft: (0, Timestamp::EPOCH) };
        let purged = match strength {
            PurgeStrength::Hard => TagGeneration { hard: count, ..none },
            PurgeStrength::Soft => TagGeneration { soft: (count, now), ..none },
        };
        let (log, value) = (self.generation(), self.not_before(tag, Some(purged)));
        self.tags.insert(tag.0, Cached { value, trust: None, kept_until: None, log });
    }
}
