//! The header of the PROXY protocol (versions 1 and 2), by which a proxy in front states the client
//! of a connection.
//!
//! The receiver may read no byte beyond the header, because TLS or HTTP follows. So it reads the
//! [`FIRST_BYTES`], which every header has; [`version`] then shows how much belongs to the header:
//! a line, or the length that version 2 states. The parser refuses all values that the
//! specification does not assign. A header without an address that this listener can use
//! (`UNKNOWN`, `LOCAL`, datagrams, unix sockets) leaves the peer's own address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that a receiver may read before it knows the version: the shortest header has 15.
pub const FIRST_BYTES: usize = 12;

/// Bytes of a header of version 1 with its line end.
pub const LINE_BYTES_MAX: usize = 107;

/// Bytes of a header of version 2 behind the signature: version, family and length.
pub const BINARY_HEAD_BYTES: usize = 4;

/// The beginning of a header of version 2.
const SIGNATURE: &[u8; FIRST_BYTES] = b"\r\n\r\n\0\r\nQUIT\n";

/// The beginning of a header of version 1.
const LINE_BEGINNING: &[u8] = b"PROXY ";

/// The version of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    Line,
    /// Binary, with a length.
    Binary,
}

/// A connection that does not begin with a header of the PROXY protocol, or with a malformed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The connection begins with other bytes.
    #[error("the connection begins without a PROXY header")]
    Missing,
    /// The line does not follow the grammar, or has no end.
    #[error("the line of the PROXY header is malformed")]
    Line,
    /// The binary header has a version, command or family that no specification assigns.
    #[error("the PROXY header has an unknown version, command or family")]
    Unassigned,
    /// The stated length is shorter than the addresses, or longer than the limit.
    #[error("the length of the PROXY header is wrong")]
    Length,
}

/// Returns the version that the first bytes show.
pub fn version(first: &[u8; FIRST_BYTES]) -> Result<ProxyVersion, ProxyHeaderError> {
    if first == SIGNATURE {
        Ok(ProxyVersion::Binary)
    } else if first.starts_with(LINE_BEGINNING) {
        Ok(ProxyVersion::Line)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

/// Reads a whole line of version 1, with its line end. Returns the client; `None` keeps the peer.
pub fn parse_line(line: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let malformed = ProxyHeaderError::Line;
    if line.len() > LINE_BYTES_MAX {
        return Err(malformed);
    }
    let text = line.strip_prefix(LINE_BEGINNING).and_then(|rest| rest.strip_suffix(b"\r\n"));
    let text = std::str::from_utf8(text.ok_or(malformed)?).map_err(|_| malformed)?;
    let mut words = text.split(' ');
    let family = words.next().ok_or(malformed)?;
    if family == "UNKNOWN" {
        // The receiver ignores everything behind the word.
        return Ok(None);
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let (Some(source), Some(_)) = (address(source), address(destination)) else { return Err(malformed) };
    let (Some(port), Some(_)) = (port(source_port), port(destination_port)) else { return Err(malformed) };
    Ok(Some(SocketAddr::new(source.to_canonical(), port)))
}

/// Returns a port: digits without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// The command and the family of a header of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryHead {
    family: AddressFamily,
    /// Bytes of the addresses and the extensions that follow.
    pub length: usize,
}

/// The addresses of a header of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressFamily {
    /// None that this listener uses, of at least this many bytes.
    Ignored(usize),
    Ipv4,
    Ipv6,
}

/// Bytes of two IPv4 addresses with ports, of two IPv6 addresses with ports, and of two paths.
const IPV4_BYTES: usize = 12;
const IPV6_BYTES: usize = 36;
const UNIX_BYTES: usize = 216;

/// Reads the four bytes behind the signature of version 2.
pub fn parse_binary_head(
    [version_and_command, family, high, low]: [u8; BINARY_HEAD_BYTES],
    bytes_max: usize,
) -> Result<BinaryHead, ProxyHeaderError> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    let stated = match family {
        0x00 => AddressFamily::Ignored(0),
        0x11 => AddressFamily::Ipv4,
        0x21 => AddressFamily::Ipv6,
        // Datagrams, and unix sockets.
        0x12 => AddressFamily::Ignored(IPV4_BYTES),
        0x22 => AddressFamily::Ignored(IPV6_BYTES),
        0x31 | 0x32 => AddressFamily::Ignored(UNIX_BYTES),
        _ => return Err(ProxyHeaderError::Unassigned),
    };
    let family = match version_and_command {
        // The proxy connects for itself, and the receiver ignores the addresses.
        0x20 => AddressFamily::Ignored(0),
        0x21 => stated,
        _ => return Err(ProxyHeaderError::Unassigned),
    };
    let least = match family {
        AddressFamily::Ignored(least) => least,
        AddressFamily::Ipv4 => IPV4_BYTES,
        AddressFamily::Ipv6 => IPV6_BYTES,
    };
    if (least..=bytes_max).contains(&length) {
        Ok(BinaryHead { family, length })
    } else {
        Err(ProxyHeaderError::Length)
    }
}

