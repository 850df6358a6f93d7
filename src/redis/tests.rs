//! A pool against a scripted server: each test is a dialogue, and none sleeps until something has
//! happened.

pub(crate) mod model;
pub(crate) mod network;
mod pacing;
mod script;
mod simulation;
mod topologies;
mod world;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_local};

pub(super) use self::model::RedisModel;
use self::script::{
    GREETING, ScriptedPeer, ScriptedServer, SocketPath, ann, on_one_thread, open, pair, until,
};
use super::*;
use crate::limits::{
    REDIS_BACKOFF_MIN, REDIS_BULK_BYTES_MIN, REDIS_LANE_COMMANDS_MIN, REDIS_STALL_MIN, REDIS_WINDOW_COMMANDS,
};
use crate::resp::ErrorKind;
use crate::telemetry::Registry;
use crate::time::instant;

/// Dials into this thread's in-process servers, if it has any.
pub(super) fn dial(port: u16) -> Option<std::io::Result<Box<dyn connection::RedisSocket>>> {
    world::dial(port).or_else(|| network::dial(port))
}

/// A command timeout short enough for tests that wait for it.
const SHORT: Duration = Duration::from_millis(40);
/// The tolerance of a busy test machine. `pacing` tests exact times.
const LATE: Duration = Duration::from_secs(2);

type GetOutcome = Result<Option<Bytes>, CommandError>;

/// A caller in a task of its own.
fn get(pool: &RedisPool, key: &str) -> JoinHandle<GetOutcome> {
    let (pool, key) = (pool.clone(), key.to_owned());
    spawn_local(async move { pool.get(key.as_bytes()).await })
}

fn value(text: &'static str) -> GetOutcome {
    Ok(Some(Bytes::from_static(text.as_bytes())))
}

#[test]
fn commands_and_their_replies() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        let caller = async {
            assert_eq!(pool.get(b"a").await, value("1"));
            assert_eq!(pool.get(b"b").await, Ok(None));
            assert_eq!(pool.set(b"c", "{}".into(), Duration::from_millis(1500)).await, Ok(()));
            assert_eq!(pool.command(&Command::Unlink { key: b"c" }).await.map(drop), Ok(()));
            assert_eq!(pool.command(&Command::Ping).await.map(drop), Ok(()));
        };
        let script = async {
            for (command, reply) in [
                ("GET a", "$1\r\n1\r\n"),
                ("GET b", "_\r\n"),
                ("SET c {} PX 1500", "+OK\r\n"),
                ("UNLINK c", ":1\r\n"),
                ("PING", "+PONG\r\n"),
            ] {
                client.hears(command).await;
                client.says(reply).await;
            }
        };
        tokio::join!(caller, script);
    });
}

#[test]
fn many_callers_share_a_connection_and_each_gets_its_own() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        let keys: Vec<_> = (0..REDIS_WINDOW_COMMANDS).map(|number| format!("key-{number}")).collect();
        let callers: Vec<_> = keys.iter().map(|key| get(&pool, key)).collect();
        let mut replies = String::new();
        for key in &keys {
            client.hears(&format!("GET {key}")).await;
            replies += &format!(">1\r\n+news\r\n${}\r\n{key}\r\n", key.len());
        }
        // In pieces that end anywhere.
        for piece in replies.as_bytes().chunks(7) {
            client.says(piece).await;
        }
        for (caller, key) in callers.into_iter().zip(keys) {
            assert_eq!(caller.await.unwrap(), Ok(Some(key.into())));
        }
    });
}

#[test]
fn login_in_resp3_and_in_resp2() {
    on_one_thread(async {
        let place = SocketPath::new();
        let server = place.listen();
        let pool = open(Options { credentials: ann(), database: 7, ..place.options() });
        let mut client = server.accept().await;
        for (command, reply) in [
            ("HELLO 3 AUTH ann pass", GREETING),
            ("CLIENT SETNAME cachewarp", "+OK\r\n"),
            ("SELECT 7", "+OK\r\n"),
        ] {
            client.hears(command).await;
            client.says(reply).await;
        }
        until(|| pool.is_connected()).await;
        drop(client);
        until(|| !pool.is_connected()).await;

        let mut client = server.accept().await;
        for (command, reply) in [
            ("HELLO 3 AUTH ann pass", "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"),
            ("AUTH ann pass", "+OK\r\n"),
            ("CLIENT SETNAME cachewarp", "+OK\r\n"),
            ("SELECT 7", "+OK\r\n"),
        ] {
            client.hears(command).await;
            client.says(reply).await;
        }
        until(|| pool.is_connected()).await;
        let caller = get(&pool, "a");
        client.hears("GET a").await;
        client.says("$-1\r\n").await;
        assert_eq!(caller.await.unwrap(), Ok(None));
    });
}

