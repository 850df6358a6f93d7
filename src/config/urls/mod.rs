//! Where the origin and Redis are.
//!
//! A URL may carry a password, so what is shown of one, right or wrong, goes through [`masked`].

mod hosts;
mod http;
mod mask;
mod redis;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::key::{Authority, Scheme};

pub(super) use self::http::{explain, health, origin};
pub(super) use self::mask::{MASK, has_unencoded_password, masked};
pub(super) use self::redis::{UrlLogin, redis};

/// Why text is no URL that we can use. None of these repeats a part of it that could be a secret in
/// the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingUrlError {
    /// `localhost:8080`, which would be a URL of the scheme `localhost`.
    #[error("does not begin with a scheme and `://`")]
    NoScheme,
    /// What the parser says.
    #[error("is not a URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// None of those that we speak.
    #[error("has the scheme {given:?}, which is none of {known}")]
    Scheme {
        /// What it has.
        given: String,
        /// What it could have.
        known: &'static str,
    },
    /// `redis:///1`, `http://`
    #[error("names no host, or one that is malformed")]
    Host,
    /// More than anybody needs to find the others.
    #[error("names more than {} hosts", crate::limits::REDIS_SEEDS_MAX)]
    TooManyHosts,
    /// `redis+sentinel://a:26379`
    #[error("does not say which master the sentinels watch")]
    MasterName,
    /// A cluster has one database.
    #[error("names a database, and a cluster has none but 0")]
    ClusterDatabase,
    /// Nobody listens there.
    #[error("names port 0")]
    PortZero,
    /// For the origin: a password in there would stand in every log of it.
    #[error("carries a user or a password")]
    UserInformation,
    /// `redis://app:12/3@host`: a part of a password may look like a host, and would be dialled and
    /// logged.
    #[error("has an `@` behind its host")]
    AtSignBehindHost,
    /// A user alone logs in nobody.
    #[error("names a user and no password")]
    UserWithoutPassword,
    /// It would be lost.
    #[error("carries a query or a fragment")]
    Trailer,
    /// Not a whole number.
    #[error("names a database that is not a whole number, or two")]
    Database,
    /// A query parameter that means nothing here, or one twice.
    #[error("has other parameters than {0}, each once")]
    Parameter(&'static str),
    /// `unix://tmp/redis.sock`
    #[error("does not have three slashes before the path")]
    SocketPath,
}

fn parsed(text: &str) -> Result<Url, SettingUrlError> {
    if mask::split_scheme(text).is_some() { Ok(Url::parse(text)?) } else { Err(SettingUrlError::NoScheme) }
}

/// Reads a URL that may carry a password: one whose password was not percent-encoded is refused,
/// even where it can be read as a URL.
fn parsed_with_login(text: &str) -> Result<Url, SettingUrlError> {
    let url = parsed(text)?;
    let is_path_of_a_socket = url.scheme() == "unix";
    if !is_path_of_a_socket && url.path().contains('@') {
        Err(SettingUrlError::AtSignBehindHost)
    } else {
        Ok(url)
    }
}

/// The host as one dials it: an IPv6 address without its brackets.
fn host(url: &Url) -> Result<String, SettingUrlError> {
    match url.host() {
        Some(Host::Domain(name)) => match Authority::parse(Scheme::Http, name.as_bytes()) {
            Ok(authority) => Ok(authority.as_str().to_owned()),
            Err(_) => Err(SettingUrlError::Host),
        },
        Some(Host::Ipv4(address)) => Ok(address.to_string()),
        Some(Host::Ipv6(address)) => Ok(address.to_string()),
        None => Err(SettingUrlError::Host),
    }
}

fn port(url: &Url) -> Result<Option<u16>, SettingUrlError> {
    match url.port() {
        Some(0) => Err(SettingUrlError::PortZero),
        port => Ok(port),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
