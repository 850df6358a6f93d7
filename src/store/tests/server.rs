//! An in-process Redis: strings, scripts, client tracking and pub/sub over the simulated network.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::keyspace::{OutOfMemory, ServerKeys, StoredString};
use super::planted::PlantedFault;
use super::script_models::{MODELS, ScriptCall, ScriptReply, parsed};
use crate::redis::tests::network::{ServerEnd, SimulatedHost, SimulatedNetwork};

/// The time of the servers at the start of a run, in milliseconds since the epoch.
pub(super) const SERVER_EPOCH: u64 = 1_800_000_000_000;

/// A server.
pub(super) struct RedisServer {
    network: SimulatedNetwork,
    pub(super) data: RefCell<ServerKeys>,
    run: RefCell<String>,
    clients: RefCell<BTreeMap<u64, ServerClient>>,
    /// Whether the server knows `HELLO`, and so RESP3 and tracking pushes.
    pub(super) has_resp3: Cell<bool>,
    /// The digests of the scripts that the server has cached.
    scripts: RefCell<BTreeSet<String>>,
    is_replica: Cell<bool>,
    /// The replicas that are connected.
    replicas: RefCell<Vec<Weak<Self>>>,
    /// The changed keys since the server became a master, for its replicas.
    log: RefCell<Vec<(Vec<u8>, Option<StoredString>)>>,
    /// The length of the master's log that a replica has.
    applied: Cell<usize>,
    /// The signal that a master's log has grown.
    pub(super) grown: Rc<Notify>,
    pub(super) planted: Cell<Option<PlantedFault>>,
    this: Weak<Self>,
}

/// One connection.
struct ServerClient {
    end: ServerEnd,
    is_resp3: bool,
    is_tracking: bool,
    tracked: BTreeSet<Vec<u8>>,
    channels: BTreeSet<Vec<u8>>,
}