#[test]
fn a_refused_login_is_retried() {
    on_one_thread(async {
        let place = SocketPath::new();
        let server = place.listen();
        let pool = open(place.options());
        for refusal in ["-NOAUTH HELLO must\r\n", "-LOADING wait\r\n", "+OK\r\n", "HTTP/1.1 400\r\n", ""] {
            let mut client = server.accept().await;
            client.hears("HELLO 3").await;
            client.says(refusal).await;
            if refusal.is_empty() {
                drop(client);
                // The next dial is one of RESP2.
                let mut client = server.accept().await;
                client.hears("CLIENT SETNAME cachewarp").await;
            } else {
                client.is_left().await;
            }
            assert_eq!(pool.get(b"a").await, Err(CommandError::NotConnected));
        }
        let _client = server.greet().await;
        until(|| pool.is_connected()).await;
    });
}

#[test]
fn an_error_reply_fails_its_caller_and_keeps_the_connection() {
    on_one_thread(async {
        let place = SocketPath::new();
        let mut fleet = ConnectedPool::of(&place, 1).await;
        let (pool, registry, mut client) = (fleet.pool, fleet.registry, fleet.clients.remove(0));
        for (reply, kind) in [
            ("-LOADING Redis is loading the dataset in memory\r\n", ErrorKind::Loading),
            ("-READONLY You can't write against a read only replica.\r\n", ErrorKind::ReadOnly),
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", ErrorKind::Oom),
            ("-NOAUTH Authentication required.\r\n", ErrorKind::NoAuth),
            ("-WRONGTYPE Operation against a key\r\n", ErrorKind::WrongType),
            ("!10\r\nBUSY it is\r\n", ErrorKind::Busy),
            ("-\r\n", ErrorKind::Other),
        ] {
            let caller = get(&pool, "a");
            client.hears("GET a").await;
            client.says(reply).await;
            assert_eq!(caller.await.unwrap(), Err(CommandError::Server(kind)));
            if [ErrorKind::Loading, ErrorKind::Busy].contains(&kind) {
                // The refusal applies to all commands, until a probe succeeds.
                assert_eq!(pool.get(b"a").await, Err(CommandError::BreakerOpen));
                client.hears("PING").await;
                client.says(reply).await;
                client.hears("PING").await;
                client.says("+PONG\r\n").await;
                until(|| registry.render().contains("breakers{state=\"closed\"} 1")).await;
            }
        }
        assert!(pool.is_connected());
    });
}

#[test]
fn an_invalid_reply_ends_the_connection_for_all_callers() {
    for (wire, failure) in [
        ("HTTP/1.1 400 Bad Request\r\n", CommandError::Malformed),
        ("$9223372036854775808\r\n", CommandError::Malformed),
        (&*"*1\r\n".repeat(10_000), CommandError::Malformed),
        ("$5\r\nhel", CommandError::Closed),
        ("", CommandError::Closed),
        // Another kind than the reply to a GET.
        ("+OK\r\n", CommandError::Desynchronised),
    ] {
        on_one_thread(async {
            let place = SocketPath::new();
            let (pool, server, mut client) = pair(&place, place.options()).await;
            let callers = ["a", "b"].map(|key| get(&pool, key));
            client.hears("GET a").await;
            client.says(wire).await;
            drop(client);
            for caller in callers {
                assert_eq!(caller.await.unwrap(), Err(failure), "{wire:.20}");
            }
            let mut client = server.greet().await;
            until(|| pool.is_connected()).await;
            let caller = get(&pool, "a");
            client.hears("GET a").await;
            client.says("$1\r\n2\r\n").await;
            assert_eq!(caller.await.unwrap(), value("2"));
        });
    }
}

