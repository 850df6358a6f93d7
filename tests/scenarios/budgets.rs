//! The budget of one client address that uses all it may have and reads nothing: other clients are
//! unaffected, and the budget is freed again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    status,
};
use crate::harness::{Answer, Client, Gate, Origin, Program, Start, Then, until};
use crate::pinned::large;

/// The value of `max_requests_per_address` in these tests.
const PERMITS: usize = 48;
/// Three times the budget of the address.
const ASKED: usize = 3 * PERMITS;
/// Maximum memory of an unread response: a window of 256 KiB, and the buffers on both sides.
const UNREAD_KIB: u64 = 512;

const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// RFC 7541, appendix A: the first byte of a header block with `:status: 200`.
const OK: u8 = 0x88;

fn start(origin: &Origin, flags: &[&str]) -> Program {
    let url = format!("--origin-url={}", origin.url());
    let mut arguments =
        vec!["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--worker-threads=1", &url];
    arguments.extend(flags);
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

fn bounded(origin: &Origin) -> Program {
    let permits = format!("--max-requests-per-address={PERMITS}");
    start(origin, &[&permits, "--origin-max-connections=64", "--client-body-timeout=2s"])
}

/// Starts an origin with an endless resource, which passes the gate once its client reads no more,
/// and an uncacheable resource.
fn origin_of_unread(gate: &Gate) -> Origin {
    let origin = large(gate);
    origin.answer("/private", Answer::json_with(&[("Cache-Control", "no-store")], "{}"));
    origin
}

/// Checks that another address gets a response to each of its misses.
fn assert_others_are_served(addr: SocketAddr) {
    let mut victim = Client::connect_from(VICTIM, addr);
    for _ in 0..20 {
        assert_eq!(victim.get("/private").status, 200);
    }
}

/// Checks that other clients are served and memory is bounded while the address has used its whole
/// budget.
fn assert_bounded(program: &Program, gate: &Gate, before: u64) {
    gate.await_arrivals(PERMITS);
    let addr = program.await_addr();
    assert_others_are_served(addr);
    let grown = program.resident_kib().saturating_sub(before);
    assert!(grown < ASKED as u64 * UNREAD_KIB, "{grown} KiB");
}

/// Checks that the budget is free again although the address never read a byte.
fn assert_freed(addr: SocketAddr, gate: &Gate) {
    until("the unread answers to be cut", || Client::connect(addr).get("/private").status == 200);
    gate.open();
}

#[test]
fn an_address_that_reads_nothing_over_http1_blocks_no_misses_of_others() {
    let gate = Gate::new();
    let origin = origin_of_unread(&gate);
    let program = bounded(&origin);
    let addr = program.await_addr();
    assert_others_are_served(addr);
    let before = program.resident_kib();
    let mut readers: Vec<_> = (0..PERMITS).map(|_| Client::connect(addr)).collect();
    readers.iter_mut().for_each(|reader| reader.send_head("GET", "/large", &[]));
    let refused = Client::connect(addr);
    assert_bounded(&program, &gate, before);
    drop(refused);
    assert_freed(addr, &gate);
}

#[test]
fn an_address_that_reads_nothing_over_http2_blocks_no_misses_of_others() {
    /// Number of streams on each of two connections.
    const STREAMS: u32 = 72;
    let gate = Gate::new();
    let origin = origin_of_unread(&gate);
    let program = bounded(&origin);
    let addr = program.await_addr();
    assert_others_are_served(addr);
    let before = program.resident_kib();
    let mut readers = [Http2::connect(addr), Http2::connect(addr)];
    for reader in &mut readers {
        // Each stream has an empty window.
        reader.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
        for stream in (1..2 * STREAMS).step_by(2) {
            reader.get(stream, "/large").unwrap();
        }
    }
    assert_bounded(&program, &gate, before);
    let refusal = Client::connect(addr).get("/private");
    assert_eq!((refusal.status, refusal.field("retry-after")), (503, Some("1")));
    let (mut answered, mut refused, mut ended) = (0, 0, 0);
    for reader in &mut readers {
        let mut goaway = false;
        while let Some(frame) = reader.next() {
            assert_ne!(frame.kind, DATA, "its windows are empty");
            match frame.kind {
                HEADERS if frame.payload.first() == Some(&OK) => answered += 1,
                HEADERS => refused += 1,
                RST_STREAM => ended += 1,
                GOAWAY => goaway = true,
                PING => reader.send(PING, 1, 0, &frame.payload).unwrap(),
                _ => {}
            }
        }
        assert!(goaway, "the connection ends in order");
    }
    assert_eq!((answered, refused), (PERMITS, 2 * STREAMS as usize - PERMITS));
    assert!(ended >= PERMITS, "{ended} streams were reset");
    assert_freed(addr, &gate);
}

#[test]
fn a_slow_reader_of_one_stream_does_not_block_the_others_of_its_connection() {
    let gate = Gate::new();
    let origin = origin_of_unread(&gate);
    let program = bounded(&origin);
    let mut client = Http2::connect(program.await_addr());
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
    client.get(1, "/large").unwrap();
    client.get(3, "/private").unwrap();
    gate.await_arrivals(1);
    // Only the other stream gets a window.
    client.send(WINDOW_UPDATE, 0, 3, &1024_u32.to_be_bytes()).unwrap();
    let mut ended = Vec::new();
    while let Some(frame) = client.next() {
        match frame.kind {
            DATA => {
                assert_eq!((frame.stream, frame.payload.as_slice()), (3, &b"{}"[..]));
                ended.push((DATA, frame.stream));
            }
            RST_STREAM => ended.push((RST_STREAM, frame.stream)),
            PING => client.send(PING, 1, 0, &frame.payload).unwrap(),
            _ => {}
        }
    }
    assert_eq!(ended, [(DATA, 3), (RST_STREAM, 1)]);
    gate.open();
}

#[test]
fn multiple_ranges_of_a_body_are_not_copied() {
    const CONNECTIONS: usize = 10;
    const STREAMS: u32 = 100;
    const BODY_BYTES: usize = 1_000_000;
    let origin = Origin::start();
    let body = format!("\"{}\"", "x".repeat(BODY_BYTES));
    for path in ["/stored", "/cold"] {
        origin.answer(path, Answer::json_with(&[("Cache-Control", "max-age=600")], &body));
    }
    let program = start(&origin, &["--max-requests-per-address=0"]);
    let addr = program.await_addr();
    let mut other = Client::connect(addr);
    assert_eq!(other.get("/stored").status, 200);
    until("the response to be stored", || other.get("/stored").cache_status().contains("hit"));
    let before = program.resident_kib();
    // Most requests for the second path arrive while its fetch is under way.
    for path in ["/stored", "/cold"] {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", path),
            ("range", "bytes=0-0,1-"),
        ];
        let mut readers: Vec<_> = (0..CONNECTIONS).map(|_| Http2::connect(addr)).collect();
        for reader in &mut readers {
            reader.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
            for stream in (1..2 * STREAMS).step_by(2) {
                reader.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields)).unwrap();
            }
        }
        for reader in &mut readers {
            let mut heads = 0;
            while heads < STREAMS {
                let frame = reader.next().expect("an answer");
                if frame.kind == HEADERS {
                    assert_eq!(status(&frame.payload), 206);
                    heads += 1;
                }
            }
        }
        let grown = program.resident_kib().saturating_sub(before);
        let copied = (CONNECTIONS * STREAMS as usize * BODY_BYTES) as u64 / 1024;
        assert!(grown < copied / 10, "{path}: {grown} KiB; copies would be {copied} KiB");
    }
}

