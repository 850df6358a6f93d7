//! Invalidation by unsafe requests (RFC 9111 §4.4): CacheWarp invalidates the target and the
//! same-origin URLs that the response names, in all variants and both tiers, also against fetches
//! that began before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

fn send(proxy: &Proxy, method: &str, target: &str) -> Response {
    proxy.connect().request(method, target, &[("Content-Length", "0")])
}

/// Returns whether a path is stored, without changing the store.
fn is_stored(proxy: &Proxy, target: &str, fields: &[(&str, &str)]) -> bool {
    let fields = [fields, &[("Cache-Control", "only-if-cached")]].concat();
    proxy.get_with(target, &fields).status == 200
}

#[test]
fn method_and_status_decide_invalidation() {
    let rows = [
        ("POST", 200, true),
        ("POST", 201, true),
        ("POST", 303, true),
        ("PUT", 204, true),
        ("PATCH", 200, true),
        ("DELETE", 204, true),
        ("FROBNICATE", 200, true),
        ("POST", 400, false),
        ("PUT", 404, false),
        ("DELETE", 412, false),
        ("POST", 500, false),
        ("POST", 503, false),
        ("OPTIONS", 200, false),
        ("PROPFIND", 200, false),
        ("HEAD", 200, false),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    for (number, (method, status, removed)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.script(&path, move |exchange| match exchange.request.method.as_str() {
            "GET" => Answer::json_with(&[FRESH], OLD).give(exchange),
            _ => Answer::new(status, &[], "").give(exchange),
        });
        proxy.get(&path);
        redis.await_keys(1);
        let answered = send(&proxy, method, &path);
        // A stored response answers a `HEAD`.
        assert_eq!((answered.status, is_hit(&answered)), (status, method == "HEAD"), "{method} {status}");
        assert_eq!(redis.keys().is_empty(), removed, "{method} {status}");
        assert_eq!(is_hit(&proxy.get(&path)), !removed, "{method} {status}");
        let name = redis.await_keys(1).remove(0);
        redis.command(&["DEL", &name]);
    }
}

#[test]
fn same_origin_urls_in_the_response_are_invalidated() {
    let rows = [
        ("Location", "/b", true),
        ("Content-Location", "b", true),
        ("Location", "./x/../b", true),
        ("Location", "http://test/b", true),
        ("Content-Location", "http://TEST:80/b#top", true),
        ("Location", "//test/b", true),
        ("Location", "http://other.test/b", false),
        ("Location", "https://test/b", false),
        ("Location", "http://test:81/b", false),
        ("Location", "http://user@test/b", false),
        ("Link", "/b", false),
    ];
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/b", Answer::json_with(&[FRESH], OLD));
    let elsewhere = |client: &mut Client| {
        client.send("GET /b HTTP/1.1\r\nHost: other.test\r\n\r\n");
        client.response()
    };
    elsewhere(&mut proxy.connect());
    for (name, value, removed) in rows {
        proxy.get("/b");
        origin.answer("/a", Answer::new(201, &[(name, value)], ""));
        assert_eq!(send(&proxy, "POST", "/a").status, 201);
        assert_eq!(is_stored(&proxy, "/b", &[]), !removed, "{name}: {value}");
        assert!(
            is_hit(&elsewhere(&mut proxy.connect())),
            "a response must not invalidate another origin's entries: {value}"
        );
        origin.answer("/a", Answer::new(500, &[(name, value)], ""));
        proxy.get("/b");
        send(&proxy, "POST", "/a");
        assert!(is_stored(&proxy, "/b", &[]), "an error must not invalidate");
    }
}

#[test]
fn all_variants_are_invalidated_together() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.script("/a", |exchange| match exchange.request.method.as_str() {
        "GET" => Answer::json_with(&[FRESH, ("Vary", "Accept-Language")], OLD).give(exchange),
        _ => Answer::new(204, &[], "").give(exchange),
    });
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    let languages = ["en", "de", "fr"].map(|language| [("Accept-Language", language)]);
    for (stored, language) in languages.iter().enumerate() {
        proxy.get_with("/a", language);
        // Redis holds each variant and their list. Two concurrent variants would create two lists,
        // of which one would remain, so the test stores them in sequence.
        redis.await_keys(stored + 2);
    }
    assert!(languages.iter().all(|language| is_stored(&proxy, "/a", language)));
    assert_eq!(send(&proxy, "PUT", "/a").status, 204);
    assert!(languages.iter().all(|language| !is_stored(&proxy, "/a", language)));
    // A new list refers only to variants that are stored from now on.
    proxy.get_with("/a", &languages[0]);
    until("the response to be stored", || is_stored(&proxy, "/a", &languages[0]));
    assert!(languages[1..].iter().all(|language| !is_stored(&proxy, "/a", language)));
}

