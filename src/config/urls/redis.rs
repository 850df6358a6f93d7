//! The URL of Redis: `redis://`, `rediss://` or `unix://`, several servers with `+sentinel` or
//! `+cluster`, or `off`.

use std::path::PathBuf;

use url::Url;

use super::parts::{SettingUrlError, decoded, host, parsed_with_login, port};
use crate::config::reporting::error::ConfigError;
use crate::limits::REDIS_SEEDS_MAX;
use crate::redis::{ClusterSeeds, Credentials, Endpoint, ReadingNodes, RedisAddress, Sentinels, Topology};
use crate::secret::Secret;

/// The default port of Redis.
const REDIS_PORT: u16 = 6379;

/// The default port of sentinels.
const SENTINEL_PORT: u16 = 26_379;

/// The parts of a URL of Redis.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct RedisUrl {
    pub(in crate::config) topology: Topology,
    /// The address of the server, or of the first seed.
    pub(in crate::config) address: RedisAddress,
    pub(in crate::config) login: UrlLogin,
    pub(in crate::config) database: u32,
}

/// A login. A file may hold its password.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct UrlLogin {
    pub(in crate::config) user: Option<String>,
    pub(in crate::config) password: Option<Secret>,
}

impl UrlLogin {
    fn of(user: Option<String>, password: Option<String>) -> Self {
        let password = password.filter(|password| !password.is_empty());
        Self { user: user.filter(|user| !user.is_empty()), password: password.map(Secret::new) }
    }

    /// Returns this login, with missing parts from the other.
    fn or(self, other: Self) -> Self {
        Self { user: self.user.or(other.user), password: self.password.or(other.password) }
    }

    /// Returns the user, or Redis' default user.
    pub(in crate::config) fn user_or_default(&self) -> String {
        self.user.clone().unwrap_or_else(|| Credentials::DEFAULT_USER.to_owned())
    }

    /// Returns the credentials, if the URL alone provides them.
    pub(in crate::config) fn credentials(&self) -> Result<Option<Credentials>, SettingUrlError> {
        match (&self.user, &self.password) {
            (_, Some(password)) => {
                Ok(Some(Credentials { user: self.user_or_default(), password: password.clone() }))
            }
            (Some(_), None) => Err(SettingUrlError::UserWithoutPassword),
            (None, None) => Ok(None),
        }
    }
}

/// Reads the URL of Redis; `off` is `None`.
pub(in crate::config) fn redis(text: &str) -> Result<Option<RedisUrl>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    let read = match text.split_once("://") {
        Some(("redis+sentinel" | "rediss+sentinel", _)) => sentinels(text),
        Some(("redis+cluster" | "rediss+cluster", _)) => cluster(text),
        Some(_) | None => single(text),
    };
    Ok(Some(read?))
}

fn single(text: &str) -> Result<RedisUrl, SettingUrlError> {
    let url = without_fragment(text)?;
    match url.scheme() {
        "redis" | "rediss" => server(&url),
        "unix" => socket(&url),
        other => Err(SettingUrlError::Scheme {
            given: other.to_owned(),
            known: "redis, rediss, unix, redis+sentinel, redis+cluster (or the word `off`)",
        }),
    }
}

/// Reads `redis://[user:password@]host[:port][/database]`, or the database as `?db=`.
fn server(url: &Url) -> Result<RedisUrl, SettingUrlError> {
    let UrlParameters {
        user: None,
        password: None,
        database: in_query,
        sentinel: UrlLogin { user: None, password: None },
    } = UrlParameters::of(url)?
    else {
        return Err(SettingUrlError::Parameter("db"));
    };
    let in_path = match url.path().trim_start_matches('/') {
        "" => None,
        database => Some(number(database)?),
    };
    if in_path.is_some() && in_query.is_some() {
        return Err(SettingUrlError::Database);
    }
    let endpoint = Endpoint { host: host(url)?, port: port(url)?.unwrap_or(REDIS_PORT) };
    Ok(RedisUrl {
        topology: Topology::Single,
        address: address(url, &endpoint),
        login: login(url),
        database: in_path.or(in_query).unwrap_or(0),
    })
}

/// Reads `unix:///path?db=1&user=name&password=secret`.
fn socket(url: &Url) -> Result<RedisUrl, SettingUrlError> {
    if url.has_host() || url.path() == "/" {
        return Err(SettingUrlError::SocketPath);
    }
    let UrlParameters { user, password, database, sentinel: UrlLogin { user: None, password: None } } =
        UrlParameters::of(url)?
    else {
        return Err(SettingUrlError::Parameter("db, user and password"));
    };
    Ok(RedisUrl {
        topology: Topology::Single,
        address: RedisAddress::Unix(PathBuf::from(decoded(url.path()))),
        login: UrlLogin::of(user, password),
        database: database.unwrap_or(0),
    })
}

