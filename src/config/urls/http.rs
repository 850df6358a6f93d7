//! HTTP URLs: of the origin, and of a running CacheWarp.

use std::path::PathBuf;

use url::Url;

use super::parts::{SettingUrlError, decoded, parsed, parsed_with_login, port};
use crate::config::reporting::error::ConfigError;
use crate::key::{Authority, Scheme};
use crate::probe;
use crate::telemetry::trace::TraceEndpoint;
use crate::tls;

/// The parts of the origin's URL.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct OriginUrl {
    pub(in crate::config) scheme: Scheme,
    pub(in crate::config) authority: Authority,
    pub(in crate::config) base_path: String,
    /// The path of a unix socket.
    pub(in crate::config) socket: Option<PathBuf>,
}

/// Reads the origin's URL: `http://` or `https://`, a host, and optionally a port and a base path;
/// or `unix://` and the path of a socket.
pub(in crate::config) fn origin(text: &str) -> Result<OriginUrl, ConfigError> {
    let url = parsed_with_login(text)?;
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "unix" => return socket(&url),
        other => {
            let (given, known) = (other.to_owned(), "http, https, unix");
            return Err(SettingUrlError::Scheme { given, known }.into());
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingUrlError::UserInformation.into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingUrlError::Trailer.into());
    }
    let host = url.host_str().ok_or(SettingUrlError::Host)?;
    let authority = match port(&url)? {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let authority = Authority::parse(scheme, authority.as_bytes()).map_err(|_| SettingUrlError::Host)?;
    Ok(OriginUrl { scheme, authority, base_path: url.path().trim_end_matches('/').to_owned(), socket: None })
}

/// Reads `unix:///path`. The origin gets `Host: localhost`, as it does from other clients of its
/// socket.
fn socket(url: &Url) -> Result<OriginUrl, ConfigError> {
    if url.host().is_some() || matches!(url.path(), "" | "/") {
        return Err(SettingUrlError::SocketPath.into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingUrlError::Trailer.into());
    }
    let authority = Authority::parse(Scheme::Http, b"localhost").map_err(|_| SettingUrlError::Host)?;
    let socket = Some(PathBuf::from(decoded(url.path())));
    Ok(OriginUrl { scheme: Scheme::Http, authority, base_path: String::new(), socket })
}

/// Reads the URL of `cachewarp health --url`.
pub(in crate::config) fn health(
    text: &str,
    ca_file: Option<&str>,
) -> Result<probe::ProbeTarget, SettingUrlError> {
    let url = parsed(text)?;
    probed(&url, url.path().to_owned(), ca_file)
}

/// Reads the URL of `cachewarp explain`. A fragment is not sent.
pub(in crate::config) fn explain(
    text: &str,
    ca_file: Option<&str>,
) -> Result<probe::ProbeTarget, SettingUrlError> {
    let url = parsed(text)?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("{}{query}", url.path());
    probed(&url, path, ca_file)
}

/// Returns the target of a command, with the authorities that it trusts: those of the file, or the
/// system's.
fn probed(url: &Url, path: String, ca_file: Option<&str>) -> Result<probe::ProbeTarget, SettingUrlError> {
    let options = tls::Options { ca_file: ca_file.map(PathBuf::from), identity: None };
    let (port, tls) = match (url.scheme(), ca_file) {
        ("http", None) => (80, None),
        ("http", Some(_)) => return Err(SettingUrlError::AuthoritiesUnused),
        ("https", _) => (443, Some(options)),
        (other, _) => {
            return Err(SettingUrlError::Scheme { given: other.to_owned(), known: "http, https" });
        }
    };
    Ok(probe::ProbeTarget { authority: authority(url, port)?, socket: None, path, tls })
}

/// Reads the URL of a collector, or `off`.
pub(in crate::config) fn collector(text: &str) -> Result<Option<TraceEndpoint>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    let url = parsed_with_login(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(SettingUrlError::Trailer.into());
    }
    let path = if url.path() == "/" { "/v1/traces" } else { url.path() };
    Ok(Some(TraceEndpoint { authority: listener(&url)?, path: path.to_owned() }))
}

/// Returns the address of a server for plain HTTP: `host:port`.
fn listener(url: &Url) -> Result<String, SettingUrlError> {
    if url.scheme() != "http" {
        return Err(SettingUrlError::Scheme { given: url.scheme().to_owned(), known: "http" });
    }
    authority(url, 80)
}

