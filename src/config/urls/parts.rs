//! The parts of a URL, and the errors in it.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::mask;
use crate::key::{Authority, Scheme};

/// An error in a URL. None of these repeats a part of the URL that could be a misplaced secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingUrlError {
    /// A URL without a scheme: `localhost:8080` would have the scheme `localhost`.
    #[error("does not begin with a scheme and `://`")]
    NoScheme,
    /// A URL that the parser refuses.
    #[error("is not a URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// An unknown scheme.
    #[error("has the scheme {given:?}; expected {known}")]
    Scheme {
        /// The scheme as given.
        given: String,
        /// The accepted schemes.
        known: &'static str,
    },
    /// A missing or malformed host: `redis:///1`, `http://`.
    #[error("has no host, or a malformed one")]
    Host,
    /// More hosts than needed to discover the others.
    #[error("has more than {} hosts", crate::limits::REDIS_SEEDS_MAX)]
    TooManyHosts,
    /// A missing master: `redis+sentinel://a:26379`.
    #[error("does not name the master that the sentinels watch")]
    MasterName,
    /// A database of a Cluster, which has only one.
    #[error("names a database, but a Cluster has only database 0")]
    ClusterDatabase,
    /// Port 0, on which no server listens.
    #[error("names port 0")]
    PortZero,
    /// A user or password in an HTTP URL. Logs would show it.
    #[error("has a user or a password")]
    UserInformation,
    /// An `@` behind the host, `redis://app:12/3@host`: a part of the password looks like a host,
    /// and would be dialled and logged.
    #[error("has an `@` behind the host")]
    AtSignBehindHost,
    /// A user without a password, which cannot log in.
    #[error("has a user but no password")]
    UserWithoutPassword,
    /// A query or fragment, which has no effect.
    #[error("has a query or a fragment")]
    Trailer,
    /// A malformed or second database number.
    #[error("names a database that is not a whole number, or names two")]
    Database,
    /// An unknown or repeated query parameter.
    #[error("may only have the parameters {0}, each once")]
    Parameter(&'static str),
    /// A file of authorities for a URL without TLS.
    #[error("has the scheme http, which uses no --ca-file")]
    AuthoritiesUnused,
    /// A relative socket path: `unix://tmp/redis.sock`.
    #[error("needs three slashes before the path")]
    SocketPath,
}

pub(super) fn parsed(text: &str) -> Result<Url, SettingUrlError> {
    if mask::split_scheme(text).is_some() { Ok(Url::parse(text)?) } else { Err(SettingUrlError::NoScheme) }
}

/// Parses a URL that may carry a password. A password that is not percent-encoded is refused, even
/// if the text is a valid URL.
pub(super) fn parsed_with_login(text: &str) -> Result<Url, SettingUrlError> {
    let url = parsed(text)?;
    let is_path_of_a_socket = url.scheme() == "unix";
    if !is_path_of_a_socket && url.path().contains('@') {
        Err(SettingUrlError::AtSignBehindHost)
    } else {
        Ok(url)
    }
}

/// Returns the host to dial: an IPv6 address has no brackets.
pub(super) fn host(url: &Url) -> Result<String, SettingUrlError> {
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

pub(super) fn port(url: &Url) -> Result<Option<u16>, SettingUrlError> {
    match url.port() {
        Some(0) => Err(SettingUrlError::PortZero),
        port => Ok(port),
    }
}

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
