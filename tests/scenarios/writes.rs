//! Unsafe requests: they complete without their client, and an unknown outcome counts as success.
//! Either way the target's stored responses are no longer served (RFC 9111 §4.4).

use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, RST_STREAM, block};
use crate::harness::{Answer, Gate, Origin, Proxy, Redis, Response, until};

const OLD: &str = r#"{"state":"old"}"#;
const NEW: &str = r#"{"state":"new"}"#;
const FRESH: (&str, &str) = ("Cache-Control", "max-age=600");
const UNABANDONED: &str = "cachewarp_writes_unabandoned_total";

fn is_hit(response: &Response) -> bool {
    response.cache_status().starts_with("CacheWarp; hit")
}

/// Returns whether the response is stored, without changing the store.
fn is_stored(proxy: &Proxy, path: &str) -> bool {
    proxy.get_with(path, &[("Cache-Control", "only-if-cached")]).status == 200
}

/// Answers reads with `body`, and writes with `write`.
fn answer(origin: &Origin, path: &str, body: &'static str, write: Answer) {
    origin.script(path, move |exchange| match exchange.request.method.as_str() {
        "GET" => Answer::json_with(&[FRESH], body).give(exchange),
        _ => {
            exchange.body()?;
            write.give(exchange)
        }
    });
}

#[test]
fn an_unknown_outcome_counts_as_a_change() {
    let answers = [
        ("silence", Answer::silent().hang(), 504),
        ("a reset", Answer::silent().close(), 502),
        ("a part of a head", Answer::raw("HTTP/1.1 200 OK\r\nX-").close(), 502),
        ("no HTTP", Answer::raw("+OK\r\n\r\n").close(), 502),
        (
            "an ambiguous framing",
            Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab").close(),
            502,
        ),
        ("a gateway's 502", Answer::new(502, &[], ""), 502),
        ("a gateway's 504", Answer::new(504, &[], ""), 504),
    ];
    let (origin, redis) = (Origin::start(), Redis::start());
    let settings = [("origin_head_timeout", "300ms"), ("redis_timeout", "10s")];
    let nodes = [(); 2].map(|()| Proxy::start_with_redis(&origin.url(), &redis.url(), &settings));
    for method in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
        for (number, (case, write, status)) in answers.iter().enumerate() {
            let path = format!("/{method}/{number}");
            answer(&origin, &path, OLD, write.clone());
            nodes[0].get(&path);
            until("the response to be stored", || nodes.iter().all(|node| is_hit(&node.get(&path))));
            let content = [("Content-Length", "0")];
            let written = nodes[0].connect().request(method, &path, &content);
            assert_eq!(written.status, *status, "{method}: {case}");
            assert!(!is_stored(&nodes[0], &path), "{method}: {case}");
            until("the other node to drop the entry", || !is_stored(&nodes[1], &path));
        }
    }
}

#[test]
fn a_safe_method_invalidates_nothing_whatever_its_outcome() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for method in ["OPTIONS", "PROPFIND", "REPORT"] {
        let path = format!("/{method}");
        answer(&origin, &path, OLD, Answer::silent().close());
        proxy.get(&path);
        proxy.connect().request(method, &path, &[("Content-Length", "0")]);
        assert!(is_stored(&proxy, &path), "{method}");
    }
}

#[test]
fn a_write_that_never_reached_the_origin_invalidates_nothing() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    answer(&origin, "/a", OLD, Answer::new(204, &[], ""));
    proxy.get("/a");
    until("the response to be stored", || is_stored(&proxy, "/a"));
    // No server listens there any more, and no connection is open.
    origin.close_connections();
    origin.stop();
    let content = [("Content-Length", "0")];
    until("a connection to be refused", || {
        let written = proxy.connect().request("POST", "/b", &content);
        written.status == 502 && written.text().contains("cannot be reached")
    });
    assert_eq!(proxy.connect().request("POST", "/a", &content).status, 502);
    assert!(is_stored(&proxy, "/a"));
}

/// Lets the origin answer a read of a path with the old state, and a write once the gate opens.
fn gated_write(origin: &Origin, path: &str, write: Answer) -> Gate {
    let gate = Gate::new();
    let at_gate = gate.clone();
    origin.script(path, move |exchange| match exchange.request.method.as_str() {
        "GET" => Answer::json_with(&[FRESH], OLD).give(exchange),
        _ => {
            exchange.body()?;
            at_gate.pass();
            write.give(exchange)
        }
    });
    gate
}

