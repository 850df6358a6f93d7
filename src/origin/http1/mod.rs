//! HTTP/1.1 towards the origin: one exchange at a time on one connection (RFC 9112).
//!
//! ```text
//! begin ──► poll_head ──► poll_data … ──► end: is_idle, or closed
//!             │  writes the request, reads the head
//!             └── the head came first: poll_upload in a task, beside poll_data
//! ```
//!
//! The user of the connection polls it; nothing reads ahead of its reader.

mod chunks;
mod head;
mod request;
mod stream;
#[cfg(test)]
mod tests;
mod upload;

pub use chunks::{ChunkPart, ChunkReader};
pub use head::{ResponseHead, ResponseHeadReader};
pub(super) use stream::{BodyReadFailure, HeadFailure, Http1Stream};
