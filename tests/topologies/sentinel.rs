//! A master that fails over, and sentinels that are away.

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

/// Whether no connection of ours is there. A server that changes its role ends this question's connection, too.
fn has_no_client(server: &Redis) -> bool {
    let clients = server.try_command(&["CLIENT", "LIST"]);
    clients.is_ok_and(|clients| !clients.text().contains("name=cachewarp"))
}

#[test]
fn a_master_that_is_killed_under_load_is_followed_by_another() {
    let (mut servers, _alone) = alone(Sentinels::start);
    let load = load(&servers);
    load.await_every_key();
    servers.servers[0].kill();
    servers.await_another_master();
    load.await_every_key();

    // The old one comes back, as a replica sooner or later: nothing is written to it.
    servers.servers[0].restart();
    until_agreed("the old master to be a replica", || {
        let role = servers.servers[0].try_command(&["ROLE"]);
        matches!(role, Ok(Value::Array(role)) if role[0].text() == "slave")
    });
    load.await_every_key();
    until("nobody to be left with the old one", || has_no_client(&servers.servers[0]));
    load.end();
}

#[test]
fn a_master_that_is_switched_by_hand_is_left() {
    let (servers, _alone) = alone(Sentinels::start);
    let load = load(&servers);
    load.await_every_key();
    // It goes on and is demoted: whoever stayed would be refused.
    servers.switch();
    load.await_every_key();
    until("nobody to be left with the old one", || has_no_client(&servers.servers[0]));
    load.end();
}

#[test]
fn each_one_of_the_sentinels_may_be_away() {
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
    // Whatever Redis does meanwhile, there is an answer.
    until_agreed("a hit in Redis again", || hits_in_redis(addr, "/a"));
}
