//! Purges that Redis has not confirmed. They hold in this process, for its entries in memory and
//! for the entries that it reads from Redis later.
//!
//! The time of an entry's receipt decides, because only Redis counts purges (`log.rs`), and its
//! count has not moved. For an entry that another node received, that node's clock decides. Each
//! mark stays until the purge is repeated and Redis confirms it. The number of marks is bounded:
//! beyond the bound, one mark on everything replaces them, which costs fetches and serves nothing
//! old.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry;
use crate::hash::SeededBuildHasher;
use crate::key::{CacheKey, Target};
use crate::limits::LOCAL_PURGES_MAX;
use crate::store::purge::log::PurgeStatus;
use crate::store::purge::names::{PurgeScope, PurgeStrength, UrlPrefix};
use crate::time::{self, Timestamp};

/// The purges that hold in this process alone.
pub(in crate::store) struct LocalPurges {
    /// A flag read before the lock is taken: there are hardly ever any marks. Written with the lock
    /// held.
    has_marks: AtomicBool,
    marks: Mutex<PurgeMarks>,
    begin: Instant,
    /// The time of the last purge of more than single keys, in nanoseconds since `begin` plus one;
    /// zero if there was none. It stays when marks are removed.
    last_bulk: AtomicU64,
}

#[derive(Default)]
struct PurgeMarks {
    all: PurgeMark,
    /// The marks of resources and variants by key, and of tags and groups by digest; every name is
    /// half of a hash.
    names: HashMap<u128, PurgeMark, SeededBuildHasher>,
    prefixes: Vec<(UrlPrefix, PurgeMark)>,
}

/// The times of the last purges of one name.
#[derive(Clone, Copy, Debug, Default)]
struct PurgeMark {
    hard: Option<Timestamp>,
    soft: Option<Timestamp>,
}

impl PurgeMark {
    fn set(&mut self, strength: PurgeStrength, now: Timestamp) {
        match strength {
            PurgeStrength::Hard => self.hard = Some(now),
            PurgeStrength::Soft => self.soft = Some(now),
        }
    }

    fn judge(self, received: Timestamp) -> PurgeStatus {
        match self {
            Self { hard: Some(at), .. } if received <= at => PurgeStatus::Purged,
            Self { soft: Some(at), .. } if received <= at => PurgeStatus::Stale(at),
            Self { .. } => PurgeStatus::Valid,
        }
    }
}

impl Default for LocalPurges {
    fn default() -> Self {
        Self {
            has_marks: AtomicBool::new(false),
            marks: Mutex::default(),
            begin: time::instant(),
            last_bulk: AtomicU64::new(0),
        }
    }
}

impl LocalPurges {
    /// Marks everything that these scopes cover.
    pub(in crate::store) fn add(&self, scopes: &[PurgeScope], strength: PurgeStrength, now: Timestamp) {
        let mut marks = self.marks();
        let mut is_bulk = false;
        for scope in scopes {
            is_bulk |= !matches!(scope, PurgeScope::Url(_));
            is_bulk |= match scope {
                PurgeScope::Url(key) => marks.mark_name(key.short(), strength, now),
                PurgeScope::Tag(tag) => marks.mark_name(tag.digest().0, strength, now),
                PurgeScope::Group(group) => marks.mark_name(group.digest().0, strength, now),
                PurgeScope::Prefix(prefix) => marks.mark_prefix(prefix, strength, now),
                PurgeScope::All => {
                    marks.all.set(strength, now);
                    true
                }
            };
        }
        self.marked(is_bulk);
    }

    /// Marks the resource or the variant with this key.
    pub(in crate::store) fn add_key(&self, key: &CacheKey, now: Timestamp) {
        let mut marks = self.marks();
        let is_bulk = marks.mark_name(key.short(), PurgeStrength::Hard, now);
        self.marked(is_bulk);
    }

