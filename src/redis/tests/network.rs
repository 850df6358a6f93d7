//! A network of in-process servers, for tests of the code above the client, on a paused clock.
//!
//! Connections of a thread that has a network lead into it, by the port. Bytes travel for whole
//! milliseconds, in order, in each direction. A node of the test is a number: a cut-off node keeps
//! its connections, and its bytes wait in both directions, as TCP keeps them. The test supplies the
//! servers ([`SimulatedHost`]); a server has no task, because one task delivers every byte
//! ([`SimulatedNetwork::run`]).

mod client_end;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use self::client_end::ClientEnd;
use super::model::spoken;
use crate::redis::connection::RedisSocket;
use crate::resp::Inbox;
use crate::time::instant;

/// A server of the network.
pub(crate) trait SimulatedHost {
    /// Executes a command of a connection.
    fn execute(&self, from: &ServerEnd, words: Vec<Vec<u8>>);

    /// Handles the end of a connection.
    fn ended(&self, connection: u64);
}

/// The state of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostState {
    /// The host executes commands.
    Up,
    /// The host accepts connections and executes nothing.
    Stalled,
    /// The host refuses connections.
    Down,
}

/// The hosts by port.
type HostTable = BTreeMap<u16, (HostState, Rc<dyn SimulatedHost>)>;

/// The network. Clones are the same.
#[derive(Clone)]
pub(crate) struct SimulatedNetwork(Rc<NetworkInner>);

struct NetworkInner {
    begin: Instant,
    hosts: RefCell<HostTable>,
    connections: RefCell<BTreeMap<u64, Rc<SimulatedConnection>>>,
    last_connection: Cell<u64>,
    /// The deliveries under way, by the millisecond of their arrival and a number.
    travels: RefCell<BTreeMap<(u64, u64), Travel>>,
    last_travel: Cell<u64>,
    added: Notify,
    rng: RefCell<Rng>,
    delay: RefCell<TravelDelay>,
    /// The nodes whose bytes wait.
    cut_off: RefCell<BTreeSet<usize>>,
    /// The nodes that cannot connect.
    refused: RefCell<BTreeSet<usize>>,
}

/// The delay of a batch, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct TravelDelay {
    pub(crate) usual: Range<u64>,
    /// The share of slow batches, and their delay. Batches behind a slow one wait for it.
    pub(crate) tail: (f64, Range<u64>),
}

/// An arrival at one end of a connection.
enum Travel {
    ToServer(Rc<SimulatedConnection>, Vec<u8>),
    ToClient(Rc<SimulatedConnection>, Vec<u8>),
    /// The client has closed the connection.
    End(Rc<SimulatedConnection>),
}

struct SimulatedConnection {
    id: u64,
    node: usize,
    port: u16,
    /// Arrived at the server and not yet executed.
    inbox: RefCell<Inbox>,
    /// Arrived at the client and not yet read.
    arrived: RefCell<VecDeque<u8>>,
    /// Sent by either end of a node that is cut off.
    held: RefCell<Vec<(Towards, Vec<u8>)>>,
    /// The arrival of the last bytes in each direction.
    last: Cell<[u64; 2]>,
    reader: RefCell<Option<Waker>>,
    is_closed: Cell<bool>,
    /// Whether the client has closed the connection, and the server does not know it yet.
    is_left: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Towards {
    Server = 0,
    Client = 1,
}

/// The server's end of a connection.
#[derive(Clone)]
pub(crate) struct ServerEnd {
    network: SimulatedNetwork,
    connection: Rc<SimulatedConnection>,
}

impl ServerEnd {
    /// Returns the number of the connection.
    pub(crate) fn id(&self) -> u64 {
        self.connection.id
    }

    /// Returns the node of the client.
    pub(crate) fn node(&self) -> usize {
        self.connection.node
    }

    /// Sends bytes to the client.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.network.send(&self.connection, Towards::Client, bytes);
    }
}