#[test]
fn a_surplus_reply_ends_the_connection() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, server, mut client) = pair(&place, place.options()).await;
        client.says("$1\r\nx\r\n").await;
        client.is_left().await;
        let client = server.greet().await;
        until(|| pool.is_connected()).await;

        // Behind the last reply of the handshake.
        drop(client);
        let mut client = server.accept().await;
        client.hears("HELLO 3").await;
        client.says(GREETING).await;
        client.hears("CLIENT SETNAME cachewarp").await;
        client.says("+OK\r\n$1\r\nx\r\n").await;
        client.is_left().await;
        let mut client = server.greet().await;
        until(|| pool.is_connected()).await;

        // Behind a reply that matches a command.
        let caller = get(&pool, "a");
        client.hears("GET a").await;
        client.says("$1\r\n1\r\n$1\r\n2\r\n").await;
        assert_eq!(caller.await.unwrap(), value("1"));
        client.is_left().await;
        let mut client = server.greet().await;
        until(|| pool.is_connected()).await;

        // A push is no reply.
        client.says(">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n").await;
        let caller = get(&pool, "a");
        client.hears("GET a").await;
        client.says("$1\r\n3\r\n").await;
        assert_eq!(caller.await.unwrap(), value("3"));
    });
}

#[test]
fn a_late_reply_is_dropped() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) =
            pair(&place, Options { command_timeout: SHORT, ..place.options() }).await;
        assert_eq!(pool.get(b"a").await, Err(CommandError::Timeout));
        let caller = get(&pool, "b");
        client.hears("GET a").await;
        client.hears("GET b").await;
        client.says("$1\r\na\r\n$1\r\nb\r\n").await;
        assert_eq!(caller.await.unwrap(), value("b"));
    });
}

#[test]
fn an_abandoned_command_stays_in_the_queue() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        let (gone, stays) = (get(&pool, "a"), get(&pool, "b"));
        client.hears("GET a").await;
        client.hears("GET b").await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        client.says("$1\r\na\r\n$1\r\nb\r\n").await;
        assert_eq!(stays.await.unwrap(), value("b"));
    });
}

#[test]
fn a_stalled_server_costs_each_caller_its_time_limit_and_then_nothing() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, server, mut client) =
            pair(&place, Options { command_timeout: SHORT, ..place.options() }).await;
        let start = instant();
        let callers: Vec<_> = (0..REDIS_LANE_COMMANDS_MIN).map(|_| get(&pool, "a")).collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Err(CommandError::Timeout));
        }
        let took = start.elapsed();
        assert!(took >= SHORT && took < SHORT + LATE, "{took:?}");

        // Abandoned, and still queued.
        let start = instant();
        assert_eq!(pool.get(b"a").await, Err(CommandError::BreakerOpen));
        assert!(start.elapsed() < LATE);

        // A connection without progress is replaced.
        client.is_left().await;
        let took = start.elapsed();
        assert!(took < REDIS_STALL_MIN + LATE, "{took:?}");
        let _client = server.greet().await;
        until(|| pool.is_connected()).await;
    });
}

/// A pool, and the server's end of each connection in the order of the slots.
struct ConnectedPool {
    pool: RedisPool,
    registry: Registry,
    _server: ScriptedServer,
    clients: Vec<ScriptedPeer>,
}

impl ConnectedPool {
    /// Waits until all connections are up.
    async fn of(place: &SocketPath, connections: usize) -> Self {
        let (server, registry) = (place.listen(), Registry::new());
        let pool = RedisPool::open(Options { connections, ..place.options() }, &registry);
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(server.greet().await);
        }
        let fleet = Self { pool, registry, _server: server, clients };
        fleet.until_up(connections).await;
        fleet
    }

    async fn until_up(&self, connections: usize) {
        let line = format!("connections{{state=\"up\"}} {connections}\n");
        until(|| self.registry.render().contains(&line)).await;
    }
}

