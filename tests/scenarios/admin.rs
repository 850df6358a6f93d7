//! The admin listener: access control, stored entries, and statistics.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::{Answer, Client, Origin, Proxy, Redis, Response, until};

pub(crate) const TOKEN: &str = "open-sesame";
pub(crate) const BEARER: (&str, &str) = ("Authorization", "Bearer open-sesame");
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Settings for a busy machine: a long Redis timeout, and memory entries that need no confirmation.
pub(crate) const PATIENT: [(&str, &str); 2] = [("redis_timeout", "10s"), ("cache_memory_ttl", "1h")];

/// Sends one admin request from this machine.
pub(crate) fn admin_request(
    admin: SocketAddr,
    method: &str,
    target: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if fields.iter().all(|(name, _)| *name != "Host") {
        head += &format!("Host: {admin}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    fields.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    let mut client = Client::connect(admin);
    client.send(format!("{head}\r\n{body}"));
    client.response_to(method)
}

pub(crate) fn purge(proxy: &Proxy, body: &str) -> Response {
    admin_request(proxy.admin_addr(), "POST", "/purge", &[JSON], body)
}

fn document(response: &Response) -> Value {
    serde_json::from_str(response.text()).unwrap_or_else(|bad| panic!("{bad}: {response:?}"))
}

/// Returns a member by its dotted path.
fn at<'a>(document: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .try_fold(document, |value, name| value.get(name))
        .unwrap_or_else(|| panic!("there is no {path} in {document:?}"))
}

fn text<'a>(document: &'a Value, path: &str) -> &'a str {
    at(document, path).as_str().unwrap_or_else(|| panic!("{path} is no text in {document:?}"))
}

fn number(document: &Value, path: &str) -> f64 {
    at(document, path).as_f64().unwrap_or_else(|| panic!("{path} is no number in {document:?}"))
}

#[test]
fn purges_entries_and_stats_need_the_token() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("admin_token", TOKEN)]);
    let admin = proxy.admin_addr();
    let wrong = ("Authorization", "Bearer open-sesamE");
    for (method, target) in [("POST", "/purge"), ("GET", "/entries?url=http://test/a"), ("GET", "/stats")] {
        for (fields, challenge) in [
            (&[JSON][..], "Bearer realm=\"cachewarp\""),
            (&[JSON, wrong], "Bearer realm=\"cachewarp\", error=\"invalid_token\""),
            (&[JSON, BEARER, BEARER], "Bearer realm=\"cachewarp\", error=\"invalid_token\""),
        ] {
            let response = admin_request(admin, method, target, fields, "{\"all\":true}");
            assert_eq!(
                (response.status, response.field("www-authenticate")),
                (401, Some(challenge)),
                "{target}"
            );
            assert_eq!(response.field("content-type"), Some("application/problem+json"));
            assert_eq!(number(&document(&response), "status"), 401.0);
        }
    }
    // With a token, any `Host` is accepted.
    let stats = admin_request(admin, "GET", "/stats", &[BEARER, ("Host", "cache.example")], "");
    assert_eq!((stats.status, stats.field("cache-control")), (200, Some("no-store")));
    // Supervisors and scrapers have no token.
    for target in ["/health", "/metrics"] {
        assert_eq!(admin_request(admin, "GET", target, &[], "").status, 200, "{target}");
    }
    assert!(!admin_request(admin, "GET", "/metrics", &[], "").text().contains(TOKEN));
}

#[test]
fn without_a_token_a_web_page_on_this_machine_is_refused() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let admin = proxy.admin_addr();
    for host in ["evil.test", "evil.test:8001", "localhost.evil.test"] {
        for (method, target) in [("POST", "/purge"), ("GET", "/entries?url=http://test/a"), ("GET", "/stats")]
        {
            let response =
                admin_request(admin, method, target, &[JSON, ("Host", host)], "{\"url\":\"http://test/a\"}");
            assert_eq!(response.status, 403, "{host} {target}");
            assert_eq!(text(&document(&response), "reason"), "foreign-host");
        }
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]"] {
        assert_eq!(admin_request(admin, "GET", "/stats", &[("Host", host)], "").status, 200, "{host}");
    }
    // Media types that a form or a script can send across sites without a preflight request.
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
    {
        let response = admin_request(admin, "POST", "/purge", &[("Content-Type", media)], "{\"all\":true}");
        assert_eq!(response.status, 415, "{media}");
    }
    assert_eq!(admin_request(admin, "POST", "/purge", &[], "{\"all\":true}").status, 415);
    assert_eq!(admin_request(admin, "OPTIONS", "/purge", &[], "").field("allow"), Some("POST"));
}

