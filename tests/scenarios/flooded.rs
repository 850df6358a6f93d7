//! Floods of small pieces, from the origin or from a client: the same worker answers hits of other
//! clients meanwhile, and the deadlines of other requests hold.
//!
//! Each flood goes on until all answers have arrived. If it kept its worker to itself, there would
//! be none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::harness::frames::{DATA, END_HEADERS, Frame, HEADERS, block};
use crate::harness::{Answer, Exchange, Origin, PATIENCE, Proxy, Then, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The number of clients that flood.
const FLOODS: usize = 3;
/// The number of pieces in each write of a flood.
const PIECES: usize = 16;
/// The number of writes that show that a flood goes on.
const STEPS: usize = 20;

/// The progress of a flood, and whether it has to end.
#[derive(Clone, Default)]
struct FloodProgress(Arc<(AtomicUsize, AtomicBool)>);

impl FloodProgress {
    /// Counts a step. Returns whether the flood goes on.
    fn step(&self) -> bool {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        !self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }

    fn await_steps(&self, name: &str) {
        let before = self.0.0.load(Ordering::Relaxed);
        let awaited = format!("the flood of {name} to go on");
        until(&awaited, || self.0.0.load(Ordering::Relaxed) >= before + STEPS);
    }
}

/// Ends a flood, also if its test panics.
struct EndOnDrop<'a>(&'a FloodProgress);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.0.1.store(true, Ordering::Relaxed);
    }
}

/// One connection of a client that floods. It ends with any error.
type FloodClient = fn(&mut TcpStream, &FloodProgress) -> io::Result<()>;

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Checks a worker that several clients flood, each with one connection after the other.
fn assert_served_during(name: &str, origin: &Origin, progress: &FloodProgress, client: FloodClient) {
    origin.answer("/hit", Answer::json_with(&[("Cache-Control", "max-age=600")], "{}"));
    origin.answer("/silent", Answer::silent().hang());
    origin.script("/sink", |exchange| exchange.await_close().map(|()| Then::Close));
    let settings = [("origin_head_timeout", "1s"), ("client_head_timeout", "1s")];
    let proxy = Proxy::start(&origin.url(), &settings);
    until("a hit", || proxy.get("/hit").cache_status().contains("hit"));
    let addr = proxy.addr();
    thread::scope(|scope| {
        let end = EndOnDrop(progress);
        for _ in 0..FLOODS {
            scope.spawn(|| {
                while !progress.has_ended() {
                    let ended = connect(addr).and_then(|mut stream| client(&mut stream, progress));
                    // The proxy may refuse the flood, and then its client begins anew.
                    drop(ended);
                    progress.step();
                }
            });
        }
        progress.await_steps(name);
        let mut victim = proxy.connect();
        for _ in 0..20 {
            assert!(victim.get("/hit").cache_status().contains("hit"), "{name}");
        }
        let (mut unanswered, mut slow) = (proxy.connect(), proxy.connect());
        unanswered.send_head("GET", "/silent", &[]);
        slow.send("GET /hit HTTP/1.1\r\nHo");
        assert_eq!(unanswered.response().status, 504, "{name}");
        assert_eq!(slow.response().status, 408, "{name}");
        assert!(victim.get("/hit").cache_status().contains("hit"), "{name}");
        // The rest of the flood fills the buffers of the sockets until here.
        drop(end);
    });
}

/// Requests `/flood`, and reads everything.
fn read_flood(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"GET /flood HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut piece = [0; 16 * 1024];
    while stream.read(&mut piece)? > 0 && !progress.has_ended() {}
    Ok(())
}

/// Checks a flood that the origin writes without end: a beginning, and a repeated piece.
fn assert_served_during_flood_of_origin(name: &str, beginning: &'static str, piece: &str) {
    let (origin, progress, pieces) = (Origin::start(), FloodProgress::default(), piece.repeat(PIECES));
    let written = progress.clone();
    origin.script("/flood", move |exchange: &mut Exchange| {
        exchange.write(beginning)?;
        while written.step() {
            exchange.write(&pieces)?;
        }
        Ok(Then::Close)
    });
    assert_served_during(name, &origin, &progress, read_flood);
}

