//! Kinds of exchanges that one address can hold open: of each it holds its budget and no more,
//! another address's misses are answered meanwhile, and a deadline ends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Http2, block};
use crate::harness::{Answer, Authority, Client, Gate, Origin, Proxy, Then, TlsClient, until};
use crate::pinned::large;

/// The value of `max_requests_per_address` in these tests.
const PERMITS: usize = 24;

const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The preface of HTTP/2, and SETTINGS with empty windows.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";

/// An origin, and the gate that its large resource and its slow one pass.
struct HeldOrigin {
    origin: Origin,
    gate: Gate,
}

impl HeldOrigin {
    fn start() -> Self {
        let gate = Gate::new();
        let origin = large(&gate);
        origin.answer("/private", Answer::json_with(&[("Cache-Control", "no-store")], "{}"));
        origin.answer("/slow", Answer::silent().pass(&gate).send("HTTP/1.1 204 No Content\r\n\r\n"));
        origin.script("/endless", |exchange| {
            exchange
                .write("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1000000000\r\n\r\n")?;
            loop {
                exchange.write([0; 16 * 1024])?;
            }
        });
        origin.script("/upload", |exchange| {
            let _ = exchange.body();
            Ok(Then::Close)
        });
        Self { origin, gate }
    }

    fn proxy(&self, settings: &[(&str, &str)]) -> Proxy {
        let permits = PERMITS.to_string();
        let bounds = [("max_requests_per_address", permits.as_str()), ("origin_max_connections", "32")];
        Proxy::start(&self.origin.url(), &[&bounds, settings].concat())
    }
}

/// Checks that the address that holds its budget gets no more, and that another address gets a
/// response to each of its misses.
fn assert_bounded(addr: SocketAddr) {
    let mut victim = Client::connect_from(VICTIM, addr);
    for _ in 0..20 {
        assert_eq!(victim.get("/private").status, 200);
    }
    let refusal = Client::connect(addr).get("/private");
    assert_eq!((refusal.status, refusal.field("retry-after")), (503, Some("1")));
    assert_eq!(victim.get("/private").status, 200);
}

fn await_freed(addr: SocketAddr) {
    until("the budget to be free again", || Client::connect(addr).get("/private").status == 200);
}

/// Holds uploads of which only the first byte arrives, over HTTP/1.1.
fn stall_uploads(held: &HeldOrigin, proxy: &Proxy) -> Vec<Client> {
    let mut clients: Vec<_> = (0..PERMITS).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send_head("POST", "/upload", &[("Content-Length", "1000")]);
        client.send("x");
    }
    held.origin.await_count("/upload", PERMITS);
    clients
}

/// Holds uploads of which only the first byte arrives, on one HTTP/2 connection.
fn stall_streams(held: &HeldOrigin, proxy: &Proxy) -> Http2 {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/upload")];
    let mut client = Http2::connect(proxy.addr());
    for stream in (1..).step_by(2).take(PERMITS) {
        client.send(HEADERS, END_HEADERS, stream, &block(&fields)).unwrap();
        client.send(DATA, 0, stream, b"x").unwrap();
    }
    held.origin.await_count("/upload", PERMITS);
    client
}

#[test]
fn an_address_that_stalls_its_uploads_blocks_no_misses_of_others() {
    let held = HeldOrigin::start();
    let proxy = held.proxy(&[]);
    let clients = stall_uploads(&held, &proxy);
    assert_bounded(proxy.addr());
    drop(clients);
    await_freed(proxy.addr());

    let held = HeldOrigin::start();
    let proxy = held.proxy(&[]);
    let client = stall_streams(&held, &proxy);
    assert_bounded(proxy.addr());
    drop(client);
    await_freed(proxy.addr());
}

