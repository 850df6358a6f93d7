//! Client of the upstream origin: a connection pool, its deadlines, and the request
//! heads that the origin receives.
//!
//! The pure modules decide. `outbound`, `forwarded`, `via` and `protocol` write the request head;
//! `framing` and `keep_alive` read from a response head where the body ends and how long the
//! connection stays usable; `limit`, `signs` and `breaker` bound the concurrent requests;
//! `queue_timeout` bounds the wait in the queue, and `tunnel_counts` the tunnels. The other modules
//! do I/O. Each worker has one pool of HTTP/1.1 connections (`dial`, `pool`) with a limiter and its
//! queue in front (`limiter`). A connection carries one exchange at a time (`exchange`) with its
//! two bodies (`upload`, `body`). The workers share the addresses of the origin's name
//! (`addresses`); `address_book` decides which of them a request uses, `ejection` which of them has
//! failed, and `selector` records how it went.
//!
//! **Invariants:**
//!
//! - Every wait has a deadline, and only time spent waiting for the party it is set for counts.
//! - A body that ends is complete. A truncated body is an error, never an end.
//! - The pool reuses a connection only if its last exchange was complete in both directions. After
//!   any anomaly the connection is closed; dropping its owner closes it too.

mod address;
mod address_book;
mod addresses;
mod body;
mod boundary;
mod breaker;
mod client;
mod connection;
mod dial;
mod ejection;
mod error;
mod exchange;
mod forwarded;
mod framing;
mod http1;
mod idle;
mod interims;
mod keep_alive;
mod limit;
mod limiter;
mod links;
pub mod max_forwards;
mod metrics;
mod normal_path;
mod options;
mod outages;
mod outbound;
mod pool;
mod protocol;
mod queue_timeout;
mod selector;
mod signs;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod tunnel_counts;
mod upload;
mod via;

pub use addresses::{NameResolver, OriginAddresses, ResolvedName};
pub use body::OriginBody;
pub use client::OriginClient;
pub use error::{ChunkError, FaultParty, FetchError, FetchPhase, HeadError, OriginOptionsError};
pub use exchange::{ExchangeDeadlines, ExchangeTerms};
pub use framing::BodyFraming;
pub use http1::{ChunkPart, ChunkReader, ResponseHead, ResponseHeadReader};
pub use interims::{InterimReceiver, InterimResponse};
pub use options::{AddressShare, HostField, LinkRewrite, Options};
pub use outages::OutageLog;
pub use outbound::{FetchPurpose, OutboundHeads, OutboundRequest};
pub use protocol::UpgradeProtocol;
pub use tunnel::OriginTunnel;
pub use upload::RequestBody;
pub use via::ViaName;
