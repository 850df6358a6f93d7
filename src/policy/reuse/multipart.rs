//! Several parts of a body in one response: `multipart/byteranges` (RFC 9110 §14.6).
//!
//! ```text
//! --BOUNDARY CRLF
//! Content-Type: .. CRLF            that of the whole body, if any
//! Content-Range: bytes F-L/N CRLF
//! CRLF
//! bytes F to L
//! CRLF --BOUNDARY CRLF ..          the next part
//! CRLF --BOUNDARY-- CRLF           the end
//! ```
//!
//! The result refers to the parts of the body and does not copy them.

use bytes::Bytes;
use http::header::HeaderValue;

use crate::policy::reuse::range::{ByteRange, content_range};

/// The body of a `206` with several parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartBody {
    /// The `Content-Type` of the response, which has no `Content-Range`.
    pub content_type: HeaderValue,
    /// The total length of the pieces, in bytes.
    pub bytes: usize,
    /// The pieces in sending order.
    pub pieces: Vec<MultipartPiece>,
}

/// A run of bytes of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultipartPiece {
    /// The text between the parts.
    Framing(Bytes),
    /// A part of the stored body.
    Body(ByteRange),
}

/// Frames parts of a body. `boundary` is a random number from the caller, so that the body does not
/// contain it.
pub fn multipart(
    parts: &[ByteRange],
    body_bytes: usize,
    content_type: Option<&HeaderValue>,
    boundary: u128,
) -> MultipartBody {
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    let mut line_end: &[u8] = b"";
    for part in parts {
        let mut framing = Vec::new();
        framing.extend_from_slice(line_end);
        framing.extend_from_slice(format!("--{boundary:032x}\r\n").as_bytes());
        if let Some(content_type) = content_type {
            field(&mut framing, "Content-Type", content_type);
        }
        field(&mut framing, "Content-Range", &content_range(*part, body_bytes));
        framing.extend_from_slice(b"\r\n");
        pieces.extend([MultipartPiece::Framing(framing.into()), MultipartPiece::Body(*part)]);
        line_end = b"\r\n";
    }
    pieces.push(MultipartPiece::Framing(format!("\r\n--{boundary:032x}--\r\n").into()));
    let content_type = format!("multipart/byteranges; boundary={boundary:032x}");
    MultipartBody {
        content_type: HeaderValue::try_from(content_type)
            .unwrap_or(HeaderValue::from_static("multipart/byteranges")),
        bytes: pieces.iter().map(MultipartPiece::bytes).sum(),
        pieces,
    }
}

impl MultipartPiece {
    fn bytes(&self) -> usize {
        match self {
            Self::Framing(bytes) => bytes.len(),
            Self::Body(part) => part.len,
        }
    }
}

fn field(framing: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    framing.extend_from_slice(name.as_bytes());
    framing.extend_from_slice(b": ");
    framing.extend_from_slice(value.as_bytes());
    framing.extend_from_slice(b"\r\n");
}