    /// Publishes a mark, with the lock held.
    fn marked(&self, is_bulk: bool) {
        if is_bulk {
            let since = time::instant().saturating_duration_since(self.begin).as_nanos();
            self.last_bulk.fetch_max(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
        }
        self.has_marks.store(true, Ordering::Release);
    }

    /// Removes the marks of these scopes that were set before `begun`, the start of a purge that
    /// Redis has confirmed.
    pub(in crate::store) fn clear(&self, scopes: &[PurgeScope], strength: PurgeStrength, begun: Timestamp) {
        if !self.has_marks() {
            return;
        }
        let mut marks = self.marks();
        for scope in scopes {
            match scope {
                PurgeScope::Url(key) => marks.forget_name(key.short(), strength, begun),
                PurgeScope::Tag(tag) => marks.forget_name(tag.digest().0, strength, begun),
                PurgeScope::Group(group) => marks.forget_name(group.digest().0, strength, begun),
                PurgeScope::Prefix(prefix) => marks
                    .prefixes
                    .retain_mut(|(of, mark)| of != prefix || !mark.is_empty_without(strength, begun)),
                PurgeScope::All => drop(marks.all.is_empty_without(strength, begun)),
            }
        }
        if marks.is_empty() {
            self.has_marks.store(false, Ordering::Release);
        }
    }

    /// Returns the effect of the marks on an entry of this target.
    pub(in crate::store) fn judge(&self, bytes: &[u8], target: &Target) -> PurgeStatus {
        if !self.has_marks() {
            return PurgeStatus::Valid;
        }
        // A list of variants has no time of receipt; the marks apply to the variants themselves.
        let Some(received) = entry::received(bytes) else { return PurgeStatus::Valid };
        let marks = self.marks();
        let mut status = marks.all.judge(received);
        for (prefix, mark) in &marks.prefixes {
            if prefix.covers(target) {
                status = status.and(mark.judge(received));
            }
        }
        if !marks.names.is_empty() {
            let tags = entry::history(bytes).into_iter().flat_map(|(_, tags)| tags.map(|tag| tag.0));
            let keys = [Some(CacheKey::of(target).short()), entry::key_name(bytes)];
            for name in keys.into_iter().flatten().chain(tags) {
                if let Some(mark) = marks.names.get(&name) {
                    status = status.and(mark.judge(received));
                }
            }
        }
        status
    }

    /// Returns whether a purge of more than single keys was marked since `begun`. A fetch that
    /// began before it stores nothing and admits no followers.
    pub(in crate::store) fn bulk_purged_since(&self, begun: Instant) -> bool {
        let last_bulk = self.last_bulk.load(Ordering::Acquire).checked_sub(1).map(Duration::from_nanos);
        last_bulk.is_some_and(|since| self.begin + since >= begun)
    }

    fn has_marks(&self) -> bool {
        self.has_marks.load(Ordering::Acquire)
    }

    fn marks(&self) -> MutexGuard<'_, PurgeMarks> {
        // A panic between two marks leaves the first one, which holds by itself.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PurgeMark {
    fn is_empty(self) -> bool {
        self.hard.is_none() && self.soft.is_none()
    }

    /// Removes the times until `begun` that a purge of this strength covers; returns whether none
    /// is left.
    fn is_empty_without(&mut self, strength: PurgeStrength, begun: Timestamp) -> bool {
        if strength == PurgeStrength::Hard {
            self.hard = self.hard.filter(|at| *at > begun);
        }
        self.soft = self.soft.filter(|at| *at > begun);
        self.is_empty()
    }
}

impl PurgeMarks {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.names.is_empty() && self.prefixes.is_empty()
    }

    /// Marks one name; returns whether everything is marked because the names are too many.
    fn mark_name(&mut self, name: u128, strength: PurgeStrength, now: Timestamp) -> bool {
        if self.names.len() >= LOCAL_PURGES_MAX && !self.names.contains_key(&name) {
            self.mark_everything(now);
            return true;
        }
        self.names.entry(name).or_default().set(strength, now);
        false
    }

