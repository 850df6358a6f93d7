//! The client's address: the trusted proxies that report it, the network that counts as one client,
//! and the limit on concurrent permits of one client.
//!
//! The proxy believes a peer within `trusted_proxies` about the address for which it forwards;
//! every other peer is the client itself. An IPv6 client usually has a 64-bit network to itself, so
//! the network counts as one client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use http::header::HeaderName;
use ipnet::IpNet;

use crate::hash::SeededBuildHasher;
use crate::limits::ADDRESS_SHARDS;

/// The field that lists the addresses on a request's path, the client's first.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peers whose `X-Forwarded-*` fields are believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the peers within these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Returns whether this address belongs to a trusted proxy. On a dual-stack socket, an IPv4
    /// peer has a mapped IPv6 address.
    pub fn covers(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Finds the first address, counted back from the peer, that belongs to no trusted proxy, or
    /// the last one if all are trusted proxies'. Returns `None` if a trusted proxy forwards for a
    /// member that is no address.
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

/// One client: an IPv4 address, or an IPv6 network of 64 bits.
///
/// An IPv4 address uses the number of an IPv6 network that begins with 32 zero bits; no client has
/// such a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientNetwork(u64);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(u32::from(address))),
            IpAddr::V6(address) => Self(u64::try_from(u128::from(address) >> 64).unwrap_or_default()),
        }
    }
}

/// The permits of each client network.
pub type NetworkCounts = HashMap<ClientNetwork, usize, SeededBuildHasher>;

/// A limiter of the permits that one client network holds at a time. Clones share one table.
///
/// **Always:** the table holds a network only while the network has a permit, so the table is no
/// larger than the number of permits.
#[derive(Clone, Debug)]
pub struct AddressLimiter(Option<Arc<AddressTable>>);

#[derive(Debug)]
struct AddressTable {
    shards: Vec<Mutex<NetworkCounts>>,
    most: usize,
}

/// One permit of a client network; dropping it gives it back.
#[derive(Debug)]
pub struct AddressPermit {
    client: ClientNetwork,
    table: Option<Arc<AddressTable>>,
}

impl AddressPermit {
    /// Returns the client network.
    pub fn client(&self) -> ClientNetwork {
        self.client
    }
}

impl AddressLimiter {
    /// Returns a limiter with `most` permits for each network; without a limit, it grants every
    /// permit and counts none.
    pub fn new(most: Option<usize>) -> Self {
        let shards = || (0..ADDRESS_SHARDS).map(|_| Mutex::default()).collect();
        Self(most.map(|most| Arc::new(AddressTable { shards: shards(), most })))
    }

    /// Takes a permit; `None` if the network holds the maximum.
    pub fn enter(&self, client: ClientNetwork) -> Option<AddressPermit> {
        let Some(table) = &self.0 else { return Some(AddressPermit { client, table: None }) };
        let mut held = table.shard(client)?;
        let count = held.entry(client).or_insert(0);
        if *count >= table.most {
            return None;
        }
        *count += 1;
        Some(AddressPermit { client, table: Some(Arc::clone(table)) })
    }
}

impl AddressTable {
    /// Locks the shard of this network. A panic between two changes leaves the shard consistent.
    fn shard(&self, client: ClientNetwork) -> Option<MutexGuard<'_, NetworkCounts>> {
        let mixed = client.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let number = usize::try_from(mixed).unwrap_or_default() % ADDRESS_SHARDS;
        self.shards.get(number).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some(table) = self.table.take() else { return };
        if let Some(mut held) = table.shard(self.client)
            && let Entry::Occupied(mut count) = held.entry(self.client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
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
    fn each_network_has_as_many_permits_as_the_bound_and_no_more() {
        let limiter = AddressLimiter::new(Some(2));
        let enter = |text: &str| limiter.clone().enter(ip(text).into());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none(), "in either spelling");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());

        let network = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(enter("2001:db8:0:0:ffff::1").is_none(), "one network of 64 bits");
        assert!(enter("2001:db8:0:1::1").is_some());
        drop((second, network));
        let table = limiter.0.unwrap();
        assert!(
            table.shards.iter().all(|shard| shard.lock().unwrap().is_empty()),
            "no network is left behind"
        );
    }

    #[test]
    fn without_a_bound_no_permit_is_counted() {
        let limiter = AddressLimiter::new(None);
        let all: Vec<_> = (0..100).map(|_| limiter.enter(ip("192.0.2.1").into())).collect();
        assert!(all.iter().all(Option::is_some));
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
