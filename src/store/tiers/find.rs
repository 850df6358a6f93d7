//! Lookups.
//!
//! ```text
//! memory ── trusted? ── checked since the last purge? ──► hit
//!    │          │                    └─ no ─► checked against the log, then the tags
//!    │          └─ no ─┐
//!    └─ nothing ───────┴─► Redis: the entry, and beside it the purge log if it is unknown
//! ```

use std::time::Instant;

use bytes::Bytes;
use tokio::time::sleep;

use crate::entry::{
    Entry, EntryError, EntryHeader, KeyGeneration, Provenance, StoredValue, UnpackedEntry, ValueKind,
};
use crate::key::{CacheKey, Target};
use crate::limits::WARM_CONNECT_RETRY;
use crate::redis::{Client, Command, CommandError, Reply, TrackedVersion};
use crate::store::handle::Store;
use crate::store::lookup::{Completeness, FoundValue, Lookup, MemoryUse, Tier};
use crate::store::metrics::{ChangeKind, LookupOutcome};
use crate::store::purge::log::{PurgeLog, PurgeStatus};
use crate::store::purge::verdict::{CheckedAt, Consistency, PurgeSnapshot, PurgeVerdict};
use crate::store::tiers::memory::MemoryEntry;
use crate::store::together::together;
use crate::time;

impl Store {
    /// Looks up `key` in memory and, unless memory may answer alone, in Redis. The `GET` takes one
    /// round trip. A purge that may cover the entry adds a read of purge state, also for memory.
    ///
    /// Cancel safe: nothing is half done; the pool drops a late reply in order.
    pub async fn find(&self, key: &CacheKey, target: &Target, memory: MemoryUse) -> Lookup {
        let held = self.shared.memory.as_ref().and_then(|memory| memory.get(key.short()));
        let Some(redis) = &self.redis else {
            return held.map_or(Lookup::nothing(), |held| self.find_memory_only(key, target, held));
        };
        if let Some(held) = held.as_ref().filter(|held| self.may_answer(held, memory)) {
            match self.purge_status(redis, &held.bytes, target, PurgeSnapshot::default(), held.checked).await
            {
                Ok((status, checked)) => return self.memory_lookup(key, held, status, checked),
                Err(why) => {
                    let held = Some(held.clone()).filter(|_| memory == MemoryUse::Usual);
                    return self.find_unavailable(redis, key, target, held, why);
                }
            }
        }
        let name = self.name(key);
        let get = Command::Get { key: &name };
        let mut snapshot = PurgeSnapshot::default();
        let sent = time::instant();
        let read = if self.shared.purges.revision() == 0 {
            let (read, log) = tokio::join!(redis.read(&get), Box::pin(self.read_log(redis)));
            snapshot.log = log.ok();
            read
        } else {
            redis.read(&get).await
        };
        match read {
            Ok((Reply::Bulk(bytes), version)) => {
                let key_generation = match EntryHeader::read(&bytes) {
                    Some(EntryHeader { kind: ValueKind::Tombstone(at), key_generation, .. }) => {
                        self.shared.purges.remember(key.short(), at.min(time::now()));
                        self.metrics.lookup(LookupOutcome::Miss);
                        if let Some(memory) = &self.shared.memory {
                            memory.remove_unless_behind(key.short(), key_generation);
                        }
                        return Lookup { found: None, key_generation, completeness: Completeness::Complete };
                    }
                    header => header.map_or(KeyGeneration::NONE, |header| header.key_generation),
                };
                // The bytes are decoded first: foreign bytes cause no reads of tags.
                let Some((entry, stored)) = self.unpacked(key, &bytes) else {
                    return Lookup { found: None, key_generation, completeness: Completeness::Complete };
                };
                let read = entry.as_read(&bytes);
                match self.purge_status(redis, read, target, snapshot, CheckedAt::NEVER).await {
                    Ok((PurgeStatus::Purged, _)) => {
                        self.metrics.lookup(LookupOutcome::Purged);
                        if let Some(held) = held {
                            self.drop_this_from_memory(key, &held.bytes);
                        }
                        Lookup { found: None, key_generation, completeness: Completeness::Complete }
                    }
                    Ok((status, checked)) => {
                        let found = FoundValue::with_status(stored, read, status, Tier::Redis);
                        let checked = if status == PurgeStatus::Valid { checked } else { CheckedAt::NEVER };
                        let kept = || entry.to_keep(&bytes);
                        Lookup {
                            found: self.redis_found(key, &name, kept, found, (&version, sent), checked),
                            key_generation,
                            completeness: Completeness::Complete,
                        }
                    }
                    Err(why) => Lookup { found: None, key_generation, completeness: Completeness::by(why) },
                }
            }
            Ok(_) => {
                self.metrics.lookup(LookupOutcome::Miss);
                if let Some(held) = held {
                    self.drop_this_from_memory(key, &held.bytes);
                }
                Lookup::nothing()
            }
            Err(why) => {
                let held = held.filter(|_| memory == MemoryUse::Usual);
                self.find_unavailable(redis, key, target, held, why)
            }
        }
    }

