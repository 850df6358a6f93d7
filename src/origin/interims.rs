//! The interim responses (1xx) before a response head, read from the bytes of a connection.
//!
//! hyper reports an interim response only through a callback that allocates for each request, so
//! the socket reads them. If there is none, this costs a look at ten bytes.

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::hop;
use crate::limits::HEAD_FIELDS_MAX;

/// The offset of the first digit of the status.
const STATUS_AT: usize = STATUS_BEGIN.len() - 1;
/// The bytes up to the first digit of the status of an interim response.
const STATUS_BEGIN: &[u8] = b"HTTP/1.1 1";

/// The beginning of the head behind which a tunnel begins.
const SWITCH_BEGIN: &[u8] = b"HTTP/1.1 101";

/// Receiver of the interim responses to one request.
pub trait InterimReceiver {
    /// Takes an interim response other than `100 Continue` and `101`, without the fields of the
    /// connection.
    fn receive(&self, interim: InterimResponse);
}

/// Interim response of the origin.
#[derive(Debug, PartialEq, Eq)]
pub struct InterimResponse {
    /// Status, 102 or higher.
    pub status: StatusCode,
    /// End-to-end fields.
    pub fields: HeaderMap,
}

impl InterimResponse {
    /// Reads a head. Returns `None` for one that the proxy does not forward: `100` and `101`
    /// concern the connection, and a malformed head fails the exchange.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        let mut lines = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        if !parsed.parse(head).ok()?.is_complete() {
            return None;
        }
        let status = StatusCode::from_u16(parsed.code?).ok().filter(StatusCode::is_informational)?;
        if matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            return None;
        }
        let mut fields = HeaderMap::with_capacity(parsed.headers.len());
        for line in parsed.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
            fields.append(name, HeaderValue::from_bytes(line.value).ok()?);
        }
        if hop::lists_too_many(&fields) {
            return None;
        }
        hop::strip(&mut fields);
        // RFC 9110 §8.6: an interim response has no `Content-Length`.
        fields.remove(CONTENT_LENGTH);
        Some(Self { status, fields })
    }
}

