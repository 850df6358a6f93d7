//! The upstream: a pooled hyper client, its deadlines, and the head that the origin sees.
//!
//! Pure: what a request becomes on its way out (`outbound`, `forwarded`, `protocol`) and what an
//! answer's head promises about its body (`framing`) and its connection (`keep_alive`), how much
//! the origin is asked for at a time (`limit`, `signs`, `breaker`) and how long somebody waits for
//! that (`queue_timeout`). Carrying: one pool of HTTP/1.1 connections per worker (`dial`, `pool`), turns
//! and a queue in front of it (`limiter`), one exchange at a time on each (`exchange`), and the two
//! bodies of an exchange (`upload`, `body`).
//!
//! What always holds:
//!
//! - Every wait has a deadline, and only the party that is waited for can use it up.
//! - A body that ends is whole. One that is not whole is an error, never an end.
//! - A connection is used again only if its last exchange was complete in both directions; after
//!   anything odd it is closed, and dropping whatever holds it closes it too.

mod body;
mod boundary;
mod breaker;
mod client;
mod connection;
mod dial;
mod error;
mod exchange;
mod forwarded;
mod framing;
mod idle;
mod keep_alive;
mod limit;
mod metrics;
mod options;
mod outages;
mod outbound;
mod queue_timeout;
mod pool;
mod protocol;
mod signs;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod limiter;
mod upload;

pub use body::OriginBody;
pub use client::OriginClient;
pub use error::{FaultParty, FetchError, FetchPhase, OriginOptionsError};
pub use framing::BodyFraming;
pub use options::{AddressShare, HostField, Options};
pub use outages::OutageLog;
pub use outbound::{FetchPurpose, OutboundHeads, OutboundRequest};
pub use protocol::UpgradeProtocol;
pub use upload::RequestBody;
