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
//! Framing also finds the bytes of a request line that hyper refuses and other servers accept
//! ([`ByteRepair`]). The socket replaces them before hyper reads them.
//!
//! **Always:** hyper and framing count the same heads, and a connection on which they differ loses
//! its trust (`ConnectionActivity::in_step`); after an error, framing confirms no further head; a
//! line that arrives in pieces costs at most [`FRAMING_LINE_BYTES_MAX`] bytes of memory; framing
//! skips bodies without reading them.

mod line;
mod repair;

use std::mem;

use memchr::{memchr, memchr_iter};

use self::line::{PartialLine, fits, number, value_of};
use self::repair::{RequestLineReader, is_ordinary};
use crate::limits::{CHUNK_SIZE_DIGITS_MAX, FRAMING_LINE_BYTES_MAX};

pub use self::repair::ByteRepair;

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
    request_line: RequestLineReader,
    vouched: u64,
    /// The part of a message in which an error occurred.
    broken_in: Option<NextBytes>,
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
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        while let Some(repair) = self.read_to_repair(bytes)? {
            self.read_to_repair(repair.text)?;
            bytes = bytes.get(repair.at + 1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads bytes that the client sent up to the first that needs a repair. The caller passes the
    /// replacement next, and then the bytes behind it.
    pub fn read_to_repair(&mut self, bytes: &[u8]) -> Result<Option<ByteRepair>, FramingError> {
        self.advance(bytes).inspect_err(|_| {
            self.broken_in = Some(self.inbound());
            self.state = FramingState::Lost;
        })
    }

    /// Returns whether an error occurred within the body of the last confirmed head.
    pub fn broke_in_body(&self) -> bool {
        self.broken_in == Some(NextBytes::Body)
    }

    /// Withdraws the confirmation of the last head.
    pub fn withdraw_last(&mut self) {
        self.vouched = self.vouched.saturating_sub(1);
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

    fn advance(&mut self, all: &[u8]) -> Result<Option<ByteRepair>, FramingError> {
        let mut bytes = all;
        while !bytes.is_empty() {
            bytes = match self.state {
                FramingState::Lost => return Ok(None),
                FramingState::Between => self.begin(bytes),
                FramingState::Length(left) => {
                    self.skip(bytes, left, FramingState::Length, FramingState::Between)
                }
                FramingState::ChunkData(left) => {
                    self.skip(bytes, left, FramingState::ChunkData, FramingState::ChunkEnd)
                }
                FramingState::RequestLine => {
                    let end = memchr(b'\n', bytes);
                    let here = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
                    if let Some(end) = end
                        && self.line.is_empty()
                        && is_ordinary(here)
                    {
                        self.state = FramingState::Head(FramingFields::default());
                        bytes = bytes.get(end + 1..).unwrap_or_default();
                        continue;
                    }
                    if memchr(b'#', here).is_some() {
                        return Err(FramingError::Fragment);
                    }
                    if let Some((at, text)) = self.request_line.find_repair(here) {
                        self.line.keep(here.get(..at).unwrap_or_default());
                        return Ok(Some(ByteRepair { at: all.len() - bytes.len() + at, text }));
                    }
                    self.read_line(bytes)?
                }
                FramingState::Head(fields) if self.line.is_empty() => self.read_head(bytes, fields)?,
                FramingState::Head(_)
                | FramingState::ChunkSize
                | FramingState::ChunkEnd
                | FramingState::Trailers => self.read_line(bytes)?,
            };
        }
        Ok(None)
    }

    /// RFC 9112 §2.2: the server ignores empty lines before a request line.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = bytes.get(blank..).unwrap_or_default();
        if !rest.is_empty() {
            self.state = FramingState::RequestLine;
            self.request_line = RequestLineReader::default();
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

    /// Reads the lines of a head that have arrived whole, in one pass and without a copy.
    fn read_head<'a>(
        &mut self,
        bytes: &'a [u8],
        mut fields: FramingFields,
    ) -> Result<&'a [u8], FramingError> {
        let mut rest = bytes;
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = bytes.get(start..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(FramingError::BareLineFeed)?;
            start = end + 1;
            rest = bytes.get(start..).unwrap_or_default();
            match line.first() {
                None => {
                    self.state = fields.body()?;
                    self.vouched += 1;
                    return Ok(rest);
                }
                // Only these letters begin the name of a framing field.
                Some(b'c' | b'C' | b't' | b'T') => fields = fields.with(line)?,
                Some(_) => {}
            }
        }
        self.state = FramingState::Head(fields);
        self.line.keep(rest);
        Ok(&[])
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FramingError> {
        let Some((line, rest)) = memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end)) else {
            self.line.keep(bytes);
            if self.state == FramingState::ChunkSize && exceeds_chunk_size(self.line.start()) {
                return Err(FramingError::Chunk);
            }
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

/// Returns whether the beginning of a line has more digits or blanks than a chunk size may have, so
/// that a size without an end is noticed.
fn exceeds_chunk_size(start: &[u8]) -> bool {
    let size = start.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // The buffer may also hold the line's CR.
    digits > CHUNK_SIZE_DIGITS_MAX || size.len() > CHUNK_SIZE_BYTES_MAX + 1
}

/// Maximum length of a chunk size, blanks included. Framing buffers more than this of a line that
/// arrives in pieces, so the pieces do not change the result.
const CHUNK_SIZE_BYTES_MAX: usize = FRAMING_LINE_BYTES_MAX / 2;

/// Returns the state after a chunk-size line. Framing ignores chunk extensions (RFC 9112 §7.1.1).
fn chunk(line: &[u8]) -> Result<FramingState, FramingError> {
    let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = size.trim_ascii_end();
    match number(digits, 16)
        .filter(|_| digits.len() <= CHUNK_SIZE_DIGITS_MAX && size.len() <= CHUNK_SIZE_BYTES_MAX)
        .ok_or(FramingError::Chunk)?
    {
        0 => Ok(FramingState::Trailers),
        size => Ok(FramingState::ChunkData(size)),
    }
}

#[cfg(test)]
mod tests;
