//! The options of the stream.

/// The stream that a node reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its name in Redis, without any prefix.
    pub stream: Box<str>,
}
