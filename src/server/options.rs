//! What a listener can be told.

use std::net::SocketAddr;
use std::time::Duration;

/// One listener and its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen. An IPv6 wildcard takes IPv4 as well.
    pub addr: SocketAddr,
    /// Whether another process may listen there as well.
    pub sharing: AddressSharing,
    /// Connections that the kernel may hold complete and not yet accepted.
    pub backlog: u32,
    /// Connections open at one time on this listener; beyond it, new ones wait in the backlog.
    pub connections_max: usize,
    /// Connections open at one time from one IPv4 address or one IPv6 network of 64 bits; more are
    /// closed.
    pub connections_per_address_max: Option<usize>,
    /// From the first byte of a request head to its last; for a new connection, from its
    /// acceptance.
    pub head_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
    /// The longest that a client may take nothing of an answer, on any protocol; a client that
    /// takes less than [`CLIENT_RATE_MIN`](crate::limits::CLIENT_RATE_MIN) uses it up too.
    pub body_timeout: Duration,
    /// How long accepted work may go on after a shutdown was asked for.
    pub drain_timeout: Duration,
}

/// Whether another process of the same user may listen on the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSharing {
    /// It may not: whoever listens there is noticed at the start.
    Alone,
    /// It may, if it says so too: a successor listens before its predecessor has stopped.
    Handover,
}
