//! The servers of a cluster, each with its part of the keys.
//!
//! ```text
//! command ─► key ─► HashSlot ─► SlotMap ─► ClusterNode ─► RedisPool ─► reply
//!                             ▲  ▲               └─ MOVED: the slot is assigned anew, once more there
//!                  refresh ───┘  └────────────────── ASK: once more there, behind ASKING
//! ```
//!
//! The map is a server's word and may be old. A server that knows better says so, and then the command is sent once
//! more, within the time that its caller gave it; whatever is still wrong then is a miss. The map itself is asked for
//! anew by one task, when somebody has a reason to refresh it and not more often than every so often.
//!
//! What was read from a master is not known any more when it has other slots than before, or does not answer for them
//! (`lease.rs`). Where replicas answer reads nothing is tracked: what they say may be old when it is read.
//!
//! What always holds: a command is sent twice at most, and only after the first server has refused it; a server that is
//! away costs the keys of its slots and no others.

mod layout;
mod lease;
mod refresh;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout_at;

use self::layout::{ClusterLayout, ClusterNode};
use self::refresh::MapRefresher;
use super::control::ControlConnections;
use super::draining::DrainingPools;
use super::encryption::TlsSource;
use super::error::CommandError;
use super::invalidations::TrackedVersion;
use super::metrics;
use super::options::{ClusterSeeds, Options, Readers};
use super::pool::RedisPool;
use super::topology::{RefreshTrigger, TopologyEpoch, TopologyMetrics, at_once, failover_grace};
use super::tracking::TrackingOptions;
use crate::resp::topology::{Endpoint, HashSlot, Redirect, RedirectKind};
use crate::resp::{Access, Command, ErrorKind, ErrorReply, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's way to a cluster. Clones are the same; when the last is dropped the connections end.
#[derive(Clone)]
pub(super) struct ClusterClient(Rc<ClusterInner>);

struct ClusterInner {
    servers: Rc<ClusterServers>,
    /// Who asks for the map, and who asks whether the masters still are.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

/// The servers, as far as they are known.
struct ClusterServers {
    layout: RefCell<ClusterLayout>,
    /// What a server's pool is told, but for the address and the number of connections.
    options: Options,
    readers: Readers,
    /// What a master's pool is told so that it tracks.
    tracking: Option<TrackingOptions>,
    /// When there were other masters than before.
    masters_changed: Cell<Option<Instant>>,
    /// How often there were.
    topology_epoch: Cell<u64>,
    control: Rc<ControlConnections>,
    metrics: metrics::PoolMetrics,
    refresh: RefreshTrigger,
    draining: DrainingPools,
}

impl ClusterClient {
    pub(super) fn open(
        seeds: ClusterSeeds,
        options: Options,
        tracking: Option<TrackingOptions>,
        registry: &Registry,
        metrics: TopologyMetrics,
    ) -> Self {
        let ClusterSeeds { seeds, readers } = seeds;
        let tls = TlsSource::to(&options.address, &options.tls);
        let control = ControlConnections::of(&options, tls);
        let access = match readers {
            Readers::Masters => Access::ReadWrite,
            Readers::Replicas => Access::ReadOnly,
        };
        let servers = Rc::new(ClusterServers {
            layout: RefCell::new(ClusterLayout::default()),
            options: Options { access, ..options },
            readers,
            tracking: tracking.filter(|_| readers == Readers::Masters).map(TrackingOptions::in_cluster),
            masters_changed: Cell::new(None),
            topology_epoch: Cell::new(0),
            control,
            metrics: metrics::PoolMetrics::new(registry),
            refresh: RefreshTrigger::new(metrics),
            draining: DrainingPools::default(),
        });
        let mut tasks = vec![spawn_local(MapRefresher::new(seeds, Rc::clone(&servers)).run())];
        if servers.tracking.is_some() {
            tasks.push(spawn_local(lease::run(Rc::clone(&servers))));
        }
        Self(Rc::new(ClusterInner { servers, tasks: RefCell::new(tasks) }))
    }

    /// The reply of the server whose the command's key is; of any server, where it has no key.
    pub(super) async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        self.read(command).await.map(|(reply, _)| reply)
    }

    /// The same, and what is needed to remember it.
    pub(super) async fn read(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        self.read_from(self.0.servers.readers, command).await
    }

    /// A change, and a look at what it made: over the same connection to the master, unless another one has the key by now.
    pub(super) async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        let servers = &self.0.servers;
        if let Some(node) = servers.route(change, Readers::Masters) {
            let (changed, read) = node.pool.change_and_read(change, read).await;
            match changed {
                Err(CommandError::Server(ErrorKind::Moved | ErrorKind::Ask)) => {}
                changed => return (changed.inspect_err(|why| servers.refresh.fire_on(*why)), read),
            }
        }
        match self.read_from(Readers::Masters, change).await {
            Ok((changed, _)) => (Ok(changed), self.read_from(Readers::Masters, read).await),
            Err(refusal) => (Err(refusal), Err(refusal)),
        }
    }

    /// The pools of all masters that track.
    pub(super) fn pools(&self) -> Vec<RedisPool> {
        let layout = self.0.servers.layout.borrow();
        layout.masters().into_iter().map(|(node, _)| node.pool.clone()).collect()
    }

    /// The pool of the master that a key belongs to.
    pub(super) fn pool_of(&self, key: &[u8]) -> Option<RedisPool> {
        self.0.servers.layout.borrow().master(HashSlot::of(key)).map(|node| node.pool.clone())
    }

    /// How often there were other masters.
    pub(super) fn topology_epoch(&self) -> TopologyEpoch {
        TopologyEpoch(self.0.servers.topology_epoch.get())
    }

    /// Until what has been written in this topology_epoch under these keys is in a replica too.
    pub(super) async fn wait_replicated(
        &self,
        topology_epoch: TopologyEpoch,
        keys: &[Vec<u8>],
    ) -> Result<(), CommandError> {
        let servers = &self.0.servers;
        let mut masters: Vec<Endpoint> = {
            let layout = servers.layout.borrow();
            let master = |key: &Vec<u8>| layout.master(HashSlot::of(key)).map(|node| node.endpoint.clone());
            keys.iter().filter_map(master).collect()
        };
        masters.sort();
        masters.dedup();
        for wait_replicated in
            at_once(masters.iter().map(|master| servers.control.wait_replicated(master))).await
        {
            if let Err(why) = wait_replicated {
                servers.refresh.fire();
                return Err(why.into());
            }
        }
        if self.topology_epoch() == topology_epoch { Ok(()) } else { Err(CommandError::Closed) }
    }

    /// How long it takes until everybody else has noticed the last change of masters as well.
    pub(super) fn failover_grace(&self) -> Duration {
        failover_grace(self.0.servers.masters_changed.get())
    }

    async fn read_from(
        &self,
        readers: Readers,
        command: &Command<'_>,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let servers = &self.0.servers;
        let Some(node) = servers.route(command, readers) else {
            let refusal = servers.refresh.metrics.unrouted();
            servers.refresh.fire();
            return Err(refusal);
        };
        let deadline = instant() + servers.options.command_timeout;
        match node.pool.reply_and_version(command).await {
            // Apart, and boxed: it is rare, and every caller's future would have to have room for it.
            Ok((Reply::Error(error), _)) => Box::pin(servers.refused(&node, command, &error, deadline)).await,
            result => result.inspect_err(|why| servers.refresh.fire_on(*why)),
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
            servers.draining.add(node.pool.clone());
        }
        servers.draining.finished().await;
    }
}