    /// Marks a prefix; returns whether everything is marked because the prefixes are too many.
    fn mark_prefix(&mut self, prefix: &UrlPrefix, strength: PurgeStrength, now: Timestamp) -> bool {
        if let Some((_, mark)) = self.prefixes.iter_mut().find(|(of, _)| of == prefix) {
            mark.set(strength, now);
            return false;
        }
        if self.prefixes.len() >= LOCAL_PURGES_MAX {
            self.mark_everything(now);
            return true;
        }
        let mut mark = PurgeMark::default();
        mark.set(strength, now);
        self.prefixes.push((prefix.clone(), mark));
        false
    }

    /// Replaces all marks by one on everything.
    fn mark_everything(&mut self, now: Timestamp) {
        let all = PurgeMark { hard: Some(now), soft: None };
        *self = Self { all, ..Self::default() };
    }

    fn forget_name(&mut self, name: u128, strength: PurgeStrength, begun: Timestamp) {
        if self.names.get_mut(&name).is_some_and(|mark| mark.is_empty_without(strength, begun)) {
            self.names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::{Entry, EntryVersion, StoredValue};
    use crate::key::Scheme;
    use crate::policy::{Obligations, StoredFacts};
    use crate::store::purge::names::{CacheGroup, CacheTag};

    const AT: Timestamp = Timestamp::from_millis(1_000);

    fn target(path: &str) -> Target {
        Target::parse(Scheme::Http, &path.parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap()
    }

    fn tag(text: &str) -> PurgeScope {
        PurgeScope::Tag(CacheTag::parse(text).unwrap())
    }

    /// Encodes an entry under `key` with the tag `t` and the group `g`, received then.
    fn entry(key: &CacheKey, received: u64) -> Bytes {
        let facts = StoredFacts {
            received: Timestamp::from_millis(received),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            obligations: Obligations::default(),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let stored = StoredValue::Response(Entry {
            facts,
            status: StatusCode::OK,
            head: HeaderMap::new(),
            body: Bytes::new(),
        });
        let tags = vec![CacheTag::parse("t").unwrap().digest(), group().digest()];
        entry::encode(key, &stored, &EntryVersion { tags, ..EntryVersion::default() }).unwrap()
    }

    fn group() -> CacheGroup {
        CacheGroup::new(Scheme::Http, target("/").authority, "g").unwrap()
    }

    #[test]
    fn each_scope_covers_entries_received_before_the_purge() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let prefix = |text| PurgeScope::Prefix(UrlPrefix::parse(text).unwrap());
        let rows = [
            (PurgeScope::All, true),
            (PurgeScope::Url(key), true),
            (PurgeScope::Url(CacheKey::of(&target("/b"))), false),
            (tag("t"), true),
            (tag("u"), false),
            (PurgeScope::Group(group()), true),
            (prefix("http://api.test/a"), true),
            (prefix("http://api.test/b"), false),
        ];
        let variant = key.variant(7, std::iter::empty());
        for (scope, covers) in rows {
            for (strength, status) in
                [(PurgeStrength::Hard, PurgeStatus::Purged), (PurgeStrength::Soft, PurgeStatus::Stale(AT))]
            {
                let purges = LocalPurges::default();
                purges.add(std::slice::from_ref(&scope), strength, AT);
                let want = if covers { status } else { PurgeStatus::Valid };
                for key in [key, variant] {
                    assert_eq!(purges.judge(&entry(&key, 1_000), &a), want, "{scope:?} {strength:?}");
                    assert_eq!(purges.judge(&entry(&key, 1_001), &a), PurgeStatus::Valid, "{scope:?}");
                }
                let earlier = Timestamp::from_millis(999);
                purges.clear(std::slice::from_ref(&scope), strength, earlier);
                assert_eq!(
                    purges.judge(&entry(&key, 1_000), &a),
                    want,
                    "{scope:?}: only an earlier purge is confirmed"
                );
                purges.clear(std::slice::from_ref(&scope), strength, AT);
                assert_eq!(
                    purges.judge(&entry(&key, 1_000), &a),
                    PurgeStatus::Valid,
                    "{scope:?} is confirmed"
                );
            }
        }
    }

    #[test]
    fn a_mark_on_a_variant_covers_only_that_variant() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let [one, other] = [1, 2].map(|nonce| key.variant(nonce, std::iter::empty()));
        let purges = LocalPurges::default();
        purges.add_key(&one, AT);
        assert_eq!(purges.judge(&entry(&one, 1_000), &a), PurgeStatus::Purged);
        assert_eq!(purges.judge(&entry(&other, 1_000), &a), PurgeStatus::Valid);
    }

    #[test]
    fn a_confirmed_soft_purge_keeps_the_hard_mark() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let purges = LocalPurges::default();
        purges.add(&[tag("t")], PurgeStrength::Hard, AT);
        purges.add(&[tag("t")], PurgeStrength::Soft, AT);
        purges.clear(&[tag("t")], PurgeStrength::Soft, AT);
        assert_eq!(purges.judge(&entry(&key, 1_000), &a), PurgeStatus::Purged);
    }

    #[test]
    fn more_marks_than_the_bound_become_one_mark_on_everything() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let purges = LocalPurges::default();
        for number in 0..LOCAL_PURGES_MAX {
            purges.add(&[tag(&number.to_string())], PurgeStrength::Hard, AT);
        }
        assert_eq!(purges.judge(&entry(&key, 1_000), &a), PurgeStatus::Valid);
        purges.add(&[tag("more")], PurgeStrength::Soft, AT);
        assert_eq!(purges.judge(&entry(&key, 1_000), &a), PurgeStatus::Purged);
        assert_eq!(purges.judge(&entry(&key, 1_001), &a), PurgeStatus::Valid);
    }

