//! The two tiers of the store: memory, then Redis.
//!
//! [`Store::find`] is the only lookup, [`Store::put`] the only write, and [`Store::purge`] the only
//! purge. Redis decides for the fleet. Memory answers without Redis while two conditions hold:
//! Redis would push an invalidation if the entry changed (`tiers/trust.rs`), and the entry has been
//! checked against every purge that this process knows (`purge/state.rs`). Memory answers alone
//! only after Redis has been away for a while, and then until the policy finds the entry stale.
//!
//! **Always:** a failure of Redis is a miss, never an error. Stored bytes pass
//! [`EntryDecoder::decode`] for the requested key, or the lookup is a miss. An answer fetched
//! before a purge is not stored after it (`purge/permit.rs`).

mod fleet;
mod health;
mod lease;
mod metrics;
mod namespace;
mod options;
mod purge;
mod scripts;
mod tiers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use quick_cache::sync::Cache;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::entry::{EntryDecoder, KeyGeneration, StoredValue};
use crate::key::CacheKey;
use crate::limits::{DROPPED_REMEMBERED, FETCH_LEASE, REDIS_FULL_REMEMBERED};
use crate::redis::{Client, Deployment, StatsBoard, TrackingOptions, TrackingTable};
use crate::store::fleet::listener::{FleetListener, NodeIdentity};
use crate::store::purge::state::PurgeState;
use crate::store::purge::watch::InvalidationWatches;
use crate::store::tiers::memory::MemoryTier;
use crate::store::tiers::warm::HotKeys;
use crate::telemetry::Registry;
use crate::time::{self, Timestamp};
use metrics::Metrics;

pub use crate::store::fleet::sync::{SyncAck, SyncRequest};
pub use crate::store::lease::turn::{Lease, LeaseTurn};
pub use crate::store::purge::log::{PurgeLog, TagGeneration};
pub use crate::store::purge::names::{
    CacheGroup, CacheTag, PrefixesFullError, PurgeError, PurgeNameError, PurgeResult, PurgeScope,
    PurgeStrength, UrlPrefix,
};
pub use crate::store::purge::permit::{FetchStart, StorePermit};
pub use crate::store::tiers::inspect::{InspectedKey, TierConfirmation, TierContent};
pub use crate::store::tiers::listing::listed_variants;
pub use crate::store::tiers::put::Superseded;
pub use crate::store::tiers::warm::{WARM_TAKES_MAX, warm_list};
pub use health::RedisHealth;
pub use namespace::Namespace;
pub use options::Options;

pub use crate::redis::{ConnectionState, ServerState};

/// The name of the purge log, after the namespace.
const LOG_NAME: &str = "clock";
/// The prefix of the names of tag generations, after the namespace and before 32 digits.
const TAG_PREFIX: &str = "tag:";
/// The prefix of the names of leases, after the namespace and before 32 digits.
const LEASE_PREFIX: &str = "lease:";
/// The prefix of the names of lists of variants, after the namespace and before 32 digits.
const VARY_PREFIX: &str = "vary:";

crate::labels! {
    /// The tier that holds an entry.
    pub enum Tier {
        /// The memory of this process.
        Memory => "memory",
        /// The Redis of the fleet.
        Redis => "redis",
    }
}

/// The room in Redis for new entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRoom {
    /// Redis has not refused a recent write for lack of memory.
    Some,
    /// Redis has refused a recent write for lack of memory (`OOM`).
    None,
}

/// The result of a lookup.
#[derive(Debug)]
pub struct Lookup {
    /// The stored value, if it may be used.
    pub found: Option<FoundValue>,
    /// The key generation in the store. A fetch that begins now may store its answer only if the
    /// generation is still this one.
    pub key_generation: KeyGeneration,
    /// Completeness of the lookup.
    pub completeness: Completeness,
}

/// Completeness of a lookup: Redis has answered, or it timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The lookup needed no Redis, or Redis has answered, if only with a refusal.
    Complete,
    /// Redis did not answer in time: it may hold more than the lookup found.
    TimedOut,
}

/// A value found under a key.
#[derive(Debug)]
pub struct FoundValue {
    /// The decoded value; stale if a soft purge covers it.
    pub stored: StoredValue,
    /// The tier that held it.
    pub tier: Tier,
    /// The key generation under which it was stored.
    pub key_generation: KeyGeneration,
}

/// The state that all workers of a process share: the memory tier, and the cached state of Redis
/// and of purges.
#[derive(Clone)]
pub struct StoreShared {
    options: Arc<Options>,
    memory: Option<Arc<MemoryTier>>,
    watches: Arc<InvalidationWatches>,
    purges: Arc<PurgeState>,
    tracking: Arc<TrackingTable>,
    health: Arc<health::CachedHealth>,
    node: Arc<NodeIdentity>,
    /// The times at which memory dropped an entry because Redis had pushed its invalidation; only
    /// the most recent ones.
    dropped_at: Arc<Cache<u128, Timestamp>>,
    /// The counts of hits, if this node keeps a warm list.
    hot: Option<Arc<HotKeys>>,
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
        let hot = HotKeys::new(options.warm_keys).map(Arc::new);
        Self {
            options: Arc::new(options),
            memory,
            watches: InvalidationWatches::new(),
            purges: PurgeState::new(Arc::clone(&tracking)),
            tracking,
            health: Arc::default(),
            node: Arc::new(NodeIdentity::new()),
            dropped_at: Arc::new(Cache::new(DROPPED_REMEMBERED)),
            hot,
        }
    }

    /// Supersedes the fetches under way for this resource and drops its entry from memory.
    fn supersede(&self, name: u128) {
        self.watches.changed(name);
        if let Some(memory) = &self.memory {
            memory.remove(name);
        }
    }
}

