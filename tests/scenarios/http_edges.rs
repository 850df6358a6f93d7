//! Requests and responses at the edges of HTTP: loops, floods of interim responses, missing hosts,
//! odd targets, half-closed clients, silent operators.

use std::net::TcpStream;

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2, PING, RST_STREAM, SETTINGS, block,
    status,
};
use crate::harness::{Answer, Client, Gate, Origin, Proxy, Then, client, until};

/// A cause of a stall, and the frames that lead to it.
type StalledClient<'a> = (&'a str, &'a dyn Fn(&mut Http2));

/// The connections of one address that the admin listener allows.
const ADMIN_CONNECTIONS_PER_ADDRESS: usize = 32;

fn refusals(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("cachewarp_requests_refused_total{{reason=\"{reason}\"}}"))
}

/// Sends raw bytes on a new connection and returns the status of the first answer.
fn status_of(proxy: &Proxy, bytes: impl AsRef<[u8]>) -> u16 {
    let mut client = proxy.connect();
    client.send(bytes);
    client.response().status
}

#[test]
fn a_connection_field_with_too_many_options_is_refused_in_both_directions() {
    let origin = Origin::start();
    let few = vec!["x-a"; 64].join(",");
    let many = format!("{few},x-a");
    origin.answer("/a", Answer::json("{}"));
    origin.answer("/many", Answer::json_with(&[("Connection", &many)], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for method in ["GET", "POST"] {
        let passed = proxy.connect().request(method, "/a", &[("Connection", &few)]);
        assert_eq!(passed.status, 200, "{method}");
    }
    for (method, target) in [("GET", "/b"), ("POST", "/a")] {
        let refused = proxy.connect().request(method, target, &[("Connection", &many)]);
        assert_eq!((refused.status, refused.field("content-type")), (400, Some("application/problem+json")));
    }
    let spread: Vec<_> = (0..65).map(|_| ("Connection", "x-a")).collect();
    assert_eq!(proxy.get_with("/b", &spread).status, 400);
    assert_eq!(refusals(&proxy, "connection-options"), 3.0);
    assert_eq!(origin.count("/b"), 0);
    assert_eq!(proxy.get("/many").status, 502);
}

#[test]
fn a_request_that_comes_back_gets_a_508_at_once() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let addr = proxy.addr();
    // The origin forwards to the proxy.
    origin.script("/loop", move |exchange| {
        exchange.body()?;
        let via = exchange.request.field("via").unwrap().to_owned();
        let method = exchange.request.method.clone();
        let answer = Client::connect(addr).request(&method, "/loop", &[("Via", &via)]);
        exchange.write(format!("HTTP/1.1 {} Loop\r\nContent-Length: 0\r\n\r\n", answer.status))?;
        Ok(Then::KeepAlive)
    });
    for method in ["GET", "POST", "HEAD", "DELETE"] {
        assert_eq!(proxy.connect().request(method, "/loop", &[]).status, 508, "{method}");
    }
    assert_eq!(origin.count("/loop"), 4, "each request is forwarded once");
    assert_eq!(refusals(&proxy, "loop"), 4.0);

    // Another CacheWarp in the chain is no loop, and neither is this one behind it.
    let second = Proxy::start(&format!("http://{addr}"), &[]);
    assert_eq!(second.get("/a").status, 200);
    let via: Vec<_> =
        origin.seen("/a")[0].head.fields.iter().filter(|(name, _)| name == "via").cloned().collect();
    assert_eq!(via.len(), 2);
    assert_ne!(via[0], via[1]);

    // Two CacheWarps whose origins are each other: the first recognises its request.
    let behind = second.addr();
    origin.script("/ring", move |exchange| {
        exchange.body()?;
        let via = exchange.request.field("via").unwrap().to_owned();
        let method = exchange.request.method.clone();
        let answer = Client::connect(behind).request(&method, "/ring", &[("Via", &via)]);
        exchange.write(format!("HTTP/1.1 {} Loop\r\nContent-Length: 0\r\n\r\n", answer.status))?;
        Ok(Then::KeepAlive)
    });
    for method in ["GET", "POST", "HEAD", "DELETE"] {
        assert_eq!(proxy.connect().request(method, "/ring", &[]).status, 508, "{method}");
    }
    assert_eq!(origin.count("/ring"), 4, "each request goes round once");

    let unnamed = Proxy::start(&origin.url(), &[("via", "off")]);
    assert_eq!(unnamed.get("/a").status, 200);
    assert_eq!(origin.seen("/a")[1].field("via"), None);
}

#[test]
fn options_that_no_proxy_may_forward_is_answered_here() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let last = proxy.connect().request("OPTIONS", "/a", &[("Max-Forwards", "0")]);
    assert_eq!(last.status, 204);
    assert!(last.field("allow").is_some_and(|allow| allow.contains("GET")));
    assert_eq!(origin.count("/a"), 0);
    for (given, sent) in [("7", "6"), ("soon", "soon")] {
        assert_eq!(proxy.connect().request("OPTIONS", "/a", &[("Max-Forwards", given)]).status, 200);
        assert_eq!(origin.seen("/a").pop().unwrap().field("max-forwards"), Some(sent));
    }
    // For other methods the field has no meaning.
    assert_eq!(proxy.get_with("/a", &[("Max-Forwards", "0")]).status, 200);
}

