//! Interim responses (1xx) of the origin: the client whose request caused them gets them, before
//! the response.

use std::thread;

use crate::harness::{Answer, Authority, Gate, Origin, Proxy, Redis, TlsClient};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";
const STORED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\n{}";
const UNSTORED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\n{}";

/// Returns the number of interim responses with this result.
fn interims(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!("cachewarp_client_interim_responses_total{{result=\"{result}\"}}"))
}

#[test]
fn an_interim_response_arrives_before_the_response_exists() {
    let (origin, redis) = (Origin::start(), Redis::start());
    let stores = Proxy::start_with_redis(&origin.url(), &redis.url(), &[("cache_memory_size", "0")]);
    let alone = Proxy::start(&origin.url(), &[]);
    for (proxy, name) in [(&stores, "redis"), (&alone, "memory")] {
        let mut client = proxy.connect();
        // The last two are fetched alone, because the first of them is known as uncacheable.
        let requests = [
            ("GET", "/stored", STORED),
            ("POST", "/passed", UNSTORED),
            ("DELETE", "/passed", UNSTORED),
            ("HEAD", "/unstored", UNSTORED),
            ("GET", "/unstored", UNSTORED),
            ("GET", "/unstored", UNSTORED),
        ];
        for (method, path, response) in requests {
            let gate = Gate::new();
            let response = if method == "HEAD" { response.trim_end_matches("{}") } else { response };
            origin.answer(path, Answer::raw(HINTS).pass(&gate).send(PROCESSING).send(response));
            client.send_head(method, path, &[]);
            let context = format!("{method} {path} with {name}");
            assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes(), "{context}");
            gate.await_arrivals(1);
            gate.open();
            assert_eq!(client.bytes(PROCESSING.len()), PROCESSING.as_bytes(), "{context}");
            let response = client.response_to(method);
            assert_eq!((response.status, response.field("link")), (200, None), "{context}");
        }
        assert_eq!(interims(proxy, "forwarded"), 2.0 * requests.len() as f64);
        // A hit has none.
        let hit = client.get("/stored");
        assert_eq!(hit.status, 200);
        assert!(hit.cache_status().starts_with("CacheWarp; hit"), "{}", hit.cache_status());
        assert_eq!(hit.field("link"), None);
        assert_eq!(interims(proxy, "dropped"), 0.0);
    }
}

#[test]
fn interim_responses_keep_their_order_and_lose_the_fields_of_the_connection() {
    let origin = Origin::start();
    let first = "HTTP/1.1 103 Early Hints\r\nLink: </v2/a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                 Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nCacheWarp-Cache-Control: max-age=1\r\n\
                 Cache-Tag: a\r\nContent-Length: 5\r\nX-End: 1\r\n\r\n";
    let other = "HTTP/1.1 199 Odd Reason\r\n\r\n";
    let interims = format!("{first}HTTP/1.1 100 Continue\r\n\r\n{PROCESSING}{other}");
    origin.answer("/v2/a", Answer::raw(interims + STORED));
    let proxy = Proxy::start(&(origin.url() + "/v2"), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    let hints = client.head();
    assert_eq!(hints.start, "HTTP/1.1 103 Early Hints");
    let expected = [("link", "</a.css>"), ("x-end", "1")];
    assert_eq!(hints.fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(client.head().start, "HTTP/1.1 102 Processing");
    assert_eq!(client.head().start, "HTTP/1.1 199 ");
    assert_eq!(client.response().text(), "{}");
}

#[test]
fn an_upload_gets_100_continue_beside_the_interim_responses() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        exchange.write(HINTS)?;
        let body = exchange.body()?;
        exchange.write(PROCESSING)?;
        Answer::json(&String::from_utf8(body).unwrap()).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send_head("POST", "/a", &[("Content-Length", "2"), ("Expect", "100-continue")]);
        assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes());
        assert_eq!(client.head().word(1), "100");
        client.send("{}");
        assert_eq!(client.bytes(PROCESSING.len()), PROCESSING.as_bytes());
        assert_eq!(client.response().text(), "{}");
    }
}

#[test]
fn pipelined_requests_get_their_own_interim_responses() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::raw(HINTS).pass(&gate).send(UNSTORED));
    origin.answer("/b", Answer::raw([PROCESSING, UNSTORED].concat()));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    client.send(request("/a") + &request("/b"));
    assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes());
    gate.open();
    assert_eq!(client.response().text(), "{}");
    assert_eq!(client.bytes(PROCESSING.len()), PROCESSING.as_bytes());
    assert_eq!(client.response().text(), "{}");
}

#[test]
fn a_client_of_http_1_0_gets_the_response_alone() {
    let origin = Origin::start();
    origin.answer("/a", Answer::raw([HINTS, UNSTORED].concat()));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send("GET /a HTTP/1.0\r\nHost: test\r\n\r\n");
    let response = String::from_utf8(client.rest()).unwrap();
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response}");
}

