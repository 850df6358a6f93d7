//! The cache key: what makes two requests the same request.
//!
//! A key is made from scheme, authority and target, and nothing else makes one, so no two hosts can
//! ever share an entry (Pingora's old default key and nginx's `$proxy_host` both let them). Each
//! field goes into the hash behind its length: an encoding in which no crafted path can pretend to
//! be another's host and path. The hash is BLAKE3, 256 bits. The first 128 name the value in Redis;
//! all 256 stand in the value and are compared on every hit, so that even a collision of names is a
//! miss.
//!
//! The method is not part of it: a `HEAD` is answered from what a `GET` stored (RFC 9111 §4).
//!
//! ```text
//! whole resource   H( "cw-key-1"  len scheme  len authority  len target )
//! one variant      H( "cw-var-1"  whole (32)  nonce (8)  { len name  len value }* )
//! ```

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

use crate::limits::{AUTHORITY_BYTES_MAX, TARGET_BYTES_MAX};

/// Separates keys of this layout from any other use of the hash.
const KEY_DOMAIN: &[u8] = b"cw-key-1";
const VARIANT_DOMAIN: &[u8] = b"cw-var-1";
/// Separates the digests of origins from both.
const ORIGIN_DOMAIN: &[u8] = b"cw-org-1";

/// Bytes of a key's digest.
pub const DIGEST_BYTES: usize = 32;
/// Bytes of the digest that go into the name, in hexadecimal.
const NAME_DIGEST_BYTES: usize = 16;

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The one that is not this.
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

/// Whom a request is addressed to: a host in lower case, and a port unless it is the scheme's own.
///
/// Holding one is proof that it is well-formed: no user information, no path, no control bytes.
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
        // RFC 3986 §6.2.2.1 and §6.2.3: case of the host and an empty or default port carry no
        // meaning.
        let says_port = !port.is_empty() && port != scheme.default_port();
        let mut canonical: Box<str> = if says_port { text.into() } else { host.into() };
        canonical.make_ascii_lowercase();
        Ok(Self(canonical))
    }

    /// `host` or `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Host and port text; the brackets of an IPv6 literal stay with the host.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('[') {
        let (inside, after) = text.split_once(']')?;
        let host = text.get(..inside.len() + 1)?;
        return if after.is_empty() { Some((host, "")) } else { Some((host, after.strip_prefix(':')?)) };
    }
    // Byte by byte: a host is too short for a search to pay.
    let end = text.bytes().position(|byte| byte == b':').unwrap_or(text.len());
    let (host, port) = text.split_at_checked(end)?;
    Some((host, port.strip_prefix(':').unwrap_or(port)))
}

/// Digits, and within the range of ports.
fn is_port(port: &str) -> bool {
    let digit = |number: u16, byte: u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    port.bytes().try_fold(0, digit).is_some()
}

/// RFC 3986 §3.2.2, less percent-encoding and sub-delimiters: no name that resolves uses them, and
/// parsers differ on them.
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
    /// How the client reached us.
    pub scheme: Scheme,
    /// Whom it asked for.
    pub authority: Authority,
    /// Path and query, byte for byte as the client sent them.
    pub path_and_query: PathAndQuery,
}

impl Target {
    /// Finds the target of a request that came over `scheme`, from its request line and its `Host`
    /// fields.
    ///
    /// An absolute-form target's authority takes the place of `Host` (RFC 9112 §3.2.2), but a
    /// `Host` that says otherwise is refused: two parsers that disagree about the host is how
    /// caches are poisoned.
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
        // In front of a fragment `http` keeps an empty path empty, shows it as `/`, and holds the
        // two to be different.
        let path_and_query = match uri.path_and_query() {
            Some(path_and_query) if path_and_query.as_str() != "/" => path_and_query.clone(),
            Some(_) | None => PathAndQuery::from_static("/"),
        };
        if path_and_query.as_str().len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        Ok(Self { scheme, authority, path_and_query })
    }

    /// The target of an absolute URL: the one that a client has which asks for that URL. A fragment
    /// is no part of it.
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

    /// The same, asked for by the other scheme.
    pub fn by_other_scheme(&self) -> Result<Self, TargetError> {
        let scheme = self.scheme.other();
        // The scheme decides which port is the default one, so the authority is read again.
        let authority = Authority::parse(scheme, self.authority.as_str().as_bytes())?;
        Ok(Self { scheme, authority, path_and_query: self.path_and_query.clone() })
    }
}

impl fmt::Display for Target {
    /// As a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority.as_str(), self.path_and_query)
    }
}

/// Why text names no target. None of these repeats any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("cannot be read as an absolute URL")]
    Malformed,
    /// Relative, or of another scheme.
    #[error("does not begin with http:// or https://")]
    Scheme,
    /// No request could ask for it.
    #[error("cannot be asked for: {0}")]
    Target(#[from] TargetError),
}

/// Where the origin's own URLs begin, which clients do not see: how it names itself where it does
/// not know better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginBase {
    /// How it is reached.
    pub scheme: Scheme,
    /// What it is called.
    pub authority: Authority,
    /// Put before every path; empty, or begins with `/` and does not end with one.
    pub path: String,
}