impl SimulatedConnection {
    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

thread_local! {
    static NETWORK: RefCell<Option<SimulatedNetwork>> = const { RefCell::new(None) };
    static NODE: Cell<usize> = const { Cell::new(0) };
}

/// This thread dials into the network while this lives.
pub(crate) struct EnteredNetwork;

impl Drop for EnteredNetwork {
    fn drop(&mut self) {
        NETWORK.take();
    }
}

/// Does some work of a node: connections that it dials belong to this node.
pub(crate) fn as_node<T>(node: usize, work: impl FnOnce() -> T) -> T {
    let before = NODE.replace(node);
    let done = work();
    NODE.set(before);
    done
}

/// Dials into this thread's network, if it has one.
pub(super) fn dial(port: u16) -> Option<io::Result<Box<dyn RedisSocket>>> {
    let network = NETWORK.with_borrow(Clone::clone)?;
    Some(network.dial(port))
}

impl SimulatedNetwork {
    pub(crate) fn new(seed: u64, delay: TravelDelay) -> Self {
        Self(Rc::new(NetworkInner {
            begin: instant(),
            hosts: RefCell::default(),
            connections: RefCell::default(),
            last_connection: Cell::new(0),
            travels: RefCell::default(),
            last_travel: Cell::new(0),
            added: Notify::new(),
            rng: RefCell::new(Rng::with_seed(seed)),
            delay: RefCell::new(delay),
            cut_off: RefCell::default(),
            refused: RefCell::default(),
        }))
    }

    pub(crate) fn enter(&self) -> EnteredNetwork {
        NETWORK.set(Some(self.clone()));
        EnteredNetwork
    }

    /// Returns the milliseconds since the network began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from((instant() - self.0.begin).as_millis()).unwrap()
    }

    pub(crate) fn add_host(&self, port: u16, host: Rc<dyn SimulatedHost>) {
        self.0.hosts.borrow_mut().insert(port, (HostState::Up, host));
    }

    /// Changes the state of a host. One that goes down closes its connections.
    pub(crate) fn set_host(&self, port: u16, state: HostState) {
        if let Some((known, _)) = self.0.hosts.borrow_mut().get_mut(&port) {
            *known = state;
        }
        for connection in self.connections(|one| one.port == port) {
            match state {
                HostState::Up => self.listen(&connection),
                HostState::Stalled => {}
                HostState::Down => self.close(&connection),
            }
        }
    }

    /// Changes the delay.
    pub(crate) fn set_delay(&self, delay: TravelDelay) {
        *self.0.delay.borrow_mut() = delay;
    }

    /// Lets the bytes of a node wait in both directions.
    pub(crate) fn cut_off(&self, node: usize) {
        self.0.cut_off.borrow_mut().insert(node);
    }

    /// Ends each fault of a node: the waiting bytes travel on.
    pub(crate) fn heal(&self, node: usize) {
        self.0.refused.borrow_mut().remove(&node);
        self.0.cut_off.borrow_mut().remove(&node);
        for connection in self.connections(|one| one.node == node) {
            for (towards, bytes) in connection.held.take() {
                self.send(&connection, towards, &bytes);
            }
            self.listen(&connection);
            if connection.is_left.get() {
                self.travel(&connection, Towards::Server, Travel::End(Rc::clone(&connection)));
            }
        }
    }

    /// Closes a node's connections, and refuses new ones until it heals.
    pub(crate) fn refuse(&self, node: usize) {
        self.0.refused.borrow_mut().insert(node);
        self.lose_connections(node);
    }

    /// Closes a node's connections.
    pub(crate) fn lose_connections(&self, node: usize) {
        self.connections(|one| one.node == node).iter().for_each(|connection| self.close(connection));
    }

    /// Delivers everything that travels, for the life of the network.
    pub(crate) async fn run(self) {
        loop {
            let first = self.0.travels.borrow().first_key_value().map(|(key, _)| *key);
            match first {
                None => self.0.added.notified().await,
                Some(key @ (at, _)) if at <= self.now() => {
                    let travel = self.0.travels.borrow_mut().remove(&key);
                    travel.into_iter().for_each(|travel| self.arrive(travel));
                }
                Some((at, _)) => {
                    let until = self.0.begin + Duration::from_millis(at);
                    tokio::select! {
                        biased;
                        () = self.0.added.notified() => {}
                        () = sleep_until(until.into()) => {}
                    }
                }
            }
        }
    }

