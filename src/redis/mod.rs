//! The Redis client: connections, pools, sentinels and clusters over the protocol of
//! [`resp`](crate::resp). Knows no HTTP.
//!
//! ```text
//! RedisPool ── Lanes ── slot 0 ─► Link ◄─ Connection ─► socket  a slot has a link while connected
//!   │                   slot 1 ─► Link ◄─ Connection ─► socket
//!   │                   slot 2 ─► –       (its supervisor dials, or backs off)
//!   └─ Server: the state that all slots of one server share
//! ```
//!
//! A caller submits a command to a link and waits in a reply slot of its pipeline. The connection,
//! a task on the same thread, writes the submitted commands, reads replies and wakes the callers. A
//! pool belongs to one thread and is shared by `Rc`, without a lock; only the [`TrackingTable`] and
//! the [`StatsBoard`] are shared by all workers.
//!
//! **Always:** every wait ends by the command timeout, every queue has a limit, and a reply is
//! delivered to its own caller or dropped.

mod client;
mod cluster;
mod connection;
mod contact;
mod error;
mod health;
mod options;
mod pool;
mod sentinel;
mod submission;
mod topology;
mod tracking;

pub use crate::resp::stream;
pub use crate::resp::topology::Endpoint;
pub use crate::resp::{Command, ConnectionAccess, Credentials, ErrorKind, Reply, ScriptName, ServerRun};
pub use client::Client;
pub use connection::{BlockingConnection, BlockingError, Replication, check_password_file};
pub use contact::ServerContact;
pub use error::{CommandError, DisconnectReason};
pub use health::{BreakerState, ConnectionState, ConnectionStatus, Redirections, ServerState, StatsBoard};
pub use options::{
    ClusterSeeds, Deployment, Options, PasswordFile, ReadingNodes, RedisAddress, Sentinels, Topology,
};
pub use pool::{FleetChannel, RedisPool};
pub use submission::Lane;
pub use topology::TopologyEpoch;
pub use tracking::{
    ConnectedServer, KeyShare, TrackedVersion, TrackingListener, TrackingOptions, TrackingTable,
    TrackingToken,
};

#[cfg(test)]
pub(crate) mod tests;
