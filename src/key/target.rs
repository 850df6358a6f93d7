//! The target of a request, canonicalised once.

use std::cell::RefCell;
use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use crate::limits::{AUTHORITIES_REMEMBERED, AUTHORITY_BYTES_MAX, TARGET_BYTES_MAX};

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// Returns `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the other scheme.
    pub const fn other(self) -> Self {
        match self {
            Self::Http => Self::Https,
            Self::Https => Self::Http,
        }
    }

    const fn default_port(self) -> &'static str {
        match self {
            Self::Http => "80",
            Self::Https => "443",
        }
    }
}

/// The authority of a request: a host in lower case, and a port unless it is the scheme's default.
///
/// A value of this type is always well-formed: no user information, no path, no control bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority(Box<str>);

/// A text, and the authority that it states for a scheme.
struct ReadAuthority {
    scheme: Scheme,
    text: Box<[u8]>,
    authority: Authority,
}

/// The authorities that a thread read last, each in the slot of its text.
type ReadAuthorities = [Option<ReadAuthority>; AUTHORITIES_REMEMBERED];

thread_local! {
    static READ: RefCell<ReadAuthorities> = const { RefCell::new([const { None }; AUTHORITIES_REMEMBERED]) };
}

impl Authority {
    /// Reads a `Host` field or the authority of an absolute-form target.
    pub fn parse(scheme: Scheme, text: &[u8]) -> Result<Self, TargetError> {
        // Nearly all requests of a node have one of a few hosts, and a comparison with the last of
        // them costs a tenth of the checks.
        let known = READ.try_with(|read| Self::remembered(&mut read.borrow_mut(), scheme, text));
        known.unwrap_or_else(|_| Self::read(scheme, text))
    }

    fn remembered(read: &mut ReadAuthorities, scheme: Scheme, text: &[u8]) -> Result<Self, TargetError> {
        let ends = [text.first(), text.last()].map(|byte| byte.copied().map_or(0, usize::from));
        let slot = (text.len() + ends.iter().sum::<usize>()) % AUTHORITIES_REMEMBERED;
        let Some(slot) = read.get_mut(slot) else { return Self::read(scheme, text) };
        if let Some(known) = slot
            && known.scheme == scheme
            && *known.text == *text
        {
            return Ok(known.authority.clone());
        }
        let authority = Self::read(scheme, text)?;
        *slot = Some(ReadAuthority { scheme, text: text.into(), authority: authority.clone() });
        Ok(authority)
    }

    fn read(scheme: Scheme, text: &[u8]) -> Result<Self, TargetError> {
        let text = std::str::from_utf8(text).map_err(|_| TargetError::Authority)?;
        if text.is_empty() || text.len() > AUTHORITY_BYTES_MAX {
            return Err(TargetError::Authority);
        }
        let (host, port) = split_port(text).ok_or(TargetError::Authority)?;
        if !is_host(host) || !(port.is_empty() || is_port(port)) {
            return Err(TargetError::Authority);
        }
        // RFC 3986 §6.2.2.1 and §6.2.3: the letter case of the host and an empty or default port
        // carry no meaning.
        let says_port = !port.is_empty() && port != scheme.default_port();
        let mut canonical: Box<str> = if says_port { text.into() } else { host.into() };
        canonical.make_ascii_lowercase();
        Ok(Self(canonical))
    }

    /// Returns `host` or `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Splits an authority into host and port; the host keeps the brackets of an IPv6 literal.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('[') {
        let (inside, after) = text.split_once(']')?;
        let host = text.get(..inside.len() + 1)?;
        return if after.is_empty() { Some((host, "")) } else { Some((host, after.strip_prefix(':')?)) };
    }
    // A host is too short for an optimised search to pay off.
    let end = text.bytes().position(|byte| byte == b':').unwrap_or(text.len());
    let (host, port) = text.split_at_checked(end)?;
    Some((host, port.strip_prefix(':').unwrap_or(port)))
}

/// Returns whether the text is digits within the range of ports.
fn is_port(port: &str) -> bool {
    let digit = |number: u16, byte: u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    port.bytes().try_fold(0, digit).is_some()
}

/// Returns whether the text is a host by RFC 3986 §3.2.2, without percent-encoding and
/// sub-delimiters: no name that resolves uses them, and parsers disagree on them.
fn is_host(host: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    match host.strip_prefix('[') {
        Some(literal) => {
            literal.strip_suffix(']').is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => !host.is_empty() && host.bytes().all(name),
    }
}

/// The effective request URI (RFC 9110 §7.1) of one request, canonicalised once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The scheme of the request.
    pub scheme: Scheme,
    /// The host and port of the request.
    pub authority: Authority,
    /// The path and query, byte for byte as the client sent them.
    pub path_and_query: PathAndQuery,
}

