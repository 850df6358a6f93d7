//! The keys that this process serves most often, and the list of them that Redis stores.
//!
//! ```text
//! the list   "CWk" 1  { digest (32) }*    the hottest key first, at most WARM_KEYS_MAX
//! ```

use std::sync::{Mutex, PoisonError, TryLockError};

use bytes::Bytes;

use crate::key::{CacheKey, DIGEST_BYTES};
use crate::limits::{WARM_KEYS_COUNTED_FACTOR, WARM_KEYS_MAX, WARM_SAMPLED};
use crate::telemetry::HeavyHitters;

/// The magic number and version of the list.
const MAGIC: &[u8] = b"CWk\x01";

/// The keys with the most hits in one process.
pub(in crate::store) struct HotKeys {
    pub(in crate::store) wanted: usize,
    hits: Mutex<HeavyHitters<CacheKey>>,
}

impl HotKeys {
    /// Counts for a list of `wanted` keys; returns `None` if `wanted` is zero.
    pub(in crate::store) fn new(wanted: usize) -> Option<Self> {
        let hits = Mutex::new(HeavyHitters::new(wanted.saturating_mul(WARM_KEYS_COUNTED_FACTOR)));
        (wanted > 0).then_some(Self { wanted, hits })
    }

    /// Counts a hit of a key: one in [`WARM_SAMPLED`], and only if no other worker is counting at
    /// this moment.
    pub(in crate::store) fn hit(&self, key: &CacheKey) {
        if fastrand::u64(..WARM_SAMPLED) != 0 {
            return;
        }
        match self.hits.try_lock() {
            Ok(mut hits) => hits.see(key, WARM_SAMPLED),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().see(key, WARM_SAMPLED),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Returns the current list, and halves the counts for the next one.
    pub(in crate::store) fn list(&self) -> Option<Bytes> {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        // A node without hits must not replace a good list by an empty one when it stops.
        if hits.is_empty() {
            return None;
        }
        let mut list = MAGIC.to_vec();
        hits.top(self.wanted).for_each(|(key, _)| list.extend(key.digest()));
        hits.fade();
        Some(list.into())
    }

    /// Counts each key of the last list once, so that it stays until hotter keys replace it.
    pub(in crate::store) fn remember(&self, keys: &[CacheKey]) {
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().rev().for_each(|key| hits.see(key, 1));
    }
}

/// Parses a list; returns its keys, the hottest first, or `None` if the bytes are no list.
pub fn warm_list(bytes: &[u8]) -> Option<Vec<CacheKey>> {
    let (digests, rest) = bytes.strip_prefix(MAGIC)?.as_chunks::<DIGEST_BYTES>();
    let fits = rest.is_empty() && digests.len() <= WARM_KEYS_MAX;
    fits.then(|| digests.iter().map(|digest| CacheKey::from_digest(*digest)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> CacheKey {
        CacheKey::from_digest([n; DIGEST_BYTES])
    }

    #[test]
    fn a_list_starts_with_the_hottest_key_and_round_trips() {
        let hot = HotKeys::new(2).unwrap();
        for (n, times) in [(1, 50), (2, 500), (3, 200)] {
            (0..times * WARM_SAMPLED).for_each(|_| hot.hit(&key(n)));
        }
        let list = hot.list().unwrap();
        assert_eq!(warm_list(&list), Some(vec![key(2), key(3)]));
        for cut in 0..list.len() {
            let read = warm_list(&list[..cut]);
            let whole = cut >= MAGIC.len() && (cut - MAGIC.len()).is_multiple_of(DIGEST_BYTES);
            assert_eq!(read.is_some(), whole, "{cut}");
        }
        assert_eq!(warm_list(&[MAGIC, &vec![0; (WARM_KEYS_MAX + 1) * DIGEST_BYTES]].concat()), None);
        assert_eq!(warm_list(b"CWk\x02"), None);
    }

    #[test]
    fn an_idle_node_writes_nothing_and_a_warmed_one_its_list() {
        assert!(HotKeys::new(0).is_none());
        let hot = HotKeys::new(2).unwrap();
        assert_eq!(hot.list(), None);
        hot.remember(&[key(1), key(2)]);
        assert_eq!(warm_list(&hot.list().unwrap()), Some(vec![key(1), key(2)]));
        (0..500).for_each(|_| hot.hit(&key(3)));
        assert_eq!(warm_list(&hot.list().unwrap()).unwrap()[0], key(3));
    }
}
