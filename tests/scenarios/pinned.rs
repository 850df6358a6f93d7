//! The memory that clients and origins can make the process hold. The tests check upper bounds
//! only: those of SECURITY.md, with a margin.

use crate::harness::frames::{Http2, SETTINGS, WINDOW_UPDATE};
use crate::harness::{Answer, Client, Gate, Origin, Program, Start, Then, until};

const KIB: u64 = 1024;

/// More pieces than all socket buffers on the path hold.
const PIECES: usize = 1024;
static PIECE: [u8; 0x10000] = [b' '; 0x10000];

/// Maximum memory of an unread response: a window of 256 KiB, and the buffers on both sides.
const UNREAD_KIB: u64 = 512;

fn start(origin: &Origin, flags: &[&str]) -> Program {
    let url = format!("--origin-url={}", origin.url());
    let mut arguments =
        vec!["--listen-addr=127.0.0.1:0", "--admin-addr=off", "--redis-url=off", "--worker-threads=1", &url];
    arguments.extend(flags);
    Program::start(&Start { arguments: &arguments, ..Start::default() })
}

/// Returns the growth since `before`, in KiB.
fn grown(program: &Program, before: u64) -> u64 {
    program.resident_kib().saturating_sub(before)
}

/// A process under test, with one well-behaved client.
struct Watched {
    program: Program,
    path: &'static str,
    other: Client,
    before: u64,
}

impl Watched {
    /// Starts the process, and requests `path` as the well-behaved client.
    fn start(origin: &Origin, path: &'static str) -> Self {
        let program = start(origin, &[]);
        let mut other = Client::connect(program.await_addr());
        assert_eq!(other.get(path).status, 200);
        let before = program.resident_kib();
        Self { program, path, other, before }
    }

    /// Checks that `count` clients that read nothing hold at most a window each, and that other
    /// clients are served.
    fn assert_held_by(&mut self, count: usize) {
        let grown = grown(&self.program, self.before);
        assert!(grown < count as u64 * UNREAD_KIB, "{grown} KiB for {count}");
        assert_eq!(self.other.get(self.path).status, 200, "others are served");
    }
}

/// Starts an origin whose `/large` writes until its client reads no more, and then passes the gate.
pub(crate) fn large(gate: &Gate) -> Origin {
    let origin = Origin::start();
    let at_gate = gate.clone();
    origin.script("/large", move |exchange| {
        exchange.body()?;
        let length = PIECE.len() * PIECES;
        exchange.write(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {length}\r\n\r\n"
        ))?;
        exchange.write_until_full(&PIECE, PIECES);
        at_gate.pass();
        Ok(Then::Close)
    });
    origin
}

#[test]
fn clients_that_never_read_hold_a_window_each() {
    const READERS: usize = 32;
    let gate = Gate::new();
    let origin = large(&gate);
    let mut watched = Watched::start(&origin, "/health");
    let mut readers: Vec<_> = (0..READERS).map(|_| Client::connect(watched.program.await_addr())).collect();
    readers.iter_mut().for_each(|reader| reader.send_head("GET", "/large", &[]));
    gate.await_arrivals(READERS);
    watched.assert_held_by(READERS);
    gate.open();
}

#[test]
fn http2_clients_that_never_read_hold_a_window_each() {
    const STREAMS: u32 = 100;
    let gate = Gate::new();
    let origin = large(&gate);
    let mut watched = Watched::start(&origin, "/health");
    let mut reader = Http2::connect(watched.program.await_addr());
    // The client's windows of 2^31 - 1 for each stream and for the connection leave only the
    // server's own limits.
    reader.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).unwrap();
    reader.send(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes()).unwrap();
    for stream in (1..2 * STREAMS).step_by(2) {
        reader.get(stream, "/large").unwrap();
    }
    gate.await_arrivals(STREAMS as usize);
    watched.assert_held_by(STREAMS as usize);
    gate.open();
}