#[test]
fn an_invalid_request_gets_the_reason() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let admin = proxy.admin_addr();
    for (method, target, allow) in [
        ("GET", "/purge", "POST"),
        ("DELETE", "/purge", "POST"),
        ("POST", "/entries", "GET, HEAD"),
        ("POST", "/stats", "GET, HEAD"),
    ] {
        let response = admin_request(admin, method, target, &[], "");
        assert_eq!((response.status, response.field("allow")), (405, Some(allow)), "{method} {target}");
    }
    for (target, detail) in [
        ("/entries", "the parameter url is missing"),
        ("/entries?url=/a", "url does not begin with http:// or https://"),
        (
            "/entries?url=http://a/&x=1",
            "unknown parameter \"x\"; the parameters are url, header, method, content",
        ),
        ("/stats?top=0", "top is not a number from 1 to 100"),
    ] {
        let response = admin_request(admin, "GET", target, &[], "");
        assert_eq!((response.status, text(&document(&response), "detail")), (400, detail), "{target}");
    }
    for (body, detail) in [
        ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
        ("{}", "the order names nothing to purge"),
        ("{\"urls\":\"http://a/\"}", "urls: invalid type: string \"http://a/\", expected a sequence"),
        ("\u{0}\u{fffd}", "the body is not JSON: expected value at line 1 column 1"),
    ] {
        let response = purge(&proxy, body);
        assert_eq!((response.status, text(&document(&response), "detail")), (400, detail), "{body}");
    }
    let long = format!("{{\"tag\":\"{}\"}}", "x".repeat(300 * 1024));
    assert_eq!(purge(&proxy, &long).status, 413);
    // The chunked body declares no length.
    let mut client = Client::connect(admin);
    client.send(format!(
        "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    ));
    assert_eq!(client.response().status, 413);
}

#[test]
fn an_entry_is_shown_with_the_decision_for_a_request() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let fields = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "max-age=60, public"),
        ("Cache-Tag", "quotes, eur"),
        ("Surrogate-Key", "fx eur"),
        ("Cache-Groups", "\"g\""),
        ("X-Internal", "hunter2"),
    ];
    origin.answer("/a", Answer::new(200, &fields, "{\"secret\":\"hunter2\"}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT);
    let entry = |query: &str| {
        document(&admin_request(proxy.admin_addr(), "GET", &format!("/entries?{query}"), &[], ""))
    };

    let nothing = entry("url=http://test/a");
    assert_eq!((text(&nothing, "memory.state"), text(&nothing, "redis.state")), ("nothing", "nothing"));
    assert_eq!((text(&nothing, "found"), at(&nothing, "rules").as_array().unwrap().len()), ("nothing", 0));

    proxy.get("/a");
    // Redis holds the entry and a counter for each tag.
    redis.await_keys(5);
    let lookups = proxy.metric(r#"cachewarp_store_lookups_total{result="memory"}"#);
    let held = entry("url=http://TEST:80/a");
    assert_eq!((text(&held, "memory.state"), text(&held, "redis.state")), ("held", "held"));
    assert_eq!((text(&held, "memory.confirmation"), text(&held, "found")), ("confirmed", "memory"));
    assert_eq!((number(&held, "status"), number(&held, "body_bytes")), (200.0, 20.0));
    assert!(number(&held, "redis.bytes") > 100.0);
    assert_eq!(number(&held, "stored.lifetime"), 60.0);
    let tags: Vec<_> = at(&held, "tags").as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(tags, ["quotes", "eur", "fx", "g"]);
    let rules = at(&held, "rules").as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(
        (text(&rules[0], "rule"), text(&rules[0], "says"), text(&rules[0], "because")),
        ("reuse", "yes", "fresh")
    );
    let name = text(&held, "key.name");
    assert!(redis.await_keys(5).contains(&format!("{}{name}", text(&held, "key.namespace"))));

    // The reuse rule, applied to another request.
    for (header, because) in [
        ("Cache-Control: no-cache", "request-no-cache"),
        ("Cache-Control: min-fresh=100", "request-min-fresh"),
    ] {
        let header = header.replace(' ', "%20");
        let shown = entry(&format!("url=http://test/a&header={header}"));
        let rule = &at(&shown, "rules").as_array().unwrap()[0];
        assert_eq!((text(rule, "says"), text(rule, "because")), ("no", because));
    }
    let other = admin_request(
        proxy.admin_addr(),
        "GET",
        "/entries?url=http://test/a&header=Authorization:Bearer%20hunter3",
        &[],
        "",
    );
    assert!(!other.text().contains("hunter"), "{}", other.text());
    assert_eq!(
        proxy.metric(r#"cachewarp_store_lookups_total{result="memory"}"#),
        lookups,
        "an inspection counts as a lookup"
    );
    assert_eq!(origin.count("/a"), 1, "an inspection fetches from the origin");
}

#[test]
fn the_variant_of_a_request_is_shown_and_unavailable_redis_is_reported() {
    let (origin, mut redis) = (Origin::start(), Redis::start());
    let fields = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "max-age=60"),
        ("Vary", "Accept-Language, X-Session"),
    ];
    origin.answer("/v", Answer::new(200, &fields, "{}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT);
    proxy.get_with("/v", &[("Accept-Language", "de"), ("X-Session", "hunter2")]);
    redis.await_keys(2);
    let entry = |query: &str| {
        let response =
            admin_request(proxy.admin_addr(), "GET", &format!("/entries?url=http://test/v{query}"), &[], "");
        assert!(!response.text().contains("hunter2"), "{}", response.text());
        document(&response)
    };
    let held = entry("&header=Accept-Language:de&header=X-Session:hunter2");
    assert_eq!((text(&held, "redis.state"), text(&held, "variant.fields.accept-language")), ("held", "de"));
    assert_eq!(text(&held, "variant.fields.x-session.digest").len(), 16);
    let vary: Vec<_> = at(&held, "vary").as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(vary, ["accept-language", "x-session"]);
    let none = entry("&header=Accept-Language:fr");
    assert_eq!((text(&none, "redis.state"), text(&none, "found")), ("nothing", "nothing"));
    assert_ne!(text(&none, "variant.name"), text(&held, "variant.name"));
    // The list holds every stored variant, whatever the request.
    proxy.get_with("/v", &[("Accept-Language", "en")]);
    redis.await_keys(3);
    until("both to be listed", || at(&entry(""), "variants").as_array().unwrap().len() == 2);
    let listed = entry("");
    let variants = at(&listed, "variants").as_array().unwrap();
    assert_eq!(text(&variants[0], "name"), text(&held, "variant.name"));
    assert_eq!((text(&variants[0], "redis.state"), number(&variants[0], "status")), ("held", 200.0));
    assert_eq!(number(&variants[1], "body_bytes"), 2.0);
    assert!(number(&variants[1], "ttl") <= 60.0);

    redis.kill();
    until("Redis to be missed", || text(&entry(""), "redis.state") == "unavailable");
}

#[test]
fn stats_show_requests_stores_and_connections() {
    let (origin, redis) = (Origin::start(), Redis::start());
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &PATIENT);
    let stats = |query: &str| {
        let response = admin_request(proxy.admin_addr(), "GET", &format!("/stats{query}"), &[], "");
        assert_eq!(response.status, 200, "{response:?}");
        document(&response)
    };
    let empty = stats("?top=5");
    assert_eq!((text(&empty, "version"), number(&empty, "workers")), (env!("CARGO_PKG_VERSION"), 1.0));
    assert_eq!(at(&empty, "hit_ratio.all").as_f64(), None, "no ratio of no requests");
    assert!(empty["latency"].as_object().unwrap().is_empty());

    let mut client = proxy.connect();
    for _ in 0..400 {
        client.get("/a?token=hunter2");
    }
    let full = stats("?top=5");
    assert_eq!((number(&full, "requests.miss"), number(&full, "requests.hit-memory")), (1.0, 399.0));
    assert_eq!((number(&full, "hit_ratio.memory"), number(&full, "hit_ratio.redis")), (0.9975, 0.0));
    assert_eq!((text(&full, "redis.health"), number(&full, "redis.connections.up")), ("connected", 4.0));
    let each = at(&full, "redis.each").as_array().unwrap();
    assert_eq!(each.len(), 4);
    assert!(each.iter().all(|one| (text(one, "state"), text(one, "breaker")) == ("up", "closed")));
    assert_eq!(each.iter().filter(|one| text(one, "lane") == "bulk").count(), 1);
    let servers = at(&full, "redis.servers").as_array().unwrap();
    assert_eq!((servers.len(), text(&servers[0], "server")), (1, text(&each[0], "server")));
    let (replies, took) = (number(&servers[0], "replies"), number(&servers[0], "p99_ms"));
    assert!(replies > 0.0 && took > 0.0, "{replies} replies, of which 99 % in {took} ms");
    let buckets = at(&servers[0], "buckets").as_array().unwrap();
    assert!(buckets.iter().filter_map(Value::as_f64).sum::<f64>() == replies);
    let received = |of: &[Value]| of.iter().map(|one| number(one, "received_bytes")).sum::<f64>();
    assert_eq!(received(servers), received(each));
    assert_eq!((number(&full, "memory.entries"), number(&full, "origin.requests.complete")), (1.0, 1.0));
    assert_eq!((number(&full, "clients.open"), number(&full, "shared_fetches")), (1.0, 0.0));
    assert!(number(&full, "uptime") > 0.0);
    let p99 = number(&full, "latency.hit-memory.p99_ms");
    assert!(p99 >= number(&full, "latency.hit-memory.p50_ms") && p99 > 0.0);
    let buckets = at(&full, "latency.hit-memory.buckets").as_array().unwrap();
    assert_eq!(buckets.iter().filter_map(Value::as_f64).sum::<f64>(), 399.0);
    assert_eq!(buckets.len(), at(&full, "latency_bounds_us").as_array().unwrap().len() + 1);

    // The list counts requests since the first look, without the query.
    let top = at(&full, "top").as_array().unwrap();
    assert_eq!((top.len(), text(&top[0], "path")), (1, "/a"));
    assert!(number(&top[0], "requests") > 0.0);
    assert!(stats("").get("top").is_none());
}

#[test]
fn no_path_is_recorded_before_the_first_look() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    for _ in 0..100 {
        client.get("/accounts/1234");
    }
    let stats = admin_request(proxy.admin_addr(), "GET", "/stats?top=5", &[], "");
    assert_eq!(at(&document(&stats), "top").as_array().map(Vec::len), Some(0));
    assert!(!stats.text().contains("1234"));
}
