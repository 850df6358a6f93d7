//! Scripted sentinels, whose word is not taken for more than it is.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use cachewarp::redis::{Client, CommandError, Credentials, Sentinels as Watchers, Topology};
use cachewarp::resp::ErrorKind;
use cachewarp::secret::Secret;
use cachewarp::telemetry::Registry;
use tokio::task::{LocalSet, yield_now};

use crate::harness::redis_load::{deployment, endpoint};
use crate::harness::{PATIENCE, ScriptedRedis};

/// What somebody was told.
type Told = Arc<Mutex<Vec<String>>>;

struct Party {
    server: ScriptedRedis,
    told: Told,
}

impl Party {
    fn start(says: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let told = Told::default();
        let server = ScriptedRedis::respond({
            let told = Arc::clone(&told);
            move |command| {
                let whole = command.join(" ");
                told.lock().unwrap().push(whole.clone());
                let reply = match command[0].as_str() {
                    "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
                    "CLIENT" => "+OK\r\n".to_owned(),
                    "PING" => "+PONG\r\n".to_owned(),
                    _ => says(&whole),
                };
                Some(reply.into_bytes())
            }
        });
        Self { server, told }
    }

    /// A server that takes itself for `role`, and says this to everything else.
    fn server(role: &'static str, says: &'static str) -> Self {
        Self::start(move |command| match command {
            "ROLE" => format!("*1\r\n${}\r\n{role}\r\n", role.len()),
            _ => says.to_owned(),
        })
    }

    /// A sentinel that names whoever is at this port, and whose announcements nobody hears.
    fn sentinel(port: &Arc<AtomicU16>) -> Self {
        let port = Arc::clone(port);
        Self::start(move |command| match command {
            "SENTINEL GET-MASTER-ADDR-BY-NAME m" => {
                let port = port.load(Ordering::Relaxed).to_string();
                format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
            }
            _ => String::new(),
        })
    }

    fn port(&self) -> u16 {
        self.server.addr().port()
    }

    fn was_told(&self, what: &str) -> bool {
        self.told.lock().unwrap().iter().any(|told| told.starts_with(what))
    }
}

fn with_client(sentinels: &[&Party], work: impl AsyncFnOnce(&Client)) {
    let first = sentinels[0].server.addr();
    let topology = Topology::Sentinel(Watchers {
        seeds: sentinels.iter().map(|sentinel| endpoint(sentinel.server.addr())).collect(),
        master: "m".to_owned(),
        credentials: Some(Credentials { user: "watch".to_owned(), password: Secret::new("pass") }),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dialogue = async {
        let client = Client::open(deployment(topology, first), &Registry::new());
        work(&client).await;
        client.close().await;
    };
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE, dialogue).await.unwrap() });
}

fn at(port: u16) -> Arc<AtomicU16> {
    Arc::new(AtomicU16::new(port))
}

#[test]
fn a_replica_is_no_master_whatever_a_sentinel_says() {
    let (replica, master) = (Party::server("slave", "$1\r\nr\r\n"), Party::server("master", "$1\r\nm\r\n"));
    let (behind, right) = (Party::sentinel(&at(replica.port())), Party::sentinel(&at(master.port())));
    with_client(&[&behind, &right], async |client| {
        while !client.is_connected() {
            yield_now().await;
        }
        assert_eq!(client.get(b"k").await, Ok(Some("m".into())));
    });
    assert!(replica.was_told("ROLE") && !replica.was_told("GET"));
    // What the sentinels ask for is theirs, and what the servers ask for is not told to them.
    assert!(behind.was_told("HELLO 3 AUTH watch pass") && !master.was_told("HELLO 3 AUTH"));
    assert!(right.was_told("SUBSCRIBE +switch-master"));
}

#[test]
fn a_master_that_is_demoted_unheard_is_left_when_it_refuses() {
    let old = Party::server("master", "-READONLY You can't write against a read only replica.\r\n");
    let new = Party::server("master", "+OK\r\n");
    let named = at(old.port());
    let sentinel = Party::sentinel(&named);
    with_client(&[&sentinel], async |client| {
        while !client.is_connected() {
            yield_now().await;
        }
        named.store(new.port(), Ordering::Relaxed);
        let set = async || client.set(b"k", "v".into(), PATIENCE).await;
        assert_eq!(set().await, Err(CommandError::Server(ErrorKind::ReadOnly)));
        // Nothing else tells it that there is another one.
        while set().await.is_err() {
            yield_now().await;
        }
    });
    assert!(new.was_told("SET k v"));
}

#[test]
fn without_a_master_there_is_a_miss_at_once() {
    let nobody = Party::start(|_| "*-1\r\n".to_owned());
    with_client(&[&nobody], async |client| {
        while !nobody.was_told("SENTINEL") {
            assert_eq!(client.get(b"k").await, Err(CommandError::NotConnected));
            yield_now().await;
        }
        assert!(!client.is_connected());
        assert_eq!(client.ping().await, Err(CommandError::NotConnected));
    });
}