    #[test]
    fn a_bulk_purge_supersedes_fetches_under_way() {
        let purges = LocalPurges::default();
        let begun = time::instant();
        purges.add(&[PurgeScope::Url(CacheKey::of(&target("/a")))], PurgeStrength::Hard, AT);
        assert!(!purges.bulk_purged_since(begun), "watches cover purges of one resource");
        purges.add(&[PurgeScope::All], PurgeStrength::Soft, AT);
        assert!(purges.bulk_purged_since(begun));
        let later = time::instant() + Duration::from_nanos(1);
        assert!(!purges.bulk_purged_since(later), "it began after the purge");
    }

    #[test]
    fn checks_take_no_lock_once_the_last_mark_is_cleared() {
        let (url, all) = (PurgeScope::Url(CacheKey::of(&target("/a"))), PurgeScope::All);
        let prefix = PurgeScope::Prefix(UrlPrefix::parse("http://api.test/a").unwrap());
        for strength in [PurgeStrength::Hard, PurgeStrength::Soft] {
            let purges = LocalPurges::default();
            let begun = time::instant();
            let scopes = [url.clone(), tag("t"), prefix.clone(), all.clone()];
            purges.add(&scopes, strength, AT);
            for scope in &scopes {
                assert!(purges.has_marks(), "before {scope:?} is confirmed");
                purges.clear(std::slice::from_ref(scope), strength, AT);
            }
            assert!(!purges.has_marks());
            assert!(purges.bulk_purged_since(begun), "a fetch under way stays superseded");
            purges.add_key(&CacheKey::of(&target("/a")), AT);
            assert!(purges.has_marks());
        }
    }

    #[test]
    fn a_mark_on_everything_supersedes_fetches_under_way() {
        let purges = LocalPurges::default();
        for number in 0..LOCAL_PURGES_MAX {
            purges.add_key(&CacheKey::of(&target(&format!("/{number}"))), AT);
        }
        let begun = time::instant();
        assert!(!purges.bulk_purged_since(begun));
        purges.add_key(&CacheKey::of(&target("/more")), AT);
        assert!(purges.bulk_purged_since(begun));
    }
}
