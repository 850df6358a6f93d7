//! Finds the end of a frame.
//!
//! A resumable scan over the bytes of one frame. It returns "not yet" until the frame is complete,
//! and refuses a frame beyond a limit before anything is allocated for it. It resumes at the byte
//! it stopped at: however small the pieces, a byte is looked at once, except for those of a header
//! line. It does not recurse, so nesting costs a counter and no stack.
//!
//! ```text
//! *2\r $3\rGET\r >1\r ...
//! └open 2┘└─element──┘└open 1┘      an aggregate opens a level that expects its elements;
//!                                   the frame is complete when no level expects any
//! ```
//!
//! **Always:** a complete frame is within every limit of `limits::REPLY_*`, its lengths are plain
//! decimal numbers, its line ends are in their places, and it has none of the streamed forms, which
//! Redis does not send.

use std::ops::Range;

use super::length::{self, FrameLength, Header};
use super::reply::ProtocolError;
use crate::limits::{REPLY_BYTES_MAX, REPLY_DEPTH_MAX, REPLY_ELEMENTS_MAX, REPLY_LINE_BYTES_MAX};

/// A complete frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScannedFrame {
    /// The kind of frame.
    pub(super) shape: FrameShape,
    /// Its length in bytes.
    pub(super) end: usize,
}

/// The kind of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FrameShape {
    /// A value, and the range of its bytes.
    Bulk(Range<usize>),
    /// An error, and the range of its text.
    Error(Range<usize>),
    /// Nil, in either protocol version.
    Nil,
    /// Attributes of the following reply, which are no reply themselves.
    Attributes,
    /// Any other frame with types of RESP2.
    Resp2,
    /// Any other frame with types that only RESP3 has.
    Resp3,
}

/// The state of a scan over one frame.
#[derive(Debug, Default)]
pub(super) struct FrameScan {
    /// The start of the current element.
    at: usize,
    /// The position up to which the current line was searched for its end.
    searched: usize,
    /// The missing elements of each open level, outermost first.
    open: [usize; REPLY_DEPTH_MAX],
    /// The number of open levels.
    depth: usize,
    /// The number of announced elements so far.
    elements: usize,
    /// The number of further bytes that allow the scan to go on.
    missing: usize,
    /// Whether a type occurred that RESP2 does not have.
    resp3: bool,
    /// Whether the frame began with an attribute.
    attributes: bool,
}

/// The next element of a scan.
enum ScannedElement {
    /// A complete one, as if it were a frame.
    Whole(ScannedFrame),
    /// The header of an aggregate with `wanted` elements, and the position of the first.
    Opened { wanted: usize, end: usize },
}

impl FrameScan {
    /// Resumes over `bytes`, which begin with the frame and extend those of the last call. `None`
    /// means "not yet"; any other result ends the scan.
    pub(super) fn go_on(&mut self, bytes: &[u8]) -> Result<Option<ScannedFrame>, ProtocolError> {
        loop {
            self.missing = 0;
            let Some(element) = self.element(bytes)? else { return Ok(None) };
            let whole = match element {
                ScannedElement::Opened { wanted, end } if wanted > 0 => {
                    self.step(end)?;
                    continue;
                }
                ScannedElement::Opened { end, .. } => ScannedFrame { shape: self.aggregate(), end },
                ScannedElement::Whole(whole) => whole,
            };
            self.step(whole.end)?;
            if self.depth == 0 {
                return Ok(Some(whole));
            }
            if self.close() {
                return Ok(Some(ScannedFrame { shape: self.aggregate(), end: self.at }));
            }
        }
    }

    /// Returns how many further bytes the scan needs, in the middle of a frame.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// Moves on to the next element.
    fn step(&mut self, end: usize) -> Result<(), ProtocolError> {
        if end > REPLY_BYTES_MAX {
            return Err(ProtocolError::Bytes);
        }
        self.at = end;
        self.searched = end;
        Ok(())
    }

    /// Counts one element into the levels that it completes. Returns true if none is left open.
    fn close(&mut self) -> bool {
        while let Some(level) = self.depth.checked_sub(1) {
            if let Some(wanted) = self.open.get_mut(level) {
                *wanted -= 1;
                if *wanted > 0 {
                    return false;
                }
            }
            self.depth = level;
        }
        true
    }

    fn aggregate(&self) -> FrameShape {
        match (self.attributes, self.resp3) {
            (true, _) => FrameShape::Attributes,
            (false, true) => FrameShape::Resp3,
            (false, false) => FrameShape::Resp2,
        }
    }

    fn element(&mut self, bytes: &[u8]) -> Result<Option<ScannedElement>, ProtocolError> {
        let Some(&kind) = bytes.get(self.at) else {
            self.missing = 1;
            return Ok(None);
        };
        self.resp3 |= !matches!(kind, b'$' | b'*' | b'+' | b'-' | b':');
        match kind {
            b'$' | b'!' | b'=' => self.blob(kind, bytes),
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => self.line(kind, bytes),
            b'*' | b'~' | b'>' => self.open(kind, 1, bytes),
            b'%' | b'|' => self.open(kind, 2, bytes),
            b';' | b'.' => Err(ProtocolError::Streamed),
            _ => Err(ProtocolError::Type),
        }
    }

