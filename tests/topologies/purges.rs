//! Purges with several Redis servers: a confirmed purge holds on every node, however long memory
//! keeps tracked entries.

use crate::alone;
use crate::harness::{Answer, Client, Origin, Proxy, RedisCluster, Sentinels, until};

/// Sends a purge to a node's admin listener, which must hold everywhere once it is confirmed;
/// repeats it while it fails, as it may with servers that have just started.
fn purge(node: &Proxy, order: &str) {
    let admin = node.admin_addr();
    let length = order.len();
    until("the purge to be done", || {
        let mut client = Client::connect(admin);
        client.send(format!(
            "POST /purge HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{order}"
        ));
        let answer = client.response_to("POST");
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
