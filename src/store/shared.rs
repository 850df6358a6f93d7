//! The state of the store that all workers of a process share.

use std::sync::Arc;
use std::time::Instant;

use quick_cache::sync::Cache;

use crate::entry::{NamespaceDigest, TagDigest};
use crate::key::CacheKey;
use crate::limits::DROPPED_REMEMBERED;
use crate::redis::{Client, TrackedVersion, TrackingTable};
use crate::store::fleet::membership::FleetMembership;
use crate::store::health::CachedHealth;
use crate::store::metrics;
use crate::store::namespace::{HOLD_PREFIX, LOG_NAME, REGISTRY_NAME, RUN_NAME, TAG_PREFIX};
use crate::store::options::Options;
use crate::store::purge::hold::HeldTags;
use crate::store::purge::recent::RecentRemovals;
use crate::store::purge::remembered::RememberedPurges;
use crate::store::purge::runs::ServerRuns;
use crate::store::purge::state::PurgeState;
use crate::store::purge::watch::InvalidationWatches;
use crate::store::tiers::hot_keys::HotKeys;
use crate::store::tiers::memory::MemoryTier;
use crate::store::tiers::sealed_seen::SealedSeen;
use crate::store::trust::EntryTrust;
use crate::telemetry::Registry;
use crate::time::Timestamp;

/// The state that all workers of a process share: the memory tier, and the cached state of Redis
/// and of purges.
#[derive(Clone)]
pub struct StoreShared {
    pub(super) options: Arc<Options>,
    pub(super) memory: Option<Arc<MemoryTier>>,
    pub(super) watches: Arc<InvalidationWatches>,
    pub(super) purges: Arc<PurgeState>,
    pub(super) tracking: Arc<TrackingTable>,
    pub(super) health: Arc<CachedHealth>,
    pub(super) fleet: Arc<FleetMembership>,
    /// The tags that writes of this process hold.
    pub(super) holds: Arc<HeldTags>,
    pub(super) runs: Arc<ServerRuns>,
    pub(super) recent_removals: Arc<RecentRemovals>,
    /// The digest of the namespace, which the seal of an entry covers.
    pub(super) namespace_digest: NamespaceDigest,
    pub(super) sealed_seen: Arc<SealedSeen>,
    /// The times at which memory dropped an entry because Redis had pushed its invalidation; only
    /// the most recent ones.
    pub(super) dropped_at: Arc<Cache<u128, Timestamp>>,
    /// The counts of hits, if this node keeps a warm list.
    pub(super) hot: Option<Arc<HotKeys>>,
}

impl StoreShared {
    /// Allocates the memory tier and the shared state.
    pub fn new(options: Options, registry: &Registry) -> Self {
        let memory = (options.memory_bytes > 0)
            .then(|| Arc::new(MemoryTier::new(options.memory_bytes, options.body_bytes_max)));
        if let Some(memory) = &memory {
            metrics::watch_memory(memory, registry);
        }
        let tracking = TrackingTable::new();
        let fleet = Arc::new(FleetMembership::new(&options.registered_name, options.memory_alone_max));
        let remembered = options.entry_keys.get().map(|_| RememberedPurges::new(options.name_key.clone()));
        let purges = PurgeState::new(Arc::clone(&tracking), options.name_key.clone(), remembered);
        metrics::watch_pending_purges(&purges, registry);
        let namespace_digest = NamespaceDigest::of(options.namespace.as_str());
        metrics::watch_seals(&options.entry_keys, registry);
        let hot = HotKeys::new(options.warm_keys).map(Arc::new);
        Self {
            options: Arc::new(options),
            memory,
            watches: InvalidationWatches::new(),
            purges,
            tracking,
            health: Arc::default(),
            fleet,
            holds: Arc::default(),
            runs: Arc::default(),
            recent_removals: Arc::default(),
            namespace_digest,
            sealed_seen: Arc::default(),
            dropped_at: Arc::new(Cache::new(DROPPED_REMEMBERED)),
            hot,
        }
    }

    /// Supersedes the fetches under way for this resource and drops its entry from memory.
    pub(super) fn supersede(&self, name: u128) {
        self.watches.changed(name);
        if let Some(memory) = &self.memory {
            memory.remove(name);
        }
    }

    /// Returns the trust with which other requests may use a value whose read was `sent` then;
    /// `None` if they may not.
    pub(super) fn trust_of(
        &self,
        redis: &Client,
        name: &[u8],
        version: &TrackedVersion,
        sent: Instant,
    ) -> Option<EntryTrust> {
        EntryTrust::of_read(redis, name, version, sent, self.options.memory_ttl)
    }

    /// Returns the name of a key: the namespace and 32 hexadecimal digits, never a URL, never a
    /// secret.
    pub(super) fn entry_name(&self, key: &CacheKey) -> Vec<u8> {
        self.options.namespace.name(&[&key.hex()])
    }

    /// Returns the name of the purge log in Redis.
    pub(super) fn log_name(&self) -> Vec<u8> {
        self.options.namespace.name(&[LOG_NAME.as_bytes()])
    }

    /// Returns the name of the registry of nodes in Redis.
    pub(super) fn registry_name(&self) -> Vec<u8> {
        self.options.namespace.name(&[REGISTRY_NAME.as_bytes()])
    }

    /// Returns the name of the server's run in Redis.
    pub(super) fn run_name(&self) -> Vec<u8> {
        self.options.namespace.name(&[RUN_NAME.as_bytes()])
    }

    /// Returns the name of the mark by which a write holds a tag.
    pub(super) fn hold_name(&self, tag: TagDigest) -> Vec<u8> {
        let digits = format!("{tag:?}");
        self.options.namespace.name(&[HOLD_PREFIX.as_bytes(), digits.as_bytes()])
    }

    /// Returns the name of a tag's generation in Redis.
    pub(super) fn tag_name(&self, tag: TagDigest) -> Vec<u8> {
        let digits = format!("{tag:?}");
        self.options.namespace.name(&[TAG_PREFIX.as_bytes(), digits.as_bytes()])
    }
}
