//! Validation of stored responses with their validators (RFC 9111 §4.3). CacheWarp evaluates a
//! client's own conditions against the result (RFC 9110 §13).

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
/// The age on arrival equals the lifetime: the response is stored if it has a validator, and stale
/// at once.
const STALE: [(&str, &str); 2] = [("Cache-Control", "max-age=60"), ("Age", "60")];
const FRESH: (&str, &str) = ("Cache-Control", "max-age=100");
const TAG: (&str, &str) = ("ETag", "\"a\"");
const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";

const STORED: &str = "CacheWarp; fwd=uri-miss; stored";
const VALIDATED: &str = "CacheWarp; fwd=stale; fwd-status=304; stored";

fn stale(fields: &[(&str, &str)]) -> Answer {
    Answer::json_with(&[&STALE[..], fields].concat(), OLD)
}

#[test]
fn a_stale_response_is_validated_with_its_own_validators() {
    type Fields = &'static [(&'static str, &'static str)];
    // The stored validators, and the `If-None-Match` and `If-Modified-Since` that the origin gets.
    let rows: [(Fields, Option<&str>, Option<&str>); 5] = [
        (&[TAG], Some("\"a\""), None),
        (&[("ETag", "W/\"a,b\"")], Some("W/\"a,b\""), None),
        (&[("ETag", "unquoted")], Some("unquoted"), None),
        (&[("Last-Modified", NOON)], None, Some(NOON)),
        (&[TAG, ("Last-Modified", NOON)], Some("\"a\""), Some(NOON)),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    for (number, (validators, tag, modified)) in rows.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(&[validators, &[("X-Kept", "1"), ("X-Changed", "1")]].concat()));
        assert_eq!(proxy.get(&path).cache_status(), STORED, "{validators:?}");
        origin.answer(&path, Answer::not_modified(&[FRESH, ("X-Changed", "2"), ("X-Added", "2")]));
        for status in [VALIDATED, "CacheWarp; hit; ttl="] {
            let response = proxy.get(&path);
            assert!(
                response.cache_status().starts_with(status),
                "{validators:?}: {}",
                response.cache_status()
            );
            assert_eq!((response.status, response.text()), (200, OLD));
            let fields = ["x-kept", "x-changed", "x-added"].map(|name| response.field(name));
            assert_eq!(fields, [Some("1"), Some("2"), Some("2")], "{validators:?}");
            assert_eq!(response.field("content-type"), Some("application/json"));
        }
        let seen = origin.seen(&path);
        assert_eq!(seen.len(), 2, "{validators:?}");
        assert_eq!((seen[0].field("if-none-match"), seen[0].field("if-modified-since")), (None, None));
        assert_eq!((seen[1].field("if-none-match"), seen[1].field("if-modified-since")), (tag, modified));
    }
}

#[test]
fn a_variant_is_validated_with_its_selecting_fields() {
    let origin = Origin::start();
    origin.answer("/a", stale(&[TAG, ("Vary", "X-Abc")]));
    let proxy = Proxy::start(&origin.url(), &[]);
    let abc = [("X-Abc", "1")];
    assert_eq!(proxy.get_with("/a", &abc).cache_status(), STORED);
    origin.answer("/a", Answer::not_modified(&[FRESH]));
    assert_eq!(proxy.get_with("/a", &abc).cache_status(), VALIDATED);
    let seen = &origin.seen("/a")[1];
    assert_eq!((seen.field("if-none-match"), seen.field("x-abc")), (Some("\"a\""), Some("1")));
    assert!(proxy.get_with("/a", &abc).cache_status().starts_with("CacheWarp; hit"));
    // The other variant has no part in the validation.
    origin.answer("/a", Answer::json_with(&[FRESH, ("Vary", "X-Abc")], NEW));
    let other = proxy.get_with("/a", &[("X-Abc", "2")]);
    assert_eq!((other.cache_status(), other.text()), ("CacheWarp; fwd=vary-miss; stored", NEW));
    assert_eq!(origin.seen("/a")[2].field("if-none-match"), None);
}

#[test]
fn a_response_stored_by_another_node_can_be_validated() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", stale(&[TAG]));
    let nodes =
        [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]));
    assert_eq!(nodes[0].get("/a").cache_status(), STORED);
    redis.await_keys(1);
    origin.answer("/a", Answer::not_modified(&[FRESH]));
    assert_eq!(nodes[1].get("/a").cache_status(), VALIDATED);
    until("the first node to hit", || nodes[0].get("/a").cache_status().starts_with("CacheWarp; hit"));
}

