//! Overload: CacheWarp serves admitted requests and refuses the rest at once, and afterwards
//! everything is as before.

use crate::harness::{Answer, Client, Gate, Origin, Proxy, until};

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

/// Returns a response that waits for the gate.
fn gated(gate: &Gate) -> Answer {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}";
    Answer::silent().pass(gate).send(head)
}

#[test]
fn requests_beyond_the_limit_are_refused_at_once_and_hits_are_served() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/slow", gated(&gate));
    origin.answer("/other", Answer::json_with(&[NO_STORE], "{}"));
    origin.answer("/hit", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    origin.answer(
        "/stale",
        Answer::json_with(&[("Cache-Control", "max-age=0, stale-if-error=60"), ("ETag", "\"1\"")], "{}"),
    );
    let proxy = Proxy::start(&origin.url(), &[("max_pending_requests", "1")]);
    for target in ["/hit", "/stale"] {
        assert_eq!(proxy.get(target).status, 200);
    }
    let mut first = proxy.connect();
    first.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);

    let refused = proxy.get("/other");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    assert_eq!(proxy.connect().request("POST", "/other", &[("Content-Length", "0")]).status, 503);
    assert_eq!(proxy.get("/hit").cache_status().split(';').nth(1), Some(" hit"));
    assert_eq!(
        (proxy.get("/stale").status, origin.count("/stale")),
        (200, 1),
        "a stale response replaces the refusal"
    );
    assert_eq!(proxy.get("/health").status, 200);
    assert_eq!(proxy.metric("cachewarp_requests_waiting"), 1.0);

    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(proxy.get("/other").status, 200, "the queue must be free again");
    assert_eq!(proxy.metric("cachewarp_requests_waiting"), 0.0);
    assert_eq!(origin.count("/other"), 1);
}

#[test]
fn one_address_gets_only_its_share_of_connections() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("max_connections_per_address", "2")]);
    let mut clients = [proxy.connect(), proxy.connect()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/health").status, 200));
    let mut third = proxy.connect();
    let _ = third.try_send("GET /health HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(third.rest(), b"");
    assert_eq!(proxy.metric(r#"cachewarp_client_refusals_total{reason="per-address-limit"}"#), 1.0);
    drop(clients);
    until("the connections to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
    assert_eq!(proxy.get("/health").status, 200);
}

#[test]
fn a_request_that_waits_too_long_for_the_origin_is_refused_and_the_next_is_served() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/slow", gated(&gate));
    origin.answer("/other", Answer::json_with(&[NO_STORE], "{}"));
    let settings = [("origin_max_connections", "1"), ("origin_queue_timeout", "50ms")];
    let proxy = Proxy::start(&origin.url(), &settings);
    let mut first = proxy.connect();
    first.send_head("GET", "/slow", &[]);
    gate.await_arrivals(1);
    let refused = proxy.get("/other");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert!(refused.cache_status().ends_with("detail=origin-overloaded"), "{}", refused.cache_status());
    assert_eq!(proxy.metric(r#"cachewarp_origin_refusals_total{reason="queue-timeout"}"#), 1.0);
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(proxy.get("/other").status, 200);
}

/// Sends requests that occupy the origin until the gate opens, so that its limit is in use.
fn under_way(proxy: &Proxy, origin: &Origin, gate: &Gate, count: usize) -> Vec<Client> {
    let clients: Vec<Client> = (0..count)
        .map(|number| {
            let (target, mut client) = (format!("/under-way/{number}"), proxy.connect());
            origin.answer(&target, gated(gate));
            client.send_head("GET", &target, &[]);
            client
        })
        .collect();
    gate.await_arrivals(count);
    clients
}

#[test]
fn an_overloaded_origin_gets_fewer_requests_and_later_more() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[("origin_max_connections", "64")]);
    let limit = || proxy.metric("cachewarp_origin_limit");
    assert_eq!(limit(), 64.0, "the limit must start at its maximum");
    for target in ["/a", "/b", "/c"] {
        origin.answer(target, Answer::new(503, &[NO_STORE], "busy"));
    }
    for target in ["/a", "/b", "/c"].iter().cycle().take(20) {
        assert_eq!(proxy.get(target).status, 503);
        assert_eq!(limit(), 64.0, "refusals of sequential requests must not lower the limit");
    }
    let mut slow = under_way(&proxy, &origin, &gate, 7);
    until("three quarters of eight", || {
        ["/a", "/b", "/c"].iter().for_each(|target| assert_eq!(proxy.get(target).status, 503));
        limit() <= 6.0
    });
    gate.open();
    slow.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    for target in ["/a", "/b", "/c"] {
        origin.answer(target, Answer::json_with(&[NO_STORE], "{}"));
    }
    // A few concurrent requests at a time, each of which uses the limit.
    until("the limit to be restored", || {
        let mut clients: Vec<Client> = (0..64).map(|_| proxy.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_head("GET", "/a", &[]));
        // On a busy machine the queue stays full, and some requests are refused at once.
        clients.iter_mut().for_each(|client| assert!([200, 503].contains(&client.response().status)));
        limit() > 30.0
    });
}

#[test]
fn an_origin_whose_successes_become_refusals_gets_fewer_requests() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[("origin_max_connections", "64")]);
    let targets = ["/a", "/b", "/c"];
    for target in targets {
        origin.answer(target, Answer::json_with(&[NO_STORE], "{}"));
        assert_eq!(proxy.get(target).status, 200);
    }
    let mut slow = under_way(&proxy, &origin, &gate, 7);
    for target in targets {
        assert_eq!(
            proxy.metric("cachewarp_origin_limit"),
            64.0,
            "refusals of fewer than three resources must not lower the limit"
        );
        origin.answer(target, Answer::new(503, &[NO_STORE], "busy"));
        assert_eq!(proxy.get(target).status, 503);
    }
    until("three quarters of eight", || {
        let limit = proxy.metric("cachewarp_origin_limit");
        targets.iter().for_each(|target| assert_eq!(proxy.get(target).status, 503));
        limit <= 6.0
    });
    gate.open();
    slow.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
}

#[test]
fn refusals_of_single_or_invented_resources_do_not_lower_the_limit() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[("origin_max_connections", "64")]);
    origin.answer("/closed", Answer::new(503, &[NO_STORE, ("Retry-After", "60")], "closed"));
    origin.answer("/open", Answer::json_with(&[NO_STORE], "{}"));
    let limit = || proxy.metric("cachewarp_origin_limit");
    let mut slow = under_way(&proxy, &origin, &gate, 7);
    for number in 0..100 {
        assert_eq!(proxy.get(&format!("/closed?{number}")).status, 503);
        assert_eq!(limit(), 64.0, "refusals of one path must not lower the limit, whatever the query");
    }
    // The limit holds even if no path beside the refused ones succeeds.
    for number in 0..100 {
        let made_up = format!("/x/{number}");
        origin.answer(&made_up, Answer::new(503, &[NO_STORE], "no such service"));
        if number % 10 == 0 {
            assert_eq!(proxy.get("/open").status, 200);
        }
        assert_eq!(proxy.get(&made_up).status, 503);
        assert_eq!(limit(), 64.0, "refusals of paths without a success must not lower the limit");
    }
    gate.open();
    slow.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
}

