//! A real server that sleeps, is stopped, loads, is full or down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cachewarp::redis::{CommandError, RedisPool};
use cachewarp::resp::ErrorKind;
use cachewarp::telemetry::Registry;
use cachewarp::time::instant;
use tokio::net::TcpListener;
use tokio::task::spawn_local;

use crate::harness::{Redis, Value};
use crate::load::{Load, RECOVERY, TTL, beside, on_one_thread, options, resident_bytes, until};

/// Much longer than any caller's deadline.
const PAUSE: Duration = Duration::from_secs(2);

#[test]
fn asleep_paused_and_stopped_under_load() {
    on_one_thread(async {
        // Before Redis 7 it is enabled by default.
        let debug: &[_] = if Redis::version() < 7 { &[] } else { &["--enable-debug-command", "yes"] };
        let redis = Arc::new(Redis::start_with(debug));
        let pause = PAUSE.as_millis().to_string();
        let sleep = PAUSE.as_secs_f64().to_string();
        for fault in ["sleep", "pause", "stop"] {
            let load = Load::on(redis.addr().port()).await;
            let (server, pause, sleep) = (Arc::clone(&redis), pause.clone(), sleep.clone());
            beside(move || match fault {
                "sleep" => {
                    assert_eq!(server.command(&["DEBUG", "SLEEP", &sleep]), Value::Simple("OK".into()))
                }
                "pause" => {
                    assert_eq!(
                        server.command(&["CLIENT", "PAUSE", &pause, "ALL"]),
                        Value::Simple("OK".into())
                    );
                    std::thread::sleep(PAUSE);
                }
                _ => {
                    server.stall();
                    std::thread::sleep(PAUSE);
                    server.resume();
                }
            })
            .await;
            let well = instant();
            load.answered(1).await;
            assert!(well.elapsed() < RECOVERY, "{fault}: {:?}", well.elapsed());
            load.answered(1000).await;
            assert!(load.metric("breaker_opened_total{cause=\"silent\"}") > 0, "{fault}");
            assert!(load.metric("commands_total{outcome=\"breaker-open\"}") > 0, "{fault}");
            load.end().await;
        }
    });
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    on_one_thread(async {
        let redis = Arc::new(Redis::start_with(&["--dbfilename", "taken"]));
        // As an argument it would come second, and Redis 6 uses the first.
        assert_eq!(redis.command(&["CONFIG", "SET", "save", "3600 1"]), Value::Simple("OK".into()));
        let pool = RedisPool::open(options(redis.addr().port(), 2), &Registry::new());
        until(|| pool.is_connected()).await;
        while pool.set(b"k", "k".into(), TTL).await.is_err() {}
        let server = Arc::clone(&redis);
        beside(move || {
            // A folder exists at the path of the file.
            let Value::Array(dir) = server.command(&["CONFIG", "GET", "dir"]) else { panic!("no dir") };
            std::fs::create_dir(std::path::Path::new(&dir[1].text()).join("taken")).unwrap();
            server.command(&["BGSAVE"]);
            while !server.command(&["INFO", "persistence"]).text().contains("rdb_last_bgsave_status:err") {}
        })
        .await;
        let refused = Err(CommandError::Server(ErrorKind::Misconfigured));
        until_is(|| pool.set(b"k", "k".into(), TTL), refused).await;
        until_is(|| pool.get(b"k"), Ok(Some("k".into()))).await;
        pool.close().await;
    });
}

/// In a loop, since a deadline may pass on a busy machine.
async fn until_is<T: PartialEq, F: Future<Output = T>>(ask: impl Fn() -> F, expected: T) {
    while ask().await != expected {}
}

#[test]
fn loading_at_restart_under_load() {
    on_one_thread(async {
        // Two milliseconds for each key, so three seconds: longer than any back-off.
        let slowly = ["--key-load-delay", "2000", "--rdbcompression", "no"];
        // Clients are served between keys; before Redis 7 every two megabytes.
        let often = ["--loading-process-events-interval-bytes", "1024"];
        let often = if Redis::version() < 7 { &[][..] } else { &often };
        let redis = Arc::new(Mutex::new(Redis::start_with(&[&slowly, often].concat())));
        let port = redis.lock().unwrap().addr().port();
        let load = Load::on(port).await;
        let server = Arc::clone(&redis);
        beside(move || {
            let mut server = server.lock().unwrap();
            let fill =
                "for i = 1, 1500 do redis.call('SET', 'filler-' .. i, string.rep('x', 5000)) end return 1";
            assert_eq!(server.command(&["EVAL", fill, "0"]), Value::Integer(1));
            assert_eq!(server.command(&["SAVE"]), Value::Simple("OK".into()));
            server.restart();
        })
        .await;
        let ready = instant();
        load.answered(1).await;
        assert!(ready.elapsed() < RECOVERY, "{:?}", ready.elapsed());
        load.answered(1000).await;
        // If the refusal is slow to come, the server is silent first.
        let opened =
            ["loading", "silent"].map(|why| load.metric(&format!("breaker_opened_total{{cause=\"{why}\"}}")));
        assert!(opened.iter().sum::<u64>() > 0);
        load.end().await;
    });
}

#[test]
fn an_unreachable_server_gets_few_attempts() {
    on_one_thread(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = RedisPool::open(options(listener.local_addr().unwrap().port(), 20), &Registry::new());
        // Accepts and closes at once, as a server with too many clients does.
        let start = instant();
        let mut attempts = 0_u32;
        while start.elapsed() < Duration::from_secs(1) {
            let accepted = tokio::time::timeout(Duration::from_millis(100), listener.accept());
            attempts += u32::from(accepted.await.is_ok());
        }
        // Back-offs of 25 ms and more, each twice the last.
        assert!((2..=8).contains(&attempts), "{attempts} attempts in a second");
        assert_eq!(pool.get(b"k").await, Err(CommandError::NotConnected));
    });
}

#[test]
fn a_stalled_server_costs_bounded_memory() {
    on_one_thread(async {
        let redis = Redis::start();
        let pool = RedisPool::open(options(redis.addr().port(), 20), &Registry::new());
        until(|| pool.is_connected()).await;
        while pool.set(b"k", "k".into(), TTL).await.is_err() {}
        redis.stall();
        let before = resident_bytes();
        let mut most = 0;
        for _ in 0..40 {
            // 50 MiB of values at a time, 2 GiB in all, by concurrent callers.
            let writes: Vec<_> = (0..50_u8)
                .map(|number| {
                    let (pool, value) = (pool.clone(), Bytes::from(vec![number; 1 << 20]));
                    spawn_local(async move {
                        let key = [b'k', number];
                        let (set, got) = tokio::join!(pool.set(&key, value, TTL), pool.get(&key));
                        assert!(set.is_err() && got.is_err());
                    })
                })
                .collect();
            for write in writes {
                write.await.unwrap();
            }
            most = most.max(resident_bytes().saturating_sub(before));
        }
        redis.resume();
        // The values of one round, and four connections with two values each.
        assert!(most < 160 << 20, "{} MiB", most >> 20);
        pool.close().await;
    });
}
