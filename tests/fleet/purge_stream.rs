//! Messages of the purge stream whose consumer is killed.

use crate::harness::{Answer, Origin, Redis, Value, until};
use crate::process::Process;

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const STREAM: &str = "cachewarp:purges";
const FLAGS: [&str; 4] = [
    "--purge-stream=cachewarp:purges",
    "--redis-timeout=5s",
    "--memory-alone-max=1s",
    "--cache-namespace=api",
];

/// Returns the consumers of the unacknowledged messages.
fn owners(redis: &Redis) -> Vec<String> {
    let rows = redis.command(&["XPENDING", STREAM, "cachewarp:api", "-", "+", "10"]);
    let Value::Array(rows) = rows else { return Vec::new() };
    let owner = |row: &Value| if let Value::Array(row) = row { row[1].text() } else { String::new() };
    rows.iter().map(owner).collect()
}

/// A node is killed after Redis has delivered a message to it, and before it has read the message.
#[test]
fn another_node_takes_over_the_messages_of_a_killed_one() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=600"), ("Cache-Tag", "t")], OLD));
    let killed = Process::start_at(&origin, &redis.url(), &FLAGS);
    let is_blocked =
        || redis.command(&["INFO", "clients"]).text().lines().any(|line| line == "blocked_clients:1");
    let stat = format!("/proc/{}/stat", killed.program.pid());
    let mut id = String::new();
    until("Redis to deliver a message to a node that is stopped", || {
        until("the node to wait for a message", is_blocked);
        killed.program.signal("STOP");
        // In the file, the state follows the name in brackets.
        until("the node to be stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
        id = redis.command(&["XADD", STREAM, "*", "tag", "t"]).text();
        // Its wait may have ended a moment before.
        let is_delivered = !owners(&redis).is_empty();
        if !is_delivered {
            redis.command(&["XDEL", STREAM, &id]);
            killed.program.signal("CONT");
        }
        is_delivered
    });
    killed.program.signal("KILL");
    killed.program.end();
    let dead = owners(&redis).remove(0);

    let other = Process::start_at(&origin, &redis.url(), &FLAGS);
    until("the other node to wait for a message", is_blocked);
    until("the response to be stored", || other.connect().get("/a").cache_status().contains("hit"));
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=600"), ("Cache-Tag", "t")], NEW));
    assert_eq!(other.connect().get("/a").text(), OLD, "no node has purged");
    // The message becomes as old as a live node would never leave it.
    redis.command(&["XCLAIM", STREAM, "cachewarp:api", &dead, "0", &id, "IDLE", "61000", "JUSTID"]);
    until("the message to be taken over", || other.metric("cachewarp_purge_stream_takeovers_total") == 1.0);
    until("the response to be purged", || other.connect().get("/a").text() == NEW);
    // The killed node is registered for some seconds, in which no purge is confirmed.
    until("the purge to be confirmed", || owners(&redis).is_empty());
    let confirmed = r#"cachewarp_purge_stream_messages_total{result="confirmed"}"#;
    until("the purge to be counted", || other.metric(confirmed) == 1.0);
}
