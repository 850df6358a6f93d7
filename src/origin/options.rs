//! Options of the origin client.

use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::ServerName;

use super::addresses::OriginAddresses;
use super::via::ViaName;
use crate::key::{Authority, Scheme};
use crate::origin::outages::OutageLog;
use crate::tls::TlsIdentity;

/// Options of the origin and its connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Plain HTTP or TLS.
    pub scheme: Scheme,
    /// Host and port to dial; also the `Host` that the origin receives, unless `host` differs.
    pub authority: Authority,
    /// Unix socket to dial instead of `authority`, which the origin still receives.
    pub socket: Option<PathBuf>,
    /// Prefix of every path; empty, or begins with `/` and does not end with it.
    pub base_path: String,
    /// `Host` that the origin receives.
    pub host: HostField,
    /// Certificate authorities for TLS, as PEM; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate for an origin that requests one.
    pub identity: Option<TlsIdentity>,
    /// Name that the origin's certificate must match and that TLS sends, instead of the host of
    /// `authority`.
    pub server_name: Option<ServerName<'static>>,
    /// Clients whose `X-Forwarded-*` is trusted and extended; it is dropped from all others.
    pub trusted_proxies: Vec<IpNet>,
    /// Time-out of name resolution, connect and TLS handshake together.
    pub connect_timeout: Duration,
    /// Time from the last piece of a request sent to the response head, without the client's own
    /// pauses.
    pub head_timeout: Duration,
    /// Time between two pieces of a body, in either direction.
    pub body_timeout: Duration,
    /// Time for which an idle connection is kept.
    pub idle_timeout: Duration,
    /// The greatest age of a connection that begins another exchange; `None` for no bound.
    pub connection_max_age: Option<Duration>,
    /// Addresses of the authority, shared by all workers.
    pub addresses: OriginAddresses,
    /// Maximum of open connections, and so of concurrent requests, per worker.
    pub connections_max: usize,
    /// Maximum wait for a permit while the limit is reached; zero to refuse at once.
    pub queue_timeout: Duration,
    /// Outage log, shared by all workers.
    pub outages: OutageLog,
    /// Whether a share of the permits is reserved for other client addresses.
    pub address_share: AddressShare,
    /// Fate of links to the origin in its responses.
    pub links: LinkRewrite,
    /// Name in `Via`, shared by all workers.
    pub via: ViaName,
    /// Header of request ids; `None` if requests get none.
    pub request_id_header: Option<HeaderName>,
}

/// Share of the permits that one client address may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressShare {
    /// All but one in [`ORIGIN_RESERVED_SHARE`](crate::limits::ORIGIN_RESERVED_SHARE).
    Bounded,
    /// All: the clients have one address, that of a load balancer.
    Whole,
}

/// Fate of the origin's own URLs in `Location`, `Content-Location`, `Link` and `Refresh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkRewrite {
    /// They get the scheme and the host that the client asked by.
    On,
    /// They stay.
    Off,
}

/// `Host` that the origin receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostField {
    /// The origin's own.
    Origin,
    /// The client's.
    Client,
}
