//! Clients that are slow, malformed, gone, or beyond their limits.

use std::io::ErrorKind;

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Response, Then, until};

/// Sends raw bytes on a new connection, reads the response, and checks that the server closes the
/// connection.
fn refused(proxy: &Proxy, request: impl AsRef<[u8]>) -> Response {
    let mut client = proxy.connect();
    // The server may refuse and close before all bytes are sent.
    let _ = client.try_send(request);
    let response = client.response();
    assert_eq!(response.head.field("connection"), Some("close"), "{:?}", response.head);
    assert_eq!(client.rest(), b"", "the server answered a request after the refused one");
    response
}

fn refusals(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_client_refusals_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_client_that_leaves_during_a_response_cancels_its_fetch() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        exchange.body()?;
        exchange.write("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 100\r\n\r\nhalf")?;
        exchange.await_close()?;
        at_gate.pass();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, method) in ["GET", "POST"].into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send_head(method, "/a", &[("Content-Length", "0")]);
        client.head();
        assert_eq!(client.bytes(4), b"half");
        drop(client);
        gate.await_arrivals(number + 1);
        gate.release_one();
    }
    proxy.await_metric(r#"cachewarp_origin_requests_total{result="abandoned"}"#, 2.0);
    until("its connection to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

#[test]
fn a_client_that_leaves_during_its_request_cancels_it() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        let cut = exchange.body().unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof, "the origin must not see a clean end");
        at_gate.pass();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let chunked = ("Transfer-Encoding", "chunked");
    for (number, (framing, part)) in
        [(("Content-Length", "9"), "part"), (chunked, "4\r\npart\r\n")].into_iter().enumerate()
    {
        let mut client = proxy.connect();
        client.send_head("POST", "/a", &[framing]);
        client.send(part);
        origin.await_count("/a", number + 1);
        drop(client);
        gate.await_arrivals(number + 1);
        gate.release_one();
    }
}

#[test]
fn a_stalled_request_body_gets_a_408() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[("origin_body_timeout", "100ms")]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[("Content-Length", "9")]);
    client.send("part");
    let response = client.response();
    assert_eq!((response.status, response.field("content-type")), (408, Some("application/problem+json")));
}

#[test]
fn an_oversized_head_gets_a_431() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let long = format!("GET /a HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\n\r\n", "x".repeat(70 * 1024));
    let many = format!("GET /a HTTP/1.1\r\nHost: test\r\n{}\r\n", "X-Many: x\r\n".repeat(200));
    for head in [long, many] {
        assert_eq!(refused(&proxy, head).status, 431);
    }
    assert_eq!(refusals(&proxy, "head-too-large"), 2.0);
    assert_eq!(origin.count("/a"), 0);
    // A head just within the limits.
    origin.answer("/a", Answer::json("{}"));
    let long = "x".repeat(60 * 1024);
    assert_eq!(proxy.get_with("/a", &[("X-Long", &long)]).status, 200);
}

