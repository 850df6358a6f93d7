//! The key of the names that a fleet writes to Redis, and of its messages.
//!
//! Without a key, a name is a hash: a reader of Redis can compute the hash of a URL or a tag that
//! it guesses. With a key, the name is a keyed hash (BLAKE3), and a message between nodes carries a
//! keyed MAC. Entries and tags contain the names, so the key does not rotate: another key empties
//! the cache.
//!
//! **Always:** no output shows a key.

use std::fmt;
use std::sync::Arc;

/// Bytes of a key.
const NAME_KEY_BYTES: usize = 32;
/// Bytes of a message's MAC.
pub const MAC_BYTES: usize = 16;

/// The domain of the key that hashes names.
const NAMES_DOMAIN: &str = "cachewarp 2026 names in Redis";
/// The domain of the key of MACs.
const MACS_DOMAIN: &str = "cachewarp 2026 macs of messages";
/// The domain of the number by which nodes compare their keys.
const NUMBER_DOMAIN: &str = "cachewarp 2026 number of a name key";

/// The key of a fleet's names, if it has one. Clones share it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NameKey(Option<Arc<DerivedKeys>>);

/// The keys that follow from the key in the file.
#[derive(PartialEq, Eq)]
struct DerivedKeys {
    names: [u8; NAME_KEY_BYTES],
    macs: [u8; NAME_KEY_BYTES],
    number: u64,
}

impl NameKey {
    /// Derives the keys from the bytes of a file's key.
    pub fn new(bytes: &[u8; NAME_KEY_BYTES]) -> Self {
        let number = blake3::derive_key(NUMBER_DOMAIN, bytes);
        Self(Some(Arc::new(DerivedKeys {
            names: blake3::derive_key(NAMES_DOMAIN, bytes),
            macs: blake3::derive_key(MACS_DOMAIN, bytes),
            number: number.first_chunk().map_or(0, |number| u64::from_be_bytes(*number)),
        })))
    }

    /// Returns whether there is a key.
    pub const fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the number by which nodes compare their keys; zero without a key.
    pub fn number(&self) -> u64 {
        self.0.as_ref().map_or(0, |keys| keys.number)
    }

    /// Hashes a message that names a value.
    pub(crate) fn hash(&self, message: &[u8]) -> blake3::Hash {
        match &self.0 {
            None => blake3::hash(message),
            Some(keys) => blake3::keyed_hash(&keys.names, message),
        }
    }

    /// Returns the hasher of a message that comes in parts.
    pub(super) fn hasher(&self) -> blake3::Hasher {
        match &self.0 {
            None => blake3::Hasher::new(),
            Some(keys) => blake3::Hasher::new_keyed(&keys.names),
        }
    }

    /// Returns the MAC of a message for a recipient; `None` without a key.
    pub fn mac(&self, recipient: &[u8], message: &[u8]) -> Option<[u8; MAC_BYTES]> {
        let hash = self.mac_hash(recipient, message)?;
        hash.as_bytes().first_chunk().copied()
    }

    /// Returns whether a message has this MAC. The comparison takes the same time for every MAC.
    pub fn verifies(&self, recipient: &[u8], message: &[u8], mac: &[u8; MAC_BYTES]) -> bool {
        let Some(known) = self.mac(recipient, message) else { return false };
        let differing = known.iter().zip(mac).fold(0, |sum, (known, given)| sum | (known ^ given));
        std::hint::black_box(differing) == 0
    }

    fn mac_hash(&self, recipient: &[u8], message: &[u8]) -> Option<blake3::Hash> {
        let keys = self.0.as_ref()?;
        let mut hasher = blake3::Hasher::new_keyed(&keys.macs);
        hasher.update(&(recipient.len() as u64).to_be_bytes());
        hasher.update(recipient);
        hasher.update(message);
        Some(hasher.finalize())
    }
}

impl Drop for DerivedKeys {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.names);
        zeroize::Zeroize::zeroize(&mut self.macs);
    }
}

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "NameKey(set)" } else { "NameKey(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_own_hashes_and_macs() {
        let [none, one, other] = [NameKey::default(), NameKey::new(&[1; 32]), NameKey::new(&[2; 32])];
        assert_eq!(none.hash(b"a"), blake3::hash(b"a"));
        assert!(one.hash(b"a") != none.hash(b"a") && one.hash(b"a") != other.hash(b"a"));
        assert_eq!(one.hasher().update(b"a").finalize(), one.hash(b"a"));
        assert!(one.number() != other.number() && none.number() == 0);
        assert_eq!(none.mac(b"r", b"m"), None);
        let mac = one.mac(b"r", b"m").unwrap();
        assert!(one.verifies(b"r", b"m", &mac));
        for (key, recipient, message) in [
            (&none, &b"r"[..], &b"m"[..]),
            (&other, b"r", b"m"),
            (&one, b"s", b"m"),
            (&one, b"r", b"n"),
            (&one, b"", b"rm"),
            (&one, b"rm", b""),
        ] {
            assert!(!key.verifies(recipient, message, &mac));
        }
        for bit in 0..8 * MAC_BYTES {
            let mut changed = mac;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!one.verifies(b"r", b"m", &changed), "{bit}");
        }
        assert_eq!(format!("{one:?}{none:?}"), "NameKey(set)NameKey(none)");
    }
}