impl RedisServer {
    pub(super) fn new(network: &SimulatedNetwork, run: &str, grown: &Rc<Notify>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            network: network.clone(),
            data: RefCell::default(),
            run: RefCell::new(run.to_owned()),
            clients: RefCell::default(),
            has_resp3: Cell::new(true),
            scripts: RefCell::default(),
            is_replica: Cell::new(false),
            replicas: RefCell::default(),
            log: RefCell::default(),
            applied: Cell::new(0),
            grown: Rc::clone(grown),
            planted: Cell::new(None),
            this: this.clone(),
        })
    }

    /// Makes the server a master with these replicas, which get its data.
    pub(super) fn lead(&self, replicas: &[Rc<Self>]) {
        self.is_replica.set(false);
        self.log.borrow_mut().clear();
        self.replicas.borrow_mut().clear();
        replicas.iter().for_each(|replica| replica.follow(self));
    }

    /// Makes the server a replica of this master, whose data it gets.
    pub(super) fn follow(&self, master: &Self) {
        self.is_replica.set(true);
        self.replicas.borrow_mut().clear();
        *self.data.borrow_mut() = master.data.borrow().clone();
        self.applied.set(master.log_end());
        master.replicas.borrow_mut().push(self.this.clone());
    }

    /// Loses the replicas, which follow another master.
    pub(super) fn lose_replicas(&self) {
        self.replicas.borrow_mut().clear();
    }

    pub(super) fn is_replica(&self) -> bool {
        self.is_replica.get()
    }

    /// Returns whether the server has the log of its master up to this length.
    pub(super) fn has_applied(&self, end: usize) -> bool {
        self.applied.get() >= end
    }

    pub(super) fn log_end(&self) -> usize {
        self.log.borrow().len()
    }

    /// Applies the log of the master up to this length.
    pub(super) fn apply(&self, master: &Self, end: usize) {
        let log = master.log.borrow();
        for (key, item) in log.get(self.applied.get()..end).unwrap_or_default() {
            self.data.borrow_mut().restore(key, item.clone());
        }
        self.applied.set(end.max(self.applied.get()));
    }

    /// Replies to `WAIT` once this many replicas have the log, or after the timeout.
    fn wait(&self, client: &ServerEnd, replicas: usize, timeout: u64) {
        let (this, client, end) = (self.this.clone(), client.clone(), self.log_end());
        spawn_local(async move {
            for waited in 0.. {
                let Some(server) = this.upgrade() else { return };
                let has_all = |replica: &Rc<Self>| replica.has_applied(end);
                let count = server.replicas.borrow().iter().filter_map(Weak::upgrade).filter(has_all).count();
                if count >= replicas || waited >= timeout {
                    return client.send(&integer(i64::try_from(count).unwrap()));
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }

    fn role(&self) -> Vec<u8> {
        if self.is_replica() {
            return [b"*5\r\n", &bulk(b"slave")[..], b"+m\r\n:1\r\n+connected\r\n:1\r\n"].concat();
        }
        let replicas = self.replicas.borrow().len();
        let listed = b"*3\r\n+replica\r\n+1\r\n+1\r\n".repeat(replicas);
        [b"*3\r\n", &bulk(b"master")[..], b":1\r\n", format!("*{replicas}\r\n").as_bytes(), &listed].concat()
    }

    /// Starts again with this data.
    pub(super) fn restart(&self, run: &str, data: ServerKeys) {
        *self.run.borrow_mut() = run.to_owned();
        *self.data.borrow_mut() = data;
        self.scripts.borrow_mut().clear();
    }

    pub(super) fn now(&self) -> u64 {
        SERVER_EPOCH + self.network.now()
    }

    /// Removes expired keys, as the server does in the background.
    pub(super) fn expire(&self) {
        self.data.borrow_mut().expire_all(self.now());
        self.push_invalidations(None);
    }

    /// Removes everything by `FLUSHALL`.
    pub(super) fn flush(&self) {
        *self.data.borrow_mut() = ServerKeys::default();
        for client in self.clients.borrow_mut().values_mut() {
            if client.is_tracking {
                client.tracked.clear();
                client.end.send(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
            }
        }
    }

    /// Sends the invalidations of changed keys: to the caller behind its reply, which comes before.
    pub(super) fn push_invalidations(&self, caller: Option<u64>) -> Vec<Vec<u8>> {
        let mut own = Vec::new();
        let mut data = self.data.borrow_mut();
        for key in data.take_changed() {
            if !self.replicas.borrow().is_empty() {
                self.log.borrow_mut().push((key.clone(), data.stored(&key)));
                self.grown.notify_waiters();
            }
            for (id, client) in self.clients.borrow_mut().iter_mut() {
                if !client.tracked.remove(&key) {
                    continue;
                }
                let push = [b">2\r\n", &bulk(b"invalidate")[..], b"*1\r\n", &bulk(&key)].concat();
                if Some(*id) == caller {
                    own.push(push);
                } else {
                    client.end.send(&push);
                }
            }
        }
        own
    }

    fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        let clients = self.clients.borrow();
        let receivers: Vec<_> = clients.values().filter(|one| one.channels.contains(channel)).collect();
        let mut nodes = BTreeSet::new();
        for one in &receivers {
            let push = [b">3\r\n", &bulk(b"message")[..], &bulk(channel), &bulk(message)].concat();
            let is_first = nodes.insert(one.end.node());
            let times = self.planted.get().map_or(1, |fault| fault.deliveries(channel, message, is_first));
            (0..times).for_each(|_| one.end.send(&push));
        }
        receivers.len()
    }

    /// Executes a command about a key, for a connection that tracks what it reads.
    fn execute_on_key(&self, name: &str, words: &[Vec<u8>]) -> Result<Vec<u8>, OutOfMemory> {
        let (mut data, now) = (self.data.borrow_mut(), self.now());
        let key = &words[1][..];
        Ok(match name {
            "GET" => data.get(key, now).map_or(NIL.to_vec(), |value| bulk(&value)),
            "GETRANGE" => {
                let value = data.get(key, now).unwrap_or_default();
                let end = usize::try_from(parsed(&words[3])).unwrap() + 1;
                bulk(&value[..end.min(value.len())])
            }
            "SET" => {
                let option = |option: &[u8]| words.iter().position(|word| word == option);
                let exists = data.get(key, now).is_some();
                if (option(b"NX").is_some() && exists) || (option(b"XX").is_some() && !exists) {
                    return if data.is_full { Err(OutOfMemory) } else { Ok(NIL.to_vec()) };
                }
                let keep = option(b"PX").map(|at| parsed(&words[at + 1]));
                data.set(key, words[2].clone(), keep, now)?;
                b"+OK\r\n".to_vec()
            }
            "DEL" | "UNLINK" => integer(i64::from(data.remove(key, now))),
            "PTTL" => integer(data.time_to_live(key, now)),
            "PEXPIRE" => {
                data.keep_for(key, parsed(&words[2]), now);
                integer(1)
            }
            _ => b"-ERR offset is out of range\r\n".to_vec(),
        })
    }

    /// Runs a script; `None` if the server does not know it.
    fn run_script(&self, mut words: Vec<Vec<u8>>) -> Option<Result<Vec<u8>, OutOfMemory>> {
        let is_called = |digest: &str, text: &str| match &words[0][..] {
            b"EVALSHA" => digest.as_bytes() == words[1] && self.scripts.borrow().contains(digest),
            _ => text.as_bytes() == words[1],
        };
        let (script, model) = MODELS.iter().find(|(script, _)| is_called(script.digest(), script.text()))?;
        self.scripts.borrow_mut().insert(script.digest().to_owned());
        self.planted.get().into_iter().for_each(|fault| fault.change_call(script, &mut words));
        let (mut data, now) = (self.data.borrow_mut(), self.now());
        let mut call = ScriptCall { data: &mut data, key: &words[3], arguments: &words[4..], now };
        Some(model(&mut call).map(|reply| match reply {
            ScriptReply::Integer(number) => integer(number),
            ScriptReply::Bulk(value) => bulk(&value),
        }))
    }

    fn reply(&self, from: &ServerEnd, words: &[Vec<u8>]) -> Vec<u8> {
        let id = from.id();
        let name = String::from_utf8(words[0].to_ascii_uppercase()).unwrap();
        let track = |key: &[u8]| {
            if let Some(client) = self.clients.borrow_mut().get_mut(&id).filter(|one| one.is_tracking) {
                client.tracked.insert(key.to_vec());
            }
        };
        let done = match name.as_str() {
            "HELLO" if !self.has_resp3.get() => return b"-ERR unknown command `HELLO`\r\n".to_vec(),
            "HELLO" => {
                self.with_client(id, |client| client.is_resp3 = true);
                return b"%1\r\n+proto\r\n:3\r\n".to_vec();
            }
            "CLIENT" if words[1] == b"TRACKING" => {
                let is_resp3 = self.has_resp3.get();
                self.with_client(id, |client| client.is_tracking = is_resp3);
                return b"+OK\r\n".to_vec();
            }
            "CLIENT" => return b"+OK\r\n".to_vec(),
            "INFO" => return bulk(format!("# Server\r\nrun_id:{}\r\n", self.run.borrow()).as_bytes()),
            "PING" => return b"+PONG\r\n".to_vec(),
            "ROLE" => return self.role(),
            "WAIT" => {
                let replicas = usize::try_from(parsed(&words[1])).unwrap();
                self.wait(from, replicas, parsed(&words[2]));
                return Vec::new();
            }
            "SET" | "UNLINK" | "EVAL" | "EVALSHA" if self.is_replica() => {
                return b"-READONLY You can't write against a read only replica.\r\n".to_vec();
            }
            "TIME" => return b"*2\r\n$1\r\n0\r\n$1\r\n0\r\n".to_vec(),
            "SUBSCRIBE" => {
                let subscribed = |channel: &Vec<u8>| {
                    self.with_client(id, |client| {
                        client.channels.insert(channel.clone());
                    });
                    [b">3\r\n", &bulk(b"subscribe")[..], &bulk(channel), b":1\r\n"].concat()
                };
                return words[1..].iter().flat_map(subscribed).collect();
            }
            "PUBLISH" => {
                let receivers = self.publish(&words[1], &words[2]);
                return integer(i64::try_from(receivers).unwrap());
            }
            // The trial of the user's rights.
            "EVAL" if words[1].starts_with(b"return 0") => return integer(0),
            "EVAL" | "EVALSHA" => {
                track(&words[3]);
                match self.run_script(words.to_vec()) {
                    Some(done) => done,
                    None => return b"-NOSCRIPT No matching script.\r\n".to_vec(),
                }
            }
            _ => {
                if ["GET", "GETRANGE", "PTTL"].contains(&name.as_str()) {
                    track(&words[1]);
                }
                self.execute_on_key(&name, words)
            }
        };
        done.unwrap_or_else(|OutOfMemory| {
            b"-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_vec()
        })
    }

    fn with_client(&self, id: u64, change: impl FnOnce(&mut ServerClient)) {
        if let Some(client) = self.clients.borrow_mut().get_mut(&id) {
            change(client);
        }
    }
}

impl SimulatedHost for RedisServer {
    fn execute(&self, from: &ServerEnd, words: Vec<Vec<u8>>) {
        self.clients.borrow_mut().entry(from.id()).or_insert_with(|| ServerClient {
            end: from.clone(),
            is_resp3: false,
            is_tracking: false,
            tracked: BTreeSet::new(),
            channels: BTreeSet::new(),
        });
        let mut reply = self.reply(from, &words);
        if let Some(fault) = self.planted.get() {
            let key = words.get(if words[0].starts_with(b"EVAL") { 3 } else { 1 });
            key.into_iter().for_each(|key| fault.change_stored(&mut self.data.borrow_mut(), key, self.now()));
        }
        self.with_client(from.id(), |client| {
            // RESP2 has another nil.
            if !client.is_resp3 && reply == NIL {
                reply = b"$-1\r\n".to_vec();
            }
        });
        let pushes = self.push_invalidations(Some(from.id()));
        let bytes = [reply, pushes.concat()].concat();
        if !bytes.is_empty() {
            from.send(&bytes);
        }
    }

    fn ended(&self, connection: u64) {
        self.clients.borrow_mut().remove(&connection);
    }
}

const NIL: &[u8] = b"_\r\n";

pub(super) fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

pub(super) fn integer(number: i64) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}