#[test]
fn a_malformed_body_gets_a_400() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        let _ = exchange.body();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let zeros = "0".repeat(100);
    for (number, body) in
        ["zz\r\n", "5\r\nhelloX\r\n", &zeros, &format!("{zeros}5\r\n"), &format!("5{}", " ".repeat(100))]
            .into_iter()
            .enumerate()
    {
        // The body arrives after its head has been forwarded.
        let mut client = proxy.connect();
        client.send_head("POST", "/a", &[("Transfer-Encoding", "chunked")]);
        origin.await_count("/a", number + 1);
        client.send(body);
        let answer = client.response();
        assert_eq!(
            (answer.status, answer.field("content-type")),
            (400, Some("application/problem+json")),
            "{body:?}"
        );
        assert_eq!(client.rest(), b"", "{body:?}");
        // The body arrives with its head.
        let together =
            format!("POST /b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{body}\r\n\r\n");
        assert_eq!(status_of(&proxy, together), 400, "{body:?}");
    }
    assert_eq!(origin.count("/b"), 0);
    assert_eq!(refusals(&proxy, "client-body-malformed"), 5.0);
}

#[test]
fn a_flood_of_interim_responses_ends_at_a_bound() {
    let origin = Origin::start();
    let (few, many) =
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(64), "HTTP/1.1 100 Continue\r\n\r\n".repeat(4096));
    origin.answer("/few", Answer::raw(few).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    origin.script("/number", move |exchange| {
        exchange.write_until_full(many.as_bytes(), 1000);
        Ok(Then::Close)
    });
    let large = format!("HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n", "x".repeat(32 * 1024));
    origin.script("/bytes", move |exchange| {
        exchange.write_until_full(large.as_bytes(), 1000);
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(proxy.get("/few").status, 200);
    for path in ["/number", "/bytes"] {
        let answer = proxy.get(path);
        assert_eq!(answer.status, 502, "{path}");
        assert!(answer.text().contains("too large"), "{path}: {}", answer.text());
    }
}

#[test]
fn a_large_head_of_the_origin_passes_up_to_its_bounds() {
    let origin = Origin::start();
    let fields = |count: usize| "X-Many: x\r\n".repeat(count);
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\n{{}}");
    origin.answer("/110", Answer::raw(head(&fields(110))));
    origin.answer("/255", Answer::raw(head(&fields(255))));
    origin.answer("/257", Answer::raw(head(&fields(257))).close());
    origin.answer("/long", Answer::raw(head(&format!("X-Long: {}\r\n", "x".repeat(70 * 1024)))).close());
    let proxy = Proxy::start(&origin.url(), &[]);
    for path in ["/110", "/255"] {
        let answer = proxy.get(path);
        assert_eq!(answer.status, 200);
        let many = answer.head.fields.iter().filter(|(name, _)| name == "x-many").count();
        assert_eq!(format!("/{many}"), path);
    }
    for path in ["/257", "/long"] {
        let answer = proxy.get(path);
        assert_eq!(answer.status, 502);
        assert!(answer.text().contains("too large"), "{path}: {}", answer.text());
        assert!(answer.cache_status().contains("detail=origin-head-too-large"), "{}", answer.cache_status());
    }
    assert_eq!(proxy.metric(r#"cachewarp_origin_failures_total{phase="head"}"#), 2.0);
}

#[test]
fn http_1_0_without_a_host_passes_under_the_origins_name() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[("origin_preserve_host", "true")]);
    let requests = [
        "GET /a HTTP/1.0\r\n\r\n",
        "OPTIONS /a HTTP/1.0\r\n\r\n",
        "HEAD /a HTTP/1.0\r\n\r\n",
        "POST /a HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        "GET /a HTTP/1.0\r\n\r\n",
    ];
    for request in requests {
        let mut client = proxy.connect();
        client.send(request);
        assert_eq!(client.response_to(request.split(' ').next().unwrap()).status, 200, "{request:?}");
        assert_eq!(client.rest(), b"", "{request:?}: HTTP/1.0 ends with its response");
    }
    let seen = origin.seen("/a");
    let methods: Vec<_> = seen.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "OPTIONS", "HEAD", "POST", "GET"], "nothing is stored");
    let own = origin.addr().to_string();
    assert!(seen.iter().all(|request| request.field("host") == Some(&own)));
    for request in ["GET /a HTTP/1.1\r\n\r\n", "GET http://test/a HTTP/1.1\r\n\r\n"] {
        assert_eq!(status_of(&proxy, request), 400, "{request:?}");
    }
    assert_eq!(origin.count("/a"), requests.len());
}