/// Reads `redis+sentinel://[user:password@]host[:port],../master[/database]`, optionally with
/// `?sentinel_user=name&sentinel_password=secret`. User, password and database are those of the
/// servers.
fn sentinels(text: &str) -> Result<RedisUrl, SettingUrlError> {
    let hosts = HostList::of(text).ok_or(SettingUrlError::Host)?;
    let url = without_fragment(&hosts.single)?;
    let UrlParameters { user: None, password: None, database: None, sentinel } = UrlParameters::of(&url)?
    else {
        return Err(SettingUrlError::Parameter("sentinel_user and sentinel_password"));
    };
    let path = url.path().trim_start_matches('/');
    let (master, database) = match path.split_once('/') {
        Some((master, database)) => (master, number(database)?),
        None => (path, 0),
    };
    if master.is_empty() {
        return Err(SettingUrlError::MasterName);
    }
    let seeds = hosts.endpoints(SENTINEL_PORT)?;
    let first = seeds.first().ok_or(SettingUrlError::Host)?;
    Ok(RedisUrl {
        address: address(&url, first),
        login: login(&url),
        database,
        topology: Topology::Sentinel(Sentinels {
            master: decoded(master),
            credentials: sentinel.credentials()?,
            seeds,
        }),
    })
}

/// Reads `redis+cluster://[user:password@]host[:port],..`.
fn cluster(text: &str) -> Result<RedisUrl, SettingUrlError> {
    let hosts = HostList::of(text).ok_or(SettingUrlError::Host)?;
    let url = without_fragment(&hosts.single)?;
    if url.query().is_some() {
        return Err(SettingUrlError::Trailer);
    }
    if !matches!(url.path(), "" | "/" | "/0") {
        return Err(SettingUrlError::ClusterDatabase);
    }
    let seeds = hosts.endpoints(REDIS_PORT)?;
    let first = seeds.first().ok_or(SettingUrlError::Host)?;
    Ok(RedisUrl {
        address: address(&url, first),
        login: login(&url),
        database: 0,
        topology: Topology::Cluster(ClusterSeeds { seeds, readers: ReadingNodes::Masters }),
    })
}

fn without_fragment(text: &str) -> Result<Url, SettingUrlError> {
    let url = parsed_with_login(text)?;
    if url.fragment().is_some() { Err(SettingUrlError::Trailer) } else { Ok(url) }
}

fn login(url: &Url) -> UrlLogin {
    UrlLogin::of(Some(decoded(url.username())), url.password().map(decoded))
}

fn address(url: &Url, endpoint: &Endpoint) -> RedisAddress {
    let Endpoint { host, port } = endpoint.clone();
    if url.scheme().starts_with("rediss") {
        RedisAddress::Tls { host, port }
    } else {
        RedisAddress::Tcp { host, port }
    }
}

/// The parameters of a query.
#[derive(Default)]
struct UrlParameters {
    user: Option<String>,
    password: Option<String>,
    database: Option<u32>,
    sentinel: UrlLogin,
}

impl UrlParameters {
    fn of(url: &Url) -> Result<Self, SettingUrlError> {
        let mut read = Self::default();
        for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
            // The query is not a form: a `+` in a password is a `+`.
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "db" if read.database.is_none() => read.database = Some(number(value)?),
                "user" if read.user.is_none() => read.user = Some(decoded(value)),
                "password" if read.password.is_none() => read.password = Some(decoded(value)),
                "sentinel_user" if read.sentinel.user.is_none() => {
                    read.sentinel = UrlLogin::of(Some(decoded(value)), None).or(read.sentinel);
                }
                "sentinel_password" if read.sentinel.password.is_none() => {
                    read.sentinel = UrlLogin::of(None, Some(decoded(value))).or(read.sentinel);
                }
                _ => return Err(SettingUrlError::Parameter("db, and for a socket user and password")),
            }
        }
        Ok(read)
    }
}

fn number(database: &str) -> Result<u32, SettingUrlError> {
    database.parse().map_err(|_| SettingUrlError::Database)
}

/// The parts of a URL with several hosts: `redis+sentinel://a:26379,b:26379/mymaster`. No standard
/// defines them, but many clients accept them.
struct HostList<'a> {
    /// The URL with the first host only, so that a parser accepts it.
    single: String,
    /// All hosts, separated by commas.
    listed: &'a str,
}