#[test]
fn a_slow_head_gets_a_408() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("client_head_timeout", "100ms")]);
    let mut client = proxy.connect();
    client.send("GET /a HTTP/1.1\r\nHost: te");
    assert_eq!(client.response().status, 408);
    assert_eq!(client.rest(), b"");
    // Sending a byte now and then does not extend the limit.
    let mut client = proxy.connect();
    let mut bytes = "GET /a HTTP/1.1\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x'));
    until("the connection to be closed", || {
        let _ = client.try_send([bytes.next().unwrap()]);
        refusals(&proxy, "slow-head") == 2.0
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn a_silent_client_is_closed_without_a_response() {
    let origin = Origin::start();
    let settings = [("client_head_timeout", "50ms"), ("client_idle_timeout", "50ms")];
    let proxy = Proxy::start(&origin.url(), &settings);
    assert_eq!(proxy.connect().rest(), b"");
    let mut client = proxy.connect();
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(client.rest(), b"", "no response before the close of an idle connection");
    assert_eq!(refusals(&proxy, "slow-head"), 0.0);
}

#[test]
fn an_ambiguous_request_gets_a_400() {
    const LENGTH: &str = "Content-Length: 5\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let framings = [
        format!("{LENGTH}{CHUNKED}"),
        format!("{CHUNKED}{LENGTH}"),
        format!("{LENGTH}{LENGTH}"),
        format!("{LENGTH}Content-Length: 6\r\n"),
        "Content-Length: 5, 5\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: 5x\r\n".to_owned(),
        "Content-Length: -5\r\n".to_owned(),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        format!("{CHUNKED}{CHUNKED}"),
        "Content-Length : 5\r\n".to_owned(),
        "X: y\nContent-Length: 5\r\n".to_owned(),
        " Content-Length: 5\r\n".to_owned(),
    ];
    for framing in framings {
        // One parser takes these bytes for a body, another for the next request.
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
        for method in ["POST", "GET"] {
            let response =
                refused(&proxy, format!("{method} /a HTTP/1.1\r\nHost: test\r\n{framing}\r\n{smuggled}"));
            assert_eq!(response.status, 400, "{framing:?}");
        }
    }
    assert_eq!((origin.count("/a"), origin.count("/smuggled")), (0, 0));
}

#[test]
fn an_invalid_chunk_cuts_the_request() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        assert!(exchange.body().is_err());
        at_gate.pass();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    for (number, body) in
        ["5\r\nhelloX\r\n0\r\n\r\n", "zz\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n"].into_iter().enumerate()
    {
        let mut client = proxy.connect();
        client.send_head("POST", "/a", &[("Transfer-Encoding", "chunked")]);
        origin.await_count("/a", number + 1);
        client.send(body);
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n");
        gate.await_arrivals(number + 1);
        gate.release_one();
        let answers = String::from_utf8(client.rest()).unwrap();
        assert!(
            answers.starts_with("HTTP/1.1 4") && answers.matches("HTTP/1.1").count() == 1,
            "{body:?}: {answers}"
        );
    }
    assert_eq!(origin.count("/smuggled"), 0);
}

#[test]
fn a_request_without_one_valid_host_gets_a_400() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for fields in [
        "",
        "Host: \r\n",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host: a.test\r\nHost: b.test\r\n",
        "Host: a.test, b.test\r\n",
        "Host: user@a.test\r\n",
        "Host: a.test/path\r\n",
        "Host: a.test:http\r\n",
        "Host: a.test:99999\r\n",
        "Host: a test\r\n",
        "Host: [::1\r\n",
    ] {
        for target in ["/a", "/health"] {
            let mut client = proxy.connect();
            client.send(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"));
            assert_eq!(client.response().status, 400, "{fields:?}");
        }
    }
    let mut client = proxy.connect();
    client.send("GET http://a.test/a HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(client.response().status, 400, "the request line and `Host` name two hosts");
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn connect_and_trace_get_a_405() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for request in ["CONNECT test:443 HTTP/1.1", "TRACE /a HTTP/1.1", "CONNECT test:80 HTTP/1.1"] {
        let mut client = proxy.connect();
        client.send(format!(
            "{request}\r\nHost: {}\r\n\r\n",
            request.split(' ').nth(1).unwrap().replace("/a", "test")
        ));
        let response = client.response();
        assert_eq!(
            (response.status, response.field("content-type")),
            (405, Some("application/problem+json")),
            "{request}"
        );
        assert!(response.field("allow").is_some());
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_overlong_target_gets_a_414() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let target = format!("/{}", "a".repeat(20 * 1024));
    let response = proxy.get(&target);
    assert_eq!((response.status, response.field("content-type")), (414, Some("application/problem+json")));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_malformed_request_gets_a_400() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for bytes in
        ["GET /a\r\n\r\n", "GET /a HTTP/3.7\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET /a b HTTP/1.1\r\n\r\n"]
    {
        let mut client = proxy.connect();
        client.send(bytes);
        let response = String::from_utf8(client.rest()).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 "), "{bytes:?}: {response}");
    }
    assert!(refusals(&proxy, "malformed") >= 3.0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start();
    for path in ["/1", "/2", "/3"] {
        origin.answer(path, Answer::json(path.trim_start_matches('/')));
    }
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    let row: String =
        ["/1", "/2", "/3", "/1"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).concat();
    client.send(row);
    assert_eq!([(); 4].map(|()| client.response().text().to_owned()), ["1", "2", "3", "1"]);
}

#[test]
fn clients_beyond_the_connection_limit_wait() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("max_connections", "2")]);
    let mut clients: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/health").status, 200));
    let mut third = Client::connect(proxy.addr());
    third.send_head("GET", "/health", &[]);
    assert_eq!(proxy.metric("cachewarp_client_connections_open"), 2.0);
    clients.pop();
    assert_eq!(third.response().status, 200);
}