#[test]
fn requests_behind_unread_responses_stay_in_the_socket() {
    const CLIENTS: usize = 8;
    let origin = Origin::start();
    let body = format!("\"{}\"", "x".repeat(8 * 1024));
    origin.answer("/hit", Answer::json_with(&[("Cache-Control", "max-age=600")], &body));
    let mut watched = Watched::start(&origin, "/hit");
    let request = "GET /hit HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1_000);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Client::connect(watched.program.await_addr());
        let taken = client.send_until_full(request.as_bytes(), 10_000);
        assert!(taken < 10_000 * request.len(), "the server read all requests");
        clients.push(client);
    }
    watched.assert_held_by(CLIENTS);
}

#[test]
fn idle_connections_cost_little_and_are_closed() {
    const IDLE: usize = 200;
    const EACH_KIB: u64 = 64;
    let origin = Origin::start();
    let program = start(&origin, &["--client-idle-timeout=5s", "--client-head-timeout=5s"]);
    let addr = program.await_addr();
    assert_eq!(Client::connect(addr).get("/health").status, 200);
    let before = program.resident_kib();
    let silent: Vec<_> = (0..IDLE).map(|_| Client::connect(addr)).collect();
    // One after another: an idle client is closed too, however long the others take.
    let mut asked = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..IDLE {
        let mut client = Client::connect(addr);
        assert_eq!(client.get("/health").status, 200);
        asked.push(client);
        let mut client = Http2::connect(addr);
        assert!(client.next().is_some());
        streams.push(client);
    }
    let grown = grown(&program, before);
    assert!(grown < 3 * IDLE as u64 * EACH_KIB, "{grown} KiB");
    for mut client in silent.into_iter().chain(asked) {
        assert_eq!(client.rest(), b"");
    }
    for mut client in streams {
        while client.next().is_some() {}
    }
}

/// Returns a Zstandard frame (RFC 8878 §3.1.1) of blocks of four bytes, each of which repeats one
/// byte 128 KiB times.
fn bomb(blocks: usize) -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 * 1024;
    const REPEATED: u32 = 1 << 1;
    let mut frame = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    for number in 1..=blocks {
        let header = (BLOCK_BYTES << 3) | REPEATED | u32::from(number == blocks);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}

#[test]
fn a_compression_bomb_is_checked_up_to_a_limit() {
    let origin = Origin::start();
    let body = bomb(200_000);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: zstd\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    origin.answer("/bomb", Answer::raw(head).send(body.clone()));
    let program = start(&origin, &[]);
    let mut client = Client::connect(program.await_addr());
    assert_eq!(client.get("/health").status, 200);
    let before = program.peak_kib();
    // Requests join the fetch until its check ends. A stored body would end the requests.
    until("three fetches of a body that is not stored", || {
        assert_eq!(client.get("/bomb").body, body, "the bytes, unchanged");
        origin.count("/bomb") >= 3
    });
    let grown = program.peak_kib() - before;
    // Eight times `cache_max_body`, with a margin for the decoder's window and for growing buffers.
    assert!(grown < 96 * KIB, "{grown} KiB for a body of 25 GiB");
}

#[test]
fn deep_or_long_json_is_checked_in_bounded_memory() {
    // Deeper than `entry/json.rs` checks: the body passes through and is not stored.
    const DEEP: usize = 1_000_000;
    let origin = Origin::start();
    let deep = "[".repeat(DEEP) + &"]".repeat(DEEP);
    let long = format!("[{}1]", "1,".repeat(2 << 20));
    let unclosed = "[".repeat(DEEP);
    for (path, body) in [("/deep", &deep), ("/long", &long), ("/unclosed", &unclosed)] {
        origin.answer(path, Answer::json_with(&[("Cache-Control", "max-age=600")], body));
    }
    let program = start(&origin, &["--cache-max-body=5MiB"]);
    let mut client = Client::connect(program.await_addr());
    assert_eq!(client.get("/health").status, 200);
    let before = program.peak_kib();
    for (path, body) in [("/deep", &deep), ("/unclosed", &unclosed)] {
        until("two fetches of a body that is not stored", || {
            assert_eq!(client.get(path).text(), body);
            origin.count(path) >= 2
        });
    }
    for _ in 0..2 {
        assert_eq!(client.get("/long").text(), long);
    }
    assert_eq!(origin.count("/long"), 1, "stored");
    let grown = program.peak_kib() - before;
    assert!(grown < 5 * 48 * KIB, "{grown} KiB for bodies of 4 MiB");
}
