//! How the tables of what is under way find their keys.
//!
//! Every request to the origin looks into them a few times, by keys that are digests already. So a hash that must not be
//! guessed is enough here, where the library's own must withstand whatever is put into it: each word is multiplied into a
//! seed that only this process knows.

use std::hash::{BuildHasher, Hasher};

/// An odd number without a pattern: the golden ratio's fraction, in 64 bits.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed of one table.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

/// What was hashed so far.
#[derive(Debug)]
pub struct Mixed(u64);

impl Default for Seeded {
    fn default() -> Self {
        Self(fastrand::u64(..))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed(self.0)
    }
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(size_of::<u64>()) {
            let mut padded = [0; size_of::<u64>()];
            for (to, from) in padded.iter_mut().zip(word) {
                *to = *from;
            }
            let product = u128::from(self.0 ^ u64::from_le_bytes(padded)) * u128::from(MULTIPLIER);
            let folded = (product >> u64::BITS) ^ (product & u128::from(u64::MAX));
            self.0 = u64::try_from(folded).unwrap_or_default();
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_that_differ_in_one_bit_lie_apart() {
        let seed = Seeded::default();
        let all: Vec<[u8; 32]> = (0..256)
            .map(|bit| {
                let mut key = [0; 32];
                key[bit / 8] = 1 << (bit % 8);
                key
            })
            .collect();
        let hashes: HashSet<u64> = all.iter().map(|key| seed.hash_one(key)).collect();
        assert_eq!(hashes.len(), all.len());
        // A table looks at the lower bits first, and at the upper ones to compare.
        for shift in [0, 57] {
            let places: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0x7f).collect();
            assert!(places.len() > 64, "{} of 128", places.len());
        }
        assert_ne!(seed.hash_one([1_u8; 32]), Seeded(!seed.0).hash_one([1_u8; 32]));
    }
}
