//! A cluster of two scripted servers with redirects that a real one sends rarely or never.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use cachewarp::redis::{Client, ClusterSeeds, CommandError, ReadingNodes, Topology};
use cachewarp::resp::ErrorKind;
use cachewarp::telemetry::Registry;
use cachewarp::time::instant;
use tokio::task::{LocalSet, yield_now};

use crate::harness::redis_load::{TIMEOUT, deployment, endpoint};
use crate::harness::{PATIENCE, ScriptedRedis};

/// The slot of `foo`, as servers compute it.
const SLOT: usize = 12_182;
/// The metric of a client whose connections are all open, before it sends a command.
const CONNECTIONS: &str = "cachewarp_redis_connections{state=\"up\"} 6";

/// The commands that a server received, except for the handshake and the topology.
type CommandLog = Arc<Mutex<Vec<String>>>;

/// A cluster whose first server has every slot, and whose second has none.
struct Pair {
    servers: [ScriptedRedis; 2],
    received: [CommandLog; 2],
}

/// A server's reply to a command. `{0}` and `{1}` are replaced by the addresses of the servers.
type ScriptedReply = fn(&str) -> &'static str;

#[derive(Clone, Copy)]
enum Map {
    Shards,
    Slots,
}

impl Pair {
    fn start(map: Map, replies: [ScriptedReply; 2]) -> Self {
        let ports = Arc::new(OnceLock::new());
        let received = [CommandLog::default(), CommandLog::default()];
        let server = |number: usize| {
            let (ports, received, replies) =
                (Arc::clone(&ports), Arc::clone(&received[number]), replies[number]);
            ScriptedRedis::respond(move |command| {
                let [first, second]: [u16; 2] = *ports.wait();
                let whole = command.join(" ");
                let reply = match whole.as_str() {
                    "HELLO 3" => "%1\r\n$5\r\nproto\r\n:3\r\n".to_owned(),
                    "CLUSTER SHARDS" => match map {
                        Map::Shards => shards([first, second]),
                        Map::Slots => "-ERR unknown subcommand 'SHARDS'. Try CLUSTER HELP.\r\n".to_owned(),
                    },
                    "CLUSTER SLOTS" => slots(first),
                    _ if command[0] == "CLIENT" => "+OK\r\n".to_owned(),
                    whole => {
                        received.lock().unwrap().push(whole.to_owned());
                        let address = |port| format!("127.0.0.1:{port}");
                        replies(whole).replace("{0}", &address(first)).replace("{1}", &address(second))
                    }
                };
                Some(reply.into_bytes())
            })
        };
        let servers = [server(0), server(1)];
        ports.set([servers[0].addr().port(), servers[1].addr().port()]).unwrap();
        Self { servers, received }
    }

    fn received(&self, number: usize) -> Vec<String> {
        self.received[number].lock().unwrap().clone()
    }
}

fn shards(ports: [u16; 2]) -> String {
    let shard = |port: u16, slots: &str| {
        let node = format!(
            "%4\r\n$4\r\nport\r\n:{port}\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n\
             $4\r\nrole\r\n$6\r\nmaster\r\n$6\r\nhealth\r\n$6\r\nonline\r\n"
        );
        format!("%2\r\n$5\r\nslots\r\n{slots}$5\r\nnodes\r\n*1\r\n{node}")
    };
    format!("*2\r\n{}{}", shard(ports[0], "*2\r\n:0\r\n:16383\r\n"), shard(ports[1], "*0\r\n"))
}

fn slots(port: u16) -> String {
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
}

fn with_client(pair: &Pair, work: impl AsyncFnOnce(&Client, &Registry)) {
    let seed = pair.servers[0].addr();
    let seeds = ClusterSeeds { seeds: vec![endpoint(seed)], readers: ReadingNodes::Masters };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registry = Registry::new();
    let dialogue = async {
        let client = Client::open(deployment(Topology::Cluster(seeds), seed), &registry);
        while !registry.render().contains(CONNECTIONS) {
            yield_now().await;
        }
        work(&client, &registry).await;
        client.close().await;
    };
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE, dialogue).await.unwrap() });
}

