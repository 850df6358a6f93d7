//! Costs of RESP, without sockets.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Buf, Bytes};
use cachewarp::limits::REDIS_WINDOW_COMMANDS;
use cachewarp::resp::{Command, Inbox, Outbox};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// The length of CacheWarp's keys.
const KEY: &[u8] = b"cachewarp:1:0123456789abcdef0123456789abcdef";

/// Returns the wire form of a value of this size.
fn reply(bytes: usize) -> Vec<u8> {
    [format!("${bytes}\r\n").as_bytes(), &vec![b'v'; bytes], b"\r\n"].concat()
}

fn encode(criterion: &mut Criterion) {
    let mut outbox = Outbox::new();
    let mut send = |command: &Command<'_>| {
        command.encode(&mut outbox);
        let count = outbox.remaining();
        black_box(outbox.chunk());
        outbox.advance(count);
    };
    criterion
        .bench_function("encode GET", |bencher| bencher.iter(|| send(&Command::Get { key: black_box(KEY) })));
    for bytes in [1024, 1024 * 1024] {
        let value = Bytes::from(vec![b'v'; bytes]);
        let command = Command::Set { key: KEY, value: &value, ttl: Duration::from_secs(30) };
        criterion.bench_function(&format!("encode SET of {bytes} bytes"), |bencher| {
            bencher.iter(|| send(black_box(&command)));
        });
    }
}

/// Reads `wire` as a socket would deliver it, and returns after `frames` frames.
fn decode_all(inbox: &mut Inbox, wire: &[u8], frames: usize) {
    inbox.room().extend_from_slice(wire);
    for _ in 0..frames {
        black_box(inbox.frame().ok().flatten());
    }
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    let one = reply(1024);
    let cases = [
        ("GET reply of 1 KiB", one.clone(), 1),
        ("a window of GET replies of 1 KiB", one.repeat(REDIS_WINDOW_COMMANDS), REDIS_WINDOW_COMMANDS),
        ("SET reply", b"+OK\r\n".to_vec(), 1),
        ("array of ten", [b"*10\r\n", &*b":1\r\n".repeat(10)].concat(), 1),
    ];
    for (name, wire, frames) in cases {
        let mut inbox = Inbox::new();
        group.throughput(Throughput::Elements(frames as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode_all(&mut inbox, black_box(&wire), frames))
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
