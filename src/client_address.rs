//! The client's address: the trusted proxies that vouch for it, the network that counts as one client, and
//! the bound on whatever one client may have at a time.
//!
//! A peer within `trusted_proxies` is believed about the address it forwards for; every other peer is the client
//! itself. An IPv6 client has a network of 64 bits to itself, so the network counts as one client.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

/// The addresses a request came along, the client's first.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peers whose `X-Forwarded-*` fields are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the peers within these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns whether this address is a trusted proxy's. On a dual-stack socket an IPv4 peer looks like an
    /// IPv6 one.
    pub fn covers(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Finds the nearest address that is no trusted proxy's, back from the peer; the last one where all of them
    /// are. `None` where a trusted proxy forwards for something that is no address.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if !self.covers(client) {
            return Some(client);
        }
        for hop in hops(headers).rev() {
            if !self.covers(client) {
                break;
            }
            client = hop?.parse::<IpAddr>().ok()?.to_canonical();
        }
        Some(client)
    }
}

/// Returns the members of all `X-Forwarded-For` lines; `None` for one that is not text.
pub fn hops(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = Option<&str>> {
    headers
        .get_all(&X_FORWARDED_FOR)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(|hop| std::str::from_utf8(hop.trim_ascii()).ok())
        .filter(|hop| *hop != Some(""))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    fn trusted() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_cover_mapped_addresses() {
        for (peer, covered) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("11.1.2.3", false),
            ("::ffff:11.1.2.3", false),
            ("fe80::1", false),
        ] {
            assert_eq!(trusted().covers(ip(peer)), covered, "{peer}");
        }
    }

    #[test]
    fn the_client_is_the_nearest_address_behind_trusted_proxies() {
        for (peer, lines, client) in [
            ("192.0.2.1", &[][..], Some("192.0.2.1")),
            ("192.0.2.1", &["127.0.0.1"], Some("192.0.2.1")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("::ffff:10.0.0.1", &["192.0.2.7"], Some("192.0.2.7")),
            ("10.0.0.1", &["127.0.0.1, 192.0.2.7"], Some("192.0.2.7")),
            ("10.0.0.1", &["127.0.0.1", "192.0.2.7, 10.0.0.2"], Some("192.0.2.7")),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], Some("10.0.0.3")),
            ("10.0.0.1", &["unknown"], None),
            ("10.0.0.1", &["127.0.0.1, unknown"], None),
            ("10.0.0.1", &["unknown, 192.0.2.7"], Some("192.0.2.7")),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(&X_FORWARDED_FOR, HeaderValue::from_static(line));
            }
            assert_eq!(trusted().client(&headers, ip(peer)), client.map(ip), "{peer} {lines:?}");
        }
    }
}
