//! Several in-process Redis servers, behind sentinels or as a cluster, on a paused clock.
//!
//! Connections of a thread that has a world lead into it, by the port. A server tracks, sends
//! invalidations, redirects and refuses like a real one; replicas have their master's data at once.
//! A server has no task: the socket ([`Wire`]) executes a command when it is written, and delivers
//! the reply a moment later. The test changes masters, slots and outages from outside, and the
//! world knows the truth: the value of a key at its real owner, and since when.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::model::spoken;
use crate::redis::connection::RedisSocket;
use crate::resp::topology::{Endpoint, HashSlot};
use crate::resp::{Frame, Inbox};
use crate::time::instant;

/// The host name of all servers.
pub(super) const HOST: &str = "world";
/// The master's name at the sentinels.
pub(super) const NAME: &str = "m";
/// The slots are assigned in this many parts.
pub(super) const PARTS: usize = 12;
const PART: usize = HashSlot::COUNT.div_ceil(PARTS);

type Keyspace = Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>;

/// The servers. Clones are the same.
#[derive(Clone)]
pub(super) struct World(Rc<WorldInner>);

struct WorldInner {
    /// The data servers.
    servers: Vec<WorldServer>,
    /// Each sentinel's master, and whether the sentinel is down; none in a cluster.
    sentinels: Vec<(Cell<usize>, Cell<bool>)>,
    /// The master of each group of servers with the same data; one group behind sentinels.
    masters: RefCell<Vec<usize>>,
    /// The group of each part of the slots.
    owners: RefCell<Vec<usize>>,
    /// A part whose keys have moved to another group already.
    moving: Cell<Option<(usize, usize)>>,
    connections: RefCell<Vec<Rc<WorldConnection>>>,
    rng: RefCell<Rng>,
    /// The time of each key's last change at its owner.
    since: RefCell<HashMap<Vec<u8>, Instant>>,
    /// The time of the last promotion: writes to the old master since are lost.
    promoted: Cell<Option<Instant>>,
}

struct WorldServer {
    group: usize,
    data: RefCell<Keyspace>,
    away: Cell<bool>,
    stalled: Cell<bool>,
}

struct WorldConnection {
    port: usize,
    /// Written by the client and not yet executed.
    inbox: RefCell<Inbox>,
    tracks: Cell<bool>,
    asking: Cell<bool>,
    tracked: RefCell<HashSet<Vec<u8>>>,
    channels: RefCell<HashSet<Vec<u8>>>,
    /// Written by the server and not yet sent.
    outbox: RefCell<Vec<u8>>,
    /// The client's waker, while it waits for input.
    reader: RefCell<Option<Waker>>,
    ended: Cell<bool>,
}

impl WorldConnection {
    fn push(&self, words: &[&[u8]]) {
        let mut push = format!(">{}\r\n", words.len()).into_bytes();
        for word in words {
            push.extend(bulk(word));
        }
        self.say(&push);
    }

    fn say(&self, bytes: &[u8]) {
        self.outbox.borrow_mut().extend_from_slice(bytes);
        self.call();
    }

