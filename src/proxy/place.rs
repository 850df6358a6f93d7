//! Where a response stands: under its resource's key, or under that of a variant.

use http::HeaderMap;

use super::cache_status::ForwardReason;
use crate::entry::{KeyGeneration, Variants};
use crate::key::CacheKey;

/// Where the response to one request stands, or would stand, as far as is known.
#[derive(Clone, Debug)]
pub(super) struct CacheLocation {
    /// The key of the resource.
    pub(super) whole: CacheKey,
    /// The key to look under: the resource's, or a variant's.
    pub(super) key: CacheKey,
    /// The purge behind which whatever was found under the resource's key was stored.
    pub(super) lineage: KeyGeneration,
    /// How the resource varies.
    pub(super) variants: Option<Variants>,
}

impl CacheLocation {
    /// The place of a resource of which no variants are known.
    pub(super) fn whole(key: CacheKey, lineage: KeyGeneration) -> Self {
        Self { whole: key, key, lineage, variants: None }
    }

    /// Why a request goes forward if nothing stands here.
    pub(super) fn miss(&self) -> ForwardReason {
        if self.variants.is_some() { ForwardReason::VaryMiss } else { ForwardReason::UriMiss }
    }

    /// The place of the variant that these request fields select (RFC 9111 §4.1).
    pub(super) fn variant(
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
