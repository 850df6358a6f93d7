//! Long outages: a server stopped for ten seconds, a network that drops everything, TLS that ends
//! in the middle of a record. No caller waits for the end, connection attempts are bounded, and
//! memory does not grow.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cachewarp::redis::{CommandError, Options, RedisAddress, RedisPool};
use cachewarp::telemetry::Registry;
use cachewarp::time::instant;
use cachewarp::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_local};

use crate::harness::{Redis, TlsFront};
use crate::load::{Load, RECOVERY, beside, on_one_thread, options, resident_bytes, until};

/// The duration of an outage.
const OUTAGE: Duration = Duration::from_secs(10);
/// The bound on attempts to connect in an outage: each takes the connect timeout, or a back-off
/// that soon is a second long, and only one slot dials; before that each of six connections has
/// ended once.
const ATTEMPTS_MAX: u64 = 6 + 24;
/// The bound on the growth of this process, with the other tests in it.
const GROWTH_BYTES_MAX: u64 = 320 << 20;

/// Returns the number of connections a server has accepted, except for this one.
fn accepted(redis: &Redis) -> u64 {
    let info = redis.command(&["INFO", "stats"]).text();
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    line.unwrap().parse::<u64>().unwrap() - 1
}

/// The outage was long enough.
fn assert_it_was_noticed(load: &Load) {
    assert!(load.metric("commands_total{outcome=\"breaker-open\"}") > 0);
}

#[test]
fn stopped_for_ten_seconds_under_load() {
    on_one_thread(async {
        let redis = Arc::new(Redis::start());
        let load = Load::on(redis.addr().port()).await;
        let (before, resident) = (accepted(&redis), resident_bytes());
        let server = Arc::clone(&redis);
        beside(move || {
            server.stall();
            std::thread::sleep(OUTAGE);
            server.resume();
        })
        .await;
        let well = instant();
        load.answered(1).await;
        assert!(well.elapsed() < RECOVERY, "{:?}", well.elapsed());
        load.answered(1000).await;
        assert_it_was_noticed(&load);
        let grown = resident_bytes().saturating_sub(resident);
        assert!(grown < GROWTH_BYTES_MAX, "{} MiB", grown >> 20);
        let attempts = accepted(&redis) - before;
        assert!(attempts <= ATTEMPTS_MAX, "{attempts} attempts in {OUTAGE:?}");
        load.end().await;
    });
}

/// A proxy between the pool and a server.
struct Relay {
    port: u16,
    /// Connections made through it.
    accepted: Rc<Cell<u64>>,
    /// Whether everything is dropped; connections from before never get anything again.
    hole: watch::Sender<bool>,
    /// The next TLS record towards the client is cut after this many bytes, and its connection
    /// ends.
    cut: Rc<Cell<Option<usize>>>,
    _connections: Rc<RefCell<JoinSet<()>>>,
}

impl Relay {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (accepted, cut) = (Rc::<Cell<u64>>::default(), Rc::<Cell<Option<usize>>>::default());
        let hole = watch::Sender::new(false);
        let connections = Rc::new(RefCell::new(JoinSet::new()));
        let (count, cuts, holes, tasks) =
            (Rc::clone(&accepted), Rc::clone(&cut), hole.clone(), Rc::downgrade(&connections));
        connections.borrow_mut().spawn_local(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                let passes = pass(client, server, holes.subscribe(), Rc::clone(&cuts));
                let Some(tasks) = tasks.upgrade() else { return };
                tasks.borrow_mut().spawn_local(passes);
            }
        });
        Self { port, accepted, hole, cut, _connections: connections }
    }
}

/// Forwards in both directions.
async fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    mut hole: watch::Receiver<bool>,
    cut: Rc<Cell<Option<usize>>>,
) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let swallowed = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        tokio::select! {
            biased;
            _ = hole.wait_for(|is_open| *is_open) => true,
            _ = tokio::io::copy(&mut from_client, &mut to_server) => false,
            _ = records(&mut from_server, &mut to_client, &cut) => false,
        }
    };
    if swallowed {
        // Neither end is notified, however long it takes.
        let mut rest = vec![0; 4096];
        while client.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    }
}

/// Forwards the bytes; record by record while one is to be cut.
async fn records(
    server: &mut (impl AsyncReadExt + Unpin),
    client: &mut (impl AsyncWriteExt + Unpin),
    cut: &Cell<Option<usize>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = server.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        // Every chunk is at least one record, since replies are small.
        let end = cut.take().map_or(count, |cut| cut.min(count - 1));
        client.write_all(&buffer[..end]).await?;
        if end < count {
            return Ok(());
        }
    }
}

