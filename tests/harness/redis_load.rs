//! Concurrent callers of a Redis client, each with its own key, whose values name the key.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cachewarp::redis::{
    Client, ConnectionAccess, Deployment, Endpoint, Options, RedisAddress, StatsBoard, Topology,
};
use cachewarp::telemetry::Registry;
use cachewarp::tls;
use tokio::task::{JoinSet, LocalSet, yield_now};

use super::{Answer, Origin, Waits, client, until, until_agreed};

/// The command timeout of the client.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(250);
const KEYS: usize = 48;
const TTL: Duration = Duration::from_secs(120);

/// A Redis client on its own thread, as in a worker, with its callers.
pub(crate) struct RedisLoad {
    shared: Arc<Shared>,
    registry: Registry,
    thread: thread::JoinHandle<()>,
}

struct Shared {
    /// For each key, the number of reads that returned its own value.
    read: [AtomicU64; KEYS],
    /// For each key, the number of writes.
    written: [AtomicU64; KEYS],
    enough: AtomicBool,
}

impl Shared {
    fn new() -> Self {
        let none = || [(); KEYS].map(|()| AtomicU64::new(0));
        Self { read: none(), written: none(), enough: AtomicBool::new(false) }
    }
}

pub(crate) fn key(number: usize) -> String {
    format!("key-{number}")
}

pub(crate) fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(key)
}

pub(crate) fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint { host: addr.ip().to_string(), port: addr.port() }
}

pub(crate) fn deployment(topology: Topology, seed: SocketAddr) -> Deployment {
    let server = Options {
        connections: 6,
        command_timeout: TIMEOUT,
        connect_timeout: Duration::from_secs(1),
        ..Options::at(RedisAddress::Tcp { host: seed.ip().to_string(), port: seed.port() })
    };
    Deployment { topology, server }
}

impl RedisLoad {
    pub(crate) fn on(deployment: Deployment) -> Self {
        let (shared, registry) = (Arc::new(Shared::new()), Registry::new());
        let (own, metrics) = (Arc::clone(&shared), registry.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let waits = Waits::up_to(deployment.server.command_timeout);
                let client = Client::open(deployment, &metrics);
                let mut callers = JoinSet::new();
                for number in 0..KEYS {
                    callers.spawn_local(call(client.clone(), number, Arc::clone(&own), Rc::clone(&waits)));
                }
                while let Some(ended) = callers.join_next().await {
                    // A caller panics on a value of another key.
                    ended.unwrap();
                }
                waits.assert_in_time().await;
                client.close().await;
                assert!(!client.is_connected());
            });
        });
        Self { shared, registry, thread }
    }

    /// Waits until every key has been written and read twice more: the first operation may have
    /// begun earlier.
    pub(crate) fn await_every_key(&self) {
        self.await_keys("every key", |_| true);
    }

    /// Waits until the selected keys have been written and read twice more.
    pub(crate) fn await_keys(&self, what: &str, which: impl Fn(usize) -> bool) {
        let counts = |of: &[AtomicU64; KEYS]| -> Vec<u64> {
            of.iter().map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let before = [counts(&self.shared.read), counts(&self.shared.written)];
        until_agreed(&format!("{what} to be set and read"), || {
            assert!(!self.thread.is_finished(), "a caller got another key's value");
            let now = [counts(&self.shared.read), counts(&self.shared.written)];
            // The counts are in memory: polling them without a pause would take a core from the
            // servers.
            thread::sleep(Duration::from_millis(1));
            (0..KEYS)
                .filter(|number| which(*number))
                .all(|number| (0..2).all(|of| now[of][number] >= before[of][number] + 2))
        });
    }

    /// Returns the value of one series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let page = self.registry.render();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().unwrap()
    }

    /// Waits until a series has reached a value.
    pub(crate) fn await_metric(&self, series: &str, value: f64) {
        until(&format!("{series} to reach {value}"), || self.metric(series) >= value);
    }

    /// Stops the callers. Panics if a caller got another key's value, or got it too late.
    pub(crate) fn end(self) {
        self.shared.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

async fn call(client: Client, number: usize, shared: Arc<Shared>, waits: Rc<Waits>) {
    let key = key(number);
    let mut version = 0;
    while !shared.enough.load(Ordering::Relaxed) {
        match waits.time(client.get(key.as_bytes())).await {
            Ok(Some(value)) => {
                let text = std::str::from_utf8(&value).unwrap();
                let (of, _) = text.split_once('=').unwrap();
                assert_eq!(of, key, "another key's value");
                shared.read[number].fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => {}
            Err(_) => yield_now().await,
        }
        version += 1;
        let set = client.set(key.as_bytes(), format!("{key}={version}").into(), TTL);
        if waits.time(set).await.is_ok() {
            shared.written[number].fetch_add(1, Ordering::Relaxed);
        }
        yield_now().await;
    }
}

/// Returns an origin with `/a`.
pub(crate) fn origin_of_one() -> Origin {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    origin
}

/// Returns the flags of the binary in front of an origin with several Redis servers. It has no
/// memory tier, so every hit comes from Redis.
pub(crate) fn flags(origin_url: &str, redis_url: &str) -> [String; 6] {
    [
        format!("--origin-url={origin_url}"),
        format!("--redis-url={redis_url}"),
        "--listen-addr=127.0.0.1:0".to_owned(),
        "--admin-addr=off".to_owned(),
        "--cache-memory-size=0".to_owned(),
        "--worker-threads=2".to_owned(),
    ]
}

/// Requests a target, checks the answer, and returns whether Redis had it.
pub(crate) fn hits_in_redis(addr: SocketAddr, target: &str) -> bool {
    let response = client::get(addr, target);
    assert_eq!((response.status, response.text()), (200, "{}"));
    response.cache_status().ends_with("detail=redis")
}