#[test]
fn bytes_that_no_url_has_are_forwarded_encoded() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    origin.answer("/a", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let mut client = proxy.connect();
    client.send("GET /a?b={\"c\":1}&d=<e>`f` HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.seen("/a")[0].target, "/a?b={%22c%22:1}&d=%3Ce%3E%60f%60");
    // The other spelling has the same key, and the connection goes on.
    let again = client.get("/a?b={%22c%22:1}&d=%3Ce%3E%60f%60");
    assert!(again.cache_status().contains("hit"), "{}", again.cache_status());
    // A piece of a head at a time.
    let mut client = proxy.connect();
    for piece in ["GET /a?b=", "\"\"", "\" HTT", "P/1", ".", "7\r", "\nHost: test\r\n\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.seen("/a")[1].target, "/a?b=%22%22%22");
}

#[test]
fn a_later_minor_version_is_handled_as_http_1_1() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(status_of(&proxy, "GET /a HTTP/1.2\r\nHost: test\r\n\r\n"), 200);
    assert_eq!(status_of(&proxy, "GET /a HTTP/1.2\r\n\r\n"), 400, "it needs a host as HTTP/1.1 does");
}

#[test]
fn a_target_that_is_no_http_url_is_refused() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(status_of(&proxy, "GET ftp://test/a HTTP/1.1\r\nHost: test\r\n\r\n"), 400);
    let mut client = Http2::connect(proxy.addr());
    for (stream, scheme, path) in [(1, "ftp", "/a"), (3, "http", "/\u{e4}")] {
        let fields = [(":method", "GET"), (":scheme", scheme), (":authority", "test"), (":path", path)];
        client.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields)).unwrap();
        assert_eq!(answer_on(&mut client, stream), 400, "{scheme} {path}");
    }
    assert_eq!(origin.connections(), 0);
}

