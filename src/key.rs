//! The cache key: it identifies a resource, or one variant of it.
//!
//! A key is computed from scheme, authority and target, always from all three, so two hosts never
//! share an entry (Pingora's old default key and nginx's `$proxy_host` allow that). Each field
//! enters the hash behind its length, so no crafted path can imitate another request's host and
//! path. The hash is BLAKE3 with 256 bits. The first 128 bits name the value in Redis; the value
//! contains all 256, and every hit compares them, so even a collision of names is a miss.
//!
//! The method is not part of the key: a stored `GET` response also answers a `HEAD` (RFC 9111 §4).
//!
//! ```text
//! whole resource   H( "cw-key-1"  len scheme  len authority  len target )
//! one variant      H( "cw-var-1"  whole (32)  nonce (8)  { len name  len value }* )
//! ```

mod hasher;

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use crate::limits::{AUTHORITY_BYTES_MAX, TARGET_BYTES_MAX};
use hasher::FieldHasher;

pub use hasher::DIGEST_BYTES;

/// Separates keys of this layout from any other use of the hash.
const KEY_DOMAIN: &[u8] = b"cw-key-1";
const VARIANT_DOMAIN: &[u8] = b"cw-var-1";
/// Separates the digests of origins from both.
const ORIGIN_DOMAIN: &[u8] = b"cw-org-1";

/// Bytes of the digest that go into the name, in hexadecimal.
const NAME_DIGEST_BYTES: usize = 16;

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

impl Authority {
    /// Reads a `Host` field or the authority of an absolute-form target.
    pub fn parse(scheme: Scheme, text: &[u8]) -> Result<Self, TargetError> {
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

/// The base URL of the origin, which clients do not see. The origin may use it in its own links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginBase {
    /// The scheme of the connections to the origin.
    pub scheme: Scheme,
    /// The origin's host and port.
    pub authority: Authority,
    /// The base path, put before every path: empty, or beginning with `/` and not ending with it.
    pub path: String,
}

impl OriginBase {
    /// Returns a 64-bit digest that distinguishes this origin from others.
    pub fn digest(&self) -> u64 {
        let mut hash = FieldHasher::new(ORIGIN_DOMAIN);
        hash.field(self.scheme.as_str().as_bytes());
        hash.field(self.authority.as_str().as_bytes());
        hash.field(self.path.as_bytes());
        hash.finish().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
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

/// The key of a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; DIGEST_BYTES]);

impl CacheKey {
    /// Computes the key of a whole resource.
    pub fn of(target: &Target) -> Self {
        let mut hash = FieldHasher::new(KEY_DOMAIN);
        hash.field(target.scheme.as_str().as_bytes());
        hash.field(target.authority.as_str().as_bytes());
        hash.field(target.path_and_query.as_str().as_bytes());
        Self(hash.finish())
    }

    /// Computes the key of one variant of this resource: the variant for which the named request
    /// fields have these values.
    ///
    /// `nonce` belongs to the resource's list of variants: a new list makes every old variant
    /// unreachable.
    pub fn variant<'a>(&self, nonce: u64, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut hash = FieldHasher::new(VARIANT_DOMAIN);
        hash.field(&self.0);
        hash.field(&nonce.to_be_bytes());
        for (name, value) in fields {
            hash.field(name);
            hash.field(value);
        }
        Self(hash.finish())
    }

    /// Rebuilds a key from a stored digest. The key may not exist.
    pub const fn from_digest(digest: [u8; DIGEST_BYTES]) -> Self {
        Self(digest)
    }

    /// Returns all 256 bits, for comparison with the digest in an entry.
    pub const fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// Returns 128 bits as a number, for tables that are sharded by key.
    pub fn short(&self) -> u128 {
        self.0.first_chunk().map_or(0, |head| u128::from_be_bytes(*head))
    }

    /// Returns the 32 hexadecimal digits that name the value in Redis, after the prefix of the
    /// store.
    pub fn hex(&self) -> [u8; 2 * NAME_DIGEST_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * NAME_DIGEST_BYTES];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            if let ([high, low], Some(&h), Some(&l)) =
                (pair, DIGITS.get(usize::from(byte >> 4)), DIGITS.get(usize::from(byte & 15)))
            {
                (*high, *low) = (h, l);
            }
        }
        hex
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scheme: Scheme, uri: &str, host: &str) -> Result<CacheKey, TargetError> {
        let uri: Uri = uri.parse().unwrap();
        Target::parse(scheme, &uri, [host.as_bytes()].into_iter()).map(|target| CacheKey::of(&target))
    }

