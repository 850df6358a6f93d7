//! One client for a single server, a master behind sentinels, or a cluster.
//!
//! [`Client::command`] hides the routing: the current master, or the master of the key's hash slot.
//! With a single server the client is that server's pool.

use std::time::Duration;

use bytes::Bytes;

use super::cluster::ClusterClient;
use super::contact::ServerContact;
use super::error::CommandError;
use super::options::{Deployment, Topology};
use super::sentinel::SentinelClient;
use super::topology::{TopologyEpoch, TopologyMetrics};
use crate::redis::connection::{BlockingConnection, BlockingError, Replication};
use crate::redis::pool::{FleetChannel, RedisPool};
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;

/// One worker's Redis client. Clones are the same client; when the last is dropped its connections
/// end.
#[derive(Clone)]
pub struct Client(Backend);

#[derive(Clone)]
enum Backend {
    Single(RedisPool),
    Sentinel(SentinelClient),
    Cluster(ClusterClient),
}

impl Client {
    /// Starts connecting and returns at once, reachable server or not.
    ///
    /// Must be called on a [`LocalSet`](tokio::task::LocalSet), which runs the client's tasks.
    pub fn open(deployment: Deployment, registry: &Registry) -> Self {
        Self::start(deployment, None, registry)
    }

    /// Opens a client that also tracks the keys it reads, if the server supports tracking. Nothing
    /// is tracked if replicas answer reads.
    pub fn open_tracking(deployment: Deployment, tracking: TrackingOptions, registry: &Registry) -> Self {
        Self::start(deployment, Some(tracking), registry)
    }

    fn start(deployment: Deployment, tracking: Option<TrackingOptions>, registry: &Registry) -> Self {
        let Deployment { topology, server } = deployment;
        let metrics = TopologyMetrics::new(registry);
        Self(match (topology, tracking) {
            (Topology::Single, None) => Backend::Single(RedisPool::open(server, registry)),
            (Topology::Single, Some(tracking)) => {
                Backend::Single(RedisPool::open_tracking(server, tracking, registry))
            }
            (Topology::Sentinel(sentinels), tracking) => {
                Backend::Sentinel(SentinelClient::open(sentinels, server, tracking, registry, metrics))
            }
            (Topology::Cluster(seeds), tracking) => {
                Backend::Cluster(ClusterClient::open(seeds, server, tracking, registry, metrics))
            }
        })
    }

    /// Sends a command that reads one key. Returns the reply and the version needed to cache it.
    ///
    /// Cancel safe, as all commands are.
    pub async fn read(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        match &self.0 {
            Backend::Single(pool) => pool.read(command).await,
            Backend::Sentinel(sentinel) => sentinel.read(command).await,
            Backend::Cluster(cluster) => cluster.read(command).await,
        }
    }

    /// Sends two commands about one key in a row on one connection: a change, then a read of its
    /// result. A cluster that redirects the first gets them one after the other.
    pub async fn change_and_read(
        &self,
        change: &Command<'_>,
        read: &Command<'_>,
    ) -> (Result<Reply, CommandError>, Result<(Reply, TrackedVersion), CommandError>) {
        match &self.0 {
            Backend::Single(pool) => pool.change_and_read(change, read).await,
            Backend::Sentinel(sentinel) => sentinel.change_and_read(change, read).await,
            Backend::Cluster(cluster) => cluster.change_and_read(change, read).await,
        }
    }

    /// Returns the fleet channel of every known server.
    pub fn fleet_channels(&self) -> Vec<FleetChannel> {
        self.pools().into_iter().filter_map(FleetChannel::at).collect()
    }

    /// Returns the pool of every known master.
    fn pools(&self) -> Vec<RedisPool> {
        match &self.0 {
            Backend::Single(pool) => vec![pool.clone()],
            Backend::Sentinel(sentinel) => sentinel.pool().into_iter().collect(),
            Backend::Cluster(cluster) => cluster.pools(),
        }
    }

    /// Returns the current topology epoch.
    pub fn topology_epoch(&self) -> TopologyEpoch {
        match &self.0 {
            Backend::Single(_) => TopologyEpoch(0),
            Backend::Sentinel(sentinel) => sentinel.topology_epoch(),
            Backend::Cluster(cluster) => cluster.topology_epoch(),
        }
    }

    /// Waits until the writes of this epoch under these keys survive the loss of their master, as
    /// far as Redis can tell: the replicas have them, and the server is still the master.
    ///
    /// Dials a connection of its own, so it is not for frequent use.
    pub async fn wait_replicated(
        &self,
        epoch: TopologyEpoch,
        keys: &[Vec<u8>],
    ) -> Result<Replication, CommandError> {
        match &self.0 {
            Backend::Single(_) => Ok(Replication::All),
            Backend::Sentinel(sentinel) => sentinel.wait_replicated(epoch).await,
            Backend::Cluster(cluster) => cluster.wait_replicated(epoch, keys).await,
        }
    }

