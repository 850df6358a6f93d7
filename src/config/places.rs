//! Whether two things are in one place.

use std::net::SocketAddr;

use crate::origin;

/// Whether two listeners want the same port of the same address. Port 0 is another one each time.
pub(super) fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && overlap
}

/// Whether the origin is, by the look of it, a listener of ours. Names are not resolved.
pub(super) fn is_at(origin: &origin::Options, listener: SocketAddr) -> bool {
    let authority = origin.authority.as_str().replace("localhost", "127.0.0.1");
    let address: Option<SocketAddr> = authority.parse().ok();
    address.is_some_and(|address| {
        let wildcard = listener.ip().is_unspecified() && address.ip().is_loopback();
        address.port() == listener.port() && (address.ip() == listener.ip() || wildcard)
    })
}
