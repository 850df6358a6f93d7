//! What is stored: one self-describing run of bytes, the same in memory and in Redis.
//!
//! Bytes that come back from a store are foreign: they may be damaged, cut, of another version, of
//! another key, or hostile. [`decode`] answers all of that with a [`EntryError`], which the caller
//! counts and treats as a miss. What it lets through was made by [`encode`] for this very key, as
//! far as the digest, the checksum and `written.rs` can say: who can write to a store can still say
//! what an origin could have said.

mod codec;
mod fields;
mod inflate;
pub mod json;
mod stamp;
mod written;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::policy::{StoredFacts, VaryFields};
use crate::time::Timestamp;

pub use codec::{
    EncodeError, EntryDecoder, EntryError, Provenance, decode, encode, history, key_name, received,
    with_checksum,
};
pub use json::{JsonCheck, JsonCheckError};
pub use stamp::{
    EntryHeader, EntryVersion, KeyGeneration, LINEAGE_BYTES, PurgeGeneration, STAMP_BYTES, TagDigest,
    ValueKind, outdated, tombstone,
};

/// What stands under one key.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredValue {
    /// A response.
    Response(Entry),
    /// The resource varies; its responses stand under the keys of their variants.
    Variants(Variants),
}

/// A stored response.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the policy decided when it was stored.
    pub facts: StoredFacts,
    /// Its status.
    pub status: StatusCode,
    /// The fields that may be stored, in their order.
    pub head: HeaderMap,
    /// The body, byte for byte as the origin sent it.
    pub body: Bytes,
}

/// How a resource varies (RFC 9111 §4.1), and the way to its variants.
#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    /// Goes into the key of every variant: a new list with a new nonce puts all older variants out
    /// of reach at once.
    pub nonce: u64,
    /// When the last of the variants has expired.
    pub expires: Timestamp,
    /// The request fields that select a variant.
    pub fields: VaryFields,
}
