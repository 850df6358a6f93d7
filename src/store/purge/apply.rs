//! Purges, and when they are true.
//!
//! First Redis is told, one key at a time: a tombstone for a resource, the clock and then a counter
//! for whatever has many members. From then on no reader of Redis finds what was purged, and no
//! fetch that began before stores it. Where another server may take over, a replica has to have it
//! before it counts as done ([`Client::wait_replicated`]). Then the fleet is asked to catch up
//! ([`Fleet::sync`](crate::store::fleet::Fleet::sync)); when it has, nobody's memory has it either.

use bytes::Bytes;

use crate::entry::{self, KeyGeneration, PurgeGeneration, TagDigest};
use crate::key::CacheKey;
use crate::limits::{
    CLOCK_KEPT, FETCH_STORED_MAX, LIFETIME_MAX, PREFIXES_MAX, PURGE_ACK_TIMEOUT, PURGE_SCOPES_MAX,
};
use crate::redis::{Client, Command, CommandError, FleetChannel, Reply};
use crate::store::fleet::listener::SyncOutcome;
use crate::store::purge::log::{BulkPurge, PurgeLog};
use crate::store::scripts::{CLOCK, OUTDATE, TAG, is_refused};
use crate::store::tiers::find::fresh_epoch;
use crate::store::tiers::memory::MemoryEntry;
use crate::store::tiers::together::together;
use crate::store::{
    CacheGroup, PrefixesFullError, PurgeError, PurgeResult, PurgeScope, PurgeStrength, Store, decimal,
};
use crate::time::{self, Timestamp, millis};

impl Store {
    /// Purges, in the whole fleet. When it is answered and every node has confirmed, no request
    /// that begins afterwards is answered with what was there before.
    ///
    /// To repeat it does no harm. Dropping the future leaves it half done.
    pub async fn purge(
        &self,
        scopes: &[PurgeScope],
        strength: PurgeStrength,
    ) -> Result<PurgeResult, PurgeError> {
        if scopes.len() > PURGE_SCOPES_MAX {
            return Err(PurgeError::TooMany);
        }
        let keys: Vec<_> = scopes
            .iter()
            .filter_map(|scope| if let PurgeScope::Url(key) = scope { Some(*key) } else { None })
            .collect();
        for key in &keys {
            self.shared.watches.changed(key.short());
        }
        let local = UnconfirmedPurge { store: self, scopes, strength, begun: time::now() };
        if self
            .redis
            .as_ref()
            .is_some_and(|redis| !redis.disconnected_for(&self.shared.clock_name()).is_zero())
        {
            // Nothing that Redis says is waited for.
            self.purge_here(scopes, strength);
        }
        let purged = self.purge_everywhere(scopes, &keys, strength).await?;
        local.taken();
        Ok(purged)
    }

    /// Purges this process: what it has in memory, what it fetches now and what it reads from Redis
    /// later.
    fn purge_here(&self, scopes: &[PurgeScope], strength: PurgeStrength) {
        self.shared.clock.purge_locally(scopes, strength, time::now());
    }

    async fn purge_everywhere(
        &self,
        scopes: &[PurgeScope],
        keys: &[CacheKey],
        strength: PurgeStrength,
    ) -> Result<PurgeResult, PurgeError> {
        let era = self.redis.as_ref().map(Client::topology_epoch);
        let done = together(scopes.iter().map(|scope| self.purge_one(scope, strength))).await;
        let Some(((redis, fleet), era)) = self.redis.as_ref().zip(self.fleet.as_ref()).zip(era) else {
            done.into_iter().collect::<Result<(), _>>()?;
            return Ok(PurgeResult { nodes: 1, confirmed: 1 });
        };
        done.into_iter().collect::<Result<(), _>>()?;
        let names = keys.iter().map(CacheKey::short).collect();
        tokio::time::sleep(redis.failover_grace()).await;
        let written: Vec<_> = scopes.iter().flat_map(|scope| self.written(scope)).collect();
        redis.wait_replicated(era, &written).await?;
        let SyncOutcome { nodes, confirmed } = fleet.sync(redis, names, PURGE_ACK_TIMEOUT).await?;
        if nodes > 0 && redis.fleet_channels().iter().all(FleetChannel::is_tracking) {
            return Ok(PurgeResult { nodes, confirmed });
        }
        // Not everything is tracked: what memory has anywhere is gone when its time is up.
        for key in keys {
            self.outdate(key);
        }
        let settles = self.shared.options.memory_ttl;
        if settles > PURGE_ACK_TIMEOUT {
            return Ok(PurgeResult { nodes: 1, confirmed: 0 });
        }
        tokio::time::sleep(settles).await;
        Ok(PurgeResult { nodes: 1, confirmed: 1 })
    }

