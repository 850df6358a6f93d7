//! One node, with the steps that its proxy would take.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cachewarp::entry::{Entry, KeyGeneration, StoredValue, TagDigest};
use cachewarp::key::{CacheKey, Scheme, Target};
use cachewarp::policy::{Obligations, RulesDigest, StoredFacts};
use cachewarp::redis::{Deployment, Options as RedisOptions, RedisAddress, Topology};
use cachewarp::store::{
    CacheTag, Completeness, FoundValue, Lookup, MemoryUse, Namespace, Options, PurgeResult, PurgeScope,
    PurgeStrength, PutRefusal, Store, StorePermit, StoreShared, Tier,
};
use cachewarp::telemetry::Registry;
use cachewarp::time;
use http::{HeaderMap, StatusCode};
use tokio::task::LocalSet;

use crate::harness::{PATIENCE, Redis};

/// The lifetime of entries, unless a test depends on it.
const LIFETIME: Duration = Duration::from_secs(600);
/// Repetitions of a lookup that Redis has not answered in time.
const LOOKUPS_REPEATED: usize = 20;

/// A node: a store with its metrics.
pub(crate) struct Node {
    pub(crate) store: Store,
    registry: Registry,
}

/// Runs a test on one thread, as a worker runs.
pub(crate) fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(6 * PATIENCE, work).await.unwrap() });
}

/// Polls until a condition holds.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = time::instant();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "timeout while waiting for {what}");
        tokio::task::yield_now().await;
    }
}

pub(crate) fn target(path: &str) -> Target {
    Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap()
}

pub(crate) fn key(path: &str) -> CacheKey {
    CacheKey::of(&target(path))
}

pub(crate) fn tag(name: &str) -> CacheTag {
    CacheTag::parse(name).unwrap()
}

impl Node {
    /// Starts a node, and waits until its connections are up and it receives the fleet's messages.
    pub(crate) async fn start(redis: &Redis) -> Self {
        let node = Self::start_on(Topology::Single, redis.addr());
        node.await_fleet().await;
        node
    }

    /// Starts the two workers of one process.
    pub(crate) async fn start_workers(redis: &Redis) -> [Self; 2] {
        let registry = Registry::new();
        let shared = Self::shared(&registry, Duration::from_millis(200));
        let deployment = Self::deployment(Topology::Single, redis.addr());
        let workers = [0, 1].map(|_| Self {
            store: Store::open(shared.clone(), Some(deployment.clone()), &registry),
            registry: registry.clone(),
        });
        for worker in &workers {
            worker.await_fleet().await;
        }
        workers
    }

    async fn await_fleet(&self) {
        until("the node to receive the fleet's messages", async || {
            self.purge(&[], PurgeStrength::Hard)
                .await
                .is_ok_and(|purged| purged.nodes > 0 && purged.nodes == purged.confirmed)
        })
        .await;
    }

    /// Starts a node on servers of this topology, without waiting for a connection.
    pub(crate) fn start_on(topology: Topology, server: SocketAddr) -> Self {
        Self::open(Some(Self::deployment(topology, server)), Duration::from_millis(200))
    }

    fn deployment(topology: Topology, server: SocketAddr) -> Deployment {
        let server = RedisOptions {
            connections: 3,
            command_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            ..RedisOptions::at(RedisAddress::Tcp { host: server.ip().to_string(), port: server.port() })
        };
        Deployment { topology, server }
    }

    /// Starts a node without Redis.
    pub(crate) fn alone() -> Self {
        Self::open(None, Duration::ZERO)
    }

    /// Starts a node whose memory tier has room for this many bytes, and that knows the purge log.
    pub(crate) async fn start_with_memory(redis: &Redis, memory_bytes: usize) -> Self {
        let registry = Registry::new();
        let options = Options { memory_bytes, ..Self::options(Duration::from_millis(200)) };
        let deployment = Self::deployment(Topology::Single, redis.addr());
        let store = Store::open(StoreShared::new(options, &registry), Some(deployment), &registry);
        let node = Self { store, registry };
        node.await_fleet().await;
        // A late reply on a busy machine leaves the log unread. A known log is not read again.
        for _ in 0..LOOKUPS_REPEATED {
            node.store.read_first_log().await;
        }
        node
    }

