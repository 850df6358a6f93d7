//! Sizes of the parts of a seal.

/// Bytes of the nonce of a seal.
pub const NONCE_BYTES: usize = 12;
/// Bytes of the tag of a seal.
pub const TAG_BYTES: usize = 16;
/// Bytes of a key's number.
pub const KEY_NUMBER_BYTES: usize = 4;