impl OriginBase {
    /// Returns 64 bits that tell this origin from others.
    pub fn digest(&self) -> u64 {
        let mut hash = FieldHasher::new(ORIGIN_DOMAIN);
        hash.field(self.scheme.as_str().as_bytes());
        hash.field(self.authority.as_str().as_bytes());
        hash.field(self.path.as_bytes());
        hash.finish().digest().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}

/// Why a request has no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// RFC 9112 §3.2: a request without `Host` gets 400.
    #[error("the request names no host")]
    NoHost,
    /// RFC 9112 §3.2: a request with more than one `Host` gets 400.
    #[error("the request has several Host fields")]
    SeveralHosts,
    /// The absolute-form target and `Host` differ.
    #[error("the request target and the Host field differ")]
    HostMismatch,
    /// Not `host[:port]`.
    #[error("the host is malformed")]
    Authority,
    /// RFC 9112 §3.2: `host:port` is for `CONNECT` alone, and `*` for `OPTIONS`.
    #[error("the request target is of a form that is not for this method")]
    Form,
    /// With dot segments that some servers resolve to a path beside the origin's base path.
    #[error("the path of the request target leads out of the API")]
    OutsideBase,
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
}

/// The key of a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; DIGEST_BYTES]);

impl CacheKey {
    /// The key of a whole resource.
    pub fn of(target: &Target) -> Self {
        let mut hash = FieldHasher::new(KEY_DOMAIN);
        hash.field(target.scheme.as_str().as_bytes());
        hash.field(target.authority.as_str().as_bytes());
        hash.field(target.path_and_query.as_str().as_bytes());
        hash.finish()
    }

    /// The key of one variant of this resource: the one for which the named request fields have
    /// these values.
    ///
    /// `nonce` is that of the resource's list of variants: with a new list, every old variant is
    /// out of reach.
    pub fn variant<'a>(&self, nonce: u64, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut hash = FieldHasher::new(VARIANT_DOMAIN);
        hash.field(&self.0);
        hash.field(&nonce.to_be_bytes());
        for (name, value) in fields {
            hash.field(name);
            hash.field(value);
        }
        hash.finish()
    }

    /// The key with this digest, for one that was written down: whether there is anything that has
    /// it is not known.
    pub const fn from_digest(digest: [u8; DIGEST_BYTES]) -> Self {
        Self(digest)
    }

    /// All 256 bits, for comparing with what an entry says of itself.
    pub const fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// 128 bits as a number, for tables that are sharded by key.
    pub fn short(&self) -> u128 {
        self.0.first_chunk().map_or(0, |head| u128::from_be_bytes(*head))
    }

    /// The 32 hexadecimal digits that name the value in a store, behind the store's own prefix.
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

/// Bytes that most keys are made of, and nearly all that are longer are not much so.
const GATHERED_BYTES: usize = 256;

/// A hash over length-prefixed fields.
///
/// They are gathered and hashed at one go: a hasher that takes them piece by piece is two kilobytes
/// of state, moved and kept for messages of a hundred bytes. It is there for those that are longer.
struct FieldHasher {
    gathered: [u8; GATHERED_BYTES],
    /// How much of it is filled.
    filled: usize,
    /// Everything that did not fit; boxed, because it is large and rare.
    hasher: Option<Box<blake3::Hasher>>,
}

impl FieldHasher {
    fn new(domain: &[u8]) -> Self {
        let mut fields = Self { gathered: [0; GATHERED_BYTES], filled: 0, hasher: None };
        fields.add(domain);
        fields
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_be_bytes();
        let end = self.filled + length.len() + bytes.len();
        if let Some((head, rest)) =
            self.gathered.get_mut(self.filled..end).and_then(<[u8]>::split_first_chunk_mut)
        {
            *head = length;
            rest.copy_from_slice(bytes);
            self.filled = end;
        } else {
            self.add(&length);
            self.add(bytes);
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        if let Some(room) = self.gathered.get_mut(self.filled..self.filled + bytes.len()) {
            room.copy_from_slice(bytes);
            self.filled += bytes.len();
            return;
        }
        let mut hasher = self.hasher.take().unwrap_or_default();
        hasher.update(self.gathered());
        hasher.update(bytes);
        self.hasher = Some(hasher);
        self.filled = 0;
    }

    fn gathered(&self) -> &[u8] {
        self.gathered.get(..self.filled).unwrap_or_default()
    }

    fn finish(&mut self) -> CacheKey {
        let digest = match self.hasher.take() {
            None => blake3::hash(self.gathered()),
            Some(mut hasher) => hasher.update(self.gathered()).finalize(),
        };
        CacheKey(*digest.as_bytes())
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
    fn same_request_same_key() {
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
            let asked = Target::parse(scheme, &uri.parse().unwrap(), [host.as_bytes()].into_iter());
            assert_eq!(asked.as_ref(), Ok(&target), "{url}");
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
    fn every_difference_is_another_key() {
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
    fn one_host_and_only_one() {
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
    fn variants_do_not_run_together() {
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
    fn a_key_is_the_hash_of_its_fields_one_behind_the_other() {
        for length in (0..3 * GATHERED_BYTES).step_by(7) {
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
