//! Request framing, checked independently of hyper: the bytes where requests begin and end.
//!
//! hyper 1.12 accepts a request that has both `Content-Length` and `Transfer-Encoding`, removes the
//! length silently, and closes the connection after the response. RFC 9112 §6.3 allows that. A
//! front end that reads the length instead has by then put the next client's request into the bytes
//! that hyper takes for this client's body. [`RequestFraming`] therefore reads every byte that the
//! client sends, before hyper does, and confirms each head that has one possible meaning. The
//! server refuses a request whose head is not confirmed.
//!
//! ```text
//!           ┌──────────────── no body ────────────────┐
//!           ▼                                         │
//! ┌──► Between ──first byte──► Head ──empty line──────┤
//! │                                                   ├──► Length(left) ──────────────────────┐
//! │                                                   └──► ChunkSize ──► ChunkData ─► ChunkEnd│
//! │                                                         │   ▲─────────────────────────┘   │
//! │                                                         └─ 0 ─► Trailers ─────────────────┤
//! └───────────────────────────────────────────────────────────────────────────────────────────┘
//!                        anything ambiguous ──► Lost, for good
//! ```
//!
//! Framing is stricter than hyper where parsers are known to differ (bare LF, transfer codings
//! beside `chunked`, a repeated length). It leaves to hyper the syntax that hyper refuses anyway
//! (folded lines, a space before the colon, control bytes).
//!
//! **Always:** hyper and framing count the same heads, and a connection on which they differ loses
//! its trust (`ConnectionActivity::in_step`); after an error, framing confirms no further head; a
//! line that arrives in pieces costs at most [`FRAMING_LINE_BYTES_MAX`] bytes of memory; framing
//! skips bodies without reading them.

mod line;

use std::mem;

use memchr::memchr;

use self::line::{PartialLine, fits, number, value_of};
use crate::limits::FRAMING_LINE_BYTES_MAX;

crate::labels! {
    /// The reason why a request has more than one possible extent.
    pub enum FramingError {
        /// RFC 9112 §6.3: both a length and a transfer coding.
        LengthAndCoding => "length-and-coding",
        /// RFC 9110 §8.6: more than one `Content-Length`, equal or not.
        SeveralLengths => "several-lengths",
        /// A `Content-Length` that is not a number.
        Length => "length",
        /// RFC 9112 §6.1: a transfer coding that is not `chunked`, or not only.
        Coding => "coding",
        /// RFC 9112 §2.2 lets a recipient accept LF for CR LF. Parsers that do not are the other
        /// half of a smuggling attack.
        BareLineFeed => "bare-line-feed",
        /// RFC 9112 §3.2: no target has a fragment. Some parsers remove it, others treat it as a
        /// part of the path.
        Fragment => "fragment",
        /// RFC 9112 §7.1: a chunk without a valid size or without CR LF at its end.
        Chunk => "chunk",
        /// hyper counted fewer heads than framing.
        OutOfStep => "out-of-step",
    }
}

/// The part of a message that the next byte from the client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextBytes {
    /// A new message.
    Between,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// The framing state of one connection's bytes from the client.
#[derive(Debug, Default)]
pub struct RequestFraming {
    state: FramingState,
    line: PartialLine,
    vouched: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingState {
    #[default]
    Between,
    RequestLine,
    Head(FramingFields),
    /// Bytes of the body that have not arrived; never zero.
    Length(u64),
    ChunkSize,
    /// Bytes of the chunk that have not arrived; never zero.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Lost,
}

/// The framing fields that the head has so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FramingFields {
    length: Option<u64>,
    coding: Option<ChunkedState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChunkedState;

impl RequestFraming {
    /// Reads bytes that the client sent. Returns an error once; after it, no head is confirmed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        self.advance(bytes).inspect_err(|_| self.state = FramingState::Lost)
    }

    /// Withdraws every confirmation, because hyper and framing differ.
    pub fn give_up(&mut self) {
        self.state = FramingState::Lost;
        self.vouched = 0;
    }

    /// Returns the number of confirmed heads. They are the first heads of the connection.
    pub fn vouched(&self) -> u64 {
        self.vouched
    }

