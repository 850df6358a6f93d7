//! Lookups.
//!
//! ```text
//! memory ── trusted? ── checked since the last purge? ──► hit
//!    │          │                    └─ no ─► checked against the purge log, and the tags if the log has moved
//!    │          └─ no ─┐
//!    └─ nothing ───────┴─► Redis: the entry, and beside it the purge log if it is unknown
//! ```

use bytes::Bytes;

use crate::entry::{Entry, EntryHeader, KeyGeneration, Provenance, StoredValue, ValueKind};
use crate::key::{CacheKey, Target};
use crate::limits::MEMORY_ALONE_AFTER;
use crate::redis::{Client, Command, CommandError, Reply, TrackedVersion};
use crate::store::metrics::{ChangeKind, LookupOutcome};
use crate::store::purge::log::{PurgeLog, PurgeStatus};
use crate::store::purge::snapshot::PurgeSnapshot;
use crate::store::purge::state::{Consistency, PurgeVerdict};
use crate::store::tiers::memory::MemoryEntry;
use crate::store::tiers::together::together;
use crate::store::tiers::trust::EntryTrust;
use crate::store::{Completeness, FoundValue, Lookup, Store, Tier};
use crate::time;

impl Store {
    /// Looks up `key` in memory and, unless memory may answer alone, in Redis. The lookup takes one
    /// round trip, and a second one after a purge that may cover the entry.
    ///
    /// Cancel safe: nothing is half done; the pool drops a late reply in order.
    pub async fn find(&self, key: &CacheKey, target: &Target) -> Lookup {
        let held = self.shared.memory.as_ref().and_then(|memory| memory.get(key.short()));
        let Some(redis) = &self.redis else {
            return held.map_or(Lookup::nothing(), |held| self.find_alone(key, target, held));
        };
        if let Some(held) = held.as_ref().filter(|held| held.trust.holds(&self.shared.seats)) {
            match self.judged(redis, &held.bytes, target, PurgeSnapshot::default()).await {
                Ok((fate, view)) => return self.out_of_memory(key, held, fate, view),
                Err(why) => return self.unasked(redis, key, target, Some(held.clone()), why),
            }
        }
        let name = self.name(key);
        let get = Command::Get { key: &name };
        let mut told = PurgeSnapshot::default();
        let read = if self.shared.clock.view() == 0 {
            let (read, ledger) = tokio::join!(redis.read(&get), Box::pin(self.learn_clock(redis)));
            told.ledger = ledger.ok();
            read
        } else {
            redis.read(&get).await
        };
        match read {
            Ok((Reply::Bulk(bytes), reading)) => {
                let lineage = match EntryHeader::read(&bytes) {
                    Some(EntryHeader { kind: ValueKind::Tombstone(_), lineage, .. }) => {
                        self.metrics.lookup(LookupOutcome::Miss);
                        if let Some(memory) = &self.shared.memory {
                            memory.remove_unless_behind(key.short(), lineage);
                        }
                        return Lookup { found: None, lineage, said: Completeness::All };
                    }
                    standing => standing.map_or(KeyGeneration::NONE, |standing| standing.lineage),
                };
                // The bytes are decoded first: foreign bytes cause no reads of tags.
                let Some(stored) = self.decoded(key, &bytes, Provenance::Store(time::now())) else {
                    return Lookup { found: None, lineage, said: Completeness::All };
                };
                match self.judged(redis, &bytes, target, told).await {
                    Ok((PurgeStatus::Gone, _)) => {
                        self.metrics.lookup(LookupOutcome::Purged);
                        if let Some(held) = held {
                            self.forget_this(key, &held.bytes);
                        }
                        Lookup { found: None, lineage, said: Completeness::All }
                    }
                    Ok((fate, view)) => {
                        let found = FoundValue::as_judged(stored, &bytes, fate, Tier::Redis);
                        let view = if fate == PurgeStatus::Stands { view } else { 0 };
                        self.out_of_redis(key, &name, &bytes, found, &reading, view)
                    }
                    Err(why) => Lookup { found: None, lineage, said: Completeness::by(why) },
                }
            }
            Ok(_) => {
                self.metrics.lookup(LookupOutcome::Miss);
                if let Some(held) = held {
                    self.forget_this(key, &held.bytes);
                }
                Lookup::nothing()
            }
            Err(why) => self.unasked(redis, key, target, held, why),
        }
    }

