//! Short runs of two clients behind sentinels or of a cluster, each drawn from a seed.
//!
//! Each client caches as the memory tier does: while its tracking token is valid and no
//! invalidation has arrived. The tests kill, stall, cut off and replace servers and take slots from
//! them; sentinels are down, or learn late of each other's decisions. In every run:
//!
//! - a value is one that was written under the requested key;
//! - no caller waits beyond its timeout, to the tick of the clock;
//! - a cached value is never stale for longer than [`REDIS_FAILOVER_GRACE`]: a purge that has
//!   waited for that is a purge everywhere (an auditor checks all values twice a second, requested
//!   or not);
//! - after the recovery every key returns its owner's value, and cached values are equal to it.
//!
//! Callers send bursts with pauses: only a client that pauses has to discover the loss of a server
//! by itself.
//!
//! `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` the first n.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::model::{TICK, TIMEOUT, on_paused_clock};
use super::simulation::{SeedReport, number};
use super::world::{HOST, NAME, PARTS, World, endpoint};
use crate::limits::{REDIS_FAILOVER_GRACE, REDIS_TOPOLOGY_INTERVAL_MIN};
use crate::redis::{
    Client, ClusterSeeds, Command, ConnectedServer, Deployment, Options, ReadingNodes, RedisAddress, Reply,
    Sentinels, Topology, TrackingListener, TrackingOptions, TrackingTable, TrackingToken,
};
use crate::telemetry::Registry;
use crate::time::instant;

/// Seeds in a test run.
const SEEDS: u64 = 1000;
const KEYS: u64 = 24;
const CALLERS: usize = 4;
/// The interval of the auditor.
const AUDIT: Duration = Duration::from_millis(500);
/// Faults in one run.
const EVENTS: usize = 4;
/// The time by which sentinels have shared a decision.
const SPREAD: Duration = Duration::from_secs(2);
/// The longest recovery after the servers', topology refreshes included.
const RECOVERY: Duration = Duration::from_secs(4);

/// A client and its cache.
struct CachingClient {
    client: Client,
    table: Arc<TrackingTable>,
    memory: Rc<TrackedMemory>,
}

#[derive(Default)]
struct TrackedMemory {
    held: RefCell<HashMap<Vec<u8>, (Bytes, TrackingToken)>>,
    hits: Cell<u64>,
}

impl TrackingListener for TrackedMemory {
    fn invalidated(&self, key: &[u8]) {
        self.held.borrow_mut().remove(key);
    }

    fn connected(&self, _: &ConnectedServer) {}

    fn subscribed(&self) {}

    fn tracking_lost(&self) {}

    fn message(&self, _: &[u8], _: &Bytes) {}
}

impl CachingClient {
    fn open(world: &World, connections: usize) -> Self {
        let sentinels = world.sentinels();
        let topology = if sentinels.is_empty() {
            Topology::Cluster(ClusterSeeds {
                seeds: world.ports().map(endpoint).collect(),
                readers: ReadingNodes::Masters,
            })
        } else {
            let seeds = sentinels.into_iter().map(endpoint).collect();
            Topology::Sentinel(Sentinels { seeds, master: NAME.to_owned(), credentials: None })
        };
        let server = Options {
            connections,
            command_timeout: TIMEOUT,
            ..Options::at(RedisAddress::Tcp { host: HOST.to_owned(), port: 1 })
        };
        let (table, memory) = (TrackingTable::new(), Rc::<TrackedMemory>::default());
        let channels = vec!["sync".into()];
        let tracking = TrackingOptions::new(Arc::clone(&table), Rc::clone(&memory) as Rc<_>, channels);
        let client = Client::open_tracking(Deployment { topology, server }, tracking, &Registry::new());
        Self { client, table, memory }
    }

    fn remembered(&self, key: &[u8]) -> Option<Bytes> {
        let held = self.memory.held.borrow();
        held.get(key).filter(|(_, token)| self.table.is_valid(*token)).map(|(value, _)| value.clone())
    }

    async fn read(&self, world: &World, key: &str) {
        if let Some(value) = self.remembered(key.as_bytes()) {
            self.memory.hits.set(self.memory.hits.get() + 1);
            return assert_recent(world, key.as_bytes(), &value);
        }
        if let Ok((Reply::Bulk(value), version)) =
            self.client.read(&Command::Get { key: key.as_bytes() }).await
        {
            assert_eq!(value.split(|byte| *byte == b':').next(), Some(key.as_bytes()), "another key's value");
            if let Some(token) = version.token(key.as_bytes()) {
                self.memory.held.borrow_mut().insert(key.as_bytes().to_vec(), (value, token));
            }
        }
    }

    async fn write(&self, key: &str, version: u64) {
        let value = format!("{key}:{version}").into();
        let _ = self.client.set(key.as_bytes(), value, Duration::from_secs(600)).await;
        self.memory.held.borrow_mut().remove(key.as_bytes());
    }
}

/// Checks that a cached value may be served: it is current, or was a short time ago.
fn assert_recent(world: &World, key: &[u8], value: &Bytes) {
    let (truth, since) = world.truth(key);
    let is_old = truth.as_deref() != Some(&value[..]);
    let age = since.map_or(Duration::ZERO, |since| instant() - since);
    assert!(
        !is_old || age <= REDIS_FAILOVER_GRACE,
        "{}: {value:?} is remembered, {truth:?} for {age:?}",
        key.escape_ascii()
    );
}

/// Checks all cached values.
async fn audit(world: World, node: Rc<CachingClient>, enough: Rc<Cell<bool>>) {
    while !enough.get() {
        for (key, (value, token)) in &*node.memory.held.borrow() {
            if node.table.is_valid(*token) {
                assert_recent(&world, key, value);
            }
        }
        sleep(AUDIT).await;
    }
}