    fn open(deployment: Option<Deployment>, memory_ttl: Duration) -> Self {
        let registry = Registry::new();
        let shared = Self::shared(&registry, memory_ttl);
        Self { store: Store::open(shared, deployment, &registry), registry }
    }

    fn shared(registry: &Registry, memory_ttl: Duration) -> StoreShared {
        StoreShared::new(Self::options(memory_ttl), registry)
    }

    fn options(memory_ttl: Duration) -> Options {
        Options {
            memory_bytes: 16 << 20,
            body_bytes_max: 1 << 20,
            memory_ttl,
            memory_alone_max: Duration::from_secs(300),
            entry_keys: cachewarp::sealing::SharedSealKeys::default(),
            name_key: cachewarp::key::NameKey::default(),
            compression: cachewarp::entry::CompressionPolicy::Zstd,
            registered_name: "node".to_owned(),
            namespace: Namespace::named("", "t"),
            warm_keys: 0,
            node_name: String::new(),
        }
    }

    pub(crate) async fn look(&self, path: &str) -> Lookup {
        self.store.find(&key(path), &target(path), MemoryUse::Usual).await
    }

    /// Returns the entry that memory can serve without Redis.
    pub(crate) fn at_hand(&self, path: &str) -> Option<FoundValue> {
        self.store.find_in_memory(&key(path), &target(path), MemoryUse::Usual)
    }

    /// Returns the stored body of a path, if it is fresh.
    pub(crate) async fn read(&self, path: &str) -> Option<String> {
        let mut look = self.look(path).await;
        // A late reply on a busy machine does not mean that the entry is absent.
        for _ in 0..LOOKUPS_REPEATED {
            if look.found.is_none() && look.completeness == Completeness::TimedOut {
                look = self.look(path).await;
            }
        }
        let StoredValue::Response(entry) = look.found?.stored else { panic!("a list") };
        let fresh = !entry.facts.ttl(time::now()).is_zero();
        fresh.then(|| String::from_utf8(entry.body.to_vec()).unwrap())
    }

    /// Returns the tier of an entry.
    pub(crate) async fn tier(&self, path: &str) -> Option<Tier> {
        self.look(path).await.found.map(|found| found.tier)
    }

    /// Returns the permit of a fetch that begins now.
    pub(crate) async fn permit(&self, path: &str) -> StorePermit {
        let Lookup { key_generation, .. } = self.look(path).await;
        self.store.permit(&key(path), key_generation)
    }

    /// Stores the response of a fetch.
    pub(crate) async fn put(
        &self,
        path: &str,
        body: &str,
        tags: &[CacheTag],
        permit: &StorePermit,
    ) -> Result<(), PutRefusal> {
        let facts = StoredFacts {
            received: time::now(),
            initial_age: Duration::ZERO,
            lifetime: LIFETIME,
            obligations: Obligations::default(),
            rules: RulesDigest::NONE,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let (status, head, body) = (StatusCode::OK, HeaderMap::new(), Bytes::from(body.to_owned()));
        let entry = StoredValue::Response(Entry { facts, status, head, body });
        let name_key = cachewarp::key::NameKey::default();
        let tags: Vec<TagDigest> = tags.iter().map(|tag| tag.digest(&name_key)).collect();
        self.store.put(&key(path), &entry, &tags, LIFETIME, permit).await
    }

    /// Runs a whole fetch.
    pub(crate) async fn store(&self, path: &str, body: &str, tags: &[CacheTag]) {
        let permit = self.permit(path).await;
        self.put(path, body, tags, &permit).await.unwrap();
    }

    pub(crate) async fn purge(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
    ) -> Result<PurgeResult, cachewarp::store::PurgeError> {
        self.store.purge(scopes, strength).await
    }

    /// Purges, and asserts that all of `nodes` nodes confirm.
    pub(crate) async fn purge_all(&self, scopes: &[PurgeScope], strength: PurgeStrength, nodes: u32) {
        assert_eq!(self.purge(scopes, strength).await, Ok(PurgeResult::counted(nodes, nodes)));
    }

    /// Returns the value of one series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.registry.render();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
    }
}

/// The generation of a key that was never purged.
pub(crate) const NEVER_PURGED: KeyGeneration = KeyGeneration::NONE;
