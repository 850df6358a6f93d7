//! Purges and removals that Redis does not accept at once: the node repeats them until it does, and
//! then they hold on every node.

use crate::admin::purge;
use crate::harness::{Answer, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FIELDS: [(&str, &str); 3] =
    [("Cache-Control", "max-age=600"), ("Cache-Tag", "t"), ("Cache-Groups", "\"g\"")];

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Starts two nodes that have the old response of `/a` in memory.
fn nodes(origin: &Origin, redis: &Redis, settings: &[(&str, &str)]) -> [Proxy; 2] {
    origin.answer("/a", Answer::json_with(&FIELDS, OLD));
    let nodes: [Proxy; 2] =
        std::array::from_fn(|_| Proxy::start_with_redis(&origin.url(), &redis.url(), settings));
    for node in &nodes {
        until("the response to be in memory", || node.get("/a").cache_status().ends_with("detail=memory"));
    }
    nodes
}

fn post(node: &Proxy, path: &str) {
    node.connect().request("POST", path, &[("Content-Length", "0")]);
}

fn await_repetition(node: &Proxy) {
    until("Redis to accept the purges", || node.metric("cachewarp_purges_pending") == 0.0);
    assert!(node.metric(r#"cachewarp_purges_repeated_total{result="accepted"}"#) >= 1.0);
}

#[test]
fn a_write_invalidates_on_every_node_while_redis_is_full() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let [writer, other] = nodes(&origin, &redis, &[("redis_timeout", "10s")]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    post(&writer, "/a");
    origin.answer("/a", Answer::json_with(&FIELDS, NEW));
    assert_eq!(writer.get("/a").text(), NEW);
    until("the other node to drop the response", || other.get("/a").text() == NEW);
    // One for the responses to `GET`, and one for those to `QUERY`.
    assert_eq!(writer.metric("cachewarp_purges_pending"), 2.0);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    await_repetition(&writer);
    for node in [&writer, &other] {
        until("the response to be stored", || is_hit(&node.get("/a")));
        assert_eq!(node.get("/a").text(), NEW);
    }
}

#[test]
fn a_group_invalidation_reaches_every_node_after_redis_has_stalled() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let [writer, other] = nodes(&origin, &redis, &[("redis_timeout", "100ms")]);
    origin.answer("/write", Answer::new(204, &[("Cache-Group-Invalidation", "\"g\"")], ""));
    redis.stall();
    post(&writer, "/write");
    origin.answer("/a", Answer::json_with(&FIELDS, NEW));
    assert!(writer.metric("cachewarp_purges_pending") >= 1.0);
    redis.resume();
    assert_eq!(writer.get("/a").text(), NEW);
    await_repetition(&writer);
    for node in [&writer, &other] {
        assert_eq!(node.get("/a").text(), NEW);
    }
}

#[test]
fn a_refused_purge_holds_everywhere_once_redis_accepts_it() {
    for soft in ["", r#","soft":true"#] {
        for scope in [
            r#""all":true"#,
            r#""tag":"t""#,
            r#""group":{"authority":"test","name":"g"}"#,
            r#""prefix":"http://test/a""#,
            r#""url":"http://test/a""#,
        ] {
            let order = format!("{{{scope}{soft}}}");
            let (origin, redis) = (Origin::start(), Redis::start());
            let [purging, other] = nodes(&origin, &redis, &[("redis_timeout", "10s")]);
            redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
            assert_eq!(purge(&purging, &order).status, 503, "{order}");
            redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
            await_repetition(&purging);
            origin.answer("/a", Answer::json_with(&FIELDS, NEW));
            for node in [&purging, &other] {
                assert_eq!(node.get("/a").text(), NEW, "{order}");
            }
        }
    }
}

/// The clients of 70 accounts purge one prefix each; the log holds 64 of them.
#[test]
fn more_purges_by_prefix_than_the_bound_still_hold() {
    let (origin, redis) = (Origin::start(), Redis::start());
    for redis_url in ["off", &redis.url()] {
        let proxy = Proxy::start(&origin.url(), &[("redis_url", redis_url), ("redis_timeout", "10s")]);
        if redis_url != "off" {
            proxy.await_redis();
        }
        origin.answer("/other", Answer::json_with(&FIELDS, OLD));
        let mut coarser = 0;
        for account in 10..80 {
            let path = format!("/accounts/{account}/cards");
            origin.answer(&path, Answer::json_with(&FIELDS, OLD));
            for path in [&path, "/other"] {
                until("the response to be stored", || is_hit(&proxy.get(path)));
            }
            origin.answer(&path, Answer::json_with(&FIELDS, NEW));
            let purged = purge(&proxy, &format!(r#"{{"prefix":"http://test/accounts/{account}/"}}"#));
            assert_eq!(purged.status, 200, "{}", purged.text());
            coarser += usize::from(purged.text().contains(r#""coarser":[{"prefix":"http://test/accounts/"#));
            assert_eq!(proxy.get(&path).text(), NEW, "{account} {redis_url}");
            assert!(is_hit(&proxy.get("/other")), "{account} {redis_url}");
        }
        assert!((1..=6).contains(&coarser), "{coarser}");
    }
}

/// Each origin has a prefix of its own, so that nothing is common to two of them.
#[test]
fn purges_by_prefix_of_many_origins_become_a_purge_of_everything() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    origin.answer("/a", Answer::json_with(&FIELDS, OLD));
    until("the response to be stored", || is_hit(&proxy.get("/a")));
    for number in 0..64 {
        let purged = purge(&proxy, &format!(r#"{{"prefix":"http://host{number}/"}}"#));
        assert!(!purged.text().contains("coarser"), "{}", purged.text());
    }
    assert!(is_hit(&proxy.get("/a")));
    let purged = purge(&proxy, r#"{"prefix":"http://more/"}"#);
    assert!(purged.text().contains(r#""coarser":[{"all":true}]"#), "{}", purged.text());
    origin.answer("/a", Answer::json_with(&FIELDS, NEW));
    assert_eq!(proxy.get("/a").text(), NEW);
}
