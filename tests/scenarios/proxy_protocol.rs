//! Clients behind a proxy that states their addresses by the PROXY protocol.

use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::harness::{Answer, Authority, Client, Gate, HaProxy, Origin, Program, Proxy, Start, TlsClient};

const REQUIRED: [(&str, &str); 2] = [("proxy_protocol", "require"), ("trusted_proxies", "127.0.0.1")];
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.1 7 443\r\n";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0d\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01\xbb\x04";
const LINE6: &[u8] = b"PROXY TCP6 2001:db8::1 2001:db8::2 7 443\r\n";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REFUSED: &str = r#"cachewarp_client_refusals_total{reason="proxy-header"}"#;

fn origin() -> Origin {
    let origin = Origin::start();
    origin.answer("/a", Answer::new(200, &[("Cache-Control", "no-store")], "{}"));
    origin
}

/// Returns the client that the origin saw last.
fn client_at(origin: &Origin) -> String {
    origin.seen("/a").pop().and_then(|seen| seen.field("x-forwarded-for").map(str::to_owned)).unwrap()
}

#[test]
fn the_stated_address_is_the_clients() {
    let origin = origin();
    let proxy = Proxy::start(&origin.url(), &REQUIRED);
    for (header, client) in [
        (LINE, "192.0.2.1"),
        (BINARY, "192.0.2.1"),
        (LINE6, "2001:db8::1"),
        (LOCAL, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let mut connection = proxy.connect();
        // One byte at a time, then the request in the same piece as the last one.
        let (last, others) = header.split_last().unwrap();
        for byte in others {
            connection.send([*byte]);
        }
        connection.send(
            [&[*last], &b"GET /a HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n"[..]]
                .concat(),
        );
        assert_eq!(connection.response().status, 200);
        let is_peer = client == "127.0.0.1";
        let chain = if is_peer { "203.0.113.9, 127.0.0.1" } else { client };
        assert_eq!(client_at(&origin), chain);
        // Each further request of the connection has the address too.
        connection.request("GET", "/a", &[]);
        assert_eq!(client_at(&origin), client);
    }
    assert_eq!(proxy.metric(REFUSED), 0.0);
}

#[test]
fn a_connection_of_a_trusted_proxy_without_a_header_is_closed() {
    let origin = origin();
    let proxy = Proxy::start(&origin.url(), &REQUIRED);
    let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
    let beginnings: [&[u8]; 9] = [
        b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 7 443\nGET /a HTTP/1.1\r\n",
        &endless,
        // The length of one address less, an unknown command, an unknown family, and a length
        // beyond the limit.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01",
        b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x51\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01\xbb",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff\xc0\0\x02\x01\xc6\x33\x64\x01\0\x07\x01\xbb",
    ];
    for (number, beginning) in beginnings.iter().enumerate() {
        let mut connection = proxy.connect();
        connection.send(beginning);
        assert_eq!(connection.rest(), b"", "{beginning:?}");
        assert_eq!(proxy.metric(REFUSED), (number + 1) as f64, "{beginning:?}");
    }
    let mut cut = proxy.connect();
    cut.send(&LINE[..20]);
    cut.finish();
    assert_eq!(cut.rest(), b"");
    assert_eq!(proxy.metric(REFUSED), (beginnings.len() + 1) as f64);
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn a_header_has_the_deadline_of_a_head() {
    let origin = origin();
    let settings = [REQUIRED[0], REQUIRED[1], ("client_head_timeout", "50ms")];
    let proxy = Proxy::start(&origin.url(), &settings);
    for part in [&b""[..], &LINE[..5], &LINE[..LINE.len() - 1], &BINARY[..14], &BINARY[..20]] {
        let mut connection = proxy.connect();
        connection.send(part);
        assert_eq!(connection.rest(), b"", "{part:?}");
    }
    assert_eq!(proxy.metric(REFUSED), 5.0);
}

#[test]
fn another_peer_states_no_address() {
    let origin = origin();
    let other = IpAddr::from([127, 0, 0, 9]);
    for settings in [&REQUIRED[..], &[], &REQUIRED[1..]] {
        let proxy = Proxy::start(&origin.url(), settings);
        let mut plain = Client::connect_from(other, proxy.addr());
        assert_eq!(plain.get("/a").status, 200);
        assert_eq!(client_at(&origin), "127.0.0.9");
        let seen = origin.count("/a");
        for header in [LINE, BINARY] {
            let mut forged = Client::connect_from(other, proxy.addr());
            forged.send([header, b"GET /a HTTP/1.1\r\nHost: test\r\n\r\n"].concat());
            assert_eq!(forged.response().status, 400);
        }
        assert_eq!(origin.count("/a"), seen);
    }
}

#[test]
fn each_stated_address_has_limits_of_its_own() {
    let (origin, gate) = (Origin::start(), Gate::new());
    let passed = gate.clone();
    origin.script("/wait", move |exchange| {
        passed.pass();
        Answer::new(200, &[("Cache-Control", "no-store")], "{}").give(exchange)
    });
    let limits = [("max_connections_per_address", "2"), ("max_requests_per_address", "1")];
    let proxy = Proxy::start(&origin.url(), &[&REQUIRED[..], &limits].concat());
    let open = |header: &[u8]| {
        let mut connection = proxy.connect();
        connection.send(header);
        connection
    };
    let mut first = open(LINE);
    first.send_head("GET", "/wait", &[]);
    gate.await_arrivals(1);
    // A second request of the client is refused, and one of another client is not.
    assert_eq!(open(LINE).get("/wait").status, 503);
    let mut other = open(LINE6);
    other.send_head("GET", "/wait", &[]);
    gate.await_arrivals(2);
    // The client has two open connections once both are known, and a third one is closed.
    let mut second = open(BINARY);
    assert_eq!(second.get("/health").status, 200);
    let mut third = open(BINARY);
    third.send_head("GET", "/health", &[]);
    assert_eq!(third.rest(), b"");
    gate.open();
    assert_eq!([first.response().status, other.response().status], [200, 200]);
    // The proxy itself is no client, and its connections are not bounded.
    let many: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    assert_eq!(second.get("/health").status, 200);
    drop(many);
}

#[test]
fn tls_follows_the_header() {
    let (origin, authority) = (origin(), Authority::new());
    let [certificate, key] = authority.issue("localhost");
    let files = [("tls_cert_file", certificate.as_str()), ("tls_key_file", key.as_str())];
    let proxy = Proxy::start(&origin.url(), &[&REQUIRED[..], &files].concat());
    let config = authority.client(None, &["http/1.1"]);
    for header in [LINE, BINARY] {
        let mut stream = TcpStream::connect(proxy.addr()).unwrap();
        std::io::Write::write_all(&mut stream, header).unwrap();
        let mut client = TlsClient::over(stream, &config).unwrap();
        assert_eq!(client.get("/a", &[]).unwrap().status, 200);
        assert_eq!(client_at(&origin), "192.0.2.1");
    }
    assert!(TlsClient::connect(proxy.addr(), &config).is_err());
}

#[test]
fn a_real_haproxy_states_its_clients() {
    let origin = origin();
    let proxy = Proxy::start(&origin.url(), &REQUIRED);
    for options in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let Some(front) = HaProxy::start(proxy.addr(), options) else { return };
        for own in [[127, 0, 0, 5], [127, 0, 0, 6]] {
            let own = IpAddr::from(own);
            let mut client = Client::connect_from(own, front.addr());
            assert_eq!(client.get("/a").status, 200, "{options}");
            assert_eq!(client_at(&origin), own.to_string(), "{options}");
        }
    }
}

#[test]
fn the_access_log_has_the_stated_address() {
    let origin = origin();
    let url = format!("--origin-url={}", origin.url());
    let arguments = [
        "--listen-addr=127.0.0.1:0",
        "--admin-addr=off",
        "--redis-url=off",
        "--worker-threads=1",
        "--access-log=json",
        "--proxy-protocol=require",
        "--trusted-proxies=127.0.0.1",
        &url,
    ];
    let program = Program::start(&Start { arguments: &arguments, ..Start::default() });
    let addr: SocketAddr = program.await_addr();
    let mut client = Client::connect(addr);
    client.send(LINE);
    assert_eq!(client.get("/a").status, 200);
    program.signal("TERM");
    let output = program.end().stdout;
    assert!(output.contains(r#""client.address":"192.0.2.1""#), "{output}");
}
