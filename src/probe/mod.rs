//! Asking a running CacheWarp, from outside: whether it is [well](health()), why an answer is what it is
//! ([`explain()`]), and what its [operators](Operator) ask.
//!
//! It runs where no worker runs, in a process of its own that an operator or a container's supervisor starts, so it
//! blocks, needs no runtime, and is over within a time that is known beforehand.

mod explain;
mod get;
mod health;
mod operate;
mod report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::secret::Secret;

pub use explain::{Question, Unexplained, explain};
pub use get::Unanswered;
pub use health::{Unwell, health};
pub use operate::{Errand, Operator, Undone};
pub use report::Report;

/// Whom to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`; the brackets of an IPv6 address included.
    pub authority: String,
    /// The request target: `/health`.
    pub path: String,
}

impl Target {
    /// The health of the CacheWarp that listens there.
    pub fn at(listener: SocketAddr) -> Self {
        Self { authority: authority(listener), path: "/health".to_owned() }
    }
}

impl Operator {
    /// Of the CacheWarp whose admin listener is there.
    pub fn at(listener: SocketAddr, token: Option<Secret>) -> Self {
        Self { authority: authority(listener), token }
    }
}

/// Where to dial who listens there.
fn authority(listener: SocketAddr) -> String {
    // A wildcard is where one listens and not where one dials.
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listener.port()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_asked_at_home() {
        for (listener, authority) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(Target::at(listener.parse().unwrap()).authority, authority);
        }
    }
}
