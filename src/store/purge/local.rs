//! Purges that Redis has not confirmed. They apply in this process, to its entries in memory and to
//! the entries that it reads from Redis later; and they are the queue from which the node repeats
//! them (`repeat.rs`).
//!
//! A mark covers the entries received before it, by the clock of the node that received them,
//! because Redis, which counts purges (`log.rs`), has not counted this one. Each mark stays until
//! Redis accepts a repetition of its purge. If there are too many marks, coarser marks replace them
//! (a common prefix, or everything), which costs fetches and serves no purged entry.
//!
//! **Always:** a mark leaves only if Redis has accepted its purge, or a coarser one, after the mark
//! was last set: each setting draws a new number, and [`LocalPurges::accepted`] compares it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::entry;
use crate::hash::SeededBuildHasher;
use crate::key::{CacheKey, NameKey, Target};
use crate::limits::{LOCAL_PURGES_MAX, PREFIXES_MAX};
use crate::store::purge::log::PurgeStatus;
use crate::store::purge::names::{PurgeScope, PurgeStrength, UrlPrefix};
use crate::store::purge::prefixes::closest;
use crate::time::{self, Timestamp};

/// The purges that hold in this process alone.
pub(in crate::store) struct LocalPurges {
    /// The key of the names of scopes.
    name_key: NameKey,
    /// A flag read before the lock is taken: there are hardly ever any marks. Written with the lock
    /// held.
    has_marks: AtomicBool,
    marks: Mutex<PurgeMarks>,
    begin: Instant,
    /// The time of the last purge of more than single keys, in nanoseconds since `begin` plus one;
    /// zero if there was none. It stays when marks are removed.
    last_bulk: AtomicU64,
    /// The number of times that coarser marks have replaced marks.
    coarsened: AtomicU64,
    /// The signal that a mark was set.
    added: Notify,
}

#[derive(Default)]
struct PurgeMarks {
    all: PurgeMark,
    /// The marks of resources and variants by key, and of tags and groups by digest; every name is
    /// half of a hash.
    names: HashMap<u128, (PurgeScope, PurgeMark), SeededBuildHasher>,
    prefixes: Vec<(UrlPrefix, PurgeMark)>,
    /// The number of the last mark.
    last_number: u64,
}

/// The times of the last purges of one name.
#[derive(Clone, Copy, Debug, Default)]
struct PurgeMark {
    hard: Option<Timestamp>,
    soft: Option<Timestamp>,
    /// A number that grows with each setting of any mark.
    number: u64,
}

/// A purge that Redis has not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct PendingPurge {
    pub(in crate::store) scope: PurgeScope,
    pub(in crate::store) strength: PurgeStrength,
    /// The number of its mark.
    pub(in crate::store) number: u64,
}

/// The replacement of marks by a coarser one, because they were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coarsening {
    None,
    /// Two prefixes became their common prefix.
    Prefix,
    /// One mark on everything replaces all others.
    Everything,
}

impl PurgeMark {
    fn set(&mut self, strength: PurgeStrength, now: Timestamp, number: u64) {
        match strength {
            PurgeStrength::Hard => self.hard = Some(now),
            PurgeStrength::Soft => self.soft = Some(now),
        }
        self.number = number;
    }

    fn judge(self, received: Timestamp) -> PurgeStatus {
        match self {
            Self { hard: Some(at), .. } if received <= at => PurgeStatus::Purged,
            Self { soft: Some(at), .. } if received <= at => PurgeStatus::Stale(at),
            Self { .. } => PurgeStatus::Valid,
        }
    }

    /// Returns the pending purge of this mark; the hard one covers the soft one.
    fn pending(self, scope: &PurgeScope) -> PendingPurge {
        let strength = if self.hard.is_some() { PurgeStrength::Hard } else { PurgeStrength::Soft };
        PendingPurge { scope: scope.clone(), strength, number: self.number }
    }

    /// Returns a mark that holds for everything that both marks cover.
    fn or(self, other: Self) -> Self {
        Self {
            hard: self.hard.max(other.hard),
            soft: self.soft.max(other.soft),
            number: self.number.max(other.number),
        }
    }
}

impl LocalPurges {
    /// Creates an empty queue.
    pub(in crate::store) fn new(name_key: NameKey) -> Self {
        Self {
            name_key,
            has_marks: AtomicBool::new(false),
            marks: Mutex::default(),
            begin: time::instant(),
            last_bulk: AtomicU64::new(0),
            coarsened: AtomicU64::new(0),
            added: Notify::new(),
        }
    }

