//! The sockets of [`resp`](crate::resp): dial, connection, pool, supervision. Knows no HTTP.
//!
//! ```text
//! RedisPool ── Lanes ── Seat 0 ─► Link ◄─ Connection ─► socket      a seat has a link while its connection is up
//!   │              Seat 1 ─► Link ◄─ Connection ─► socket
//!   │              Seat 2 ─► –       (supervise: dialling, or resting before it dials again)
//!   └─ Server: what all seats know about the other side
//! ```
//!
//! A caller submits to a link and waits in a slot of its pipeline; the connection, a task on the same thread,
//! writes what was submitted, reads, and wakes the callers. Everything of a pool belongs to one thread and is
//! shared by `Rc`, without a lock; only the table of [`TrackingTable`] and the [`StatsBoard`] are the whole process's. What always
//! holds: every wait ends by the command time-out, every queue has a bound, and a reply goes to its own caller or to
//! nobody.

mod client;
mod cluster;
mod connection;
mod error;
mod health;
mod options;
mod pool;
mod sentinel;
mod submission;
mod topology;
mod tracking;

pub use crate::resp::topology::Endpoint;
pub use crate::resp::{Access, Command, Credentials, ErrorKind, Reply, ScriptName};
pub use client::Client;
pub use connection::check_password_file;
pub use error::{CommandError, DisconnectReason};
pub use health::{BreakerState, ConnectionState, ConnectionStatus, ServerState, StatsBoard};
pub use options::{Address, ClusterSeeds, Deployment, Options, PasswordFile, Readers, Sentinels, Topology};
pub use pool::{FleetChannel, RedisPool};
pub use submission::Lane;
pub use topology::TopologyEpoch;
pub use tracking::{TrackedVersion, TrackingListener, TrackingOptions, TrackingTable, TrackingToken};

#[cfg(test)]
mod tests;