    #[test]
    fn equivalent_requests_have_the_same_key() {
        let plain = key(Scheme::Http, "/a?b=c", "api.test").unwrap();
        for (uri, host) in [
            ("/a?b=c", "API.test"),
            ("/a?b=c", "api.test:80"),
            ("/a?b=c", "api.test:"),
            ("http://api.test/a?b=c", "api.test"),
            ("http://API.test:80/a?b=c", "api.test"),
        ] {
            assert_eq!(key(Scheme::Http, uri, host).unwrap(), plain, "{uri} {host}");
        }
    }

    #[test]
    fn a_url_has_the_key_of_the_request_for_it() {
        for (url, scheme, uri, host) in [
            ("http://api.test/a?b=c", Scheme::Http, "/a?b=c", "api.test"),
            ("HTTP://API.Test:80/a?b=c#d", Scheme::Http, "/a?b=c", "api.test"),
            ("https://api.test:443", Scheme::Https, "/", "api.test"),
            ("http://api.test?b=c", Scheme::Http, "/?b=c", "api.test"),
            ("http://api.test#d", Scheme::Http, "/", "api.test"),
            ("http://[::1]:8000/%2F/../a//", Scheme::Http, "/%2F/../a//", "[::1]:8000"),
        ] {
            let target = Target::of_url(url).unwrap();
            let requested = Target::parse(scheme, &uri.parse().unwrap(), [host.as_bytes()].into_iter());
            assert_eq!(requested.as_ref(), Ok(&target), "{url}");
            assert_eq!(CacheKey::of(&target), key(scheme, uri, host).unwrap(), "{url}");
            assert_eq!(Target::of_url(&target.to_string()), Ok(target), "{url}");
        }
        for (url, bad) in [
            ("", UrlError::Malformed),
            ("http://a b/", UrlError::Malformed),
            ("/a", UrlError::Scheme),
            ("api.test", UrlError::Scheme),
            ("ftp://api.test/", UrlError::Scheme),
            ("http://user:secret@api.test/", UrlError::Target(TargetError::Authority)),
            ("http://api.test:99999/", UrlError::Target(TargetError::Authority)),
            (&format!("http://a/{}", "x".repeat(TARGET_BYTES_MAX)), UrlError::Target(TargetError::TooLong)),
        ] {
            assert_eq!(Target::of_url(url), Err(bad), "{url}");
        }
    }

    #[test]
    fn the_other_scheme_has_another_default_port() {
        for (one, other) in [
            ("http://a/b", "https://a/b"),
            ("https://a:443/b", "http://a/b"),
            ("http://a:443/b", "https://a/b"),
            ("http://a:8080/b?c", "https://a:8080/b?c"),
        ] {
            assert_eq!(Target::of_url(one).unwrap().by_other_scheme(), Ok(Target::of_url(other).unwrap()));
        }
    }

