//! The options of the Redis client.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::MIB;
use crate::redis::health::{Redirections, StatsBoard};
use crate::resp::topology::{Encryption, Endpoint};
use crate::resp::{ConnectionAccess, Credentials};
use crate::time::instant;
use crate::{labels, tls};

/// The servers that hold the cache, for one worker.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Single server, sentinels or cluster.
    pub topology: Topology,
    /// The options of each server's pool. The address is that of the single server; the number of
    /// connections is the total over all servers.
    pub server: Options,
}

/// The kind of deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single,
    /// One master at a time, which sentinels watch.
    Sentinel(Sentinels),
    /// Several masters, each with a part of the hash slots.
    Cluster(ClusterSeeds),
}

/// The sentinels and the master that they watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Their endpoints. TLS is used for them if it is used for the servers.
    pub seeds: Vec<Endpoint>,
    /// The master's name.
    pub master: String,
    /// The credentials for the sentinels themselves.
    pub credentials: Option<Credentials>,
}

/// The seed nodes of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSeeds {
    /// The nodes to read the first slot map from.
    pub seeds: Vec<Endpoint>,
    /// The nodes that answer reads.
    pub readers: ReadingNodes,
}

labels! {
    /// The nodes of a cluster that answer reads.
    pub enum ReadingNodes {
        /// The masters.
        Masters => "masters",
        /// The replicas, which may lag, and the masters if no replica is up.
        Replicas => "replicas",
    }
}

/// One worker's share of the connections to one Redis server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's address.
    pub address: RedisAddress,
    /// TLS settings, for addresses that use TLS.
    pub tls: tls::Options,
    /// User and password, if the server requires them.
    pub credentials: Option<Credentials>,
    /// The file with the password, instead of `credentials`.
    pub password_file: Option<PasswordFile>,
    /// The database to `SELECT`; a connection starts in 0.
    pub database: u32,
    /// Read-write, or read-only for a replica.
    pub access: ConnectionAccess,
    /// The number of connections of this pool.
    pub connections: usize,
    /// The largest value that is written; a larger one is refused with `Full`.
    pub value_bytes_max: usize,
    /// The longest wait from a command's submission to its reply. A read waits less if the server's
    /// recent latency allows it.
    pub command_timeout: Duration,
    /// The share of the reads, from 0 to 1, that may be hedged on another connection when their
    /// reply is late.
    pub hedge_share: f64,
    /// The statistics of all Redis connections of the process.
    pub board: StatsBoard,
    /// The limit from dialling to the end of the handshake, for each attempt.
    pub connect_timeout: Duration,
    /// The treatment of redirections; the client of a cluster sets it for its servers.
    pub redirections: Redirections,
}

impl Options {
    /// Options with this address, without a login, and with the settings' defaults.
    pub fn at(address: RedisAddress) -> Self {
        Self {
            address,
            tls: tls::Options::default(),
            credentials: None,
            password_file: None,
            database: 0,
            access: ConnectionAccess::ReadWrite,
            connections: 20,
            value_bytes_max: MIB,
            command_timeout: Duration::from_millis(50),
            hedge_share: 0.02,
            board: StatsBoard::new(instant()),
            connect_timeout: Duration::from_secs(2),
            redirections: Redirections::Refused,
        }
    }
}

/// A password file, read again for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFile {
    /// The user; [`Credentials::DEFAULT_USER`] by default.
    pub user: String,
    /// The file whose first line is the password.
    pub path: PathBuf,
}

/// The address of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisAddress {
    /// `redis://`
    Tcp {
        /// A name or an IP address.
        host: String,
        /// 6379 by default.
        port: u16,
    },
    /// `rediss://`: TLS.
    Tls {
        /// A name or an IP address, which the certificate must cover.
        host: String,
        /// 6379 by default.
        port: u16,
    },
    /// `unix://`
    Unix(PathBuf),
}

impl RedisAddress {
    /// Returns the address of another server, with TLS if this one uses TLS. A server on a unix
    /// socket has no others.
    pub(super) fn elsewhere(&self, endpoint: &Endpoint) -> Self {
        let Endpoint { host, port } = endpoint.clone();
        match self.encryption() {
            Encryption::Plain => Self::Tcp { host, port },
            Encryption::Tls => Self::Tls { host, port },
        }
    }

    /// Returns whether the address uses TLS.
    pub(super) fn encryption(&self) -> Encryption {
        match self {
            Self::Tcp { .. } | Self::Unix(_) => Encryption::Plain,
            Self::Tls { .. } => Encryption::Tls,
        }
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "redis://{host}:{port}"),
            Self::Tls { host, port } => write!(f, "rediss://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
