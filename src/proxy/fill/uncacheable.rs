//! Keys whose answers could not be shared: for a while they do not queue behind one another (hit-for-miss), and where the
//! store had nothing either, it is not asked again for as long.
//!
//! An answer that turns out to be storable after all is stored, and its key forgotten here. Bounded, the least useful
//! leaving first; what is forgotten too soon costs one wait. What another node stores meanwhile is found when the time is
//! over: until then its requests go to the origin, which is never wrong.

use std::time::Instant;

use quick_cache::sync::Cache;

use crate::limits::{UNCACHEABLE_KEYS_MAX, UNCACHEABLE_REMEMBERED};
use crate::policy::NotStorable;
use crate::proxy::ask::FillKey;

/// The keys.
pub(in crate::proxy) struct Uncacheable(Cache<FillKey, Remembered>);

/// What is remembered of one key.
#[derive(Clone, Copy)]
struct Remembered {
    /// Why its last answer could not be shared.
    reason: NotStorable,
    until: Instant,
    /// Until when the store is taken to have nothing, if it had nothing when it was asked.
    absent_until: Option<Instant>,
}

impl Uncacheable {
    /// Nothing is remembered yet.
    pub(in crate::proxy) fn new() -> Self {
        Self(Cache::new(UNCACHEABLE_KEYS_MAX))
    }

    /// Why `key` was found uncacheable lately, if it was.
    pub(in crate::proxy) fn reason(&self, key: &FillKey, now: Instant) -> Option<NotStorable> {
        self.0.get(key).filter(|known| now < known.until).map(|known| known.reason)
    }

    /// Whether the store need not be asked for `key`, since it had nothing lately and nothing could be stored since.
    pub(in crate::proxy) fn is_absent(&self, key: &FillKey, now: Instant) -> bool {
        self.0.get(key).and_then(|known| known.absent_until).is_some_and(|until| now < until)
    }

    /// The store has nothing for `key`: remembered for [`UNCACHEABLE_REMEMBERED`], if the key is.
    pub(in crate::proxy) fn absent(&self, key: &FillKey, now: Instant) {
        if let Some(known) = self.0.get(key) {
            self.0.insert(*key, Remembered { absent_until: Some(now + UNCACHEABLE_REMEMBERED), ..known });
        }
    }

    /// Remembers `key` for [`UNCACHEABLE_REMEMBERED`].
    pub(in crate::proxy) fn add(&self, key: FillKey, reason: NotStorable, now: Instant) {
        let absent_until = self.0.get(&key).and_then(|known| known.absent_until);
        self.0.insert(key, Remembered { reason, until: now + UNCACHEABLE_REMEMBERED, absent_until });
    }

    /// Its answers can be shared after all.
    pub(in crate::proxy) fn remove(&self, key: &FillKey) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::proxy::ask::Asker;
    use crate::time;

    #[test]
    fn remembered_for_a_while() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FillKey { key: CacheKey::of(&target), asker: Asker::Anonymous };
        let other = FillKey { asker: Asker::Credentialed, ..key };
        let (uncacheable, now) = (Uncacheable::new(), time::instant());
        assert_eq!(uncacheable.reason(&key, now), None);
        uncacheable.add(key, NotStorable::Private, now);
        assert_eq!(uncacheable.reason(&key, now), Some(NotStorable::Private));
        assert_eq!(uncacheable.reason(&other, now), None);
        assert_eq!(uncacheable.reason(&key, now + UNCACHEABLE_REMEMBERED), None);
        uncacheable.remove(&key);
        assert_eq!(uncacheable.reason(&key, now), None);
    }

    #[test]
    fn the_store_is_asked_again_after_a_while_however_often_the_origin_is() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FillKey { key: CacheKey::of(&target), asker: Asker::Credentialed };
        let (uncacheable, looked) = (Uncacheable::new(), time::instant());
        uncacheable.absent(&key, looked);
        assert!(
            !uncacheable.is_absent(&key, looked),
            "of a key that may be cacheable, nothing is remembered"
        );

        uncacheable.add(key, NotStorable::Private, looked);
        assert!(!uncacheable.is_absent(&key, looked));
        uncacheable.absent(&key, looked);
        let later = looked + UNCACHEABLE_REMEMBERED / 2;
        uncacheable.add(key, NotStorable::Private, later);
        assert!(uncacheable.is_absent(&key, later));
        assert!(
            !uncacheable.is_absent(&key, looked + UNCACHEABLE_REMEMBERED),
            "an answer does not prolong it"
        );
        uncacheable.remove(&key);
        assert!(!uncacheable.is_absent(&key, later), "it was stored");
    }
}