#[test]
fn interim_responses_pass_through_tls() {
    let (origin, gate, authority) = (Origin::start(), Gate::new(), Authority::new());
    origin.answer("/a", Answer::raw(HINTS).pass(&gate).send([PROCESSING, STORED].concat()));
    let [certificate, key] = authority.issue("localhost");
    let proxy = Proxy::start(&origin.url(), &[("tls_cert_file", &certificate), ("tls_key_file", &key)]);
    let mut client = TlsClient::connect(proxy.addr(), &authority.client(None, &["http/1.1"])).unwrap();
    client.send("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(client.bytes(HINTS.len()).unwrap(), HINTS.as_bytes());
    gate.open();
    assert_eq!(client.bytes(PROCESSING.len()).unwrap(), PROCESSING.as_bytes());
    assert_eq!(client.response().unwrap().text(), "{}");
    assert_eq!(client.get("/a", &[]).unwrap().status, 200);
}

#[test]
fn a_follower_gets_no_interim_response_of_the_fetch_that_it_joins() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::raw(HINTS).pass(&gate).send([PROCESSING, STORED].concat()));
    let proxy = Proxy::start(&origin.url(), &[("collapse_timeout", "10m")]);
    let (mut leader, mut follower) = (proxy.connect(), proxy.connect());
    leader.send_head("GET", "/a", &[]);
    assert_eq!(leader.bytes(HINTS.len()), HINTS.as_bytes());
    follower.send_head("GET", "/a", &[]);
    proxy.await_askers(2);
    gate.open();
    assert_eq!(leader.bytes(PROCESSING.len()), PROCESSING.as_bytes());
    assert_eq!(leader.response().cache_status(), "CacheWarp; fwd=uri-miss; stored");
    assert_eq!(follower.response().cache_status(), "CacheWarp; fwd=uri-miss; collapsed");
    assert_eq!(origin.count("/a"), 1);
}

#[test]
fn a_background_refresh_sends_no_interim_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let fields = [("Cache-Control", "max-age=0, stale-while-revalidate=600")];
    origin.answer("/a", Answer::json_with(&fields, "1"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/a").text(), "1");
    origin.answer("/a", Answer::raw(HINTS).pass(&gate).send([PROCESSING, STORED].concat()));
    // The refresh belongs to the request that gets the stale response, and goes on behind it.
    assert_eq!(client.get("/a").text(), "1");
    gate.await_arrivals(1);
    gate.open();
    proxy.await_metric(r#"cachewarp_origin_responses_total{status="2xx"}"#, 2.0);
    origin.answer("/b", Answer::raw(UNSTORED));
    assert_eq!(client.get("/b").status, 200);
    assert_eq!(interims(&proxy, "forwarded") + interims(&proxy, "dropped"), 0.0);
}

#[test]
fn an_interim_response_beyond_the_bound_is_dropped_and_counted() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let large = format!("HTTP/1.1 103 Early Hints\r\nX: {}\r\n\r\n", "x".repeat(20 * 1024));
    origin.answer("/a", Answer::raw(large).send(HINTS).pass(&gate).send(UNSTORED));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes());
    gate.open();
    assert_eq!(client.response().status, 200);
    assert_eq!((interims(&proxy, "forwarded"), interims(&proxy, "dropped")), (1.0, 1.0));
}

#[test]
fn nothing_of_a_body_or_of_a_tunnel_is_an_interim_response() {
    let origin = Origin::start();
    let body = format!("xxxxxxxx{HINTS}");
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    origin.answer("/a", Answer::raw(format!("\r\n{response}")));
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    origin.answer("/tunnel", Answer::raw(format!("{HINTS}{switch}{HINTS}")).close());
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    let response = client.get("/a");
    assert_eq!((response.status, response.text()), (200, &*body));

    client.send_head("GET", "/tunnel", &[("Connection", "upgrade"), ("Upgrade", "websocket")]);
    assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes());
    assert_eq!(client.head().word(1), "101");
    assert_eq!(client.rest(), HINTS.as_bytes());
    assert_eq!(interims(&proxy, "forwarded"), 1.0);
}

#[test]
fn a_write_goes_on_when_its_client_leaves_behind_an_interim_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/a", Answer::raw(HINTS).pass(&gate).send([PROCESSING, UNSTORED].concat()));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[]);
    assert_eq!(client.bytes(HINTS.len()), HINTS.as_bytes());
    client.reset();
    proxy.await_metric("cachewarp_client_connections_open", 0.0);
    gate.open();
    proxy.await_metric(r#"cachewarp_origin_responses_total{status="2xx"}"#, 1.0);
    assert_eq!((interims(&proxy, "forwarded"), interims(&proxy, "dropped")), (1.0, 0.0));
}

#[test]
fn clients_that_read_late_get_whole_interim_responses() {
    let origin = Origin::start();
    let hints = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "x".repeat(7 * 1024));
    origin.answer("/a", Answer::raw(hints.repeat(60)).send(UNSTORED));
    let proxy = Proxy::start(&origin.url(), &[]);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, hints) = (proxy.connect(), hints.clone());
            client.send_head("GET", "/a", &[]);
            thread::spawn(move || {
                let mut forwarded = 0.0;
                loop {
                    let head = client.head();
                    if head.word(1) == "200" {
                        return forwarded;
                    }
                    assert_eq!(head.field("x").map(str::len), Some(7 * 1024), "of {}", hints.len());
                    forwarded += 1.0;
                }
            })
        })
        .collect();
    let forwarded: f64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(forwarded, interims(&proxy, "forwarded"));
    assert_eq!(forwarded + interims(&proxy, "dropped"), 60.0 * origin.count("/a") as f64);
}
