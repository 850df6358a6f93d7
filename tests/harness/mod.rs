//! The parties of a scenario: clients, CacheWarp, an origin, Redis.
//!
//! All calls block, and every server has its own threads, so a scenario reads from top to bottom
//! and works the same in a `#[test]` and in a `#[tokio::test]` (CacheWarp's workers have their own
//! threads). Parties synchronise at a [`Gate`], never by a sleep. A wait longer than [`PATIENCE`]
//! panics with the awaited condition. Dropping a party stops it.

use std::thread;
use std::time::Duration;

use cachewarp::time;

mod authority;
pub(crate) mod client;
mod exchange;
pub(crate) mod frames;
mod gate;
mod guard;
mod haproxy;
mod origin;
mod program;
mod proxy;
mod redis;
mod redis_cluster;
pub(crate) mod redis_load;
mod resp;
mod scripted_redis;
mod sentinels;
mod tls_client;
mod tls_front;
mod waits;
mod wire;
pub(crate) mod write_history;

pub(crate) use authority::Authority;
pub(crate) use client::{Client, Response};
pub(crate) use exchange::{Answer, Exchange, Then};
pub(crate) use gate::Gate;
pub(crate) use guard::Guard;
pub(crate) use haproxy::HaProxy;
pub(crate) use origin::Origin;
pub(crate) use program::{Ended, Program, Start};
pub(crate) use proxy::Proxy;
pub(crate) use redis::Redis;
pub(crate) use redis_cluster::RedisCluster;
pub(crate) use redis_load::RedisLoad;
pub(crate) use resp::Value;
pub(crate) use scripted_redis::{Script, ScriptedRedis};
pub(crate) use sentinels::Sentinels;
pub(crate) use tls_client::TlsClient;
pub(crate) use tls_front::TlsFront;
pub(crate) use waits::Waits;

/// The longest wait of any party. Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Time without progress after which a peer counts as full. Too short a time makes a test weaker,
/// never wrong.
const FULL_AFTER: Duration = Duration::from_millis(300);

/// Polls until a condition holds, where no gate is possible. The condition makes a request over a
/// socket, so the loop does not spin.
pub(crate) fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(PATIENCE, what, is_so);
}

/// Polls until servers agree, which may take several of their own timeouts.
pub(crate) fn until_agreed(what: &str, is_so: impl FnMut() -> bool) {
    until_within(4 * PATIENCE, what, is_so);
}

fn until_within(timeout: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = time::instant();
    while !is_so() {
        assert!(begun.elapsed() < timeout, "timeout while waiting for {what}");
        thread::yield_now();
    }
}
