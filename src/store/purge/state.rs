//! The fleet's purges as this process knows them, and their effect on entries.
//!
//! In the steady state, a hit makes one comparison: is the *revision* of the purge state still the
//! one at which its entry was checked? The revision is a number of this process that changes with
//! the purges that the process knows, and when it cannot know them any more. Only then are entries
//! checked again, each at its next lookup: against the purge log, and, if the log has changed since
//! the entry was fetched and one of the entry's tags may have changed since the last check
//! (`tag_changes.rs`), against the generations of its tags.
//!
//! When Redis pushes that the log has changed, a worker reads it again at once
//! (`fleet/listener.rs: follow_log`), and hits meanwhile use the last state. A purge is confirmed
//! only when every worker has acknowledged it, and no worker acknowledges while it serves from the
//! last state ([`PurgeState::end_revalidation`]). `judge.rs` checks the entries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use quick_cache::sync::Cache;

use crate::entry::{PurgeGeneration, TagDigest};
use crate::key::{CacheKey, NameKey};
use crate::limits::{PURGE_EPOCHS_REMEMBERED, PURGE_LOG_REVALIDATING_MAX, TAG_GENERATIONS_MAX};
use crate::redis::TrackingTable;
use crate::store::purge::cached::Cached;
use crate::store::purge::history::LogHistory;
use crate::store::purge::local::LocalPurges;
use crate::store::purge::log::{BulkPurge, PurgeLog, TagGeneration};
use crate::store::purge::names::{PurgeScope, PurgeStrength};
use crate::store::purge::remembered::RememberedPurges;
use crate::store::purge::tag_changes::TagChanges;
use crate::store::trust::EntryTrust;
use crate::time::Timestamp;

/// The purge state of this process.
pub(in crate::store) struct PurgeState {
    /// The revision, which changes with every field below; zero while the log is unknown. With
    /// [`EXPIRES`] set, it holds only as long as the log's trust. Written with the log's lock held.
    revision: AtomicU64,
    /// The last revision that was issued.
    last_revision: AtomicU64,
    /// The number of changes of the log, certain or possible.
    changes: AtomicU64,
    /// Whether a node has purged since this process started.
    knows_of_purge: AtomicBool,
    log: RwLock<Cached<PurgeLog>>,
    /// The last epochs before that of the log.
    ended_epochs: Mutex<VecDeque<u64>>,
    pub(in crate::store::purge) tags: Cache<u128, Cached<TagGeneration>>,
    pub(in crate::store::purge) tag_changes: TagChanges,
    /// The purges that Redis has not confirmed.
    local: LocalPurges,
    /// The purges that a node with keys remembers.
    pub(in crate::store::purge) remembered: Option<RememberedPurges>,
    pub(in crate::store::purge) tracking: Arc<TrackingTable>,
}

/// A flag in the revision: the reader must check whether the log is still trusted.
const EXPIRES: u64 = 1 << 63;

impl PurgeState {
    /// Returns the state before the first read. A node with keys remembers purges.
    pub(in crate::store) fn new(
        tracking: Arc<TrackingTable>,
        name_key: NameKey,
        remembered: Option<RememberedPurges>,
    ) -> Arc<Self> {
        Arc::new(Self {
            revision: AtomicU64::new(0),
            last_revision: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            knows_of_purge: AtomicBool::new(false),
            log: RwLock::new(Cached {
                value: None,
                trust: None,
                kept_until: None,
                log: PurgeGeneration::default(),
            }),
            ended_epochs: Mutex::default(),
            tags: Cache::new(TAG_GENERATIONS_MAX),
            tag_changes: TagChanges::new(Arc::clone(&tracking)),
            local: LocalPurges::new(name_key),
            remembered,
            tracking,
        })
    }

    /// Starts a log of this process, without Redis: no other node purges.
    pub(in crate::store) fn run_without_redis(&self) {
        if !self.is_known() {
            self.set_log(PurgeLog::new(), EntryTrust::Always);
        }
    }

    /// Returns the revision, or zero if purges may have happened that are unknown here.
    pub(in crate::store) fn revision(&self) -> u64 {
        let revision = self.revision.load(Ordering::Acquire);
        if revision & EXPIRES == 0 {
            return revision;
        }
        // The lock makes both reads one: the trust may already belong to a later revision.
        let known = self.log();
        let holds = known.trust.is_some_and(|trust| trust.holds(&self.tracking));
        if holds { self.revision.load(Ordering::Acquire) & !EXPIRES } else { 0 }
    }

