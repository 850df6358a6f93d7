//! What is no reply.

use crate::labels;

labels! {
    /// Why bytes cannot be a reply.
    pub enum ProtocolError {
        /// No frame begins with this byte.
        Type => "type",
        /// A length that is no number, too large for one, or negative where that means nothing.
        Length => "length",
        /// A line, value or aggregate does not end where it says.
        End => "end",
        /// A streamed string or aggregate, which Redis does not send.
        Streamed => "streamed",
        /// A line without an end.
        LineBytes => "line-bytes",
        /// More bytes than a reply may have.
        Bytes => "bytes",
        /// Nested deeper than a reply may be.
        Depth => "depth",
        /// More elements than a reply may have.
        Elements => "elements",
        /// The content of an element is not what its type says.
        Content => "content",
    }
}
