//! A real Redis Cluster of three masters, each with a replica.

use super::guard::Guard;
use super::redis::{Redis, on_free_ports};
use super::resp::Value;
use super::sentinels::info;
use super::{until, until_agreed};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
/// Distance of the cluster bus port from a server's port, for servers that cannot be configured
/// otherwise.
const BUS_DISTANCE: u16 = 10_000;

/// Six servers. Dropping the cluster stops them.
pub(crate) struct RedisCluster {
    /// The initial masters, then the replica of each.
    pub(crate) servers: Vec<Redis>,
    /// The ports for clients, in the order of the servers.
    ports: Vec<u16>,
    /// The credentials that the servers require.
    pub(crate) guard: Guard,
}

impl RedisCluster {
    /// Starts the servers, and waits until all of them agree on the slots.
    pub(crate) fn start() -> Self {
        Self::start_with(Guard::Open)
    }

    /// Starts servers that require these credentials.
    pub(crate) fn start_with(guard: Guard) -> Self {
        let (mut servers, mut ports, mut buses) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 * MASTERS {
            let (server, port, bus) = on_free_ports(|[port, tls_port, bus]| {
                let bus = if knows_cluster_port() { bus } else { port.checked_add(BUS_DISTANCE)? };
                let guarded = guard.of_server(tls_port);
                Some((launch(port, bus, &guarded)?, guard.port(port, tls_port), bus))
            });
            servers.push(server);
            ports.push(port);
            buses.push(bus);
        }
        let cluster = Self { servers, ports, guard };
        for (number, server) in cluster.servers.iter().enumerate() {
            cluster_ok(server, &["SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            let (first, port, bus) =
                (&cluster.servers[0], cluster.ports[number].to_string(), buses[number].to_string());
            if number > 0 {
                cluster_ok(first, &["MEET", "127.0.0.1", &port, &bus]);
            }
        }
        for (number, master) in cluster.masters().enumerate() {
            let (first, last) = (number * SLOTS / MASTERS, (number + 1) * SLOTS / MASTERS - 1);
            let slots: Vec<_> = (first..=last).map(|slot| slot.to_string()).collect();
            let slots = slots.iter().map(String::as_str);
            cluster_ok(master, &std::iter::once("ADDSLOTS").chain(slots).collect::<Vec<_>>());
        }
        cluster.until_all("to know each other", |server| state(server, "cluster_known_nodes") == "6");
        for number in 0..MASTERS {
            let (replica, master) = (&cluster.servers[MASTERS + number], cluster.id(number));
            until("a replica to know its master", || {
                replica.command(&["CLUSTER", "REPLICATE", &master]) == Value::Simple("OK".to_owned())
            });
        }
        for replica in &cluster.servers[MASTERS..] {
            until("a replica to have the data", || info(replica, "master_link_status") == "up");
        }
        cluster.until_all("to cover all slots", |server| state(server, "cluster_state") == "ok");
        // A voter in a fail-over must know the replica of each master.
        cluster.until_all("to know the replicas", |server| {
            server.command(&["CLUSTER", "NODES"]).text().matches("slave").count() == MASTERS
        });
        // A client's topology read must list healthy servers only.
        cluster.until_all("to report every server as healthy", reports_all_healthy);
        for server in &cluster.servers {
            let set = ["CONFIG", "SET", "cluster-node-timeout", "1000"];
            assert_eq!(server.command(&set), Value::Simple("OK".to_owned()));
        }
        cluster
    }

    /// Returns a URL with two of the servers as seeds.
    pub(crate) fn url(&self) -> String {
        format!("{}127.0.0.1:{},127.0.0.1:{}", self.guard.url("cluster"), self.ports[0], self.ports[1])
    }

    /// Returns the initial masters.
    pub(crate) fn masters(&self) -> impl Iterator<Item = &Redis> {
        self.servers.iter().take(MASTERS)
    }

    /// Returns the slot of a key, as a server computes it.
    pub(crate) fn slot(&self, key: &str) -> usize {
        usize::try_from(self.servers[0].command(&["CLUSTER", "KEYSLOT", key]).number()).unwrap()
    }

    /// Returns the initial master of a slot.
    pub(crate) fn first_owner(slot: usize) -> usize {
        (0..MASTERS).find(|number| slot < (number + 1) * SLOTS / MASTERS).unwrap()
    }

    /// Begins the migration of a slot.
    pub(crate) fn begin_to_move(&self, slot: usize, from: usize, to: usize) {
        let slot = slot.to_string();
        cluster_ok(&self.servers[to], &["SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        cluster_ok(&self.servers[from], &["SETSLOT", &slot, "MIGRATING", &self.id(to)]);
    }

    /// Migrates all current keys of a slot.
    pub(crate) fn move_keys(&self, slot: usize, from: usize, to: usize) {
        let port = self.servers[to].addr().port().to_string();
        loop {
            let keys = self.servers[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]);
            let Value::Array(keys) = keys else { panic!("{keys:?}") };
            if keys.is_empty() {
                return;
            }
            for key in keys {
                let migrate = ["MIGRATE", "127.0.0.1", &port, &key.text(), "0", "5000", "REPLACE"];
                let reply = self.servers[from].command(&migrate);
                // A key that has expired meanwhile does not exist.
                assert!(
                    matches!(&reply, Value::Simple(word) if word == "OK" || word == "NOKEY"),
                    "{reply:?}"
                );
            }
        }
    }

    /// Assigns the slot to its new master. The other servers learn of it later.
    pub(crate) fn end_move(&self, slot: usize, from: usize, to: usize) {
        for number in [to, from] {
            cluster_ok(&self.servers[number], &["SETSLOT", &slot.to_string(), "NODE", &self.id(to)]);
        }
    }

    fn id(&self, number: usize) -> String {
        self.servers[number].command(&["CLUSTER", "MYID"]).text()
    }

    fn until_all(&self, what: &str, is_so: impl Fn(&Redis) -> bool) {
        for server in &self.servers {
            until_agreed(&format!("the cluster's servers {what}"), || is_so(server));
        }
    }
}

/// Returns whether the server has the option, which Redis 7 added.
fn knows_cluster_port() -> bool {
    Redis::version() >= 7
}

fn reports_all_healthy(server: &Redis) -> bool {
    if Redis::version() < 7 {
        let nodes = server.command(&["CLUSTER", "NODES"]).text();
        return !["fail", "handshake", "disconnected"].iter().any(|word| nodes.contains(word));
    }
    let shards = format!("{:?}", server.command(&["CLUSTER", "SHARDS"]));
    shards.matches(&format!("{:?}", b"online")).count() == 2 * MASTERS
}

fn launch(port: u16, bus: u16, guarded: &[String]) -> Option<Redis> {
    let bus = bus.to_string();
    let bus = if knows_cluster_port() { &["--cluster-port", &bus][..] } else { &[] };
    let arguments = [
        "--cluster-enabled",
        "yes",
        // The servers may take this long to meet on a busy machine.
        "--cluster-node-timeout",
        "30000",
        // A replica may take over, however old its data is.
        "--cluster-replica-validity-factor",
        "0",
        "--repl-diskless-sync-delay",
        "0",
    ];
    let guarded = guarded.iter().map(String::as_str);
    let arguments = arguments.into_iter().chain(bus.iter().copied()).chain(guarded);
    Redis::try_start(port, &arguments.collect::<Vec<_>>())
}

fn cluster_ok(server: &Redis, arguments: &[&str]) {
    let command = [&["CLUSTER"], arguments].concat();
    assert_eq!(server.command(&command), Value::Simple("OK".to_owned()), "{command:?}");
}

/// Returns one line of a server's `CLUSTER INFO`.
pub(crate) fn state(server: &Redis, name: &str) -> String {
    let info = server.command(&["CLUSTER", "INFO"]).text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().to_owned()
}
