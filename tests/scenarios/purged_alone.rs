//! A purge that Redis refuses still applies at the node that received it: to its memory, to its
//! fetches under way, and to old entries that Redis later returns.

use crate::admin::purge;
use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FIELDS: [(&str, &str); 4] =
    [("Cache-Control", "max-age=600"), ("Cache-Tag", "t"), ("Cache-Groups", "\"g\""), ("ETag", "\"a\"")];
/// Scopes that all include `/a`, and exclude `/b` except for the first.
const SCOPES: [&str; 5] = [
    r#""all":true"#,
    r#""tag":"t""#,
    r#""group":{"authority":"test","name":"g"}"#,
    r#""prefix":"http://test/a""#,
    r#""url":"http://test/a""#,
];

/// Returns all scopes, hard and soft.
fn orders() -> impl Iterator<Item = (String, &'static str)> {
    ["", r#","soft":true"#]
        .into_iter()
        .flat_map(|soft| SCOPES.map(|scope| (format!("{{{scope}{soft}}}"), scope)))
}

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

fn answer(origin: &Origin, body: &str) {
    origin.answer("/a", Answer::json_with(&FIELDS, body));
    origin.answer("/a?varied", Answer::json_with(&FIELDS, body));
    origin.answer("/b", Answer::json_with(&FIELDS[..1], body));
}

fn assert_incomplete(purged: &Response, order: &str) {
    assert_eq!((purged.status, purged.field("retry-after")), (503, Some("1")), "{order}");
    let summary = r#""outcome":"unavailable","this_node":"purged","redis":"unknown","other_nodes":"unknown""#;
    assert!(purged.text().contains(summary), "{order}: {}", purged.text());
}

#[test]
fn a_purge_applies_to_memory_after_redis_was_killed() {
    for (order, scope) in orders() {
        let (origin, mut redis) = (Origin::start(), Redis::start());
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_ttl", "1h")]);
        answer(&origin, OLD);
        for path in ["/a", "/b"] {
            proxy.get(path);
            until("the response to be in memory", || {
                proxy.get(path).cache_status().ends_with("detail=memory")
            });
        }
        redis.kill();
        assert_incomplete(&purge(&proxy, &order), &order);
        answer(&origin, NEW);
        assert_eq!(proxy.get("/a").text(), NEW, "{order}");
        let other_is_purged = scope == SCOPES[0];
        until("memory to serve without Redis", || other_is_purged || is_hit(&proxy.get("/b")));
    }
}

/// A purge that every node has confirmed is not undone by the loss of Redis.
#[test]
fn a_confirmed_purge_holds_after_redis_was_killed() {
    for (order, scope) in orders() {
        let (origin, mut redis) = (Origin::start(), Redis::start());
        let settings = [("redis_timeout", "10s"), ("worker_threads", "2")];
        let nodes: [Proxy; 2] =
            std::array::from_fn(|_| Proxy::start_with_redis(&origin.url(), &redis.url(), &settings));
        answer(&origin, OLD);
        for node in &nodes {
            for path in ["/a", "/b"] {
                until("the response to be in memory", || {
                    node.get(path).cache_status().ends_with("detail=memory")
                });
            }
        }
        let purged = purge(&nodes[0], &order);
        assert_eq!(purged.status, 200, "{order}: {}", purged.text());
        redis.kill();
        answer(&origin, NEW);
        let other_is_purged = scope == SCOPES[0];
        for node in &nodes {
            until("memory to serve without Redis", || other_is_purged || is_hit(&node.get("/b")));
            assert_eq!(node.get("/a").text(), NEW, "{order}");
        }
    }
}

#[test]
fn a_purge_applies_to_old_entries_in_a_full_redis() {
    let origin = Origin::start();
    for memory in ["64MiB", "0"] {
        let redis = Redis::start();
        let settings = [("redis_timeout", "10s"), ("cache_memory_size", memory)];
        for (order, scope) in orders() {
            redis.command(&["FLUSHALL"]);
            let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
            answer(&origin, OLD);
            for path in ["/a", "/b"] {
                proxy.get(path);
                until("the response to be stored", || is_hit(&proxy.get(path)));
            }
            redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
            assert_incomplete(&purge(&proxy, &order), &order);
            answer(&origin, NEW);
            assert_eq!(proxy.get("/a").text(), NEW, "{order} {memory}");
            assert_eq!(is_hit(&proxy.get("/b")), scope != SCOPES[0], "{order} {memory}");
            redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
            assert_eq!(proxy.get("/a").text(), NEW, "{order} {memory}: Redis still holds the old entry");
            // A response that is stored after the purge is a hit.
            until("the response to be stored again", || is_hit(&proxy.get("/a")));
            assert_eq!(proxy.get("/a").text(), NEW, "{order} {memory}");
            assert_eq!(purge(&proxy, &order).status, 200, "the purge can be repeated");
        }
    }
}

#[test]
fn a_purge_applies_to_all_variants() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let fields = [&FIELDS[..], &[("Vary", "Accept-Language")]].concat();
    for (number, (order, _)) in orders().enumerate() {
        redis.command(&["FLUSHALL"]);
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
        let get = |language: &str| proxy.get_with("/a", &[("Accept-Language", language)]);
        let body = format!("{number}");
        origin.answer("/a", Answer::json_with(&fields, &body));
        for language in ["de", "fr"] {
            get(language);
            until("the response to be stored", || is_hit(&get(language)));
        }
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_incomplete(&purge(&proxy, &order), &order);
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        origin.answer("/a", Answer::json_with(&fields, NEW));
        for language in ["de", "fr"] {
            assert_eq!(get(language).text(), NEW, "{order}");
        }
    }
}

