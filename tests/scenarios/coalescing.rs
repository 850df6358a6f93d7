//! Request collapsing: one fetch for all concurrent requests, without a disadvantage for any of
//! them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{
    Answer, Client, Exchange, Gate, Origin, Proxy, Redis, Response, ScriptedRedis, Then, Value, until,
};

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The fields of a response that no other client may get.
const NEVER_STORED: [(&str, &str); 2] = [("Content-Type", "application/json"), ("Cache-Control", "no-store")];

/// Starts a proxy with Redis and without memory, and an origin whose `/a` is never stored.
fn start_with_never_stored() -> (Origin, Redis, Proxy) {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::new(200, &NEVER_STORED, "1"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]);
    (origin, redis, proxy)
}

/// Returns connections with a waiting request on each.
fn waiting_clients(proxy: &Proxy, target: &str, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send_head("GET", target, &[]));
    clients
}

fn responses(clients: &mut [Client]) -> Vec<Response> {
    clients.iter_mut().map(Client::response).collect()
}

/// Counts the responses with this `Cache-Status`.
fn count(responses: &[Response], wanted: &str) -> usize {
    responses.iter().filter(|response| response.cache_status() == wanted).count()
}

/// A lease that Redis would keep for longer than any node takes one has no holder that ends it.
#[test]
fn a_lease_that_does_not_expire_is_not_awaited() {
    for expiry in [&[][..], &["PX", "600000"]] {
        let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
        origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
        let nodes = [(); 2].map(|()| {
            let settings = [("fetch_lease", "on"), ("collapse_timeout", "10m")];
            Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
        });
        let mut clients: Vec<_> = nodes.iter().map(Proxy::connect).collect();
        clients[0].send_head("GET", "/a", &[]);
        gate.await_arrivals(1);
        let leases = redis.command(&["KEYS", "*lease:*"]);
        let Value::Array(names) = leases else { panic!("{leases:?}") };
        let [Value::Bulk(name)] = &names[..] else { panic!("{names:?}") };
        let name = std::str::from_utf8(name).unwrap();
        redis.command(&[&["SET", name, "foreign"], expiry].concat());
        clients[1].send_head("GET", "/a", &[]);
        gate.await_arrivals(2);
        gate.open();
        assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
        let unavailable = nodes[1].metric(r#"cachewarp_fetch_leases_total{result="unavailable"}"#);
        assert_eq!(unavailable, 1.0, "{expiry:?}");
    }
}

/// The origin answers neither fetch while the clients wait, and then one of the two.
#[test]
fn a_fetch_that_takes_too_long_is_followed_by_one_more() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "2s")]);
    let mut clients = waiting_clients(&proxy, "/a", 40);
    gate.await_arrivals(2);
    gate.release_one();
    let responses = responses(&mut clients);
    assert!(responses.iter().all(|response| response.status == 200 && response.text() == "{}"));
    assert_eq!(origin.count("/a"), 2, "the other fetch has no response yet");
    assert!(proxy.get("/a").cache_status().contains("hit"));
    gate.open();
}

/// Requests that forbid an older response share the fetch that begins after they have arrived.
#[test]
fn concurrent_requests_with_no_cache_share_the_next_fetch() {
    for (stored, field) in [
        (true, ("Cache-Control", "no-cache")),
        (true, ("Cache-Control", "max-age=0")),
        (false, ("Cache-Control", "no-cache")),
        (false, ("Pragma", "no-cache")),
    ] {
        let (origin, gate) = (Origin::start(), Gate::new());
        let counted = AtomicUsize::new(0);
        let head = CHUNKED.to_owned();
        origin.script("/a", {
            let gate = gate.clone();
            move |exchange| {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                if number > 0 || !stored {
                    gate.pass();
                }
                Answer::raw(head.clone()).send(format!("1\r\n{number}\r\n0\r\n\r\n")).give(exchange)
            }
        });
        let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "2m")]);
        let before = usize::from(stored);
        if stored {
            assert_eq!(proxy.get("/a").text(), "0");
        }
        let mut clients: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
        let (first, others) = clients.split_first_mut().unwrap();
        first.send_head("GET", "/a", &[field]);
        gate.await_arrivals(1);
        others.iter_mut().for_each(|client| client.send_head("GET", "/a", &[field]));
        proxy.await_askers(20 + before);
        gate.release_one();
        assert_eq!(first.response().text(), before.to_string());
        gate.await_arrivals(2);
        gate.open();
        for other in others {
            assert_eq!(other.response().text(), (before + 1).to_string(), "{field:?}");
        }
        assert_eq!(origin.count("/a"), before + 2, "{field:?}");
    }
}