#[test]
fn no_node_serves_an_invalidated_response_from_memory() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let node = |memory_ttl| {
        Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_ttl", memory_ttl)])
    };
    let (writer, asking, remembering) = (node("1h"), node("0"), node("1h"));
    for path in ["/plain", "/varied"] {
        let fields = [FRESH, ("Vary", "X-Abc")];
        let fields = if path == "/varied" { &fields[..] } else { &fields[..1] };
        origin.answer(path, Answer::json_with(fields, OLD));
        writer.get(path);
        redis.await_keys(fields.len());
        assert!([&asking, &remembering, &writer].into_iter().all(|node| is_hit(&node.get(path))));
        origin.answer(path, Answer::new(204, &[], ""));
        assert_eq!(send(&writer, "DELETE", path).status, 204);
        assert!(!is_stored(&writer, path, &[]), "{path}");
        until("the invalidation to arrive", || {
            !is_stored(&asking, path, &[]) && !is_stored(&remembering, path, &[])
        });
        // A variant that no list refers to remains until it expires.
        redis.await_keys(fields.len() - 1);
    }
}

#[test]
fn memory_is_invalidated_without_redis() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH], OLD));
    let mut redis = Redis::start();
    let alone = Proxy::start(&origin.url(), &[]);
    let disconnected = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    redis.kill();
    // Before, an unanswered lookup could be one late reply.
    let up = r#"cachewarp_redis_connections{state="up"}"#;
    until("the pool to notice", || disconnected.metric(up) == 0.0);
    for proxy in [&alone, &disconnected] {
        origin.answer("/a", Answer::json_with(&[FRESH], OLD));
        proxy.get("/a");
        assert!(is_hit(&proxy.get("/a")));
        assert_eq!(send(proxy, "POST", "/a").status, 200);
        assert!(!is_stored(proxy, "/a", &[]));
    }
}

/// A request that begins after a write at another node may not get what a fetch has read before.
#[test]
fn no_request_joins_a_fetch_from_before_a_write_at_another_node() {
    let (origin, redis, gate) = (Origin::start(), Redis::start(), Gate::new());
    let (at_gate, is_written) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let written = Arc::clone(&is_written);
    origin.script("/a", move |exchange| match exchange.request.method.as_str() {
        "PUT" => {
            written.store(true, Ordering::SeqCst);
            Answer::new(204, &[], "").give(exchange)
        }
        _ if written.load(Ordering::SeqCst) => Answer::json_with(&[FRESH], NEW).give(exchange),
        _ => {
            at_gate.pass();
            Answer::json_with(&[FRESH], OLD).give(exchange)
        }
    });
    let [writer, reader] = [0, 1].map(|_| Proxy::start_with_redis(&origin.url(), &redis.url(), &[]));
    let mut earlier = reader.connect();
    earlier.send_head("GET", "/a", &[]);
    gate.await_arrivals(1);
    assert_eq!(send(&writer, "PUT", "/a").status, 204);
    assert!(is_written.load(Ordering::SeqCst));
    assert_eq!(reader.get("/a").text(), NEW);
    gate.open();
    assert_eq!(earlier.response().text(), OLD);
    // Memory has the old response until Redis refuses to store it.
    until("the old response to be dropped", || reader.get("/a").text() == NEW);
}

/// A fetch that is held at the origin, with a response from before a change.
struct Held {
    gate: Gate,
    client: Client,
}

impl Held {
    /// Sends a request for `/a`, which the origin answers with `seen` when the gate opens.
    fn begin(origin: &Origin, proxy: &Proxy, fields: &[(&str, &str)], seen: Answer) -> Self {
        let gate = Gate::new();
        let at_gate = gate.clone();
        origin.script("/a", move |exchange| {
            if exchange.request.method == "GET" {
                at_gate.pass();
            }
            seen.give(exchange)
        });
        let mut client = proxy.connect();
        client.send_head("GET", "/a", fields);
        gate.await_arrivals(1);
        Self { gate, client }
    }

    /// Opens the gate and reads the response.
    fn end(mut self) -> Response {
        self.gate.open();
        self.client.response()
    }
}

/// Changes `/a` at the origin.
fn change(origin: &Origin, proxy: &Proxy, fields: &[(&str, &str)]) {
    origin.answer("/a", Answer::new(204, &[], ""));
    assert_eq!(send(proxy, "POST", "/a").status, 204);
    origin.answer("/a", Answer::json_with(fields, NEW));
}