#[test]
fn a_fetch_from_before_the_purge_stores_nothing() {
    for (order, _) in orders() {
        let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
        let settings = [("redis_timeout", "10s"), ("cache_memory_ttl", "1h")];
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nCache-Tag: t\r\nCache-Groups: \"g\"\r\n";
        let old = format!("{head}Content-Length: {}\r\n\r\n{OLD}", OLD.len());
        origin.answer("/a", Answer::silent().pass(&gate).send(old));
        let mut client = proxy.connect();
        client.send_head("GET", "/a", &[]);
        gate.await_arrivals(1);
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_incomplete(&purge(&proxy, &order), &order);
        answer(&origin, NEW);
        // A request after the purge does not join the old fetch.
        assert_eq!(proxy.get("/a").text(), NEW, "{order}");
        gate.open();
        assert_eq!(client.response().text(), OLD);
        assert_eq!(proxy.get("/a").text(), NEW, "{order}");
    }
}

#[test]
fn a_group_invalidation_by_a_write_applies_without_redis() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    answer(&origin, OLD);
    proxy.get("/a");
    until("the response to be stored", || is_hit(&proxy.get("/a")));
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    origin.answer("/write", Answer::new(204, &[("Cache-Group-Invalidation", "\"g\"")], ""));
    proxy.connect().request("POST", "/write", &[("Content-Length", "0")]);
    answer(&origin, NEW);
    assert_eq!(proxy.get("/a").text(), NEW);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(proxy.get("/a").text(), NEW);
}

#[test]
fn a_write_that_redis_does_not_record_still_invalidates() {
    for memory in ["64MiB", "0"] {
        let (origin, redis) = (Origin::start(), Redis::start());
        let settings = [("redis_timeout", "10s"), ("cache_memory_size", memory)];
        let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
        answer(&origin, OLD);
        proxy.get("/a");
        until("the response to be stored", || is_hit(&proxy.get("/a")));
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        proxy.connect().request("POST", "/a", &[("Content-Length", "0")]);
        answer(&origin, NEW);
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
        assert_eq!(proxy.get("/a").text(), NEW, "{memory}");
    }
}