/// One worker's handle of the tiers.
pub struct Store {
    shared: StoreShared,
    redis: Option<Client>,
    /// The statistics of the process' connections to Redis.
    board: Option<StatsBoard>,
    fleet: Option<Rc<FleetListener>>,
    decoder: EntryDecoder,
    metrics: Rc<Metrics>,
    /// The time of the last `OOM` that this worker received.
    no_room: Cell<Option<Instant>>,
    /// The time at which this worker last extended the life of the purge log.
    log_renewed: Cell<Option<Instant>>,
    /// The tasks that renew the leases of fetches under way, one per fetch; each ends with its
    /// fetch.
    lease_tasks: RefCell<JoinSet<()>>,
    /// The tasks that acknowledge syncs and follow the purge log; they end with the store.
    _tasks: JoinSet<()>,
}

impl Store {
    /// Opens the tiers for one worker; `redis` is `None` if memory runs alone.
    ///
    /// With Redis, the caller runs on a [`LocalSet`](tokio::task::LocalSet), which drives the
    /// connections.
    pub fn open(shared: StoreShared, redis: Option<Deployment>, registry: &Registry) -> Self {
        let metrics = Rc::new(Metrics::new(registry));
        let mut tasks = JoinSet::new();
        let (redis, board, fleet) = match redis {
            None => {
                shared.purges.run_without_redis();
                (None, None, None)
            }
            Some(deployment) => {
                let (fleet, requests) = FleetListener::new(shared.clone(), Rc::clone(&metrics));
                let listener = Rc::clone(&fleet) as Rc<_>;
                let rights_name = shared.options.namespace.name(&[b"rights"]).into();
                let tracking = TrackingOptions::new(Arc::clone(&shared.tracking), listener, fleet.channels())
                    .trying_rights(rights_name);
                let board = deployment.server.board.clone();
                let client = Client::open_tracking(deployment, tracking, registry);
                tasks.spawn_local(Rc::clone(&fleet).acknowledge_syncs(client.clone(), requests));
                tasks.spawn_local(Rc::clone(&fleet).follow_log(client.clone()));
                (Some(client), Some(board), Some(fleet))
            }
        };
        Self {
            shared,
            redis,
            board,
            fleet,
            decoder: EntryDecoder::default(),
            metrics,
            no_room: Cell::new(None),
            log_renewed: Cell::new(None),
            lease_tasks: RefCell::default(),
            _tasks: tasks,
        }
    }

    /// Returns the state of every connection of this process to Redis, across all workers.
    pub fn connections(&self) -> Vec<ConnectionState> {
        self.board.as_ref().map(|board| board.snapshot(time::instant())).unwrap_or_default()
    }

    /// Returns the statistics of each Redis server since the start, by its address.
    pub fn servers(&self) -> Vec<(String, ServerState)> {
        self.board.as_ref().map(StatsBoard::servers).unwrap_or_default()
    }

    /// Returns whether there is any tier to store in.
    pub fn has_tier(&self) -> bool {
        self.redis.is_some() || self.shared.memory.is_some()
    }

    /// Returns whether Redis has room, judged by its last `OOM`.
    pub fn room(&self, now: Instant) -> StoreRoom {
        match self.no_room.get() {
            Some(refused) if now.saturating_duration_since(refused) < REDIS_FULL_REMEMBERED => {
                StoreRoom::None
            }
            Some(_) | None => StoreRoom::Some,
        }
    }

    /// Returns a permit to store the answer of a fetch that begins now, for a resource whose lookup
    /// returned this key generation.
    pub fn permit(&self, resource: &CacheKey, key_generation: KeyGeneration) -> StorePermit {
        let StoreShared { watches, purges, .. } = &self.shared;
        StorePermit {
            watch: watches.watch(resource.short()),
            resource: *resource,
            key_generation,
            changes: purges.changes(),
            generation: purges.generation(),
            purges: Arc::clone(purges),
            begun: time::instant(),
        }
    }

    /// Takes back the header map of an answered request: the decoder reuses its memory for the next
    /// entry.
    pub fn recycle(&self, head: HeaderMap) {
        self.decoder.recycle(head);
    }

    /// Returns the health of Redis. The whole process probes it at most once a second, and each
    /// probe is short.
    pub async fn health(&self) -> RedisHealth {
        match &self.redis {
            None => RedisHealth::Off,
            Some(redis) => self.shared.health.probe(redis, time::instant()).await,
        }
    }

    /// Waits until the pool has finished its commands, then closes it.
    pub async fn close(&self) {
        // The fetches have ended; nodes that wait for these leases should see their end.
        let mut lease_tasks = self.lease_tasks.take();
        let _ = timeout(FETCH_LEASE, async { while lease_tasks.join_next().await.is_some() {} }).await;
        if let Some(redis) = &self.redis {
            redis.close().await;
        }
    }

    /// Returns the prefix of every name of this store in Redis.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.options.namespace
    }

    /// Returns the name of a key: the namespace and 32 hexadecimal digits, never a URL, never a
    /// secret.
    fn name(&self, key: &CacheKey) -> Vec<u8> {
        self.namespace().name(&[&key.hex()])
    }
}

/// Formats a number in decimal, as a script's argument.
fn decimal(number: u64) -> Bytes {
    number.to_string().into()
}
