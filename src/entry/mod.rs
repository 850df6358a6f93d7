//! Stored entries: self-describing bytes, with one layout for memory and for Redis.
//!
//! Bytes from a store are untrusted: they can be damaged, truncated, of another version, of another
//! key, or hostile. [`decode`] returns an [`EntryError`] for each of these, and the caller counts
//! the error and treats the entry as a miss. An accepted entry was made by [`encode`] for this key,
//! as far as the digest, the checksum and `written.rs` can prove. The limit: a client that can
//! write to the store can still store anything that an origin could have sent.

mod codec;
mod fields;
mod header;
mod inflate;
pub mod json;
mod written;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::policy::{StoredFacts, VaryFields};
use crate::time::Timestamp;

pub use codec::{
    EncodeError, EntryDecoder, EntryError, Provenance, decode, encode, history, key_name, received,
    with_checksum,
};
pub use header::{
    EntryHeader, EntryVersion, HEADER_BYTES, KEY_GENERATION_END, KeyGeneration, PurgeGeneration, TagDigest,
    ValueKind, mark_stale, tombstone,
};
pub use json::{JsonCheck, JsonCheckError, JsonShape};

/// A value stored under one key.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredValue {
    /// A response.
    Response(Entry),
    /// A list of variants: the resource varies, and each response is stored under its variant's
    /// key.
    Variants(Variants),
}

/// A stored response.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The facts that the policy computed when the response was stored.
    pub facts: StoredFacts,
    /// The status code.
    pub status: StatusCode,
    /// The header fields that a cache may store, in their order.
    pub head: HeaderMap,
    /// The body, byte for byte as the origin sent it.
    pub body: Bytes,
}

/// The list of request fields by which a resource varies (RFC 9111 §4.1), with the nonce in its
/// variants' keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// A nonce that is part of every variant's key: a new list with a new nonce makes all older
    /// variants unreachable at once.
    pub nonce: u64,
    /// The time at which the last variant expires.
    pub expires: Timestamp,
    /// The request fields that select a variant.
    pub fields: VaryFields,
}
