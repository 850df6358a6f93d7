//! A request as bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::TRANSFER_ENCODING;
use http::request::Parts;

use crate::limits::{ORIGIN_COPIED_BYTES_MAX, ORIGIN_READ_BYTES_MIN};

/// The framing of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFraming {
    /// The head states the length, or there is no body.
    Length,
    Chunked,
}

/// The reason why a request is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::origin) enum UploadFailure {
    /// The client's body failed.
    Client,
    /// The socket takes no more.
    Written,
}

/// Bytes on their way to the origin.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Copied bytes: the head, the framing of chunks, small pieces.
    pub(super) copied: BytesMut,
    /// A larger piece, which comes behind them.
    pub(super) piece: Bytes,
    /// The end of the chunk of that piece.
    pub(super) end: &'static [u8],
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Adds a request head, and returns the framing that it states.
    pub(super) fn put_head(&mut self, head: &Parts) -> UploadFraming {
        let out = &mut self.copied;
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let bytes =
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        out.reserve(head.method.as_str().len() + target.len() + bytes + REST_BYTES);
        out.put_slice(head.method.as_str().as_bytes());
        out.put_u8(b' ');
        if !matches!(target.as_bytes().first(), Some(b'/' | b'*')) {
            out.put_u8(b'/');
        }
        out.put_slice(target.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        let mut framing = UploadFraming::Length;
        for (name, value) in &head.headers {
            if *name == TRANSFER_ENCODING {
                framing = UploadFraming::Chunked;
            }
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(b": ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"\r\n");
        framing
    }

    /// Adds a piece of the body. Everything before it has been written.
    pub(super) fn put_data(&mut self, data: Bytes, framing: UploadFraming) {
        if data.is_empty() {
            // An empty chunk would end the body.
            return;
        }
        let end: &'static [u8] = match framing {
            UploadFraming::Length => b"",
            UploadFraming::Chunked => {
                put_size(&mut self.copied, data.len());
                b"\r\n"
            }
        };
        if data.len() <= ORIGIN_COPIED_BYTES_MAX {
            self.copied.put_slice(&data);
            self.copied.put_slice(end);
        } else {
            (self.piece, self.end) = (data, end);
        }
    }

    /// Returns whether a further piece may be added: nothing large is in front of it.
    pub(super) fn can_take(&self) -> bool {
        self.piece.is_empty() && self.end.is_empty() && self.copied.len() < ORIGIN_READ_BYTES_MIN
    }

    /// Drops bytes that are written.
    pub(super) fn advance(&mut self, mut written: usize) {
        let part = written.min(self.copied.len());
        self.copied.advance(part);
        written -= part;
        let part = written.min(self.piece.len());
        self.piece.advance(part);
        written -= part;
        self.end = self.end.get(written..).unwrap_or_default();
        if self.piece.is_empty() {
            // An empty slice would keep the memory of the piece.
            self.piece = Bytes::new();
        }
    }

    /// Adds the end of the body.
    pub(super) fn put_end(&mut self, framing: UploadFraming) {
        if framing == UploadFraming::Chunked {
            self.copied.put_slice(b"0\r\n\r\n");
        }
    }
}

/// Bytes of the request line and of the end of a head beside method, target and fields.
const REST_BYTES: usize = " / HTTP/1.1\r\n\r\n".len();

/// Adds the size of a chunk.
fn put_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.put_u8(DIGITS.get((size >> (4 * digit)) & 15).copied().unwrap_or(b'0'));
    }
    out.put_slice(b"\r\n");
}