    /// Returns whether another server may become the master of all keys.
    pub fn may_fail_over(&self) -> bool {
        matches!(self.0, Backend::Sentinel(_))
    }

    /// Returns how long other clients may still need to notice the last fail-over. Until then a
    /// node may trust replies of the old master without receiving the fleet's messages.
    pub fn failover_grace(&self) -> Duration {
        match &self.0 {
            Backend::Single(_) => Duration::ZERO,
            Backend::Sentinel(sentinel) => sentinel.failover_grace(),
            Backend::Cluster(cluster) => cluster.failover_grace(),
        }
    }

    /// Returns how long the key's server has had no connection; zero while one is up, before the
    /// first, and if the server is unknown.
    pub fn disconnected_for(&self, key: &[u8]) -> Duration {
        self.pool_of(key).map_or(Duration::ZERO, |pool| pool.disconnected_for())
    }

    /// Returns the contact with the key's server.
    pub fn contact(&self, key: &[u8]) -> ServerContact {
        self.pool_of(key).map_or(ServerContact::NeverConnected, |pool| pool.contact())
    }

    /// Returns whether reads of this key are tracked, or will be once the subscription is active.
    pub fn is_tracking(&self, key: &[u8]) -> bool {
        self.pool_of(key).is_some_and(|pool| pool.is_tracking())
    }

    fn pool_of(&self, key: &[u8]) -> Option<RedisPool> {
        match &self.0 {
            Backend::Single(pool) => Some(pool.clone()),
            Backend::Sentinel(sentinel) => sentinel.pool(),
            Backend::Cluster(cluster) => cluster.pool_of(key),
        }
    }

    /// Returns the value of a key, if it exists. The value is a slice of a read buffer: copy it to
    /// keep it for longer than a request.
    ///
    /// Cancel safe, as all commands are: a dropped command stays in the queue and its reply is
    /// dropped in order.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, CommandError> {
        let reply = self.command(&Command::Get { key }).await?;
        // The pipeline admits a bulk string or nil.
        Ok(if let Reply::Bulk(value) = reply { Some(value) } else { None })
    }

    /// Sets a key for `ttl`, in whole milliseconds and at least one.
    ///
    /// After an error other than `NotConnected`, `Full` and `Server` the write may have happened,
    /// or may still happen.
    pub async fn set(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), CommandError> {
        self.command(&Command::Set { key, value: &value, ttl }).await.map(drop)
    }

    /// Sends a `PING`.
    pub async fn ping(&self) -> Result<(), CommandError> {
        self.command(&Command::Ping).await.map(drop)
    }

    /// Sends a command to the server that owns its key. Returns a reply of the command's kind.
    pub async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        match &self.0 {
            Backend::Single(pool) => pool.command(command).await,
            Backend::Sentinel(sentinel) => sentinel.command(command).await,
            Backend::Cluster(cluster) => cluster.command(command).await,
        }
    }

    /// Opens a connection of its own, outside the pools, to the server that owns a key. A caller
    /// whose command fails on it passes the error to [`Client::suspect`].
    pub async fn connect_blocking(&self, key: &[u8]) -> Result<BlockingConnection, BlockingError> {
        let pool = self.pool_of(key).ok_or(CommandError::NotConnected)?;
        pool.connect_blocking().await
    }

    /// Looks at the topology again soon, if this error of a blocking connection hints at a change
    /// of it.
    pub fn suspect(&self, why: CommandError) {
        match &self.0 {
            Backend::Single(_) => {}
            Backend::Sentinel(sentinel) => sentinel.suspect(why),
            Backend::Cluster(cluster) => cluster.suspect(why),
        }
    }

    /// Returns whether any connection is up.
    pub fn is_connected(&self) -> bool {
        match &self.0 {
            Backend::Single(pool) => pool.is_connected(),
            Backend::Sentinel(sentinel) => sentinel.is_connected(),
            Backend::Cluster(cluster) => cluster.is_connected(),
        }
    }

    /// Returns whether a connected server refuses any command about keys or channels.
    pub fn is_refusing(&self) -> bool {
        self.pools().iter().any(RedisPool::is_refusing)
    }

    /// Refuses new commands, waits for the callers of the pending ones (at most the command
    /// timeout), and closes the connections.
    ///
    /// Cancel safe: the connections close in the same way if the future is dropped.
    pub async fn close(&self) {
        match &self.0 {
            Backend::Single(pool) => pool.close().await,
            Backend::Sentinel(sentinel) => sentinel.close().await,
            Backend::Cluster(cluster) => cluster.close().await,
        }
    }
}
