//! The way out of the tiers.
//!
//! ```text
//! memory ── trusted? ── looked at since the last purge? ──► hit
//!    │          │                    └─ no ─► held against the clock, and the counters if that has moved
//!    │          └─ no ─┐
//!    └─ nothing ───────┴─► Redis: the entry, and beside it the clock if it is not known
//! ```

use bytes::Bytes;

use super::clock::{Footing, Verdict};
use super::learn::Told;
use super::ledger::{Fate, Ledger};
use super::memory::Held;
use super::metrics::{Change, Lookup};
use super::together::together;
use super::trust::Trust;
use super::{Found, Look, Said, Store, Tier};
use crate::entry::{Entry, Kind, Lineage, Provenance, Standing, Stored};
use crate::key::{CacheKey, Target};
use crate::limits::MEMORY_ALONE_AFTER;
use crate::redis::{Client, Command, CommandError, Reply, TrackedVersion};
use crate::time;

impl Store {
    /// Looks `key` up in memory and, where that may not answer by itself, in Redis: one round trip, and another one where
    /// there has been a purge of something that the entry may be part of.
    ///
    /// Cancel safe: nothing is half done; a reply that comes late is dropped in order by the pool.
    pub async fn find(&self, key: &CacheKey, target: &Target) -> Look {
        let held = self.shared.memory.as_ref().and_then(|memory| memory.get(key.short()));
        let Some(redis) = &self.redis else {
            return held.map_or(Look::nothing(), |held| self.find_alone(key, target, held));
        };
        if let Some(held) = held.as_ref().filter(|held| held.trust.holds(&self.shared.seats)) {
            match self.judged(redis, &held.bytes, target, Told::default()).await {
                Ok((fate, view)) => return self.out_of_memory(key, held, fate, view),
                Err(why) => return self.unasked(redis, key, target, Some(held.clone()), why),
            }
        }
        let name = self.name(key);
        let get = Command::Get { key: &name };
        let mut told = Told::default();
        let read = if self.shared.clock.view() == 0 {
            let (read, ledger) = tokio::join!(redis.read(&get), Box::pin(self.learn_clock(redis)));
            told.ledger = ledger.ok();
            read
        } else {
            redis.read(&get).await
        };
        match read {
            Ok((Reply::Bulk(bytes), reading)) => {
                let lineage = match Standing::read(&bytes) {
                    Some(Standing { kind: Kind::Tombstone(_), lineage, .. }) => {
                        self.metrics.lookup(Lookup::Miss);
                        if let Some(memory) = &self.shared.memory {
                            memory.remove_unless_behind(key.short(), lineage);
                        }
                        return Look { found: None, lineage, said: Said::All };
                    }
                    standing => standing.map_or(Lineage::NONE, |standing| standing.lineage),
                };
                // Nothing of foreign bytes is asked about before they have been checked.
                let Some(stored) = self.decoded(key, &bytes, Provenance::Store(time::now())) else {
                    return Look { found: None, lineage, said: Said::All };
                };
                match self.judged(redis, &bytes, target, told).await {
                    Ok((Fate::Gone, _)) => {
                        self.metrics.lookup(Lookup::Purged);
                        if let Some(held) = held {
                            self.forget_this(key, &held.bytes);
                        }
                        Look { found: None, lineage, said: Said::All }
                    }
                    Ok((fate, view)) => {
                        let found = Found::as_judged(stored, &bytes, fate, Tier::Redis);
                        let view = if fate == Fate::Stands { view } else { 0 };
                        self.out_of_redis(key, &name, &bytes, found, &reading, view)
                    }
                    Err(why) => Look { found: None, lineage, said: Said::by(why) },
                }
            }
            Ok(_) => {
                self.metrics.lookup(Lookup::Miss);
                if let Some(held) = held {
                    self.forget_this(key, &held.bytes);
                }
                Look::nothing()
            }
            Err(why) => self.unasked(redis, key, target, held, why),
        }
    }

