//! The way out of the tiers.
//!
//! ```text
//! memory ── trusted? ── looked at since the last purge? ──► hit
//!    │          │                    └─ no ─► held against the clock, and the counters if that has moved
//!    │          └─ no ─┐
//!    └─ nothing ───────┴─► Redis: the entry, and beside it the clock if it is not known
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
    /// Looks `key` up in memory and, where that may not answer by itself, in Redis: one round trip,
    /// and another one where there has been a purge of something that the entry may be part of.
    ///
    /// Cancel safe: nothing is half done; a reply that comes late is dropped in order by the pool.
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
                // Nothing of foreign bytes is asked about before they have been checked.
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

    /// What memory alone has for `key`, and may say without asking.
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
            // Counted where it is looked up again.
            PurgeVerdict::Fate(PurgeStatus::Gone, _)
            | PurgeVerdict::NoClock
            | PurgeVerdict::NoCounters(_) => None,
            PurgeVerdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view).found,
        }
    }

    /// Reads an entry from Redis into memory, if it is there and whole; whether it is. What purges
    /// mean for it is found out when somebody asks for it: here it is not known whose it is.
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

    /// Where there is no Redis, whatever is not known is not there.
    fn find_alone(&self, key: &CacheKey, target: &Target, held: MemoryEntry) -> Lookup {
        match self.shared.clock.judge(&held.bytes, target, Consistency::Firm(&PurgeSnapshot::default())) {
            PurgeVerdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view),
            PurgeVerdict::NoClock | PurgeVerdict::NoCounters(_) => {
                self.out_of_memory(key, &held, PurgeStatus::Gone, 0)
            }
        }
    }

    /// Redis cannot be asked. What it had before it went away may be served; while it is only a
    /// connection that is lost, somebody else may reach it and purge.
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

    /// What purges mean for an entry, at a view, for a request that was told so much of them; asks
    /// for what else it needs.
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
                // Boxed: it is rare, and every look-up would be as large.
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
                // A copy of its own: the reply is a slice that would keep the connection's whole
                // read buffer alive.
                memory.insert(key.short(), MemoryEntry { bytes: Bytes::copy_from_slice(bytes), trust, view });
            }
        }
        Lookup { found, lineage, said: Completeness::All }
    }

    /// What was read has taken the place of something that memory had until Redis had news of it.
    fn tell_staleness(&self, key: &CacheKey, found: &FoundValue) {
        if let Some((_, let_go)) = self.shared.let_go.remove(&key.short())
            && let StoredValue::Response(Entry { facts, .. }) = &found.stored
            // Otherwise it was not this that had come: what memory had was removed, and somebody
            // has fetched it since.
            && facts.received <= let_go
        {
            self.metrics.caught_up(ChangeKind::Write, let_go.since(facts.received));
        }
    }

    /// Damaged bytes are a miss in this tier and must not be met again in memory.
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

    /// The same of what was seen there. What has come meanwhile stays: an answer that Redis gave
    /// before it came says nothing of it, and if it has changed since, Redis says so.
    pub(in crate::store) fn forget_this(&self, key: &CacheKey, bytes: &Bytes) {
        if let Some(memory) = &self.shared.memory {
            memory.remove_this(key.short(), bytes);
        }
    }
}

impl FoundValue {
    /// What was decoded from these bytes, as it is after what has been purged.
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
    /// Whoever refuses refuses again.
    fn by(why: CommandError) -> Self {
        if matches!(why, CommandError::Server(_)) { Self::All } else { Self::Nothing }
    }
}

impl Lookup {
    fn nothing() -> Self {
        Self { found: None, lineage: KeyGeneration::NONE, said: Completeness::All }
    }
}

/// Whether memory may answer with this while Redis cannot be asked.
pub(in crate::store) fn may_be_alone(redis: &Client, name: &[u8], held: &MemoryEntry) -> bool {
    match held.trust {
        EntryTrust::Always | EntryTrust::Until(_) | EntryTrust::Arriving(_) => true,
        EntryTrust::Tracked(_) | EntryTrust::Outrun(..) => redis.disconnected_for(name) >= MEMORY_ALONE_AFTER,
    }
}

/// What a new epoch is called.
pub(in crate::store) fn fresh_epoch() -> Bytes {
    format!("{:016x}", fastrand::u64(1..)).into()
}

fn lineage(bytes: &[u8]) -> KeyGeneration {
    EntryHeader::read(bytes).map_or(KeyGeneration::NONE, |standing| standing.lineage)
}