    /// `$3\r\nabc\r\n`, `!3\r\n...`, `=7\r\ntxt:abc\r\n`, `$-1\r\n`.
    fn blob(&mut self, kind: u8, bytes: &[u8]) -> Result<Option<ScannedElement>, ProtocolError> {
        let Some((length, start)) = self.length(bytes)? else { return Ok(None) };
        let length = match (length, kind) {
            (FrameLength::Nil, b'$') => {
                return Ok(Some(ScannedElement::Whole(ScannedFrame { shape: FrameShape::Nil, end: start })));
            }
            (FrameLength::Nil, _) => return Err(ProtocolError::Length),
            // The format and its colon; redis-protocol subtracts them unchecked.
            (FrameLength::Of(..4), b'=') => return Err(ProtocolError::Content),
            (FrameLength::Of(length), _) => length,
        };
        if length > REPLY_BYTES_MAX - start.min(REPLY_BYTES_MAX) {
            return Err(ProtocolError::Bytes);
        }
        let end = start + length;
        match bytes.get(end..end + 2) {
            None => {
                self.missing = end + 2 - bytes.len();
                Ok(None)
            }
            Some(b"\r\n") => {
                let shape = match kind {
                    b'$' => FrameShape::Bulk(start..end),
                    b'!' => FrameShape::Error(start..end),
                    _ => FrameShape::Resp3,
                };
                Ok(Some(ScannedElement::Whole(ScannedFrame { shape, end: end + 2 })))
            }
            Some(_) => Err(ProtocolError::End),
        }
    }

    /// `+OK\r\n`, `-ERR ...\r\n`, `:1\r\n`, `_\r\n`, `,1.5\r\n`, `#t\r\n`, `(123\r\n`.
    fn line(&mut self, kind: u8, bytes: &[u8]) -> Result<Option<ScannedElement>, ProtocolError> {
        let start = self.at + 1;
        let from = self.searched.max(start);
        let found = bytes.get(from..).and_then(|rest| rest.windows(2).position(|pair| pair == b"\r\n"));
        let text = start..found.map_or(bytes.len(), |index| from + index);
        if text.len() > REPLY_LINE_BYTES_MAX {
            return Err(ProtocolError::LineBytes);
        }
        if found.is_none() {
            // The last byte may be the first half of the line end.
            self.searched = bytes.len().saturating_sub(1);
            self.missing = 1;
            return Ok(None);
        }
        let end = text.end + 2;
        let shape = match kind {
            b'-' => FrameShape::Error(text),
            b'_' if text.is_empty() => FrameShape::Nil,
            b'_' => return Err(ProtocolError::Content),
            b'+' | b':' => FrameShape::Resp2,
            _ => FrameShape::Resp3,
        };
        Ok(Some(ScannedElement::Whole(ScannedFrame { shape, end })))
    }

    /// `*2\r\n`, `~2\r\n`, `>2\r\n`; `%2\r\n` and `|2\r\n` want two elements for each that they
    /// announce.
    fn open(&mut self, kind: u8, each: usize, bytes: &[u8]) -> Result<Option<ScannedElement>, ProtocolError> {
        let Some((length, end)) = self.length(bytes)? else { return Ok(None) };
        let wanted = match (length, kind) {
            (FrameLength::Nil, b'*') => {
                return Ok(Some(ScannedElement::Whole(ScannedFrame { shape: FrameShape::Nil, end })));
            }
            (FrameLength::Nil, _) => return Err(ProtocolError::Length),
            (FrameLength::Of(length), _) => length.saturating_mul(each),
        };
        if wanted > REPLY_ELEMENTS_MAX - self.elements {
            return Err(ProtocolError::Elements);
        }
        self.elements += wanted;
        if kind == b'|' {
            self.attributes |= self.depth == 0;
            // Attributes precede their element, and are not among the elements of the level.
            if let Some(outer) = self.depth.checked_sub(1).and_then(|level| self.open.get_mut(level)) {
                *outer += 1;
            }
        }
        if wanted > 0 {
            *self.open.get_mut(self.depth).ok_or(ProtocolError::Depth)? = wanted;
            self.depth += 1;
        }
        Ok(Some(ScannedElement::Opened { wanted, end }))
    }

    /// Reads the length in the current header line. Returns it with the end of the line.
    fn length(&mut self, bytes: &[u8]) -> Result<Option<(FrameLength, usize)>, ProtocolError> {
        let start = self.at + 1;
        Ok(match length::read(bytes.get(start..).unwrap_or_default())? {
            Header::Whole(length, line) => Some((length, start + line)),
            Header::NotYet(missing) => {
                self.missing = missing;
                None
            }
        })
    }
}
