//! The rules by which requests become cache keys.

use http::header::HeaderName;

use crate::key::cache_key::CacheKey;
use crate::key::target::Target;

/// The rules by which requests become cache keys. The proxy, purges and explanations make every key
/// with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    headers: Vec<HeaderName>,
}

impl KeyRules {
    /// Returns the rules with these request fields in every key.
    pub fn new(headers: Vec<HeaderName>) -> Self {
        Self { headers }
    }

    /// Returns the request fields that are part of every key.
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Computes the key of a whole resource.
    pub fn resource(&self, target: &Target) -> CacheKey {
        CacheKey::of(target)
    }

    /// Computes the key of one variant of a resource: see [`CacheKey::variant`].
    pub fn variant<'a>(
        &self,
        resource: &CacheKey,
        nonce: u64,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> CacheKey {
        resource.variant(nonce, fields)
    }
}
