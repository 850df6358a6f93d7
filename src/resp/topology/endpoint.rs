//! The endpoint of a server, as other servers name it, and the error of a reply that names none.

use std::fmt;

use crate::resp::reply::Reply;

/// A reply about the topology that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// The reply does not have the documented form.
    #[error("the reply does not have the documented form")]
    Form,
    /// The reply names no usable server.
    #[error("the reply names no server")]
    NoServer,
    /// The reply names more servers than the limit.
    #[error("the cluster has more than {} servers", crate::limits::REDIS_NODES_MAX)]
    TooManyServers,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A name or an IP address, IPv6 without brackets. Never empty.
    pub host: String,
    /// Never zero.
    pub port: u16,
}

/// The longest name in DNS.
const HOST_BYTES_MAX: usize = 255;

impl Endpoint {
    /// Parses a host and a port. The host goes to the log and to the resolver, so it must be
    /// printable.
    pub fn new(host: &[u8], port: u64) -> Option<Self> {
        let plain = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.iter().all(u8::is_ascii_graphic);
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        let host = str::from_utf8(host).ok().filter(|_| plain)?;
        Some(Self { host: host.to_owned(), port })
    }

    /// Splits `host:port` at the last colon, since an IPv6 address has several.
    pub(super) fn parse(text: &[u8]) -> Option<(&[u8], u64)> {
        let colon = text.iter().rposition(|byte| *byte == b':')?;
        let (host, port) = (text.get(..colon)?, text.get(colon + 1..)?);
        Some((host, number(port)?))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Parses a number of decimal digits only.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// Returns the text of either kind of string.
pub(super) fn text(reply: &Reply) -> Option<&[u8]> {
    if let Reply::Bulk(text) | Reply::Simple(text) = reply { Some(text) } else { None }
}

/// Returns a number, also from text.
pub(super) fn whole(reply: &Reply) -> Option<u64> {
    if let Reply::Integer(number) = reply { u64::try_from(*number).ok() } else { number(text(reply)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (host, port, shown) in [
            ("10.0.0.1", 6379, Some("10.0.0.1:6379")),
            ("a.example", 65535, Some("a.example:65535")),
            ("fd00::1", 1, Some("[fd00::1]:1")),
            ("", 6379, None),
            ("a b", 6379, None),
            ("a\n", 6379, None),
            ("ü", 6379, None),
            ("a", 0, None),
            ("a", 65536, None),
        ] {
            let endpoint = Endpoint::new(host.as_bytes(), port).map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), shown, "{host:?} {port}");
        }
        assert_eq!(Endpoint::new(&[b'a'; 256], 1), None);
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(b"0012"), Some(12));
        for text in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"18446744073709551616"] {
            assert_eq!(number(text), None);
        }
    }
}
