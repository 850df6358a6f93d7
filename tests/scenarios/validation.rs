//! What is stored and may not be served as it is: the origin is asked whether it is still right,
//! with the validators that are stored, and its word is heeded (RFC 9111 §4.3). A client's own
//! conditions are judged at the end (RFC 9110 §13).

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Redis, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
/// As old as its lifetime when it comes: stored, if it can be asked about, and stale at once.
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
fn what_is_stale_is_asked_about_with_its_own_validators() {
    type Fields = &'static [(&'static str, &'static str)];
    // What is stored, and what the origin is asked: `If-None-Match` and `If-Modified-Since`.
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
fn a_variant_is_asked_about_with_the_fields_that_select_it() {
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
    // The other variant is none of its business.
    origin.answer("/a", Answer::json_with(&[FRESH, ("Vary", "X-Abc")], NEW));
    let other = proxy.get_with("/a", &[("X-Abc", "2")]);
    assert_eq!((other.cache_status(), other.text()), ("CacheWarp; fwd=vary-miss; stored", NEW));
    assert_eq!(origin.seen("/a")[2].field("if-none-match"), None);
}

#[test]
fn what_another_node_stored_can_be_validated() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", stale(&[TAG]));
    let nodes =
        [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]));
    assert_eq!(nodes[0].get("/a").cache_status(), STORED);
    redis.await_keys(1);
    origin.answer("/a", Answer::not_modified(&[FRESH]));
    assert_eq!(nodes[1].get("/a").cache_status(), VALIDATED);
    until("the first to see it", || nodes[0].get("/a").cache_status().starts_with("CacheWarp; hit"));
}

#[test]
fn a_304_that_forbids_storing_ends_what_was_stored() {
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
        assert_eq!(origin.seen(&path)[2].field("if-none-match"), None, "nothing to ask about");
        redis.await_keys(number + 1);
    }
}

#[test]
fn a_304_about_something_else_is_asked_again() {
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
fn a_200_takes_the_place_of_what_was_stored() {
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
fn what_is_not_to_be_used_unasked_is_asked_about_each_time() {
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
        // It comes from the store each time, and nobody gets it from there alone.
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "only-if-cached")]).status, 504);
        assert_eq!(proxy.get_with(&path, &[("Cache-Control", "max-stale")]).cache_status(), VALIDATED);
    }
}

#[test]
fn a_client_that_wants_it_asked_gets_it_validated() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[FRESH, TAG], OLD));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // A second old on arrival: what is no older than nothing would suit `max-age=0`.
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
fn a_head_brings_what_is_stored_up_to_date() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let length = OLD.len().to_string();
    // What the `HEAD` shows, and the next `GET`.
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

/// A condition and the status that it leads to.
type Condition = (&'static str, &'static str, u16);

/// For a response with `ETag: "a"` and `Last-Modified: NOON`.
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
fn a_client_s_conditions_are_judged_on_what_is_stored() {
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
    // RFC 9110 §13.2.2: `If-Modified-Since` is not looked at beside `If-None-Match`.
    let both = [("If-None-Match", "\"x\""), ("If-Modified-Since", NOON)];
    assert_eq!(proxy.get_with("/a", &both).status, 200);
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn what_is_stored_fails_nobody() {
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
        assert_eq!(origin.seen("/a").pop().unwrap().field("if-match"), Some(tag), "as the client sent it");
    }
    assert_eq!(proxy.get("/a").text(), OLD, "and it is still stored");
}

#[test]
fn a_condition_on_a_miss_is_judged_on_the_whole_that_is_fetched() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, (name, value, status)) in CONDITIONS.into_iter().enumerate() {
        let path = format!("/{number}");
        origin.answer(&path, Answer::json_with(&[FRESH, TAG, ("Last-Modified", NOON)], OLD));
        let response = proxy.get_with(&path, &[(name, value)]);
        assert_eq!((response.status, response.cache_status()), (status, STORED), "{name}: {value}");
        assert_eq!(origin.seen(&path)[0].field(&name.to_ascii_lowercase()), None, "nobody else's condition");
        until("it to be stored", || proxy.metric("cachewarp_memory_entries") == (number + 1) as f64);
        let plain = proxy.get(&path);
        assert!(plain.cache_status().starts_with("CacheWarp; hit"), "{}", plain.cache_status());
        assert_eq!((plain.status, plain.text()), (200, OLD));
        assert_eq!(origin.count(&path), 1);
    }
    origin.answer("/unmet", Answer::json_with(&[FRESH, TAG], OLD));
    let unmet = proxy.get_with("/unmet", &[("If-Match", "\"b\"")]);
    assert_eq!((unmet.status, unmet.text()), (412, ""));
}

#[test]
fn a_client_s_condition_is_its_own_also_where_we_ask() {
    let origin = Origin::start();
    origin.answer("/a", stale(&[TAG]));
    let proxy = Proxy::start(&origin.url(), &[]);
    proxy.get("/a");
    // Stays stale, so that each request is validated.
    origin.answer("/a", Answer::not_modified(&STALE));
    for (tag, status, body) in [("\"a\"", 304, ""), ("\"x\"", 200, OLD)] {
        let response = proxy.get_with("/a", &[("If-None-Match", tag)]);
        assert_eq!((response.status, response.text(), response.cache_status()), (status, body, VALIDATED));
        assert_eq!(origin.seen("/a").pop().unwrap().field("if-none-match"), Some("\"a\""), "ours");
    }
    // Another representation than we have, and the one that the client has.
    origin.answer("/a", Answer::json_with(&[FRESH, ("ETag", "\"x\"")], NEW));
    assert_eq!(proxy.get_with("/a", &[("If-None-Match", "\"x\"")]).status, 304);
    assert_eq!(proxy.get("/a").text(), NEW);
}

/// Client connections that have sent something.
const CONNECTIONS: &str = r#"cachewarp_client_connections_total{protocol="http1"}"#;

#[test]
fn one_validation_is_everybody_s() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::json_with(&[TAG, ("X-Age", "old")], OLD));
    let proxy = Proxy::start(&origin.url(), &[("cache_default_ttl", "500ms")]);
    proxy.get("/a");
    // Tells fresh from stale, and sets nothing off.
    let only_if_fresh = [("Cache-Control", "only-if-cached, max-age=1000")];
    until("it to be stale", || proxy.get_with("/a", &only_if_fresh).status == 504);
    origin.answer("/a", Answer::silent().pass(&gate).send("HTTP/1.1 304 Not Modified\r\nX-Age: new\r\n\r\n"));
    let before = proxy.metric(r#"cachewarp_requests_total{outcome="validated"}"#);
    let others = proxy.metric(CONNECTIONS);
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let own = [("If-None-Match", "\"a\"")];
        client.send_head("GET", "/a", if number % 2 == 0 { &own } else { &[] });
        // The first leads, so that it is known who is asked for.
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
