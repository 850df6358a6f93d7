//! Warm restarts: the hot entries of the last process are in memory before the first request.

use crate::harness::{Answer, Origin, Proxy, Redis, Value, until};

const SETTINGS: [(&str, &str); 5] = [
    ("cache_warm_keys", "3"),
    ("cache_memory_ttl", "1h"),
    ("redis_timeout", "10s"),
    ("node_name", "cache-1"),
    ("cache_namespace", "api"),
];
const LIST: &str = "cachewarp:api:warm:cache-1";

/// Requests two hot resources, one of which varies, and a cold one, then stops the proxy, which
/// leaves a list.
fn run_before_restart(origin: &Origin, redis: &Redis) {
    let fields = [("Content-Type", "application/json"), ("Cache-Control", "max-age=600")];
    origin.answer("/hot", Answer::new(200, &fields, "{}"));
    origin.answer("/cold", Answer::new(200, &fields, "{}"));
    origin.answer("/v", Answer::new(200, &[&fields[..], &[("Vary", "Accept-Language")]].concat(), "{}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &SETTINGS);
    let mut client = proxy.connect();
    client.get("/cold");
    for _ in 0..300 {
        client.get("/hot");
        client.request("GET", "/v", &[("Accept-Language", "de")]);
    }
    redis.await_keys(4);
}

#[test]
fn hot_entries_are_in_memory_before_the_first_request() {
    let (origin, redis) = (Origin::start(), Redis::start());
    run_before_restart(&origin, &redis);
    assert!((1..=24 * 3600).contains(&redis.command(&["TTL", LIST]).number()), "the list must expire");

    let proxy = Proxy::start(
        &origin.url(),
        &[&SETTINGS[..], &[("redis_url", &redis.url()), ("redis_pool_size", "1")]].concat(),
    );
    assert_eq!(
        proxy.metric("cachewarp_memory_entries"),
        3.0,
        "memory holds the hot entry, the list of variants and the variant"
    );
    let mut client = proxy.connect();
    assert!(client.get("/hot").cache_status().contains("detail=memory"));
    let german = client.request("GET", "/v", &[("Accept-Language", "de")]);
    assert!(german.cache_status().contains("detail=memory"));
    assert!(client.get("/cold").cache_status().contains("detail=redis"));
    assert_eq!((origin.count("/hot"), origin.count("/v"), origin.count("/cold")), (1, 1, 1));
}

#[test]
fn a_node_starts_with_any_invalid_list() {
    let (origin, redis) = (Origin::start(), Redis::start());
    run_before_restart(&origin, &redis);
    let url = redis.url();
    let settings = [&SETTINGS[..], &[("redis_url", url.as_str()), ("redis_pool_size", "1")]].concat();
    for list in ["", "CWk", "garbage", "CWk\u{1}too short"] {
        assert_eq!(redis.command(&["SET", LIST, list]), Value::Simple("OK".to_owned()));
        let proxy = Proxy::start(&origin.url(), &settings);
        assert_eq!(proxy.metric("cachewarp_memory_entries"), 0.0, "{list}");
    }
    // A list of another Redis type, a missing list, and a missing Redis.
    redis.command(&["DEL", LIST]);
    redis.command(&["LPUSH", LIST, "a"]);
    drop(Proxy::start(&origin.url(), &settings));
    redis.command(&["DEL", LIST]);
    drop(Proxy::start(&origin.url(), &settings));
    drop(redis);
    let proxy = Proxy::start(&origin.url(), &settings);
    assert_eq!(proxy.get("/hot").status, 200);
}

#[test]
fn all_workers_wait_for_the_worker_that_reads_the_list() {
    let (origin, redis) = (Origin::start(), Redis::start());
    run_before_restart(&origin, &redis);
    let url = redis.url();
    let settings =
        [&SETTINGS[..], &[("redis_url", url.as_str()), ("redis_pool_size", "3"), ("worker_threads", "3")]]
            .concat();
    let proxy = Proxy::start(&origin.url(), &settings);
    for _ in 0..8 {
        assert!(proxy.get("/hot").cache_status().contains("detail=memory"));
    }
}

#[test]
fn no_list_is_written_unless_the_setting_enables_it() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/hot", Answer::json("{}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    let mut client = proxy.connect();
    (0..100).for_each(|_| drop(client.get("/hot")));
    drop(client);
    drop(proxy);
    until("the entry to be stored", || redis.keys().len() == 1);
    assert!(!redis.keys()[0].contains("warm"));
}
