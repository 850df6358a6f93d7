//! The reasons why stored bytes, or a value to store, are refused.

crate::labels! {
    /// The reason why stored bytes are refused. The caller treats each as a miss; the client sees
    /// no error.
    pub enum EntryError {
        /// Shorter or longer than their length fields state.
        Length => "length",
        /// Without CacheWarp's magic bytes.
        Foreign => "foreign",
        /// Another version of this layout.
        Version => "version",
        /// The entry of another key: a collision of names, a key injection, or a desynchronised
        /// pipeline.
        OtherKey => "other-key",
        /// Changed since the entry was written.
        Checksum => "checksum",
        /// Past the end with which it was stored.
        Expired => "expired",
        /// In plain text, although this node has keys.
        Plain => "plain",
        /// Sealed, although this node has no key.
        Sealed => "sealed",
        /// Sealed with a key that this node does not have.
        UnknownKey => "unknown-key",
        /// Not the value that was sealed: changed, or sealed for another key, kind or namespace.
        Forged => "forged",
        /// Compressed, and not to the size that it states.
        Compression => "compression",
        /// Well-framed, with content that [`encode`](super::encode) never writes.
        Content => "content",
        /// A status that is never stored, or a body with a status that has none.
        Status => "status",
        /// A field that is never stored: of framing, of a connection, or for one client.
        Field => "field",
        /// A `Vary` that matches no other request.
        Vary => "vary",
        /// An obligation unknown to this version.
        Obligations => "obligations",
        /// Times that no response can have, or that are ahead of the clock.
        Time => "time",
    }
}

/// The reason why [`encode`](super::encode) refuses a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The value is larger than the layout allows.
    #[error("too large")]
    TooLarge,
    /// [`decode`](super::decode) would refuse the encoded value.
    #[error("not storable: {0}")]
    Refused(EntryError),
}