    /// What memory alone has for `key`, and may say without asking.
    pub fn find_in_memory(&self, key: &CacheKey, target: &Target) -> Option<Found> {
        let held = self.shared.memory.as_ref()?.get(key.short())?;
        if !held.trust.holds(&self.shared.seats) {
            return None;
        }
        let view = self.shared.clock.view();
        if view != 0 && view == held.view {
            return self.found(key, &held, Fate::Stands);
        }
        match self.shared.clock.judge(&held.bytes, target, Footing::Firm(&Told::default())) {
            // Counted where it is looked up again.
            Verdict::Fate(Fate::Gone, _) | Verdict::NoClock | Verdict::NoCounters(_) => None,
            Verdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view).found,
        }
    }

    /// Reads an entry from Redis into memory, if it is there and whole; whether it is. What purges mean for it is found out
    /// when somebody asks for it: here it is not known whose it is.
    pub(super) async fn read_into_memory(&self, key: &CacheKey) -> bool {
        let (Some(redis), Some(memory)) = (&self.redis, &self.shared.memory) else { return false };
        let name = self.name(key);
        let Ok((Reply::Bulk(bytes), reading)) = redis.read(&Command::Get { key: &name }).await else {
            return false;
        };
        if self.decoded(key, &bytes, Provenance::Store(time::now())).is_none() {
            return false;
        }
        let Some(trust) = self.shared.remembered(redis, &name, &reading) else { return false };
        memory.insert(key.short(), Held { bytes: Bytes::copy_from_slice(&bytes), trust, view: 0 });
        true
    }

    /// Where there is no Redis, whatever is not known is not there.
    fn find_alone(&self, key: &CacheKey, target: &Target, held: Held) -> Look {
        match self.shared.clock.judge(&held.bytes, target, Footing::Firm(&Told::default())) {
            Verdict::Fate(fate, view) => self.out_of_memory(key, &held, fate, view),
            Verdict::NoClock | Verdict::NoCounters(_) => self.out_of_memory(key, &held, Fate::Gone, 0),
        }
    }

    /// Redis cannot be asked. What it had before it went away may be served; while it is only a connection that is lost,
    /// somebody else may reach it and purge.
    fn unasked(
        &self,
        redis: &Client,
        key: &CacheKey,
        target: &Target,
        held: Option<Held>,
        why: CommandError,
    ) -> Look {
        self.metrics.lookup(Lookup::Unavailable);
        let said = Said::by(why);
        let Some(held) = held else { return Look { said, ..Look::nothing() } };
        match self.shared.clock.judge(&held.bytes, target, Footing::LastKnown) {
            Verdict::Fate(fate, _) if may_be_alone(redis, &self.name(key), &held) => {
                self.out_of_memory(key, &held, fate, 0)
            }
            Verdict::Fate(..) | Verdict::NoClock | Verdict::NoCounters(_) => {
                Look { found: None, lineage: lineage(&held.bytes), said }
            }
        }
    }

    /// What purges mean for an entry, at a view, for a request that was told so much of them; asks for what else it needs.
    pub(super) async fn judged(
        &self,
        redis: &Client,
        bytes: &Bytes,
        target: &Target,
        mut told: Told,
    ) -> Result<(Fate, u64), CommandError> {
        loop {
            match self.shared.clock.judge(bytes, target, Footing::Firm(&told)) {
                Verdict::Fate(fate, view) => return Ok((fate, view)),
                // Boxed: it is rare, and every look-up would be as large.
                Verdict::NoClock => told.ledger = Some(Box::pin(self.learn_clock(redis)).await?),
                Verdict::NoCounters(tags) => {
                    let asked = tags.iter().map(|tag| self.shared.learn_counter(redis, *tag));
                    for (tag, counter) in tags.iter().zip(together(asked).await) {
                        told.hear(*tag, counter?);
                    }
                }
            }
        }
    }

    async fn learn_clock(&self, redis: &Client) -> Result<Ledger, CommandError> {
        match &self.fleet {
            Some(fleet) => fleet.learn_clock(redis).await,
            None => self.shared.learn_clock(redis).await,
        }
    }

    fn out_of_memory(&self, key: &CacheKey, held: &Held, fate: Fate, view: u64) -> Look {
        let lineage = lineage(&held.bytes);
        if fate == Fate::Gone {
            self.metrics.lookup(Lookup::Purged);
            self.forget_this(key, &held.bytes);
            return Look { found: None, lineage, said: Said::All };
        }
        if fate == Fate::Stands
            && view != 0
            && let Some(memory) = &self.shared.memory
        {
            memory.looked_at(key.short(), held, view);
        }
        Look { found: self.found(key, held, fate), lineage, said: Said::All }
    }

    fn found(&self, key: &CacheKey, held: &Held, fate: Fate) -> Option<Found> {
        let stored = self.decoded(key, &held.bytes, Provenance::Process)?;
        let found = Found::as_judged(stored, &held.bytes, fate, Tier::Memory)?;
        self.metrics.lookup(Lookup::Memory);
        self.count_hit(key);
        Some(found)
    }

    fn out_of_redis(
        &self,
        key: &CacheKey,
        name: &[u8],
        bytes: &Bytes,
        found: Option<Found>,
        reading: &TrackedVersion,
        view: u64,
    ) -> Look {
        let lineage = lineage(bytes);
        if let Some(found) = &found {
            self.metrics.lookup(Lookup::Redis);
            self.tell_staleness(key, found);
            self.count_hit(key);
            if let Some(memory) = &self.shared.memory
                && let Some(redis) = &self.redis
                && let Some(trust) = self.shared.remembered(redis, name, reading)
            {
                // A copy of its own: the reply is a slice that would keep the connection's whole read buffer alive.
                memory.insert(key.short(), Held { bytes: Bytes::copy_from_slice(bytes), trust, view });
            }
        }
        Look { found, lineage, said: Said::All }
    }

    /// What was read has taken the place of something that memory had until Redis had news of it.
    fn tell_staleness(&self, key: &CacheKey, found: &Found) {
        if let Some((_, let_go)) = self.shared.let_go.remove(&key.short())
            && let Stored::Response(Entry { facts, .. }) = &found.stored
            // Otherwise it was not this that had come: what memory had was removed, and somebody has fetched it since.
            && facts.received <= let_go
        {
            self.metrics.caught_up(Change::Write, let_go.since(facts.received));
        }
    }

    /// Damaged bytes are a miss in this tier and must not be met again in memory.
    fn decoded(&self, key: &CacheKey, bytes: &Bytes, provenance: Provenance) -> Option<Stored> {
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

    pub(super) fn forget(&self, key: &CacheKey) {
        if let Some(memory) = &self.shared.memory {
            memory.remove(key.short());
        }
    }

    /// The same of what was seen there. What has come meanwhile stays: an answer that Redis gave before it came says nothing of
    /// it, and if it has changed since, Redis says so.
    pub(super) fn forget_this(&self, key: &CacheKey, bytes: &Bytes) {
        if let Some(memory) = &self.shared.memory {
            memory.remove_this(key.short(), bytes);
        }
    }
}

