//! One way to speak with Redis, however many servers that is.
//!
//! What there is to know about several servers (which of them is the master, which of them has a key) is behind
//! [`Client::command`]. With one server it is that server's pool and nothing else.

use std::time::Duration;

use bytes::Bytes;

use super::cluster::ClusterClient;
use super::error::CommandError;
use super::options::{Deployment, Topology};
use super::sentinel::SentinelClient;
use super::topology::{TopologyEpoch, TopologyMetrics};
use crate::redis::pool::{FleetChannel, RedisPool};
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::{Command, Reply};
use crate::telemetry::Registry;

/// One worker's way to Redis. Clones are the same client; when the last is dropped its connections end.
#[derive(Clone)]
pub struct Client(Backend);

#[derive(Clone)]
enum Backend {
    Single(RedisPool),
    Sentinel(SentinelClient),
    Cluster(ClusterClient),
}

impl Client {
    /// Begins to connect and returns at once, whether anybody is there or not.
    ///
    /// Has to be called on a [`LocalSet`](tokio::task::LocalSet), where the client's tasks will live.
    pub fn open(deployment: Deployment, registry: &Registry) -> Self {
        Self::start(deployment, None, registry)
    }

    /// The same, and tracks what is read where the server can tell what changes. Where replicas answer reads nothing is
    /// tracked.
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

    /// The reply to a command that reads one key, and what is needed to remember it.
    ///
    /// Cancel safe, as all commands are.
    pub async fn read(&self, command: &Command<'_>) -> Result<(Reply, TrackedVersion), CommandError> {
        match &self.0 {
            Backend::Single(pool) => pool.read(command).await,
            Backend::Sentinel(sentinel) => sentinel.read(command).await,
            Backend::Cluster(cluster) => cluster.read(command).await,
        }
    }

    /// Two commands about one key, the second behind the first on the same connection: a change, and a look at what it made.
    /// Where a cluster sends them elsewhere they follow each other.
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

    /// The servers at which the fleet comes together, as far as they are known.
    pub fn fleet_channels(&self) -> Vec<FleetChannel> {
        let pools = match &self.0 {
            Backend::Single(pool) => vec![pool.clone()],
            Backend::Sentinel(sentinel) => sentinel.pool().into_iter().collect(),
            Backend::Cluster(cluster) => cluster.pools(),
        };
        pools.into_iter().filter_map(FleetChannel::at).collect()
    }

    /// Which servers there are.
    pub fn topology_epoch(&self) -> TopologyEpoch {
        match &self.0 {
            Backend::Single(_) => TopologyEpoch(0),
            Backend::Sentinel(sentinel) => sentinel.topology_epoch(),
            Backend::Cluster(cluster) => cluster.topology_epoch(),
        }
    }

    /// Until what has been written in this epoch under these keys will not be lost with its master, as far as that can be
    /// known: a replica has it, and it was the master.
    ///
    /// A connection is made for the question, so this is not for what happens often.
    pub async fn wait_replicated(&self, epoch: TopologyEpoch, keys: &[Vec<u8>]) -> Result<(), CommandError> {
        match &self.0 {
            Backend::Single(_) => Ok(()),
            Backend::Sentinel(sentinel) => sentinel.wait_replicated(epoch).await,
            Backend::Cluster(cluster) => cluster.wait_replicated(epoch, keys).await,
        }
    }

    /// How long it takes until everybody has noticed who the servers are now. Until then there may be somebody who trusts what
    /// another one said, and does not come together with the others.
    pub fn failover_grace(&self) -> Duration {
        match &self.0 {
            Backend::Single(_) => Duration::ZERO,
            Backend::Sentinel(sentinel) => sentinel.failover_grace(),
            Backend::Cluster(cluster) => cluster.failover_grace(),
        }
    }

    /// For how long no connection to the server of this key has been up; zero while one is, before the first, and where it
    /// is not known which that is.
    pub fn disconnected_for(&self, key: &[u8]) -> Duration {
        self.pool_of(key).map_or(Duration::ZERO, |pool| pool.disconnected_for())
    }

    /// Whether what is read of this key is tracked, or will be as soon as we hear its server.
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

    /// The value of a key, or `None` if there is none. The value is a slice of a read buffer: whoever keeps it for
    /// longer than a request should copy it.
    ///
    /// Cancel safe, as all commands are: one that is dropped stays in line and its reply is dropped in order.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, CommandError> {
        let reply = self.command(&Command::Get { key }).await?;
        // The pipeline admits a value or nothing.
        Ok(if let Reply::Bulk(value) = reply { Some(value) } else { None })
    }

    /// Sets a key for `ttl`, which counts in whole milliseconds and is one at least.
    ///
    /// After an error other than `NotConnected`, `Full` and `Server` the key may be set, or be set later.
    pub async fn set(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), CommandError> {
        self.command(&Command::Set { key, value: &value, ttl }).await.map(drop)
    }

    /// Removes a key, if it is there.
    ///
    /// After an error other than `NotConnected`, `Full` and `Server` the key may be removed, or be removed later.
    pub async fn delete(&self, key: &[u8]) -> Result<(), CommandError> {
        self.command(&Command::Unlink { key }).await.map(drop)
    }

    /// Asks whether a server answers.
    pub async fn ping(&self) -> Result<(), CommandError> {
        self.command(&Command::Ping).await.map(drop)
    }

    /// The reply to a command, of the kind that the command has, from the server whose it is.
    pub async fn command(&self, command: &Command<'_>) -> Result<Reply, CommandError> {
        match &self.0 {
            Backend::Single(pool) => pool.command(command).await,
            Backend::Sentinel(sentinel) => sentinel.command(command).await,
            Backend::Cluster(cluster) => cluster.command(command).await,
        }
    }

    /// Whether any connection is up.
    pub fn is_connected(&self) -> bool {
        match &self.0 {
            Backend::Single(pool) => pool.is_connected(),
            Backend::Sentinel(sentinel) => sentinel.is_connected(),
            Backend::Cluster(cluster) => cluster.is_connected(),
        }
    }

    /// Takes no more commands, waits until every command that somebody waits for has ended, which takes as long as
    /// the command time-out at most, and closes the connections.
    ///
    /// Cancel safe: the connections are closed in the same way when nobody waits for it.
    pub async fn close(&self) {
        match &self.0 {
            Backend::Single(pool) => pool.close().await,
            Backend::Sentinel(sentinel) => sentinel.close().await,
            Backend::Cluster(cluster) => cluster.close().await,
        }
    }
}
