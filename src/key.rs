//! The cache key: it identifies a resource, or one variant of it.
//!
//! A key is computed from scheme, authority and target, always from all three, so two hosts never
//! share an entry (Pingora's old default key and nginx's `$proxy_host` allow that). Each field
//! enters the hash behind its length, so no crafted path can imitate another request's host and
//! path. The hash is BLAKE3 with 256 bits. The first 128 bits name the value in Redis; the value
//! contains all 256, and every hit compares them, so even a collision of names is a miss.
//!
//! The method is not part of the key: a stored `GET` response also answers a `HEAD` (RFC 9111 §4).
//! The responses to `QUERY` requests have a key of their own, and each is a variant of it, selected
//! by the digest of the request's content and of the fields that describe it (RFC 10008 §2.7).
//!
//! ```text
//! whole resource   H( "cw-key-1"  len scheme  len authority  len target )
//! its queries      H( "cw-query-1"  len scheme  len authority  len target )
//! one variant      H( "cw-var-1"  whole (32)  nonce (8)  { len name  len value }* )
//! ```
//!
//! With a [`NameKey`], the first two are keyed hashes. A reader of Redis sees half of a digest, and
//! cannot compute the third one without the whole.

mod cache_key;
mod hasher;
mod name_key;
mod origin;
mod query;
mod rules;
mod target;

#[cfg(test)]
mod tests;

pub use cache_key::CacheKey;
pub use hasher::{DIGEST_BYTES, FieldHasher};
pub use name_key::{MAC_BYTES, NameKey};
pub use origin::OriginBase;
pub use query::{QueryFilter, QueryNames, QueryOrder, QueryRules};
pub use rules::KeyRules;
pub use target::{Authority, Scheme, Target, TargetError, UrlError};
