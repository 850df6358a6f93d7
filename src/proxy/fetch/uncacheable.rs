//! Keys whose responses were not sharable. For a while their requests do not wait for each other
//! (hit-for-miss). If the store had nothing for the key except a tombstone, lookups skip the store
//! for a while.
//!
//! A response that turns out to be storable is stored, unless another purge has happened, and its
//! key is removed from this table. The table has a fixed size and evicts the least useful key
//! first; a key that is evicted too early costs one wait. If another node stores a response
//! meanwhile, this node finds it once the key's time in this table is over. Until then its requests
//! go to the origin, which is always correct.

use std::time::{Duration, Instant};

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::entry::KeyGeneration;
use crate::hash::SeededBuildHasher;
use crate::limits::{
    ABSENCE_REMEMBERED, STATUS_REMEMBERED, UNCACHEABLE_KEYS_MAX, UNCACHEABLE_REMEMBERED, UNCACHEABLE_RENEWED,
};
use crate::policy::NotStorable;
use crate::proxy::request::FetchKey;

/// The uncacheable keys.
pub(in crate::proxy) struct UncacheableKeys(Cache<FetchKey, RememberedKey, UnitWeighter, SeededBuildHasher>);

/// The record of one key.
#[derive(Clone, Copy)]
struct RememberedKey {
    /// The reason for which its last response was not sharable.
    reason: NotStorable,
    until: Instant,
    /// The store's answer, if the last lookup found nothing.
    absence: Option<KnownAbsence>,
}

/// A lookup that found nothing.
#[derive(Clone, Copy)]
struct KnownAbsence {
    /// The key generation of the tombstone that was found.
    generation: KeyGeneration,
    until: Instant,
}

/// The recent past of a key, as far as this table knows it.
#[derive(Clone, Copy, Default)]
pub(in crate::proxy) struct KeyHistory {
    /// The reason for which the key's last response was not sharable, if it was recent.
    pub(in crate::proxy) reason: Option<NotStorable>,
    /// The key generation of a recent lookup that found nothing. The lookup can be skipped, because
    /// nothing could have been stored since.
    pub(in crate::proxy) absent: Option<KeyGeneration>,
}

impl UncacheableKeys {
    /// Creates an empty table.
    pub(in crate::proxy) fn new() -> Self {
        let (keys, hash) = (UNCACHEABLE_KEYS_MAX, SeededBuildHasher::default());
        Self(Cache::with(keys, keys as u64, UnitWeighter, hash, DefaultLifecycle::default()))
    }

    /// Returns the record of `key` that is valid now.
    pub(in crate::proxy) fn known(&self, key: &FetchKey, now: Instant) -> KeyHistory {
        let Some(known) = self.0.get(key) else { return KeyHistory::default() };
        KeyHistory {
            reason: (now < known.until).then_some(known.reason),
            absent: known.absence.filter(|absence| now < absence.until).map(|absence| absence.generation),
        }
    }

    /// Records for [`ABSENCE_REMEMBERED`] that the store has nothing for `key` except, possibly, a
    /// tombstone of this generation. Has no effect for a key that is not in the table.
    pub(in crate::proxy) fn absent(&self, key: &FetchKey, generation: KeyGeneration, now: Instant) {
        if let Some(known) = self.0.get(key) {
            let absence = KnownAbsence { generation, until: now + ABSENCE_REMEMBERED };
            self.0.insert(*key, RememberedKey { absence: Some(absence), ..known });
        }
    }

    /// Forgets that the store had nothing, because something has been purged or stored since.
    pub(in crate::proxy) fn changed(&self, key: &FetchKey) {
        if let Some(known) = self.0.get(key)
            && known.absence.is_some()
        {
            self.0.insert(*key, RememberedKey { absence: None, ..known });
        }
    }

    /// Records `key` for [`UNCACHEABLE_REMEMBERED`] or [`STATUS_REMEMBERED`]. Renews the record
    /// only after [`UNCACHEABLE_RENEWED`], to avoid a write per request.
    pub(in crate::proxy) fn add(&self, key: FetchKey, reason: NotStorable, now: Instant) {
        let known = self.0.get(&key);
        let until = now + remembered(reason);
        let must_write =
            known.is_none_or(|known| known.reason != reason || known.until + UNCACHEABLE_RENEWED < until);
        if must_write {
            let absence = known.and_then(|known| known.absence);
            self.0.insert(key, RememberedKey { reason, until, absence });
        }
    }

    /// Removes a key whose responses are sharable after all.
    pub(in crate::proxy) fn remove(&self, key: &FetchKey) {
        self.0.remove(key);
    }
}

/// Returns the time for which a key is recorded, by the reason.
fn remembered(reason: NotStorable) -> Duration {
    if reason == NotStorable::Status { STATUS_REMEMBERED } else { UNCACHEABLE_REMEMBERED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::policy::RulesDigest;
    use crate::proxy::request::RequesterClass;
    use crate::time;

    #[test]
    fn uncacheable_keys_expire() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FetchKey {
            key: CacheKey::of(&target),
            requester: RequesterClass::Anonymous,
            rules: RulesDigest::NONE,
            generation: 0,
        };
        let other = FetchKey { requester: RequesterClass::Credentialed, ..key };
        let (uncacheable, now) = (UncacheableKeys::new(), time::instant());
        assert_eq!(uncacheable.known(&key, now).reason, None);
        uncacheable.add(key, NotStorable::Private, now);
        assert_eq!(uncacheable.known(&key, now).reason, Some(NotStorable::Private));
        assert_eq!(uncacheable.known(&other, now).reason, None);
        assert_eq!(uncacheable.known(&key, now + UNCACHEABLE_REMEMBERED).reason, None);
        uncacheable.add(key, NotStorable::Status, now);
        assert_eq!(uncacheable.known(&key, now).reason, Some(NotStorable::Status));
        assert_eq!(
            uncacheable.known(&key, now + STATUS_REMEMBERED).reason,
            None,
            "an error may be temporary"
        );
        uncacheable.remove(&key);
        assert_eq!(uncacheable.known(&key, now).reason, None);
    }

    #[test]
    fn an_absence_expires_regardless_of_origin_responses() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FetchKey {
            key: CacheKey::of(&target),
            requester: RequesterClass::Credentialed,
            rules: RulesDigest::NONE,
            generation: 0,
        };
        let (uncacheable, looked) = (UncacheableKeys::new(), time::instant());
        uncacheable.absent(&key, KeyGeneration::NONE, looked);
        assert_eq!(
            uncacheable.known(&key, looked).absent,
            None,
            "a key that may be cacheable is not recorded"
        );

        let trace = KeyGeneration::new();
        uncacheable.add(key, NotStorable::Private, looked);
        assert_eq!(uncacheable.known(&key, looked).absent, None);
        uncacheable.absent(&key, trace, looked);
        let later = looked + ABSENCE_REMEMBERED / 2;
        uncacheable.add(key, NotStorable::Private, later);
        assert_eq!(uncacheable.known(&key, later).absent, Some(trace));
        assert_eq!(
            uncacheable.known(&key, looked + ABSENCE_REMEMBERED).absent,
            None,
            "a response does not extend it"
        );
        uncacheable.changed(&key);
        assert_eq!(uncacheable.known(&key, later).absent, None, "the key was purged again");
        assert_eq!(uncacheable.known(&key, later).reason, Some(NotStorable::Private));
        uncacheable.absent(&key, trace, looked);
        uncacheable.remove(&key);
        assert_eq!(uncacheable.known(&key, later).absent, None, "a response was stored");
    }
}