impl Found {
    /// What was decoded from these bytes, as it is after what has been purged.
    pub(super) fn as_judged(mut stored: Stored, bytes: &[u8], fate: Fate, tier: Tier) -> Option<Self> {
        let standing = Standing::read(bytes)?;
        if let Stored::Response(entry) = &mut stored {
            let marked = standing.outdated.map_or(Fate::Stands, Fate::Outdated);
            if let Fate::Outdated(at) = fate.and(marked) {
                entry.facts = entry.facts.outdated(at);
            }
        }
        Some(Self { stored, tier, lineage: standing.lineage })
    }
}

impl Said {
    /// Whoever refuses refuses again.
    fn by(why: CommandError) -> Self {
        if matches!(why, CommandError::Server(_)) { Self::All } else { Self::Nothing }
    }
}

impl Look {
    fn nothing() -> Self {
        Self { found: None, lineage: Lineage::NONE, said: Said::All }
    }
}

/// Whether memory may answer with this while Redis cannot be asked.
pub(super) fn may_be_alone(redis: &Client, name: &[u8], held: &Held) -> bool {
    match held.trust {
        Trust::Always | Trust::Until(_) | Trust::Arriving(_) => true,
        Trust::Tracked(_) | Trust::Outrun(..) => redis.disconnected_for(name) >= MEMORY_ALONE_AFTER,
    }
}

/// What a new epoch is called.
pub(super) fn fresh_epoch() -> Bytes {
    format!("{:016x}", fastrand::u64(1..)).into()
}

fn lineage(bytes: &[u8]) -> Lineage {
    Standing::read(bytes).map_or(Lineage::NONE, |standing| standing.lineage)
}