    /// Wakes the client.
    fn call(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The client's end of a connection.
struct Wire {
    world: World,
    connection: Rc<WorldConnection>,
    /// Bytes in flight, and the time of their arrival. Later bytes leave after them.
    flight: Option<(Vec<u8>, Pin<Box<Sleep>>)>,
    /// Arrived and not yet read.
    arrived: VecDeque<u8>,
}

impl Wire {
    fn new(world: World, connection: Rc<WorldConnection>) -> Self {
        Self { world, connection, flight: None, arrived: VecDeque::new() }
    }

    /// Sends the outbox, and receives what has arrived. Ready when there is something to read.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.arrived.is_empty() {
            self.connection.reader.replace(Some(cx.waker().clone()));
            if self.connection.ended.get() {
                return Poll::Ready(());
            }
            if self.world.is_stalled(self.connection.port) {
                return Poll::Pending;
            }
            let Some((words, arrival)) = &mut self.flight else {
                let words = self.connection.outbox.take();
                if words.is_empty() {
                    return Poll::Pending;
                }
                let delay = Duration::from_micros(self.world.draw(|rng| rng.u64(50..2_000)));
                self.flight = Some((words, Box::pin(sleep(delay))));
                continue;
            };
            ready!(arrival.as_mut().poll(cx));
            self.arrived.extend(words.drain(..));
            self.flight = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_arrival(cx));
        let count = into.remaining().min(self.arrived.len());
        self.arrived.drain(..count).for_each(|byte| into.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.ended.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.connection.inbox.borrow_mut().room().extend_from_slice(bytes);
        self.connection.reader.take();
        self.world.listen(&self.connection);
        // The writer reads on the same task: it is woken when the reply is there, and not before.
        if self.poll_arrival(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.world.end(&self.connection);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.world.end(&self.connection);
    }
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// This thread dials into the world while this lives.
pub(super) struct EnteredWorld;

impl Drop for EnteredWorld {
    fn drop(&mut self) {
        WORLD.take();
    }
}

/// Dials into this thread's world, if it has one.
pub(in crate::redis) fn dial(port: u16) -> Option<io::Result<Box<dyn RedisSocket>>> {
    let world = WORLD.with_borrow(Clone::clone)?;
    Some(world.dial(port.into()))
}

pub(super) fn endpoint(port: usize) -> Endpoint {
    Endpoint { host: HOST.to_owned(), port: u16::try_from(port).unwrap() }
}

impl World {
    /// One master with two replicas, watched by three sentinels.
    pub(super) fn behind_sentinels(seed: u64) -> Self {
        Self::new(seed, 1, 3, 3)
    }

    /// Three masters with one replica each.
    pub(super) fn of_a_cluster(seed: u64) -> Self {
        Self::new(seed, 3, 2, 0)
    }

    fn new(seed: u64, groups: usize, members: usize, sentinels: usize) -> Self {
        // The clients draw their jitter from the thread's generator.
        fastrand::seed(seed);
        let server = |group: usize, data: &Keyspace| WorldServer {
            group,
            data: RefCell::new(Rc::clone(data)),
            away: Cell::new(false),
            stalled: Cell::new(false),
        };
        let group = |group| {
            let data = Keyspace::default();
            (0..members).map(move |_| server(group, &data))
        };
        Self(Rc::new(WorldInner {
            servers: (0..groups).flat_map(group).collect(),
            sentinels: (0..sentinels).map(|_| (Cell::new(0), Cell::new(false))).collect(),
            masters: RefCell::new((0..groups).map(|group| group * members).collect()),
            owners: RefCell::new((0..PARTS).map(|part| part * groups / PARTS).collect()),
            moving: Cell::new(None),
            connections: RefCell::default(),
            rng: RefCell::new(Rng::with_seed(seed)),
            since: RefCell::default(),
            promoted: Cell::new(None),
        }))
    }

    pub(super) fn enter(&self) -> EnteredWorld {
        WORLD.set(Some(self.clone()));
        EnteredWorld
    }

    /// The ports of the data servers: their indices, from one.
    pub(super) fn ports(&self) -> std::ops::RangeInclusive<usize> {
        1..=self.0.servers.len()
    }

    /// The ports of the sentinels.
    pub(super) fn sentinels(&self) -> Vec<usize> {
        (0..self.0.sentinels.len()).map(|place| place + 1 + self.0.servers.len()).collect()
    }

    /// The ports of the masters.
    pub(super) fn masters(&self) -> Vec<usize> {
        self.0.masters.borrow().iter().map(|master| master + 1).collect()
    }

    /// Returns the value of a key at its owner, and since when.
    pub(super) fn truth(&self, key: &[u8]) -> (Option<Vec<u8>>, Option<Instant>) {
        let group = if self.is_cluster() { self.0.owners.borrow()[part(key)] } else { 0 };
        let master = self.0.masters.borrow()[group];
        let moved = self.0.moving.get().filter(|(moving, _)| self.is_cluster() && *moving == part(key));
        let place = moved.map_or(master, |(_, to)| self.0.masters.borrow()[to]);
        let value = self.0.servers[place].data.borrow().borrow().get(key).cloned();
        (value, self.0.since.borrow().get(key).copied().max(self.0.promoted.get()))
    }

    pub(super) fn set_away(&self, port: usize, away: bool) {
        self.0.servers[port - 1].away.set(away);
        if away {
            self.cut(port);
        }
    }

    pub(super) fn set_stalled(&self, port: usize, stalled: bool) {
        self.0.servers[port - 1].stalled.set(stalled);
        if !stalled {
            for connection in self.connections_to(port) {
                self.listen(&connection);
                connection.call();
            }
        }
    }

    pub(super) fn set_sentinel_away(&self, number: usize, away: bool) {
        self.0.sentinels[number].1.set(away);
        if away {
            self.cut(self.sentinels()[number]);
        }
    }

    /// Closes all connections to a server.
    pub(super) fn cut(&self, port: usize) {
        for connection in self.connections_to(port) {
            self.end(&connection);
        }
    }

    /// Promotes another server of this master's group, with the present data; the sentinels do not
    /// know it yet. The old master lives on as a master behind sentinels, and becomes a replica in
    /// a cluster.
    pub(super) fn promote(&self, port: usize) -> usize {
        let old = port - 1;
        let group = self.0.servers[old].group;
        let mut others =
            (0..self.0.servers.len()).filter(|other| *other != old && self.0.servers[*other].group == group);
        let new = others.find(|other| !self.0.servers[*other].away.get()).unwrap();
        if !self.is_cluster() {
            let data: Keyspace = Rc::new(RefCell::new(self.0.servers[old].data.borrow().borrow().clone()));
            for (place, server) in self.0.servers.iter().enumerate() {
                if place != old {
                    server.data.replace(Rc::clone(&data));
                }
            }
        }
        self.0.masters.borrow_mut()[group] = new;
        self.0.promoted.set(Some(instant()));
        new + 1
    }

    /// A sentinel learns of the promotion, and announces it.
    pub(super) fn tell(&self, sentinel: usize, old: usize, new: usize) {
        self.0.sentinels[sentinel].0.set(new - 1);
        let words = format!("{NAME} {HOST} {old} {HOST} {new}");
        for connection in self.connections_to(self.sentinels()[sentinel]) {
            if connection.channels.borrow().contains(&b"+switch-master"[..]) {
                connection.push(&[b"message", b"+switch-master", words.as_bytes()]);
            }
        }
    }

    /// Makes an old master a replica of the new one, as a sentinel does: its clients are
    /// disconnected.
    pub(super) fn demote(&self, old: usize, new: usize) {
        let data = Rc::clone(&self.0.servers[new - 1].data.borrow());
        self.0.servers[old - 1].data.replace(data);
        self.cut(old);
    }

    /// Moves the keys of a part to another group; the part itself follows later.
    pub(super) fn begin_to_move(&self, part_moved: usize, to: usize) {
        let from = self.0.owners.borrow()[part_moved];
        let [source, target] = [from, to].map(|group| self.0.masters.borrow()[group]);
        let source_data = Rc::clone(&self.0.servers[source].data.borrow());
        let keys: Vec<_> =
            source_data.borrow().keys().filter(|key| part(key) == part_moved).cloned().collect();
        for key in keys {
            let value = source_data.borrow_mut().remove(&key).unwrap();
            self.0.servers[target].data.borrow().borrow_mut().insert(key.clone(), value);
            self.invalidate(&source_data, &key);
        }
        self.0.moving.set(Some((part_moved, to)));
    }

    pub(super) fn end_move(&self) {
        if let Some((part, to)) = self.0.moving.take() {
            self.0.owners.borrow_mut()[part] = to;
        }
    }

    fn is_cluster(&self) -> bool {
        self.0.sentinels.is_empty()
    }

    fn connections_to(&self, port: usize) -> Vec<Rc<WorldConnection>> {
        self.0.connections.borrow().iter().filter(|connection| connection.port == port).cloned().collect()
    }

    fn draw<T>(&self, from: impl FnOnce(&mut Rng) -> T) -> T {
        from(&mut self.0.rng.borrow_mut())
    }

    fn dial(&self, port: usize) -> io::Result<Box<dyn RedisSocket>> {
        let is_away = match self.0.servers.get(port - 1) {
            Some(server) => server.away.get(),
            None => self.0.sentinels[port - 1 - self.0.servers.len()].1.get(),
        };
        if is_away {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let connection = Rc::new(WorldConnection {
            port,
            inbox: RefCell::new(Inbox::new()),
            tracks: Cell::new(false),
            asking: Cell::new(false),
            tracked: RefCell::default(),
            channels: RefCell::default(),
            outbox: RefCell::default(),
            reader: RefCell::default(),
            ended: Cell::new(false),
        });
        self.0.connections.borrow_mut().push(Rc::clone(&connection));
        Ok(Box::new(Wire::new(self.clone(), connection)))
    }

    /// Executes the client's commands, unless the server is stalled.
    fn listen(&self, connection: &WorldConnection) {
        while !self.is_stalled(connection.port) && !connection.ended.get() {
            let frame = connection.inbox.borrow_mut().frame().unwrap();
            let Some(frame) = frame else { return };
            self.execute(connection, frame);
        }
    }

    fn is_stalled(&self, port: usize) -> bool {
        self.0.servers.get(port - 1).is_some_and(|server| server.stalled.get())
    }

    fn end(&self, connection: &WorldConnection) {
        connection.ended.set(true);
        connection.call();
        self.0.connections.borrow_mut().retain(|other| !std::ptr::eq(&**other, connection));
    }

    /// Sends invalidations to all that have read a key of this data, on any server.
    fn invalidate(&self, data: &Keyspace, key: &[u8]) {
        for connection in self.0.connections.borrow().iter() {
            let is_here = self
                .0
                .servers
                .get(connection.port - 1)
                .is_some_and(|server| Rc::ptr_eq(&server.data.borrow(), data));
            if is_here && connection.tracked.borrow_mut().remove(key) {
                let push = [b">2\r\n", &bulk(b"invalidate")[..], b"*1\r\n", &bulk(key)].concat();
                connection.say(&push);
            }
        }
    }

    fn execute(&self, connection: &WorldConnection, frame: Frame) {
        let (name, words) = spoken(frame);
        let asking = connection.asking.replace(name == "ASKING");
        match (name.as_str(), self.0.servers.get(connection.port - 1)) {
            ("HELLO", _) => connection.say(b"%1\r\n+proto\r\n:3\r\n"),
            ("INFO", _) => connection.say(b"_\r\n"),
            ("PING", _) => connection.say(b"+PONG\r\n"),
            ("CLIENT" | "ASKING", _) => {
                if words[1..].first().is_some_and(|word| word == b"TRACKING") {
                    connection.tracks.set(true);
                }
                connection.say(b"+OK\r\n");
            }
            ("SUBSCRIBE", _) => {
                for channel in &words[1..] {
                    connection.channels.borrow_mut().insert(channel.clone());
                    let push = [b">3\r\n", &bulk(b"subscribe")[..], &bulk(channel), b":1\r\n"].concat();
                    connection.say(&push);
                }
            }
            ("SENTINEL", None) => {
                let (master, _) = &self.0.sentinels[connection.port - 1 - self.0.servers.len()];
                let port = (master.get() + 1).to_string();
                connection.say(&[b"*2\r\n", &bulk(HOST.as_bytes())[..], &bulk(port.as_bytes())].concat());
            }
            ("ROLE", Some(_)) => {
                let role: &[u8] = if self.takes_writes(connection.port) { b"master" } else { b"slave" };
                connection.say(&[b"*3\r\n", &bulk(role)[..], b":0\r\n*0\r\n"].concat());
            }
            ("CLUSTER", Some(_)) => self.answer_cluster(connection, &words[1]),
            ("GET" | "SET", Some(server)) => self.answer(connection, server, &words, asking),
            _ => panic!("{name}"),
        }
    }

    /// Behind sentinels an old master accepts writes while it has data of its own.
    fn takes_writes(&self, port: usize) -> bool {
        let server = &self.0.servers[port - 1];
        let master = self.0.masters.borrow()[server.group];
        port == master + 1 || !Rc::ptr_eq(&server.data.borrow(), &self.0.servers[master].data.borrow())
    }

    fn answer(&self, connection: &WorldConnection, server: &WorldServer, words: &[Vec<u8>], asking: bool) {
        let key = &words[1];
        if self.is_cluster()
            && let Some(elsewhere) = self.elsewhere(connection.port, server, key, asking)
        {
            return connection.say(elsewhere.as_bytes());
        }
        let data = Rc::clone(&server.data.borrow());
        if words[0] == b"GET" {
            if connection.tracks.get() {
                connection.tracked.borrow_mut().insert(key.clone());
            }
            let value = data.borrow().get(key).cloned();
            return connection.say(&value.map_or(b"_\r\n".to_vec(), |value| bulk(&value)));
        }
        if !self.takes_writes(connection.port) {
            return connection.say(b"-READONLY You can't write against a read only replica.\r\n");
        }
        data.borrow_mut().insert(key.clone(), words[2].clone());
        connection.say(b"+OK\r\n");
        let master = self.0.masters.borrow()[server.group];
        if Rc::ptr_eq(&data, &self.0.servers[master].data.borrow()) {
            self.0.since.borrow_mut().insert(key.clone(), instant());
        }
        self.invalidate(&data, key);
    }

    /// Returns a cluster server's redirection, if it does not execute the command.
    fn elsewhere(&self, port: usize, server: &WorldServer, key: &[u8], asking: bool) -> Option<String> {
        let masters = self.0.masters.borrow();
        let (part, slot) = (part(key), HashSlot::of(key).index());
        let owner = self.0.owners.borrow()[part];
        let moving = self.0.moving.get().filter(|(moved, _)| *moved == part);
        if port != masters[server.group] + 1 {
            return Some(format!("-MOVED {slot} {HOST}:{}\r\n", masters[owner] + 1));
        }
        match moving {
            Some((_, to)) if server.group == owner => {
                Some(format!("-ASK {slot} {HOST}:{}\r\n", masters[to] + 1))
            }
            Some((_, to)) if server.group == to && asking => None,
            _ if server.group == owner => None,
            _ => Some(format!("-MOVED {slot} {HOST}:{}\r\n", masters[owner] + 1)),
        }
    }

    fn answer_cluster(&self, connection: &WorldConnection, what: &[u8]) {
        match what {
            b"MYID" => connection.say(&bulk(format!("id-{}", connection.port).as_bytes())),
            b"SLOTS" => {
                let mut reply = format!("*{PARTS}\r\n");
                for (part, group) in self.0.owners.borrow().iter().enumerate() {
                    let (first, last) = (part * PART, ((part + 1) * PART).min(HashSlot::COUNT) - 1);
                    let master = self.0.masters.borrow()[*group] + 1;
                    reply += &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n+{HOST}\r\n:{master}\r\n");
                }
                connection.say(reply.as_bytes());
            }
            _ => connection.say(b"-ERR unknown subcommand\r\n"),
        }
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Returns the part of a key's slot.
pub(super) fn part(key: &[u8]) -> usize {
    HashSlot::of(key).index() / PART
}
