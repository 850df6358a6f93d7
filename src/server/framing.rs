//! A second opinion about where requests begin and end.
//!
//! hyper 1.12 takes a request that has both `Content-Length` and `Transfer-Encoding`, removes the
//! length without a word, and closes after the answer. RFC 9112 §6.3 allows that; but a front end
//! that read the length instead has put the next client's request into what we take for this one's
//! body, and then the damage is done. So [`RequestFraming`] reads along: it sees every byte that
//! the client sends, before hyper does, and vouches for each head that has one possible meaning. A
//! request that nobody vouched for is refused.
//!
//! ```text
//!            ┌──────────────── no body ────────────────┐
//!            ▼                                         │
//!  ┌──► Between ──first byte──► Head ──empty line──────┤
//!  │                                                   ├──► Length(left) ──────────────────────┐
//!  │                                                   └──► ChunkSize ──► ChunkData ─► ChunkEnd│
//!  │                                                         │   ▲─────────────────────────┘   │
//!  │                                                         └─ 0 ─► Trailers ─────────────────┤
//!  └───────────────────────────────────────────────────────────────────────────────────────────┘
//!                         anything ambiguous ──► Lost, for good
//! ```
//!
//! It is stricter than hyper where two parsers are known to differ (bare LF, transfer codings
//! beside `chunked`, a length said twice), and leaves to hyper what hyper refuses anyway (folded
//! lines, a space before the colon, control bytes).
//!
//! What always holds: hyper and it must count the same heads, and a connection on which they do not
//! is not trusted any further (`Activity::in_step`); once lost, it vouches for nothing more; a line
//! that comes in pieces costs at most [`FRAMING_LINE_BYTES_MAX`] bytes of memory; a body is
//! skipped, not read.

mod line;

use std::mem;

use memchr::memchr;

use self::line::{PartialLine, fits, number, value_of};
use crate::limits::FRAMING_LINE_BYTES_MAX;

crate::labels! {
    /// Why a request has more than one possible extent.
    pub enum FramingError {
        /// RFC 9112 §6.3: both a length and a transfer coding.
        LengthAndCoding => "length-and-coding",
        /// RFC 9110 §8.6: more than one `Content-Length`, equal or not.
        SeveralLengths => "several-lengths",
        /// A `Content-Length` that is not a number.
        Length => "length",
        /// RFC 9112 §6.1: a transfer coding that is not `chunked`, or not only.
        Coding => "coding",
        /// RFC 9112 §2.2 lets a recipient take LF for CR LF; the parsers that do not are the other
        /// half of an attack.
        BareLineFeed => "bare-line-feed",
        /// RFC 9112 §3.2: no target has a fragment; some parsers cut it off, and others take it for
        /// a part of the path.
        Fragment => "fragment",
        /// RFC 9112 §7.1: a chunk that does not begin with its size or does not end with CR LF.
        Chunk => "chunk",
        /// hyper counted fewer heads than we did.
        OutOfStep => "out-of-step",
    }
}

/// What of a client's bytes comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextBytes {
    /// A message, of which nothing is here yet.
    Between,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// Follows one connection's bytes from the client.
#[derive(Debug, Default)]
pub struct RequestFraming {
    place: FramingState,
    line: PartialLine,
    vouched: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FramingState {
    #[default]
    Between,
    RequestLine,
    Head(FramingFields),
    /// Bytes of the body that are still to come; never zero.
    Length(u64),
    ChunkSize,
    /// Bytes of the chunk that are still to come; never zero.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Lost,
}

/// What the head has said so far of its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FramingFields {
    length: Option<u64>,
    coding: Option<ChunkedState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChunkedState;

impl RequestFraming {
    /// Takes note of bytes that the client sent. An error is told once; from then on, no head is
    /// vouched for.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        self.advance(bytes).inspect_err(|_| self.place = FramingState::Lost)
    }

    /// Takes back every word: hyper and this do not read alike.
    pub fn give_up(&mut self) {
        self.place = FramingState::Lost;
        self.vouched = 0;
    }

    /// How many heads had one possible meaning; they were the first ones.
    pub fn vouched(&self) -> u64 {
        self.vouched
    }

    /// What comes next. A lost connection is in a head that will never be good.
    pub fn inbound(&self) -> NextBytes {
        match self.place {
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
            bytes = match self.place {
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

    /// RFC 9112 §2.2: empty lines before a request line are passed over.
    fn begin<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let rest = bytes.get(blank..).unwrap_or_default();
        if !rest.is_empty() {
            self.place = FramingState::RequestLine;
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
                self.place = after;
                rest
            }
            None => {
                self.place = within(left - here);
                &[]
            }
        }
    }

    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FramingError> {
        let Some((line, rest)) = memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end)) else {
            self.line.keep(bytes);
            return Ok(&[]);
        };
        // Nearly every line comes whole, and is read where it lies.
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
        self.place = match self.place {
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
    /// With what one more line of the head says.
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

    /// What follows a head that said this.
    fn body(self) -> Result<FramingState, FramingError> {
        match (self.length, self.coding) {
            (None | Some(0), None) => Ok(FramingState::Between),
            (Some(length), None) => Ok(FramingState::Length(length)),
            (None, Some(ChunkedState)) => Ok(FramingState::ChunkSize),
            (Some(_), Some(ChunkedState)) => Err(FramingError::LengthAndCoding),
        }
    }
}

/// The longest text of a size, blanks included: no more than is kept of a line that comes in
/// pieces, so that it means the same at any cut.
const CHUNK_SIZE_BYTES_MAX: usize = FRAMING_LINE_BYTES_MAX / 2;

/// What follows a line that announces a chunk. Extensions have no meaning here (RFC 9112 §7.1.1).
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
