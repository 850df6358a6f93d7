//! Errors in the bytes of a reply.

use crate::labels;

labels! {
    /// The reason that bytes are no valid reply.
    pub enum ProtocolError {
        /// No frame begins with this byte.
        Type => "type",
        /// A length that is not a number, too large, or negative without a meaning.
        Length => "length",
        /// A line, value or aggregate does not end at its announced length.
        End => "end",
        /// A streamed string or aggregate, which Redis does not send.
        Streamed => "streamed",
        /// A line is too long.
        LineBytes => "line-bytes",
        /// A reply is too large.
        Bytes => "bytes",
        /// A reply is nested too deeply.
        Depth => "depth",
        /// A reply has too many elements.
        Elements => "elements",
        /// The content of an element does not match its type.
        Content => "content",
    }
}