impl Drop for ClusterInner {
    fn drop(&mut self) {
        self.tasks.take().iter().for_each(JoinHandle::abort);
    }
}

impl ClusterServers {
    /// Whom to send a command to.
    fn route(&self, command: &Command<'_>, readers: Readers) -> Option<Rc<ClusterNode>> {
        let layout = self.layout.borrow();
        let Some(key) = command.key() else { return layout.any_connected() };
        let slot = HashSlot::of(key);
        match (command, readers) {
            (Command::Get { .. }, Readers::Replicas) => layout.reader(slot),
            _ => layout.master(slot),
        }
    }

    /// A server has refused a command. If another one would take it, that one is asked; within the first one's time.
    async fn refused(
        &self,
        node: &ClusterNode,
        command: &Command<'_>,
        error: &ErrorReply,
        deadline: Instant,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let refusal = CommandError::Server(error.kind);
        let redirected = Redirect::parse(error, &node.endpoint);
        let Some((way, other)) = redirected.and_then(|redirect| self.follow(&redirect)) else {
            self.refresh.fire_on(refusal);
            return Err(refusal);
        };
        self.refresh.metrics.redirected(way);
        let again = async {
            match way {
                RedirectKind::Moved => other.pool.read(command).await,
                // It may still move back.
                RedirectKind::Ask => {
                    other.pool.asking(command).await.map(|reply| (reply, TrackedVersion::untracked()))
                }
            }
        };
        let result = timeout_at(deadline.into(), again).await.unwrap_or(Err(CommandError::Timeout));
        result.inspect_err(|why| self.refresh.fire_on(*why))
    }

    /// The server that a redirection leads to, if it is known. A slot that has moved is its own from now on.
    fn follow(&self, redirect: &Redirect) -> Option<(RedirectKind, Rc<ClusterNode>)> {
        let Redirect { way, slot, to } = redirect;
        match way {
            RedirectKind::Moved => {
                let before = self.layout.borrow().master(*slot);
                let after = self.layout.borrow_mut().moved(*slot, to)?;
                if let Some(before) = before.filter(|before| !Rc::ptr_eq(before, &after)) {
                    before.pool.reset();
                }
                Some((RedirectKind::Moved, after))
            }
            RedirectKind::Ask => Some((RedirectKind::Ask, self.layout.borrow().node(to)?)),
        }
    }
}

/// How many of so many connections the server in this place has; at least one.
fn share(connections: usize, servers: usize, place: usize) -> usize {
    let servers = servers.max(1);
    (connections / servers + usize::from(place < connections % servers)).max(1)
}