    /// Returns whether memory may answer with this entry without Redis.
    fn may_answer(&self, held: &MemoryEntry, memory: MemoryUse) -> bool {
        held.trust.holds(&self.shared.tracking)
            && match memory {
                MemoryUse::Usual => true,
                MemoryUse::TrackedOnly => held.trust.is_tracked(),
            }
    }

    /// Looks up `key` in memory only; returns an entry if memory may answer without Redis.
    pub fn find_in_memory(&self, key: &CacheKey, target: &Target, memory: MemoryUse) -> Option<FoundValue> {
        let held = self.shared.memory.as_ref()?.get(key.short())?;
        if !self.may_answer(&held, memory) {
            return None;
        }
        let revision = self.shared.purges.revision();
        if revision != 0 && revision == held.checked.revision {
            return self.found(key, &held, PurgeStatus::Valid);
        }
        match self.judge_memory(target, &held) {
            // The later full lookup counts it.
            PurgeVerdict::Known(PurgeStatus::Purged, _)
            | PurgeVerdict::LogUnknown
            | PurgeVerdict::TagsUnknown(_) => None,
            PurgeVerdict::Known(status, checked) => self.memory_lookup(key, &held, status, checked).found,
        }
    }

    /// Returns a variant of a resource, unless a purge of the resource covers it.
    pub fn unpurged_variant(&self, resource: &CacheKey, found: FoundValue) -> Option<FoundValue> {
        let FoundValue { stored, tier, key_generation } = found;
        let StoredValue::Response(mut entry) = stored else { return None };
        match self.shared.purges.judge_variant(resource.short(), entry.facts.received) {
            PurgeStatus::Purged => return None,
            PurgeStatus::Stale(at) => entry.facts = entry.facts.stale_from(at.min(time::now())),
            PurgeStatus::Valid => {}
        }
        Some(FoundValue { stored: StoredValue::Response(entry), tier, key_generation })
    }

    /// Reads an entry from Redis into memory; returns whether Redis has a valid one. Purges are
    /// checked at the first lookup: the target is unknown here. The caller limits the time.
    pub(in crate::store) async fn read_into_memory(&self, key: &CacheKey) -> bool {
        let (Some(redis), Some(memory)) = (&self.redis, &self.shared.memory) else { return false };
        let name = self.name(key);
        let (bytes, trust) = loop {
            let sent = time::instant();
            let Ok((Reply::Bulk(bytes), version)) = redis.read(&Command::Get { key: &name }).await else {
                return false;
            };
            let Some((entry, _)) = self.unpacked(key, &bytes) else { return false };
            match self.shared.trust_of(redis, &name, &version, sent) {
                Some(trust) => break (entry.to_keep(&bytes), trust),
                // The connection does not track yet, or the value changed after the read.
                None => sleep(WARM_CONNECT_RETRY).await,
            }
        };
        memory.insert(key.short(), MemoryEntry { bytes, trust, checked: CheckedAt::NEVER });
        true
    }

