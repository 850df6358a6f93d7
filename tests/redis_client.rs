//! The Redis client against a real `redis-server`, which each test starts on a unix socket.

#![cfg(test)]

#[path = "harness/waits.rs"]
mod waits;

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cachewarp::redis::{CommandError, Credentials, Options, RedisAddress, RedisPool};
use cachewarp::resp::ErrorKind;
use cachewarp::secret::Secret;
use cachewarp::telemetry::Registry;
use cachewarp::time::instant;
use tempfile::TempDir;
use tokio::task::{LocalSet, spawn_local, yield_now};

use self::waits::Waits;

/// The longest wait of a test.
const SOON: Duration = Duration::from_secs(20);
/// The longest recovery after the server's own.
const RECOVERY: Duration = Duration::from_secs(2);
/// The default lifetime of values.
const TTL: Duration = Duration::from_secs(60);

fn on_one_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(SOON, work).await.unwrap() });
}

/// A folder with a socket, and perhaps a server.
struct Redis {
    folder: TempDir,
    arguments: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// No server yet.
    fn new(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder: tempfile::tempdir().unwrap(), arguments, server: None }
    }

    fn started(arguments: &[&str]) -> Self {
        let mut redis = Self::new(arguments);
        redis.start();
        redis
    }

    fn start(&mut self) {
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(server.expect("redis-server has to be installed (apt-get install redis-server)"));
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// `SIGKILL`: the server closes nothing.
    fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.server.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Returns the output of `redis-cli`.
    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn options(&self) -> Options {
        Options {
            connections: 4,
            value_bytes_max: 8 << 20,
            command_timeout: Duration::from_secs(1),
            hedge_share: 0.0,
            connect_timeout: Duration::from_secs(1),
            ..Options::at(RedisAddress::Unix(self.socket()))
        }
    }

    async fn pool(&self) -> RedisPool {
        connected(self.options()).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn credentials(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials { user: user.to_owned(), password: Secret::new(password) })
}

fn open(options: Options) -> RedisPool {
    RedisPool::open(options, &Registry::new())
}

async fn connected(options: Options) -> RedisPool {
    let pool = open(options);
    until(|| pool.is_connected()).await;
    pool
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        yield_now().await;
    }
}

#[test]
fn values_round_trip() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let pool = redis.pool().await;
        let sizes = [0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 100_000, 5_000_000];
        for size in sizes {
            let value: Bytes = (0..size).map(|index: u32| index.to_le_bytes()[index as usize % 4]).collect();
            let key = [b"\r\n$\0", &size.to_be_bytes()[..]].concat();
            assert_eq!(pool.get(&key).await, Ok(None));
            assert_eq!(pool.set(&key, value.clone(), TTL).await, Ok(()));
            assert_eq!(pool.get(&key).await, Ok(Some(value)));
            assert_eq!(
                pool.command(&cachewarp::redis::Command::Unlink { key: &key }).await.map(drop),
                Ok(())
            );
            assert_eq!(pool.get(&key).await, Ok(None));
        }
        assert_eq!(pool.command(&cachewarp::redis::Command::Ping).await.map(drop), Ok(()));
        pool.close().await;
    });
}

#[test]
fn every_key_expires() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let pool = redis.pool().await;
        let start = instant();
        let ttl = Duration::from_millis(50);
        pool.set(b"k", "v".into(), ttl).await.unwrap();
        // On a busy machine a read may time out now and then.
        while pool.get(b"k").await != Ok(None) {}
        // Redis counts from its own whole millisecond.
        assert!(start.elapsed() >= ttl - Duration::from_millis(1));
        pool.set(b"k", "v".into(), TTL).await.unwrap();
        let left: u128 = redis.cli(&["PTTL", "k"]).parse().unwrap();
        assert!(left > 0 && left <= TTL.as_millis());
        pool.close().await;
    });
}

