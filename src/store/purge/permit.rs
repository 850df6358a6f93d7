//! The right of a fetch to store what it brings.
//!
//! It is taken before the origin is asked, and it remembers what stood under the resource's key
//! then. What has been purged since, by anybody in the fleet, is not stored over: Redis compares
//! the [`KeyGeneration`], this process its [`InvalidationWatch`].

use std::sync::Arc;
use std::time::Instant;

use crate::entry::{KeyGeneration, PurgeGeneration};
use crate::key::CacheKey;
use crate::limits::FETCH_STORED_MAX;
use crate::store::purge::state::PurgeState;
use crate::store::purge::watch::{InvalidationSigns, InvalidationWatch};
use crate::time;

/// Held from before a fetch begins until what it brought is stored.
pub struct StorePermit {
    pub(in crate::store) watch: InvalidationWatch,
    /// The resource; a variant of it is stored behind the list that stands there.
    pub(in crate::store) resource: CacheKey,
    /// What stood there.
    pub(in crate::store) lineage: KeyGeneration,
    /// How many purges there had been, as far as was known: fewer, never more.
    pub(in crate::store) tick: PurgeGeneration,
    pub(in crate::store) clock: Arc<PurgeState>,
    /// How often the clock had moved.
    pub(in crate::store) moves: u64,
    pub(in crate::store) begun: Instant,
}

impl StorePermit {
    /// Whether what is fetched is of before a change, or has taken so long that nobody would know.
    pub fn is_overtaken(&self) -> bool {
        self.watch.is_overtaken()
            || self.clock.swept_since(self.begun)
            || time::instant().saturating_duration_since(self.begun) > FETCH_STORED_MAX
    }

    /// Whose answers may be stored by it.
    pub fn resource(&self) -> CacheKey {
        self.resource
    }

    /// What stood there.
    pub fn lineage(&self) -> KeyGeneration {
        self.lineage
    }

    /// For those who might wait for the same fetch.
    pub fn beginning(&self) -> FetchStart {
        FetchStart {
            signs: self.watch.signs(),
            clock: Arc::clone(&self.clock),
            moves: self.moves,
            tick: self.tick,
            begun: self.begun,
        }
    }
}

/// When a fetch began, for whoever comes later and would have its answer as well.
#[derive(Clone)]
pub struct FetchStart {
    signs: Arc<InvalidationSigns>,
    clock: Arc<PurgeState>,
    moves: u64,
    tick: PurgeGeneration,
    begun: Instant,
}

impl FetchStart {
    /// Whether nothing has been purged since that its answer might be of: else a request that
    /// begins now would get what was there before.
    pub fn is_current(&self) -> bool {
        !self.signs.is_overtaken()
            && self.clock.stands_since(self.moves, self.tick)
            && !self.clock.swept_since(self.begun)
    }
}
