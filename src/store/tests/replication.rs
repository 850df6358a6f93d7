//! A master with replicas that lag, and the sentinels that watch them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::server::{RedisServer, bulk, integer};
use crate::redis::tests::network::{HostState, ServerEnd, SimulatedHost, SimulatedNetwork};

/// The ports of the data servers.
pub(super) const SERVERS: [u16; 3] = [6379, 6380, 6381];
/// The ports of the sentinels.
pub(super) const SENTINELS: [u16; 3] = [26379, 26380, 26381];
/// The master's name at the sentinels.
pub(super) const MASTER: &str = "m";
/// The host of every server.
pub(super) const HOST: &str = "redis";

/// The servers and their sentinels.
pub(super) struct ReplicaGroup {
    network: SimulatedNetwork,
    pub(super) servers: Vec<Rc<RedisServer>>,
    sentinels: Vec<Rc<SentinelServer>>,
    master: Cell<usize>,
    /// The longest delay of replication, in milliseconds.
    lag: Cell<u64>,
    is_failing_over: Cell<bool>,
    grown: Rc<Notify>,
}

impl ReplicaGroup {
    /// Starts a master, its replicas, and the sentinels.
    pub(super) fn start(network: &SimulatedNetwork, first: Rc<RedisServer>, replicas: usize) -> Rc<Self> {
        let grown = Rc::clone(&first.grown);
        let mut servers = vec![first];
        for (number, port) in SERVERS.into_iter().enumerate().skip(1).take(replicas) {
            let server = RedisServer::new(network, &format!("replica{number}run0"), &grown);
            network.add_host(port, Rc::clone(&server) as Rc<_>);
            servers.push(server);
        }
        let sentinels = SENTINELS.map(|port| {
            let sentinel =
                Rc::new(SentinelServer { master: Cell::new(SERVERS[0]), clients: RefCell::default() });
            network.add_host(port, Rc::clone(&sentinel) as Rc<_>);
            sentinel
        });
        let group = Rc::new(Self {
            network: network.clone(),
            servers,
            sentinels: sentinels.to_vec(),
            master: Cell::new(0),
            lag: Cell::new(2),
            is_failing_over: Cell::new(false),
            grown,
        });
        group.servers[0].lead(&group.servers[1..]);
        for number in 0..group.servers.len() {
            spawn_local(Rc::clone(&group).replicate(number));
        }
        group
    }

    pub(super) fn master(&self) -> Rc<RedisServer> {
        Rc::clone(&self.servers[self.master.get()])
    }

    pub(super) fn master_port(&self) -> u16 {
        SERVERS[self.master.get()]
    }

    pub(super) fn set_lag(&self, lag: u64) {
        self.lag.set(lag);
    }

    /// Applies the writes of the master to a server, each after some delay, while it is a replica.
    async fn replicate(self: Rc<Self>, number: usize) {
        loop {
            let master = self.master.get();
            let end = self.servers[master].log_end();
            let server = &self.servers[number];
            if !server.is_replica() || server.has_applied(end) {
                self.grown.notified().await;
                continue;
            }
            sleep(Duration::from_millis(1 + self.lag.get())).await;
            if master == self.master.get() && server.is_replica() {
                server.apply(&self.servers[master], end);
            }
        }
    }

    /// Promotes a replica as `SENTINEL FAILOVER` does, or after the loss of the master: what has
    /// not been replicated is lost. The old master takes writes until it is demoted.
    pub(super) async fn fail_over(self: Rc<Self>, kind: FailOverKind, announced: [u64; 3], demoted: u64) {
        if self.is_failing_over.replace(true) {
            return;
        }
        let old = self.master.get();
        if kind == FailOverKind::Lost {
            self.network.set_host(SERVERS[old], HostState::Down);
            sleep(Duration::from_secs(1)).await;
        }
        let new = (old + 1) % self.servers.len();
        self.master.set(new);
        let others: Vec<_> = (0..self.servers.len()).filter(|number| ![old, new].contains(number)).collect();
        let others: Vec<_> = others.iter().map(|number| Rc::clone(&self.servers[*number])).collect();
        self.servers[old].lose_replicas();
        self.servers[new].lead(&others);
        for (sentinel, delay) in self.sentinels.iter().zip(announced) {
            let (sentinel, from, to) = (Rc::clone(sentinel), SERVERS[old], SERVERS[new]);
            spawn_local(async move {
                sleep(Duration::from_millis(delay)).await;
                sentinel.announce(from, to);
            });
        }
        sleep(Duration::from_millis(demoted)).await;
        self.network.set_host(SERVERS[old], HostState::Down);
        self.servers[old].follow(&self.servers[new]);
        self.network.set_host(SERVERS[old], HostState::Up);
        self.is_failing_over.set(false);
    }

    /// Lets the replicas take over the data of the master, which has started again.
    pub(super) fn resync(&self) {
        let master = self.master.get();
        let others = self.servers.iter().enumerate().filter(|(number, _)| *number != master);
        let replicas: Vec<_> = others.map(|(_, server)| Rc::clone(server)).collect();
        self.servers[master].lead(&replicas);
    }

    /// Starts every server that is down, and lets every stalled one go on.
    pub(super) fn start_all(&self) {
        for (_, port) in self.servers.iter().zip(SERVERS) {
            self.network.set_host(port, HostState::Up);
        }
    }
}

/// The reason of a fail-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailOverKind {
    Planned,
    Lost,
}

/// A sentinel.
struct SentinelServer {
    master: Cell<u16>,
    clients: RefCell<BTreeMap<u64, ServerEnd>>,
}

impl SentinelServer {
    fn announce(&self, from: u16, to: u16) {
        self.master.set(to);
        let message = format!("{MASTER} {HOST} {from} {HOST} {to}");
        let push = [b">3\r\n", &bulk(b"message")[..], &bulk(b"+switch-master"), &bulk(message.as_bytes())];
        self.clients.borrow().values().for_each(|client| client.send(&push.concat()));
    }
}

impl SimulatedHost for SentinelServer {
    fn execute(&self, from: &ServerEnd, words: Vec<Vec<u8>>) {
        let reply = match words[0].to_ascii_uppercase().as_slice() {
            b"HELLO" => b"%1\r\n+proto\r\n:3\r\n".to_vec(),
            b"CLIENT" => b"+OK\r\n".to_vec(),
            b"PING" => b"+PONG\r\n".to_vec(),
            b"SUBSCRIBE" => {
                self.clients.borrow_mut().insert(from.id(), from.clone());
                [b">3\r\n", &bulk(b"subscribe")[..], &bulk(&words[1]), &integer(1)].concat()
            }
            b"SENTINEL" => {
                let port = self.master.get().to_string();
                [b"*2\r\n", &bulk(HOST.as_bytes())[..], &bulk(port.as_bytes())].concat()
            }
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        from.send(&reply);
    }

    fn ended(&self, connection: u64) {
        self.clients.borrow_mut().remove(&connection);
    }
}
