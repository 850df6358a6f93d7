//! Options of a listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::client_address::TrustedProxies;
use crate::request_id::RequestIdOptions;
use crate::tls::ListenerOptions;

/// The options of one listener and its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on, or the one that the connections of `socket` have. An IPv6 wildcard
    /// accepts IPv4 as well.
    pub addr: SocketAddr,
    /// Unix socket to listen on instead of `addr`.
    pub socket: Option<SocketOptions>,
    /// Permission for another process to listen on the address.
    pub sharing: AddressSharing,
    /// Maximum number of complete connections in the kernel's queue that are not accepted yet.
    pub backlog: u32,
    /// Maximum number of open connections of this listener; beyond it, new ones wait in the
    /// kernel's queue.
    pub connections_max: usize,
    /// Maximum number of open connections from one IPv4 address or one IPv6 network of 64 bits; the
    /// server closes further ones.
    pub connections_per_address_max: Option<usize>,
    /// Action when no further connection is allowed.
    pub when_full: WhenFull,
    /// The certificates of a listener that speaks TLS.
    pub tls: Option<ListenerOptions>,
    /// The peers whose connections begin with a header of the PROXY protocol; `None` for none.
    pub proxied: Option<TrustedProxies>,
    /// The ids of requests; `None` on a listener whose requests get none.
    pub request_ids: Option<RequestIdOptions>,
    /// Time limit from the first byte of a request head to its last; for a new connection, from its
    /// acceptance.
    pub head_timeout: Duration,
    /// Time limit of a connection without a request.
    pub idle_timeout: Duration,
    /// Time limit of a client that reads nothing of a response, on any protocol. A client that
    /// reads less than [`CLIENT_RATE_MIN`](crate::limits::CLIENT_RATE_MIN) exhausts it too.
    pub body_timeout: Duration,
    /// Time limit of accepted work after a shutdown begins.
    pub drain_timeout: Duration,
}

/// A unix socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// The path of the socket.
    pub path: PathBuf,
    /// The permissions of the socket's file.
    pub mode: u32,
}

/// Action of a listener that has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// New connections wait in the kernel's queue.
    Wait,
    /// The longest silent connection is closed for a new one: of the same address if the address
    /// has this many connections, else of all.
    CloseSilent {
        /// Maximum number of open connections of one address.
        per_address: usize,
    },
}

/// Permission for another process of one user to listen on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSharing {
    /// No other process may: the server detects at its start that another one listens.
    Alone,
    /// Another process may, if it sets this too: a new process can listen before the old one stops.
    Handover,
}