/// Returns `host:port`, with this port if the URL has none.
fn authority(url: &Url, default_port: u16) -> Result<String, SettingUrlError> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingUrlError::UserInformation);
    }
    let host = url.host_str().ok_or(SettingUrlError::Host)?;
    Ok(format!("{host}:{}", port(url)?.unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_urls() {
        for (text, scheme, authority, base_path) in [
            ("http://localhost:8080", Scheme::Http, "localhost:8080", ""),
            ("http://LocalHost:80/", Scheme::Http, "localhost", ""),
            ("https://api.example:443/v1/", Scheme::Https, "api.example", "/v1"),
            ("https://api.example:8443/v1/accounts", Scheme::Https, "api.example:8443", "/v1/accounts"),
            ("http://[::1]:9000", Scheme::Http, "[::1]:9000", ""),
            ("http://bücher.example", Scheme::Http, "xn--bcher-kva.example", ""),
        ] {
            let OriginUrl { scheme: read_scheme, authority: read, base_path: path, socket: None } =
                origin(text).unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!((read_scheme, read.as_str(), path.as_str()), (scheme, authority, base_path), "{text}");
        }
    }

    #[test]
    fn the_origin_may_be_at_a_unix_socket() {
        let url = origin("unix:///run/the%20api.sock").unwrap();
        assert_eq!(url.socket.as_deref(), Some("/run/the api.sock".as_ref()));
        assert_eq!((url.authority.as_str(), url.base_path.as_str()), ("localhost", ""));
    }

    #[test]
    fn refused_origin_urls() {
        let scheme =
            |given: &str| SettingUrlError::Scheme { given: given.to_owned(), known: "http, https, unix" };
        for (text, error) in [
            ("", SettingUrlError::NoScheme),
            ("/api", SettingUrlError::NoScheme),
            ("localhost:8080", SettingUrlError::NoScheme),
            ("ftp://a", scheme("ftp")),
            ("unix:///", SettingUrlError::SocketPath),
            ("unix://run/api.sock", SettingUrlError::SocketPath),
            ("unix:/run/api.sock", SettingUrlError::NoScheme),
            ("unix:///run/api.sock?x=1", SettingUrlError::Trailer),
            ("http://", SettingUrlError::Malformed(url::ParseError::EmptyHost)),
            ("http://a b", SettingUrlError::Malformed(url::ParseError::IdnaError)),
            ("http://a:0", SettingUrlError::PortZero),
            ("http://a:99999", SettingUrlError::Malformed(url::ParseError::InvalidPort)),
            ("http://user:pw@a", SettingUrlError::UserInformation),
            ("http://user@a", SettingUrlError::UserInformation),
            ("http://user:12/pw@a", SettingUrlError::AtSignBehindHost),
            ("http://user:12\\pw@a", SettingUrlError::AtSignBehindHost),
            ("a:b://c", SettingUrlError::NoScheme),
            ("http://a/?x=1", SettingUrlError::Trailer),
            ("http://a/#top", SettingUrlError::Trailer),
        ] {
            assert_eq!(origin(text), Err(ConfigError::Url(error)), "{text}");
        }
    }

    #[test]
    fn health_urls() {
        let target = health("http://127.0.0.1/health", None).unwrap();
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1:80", "/health"));
        assert_eq!(
            (health("http://[::1]:8001", None).unwrap().authority.as_str(), target.tls),
            ("[::1]:8001", None)
        );
        for text in ["ftp://a", "a", "http://u:p@a", "https://u:p@a", "http://a:0", "https://a:0"] {
            assert!(health(text, None).is_err() && explain(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn an_https_url_has_the_authorities_of_the_file_or_of_the_system() {
        for (url, file, authority) in
            [("https://a/b", None, "a:443"), ("https://[::1]:8443/b", Some("/ca.pem"), "[::1]:8443")]
        {
            for target in [health(url, file).unwrap(), explain(url, file).unwrap()] {
                assert_eq!((target.authority.as_str(), target.path.as_str()), (authority, "/b"));
                assert_eq!(target.tls.map(|tls| tls.ca_file), Some(file.map(PathBuf::from)));
            }
        }
        assert_eq!(health("http://a", Some("/ca.pem")), Err(SettingUrlError::AuthoritiesUnused));
    }

    #[test]
    fn collector_urls() {
        for (text, authority, path) in [
            ("http://localhost:4318", "localhost:4318", "/v1/traces"),
            ("http://[::1]:4318/", "[::1]:4318", "/v1/traces"),
            ("http://otel/custom", "otel:80", "/custom"),
        ] {
            let endpoint = collector(text).unwrap().unwrap();
            assert_eq!((endpoint.authority.as_str(), endpoint.path.as_str()), (authority, path));
        }
        assert_eq!(collector("off"), Ok(None));
        for text in
            ["", "localhost:4318", "https://otel:4318", "http://a:b@otel", "http://otel/?a", "http://a:0"]
        {
            assert!(collector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn explain_urls() {
        for (text, path) in [("http://a", "/"), ("http://a/b?c=d%20e#f", "/b?c=d%20e"), ("http://a?", "/?")] {
            let target = explain(text, None).unwrap();
            assert_eq!((target.authority.as_str(), target.path.as_str()), ("a:80", path));
        }
    }
}
