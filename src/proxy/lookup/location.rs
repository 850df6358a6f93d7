//! The location of a stored response: the key of its resource, or the key of a variant.

use http::HeaderMap;

use crate::entry::{KeyGeneration, Variants};
use crate::key::{CacheKey, KeyRules};
use crate::proxy::answer::cache_status::ForwardReason;

/// The location at which the response to a request is or would be stored, as far as it is known.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct CacheLocation {
    /// The key of the resource.
    pub(in crate::proxy) whole: CacheKey,
    /// The key to look up: the resource's, or a variant's.
    pub(in crate::proxy) key: CacheKey,
    /// The key generation of the value that was found under the resource's key.
    pub(in crate::proxy) generation: KeyGeneration,
    /// The variant list of the resource, if it varies.
    pub(in crate::proxy) variants: Option<Variants>,
}

impl CacheLocation {
    /// Creates the location of a resource without known variants.
    pub(in crate::proxy) fn whole(key: CacheKey, generation: KeyGeneration) -> Self {
        Self { whole: key, key, generation, variants: None }
    }

    /// Returns the reason for which a request goes forward if nothing is stored at this location.
    pub(in crate::proxy) fn miss(&self) -> ForwardReason {
        if self.variants.is_some() { ForwardReason::VaryMiss } else { ForwardReason::UriMiss }
    }

    /// Creates the location of the variant that these request fields select (RFC 9111 §4.1).
    pub(in crate::proxy) fn variant(
        keys: &KeyRules,
        whole: CacheKey,
        generation: KeyGeneration,
        variants: Variants,
        request: &HeaderMap,
    ) -> Self {
        let values = variants.fields.values(request);
        let key =
            keys.variant(&whole, variants.nonce, values.iter().map(|(name, value)| (*name, value.as_ref())));
        Self { whole, key, generation, variants: Some(variants) }
    }
}