#[test]
fn a_fetch_from_before_the_change_stores_nothing() {
    type Fields = &'static [(&'static str, &'static str)];
    const STALE: Fields = &[("Cache-Control", "max-age=60"), ("Age", "60"), ("ETag", "\"a\"")];
    const VARIED: Fields = &[FRESH, ("Vary", "X-Abc")];
    const ABC: (&str, &str) = ("X-Abc", "1");
    // The origin's fields, the request's fields, and the request that stored a response before.
    let rows: [(&str, Fields, Fields, Option<Fields>); 9] = [
        ("a shared fetch", &[FRESH], &[], None),
        ("an unshared fetch", &[FRESH], &[("Cache-Control", "no-cache")], Some(&[])),
        (
            "a fetch with a credential",
            &[("Cache-Control", "public, max-age=600")],
            &[("Cookie", "a=b")],
            None,
        ),
        ("the first variant", VARIED, &[ABC], None),
        ("a further variant", VARIED, &[ABC], Some(&[])),
        ("an unshared fetch of a variant", VARIED, &[ABC, ("Pragma", "no-cache")], Some(&[ABC])),
        ("the validation of a stale response", STALE, &[], Some(&[])),
        ("a response that arrives stale", STALE, &[], None),
        ("a range", &[FRESH], &[("Range", "bytes=0-")], None),
    ];
    for (label, fields, request, before) in rows {
        let origin = Origin::start();
        let proxy = Proxy::start(&origin.url(), &[]);
        if let Some(before) = before {
            origin.answer("/a", Answer::json_with(fields, OLD));
            proxy.get_with("/a", before);
        }
        let held = Held::begin(&origin, &proxy, request, Answer::json_with(fields, OLD));
        change(&origin, &proxy, &[FRESH]);
        assert_eq!(held.end().text(), OLD, "{label}: it reached the origin before the change");
        proxy.await_metric(r#"cachewarp_not_stored_total{reason="changed"}"#, 1.0);
        let selecting: Vec<_> = request.iter().copied().filter(|field| *field == ABC).collect();
        assert!(
            !is_stored(&proxy, "/a", &[&selecting[..], &[("Cache-Control", "max-stale")]].concat()),
            "{label}"
        );
        assert_eq!(proxy.get_with("/a", &selecting).text(), NEW, "{label}");
    }
}

#[test]
fn no_request_joins_a_fetch_from_before_the_change() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for fields in [&[FRESH][..], &[FRESH, ("Vary", "X-Abc")]] {
        let held =
            Held::begin(&origin, &proxy, &[("Cache-Control", "max-age=9")], Answer::json_with(fields, OLD));
        change(&origin, &proxy, fields);
        assert_eq!(proxy.get("/a").text(), NEW);
        assert_eq!(held.end().text(), OLD);
        assert_eq!(proxy.get("/a").text(), NEW, "the old fetch must not replace the new response");
        send(&proxy, "POST", "/a");
    }
}

