//! The decoded values: a response, or the list of the variants of a resource.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::policy::{StoredFacts, VaryFields};
use crate::time::Timestamp;

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

#[cfg(test)]
impl Entry {
    /// Returns a response with this body that is fresh for a lifetime.
    pub(crate) fn fresh_for(lifetime: std::time::Duration, received: Timestamp, body: Bytes) -> Self {
        let facts = StoredFacts {
            received,
            initial_age: std::time::Duration::ZERO,
            lifetime,
            obligations: crate::policy::Obligations::default(),
            rules: crate::policy::RulesDigest::NONE,
            stale_while_revalidate: std::time::Duration::ZERO,
            stale_if_error: std::time::Duration::ZERO,
        };
        Self { facts, status: StatusCode::OK, head: HeaderMap::new(), body }
    }
}