#[test]
fn a_worker_answers_others_during_a_flood_of_the_origin() {
    let chunked = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stored = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (name, beginning, piece) in [
        ("chunks", chunked, "1\r\nx\r\n"),
        ("chunks that may be stored", stored, "1\r\n1\r\n"),
        ("chunk extensions", chunked, "1;a=b;c=\"d\"\r\nx\r\n"),
        ("a long chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "a=b;"),
        ("trailers", trailers, "A: b\r\n"),
        ("fields", "HTTP/1.1 200 OK\r\n", "A: b\r\n"),
        ("empty lines", "", "\r\n"),
        ("interim responses", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("interim responses with fields", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        ("bytes without length", "HTTP/1.0 200 OK\r\n\r\n", "x"),
    ] {
        assert_served_during_flood_of_origin(name, beginning, piece);
    }
}

/// Writes a piece without end.
fn write_flood(stream: &mut TcpStream, progress: &FloodProgress, pieces: &[u8]) -> io::Result<()> {
    while progress.step() {
        stream.write_all(pieces)?;
    }
    Ok(())
}

fn write_chunks(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"POST /sink HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    write_flood(stream, progress, "1\r\nx\r\n".repeat(PIECES).as_bytes())
}

fn write_chunks_to_a_hit(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"GET /hit HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    write_flood(stream, progress, "1\r\nx\r\n".repeat(PIECES).as_bytes())
}

fn write_query(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"QUERY /sink HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    write_flood(stream, progress, "1\r\nx\r\n".repeat(PIECES).as_bytes())
}

fn write_trailers(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"POST /sink HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")?;
    write_flood(stream, progress, "a: b\r\n".repeat(PIECES).as_bytes())
}

fn write_fields(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    stream.write_all(b"GET /hit HTTP/1.1\r\nHost: test\r\n")?;
    write_flood(stream, progress, "a: b\r\n".repeat(PIECES).as_bytes())
}

fn write_empty_lines(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    write_flood(stream, progress, "\r\n".repeat(PIECES).as_bytes())
}

fn pipeline_hits(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    let mut reader = stream.try_clone()?;
    let read = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let written =
        write_flood(stream, progress, "GET /hit HTTP/1.1\r\nHost: test\r\n\r\n".repeat(PIECES).as_bytes());
    let closed = stream.shutdown(Shutdown::Both);
    drop(read.join());
    written.and(closed)
}

/// Sends one-byte DATA frames of an upload over HTTP/2, as far as the first window goes.
fn write_data_frames(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/sink")];
    let head = Frame { kind: HEADERS, flags: END_HEADERS, stream: 1, payload: block(&fields) };
    let data = Frame { kind: DATA, flags: 0, stream: 1, payload: b"x".to_vec() };
    stream.write_all(PREFACE)?;
    stream.write_all(&head.bytes())?;
    write_flood(stream, progress, &data.bytes().repeat(PIECES))
}

/// Sends frames that change nothing, which HTTP/2 does not bound.
fn write_idle_frames(stream: &mut TcpStream, progress: &FloodProgress) -> io::Result<()> {
    const PRIORITY: u8 = 2;
    const UNKNOWN: u8 = 0xff;
    let priority = Frame { kind: PRIORITY, flags: 0, stream: 1, payload: vec![0, 0, 0, 3, 16] };
    let unknown = Frame { kind: UNKNOWN, flags: 0, stream: 0, payload: Vec::new() };
    stream.write_all(PREFACE)?;
    write_flood(stream, progress, &[priority.bytes(), unknown.bytes()].concat().repeat(PIECES))
}

#[test]
fn a_worker_answers_others_during_a_flood_of_a_client() {
    let floods: [(&str, FloodClient); 9] = [
        ("chunks", write_chunks),
        ("chunks to a hit", write_chunks_to_a_hit),
        ("chunks of a query", write_query),
        ("trailers", write_trailers),
        ("fields", write_fields),
        ("empty lines", write_empty_lines),
        ("pipelined hits", pipeline_hits),
        ("frames of one byte", write_data_frames),
        ("frames that change nothing", write_idle_frames),
    ];
    for (name, client) in floods {
        assert_served_during(name, &Origin::start(), &FloodProgress::default(), client);
    }
}