    /// Returns the part of a message that comes next. A connection with a framing error stays in a
    /// head that never ends.
    pub fn inbound(&self) -> NextBytes {
        match self.state {
            FramingState::Between => NextBytes::Between,
            FramingState::RequestLine | FramingState::Head(_) | FramingState::Lost => NextBytes::Head,
            FramingState::Length(_)
            | FramingState::ChunkSize
            | FramingState::ChunkData(_)
            | FramingState::ChunkEnd
            | FramingState::Trailers => NextBytes::Body,
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while !bytes.is_empty() {
            bytes = match self.state {
                FramingState::Lost => return Ok(()),
                FramingState::Between => self.begin(bytes),
                FramingState::Length(left) => {
                    self.skip(bytes, left, FramingState::Length, FramingState::Between)
                }
                FramingState::ChunkData(left) => {
                    self.skip(bytes, left, FramingState::ChunkData, FramingState::ChunkEnd)
                }
                FramingState::RequestLine => {
                    let here = memchr(b'\n', bytes).and_then(|end| bytes.get(..end)).unwrap_or(bytes);
                    if memchr(b'#', here).is_some() {
                        return Err(FramingError::Fragment);
                    }
                    self.read_line(bytes)?
                }
                FramingState::Head(_)
                | FramingState::ChunkSize
                | FramingState::ChunkEnd
                | FramingState::Trailers => self.read_line(bytes)?,
            };
        }
        Ok(())
    }

    /// RFC 9112 §2.2: the server ignores empty lines before a request line.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = bytes.get(blank..).unwrap_or_default();
        if !rest.is_empty() {
            self.state = FramingState::RequestLine;
        }
        rest
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        within: impl FnOnce(u64) -> FramingState,
        after: FramingState,
    ) -> &'a [u8] {
        let here = bytes.len() as u64;
        match usize::try_from(left).ok().and_then(|left| bytes.get(left..)) {
            Some(rest) => {
                self.state = after;
                rest
            }
            None => {
                self.state = within(left - here);
                &[]
            }
        }
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FramingError> {
        let Some((line, rest)) = memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end)) else {
            self.line.keep(bytes);
            return Ok(&[]);
        };
        // Most lines arrive whole, so framing parses them without a copy.
        if self.line.is_empty() {
            let line = line.strip_suffix(b"\r").ok_or(FramingError::BareLineFeed)?;
            self.end_line(line)?;
        } else {
            self.line.keep(line);
            let line = mem::take(&mut self.line).whole().ok_or(FramingError::BareLineFeed)?;
            self.end_line(&line)?;
        }
        Ok(rest.get(1..).unwrap_or_default())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<(), FramingError> {
        self.state = match self.state {
            FramingState::RequestLine => FramingState::Head(FramingFields::default()),
            FramingState::Head(fields) if line.is_empty() => {
                let body = fields.body()?;
                self.vouched += 1;
                body
            }
            FramingState::Head(fields) => FramingState::Head(fields.with(line)?),
            FramingState::ChunkSize => chunk(line)?,
            FramingState::ChunkEnd if line.is_empty() => FramingState::ChunkSize,
            FramingState::ChunkEnd => return Err(FramingError::Chunk),
            FramingState::Trailers if line.is_empty() => FramingState::Between,
            same @ (FramingState::Trailers
            | FramingState::Between
            | FramingState::Length(_)
            | FramingState::ChunkData(_)
            | FramingState::Lost) => same,
        };
        Ok(())
    }
}

impl FramingFields {
    /// Adds one line of the head.
    fn with(mut self, line: &[u8]) -> Result<Self, FramingError> {
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(b"content-length", line) {
                    let length = number(value, 10).filter(|_| fits(line)).ok_or(FramingError::Length)?;
                    if self.length.replace(length).is_some() {
                        return Err(FramingError::SeveralLengths);
                    }
                }
            }
            Some(b't' | b'T') => {
                if let Some(value) = value_of(b"transfer-encoding", line)
                    && (!(fits(line) && value.eq_ignore_ascii_case(b"chunked"))
                        || self.coding.replace(ChunkedState).is_some())
                {
                    return Err(FramingError::Coding);
                }
            }
            _ => {}
        }
        Ok(self)
    }

    /// Returns the state after the end of the head.
    fn body(self) -> Result<FramingState, FramingError> {
        match (self.length, self.coding) {
            (None | Some(0), None) => Ok(FramingState::Between),
            (Some(length), None) => Ok(FramingState::Length(length)),
            (None, Some(ChunkedState)) => Ok(FramingState::ChunkSize),
            (Some(_), Some(ChunkedState)) => Err(FramingError::LengthAndCoding),
        }
    }
}

/// Maximum length of a chunk size, blanks included. It fits the part that framing keeps of a line
/// in pieces, so that the result does not depend on the cut.
const CHUNK_SIZE_BYTES_MAX: usize = FRAMING_LINE_BYTES_MAX / 2;

/// Returns the state after a chunk-size line. Framing ignores chunk extensions (RFC 9112 §7.1.1).
fn chunk(line: &[u8]) -> Result<FramingState, FramingError> {
    let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
    match number(size.trim_ascii_end(), 16)
        .filter(|_| size.len() <= CHUNK_SIZE_BYTES_MAX)
        .ok_or(FramingError::Chunk)?
    {
        0 => Ok(FramingState::Trailers),
        size => Ok(FramingState::ChunkData(size)),
    }
}

#[cfg(test)]
mod tests;