/// h2 resets the stream; the connection goes on.
#[test]
fn over_http2_a_target_that_no_url_has_is_reset_and_counted() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = Http2::connect(proxy.addr());
    for (stream, path) in [(1, "/a?b=\"c\""), (3, "/a?<"), (5, "/a`")] {
        client.get(stream, path).unwrap();
        let end = loop {
            let frame = client.next().expect("a frame");
            if frame.stream == stream {
                break frame;
            }
        };
        assert_eq!((end.kind, end.payload), (RST_STREAM, vec![0, 0, 0, 1]), "{path}");
    }
    client.get(7, "/a").unwrap();
    assert_eq!(answer_on(&mut client, 7), 200);
    assert_eq!(proxy.metric("cachewarp_client_malformed_streams_total"), 3.0);
    assert_eq!(origin.count("/a"), 1);
}

/// Returns the status of the answer on a stream.
fn answer_on(client: &mut Http2, on: u32) -> u16 {
    loop {
        match client.next().expect("an answer") {
            Frame { kind: HEADERS, stream, payload, .. } if stream == on => return status(&payload),
            Frame { kind: RST_STREAM, stream, .. } => panic!("stream {stream} was reset"),
            _ => {}
        }
    }
}

/// Browsers send each cookie in a line of its own over HTTP/2.
#[test]
fn all_cookies_of_a_request_count_as_one_field() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let cookies: Vec<String> = (0..200).map(|number| format!("c{number}={number}")).collect();
    for (name, expected) in [("cookie", 200), ("x-c", 431)] {
        let head = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/a")];
        let fields: Vec<_> =
            head.into_iter().chain(cookies.iter().map(|cookie| (name, cookie.as_str()))).collect();
        let mut client = Http2::connect(proxy.addr());
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields)).unwrap();
        assert_eq!(answer_on(&mut client, 1), expected, "{name}");
    }
    let received = origin.seen("/a");
    assert_eq!(received[0].field("cookie"), Some(&*cookies.join("; ")));
}

#[test]
fn one_head_size_holds_for_both_protocols() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for (bytes, expected) in [(20 * 1024, 200), (60 * 1024, 200), (80 * 1024, 431)] {
        let cookie = format!("a={}", "x".repeat(bytes));
        let http1 = format!("GET /a HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n");
        let mut first = proxy.connect();
        let _ = first.try_send(http1);
        assert_eq!(first.response().status, expected, "{bytes} bytes over HTTP/1.1");

        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", "/a"),
            ("cookie", &cookie),
        ];
        let block = block(&fields);
        let mut pieces = block.chunks(16 * 1024).peekable();
        let mut second = Http2::connect(proxy.addr());
        second.send(HEADERS, END_STREAM, 1, pieces.next().unwrap()).unwrap();
        while let Some(piece) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let _ = second.send(CONTINUATION, end, 1, piece);
        }
        assert_eq!(answer_on(&mut second, 1), expected, "{bytes} bytes over HTTP/2");
    }
}

