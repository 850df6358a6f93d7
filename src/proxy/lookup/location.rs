//! Where a response stands: under its resource's key, or under that of a variant.

use http::HeaderMap;

use crate::entry::{KeyGeneration, Variants};
use crate::key::CacheKey;
use crate::proxy::answer::cache_status::ForwardReason;

/// Where the response to one request stands, or would stand, as far as is known.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct CacheLocation {
    /// The key of the resource.
    pub(in crate::proxy) whole: CacheKey,
    /// The key to look under: the resource's, or a variant's.
    pub(in crate::proxy) key: CacheKey,
    /// The purge behind which whatever was found under the resource's key was stored.
    pub(in crate::proxy) lineage: KeyGeneration,
    /// How the resource varies.
    pub(in crate::proxy) variants: Option<Variants>,
}

impl CacheLocation {
    /// The place of a resource of which no variants are known.
    pub(in crate::proxy) fn whole(key: CacheKey, lineage: KeyGeneration) -> Self {
        Self { whole: key, key, lineage, variants: None }
    }

    /// Why a request goes forward if nothing stands here.
    pub(in crate::proxy) fn miss(&self) -> ForwardReason {
        if self.variants.is_some() { ForwardReason::VaryMiss } else { ForwardReason::UriMiss }
    }

    /// The place of the variant that these request fields select (RFC 9111 §4.1).
    pub(in crate::proxy) fn variant(
        whole: CacheKey,
        lineage: KeyGeneration,
        variants: Variants,
        request: &HeaderMap,
    ) -> Self {
        let values = variants.fields.values(request);
        let key = whole.variant(variants.nonce, values.iter().map(|(name, value)| (*name, value.as_ref())));
        Self { whole, key, lineage, variants: Some(variants) }
    }
}
