//! Purges with several Redis servers: a confirmed purge holds on every node, however long memory
//! keeps tracked entries.

use crate::alone;
use crate::harness::{Answer, Client, Origin, Proxy, RedisCluster, Response, Sentinels, until};

/// Sends a purge to a node's admin listener.
fn purge_once(node: &Proxy, order: &str) -> Response {
    let (admin, length) = (node.admin_addr(), order.len());
    let mut client = Client::connect(admin);
    client.send(format!(
        "POST /purge HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{order}"
    ));
    client.response_to("POST")
}

/// Sends a purge, which must hold everywhere once it is confirmed; repeats it while it fails, as it
/// may with servers that have just started.
fn purge(node: &Proxy, order: &str) {
    until("the purge to be done", || {
        let answer = purge_once(node, order);
        assert!(matches!(answer.status, 200 | 202 | 503), "{order}: {}", answer.text());
        answer.status == 200
    });
}

/// A purge on one node holds on every node.
fn hold_on_every_node(redis_url: &str) {
    let origin = Origin::start();
    let says = |body: &str| {
        origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=600"), ("Cache-Tag", "t")], body));
    };
    let settings = [("redis_url", redis_url), ("redis_timeout", "5s"), ("cache_memory_ttl", "60s")];
    let nodes = [0; 2].map(|_| Proxy::start(&origin.url(), &settings));
    nodes.iter().for_each(Proxy::await_redis);
    says("0");
    let orders = [
        r#"{"url":"http://test/a"}"#,
        r#"{"tag":"t"}"#,
        r#"{"prefix":"http://test/"}"#,
        r#"{"all":true}"#,
        r#"{"tag":"t","soft":true}"#,
    ];
    for (number, order) in orders.into_iter().enumerate() {
        until("both nodes to have it from Redis", || {
            nodes.each_ref().map(|node| node.get("/a").cache_status().contains("hit")) == [true; 2]
        });
        let (old, new) = (number.to_string(), (number + 1).to_string());
        assert!(nodes.iter().all(|node| node.get("/a").text() == old), "{order}");
        says(&new);
        purge(&nodes[0], order);
        for node in nodes.iter().rev() {
            assert_eq!(node.get("/a").text(), new, "{order}");
        }
    }
}

#[test]
fn hold_in_a_cluster() {
    let (cluster, _alone) = alone(RedisCluster::start);
    hold_on_every_node(&cluster.url());
}

#[test]
fn hold_behind_sentinels() {
    let (servers, _alone) = alone(Sentinels::start);
    hold_on_every_node(&servers.url());
}

/// Any replica may be the next master, so each has to have the purge.
#[test]
fn a_purge_counts_once_every_replica_has_it() {
    let (servers, _alone) = alone(Sentinels::start);
    let origin = Origin::start();
    let node = Proxy::start(&origin.url(), &[("redis_url", &servers.url()), ("redis_timeout", "5s")]);
    node.await_redis();
    let order = r#"{"url":"http://test/a"}"#;
    purge(&node, order);
    let stalled = &servers.servers[2];
    stalled.stall();
    let answer = purge_once(&node, order);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains(r#""replicas":"unconfirmed""#), "{}", answer.text());
    stalled.resume();
    purge(&node, order);
    // As at the beginning of a planned fail-over: the master does not list the new one any more.
    servers.servers[1].command(&["REPLICAOF", "NO", "ONE"]);
    until("the master to lose the replica", || {
        let answer = servers.servers[0].command(&["INFO", "replication"]).text();
        answer.contains("connected_slaves:1")
    });
    let answer = purge_once(&node, order);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains(r#""replicas":"unconfirmed""#), "{}", answer.text());
}