/// The reader of what arrives before a response head.
#[derive(Debug)]
pub(super) struct InterimReader {
    state: ReaderState,
    interims: usize,
    /// The bytes of an incomplete interim response.
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum ReaderState {
    /// In a status line, after this number of bytes.
    StatusLine(usize),
    /// In an interim response; whether the line so far is empty.
    Interim(bool),
    /// In the response itself, or in bytes that are no response.
    Response,
}

impl Default for InterimReader {
    fn default() -> Self {
        Self { state: ReaderState::StatusLine(0), interims: 0, head: Vec::new() }
    }
}

impl InterimReader {
    /// Reads the next bytes, and returns the number of interim responses so far. `give` gets the
    /// head of each complete one.
    pub(super) fn read(&mut self, bytes: &[u8], mut give: impl FnMut(&[u8])) -> usize {
        if matches!(self.state, ReaderState::StatusLine(0)) && begins_response(bytes) {
            // By far the most heads arrive so.
            self.state = ReaderState::Response;
            return self.interims;
        }
        for byte in bytes {
            self.state = match self.state {
                ReaderState::StatusLine(STATUS_AT) if *byte == b'1' => {
                    self.interims += 1;
                    self.head.extend_from_slice(STATUS_BEGIN);
                    ReaderState::Interim(false)
                }
                ReaderState::StatusLine(STATUS_AT) | ReaderState::Response => {
                    self.state = ReaderState::Response;
                    break;
                }
                // Empty lines may precede a head (RFC 9112 §2.2).
                ReaderState::StatusLine(0) if matches!(byte, b'\r' | b'\n') => ReaderState::StatusLine(0),
                ReaderState::StatusLine(read) if is_status_begin(*byte, read) => {
                    ReaderState::StatusLine(read + 1)
                }
                ReaderState::StatusLine(_) => ReaderState::Response,
                ReaderState::Interim(is_empty) => {
                    self.head.push(*byte);
                    match byte {
                        b'\n' if is_empty => {
                            give(&self.head);
                            let is_last = self.head.starts_with(SWITCH_BEGIN);
                            self.head = Vec::new();
                            if is_last { ReaderState::Response } else { ReaderState::StatusLine(0) }
                        }
                        b'\n' => ReaderState::Interim(true),
                        b'\r' => ReaderState::Interim(is_empty),
                        _ => ReaderState::Interim(false),
                    }
                }
            };
        }
        self.interims
    }
}

/// Returns whether bytes begin with the head of a response that is not interim.
fn begins_response(bytes: &[u8]) -> bool {
    bytes.split_at_checked(STATUS_AT).is_some_and(|(begin, rest)| {
        STATUS_BEGIN.starts_with(begin) && rest.first().is_some_and(|digit| *digit != b'1')
    })
}

/// Returns whether a status line may have this byte at this offset. hyper accepts HTTP/1.0 too.
fn is_status_begin(byte: u8, offset: usize) -> bool {
    const MINOR_AT: usize = b"HTTP/1.".len();
    STATUS_BEGIN.get(offset) == Some(&byte) || (offset == MINOR_AT && byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_responses_are_counted_and_given_at_every_cut() {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\nA: b\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
        let switch = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let (continues, bare) = ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100\n\n");
        for (wire, interims, given) in [
            (last.to_owned(), 0, String::new()),
            (format!("{continues}{last}"), 1, continues.to_owned()),
            (format!("{bare}{hints}{hints}{last}"), 3, format!("{bare}{hints}{hints}")),
            (hints.repeat(70), 70, hints.repeat(70)),
            ("HTTP/1.1 10".to_owned(), 1, String::new()),
            (format!("\r\n{hints}\n{last}"), 1, hints.to_owned()),
            (format!("HTTP/1.0 103 A\r\n\r\n{last}"), 1, "HTTP/1.1 103 A\r\n\r\n".to_owned()),
            // Nothing of a body or of a tunnel is an interim response.
            (format!("\r\nHTTP/1.1 200 OK\r\n\r\nxxxxxxxx{hints}"), 0, String::new()),
            (format!("{switch}{hints}"), 1, switch.to_owned()),
            (format!("HTTP/2.1 103 A\r\n\r\n{hints}"), 0, String::new()),
            (format!("xxxxxxxxx103 A\r\n\r\n{hints}"), 0, String::new()),
            (String::new(), 0, String::new()),
        ] {
            for size in 1..=wire.len() {
                let (mut reader, mut heads) = (InterimReader::default(), Vec::new());
                let mut read = |piece: &[u8]| reader.read(piece, |head| heads.extend_from_slice(head));
                let counts: Vec<_> = wire.as_bytes().chunks(size).map(&mut read).collect();
                assert_eq!(counts.last(), Some(&interims), "{wire:?} in pieces of {size}");
                assert_eq!(String::from_utf8(heads).unwrap(), given, "{wire:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_interim_response_keeps_its_end_to_end_fields() {
        let read = |head: &str| InterimResponse::read(head.as_bytes());
        let interim = read(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\nConnection: X-A\r\nX-A: 1\r\n\
             Content-Length: 5\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 1\r\n\r\n",
        )
        .unwrap();
        let fields: Vec<_> = interim.fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let links =
            [("link", &HeaderValue::from_static("</a>")), ("link", &HeaderValue::from_static("</b>"))];
        assert_eq!((interim.status, &fields[..]), (StatusCode::EARLY_HINTS, &links[..]));
        assert_eq!(read("HTTP/1.1 102 \r\n\r\n").map(|interim| interim.status.as_u16()), Some(102));
        assert_eq!(read("HTTP/1.1 199\n\n").map(|interim| interim.status.as_u16()), Some(199));

        let options = "close,".repeat(100);
        for head in [
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\n\r\n",
            "HTTP/1.1 10\r\n\r\n",
            "HTTP/1.1 103 A\r\nA b: c\r\n\r\n",
            "HTTP/1.1 103 A\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 103 A\r\nA: b\r\n",
            &format!("HTTP/1.1 103 A\r\nConnection: {options}\r\n\r\n"),
            &format!("HTTP/1.1 103 A\r\n{}\r\n", "A: b\r\n".repeat(HEAD_FIELDS_MAX + 1)),
        ] {
            assert_eq!(read(head), None, "{head:?}");
        }
    }
}