impl<'a> HostList<'a> {
    /// Splits a URL that contains `://`.
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at_checked(end)?;
        let (user, listed) = match authority.rsplit_once('@') {
            Some((user, listed)) => (Some(user), listed),
            None => (None, authority),
        };
        let first = listed.split(',').next()?;
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Some(Self { single: format!("{scheme}://{user}{first}{behind}"), listed })
    }

    /// Returns each host with its port or the default port.
    fn endpoints(&self, default_port: u16) -> Result<Vec<Endpoint>, SettingUrlError> {
        let endpoint = |text: &str| {
            let url = Url::parse(&format!("redis://{text}"))?;
            let alone = url.username().is_empty() && matches!(url.path(), "" | "/") && url.query().is_none();
            let host = host(&url)?;
            if alone {
                Ok(Endpoint { host, port: port(&url)?.unwrap_or(default_port) })
            } else {
                Err(SettingUrlError::Host)
            }
        };
        let endpoints: Vec<_> = self.listed.split(',').map(endpoint).collect::<Result<_, _>>()?;
        if endpoints.len() > REDIS_SEEDS_MAX { Err(SettingUrlError::TooManyHosts) } else { Ok(endpoints) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> RedisUrl {
        redis(text).unwrap().unwrap()
    }

    fn login(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials { user: user.to_owned(), password: Secret::new(password) })
    }

    fn endpoints(hosts: &[(&str, u16)]) -> Vec<Endpoint> {
        hosts.iter().map(|(host, port)| Endpoint { host: (*host).to_owned(), port: *port }).collect()
    }

    fn tcp(host: &str, port: u16) -> RedisAddress {
        RedisAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn urls_of_one_server() {
        let tls = RedisAddress::Tls { host: "cache.example".to_owned(), port: 6380 };
        let socket = RedisAddress::Unix("/run/redis server.sock".into());
        for (text, address, credentials, database) in [
            ("redis://localhost:6379", tcp("localhost", 6379), None, 0),
            ("redis://localhost", tcp("localhost", 6379), None, 0),
            ("redis://LOCALHOST/", tcp("localhost", 6379), None, 0),
            ("redis://10.0.0.1:7000/3", tcp("10.0.0.1", 7000), None, 3),
            ("redis://h?db=3", tcp("h", 6379), None, 3),
            ("redis://[::1]:7000", tcp("::1", 7000), None, 0),
            ("redis://:pw@h", tcp("h", 6379), login("default", "pw"), 0),
            ("redis://app:pw@h/1", tcp("h", 6379), login("app", "pw"), 1),
            ("redis://app:p%40s%2Fs%23@h", tcp("h", 6379), login("app", "p@s/s#"), 0),
            ("redis://app:ünï+^ $@h", tcp("h", 6379), login("app", "ünï+^ $"), 0),
            ("rediss://cache.example:6380", tls, None, 0),
            ("unix:///run/redis%20server.sock?db=2", socket.clone(), None, 2),
            ("unix:///run/redis server.sock?user=a&password=b%26+c", socket, login("a", "b&+c"), 0),
        ] {
            let read = read(text);
            assert_eq!((read.address, read.database), (address, database), "{text}");
            assert_eq!(read.topology, Topology::Single);
            assert_eq!(read.login.credentials(), Ok(credentials), "{text}");
        }
        assert_eq!(redis("off"), Ok(None));
    }

    #[test]
    fn urls_of_several_servers() {
        let sentinel = |hosts: &[(&str, u16)], master: &str, credentials| {
            Topology::Sentinel(Sentinels { seeds: endpoints(hosts), master: master.to_owned(), credentials })
        };
        let cluster = |hosts: &[(&str, u16)]| {
            Topology::Cluster(ClusterSeeds { seeds: endpoints(hosts), readers: ReadingNodes::Masters })
        };
        for (text, topology, address, credentials, database) in [
            (
                "redis+sentinel://a:1,b,[::1]:3/mymaster",
                sentinel(&[("a", 1), ("b", 26_379), ("::1", 3)], "mymaster", None),
                tcp("a", 1),
                None,
                0,
            ),
            (
                "redis+sentinel://app:p%2Cw@a/my%20master/3?sentinel_user=s&sentinel_password=t+",
                sentinel(&[("a", 26_379)], "my master", login("s", "t+")),
                tcp("a", 26_379),
                login("app", "p,w"),
                3,
            ),
            (
                "rediss+sentinel://:pw@A:1/m?sentinel_password=t",
                sentinel(&[("a", 1)], "m", login("default", "t")),
                RedisAddress::Tls { host: "a".to_owned(), port: 1 },
                login("default", "pw"),
                0,
            ),
            ("redis+cluster://a,b:7001/", cluster(&[("a", 6379), ("b", 7001)]), tcp("a", 6379), None, 0),
            ("redis+cluster://u:p,@a/0", cluster(&[("a", 6379)]), tcp("a", 6379), login("u", "p,"), 0),
        ] {
            let read = read(text);
            assert_eq!((&read.topology, &read.address), (&topology, &address), "{text}");
            assert_eq!((read.login.credentials(), read.database), (Ok(credentials), database), "{text}");
        }
    }

    #[test]
    fn refused_urls_of_several_servers() {
        let many = format!("redis+cluster://{}", vec!["a"; 17].join(","));
        for (text, error) in [
            ("redis+sentinel://a:1", SettingUrlError::MasterName),
            ("redis+sentinel://a:1/", SettingUrlError::MasterName),
            ("redis+sentinel://a:1/m/x", SettingUrlError::Database),
            (
                "redis+sentinel://a:1/m?db=1",
                SettingUrlError::Parameter("sentinel_user and sentinel_password"),
            ),
            ("redis+sentinel://a:1/m?sentinel_user=s", SettingUrlError::UserWithoutPassword),
            ("redis+sentinel://a:1,/m", SettingUrlError::Host),
            ("redis+sentinel://a:1,b:x/m", SettingUrlError::Malformed(url::ParseError::InvalidPort)),
            ("redis+sentinel://a,b:0/m", SettingUrlError::PortZero),
            ("redis+sentinel://a,b/m#x", SettingUrlError::Trailer),
            ("redis+sentinel://app:12/pw@a/m", SettingUrlError::AtSignBehindHost),
            ("redis+sentinel://a,b/m@x", SettingUrlError::AtSignBehindHost),
            ("redis+cluster://app:12,pw/0@a", SettingUrlError::AtSignBehindHost),
            ("redis+cluster://a/1", SettingUrlError::ClusterDatabase),
            ("redis+cluster://a?db=0", SettingUrlError::Trailer),
            ("redis+cluster://", SettingUrlError::Host),
            (&many, SettingUrlError::TooManyHosts),
        ] {
            assert_eq!(redis(text), Err(ConfigError::Url(error)), "{text}");
        }
    }

    #[test]
    fn refused_urls_of_one_server() {
        let scheme = |given: &str| SettingUrlError::Scheme {
            given: given.to_owned(),
            known: "redis, rediss, unix, redis+sentinel, redis+cluster (or the word `off`)",
        };
        for (text, error) in [
            ("", SettingUrlError::NoScheme),
            ("OFF", SettingUrlError::NoScheme),
            ("localhost:6379", SettingUrlError::NoScheme),
            ("http://localhost", scheme("http")),
            ("valkey://localhost", scheme("valkey")),
            ("redis-sentinel://a:26379/mymaster", scheme("redis-sentinel")),
            ("redis-cluster://a:7000", scheme("redis-cluster")),
            ("redis://", SettingUrlError::Host),
            ("redis:///1", SettingUrlError::Host),
            ("redis:localhost", SettingUrlError::NoScheme),
            ("redis://h%20h", SettingUrlError::Host),
            ("redis://h:0", SettingUrlError::PortZero),
            ("redis://h:65536", SettingUrlError::Malformed(url::ParseError::InvalidPort)),
            ("redis://a:6379,b:6379", SettingUrlError::Malformed(url::ParseError::InvalidPort)),
            ("redis://:p#ss@h", SettingUrlError::Malformed(url::ParseError::EmptyHost)),
            ("redis://app@h", SettingUrlError::UserWithoutPassword),
            ("redis://app:@h", SettingUrlError::UserWithoutPassword),
            ("redis://app:12/3@h", SettingUrlError::AtSignBehindHost),
            ("redis://app:12/pw@h", SettingUrlError::AtSignBehindHost),
            ("redis://h/one", SettingUrlError::Database),
            ("redis://h/-1", SettingUrlError::Database),
            ("redis://h/1/2", SettingUrlError::Database),
            ("redis://h/1?db=1", SettingUrlError::Database),
            ("redis://h?db=1&db=2", SettingUrlError::Parameter("db, and for a socket user and password")),
            ("redis://h?timeout=5", SettingUrlError::Parameter("db, and for a socket user and password")),
            ("redis://h?password=x", SettingUrlError::Parameter("db")),
            ("redis://h#1", SettingUrlError::Trailer),
            ("unix://run/redis.sock", SettingUrlError::SocketPath),
            ("unix:///", SettingUrlError::SocketPath),
            ("unix:/run/redis.sock", SettingUrlError::NoScheme),
            ("unix:///s?user=a", SettingUrlError::UserWithoutPassword),
        ] {
            let read =
                redis(text).and_then(|read| Ok(read.map(|read| read.login.credentials()).transpose()?));
            assert_eq!(read, Err(ConfigError::Url(error)), "{text}");
        }
    }
}