#[test]
fn the_first_connection_is_filled_before_the_next() {
    on_one_thread(async {
        let place = SocketPath::new();
        // Two for reads, and one for large writes.
        let mut fleet = ConnectedPool::of(&place, 3).await;
        let callers: Vec<_> = (0..2 * REDIS_WINDOW_COMMANDS + 1).map(|_| get(&fleet.pool, "a")).collect();
        // A usual window each, and then the first again.
        let [first, some, other] = &mut fleet.clients[..] else { panic!("three connections") };
        for _ in 0..=REDIS_WINDOW_COMMANDS {
            first.hears("GET a").await;
        }
        first.says("$1\r\n1\r\n".repeat(REDIS_WINDOW_COMMANDS + 1)).await;
        // They were dialled at the same time.
        let (command, second) = tokio::select! {
            command = some.command() => (command, some),
            command = other.command() => (command, other),
        };
        assert_eq!(command, "GET a");
        for _ in 1..REDIS_WINDOW_COMMANDS {
            second.hears("GET a").await;
        }
        second.says("$1\r\n1\r\n".repeat(REDIS_WINDOW_COMMANDS)).await;
        for caller in callers {
            assert_eq!(caller.await.unwrap(), value("1"));
        }
    });
}

#[test]
fn large_writes_do_not_delay_reads() {
    on_one_thread(async {
        let place = SocketPath::new();
        let mut fleet = ConnectedPool::of(&place, 2).await;
        let large = Bytes::from(vec![b'v'; REDIS_BULK_BYTES_MIN]);
        let set = |key: &'static str, value: &Bytes| {
            let (pool, value) = (fleet.pool.clone(), value.clone());
            spawn_local(async move { pool.set(key.as_bytes(), value, Duration::from_secs(1)).await })
        };
        let (written, small) = (set("a", &large), set("b", &"{}".into()));
        let [reads, bulk] = &mut fleet.clients[..] else { panic!("two connections") };
        reads.hears("SET b {} PX 1000").await;
        assert!(bulk.command().await.starts_with("SET a vvv"));

        // No more than its window of them at a time, and reads do not suffer.
        let larger = Bytes::from(vec![b'v'; place.options().value_bytes_max]);
        let (second, third) = (set("c", &larger), set("d", &larger));
        let read = get(&fleet.pool, "e");
        reads.hears("GET e").await;
        reads.says("+OK\r\n$1\r\n1\r\n").await;
        assert_eq!(read.await.unwrap(), value("1"));
        assert_eq!(third.await.unwrap(), Err(CommandError::Full));
        assert_eq!(small.await.unwrap(), Ok(()));
        assert!(bulk.command().await.starts_with("SET c vvv"));
        bulk.says("+OK\r\n+OK\r\n").await;
        assert_eq!((written.await.unwrap(), second.await.unwrap()), (Ok(()), Ok(())));

        // Without their connection they use the other one.
        fleet.clients.pop();
        fleet.until_up(1).await;
        let (pool, value) = (fleet.pool.clone(), large.clone());
        let written = spawn_local(async move { pool.set(b"a", value, Duration::from_secs(1)).await });
        assert!(fleet.clients[0].command().await.starts_with("SET a vvv"));
        fleet.clients[0].says("+OK\r\n").await;
        assert_eq!(written.await.unwrap(), Ok(()));
    });
}

#[test]
fn a_server_that_starts_later_is_used_at_once() {
    on_one_thread(async {
        let place = SocketPath::new();
        let pool = open(Options { connections: 3, ..place.options() });
        assert_eq!(pool.get(b"a").await, Err(CommandError::NotConnected));
        assert!(!pool.is_connected());
        let server = place.listen();
        let clients = [server.greet().await, server.greet().await, server.greet().await];
        until(|| pool.is_connected()).await;
        drop(clients);
        until(|| !pool.is_connected()).await;
        let _client = server.greet().await;
        until(|| pool.is_connected()).await;
    });
}

#[test]
fn an_unreachable_server_is_dialled_by_one_slot_with_back_off() {
    on_one_thread(async {
        let place = SocketPath::new();
        let server = place.listen();
        let start = instant();
        let pool = open(Options { connections: 20, ..place.options() });
        // Each attempt dials twice: with `HELLO`, and without.
        for _ in 0..2 * 5 {
            drop(server.accept().await);
        }
        // Four back-offs, each at least half of its maximum: (1 + 2 + 4 + 8) / 2.
        let took = start.elapsed();
        assert!(took >= REDIS_BACKOFF_MIN * 15 / 2, "{took:?}");
        assert!(!pool.is_connected());
    });
}

