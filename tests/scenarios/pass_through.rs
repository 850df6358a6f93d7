//! Pass-through: CacheWarp streams uncacheable requests and responses unchanged in both directions.

use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::{LocalSet, spawn_local};

use crate::harness::{Answer, Client, Gate, Origin, Proxy, Then, TlsFront, until};

/// More pieces than all socket buffers on the path hold.
const PIECES: usize = 1024;
static PIECE: [u8; 0x10000] = [b'x'; 0x10000];

fn echo(origin: &Origin, path: &str) {
    origin.script(path, |exchange| {
        let method = exchange.request.method.clone();
        let body = exchange.body()?;
        Answer::new(200, &[("X-Method", &method)], &String::from_utf8(body).unwrap()).give(exchange)
    });
}

#[test]
fn a_request_that_the_cache_does_not_answer_is_passed_through() {
    let origin = Origin::start();
    echo(&origin, "/a");
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET"] {
        for _ in 0..2 {
            client.send_head(method, "/a?b", &[("Content-Length", "5")]);
            client.send("hello");
            let response = client.response();
            assert_eq!((response.status, response.text()), (200, "hello"), "{method}");
            assert_eq!((response.field("x-method"), response.field("cache-status")), (Some(method), None));
        }
    }
    assert_eq!(origin.count("/a"), 12);
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="pass"}"#), 12.0);
}

#[test]
fn a_slow_origin_slows_a_large_upload() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        at_gate.pass();
        let body = exchange.body()?;
        Answer::json(&body.len().to_string()).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    let total = PIECES * PIECE.len();
    client.send_head("POST", "/a", &[("Content-Length", &total.to_string())]);
    gate.await_arrivals(1);
    let taken = client.send_until_full(&PIECE, PIECES);
    assert!(taken < total, "the proxy buffered the whole upload");
    gate.open();
    let rest = total - taken;
    (0..rest / PIECE.len()).for_each(|_| client.send(PIECE));
    client.send(&PIECE[..rest % PIECE.len()]);
    assert_eq!(client.response().text(), total.to_string());
}

#[test]
fn a_slow_client_slows_a_large_response() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let total = PIECES * PIECE.len();
    let taken = Arc::<Mutex<usize>>::default();
    let (at_gate, noted) = (gate.clone(), Arc::clone(&taken));
    origin.script("/a", move |exchange| {
        exchange.body()?;
        exchange.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"))?;
        let before = exchange.write_until_full(&PIECE, PIECES);
        *noted.lock().unwrap() = before;
        at_gate.pass();
        (0..(total - before) / PIECE.len()).try_for_each(|_| exchange.write(PIECE))?;
        exchange.write(&PIECE[..(total - before) % PIECE.len()])?;
        Ok(Then::KeepAlive)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[("Content-Length", "0")]);
    gate.await_arrivals(1);
    assert!(*taken.lock().unwrap() < total, "the proxy buffered the whole response");
    gate.open();
    let head = client.head();
    let (read, end) = client.skip_body(&head);
    end.unwrap();
    assert_eq!(read, total as u64);
}

