//! The hash function of the tables of fetches and keys.
//!
//! Every request to the origin looks into these tables a few times, and their keys are digests
//! already. So an unpredictable hash is enough here, and the library's hash, which withstands
//! chosen keys, costs more than needed. Each word is multiplied into a seed that only this process
//! knows.

use std::hash::{BuildHasher, Hasher};

/// The fraction of the golden ratio in 64 bits: an odd number without a pattern.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed of one table.
#[derive(Clone, Debug)]
pub struct SeededBuildHasher(u64);

/// The state of a hash.
#[derive(Debug)]
pub struct MixingHasher(u64);

impl Default for SeededBuildHasher {
    fn default() -> Self {
        Self(fastrand::u64(..))
    }
}

impl BuildHasher for SeededBuildHasher {
    type Hasher = MixingHasher;

    fn build_hasher(&self) -> MixingHasher {
        MixingHasher(self.0)
    }
}

impl MixingHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        let folded = (product >> u64::BITS) ^ (product & u128::from(u64::MAX));
        self.0 = u64::try_from(folded).unwrap_or_default();
    }
}

impl Hasher for MixingHasher {
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut padded = [0; size_of::<u64>()];
            padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(padded));
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
    fn keys_that_differ_in_one_bit_spread_over_the_table() {
        let seed = SeededBuildHasher::default();
        let all: Vec<[u8; 32]> = (0..256)
            .map(|bit| {
                let mut key = [0; 32];
                key[bit / 8] = 1 << (bit % 8);
                key
            })
            .collect();
        let hashes: HashSet<u64> = all.iter().map(|key| seed.hash_one(key)).collect();
        assert_eq!(hashes.len(), all.len());
        // A table selects by the lower bits, and compares by the upper ones.
        for shift in [0, 57] {
            let places: HashSet<u64> = hashes.iter().map(|hash| hash >> shift & 0x7f).collect();
            assert!(places.len() > 64, "{} of 128", places.len());
        }
        assert_ne!(seed.hash_one([1_u8; 32]), SeededBuildHasher(!seed.0).hash_one([1_u8; 32]));
    }
}
