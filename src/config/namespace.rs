//! The namespace in Redis.
//!
//! A namespace follows from `origin_url`, since a cache key does not name its origin. A URL such as
//! `http://localhost` names a different API on each machine. If such machines share a Redis, the
//! operator has to name the namespace.

use std::net::IpAddr;

use super::error::ConfigError;
use super::resolver::Resolver;
use super::table::Name;
use super::values;
use crate::key::OriginBase;
use crate::origin;
use crate::redis::{Deployment, RedisAddress, Topology};
use crate::store::Namespace;

impl Resolver<'_> {
    /// Returns the namespace that the settings name, or that of the origin.
    pub(super) fn namespace(
        &mut self,
        origin: &origin::Options,
        redis: Option<&Deployment>,
    ) -> Option<Namespace> {
        let key_prefix = self.take(Name::RedisKeyPrefix, values::key_prefix)?;
        if let Some(name) = self.take(Name::CacheNamespace, values::namespace)? {
            return Some(Namespace::named(&key_prefix, &name));
        }
        let known = [Name::OriginUrl, Name::RedisUrl, Name::CacheNamespace];
        let shared = redis.is_some_and(|redis| !is_on_this_machine(redis));
        if shared && is_of_this_machine(host(origin.authority.as_str())) && !self.has_error_in(&known) {
            self.note(Name::CacheNamespace, ConfigError::NamespaceNeeded);
        }
        let base = OriginBase {
            scheme: origin.scheme,
            authority: origin.authority.clone(),
            path: origin.base_path.clone(),
        };
        Some(Namespace::of_origin(&key_prefix, &base))
    }
}

/// Tells whether every named server is on this machine.
fn is_on_this_machine(redis: &Deployment) -> bool {
    match (&redis.topology, &redis.server.address) {
        (Topology::Sentinel(sentinels), _) => {
            sentinels.seeds.iter().all(|seed| is_of_this_machine(&seed.host))
        }
        (Topology::Cluster(cluster), _) => cluster.seeds.iter().all(|seed| is_of_this_machine(&seed.host)),
        (Topology::Single, RedisAddress::Unix(_)) => true,
        (Topology::Single, RedisAddress::Tcp { host, .. } | RedisAddress::Tls { host, .. }) => {
            is_of_this_machine(host)
        }
    }
}

/// Names that `/etc/hosts` and container engines resolve to a different host on each machine.
const RELATIVE_NAMES: [&str; 6] = [
    "localhost",
    "localhost.localdomain",
    "ip6-localhost",
    "ip6-loopback",
    "host.docker.internal",
    "host.containers.internal",
];

/// Tells whether a host is a different one on each machine.
fn is_of_this_machine(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match address.to_canonical() {
            IpAddr::V4(address) => {
                address.is_loopback() || address.is_unspecified() || address.is_link_local()
            }
            IpAddr::V6(address) => {
                address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local()
            }
        };
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    RELATIVE_NAMES.contains(&name.as_str()) || name.ends_with(".localhost")
}

/// Returns the host of `host[:port]`, without the brackets of an IPv6 address.
fn host(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine() {
        for authority in [
            "localhost",
            "localhost.:8080",
            "api.localhost",
            "127.0.0.1:8080",
            "127.8.8.8",
            "0.0.0.0:80",
            "169.254.1.1",
            "[::1]:8080",
            "[::]",
            "[::ffff:127.0.0.1]:1",
            "[fe80::1]",
            "ip6-localhost:80",
            "host.docker.internal:80",
        ] {
            assert!(is_of_this_machine(host(authority)), "{authority}");
        }
        for authority in
            ["api.example", "localhost.example:80", "10.0.0.1", "[2001:db8::1]:80", "notlocalhost"]
        {
            assert!(!is_of_this_machine(host(authority)), "{authority}");
        }
    }
}