#[test]
fn a_304_that_forbids_storing_removes_the_response() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[]);
    for (number, directive) in ["private", "no-store", "max-age=60, private"].into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, stale(&[TAG]));
        proxy.get(&path);
        redis.await_keys(number + 1);
        origin.answer(&path, Answer::not_modified(&[("Cache-Control", directive), ("X-Own", "1")]));
        let own = proxy.get(&path);
        assert_eq!((own.status, own.text(), own.field("x-own")), (200, OLD, Some("1")), "{directive}");
        redis.await_keys(number);
        origin.answer(&path, Answer::json(NEW));
        let next = proxy.get(&path);
        assert!(next.cache_status().starts_with("CacheWarp; fwd=uri-miss"), "{}", next.cache_status());
        assert_eq!((next.text(), next.field("x-own")), (NEW, None));
        assert_eq!(
            origin.seen(&path)[2].field("if-none-match"),
            None,
            "the entry must be gone before the next request"
        );
        redis.await_keys(number + 1);
    }
}

#[test]
fn a_304_for_another_response_leads_to_an_unconditional_request() {
    let origin = Origin::start();
    origin.answer("/a", stale(&[TAG]));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.script("/a", |exchange| match exchange.request.field("if-none-match") {
        Some(_) => Answer::not_modified(&[("ETag", "\"b\""), FRESH]).give(exchange),
        None => Answer::json_with(&[("ETag", "\"b\""), FRESH], NEW).give(exchange),
    });
    let whole = proxy.get("/a");
    assert_eq!((whole.status, whole.text(), whole.field("etag")), (200, NEW, Some("\"b\"")));
    assert_eq!(origin.count("/a"), 3);
    let next = proxy.get("/a");
    assert!(next.cache_status().starts_with("CacheWarp; hit"), "{}", next.cache_status());
    assert_eq!(next.text(), NEW);
}

#[test]
fn a_200_replaces_the_stored_response() {
    let origin = Origin::start();
    origin.answer("/a", stale(&[TAG, ("X-Old", "1")]));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    origin.answer("/a", Answer::json_with(&[("ETag", "\"b\""), FRESH], NEW));
    let replaced = proxy.get("/a");
    assert!(replaced.cache_status().starts_with("CacheWarp; fwd=stale"), "{}", replaced.cache_status());
    assert_eq!((replaced.text(), replaced.field("x-old")), (NEW, None));
    let next = proxy.get("/a");
    assert!(next.cache_status().starts_with("CacheWarp; hit"), "{}", next.cache_status());
    assert_eq!((next.text(), next.field("x-old"), next.field("etag")), (NEW, None, Some("\"b\"")));
    assert_eq!(origin.seen("/a")[1].field("if-none-match"), Some("\"a\""));
}

#[test]
fn a_no_cache_response_is_validated_each_time() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, directives) in
        ["no-cache", "max-age=60, no-cache", "public, s-maxage=60, no-cache"].into_iter().enumerate()
    {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[("Cache-Control", directives), TAG], OLD));
        assert_eq!(proxy.get(&path).cache_status(), STORED, "{directives}");
        origin.answer(&path, Answer::not_modified(&[TAG]));
        for _ in 0..3 {
            let response = proxy.get(&path);
            assert_eq!((response.cache_status(), response.text()), (VALIDATED, OLD), "{directives}");
        }
        let seen = origin.seen(&path);
        assert_eq!(seen.len(), 4);
        assert!(seen[1..].iter().all(|request| request.field("if-none-match") == Some("\"a\"")));
        // Each response comes from the store, and only after a validation.
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "only-if-cached")]).status, 504);
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "max-stale")]).cache_status(), VALIDATED);
    }
}

#[test]
fn a_client_can_demand_validation() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH, TAG], OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // The 304 is one second old on arrival: an age of zero would satisfy `max-age=0`.
    origin.answer("/a", Answer::not_modified(&[("Age", "1")]));
    for field in [("Cache-Control", "no-cache"), ("Cache-Control", "max-age=0"), ("Pragma", "no-cache")] {
        let response = proxy.get_with("/a", &[field]);
        assert_eq!(response.cache_status(), "CacheWarp; fwd=request; fwd-status=304; stored", "{field:?}");
        assert_eq!(response.text(), OLD);
    }
    assert!(origin.seen("/a")[1..].iter().all(|request| request.field("if-none-match") == Some("\"a\"")));
    assert_eq!(origin.count("/a"), 4);
}