#[test]
fn request_and_response_stream_concurrently() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..3 {
            let word = exchange.read_raw("4\r\nping\r\n".len())?;
            assert_eq!(word, b"4\r\nping\r\n");
            exchange.write("4\r\npong\r\n")?;
        }
        assert_eq!(exchange.read_raw(5)?, b"0\r\n\r\n");
        exchange.write("0\r\n\r\n")?;
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[("Transfer-Encoding", "chunked")]);
    assert!(client.head().start.starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        client.send("4\r\nping\r\n");
        assert_eq!(client.bytes(9), b"4\r\npong\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

const UPGRADE: &[(&str, &str)] = &[("Connection", "Upgrade"), ("Upgrade", "websocket")];
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn a_tunnel_begins_with_a_101() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/ws", move |exchange| {
        at_gate.pass();
        assert!(exchange.is_quiet()?, "early bytes must wait for the 101");
        exchange.write(SWITCH)?;
        assert_eq!(exchange.read_raw(5)?, b"early");
        exchange.write("hello")?;
        assert_eq!(exchange.read_raw(4)?, b"more");
        exchange.write("bye")?;
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send("GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    gate.await_arrivals(1);
    gate.open();
    let head = client.head();
    assert_eq!((head.word(1), head.field("upgrade")), ("101", Some("websocket")));
    assert_eq!(client.bytes(5), b"hello");
    client.send("more");
    assert_eq!(client.rest(), b"bye");
    let seen = &origin.seen("/ws")[0];
    assert_eq!((seen.field("connection"), seen.field("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(proxy.metric(r#"cachewarp_requests_total{outcome="tunnel"}"#), 1.0);
}

#[test]
fn an_idle_tunnel_is_closed_on_both_sides() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/ws", move |exchange| {
        exchange.write(SWITCH)?;
        exchange.await_close()?;
        at_gate.pass();
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[("tunnel_idle_timeout", "50ms")]);
    let mut client = proxy.connect();
    client.send_head("GET", "/ws", UPGRADE);
    assert_eq!(client.head().word(1), "101");
    assert_eq!(client.rest(), b"");
    gate.await_arrivals(1);
    gate.open();
    until("its connection to be closed", || proxy.metric("cachewarp_client_connections_open") == 0.0);
}

#[test]
fn without_a_101_there_is_no_tunnel() {
    let origin = Origin::start();
    origin.answer("/ws", Answer::json("{}"));
    origin.answer("/next", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/ws", UPGRADE);
    // Bytes for a tunnel that would be a request to the origin if the proxy forwarded them.
    client.send("GET /next HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response().field("cache-status"), Some("CacheWarp; fwd=uri-miss; stored"));
    assert_eq!(origin.seen("/next")[0].field("x-forwarded-for"), Some("127.0.0.1"));
    // A refused upgrade is not a shared fetch.
    assert_eq!(proxy.get("/ws").field("cache-status"), Some("CacheWarp; fwd=uri-miss; stored"));
}

#[test]
fn an_unrequested_101_is_a_bad_response() {
    let origin = Origin::start();
    origin.answer("/a", Answer::raw(SWITCH));
    let other = SWITCH.replace("websocket", "other");
    origin.answer("/ws", Answer::raw(other));
    let proxy = Proxy::start(&origin.url(), &[]);
    assert_eq!(proxy.get("/a").status, 502);
    assert_eq!(proxy.get_with("/ws", UPGRADE).status, 502);
    // The proxy does not forward an upgrade of HTTP itself, and treats the request as an ordinary
    // one.
    origin.answer("/h2", Answer::json("{}"));
    assert_eq!(proxy.get_with("/h2", &[("Connection", "Upgrade"), ("Upgrade", "h2c")]).status, 200);
    assert_eq!(origin.seen("/h2")[0].field("upgrade"), None);
}

#[test]
fn hop_by_hop_fields_are_not_forwarded() {
    let origin = Origin::start();
    let fields = [
        ("Connection", "X-Own, close"),
        ("X-Own", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
    ];
    origin.answer("/a", Answer::new(200, &fields, "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let asked = [
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "300"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Connection", "keep-alive"),
        ("X-End", "2"),
        ("Via", "1.0 before"),
    ];
    for method in ["GET", "POST"] {
        let response = proxy.connect().request(method, "/a", &asked);
        for name in ["x-own", "keep-alive", "proxy-authenticate"] {
            assert_eq!(response.field(name), None, "{method}");
        }
        let seen = origin.seen("/a").pop().unwrap();
        for name in ["connection", "x-hop", "keep-alive", "te", "proxy-authorization", "proxy-connection"] {
            assert_eq!(seen.field(name), None, "{method}");
        }
        assert_eq!(seen.field("x-end"), Some("2"));
        let via: Vec<_> =
            seen.head.fields.iter().filter(|(name, _)| name == "via").map(|(_, via)| via.as_str()).collect();
        let [before, own] = via[..] else { panic!("{via:?}") };
        assert_eq!(before, "1.0 before");
        assert!(own.starts_with("1.1 cachewarp-"), "{own}");
    }
}

#[test]
fn the_origin_gets_the_clients_address_in_forwarded_fields() {
    let origin = Origin::start();
    let statements =
        [("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Proto", "https")];
    let own = origin.addr().to_string();
    let rows = [
        (&[][..], [own.as_str(), "127.0.0.1", "test", "http"]),
        (&[("origin_preserve_host", "true")], ["test", "127.0.0.1", "test", "http"]),
        (&[("trusted_proxies", "127.0.0.0/8")], [own.as_str(), "8.8.8.8, 127.0.0.1", "evil.test", "https"]),
    ];
    for (settings, want) in rows {
        let proxy = Proxy::start(&origin.url(), settings);
        for method in ["GET", "POST"] {
            proxy.connect().request(method, "/a", &statements);
            let seen = origin.seen("/a").pop().unwrap();
            let names = ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];
            assert_eq!(names.map(|name| seen.field(name).unwrap()), want, "{method} {settings:?}");
        }
    }
}

#[test]
fn an_origin_can_have_a_base_path() {
    let origin = Origin::start();
    origin.answer("/v2/a", Answer::json("{}"));
    let proxy = Proxy::start(&(origin.url() + "/v2"), &[]);
    assert_eq!(proxy.get("/a?b").status, 200);
    assert_eq!(origin.seen("/v2/a")[0].target, "/v2/a?b");
}

#[test]
fn a_client_can_use_http2() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    echo(&origin, "/echo");
    let proxy = Proxy::start(&origin.url(), &[]);
    let authority = format!("http://{}", proxy.addr());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let stream = tokio::net::TcpStream::connect(proxy.addr()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        spawn_local(connection);
        let mut exchange = async |method: &str, path: &str, body: &'static str| {
            let request = Request::builder().method(method).uri(format!("{authority}{path}"));
            let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let status =
                response.headers().get("cache-status").map(|value| value.to_str().unwrap().to_owned());
            (status.unwrap_or_default(), response.into_body().collect().await.unwrap().to_bytes())
        };
        assert_eq!(exchange("GET", "/a", "").await.0, "CacheWarp; fwd=uri-miss; stored");
        assert!(exchange("GET", "/a", "").await.0.starts_with("CacheWarp; hit"));
        assert_eq!(exchange("POST", "/echo", "hello").await.1, "hello");
    });
    assert_eq!(origin.count("/a"), 1);
    // The version belongs to the connection, not to the resource: HTTP/1.1 hits a response that
    // HTTP/2 stored.
    let mut client = proxy.connect();
    client.send(format!("GET /a HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.addr()));
    assert!(client.response().field("cache-status").unwrap().starts_with("CacheWarp; hit"));
    assert_eq!(proxy.metric(r#"cachewarp_client_connections_total{protocol="http2"}"#), 1.0);
}

#[test]
fn a_client_gets_100_continue_when_the_origin_reads_its_body() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let at_gate = gate.clone();
    origin.script("/a", move |exchange| {
        at_gate.pass();
        let body = String::from_utf8(exchange.body()?).unwrap();
        Answer::json(&body).give(exchange)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[("Content-Length", "2"), ("Expect", "100-continue")]);
    assert_eq!(client.head().word(1), "100");
    client.send("{}");
    gate.open();
    assert_eq!(client.response().text(), "{}");
    assert_eq!(origin.seen("/a")[0].field("expect"), Some("100-continue"));
}

#[test]
fn interim_responses_of_the_origin_are_not_final() {
    let origin = Origin::start();
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    origin.answer("/a", Answer::raw(interim).send(last));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("GET", "/a", &[]);
    // hyper sends `100` itself, to a client that expects it.
    let hints = client.head();
    assert_eq!((hints.word(1), hints.field("link")), ("103", Some("</x>")));
    let response = client.response();
    assert_eq!((response.status, response.text(), response.field("link")), (200, "{}", None));
    assert!(client.get("/a").field("cache-status").unwrap().starts_with("CacheWarp; hit"));
}

#[test]
fn the_certificate_of_an_origin_is_verified() {
    let origin = Origin::start();
    origin.answer("/a", Answer::json("{}"));
    echo(&origin, "/echo");
    let tls = TlsFront::before(origin.addr());
    let url = format!("https://{}", tls.authority());
    let proxy = Proxy::start(&url, &[("origin_ca_file", tls.ca_file())]);
    assert_eq!(proxy.get("/a").text(), "{}");
    assert!(proxy.get("/a").field("cache-status").unwrap().starts_with("CacheWarp; hit"));
    let mut client = proxy.connect();
    client.send_head("POST", "/echo", &[("Content-Length", "5")]);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");

    // The address is another name of the origin, and another authority does not know its
    // certificate.
    let by_address = url.replace("localhost", "127.0.0.1");
    let other = TlsFront::before(origin.addr());
    for (url, ca_file) in [(&by_address, tls.ca_file()), (&url, other.ca_file())] {
        let proxy = Proxy::start(url, &[("origin_ca_file", ca_file)]);
        assert_eq!(proxy.get("/a").status, 502);
        assert_eq!(proxy.metric(r#"cachewarp_origin_failures_total{phase="tls"}"#), 1.0);
    }
}

#[test]
fn an_idle_connection_closed_by_the_origin_causes_no_client_error() {
    let origin = Origin::start();
    origin.answer("/a", Answer::new(200, &[("Cache-Control", "no-store")], "{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    for _ in 0..20 {
        assert_eq!(proxy.get("/a").status, 200);
        origin.close_connections();
    }
    assert_eq!(origin.count("/a"), 20);
}

#[test]
fn a_response_before_the_end_of_its_request_reaches_the_client() {
    let origin = Origin::start();
    origin.script("/a", |exchange| {
        exchange.write("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        Ok(Then::Close)
    });
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut client = proxy.connect();
    client.send_head("POST", "/a", &[("Content-Length", "1000000")]);
    let response = client.response();
    assert_eq!((response.status, response.text()), (413, "big"));
}

#[test]
fn an_http_1_0_client_is_served() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    origin.answer("/a", Answer::raw(chunked).send("1\r\n{\r\n").pass(&gate).send("1\r\n}\r\n0\r\n\r\n"));
    let proxy = Proxy::start(&origin.url(), &[]);
    let mut clients: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send("GET /a HTTP/1.0\r\nHost: test\r\n\r\n");
        // An HTTP/1.0 client knows no chunks: the end of the connection ends the body.
        assert_eq!(client.head().field("transfer-encoding"), None);
    }
    gate.open();
    assert!(clients.iter_mut().all(|client| client.rest() == b"{}"));
    let mut client = proxy.connect();
    client.send("GET /a HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.response().text(), "{}", "from the store, with its length");
    assert_eq!(client.get("/a").text(), "{}", "on the same connection");
}

/// Many concurrent requests, so that mixed-up responses would show.
#[test]
fn every_client_gets_the_response_to_its_own_request() {
    let origin = Origin::start();
    echo(&origin, "/a");
    let proxy = Proxy::start(&origin.url(), &[("worker_threads", "2")]);
    let addr = proxy.addr();
    let clients = (0..8).map(|client| {
        thread::spawn(move || {
            let mut connection = Client::connect(addr);
            for number in 0..50 {
                let body = format!("{client}/{number}");
                connection.send_head("POST", "/a", &[("Content-Length", &body.len().to_string())]);
                connection.send(&body);
                assert_eq!(connection.response().text(), body);
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(origin.count("/a"), 400);
}
