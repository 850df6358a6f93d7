//! Several memory tiers over several servers: after a fail-over, a switch or a move, no purged
//! response is served.

use std::net::SocketAddr;

use cachewarp::redis::{ClusterSeeds, ReadingNodes, Sentinels as Watchers, Topology};
use cachewarp::store::{PurgeResult, PurgeScope, PurgeStrength, Tier};
use cachewarp::time;

use crate::alone;
use crate::harness::redis_load::endpoint;
use crate::harness::{PATIENCE, Redis, RedisCluster, Sentinels, Value};
use crate::node::{Node, key, on_one_thread, until};

/// Between the servers themselves.
async fn until_agreed(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = time::instant();
    while !is_so().await {
        assert!(begun.elapsed() < 4 * PATIENCE, "waited in vain for {what}");
        tokio::task::yield_now().await;
    }
}

fn behind(servers: &Sentinels) -> [Node; 2] {
    let addrs = servers.addrs();
    let topology = Topology::Sentinel(Watchers {
        seeds: addrs.iter().copied().map(endpoint).collect(),
        master: "mymaster".to_owned(),
        credentials: None,
    });
    nodes(&topology, addrs[0])
}

fn of(cluster: &RedisCluster) -> [Node; 2] {
    let seed = cluster.servers[1].addr();
    let topology =
        Topology::Cluster(ClusterSeeds { seeds: vec![endpoint(seed)], readers: ReadingNodes::Masters });
    nodes(&topology, seed)
}

fn nodes(topology: &Topology, seed: SocketAddr) -> [Node; 2] {
    [0; 2].map(|_| Node::start_on(topology.clone(), seed))
}

/// Stores it through one node and reads it on all, into memory, where only tracked entries stay.
async fn warm(nodes: &[Node; 2], path: &str) {
    until_agreed("Redis to take it", async || {
        let permit = nodes[0].permit(path).await;
        let stored = nodes[0].put(path, "old", &[], &permit).await;
        stored.is_ok() && nodes[1].read(path).await.is_some()
    })
    .await;
    for node in nodes {
        until_agreed("memory to have it", async || node.tier(path).await == Some(Tier::Memory)).await;
    }
}

/// Purges until every worker of both nodes confirms, and checks at once.
async fn purge(nodes: &[Node; 2], path: &str) {
    until_agreed("the purge to be confirmed", async || {
        let purged = nodes[0].purge(&[PurgeScope::Url(key(path))], PurgeStrength::Hard).await;
        let served = [nodes[0].read(path).await, nodes[1].read(path).await];
        let is_everywhere = purged == Ok(PurgeResult::counted(2, 2));
        assert!(!is_everywhere || served == [None, None], "{purged:?}, and served: {served:?}");
        is_everywhere
    })
    .await;
}

/// The other node serves the new response sooner or later, and from then on no old one.
async fn overwrite(nodes: &[Node; 2], path: &str) {
    nodes[0].store(path, "new", &[]).await;
    until("the other to see it", async || nodes[1].read(path).await.as_deref() == Some("new")).await;
    for node in nodes {
        until("memory to have it again", async || node.tier(path).await == Some(Tier::Memory)).await;
        assert_eq!(node.read(path).await.as_deref(), Some("new"));
    }
}

/// Returns whether every replica has its master's data.
fn is_level(master: &Redis) -> bool {
    let Ok(Value::Array(role)) = master.try_command(&["ROLE"]) else { return false };
    let Value::Array(replicas) = &role[2] else { return false };
    let offset = |value: &Value| {
        if let Value::Integer(number) = value { number.to_string() } else { value.text() }
    };
    let is_level =
        |replica: &Value| matches!(replica, Value::Array(words) if offset(&words[2]) == offset(&role[1]));
    !replicas.is_empty() && replicas.iter().all(is_level)
}