#[test]
fn validations_refreshes_and_heads_from_before_the_change_store_nothing() {
    const TAG: (&str, &str) = ("ETag", "\"a\"");
    let stale = [("Cache-Control", "max-age=60, stale-while-revalidate=600"), ("Age", "100"), TAG];
    let not_modified = || Answer::not_modified(&[FRESH]);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nETag: \"a\"\r\n\r\n";

    for label in ["validation", "refresh", "head"] {
        let (origin, gate) = (Origin::start(), Gate::new());
        let proxy = Proxy::start(&origin.url(), &[]);
        origin.answer("/a", Answer::json_with(&stale, OLD));
        proxy.get("/a");
        let answer = if label == "head" { Answer::raw(head) } else { not_modified() };
        let at_gate = gate.clone();
        origin.script("/a", move |exchange| {
            at_gate.pass();
            answer.give(exchange)
        });
        let mut client = proxy.connect();
        let method = if label == "head" { "HEAD" } else { "GET" };
        let strict = [("Cache-Control", "max-age=1000")];
        client.send_head(method, "/a", if label == "refresh" { &[] } else { &strict });
        gate.await_arrivals(1);
        change(&origin, &proxy, &[FRESH]);
        gate.open();
        assert_eq!(client.response_to(method).status, 200);
        proxy.await_metric(r#"cachewarp_not_stored_total{reason="changed"}"#, 1.0);
        assert!(!is_stored(&proxy, "/a", &[("Cache-Control", "max-stale")]), "{label}");
        assert_eq!(proxy.get("/a").text(), NEW, "{label}");
    }
}

#[test]
fn urls_under_the_origins_own_name_are_invalidated() {
    let origin = Origin::start();
    for path in ["/v1/items", "/v1/items/1", "/v1/items/2", "/v1/items/3"] {
        origin.answer(path, Answer::json_with(&[FRESH], OLD));
    }
    // The origin names itself, not the client's host and paths: it does not know of the proxy.
    let own = format!("{}/v1/items/1", origin.url());
    origin.script("/v1/items", move |exchange| match exchange.request.method.as_str() {
        "GET" => Answer::json_with(&[FRESH], OLD).give(exchange),
        _ => Answer::new(201, &[("Location", &own), ("Content-Location", "/v1/items/2")], "").give(exchange),
    });
    let proxy = Proxy::start(&format!("{}/v1", origin.url()), &[]);
    for path in ["/items", "/items/1", "/items/2", "/items/3"] {
        proxy.get(path);
        assert!(is_stored(&proxy, path, &[]), "{path}");
    }
    assert_eq!(send(&proxy, "POST", "/items").status, 201);
    for (path, left) in [("/items", false), ("/items/1", false), ("/items/2", false), ("/items/3", true)] {
        assert_eq!(is_stored(&proxy, path, &[]), left, "{path}");
    }
}

/// RFC 9875 §3: a response that names a group invalidates its members.
#[test]
fn a_group_invalidation_removes_its_members() {
    let (origin, redis) = (Origin::start(), Redis::start());
    for (path, groups) in [("/a", r#""g", "h""#), ("/b", r#""g""#), ("/c", r#""h""#), ("/d", "")] {
        origin.answer(path, Answer::json_with(&[FRESH, ("Cache-Groups", groups)], OLD));
    }
    let rows = [
        ("POST", 200, r#""g""#, &["/c", "/d"][..]),
        ("PUT", 204, r#""g", "h""#, &["/d"]),
        ("DELETE", 303, r#""h""#, &["/b", "/d"]),
        ("POST", 200, r#""x""#, &["/a", "/b", "/c", "/d"]),
        ("POST", 200, "g", &["/a", "/b", "/c", "/d"]),
        ("POST", 400, r#""g""#, &["/a", "/b", "/c", "/d"]),
        ("POST", 500, r#""g""#, &["/a", "/b", "/c", "/d"]),
        ("OPTIONS", 200, r#""g""#, &["/a", "/b", "/c", "/d"]),
    ];
    for redis_url in ["off", &redis.url()] {
        let proxy = Proxy::start(&origin.url(), &[("redis_url", redis_url)]);
        if redis_url != "off" {
            proxy.await_redis();
        }
        for (method, status, changed, left) in rows {
            let paths = ["/a", "/b", "/c", "/d"];
            for path in paths {
                proxy.get(path);
                until("the response to be stored", || is_stored(&proxy, path, &[]));
            }
            origin.answer("/change", Answer::new(status, &[("Cache-Group-Invalidation", changed)], ""));
            assert_eq!(send(&proxy, method, "/change").status, status);
            let still: Vec<_> = paths.into_iter().filter(|path| is_stored(&proxy, path, &[])).collect();
            assert_eq!(still, left, "{method} {status} {changed} with Redis {redis_url}");
        }
    }
}

#[test]
fn a_group_belongs_to_its_own_origin() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH, ("Cache-Groups", r#""g""#)], OLD));
    origin.answer("/change", Answer::new(200, &[("Cache-Group-Invalidation", r#""g""#)], ""));
    let proxy = Proxy::start(&origin.url(), &[("origin_preserve_host", "true")]);
    proxy.get("/a");
    until("the response to be stored", || is_stored(&proxy, "/a", &[]));
    let mut other = proxy.connect();
    other.send("POST /change HTTP/1.1\r\nHost: other.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(other.response().status, 200);
    assert!(is_stored(&proxy, "/a", &[]), "a group of another host has the name");
    send(&proxy, "POST", "/change");
    assert!(!is_stored(&proxy, "/a", &[]));
}

/// A response that arrives after the change of its group predates it, and CacheWarp does not store
/// it.
#[test]
fn a_fetch_from_before_the_change_of_its_group_is_not_shared() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let answer = Answer::json_with(&[FRESH, ("Cache-Groups", r#""g""#)], OLD);
    origin.script("/a", {
        let gate = gate.clone();
        move |exchange| {
            gate.pass();
            answer.give(exchange)
        }
    });
    origin.answer("/change", Answer::new(200, &[("Cache-Group-Invalidation", r#""g""#)], ""));
    let redis = Redis::start();
    for redis_url in ["off", &redis.url()] {
        let proxy = Proxy::start(&origin.url(), &[("redis_url", redis_url)]);
        if redis_url != "off" {
            proxy.await_redis();
        }
        let asked = origin.count("/a");
        let mut early = proxy.connect();
        early.send_head("GET", "/a", &[]);
        origin.await_count("/a", asked + 1);
        send(&proxy, "POST", "/change");
        let mut late = proxy.connect();
        late.send_head("GET", "/a", &[]);
        // The late request does not share the fetch that began before the change.
        origin.await_count("/a", asked + 2);
        gate.release_one();
        gate.release_one();
        assert_eq!((early.response().text(), late.response().text()), (OLD, OLD));
    }
}