    /// Marks everything that these scopes cover.
    pub(in crate::store) fn add(&self, scopes: &[PurgeScope], strength: PurgeStrength, now: Timestamp) {
        let mut marks = self.marks();
        let mut is_bulk = false;
        for scope in scopes {
            let coarsening = marks.mark(scope, scope.half_hash(&self.name_key), strength, now);
            is_bulk |= !matches!(scope, PurgeScope::Url(_)) || coarsening != Coarsening::None;
            if coarsening != Coarsening::None {
                self.coarsened.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.marked(is_bulk);
    }

    /// Marks the resource or the variant with this key.
    pub(in crate::store) fn add_key(&self, key: &CacheKey, now: Timestamp) {
        self.add(&[PurgeScope::Url(*key)], PurgeStrength::Hard, now);
    }

    /// Publishes a mark, with the lock held.
    fn marked(&self, is_bulk: bool) {
        if is_bulk {
            let since = time::instant().saturating_duration_since(self.begin).as_nanos();
            self.last_bulk.fetch_max(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
        }
        self.has_marks.store(true, Ordering::Release);
        self.added.notify_one();
    }

    /// Waits until a mark is set. One task may wait.
    ///
    /// Cancel safe: a mark set meanwhile ends the next wait.
    pub(in crate::store) async fn wait_for_mark(&self) {
        self.added.notified().await;
    }

    /// Returns at most `max` pending purges in the order of their marks, those with a number above
    /// `after` first: a purge that is refused again and again delays no other one.
    pub(in crate::store) fn pending(&self, after: u64, max: usize) -> Vec<PendingPurge> {
        if !self.has_marks() {
            return Vec::new();
        }
        let marks = self.marks();
        let prefixes = marks.prefixes.iter().map(|(of, mark)| (PurgeScope::Prefix(of.clone()), *mark));
        let all = Some((PurgeScope::All, marks.all)).filter(|(_, mark)| !mark.is_empty());
        let others: Vec<_> = prefixes.chain(all).collect();
        let names = marks.names.values().map(|(scope, mark)| (scope, *mark));
        let mut sorted: Vec<_> = names.chain(others.iter().map(|(scope, mark)| (scope, *mark))).collect();
        sorted.sort_unstable_by_key(|(_, mark)| (mark.number <= after, mark.number));
        sorted.into_iter().take(max).map(|(scope, mark)| mark.pending(scope)).collect()
    }

    /// Removes the mark of a purge that Redis has accepted, unless it was set again meanwhile.
    pub(in crate::store) fn accepted(&self, purge: &PendingPurge) {
        let mut marks = self.marks();
        let is_old = |mark: &PurgeMark| mark.number <= purge.number;
        match &purge.scope {
            PurgeScope::Prefix(prefix) => {
                marks.prefixes.retain(|(of, mark)| of != prefix || !is_old(mark));
            }
            PurgeScope::All => {
                if is_old(&marks.all) {
                    marks.all = PurgeMark::default();
                }
            }
            PurgeScope::Url(_) | PurgeScope::Tag(_) | PurgeScope::Group(_) => {
                if let Some(name) = purge.scope.half_hash(&self.name_key)
                    && marks.names.get(&name).is_some_and(|(_, mark)| is_old(mark))
                {
                    marks.names.remove(&name);
                }
            }
        }
        self.publish_empty(&marks);
    }

    /// Returns the number of marks.
    pub(in crate::store) fn count(&self) -> usize {
        if !self.has_marks() {
            return 0;
        }
        let marks = self.marks();
        marks.names.len() + marks.prefixes.len() + usize::from(!marks.all.is_empty())
    }

    /// Returns the number of times that coarser marks have replaced marks.
    pub(in crate::store) fn coarsened(&self) -> u64 {
        self.coarsened.load(Ordering::Relaxed)
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
                PurgeScope::Url(_) | PurgeScope::Tag(_) | PurgeScope::Group(_) => {
                    if let Some(name) = scope.half_hash(&self.name_key) {
                        marks.forget_name(name, strength, begun);
                    }
                }
                PurgeScope::Prefix(prefix) => marks
                    .prefixes
                    .retain_mut(|(of, mark)| of != prefix || !mark.is_empty_without(strength, begun)),
                PurgeScope::All => drop(marks.all.is_empty_without(strength, begun)),
            }
        }
        self.publish_empty(&marks);
    }

    fn publish_empty(&self, marks: &PurgeMarks) {
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
            let resource = CacheKey::of_resource(target, &self.name_key);
            let keys = [Some(resource.short()), entry::key_name(bytes)];
            for name in keys.into_iter().flatten().chain(tags) {
                if let Some((_, mark)) = marks.names.get(&name) {
                    status = status.and(mark.judge(received));
                }
            }
        }
        status
    }