    fn arrive(&self, travel: Travel) {
        match travel {
            Travel::ToServer(connection, bytes) => {
                connection.inbox.borrow_mut().room().extend_from_slice(&bytes);
                self.listen(&connection);
            }
            Travel::ToClient(connection, bytes) => {
                if self.is_cut_off(&connection) {
                    return connection.held.borrow_mut().push((Towards::Client, bytes));
                }
                connection.arrived.borrow_mut().extend(bytes);
                connection.wake();
            }
            Travel::End(connection) => self.close(&connection),
        }
    }

    fn send(&self, connection: &Rc<SimulatedConnection>, towards: Towards, bytes: &[u8]) {
        if self.is_cut_off(connection) {
            return connection.held.borrow_mut().push((towards, bytes.to_vec()));
        }
        let travel = match towards {
            Towards::Server => Travel::ToServer(Rc::clone(connection), bytes.to_vec()),
            Towards::Client => Travel::ToClient(Rc::clone(connection), bytes.to_vec()),
        };
        self.travel(connection, towards, travel);
    }

    fn travel(&self, connection: &SimulatedConnection, towards: Towards, travel: Travel) {
        let delay = {
            let (TravelDelay { usual, tail: (share, slow) }, mut rng) =
                (self.0.delay.borrow().clone(), self.0.rng.borrow_mut());
            if rng.f64() < share { rng.u64(slow) } else { rng.u64(usual) }
        };
        let mut last = connection.last.get();
        let arrival = last[towards as usize].max(self.now() + delay);
        last[towards as usize] = arrival;
        connection.last.set(last);
        let number = self.0.last_travel.get() + 1;
        self.0.last_travel.set(number);
        self.0.travels.borrow_mut().insert((arrival, number), travel);
        self.0.added.notify_one();
    }

    /// Executes what has arrived at the server.
    fn listen(&self, connection: &Rc<SimulatedConnection>) {
        loop {
            let host = self.0.hosts.borrow().get(&connection.port).cloned();
            let Some((HostState::Up, host)) = host else { return };
            if connection.is_closed.get() || self.is_cut_off(connection) {
                return;
            }
            let Some(frame) = connection.inbox.borrow_mut().frame().unwrap() else { return };
            let (_, words) = spoken(frame);
            host.execute(&ServerEnd { network: self.clone(), connection: Rc::clone(connection) }, words);
        }
    }

    fn is_cut_off(&self, connection: &SimulatedConnection) -> bool {
        self.0.cut_off.borrow().contains(&connection.node)
    }

    fn connections(&self, are: impl Fn(&SimulatedConnection) -> bool) -> Vec<Rc<SimulatedConnection>> {
        self.0.connections.borrow().values().filter(|one| are(one)).cloned().collect()
    }

    fn close(&self, connection: &Rc<SimulatedConnection>) {
        if connection.is_closed.replace(true) {
            return;
        }
        self.0.connections.borrow_mut().remove(&connection.id);
        if let Some((_, host)) = self.0.hosts.borrow().get(&connection.port) {
            host.ended(connection.id);
        }
        connection.wake();
    }

    /// Handles the client's end of a connection: bytes under way may still arrive.
    fn leave(&self, connection: &Rc<SimulatedConnection>) {
        if connection.is_closed.get() || connection.is_left.replace(true) {
            return;
        }
        if !self.is_cut_off(connection) {
            self.travel(connection, Towards::Server, Travel::End(Rc::clone(connection)));
        } else if self.0.rng.borrow_mut().bool() {
            self.close(connection);
        }
    }

    fn dial(&self, port: u16) -> io::Result<Box<dyn RedisSocket>> {
        let node = NODE.get();
        let is_down = self.0.hosts.borrow().get(&port).is_none_or(|(state, _)| *state == HostState::Down);
        if is_down || self.0.refused.borrow().contains(&node) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let id = self.0.last_connection.get() + 1;
        self.0.last_connection.set(id);
        let connection = Rc::new(SimulatedConnection {
            id,
            node,
            port,
            inbox: RefCell::new(Inbox::new()),
            arrived: RefCell::default(),
            held: RefCell::default(),
            last: Cell::default(),
            reader: RefCell::default(),
            is_closed: Cell::new(false),
            is_left: Cell::new(false),
        });
        self.0.connections.borrow_mut().insert(id, Rc::clone(&connection));
        Ok(Box::new(ClientEnd { network: self.clone(), connection }))
    }
}