    /// Answers a lookup without Redis: unknown state counts as absent.
    fn find_memory_only(&self, key: &CacheKey, target: &Target, held: MemoryEntry) -> Lookup {
        match self.judge_memory(target, &held) {
            PurgeVerdict::Known(status, checked) => self.memory_lookup(key, &held, status, checked),
            PurgeVerdict::LogUnknown | PurgeVerdict::TagsUnknown(_) => {
                self.memory_lookup(key, &held, PurgeStatus::Purged, CheckedAt::NEVER)
            }
        }
    }

    /// Answers a lookup that got no usable reply from Redis. In an outage, memory may serve its
    /// entry (`alone.rs`).
    fn find_unavailable(
        &self,
        redis: &Client,
        key: &CacheKey,
        target: &Target,
        held: Option<MemoryEntry>,
        why: CommandError,
    ) -> Lookup {
        self.metrics.lookup(LookupOutcome::Unavailable);
        let completeness = Completeness::by(why);
        let Some(held) = held else { return Lookup { completeness, ..Lookup::nothing() } };
        match self.shared.purges.judge(&held.bytes, target, Consistency::LastKnown, held.checked) {
            PurgeVerdict::Known(status, _)
                if self.shared.may_serve_alone(held.trust, redis, &self.name(key), why) =>
            {
                self.memory_lookup(key, &held, status, CheckedAt::NEVER)
            }
            PurgeVerdict::Known(..) | PurgeVerdict::LogUnknown | PurgeVerdict::TagsUnknown(_) => {
                Lookup { found: None, key_generation: key_generation(&held.bytes), completeness }
            }
        }
    }

    /// Returns the effect of the purges on an entry of memory, as far as this process knows it.
    fn judge_memory(&self, target: &Target, held: &MemoryEntry) -> PurgeVerdict {
        let snapshot = PurgeSnapshot::default();
        self.shared.purges.judge(&held.bytes, target, Consistency::Verified(&snapshot), held.checked)
    }

    /// Returns the effect of the purges on an entry, and the revision and tag stamp of this check;
    /// `checked` has those of its last check. `snapshot` has the purge state that the request has
    /// read; this function reads from Redis the parts that are still unknown.
    pub(in crate::store) async fn purge_status(
        &self,
        redis: &Client,
        bytes: &Bytes,
        target: &Target,
        mut snapshot: PurgeSnapshot,
        checked: CheckedAt,
    ) -> Result<(PurgeStatus, CheckedAt), CommandError> {
        loop {
            match self.shared.purges.judge(bytes, target, Consistency::Verified(&snapshot), checked) {
                PurgeVerdict::Known(status, checked) => return Ok((status, checked)),
                // Boxed: the read is rare, and every lookup would be as large.
                PurgeVerdict::LogUnknown => snapshot.log = Some(Box::pin(self.read_log(redis)).await?),
                PurgeVerdict::TagsUnknown(tags) => {
                    let reads = tags.iter().map(|tag| self.shared.read_tag(redis, *tag));
                    for (tag, generation) in tags.iter().zip(together(reads).await) {
                        snapshot.record(*tag, generation?);
                    }
                }
            }
        }
    }

    /// Reads the purge log from Redis, if this process has not read any: a permit without a purge
    /// generation stores nothing there. A failure leaves the log unread.
    pub async fn read_first_log(&self) {
        if let Some(redis) = &self.redis
            && self.shared.purges.generation().epoch == 0
        {
            drop(Box::pin(self.read_log(redis)).await);
        }
    }

    async fn read_log(&self, redis: &Client) -> Result<PurgeLog, CommandError> {
        match &self.fleet {
            Some(fleet) => fleet.read_log(redis).await,
            None => self.shared.read_log(redis).await,
        }
    }

