//! Where a frame ends.
//!
//! A resumable walk over the bytes of one frame, which answers "not yet" until the frame is whole and refuses
//! what exceeds a limit before anything is allocated for it. It goes on where it stopped: however small the
//! pieces are in which a frame comes, a byte of it is looked at once, but for the few of a header line. It
//! does not recurse, so nesting costs a counter and not stack.
//!
//! ```text
//! *2\r\n $3\r\nGET\r\n >1\r\n ...
//! └open 2┘└─element──┘└open 1┘      an aggregate opens a level that wants so many elements;
//!                                   the frame is whole when no level wants any
//! ```
//!
//! What always holds: a frame that is called whole keeps every bound of `limits::REPLY_*`, its lengths are
//! plain decimal numbers, its line ends are where they must be, and it has none of the streamed forms, which
//! Redis does not send.

use std::ops::Range;

use super::length::{self, Header, Length};
use super::malformed::Malformed;
use crate::limits::{REPLY_BYTES_MAX, REPLY_DEPTH_MAX, REPLY_ELEMENTS_MAX, REPLY_LINE_BYTES_MAX};

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// What it is.
    pub(super) shape: Shape,
    /// How many bytes it has.
    pub(super) end: usize,
}

/// What a frame is, as far as the walk has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A value, and where its bytes are.
    Bulk(Range<usize>),
    /// An error, and where its text is.
    Error(Range<usize>),
    /// Nothing, in either dialect.
    Nil,
    /// News about the reply that follows, which is no reply itself.
    Attributes,
    /// Anything else, in the types that both dialects have.
    Resp2,
    /// Anything else, with types that only RESP3 has.
    Resp3,
}

/// A walk over one frame, as far as it has got.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the present element begins.
    at: usize,
    /// Up to where the present line has been searched for its end.
    searched: usize,
    /// How many elements each open level still wants, outermost first.
    open: [usize; REPLY_DEPTH_MAX],
    /// How many levels are open.
    depth: usize,
    /// Elements that were announced so far.
    elements: usize,
    /// How many bytes more than there were would get the walk further.
    missing: usize,
    /// A type was met that RESP2 does not have.
    resp3: bool,
    /// The frame began with an attribute.
    attributes: bool,
}

/// What the walk meets.
enum Element {
    /// One that is whole, and what it would be as a frame.
    Whole(Whole),
    /// The head of an aggregate that wants `wanted` elements, and where they begin.
    Opened { wanted: usize, end: usize },
}

impl Scan {
    /// Goes on over `bytes`, which begin with the frame and are at least those of the last call. `None` is
    /// "not yet". After an answer other than that the walk is over.
    pub(super) fn go_on(&mut self, bytes: &[u8]) -> Result<Option<Whole>, Malformed> {
        loop {
            self.missing = 0;
            let Some(element) = self.element(bytes)? else { return Ok(None) };
            let whole = match element {
                Element::Opened { wanted, end } if wanted > 0 => {
                    self.step(end)?;
                    continue;
                }
                Element::Opened { end, .. } => Whole { shape: self.aggregate(), end },
                Element::Whole(whole) => whole,
            };
            self.step(whole.end)?;
            if self.depth == 0 {
                return Ok(Some(whole));
            }
            if self.close() {
                return Ok(Some(Whole { shape: self.aggregate(), end: self.at }));
            }
        }
    }

    /// How many more bytes the walk knows it needs, if it is in the middle of a frame.
    pub(super) fn missing(&self) -> usize {
        self.missing
    }

    /// Moves on to the next element.
    fn step(&mut self, end: usize) -> Result<(), Malformed> {
        if end > REPLY_BYTES_MAX {
            return Err(Malformed::Bytes);
        }
        self.at = end;
        self.searched = end;
        Ok(())
    }

    /// Counts one element into the levels that it completes. True if none is left open.
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

    fn aggregate(&self) -> Shape {
        match (self.attributes, self.resp3) {
            (true, _) => Shape::Attributes,
            (false, true) => Shape::Resp3,
            (false, false) => Shape::Resp2,
        }
    }

