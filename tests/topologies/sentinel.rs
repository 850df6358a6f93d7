//! A master that fails over, and sentinels that are down.

use cachewarp::redis::{Sentinels as Watchers, Topology};

use crate::alone;
use crate::harness::redis_load::{deployment, endpoint, flags, hits_in_redis, origin_of_one};
use crate::harness::{Program, Redis, RedisLoad, Sentinels, Start, Value, until, until_agreed};

fn load(servers: &Sentinels) -> RedisLoad {
    let addrs = servers.addrs();
    let topology = Topology::Sentinel(Watchers {
        seeds: addrs.iter().copied().map(endpoint).collect(),
        master: "mymaster".to_owned(),
        credentials: None,
    });
    RedisLoad::on(deployment(topology, addrs[0]))
}

/// Returns whether the client has no connection here. A server that changes its role closes this
/// one, too.
fn has_no_client(server: &Redis) -> bool {
    let clients = server.try_command(&["CLIENT", "LIST"]);
    clients.is_ok_and(|clients| !clients.text().contains("name=cachewarp"))
}

#[test]
fn a_killed_master_is_replaced_under_load() {
    let (mut servers, _alone) = alone(Sentinels::start);
    let load = load(&servers);
    load.await_every_key();
    servers.servers[0].kill();
    servers.await_another_master();
    load.await_every_key();

    // The old master comes back, as a replica sooner or later: it gets no writes.
    servers.servers[0].restart();
    until_agreed("the old master to be a replica", || {
        let role = servers.servers[0].try_command(&["ROLE"]);
        matches!(role, Ok(Value::Array(role)) if role[0].text() == "slave")
    });
    load.await_every_key();
    until("no client of the old master", || has_no_client(&servers.servers[0]));
    load.end();
}

#[test]
fn a_manual_fail_over_is_followed() {
    let (servers, _alone) = alone(Sentinels::start);
    let load = load(&servers);
    load.await_every_key();
    // The old master lives on and is demoted: a client that stayed would be refused.
    servers.switch();
    load.await_every_key();
    until("no client of the old master", || has_no_client(&servers.servers[0]));
    load.end();
}

#[test]
fn any_single_sentinel_may_be_down() {
    for away in 0..3 {
        let (mut servers, _alone) = alone(Sentinels::start);
        servers.sentinels[away].kill();
        let load = load(&servers);
        load.await_every_key();
        servers.servers[0].kill();
        servers.await_another_master();
        load.await_every_key();
        load.end();
    }
}

#[test]
fn the_binary_stores_and_hits_before_and_after() {
    let (mut servers, _alone) = alone(Sentinels::start);
    let origin = origin_of_one();
    let flags = flags(&origin.url(), &servers.url());
    let program =
        Program::start(&Start { arguments: &flags.each_ref().map(String::as_str), ..Start::default() });
    let addr = program.await_addr();
    until("a hit in Redis", || hits_in_redis(addr, "/a"));

    servers.servers[0].kill();
    // Every request gets a response, whatever Redis does.
    until_agreed("a hit in Redis again", || hits_in_redis(addr, "/a"));
}