    /// Returns the effect of the mark with this name on an entry that was received then.
    pub(in crate::store) fn judge_name(&self, name: u128, received: Timestamp) -> PurgeStatus {
        if !self.has_marks() {
            return PurgeStatus::Valid;
        }
        self.marks().names.get(&name).map_or(PurgeStatus::Valid, |(_, mark)| mark.judge(received))
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

    /// Marks a scope, of which `half_hash` is the name.
    fn mark(
        &mut self,
        scope: &PurgeScope,
        half_hash: Option<u128>,
        strength: PurgeStrength,
        now: Timestamp,
    ) -> Coarsening {
        self.last_number += 1;
        let number = self.last_number;
        match scope {
            PurgeScope::Url(_) | PurgeScope::Tag(_) | PurgeScope::Group(_) => {
                let Some(name) = half_hash else { return Coarsening::None };
                if self.names.len() >= LOCAL_PURGES_MAX && !self.names.contains_key(&name) {
                    return self.mark_everything(now);
                }
                let (_, mark) =
                    self.names.entry(name).or_insert_with(|| (scope.clone(), PurgeMark::default()));
                mark.set(strength, now, number);
                Coarsening::None
            }
            PurgeScope::Prefix(prefix) => self.mark_prefix(prefix, strength, now),
            PurgeScope::All => {
                self.all.set(strength, now, number);
                Coarsening::None
            }
        }
    }

    /// Marks a prefix. If there are too many, the two prefixes with the longest common prefix
    /// become that one.
    fn mark_prefix(&mut self, prefix: &UrlPrefix, strength: PurgeStrength, now: Timestamp) -> Coarsening {
        if let Some((_, mark)) = self.prefixes.iter_mut().find(|(of, _)| of == prefix) {
            mark.set(strength, now, self.last_number);
            return Coarsening::None;
        }
        let mut mark = PurgeMark::default();
        mark.set(strength, now, self.last_number);
        self.prefixes.push((prefix.clone(), mark));
        if self.prefixes.len() <= PREFIXES_MAX {
            return Coarsening::None;
        }
        let Some(common) = closest(self.prefixes.iter().map(|(of, _)| of)) else {
            return self.mark_everything(now);
        };
        let mut merged = PurgeMark::default();
        self.prefixes.retain(|(of, mark)| {
            let is_covered = common.contains(of);
            if is_covered {
                merged = merged.or(*mark);
            }
            !is_covered
        });
        // The purge of the common prefix is still to be accepted, even if each of the others was
        // about to be.
        merged.number = self.last_number;
        self.prefixes.push((common, merged));
        Coarsening::Prefix
    }

    /// Replaces all marks by one on everything.
    fn mark_everything(&mut self, now: Timestamp) -> Coarsening {
        let all = PurgeMark { hard: Some(now), soft: None, number: self.last_number };
        *self = Self { all, last_number: self.last_number, ..Self::default() };
        Coarsening::Everything
    }

    fn forget_name(&mut self, name: u128, strength: PurgeStrength, begun: Timestamp) {
        if self.names.get_mut(&name).is_some_and(|(_, mark)| mark.is_empty_without(strength, begun)) {
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
    use crate::policy::{Obligations, RulesDigest, StoredFacts};
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
            rules: RulesDigest::NONE,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let stored = StoredValue::Response(Entry {
            facts,
            status: StatusCode::OK,
            head: HeaderMap::new(),
            body: Bytes::new(),
        });
        let name_key = NameKey::default();
        let tags = vec![CacheTag::parse("t").unwrap().digest(&name_key), group().digest(&name_key)];
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
                let purges = LocalPurges::new(NameKey::default());
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
        let purges = LocalPurges::new(NameKey::default());
        purges.add_key(&one, AT);
        assert_eq!(purges.judge(&entry(&one, 1_000), &a), PurgeStatus::Purged);
        assert_eq!(purges.judge(&entry(&other, 1_000), &a), PurgeStatus::Valid);
    }

    #[test]
    fn a_confirmed_soft_purge_keeps_the_hard_mark() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let purges = LocalPurges::new(NameKey::default());
        purges.add(&[tag("t")], PurgeStrength::Hard, AT);
        purges.add(&[tag("t")], PurgeStrength::Soft, AT);
        purges.clear(&[tag("t")], PurgeStrength::Soft, AT);
        assert_eq!(purges.judge(&entry(&key, 1_000), &a), PurgeStatus::Purged);
    }

    #[test]
    fn more_marks_than_the_bound_become_one_mark_on_everything() {
        let (a, key) = (target("/a"), CacheKey::of(&target("/a")));
        let purges = LocalPurges::new(NameKey::default());
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
        let purges = LocalPurges::new(NameKey::default());
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
            let purges = LocalPurges::new(NameKey::default());
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
    fn pending_purges_leave_once_redis_has_accepted_them() {
        let purges = LocalPurges::new(NameKey::default());
        let url = PurgeScope::Url(CacheKey::of(&target("/a")));
        purges.add(&[url.clone(), tag("t"), PurgeScope::All], PurgeStrength::Soft, AT);
        purges.add(&[tag("t")], PurgeStrength::Hard, AT);
        let pending = purges.pending(0, 9);
        let expected = [
            (url.clone(), PurgeStrength::Soft),
            (PurgeScope::All, PurgeStrength::Soft),
            (tag("t"), PurgeStrength::Hard),
        ];
        assert_eq!(
            pending.iter().map(|purge| (purge.scope.clone(), purge.strength)).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(
            purges.pending(pending[0].number, 2)[..],
            pending[1..],
            "a refused purge is behind the others"
        );
        assert_eq!(purges.count(), 3);
        // The mark was set again during the repetition.
        purges.add(&[tag("t")], PurgeStrength::Soft, AT);
        pending.iter().for_each(|purge| purges.accepted(purge));
        let left = purges.pending(0, 9);
        assert!(
            matches!(&left[..], [PendingPurge { scope, strength: PurgeStrength::Hard, .. }] if *scope == tag("t"))
        );
        assert_eq!(
            purges.judge(&entry(&CacheKey::of(&target("/a")), 1_000), &target("/a")),
            PurgeStatus::Purged
        );
        purges.accepted(&left[0]);
        assert_eq!((purges.count(), purges.has_marks()), (0, false));
    }

    #[test]
    fn more_prefixes_than_the_bound_become_a_common_prefix() {
        let purges = LocalPurges::new(NameKey::default());
        let prefix = |text: &str| PurgeScope::Prefix(UrlPrefix::parse(text).unwrap());
        for number in 0..PREFIXES_MAX {
            purges.add(&[prefix(&format!("http://api.test/accounts/{number:02}"))], PurgeStrength::Hard, AT);
        }
        assert_eq!(purges.coarsened(), 0);
        let before = purges.pending(0, PREFIXES_MAX);
        let judge = |path: &str| purges.judge(&entry(&CacheKey::of(&target(path)), 1_000), &target(path));
        purges.add(&[prefix("http://b.test/")], PurgeStrength::Soft, AT);
        assert_eq!((purges.coarsened(), judge("/other")), (1, PurgeStatus::Valid));
        assert!(purges.count() <= PREFIXES_MAX);
        assert!(
            (0..PREFIXES_MAX).all(|number| judge(&format!("/accounts/{number:02}")) == PurgeStatus::Purged)
        );
        // The common prefix is a purge of its own: Redis has not accepted it with the others.
        before.iter().for_each(|purge| purges.accepted(purge));
        assert_eq!(purges.count(), 2);
        let hosts = LocalPurges::new(NameKey::default());
        for number in 0..=PREFIXES_MAX {
            hosts.add(&[prefix(&format!("http://host{number}/"))], PurgeStrength::Soft, AT);
        }
        let pending = hosts.pending(0, 9);
        assert!(matches!(
            &pending[..],
            [PendingPurge { scope: PurgeScope::All, strength: PurgeStrength::Hard, .. }]
        ));
    }

    #[test]
    fn a_mark_on_everything_supersedes_fetches_under_way() {
        let purges = LocalPurges::new(NameKey::default());
        for number in 0..LOCAL_PURGES_MAX {
            purges.add_key(&CacheKey::of(&target(&format!("/{number}"))), AT);
        }
        let begun = time::instant();
        assert!(!purges.bulk_purged_since(begun));
        purges.add_key(&CacheKey::of(&target("/more")), AT);
        assert!(purges.bulk_purged_since(begun));
    }
}
