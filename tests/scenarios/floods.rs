//! HTTP/2 floods: each ends its own connection or holds no memory, and no other client is affected.

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, status,
};
use crate::harness::{Answer, Gate, Origin, Proxy};

/// The error code of a flooding client (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 11;

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/a")];

fn error_code(goaway: &Frame) -> u32 {
    u32::from_be_bytes(goaway.payload[4..8].try_into().unwrap())
}

/// Reads until the connection ends. Returns the error code of its last GOAWAY.
fn goaway_code(client: &mut Http2) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = client.next() {
        assert_ne!(frame.kind, DATA, "a flood has no answers");
        if frame.kind == GOAWAY {
            code = Some(error_code(&frame));
        }
    }
    code
}

/// Checks that another client gets a response.
fn others_are_served(proxy: &Proxy) {
    assert_eq!(proxy.get("/other").status, 200);
}

fn stage() -> (Origin, Proxy) {
    let origin = Origin::start();
    origin.answer("/other", Answer::json("{}"));
    let proxy = Proxy::start(&origin.url(), &[]);
    (origin, proxy)
}

#[test]
fn streams_that_are_opened_and_reset_end_the_connection() {
    let (origin, proxy) = stage();
    let gate = Gate::new();
    origin.answer("/slow", Answer::silent().pass(&gate));
    let mut client = Http2::connect(proxy.addr());
    // One write sends all resets before the streams are accepted: CVE-2023-44487.
    let mut flood = Vec::new();
    let head = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/slow")]);
    for stream in (1..2_000).step_by(2) {
        let flags = END_STREAM | END_HEADERS;
        flood.extend(Frame { kind: HEADERS, flags, stream, payload: head.clone() }.bytes());
        let cancel = 8_u32.to_be_bytes().to_vec();
        flood.extend(Frame { kind: RST_STREAM, flags: 0, stream, payload: cancel }.bytes());
    }
    let _ = client.write(&flood);
    assert_eq!(goaway_code(&mut client), Some(ENHANCE_YOUR_CALM));
    others_are_served(&proxy);
    gate.open();
}

#[test]
fn provoking_stream_resets_ends_the_connection() {
    let (origin, proxy) = stage();
    // On a busy machine a reset may arrive late; the gate keeps the origin's response behind it.
    let gate = Gate::new();
    origin.answer("/a", Answer::silent().pass(&gate));
    let mut client = Http2::connect(proxy.addr());
    // A window beyond 31 bits is a stream error: CVE-2025-8671.
    for stream in (1..2_000).step_by(2) {
        let most = 0x7fff_ffff_u32.to_be_bytes();
        let sent = client
            .send(HEADERS, END_HEADERS, stream, &block(&POST))
            .and_then(|()| client.send(WINDOW_UPDATE, 0, stream, &most))
            .and_then(|()| client.send(WINDOW_UPDATE, 0, stream, &most));
        if sent.is_err() {
            break;
        }
    }
    // The kernel may answer the remaining bytes with a reset, which discards the GOAWAY.
    assert!(goaway_code(&mut client).is_none_or(|code| code == ENHANCE_YOUR_CALM));
    others_are_served(&proxy);
    gate.open();
}

#[test]
fn an_endless_head_ends_the_connection() {
    let (_origin, proxy) = stage();
    let mut client = Http2::connect(proxy.addr());
    client.send(HEADERS, END_STREAM, 1, &block(&POST)).unwrap();
    let piece = block(&[("x-more", "x".repeat(1_000))]);
    for _ in 0..10_000 {
        if client.send(CONTINUATION, 0, 1, &piece).is_err() {
            break;
        }
    }
    assert!(goaway_code(&mut client).is_none_or(|code| code == ENHANCE_YOUR_CALM));
    others_are_served(&proxy);
}

#[test]
fn an_overlong_head_gets_a_431() {
    let (origin, proxy) = stage();
    let mut client = Http2::connect(proxy.addr());
    let mut fields = POST.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    fields.extend((0..70).map(|number| (format!("x-{number}"), "x".repeat(1_000))));
    let whole = block(&fields);
    let mut pieces = whole.chunks(16 * 1024).peekable();
    client.send(HEADERS, END_STREAM, 1, pieces.next().unwrap()).unwrap();
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        client.send(CONTINUATION, end, 1, piece).unwrap();
    }
    let answer = std::iter::from_fn(|| client.next()).find(|frame| frame.kind == HEADERS).unwrap();
    assert_eq!((answer.stream, status(&answer.payload)), (1, 431));
    assert_eq!(origin.count("/a"), 0);
}

#[test]
fn a_header_bomb_ends_the_connection() {
    let (origin, proxy) = stage();
    let mut client = Http2::connect(proxy.addr());
    // One field of 4,000 bytes goes into the table (RFC 7541 §6.2.1), and one byte refers to it
    // each time.
    let mut head = block(&POST);
    let field = block(&[("x", "x".repeat(4_000))]);
    head.push(0x40);
    head.extend(&field[1..]);
    head.extend([0xbe; 8_000]);
    client.send(HEADERS, END_STREAM | END_HEADERS, 1, &head).unwrap();
    assert_eq!(goaway_code(&mut client), Some(ENHANCE_YOUR_CALM));
    assert_eq!(origin.count("/a"), 0);
    others_are_served(&proxy);
}

#[test]
fn pings_and_settings_are_answered_one_at_a_time() {
    let (_origin, proxy) = stage();
    let mut client = Http2::connect(proxy.addr());
    let ping = Frame { kind: PING, flags: 0, stream: 0, payload: vec![0; 8] }.bytes();
    let settings = Frame { kind: SETTINGS, flags: 0, stream: 0, payload: vec![0, 4, 0, 0, 255, 255] }.bytes();
    for _ in 0..500 {
        client.write(&ping).unwrap();
        client.write(&settings).unwrap();
    }
    client.get(1, "/other").unwrap();
    let answer = std::iter::from_fn(|| client.next()).find(|frame| frame.kind == HEADERS).unwrap();
    assert_eq!(status(&answer.payload), 200);
    others_are_served(&proxy);
}