#[test]
fn a_network_that_drops_everything() {
    on_one_thread(async {
        let redis = Redis::start();
        let relay = Relay::before(redis.addr()).await;
        let load = Load::on(relay.port).await;
        let (before, resident) = (relay.accepted.get(), resident_bytes());
        relay.hole.send_replace(true);
        beside(|| std::thread::sleep(OUTAGE)).await;
        let attempts = relay.accepted.get() - before;
        assert!(attempts <= ATTEMPTS_MAX, "{attempts} attempts in {:?}", OUTAGE);
        relay.hole.send_replace(false);
        let well = instant();
        load.answered(1).await;
        // A pending attempt to connect was dropped too, and must time out first.
        let longest = options(relay.port, 6).connect_timeout + RECOVERY;
        assert!(well.elapsed() < longest, "{:?}", well.elapsed());
        load.answered(1000).await;
        assert_it_was_noticed(&load);
        let grown = resident_bytes().saturating_sub(resident);
        assert!(grown < GROWTH_BYTES_MAX, "{} MiB", grown >> 20);
        load.end().await;
    });
}

/// Tells the test that it runs in a network namespace.
const INSIDE: &str = "CACHEWARP_TEST_OWN_NETWORK";

/// The kernel drops the packets. The test runs again in a network namespace, if it can have one.
#[test]
fn a_network_that_drops_packets() {
    let succeeds =
        |command: &str| Command::new("sh").args(["-c", command]).status().is_ok_and(|done| done.success());
    #[expect(clippy::disallowed_methods, reason = "what a test says to itself is no setting")]
    if std::env::var_os(INSIDE).is_none() {
        if !succeeds(
            "unshare -rn sh -c 'ip link set lo up && iptables -A INPUT -p tcp --dport 1 -j DROP' 2>/dev/null",
        ) {
            println!("skipped: network namespaces are not permitted here");
            return;
        }
        let mut again = Command::new("unshare");
        again.args(["-rn", "--"]).arg(std::env::current_exe().unwrap());
        again.args(["--exact", "outages::a_network_that_drops_packets"]).env(INSIDE, "1");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    assert!(succeeds("ip link set lo up"));
    on_one_thread(async {
        let redis = Arc::new(Redis::start());
        let port = redis.addr().port();
        let load = Load::on(port).await;
        let before = accepted(&redis);
        let rule = format!("INPUT -p tcp --dport {port} -j DROP");
        let drops = beside(move || {
            let is_set = Command::new("sh").args(["-c", &format!("iptables -A {rule}")]).status().unwrap();
            std::thread::sleep(OUTAGE);
            let is_unset = Command::new("sh").args(["-c", &format!("iptables -D {rule}")]).status().unwrap();
            is_set.success() && is_unset.success()
        });
        assert!(drops.await);
        let well = instant();
        load.answered(1).await;
        // A SYN is sent again after one second, two, four; the client gives up after two.
        let longest = options(port, 6).connect_timeout + RECOVERY;
        assert!(well.elapsed() < longest, "{:?}", well.elapsed());
        load.answered(1000).await;
        assert_it_was_noticed(&load);
        let attempts = accepted(&redis) - before;
        assert!(attempts <= ATTEMPTS_MAX, "{attempts} attempts in {:?}", OUTAGE);
        load.end().await;
    });
}

#[test]
fn tls_that_ends_in_the_middle_of_a_record() {
    let redis = Redis::start();
    let front = TlsFront::before(redis.addr());
    let authority = front.authority();
    let (_, port) = authority.rsplit_once(':').unwrap();
    on_one_thread(async {
        let relay = Relay::before(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))).await;
        let pool = RedisPool::open(
            Options {
                address: RedisAddress::Tls { host: "localhost".to_owned(), port: relay.port },
                tls: tls::Options { ca_file: Some(front.ca_file().into()), identity: None },
                command_timeout: Duration::from_secs(20),
                ..options(relay.port, 1)
            },
            &Registry::new(),
        );
        until(|| pool.is_connected()).await;
        pool.set(b"key", "key".into(), crate::load::TTL).await.unwrap();
        // In its header of five bytes, in its content, and before its last byte.
        for cut in [0, 1, 4, 5, 6, 12, usize::MAX] {
            let before = relay.accepted.get();
            relay.cut.set(Some(cut));
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let pool = pool.clone();
                    spawn_local(async move { pool.get(b"key").await })
                })
                .collect();
            for caller in callers {
                assert_eq!(caller.await.unwrap(), Err(CommandError::Closed), "cut behind {cut} bytes");
            }
            until(|| pool.is_connected()).await;
            assert_eq!(pool.get(b"key").await, Ok(Some("key".into())), "cut behind {cut} bytes");
            assert!(relay.accepted.get() > before);
        }
        pool.close().await;
    });
}