#[test]
fn a_killed_master_invalidates_its_reads() {
    let (mut servers, _alone) = alone(Sentinels::start);
    on_one_thread(async {
        let nodes = behind(&servers);
        warm(&nodes, "/a").await;
        until("memory to answer alone", async || {
            let gets = servers.servers[0].calls("get");
            for node in &nodes {
                assert_eq!(node.read("/a").await.as_deref(), Some("old"));
            }
            servers.servers[0].calls("get") == gets
        })
        .await;
        until("the replicas to have it", async || is_level(&servers.servers[0])).await;
        servers.servers[0].kill();
        until_agreed("another master", async || servers.master().is_some_and(|master| master != 0)).await;
        purge(&nodes, "/a").await;
        overwrite(&nodes, "/a").await;
    });
}

#[test]
fn a_replaced_master_that_lives_on_is_not_trusted() {
    let (servers, _alone) = alone(Sentinels::start);
    on_one_thread(async {
        let nodes = behind(&servers);
        warm(&nodes, "/a").await;
        until("the replicas to have it", async || is_level(&servers.servers[0])).await;
        servers.switch();
        purge(&nodes, "/a").await;
        overwrite(&nodes, "/a").await;
    });
}

#[test]
fn without_a_sentinel_majority_memory_asks_redis() {
    let (mut servers, _alone) = alone(Sentinels::start);
    on_one_thread(async {
        let nodes = behind(&servers);
        warm(&nodes, "/a").await;
        servers.sentinels[0].kill();
        warm(&nodes, "/b").await;
        servers.sentinels[1].kill();
        for node in &nodes {
            until("Redis to be asked", async || node.tier("/a").await == Some(Tier::Redis)).await;
            assert_eq!(node.tier("/a").await, Some(Tier::Redis), "and again");
        }
    });
}

#[test]
fn a_killed_cluster_master_invalidates_its_reads() {
    let (mut cluster, _alone) = alone(RedisCluster::start);
    on_one_thread(async {
        let nodes = of(&cluster);
        warm(&nodes, "/a").await;
        let owner = owner(&cluster);
        until("the replica to have it", async || is_level(&cluster.servers[owner])).await;
        cluster.servers[owner].kill();
        purge(&nodes, "/a").await;
        overwrite(&nodes, "/a").await;
    });
}

#[test]
fn a_demoted_cluster_master_that_lives_on_is_not_trusted() {
    let (cluster, _alone) = alone(RedisCluster::start);
    on_one_thread(async {
        let nodes = of(&cluster);
        warm(&nodes, "/a").await;
        let owner = owner(&cluster);
        until_agreed("the replica to take over", async || {
            let replica = &cluster.servers[owner + 3];
            let _ = replica.try_command(&["CLUSTER", "FAILOVER"]);
            matches!(replica.try_command(&["ROLE"]), Ok(Value::Array(role)) if role[0].text() == "master")
        })
        .await;
        purge(&nodes, "/a").await;
        overwrite(&nodes, "/a").await;
    });
}

#[test]
fn a_moved_slot_invalidates_its_reads() {
    let (cluster, _alone) = alone(RedisCluster::start);
    on_one_thread(async {
        let nodes = of(&cluster);
        warm(&nodes, "/a").await;
        let from = owner(&cluster);
        let to = (from + 1) % 3;
        let slot = cluster.slot(&name(&cluster.servers[from]).unwrap());
        cluster.begin_to_move(slot, from, to);
        cluster.move_keys(slot, from, to);
        for node in &nodes {
            until("the other to be asked", async || node.read("/a").await.as_deref() == Some("old")).await;
        }
        cluster.move_keys(slot, from, to);
        cluster.end_move(slot, from, to);
        purge(&nodes, "/a").await;
        overwrite(&nodes, "/a").await;
    });
}

/// Returns the name of the only entry, if it exists.
fn name(server: &Redis) -> Option<String> {
    server.keys().into_iter().next()
}

/// Returns the index of the master with the only entry.
fn owner(cluster: &RedisCluster) -> usize {
    cluster.masters().position(|server| name(server).is_some()).unwrap()
}
