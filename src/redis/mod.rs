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

mod breaker;
mod catch_panic;
mod client;
mod cluster;
mod connection;
mod control;
mod dial;
mod draining;
mod encryption;
mod error;
mod fleet_channel;
mod handshake;
mod hedge;
mod invalidations;
mod lanes;
mod latency;
mod link;
mod login_source;
mod metrics;
mod options;
mod pool;
mod probe;
mod sentinel;
mod server;
mod server_health;
mod server_stats;
mod stats_board;
mod submission;
mod supervisor;
mod topology;
mod tracking;
mod tracking_table;

pub use crate::resp::topology::Endpoint;
pub use crate::resp::{Access, Command, Credentials, ErrorKind, Reply, ScriptName};
pub use breaker::BreakerState;
pub use client::Client;
pub use error::{CommandError, DisconnectReason};
pub use fleet_channel::FleetChannel;
pub use invalidations::TrackedVersion;
pub use login_source::check_password_file;
pub use metrics::ConnectionStatus;
pub use options::{Address, ClusterSeeds, Deployment, Options, PasswordFile, Readers, Sentinels, Topology};
pub use pool::RedisPool;
pub use server_stats::ServerState;
pub use stats_board::{ConnectionState, StatsBoard};
pub use submission::Lane;
pub use topology::TopologyEpoch;
pub use tracking::{TrackingListener, TrackingOptions};
pub use tracking_table::{TrackingTable, TrackingToken};

#[cfg(test)]
mod tests;
