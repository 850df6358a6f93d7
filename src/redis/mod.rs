//! The sockets of [`resp`](crate::resp): dial, connection, pool, supervision. Knows no HTTP.
//!
//! ```text
//! Pool ── Lanes ── Seat 0 ─► Link ◄─ Connection ─► socket      a seat has a link while its connection is up
//!   │              Seat 1 ─► Link ◄─ Connection ─► socket
//!   │              Seat 2 ─► –       (supervise: dialling, or resting before it dials again)
//!   └─ Server: what all seats know about the other side
//! ```
//!
//! A caller submits to a link and waits in a slot of its pipeline; the connection, a task on the same thread,
//! writes what was submitted, reads, and wakes the callers. Everything of a pool belongs to one thread and is
//! shared by `Rc`, without a lock; only the table of [`Seats`] and the [`Board`] are the whole process's. What always
//! holds: every wait ends by the command time-out, every queue has a bound, and a reply goes to its own caller or to
//! nobody.

mod ask;
mod board;
mod breaker;
mod client;
mod cluster;
mod connection;
mod control;
mod dial;
mod encryption;
mod error;
mod greet;
mod hedge;
mod herald;
mod identity;
mod lanes;
mod ledger;
mod link;
mod metrics;
mod news;
mod options;
mod pace;
mod pool;
mod probe;
mod retired;
mod seats;
mod sentinel;
mod server;
mod supervise;
mod survive;
mod topology;
mod tracking;
mod vitals;

pub use crate::resp::topology::Endpoint;
pub use crate::resp::{Access, Command, Credentials, ErrorKind, Reply, ScriptName};
pub use ask::Lane;
pub use board::{Board, ConnectionState};
pub use breaker::BreakerState;
pub use client::Client;
pub use error::{Lost, Unavailable};
pub use herald::Herald;
pub use identity::check_password_file;
pub use ledger::ServerState;
pub use metrics::Standing;
pub use news::Reading;
pub use options::{
    Address, Cluster as ClusterSeeds, Deployment, Options, PasswordFile, Readers, Sentinels, Topology,
};
pub use pool::Pool;
pub use seats::{Seats, Witness};
pub use topology::Era;
pub use tracking::{Listener, Tracking};

#[cfg(test)]
mod tests;