    fn element(&mut self, bytes: &[u8]) -> Result<Option<Element>, Malformed> {
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
            b';' | b'.' => Err(Malformed::Streamed),
            _ => Err(Malformed::Type),
        }
    }

    /// `$3\r\nabc\r\n`, `!3\r\n...`, `=7\r\ntxt:abc\r\n`, `$-1\r\n`.
    fn blob(&mut self, kind: u8, bytes: &[u8]) -> Result<Option<Element>, Malformed> {
        let Some((length, start)) = self.length(bytes)? else { return Ok(None) };
        let length = match (length, kind) {
            (Length::Nil, b'$') => return Ok(Some(Element::Whole(Whole { shape: Shape::Nil, end: start }))),
            (Length::Nil, _) => return Err(Malformed::Length),
            // The format and its colon; redis-protocol subtracts them unchecked.
            (Length::Of(..4), b'=') => return Err(Malformed::Content),
            (Length::Of(length), _) => length,
        };
        if length > REPLY_BYTES_MAX - start.min(REPLY_BYTES_MAX) {
            return Err(Malformed::Bytes);
        }
        let end = start + length;
        match bytes.get(end..end + 2) {
            None => {
                self.missing = end + 2 - bytes.len();
                Ok(None)
            }
            Some(b"\r\n") => {
                let shape = match kind {
                    b'$' => Shape::Bulk(start..end),
                    b'!' => Shape::Error(start..end),
                    _ => Shape::Resp3,
                };
                Ok(Some(Element::Whole(Whole { shape, end: end + 2 })))
            }
            Some(_) => Err(Malformed::End),
        }
    }

    /// `+OK\r\n`, `-ERR ...\r\n`, `:1\r\n`, `_\r\n`, `,1.5\r\n`, `#t\r\n`, `(123\r\n`.
    fn line(&mut self, kind: u8, bytes: &[u8]) -> Result<Option<Element>, Malformed> {
        let start = self.at + 1;
        let from = self.searched.max(start);
        let found = bytes.get(from..).and_then(|rest| rest.windows(2).position(|pair| pair == b"\r\n"));
        let text = start..found.map_or(bytes.len(), |index| from + index);
        if text.len() > REPLY_LINE_BYTES_MAX {
            return Err(Malformed::LineBytes);
        }
        if found.is_none() {
            // The last byte may be the first half of the end.
            self.searched = bytes.len().saturating_sub(1);
            self.missing = 1;
            return Ok(None);
        }
        let end = text.end + 2;
        let shape = match kind {
            b'-' => Shape::Error(text),
            b'_' if text.is_empty() => Shape::Nil,
            b'_' => return Err(Malformed::Content),
            b'+' | b':' => Shape::Resp2,
            _ => Shape::Resp3,
        };
        Ok(Some(Element::Whole(Whole { shape, end })))
    }

    /// `*2\r\n`, `~2\r\n`, `>2\r\n`; `%2\r\n` and `|2\r\n` want two elements for each that they announce.
    fn open(&mut self, kind: u8, each: usize, bytes: &[u8]) -> Result<Option<Element>, Malformed> {
        let Some((length, end)) = self.length(bytes)? else { return Ok(None) };
        let wanted = match (length, kind) {
            (Length::Nil, b'*') => return Ok(Some(Element::Whole(Whole { shape: Shape::Nil, end }))),
            (Length::Nil, _) => return Err(Malformed::Length),
            (Length::Of(length), _) => length.saturating_mul(each),
        };
        if wanted > REPLY_ELEMENTS_MAX - self.elements {
            return Err(Malformed::Elements);
        }
        self.elements += wanted;
        if kind == b'|' {
            self.attributes |= self.depth == 0;
            // Attributes stand before the element that they are about, and are none of those that the level
            // wants.
            if let Some(outer) = self.depth.checked_sub(1).and_then(|level| self.open.get_mut(level)) {
                *outer += 1;
            }
        }
        if wanted > 0 {
            *self.open.get_mut(self.depth).ok_or(Malformed::Depth)? = wanted;
            self.depth += 1;
        }
        Ok(Some(Element::Opened { wanted, end }))
    }

    /// The length in the present header line, and where that line ends.
    fn length(&mut self, bytes: &[u8]) -> Result<Option<(Length, usize)>, Malformed> {
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