    /// Looks up `key` in memory only; returns an entry if memory may answer without Redis.
    pub fn find_in_memory(&self, key: &CacheKey, target: &Target) -> Option<FoundValue> {
        let held = self.shared.memory.as_ref()?.get(key.short())?;
        if !held.trust.holds(&self.shared.seats) {
            return None;
        }
        let view = self.shared.clock.view();
        if view != 0 && view == held.view {
            return self.found(key, &held, PurgeStatus::Stands);
        }
        match self.shared.clock.judge(&held.bytes, target, Consistency::Firm(&PurgeSnapshot::default())) {
            // The later full lookup counts it.
            PurgeVerdict::Fate(PurgeStatus::Gone, _)
            | PurgeVerdict::NoClock
            | PurgeVerdict::NoCounters(_) => None,
            PurgeVerdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view).found,
        }
    }

    /// Reads an entry from Redis into memory; returns whether Redis has a valid one. Purges are
    /// checked at the first lookup: the target is unknown here.
    pub(in crate::store) async fn read_into_memory(&self, key: &CacheKey) -> bool {
        let (Some(redis), Some(memory)) = (&self.redis, &self.shared.memory) else { return false };
        let name = self.name(key);
        let Ok((Reply::Bulk(bytes), reading)) = redis.read(&Command::Get { key: &name }).await else {
            return false;
        };
        if self.decoded(key, &bytes, Provenance::Store(time::now())).is_none() {
            return false;
        }
        let Some(trust) = self.shared.remembered(redis, &name, &reading) else { return false };
        memory.insert(key.short(), MemoryEntry { bytes: Bytes::copy_from_slice(&bytes), trust, view: 0 });
        true
    }

    /// Answers a lookup without Redis: unknown state counts as absent.
    fn find_alone(&self, key: &CacheKey, target: &Target, held: MemoryEntry) -> Lookup {
        match self.shared.clock.judge(&held.bytes, target, Consistency::Firm(&PurgeSnapshot::default())) {
            PurgeVerdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view),
            PurgeVerdict::NoClock | PurgeVerdict::NoCounters(_) => {
                self.out_of_memory(key, &held, PurgeStatus::Gone, 0)
            }
        }
    }

    /// Answers a lookup while Redis is unavailable. Memory may serve its entry if Redis has been
    /// away for long enough: while only this node's connection is lost, another node may reach
    /// Redis and purge.
    fn unasked(
        &self,
        redis: &Client,
        key: &CacheKey,
        target: &Target,
        held: Option<MemoryEntry>,
        why: CommandError,
    ) -> Lookup {
        self.metrics.lookup(LookupOutcome::Unavailable);
        let said = Completeness::by(why);
        let Some(held) = held else { return Lookup { said, ..Lookup::nothing() } };
        match self.shared.clock.judge(&held.bytes, target, Consistency::LastKnown) {
            PurgeVerdict::Fate(fate, _) if may_be_alone(redis, &self.name(key), &held) => {
                self.out_of_memory(key, &held, fate, 0)
            }
            PurgeVerdict::Fate(..) | PurgeVerdict::NoClock | PurgeVerdict::NoCounters(_) => {
                Lookup { found: None, lineage: lineage(&held.bytes), said }
            }
        }
    }

    /// Returns the effect of the purges on an entry, and its revision, for a request with this
    /// snapshot; reads the missing state.
    pub(in crate::store) async fn judged(
        &self,
        redis: &Client,
        bytes: &Bytes,
        target: &Target,
        mut told: PurgeSnapshot,
    ) -> Result<(PurgeStatus, u64), CommandError> {
        loop {
            match self.shared.clock.judge(bytes, target, Consistency::Firm(&told)) {
                PurgeVerdict::Fate(fate, view) => return Ok((fate, view)),
                // Boxed: the read is rare, and every lookup would be as large.
                PurgeVerdict::NoClock => told.ledger = Some(Box::pin(self.learn_clock(redis)).await?),
                PurgeVerdict::NoCounters(tags) => {
                    let asked = tags.iter().map(|tag| self.shared.learn_counter(redis, *tag));
                    for (tag, counter) in tags.iter().zip(together(asked).await) {
                        told.hear(*tag, counter?);
                    }
                }
            }
        }
    }

    async fn learn_clock(&self, redis: &Client) -> Result<PurgeLog, CommandError> {
        match &self.fleet {
            Some(fleet) => fleet.learn_clock(redis).await,
            None => self.shared.learn_clock(redis).await,
        }
    }

    fn out_of_memory(&self, key: &CacheKey, held: &MemoryEntry, fate: PurgeStatus, view: u64) -> Lookup {
        let lineage = lineage(&held.bytes);
        if fate == PurgeStatus::Gone {
            self.metrics.lookup(LookupOutcome::Purged);
            self.forget_this(key, &held.bytes);
            return Lookup { found: None, lineage, said: Completeness::All };
        }
        if fate == PurgeStatus::Stands
            && view != 0
            && let Some(memory) = &self.shared.memory
        {
            memory.looked_at(key.short(), held, view);
        }
        Lookup { found: self.found(key, held, fate), lineage, said: Completeness::All }
    }

    fn found(&self, key: &CacheKey, held: &MemoryEntry, fate: PurgeStatus) -> Option<FoundValue> {
        let stored = self.decoded(key, &held.bytes, Provenance::Process)?;
        let found = FoundValue::as_judged(stored, &held.bytes, fate, Tier::Memory)?;
        self.metrics.lookup(LookupOutcome::Memory);
        self.count_hit(key);
        Some(found)
    }

    fn out_of_redis(
        &self,
        key: &CacheKey,
        name: &[u8],
        bytes: &Bytes,
        found: Option<FoundValue>,
        reading: &TrackedVersion,
        view: u64,
    ) -> Lookup {
        let lineage = lineage(bytes);
        if let Some(found) = &found {
            self.metrics.lookup(LookupOutcome::Redis);
            self.tell_staleness(key, found);
            self.count_hit(key);
            if let Some(memory) = &self.shared.memory
                && let Some(redis) = &self.redis
                && let Some(trust) = self.shared.remembered(redis, name, reading)
            {
                // The bytes are copied: the reply is a slice that would keep the connection's whole
                // read buffer alive.
                memory.insert(key.short(), MemoryEntry { bytes: Bytes::copy_from_slice(bytes), trust, view });
            }
        }
        Lookup { found, lineage, said: Completeness::All }
    }

    /// Observes the staleness of an entry that memory held until Redis pushed its invalidation.
    fn tell_staleness(&self, key: &CacheKey, found: &FoundValue) {
        if let Some((_, let_go)) = self.shared.let_go.remove(&key.short())
            && let StoredValue::Response(Entry { facts, .. }) = &found.stored
            // A later receipt means another cause: memory's entry was removed, and a node has
            // fetched this one since.
            && facts.received <= let_go
        {
            self.metrics.caught_up(ChangeKind::Write, let_go.since(facts.received));
        }
    }

    /// Decodes stored bytes. Damaged bytes are a miss in this tier, and memory drops its entry.
    fn decoded(&self, key: &CacheKey, bytes: &Bytes, provenance: Provenance) -> Option<StoredValue> {
        let decoded = self.decoder.decode(key, bytes, provenance).inspect_err(|damage| {
            self.metrics.damaged(*damage);
            self.forget(key);
        });
        decoded.ok()
    }

    fn count_hit(&self, key: &CacheKey) {
        if let Some(hot) = &self.shared.hot {
            hot.hit(key);
        }
    }

    pub(in crate::store) fn forget(&self, key: &CacheKey) {
        if let Some(memory) = &self.shared.memory {
            memory.remove(key.short());
        }
    }

    /// Drops the entry with these bytes from memory. A later entry stays: Redis' reply is older
    /// than it, and a change since will be pushed.
    pub(in crate::store) fn forget_this(&self, key: &CacheKey, bytes: &Bytes) {
        if let Some(memory) = &self.shared.memory {
            memory.remove_this(key.short(), bytes);
        }
    }
}