#[test]
fn stalled_uploads_end_after_their_deadline() {
    let held = HeldOrigin::start();
    let proxy = held.proxy(&[("origin_body_timeout", "1s")]);
    let mut clients = stall_uploads(&held, &proxy);
    assert!(clients.iter_mut().all(|client| client.response().status == 408));
    await_freed(proxy.addr());

    let held = HeldOrigin::start();
    let proxy = held.proxy(&[("origin_body_timeout", "1s")]);
    let mut client = stall_streams(&held, &proxy);
    let mut answered = 0;
    while answered < PERMITS {
        answered += usize::from(client.next().expect("an answer").kind == HEADERS);
    }
    await_freed(proxy.addr());
}

/// The content of a `QUERY` is read before the request waits for anything.
#[test]
fn an_address_that_stalls_the_content_of_queries_holds_its_budget_at_most() {
    let held = HeldOrigin::start();
    let proxy = held.proxy(&[]);
    let stall = || {
        let mut client = proxy.connect();
        client.send_head(
            "QUERY",
            "/private",
            &[("Content-Type", "application/json"), ("Content-Length", "9000")],
        );
        client.send(" ".repeat(1000));
        client
    };
    let clients: Vec<_> = (0..PERMITS).map(|_| stall()).collect();
    let read = (PERMITS * 1000) as f64;
    until("the content to be read in part", || proxy.metric("cachewarp_body_bytes") >= read);
    assert_bounded(proxy.addr());
    assert_eq!(stall().response().status, 503);
    assert_eq!(proxy.metric("cachewarp_body_bytes"), read);
    drop(clients);
    await_freed(proxy.addr());
    // Content that arrives with its head takes no permit of its own.
    let query = "QUERY /private HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let mut client = proxy.connect();
    client.send(query);
    assert_eq!(client.response().status, 200);
}

#[test]
fn an_address_that_follows_one_slow_fetch_blocks_no_misses_of_others() {
    let held = HeldOrigin::start();
    let follow = |proxy: &Proxy| {
        let mut clients: Vec<_> = (0..PERMITS).map(|_| proxy.connect()).collect();
        clients.iter_mut().for_each(|client| client.send_head("GET", "/slow", &[]));
        proxy.await_askers(PERMITS);
        clients
    };
    let proxy = held.proxy(&[]);
    let clients = follow(&proxy);
    assert_bounded(proxy.addr());
    drop(clients);

    let proxy = held.proxy(&[("origin_head_timeout", "1s")]);
    let mut clients = follow(&proxy);
    assert!(clients.iter_mut().all(|client| client.response().status == 504));
    await_freed(proxy.addr());
    held.gate.open();
}

#[test]
fn an_idle_tunnel_ends_after_its_deadline() {
    let held = HeldOrigin::start();
    held.origin.script("/ws", |exchange| {
        exchange
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        exchange.await_close()?;
        Ok(Then::Close)
    });
    let proxy = held.proxy(&[("tunnel_idle_timeout", "1s")]);
    let open = || {
        let mut client = proxy.connect();
        client.send_head("GET", "/ws", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]);
        (client.head().word(1) == "101").then_some(client)
    };
    let mut tunnels: Vec<_> = (0..PERMITS).filter_map(|_| open()).collect();
    assert!(!tunnels.is_empty());
    let mut victim = Client::connect_from(VICTIM, proxy.addr());
    assert_eq!(victim.get("/private").status, 200);
    assert!(tunnels.iter_mut().all(|tunnel| tunnel.rest().is_empty()));
    until("a tunnel to be free again", || open().is_some());
}

/// A TLS listener for `localhost`, and the settings of its clients.
struct TlsSide {
    authority: Authority,
    files: [String; 2],
}

impl TlsSide {
    fn new() -> Self {
        let authority = Authority::new();
        let files = authority.issue("localhost");
        Self { authority, files }
    }

    fn proxy(&self, held: &HeldOrigin, settings: &[(&str, &str)]) -> Proxy {
        let [certificate, key] = &self.files;
        let files = [("tls_cert_file", certificate.as_str()), ("tls_key_file", key.as_str())];
        held.proxy(&[&files, settings].concat())
    }

    fn client(&self, protocol: &str) -> std::sync::Arc<ClientConfig> {
        self.authority.client(None, &[protocol])
    }

