//! The bytes of a request line that hyper refuses and other servers accept, and their replacements.
//!
//! - `"`, `<`, `>` and a backtick in the target. RFC 3986 has no such byte in a URL, and nginx,
//!   HAProxy and Varnish forward it. The replacement is its percent-encoding, which every origin
//!   decodes to the byte, so both spellings have one cache key.
//! - The minor version of HTTP/1.2 and later. A server handles such a request as the highest minor
//!   version that it knows (RFC 9110 §2.5), which is 1.

use memchr::{memchr, memchr3};

/// A byte that hyper must not see, and the text that replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRepair {
    /// The position of the byte in the piece.
    pub at: usize,
    /// The replacement.
    pub text: &'static [u8],
}

/// The bytes before the minor version.
const VERSION: &[u8] = b" HTTP/1.";
/// The bytes that are compared at once.
const LANES: usize = 16;

/// Returns whether a whole request line, without its LF, needs neither a repair nor a refusal.
/// Almost every line is such a line. A line for which this is false may be one too.
pub(super) fn is_ordinary(line: &[u8]) -> bool {
    let (chunks, rest) = line.as_chunks();
    line.ends_with(b" HTTP/1.1\r") && chunks.iter().all(are_ordinary) && {
        // The last bytes of a line that has more are compared again with those in front of them.
        let mut last = [0; LANES];
        match line.last_chunk() {
            Some(last) => rest.is_empty() || are_ordinary(last),
            None => {
                last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                are_ordinary(&last)
            }
        }
    }
}

/// Returns whether none of these bytes is a `#` or needs a repair. The loop has a fixed length and
/// no branch, so the compiler makes vectors of it.
fn are_ordinary(bytes: &[u8; LANES]) -> bool {
    bytes.iter().fold(true, |all, &byte| {
        all & !((byte == b'#') | (byte == b'"') | (byte == b'<') | (byte == b'>') | (byte == b'`'))
    })
}

/// The state of one request line, which may arrive in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestLineReader {
    /// Whether the space behind the method has arrived.
    has_method: bool,
    /// Number of bytes of [`VERSION`] that the line ends with so far.
    version: usize,
}

impl RequestLineReader {
    /// Reads a piece of the line up to the first byte that needs a repair, and returns its position
    /// and its replacement.
    pub(super) fn find_repair(&mut self, piece: &[u8]) -> Option<(usize, &'static [u8])> {
        let from = if self.has_method { 0 } else { memchr(b' ', piece).unwrap_or(piece.len()) };
        let target = piece.get(from..).unwrap_or_default();
        let odd = [memchr3(b'"', b'<', b'>', target), memchr(b'`', target)].into_iter().flatten().min();
        let odd = odd.and_then(|at| Some((from + at, escape(*target.get(at)?)?)));
        let end = odd.map_or(piece.len(), |(at, _)| at);
        let version = self.find_version(piece.get(..end).unwrap_or_default());
        self.has_method |= !target.is_empty();
        if let Some(at) = version {
            self.version = 0;
            return Some((at, b"1"));
        }
        if odd.is_some() {
            self.version = 0;
        }
        odd
    }

    /// Returns the position of a minor version above 1.
    fn find_version(&mut self, piece: &[u8]) -> Option<usize> {
        let is_later = |byte: &u8| matches!(byte, b'2'..=b'9');
        if self.version == VERSION.len()
            && let Some(first) = piece.first()
        {
            self.version = 0;
            if is_later(first) {
                return Some(0);
            }
        }
        // The version is at the end of a line. Only a line in pieces ends within it.
        let tail = piece.len().saturating_sub(VERSION.len() + 2);
        for (at, byte) in piece.iter().enumerate().skip(if self.version == 0 { tail } else { 0 }) {
            if self.version == VERSION.len() {
                self.version = 0;
                if is_later(byte) {
                    return Some(at);
                }
            }
            self.version = match VERSION.get(self.version) {
                Some(expected) if expected == byte => self.version + 1,
                Some(_) | None => usize::from(*byte == b' '),
            };
        }
        None
    }
}

fn escape(byte: u8) -> Option<&'static [u8]> {
    Some(match byte {
        b'"' => b"%22",
        b'<' => b"%3C",
        b'>' => b"%3E",
        b'`' => b"%60",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::framing::RequestFraming;

    /// Returns the bytes that hyper reads if the client's bytes arrive in pieces of `size`.
    fn repaired(wire: &str, size: usize) -> String {
        let mut framing = RequestFraming::default();
        let mut read = Vec::new();
        for mut piece in wire.as_bytes().chunks(size) {
            while let Some(ByteRepair { at, text }) = framing.read_to_repair(piece).unwrap() {
                assert_eq!(framing.read_to_repair(text).unwrap(), None);
                read.extend(&piece[..at]);
                read.extend(text);
                piece = &piece[at + 1..];
            }
            read.extend(piece);
        }
        String::from_utf8(read).unwrap()
    }

    #[test]
    fn an_ordinary_line_has_no_odd_byte_at_any_position() {
        for length in 1..70 {
            let mut line = b"GET /".to_vec();
            line.resize(line.len() + length, b'a');
            line.extend_from_slice(b" HTTP/1.1\r");
            assert!(is_ordinary(&line));
            for at in 0..line.len() {
                for byte in *b"#\"<>`" {
                    let mut odd = line.clone();
                    odd[at] = byte;
                    assert!(!is_ordinary(&odd), "{}", String::from_utf8_lossy(&odd));
                }
            }
        }
        for line in ["GET / HTTP/1.1", "GET / HTTP/1.0\r", "GET / HTTP/1.2\r", "GET /HTTP/1.1\r", ""] {
            assert!(!is_ordinary(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn only_the_odd_bytes_of_a_request_line_are_replaced_at_every_cut() {
        let body = "POST /b HTTP/1.1\r\nX: \"<>` HTTP/1.2\r\nContent-Length: 14\r\n\r\n{\"a\":\"<b>`\"}\r\n";
        for (line, expected) in [
            ("GET /a?b={\"c\":1} HTTP/1.1", "GET /a?b={%22c%22:1} HTTP/1.1"),
            ("GET /<a>`?<b>` HTTP/1.1", "GET /%3Ca%3E%60?%3Cb%3E%60 HTTP/1.1"),
            ("GET /a HTTP/1.2", "GET /a HTTP/1.1"),
            ("GET /\" HTTP/1.9", "GET /%22 HTTP/1.1"),
            ("GET /a HTTP/1.1", "GET /a HTTP/1.1"),
            ("GET /a HTTP/1.0", "GET /a HTTP/1.0"),
            ("GET /a HTTP/1.10", "GET /a HTTP/1.10"),
            ("GET /a HTTP/2.2", "GET /a HTTP/2.2"),
            ("GET /HTTP/1.2 HTTP/1.1", "GET /HTTP/1.2 HTTP/1.1"),
            ("G\"ET /a HTTP/1.1", "G\"ET /a HTTP/1.1"),
        ] {
            let wire = format!("{line}\r\n\r\n{body}{line}\r\n\r\n");
            let expected = format!("{expected}\r\n\r\n{body}{expected}\r\n\r\n");
            for size in 1..=wire.len() {
                assert_eq!(repaired(&wire, size), expected, "in pieces of {size}");
            }
        }
    }
}