impl FoundValue {
    /// Returns the decoded value with the effect of purges applied.
    pub(in crate::store) fn as_judged(
        mut stored: StoredValue,
        bytes: &[u8],
        fate: PurgeStatus,
        tier: Tier,
    ) -> Option<Self> {
        let standing = EntryHeader::read(bytes)?;
        if let StoredValue::Response(entry) = &mut stored {
            let marked = standing.outdated.map_or(PurgeStatus::Stands, PurgeStatus::Outdated);
            if let PurgeStatus::Outdated(at) = fate.and(marked) {
                entry.facts = entry.facts.stale_from(at);
            }
        }
        Some(Self { stored, tier, lineage: standing.lineage })
    }
}

impl Completeness {
    /// Returns the completeness of a lookup with this error: a server that refuses will refuse
    /// again.
    fn by(why: CommandError) -> Self {
        if matches!(why, CommandError::Server(_)) { Self::All } else { Self::Nothing }
    }
}

impl Lookup {
    fn nothing() -> Self {
        Self { found: None, lineage: KeyGeneration::NONE, said: Completeness::All }
    }
}

/// Returns whether memory may serve this entry while Redis is unavailable.
pub(in crate::store) fn may_be_alone(redis: &Client, name: &[u8], held: &MemoryEntry) -> bool {
    match held.trust {
        EntryTrust::Always | EntryTrust::Until(_) | EntryTrust::Arriving(_) => true,
        EntryTrust::Tracked(_) | EntryTrust::Outrun(..) => redis.disconnected_for(name) >= MEMORY_ALONE_AFTER,
    }
}

/// Returns the name of a new epoch.
pub(in crate::store) fn fresh_epoch() -> Bytes {
    format!("{:016x}", fastrand::u64(1..)).into()
}

fn lineage(bytes: &[u8]) -> KeyGeneration {
    EntryHeader::read(bytes).map_or(KeyGeneration::NONE, |standing| standing.lineage)
}