    fn memory_lookup(
        &self,
        key: &CacheKey,
        held: &MemoryEntry,
        status: PurgeStatus,
        checked: CheckedAt,
    ) -> Lookup {
        let key_generation = key_generation(&held.bytes);
        if status == PurgeStatus::Purged {
            self.metrics.lookup(LookupOutcome::Purged);
            self.drop_this_from_memory(key, &held.bytes);
            return Lookup { found: None, key_generation, completeness: Completeness::Complete };
        }
        if status == PurgeStatus::Valid
            && checked.revision != 0
            && let Some(memory) = &self.shared.memory
        {
            memory.set_checked(key.short(), held, checked);
        }
        Lookup { found: self.found(key, held, status), key_generation, completeness: Completeness::Complete }
    }

    fn found(&self, key: &CacheKey, held: &MemoryEntry, status: PurgeStatus) -> Option<FoundValue> {
        let stored = self.decoded(key, &held.bytes)?;
        let found = FoundValue::with_status(stored, &held.bytes, status, Tier::Memory)?;
        self.metrics.lookup(LookupOutcome::Memory);
        self.count_hit(key);
        Some(found)
    }

    /// Returns the value that a lookup found in Redis; memory keeps its bytes.
    fn redis_found(
        &self,
        key: &CacheKey,
        name: &[u8],
        bytes: impl FnOnce() -> Bytes,
        found: Option<FoundValue>,
        (version, sent): (&TrackedVersion, Instant),
        checked: CheckedAt,
    ) -> Option<FoundValue> {
        let found = found?;
        self.metrics.lookup(LookupOutcome::Redis);
        self.observe_write_staleness(key, &found);
        self.count_hit(key);
        if let Some(memory) = &self.shared.memory
            && let Some(redis) = &self.redis
            && let Some(trust) = self.shared.trust_of(redis, name, version, sent)
        {
            memory.insert(key.short(), MemoryEntry { bytes: bytes(), trust, checked });
        }
        Some(found)
    }

    /// Observes the staleness of an entry that memory held until Redis pushed its invalidation.
    fn observe_write_staleness(&self, key: &CacheKey, found: &FoundValue) {
        if let Some((_, dropped_at)) = self.shared.dropped_at.remove(&key.short())
            && let StoredValue::Response(Entry { facts, .. }) = &found.stored
            // A later receipt means another cause: memory's entry was removed, and a node has
            // fetched this one since.
            && facts.received <= dropped_at
        {
            self.metrics.observe_staleness(ChangeKind::Write, dropped_at.since(facts.received));
        }
    }

    /// Decodes the bytes of memory. Damaged bytes are a miss in this tier, and memory drops its
    /// entry.
    fn decoded(&self, key: &CacheKey, bytes: &Bytes) -> Option<StoredValue> {
        self.decoder
            .decode(key, bytes, Provenance::Process)
            .inspect_err(|damage| self.refuse(key, *damage))
            .ok()
    }

    /// Unpacks and decodes the bytes of Redis. Damaged bytes are a miss in this tier, and memory
    /// drops its entry.
    fn unpacked(&self, key: &CacheKey, bytes: &Bytes) -> Option<(UnpackedEntry, StoredValue)> {
        self.unpack(key, bytes).inspect_err(|damage| self.refuse(key, *damage)).ok()
    }

    fn refuse(&self, key: &CacheKey, damage: EntryError) {
        self.metrics.damaged(damage);
        self.drop_from_memory(key);
    }

    fn count_hit(&self, key: &CacheKey) {
        if let Some(hot) = &self.shared.hot {
            hot.hit(key);
        }
    }

    pub(in crate::store) fn drop_from_memory(&self, key: &CacheKey) {
        if let Some(memory) = &self.shared.memory {
            memory.remove(key.short());
        }
    }

    /// Drops the entry with these bytes from memory. A later entry stays: Redis' reply is older
    /// than it, and a change since will be pushed.
    pub(in crate::store) fn drop_this_from_memory(&self, key: &CacheKey, bytes: &Bytes) {
        if let Some(memory) = &self.shared.memory {
            memory.remove_this(key.short(), bytes);
        }
    }
}

fn key_generation(bytes: &[u8]) -> KeyGeneration {
    EntryHeader::read(bytes).map_or(KeyGeneration::NONE, |header| header.key_generation)
}