    /// Returns the number of changes of the log.
    pub(in crate::store) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Returns the purge generation at the last read of the log.
    pub(in crate::store) fn generation(&self) -> PurgeGeneration {
        self.log().value.as_ref().map(|log| log.generation).unwrap_or_default()
    }

    pub(in crate::store) fn is_known(&self) -> bool {
        self.log().trust.is_some_and(|trust| trust.holds(&self.tracking))
    }

    /// Returns the purge generation at the last read of the log, and the epochs that have ended.
    pub(in crate::store) fn history(&self) -> LogHistory {
        let ended = self.ended_epochs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        LogHistory { generation: self.generation(), ended }
    }

    /// Stores the log read from Redis.
    pub(in crate::store) fn set_log(&self, log: PurgeLog, trust: EntryTrust) {
        self.set_log_if(log, trust, || true);
    }

    /// Stores the log read from Redis, unless `is_valid` returns `false`, which runs with the log's
    /// lock held: an invalidation of this log either comes before the check or finds the log
    /// stored.
    pub(in crate::store) fn set_log_if(
        &self,
        log: PurgeLog,
        trust: EntryTrust,
        is_valid: impl FnOnce() -> bool,
    ) {
        let mut known = self.log_mut();
        if !is_valid() {
            return;
        }
        let before = known.value.as_ref().map(|known| known.generation);
        let is_older = before.is_some_and(|before| {
            before.epoch == log.generation.epoch && before.count > log.generation.count
        });
        if is_older && known.trust.is_some_and(|trust| trust.holds(&self.tracking)) {
            // Another worker read this log before the known one; Redis will push the change to it.
            return;
        }
        // The first log is a change too: it may have counted purges since the start of a fetch that
        // began without a log.
        if before != Some(log.generation) {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        let generation = log.generation;
        if let Some(before) = before.filter(|before| before.epoch != generation.epoch) {
            let mut ended = self.ended_epochs.lock().unwrap_or_else(PoisonError::into_inner);
            ended.truncate(PURGE_EPOCHS_REMEMBERED - 1);
            ended.push_front(before.epoch);
        }
        *known = Cached { value: Some(log), trust: Some(trust), kept_until: None, log: generation };
        let expires = if matches!(trust, EntryTrust::Until(_)) { EXPIRES } else { 0 };
        self.revision.store(self.next_revision() | expires, Ordering::Release);
    }

    /// Stores the generation of a tag read from Redis.
    pub(in crate::store) fn set_tag(
        &self,
        tag: TagDigest,
        tag_generation: Option<TagGeneration>,
        trust: EntryTrust,
        kept_until: Option<Instant>,
    ) {
        let (log, value) = (self.generation(), self.not_before(tag, tag_generation));
        self.tags.insert(tag.0, Cached { value, trust: Some(trust), kept_until, log });
    }

    /// Returns whether this process has read a generation of the tag in `epoch`, still trusts the
    /// read, and knows that Redis keeps the generation until `moment`.
    pub(in crate::store) fn has_tag_until(&self, tag: TagDigest, epoch: u64, moment: Instant) -> bool {
        self.tags.get(&tag.0).is_some_and(|known| {
            known.value.is_some_and(|tag_generation| tag_generation.epoch == epoch)
                && known.trust.is_some_and(|trust| trust.holds(&self.tracking))
                && known.kept_until.is_some_and(|kept_until| kept_until >= moment)
        })
    }

    /// Purges a tag, without Redis.
    pub(in crate::store) fn purge_tag(&self, tag: TagDigest, strength: PurgeStrength, now: Timestamp) {
        let generation = self.record(BulkPurge::Counted, now).generation;
        let known = self.tag_generation(tag).flatten().filter(|known| known.epoch == generation.epoch);
        let tag_generation = match (known, strength) {
            // Earlier purges of the tag are unknown: it counts as purged.
            (None, _) => TagGeneration::at(generation),
            (Some(known), PurgeStrength::Hard) => TagGeneration { hard: generation.count, ..known },
            (Some(known), PurgeStrength::Soft) => TagGeneration { soft: (generation.count, now), ..known },
        };
        self.set_tag(tag, Some(tag_generation), EntryTrust::Always, None);
        self.tag_changes.changed(tag.0);
        self.bump_revision();
    }

    /// Continues with the known log for a short time: Redis has pushed that the log has changed,
    /// and a worker reads it again.
    pub(in crate::store) fn revalidate(&self, now: Instant) {
        let mut known = self.log_mut();
        match known.trust {
            Some(EntryTrust::Tracked(token)) => {
                known.trust = Some(EntryTrust::Revalidating(token, now + PURGE_LOG_REVALIDATING_MAX));
                self.revision.fetch_or(EXPIRES, Ordering::AcqRel);
                self.changes.fetch_add(1, Ordering::AcqRel);
            }
            // The limit counts from the first push.
            Some(EntryTrust::Revalidating(..)) => drop(self.changes.fetch_add(1, Ordering::AcqRel)),
            Some(EntryTrust::Always | EntryTrust::Until(_) | EntryTrust::InFlight(_)) | None => {
                drop(known);
                self.invalidate();
            }
        }
    }

    /// Ends the use of a log that has not been read again, or whose connection has ended. The
    /// caller is about to acknowledge a sync: every connection of its worker has processed its
    /// pending invalidations, and the purge may be one that only this log lacks.
    pub(in crate::store) fn end_revalidation(&self) {
        let log = self.log();
        let is_revalidating = matches!(log.trust, Some(EntryTrust::Revalidating(..)));
        let is_trusted = log.trust.is_some_and(|trust| trust.holds(&self.tracking));
        drop(log);
        if is_revalidating || !is_trusted {
            self.invalidate();
        }
    }

    /// Invalidates the log: it has changed, or may have.
    pub(in crate::store) fn invalidate(&self) {
        let mut known = self.log_mut();
        known.trust = None;
        self.revision.store(0, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Invalidates the generation of a tag: every entry is checked again, and the tags of those
    /// that may carry it.
    pub(in crate::store) fn invalidate_tag(&self, tag: u128) {
        match self.tags.get(&tag).filter(|_| self.remembered.is_some()) {
            // The generation does not go back.
            Some(known) => self.tags.insert(tag, Cached { trust: None, kept_until: None, ..known }),
            None => drop(self.tags.remove(&tag)),
        }
        self.tag_changes.changed(tag);
        self.bump_revision();
    }

    /// Invalidates the state that depended on a connection whose tracking was lost.
    pub(in crate::store) fn tracking_lost(&self) {
        if self.is_known() {
            return self.bump_revision();
        }
        let mut known = self.log_mut();
        // A log without a pushed change stays the last known one.
        if !known.is_last_known() {
            known.trust = None;
        }
        self.revision.store(0, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a change: a node has purged, whether or not its invalidation arrives here.
    pub(in crate::store) fn note_change(&self) {
        self.knows_of_purge.store(true, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether a node has purged since this process started, as far as this one knows.
    pub(in crate::store) fn knows_of_purge(&self) -> bool {
        self.knows_of_purge.load(Ordering::Acquire)
    }

    /// Records a purge, without Redis; returns the new log.
    pub(in crate::store) fn record(&self, purge: BulkPurge, now: Timestamp) -> PurgeLog {
        let mut known = self.log_mut();
        let log = known.value.get_or_insert_with(PurgeLog::new);
        log.record(purge, now);
        let log = log.clone();
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.revision.store(self.next_revision(), Ordering::Release);
        log
    }

    /// Returns whether no purge was recorded since the state had this number of changes and this
    /// generation. A push may arrive without a purge: starting a log also invalidates it for every
    /// connection that has read it.
    pub(in crate::store) fn unchanged_since(&self, changes: u64, generation: PurgeGeneration) -> bool {
        self.changes() == changes
            || (generation != PurgeGeneration::default()
                && self.revision() != 0
                && self.generation() == generation)
    }

    /// Returns the purges that Redis has not confirmed.
    pub(in crate::store) fn local(&self) -> &LocalPurges {
        &self.local
    }

    /// Records in this process a purge that Redis does not confirm: it applies to stored entries,
    /// to fetches under way, and to later reads from Redis.
    pub(in crate::store) fn purge_locally(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
        now: Timestamp,
    ) {
        self.local.add(scopes, strength, now);
        // Each entry is checked again at its next lookup.
        self.bump_revision();
    }

    /// Records in this process the removal of one resource or variant.
    pub(in crate::store) fn remove_locally(&self, key: &CacheKey, now: Timestamp) {
        self.local.add_key(key, now);
        self.bump_revision();
    }

    /// Removes the local marks of a purge that began then, because Redis has confirmed it.
    pub(in crate::store) fn clear_local(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
        begun: Timestamp,
    ) {
        self.local.clear(scopes, strength, begun);
    }

    /// Returns whether this process has marked a purge of more than single keys since then.
    pub(in crate::store) fn bulk_purged_since(&self, begun: Instant) -> bool {
        self.local.bulk_purged_since(begun)
    }

    /// Issues a new revision of the unchanged log.
    fn bump_revision(&self) {
        let known = self.log_mut();
        let revision = self.revision.load(Ordering::Acquire);
        if revision != 0 {
            self.revision.store(self.next_revision() | (revision & EXPIRES), Ordering::Release);
        }
        drop(known);
    }

    fn next_revision(&self) -> u64 {
        self.last_revision.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(in crate::store::purge) fn log(&self) -> RwLockReadGuard<'_, Cached<PurgeLog>> {
        // Each critical section makes one assignment: a panic leaves nothing half done.
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_mut(&self) -> RwLockWriteGuard<'_, Cached<PurgeLog>> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::{self, Entry, EntryVersion, StoredValue};
    use crate::key::{CacheKey, Scheme, Target};
    use crate::policy::{Obligations, RulesDigest, StoredFacts};
    use crate::store::purge::log::PurgeStatus;
    use crate::store::purge::names::{CacheTag, UrlPrefix};
    use crate::store::purge::tag_changes::TagStamp;
    use crate::store::purge::verdict::{CheckedAt, Consistency, PurgeSnapshot, PurgeVerdict};
    use crate::time::instant;

    const HOUR: Duration = Duration::from_secs(3600);

    fn target() -> Target {
        Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap()
    }

    fn tag() -> TagDigest {
        CacheTag::parse("x").unwrap().digest(&NameKey::default())
    }

    /// Encodes an entry with a tag, fetched at this generation.
    fn entry(generation: PurgeGeneration) -> Bytes {
        let facts = StoredFacts {
            received: Timestamp::EPOCH,
            initial_age: Duration::ZERO,
            lifetime: HOUR,
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
        let version = EntryVersion { generation, tags: vec![tag()], ..EntryVersion::default() };
        entry::encode(&CacheKey::of(&target()), &stored, &version).unwrap()
    }

    fn known(status: PurgeStatus, revision: u64) -> PurgeVerdict {
        PurgeVerdict::Known(status, CheckedAt { revision, tags: TagStamp::UNKNOWN })
    }

    /// Drops the stamp of the tags, for tests of the revision.
    fn untagged(verdict: PurgeVerdict) -> PurgeVerdict {
        match verdict {
            PurgeVerdict::Known(status, CheckedAt { revision, .. }) => known(status, revision),
            PurgeVerdict::LogUnknown | PurgeVerdict::TagsUnknown(_) => verdict,
        }
    }

    fn purge_status(purges: &PurgeState, entry: &[u8], snapshot: &PurgeSnapshot) -> PurgeVerdict {
        untagged(purges.judge(entry, &target(), Consistency::Verified(snapshot), CheckedAt::NEVER))
    }

    #[test]
    fn a_fetch_that_began_without_a_log_is_not_current_once_a_log_is_known() {
        let purges = PurgeState::new(TrackingTable::new(), NameKey::default(), None);
        let (changes, generation) = (purges.changes(), purges.generation());
        assert!(purges.unchanged_since(changes, generation));
        let log = PurgeLog::new();
        purges.set_log(log.clone(), EntryTrust::Always);
        assert!(!purges.unchanged_since(changes, generation), "a purge may have come in between");
        let (changes, generation) = (purges.changes(), purges.generation());
        purges.set_log(log, EntryTrust::Always);
        assert!(purges.unchanged_since(changes, generation), "the same log is no change");
    }

    #[test]
    fn the_stamp_of_tags_that_were_not_purged_holds_until_one_changes() {
        let (purges, log, bytes, _slot) = read();
        let stamp = || purges.unpurged_stamp([tag()].into_iter(), log.generation);
        assert_eq!(stamp(), TagStamp::UNKNOWN, "Redis would push no change of the tag");
        for (trust, is_known) in [(EntryTrust::Until(instant() + HOUR), false), (EntryTrust::Always, true)] {
            purges.set_tag(tag(), Some(TagGeneration::at(log.generation)), trust, None);
            assert_eq!(stamp() != TagStamp::UNKNOWN, is_known, "{trust:?}");
        }
        let checked = CheckedAt { revision: 0, tags: stamp() };
        // A purge of another tag reads nothing, even if the process has forgotten this one.
        purges.tags.remove(&tag().0);
        let mut counted = log.clone();
        counted.record(BulkPurge::Counted, Timestamp::EPOCH);
        purges.set_log(counted, EntryTrust::Always);
        let snapshot = PurgeSnapshot::default();
        let judge = || purges.judge(&bytes, &target(), Consistency::Verified(&snapshot), checked);
        assert!(matches!(judge(), PurgeVerdict::Known(PurgeStatus::Valid, _)), "{:?}", judge());
        purges.invalidate_tag(tag().0);
        assert_eq!(judge(), PurgeVerdict::TagsUnknown(vec![tag()]));
        let purged = TagGeneration { hard: log.generation.count + 1, ..TagGeneration::at(log.generation) };
        purges.set_tag(tag(), Some(purged), EntryTrust::Always, None);
        assert_eq!(stamp(), TagStamp::UNKNOWN, "a purge of the tag covers the entry");
    }

    /// Returns a state that has been read, its log, an entry fetched then, and the guard of the
    /// tracking slot.
    fn read() -> (Arc<PurgeState>, PurgeLog, Bytes, impl Sized) {
        let tracking = TrackingTable::new();
        let (slot, token) = tracking.take();
        let (purges, log) = (PurgeState::new(tracking, NameKey::default(), None), PurgeLog::new());
        purges.set_log(log.clone(), EntryTrust::Tracked(token.unwrap()));
        let entry = entry(log.generation);
        (purges, log, entry, slot)
    }

    /// Returns the log after one more purge, which covers the entry.
    fn purged_log(log: &PurgeLog) -> PurgeLog {
        let mut purged_log = log.clone();
        let prefix = UrlPrefix::parse("http://api.test/a").unwrap();
        purged_log.record(BulkPurge::Prefix(prefix, PurgeStrength::Hard), Timestamp::EPOCH);
        purged_log
    }

    #[test]
    fn hits_use_the_last_log_while_it_is_read_again() {
        let (purges, log, entry, _slot) = read();
        let before = purges.revision();
        assert_eq!(
            purge_status(&purges, &entry, &PurgeSnapshot::default()),
            known(PurgeStatus::Valid, before)
        );
        purges.revalidate(instant() + HOUR);
        assert_eq!(purges.revision(), before, "checked entries stay checked");
        assert_eq!(
            purge_status(&purges, &entry, &PurgeSnapshot::default()),
            known(PurgeStatus::Valid, before)
        );
        let (_other, token) = purges.tracking.take();
        purges.set_log(purged_log(&log), EntryTrust::Tracked(token.unwrap()));
        assert_ne!(purges.revision(), before);
        assert_eq!(
            purge_status(&purges, &entry, &PurgeSnapshot::default()),
            known(PurgeStatus::Purged, purges.revision())
        );
    }

    #[test]
    fn an_acknowledgement_ends_the_use_of_the_last_log() {
        let (purges, log, entry, _slot) = read();
        purges.end_revalidation();
        assert_ne!(purges.revision(), 0, "the log has not changed");
        purges.revalidate(instant() + HOUR);
        purges.end_revalidation();
        assert_eq!(purge_status(&purges, &entry, &PurgeSnapshot::default()), PurgeVerdict::LogUnknown);
        // A snapshot from before the purge serves its own request only.
        let mut snapshot = PurgeSnapshot::default();
        snapshot.log = Some(log);
        assert_eq!(purge_status(&purges, &entry, &snapshot), known(PurgeStatus::Valid, 0));
        assert_eq!(purge_status(&purges, &entry, &PurgeSnapshot::default()), PurgeVerdict::LogUnknown);
    }

    #[test]
    fn the_use_of_the_last_log_is_limited() {
        let (purges, _, entry, _slot) = read();
        purges.revalidate(instant().checked_sub(2 * PURGE_LOG_REVALIDATING_MAX).unwrap());
        purges.revalidate(instant());
        assert_eq!(
            purge_status(&purges, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::LogUnknown,
            "a second push does not extend the limit"
        );
    }

    #[test]
    fn losing_the_connection_ends_the_use_of_the_last_log() {
        let (purges, _, entry, slot) = read();
        purges.revalidate(instant() + HOUR);
        drop(slot);
        assert_eq!(purge_status(&purges, &entry, &PurgeSnapshot::default()), PurgeVerdict::LogUnknown);
        purges.tracking_lost();
        assert_eq!(purge_status(&purges, &entry, &PurgeSnapshot::default()), PurgeVerdict::LogUnknown);
    }

    #[test]
    fn purges_of_other_tags_look_up_no_tag_of_a_checked_entry() {
        let (purges, log, entry, _slot) = read();
        let (other_slot, token) = purges.tracking.take();
        let mut moved = log.clone();
        let mut purge_another = || {
            moved.record(BulkPurge::Counted, Timestamp::EPOCH);
            purges.invalidate_tag(tag().0 ^ 1);
            purges.set_log(moved.clone(), EntryTrust::Tracked(token.unwrap()));
        };
        let judge = |checked| {
            let snapshot = PurgeSnapshot::default();
            purges.judge(&entry, &target(), Consistency::Verified(&snapshot), checked)
        };
        let read_tag = || {
            let generation = TagGeneration::at(log.generation);
            purges.set_tag(tag(), Some(generation), EntryTrust::Tracked(token.unwrap()), None);
        };
        let unknown = PurgeVerdict::TagsUnknown(vec![tag()]);
        purge_another();
        assert_eq!(judge(CheckedAt::NEVER), unknown);
        read_tag();
        let PurgeVerdict::Known(PurgeStatus::Valid, checked) = judge(CheckedAt::NEVER) else {
            panic!("the tag is known")
        };
        assert_eq!(checked.revision, purges.revision());
        // The process has forgotten the generation, and other tags are purged.
        purges.tags.clear();
        purge_another();
        let later = CheckedAt { revision: purges.revision(), ..checked };
        assert_eq!(judge(checked), PurgeVerdict::Known(PurgeStatus::Valid, later));
        assert_eq!(judge(CheckedAt::NEVER), unknown, "another entry of the tag");
        let alone = purges.judge(&entry, &target(), Consistency::LastKnown, checked);
        assert_eq!(alone, unknown, "without Redis, no push would have come");
        // Redis pushes a change of the tag.
        purges.invalidate_tag(tag().0);
        assert_eq!(judge(checked), unknown);
        // A lost connection may have been the one that would get the push.
        read_tag();
        let PurgeVerdict::Known(_, checked) = judge(CheckedAt::NEVER) else { panic!("the tag is known") };
        assert!(matches!(judge(checked), PurgeVerdict::Known(..)));
        let (_third, third) = purges.tracking.take();
        drop(other_slot);
        purges.set_log(moved, EntryTrust::Tracked(third.unwrap()));
        assert_eq!(judge(checked), unknown);
    }

    #[test]
    fn an_untracked_tag_generation_makes_no_revision() {
        let (purges, log, entry, _slot) = read();
        let mut moved = log.clone();
        moved.record(BulkPurge::Counted, Timestamp::EPOCH);
        let (fresh, past) = (instant() + HOUR, instant().checked_sub(HOUR).unwrap());
        purges.set_log(moved, EntryTrust::Until(fresh));
        let read_tag = |until| {
            purges.set_tag(tag(), Some(TagGeneration::at(log.generation)), EntryTrust::Until(until), None);
            purge_status(&purges, &entry, &PurgeSnapshot::default())
        };
        assert_eq!(
            read_tag(fresh),
            known(PurgeStatus::Valid, 0),
            "the log is trusted for longer than the tag generation may be"
        );
        assert_eq!(read_tag(past), PurgeVerdict::TagsUnknown(vec![tag()]));
    }

    #[test]
    fn alone_an_entry_is_valid_if_its_tags_are_known_since_the_last_purge() {
        let (purges, log, entry, slot) = read();
        let (_other, token) = purges.tracking.take();
        let mut moved = log.clone();
        moved.record(BulkPurge::Counted, Timestamp::EPOCH);
        let alone = || untagged(purges.judge(&entry, &target(), Consistency::LastKnown, CheckedAt::NEVER));
        let read_tag = || {
            let generation = TagGeneration::at(log.generation);
            purges.set_tag(tag(), Some(generation), EntryTrust::Tracked(token.unwrap()), None);
        };
        assert_eq!(alone(), known(PurgeStatus::Valid, purges.revision()));
        read_tag();
        purges.set_log(moved, EntryTrust::Tracked(token.unwrap()));
        assert_eq!(alone(), PurgeVerdict::TagsUnknown(vec![tag()]), "the tag was read before the purge");
        read_tag();
        assert_eq!(alone(), known(PurgeStatus::Valid, purges.revision()));
        purges.invalidate_tag(tag().0);
        assert_eq!(alone(), PurgeVerdict::TagsUnknown(vec![tag()]), "Redis has pushed a change of the tag");
        drop(slot);
    }

    #[test]
    fn alone_no_entry_is_valid_after_a_pushed_change_of_the_log() {
        let (purges, log, entry, slot) = read();
        let alone = || untagged(purges.judge(&entry, &target(), Consistency::LastKnown, CheckedAt::NEVER));
        drop(slot);
        purges.tracking_lost();
        assert_eq!(purges.revision(), 0);
        assert_eq!(alone(), known(PurgeStatus::Valid, 0), "the last known log");
        // A sync arrives while the log is not tracked: the purge may be one that it lacks.
        purges.end_revalidation();
        assert_eq!(alone(), PurgeVerdict::LogUnknown);

        let (slot, token) = purges.tracking.take();
        purges.set_log(log.clone(), EntryTrust::Tracked(token.unwrap()));
        purges.revalidate(instant());
        drop(slot);
        purges.tracking_lost();
        assert_eq!(alone(), PurgeVerdict::LogUnknown);

        purges.set_log(log.clone(), EntryTrust::Until(instant() + HOUR));
        assert_eq!(alone(), known(PurgeStatus::Valid, purges.revision()));
        purges.set_log(log, EntryTrust::Until(instant().checked_sub(HOUR).unwrap()));
        assert_eq!(alone(), PurgeVerdict::LogUnknown, "no push would have come");
    }

    #[test]
    fn a_tag_generation_read_for_one_request_makes_no_revision() {
        let (purges, log, entry, _slot) = read();
        let (_other, token) = purges.tracking.take();
        let mut moved = log.clone();
        moved.record(BulkPurge::Counted, Timestamp::EPOCH);
        purges.set_log(moved, EntryTrust::Tracked(token.unwrap()));
        let mut snapshot = PurgeSnapshot::default();
        assert_eq!(purge_status(&purges, &entry, &snapshot), PurgeVerdict::TagsUnknown(vec![tag()]));
        snapshot.record(tag(), Some(TagGeneration::at(log.generation)));
        assert_eq!(purge_status(&purges, &entry, &snapshot), known(PurgeStatus::Valid, 0));
        assert_eq!(
            purge_status(&purges, &entry, &PurgeSnapshot::default()),
            PurgeVerdict::TagsUnknown(vec![tag()])
        );
        purges.set_tag(
            tag(),
            Some(TagGeneration::at(log.generation)),
            EntryTrust::Tracked(token.unwrap()),
            None,
        );
        assert_eq!(purge_status(&purges, &entry, &snapshot), known(PurgeStatus::Valid, purges.revision()));
    }

    /// A node that starts without Redis serves what it has fetched until it reads the log.
    #[test]
    fn an_entry_of_an_unknown_generation_is_valid_until_the_log_is_read() {
        let purges = PurgeState::new(TrackingTable::new(), NameKey::default(), None);
        let entry = entry(PurgeGeneration::default());
        let judge = || purges.judge(&entry, &target(), Consistency::LastKnown, CheckedAt::NEVER);
        assert_eq!(untagged(judge()), known(PurgeStatus::Valid, 0));
        purges.set_log(PurgeLog::new(), EntryTrust::Always);
        assert_eq!(untagged(judge()), known(PurgeStatus::Purged, purges.revision()));
        purges.invalidate();
        assert_eq!(judge(), PurgeVerdict::LogUnknown);
    }

    /// A node that may not read the log acknowledges syncs.
    #[test]
    fn an_entry_of_an_unknown_generation_ends_with_a_purge_that_the_node_learns_of() {
        let purges = PurgeState::new(TrackingTable::new(), NameKey::default(), None);
        let entry = entry(PurgeGeneration::default());
        let judge = || purges.judge(&entry, &target(), Consistency::LastKnown, CheckedAt::NEVER);
        assert_eq!(untagged(judge()), known(PurgeStatus::Valid, 0));
        purges.note_change();
        assert_eq!(judge(), PurgeVerdict::LogUnknown);
    }
}
