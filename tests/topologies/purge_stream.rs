//! The purge stream on several Redis servers: a node reads it at the master that has it.

use crate::alone;
use crate::harness::{Answer, Origin, Proxy, Redis, RedisCluster, Sentinels, Value, until};

const STREAM: &str = "cachewarp:purges";

/// Starts two nodes that read the stream.
fn nodes(origin: &Origin, redis_url: &str) -> [Proxy; 2] {
    let namespace = ("cache_namespace", "api");
    let settings = [("redis_url", redis_url), ("redis_timeout", "5s"), ("purge_stream", STREAM), namespace];
    let nodes = [0; 2].map(|_| Proxy::start(&origin.url(), &settings));
    nodes.iter().for_each(Proxy::await_redis);
    nodes
}

/// Writes a message to the master of the stream, which purges on every node.
fn purges_everywhere(origin: &Origin, nodes: &[Proxy; 2], master: &Redis, new: &str) {
    until("both nodes to have the response from Redis", || {
        nodes.each_ref().map(|node| node.get("/a").cache_status().contains("hit")) == [true; 2]
    });
    answer(origin, new);
    until("the master to accept the message", || {
        let added = master.try_command(&["XADD", STREAM, "*", "tag", "t"]);
        matches!(added, Ok(Value::Bulk(_)))
    });
    for node in nodes {
        until("the response to be new", || node.get("/a").text() == new);
    }
    until("the message to be acknowledged", || {
        let summary = master.try_command(&["XPENDING", STREAM, "cachewarp:api"]);
        matches!(summary, Ok(Value::Array(summary)) if summary.first() == Some(&Value::Integer(0)))
    });
}

fn answer(origin: &Origin, body: &str) {
    let fields = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t")];
    origin.answer("/a", Answer::json_with(&fields, body));
}

#[test]
fn a_node_follows_the_stream_to_another_server_of_a_cluster() {
    let (cluster, _alone) = alone(RedisCluster::start);
    let origin = Origin::start();
    answer(&origin, "0");
    let nodes = nodes(&origin, &cluster.url());
    let slot = cluster.slot(STREAM);
    let from = RedisCluster::first_owner(slot);
    let to = (from + 1) % 3;
    purges_everywhere(&origin, &nodes, &cluster.servers[from], "1");
    cluster.begin_to_move(slot, from, to);
    cluster.move_keys(slot, from, to);
    cluster.end_move(slot, from, to);
    purges_everywhere(&origin, &nodes, &cluster.servers[to], "2");
}

#[test]
fn a_node_follows_the_stream_to_another_master() {
    let (servers, _alone) = alone(Sentinels::start);
    let origin = Origin::start();
    answer(&origin, "0");
    let nodes = nodes(&origin, &servers.url());
    purges_everywhere(&origin, &nodes, &servers.servers[0], "1");
    servers.switch();
    let master = servers.master().unwrap();
    purges_everywhere(&origin, &nodes, &servers.servers[master], "2");
}