#[test]
fn connections_are_named_and_in_their_database() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let pool = connected(Options { database: 3, connections: 1, ..redis.options() }).await;
        pool.set(b"k", "v".into(), TTL).await.unwrap();
        assert_eq!(redis.cli(&["-n", "3", "GET", "k"]), "v");
        assert_eq!(redis.cli(&["GET", "k"]), "");
        let clients = redis.cli(&["CLIENT", "LIST"]);
        let ours = clients.lines().find(|line| line.contains("name=cachewarp")).unwrap();
        // Before Redis 7 the list does not show the protocol version.
        assert!(ours.contains("db=3") && (ours.contains("resp=3") || !ours.contains("resp=")), "{ours}");
        pool.close().await;
    });
}

#[test]
fn users_and_passwords() {
    on_one_thread(async {
        let redis =
            Redis::started(&["--requirepass", "pass", "--user", "ann", "on", ">secret", "~k*", "+get"]);
        for (user, password) in [("default", "pass"), ("ann", "secret")] {
            let pool =
                connected(Options { credentials: credentials(user, password), ..redis.options() }).await;
            assert_eq!(pool.get(b"k").await, Ok(None));
            let set = pool.set(b"k", "v".into(), TTL).await;
            let expected = if user == "ann" { Err(CommandError::Server(ErrorKind::NoPerm)) } else { Ok(()) };
            assert_eq!(set, expected);
            redis.cli(&["-a", "pass", "DEL", "k"]);
            pool.close().await;
        }
        for credentials in [credentials("default", "wrong"), credentials("unknown", "pass"), None] {
            let registry = Registry::new();
            let pool = RedisPool::open(Options { credentials, ..redis.options() }, &registry);
            // Refused, and backing off.
            until(|| registry.render().contains("connections{state=\"disconnected\"} 4")).await;
            assert_eq!(pool.get(b"k").await, Err(CommandError::NotConnected));
            pool.close().await;
        }
    });
}

#[test]
fn a_server_that_speaks_resp2_only() {
    on_one_thread(async {
        let redis = Redis::started(&["--requirepass", "pass", "--rename-command", "HELLO", ""]);
        let options = Options { credentials: credentials("default", "pass"), database: 2, ..redis.options() };
        let pool = connected(options).await;
        assert_eq!(pool.get(b"k").await, Ok(None));
        assert_eq!(pool.set(b"k", "v".into(), TTL).await, Ok(()));
        assert_eq!(pool.get(b"k").await, Ok(Some("v".into())));
        assert_eq!(pool.command(&cachewarp::redis::Command::Unlink { key: b"k" }).await.map(drop), Ok(()));
        pool.close().await;
    });
}

#[test]
fn refusals_of_a_server() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let pool = redis.pool().await;
        let refused = |kind| Err(CommandError::Server(kind));
        redis.cli(&["LPUSH", "list", "x"]);
        assert_eq!(pool.get(b"list").await.map(drop), refused(ErrorKind::WrongType));
        redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_eq!(pool.set(b"k", "v".into(), TTL).await, refused(ErrorKind::Oom));
        redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
        redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
        assert_eq!(pool.set(b"k", "v".into(), TTL).await, refused(ErrorKind::ReadOnly));
        redis.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        assert_eq!(pool.get(b"k").await.map(drop), refused(ErrorKind::MasterDown));
        redis.cli(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(pool.set(b"k", "v".into(), TTL).await, Ok(()));
        pool.close().await;
    });
}

#[test]
fn fewer_clients_than_connections() {
    on_one_thread(async {
        let redis = Redis::started(&["--maxclients", "2"]);
        let pool = connected(Options { connections: 6, ..redis.options() }).await;
        let mut answered = 0;
        while answered < 1000 {
            match pool.get(b"k").await {
                Ok(None) => answered += 1,
                // On a busy machine a read may time out now and then.
                Err(CommandError::Timeout | CommandError::BreakerOpen) => yield_now().await,
                other => panic!("{other:?}"),
            }
        }
        pool.close().await;
    });
}

