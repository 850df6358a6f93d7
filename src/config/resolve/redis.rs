//! The settings of Redis, and the namespace in it.
//!
//! A namespace follows from `origin_url`, since a cache key does not name its origin. A URL such as
//! `http://localhost` names a different API on each machine. If such machines share a Redis, the
//! operator has to name the namespace.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::reporting::error::ConfigError;
use crate::config::resolve::resolver::Resolver;
use crate::config::resolve::values;
use crate::config::table::Name;
use crate::config::urls;
use crate::key::OriginBase;
use crate::limits::{ENTRY_BYTES_MAX, REDIS_CONNECTIONS_MAX, REDIS_TIMEOUT_MAX, TIMEOUT_MAX, TIMEOUT_MIN};
use crate::origin;
use crate::purge_stream;
use crate::redis::{self, Deployment, RedisAddress, Topology};
use crate::store::Namespace;
use crate::time::instant;
use crate::tls;

/// The limits of a time-out that cannot be disabled.
const TIMEOUT: RangeInclusive<Duration> = TIMEOUT_MIN..=TIMEOUT_MAX;

impl Resolver<'_> {
    /// Returns the servers. It checks the other settings even if Redis is `off`, since it may be
    /// enabled later.
    pub(in crate::config) fn redis(&mut self) -> Option<Option<Deployment>> {
        let url = self.take(Name::RedisUrl, urls::redis)?;
        let readers = self.take(Name::RedisReadFromReplicas, |text| {
            values::switch(text, redis::ReadingNodes::Replicas, redis::ReadingNodes::Masters)
        })?;
        let tls = self.redis_tls()?;
        let password_file = self.file(Name::RedisPasswordFile)?;
        let connections = self.number(Name::RedisPoolSize, 1..=REDIS_CONNECTIONS_MAX)?;
        let command_timeout = self.duration(Name::RedisTimeout, TIMEOUT_MIN..=REDIS_TIMEOUT_MAX)?;
        let hedge_share = self.take(Name::RedisHedge, |text| values::percent(text, 0..=100))?;
        let connect_timeout = self.duration(Name::RedisConnectTimeout, TIMEOUT)?;
        let Some(url) = url else { return Some(None) };
        let (credentials, password_file) = self.redis_login(&url.login, password_file);
        let topology = match url.topology {
            Topology::Cluster(seeds) => Topology::Cluster(redis::ClusterSeeds { readers, ..seeds }),
            topology @ (Topology::Single | Topology::Sentinel(_)) => topology,
        };
        Some(Some(Deployment {
            topology,
            server: redis::Options {
                address: url.address,
                tls,
                credentials,
                password_file,
                database: url.database,
                access: redis::ConnectionAccess::ReadWrite,
                connections,
                // The caller lowers this to the size of an entry with the largest body.
                value_bytes_max: ENTRY_BYTES_MAX,
                command_timeout,
                hedge_share,
                board: redis::StatsBoard::new(instant()),
                connect_timeout,
                redirections: redis::Redirections::Refused,
            },
        }))
    }

    /// Returns the credentials of the URL, or the password file.
    fn redis_login(
        &mut self,
        login: &urls::UrlLogin,
        file: Option<PathBuf>,
    ) -> (Option<redis::Credentials>, Option<redis::PasswordFile>) {
        let Some(path) = file else {
            let credentials = login.credentials().map_err(|error| self.note(Name::RedisUrl, error.into()));
            return (credentials.unwrap_or_default(), None);
        };
        if login.password.is_some() {
            self.note(Name::RedisPasswordFile, ConfigError::SecondPassword);
        }
        (None, Some(redis::PasswordFile { user: login.user_or_default(), path }))
    }

    /// Returns the stream of purges.
    pub(in crate::config) fn purge_stream(
        &mut self,
        redis: Option<&Deployment>,
    ) -> Option<Option<purge_stream::Options>> {
        let stream = self.take(Name::PurgeStream, values::stream_name)?;
        if stream.is_some() && redis.is_none() {
            self.note(Name::PurgeStream, ConfigError::Requires(Name::RedisUrl));
        }
        Some(stream.map(|stream| purge_stream::Options { stream: stream.into() }))
    }

    fn redis_tls(&mut self) -> Option<tls::Options> {
        let ca_file = self.file(Name::RedisCaFile)?;
        let identity = self.identity(Name::RedisClientCertFile, Name::RedisClientKeyFile)?;
        Some(tls::Options { ca_file, identity })
    }

    /// Returns the namespace that the settings name, or that of the origin.
    pub(in crate::config) fn namespace(
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
            // Each socket is another API; no base path begins like this.
            path: match &origin.socket {
                Some(socket) => format!("unix:{}", socket.display()),
                None => origin.base_path.clone(),
            },
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
