//! The store as one worker uses it. The other files of this folder add its methods.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::entry::{EntryDecoder, EntryPacker, KeyGeneration};
use crate::key::CacheKey;
use crate::limits::{FETCH_LEASE, REDIS_FULL_REMEMBERED, REDIS_START_POLL};
use crate::redis::{Client, ConnectionState, Deployment, ServerState, StatsBoard, TrackingOptions};
use crate::store::fleet::listener::FleetListener;
use crate::store::health::RedisHealth;
use crate::store::metrics::Metrics;
use crate::store::namespace::Namespace;
use crate::store::purge::hold::HoldQuery;
use crate::store::purge::permit::{PurgePushes, StorePermit};
use crate::store::purge::repeat::PurgeRepeater;
use crate::store::shared::StoreShared;
use crate::telemetry::Registry;
use crate::time;

/// The room in Redis for new entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRoom {
    /// Redis has not refused a recent write for lack of memory.
    Some,
    /// Redis has refused a recent write for lack of memory (`OOM`).
    None,
}

/// One worker's handle of the tiers.
pub struct Store {
    pub(super) shared: StoreShared,
    pub(super) redis: Option<Client>,
    /// The most that a command waits for Redis.
    pub(super) redis_timeout: Duration,
    /// The statistics of the process' connections to Redis.
    pub(super) board: Option<StatsBoard>,
    pub(super) fleet: Option<Rc<FleetListener>>,
    pub(super) decoder: EntryDecoder,
    pub(super) packer: EntryPacker,
    pub(super) metrics: Rc<Metrics>,
    /// The time of the last `OOM` that this worker received.
    pub(super) no_room: Cell<Option<Instant>>,
    /// The time at which this worker last extended the life of the purge log.
    pub(super) log_renewed: Cell<Option<Instant>>,
    /// The tasks that renew the leases of fetches under way, one per fetch; each ends with its
    /// fetch.
    pub(super) lease_tasks: RefCell<JoinSet<()>>,
    /// The tasks that ask Redis whether a write holds the answers of fetches under way.
    pub(super) hold_tasks: RefCell<JoinSet<()>>,
    /// The tasks that acknowledge syncs, follow the purge log, keep the node registered and repeat
    /// purges; they end with the store.
    _tasks: JoinSet<()>,
}

impl Store {
    /// Returns whether there is a Redis behind memory.
    pub fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// Opens the tiers for one worker; `redis` is `None` if memory runs alone.
    ///
    /// With Redis, the caller runs on a [`LocalSet`](tokio::task::LocalSet), which drives the
    /// connections.
    pub fn open(shared: StoreShared, redis: Option<Deployment>, registry: &Registry) -> Self {
        let metrics = Rc::new(Metrics::new(registry));
        let mut tasks = JoinSet::new();
        let redis_timeout =
            redis.as_ref().map_or(Duration::ZERO, |deployment| deployment.server.command_timeout);
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
                tasks.spawn_local(Rc::clone(&fleet).confirm_writes(client.clone()));
                if fleet.registers {
                    tasks.spawn_local(Rc::clone(&fleet).keep_registered(client.clone()));
                    let (fleet, metrics) = (Rc::clone(&fleet), Rc::clone(&metrics));
                    let repeater = PurgeRepeater::new(shared.clone(), client.clone(), fleet, metrics);
                    tasks.spawn_local(repeater.run());
                }
                (Some(client), Some(board), Some(fleet))
            }
        };
        Self {
            shared,
            redis,
            redis_timeout,
            board,
            fleet,
            decoder: EntryDecoder::default(),
            packer: EntryPacker::default(),
            metrics,
            no_room: Cell::new(None),
            log_renewed: Cell::new(None),
            lease_tasks: RefCell::default(),
            hold_tasks: RefCell::default(),
            _tasks: tasks,
        }
    }

    /// Returns the client of Redis, for programs' streams.
    pub fn redis_client(&self) -> Option<Client> {
        self.redis.clone()
    }

    /// Returns a name of this process that no other process has.
    pub fn node_label(&self) -> String {
        format!("{}-{:016x}", self.shared.fleet.name, self.shared.fleet.id)
    }

    /// Returns the time after which a node that is cut off serves nothing from before, and is
    /// registered no more.
    pub fn registration_lifetime(&self) -> Duration {
        self.shared.fleet.lifetime()
    }

    /// Returns the state of every connection of this process to Redis, across all workers.
    pub fn connections(&self) -> Vec<ConnectionState> {
        self.board.as_ref().map(|board| board.snapshot(time::instant())).unwrap_or_default()
    }

    /// Sets the digest of the routes that this worker uses, for its acknowledgements.
    pub fn set_rules(&self, digest: u64) {
        if let Some(fleet) = &self.fleet {
            fleet.rules.set(digest);
        }
    }

    /// Returns the names of the nodes that used other routes in the last sync of this process.
    pub fn nodes_with_other_rules(&self) -> Vec<String> {
        self.shared.fleet.other_rules()
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
        let is_pushed = |redis: &Client| redis.is_tracking(&self.name(resource));
        let pushes = if self.redis.as_ref().is_none_or(is_pushed) {
            PurgePushes::Pushed
        } else {
            PurgePushes::Unpushed(self.shared.options.memory_ttl)
        };
        StorePermit {
            watch: watches.watch(resource.short()),
            resource: *resource,
            key_generation,
            changes: purges.changes(),
            generation: purges.generation(),
            purges: Arc::clone(purges),
            begun: time::instant(),
            pushes,
            hold: HoldQuery::NotHeld,
        }
    }

    /// Returns a permit for the response to a request that has itself changed its resource: it
    /// outlasts that change and no later one. Purges of more than one key count from the start of
    /// the request.
    pub fn renew(&self, before: StorePermit) -> StorePermit {
        let watch = self.shared.watches.watch(before.resource.short());
        StorePermit { watch, key_generation: KeyGeneration::new(), ..before }
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

    /// Waits for the first connection to Redis, for this long at most. Without it, the first
    /// responses of a process would not be stored.
    pub async fn await_redis(&self, at_most: Duration) {
        let Some(redis) = &self.redis else { return };
        let connected = async {
            while !redis.is_connected() {
                sleep(REDIS_START_POLL).await;
            }
        };
        // A process serves without Redis too.
        let _ = timeout(at_most, connected).await;
    }

    /// Waits until the pool has finished its commands, then closes it.
    pub async fn close(&self) {
        // The fetches have ended; nodes that wait for these leases should see their end.
        let mut lease_tasks = self.lease_tasks.take();
        let _ = timeout(FETCH_LEASE, async { while lease_tasks.join_next().await.is_some() {} }).await;
        if let Some((redis, fleet)) = self.redis.as_ref().zip(self.fleet.as_ref()) {
            fleet.leave(redis).await;
            redis.close().await;
        }
    }

    /// Returns the prefix of every name of this store in Redis.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.options.namespace
    }

    /// Returns the name of a key in Redis.
    pub(super) fn name(&self, key: &CacheKey) -> Vec<u8> {
        self.shared.entry_name(key)
    }
}
