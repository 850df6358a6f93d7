//! The key of a stored response.

use std::fmt;

use crate::key::hasher::{DIGEST_BYTES, FieldHasher};
use crate::key::name_key::NameKey;
use crate::key::target::Target;

/// Separates keys of this layout from any other use of the hash.
const KEY_DOMAIN: &[u8] = b"cw-key-1";
/// Separates the keys of `QUERY` responses from those of `GET` responses.
const QUERY_DOMAIN: &[u8] = b"cw-query-1";
const VARIANT_DOMAIN: &[u8] = b"cw-var-1";

/// Bytes of the digest that go into the name, in hexadecimal.
const NAME_DIGEST_BYTES: usize = 16;

/// The key of a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; DIGEST_BYTES]);

impl CacheKey {
    /// Computes the key of a whole resource, without a key of names.
    pub fn of(target: &Target) -> Self {
        Self::of_resource(target, &NameKey::default())
    }

    /// Computes the key of a whole resource.
    pub fn of_resource(target: &Target, name_key: &NameKey) -> Self {
        Self::within(KEY_DOMAIN, target, name_key)
    }

    /// Computes the key of the responses to `QUERY` requests for a target. Each of them is a
    /// variant, selected by its content.
    pub fn of_queries(target: &Target, name_key: &NameKey) -> Self {
        Self::within(QUERY_DOMAIN, target, name_key)
    }

    fn within(domain: &[u8], target: &Target, name_key: &NameKey) -> Self {
        let mut hash = FieldHasher::keyed(domain, name_key);
        hash.field(target.scheme.as_str().as_bytes());
        hash.field(target.authority.as_str().as_bytes());
        hash.field(target.path_and_query.as_str().as_bytes());
        Self(hash.finish())
    }

    /// Computes the key of one variant of this resource: the variant for which the named request
    /// fields have these values.
    ///
    /// `nonce` belongs to the resource's list of variants: a new list makes every old variant
    /// unreachable.
    pub fn variant<'a>(&self, nonce: u64, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut hash = FieldHasher::new(VARIANT_DOMAIN);
        hash.field(&self.0);
        hash.field(&nonce.to_be_bytes());
        for (name, value) in fields {
            hash.field(name);
            hash.field(value);
        }
        Self(hash.finish())
    }

    /// Rebuilds a key from a stored digest. The key may not exist.
    pub const fn from_digest(digest: [u8; DIGEST_BYTES]) -> Self {
        Self(digest)
    }

    /// Returns all 256 bits, for comparison with the digest in an entry.
    pub const fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// Returns 128 bits as a number, for tables that are sharded by key.
    pub fn short(&self) -> u128 {
        self.0.first_chunk().map_or(0, |head| u128::from_be_bytes(*head))
    }

    /// Returns the 32 hexadecimal digits that name the value in Redis, after the prefix of the
    /// store.
    pub fn hex(&self) -> [u8; 2 * NAME_DIGEST_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * NAME_DIGEST_BYTES];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            if let ([high, low], Some(&h), Some(&l)) =
                (pair, DIGITS.get(usize::from(byte >> 4)), DIGITS.get(usize::from(byte & 15)))
            {
                (*high, *low) = (h, l);
            }
        }
        hex
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::hasher::GATHERED_BYTES;

    #[test]
    fn a_key_is_the_hash_of_its_length_prefixed_fields() {
        for length in (0..3 * GATHERED_BYTES).step_by(7) {
            let path = format!("/{}", "x".repeat(length));
            let mut message = KEY_DOMAIN.to_vec();
            for field in ["http", "a.test", &path] {
                message.extend((field.len() as u64).to_be_bytes());
                message.extend(field.as_bytes());
            }
            let target = Target::of_url(&format!("http://a.test{path}")).unwrap();
            let expected = CacheKey(*blake3::hash(&message).as_bytes());
            assert_eq!(CacheKey::of(&target), expected, "{length}");
            let name_key = NameKey::new(&[7; 32]);
            let expected = CacheKey(*name_key.hash(&message).as_bytes());
            assert_eq!(CacheKey::of_resource(&target, &name_key), expected, "{length}");
        }
    }
}
