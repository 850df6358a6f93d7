//! What the pool can be told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::MIB;
use crate::redis::health::StatsBoard;
use crate::resp::topology::{Encryption, Endpoint};
use crate::resp::{Access, Credentials};
use crate::time::instant;
use crate::{labels, tls};

/// The servers that hold the cache, as one worker knows them.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// How they hang together.
    pub topology: Topology,
    /// What each server's pool is told. The address is that of the one server, and the connections are for all
    /// servers together.
    pub server: Options,
}

/// How the servers hang together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// There is one.
    Single,
    /// One master at a time, which sentinels watch.
    Sentinel(Sentinels),
    /// Many masters, each with a part of the keys.
    Cluster(ClusterSeeds),
}

/// The sentinels, and whom they watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are. They are spoken to as the servers are, in TLS or not.
    pub seeds: Vec<Endpoint>,
    /// The master's name.
    pub master: String,
    /// What the sentinels themselves ask for.
    pub credentials: Option<Credentials>,
}

/// Some servers of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSeeds {
    /// Who is asked for all the others.
    pub seeds: Vec<Endpoint>,
    /// Who answers reads.
    pub readers: Readers,
}

labels! {
    /// Who answers reads in a cluster.
    pub enum Readers {
        /// Whoever writes.
        Masters => "masters",
        /// Replicas, which may be behind, and masters where no replica is up.
        Replicas => "replicas",
    }
}

/// One worker's share of the connections to one Redis server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server is.
    pub address: Address,
    /// For addresses that ask for TLS.
    pub tls: tls::Options,
    /// User and password, if the server asks for them.
    pub credentials: Option<Credentials>,
    /// Where the password is, in place of `credentials`.
    pub password_file: Option<PasswordFile>,
    /// The database to `SELECT`; 0 is where a connection starts.
    pub database: u32,
    /// What the connections are for.
    pub access: Access,
    /// Connections of this pool.
    pub connections: usize,
    /// The most bytes of a value that will be set; a larger one is refused as if there were no room.
    pub value_bytes_max: usize,
    /// From a command's submission to its reply; the most that a caller waits. A read waits less where the server's
    /// pace allows it.
    pub command_timeout: Duration,
    /// The part of the reads, from 0 to 1, that may be sent again on another connection when their reply is late.
    pub hedge_share: f64,
    /// Where this pool's connections are shown, with those of the process' other pools.
    pub board: StatsBoard,
    /// From dialling to the end of the handshake, for each attempt.
    pub connect_timeout: Duration,
}

impl Options {
    /// A server of which nothing is said but where it is: no login, and the bounds that the settings have by default.
    pub fn at(address: Address) -> Self {
        Self {
            address,
            tls: tls::Options::default(),
            credentials: None,
            password_file: None,
            database: 0,
            access: Access::ReadWrite,
            connections: 20,
            value_bytes_max: MIB,
            command_timeout: Duration::from_millis(50),
            hedge_share: 0.02,
            board: StatsBoard::new(instant()),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

/// A password that is read anew for each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFile {
    /// Whose it is; [`Credentials::DEFAULT_USER`] if nobody said.
    pub user: String,
    /// Its first line is the password.
    pub path: PathBuf,
}

/// Where a Redis server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `redis://`
    Tcp {
        /// A name or an address.
        host: String,
        /// 6379 unless said otherwise.
        port: u16,
    },
    /// `rediss://`: TLS.
    Tls {
        /// A name or an address; the certificate must be for it.
        host: String,
        /// 6379 unless said otherwise.
        port: u16,
    },
    /// `unix://`
    Unix(PathBuf),
}

impl Address {
    /// Of another server, which is spoken to as this one is. Servers on a unix socket have no others.
    pub(super) fn elsewhere(&self, endpoint: &Endpoint) -> Self {
        let Endpoint { host, port } = endpoint.clone();
        match self.encryption() {
            Encryption::Plain => Self::Tcp { host, port },
            Encryption::Tls => Self::Tls { host, port },
        }
    }

    /// Whether it asks for TLS.
    pub(super) fn encryption(&self) -> Encryption {
        match self {
            Self::Tcp { .. } | Self::Unix(_) => Encryption::Plain,
            Self::Tls { .. } => Encryption::Tls,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "redis://{host}:{port}"),
            Self::Tls { host, port } => write!(f, "rediss://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
