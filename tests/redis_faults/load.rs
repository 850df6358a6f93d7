//! A pool under load: callers without pauses, each with its own key, whose value is the key.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use cachewarp::redis::{Options, RedisAddress, RedisPool};
use cachewarp::telemetry::Registry;
use tokio::task::{JoinHandle, LocalSet, spawn_blocking, spawn_local, yield_now};

use crate::harness::Waits;

/// The longest wait of a test.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The longest recovery after the server's own.
pub(crate) const RECOVERY: Duration = Duration::from_secs(2);
pub(crate) const TTL: Duration = Duration::from_secs(600);

pub(crate) fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(SOON, work).await.unwrap() });
}

pub(crate) fn options(port: u16, connections: usize) -> Options {
    Options { connections, ..Options::at(RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port }) }
}

pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

/// A pool, and callers without pauses, each with its own key, whose value is the key.
pub(crate) struct Load {
    pub(crate) pool: RedisPool,
    registry: Registry,
    callers: Vec<JoinHandle<()>>,
    counts: Rc<Counts>,
}

struct Counts {
    right: Cell<u64>,
    enough: Cell<bool>,
    waits: Rc<Waits>,
}

impl Load {
    pub(crate) async fn on(port: u16) -> Self {
        Self::with(options(port, 6)).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let (registry, waits) = (Registry::new(), Waits::up_to(options.command_timeout));
        let pool = RedisPool::open(options, &registry);
        until(|| pool.is_connected()).await;
        let counts = Rc::new(Counts { right: Cell::default(), enough: Cell::default(), waits });
        let callers = (0..32)
            .map(|number| spawn_local(ask(pool.clone(), format!("key-{number}"), Rc::clone(&counts))))
            .collect();
        let load = Self { pool, registry, callers, counts };
        load.answered(1000).await;
        load
    }

    /// Waits for this many more correct replies.
    pub(crate) async fn answered(&self, count: u64) {
        let target = self.counts.right.get() + count;
        until(|| self.counts.right.get() >= target).await;
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.registry.render();
        let name = format!("cachewarp_redis_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    /// Ends the load; every caller has received only its own values, in time.
    pub(crate) async fn end(self) {
        self.counts.enough.set(true);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.counts.waits.assert_in_time().await;
        self.pool.close().await;
    }
}

async fn ask(pool: RedisPool, key: String, counts: Rc<Counts>) {
    let waits = &counts.waits;
    while !counts.enough.get() {
        match waits.time(pool.get(key.as_bytes())).await {
            Ok(Some(value)) => {
                assert_eq!(value, key, "another caller's value");
                counts.right.set(counts.right.get() + 1);
            }
            Ok(None) => drop(waits.time(pool.set(key.as_bytes(), key.clone().into(), TTL)).await),
            Err(_) => yield_now().await,
        }
    }
}

/// Runs blocking work beside the callers.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap()
}

pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