/// The first fetch never gets a response. Its own client does not wait for it longer than the
/// others.
/// The origin takes longer than requests that forbid an older response wait for each fetch. The
/// first response that was requested after their arrival answers them all.
#[test]
fn requests_with_no_cache_take_the_first_response_that_they_may() {
    let (origin, gates) = (Origin::start(), [(); 3].map(|()| Gate::new()));
    let counted = AtomicUsize::new(0);
    origin.script("/a", {
        let gates = gates.clone();
        move |exchange| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            gates.get(number).unwrap_or(&gates[2]).pass();
            Answer::raw(CHUNKED).send(format!("1\r\n{number}\r\n0\r\n\r\n")).give(exchange)
        }
    });
    let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "3s")]);
    let field = [("Cache-Control", "no-cache")];
    let mut first = proxy.connect();
    first.send_head("GET", "/a", &field);
    gates[0].await_arrivals(1);
    let mut others: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    others.iter_mut().for_each(|client| client.send_head("GET", "/a", &field));
    proxy.await_askers(9);
    // The first fetch is too old for the others; the second began after their arrival.
    gates[1].await_arrivals(1);
    gates[2].await_arrivals(1);
    gates[1].open();
    for response in responses(&mut others) {
        assert_eq!((response.status, response.text()), (200, "1"));
    }
    gates[0].open();
    assert_eq!(first.response().text(), "0");
    gates[2].open();
}

#[test]
fn a_fetch_without_a_response_delays_its_client_no_longer_than_the_others() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let asked = AtomicUsize::new(0);
    origin.script("/a", {
        let gate = gate.clone();
        move |exchange| {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                gate.pass();
            }
            Answer::json("{}").give(exchange)
        }
    });
    let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "2s")]);
    let mut clients = waiting_clients(&proxy, "/a", 5);
    gate.await_arrivals(1);
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
    assert_eq!(origin.count("/a"), 2);
    gate.open();
}

#[test]
fn concurrent_misses_share_one_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 100);
    proxy.await_askers(100);
    assert_eq!(proxy.metric("cachewarp_shared_fetches"), 1.0);
    gate.open();
    let responses = responses(&mut clients);
    assert!(responses.iter().all(|response| response.status == 200 && response.text() == "{}"));
    assert_eq!(count(&responses, "CacheWarp; fwd=uri-miss; stored"), 1);
    assert_eq!(count(&responses, "CacheWarp; fwd=uri-miss; collapsed"), 99);
    assert_eq!(origin.count("/a"), 1);
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="collapsed"}"#), 99.0);
    assert_eq!(proxy.metric("cachewarp_collapsed_wait_seconds_count"), 99.0);
    assert_eq!(proxy.metric("cachewarp_shared_fetches"), 0.0);
}

#[test]
fn a_follower_gets_the_age_of_its_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let head = CHUNKED.replace("\r\n\r\n", "\r\nCache-Control: max-age=60\r\nAge: 40\r\n\r\n");
    origin.answer("/a", Answer::silent().pass(&gate).send(head).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 2);
    proxy.await_askers(2);
    gate.open();
    for response in responses(&mut clients) {
        // Without `Age`, a cache behind this one would take the response for new (RFC 9111 §4).
        let age: u64 = response.field("age").unwrap().parse().unwrap();
        assert!((40..60).contains(&age), "{}: {age}", response.cache_status());
    }
}