#[test]
fn a_head_updates_the_stored_response() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let length = OLD.len().to_string();
    // The response to the `HEAD`, and to the next `GET`.
    let same = [TAG, FRESH, ("X-New", "1"), ("Content-Length", &length)];
    let other = [("ETag", "\"b\""), FRESH, ("Content-Length", &length)];
    let longer = [TAG, FRESH, ("Content-Length", "9999")];
    let silent = [FRESH, ("Content-Length", &length)];
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let rows: [(&str, Fields<'_>, &str); 4] = [
        ("same", &same, "CacheWarp; hit; ttl="),
        ("other", &other, "CacheWarp; fwd=uri-miss"),
        ("longer", &longer, "CacheWarp; fwd=uri-miss"),
        ("silent", &silent, "CacheWarp; fwd=stale"),
    ];
    for (name, head, next) in rows {
        let path = format!("/{name}");
        origin.answer(&path, stale(&[TAG]));
        proxy.get(&path);
        let fields: String = head.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        origin.answer(
            &path,
            Answer::raw(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}\r\n")),
        );
        let asked = proxy.connect().request("HEAD", &path, &[]);
        assert_eq!(
            (asked.status, asked.cache_status()),
            (200, "CacheWarp; fwd=stale; detail=method"),
            "{name}"
        );
        origin.answer(&path, Answer::json_with(&[FRESH], NEW));
        let got = proxy.get(&path);
        assert!(got.cache_status().starts_with(next), "{name}: {}", got.cache_status());
        let hit = next.contains("hit");
        assert_eq!(
            (got.text(), got.field("x-new")),
            if hit { (OLD, Some("1")) } else { (NEW, None) },
            "{name}"
        );
    }
}

/// A condition and the resulting status.
type Condition = (&'static str, &'static str, u16);

/// Conditions on a response with `ETag: "a"` and `Last-Modified: NOON`.
const CONDITIONS: [Condition; 13] = [
    ("If-None-Match", "\"a\"", 304),
    ("If-None-Match", "W/\"a\"", 304),
    ("If-None-Match", "\"x\", \"a\"", 304),
    ("If-None-Match", "*", 304),
    ("If-None-Match", "\"x\"", 200),
    ("If-None-Match", "a", 200),
    ("If-Modified-Since", NOON, 304),
    ("If-Modified-Since", "Sunday, 06-Nov-94 12:00:00 GMT", 304),
    ("If-Modified-Since", "Mon, 07 Nov 1994 12:00:00 GMT", 304),
    ("If-Modified-Since", "Sat, 05 Nov 1994 12:00:00 GMT", 200),
    ("If-Modified-Since", "yesterday", 200),
    ("If-Match", "\"a\"", 200),
    ("If-Unmodified-Since", NOON, 200),
];

