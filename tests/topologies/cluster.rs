//! A cluster of six servers: a master is killed, slots are moved.

use cachewarp::redis::{ClusterSeeds, ReadingNodes, Topology};

use crate::alone;
use crate::harness::redis_load::{deployment, endpoint, flags, hits_in_redis, key, keys, origin_of_one};
use crate::harness::{Program, RedisCluster, RedisLoad, Start, until, until_agreed};

fn load(cluster: &RedisCluster, readers: ReadingNodes) -> RedisLoad {
    // One seed is enough to discover all servers.
    let seed = cluster.servers[1].addr();
    let topology = Topology::Cluster(ClusterSeeds { seeds: vec![endpoint(seed)], readers });
    RedisLoad::on(deployment(topology, seed))
}

#[test]
fn a_killed_master_affects_its_slots_until_the_fail_over() {
    let (mut cluster, _alone) = alone(RedisCluster::start);
    let owners: Vec<_> = keys().map(|key| RedisCluster::first_owner(cluster.slot(&key))).collect();
    let load = load(&cluster, ReadingNodes::Masters);
    load.await_every_key();
    cluster.servers[0].kill();
    // Keys of other masters are not affected, not even while this one has no successor.
    load.await_keys("the keys of the others", |number| owners[number] != 0);
    load.await_every_key();

    // It comes back as a replica of its own replica.
    cluster.servers[0].restart();
    load.await_every_key();
    load.end();
}

#[test]
fn slots_move_under_load() {
    let (cluster, _alone) = alone(RedisCluster::start);
    let load = load(&cluster, ReadingNodes::Masters);
    load.await_every_key();
    let mut asked = 0.0;
    for number in 0..6 {
        let slot = cluster.slot(&key(number));
        let from = RedisCluster::first_owner(slot);
        let to = (from + 1) % 3;
        cluster.begin_to_move(slot, from, to);
        load.await_keys("a key on its way", |other| other == number);
        // Reads of a removed replica go to the other.
        cluster.move_keys(slot, from, to);
        load.await_metric(r#"cachewarp_redis_redirects_total{kind="ask"}"#, asked + 1.0);
        load.await_keys("a key that has gone ahead", |other| other == number);
        cluster.move_keys(slot, from, to);
        cluster.end_move(slot, from, to);
        load.await_every_key();
        asked = load.metric(r#"cachewarp_redis_redirects_total{kind="ask"}"#);
    }
    // A map read meanwhile may still name it.
    assert!(load.metric(r#"cachewarp_redis_redirects_total{kind="moved"}"#) > 0.0);
    load.end();
}

#[test]
fn replicas_answer_reads_if_allowed() {
    let (cluster, _alone) = alone(RedisCluster::start);
    let load = load(&cluster, ReadingNodes::Replicas);
    load.await_every_key();
    let [masters, replicas] = [&cluster.servers[..3], &cluster.servers[3..]];
    until("every replica to have been read from", || replicas.iter().all(|replica| replica.calls("get") > 0));
    // Replicas execute no writes but their masters', and no client sends them any.
    assert!(masters.iter().all(|master| master.calls("set") > 0));
    load.await_every_key();
    load.end();
}

#[test]
fn the_binary_stores_and_hits_before_and_after() {
    let (mut cluster, _alone) = alone(RedisCluster::start);
    let origin = origin_of_one();
    let flags = flags(&origin.url(), &cluster.url());
    let program =
        Program::start(&Start { arguments: &flags.each_ref().map(String::as_str), ..Start::default() });
    let addr = program.await_addr();
    until("a hit in Redis", || hits_in_redis(addr, "/a"));

    let owner = (0..3).find(|number| cluster.servers[*number].keys().len() == 1).unwrap();
    cluster.servers[owner].kill();
    until_agreed("a hit in Redis again", || hits_in_redis(addr, "/a"));
}
