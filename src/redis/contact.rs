//! The contact of a worker with a Redis server, as far as its connections show it.

use std::time::Duration;

/// The contact with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerContact {
    /// No connection has been up yet.
    NeverConnected,
    /// A connection is up. A reply may still be late, or a refusal.
    Connected,
    /// A connection is up, and the server refuses every command: it is loading or busy.
    Refusing,
    /// No connection has been up for this time.
    Disconnected(Duration),
}
