//! The client of a cluster.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use super::layout::ClusterLayout;
use super::lease;
use super::refresh::MapRefresher;
use super::servers::ClusterServers;
use crate::redis::connection::{ControlConnections, Replication, TlsSource};
use crate::redis::error::CommandError;
use crate::redis::health::PoolMetrics;
use crate::redis::options::{ClusterSeeds, Options, ReadingNodes};
use crate::redis::pool::{DrainingPools, RedisPool};
use crate::redis::topology::{RefreshTrigger, TopologyEpoch, TopologyMetrics, at_once, failover_grace};
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::topology::{Endpoint, HashSlot};
use crate::resp::{Command, ConnectionAccess, ErrorKind, Reply};
use crate::telemetry::Registry;
use crate::time::instant;

/// One worker's client of a cluster. Clones are the same; when the last is dropped the connections
/// end.
#[derive(Clone)]
pub(in crate::redis) struct ClusterClient(Rc<ClusterInner>);

struct ClusterInner {
    servers: Rc<ClusterServers>,
    /// The map refresher, and the lease of the masters.
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

impl ClusterClient {
    pub(in crate::redis) fn open(
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
            ReadingNodes::Masters => ConnectionAccess::ReadWrite,
            ReadingNodes::Replicas => ConnectionAccess::ReadOnly,
        };
        let servers = Rc::new(ClusterServers {
            layout: RefCell::new(ClusterLayout::default()),
            options: Options { access, ..options },
            readers,
            tracking: tracking.filter(|_| readers == ReadingNodes::Masters).map(TrackingOptions::in_cluster),
            masters_changed: Cell::new(None),
            topology_epoch: Cell::new(0),
            control,
            metrics: PoolMetrics::new(registry),
            refresh: RefreshTrigger::new(metrics),
            draining: DrainingPools::default(),
        });
        let mut tasks = vec![spawn_local(MapRefresher::new(seeds, Rc::clone(&servers)).run())];
        if servers.tracking.is_some() {
            tasks.push(spawn_local(lease::run(Rc::clone(&servers))));
        }
        Self(Rc::new(ClusterInner { servers, tasks: RefCell::new(tasks) }))
    }

    /// Sends a command to the server that owns its key, or to any server if it has no key.
    pub(in crate::redis) async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        self.read(command).await.map(|(reply, _)| reply)
    }

    /// Sends a command. Returns the reply and the version needed to cache it.
    pub(in crate::redis) async fn read(
        &self,
        command: &Command<'_>,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        self.read_from(self.0.servers.readers, command).await
    }

    /// Sends a change, then a read of its result, on one connection to the master; one after the
    /// other if the first is redirected.
    pub(in crate::redis) async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        let servers = &self.0.servers;
        if let Some(node) = servers.route(change, ReadingNodes::Masters) {
            let (changed, read) = node.pool.change_and_read(change, read).await;
            match changed {
                Err(CommandError::Server(ErrorKind::Moved | ErrorKind::Ask)) => {}
                changed => return (changed.inspect_err(|why| servers.refresh.fire_on(*why)), read),
            }
        }
        match self.read_from(ReadingNodes::Masters, change).await {
            Ok((changed, _)) => (Ok(changed), self.read_from(ReadingNodes::Masters, read).await),
            Err(refusal) => (Err(refusal), Err(refusal)),
        }
    }

    /// Returns the pools of all masters.
    pub(in crate::redis) fn pools(&self) -> Vec<RedisPool> {
        let layout = self.0.servers.layout.borrow();
        layout.masters().into_iter().map(|(node, _)| node.pool.clone()).collect()
    }

    /// Returns the pool of the master that owns a key.
    pub(in crate::redis) fn pool_of(&self, key: &[u8]) -> Option<RedisPool> {
        self.0.servers.layout.borrow().master(HashSlot::of(key)).map(|node| node.pool.clone())
    }

    /// Returns the number of changes of masters.
    pub(in crate::redis) fn topology_epoch(&self) -> TopologyEpoch {
        TopologyEpoch(self.0.servers.topology_epoch.get())
    }

    /// Waits until the replicas have the writes of this epoch under these keys.
    pub(in crate::redis) async fn wait_replicated(
        &self,
        topology_epoch: TopologyEpoch,
        keys: &[Vec<u8>],
    ) -> Result<Replication, CommandError> {
        let servers = &self.0.servers;
        let mut masters: Vec<Endpoint> = {
            let layout = servers.layout.borrow();
            let master = |key: &Vec<u8>| layout.master(HashSlot::of(key)).map(|node| node.endpoint.clone());
            keys.iter().filter_map(master).collect()
        };
        masters.sort();
        masters.dedup();
        let mut replication = Replication::All;
        for waited in at_once(masters.iter().map(|master| servers.control.wait_replicated(master))).await {
            let waited = waited.inspect_err(|_| servers.refresh.fire())?;
            replication = replication.and(waited);
        }
        if self.topology_epoch() == topology_epoch { Ok(replication) } else { Err(CommandError::Closed) }
    }

    /// Returns how long other clients may still need to notice the last change of masters.
    pub(in crate::redis) fn failover_grace(&self) -> Duration {
        failover_grace(self.0.servers.masters_changed.get())
    }

    async fn read_from(
        &self,
        readers: ReadingNodes,
        command: &Command<'_>,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let servers = &self.0.servers;
        let Some(node) = servers.route(command, readers) else {
            let refusal = servers.refresh.metrics.unrouted();
            servers.refresh.fire();
            return Err(refusal);
        };
        let deadline = node.pool.deadline(instant());
        match node.pool.reply_and_version(command).await {
            // Separate and boxed: it is rare, and would enlarge every caller's future.
            Ok((Reply::Error(error), _)) => Box::pin(servers.refused(&node, command, &error, deadline)).await,
            result => result.inspect_err(|why| servers.refresh.fire_on(*why)),
        }
    }

    /// Reads the map again soon, if this error hints at a change of it.
    pub(in crate::redis) fn suspect(&self, why: CommandError) {
        self.0.servers.refresh.fire_on(why);
    }

    /// Returns whether a connection to any server is up.
    pub(in crate::redis) fn is_connected(&self) -> bool {
        self.0.servers.layout.borrow().any_connected().is_some()
    }

    pub(in crate::redis) async fn close(&self) {
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
