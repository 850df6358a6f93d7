//! Keys whose answers could not be shared: for a while they do not queue behind one another (hit-for-miss), and where the
//! store had nothing either, it is not asked again for as long.
//!
//! An answer that turns out to be storable after all is stored, and its key forgotten here. Bounded, the least useful
//! leaving first; what is forgotten too soon costs one wait. What another node stores meanwhile is found when the time is
//! over: until then its requests go to the origin, which is never wrong.

use std::time::Instant;

use quick_cache::sync::Cache;

use crate::limits::{UNCACHEABLE_KEYS_MAX, UNCACHEABLE_REMEMBERED, UNCACHEABLE_RENEWED};
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

/// What holds of a key.
#[derive(Clone, Copy, Default)]
pub(in crate::proxy) struct Doubt {
    /// Why its last answer could not be shared, if that was lately.
    pub(in crate::proxy) reason: Option<NotStorable>,
    /// The store need not be asked: it had nothing lately, and nothing could be stored since.
    pub(in crate::proxy) is_absent: bool,
}

impl Uncacheable {
    /// Nothing is remembered yet.
    pub(in crate::proxy) fn new() -> Self {
        Self(Cache::new(UNCACHEABLE_KEYS_MAX))
    }

    /// What is known of `key`.
    pub(in crate::proxy) fn known(&self, key: &FillKey, now: Instant) -> Doubt {
        let Some(known) = self.0.get(key) else { return Doubt::default() };
        Doubt {
            reason: (now < known.until).then_some(known.reason),
            is_absent: known.absent_until.is_some_and(|until| now < until),
        }
    }

    /// The store has nothing for `key`: remembered for [`UNCACHEABLE_REMEMBERED`], if the key is.
    pub(in crate::proxy) fn absent(&self, key: &FillKey, now: Instant) {
        if let Some(known) = self.0.get(key) {
            self.0.insert(*key, Remembered { absent_until: Some(now + UNCACHEABLE_REMEMBERED), ..known });
        }
    }

    /// Remembers `key` for [`UNCACHEABLE_REMEMBERED`]; not anew for every request, but when [`UNCACHEABLE_RENEWED`] is over.
    pub(in crate::proxy) fn add(&self, key: FillKey, reason: NotStorable, now: Instant) {
        let known = self.0.get(&key);
        let until = now + UNCACHEABLE_REMEMBERED;
        let is_news =
            known.is_none_or(|known| known.reason != reason || known.until + UNCACHEABLE_RENEWED < until);
        if is_news {
            let absent_until = known.and_then(|known| known.absent_until);
            self.0.insert(key, Remembered { reason, until, absent_until });
        }
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
        assert_eq!(uncacheable.known(&key, now).reason, None);
        uncacheable.add(key, NotStorable::Private, now);
        assert_eq!(uncacheable.known(&key, now).reason, Some(NotStorable::Private));
        assert_eq!(uncacheable.known(&other, now).reason, None);
        assert_eq!(uncacheable.known(&key, now + UNCACHEABLE_REMEMBERED).reason, None);
        uncacheable.remove(&key);
        assert_eq!(uncacheable.known(&key, now).reason, None);
    }

    #[test]
    fn the_store_is_asked_again_after_a_while_however_often_the_origin_is() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FillKey { key: CacheKey::of(&target), asker: Asker::Credentialed };
        let (uncacheable, looked) = (Uncacheable::new(), time::instant());
        uncacheable.absent(&key, looked);
        assert!(
            !uncacheable.known(&key, looked).is_absent,
            "of a key that may be cacheable, nothing is remembered"
        );

        uncacheable.add(key, NotStorable::Private, looked);
        assert!(!uncacheable.known(&key, looked).is_absent);
        uncacheable.absent(&key, looked);
        let later = looked + UNCACHEABLE_REMEMBERED / 2;
        uncacheable.add(key, NotStorable::Private, later);
        assert!(uncacheable.known(&key, later).is_absent);
        assert!(
            !uncacheable.known(&key, looked + UNCACHEABLE_REMEMBERED).is_absent,
            "an answer does not prolong it"
        );
        uncacheable.remove(&key);
        assert!(!uncacheable.known(&key, later).is_absent, "it was stored");
    }
}