#[test]
fn a_client_that_closes_its_sending_side_is_answered() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/hit", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    origin.answer("/slow", Answer::json_with(&[("Cache-Control", "no-store")], "{\"slow\":1}").pass(&gate));
    origin
        .answer("/wait", Answer::silent().pass(&gate).send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..2 {
        let mut client = proxy.connect();
        client.send("GET /hit HTTP/1.1\r\nHost: test\r\n\r\n");
        client.finish();
        assert_eq!(client.response().status, 200);
        assert_eq!(client.rest(), b"");
    }
    for (number, head) in [
        "GET /wait HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxy.connect();
        client.send(head);
        client.finish();
        gate.await_arrivals(number + 1);
        gate.release_one();
        assert_eq!(client.response().status, 200, "{head:?}");
        assert_eq!(client.rest(), b"");
    }
    // Two requests at once.
    let mut client = proxy.connect();
    client.send("GET /hit HTTP/1.1\r\nHost: test\r\n\r\n".repeat(2));
    client.finish();
    assert_eq!([(); 2].map(|()| client.response().status), [200, 200]);
    // A client that closes within its request has left.
    let mut client = proxy.connect();
    client.send("POST /hit HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n{}");
    client.finish();
    let rest = client.rest();
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
    until("every connection to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

/// The time limits of a client are far longer than the test's patience.
#[test]
fn the_connection_of_a_client_that_closed_its_sending_side_ends_with_the_last_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let shared = [("Cache-Control", "max-age=60")];
    for path in ["/a", "/b", "/c"] {
        origin.answer(path, Answer::json_with(&shared, "{}").pass(&gate));
    }
    origin.answer("/alone", Answer::json_with(&[("Cache-Control", "no-store")], "{}").pass(&gate));
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = Answer::silent().pass(&gate).send(chunked).send("2\r\n{}\r\n").send("0\r\n\r\n");
    origin.answer("/chunks", chunks);
    let proxy = Proxy::start(&origin.url(), &[("client_idle_timeout", "10m")]);
    let content = "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let end = " HTTP/1.1\r\nHost: test\r\n";
    let mut arrivals = 0;
    for (requests, fetches, answers) in [
        (format!("GET /a{end}\r\n"), 1, 1),
        (format!("GET /a{end}\r\n"), 0, 1),
        (format!("HEAD /b{end}\r\n"), 1, 1),
        (format!("GET /alone{end}\r\n"), 1, 1),
        (format!("GET /chunks{end}\r\n"), 1, 1),
        (format!("POST /alone{end}{content}"), 1, 1),
        (format!("POST /alone{end}{chunked}"), 1, 1),
        (format!("QUERY /alone{end}{content}"), 1, 1),
        (format!("GET /c{end}\r\nGET /alone{end}\r\nGET /c{end}\r\n"), 2, 3),
    ] {
        let mut client = proxy.connect();
        client.send(&requests);
        client.finish();
        for _ in 0..fetches {
            arrivals += 1;
            gate.await_arrivals(arrivals);
            gate.release_one();
        }
        let rest = String::from_utf8(client.rest()).unwrap();
        assert_eq!(rest.matches("HTTP/1.1 200 ").count(), answers, "{requests:?} {rest:?}");
    }
    until("every connection to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

#[test]
fn silent_connections_do_not_keep_operators_out() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[("client_head_timeout", "1h"), ("client_idle_timeout", "1h")]);
    let addr = proxy.admin_addr();
    let mut idle = Client::connect(addr);
    assert_eq!(idle.get("/health").status, 200);
    let mut silent: Vec<_> = (0..200).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let half = silent.iter_mut().take(100);
    half.for_each(|stream| {
        // The server may have closed it.
        let _ = std::io::Write::write_all(stream, b"GET /he");
    });
    for path in ["/health", "/metrics"] {
        assert_eq!(client::get(addr, path).status, 200, "{path}");
    }
    assert_eq!(idle.get("/health").status, 200, "a connection that has sent a request stays");
}

#[test]
fn bodies_that_never_come_do_not_keep_operators_out() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let addr = proxy.admin_addr();
    let head = "POST /purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut stalled: Vec<_> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    stalled.iter_mut().for_each(|stream| {
        // The server may have closed it.
        let _ = std::io::Write::write_all(stream, format!("{head}Content-Length: 12\r\n\r\n{{").as_bytes());
    });
    for path in ["/health", "/metrics"] {
        assert_eq!(client::get(addr, path).status, 200, "{path}");
    }
    let mut operator = Client::connect(addr);
    operator.send(format!("{head}Content-Length: 12\r\n\r\n{{\"all\":true}}"));
    assert_eq!(operator.response().status, 200);
}