    /// Holds responses that their client does not read, over this protocol.
    fn hold_unread(&self, held: &HeldOrigin, proxy: &Proxy, protocol: &str) -> Vec<TlsClient> {
        let config = self.client(protocol);
        let connect = || TlsClient::connect(proxy.addr(), &config).unwrap();
        let mut clients: Vec<_>;
        if protocol == "h2" {
            clients = vec![connect()];
            let fields = [
                (":method", "GET"),
                (":scheme", "https"),
                (":authority", "localhost"),
                (":path", "/endless"),
            ];
            clients[0].send(PREFACE).unwrap();
            for stream in (1..).step_by(2).take(PERMITS) {
                let payload = block(&fields);
                let frame = Frame { kind: HEADERS, flags: END_STREAM | END_HEADERS, stream, payload };
                clients[0].send(frame.bytes()).unwrap();
            }
        } else {
            clients = (0..PERMITS).map(|_| connect()).collect();
            for client in &mut clients {
                client.send("GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            }
        }
        held.origin.await_count("/endless", PERMITS);
        clients
    }

    /// Returns the status of a miss of this address.
    fn status_of_miss(&self, proxy: &Proxy, own: IpAddr) -> u16 {
        let addr = proxy.addr();
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(own, 0).into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        let mut client = TlsClient::over(TcpStream::from(socket), &self.client("http/1.1")).unwrap();
        client.get("/private", &[]).unwrap().status
    }
}

#[test]
fn an_address_that_reads_nothing_over_tls_blocks_no_misses_of_others() {
    let (tls, own) = (TlsSide::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    for protocol in ["http/1.1", "h2"] {
        let held = HeldOrigin::start();
        let proxy = tls.proxy(&held, &[]);
        let clients = tls.hold_unread(&held, &proxy, protocol);
        for _ in 0..5 {
            assert_eq!(tls.status_of_miss(&proxy, VICTIM), 200, "{protocol}");
        }
        assert_eq!(tls.status_of_miss(&proxy, own), 503, "{protocol}");
        drop((clients, proxy));

        let held = HeldOrigin::start();
        let proxy = tls.proxy(&held, &[("client_body_timeout", "1s")]);
        let clients = tls.hold_unread(&held, &proxy, protocol);
        until("the unread answers to be cut", || tls.status_of_miss(&proxy, own) == 200);
        drop((clients, proxy));
    }
}

/// Ends a flood, also if its test panics.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One address reads nothing, and requests a path that always fails as fast as it can.
#[test]
fn an_address_that_floods_a_failing_path_and_reads_nothing_blocks_no_misses_of_others() {
    const FLOODING: usize = 6;
    for status in [500, 503] {
        let held = HeldOrigin::start();
        held.origin.answer("/failing", Answer::new(status, &[], "busy"));
        let proxy = held.proxy(&[]);
        let addr = proxy.addr();
        assert_eq!(Client::connect_from(VICTIM, addr).get("/private").status, 200);
        let limit = proxy.metric("cachewarp_origin_limit");
        let mut readers: Vec<_> = (0..PERMITS / 2).map(|_| Client::connect(addr)).collect();
        readers.iter_mut().for_each(|reader| reader.send_head("GET", "/large", &[]));
        held.gate.await_arrivals(readers.len());
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let end = EndOnDrop(&ended);
            for _ in 0..FLOODING {
                scope.spawn(|| {
                    let mut client = Client::connect(addr);
                    while !ended.load(Ordering::Relaxed) {
                        assert_eq!(client.get("/failing").status, status);
                    }
                });
            }
            held.origin.await_count("/failing", 20 * FLOODING);
            let mut victim = Client::connect_from(VICTIM, addr);
            let answers: Vec<_> = (0..100).map(|_| victim.get("/private").status).collect();
            let limit_now = proxy.metric("cachewarp_origin_limit");
            drop(end);
            assert_eq!(answers, [200; 100]);
            assert_eq!(limit_now, limit, "the failures of one path lower no limit");
        });
        held.gate.open();
    }
}
