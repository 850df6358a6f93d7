//! The address of a running CacheWarp.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::tls;

/// The URL of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The `host:port`, with the brackets of an IPv6 address.
    pub authority: String,
    /// The unix socket to dial instead of the authority.
    pub socket: Option<PathBuf>,
    /// The request target: `/health`.
    pub path: String,
    /// The trust of an `https` URL; `None` for plain HTTP.
    pub tls: Option<tls::Options>,
}

impl ProbeTarget {
    /// Returns the URL of this path of the CacheWarp at this listener.
    pub fn at(listener: SocketAddr, path: &str) -> Self {
        Self { authority: authority(listener), socket: None, path: path.to_owned(), tls: None }
    }

    /// Returns the URL of this path of the CacheWarp at this unix socket.
    pub fn at_socket(socket: &Path, path: &str) -> Self {
        // Without a token, the admin listener admits only requests to a loopback name.
        let authority = "localhost".to_owned();
        Self { authority, socket: Some(socket.to_owned()), path: path.to_owned(), tls: None }
    }
}

/// Returns the address to dial for a listener.
fn authority(listener: SocketAddr) -> String {
    // A wildcard address can be listened on but not dialled.
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
    fn a_wildcard_address_is_dialled_as_loopback() {
        for (listener, authority) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(ProbeTarget::at(listener.parse().unwrap(), "/").authority, authority);
        }
    }
}