    #[test]
    fn different_requests_have_different_keys() {
        let requests = [
            (Scheme::Http, "/a?b=c", "api.test"),
            (Scheme::Https, "/a?b=c", "api.test"),
            (Scheme::Http, "/a?b=c", "api.test:8080"),
            (Scheme::Http, "/a?b=c", "api.tes"),
            (Scheme::Http, "/A?b=c", "api.test"),
            (Scheme::Http, "/a?b=C", "api.test"),
            (Scheme::Http, "/a?b=c&", "api.test"),
            (Scheme::Http, "/a%3Fb=c", "api.test"),
            (Scheme::Http, "/a/?b=c", "api.test"),
            (Scheme::Http, "//a?b=c", "api.test"),
            (Scheme::Http, "/./a?b=c", "api.test"),
            (Scheme::Http, "/t/a?b=c", "api.tes"),
            (Scheme::Http, "/a?b=c", "api.test."),
        ];
        for (i, one) in requests.iter().enumerate() {
            for other in requests.iter().skip(i + 1) {
                assert_ne!(key(one.0, one.1, one.2), key(other.0, other.1, other.2), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn malformed_authorities_are_refused() {
        let long = "a".repeat(AUTHORITY_BYTES_MAX + 1);
        for host in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:80:80", "a:65536", "a:123456", "a:+80", "[::1",
            "[::1]x", "[zz]", "a%41", "a,b", "a\u{e9}", &long,
        ] {
            assert_eq!(key(Scheme::Http, "/", host), Err(TargetError::Authority), "{host:?}");
        }
        for host in ["a", "a-b.c_d", "127.0.0.1:8000", "[::1]", "[::1]:8000"] {
            assert!(key(Scheme::Http, "/", host).is_ok(), "{host:?}");
        }
    }

    #[test]
    fn a_request_has_exactly_one_host() {
        let relative: Uri = "/a".parse().unwrap();
        let absolute: Uri = "http://a.test/a".parse().unwrap();
        let parse = |uri: &Uri, hosts: &[&'static str]| {
            Target::parse(Scheme::Http, uri, hosts.iter().map(|host| host.as_bytes())).map(|_| ())
        };
        assert_eq!(parse(&relative, &[]), Err(TargetError::NoHost));
        assert_eq!(parse(&relative, &["a", "a"]), Err(TargetError::SeveralHosts));
        assert_eq!(parse(&absolute, &["b.test"]), Err(TargetError::HostMismatch));
        assert_eq!(parse(&absolute, &[]), Ok(()));
        let long: Uri = format!("/{}", "x".repeat(TARGET_BYTES_MAX)).parse().unwrap();
        assert_eq!(parse(&long, &["a"]), Err(TargetError::TooLong));
    }

    #[test]
    fn different_variants_have_different_keys() {
        let whole = key(Scheme::Http, "/", "a").unwrap();
        let variant = |nonce, fields: &[(&'static str, &'static str)]| {
            whole.variant(nonce, fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
        };
        let some = variant(1, &[("accept", "ab"), ("x", "c")]);
        assert_ne!(some, variant(2, &[("accept", "ab"), ("x", "c")]));
        assert_ne!(some, variant(1, &[("accept", "a"), ("bx", "c")]));
        assert_ne!(some, variant(1, &[("accept", "abx"), ("", "c")]));
        assert_ne!(some, variant(1, &[("accept", "ab")]));
        assert_eq!(some, variant(1, &[("accept", "ab"), ("x", "c")]));
    }

    #[test]
    fn a_key_is_the_hash_of_its_length_prefixed_fields() {
        for length in (0..3 * hasher::GATHERED_BYTES).step_by(7) {
            let path = format!("/{}", "x".repeat(length));
            let mut message = KEY_DOMAIN.to_vec();
            for field in ["http", "a.test", &path] {
                message.extend((field.len() as u64).to_be_bytes());
                message.extend(field.as_bytes());
            }
            let expected = CacheKey(*blake3::hash(&message).as_bytes());
            assert_eq!(key(Scheme::Http, &path, "a.test").unwrap(), expected, "{length}");
        }
    }

    #[test]
    fn names_are_hexadecimal_digests() {
        let key = key(Scheme::Http, "/", "a").unwrap();
        let hex = String::from_utf8(key.hex().to_vec()).unwrap();
        assert_eq!(hex.len(), 32);
        assert_eq!(u128::from_str_radix(&hex, 16).unwrap(), key.short());
    }
}
