//! Clients that are slow, rude, gone, or out for more than they are given.

use std::io::ErrorKind;

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Response, Then, until};

/// Sends raw bytes on a connection of its own, reads the answer, and sees that the connection is
/// closed.
fn refused(proxy: &Proxy, request: impl AsRef<[u8]>) -> Response {
    let mut client = proxy.connect();
    // Who refuses early may close before all of it is sent.
    let _ = client.try_send(request);
    let response = client.response();
    assert_eq!(response.head.field("connection"), Some("close"), "{:?}", response.head);
    assert_eq!(client.rest(), b"", "and nothing behind it is answered");
    response
}

fn refusals(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_client_refusals_total{{reason=\"{reason}\"}}"))
}

#[test]
fn one_that_leaves_in_the_middle_of_an_answer_takes_its_fetch_with_it() {
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
    until("its place to be free", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

#[test]
fn one_that_leaves_in_the_middle_of_its_request_takes_it_back() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        let cut = exchange.body().unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof, "never a clean end");
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
fn a_body_that_stops_coming_is_a_408() {
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
fn a_head_that_is_too_large_is_a_431() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let long = format!("GET /a HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\n\r\n", "x".repeat(70 * 1024));
    let many = format!("GET /a HTTP/1.1\r\nHost: test\r\n{}\r\n", "X-Many: x\r\n".repeat(200));
    for head in [long, many] {
        assert_eq!(refused(&proxy, head).status, 431);
    }
    assert_eq!(refusals(&proxy, "head-too-large"), 2.0);
    assert_eq!(origin.count("/a"), 0);
    // Just within the bounds.
    origin.answer("/a", Answer::json("{}"));
    let long = "x".repeat(60 * 1024);
    assert_eq!(proxy.get_with("/a", &[("X-Long", &long)]).status, 200);
}

#[test]
fn a_head_that_comes_too_slowly_is_a_408() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("client_head_timeout", "100ms")]);
    let mut client = proxy.connect();
    client.send("GET /a HTTP/1.1\r\nHost: te");
    assert_eq!(client.response().status, 408);
    assert_eq!(client.rest(), b"");
    // A byte now and then does not help.
    let mut client = proxy.connect();
    let mut bytes = "GET /a HTTP/1.1\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x'));
    until("it to be given up", || {
        let _ = client.try_send([bytes.next().unwrap()]);
        refusals(&proxy, "slow-head") == 2.0
    });
    assert_eq!(client.response().status, 408);
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn one_that_says_nothing_is_let_go_without_a_word() {
    let origin = Origin::start();
    let settings = [("client_head_timeout", "50ms"), ("client_idle_timeout", "50ms")];
    let proxy = Proxy::start(&origin.url(), &settings);
    assert_eq!(proxy.connect().rest(), b"");
    let mut client = proxy.connect();
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(client.rest(), b"", "nor after an answer");
    assert_eq!(refusals(&proxy, "slow-head"), 0.0);
}

#[test]
fn a_request_with_two_possible_ends_is_a_400() {
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
        // What one parser takes for the body is to another the next request.
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
fn a_chunk_that_is_none_cuts_the_request() {
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
fn a_request_without_one_good_host_is_a_400() {
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
    assert_eq!(client.response().status, 400, "the request line and `Host` name two places");
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn tunnels_and_echoes_are_a_405() {
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
fn a_target_that_is_too_long_is_a_414() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let target = format!("/{}", "a".repeat(20 * 1024));
    let response = proxy.get(&target);
    assert_eq!((response.status, response.field("content-type")), (414, Some("application/problem+json")));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_is_no_http_is_a_400() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "GET /a\r\n\r\n",
        "GET /a HTTP/3.7\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(bytes);
        let said = String::from_utf8(client.rest()).unwrap();
        assert!(said.starts_with("HTTP/1.1 400 "), "{bytes:?}: {said}");
    }
    assert!(refusals(&proxy, "malformed") >= 4.0);
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
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
fn more_clients_than_there_is_room_for_wait_their_turn() {
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