#[test]
fn a_server_that_comes_later() {
    on_one_thread(async {
        let mut redis = Redis::new(&[]);
        let pool = open(redis.options());
        assert_eq!(pool.get(b"k").await, Err(CommandError::NotConnected));
        redis.start();
        until(|| redis.socket().exists()).await;
        let start = instant();
        until(|| pool.is_connected()).await;
        assert!(start.elapsed() < RECOVERY);
        assert_eq!(pool.get(b"k").await, Ok(None));
        pool.close().await;
    });
}

/// Callers without pauses, each with its own key, whose value is the key.
struct Load {
    callers: Vec<tokio::task::JoinHandle<()>>,
    counts: Rc<Counts>,
}

struct Counts {
    right: Cell<u64>,
    enough: Cell<bool>,
    waits: Rc<Waits>,
}

impl Load {
    fn on(pool: &RedisPool, command_timeout: Duration) -> Self {
        let waits = Waits::up_to(command_timeout);
        let counts = Rc::new(Counts { right: Cell::default(), enough: Cell::default(), waits });
        let callers =
            (0..64).map(|number| spawn_local(ask(pool.clone(), format!("key-{number}"), Rc::clone(&counts))));
        Self { callers: callers.collect(), counts }
    }

    /// Waits for this many more correct replies.
    async fn answered(&self, count: u64) {
        let target = self.counts.right.get() + count;
        until(|| self.counts.right.get() >= target).await;
    }

    /// Ends the load; every caller has received only its own values, in time.
    async fn end(self) {
        self.counts.enough.set(true);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.counts.waits.assert_in_time().await;
    }
}

async fn ask(pool: RedisPool, key: String, counts: Rc<Counts>) {
    let waits = &counts.waits;
    while !counts.enough.get() {
        match waits.time(pool.get(key.as_bytes())).await {
            Ok(Some(value)) => {
                assert_eq!(value, key, "another caller's value");
                counts.right.set(counts.right.get() + 1);
            }
            Ok(None) => {
                let _ = waits.time(pool.set(key.as_bytes(), key.clone().into(), TTL)).await;
            }
            Err(_) => yield_now().await,
        }
    }
}

#[test]
fn killed_and_started_again_under_load() {
    on_one_thread(async {
        let mut redis = Redis::started(&[]);
        let pool = redis.pool().await;
        let load = Load::on(&pool, redis.options().command_timeout);
        for _ in 0..3 {
            load.answered(2000).await;
            redis.kill();
            until(|| !pool.is_connected()).await;
            redis.start();
            // The start of the process is not the client's latency.
            until(|| UnixStream::connect(redis.socket()).is_ok()).await;
            let start = instant();
            load.answered(1).await;
            assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
        }
        load.end().await;
        pool.close().await;
    });
}

#[test]
fn connections_killed_under_load() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let pool = redis.pool().await;
        let load = Load::on(&pool, redis.options().command_timeout);
        for _ in 0..5 {
            load.answered(2000).await;
            redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        load.answered(2000).await;
        load.end().await;
        pool.close().await;
    });
}

#[test]
fn stopped_and_continued_under_load() {
    on_one_thread(async {
        let redis = Redis::started(&[]);
        let timeout = Duration::from_millis(50);
        let pool = connected(Options { command_timeout: timeout, ..redis.options() }).await;
        let load = Load::on(&pool, timeout);
        for stop in [Duration::from_millis(200), Duration::from_millis(1500)] {
            load.answered(2000).await;
            redis.signal("-STOP");
            let start = instant();
            until(|| start.elapsed() > stop).await;
            redis.signal("-CONT");
            let start = instant();
            load.answered(1).await;
            assert!(start.elapsed() < RECOVERY, "{:?}", start.elapsed());
        }
        load.end().await;
        pool.close().await;
    });
}