/// Each of the stalled connections would keep its place until its time is over.
#[test]
fn stalled_http2_connections_do_not_keep_operators_out() {
    let origin = Origin::start();
    let proxy = Proxy::start(&origin.url(), &[]);
    let addr = proxy.admin_addr();
    let json = ("content-type", "application/json");
    let request = |method, path| {
        let head = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
        block(&head.into_iter().chain([json]).collect::<Vec<_>>())
    };
    let (purge, metrics) = (request("POST", "/purge"), request("GET", "/metrics"));
    let no_content = |client: &mut Http2| {
        client.send(HEADERS, END_HEADERS, 1, &purge).unwrap();
        client.send(DATA, 0, 1, b"{").unwrap();
        // The answer shows that the server has the frames before.
        client.send(PING, 0, 0, &[0; 8]).unwrap();
        while client.next().unwrap().kind != PING {}
    };
    let no_window = |client: &mut Http2| {
        client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
        client.send(HEADERS, END_STREAM | END_HEADERS, 1, &metrics).unwrap();
        while client.next().unwrap().kind != HEADERS {}
    };
    let half_head = |client: &mut Http2| client.send(HEADERS, END_STREAM, 1, &metrics).unwrap();
    let stalls: [StalledClient; 3] = [("content", &no_content), ("window", &no_window), ("head", &half_head)];
    let half_prefaces: Vec<_> = (0..ADMIN_CONNECTIONS_PER_ADDRESS)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            std::io::Write::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nS").unwrap();
            stream
        })
        .collect();
    assert_eq!(client::get(addr, "/health").status, 200);
    drop(half_prefaces);
    for (stall, begin) in stalls {
        let stalled: Vec<_> = (0..ADMIN_CONNECTIONS_PER_ADDRESS)
            .map(|_| {
                let mut client = Http2::connect(addr);
                begin(&mut client);
                client
            })
            .collect();
        assert_eq!(client::get(addr, "/health").status, 200, "{stall}");
        let mut operator = Http2::connect(addr);
        operator.send(HEADERS, END_HEADERS, 1, &purge).unwrap();
        operator.send(DATA, END_STREAM, 1, br#"{"all":true}"#).unwrap();
        let answer = std::iter::from_fn(|| operator.next()).find(|frame| frame.kind == HEADERS);
        assert_eq!(answer.map(|frame| status(&frame.payload)), Some(200), "{stall}");
        drop(stalled);
    }
}

#[test]
fn a_fetch_that_no_client_reads_ends() {
    let origin = Origin::start();
    let (piece, ended) = (Gate::new(), Gate::new());
    // The last two have the lifetimes of settings.
    let rows = [
        ("/short", "200 OK", "Cache-Control: max-age=1\r\n"),
        ("/long", "200 OK", "Cache-Control: max-age=600\r\n"),
        ("/default", "200 OK", ""),
        ("/negative", "404 Not Found", ""),
    ];
    for (path, status, field) in rows {
        let (piece, ended) = (piece.clone(), ended.clone());
        origin.script(path, move |exchange| {
            exchange.write(format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
                 {field}\r\n"
            ))?;
            // The trickle goes on until the proxy closes the connection.
            while exchange.write("1\r\n[\r\n").is_ok() {
                piece.pass();
            }
            ended.pass();
            Ok(Then::Close)
        });
    }
    let settings = [("origin_body_timeout", "2s"), ("cache_negative_ttl", "30s")];
    let proxy = Proxy::start(&origin.url(), &settings);
    for (path, ..) in rows {
        let mut client = proxy.connect();
        client.send_head("GET", path, &[]);
        client.head();
    }
    until("every fetch to be counted", || {
        rows.iter().for_each(|_| piece.release_one());
        proxy.metric(r#"cachewarp_not_stored_total{reason="unread"}"#) == rows.len() as f64
    });
    piece.open();
    ended.await_arrivals(rows.len());
    ended.open();
}

