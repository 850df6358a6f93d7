//! Checks that the listeners and the origin have different addresses.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::resolver::Resolver;
use super::table::Name;
use crate::{origin, server};

impl Resolver<'_> {
    /// Notes an error if two listeners, or a listener and the origin, have one address. It skips
    /// the check if an address is invalid.
    pub(super) fn check_addresses(
        &mut self,
        server: &server::Options,
        admin: Option<&server::Options>,
        origin: &origin::Options,
    ) {
        if self.has_error_in(&[Name::ListenAddr, Name::AdminAddr, Name::OriginUrl]) {
            return;
        }
        if admin.is_some_and(|admin| overlap(admin.addr, server.addr)) {
            self.note(Name::AdminAddr, ConfigError::SameAddress(Name::ListenAddr));
        }
        let listeners = [(Name::ListenAddr, Some(server)), (Name::AdminAddr, admin)];
        for (name, listener) in listeners {
            if listener.is_some_and(|listener| is_at(origin, listener.addr)) {
                self.note(Name::OriginUrl, ConfigError::OwnOrigin(name));
            }
        }
    }
}

/// Tells whether two listeners want one port of one address. Port 0 is a new port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_ip
}

/// Tells whether the origin's address is that of a listener. It does not resolve names.
fn is_at(origin: &origin::Options, listener: SocketAddr) -> bool {
    let authority = origin.authority.as_str().replace("localhost", "127.0.0.1");
    let address: Option<SocketAddr> = authority.parse().ok();
    address.is_some_and(|address| {
        let wildcard = listener.ip().is_unspecified() && address.ip().is_loopback();
        address.port() == listener.port() && (address.ip() == listener.ip() || wildcard)
    })
}
