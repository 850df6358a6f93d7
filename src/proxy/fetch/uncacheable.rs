//! Keys whose answers could not be shared: for a while they do not queue behind one another
//! (hit-for-miss), and where the store had nothing either, or the trace of a purge, it is not asked
//! again for a while.
//!
//! An answer that turns out to be storable after all is stored, unless there has been another
//! purge, and its key forgotten here. Bounded, the least useful leaving first; what is forgotten
//! too soon costs one wait. What another node stores meanwhile is found when the time is over:
//! until then its requests go to the origin, which is never wrong.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::entry::KeyGeneration;
use crate::limits::{
    ABSENCE_REMEMBERED, STATUS_REMEMBERED, UNCACHEABLE_KEYS_MAX, UNCACHEABLE_REMEMBERED, UNCACHEABLE_RENEWED,
};
use crate::policy::NotStorable;
use crate::proxy::request::FetchKey;

/// The keys.
pub(in crate::proxy) struct UncacheableKeys(Cache<FetchKey, RememberedKey>);

/// What is remembered of one key.
#[derive(Clone, Copy)]
struct RememberedKey {
    /// Why its last answer could not be shared.
    reason: NotStorable,
    until: Instant,
    /// What the store said, if it had nothing when it was asked.
    absence: Option<KnownAbsence>,
}

/// The store had nothing.
#[derive(Clone, Copy)]
struct KnownAbsence {
    /// Of the purge whose trace stood there.
    lineage: KeyGeneration,
    until: Instant,
}

/// What holds of a key.
#[derive(Clone, Copy, Default)]
pub(in crate::proxy) struct KeyDoubt {
    /// Why its last answer could not be shared, if that was lately.
    pub(in crate::proxy) reason: Option<NotStorable>,
    /// The store need not be asked: it had nothing lately but this trace of a purge, and nothing
    /// could be stored since.
    pub(in crate::proxy) absent: Option<KeyGeneration>,
}

impl UncacheableKeys {
    /// Nothing is remembered yet.
    pub(in crate::proxy) fn new() -> Self {
        Self(Cache::new(UNCACHEABLE_KEYS_MAX))
    }

    /// What is known of `key`.
    pub(in crate::proxy) fn known(&self, key: &FetchKey, now: Instant) -> KeyDoubt {
        let Some(known) = self.0.get(key) else { return KeyDoubt::default() };
        KeyDoubt {
            reason: (now < known.until).then_some(known.reason),
            absent: known.absence.filter(|absence| now < absence.until).map(|absence| absence.lineage),
        }
    }

    /// The store has nothing for `key` but this trace of a purge, if there is one: remembered for
    /// [`ABSENCE_REMEMBERED`], if the key is.
    pub(in crate::proxy) fn absent(&self, key: &FetchKey, lineage: KeyGeneration, now: Instant) {
        if let Some(known) = self.0.get(key) {
            let absence = KnownAbsence { lineage, until: now + ABSENCE_REMEMBERED };
            self.0.insert(*key, RememberedKey { absence: Some(absence), ..known });
        }
    }

    /// What is known of the store does not hold any more: something has been purged or stored
    /// there.
    pub(in crate::proxy) fn changed(&self, key: &FetchKey) {
        if let Some(known) = self.0.get(key)
            && known.absence.is_some()
        {
            self.0.insert(*key, RememberedKey { absence: None, ..known });
        }
    }

    /// Remembers `key`, for [`UNCACHEABLE_REMEMBERED`] or [`STATUS_REMEMBERED`]; not anew for every
    /// request, but when [`UNCACHEABLE_RENEWED`] is over.
    pub(in crate::proxy) fn add(&self, key: FetchKey, reason: NotStorable, now: Instant) {
        let known = self.0.get(&key);
        let until = now + remembered(reason);
        let is_news =
            known.is_none_or(|known| known.reason != reason || known.until + UNCACHEABLE_RENEWED < until);
        if is_news {
            let absence = known.and_then(|known| known.absence);
            self.0.insert(key, RememberedKey { reason, until, absence });
        }
    }

    /// Its answers can be shared after all.
    pub(in crate::proxy) fn remove(&self, key: &FetchKey) {
        self.0.remove(key);
    }
}

/// For how long a key is remembered, by why its answer could not be shared.
fn remembered(reason: NotStorable) -> Duration {
    if reason == NotStorable::Status { STATUS_REMEMBERED } else { UNCACHEABLE_REMEMBERED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{CacheKey, Scheme, Target};
    use crate::proxy::request::RequesterClass;
    use crate::time;

    #[test]
    fn remembered_for_a_while() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FetchKey { key: CacheKey::of(&target), asker: RequesterClass::Anonymous };
        let other = FetchKey { asker: RequesterClass::Credentialed, ..key };
        let (uncacheable, now) = (UncacheableKeys::new(), time::instant());
        assert_eq!(uncacheable.known(&key, now).reason, None);
        uncacheable.add(key, NotStorable::Private, now);
        assert_eq!(uncacheable.known(&key, now).reason, Some(NotStorable::Private));
        assert_eq!(uncacheable.known(&other, now).reason, None);
        assert_eq!(uncacheable.known(&key, now + UNCACHEABLE_REMEMBERED).reason, None);
        uncacheable.add(key, NotStorable::Status, now);
        assert_eq!(uncacheable.known(&key, now).reason, Some(NotStorable::Status));
        assert_eq!(uncacheable.known(&key, now + STATUS_REMEMBERED).reason, None, "an error may pass");
        uncacheable.remove(&key);
        assert_eq!(uncacheable.known(&key, now).reason, None);
    }

    #[test]
    fn the_store_is_asked_again_after_a_while_however_often_the_origin_is() {
        let target = Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"a"[..]].into_iter()).unwrap();
        let key = FetchKey { key: CacheKey::of(&target), asker: RequesterClass::Credentialed };
        let (uncacheable, looked) = (UncacheableKeys::new(), time::instant());
        uncacheable.absent(&key, KeyGeneration::NONE, looked);
        assert_eq!(
            uncacheable.known(&key, looked).absent,
            None,
            "of a key that may be cacheable, nothing is remembered"
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
            "an answer does not prolong it"
        );
        uncacheable.changed(&key);
        assert_eq!(uncacheable.known(&key, later).absent, None, "there was another purge");
        assert_eq!(uncacheable.known(&key, later).reason, Some(NotStorable::Private));
        uncacheable.absent(&key, trace, looked);
        uncacheable.remove(&key);
        assert_eq!(uncacheable.known(&key, later).absent, None, "it was stored");
    }
}
