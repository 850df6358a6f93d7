//! The servers of a cluster, each with its part of the keys.
//!
//! ```text
//! command ─► key ─► Slot ─► SlotMap ─► Node ─► Pool ─► reply
//!                             ▲  ▲               └─ MOVED: the slot is assigned anew, once more there
//!                  refresh ───┘  └────────────────── ASK: once more there, behind ASKING
//! ```
//!
//! The map is a server's word and may be old. A server that knows better says so, and then the command is sent once
//! more, within the time that its caller gave it; whatever is still wrong then is a miss. The map itself is asked for
//! anew by one task, when somebody has a reason to doubt it and not more often than every so often.
//!
//! What was read from a master is not known any more when it has other slots than before, or does not answer for them
//! (`vouch.rs`). Where replicas answer reads nothing is tracked: what they say may be old when it is read.
//!
//! What always holds: a command is sent twice at most, and only after the first server has refused it; a server that is
//! away costs the keys of its slots and no others.

mod layout;
mod refresh;
mod vouch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout_at;

use self::layout::{Layout, Node};
use self::refresh::Refresher;
use super::control::Switchboard;
use super::encryption::Tls;
use super::error::Unavailable;
use super::metrics;
use super::news::Reading;
use super::options::{Cluster as Seeds, Options, Readers};
use super::pool::Pool;
use super::retired::Retired;
use super::topology::{Doubt, Era, Metrics, at_once, unsettled_for};
use super::tracking::Tracking;
use crate::resp::topology::{Endpoint, Redirect, Slot, Way};
use crate::resp::{Access, Command, ErrorKind, ErrorReply, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's way to a cluster. Clones are the same; when the last is dropped the connections end.
#[derive(Clone)]
pub(super) struct Cluster(Rc<Inner>);

struct Inner {
    servers: Rc<Servers>,
    /// Who asks for the map, and who asks whether the masters still are.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

/// The servers, as far as they are known.
struct Servers {
    layout: RefCell<Layout>,
    /// What a server's pool is told, but for the address and the number of connections.
    options: Options,
    readers: Readers,
    /// What a master's pool is told so that it tracks.
    tracking: Option<Tracking>,
    /// When there were other masters than before.
    changed: Cell<Option<Instant>>,
    /// How often there were.
    era: Cell<u64>,
    switchboard: Rc<Switchboard>,
    metrics: metrics::Metrics,
    doubt: Doubt,
    retired: Retired,
}

impl Cluster {
    pub(super) fn open(
        seeds: Seeds,
        options: Options,
        tracking: Option<Tracking>,
        registry: &Registry,
        metrics: Metrics,
    ) -> Self {
        let Seeds { seeds, readers } = seeds;
        let tls = Tls::to(&options.address, &options.tls);
        let switchboard = Switchboard::of(&options, tls);
        let access = match readers {
            Readers::Masters => Access::ReadWrite,
            Readers::Replicas => Access::ReadOnly,
        };
        let servers = Rc::new(Servers {
            layout: RefCell::new(Layout::default()),
            options: Options { access, ..options },
            readers,
            tracking: tracking.filter(|_| readers == Readers::Masters).map(Tracking::in_a_cluster),
            changed: Cell::new(None),
            era: Cell::new(0),
            switchboard,
            metrics: metrics::Metrics::new(registry),
            doubt: Doubt::new(metrics),
            retired: Retired::default(),
        });
        let mut tasks = vec![spawn_local(Refresher::new(seeds, Rc::clone(&servers)).run())];
        if servers.tracking.is_some() {
            tasks.push(spawn_local(vouch::run(Rc::clone(&servers))));
        }
        Self(Rc::new(Inner { servers, tasks: RefCell::new(tasks) }))
    }

    /// The reply of the server whose the command's key is; of any server, where it has no key.
    pub(super) async fn command(&self, command: &Command<'_>) -> Result<Reply, Unavailable> {
        self.read(command).await.map(|(reply, _)| reply)
    }

    /// The same, and what is needed to remember it.
    pub(super) async fn read(&self, command: &Command<'_>) -> Result<(Reply, Reading), Unavailable> {
        self.read_from(self.0.servers.readers, command).await
    }

    /// A change, and a look at what it made: over the same connection to the master, unless another one has the key by now.
    pub(super) async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, Unavailable>, Result<(Reply, Reading), Unavailable>) {
        let servers = &self.0.servers;
        if let Some(node) = servers.route(change, Readers::Masters) {
            let (changed, read) = node.pool.change_and_read(change, read).await;
            match changed {
                Err(Unavailable::Server(ErrorKind::Moved | ErrorKind::Ask)) => {}
                changed => return (changed.inspect_err(|why| servers.doubt.raise_by(*why)), read),
            }
        }
        match self.read_from(Readers::Masters, change).await {
            Ok((changed, _)) => (Ok(changed), self.read_from(Readers::Masters, read).await),
            Err(refusal) => (Err(refusal), Err(refusal)),
        }
    }

    /// The pools of all masters that track.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let layout = self.0.servers.layout.borrow();
        layout.masters().into_iter().map(|(node, _)| node.pool.clone()).collect()
    }

    /// The pool of the master that a key belongs to.
    pub(super) fn pool_of(&self, key: &[u8]) -> Option<Pool> {
        self.0.servers.layout.borrow().master(Slot::of(key)).map(|node| node.pool.clone())
    }

    /// How often there were other masters.
    pub(super) fn era(&self) -> Era {
        Era(self.0.servers.era.get())
    }

    /// Until what has been written in this era under these keys is in a replica too.
    pub(super) async fn secure(&self, era: Era, keys: &[Vec<u8>]) -> Result<(), Unavailable> {
        let servers = &self.0.servers;
        let mut masters: Vec<Endpoint> = {
            let layout = servers.layout.borrow();
            let master = |key: &Vec<u8>| layout.master(Slot::of(key)).map(|node| node.endpoint.clone());
            keys.iter().filter_map(master).collect()
        };
        masters.sort();
        masters.dedup();
        for replicated in at_once(masters.iter().map(|master| servers.switchboard.replicated(master))).await {
            if let Err(why) = replicated {
                servers.doubt.raise();
                return Err(why.into());
            }
        }
        if self.era() == era { Ok(()) } else { Err(Unavailable::Closed) }
    }

    /// How long it takes until everybody else has noticed the last change of masters as well.
    pub(super) fn unsettled_for(&self) -> Duration {
        unsettled_for(self.0.servers.changed.get())
    }

    async fn read_from(
        &self,
        readers: Readers,
        command: &Command<'_>,
    ) -> Result<(Reply, Reading), Unavailable> {
        let servers = &self.0.servers;
        let Some(node) = servers.route(command, readers) else {
            let refusal = servers.doubt.metrics.unrouted();
            servers.doubt.raise();
            return Err(refusal);
        };
        let deadline = instant() + servers.options.command_timeout;
        match node.pool.reply_and_reading(command).await {
            // Apart, and boxed: it is rare, and every caller's future would have to have room for it.
            Ok((Reply::Error(error), _)) => Box::pin(servers.refused(&node, command, &error, deadline)).await,
            result => result.inspect_err(|why| servers.doubt.raise_by(*why)),
        }
    }

    /// Whether a connection to any server is up.
    pub(super) fn is_connected(&self) -> bool {
        self.0.servers.layout.borrow().any_connected().is_some()
    }

    pub(super) async fn close(&self) {
        self.0.tasks.take().iter().for_each(JoinHandle::abort);
        let servers = &self.0.servers;
        for node in servers.layout.take().into_nodes() {
            servers.retired.retire(node.pool.clone());
        }
        servers.retired.ended().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

impl Servers {
    /// Whom to send a command to.
    fn route(&self, command: &Command<'_>, readers: Readers) -> Option<Rc<Node>> {
        let layout = self.layout.borrow();
        let Some(key) = command.key() else { return layout.any_connected() };
        let slot = Slot::of(key);
        match (command, readers) {
            (Command::Get { .. }, Readers::Replicas) => layout.reader(slot),
            _ => layout.master(slot),
        }
    }

    /// A server has refused a command. If another one would take it, that one is asked; within the first one's time.
    async fn refused(
        &self,
        node: &Node,
        command: &Command<'_>,
        error: &ErrorReply,
        deadline: Instant,
    ) -> Result<(Reply, Reading), Unavailable> {
        let refusal = Unavailable::Server(error.kind);
        let redirected = Redirect::parse(error, &node.endpoint);
        let Some((way, other)) = redirected.and_then(|redirect| self.follow(&redirect)) else {
            self.doubt.raise_by(refusal);
            return Err(refusal);
        };
        self.doubt.metrics.redirected(way);
        let again = async {
            match way {
                Way::Moved => other.pool.read(command).await,
                // It may still move back.
                Way::Ask => other.pool.asking(command).await.map(|reply| (reply, Reading::untracked())),
            }
        };
        let result = timeout_at(deadline.into(), again).await.unwrap_or(Err(Unavailable::Timeout));
        result.inspect_err(|why| self.doubt.raise_by(*why))
    }

    /// The server that a redirection leads to, if it is known. A slot that has moved is its own from now on.
    fn follow(&self, redirect: &Redirect) -> Option<(Way, Rc<Node>)> {
        let Redirect { way, slot, to } = redirect;
        match way {
            Way::Moved => {
                let before = self.layout.borrow().master(*slot);
                let after = self.layout.borrow_mut().moved(*slot, to)?;
                if let Some(before) = before.filter(|before| !Rc::ptr_eq(before, &after)) {
                    before.pool.begin_anew();
                }
                Some((Way::Moved, after))
            }
            Way::Ask => Some((Way::Ask, self.layout.borrow().node(to)?)),
        }
    }
}

/// How many of so many connections the server in this place has; at least one.
fn share(connections: usize, servers: usize, place: usize) -> usize {
    let servers = servers.max(1);
    (connections / servers + usize::from(place < connections % servers)).max(1)
}
