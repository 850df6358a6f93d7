//! Faults of Redis: each is a miss and never an error, so the client gets the response that it
//! would get from an empty cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::admin::purge;
use crate::harness::{
    Answer, Client, Gate, Origin, Proxy, Redis, Response, Script, ScriptedRedis, Value, until,
};

/// No memory, so that every hit comes from Redis.
const REDIS_ONLY: (&str, &str) = ("cache_memory_size", "0");
/// A slow fetch on a busy machine would take the lease for the next request, and look up once more.
const ALONE: (&str, &str) = ("fetch_lease", "off");
/// On a busy machine a long timeout makes the write late but not lost.
const PATIENT: (&str, &str) = ("redis_timeout", "10s");
const MISS: &str = "CacheWarp; fwd=uri-miss; stored";

fn origin() -> Origin {
    let origin = Origin::start();
    for path in ["/a", "/b"] {
        origin.answer(path, Answer::json(&format!("{{\"path\":\"{path}\"}}")));
    }
    origin
}

fn is_hit_in_redis(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit") && response.cache_status().ends_with("detail=redis")
}

/// Checks that the client sees an ordinary miss.
fn assert_miss(proxy: &Proxy, path: &str) {
    let response = proxy.get(path);
    let body = format!("{{\"path\":\"{path}\"}}");
    assert_eq!((response.status, response.text(), response.cache_status()), (200, body.as_str(), MISS));
}

fn health(proxy: &Proxy) -> String {
    proxy.get("/health").text().to_owned()
}

const CONNECTED: &str = r#"{"status":"ok","redis":"connected"}"#;
const DISCONNECTED: &str = r#"{"status":"ok","redis":"disconnected"}"#;

#[test]
fn a_second_lookup_finds_the_entry_when_the_origin_fails() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=600")], "{}"));
    let settings = [REDIS_ONLY, ("redis_timeout", "500ms")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    assert_eq!(proxy.get("/a").cache_status(), MISS);
    redis.await_keys(1);
    origin.answer("/a", Answer::silent().pass(&gate).close());
    redis.stall();
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    // The first lookup has timed out by then.
    gate.await_arrivals(1);
    redis.resume();
    gate.open();
    let answer = client.response();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(is_hit_in_redis(&answer), "{}", answer.cache_status());
}