/// Reads the addresses of version 2 and ignores the extensions behind them. Returns the client;
/// `None` keeps the peer.
pub fn parse_addresses(head: BinaryHead, bytes: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    if bytes.len() != head.length {
        return Err(ProxyHeaderError::Length);
    }
    let (address, ports): (IpAddr, &[u8]) = match head.family {
        AddressFamily::Ignored(_) => return Ok(None),
        AddressFamily::Ipv4 => {
            let (address, rest) = bytes.split_first_chunk::<4>().ok_or(ProxyHeaderError::Length)?;
            (Ipv4Addr::from(*address).into(), rest.get(4..).unwrap_or_default())
        }
        AddressFamily::Ipv6 => {
            let (address, rest) = bytes.split_first_chunk::<16>().ok_or(ProxyHeaderError::Length)?;
            (Ipv6Addr::from(*address).into(), rest.get(16..).unwrap_or_default())
        }
    };
    let port = ports.first_chunk::<2>().ok_or(ProxyHeaderError::Length)?;
    Ok(Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(*port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Option<SocketAddr>, ProxyHeaderError> {
        parse_line(format!("PROXY {text}\r\n").as_bytes())
    }

    #[test]
    fn a_line_names_the_client() {
        for (text, client) in [
            ("TCP4 192.0.2.1 198.51.100.1 56324 443", Some("192.0.2.1:56324")),
            ("TCP4 192.0.2.1 198.51.100.1 0 65535", Some("192.0.2.1:0")),
            ("TCP6 2001:db8::1 2001:db8::2 1 2", Some("[2001:db8::1]:1")),
            ("TCP6 ::ffff:192.0.2.1 ::1 1 2", Some("192.0.2.1:1")),
            ("UNKNOWN", None),
            ("UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", None),
        ] {
            assert_eq!(line(text), Ok(client.map(|client| client.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn a_malformed_line_is_refused() {
        for text in [
            "",
            "TCP4",
            "tcp4 192.0.2.1 198.51.100.1 1 2",
            "UDP4 192.0.2.1 198.51.100.1 1 2",
            "TCP4 192.0.2.1 198.51.100.1 1",
            "TCP4 192.0.2.1 198.51.100.1 1 2 3",
            "TCP4  192.0.2.1 198.51.100.1 1 2",
            "TCP4 192.0.2.1 198.51.100.1 1 2 ",
            "TCP4 2001:db8::1 2001:db8::2 1 2",
            "TCP6 192.0.2.1 198.51.100.1 1 2",
            "TCP4 192.0.2.01 198.51.100.1 1 2",
            "TCP4 192.0.2.1 198.51.100.1 01 2",
            "TCP4 192.0.2.1 198.51.100.1 +1 2",
            "TCP4 192.0.2.1 198.51.100.1 65536 2",
            "TCP4 192.0.2.1 198.51.100.1 1 65536",
            "TCP4 192.0.2.1 no 1 2",
        ] {
            assert_eq!(line(text), Err(ProxyHeaderError::Line), "{text:?}");
        }
        for whole in [&b"PROXY UNKNOWN\n"[..], b"PROXY UNKNOWN\r", b"PROXY \xff\r\n", b"proxy UNKNOWN\r\n"] {
            assert_eq!(parse_line(whole), Err(ProxyHeaderError::Line), "{whole:?}");
        }
        let longest = "x".repeat(LINE_BYTES_MAX - "PROXY UNKNOWN \r\n".len());
        assert_eq!(line(&format!("UNKNOWN {longest}")), Ok(None));
        assert_eq!(line(&format!("UNKNOWN {longest}x")), Err(ProxyHeaderError::Line));
    }

    #[test]
    fn the_first_bytes_show_the_version() {
        assert_eq!(version(SIGNATURE), Ok(ProxyVersion::Binary));
        assert_eq!(version(b"PROXY UNKNOW"), Ok(ProxyVersion::Line));
        for other in [b"GET / HTTP/1", b"PROXYUNKNOWN", b"\r\n\r\n\0\r\nQUIT\r", b"PRI * HTTP/2"] {
            assert_eq!(version(other), Err(ProxyHeaderError::Missing));
        }
    }

    const MAX: usize = 1024;

    fn binary(command: u8, family: u8, bytes: &[u8]) -> Result<Option<SocketAddr>, ProxyHeaderError> {
        let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        parse_addresses(parse_binary_head([command, family, high, low], MAX)?, bytes)
    }

    #[test]
    fn a_binary_header_names_the_client() {
        let ipv4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
        let mut ipv6 = [0; IPV6_BYTES];
        ipv6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        ipv6[15] = 1;
        ipv6[33] = 7;
        assert_eq!(binary(0x21, 0x11, &ipv4), Ok(Some("192.0.2.1:56324".parse().unwrap())));
        assert_eq!(binary(0x21, 0x21, &ipv6), Ok(Some("[2001:db8::1]:7".parse().unwrap())));
        let mut mapped = [0; IPV6_BYTES];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        assert_eq!(binary(0x21, 0x21, &mapped), Ok(Some("192.0.2.1:0".parse().unwrap())));
        // Extensions follow the addresses.
        let extended = [&ipv4[..], &[0x04, 0x00, 0x01, 0xff, 0x20]].concat();
        assert_eq!(binary(0x21, 0x11, &extended), Ok(Some("192.0.2.1:56324".parse().unwrap())));
        for (command, family, bytes) in [
            (0x20, 0x00, &[][..]),
            (0x20, 0x11, &ipv4),
            (0x20, 0x11, &[]),
            (0x21, 0x00, &[]),
            (0x21, 0x00, &[1, 2, 3]),
            (0x21, 0x12, &ipv4),
            (0x21, 0x22, &ipv6),
            (0x21, 0x31, &[0; UNIX_BYTES]),
            (0x21, 0x32, &[0; UNIX_BYTES]),
        ] {
            assert_eq!(binary(command, family, bytes), Ok(None), "{command:x} {family:x}");
        }
    }

    #[test]
    fn a_binary_header_with_unassigned_values_or_a_wrong_length_is_refused() {
        for (command, family) in
            [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x2f, 0x11), (0x21, 0x41), (0x21, 0x13), (0x20, 0xff)]
        {
            assert_eq!(binary(command, family, &[0; 300]), Err(ProxyHeaderError::Unassigned));
        }
        for (family, least) in [
            (0x11, IPV4_BYTES),
            (0x12, IPV4_BYTES),
            (0x21, IPV6_BYTES),
            (0x22, IPV6_BYTES),
            (0x31, UNIX_BYTES),
        ] {
            assert_eq!(binary(0x21, family, &vec![0; least - 1]), Err(ProxyHeaderError::Length));
            assert!(binary(0x21, family, &vec![0; least]).is_ok());
        }
        assert!(binary(0x21, 0x11, &[0; MAX]).is_ok());
        assert_eq!(binary(0x21, 0x11, &[0; MAX + 1]), Err(ProxyHeaderError::Length));
        let head = parse_binary_head([0x21, 0x11, 0, 12], MAX).unwrap();
        assert_eq!(parse_addresses(head, &[0; 11]), Err(ProxyHeaderError::Length));
    }
}
