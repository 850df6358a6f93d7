//! Cost of a command in the Redis client, sockets included. A pool talks to a server that answers
//! from a table on the same thread, so the result is the path there and back, without the noise of
//! another process.
//!
//! `benches/clients/run.sh` compares the client with redis-rs and fred over a real `redis-server`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cachewarp::redis::{Options, RedisAddress, RedisPool};
use cachewarp::resp::{Frame, Inbox, Reply};
use cachewarp::telemetry::Registry;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_local, yield_now};

/// The length of CacheWarp's keys.
const KEY: &[u8] = b"cachewarp:1:0123456789abcdef0123456789abcdef";

fn options(socket: PathBuf) -> Options {
    Options {
        command_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        ..Options::at(RedisAddress::Unix(socket))
    }
}

async fn serve(listener: UnixListener, value: Bytes) {
    while let Ok((socket, _)) = listener.accept().await {
        spawn_local(answer(socket, value.clone()));
    }
}

/// One write answers all commands of one read.
async fn answer(mut socket: UnixStream, value: Bytes) {
    let mut inbox = Inbox::new();
    let mut replies = Vec::new();
    while socket.read_buf(inbox.room()).await.is_ok_and(|count| count > 0) {
        while let Ok(Some(Frame::Reply(Reply::Array(words)))) = inbox.frame() {
            match words.first() {
                Some(Reply::Bulk(name)) if &name[..] == b"GET" => {
                    replies.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                    replies.extend_from_slice(&value);
                    replies.extend_from_slice(b"\r\n");
                }
                Some(Reply::Bulk(name)) if &name[..] == b"HELLO" => {
                    replies.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n")
                }
                _ => replies.extend_from_slice(b"+OK\r\n"),
            }
        }
        if socket.write_all(&replies).await.is_err() {
            return;
        }
        replies.clear();
    }
}

/// Sends one `GET` from each of this many callers.
async fn batch(pool: &RedisPool, callers: usize) {
    let one = |pool: RedisPool| async move { drop(pool.get(KEY).await) };
    let calls: Vec<_> = (0..callers).map(|_| spawn_local(one(pool.clone()))).collect();
    for call in calls {
        let _ = call.await;
    }
}

fn get(criterion: &mut Criterion) {
    for (name, bytes) in [("100 B", 100), ("1 KB", 1024), ("64 KB", 64 * 1024)] {
        let mut group = criterion.benchmark_group(format!("GET of {name}, server included"));
        for callers in [1, 64, 512] {
            let folder = std::env::temp_dir()
                .join(format!("cachewarp-bench-{}-{bytes}-{callers}", std::process::id()));
            let _ = std::fs::remove_file(&folder);
            let (Ok(runtime), local) = (runtime(), LocalSet::new()) else { return };
            let pool = local.block_on(&runtime, async {
                let Ok(listener) = UnixListener::bind(&folder) else { return None };
                spawn_local(serve(listener, Bytes::from(vec![b'v'; bytes])));
                let pool = RedisPool::open(options(folder.clone()), &Registry::new());
                while !pool.is_connected() {
                    yield_now().await;
                }
                Some(pool)
            });
            let Some(pool) = pool else { return };
            group.throughput(Throughput::Elements(callers as u64));
            group.bench_function(format!("{callers} callers"), |bencher| {
                bencher.iter(|| local.block_on(&runtime, batch(&pool, callers)));
            });
            let _ = std::fs::remove_file(&folder);
        }
        group.finish();
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = get
}
criterion_main!(benches);
