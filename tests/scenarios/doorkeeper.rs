//! URLs with one request each: under memory pressure they are not stored at their first request,
//! and all else is unchanged.

use crate::harness::{Answer, Origin, Proxy, Redis};

const STORED: &str = "CacheWarp; fwd=uri-miss; stored";
const FIRST_REQUEST: &str = "CacheWarp; fwd=uri-miss; detail=not-admitted";

/// Returns a stage whose bodies are 202 bytes of JSON.
fn stage() -> (Origin, Redis) {
    let origin = Origin::start();
    for path in ["/hot", "/search"] {
        let body = format!("\"{}\"", "x".repeat(200));
        origin.answer(path, Answer::json_with(&[("Cache-Control", "max-age=600")], &body));
    }
    (origin, Redis::start())
}

fn first_requests(proxy: &Proxy) -> f64 {
    proxy.metric(r#"cachewarp_not_stored_total{reason="not-admitted"}"#)
}

#[test]
fn a_flood_of_unique_queries_fills_neither_redis_nor_memory() {
    let (origin, redis) = stage();
    let settings = [("cache_admission_budget", "2KiB"), ("cache_memory_size", "1MiB")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    assert_eq!(proxy.get("/hot").cache_status(), STORED, "without pressure the first miss is stored");
    let mut client = proxy.connect();
    for number in 0..300 {
        assert_eq!(client.get(&format!("/search?q={number}")).status, 200);
    }
    assert!(first_requests(&proxy) > 250.0);
    // Eleven bodies use 2 KiB; the budget regained a little more during the flood.
    assert!(redis.keys().len() < 40, "{} keys", redis.keys().len());
    assert!(client.get("/hot").cache_status().ends_with("detail=memory"));
    assert_eq!(origin.count("/hot"), 1);
}

#[test]
fn a_repeated_request_is_stored_even_under_pressure() {
    let (origin, redis) = stage();
    let settings = [("cache_admission_budget", "0")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    assert_eq!(proxy.get("/hot").cache_status(), FIRST_REQUEST);
    assert_eq!(proxy.get("/hot").cache_status(), STORED);
    assert!(proxy.get("/hot").cache_status().starts_with("CacheWarp; hit"));
    assert_eq!((origin.count("/hot"), first_requests(&proxy)), (2, 1.0));
}

#[test]
fn a_full_redis_gets_only_repeated_requests() {
    let (origin, redis) = stage();
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    assert_eq!(proxy.get("/search?q=1").cache_status(), STORED);
    redis.await_keys(1);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(proxy.get("/search?q=2").status, 200);
    proxy.await_metric("cachewarp_store_writes_lost_total", 1.0);
    assert_eq!(proxy.get("/search?q=3").cache_status(), FIRST_REQUEST);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(proxy.get("/search?q=3").cache_status(), STORED);
    redis.await_keys(2);
}