/// A cache in front of the origin sends stale responses. The requests that waited for one share it,
/// and after it the failure of the origin.
#[test]
fn requests_that_wait_for_a_response_that_is_stale_on_arrival_share_it() {
    const CLIENTS: usize = 20;
    for (directives, fetches) in
        [("max-age=60, stale-if-error=600", 1), ("max-age=60, stale-if-error=600, must-revalidate", CLIENTS)]
    {
        let (origin, gate) = (Origin::start(), Gate::new());
        let fields = format!("\r\nCache-Control: {directives}\r\nAge: 100\r\nETag: \"1\"\r\n\r\n");
        let head = CHUNKED.replace("\r\n\r\n", &fields);
        origin.answer("/a", Answer::silent().pass(&gate).send(head).send("2\r\n{}\r\n0\r\n\r\n"));
        let proxy = Proxy::start(&origin.url(), &[]);
        let mut clients = waiting_clients(&proxy, "/a", CLIENTS);
        proxy.await_askers(CLIENTS);
        gate.open();
        for response in responses(&mut clients) {
            assert_eq!((response.status, response.text()), (200, "{}"), "{directives}");
            let age: u64 = response.field("age").unwrap().parse().unwrap();
            assert!(age >= 100, "{}: {age}", response.cache_status());
        }
        assert_eq!(origin.count("/a"), fetches, "{directives}");
        assert!(proxy.get("/a").cache_status().contains("fwd=stale"), "a later request asks again");
        assert_eq!(origin.count("/a"), fetches + 1, "{directives}");
    }
}