/// Stores a response in Redis that is fresh or softly purged. Returns the response to a request
/// whose first lookup timed out, while the origin is still working.
fn response_to_second_lookup(soft_purge: Option<&str>) -> Response {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    let control = ("Cache-Control", "max-age=600, stale-while-revalidate=600");
    origin.answer("/a", Answer::json_with(&[control], "{}"));
    // The second lookup has the timeout of the first, and Redis resumes meanwhile.
    let settings = [REDIS_ONLY, ALONE, ("redis_timeout", "2s")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    assert_eq!(proxy.get("/a").cache_status(), MISS);
    redis.await_keys(1);
    if let Some(order) = soft_purge {
        assert_eq!(purge(&proxy, order).status, 200);
    }
    origin.answer("/a", Answer::silent().pass(&gate).hang());
    redis.stall();
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    gate.await_arrivals(1);
    redis.resume();
    let answer = client.response();
    gate.open();
    answer
}

#[test]
fn a_fresh_entry_is_served_during_a_slow_fetch() {
    let answer = response_to_second_lookup(None);
    assert!(is_hit_in_redis(&answer), "{answer:?}");
}

#[test]
fn a_stale_entry_is_served_during_a_slow_fetch() {
    let answer = response_to_second_lookup(Some(r#"{"url":"http://test/a","soft":true}"#));
    assert!(answer.cache_status().starts_with("CacheWarp; hit; ttl=-"), "{answer:?}");
}

#[test]
fn a_redis_that_starts_later_is_used() {
    let (origin, mut redis) = (origin(), Redis::start());
    redis.kill();
    let proxy = Proxy::start(&origin.url(), &[("redis_url", &redis.url()), REDIS_ONLY, PATIENT]);
    assert_miss(&proxy, "/a");
    assert_eq!(health(&proxy), DISCONNECTED);
    redis.restart();
    proxy.await_redis();
    until("/health to report it", || health(&proxy) == CONNECTED);
    assert_miss(&proxy, "/a");
    redis.await_keys(1);
    assert!(is_hit_in_redis(&proxy.get("/a")));
}

#[test]
fn memory_serves_while_redis_is_disconnected() {
    let (origin, mut redis) = (origin(), Redis::start());
    // An untracked memory entry has no lifetime: each hit reads Redis if it is connected.
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_ttl", "0")]);
    assert_miss(&proxy, "/a");
    redis.await_keys(1);
    until("the entry to be in memory", || proxy.get("/a").cache_status().ends_with("detail=memory"));
    redis.kill();
    until("the pool to notice", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) == 0.0);
    // An entry that was tracked is validated first; the reply of Redis, or without Redis the entry,
    // is served.
    until("memory to serve", || proxy.get("/a").cache_status().ends_with("detail=memory"));
    assert!(origin.count("/a") <= 2);
    // An entry that Redis has lost is lost for all nodes.
    redis.restart();
    proxy.await_redis();
    assert_miss(&proxy, "/a");
}

#[test]
fn a_restart_of_redis_under_load_causes_no_client_error() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    for path in 0..20 {
        origin.answer(&format!("/{path}"), Answer::json(&path.to_string()));
    }
    let settings = [REDIS_ONLY, ("worker_threads", "2")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let (addr, enough) = (proxy.addr(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                for path in (0..20).cycle() {
                    let response = client.get(&format!("/{path}"));
                    assert_eq!((response.status, response.text()), (200, path.to_string().as_str()));
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                }
            })
        })
        .collect();
    let hits = || proxy.metric(r#"cachewarp_requests_total{outcome="hit-redis"}"#);
    for _ in 0..2 {
        let before = hits();
        until("hits", || hits() > before + 100.0);
        redis.kill();
        let misses = proxy.metric(r#"cachewarp_requests_total{outcome="miss"}"#);
        proxy.await_metric(r#"cachewarp_requests_total{outcome="miss"}"#, misses + 20.0);
        redis.restart();
        proxy.await_redis();
    }
    let before = hits();
    until("hits to come back", || hits() > before + 100.0);
    enough.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn a_stalled_redis_costs_at_most_its_timeout() {
    let (origin, redis) = (origin(), Redis::start());
    let settings = [REDIS_ONLY, ("redis_timeout", "50ms")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    assert_miss(&proxy, "/a");
    redis.await_keys(1);
    redis.stall();
    assert_miss(&proxy, "/a");
    assert_eq!(health(&proxy), DISCONNECTED);
    assert!(proxy.metric(r#"cachewarp_redis_commands_total{outcome="timeout"}"#) > 0.0);
    redis.resume();
    until("hits to come back", || is_hit_in_redis(&proxy.get("/a")));
}

/// Starts a Redis with the usual handshake and this reply to every `GET` and `SET`.
fn redis_with_reply(reply: &'static [u8]) -> ScriptedRedis {
    ScriptedRedis::respond(move |command| match command[0].to_ascii_uppercase().as_str() {
        "GET" | "SET" => Some(reply.to_vec()),
        "HELLO" => Some(b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec()),
        "PING" => Some(b"+PONG\r\n".to_vec()),
        _ => Some(b"+OK\r\n".to_vec()),
    })
}

#[test]
fn each_error_reply_is_counted_as_a_miss() {
    let rows: [(&[u8], &str); 7] = [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        (b"-READONLY You can't write against a read only replica.\r\n", "read-only"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "oom"),
        (b"-NOAUTH Authentication required.\r\n", "no-auth"),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "wrong-type"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "misconf"),
        (b"-ERR something else\r\n", "other"),
    ];
    for (reply, kind) in rows {
        let (origin, redis) = (origin(), redis_with_reply(reply));
        // A loading Redis is not sent the write.
        let refused = if kind == "loading" { 1.0 } else { 2.0 };
        // On a busy machine the intended error reply must not miss its deadline.
        let proxy = Proxy::start(&origin.url(), &[("redis_url", &redis.url()), ("redis_timeout", "5s")]);
        until("a connection", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0);
        assert_miss(&proxy, "/a");
        proxy.await_metric(&format!("cachewarp_redis_errors_total{{kind=\"{kind}\"}}"), refused);
        assert_eq!(proxy.metric("cachewarp_store_writes_lost_total"), 1.0, "{kind}");
        // Memory holds the response that Redis refused.
        assert!(proxy.get("/a").cache_status().ends_with("detail=memory"), "{kind}");
        assert_eq!(origin.count("/a"), 1);
    }
}

#[test]
fn an_invalid_reply_is_a_miss() {
    let rows: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "malformed"),
        (b"\x00\xff\x00\xff\r\n", "malformed"),
        // A stray reply follows the expected one.
        (b"$-1\r\n+OK\r\n", "desynchronised"),
        // Neither `GET` nor `SET` has a reply of this type.
        (b":1\r\n", "desynchronised"),
        (b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "desynchronised"),
    ];
    for (reply, why) in rows {
        let (origin, redis) = (origin(), redis_with_reply(reply));
        let proxy = Proxy::start(&origin.url(), &[("redis_url", &redis.url()), REDIS_ONLY]);
        until("a connection", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0);
        assert_miss(&proxy, "/a");
        let lost = format!("cachewarp_redis_connections_lost_total{{reason=\"{why}\"}}");
        proxy.await_metric(&lost, 1.0);
        assert_miss(&proxy, "/b");
    }
}

#[test]
fn a_truncated_reply_is_a_miss() {
    let (origin, redis) = (origin(), redis_with_reply(b"$100\r\nCW"));
    let proxy = Proxy::start(&origin.url(), &[("redis_url", &redis.url()), REDIS_ONLY]);
    until("a connection", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0);
    assert_miss(&proxy, "/a");
    assert!(proxy.metric(r#"cachewarp_redis_commands_total{outcome="timeout"}"#) > 0.0);
}

#[test]
fn a_connection_closed_within_a_reply_is_a_miss() {
    let origin = origin();
    let redis = ScriptedRedis::follow(vec![Script::new().expect(&["GET"]).send("$100\r\nCW")]);
    let proxy =
        Proxy::start(&origin.url(), &[("redis_url", &redis.url()), ("redis_pool_size", "1"), REDIS_ONLY]);
    until("a connection", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0);
    assert_miss(&proxy, "/a");
    assert_eq!(proxy.metric(r#"cachewarp_redis_connections_lost_total{reason="ended"}"#), 1.0);
}

#[test]
fn a_late_reply_answers_no_other_command() {
    // The first `GET` and the purge state's beside it get no reply. The second one gets its own
    // reply after the first's, and the client confuses none of them.
    let clock = "$11\r\n1 ff 0 0 0\n\r\n";
    let both = |script: Script| script.expect(&["GET"]).expect(&["GET", "cachewarp:a:clock"]);
    let late = both(both(Script::new())).send(format!("$3\r\nabc\r\n{clock}$-1\r\n{clock}"));
    let (origin, redis) = (origin(), ScriptedRedis::follow(vec![late.hang()]));
    let settings =
        [("redis_url", &*redis.url()), ("redis_pool_size", "1"), ("cache_namespace", "a"), REDIS_ONLY, ALONE];
    let proxy = Proxy::start(&origin.url(), &settings);
    until("a connection", || proxy.metric(r#"cachewarp_redis_connections{state="up"}"#) > 0.0);
    assert_miss(&proxy, "/a");
    assert_miss(&proxy, "/b");
    proxy.await_metric("cachewarp_redis_late_replies_total", 2.0);
    let damaged = ["length", "foreign", "other-key"]
        .map(|reason| proxy.metric(&format!("cachewarp_entries_damaged_total{{reason=\"{reason}\"}}")));
    assert_eq!(damaged, [0.0; 3]);
}

/// Stores two entries in Redis, and returns their names.
fn stored() -> (Origin, Redis, Proxy, [String; 2]) {
    let (origin, redis) = (origin(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[REDIS_ONLY, ALONE, PATIENT]);
    assert_miss(&proxy, "/a");
    let a = redis.await_keys(1).remove(0);
    assert_miss(&proxy, "/b");
    let b = redis.await_keys(2).into_iter().find(|key| *key != a).unwrap();
    assert!(is_hit_in_redis(&proxy.get("/a")) && is_hit_in_redis(&proxy.get("/b")));
    (origin, redis, proxy, [a, b])
}

fn damaged(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_entries_damaged_total{{reason=\"{reason}\"}}"))
}

#[test]
fn the_entry_of_another_key_is_a_miss() {
    let (origin, redis, proxy, [a, b]) = stored();
    assert_eq!(redis.command(&["COPY", &a, &b, "REPLACE"]), Value::Integer(1));
    assert_miss(&proxy, "/b");
    assert_eq!(damaged(&proxy, "other-key"), 1.0);
    until("the entry to be replaced", || is_hit_in_redis(&proxy.get("/b")));
    assert!(is_hit_in_redis(&proxy.get("/a")));
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn damaged_entries_are_misses() {
    let rows = [
        // Changes one bit of the body.
        ("redis.call('SETRANGE', k, #v - 1, '!')", "checksum"),
        ("redis.call('SETRANGE', k, 60, '!')", "checksum"),
        ("redis.call('SET', k, string.sub(v, 1, #v - 1))", "checksum"),
        ("redis.call('SET', k, string.sub(v, 1, 20))", "length"),
        ("redis.call('SET', k, '')", "length"),
        ("redis.call('APPEND', k, '!')", "checksum"),
        ("redis.call('SETRANGE', k, 0, 'XX')", "foreign"),
        ("redis.call('SETRANGE', k, 2, '\\99')", "version"),
        ("redis.call('SETRANGE', k, 28, '!')", "other-key"),
    ];
    for (damage, reason) in rows {
        let (_origin, redis, proxy, [a, _]) = stored();
        let script = format!("local k = KEYS[1] local v = redis.call('GET', k) {damage} return 1");
        assert_eq!(redis.command(&["EVAL", &script, "1", &a]), Value::Integer(1));
        assert_miss(&proxy, "/a");
        let counted = ["length", "foreign", "version", "other-key", "checksum", "content"]
            .map(|reason| (reason, damaged(&proxy, reason)));
        assert_eq!(
            counted.map(|(name, count)| (name, count > 0.0)),
            counted.map(|(name, _)| (name, name == reason))
        );
        until("the entry to be replaced", || is_hit_in_redis(&proxy.get("/a")));
    }
}

#[test]
fn a_key_of_another_redis_type_is_a_miss() {
    let (_origin, redis, proxy, [a, _]) = stored();
    redis.command(&["DEL", &a]);
    redis.command(&["LPUSH", &a, "x"]);
    assert_miss(&proxy, "/a");
    assert_eq!(proxy.metric(r#"cachewarp_redis_errors_total{kind="wrong-type"}"#), 1.0);
    until("the entry to be replaced", || is_hit_in_redis(&proxy.get("/a")));
}

#[test]
fn a_wrong_password_disables_redis() {
    let (origin, redis) = (origin(), Redis::start_with(&["--requirepass", "secret"]));
    for url in [redis.url(), redis.url().replace("redis://", "redis://:wrong@")] {
        let proxy = Proxy::start(&origin.url(), &[("redis_url", &url)]);
        assert_miss(&proxy, "/a");
        assert_eq!(health(&proxy), DISCONNECTED);
        assert!(proxy.get("/a").cache_status().ends_with("detail=memory"));
        // The first connection of the pool waits after a failed attempt, as all others do.
        proxy.await_metric(r#"cachewarp_redis_connections{state="disconnected"}"#, 20.0);
        assert_eq!(proxy.metric(r#"cachewarp_redis_connections{state="up"}"#), 0.0);
    }
    assert_eq!(redis.command(&["DBSIZE"]), Value::Error("NOAUTH Authentication required.".into()));
}

#[test]
fn without_redis_memory_caches() {
    let origin = origin();
    let proxy = Proxy::start(&origin.url(), &[("redis_url", "off")]);
    assert_miss(&proxy, "/a");
    assert!(proxy.get("/a").cache_status().ends_with("detail=memory"));
    assert_eq!(health(&proxy), r#"{"status":"ok","redis":"off"}"#);
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn without_any_tier_everything_is_fetched() {
    let origin = origin();
    let proxy = Proxy::start(&origin.url(), &[("redis_url", "off"), REDIS_ONLY]);
    for _ in 0..3 {
        assert_eq!(proxy.get("/a").status, 200);
    }
    assert_eq!(origin.count("/a"), 3);
}
