//! The list of a resource's stored variants, for operators.
//!
//! A request finds its variant by its own header fields and never by a list, so this list decides
//! nothing. It holds digests, which reveal none of the requests' fields.
//!
//! ```text
//! <namespace>vary:<32 digits>   "CWv" 1, nonce of the resource's list of variants (8)
//!                               { digest of a variant's key (32) }*   newest last
//! ```
//!
//! One command writes it beside the variant. A lost command only hides the variant from the list. A
//! purge leaves the list as it is, because an inspection checks each variant.

use std::time::Duration;

use bytes::Bytes;

use crate::key::{CacheKey, DIGEST_BYTES};
use crate::limits::VARIANTS_LISTED_MAX;
use crate::store::handle::Store;
use crate::store::namespace::VARY_PREFIX;
use crate::store::scripts::{LIST, decimal};
use crate::time::millis;

/// The magic number and version of the list.
const MAGIC: &[u8] = b"CWv\x01";

/// Returns the variants in a list with this nonce, the newest last; `None` if the bytes are no such
/// list.
pub fn listed_variants(bytes: &[u8], nonce: u64) -> Option<Vec<CacheKey>> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&nonce.to_be_bytes())?;
    let (digests, rest) = rest.as_chunks::<DIGEST_BYTES>();
    let fits = rest.is_empty() && digests.len() <= VARIANTS_LISTED_MAX;
    fits.then(|| digests.iter().map(|digest| CacheKey::from_digest(*digest)).collect())
}

impl Store {
    /// Records that a variant of a resource is stored for `lifetime`, in the list with this nonce.
    ///
    /// Dropping the future may leave it undone.
    pub async fn list_variant(
        &self,
        resource: &CacheKey,
        nonce: u64,
        variant: &CacheKey,
        lifetime: Duration,
    ) {
        let Some(redis) = &self.redis else { return };
        let arguments = [
            [MAGIC, &nonce.to_be_bytes()].concat().into(),
            Bytes::copy_from_slice(variant.digest()),
            decimal(millis(lifetime).max(1)),
            decimal(VARIANTS_LISTED_MAX as u64),
        ];
        // The pool counts failures.
        let _ = LIST.run(redis, &self.listing_name(resource), &arguments).await;
    }

    /// Returns the variants of a resource that were stored last, the newest last; none if Redis
    /// does not answer.
    pub async fn variants(&self, resource: &CacheKey, nonce: u64) -> Vec<CacheKey> {
        let Some(redis) = &self.redis else { return Vec::new() };
        let listed = redis.get(&self.listing_name(resource)).await.ok().flatten();
        listed.and_then(|listed| listed_variants(&listed, nonce)).unwrap_or_default()
    }

    fn listing_name(&self, resource: &CacheKey) -> Vec<u8> {
        self.namespace().name(&[VARY_PREFIX.as_bytes(), &resource.hex()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_lists_as_the_script_writes_them() {
        let digests: Vec<[u8; DIGEST_BYTES]> = (0..3).map(|number| [number; DIGEST_BYTES]).collect();
        let list = |count: usize| {
            let begun = [MAGIC, &7_u64.to_be_bytes()].concat();
            (0..count).fold(begun, |list, number| [list, digests[number % 3].to_vec()].concat())
        };
        let keys: Vec<_> = digests.iter().copied().map(CacheKey::from_digest).collect();
        assert_eq!(listed_variants(&list(3), 7), Some(keys));
        assert_eq!(listed_variants(&list(0), 7), Some(Vec::new()));
        assert_eq!(listed_variants(&list(3), 8), None, "the nonce of another list");
        assert_eq!(listed_variants(&list(VARIANTS_LISTED_MAX + 1), 7), None);
        let whole = list(2);
        for cut in (0..whole.len()).filter(|cut| *cut != 12 && *cut != 12 + DIGEST_BYTES) {
            assert_eq!(listed_variants(&whole[..cut], 7), None, "{cut}");
        }
    }
}
