//! What the origin client can be told.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::OutageLog;
use crate::key::{Authority, Scheme};

/// The one origin, and how to speak with it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Host and port to dial; also the `Host` that the origin sees, unless `host` says otherwise.
    pub authority: Authority,
    /// Put before every path; empty, or begins with `/` and does not end with one.
    pub base_path: String,
    /// Which `Host` the origin sees.
    pub host: HostField,
    /// Certificate authorities for TLS, as PEM; the system's where `None`.
    pub ca_file: Option<PathBuf>,
    /// Clients from which `X-Forwarded-*` is believed and extended; from all others it is dropped.
    pub trusted_proxies: Vec<IpNet>,
    /// Name resolution, connect and TLS handshake together.
    pub connect_timeout: Duration,
    /// From the last piece of a request that was sent to the response head; the client's own pauses
    /// do not count.
    pub head_timeout: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Connections open at one time by one worker, and so requests under way.
    pub connections_max: usize,
    /// How long a request may wait for its turn, where as many are under way as may be; zero for
    /// not at all.
    pub queue_timeout: Duration,
    /// What the log says about the origin: one for all workers.
    pub outages: OutageLog,
    /// Whether a part of those is kept for other client addresses.
    pub address_share: AddressShare,
}

/// The part of the origin that one client address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressShare {
    /// All but one in [`ORIGIN_RESERVED_SHARE`](crate::limits::ORIGIN_RESERVED_SHARE).
    Bounded,
    /// All of it: the clients have one address, that of a load balancer.
    Whole,
}

/// Which `Host` the origin sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostField {
    /// The origin's own.
    Origin,
    /// The one that the client sent.
    Client,
}