    /// The same where there is no Redis.
    fn outdate_in_memory(&self, key: &CacheKey, lineage: KeyGeneration, now: Timestamp) {
        if let Some(memory) = &self.shared.memory
            && let Some(held) = memory.get(key.short())
            && let Some(bytes) = entry::outdated(&held.bytes, lineage, now)
        {
            memory.insert(key.short(), MemoryEntry { bytes, view: 0, ..held });
        }
    }

    /// What is under way for a resource, and what memory has of it, is of before a change. Done at
    /// once, in this process.
    pub fn outdate(&self, key: &CacheKey) {
        self.shared.outdate(key.short());
    }

    /// Takes what stands under `key` away from everybody; `lineage` is what stands there then. No
    /// fetch that began before stores under it.
    pub async fn bury(&self, key: &CacheKey, lineage: KeyGeneration) {
        if self.buried(key, lineage).await.is_err() {
            self.metrics.removal_lost();
            // When Redis is back it may still have it: this node does not serve it then.
            self.shared.clock.remove_locally(key, time::now());
        }
    }

    /// Removes the entry under `key` from every node, because the origin's answer shows that it
    /// holds no longer. No fetch of the resource that began before is stored by this process.
    pub async fn withdraw(&self, resource: &CacheKey, key: &CacheKey) {
        self.shared.watches.changed(resource.short());
        self.bury(key, KeyGeneration::new()).await;
    }

    async fn buried(&self, key: &CacheKey, lineage: KeyGeneration) -> Result<(), CommandError> {
        self.forget(key);
        let Some(redis) = &self.redis else { return Ok(()) };
        let name = self.name(key);
        let value = entry::tombstone(lineage, time::now());
        let set = redis.command(&Command::Set { key: &name, value: &value, ttl: FETCH_STORED_MAX }).await;
        // Somebody may have read it from Redis meanwhile.
        self.forget(key);
        set.map(drop)
    }

    async fn purge_one(&self, scope: &PurgeScope, strength: PurgeStrength) -> Result<(), PurgeError> {
        match scope {
            PurgeScope::Url(key) if strength == PurgeStrength::Hard => {
                Ok(self.buried(key, KeyGeneration::new()).await?)
            }
            PurgeScope::Url(key) => Ok(self.outdate_in_place(key).await?),
            PurgeScope::Tag(tag) => self.purge_tag(tag.digest(), strength).await,
            PurgeScope::Group(group) => self.purge_tag(group.digest(), strength).await,
            PurgeScope::Prefix(prefix) => {
                self.advance(BulkPurge::Prefix(prefix.clone(), strength)).await.map(drop)
            }
            PurgeScope::All => self.advance(BulkPurge::All(strength)).await.map(drop),
        }
    }

    /// What is written for it in Redis.
    fn written(&self, scope: &PurgeScope) -> Vec<Vec<u8>> {
        match scope {
            PurgeScope::Url(key) => vec![self.name(key)],
            PurgeScope::Tag(tag) => vec![self.shared.clock_name(), self.shared.tag_name(tag.digest())],
            PurgeScope::Group(group) => vec![self.shared.clock_name(), self.shared.tag_name(group.digest())],
            PurgeScope::Prefix(_) | PurgeScope::All => vec![self.shared.clock_name()],
        }
    }

