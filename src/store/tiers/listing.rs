//! The list of a resource's stored variants, for operators.
//!
//! A request finds its variant by its own header fields and never by a list, so this list decides
//! nothing. It holds digests, which reveal none of the requests' fields.
//!
//! ```text
//! <namespace>vary:<32 digits>   "CWv" 1, nonce of the resource's list of variants (8)
//!                               { digest of a variant's key (32) }*   newest last
//!                               "CWv" 2, nonce (8), { the digest, sealed (64) }*
//! ```
//!
//! With keys, each digest is sealed for its list. Equal digests have equal seals, so the script
//! finds a digest that is listed already.
//!
//! One command writes it beside the variant. A lost command only hides the variant from the list. A
//! purge leaves the list as it is, because an inspection checks each variant.

use std::time::Duration;

use bytes::Bytes;

use crate::key::{CacheKey, DIGEST_BYTES};
use crate::limits::VARIANTS_LISTED_MAX;
use crate::sealing::{SEAL_BYTES, SealKeys};
use crate::store::handle::Store;
use crate::store::namespace::VARY_PREFIX;
use crate::store::scripts::{LIST, decimal};
use crate::time::millis;

/// The magic number and version of the list.
const MAGIC: &[u8] = b"CWv\x01";
/// The magic number and version of a list of sealed digests.
const SEALED_MAGIC: &[u8] = b"CWv\x02";
/// Bytes of a sealed digest.
const SEALED_BYTES: usize = DIGEST_BYTES + SEAL_BYTES;
/// The domain of the seals.
const SEAL_DOMAIN: &[u8] = b"cw-list-1";

/// Returns the variants in a list with this nonce, the newest last; `None` if the bytes are no such
/// list.
pub fn listed_variants(bytes: &[u8], nonce: u64) -> Option<Vec<CacheKey>> {
    let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&nonce.to_be_bytes())?;
    let (digests, rest) = rest.as_chunks::<DIGEST_BYTES>();
    let fits = rest.is_empty() && digests.len() <= VARIANTS_LISTED_MAX;
    fits.then(|| digests.iter().map(|digest| CacheKey::from_digest(*digest)).collect())
}

/// Returns the variants in a list of sealed digests. A digest that does not open is left out.
fn unsealed_variants(bytes: &[u8], nonce: u64, keys: &SealKeys, context: &[u8]) -> Option<Vec<CacheKey>> {
    let rest = bytes.strip_prefix(SEALED_MAGIC)?.strip_prefix(&nonce.to_be_bytes())?;
    let (sealed, rest) = rest.as_chunks::<SEALED_BYTES>();
    if !rest.is_empty() || sealed.len() > VARIANTS_LISTED_MAX {
        return None;
    }
    let opened = sealed.iter().filter_map(|sealed| keys.open_value(context, sealed).ok());
    Some(opened.filter_map(|digest| Some(CacheKey::from_digest(digest.try_into().ok()?))).collect())
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
        let (magic, digest) = match self.shared.options.entry_keys.get() {
            None => (MAGIC, Bytes::copy_from_slice(variant.digest())),
            Some(keys) => match keys.seal_repeatable(&self.list_context(resource, nonce), variant.digest()) {
                Ok(sealed) => (SEALED_MAGIC, sealed.into()),
                Err(_) => return,
            },
        };
        let arguments = [
            [magic, &nonce.to_be_bytes()].concat().into(),
            digest,
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
        let variants = |listed: &[u8]| match self.shared.options.entry_keys.get() {
            None => listed_variants(listed, nonce),
            Some(keys) => unsealed_variants(listed, nonce, &keys, &self.list_context(resource, nonce)),
        };
        listed.and_then(|listed| variants(&listed)).unwrap_or_default()
    }

    /// Returns the bytes that the seal of a digest in a list covers.
    fn list_context(&self, resource: &CacheKey, nonce: u64) -> Vec<u8> {
        let namespace = self.shared.namespace_digest;
        [SEAL_DOMAIN, namespace.as_bytes(), resource.digest(), &nonce.to_be_bytes()].concat()
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
        let keys = SealKeys::parse(b"a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        let sealed = |digest: &[u8; DIGEST_BYTES]| keys.seal_repeatable(b"c", digest).unwrap();
        let digests = digests.iter().map(sealed).collect::<Vec<_>>().concat();
        let list_sealed = [SEALED_MAGIC, &7_u64.to_be_bytes(), &digests].concat();
        let unsealed = |context: &[u8], nonce| unsealed_variants(&list_sealed, nonce, &keys, context);
        assert_eq!(unsealed(b"c", 7), listed_variants(&list(3), 7));
        assert_eq!(unsealed(b"c", 8), None);
        assert_eq!(unsealed(b"d", 7), Some(Vec::new()), "another list");
        assert_eq!(unsealed_variants(&list(3), 7, &keys, b"c"), None, "plain digests");
        let whole = list(2);
        for cut in (0..whole.len()).filter(|cut| *cut != 12 && *cut != 12 + DIGEST_BYTES) {
            assert_eq!(listed_variants(&whole[..cut], 7), None, "{cut}");
        }
    }
}
