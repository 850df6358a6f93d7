//! The tiers: memory, then Redis.
//!
//! One question, [`Store::find`], one way in, [`Store::put`], and one way out for good,
//! [`Store::purge`]. Redis speaks for the fleet, so what it says goes. What memory has is served
//! without asking while Redis would say if it had changed (`trust.rs`), and while no purge has been
//! heard of that it has not been held against (`clock.rs`). Only where Redis has been away for a
//! while does memory go on alone, until the policy finds the entry stale.
//!
//! **Always:** a failure of Redis is a miss, never an error. Bytes that come from a store pass
//! [`EntryDecoder::decode`] for the key that was asked for, or they are a miss. What was fetched
//! before a purge is not stored after it (`claim.rs`).

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
use crate::limits::{FETCH_LEASE, LET_GO_REMEMBERED, ROOM_DOUBTED};
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

/// The name of the purge clock, behind the namespace.
const CLOCK_NAME: &str = "clock";
/// The beginning of the names of tags' counters, behind the namespace and before 32 digits.
const TAG_PREFIX: &str = "tag:";
/// The beginning of the names of leases, behind the namespace and before 32 digits.
const LEASE_PREFIX: &str = "lease:";
/// The beginning of the names of lists of variants, behind the namespace and before 32 digits.
const VARY_PREFIX: &str = "vary:";

crate::labels! {
    /// Where an entry was found.
    pub enum Tier {
        /// In this process.
        Memory => "memory",
        /// In the fleet's Redis.
        Redis => "redis",
    }
}

/// Whether more can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRoom {
    /// As far as is known.
    Some,
    /// Redis has refused something for it (`OOM`).
    None,
}

/// What a look at a key has come to.
#[derive(Debug)]
pub struct Lookup {
    /// What stands there, if it may be used.
    pub found: Option<FoundValue>,
    /// The purge behind which whatever stands there was stored: what a fetch that begins now has to
    /// have seen.
    pub lineage: KeyGeneration,
    /// Whether that is all there is to know.
    pub said: Completeness,
}

/// Whether Redis has answered, where it had to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// What there is, that there is nothing, or that it will not say.
    All,
    /// Nothing in time: more may stand there than was found.
    Nothing,
}

/// What was found under a key.
#[derive(Debug)]
pub struct FoundValue {
    /// The decoded bytes; stale if they have been purged softly.
    pub stored: StoredValue,
    /// Where they were.
    pub tier: Tier,
    /// The purge behind which they were stored.
    pub lineage: KeyGeneration,
}

/// What all workers of a process share: the memory tier, and what is known of Redis and of purges.
#[derive(Clone)]
pub struct StoreShared {
    options: Arc<Options>,
    memory: Option<Arc<MemoryTier>>,
    watches: Arc<InvalidationWatches>,
    clock: Arc<PurgeState>,
    seats: Arc<TrackingTable>,
    health: Arc<health::CachedHealth>,
    node: Arc<NodeIdentity>,
    /// When memory let go of an entry of which Redis had news: of the last ones.
    let_go: Arc<Cache<u128, Timestamp>>,
    /// Counted where a list of them is kept.
    hot: Option<Arc<HotKeys>>,
}

impl StoreShared {
    /// Makes room for the memory tier.
    pub fn new(options: Options, registry: &Registry) -> Self {
        let memory = (options.memory_bytes > 0)
            .then(|| Arc::new(MemoryTier::new(options.memory_bytes, options.body_bytes_max)));
        if let Some(memory) = &memory {
            metrics::watch_memory(memory, registry);
        }
        let seats = TrackingTable::new();
        let hot = HotKeys::new(options.warm_keys).map(Arc::new);
        Self {
            options: Arc::new(options),
            memory,
            watches: InvalidationWatches::new(),
            clock: PurgeState::new(Arc::clone(&seats)),
            seats,
            health: Arc::default(),
            node: Arc::new(NodeIdentity::new()),
            let_go: Arc::new(Cache::new(LET_GO_REMEMBERED)),
            hot,
        }
    }

    /// What is under way for this resource is of before a change, and what memory has of it as
    /// well.
    fn outdate(&self, name: u128) {
        self.watches.changed(name);
        if let Some(memory) = &self.memory {
            memory.remove(name);
        }
    }
}

