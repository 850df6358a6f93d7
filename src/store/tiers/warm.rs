//! Warm restart: a node stores its hottest keys in Redis, and reads their entries into memory when
//! it starts.
//!
//! Redis stores only digests, under one key per node, with an expiry. The node reads the entries
//! like a request does: missing or damaged entries are skipped, and the first lookup checks purges.
//!
//! ```text
//! the list   "CWk" 1  { digest (32) }*    the hottest key first, at most WARM_KEYS_MAX
//! ```
//!
//! A start waits at most [`WARM_CONNECT_TIMEOUT`] and [`WARM_TIMEOUT`] for this and ignores every
//! failure: a node that starts cold is slower for a while, and a node that does not start is
//! missing.

use std::rc::Rc;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::key::{CacheKey, DIGEST_BYTES};
use crate::limits::{
    WARM_AT_ONCE, WARM_CONNECT_RETRY, WARM_CONNECT_TIMEOUT, WARM_KEPT, WARM_KEYS_COUNTED_FACTOR,
    WARM_KEYS_MAX, WARM_SAMPLED, WARM_TIMEOUT,
};
use crate::redis::Client;
use crate::store::Store;
use crate::telemetry::HeavyHitters;

/// The magic number and version of the list.
const MAGIC: &[u8] = b"CWk\x01";

/// The keys with the most hits in one process.
pub(in crate::store) struct HotKeys {
    wanted: usize,
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
    fn list(&self) -> Option<Bytes> {
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
    fn remember(&self, keys: &[CacheKey]) {
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

impl Store {
    /// Returns whether this node stores a list.
    pub fn keeps_warm(&self) -> bool {
        self.shared.hot.is_some() && self.redis.is_some()
    }

    /// Writes the list of the hottest keys. A failure is ignored: the next write comes soon.
    pub async fn write_warm_list(&self) {
        if let (Some(redis), Some(hot)) = (&self.redis, &self.shared.hot)
            && let Some(list) = hot.list()
        {
            // The pool counts failures.
            let _ = redis.set(&self.warm_name(), list, WARM_KEPT).await;
        }
    }

    /// Reads the entries of this node's last list into memory, within the time limit; returns the
    /// number of entries read.
    ///
    /// Cancel safe: entries read so far are in memory.
    pub async fn warm(self: &Rc<Self>) -> usize {
        let (Some(redis), Some(hot)) = (&self.redis, &self.shared.hot) else { return 0 };
        let Ok(Some(list)) = timeout(WARM_CONNECT_TIMEOUT, first_answer(redis, &self.warm_name())).await
        else {
            return 0;
        };
        let mut keys = warm_list(&list).unwrap_or_default();
        keys.truncate(hot.wanted);
        hot.remember(&keys);
        let mut found = 0;
        // The reads still under way are dropped with the set.
        let _ = timeout(WARM_TIMEOUT, self.read_all_into_memory(&keys, &mut found)).await;
        found
    }

    async fn read_all_into_memory(self: &Rc<Self>, keys: &[CacheKey], found: &mut usize) {
        let mut reads = JoinSet::new();
        // The hottest keys come last: if memory is too small for all, they stay.
        for key in keys.iter().rev() {
            if reads.len() >= WARM_AT_ONCE {
                *found += count(reads.join_next().await);
            }
            let (store, key) = (Rc::clone(self), *key);
            reads.spawn_local(async move { store.read_into_memory(&key).await });
        }
        while let Some(end) = reads.join_next().await {
            *found += count(Some(end));
        }
    }

    fn warm_name(&self) -> Vec<u8> {
        self.namespace().name(&[b"warm:", self.shared.options.node_name.as_bytes()])
    }
}

fn count(end: Option<Result<bool, tokio::task::JoinError>>) -> usize {
    usize::from(matches!(end, Some(Ok(true))))
}

/// Returns the value of a key once a connection is up: at a start, there is none yet.
async fn first_answer(redis: &Client, name: &[u8]) -> Option<Bytes> {
    loop {
        match redis.get(name).await {
            Ok(value) => return value,
            Err(_) => sleep(WARM_CONNECT_RETRY).await,
        }
    }
}

/// The longest duration of [`Store::warm`].
pub const WARM_TAKES_MAX: Duration = WARM_CONNECT_TIMEOUT.saturating_add(WARM_TIMEOUT);

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
