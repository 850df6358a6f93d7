//! Scripted sentinels: the client verifies the master that they name.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use cachewarp::redis::{Client, CommandError, Credentials, Sentinels, Topology};
use cachewarp::resp::ErrorKind;
use cachewarp::secret::Secret;
use cachewarp::telemetry::Registry;
use tokio::task::{LocalSet, yield_now};

use crate::harness::redis_load::{deployment, endpoint};
use crate::harness::{PATIENCE, ScriptedRedis};

/// The commands that a server received.
type CommandLog = Arc<Mutex<Vec<String>>>;

struct ScriptedServer {
    server: ScriptedRedis,
    received: CommandLog,
}

impl ScriptedServer {
    fn start(reply_to: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let received = CommandLog::default();
        let server = ScriptedRedis::respond({
            let received = Arc::clone(&received);
            move |command| {
                let whole = command.join(" ");
                received.lock().unwrap().push(whole.clone());
                let reply = match command[0].as_str() {
                    "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
                    "CLIENT" => "+OK\r\n".to_owned(),
                    "PING" => "+PONG\r\n".to_owned(),
                    _ => reply_to(&whole),
                };
                Some(reply.into_bytes())
            }
        });
        Self { server, received }
    }

    /// Starts a server that reports `role`, and sends this reply to every other command.
    fn server(role: &'static str, reply_to: &'static str) -> Self {
        Self::start(move |command| match command {
            "ROLE" => format!("*1\r\n${}\r\n{role}\r\n", role.len()),
            _ => reply_to.to_owned(),
        })
    }

    /// Starts a sentinel that names the server at this port as master, and publishes no event.
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

    fn has_received(&self, what: &str) -> bool {
        self.received.lock().unwrap().iter().any(|received| received.starts_with(what))
    }
}

fn with_client(sentinels: &[&ScriptedServer], work: impl AsyncFnOnce(&Client)) {
    let first = sentinels[0].server.addr();
    let topology = Topology::Sentinel(Sentinels {
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
fn a_replica_that_a_sentinel_names_is_not_used_as_master() {
    let (replica, master) =
        (ScriptedServer::server("slave", "$1\r\nr\r\n"), ScriptedServer::server("master", "$1\r\nm\r\n"));
    let (outdated, right) =
        (ScriptedServer::sentinel(&at(replica.port())), ScriptedServer::sentinel(&at(master.port())));
    with_client(&[&outdated, &right], async |client| {
        while !client.is_connected() {
            yield_now().await;
        }
        assert_eq!(client.get(b"k").await, Ok(Some("m".into())));
    });
    assert!(replica.has_received("ROLE") && !replica.has_received("GET"));
    // Sentinels and servers each get their own credentials and commands.
    assert!(outdated.has_received("HELLO 3 AUTH watch pass") && !master.has_received("HELLO 3 AUTH"));
    assert!(right.has_received("SUBSCRIBE +switch-master"));
}

#[test]
fn a_demoted_master_is_left_when_it_refuses_a_write() {
    let old = ScriptedServer::server("master", "-READONLY You can't write against a read only replica.\r\n");
    let new = ScriptedServer::server("master", "+OK\r\n");
    let named = at(old.port());
    let sentinel = ScriptedServer::sentinel(&named);
    with_client(&[&sentinel], async |client| {
        while !client.is_connected() {
            yield_now().await;
        }
        named.store(new.port(), Ordering::Relaxed);
        let set = async || client.set(b"k", "v".into(), PATIENCE).await;
        assert_eq!(set().await, Err(CommandError::Server(ErrorKind::ReadOnly)));
        // Only the refusal shows the client that the master changed.
        while set().await.is_err() {
            yield_now().await;
        }
    });
    assert!(new.has_received("SET k v"));
}

#[test]
fn without_a_master_commands_fail_at_once() {
    let sentinel = ScriptedServer::start(|_| "*-1\r\n".to_owned());
    with_client(&[&sentinel], async |client| {
        while !sentinel.has_received("SENTINEL") {
            assert_eq!(client.get(b"k").await, Err(CommandError::NotConnected));
            yield_now().await;
        }
        assert!(!client.is_connected());
        assert_eq!(client.ping().await, Err(CommandError::NotConnected));
    });
}