fn value() -> Result<Option<Bytes>, CommandError> {
    Ok(Some(Bytes::from_static(b"v")))
}

fn redirects(registry: &Registry, kind: &str, count: u32) -> bool {
    registry.render().contains(&format!("cachewarp_redis_redirects_total{{kind=\"{kind}\"}} {count}\n"))
}

#[test]
fn ask_redirects_one_command_after_asking() {
    let pair = Pair::start(
        Map::Shards,
        [|_| "-ASK 12182 {1}\r\n", |command| if command == "ASKING" { "+OK\r\n" } else { "$1\r\nv\r\n" }],
    );
    with_client(&pair, async |client, registry| {
        for _ in 0..2 {
            assert_eq!(client.get(b"foo").await, value());
        }
        assert!(redirects(registry, "ask", 2));
    });
    assert_eq!(pair.received(0), ["GET foo", "GET foo"]);
    assert_eq!(pair.received(1), ["ASKING", "GET foo", "ASKING", "GET foo"]);
}

#[test]
fn moved_redirects_and_updates_the_slot_map() {
    assert_eq!(cachewarp::resp::topology::HashSlot::of(b"foo").index(), SLOT);
    let pair = Pair::start(Map::Shards, [|_| "-MOVED 12182 {1}\r\n", |_| "$1\r\nv\r\n"]);
    with_client(&pair, async |client, registry| {
        for _ in 0..3 {
            assert_eq!(client.get(b"foo").await, value());
        }
        assert!(redirects(registry, "moved", 1));
    });
    assert_eq!((pair.received(0).len(), pair.received(1).len()), (1, 3));
}

#[test]
fn two_servers_that_redirect_to_each_other_get_one_command_each() {
    let pair = Pair::start(Map::Shards, [|_| "-MOVED 12182 {1}\r\n", |_| "-MOVED 12182 {0}\r\n"]);
    with_client(&pair, async |client, _| {
        assert_eq!(client.get(b"foo").await, Err(CommandError::Server(ErrorKind::Moved)));
    });
    assert_eq!((pair.received(0).len(), pair.received(1).len()), (1, 1));
}

#[test]
fn a_redirect_to_no_server_is_an_error_and_refreshes_the_topology() {
    let rows: [(ScriptedReply, ErrorKind); 5] = [
        (|_| "-MOVED 12182 127.0.0.1:1\r\n", ErrorKind::Moved),
        (|_| "-MOVED nowhere\r\n", ErrorKind::Moved),
        (|_| "-CLUSTERDOWN Hash slot not served\r\n", ErrorKind::ClusterDown),
        (|_| "-TRYAGAIN Multiple keys request during rehashing of slot\r\n", ErrorKind::TryAgain),
        (|_| "-READONLY You can't write against a read only replica.\r\n", ErrorKind::ReadOnly),
    ];
    for (replies, kind) in rows {
        let pair = Pair::start(Map::Shards, [replies, |_| "$1\r\nv\r\n"]);
        with_client(&pair, async |client, registry| {
            let inquiries = "cachewarp_redis_topology_inquiries_total{result=\"unchanged\"} 1\n";
            assert!(!registry.render().contains(inquiries));
            assert_eq!(client.get(b"foo").await, Err(CommandError::Server(kind)));
            while !registry.render().contains(inquiries) {
                yield_now().await;
            }
        });
        assert_eq!((pair.received(0).len(), pair.received(1).len()), (1, 0), "{kind}");
    }
}

#[test]
fn a_redirected_command_has_one_timeout() {
    let pair = Pair::start(Map::Shards, [|_| "-MOVED 12182 {1}\r\n", |_| ""]);
    with_client(&pair, async |client, _| {
        let begun = instant();
        assert_eq!(client.get(b"foo").await, Err(CommandError::Timeout));
        assert!(begun.elapsed() >= TIMEOUT - TIMEOUT / 10);
    });
}

#[test]
fn cluster_slots_replaces_cluster_shards_before_redis_7() {
    let pair = Pair::start(Map::Slots, [|_| "$1\r\nv\r\n", |_| ""]);
    with_client(&pair, async |client, _| assert_eq!(client.get(b"foo").await, value()));
    assert_eq!(pair.received(1).len(), 0);
}
