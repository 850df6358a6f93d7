//! The permit of a fetch to store its answer.
//!
//! The proxy takes the permit before it asks the origin, and the permit records the key generation
//! of the resource at that time. An answer never overwrites a later purge, whichever node purged:
//! Redis compares the [`KeyGeneration`], and this process checks its [`InvalidationWatch`]. A
//! purge, or the response to an unsafe request, supersedes all permits of its resource in this
//! process and writes a tombstone with a new key generation to Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::entry::{KeyGeneration, PurgeGeneration};
use crate::key::CacheKey;
use crate::limits::FETCH_STORED_MAX;
use crate::store::purge::hold::HoldQuery;
use crate::store::purge::state::PurgeState;
use crate::store::purge::watch::{InvalidationSigns, InvalidationWatch};
use crate::time;

/// The permit to store an answer, held from before a fetch begins until its answer is stored.
pub struct StorePermit {
    pub(in crate::store) watch: InvalidationWatch,
    /// The resource; its variants are stored under the list of variants at its key.
    pub(in crate::store) resource: CacheKey,
    /// The key generation of the resource when the permit was taken.
    pub(in crate::store) key_generation: KeyGeneration,
    /// The purge generation known when the permit was taken: perhaps behind Redis, never ahead.
    pub(in crate::store) generation: PurgeGeneration,
    pub(in crate::store) purges: Arc<PurgeState>,
    /// The number of changes of the purge log that the process had seen.
    pub(in crate::store) changes: u64,
    pub(in crate::store) begun: Instant,
    /// Whether Redis would push the purges that come during the fetch.
    pub(in crate::store) pushes: PurgePushes,
    /// The question whether a write held the answers of the route when the fetch began.
    pub(in crate::store) hold: HoldQuery,
}

impl StorePermit {
    /// Returns whether a write held the answers of the route when the fetch began.
    pub(in crate::store) async fn is_held(&self) -> bool {
        self.hold.is_held().await
    }

    /// Returns whether an invalidation has superseded the fetch, or whether the fetch has taken
    /// longer than tombstones are kept.
    pub fn is_superseded(&self) -> bool {
        self.watch.is_superseded()
            || self.purges.bulk_purged_since(self.begun)
            || time::instant().saturating_duration_since(self.begun) > FETCH_STORED_MAX
    }

    /// Returns the resource whose answers this permit covers.
    pub fn resource(&self) -> CacheKey {
        self.resource
    }

    /// Returns the key generation of the resource when the permit was taken.
    pub fn key_generation(&self) -> KeyGeneration {
        self.key_generation
    }

    /// Returns the start of the fetch, for requests that may join it.
    pub fn fetch_start(&self) -> FetchStart {
        FetchStart {
            signs: self.watch.signs(),
            purges: Arc::clone(&self.purges),
            changes: self.changes,
            generation: self.generation,
            begun: self.begun,
            pushes: self.pushes,
            oldest: (self.begun, self.key_generation),
        }
    }

    /// Returns the time until which other requests may use an unconfirmed answer of the fetch. The
    /// time begins now if a purge during the fetch would have superseded the permit, and with the
    /// fetch otherwise: a purge then waits for `ttl` only.
    pub(in crate::store) fn trusted_until(&self, ttl: Duration) -> Instant {
        match self.pushes {
            PurgePushes::Pushed => time::instant() + ttl,
            PurgePushes::Unpushed(_) => self.begun + ttl,
        }
    }
}

/// Whether Redis pushes purges to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum PurgePushes {
    /// It does, and each purge waits for the acknowledgement of this process.
    Pushed,
    /// It does not (RESP2): a purge waits for this time from its write.
    Unpushed(Duration),
}

/// The start of a fetch, for later requests that want to share its answer.
#[derive(Clone)]
pub struct FetchStart {
    signs: Arc<InvalidationSigns>,
    purges: Arc<PurgeState>,
    changes: u64,
    generation: PurgeGeneration,
    begun: Instant,
    pushes: PurgePushes,
    /// The start and the key generation of the oldest fetch whose answer a follower may get.
    oldest: (Instant, KeyGeneration),
}

impl FetchStart {
    /// Returns whether no purge since the start can cover the fetch's answer. Otherwise a request
    /// that begins now would get the state before the purge.
    pub fn is_current(&self) -> bool {
        !self.signs.is_superseded()
            && self.purges.unchanged_since(self.changes, self.generation)
            && !self.purges.bulk_purged_since(self.begun)
    }

    /// Returns the start of this fetch for followers that may also get the answer of `earlier`.
    pub fn with_earlier(self, earlier: &Self) -> Self {
        Self { oldest: earlier.oldest, ..self }
    }

    /// Returns whether a request may share the answer whose complete lookup has `seen` this key
    /// generation; `None` if its lookup was not complete.
    ///
    /// Without pushes, a purge is confirmed once `cache_memory_ttl` has passed, and nothing
    /// supersedes the fetch. So a later request needs a lookup of its own, which would have seen
    /// the purge of the key as another key generation, and that of a tag in the purge log.
    pub fn answers(&self, seen: Option<KeyGeneration>) -> bool {
        let is_shared = match self.pushes {
            // The push of a write at another node may still be under way, or the one of a value
            // that another node has fetched.
            PurgePushes::Pushed => match seen {
                Some(seen) => seen == self.oldest.1,
                None => !self.signs.is_overwritten(),
            },
            PurgePushes::Unpushed(ttl) => {
                let (begun, key_generation) = self.oldest;
                seen == Some(key_generation) || time::instant().saturating_duration_since(begun) < ttl
            }
        };
        is_shared && self.is_current()
    }
}