#[test]
fn a_resource_that_hangs_does_not_open_the_breaker() {
    let origin = Origin::start();
    origin.answer("/hangs", Answer::silent().hang());
    origin.answer("/open", Answer::json_with(&[NO_STORE], "{}"));
    let proxy = Proxy::start(&origin.url(), &[("origin_head_timeout", "500ms")]);
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_head("GET", &format!("/hangs?{number}"), &[]);
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 504));
    assert_eq!(proxy.get("/open").status, 200);
    assert_eq!(proxy.metric("cachewarp_origin_breaker_opened_total"), 0.0);
}

#[test]
fn an_unreachable_origin_opens_the_breaker_and_its_return_closes_it() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=0, stale-if-error=600")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(proxy.get("/a").status, 200);
    let addr = origin.stop();
    until("the breaker to open", || {
        let answer = proxy.get("/b");
        assert!([502, 503].contains(&answer.status), "{answer:?}");
        proxy.metric("cachewarp_origin_breaker_opened_total") == 1.0
    });
    let stale = proxy.get("/a");
    assert_eq!(stale.status, 200, "{stale:?}");
    let origin = Origin::start_at(addr);
    origin.answer("/b", Answer::json_with(&[NO_STORE], "{}"));
    until("the origin to be found again", || proxy.get("/b").status == 200);
    assert_eq!(proxy.get("/b").status, 200);
}

#[test]
fn bodies_beyond_the_buffer_memory_pass_through_unstored() {
    let origin = Origin::start();
    let body = format!("\"{}\"", "x".repeat(300_000));
    for path in ["/a", "/small"] {
        let body = if path == "/a" { &body } else { "{}" };
        origin.answer(path, Answer::json_with(&[("Cache-Control", "max-age=60")], body));
    }
    let proxy = Proxy::start(&origin.url(), &[("max_body_memory", "10KiB")]);
    for count in 1..=2 {
        assert_eq!(proxy.get("/a").body.len(), body.len());
        assert_eq!(origin.count("/a"), count, "the body must not be stored");
    }
    assert!(proxy.metric(r#"cachewarp_not_stored_total{reason="body-memory"}"#) >= 1.0);
    assert_eq!((proxy.get("/small").status, proxy.get("/small").status), (200, 200));
    assert_eq!(origin.count("/small"), 1, "a body that fits must be stored");
    until("nothing to be held", || proxy.metric("cachewarp_body_bytes") == 0.0);
}