impl Target {
    /// Determines the target of a request over `scheme` from its request line and its `Host`
    /// fields.
    ///
    /// The authority of an absolute-form target overrides `Host` (RFC 9112 §3.2.2), but a request
    /// in which both differ is refused: a disagreement of two parsers about the host lets attackers
    /// poison caches.
    pub fn parse<'a>(
        scheme: Scheme,
        uri: &Uri,
        mut hosts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, TargetError> {
        let host = hosts.next().map(|text| Authority::parse(scheme, text)).transpose()?;
        if hosts.next().is_some() {
            return Err(TargetError::SeveralHosts);
        }
        let absolute =
            uri.authority().map(|text| Authority::parse(scheme, text.as_str().as_bytes())).transpose()?;
        let authority = match (absolute, host) {
            (Some(absolute), Some(host)) if absolute != host => return Err(TargetError::HostMismatch),
            (Some(authority), _) | (None, Some(authority)) => authority,
            (None, None) => return Err(TargetError::NoHost),
        };
        // With a fragment behind it, the `http` crate keeps an empty path empty, displays it as
        // `/`, and treats the two as different.
        let path_and_query = match uri.path_and_query() {
            Some(path_and_query) if path_and_query.as_str() != "/" => path_and_query.clone(),
            Some(_) | None => PathAndQuery::from_static("/"),
        };
        if path_and_query.as_str().len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        Ok(Self { scheme, authority, path_and_query })
    }

    /// Returns the target of an absolute URL: the target of a request for that URL. A fragment is
    /// not part of it.
    pub fn of_url(url: &str) -> Result<Self, UrlError> {
        let uri: Uri = url.parse().map_err(|_| UrlError::Malformed)?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(UrlError::Scheme),
        };
        let mut target = Self::parse(scheme, &uri, std::iter::empty())?;
        // RFC 9112 §3.2.1: an empty path is sent as `/`, also in front of a query.
        let shown = target.path_and_query.as_str();
        if shown.starts_with('?') {
            target.path_and_query =
                PathAndQuery::try_from(format!("/{shown}")).map_err(|_| UrlError::Malformed)?;
        }
        Ok(target)
    }

    /// Returns the same target under the other scheme.
    pub fn by_other_scheme(&self) -> Result<Self, TargetError> {
        let scheme = self.scheme.other();
        // The scheme determines the default port, so the authority is parsed again.
        let authority = Authority::parse(scheme, self.authority.as_str().as_bytes())?;
        Ok(Self { scheme, authority, path_and_query: self.path_and_query.clone() })
    }
}

impl fmt::Display for Target {
    /// Writes the target as a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority.as_str(), self.path_and_query)
    }
}

/// The reason why a text is not a usable URL. The messages never repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The text is not a URL.
    #[error("cannot be parsed as an absolute URL")]
    Malformed,
    /// The URL is relative, or has another scheme.
    #[error("does not begin with http:// or https://")]
    Scheme,
    /// No request can have this URL as its target.
    #[error("cannot be requested: {0}")]
    Target(#[from] TargetError),
}

/// The reason why a request has no valid target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// RFC 9112 §3.2: a request without `Host` gets 400.
    #[error("the request has no host")]
    NoHost,
    /// RFC 9112 §3.2: a request with more than one `Host` gets 400.
    #[error("the request has several Host fields")]
    SeveralHosts,
    /// The absolute-form target and `Host` differ.
    #[error("the request target and the Host field differ")]
    HostMismatch,
    /// The host is not `host[:port]`.
    #[error("the host is malformed")]
    Authority,
    /// RFC 9112 §3.2: the form `host:port` is valid for `CONNECT` only, and `*` for `OPTIONS` only.
    #[error("the request target has a form that is not valid for this method")]
    Form,
    /// The scheme of an absolute-form target, or of an HTTP/2 request, is neither `http` nor
    /// `https`.
    #[error("the scheme of the request target is neither http nor https")]
    Scheme,
    /// RFC 9113 §8.3.1: a path with a byte that no URL has.
    #[error("the path of the request target has bytes that are not ASCII")]
    NotAscii,
    /// The path has dot segments that some servers resolve to a path outside the origin's base
    /// path.
    #[error("the path of the request target leads out of the API")]
    OutsideBase,
    /// The target is longer than [`TARGET_BYTES_MAX`].
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
}
