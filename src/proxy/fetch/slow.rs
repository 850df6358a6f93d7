//! Keys whose last fetch was slow, for which the proxy checks other nodes first.
//!
//! The table has a fixed size and evicts the least useful key first. An evicted key costs at most a
//! duplicate fetch.

use std::time::Duration;

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::hash::SeededBuildHasher;
use crate::limits::{FETCH_SLOW, SLOW_KEYS_MAX};
use crate::proxy::request::FetchKey;

/// The slow keys.
pub(in crate::proxy) struct SlowKeys(Cache<FetchKey, (), UnitWeighter, SeededBuildHasher>);

impl SlowKeys {
    /// Creates an empty table.
    pub(in crate::proxy) fn new() -> Self {
        let (keys, hash) = (SLOW_KEYS_MAX, SeededBuildHasher::default());
        Self(Cache::with(keys, keys as u64, UnitWeighter, hash, DefaultLifecycle::default()))
    }

    /// Returns whether the last fetch of `key` was slow.
    pub(in crate::proxy) fn contains(&self, key: &FetchKey) -> bool {
        self.0.get(key).is_some()
    }

    /// Records the time that the origin took to respond.
    pub(in crate::proxy) fn note(&self, key: FetchKey, took: Duration) {
        if took >= FETCH_SLOW {
            self.0.insert(key, ());
        } else {
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::policy::RulesDigest;
    use crate::proxy::request::RequesterClass;

    #[test]
    fn the_last_fetch_decides() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FetchKey {
            key: CacheKey::of(&target),
            requester: RequesterClass::Anonymous,
            rules: RulesDigest::NONE,
            generation: 0,
        };
        let slow = SlowKeys::new();
        assert!(!slow.contains(&key));
        slow.note(key, FETCH_SLOW);
        assert!(slow.contains(&key));
        assert!(!slow.contains(&FetchKey { requester: RequesterClass::Credentialed, ..key }));
        slow.note(key, FETCH_SLOW / 2);
        assert!(!slow.contains(&key));
    }
}
