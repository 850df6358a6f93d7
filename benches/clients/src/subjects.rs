//! The compared clients, behind one interface.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cachewarp::redis::{Options, RedisAddress, RedisPool};
use cachewarp::telemetry::Registry;
use fred::clients::RedisPool as FredPool;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::Builder;
use fred::types::config::Config;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

/// The number of connections of each client.
const CONNECTIONS: usize = 20;
/// A timeout that no machine load exceeds.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client under test.
pub(crate) enum Subject {
    Ours(RedisPool),
    /// Connections that are used in turn.
    RedisRs(Vec<MultiplexedConnection>, Cell<usize>),
    Fred(FredPool, &'static str),
}

/// Connects and returns all clients.
pub(crate) async fn all(port: u16) -> Vec<Rc<Subject>> {
    let url = format!("redis://127.0.0.1:{port}");
    let ours = RedisPool::open(
        Options {
            connections: CONNECTIONS,
            command_timeout: TIMEOUT,
            connect_timeout: TIMEOUT,
            ..Options::at(RedisAddress::Tcp { host: "127.0.0.1".to_owned(), port })
        },
        &Registry::new(),
    );
    while ours.ping().await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let client = redis::Client::open(url.as_str()).expect("a URL");
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(client.get_multiplexed_async_connection().await.expect("a connection"));
    }
    let mut subjects = vec![Subject::Ours(ours), Subject::RedisRs(connections, Cell::new(0))];
    for (size, name) in [(CONNECTIONS, "fred × 20"), (1, "fred × 1")] {
        let config = Config::from_url(&url).expect("a URL");
        let pool = Builder::from_config(config).build_pool(size).expect("a pool");
        pool.init().await.expect("connections");
        subjects.push(Subject::Fred(pool, name));
    }
    subjects.into_iter().map(Rc::new).collect()
}

impl Subject {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "CacheWarp × 20",
            Self::RedisRs(..) => "redis-rs × 20",
            Self::Fred(_, name) => name,
        }
    }

    /// Returns the length of the value, or the error.
    pub(crate) async fn get(&self, key: &str) -> Result<usize, String> {
        let had = match self {
            Self::Ours(pool) => pool.get(key.as_bytes()).await.map_err(text)?.map(|value| value.len()),
            Self::RedisRs(connections, next) => {
                next.set((next.get() + 1) % connections.len());
                let mut connection = connections[next.get()].clone();
                let value: Option<Vec<u8>> = connection.get(key).await.map_err(text)?;
                value.map(|value| value.len())
            }
            Self::Fred(pool, _) => {
                let value: Option<Bytes> = pool.get(key).await.map_err(text)?;
                value.map(|value| value.len())
            }
        };
        had.ok_or_else(|| "no value".to_owned())
    }

    /// Writes a value, and retries until it succeeds.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        let Self::Ours(pool) = self else { panic!("only the first client writes") };
        let value = Bytes::copy_from_slice(value.as_bytes());
        while pool.set(key.as_bytes(), value.clone(), Duration::from_secs(3600)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