    /// A soft purge of one resource.
    async fn outdate_in_place(&self, key: &CacheKey) -> Result<(), CommandError> {
        let (lineage, now) = (KeyGeneration::new(), time::now());
        let Some(redis) = &self.redis else {
            self.outdate_in_memory(key, lineage, now);
            return Ok(());
        };
        let name = self.name(key);
        let arguments = [
            Bytes::copy_from_slice(&lineage.to_bytes()),
            Bytes::copy_from_slice(&now.as_millis().to_be_bytes()),
            entry::tombstone(lineage, now),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        match OUTDATE.run(redis, &name, &arguments).await {
            // Where nobody may run scripts, what cannot be marked goes.
            Err(error) if is_refused(error) => self.buried(key, lineage).await,
            done => done.map(drop),
        }
    }

    /// Purges what an origin says has changed. What was stored of it is not used again in this
    /// process when this returns; the other nodes are not waited for. Where Redis does not take it,
    /// that is counted.
    pub async fn outdate_groups(&self, groups: &[CacheGroup]) {
        if self.purge_groups(groups).await.is_err() {
            self.metrics.removal_lost();
            let scopes: Vec<_> = groups.iter().cloned().map(PurgeScope::Group).collect();
            self.purge_here(&scopes, PurgeStrength::Hard);
        }
    }

    async fn purge_groups(&self, groups: &[CacheGroup]) -> Result<(), PurgeError> {
        let tick = self.advance(BulkPurge::Counted).await?;
        let tags = groups.iter().map(CacheGroup::digest);
        let done = together(tags.clone().map(|tag| self.count_tag(tag, tick, PurgeStrength::Hard))).await;
        if self.redis.is_some() {
            // Redis says so as well, and to this connection it may already have.
            tags.for_each(|tag| self.shared.clock.forget_counter(tag.0));
            self.shared.clock.forget();
        }
        done.into_iter().collect()
    }

    async fn purge_tag(&self, tag: TagDigest, strength: PurgeStrength) -> Result<(), PurgeError> {
        let tick = self.advance(BulkPurge::Counted).await?;
        self.count_tag(tag, tick, strength).await
    }

    /// Writes down that a tag was purged when the clock stood there.
    async fn count_tag(
        &self,
        tag: TagDigest,
        tick: PurgeGeneration,
        strength: PurgeStrength,
    ) -> Result<(), PurgeError> {
        let Some(redis) = &self.redis else {
            self.shared.clock.count_tag(tag, tick, strength, time::now());
            return Ok(());
        };
        let arguments = [
            format!("{:016x}", tick.epoch).into(),
            decimal(tick.count),
            strength.letter().into(),
            decimal(time::now().as_millis()),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        TAG.run(redis, &self.shared.tag_name(tag), &arguments).await?;
        Ok(())
    }

    /// Moves the purge clock: to where it then stands.
    async fn advance(&self, sweep: BulkPurge) -> Result<PurgeGeneration, PurgeError> {
        let Some(redis) = &self.redis else {
            return Ok(self.shared.clock.count(sweep, time::now())?);
        };
        let now = time::now().as_millis();
        let (what, strength, prefix) = match sweep {
            BulkPurge::Counted => ("tag", PurgeStrength::Hard, String::new()),
            BulkPurge::All(strength) => ("all", strength, String::new()),
            BulkPurge::Prefix(prefix, strength) => ("prefix", strength, prefix.to_string()),
        };
        let arguments = [
            fresh_epoch(),
            decimal(millis(CLOCK_KEPT)),
            Bytes::from_static(what.as_bytes()),
            strength.letter().into(),
            decimal(now),
            prefix.into(),
            decimal(now.saturating_sub(millis(LIFETIME_MAX))),
            decimal(PREFIXES_MAX as u64),
        ];
        let moved = CLOCK.run(redis, &self.shared.clock_name(), &arguments).await?;
        if moved == Reply::Integer(0) {
            return Err(PrefixesFullError.into());
        }
        let ledger = if let Reply::Bulk(value) = &moved { PurgeLog::parse(value) } else { None };
        Ok(ledger.ok_or(PurgeError::Foreign)?.tick)
    }
}

/// A purge under way. However it ends but well, it holds in this process.
struct UnconfirmedPurge<'a> {
    store: &'a Store,
    scopes: &'a [PurgeScope],
    strength: PurgeStrength,
    begun: Timestamp,
}

impl UnconfirmedPurge<'_> {
    /// Redis has taken it.
    fn taken(self) {
        self.store.shared.clock.taken(self.scopes, self.strength, self.begun);
        std::mem::forget(self);
    }
}

impl Drop for UnconfirmedPurge<'_> {
    fn drop(&mut self) {
        if self.store.redis.is_some() {
            self.store.purge_here(self.scopes, self.strength);
        }
    }
}
