//! Redis restarts with an old snapshot: no purge is undone.

use crate::harness::{Answer, Origin, Redis, until};
use crate::process::Process;

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const ORDERS: [&str; 6] = [
    r#"{"url":"http://test/a"}"#,
    r#"{"url":"http://test/a","soft":true}"#,
    r#"{"tag":"t"}"#,
    r#"{"group":{"authority":"test","name":"g"}}"#,
    r#"{"prefix":"http://test/a"}"#,
    r#"{"all":true}"#,
];
/// The snapshot lists nodes that have left since, for a short time.
const FLAGS: &[&str] = &["--memory-alone-max=1s"];

fn answer(origin: &Origin, body: &str) {
    let fields = [("Cache-Control", "max-age=600"), ("Cache-Tag", "t"), ("Cache-Groups", "\"g\"")];
    origin.answer("/a", Answer::json_with(&fields, body));
}

fn get(node: &Process) -> String {
    node.connect().get("/a").text().to_owned()
}

/// Waits until every worker of every node is connected, and begins with an empty cache.
fn await_fleet(node: &Process) {
    until("all nodes to confirm", || node.purge(r#"{"all":true}"#).status == 200);
}

/// Stores the old response, takes a snapshot, and purges.
fn purge_after_a_snapshot(nodes: &[Process], origin: &Origin, redis: &Redis, order: &str) {
    answer(origin, OLD);
    await_fleet(&nodes[0]);
    for node in nodes {
        until("the response to be in memory", || {
            node.connect().get("/a").cache_status().ends_with("detail=memory")
        });
    }
    redis.command(&["SAVE"]);
    let purged = nodes[0].purge(order);
    assert_eq!(purged.status, 200, "{}", purged.text());
    answer(origin, NEW);
}

/// Reads until every node has had the new response from Redis or memory again.
fn assert_new(nodes: &[Process], order: &str) {
    for node in nodes {
        until("the new response to be stored", || {
            let response = node.connect().get("/a");
            assert_eq!(response.text(), NEW, "{order}: {}", response.cache_status());
            response.cache_status().starts_with("CacheWarp; hit")
        });
    }
}

#[test]
fn no_purge_is_undone_by_a_snapshot() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    let nodes = Process::fleet(2, &origin, &redis, FLAGS);
    for order in ORDERS {
        purge_after_a_snapshot(&nodes, &origin, &redis, order);
        redis.restart();
        assert_new(&nodes, order);
    }
}

/// The nodes start after the server, so none of them has seen an earlier run.
#[test]
fn no_purge_is_undone_for_nodes_that_start_with_redis() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    for order in [ORDERS[0], ORDERS[2]] {
        let nodes = Process::fleet(1, &origin, &redis, FLAGS);
        purge_after_a_snapshot(&nodes, &origin, &redis, order);
        for node in nodes {
            node.program.signal("TERM");
            node.program.end();
        }
        redis.restart();
        let nodes = [Process::start_at(&origin, &redis.url(), &["--redis-timeout=5s"])];
        assert_new(&nodes, order);
        let [node] = nodes;
        node.program.signal("TERM");
        node.program.end();
    }
}

/// Without the right to `INFO`, a log that goes back is noticed: every purge but one by URL counts.
#[test]
fn a_log_that_goes_back_begins_a_new_epoch() {
    let (origin, mut redis) = (Origin::start(), Redis::start_with(&["--rename-command", "INFO", ""]));
    let nodes = Process::fleet(2, &origin, &redis, FLAGS);
    nodes[0].program.await_line("missing=\"INFO\"");
    for order in &ORDERS[2..] {
        purge_after_a_snapshot(&nodes, &origin, &redis, order);
        redis.restart();
        assert_new(&nodes, order);
    }
}

/// A server that keeps its run keeps the entries.
#[test]
fn a_lost_connection_keeps_the_entries() {
    let (origin, redis) = (Origin::start(), Redis::start());
    answer(&origin, OLD);
    let nodes = Process::fleet(1, &origin, &redis, FLAGS);
    until("the response to be in memory", || {
        nodes[0].connect().get("/a").cache_status().ends_with("detail=memory")
    });
    answer(&origin, NEW);
    for kind in ["normal", "pubsub"] {
        redis.command(&["CLIENT", "KILL", "TYPE", kind]);
        until("the node to connect again", || nodes[0].purge(r#"{"tag":"nothing"}"#).status == 200);
        assert_eq!(get(&nodes[0]), OLD);
    }
}