/// The client sends its content unasked, and the proxy has it before the origin answers.
#[test]
fn over_http2_a_final_response_comes_before_the_upload_that_expects_continue() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/refused", move |exchange| {
        at_gate.pass();
        let body = if exchange.is_quiet()? { "quiet" } else { "sent!" };
        exchange.write(format!(
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 5\r\n\r\n{body}"
        ))?;
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = Http2::connect(proxy.addr());
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/refused"),
        ("expect", "100-continue"),
        ("content-length", "5"),
    ];
    client.send(HEADERS, END_HEADERS, 1, &block(&fields)).unwrap();
    client.send(DATA, END_STREAM, 1, b"hello").unwrap();
    client.send(PING, 0, 0, &[0; 8]).unwrap();
    gate.await_arrivals(1);
    while client.next().expect("a reply to PING").kind != PING {}
    gate.open();
    let mut next = |kind| loop {
        let frame = client.next().expect("a frame");
        if frame.stream == 1 && (frame.kind == kind || frame.kind == RST_STREAM) {
            return frame;
        }
    };
    assert_eq!(status(&next(HEADERS).payload), 401, "no 100 before it");
    assert_eq!(next(DATA).payload, b"quiet");
    assert_eq!(origin.seen("/refused")[0].field("expect"), Some("100-continue"));
}

#[test]
fn a_final_response_comes_before_the_upload_that_expects_continue() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.script("/refused", |exchange| {
        // The origin answers without reading a byte of the content.
        let body = if exchange.is_quiet()? { "quiet" } else { "sent!" };
        exchange.write(format!(
            "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 5\r\n\r\n{body}"
        ))?;
        Ok(Then::Close)
    });
    let at_gate = gate.clone();
    origin.script("/granted", move |exchange| {
        at_gate.pass();
        exchange.write("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = exchange.body()?;
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        exchange.write(body)?;
        Ok(Then::KeepAlive)
    });
    origin.script("/unaware", |exchange| {
        let body = exchange.body()?;
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()))?;
        exchange.write(body)?;
        Ok(Then::KeepAlive)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let expecting = |target: &str| {
        let mut client = proxy.connect();
        client.send_head("POST", target, &[("Expect", "100-continue"), ("Content-Length", "5")]);
        client
    };
    let mut client = expecting("/refused");
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (401, "quiet"), "no 100 before it");
    assert_eq!(origin.seen("/refused")[0].field("expect"), Some("100-continue"));
    // A client that sends its content unasked gets the answer too, and the origin gets no content.
    let mut client = proxy.connect();
    client.send(
        "POST /refused HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert_eq!(client.response().text(), "quiet");

    let mut client = expecting("/granted");
    gate.await_arrivals(1);
    gate.release_one();
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    // An origin that sends no 100 gets the content after a moment.
    let mut client = expecting("/unaware");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn the_origins_own_links_lead_to_the_proxy() {
    let origin = Origin::start();
    let own = origin.addr();
    let created = format!("http://{own}/v1/b");
    let link = format!("<http://{own}/v1/c>; rel=\"next\"");
    origin.answer("/v1/a", Answer::json_with(&[("Cache-Control", "max-age=60"), ("Link", &link)], "{}"));
    let proxy = Proxy::start(&format!("{}/v1", origin.url()), &[]);
    for _ in 0..2 {
        assert_eq!(
            proxy.get("/a").field("link"),
            Some("<http://test/c>; rel=\"next\""),
            "fetched and stored"
        );
    }
    origin.answer("/v1/a", Answer::new(201, &[("Location", &created)], ""));
    assert_eq!(proxy.connect().request("POST", "/a", &[]).field("location"), Some("http://test/b"));
    let off = Proxy::start(&format!("{}/v1", origin.url()), &[("origin_rewrite_location", "off")]);
    assert_eq!(off.connect().request("POST", "/a", &[]).field("location"), Some(created.as_str()));
}