#[test]
fn the_tunnels_of_one_address_leave_origin_connections_to_others() {
    /// Connections to the origin, and the share of one address in the tunnels.
    const CONNECTIONS: usize = 16;
    const TUNNELS: usize = 9;
    let origin = Origin::start();
    origin.answer("/private", Answer::json_with(&[("Cache-Control", "no-store")], "{}"));
    origin.script("/ws", |exchange| {
        exchange
            .write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        exchange.await_close()?;
        Ok(Then::Close)
    });
    let connections = format!("--origin-max-connections={CONNECTIONS}");
    let program = start(&origin, &[&connections, "--origin-queue-timeout=100ms"]);
    let addr = program.await_addr();
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let open = |from: IpAddr| {
        let mut client = Client::connect_from(from, addr);
        client.send_head("GET", "/ws", &upgrade);
        (client.head().word(1).to_owned(), client)
    };
    let mut held: Vec<_> = (0..2 * CONNECTIONS).map(|_| open(Ipv4Addr::LOCALHOST.into())).collect();
    held.retain(|(status, _)| status == "101");
    assert_eq!(held.len(), TUNNELS);
    let refusal = Client::connect(addr).request("GET", "/ws", &upgrade);
    assert_eq!((refusal.status, refusal.field("retry-after")), (503, Some("1")));
    assert_others_are_served(addr);
    let (status, tunnel) = open(VICTIM);
    assert_eq!(status, "101", "another address has tunnels too");
    drop((tunnel, held));
    until("the tunnels to end", || open(Ipv4Addr::LOCALHOST.into()).0 == "101");
}

