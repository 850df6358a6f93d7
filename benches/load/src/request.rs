//! The bytes of a request, made from a URL and header fields in which `{0..1000}` is a placeholder
//! of a number.
//!
//! ```text
//! http://127.0.0.1:8000/entries/{0..1000000}
//! 9@http://127.0.0.1:8000/hot                   nine times as often as one without a weight
//! ```
//!
//! All ranges of one request use one draw (each modulo its own length), so that the size of a body,
//! for example, can depend on its entry.

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};

/// The longest request. A longer one could find a socket buffer without room, and the generator
/// never waits for room.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// The reason why a request is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Fault {
    /// A scheme other than plain HTTP.
    #[error("{0:?} does not begin with http://")]
    Scheme(String),
    /// An authority that cannot be resolved.
    #[error("{0:?} is not the name or address of a host with a port")]
    Authority(String),
    /// A weight that is no number above zero.
    #[error("invalid weight {0:?}: use a number above 0 in front of @")]
    Weight(String),
    /// A brace that is no range.
    #[error("invalid range {0:?}: use, for example, {{0..10}} for the numbers 0 to 9")]
    Range(String),
    /// A request above the bound.
    #[error("the request exceeds {REQUEST_BYTES_MAX} bytes")]
    TooLong,
}

/// A request without its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The address of the server.
    pub address: SocketAddr,
    /// The weight of this request among the others.
    pub weight: u64,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// The first number, and the count of numbers.
    Range(u64, u64),
}

impl Request {
    /// Parses `[WEIGHT@]URL`, and returns a `GET` with these header fields (`name: value`).
    ///
    /// # Errors
    /// [`Fault`], for the first error.
    pub fn parse(text: &str, fields: &[String]) -> Result<Self, Fault> {
        let (weight, url) = match text.split_once('@') {
            Some((weight, url)) => {
                (weight.parse().ok().filter(|&w| w > 0).ok_or_else(|| Fault::Weight(weight.to_owned()))?, url)
            }
            None => (1, text),
        };
        let rest = url.strip_prefix("http://").ok_or_else(|| Fault::Scheme(url.to_owned()))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let unknown = || Fault::Authority(authority.to_owned());
        let address = authority.to_socket_addrs().map_err(|_| unknown())?.next().ok_or_else(unknown)?;
        let mut head = format!("GET /{path} HTTP/1.1\r\nhost: {authority}\r\n");
        for field in fields {
            head.push_str(field);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let parts = split(&head)?;
        let longest = parts.iter().map(|part| match part {
            Part::Literal(bytes) => bytes.len(),
            Part::Range(..) => u64::MAX.to_string().len(),
        });
        if longest.sum::<usize>() > REQUEST_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        Ok(Self { address, weight, parts })
    }

    /// Replaces the contents of `buffer` by the request's bytes; `draw` determines every number.
    pub fn write(&self, draw: u64, buffer: &mut Vec<u8>) {
        buffer.clear();
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => buffer.extend_from_slice(bytes),
                Part::Range(first, count) => {
                    // Writing to a vector cannot fail.
                    let _ = write!(buffer, "{}", first + draw % count);
                }
            }
        }
    }
}

fn split(mut text: &str) -> Result<Vec<Part>, Fault> {
    let mut parts = Vec::new();
    while let Some((before, after)) = text.split_once('{') {
        let (range, rest) = after.split_once('}').ok_or_else(|| Fault::Range(after.to_owned()))?;
        let wrong = || Fault::Range(range.to_owned());
        let (first, end) = range.split_once("..").ok_or_else(wrong)?;
        let (first, end): (u64, u64) =
            (first.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?);
        let count = end.checked_sub(first).filter(|&count| count > 0).ok_or_else(wrong)?;
        parts.push(Part::Literal(before.into()));
        parts.push(Part::Range(first, count));
        text = rest;
    }
    parts.push(Part::Literal(text.into()));
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, draw: u64) -> String {
        let mut buffer = Vec::new();
        Request::parse(text, &["x: {1..3}".into()]).unwrap().write(draw, &mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn numbers_come_from_the_draw() {
        let head = "GET /a/14?b=1 HTTP/1.1\r\nhost: 127.0.0.1:80\r\nx: 1\r\n\r\n";
        assert_eq!(bytes("http://127.0.0.1:80/a/{10..20}?b=1", 104), head);
        assert_eq!(bytes("7@http://127.0.0.1:80", 3), "GET / HTTP/1.1\r\nhost: 127.0.0.1:80\r\nx: 2\r\n\r\n");
        assert_eq!(Request::parse("7@http://127.0.0.1:80", &[]).unwrap().weight, 7);
    }

    #[test]
    fn an_invalid_request_is_reported() {
        for (text, fault) in [
            ("https://127.0.0.1:80/", Fault::Scheme("https://127.0.0.1:80/".into())),
            ("http://127.0.0.1/", Fault::Authority("127.0.0.1".into())),
            ("0@http://127.0.0.1:80/", Fault::Weight("0".into())),
            ("http://127.0.0.1:80/{3..3}", Fault::Range("3..3".into())),
            ("http://127.0.0.1:80/{3}", Fault::Range("3".into())),
            (&format!("http://127.0.0.1:80/{}", "a".repeat(REQUEST_BYTES_MAX)), Fault::TooLong),
        ] {
            assert_eq!(Request::parse(text, &[]), Err(fault), "{text}");
        }
    }
}