#[test]
fn a_clients_conditions_are_evaluated_on_the_stored_response() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH, TAG, ("Last-Modified", NOON)], OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    for method in ["GET", "HEAD"] {
        for (name, value, status) in CONDITIONS {
            let response = proxy.connect().request(method, "/a", &[(name, value)]);
            assert_eq!(response.status, status, "{method} {name}: {value}");
            assert!(response.cache_status().starts_with("CacheWarp; hit"), "{}", response.cache_status());
            assert_eq!(response.field("etag"), Some("\"a\""));
            let whole = method == "GET" && status == 200;
            assert_eq!(response.text(), if whole { OLD } else { "" });
            assert_eq!(response.field("content-type").is_some(), status == 200);
        }
    }
    // RFC 9110 §13.2.2: `If-None-Match` takes precedence over `If-Modified-Since`.
    let both = [("If-None-Match", "\"x\""), ("If-Modified-Since", NOON)];
    assert_eq!(proxy.get_with("/a", &both).status, 200);
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_stored_response_fails_no_precondition() {
    let origin = Origin::start();
    origin.script("/a", |exchange| match exchange.request.field("if-match") {
        Some("\"b\"") => Answer::new(412, &[], "").give(exchange),
        Some(_) => Answer::json_with(&[FRESH, ("ETag", "\"c\"")], NEW).give(exchange),
        None => Answer::json_with(&[FRESH, TAG], OLD).give(exchange),
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    for (tag, status) in [("\"b\"", 412), ("\"c\"", 200), ("W/\"a\"", 200)] {
        let response = proxy.get_with("/a", &[("If-Match", tag)]);
        assert_eq!(
            (response.status, response.cache_status()),
            (status, "CacheWarp; fwd=request; detail=condition")
        );
        assert_eq!(
            origin.seen("/a").pop().unwrap().field("if-match"),
            Some(tag),
            "the origin gets the client's condition"
        );
    }
    assert_eq!(proxy.get("/a").text(), OLD, "the response must remain stored");
}

#[test]
fn a_condition_on_a_miss_is_evaluated_on_the_fetched_response() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (name, value, status)) in CONDITIONS.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[FRESH, TAG, ("Last-Modified", NOON)], OLD));
        let response = proxy.get_with(&path, &[(name, value)]);
        assert_eq!((response.status, response.cache_status()), (status, STORED), "{name}: {value}");
        assert_eq!(
            origin.seen(&path)[0].field(&name.to_ascii_lowercase()),
            None,
            "no other client's condition"
        );
        until("the response to be stored", || {
            proxy.metric("cachewarp_memory_entries") == (number + 1) as f64
        });
        let plain = proxy.get(&path);
        assert!(plain.cache_status().starts_with("CacheWarp; hit"), "{}", plain.cache_status());
        assert_eq!((plain.status, plain.text()), (200, OLD));
        assert_eq!(origin.count(&path), 1);
    }
    origin.answer("/unmet", Answer::json_with(&[FRESH, TAG], OLD));
    let unmet = proxy.get_with("/unmet", &[("If-Match", "\"b\"")]);
    assert_eq!((unmet.status, unmet.text(), unmet.field("cache-control")), (412, "", Some("no-store")));
}

#[test]
fn a_clients_condition_is_independent_of_the_validation() {
    let origin = Origin::start();
    origin.answer("/a", stale(&[TAG]));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // The response stays stale, so that each request is validated.
    origin.answer("/a", Answer::not_modified(&STALE));
    for (tag, status, body) in [("\"a\"", 304, ""), ("\"x\"", 200, OLD)] {
        let response = proxy.get_with("/a", &[("If-None-Match", tag)]);
        assert_eq!((response.status, response.text(), response.cache_status()), (status, body, VALIDATED));
        assert_eq!(origin.seen("/a").pop().unwrap().field("if-none-match"), Some("\"a\""), "ours");
    }
    // The origin has another representation than the cache, which is the one that the client has.
    origin.answer("/a", Answer::json_with(&[FRESH, ("ETag", "\"x\"")], NEW));
    assert_eq!(proxy.get_with("/a", &[("If-None-Match", "\"x\"")]).status, 304);
    assert_eq!(proxy.get("/a").text(), NEW);
}

/// The metric of client connections that have sent data.
const CONNECTIONS: &str = r#"cachewarp_client_connections_total{protocol="http1"}"#;

#[test]
fn concurrent_requests_share_one_validation() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::json_with(&[TAG, ("X-Age", "old")], OLD));
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms")]);
    proxy.get("/a");
    // Distinguishes fresh from stale and starts no refresh.
    let only_if_fresh = [("Cache-Control", "only-if-cached, max-age=1000")];
    until("the response to be stale", || proxy.get_with("/a", &only_if_fresh).status == 504);
    origin.answer("/a", Answer::silent().pass(&gate).send("HTTP/1.1 304 Not Modified\r\nX-Age: new\r\n\r\n"));
    let before = proxy.metric(r#"cachewarp_requests_total{outcome="validated"}"#);
    let others = proxy.metric(CONNECTIONS);
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let own = [("If-None-Match", "\"a\"")];
        client.send_head("GET", "/a", if number % 2 == 0 { &own } else { &[] });
        // The first client leads, so that the fetch has a known leader.
        if number == 0 {
            gate.await_arrivals(1);
        }
    }
    until("all to wait", || proxy.metric(CONNECTIONS) >= others + 8.0);
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        let response = client.response();
        let status = if number == 0 { VALIDATED } else { "CacheWarp; fwd=stale; collapsed" };
        assert_eq!((response.cache_status(), response.field("x-age")), (status, Some("new")));
        assert_eq!((response.status, response.text()), if number % 2 == 0 { (304, "") } else { (200, OLD) });
    }
    assert_eq!(origin.count("/a"), 2);
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="validated"}"#), before + 1.0);
}