/// Two addresses behind a trusted proxy hold stored answers that they do not read. The budget of
/// all answers has room for four.
#[test]
fn unread_stored_answers_have_a_budget_and_the_greedy_address_is_cut_first() {
    const BODY_BYTES: usize = 1_000_000;
    const GREEDY: usize = 12;
    /// The greedy answers that fit the budget beside the one of the other address.
    const KEPT: usize = 3;
    let origin = Origin::start();
    let paths: Vec<_> = (0..=GREEDY).map(|number| format!("/{number}")).collect();
    let body = format!("\"{}\"", "x".repeat(BODY_BYTES - 2));
    for path in &paths {
        origin.answer(path, Answer::json_with(&[("Cache-Control", "max-age=600")], &body));
    }
    // Memory has room for all of them in any of its shards.
    let flags = ["--max-answer-memory=4500000", "--trusted-proxies=127.0.0.1", "--cache-memory-size=1GiB"];
    let program = start(&origin, &flags);
    let addr = program.await_addr();
    for path in &paths {
        until("the response to be stored", || Client::connect(addr).get(path).cache_status().contains("hit"));
    }
    let open = |client: &str, path: &str| {
        let mut reader = Http2::connect(addr);
        reader.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).unwrap();
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "test"),
            (":path", path),
            ("x-forwarded-for", client),
        ];
        reader.send(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields)).unwrap();
        while reader.next().expect("an answer").kind != HEADERS {}
        reader
    };
    // A connection of a cut answer ends; any other gives its whole body once its client reads.
    let read = |mut reader: Http2| {
        let _ = reader.send(WINDOW_UPDATE, 0, 0, &2_000_000_u32.to_be_bytes());
        let _ = reader.send(WINDOW_UPDATE, 0, 1, &2_000_000_u32.to_be_bytes());
        let mut bytes = 0;
        while bytes < BODY_BYTES
            && let Some(frame) = reader.next()
        {
            bytes += if frame.kind == DATA { frame.payload.len() } else { 0 };
        }
        bytes
    };
    let other = open("192.0.2.2", "/0");
    let greedy: Vec<_> = paths.iter().skip(1).map(|path| open("192.0.2.1", path)).collect();
    assert_eq!(read(other), BODY_BYTES, "the other address loses nothing");
    let read: Vec<_> = greedy.into_iter().map(read).collect();
    let (cut, kept) = read.split_at(GREEDY - KEPT);
    assert!(cut.iter().all(|bytes| *bytes == 0), "the oldest answers: {read:?}");
    assert!(kept.iter().all(|bytes| *bytes == BODY_BYTES), "the newest answers: {read:?}");
    let range = Client::connect(addr).request("GET", "/1", &[("Range", "bytes=0-9")]);
    assert_eq!((range.status, range.body.len()), (206, 10));
}

#[test]
fn followers_do_not_inherit_the_refusal_of_their_leaders_address() {
    /// Three quarters of the connections, which one address may use while others wait.
    const HELD: usize = 3;
    let (origin, gate) = (Origin::start(), Gate::new());
    origin.answer("/slow", Answer::silent().pass(&gate).hang());
    origin.answer("/hot", Answer::json_with(&[("Cache-Control", "max-age=60")], "{}"));
    let program = start(&origin, &["--origin-max-connections=4", "--origin-queue-timeout=500ms"]);
    let addr = program.await_addr();
    let greedy = |path: &str| {
        let mut client = Client::connect_from(VICTIM, addr);
        client.send_head("GET", path, &[]);
        client
    };
    let held: Vec<_> = (0..HELD).map(|number| greedy(&format!("/slow?{number}"))).collect();
    gate.await_arrivals(HELD);
    let mut leader = greedy("/hot");
    let mut followers: Vec<_> = (0..5).map(|_| Client::connect(addr)).collect();
    followers.iter_mut().for_each(|client| client.send_head("GET", "/hot", &[]));
    for client in &mut followers {
        assert_eq!(client.response().status, 200);
    }
    // The leader's address has no turn left; its own request may have got the followers' response.
    assert!([200, 503].contains(&leader.response().status));
    drop(held);
    gate.open();
}