#[test]
fn a_write_completes_after_its_client_has_left() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let proxy = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("redis_timeout", "10s")]);
    let answers = [
        Answer::new(200, &[], ""),
        Answer::new(201, &[("Location", "/named")], ""),
        Answer::new(204, &[("Cache-Group-Invalidation", "\"g\"")], ""),
        Answer::silent().close(),
    ];
    origin.answer("/named", Answer::json_with(&[FRESH, ("Cache-Groups", "\"g\"")], OLD));
    for (number, write) in answers.into_iter().enumerate() {
        let path = format!("/{number}");
        let gate = gated_write(&origin, &path, write);
        for path in [&path, "/named"] {
            proxy.get(path);
            until("the response to be stored", || is_stored(&proxy, path));
        }
        let mut client = proxy.connect();
        client.send("POST ".to_owned() + &path + " HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc");
        gate.await_arrivals(1);
        client.reset();
        proxy.await_metric(UNABANDONED, number as f64 + 1.0);
        assert!(is_stored(&proxy, &path), "no invalidation before the origin's response");
        gate.open();
        until("the invalidation", || !is_stored(&proxy, &path));
        if number == 1 || number == 2 {
            until("the named URL to be invalidated", || !is_stored(&proxy, "/named"));
        }
        answer(&origin, &path, NEW, Answer::new(204, &[], ""));
        assert_eq!(proxy.get(&path).text(), NEW);
    }
}

#[test]
fn over_http2_a_write_completes_after_its_client_has_left() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, leaves) in ["reset", "close"].into_iter().enumerate() {
        for write in [Answer::new(200, &[], ""), Answer::silent().close()] {
            let path = format!("/{leaves}");
            let before = proxy.metric(UNABANDONED);
            let gate = gated_write(&origin, &path, write);
            proxy.get(&path);
            until("the response to be stored", || is_stored(&proxy, &path));
            let mut client = Http2::connect(proxy.addr());
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "test"),
                (":path", &path),
                ("content-length", "3"),
            ];
            client.send(HEADERS, END_HEADERS, 1, &block(&fields)).unwrap();
            client.send(DATA, END_STREAM, 1, b"abc").unwrap();
            gate.await_arrivals(1);
            if number == 0 {
                client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).unwrap();
            } else {
                drop(client);
            }
            proxy.await_metric(UNABANDONED, before + 1.0);
            assert!(is_stored(&proxy, &path), "no invalidation before the origin's response");
            gate.open();
            until("the invalidation", || !is_stored(&proxy, &path));
        }
    }
}

#[test]
fn a_write_whose_client_leaves_within_its_content_counts_as_a_change() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[]);
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| match exchange.request.method.as_str() {
        "GET" => Answer::json_with(&[FRESH], OLD).give(exchange),
        _ => {
            at_gate.pass();
            exchange.body()?;
            Answer::new(204, &[], "").give(exchange)
        }
    });
    proxy.get("/a");
    until("the response to be stored", || is_stored(&proxy, "/a"));
    let mut client = proxy.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nabc");
    gate.await_arrivals(1);
    assert!(is_stored(&proxy, "/a"));
    drop(client);
    gate.open();
    until("the invalidation", || !is_stored(&proxy, "/a"));
}

#[test]
fn a_queued_write_ends_with_its_client() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let proxy = Proxy::start(&origin.url(), &[("origin_max_connections", "1")]);
    origin.answer("/slow", Answer::silent().pass(&gate).send("HTTP/1.1 204 No Content\r\n\r\n"));
    origin.answer("/a", Answer::new(204, &[], ""));
    origin.answer("/b", Answer::new(204, &[], ""));
    let content = [("Content-Length", "0")];
    let mut slow = proxy.connect();
    slow.send_head("POST", "/slow", &content);
    gate.await_arrivals(1);
    let mut waiting = proxy.connect();
    waiting.send_head("POST", "/a", &content);
    proxy.await_metric("cachewarp_requests_waiting", 2.0);
    drop(waiting);
    until("the queued write to end", || proxy.metric("cachewarp_requests_waiting") <= 1.0);
    gate.open();
    assert_eq!(slow.response().status, 204);
    assert_eq!(proxy.connect().request("POST", "/b", &content).status, 204);
    assert_eq!((origin.count("/a"), proxy.metric(UNABANDONED)), (0, 0.0));
}
