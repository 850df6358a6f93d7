//! Sentinels and a cluster that require a password or TLS: discovered, connected to, and followed
//! through a fail-over.

use std::net::SocketAddr;
use std::sync::MutexGuard;

use crate::alone;
use crate::harness::redis_load::{flags, hits_in_redis, origin_of_one};
use crate::harness::{
    Authority, Guard, Origin, Program, RedisCluster, Sentinels, Start, until, until_agreed,
};

fn start(origin: &Origin, redis_url: &str, guard: &Guard) -> (Program, SocketAddr) {
    let flags: Vec<_> = flags(&origin.url(), redis_url).into_iter().chain(guard.flags()).collect();
    let arguments: Vec<_> = flags.iter().map(String::as_str).collect();
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let addr = program.await_addr();
    (program, addr)
}

/// Behind sentinels, before and after a fail-over.
fn behind_sentinels(guard: Guard) -> (Origin, Sentinels, MutexGuard<'static, ()>) {
    let (mut servers, alone) = alone(|| Sentinels::start_with(guard));
    let origin = origin_of_one();
    let (_program, addr) = start(&origin, &servers.url(), &servers.guard);
    until("a hit in Redis", || hits_in_redis(addr, "/a"));
    servers.servers[0].kill();
    until_agreed("a hit in Redis again", || hits_in_redis(addr, "/a"));
    (origin, servers, alone)
}

/// In a cluster, before and after a fail-over.
fn in_a_cluster(guard: Guard) {
    let (mut cluster, _alone) = alone(|| RedisCluster::start_with(guard));
    let origin = origin_of_one();
    let (_program, addr) = start(&origin, &cluster.url(), &cluster.guard);
    until("a hit in Redis", || hits_in_redis(addr, "/a"));
    let owner = (0..3).find(|number| cluster.servers[*number].keys().len() == 1).unwrap();
    cluster.servers[owner].kill();
    until_agreed("a hit in Redis again", || hits_in_redis(addr, "/a"));
}

#[test]
fn sentinels_and_servers_with_users_of_their_own() {
    let (origin, servers, _alone) = behind_sentinels(Guard::Users);
    let (stranger, addr) = start(&origin, &servers.url_of_a_stranger(), &Guard::Open);
    stranger.await_line("Redis topology refresh failed");
    assert!(!hits_in_redis(addr, "/a"), "a client without credentials gets nothing");
}

#[test]
fn sentinels_and_servers_that_speak_tls() {
    let _all = behind_sentinels(Guard::Tls(Box::new(Authority::new())));
}

#[test]
fn a_cluster_with_users() {
    in_a_cluster(Guard::Users);
}

#[test]
fn a_cluster_that_speaks_tls() {
    in_a_cluster(Guard::Tls(Box::new(Authority::new())));
}