#[test]
fn both_send_buffers_may_be_full_at_once() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        let large = Bytes::from(vec![b'v'; 4 << 20]);
        let first = get(&pool, "a");
        client.hears("GET a").await;
        let (pool, written) = (pool.clone(), large.clone());
        let second = spawn_local(async move { pool.set(b"b", written, Duration::from_secs(1)).await });
        // The server reads on only after its own large reply is written.
        client.says(format!("${}\r\n", large.len())).await;
        client.says(&large).await;
        client.says("\r\n").await;
        assert!(client.command().await.starts_with("SET b vvv"));
        client.says("+OK\r\n").await;
        assert_eq!(first.await.unwrap(), Ok(Some(large)));
        assert_eq!(second.await.unwrap(), Ok(()));
    });
}

#[test]
fn close_waits_for_pending_callers() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        let caller = get(&pool, "a");
        client.hears("GET a").await;
        let mut closing = pin!(pool.close());
        let first_poll = poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx))).await;
        assert!(first_poll.is_pending());
        assert_eq!(pool.get(b"b").await, Err(CommandError::NotConnected));
        client.says("$1\r\n1\r\n").await;
        assert_eq!(caller.await.unwrap(), value("1"));
        client.is_left().await;
        closing.await;
        assert!(!pool.is_connected());
        assert_eq!(pool.get(b"a").await, Err(CommandError::NotConnected));
        pool.close().await;
    });
}

#[test]
fn close_waits_no_longer_than_the_callers() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, _client) =
            pair(&place, Options { command_timeout: SHORT, ..place.options() }).await;
        let start = instant();
        let (got, ()) = tokio::join!(pool.get(b"a"), pool.close());
        assert_eq!(got, Err(CommandError::Timeout));
        assert!(start.elapsed() < SHORT + LATE);

        // Nor for a server that is down or silent.
        let pool = open(SocketPath::new().options());
        pool.close().await;
        let server = place.listen();
        let pool = open(place.options());
        let mut client = server.accept().await;
        client.hears("HELLO 3").await;
        pool.close().await;
        client.is_left().await;
    });
}

#[test]
fn a_pool_that_is_dropped_ends_its_connections() {
    on_one_thread(async {
        let place = SocketPath::new();
        let (pool, _server, mut client) = pair(&place, place.options()).await;
        drop(pool);
        client.is_left().await;
    });
}

#[test]
fn events_are_counted() {
    on_one_thread(async {
        let place = SocketPath::new();
        let server = place.listen();
        let registry = Registry::new();
        let pool = RedisPool::open(Options { command_timeout: SHORT, ..place.options() }, &registry);
        assert_eq!(pool.get(b"a").await, Err(CommandError::NotConnected));
        let mut client = server.greet().await;
        until(|| pool.is_connected()).await;
        assert_eq!(pool.get(b"late").await, Err(CommandError::Timeout));
        let callers = ["b", "c"].map(|key| get(&pool, key));
        client.hears("GET late").await;
        client.says("$4\r\nlate\r\n$1\r\nb\r\n-OOM no\r\n+OK\r\n").await;
        for caller in callers {
            let _ = caller.await.unwrap();
        }
        let _client = server.greet().await;
        until(|| pool.is_connected()).await;
        let metrics = registry.render();
        for line in [
            r#"cachewarp_redis_commands_total{outcome="ok"} 1"#,
            r#"cachewarp_redis_commands_total{outcome="not-connected"} 1"#,
            r#"cachewarp_redis_commands_total{outcome="timeout"} 1"#,
            r#"cachewarp_redis_commands_total{outcome="error"} 1"#,
            r#"cachewarp_redis_errors_total{kind="oom"} 1"#,
            r#"cachewarp_redis_connections{state="up"} 1"#,
            r#"cachewarp_redis_connections{state="disconnected"} 0"#,
            r#"cachewarp_redis_connections_lost_total{reason="desynchronised"} 1"#,
            "cachewarp_redis_commands_in_flight 0",
            "cachewarp_redis_late_replies_total 1",
            "cachewarp_redis_reconnects_total 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
        }
    });
}