/// Each concurrent request for an entry that was stale on arrival shares the failed fetch.
#[test]
fn a_failing_origin_is_asked_once_for_a_response_that_was_stale_on_arrival() {
    const CLIENTS: usize = 20;
    let (origin, gate) = (Origin::start(), Gate::new());
    let fields = [("Cache-Control", "max-age=60, stale-if-error=600"), ("Age", "100")];
    origin.answer("/a", Answer::json_with(&fields, "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(proxy.get("/a").status, 200);
    origin.answer("/a", Answer::silent().pass(&gate).send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
    let mut clients = waiting_clients(&proxy, "/a", CLIENTS);
    proxy.await_askers(CLIENTS);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
    assert_eq!(origin.count("/a"), 2);
}

#[test]
fn workers_share_a_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[("worker_threads", "4")]);
    let mut clients = waiting_clients(&proxy, "/a", 40);
    proxy.await_askers(40);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
    assert_eq!(origin.count("/a"), 1);
}

/// Starts a Redis that has only the purge state. It answers the second lookup of an entry as if the
/// state had changed: a client that misses before the state was created gets that reply. Returns
/// the number of reads of the state since then.
fn redis_with_created_purge_state() -> (ScriptedRedis, Arc<AtomicUsize>) {
    let (lookups, reads) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let reads_after = Arc::clone(&reads);
    let redis = ScriptedRedis::respond(move |command| {
        let name = command.get(1).map_or("", String::as_str);
        Some(match command[0].to_ascii_uppercase().as_str() {
            "HELLO" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            "SUBSCRIBE" => b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_vec(),
            "PING" => b"+PONG\r\n".to_vec(),
            "GET" if name.ends_with("clock") => {
                if lookups.load(Ordering::SeqCst) >= 2 {
                    reads_after.fetch_add(1, Ordering::SeqCst);
                }
                b"$11\r\n1 ff 0 0 0\n\r\n".to_vec()
            }
            "GET" if lookups.fetch_add(1, Ordering::SeqCst) == 1 => {
                b">2\r\n$10\r\ninvalidate\r\n*1\r\n$17\r\ncachewarp:a:clock\r\n$-1\r\n".to_vec()
            }
            "GET" | "GETRANGE" => b"$-1\r\n".to_vec(),
            "EVALSHA" => b":1\r\n".to_vec(),
            _ => b"+OK\r\n".to_vec(),
        })
    });
    (redis, reads)
}

/// The node knows the state again before the second request: for longer than
/// `PURGE_LOG_REVALIDATING_MAX`, no request joins a fetch from before an unread change.
#[test]
fn creating_the_purge_state_splits_no_fetch() {
    let (origin, gate, (redis, reads)) = (Origin::start(), Gate::new(), redis_with_created_purge_state());
    origin.answer("/a", Answer::raw(CHUNKED).pass(&gate).send("2\r\n{}\r\n0\r\n\r\n"));
    for other in ["/b", "/c"] {
        origin.answer(other, Answer::new(200, &NEVER_STORED, "1"));
    }
    let settings = [("redis_timeout", "5s"), ("cache_namespace", "a"), ("redis_pool_size", "1")];
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &settings);
    let mut first = proxy.connect();
    first.send_head("GET", "/a", &[]);
    gate.await_arrivals(1);
    assert_eq!(proxy.get("/b").status, 200, "the reply to this lookup reports the change");
    until("the node to read the purge state again", || reads.load(Ordering::SeqCst) > 0);
    assert_eq!(proxy.get("/c").status, 200, "the one connection delivers the state before this lookup");
    let mut second = proxy.connect();
    second.send_head("GET", "/a", &[]);
    let head = second.head();
    assert_eq!(head.field("cache-status"), Some("CacheWarp; fwd=uri-miss; collapsed"));
    gate.open();
    assert_eq!(first.response().text(), "{}");
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn all_followers_get_the_bytes_as_they_arrive() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let first = r#"{"first":1,"#;
    let rest = r#""rest":2}"#;
    let answer = Answer::raw(CHUNKED)
        .send(format!("{:x}\r\n{first}\r\n", first.len()))
        .pass(&gate)
        .send(format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len()));
    origin.answer("/a", answer);
    let proxy = Proxy::start(&origin.url(), &[]);
    let chunk = format!("{:X}\r\n{first}\r\n", first.len());
    let mut clients = waiting_clients(&proxy, "/a", 3);
    for client in &mut clients {
        client.head();
        assert_eq!(
            client.bytes(chunk.len()),
            chunk.as_bytes(),
            "the bytes must arrive before the origin has finished"
        );
    }
    // A late follower starts at the beginning of the body.
    let mut late = proxy.connect();
    late.send_head("GET", "/a", &[]);
    assert_eq!(late.head().field("cache-status"), Some("CacheWarp; fwd=uri-miss; collapsed"));
    assert_eq!(late.bytes(chunk.len()), chunk.as_bytes());
    gate.await_arrivals(1);
    gate.open();
    let end = format!("{:X}\r\n{rest}\r\n0\r\n\r\n", rest.len());
    for client in clients.iter_mut().chain([&mut late]) {
        assert_eq!(client.bytes(end.len()), end.as_bytes());
    }
    assert_eq!(proxy.get("/a").text(), format!("{first}{rest}"));
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_fetch_survives_the_client_that_began_it() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let leader = waiting_clients(&proxy, "/a", 1);
    gate.await_arrivals(1);
    let mut followers = waiting_clients(&proxy, "/a", 2);
    proxy.await_askers(3);
    leader.into_iter().for_each(Client::reset);
    until("the leader to be gone", || proxy.metric("cachewarp_client_connections_open") == 2.0);
    gate.open();
    for response in responses(&mut followers) {
        assert_eq!((response.cache_status(), response.text()), ("CacheWarp; fwd=uri-miss; collapsed", "{}"));
    }
    assert!(proxy.get("/a").cache_status().contains("hit"));
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn an_abandoned_fetch_is_stored() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::raw(CHUNKED).send("1\r\n{\r\n").pass(&gate).send("1\r\n}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 2);
    clients.iter_mut().for_each(|client| drop(client.head()));
    drop(clients);
    until("both to be gone", || proxy.metric("cachewarp_client_connections_open") == 0.0);
    gate.open();
    proxy.await_metric("cachewarp_memory_entries", 1.0);
    assert!(proxy.get("/a").cache_status().contains("hit"));
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn an_unshareable_response_is_awaited_only_once() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n";
    origin.answer("/a", Answer::silent().pass(&gate).send(head).send("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 8);
    proxy.await_askers(8);
    origin.await_count("/a", 1);
    assert_eq!(origin.count("/a"), 1, "the first response is not known yet");
    gate.release_one();
    gate.await_arrivals(8);
    let mut later = waiting_clients(&proxy, "/a", 8);
    gate.await_arrivals(16);
    gate.open();
    for response in responses(&mut clients).iter().chain(&responses(&mut later)) {
        assert_eq!(response.cache_status(), "CacheWarp; fwd=uri-miss; detail=no-store");
    }
    assert_eq!(origin.count("/a"), 16);
}

#[test]
fn a_response_that_becomes_storable_is_stored() {
    let origin = Origin::start();
    origin.answer("/a", Answer::new(200, &NEVER_STORED, "1"));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", Answer::json("2"));
    // The proxy does not announce storing, since the last response was not storable. It stores this
    // one all the same.
    assert_eq!(proxy.get("/a").text(), "2");
    proxy.await_metric("cachewarp_memory_entries", 1.0);
    assert!(proxy.get("/a").cache_status().contains("hit"));
}

#[test]
fn a_never_stored_response_is_not_looked_up_each_time() {
    let (origin, redis, proxy) = start_with_never_stored();
    for _ in 0..5 {
        assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; detail=no-store");
    }
    // The first request did not know that the response is not storable, nor the second that Redis
    // holds nothing.
    assert_eq!(proxy.metric(r#"cachewarp_store_lookups_total{result="miss"}"#), 2.0);

    // A storable response is stored although the lookup was skipped, and found.
    origin.answer("/a", Answer::json("2"));
    assert_eq!(proxy.get("/a").text(), "2");
    redis.await_keys(1);
    until("the response to be found", || proxy.get("/a").cache_status().contains("hit"));
}

#[test]
fn the_tombstone_of_a_change_is_read_only_once() {
    let (origin, _redis, proxy) = start_with_never_stored();
    let change = || proxy.connect().request("POST", "/a", &[("Content-Length", "0")]);
    let misses = || proxy.metric(r#"cachewarp_store_lookups_total{result="miss"}"#);
    proxy.get("/a");
    assert_eq!(change().status, 200);
    for _ in 0..5 {
        assert_eq!(proxy.get("/a").text(), "1");
    }
    assert_eq!(misses(), 2.0, "one lookup of the entry, one of the tombstone");

    // After another change, the remembered state is outdated: nothing is stored over the tombstone
    // until a lookup has seen it.
    assert_eq!(change().status, 200);
    origin.answer("/a", Answer::json("2"));
    assert_eq!(proxy.get("/a").text(), "2");
    proxy.await_metric(r#"cachewarp_not_stored_total{reason="changed"}"#, 1.0);
    assert_eq!(misses(), 2.0);
    assert_eq!(proxy.get("/a").text(), "2");
    assert_eq!(misses(), 3.0);
    until("the response to be found", || proxy.get("/a").cache_status().contains("hit"));
}

#[test]
fn a_follower_waits_for_a_bounded_time() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).send(CHUNKED).send("2\r\n{}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "50ms")]);
    let mut clients = waiting_clients(&proxy, "/a", 3);
    origin.await_count("/a", 3);
    gate.open();
    assert!(responses(&mut clients).iter().all(|response| response.text() == "{}"));
}

#[test]
fn a_failed_fetch_is_shared() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::silent().pass(&gate).close());
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 20);
    proxy.await_askers(20);
    gate.open();
    for response in responses(&mut clients) {
        assert_eq!(
            (response.status, response.field("content-type")),
            (502, Some("application/problem+json"))
        );
        assert_eq!(response.cache_status(), "CacheWarp; fwd=uri-miss; detail=origin-closed");
    }
    assert_eq!(origin.count("/a"), 2, "after a shared failure, one follower fetches again");
    assert_eq!(proxy.get("/a").status, 502);
    assert_eq!(origin.count("/a"), 3, "a failure must not be stored");
}

#[test]
fn a_failure_that_the_leader_may_have_caused_is_not_shared() {
    let failures: [(&str, Act); 3] = [
        ("/unanswered", |_| Ok(())),
        ("/reset", |exchange| exchange.write("HTTP/1.1 200 OK\r\nX-")),
        ("/reflected", |exchange| {
            exchange.write(format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(70_000)))
        }),
    ];
    for (path, fail) in failures {
        let (origin, gate) = (Origin::start(), Gate::new());
        let first = gate.clone();
        origin.script(path, move |exchange| {
            if exchange.request.field("referer").is_none() {
                return Answer::json_with(&[("Cache-Control", "max-age=60")], "{}").give(exchange);
            }
            first.pass();
            fail(exchange)?;
            Ok(Then::Close)
        });
        let proxy = Proxy::start(&origin.url(), &[]);
        let mut leader = proxy.connect();
        // A field with which requests share a fetch.
        leader.send_head("GET", path, &[("Referer", &"x".repeat(20_000))]);
        gate.await_arrivals(1);
        let mut followers = waiting_clients(&proxy, path, 6);
        proxy.await_askers(7);
        gate.open();
        assert_eq!(leader.response().status, 502, "{path}");
        let answers: Vec<u16> = responses(&mut followers).iter().map(|response| response.status).collect();
        assert_eq!(answers, [200; 6], "{path}");
        assert_eq!(origin.count(path), 2, "{path}: one follower must lead a new fetch");
    }
}

#[test]
fn no_number_of_failing_leaders_makes_a_request_with_another_head_fail() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let (path, failing) = ("/unanswered", gate.clone());
    origin.script(path, move |exchange| {
        if exchange.request.field("referer").is_none() {
            return Answer::json_with(&[("Cache-Control", "max-age=60")], "{}").give(exchange);
        }
        failing.pass();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut refused: Vec<_> = (0..15)
        .map(|number| {
            let mut client = proxy.connect();
            client.send_head("GET", path, &[("Referer", &number.to_string())]);
            client
        })
        .collect();
    gate.await_arrivals(1);
    proxy.await_askers(15);
    let mut others = waiting_clients(&proxy, path, 2);
    proxy.await_askers(17);
    // Probably one of the first 15 leads the second fetch too: any follower may.
    gate.open();
    let answers: Vec<u16> = responses(&mut others).iter().map(|response| response.status).collect();
    assert_eq!(answers, [200; 2]);
    assert!(refused.iter_mut().any(|client| client.response().status == 502));
}

/// An origin may refuse a field that is too long, or that a firewall forbids, and a gateway may
/// fail on it.
#[test]
fn an_error_that_the_leader_may_have_caused_is_not_shared_and_not_remembered() {
    let statuses = [400, 403, 406, 413, 429, 431, 500, 502];
    for (status, name) in statuses.into_iter().zip(["user-agent", "accept", "referer"].into_iter().cycle()) {
        let (origin, gates) = (Origin::start(), [Gate::new(), Gate::new()]);
        for (path, gate) in ["/hot", "/cold"].into_iter().zip(gates.clone()) {
            origin.script(path, move |exchange| {
                let is_refused = exchange.request.field(name).is_some();
                if !is_refused || path == "/hot" {
                    gate.pass();
                }
                let answer = match is_refused {
                    true => Answer::new(status, &NEVER_STORED, "\"refused\""),
                    false => Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"),
                };
                answer.give(exchange)
            });
        }
        let [hot, cold] = gates;
        let proxy = Proxy::start(&origin.url(), &[]);
        let long = "x".repeat(20_000);
        let mut leader = proxy.connect();
        leader.send_head("GET", "/hot", &[(name, &long)]);
        hot.await_arrivals(1);
        let mut followers = waiting_clients(&proxy, "/hot", 6);
        proxy.await_askers(7);
        hot.open();
        assert_eq!(leader.response().status, status);
        assert!(responses(&mut followers).iter().all(|answer| answer.status == 200), "{status}");
        assert_eq!(origin.count("/hot"), 2, "{status}: one follower must lead a new fetch");

        assert_eq!(proxy.get_with("/cold", &[(name, &long)]).status, status);
        let mut clients = waiting_clients(&proxy, "/cold", 6);
        proxy.await_askers(14);
        cold.open();
        assert!(responses(&mut clients).iter().all(|answer| answer.status == 200), "{status}");
        assert_eq!(origin.count("/cold"), 2, "{status}: the key stays cacheable");
    }
}

/// A resource may refuse every request.
#[test]
fn an_error_of_the_resource_is_awaited_twice() {
    for status in [400, 403, 500] {
        let (origin, gate) = (Origin::start(), Gate::new());
        let path = format!("/{status}");
        let answers = gate.clone();
        origin.script(&path, move |exchange| {
            answers.pass();
            Answer::new(status, &[], "refused").give(exchange)
        });
        let proxy = Proxy::start(&origin.url(), &[]);
        let mut clients = waiting_clients(&proxy, &path, 6);
        proxy.await_askers(6);
        gate.await_arrivals(1);
        gate.release_one();
        gate.await_arrivals(2);
        gate.release_one();
        // Each of the four that wait no longer fetches for itself.
        gate.await_arrivals(6);
        gate.open();
        assert!(responses(&mut clients).iter().all(|answer| answer.status == status));
        assert_eq!(origin.count(&path), 6);
    }
}

/// The origin does not answer the leader, whose own field is the cause.
#[test]
fn a_head_timeout_that_the_leader_may_have_caused_is_not_shared() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let first = gate.clone();
    origin.script("/a", move |exchange| {
        if exchange.request.field("referer").is_some() {
            first.pass();
        }
        Answer::json_with(&[("Cache-Control", "max-age=60")], "{}").give(exchange)
    });
    let settings = [("origin_head_timeout", "3s"), ("collapse_timeout", "10m")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let mut leader = proxy.connect();
    leader.send_head("GET", "/a", &[("Referer", "slow")]);
    gate.await_arrivals(1);
    let mut followers = waiting_clients(&proxy, "/a", 6);
    proxy.await_askers(7);
    assert_eq!(leader.response().status, 504);
    assert!(responses(&mut followers).iter().all(|response| response.status == 200));
    assert_eq!(origin.count("/a"), 2, "one follower must lead a new fetch");
    gate.open();
}

/// A step of an exchange with the origin.
type Act = fn(&mut Exchange) -> std::io::Result<()>;

#[test]
fn a_cut_body_is_cut_for_all_followers() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::raw(CHUNKED).send("1\r\n{\r\n").pass(&gate).close());
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients = waiting_clients(&proxy, "/a", 3);
    let heads: Vec<_> = clients.iter_mut().map(Client::head).collect();
    proxy.await_askers(3);
    gate.open();
    for (client, head) in clients.iter_mut().zip(heads) {
        let (body, end) = client.body_of("GET", &head);
        assert_eq!((body.as_slice(), end.unwrap_err().kind()), (b"{".as_slice(), ErrorKind::UnexpectedEof));
    }
    assert_eq!(proxy.metric(r#"cachewarp_not_stored_total{reason="cut-body"}"#), 1.0);
    assert_eq!(proxy.metric("cachewarp_memory_entries"), 0.0);
}

/// Returns a body of undeclared length, in pieces of 64 KiB.
fn long(gate: &Gate, pieces: usize) -> Answer {
    let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    Answer::silent().pass(gate).send(CHUNKED).repeat(piece, pieces).send("2\r\n{}\r\n0\r\n\r\n")
}

#[test]
fn a_body_beyond_the_size_limit_still_reaches_all_its_readers() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", long(&gate, 64));
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "100KiB")]);
    let mut clients = waiting_clients(&proxy, "/a", 4);
    proxy.await_askers(4);
    gate.open();
    let readers = clients.drain(..).map(|mut client| thread::spawn(move || client.response().body.len()));
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.join().unwrap(), 64 * 0x10000 + 2);
    }
    assert_eq!(proxy.metric(r#"cachewarp_not_stored_total{reason="body-too-large"}"#), 1.0);
    assert_eq!((origin.count("/a"), proxy.metric("cachewarp_memory_entries")), (1, 0.0));
    // The proxy remembers that the body is too large; a declared length shows it at once.
    assert_eq!(proxy.get("/a").cache_status(), "CacheWarp; fwd=uri-miss; detail=body-too-large");
}

#[test]
fn a_buffered_body_does_not_wait_for_its_readers() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", long(&gate, 256));
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "32MiB")]);
    let mut clients = waiting_clients(&proxy, "/a", 2);
    proxy.await_askers(2);
    gate.open();
    let (slow, fast) = clients.split_first_mut().unwrap();
    assert_eq!(fast[0].response().body.len(), 256 * 0x10000 + 2);
    // Storing does not wait for a reader.
    proxy.await_metric("cachewarp_memory_entries", 1.0);
    assert_eq!(slow.response().body.len(), 256 * 0x10000 + 2);
}

#[test]
fn only_a_follower_that_reads_too_slowly_is_cut_off() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", long(&gate, 512));
    let proxy = Proxy::start(&origin.url(), &[("cache_max_body", "64KiB")]);
    let mut clients = waiting_clients(&proxy, "/a", 3);
    proxy.await_askers(3);
    gate.open();
    let slow = &mut clients.remove(1);
    let readers = clients.drain(..).map(|mut client| thread::spawn(move || client.response().body.len()));
    for reader in readers.collect::<Vec<_>>() {
        assert_eq!(reader.join().unwrap(), 512 * 0x10000 + 2);
    }
    let head = slow.head();
    let (read, end) = slow.skip_body(&head);
    assert!(end.is_err() && read < 512 * 0x10000, "a cut body must not look complete: {read} bytes");
}