/// One worker's way to the tiers.
pub struct Store {
    shared: StoreShared,
    redis: Option<Client>,
    /// Where the process' connections to Redis write down how they do.
    board: Option<StatsBoard>,
    fleet: Option<Rc<FleetListener>>,
    decoder: EntryDecoder,
    metrics: Rc<Metrics>,
    /// When Redis last said to this worker that it has no room.
    no_room: Cell<Option<Instant>>,
    /// When this worker last saw to it that the purge clock lives on.
    clock_renewed: Cell<Option<Instant>>,
    /// Who keep up the leases of fetches under way: no more than those, and they end with them.
    keepers: RefCell<JoinSet<()>>,
    /// Who answers the fleet's questions, and who follows its clock; they end with the store.
    _attending: JoinSet<()>,
}

impl Store {
    /// The tiers as one worker sees them; `redis` is `None` where memory runs alone.
    ///
    /// With Redis it has to be called on a [`LocalSet`](tokio::task::LocalSet), where the
    /// connections will live.
    pub fn open(shared: StoreShared, redis: Option<Deployment>, registry: &Registry) -> Self {
        let metrics = Rc::new(Metrics::new(registry));
        let mut attending = JoinSet::new();
        let (redis, board, fleet) = match redis {
            None => {
                shared.clock.run_alone();
                (None, None, None)
            }
            Some(deployment) => {
                let (fleet, questions) = FleetListener::new(shared.clone(), Rc::clone(&metrics));
                let listener = Rc::clone(&fleet) as Rc<_>;
                let tracking = TrackingOptions::new(Arc::clone(&shared.seats), listener, fleet.channels());
                let board = deployment.server.board.clone();
                let client = Client::open_tracking(deployment, tracking, registry);
                attending.spawn_local(Rc::clone(&fleet).attend(client.clone(), questions));
                attending.spawn_local(Rc::clone(&fleet).follow_clock(client.clone()));
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
            clock_renewed: Cell::new(None),
            keepers: RefCell::default(),
            _attending: attending,
        }
    }

    /// Every connection of this process to Redis, whichever worker's it is.
    pub fn connections(&self) -> Vec<ConnectionState> {
        self.board.as_ref().map(|board| board.snapshot(time::instant())).unwrap_or_default()
    }

    /// What each server of Redis has done since the start, by its address.
    pub fn servers(&self) -> Vec<(String, ServerState)> {
        self.board.as_ref().map(StatsBoard::servers).unwrap_or_default()
    }

    /// Whether there is any tier to store in.
    pub fn has_tier(&self) -> bool {
        self.redis.is_some() || self.shared.memory.is_some()
    }

    /// Whether there is room in Redis, as far as it has said.
    pub fn room(&self, now: Instant) -> StoreRoom {
        match self.no_room.get() {
            Some(said) if now.saturating_duration_since(said) < ROOM_DOUBTED => StoreRoom::None,
            Some(_) | None => StoreRoom::Some,
        }
    }

    /// The right to store what is fetched from now on for a resource of which this has been seen.
    pub fn claim(&self, resource: &CacheKey, lineage: KeyGeneration) -> StorePermit {
        let StoreShared { watches, clock, .. } = &self.shared;
        StorePermit {
            watch: watches.watch(resource.short()),
            resource: *resource,
            lineage,
            moves: clock.moves(),
            tick: clock.tick(),
            clock: Arc::clone(clock),
            begun: time::instant(),
        }
    }

    /// Takes the head of a request that has been answered: the next entry that is found uses its
    /// memory.
    pub fn recycle(&self, head: HeaderMap) {
        self.decoder.recycle(head);
    }

    /// Whether Redis answers: asked at most once a second by the whole process, and never for long.
    pub async fn health(&self) -> RedisHealth {
        match &self.redis {
            None => RedisHealth::Off,
            Some(redis) => self.shared.health.probe(redis, time::instant()).await,
        }
    }

    /// Lets the pool end what it has begun, then closes it.
    pub async fn close(&self) {
        // Their fetches have ended; whoever waits for them elsewhere should hear of it.
        let mut keepers = self.keepers.take();
        let _ = timeout(FETCH_LEASE, async { while keepers.join_next().await.is_some() {} }).await;
        if let Some(redis) = &self.redis {
            redis.close().await;
        }
    }

    /// Returns the beginning of every name of this store in Redis.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.options.namespace
    }

    /// The namespace and 32 hexadecimal digits: never a URL, never a secret.
    fn name(&self, key: &CacheKey) -> Vec<u8> {
        self.namespace().name(&[&key.hex()])
    }
}

/// A number in decimal, for a script.
fn decimal(number: u64) -> Bytes {
    number.to_string().into()
}