async fn call(world: World, node: Rc<CachingClient>, mut rng: Rng, enough: Rc<Cell<bool>>) {
    while !enough.get() {
        let (key, start) = (rng.u64(..KEYS).to_string(), instant());
        if rng.u8(..8) == 0 {
            node.write(&key, rng.u64(..)).await
        } else {
            node.read(&world, &key).await
        }
        let took = instant() - start;
        assert!(took <= TIMEOUT + TICK, "a caller waited {took:?}");
        let pause = if rng.u8(..8) == 0 { 100..1500 } else { 1..40 };
        sleep(Duration::from_millis(rng.u64(pause))).await;
    }
}

/// Causes a fault, and repairs it.
async fn event(world: &World, rng: &mut Rng) {
    let masters = world.masters();
    let port = masters[rng.usize(..masters.len())];
    let pause = |rng: &mut Rng, most| Duration::from_millis(rng.u64(10..most));
    match rng.u8(..7) {
        0 => {
            world.set_stalled(port, true);
            sleep(pause(rng, 2500)).await;
            world.set_stalled(port, false);
        }
        1 => world.cut(port),
        2 => {
            world.set_away(port, true);
            sleep(pause(rng, 3000)).await;
            switch(world, rng, port).await;
            sleep(pause(rng, 3000)).await;
            world.set_away(port, false);
        }
        3 => switch(world, rng, port).await,
        4 if !world.sentinels().is_empty() => {
            let number = rng.usize(..3);
            world.set_sentinel_away(number, true);
            sleep(pause(rng, 2000)).await;
            if rng.bool() {
                switch(world, rng, port).await;
            }
            world.set_sentinel_away(number, false);
        }
        _ if world.sentinels().is_empty() => {
            world.begin_to_move(rng.usize(..PARTS), rng.usize(..3));
            sleep(pause(rng, 1000)).await;
            world.end_move();
        }
        _ => world.cut(world.sentinels()[rng.usize(..3)]),
    }
    sleep(pause(rng, 3000)).await;
}

/// Promotes another server than the master at this port, which may live on.
async fn switch(world: &World, rng: &mut Rng, old: usize) {
    let new = world.promote(old);
    let mut sentinels: Vec<_> = (0..world.sentinels().len()).collect();
    rng.shuffle(&mut sentinels);
    let mut elapsed = Duration::ZERO;
    for (turn, sentinel) in sentinels.into_iter().enumerate() {
        // The first sentinel decides.
        let at = if turn == 0 { elapsed } else { elapsed + (SPREAD - elapsed).mul_f64(rng.f64()) };
        sleep(at - elapsed).await;
        elapsed = at;
        world.tell(sentinel, old, new);
    }
    if !world.sentinels().is_empty() {
        sleep(Duration::from_millis(rng.u64(..4000))).await;
        world.demote(old, new);
    }
}

/// Returns the number of cache hits.
async fn life(seed: u64) -> u64 {
    let mut rng = Rng::with_seed(seed);
    let world = if rng.bool() { World::behind_sentinels(seed) } else { World::of_a_cluster(seed) };
    let _entered = world.enter();
    let connections = rng.usize(1..=4);
    let nodes = [(); 2].map(|()| Rc::new(CachingClient::open(&world, connections)));
    let enough = Rc::new(Cell::new(false));
    let mut callers = Vec::new();
    for node in &nodes {
        for _ in 0..CALLERS {
            let call = call(world.clone(), Rc::clone(node), rng.fork(), Rc::clone(&enough));
            callers.push(spawn_local(call));
        }
        callers.push(spawn_local(audit(world.clone(), Rc::clone(node), Rc::clone(&enough))));
    }
    sleep(Duration::from_secs(2)).await;
    for _ in 0..EVENTS {
        event(&world, &mut rng).await;
    }
    enough.set(true);
    for caller in callers {
        caller.await.unwrap();
    }
    sleep(RECOVERY.max(REDIS_FAILOVER_GRACE)).await;
    for node in &nodes {
        for key in (0..KEYS).map(|key| key.to_string()) {
            let (truth, _) = world.truth(key.as_bytes());
            if let Some(value) = node.remembered(key.as_bytes()) {
                assert_eq!(Some(&value[..]), truth.as_deref(), "{key} is remembered");
            }
            let mut got = node.client.get(key.as_bytes()).await;
            if got.is_err() {
                // A client without commands since then learns of the change by the refusal.
                sleep(4 * REDIS_TOPOLOGY_INTERVAL_MIN).await;
                got = node.client.get(key.as_bytes()).await;
            }
            assert_eq!(got, Ok(truth.map(Bytes::from)), "{key}, and all is well");
        }
        node.client.close().await;
    }
    nodes.iter().map(|node| node.memory.hits.get()).sum()
}

fn hits(seeds: impl Iterator<Item = u64>) -> u64 {
    let mut hits = 0;
    for seed in seeds {
        let named = SeedReport(seed);
        on_paused_clock(async { hits += life(seed).await });
        drop(named);
    }
    hits
}

#[test]
fn caches_stay_coherent_whatever_happens_to_the_servers() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let lives = seeds.end - seeds.start;
    let workers = std::thread::available_parallelism().unwrap().get() as u64;
    let hits: u64 = std::thread::scope(|scope| {
        let part = |worker| seeds.clone().filter(move |seed| seed % workers == worker);
        let runs: Vec<_> = (0..workers).map(|worker| scope.spawn(move || hits(part(worker)))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).sum()
    });
    // Without cache hits nothing is proved.
    assert!(hits > lives * 20, "{hits} hits in {lives} lives");
}
