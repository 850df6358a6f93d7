//! The purges that this process remembers, of a node with keys.
//!
//! A client that can write to Redis can bring back an older state: a sealed entry in the place of
//! its tombstone, or an earlier generation of a tag. The process knows better: it does not use an
//! entry that it received before a purge, and takes no tag or log for less purged than it was.
//!
//! A mark covers the entries received before it, by the clock of the node that received them. An
//! entry of a node whose clock is behind may be covered too, which costs a fetch.

use std::sync::{Mutex, PoisonError};

use quick_cache::sync::Cache;

use crate::entry;
use crate::key::{CacheKey, NameKey, Target};
use crate::limits::PURGED_KEYS_REMEMBERED;
use crate::store::purge::log::{PurgeLog, PurgeStatus, TagGeneration};
use crate::time::Timestamp;

/// The hard purges of single keys that this process remembers, the most recent ones, and the last
/// purge log.
pub(in crate::store) struct RememberedPurges {
    name_key: NameKey,
    /// The time of the last purge of each key, by half of the key's digest.
    times: Cache<u128, Timestamp>,
    /// The last purge log, with the purges that another client has removed from it.
    log: Mutex<Option<PurgeLog>>,
}

impl RememberedPurges {
    pub(in crate::store) fn new(name_key: NameKey) -> Self {
        Self { name_key, times: Cache::new(PURGED_KEYS_REMEMBERED), log: Mutex::default() }
    }

    /// Remembers that the entries of a key that were received before this time are purged.
    pub(in crate::store) fn add(&self, name: u128, at: Timestamp) {
        let known = self.times.get(&name);
        self.times.insert(name, known.map_or(at, |known| known.max(at)));
    }

    /// Returns a purge log that was read, with the purges that earlier logs had; and remembers it.
    pub(in crate::store) fn with_known(&self, mut log: PurgeLog, now: Timestamp) -> PurgeLog {
        let mut known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            log.keep_known(known, now);
        }
        *known = Some(log.clone());
        log
    }

    /// Returns whether a purge of the key with this name covers an entry that was received then.
    pub(in crate::store) fn covers(&self, name: u128, received: Timestamp) -> bool {
        self.times.get(&name).is_some_and(|at| received < at)
    }

    /// Returns the effect of the purges on an entry of this target.
    pub(in crate::store) fn judge(&self, bytes: &[u8], target: &Target) -> PurgeStatus {
        if self.times.is_empty() {
            return PurgeStatus::Valid;
        }
        // A list of variants has no time of receipt; its variants have.
        let Some(received) = entry::received(bytes) else { return PurgeStatus::Valid };
        let resource = CacheKey::of_resource(target, &self.name_key).short();
        let names = [Some(resource), entry::key_name(bytes)];
        if names.into_iter().flatten().any(|name| self.covers(name, received)) {
            PurgeStatus::Purged
        } else {
            PurgeStatus::Valid
        }
    }
}

impl TagGeneration {
    /// Returns the generation with the later purges of both, if they are of one epoch; else the
    /// generation that was read.
    pub(in crate::store) fn not_before(self, known: Self) -> Self {
        if self.epoch != known.epoch {
            return self;
        }
        let soft = if known.soft.0 > self.soft.0 { known.soft } else { self.soft };
        Self { hard: self.hard.max(known.hard), soft, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::entry::{Entry, EntryVersion, StoredValue};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn target(path: &str) -> Target {
        Target::of_url(&format!("http://a.test{path}")).unwrap()
    }

    #[test]
    fn an_entry_from_before_a_purge_is_purged() {
        let name_key = NameKey::new(&[1; 32]);
        let resource = |path| CacheKey::of_resource(&target(path), &name_key);
        let entry = |key: &CacheKey, received| {
            let received = Timestamp::from_millis(received);
            let stored = StoredValue::Response(Entry::fresh_for(HOUR, received, Bytes::new()));
            entry::encode(key, &stored, &EntryVersion::default()).unwrap()
        };
        let purges = RememberedPurges::new(name_key.clone());
        let judge = |bytes: &Bytes, path| purges.judge(bytes, &target(path));
        assert_eq!(judge(&entry(&resource("/a"), 5), "/a"), PurgeStatus::Valid);
        for at in [10, 20, 15] {
            purges.add(resource("/a").short(), Timestamp::from_millis(at));
        }
        let variant = resource("/a").variant(7, std::iter::empty());
        for (key, path, received, status) in [
            (resource("/a"), "/a", 19, PurgeStatus::Purged),
            (resource("/a"), "/a", 20, PurgeStatus::Valid),
            (variant, "/a", 19, PurgeStatus::Purged),
            (resource("/b"), "/b", 19, PurgeStatus::Valid),
        ] {
            assert_eq!(judge(&entry(&key, received), path), status, "{key:?} {received}");
        }
        // The removal of one variant.
        let other = resource("/b").variant(7, std::iter::empty());
        purges.add(other.short(), Timestamp::from_millis(20));
        assert_eq!(judge(&entry(&other, 19), "/b"), PurgeStatus::Purged);
        assert_eq!(judge(&entry(&resource("/b"), 19), "/b"), PurgeStatus::Valid);
    }

    #[test]
    fn a_tag_generation_does_not_go_back_within_its_epoch() {
        let at =
            |epoch, hard, soft| TagGeneration { epoch, hard, soft: (soft, Timestamp::from_millis(soft)) };
        assert_eq!(at(1, 4, 6).not_before(at(1, 5, 3)), at(1, 5, 6));
        assert_eq!(at(1, 5, 3).not_before(at(1, 4, 6)), at(1, 5, 6));
        assert_eq!(at(2, 0, 0).not_before(at(1, 5, 6)), at(2, 0, 0));
    }
}
