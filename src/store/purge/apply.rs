//! Purges, and the point at which they are complete.
//!
//! A purge first writes to Redis, one key at a time: a tombstone for a resource; the purge log, and
//! then the tag generation, for a tag or a group. From then on no reader of Redis finds a purged
//! entry, and no fetch that began before stores its answer. If another server may become master, a
//! replica must have the write before it counts ([`Client::wait_replicated`]). Then the node asks
//! the fleet to catch up ([`Fleet::sync`](crate::store::fleet::Fleet::sync)); after that, no node's
//! memory holds a purged entry either.

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
    /// Purges in the whole fleet. Once it returns with every node confirmed, no request that begins
    /// afterwards gets a purged response.
    ///
    /// A repeated purge does no harm. Dropping the future leaves the purge half done.
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
            // Redis is away: this process does not wait for its answer.
            self.purge_here(scopes, strength);
        }
        let purged = self.purge_everywhere(scopes, &keys, strength).await?;
        local.taken();
        Ok(purged)
    }

    /// Purges in this process: entries in memory, fetches under way, and entries read from Redis
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
        // Not every connection is tracked: entries leave every node's memory only when their
        // `memory_ttl` has passed.
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

    /// Marks an entry as stale in a process without Redis.
    fn outdate_in_memory(&self, key: &CacheKey, lineage: KeyGeneration, now: Timestamp) {
        if let Some(memory) = &self.shared.memory
            && let Some(held) = memory.get(key.short())
            && let Some(bytes) = entry::outdated(&held.bytes, lineage, now)
        {
            memory.insert(key.short(), MemoryEntry { bytes, view: 0, ..held });
        }
    }

    /// Supersedes the fetches under way for a resource and drops its entry from memory. Acts at
    /// once, in this process.
    pub fn outdate(&self, key: &CacheKey) {
        self.shared.outdate(key.short());
    }

    /// Removes the value of `key` for every node and leaves a tombstone with the key generation
    /// `lineage`. No fetch that began before stores under the key.
    pub async fn bury(&self, key: &CacheKey, lineage: KeyGeneration) {
        if self.buried(key, lineage).await.is_err() {
            self.metrics.removal_lost();
            // Redis may still have the entry when it is back: this node does not serve it then.
            self.shared.clock.remove_locally(key, time::now());
        }
    }

    /// Removes the entry of `key` from every node, because the origin's answer shows that it is no
    /// longer valid. This process stores no answer of a fetch of the resource that began before.
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
        // A lookup may have read it from Redis meanwhile.
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

    /// Returns the names of the keys that a purge of this scope writes in Redis.
    fn written(&self, scope: &PurgeScope) -> Vec<Vec<u8>> {
        match scope {
            PurgeScope::Url(key) => vec![self.name(key)],
            PurgeScope::Tag(tag) => vec![self.shared.clock_name(), self.shared.tag_name(tag.digest())],
            PurgeScope::Group(group) => vec![self.shared.clock_name(), self.shared.tag_name(group.digest())],
            PurgeScope::Prefix(_) | PurgeScope::All => vec![self.shared.clock_name()],
        }
    }

    /// Purges one resource softly.
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
            // The server refuses scripts: a tombstone replaces the entry that cannot be marked.
            Err(error) if is_refused(error) => self.buried(key, lineage).await,
            done => done.map(drop),
        }
    }

    /// Purges the groups that an origin declares changed. This process uses none of their entries
    /// once this returns; it does not wait for other nodes. A failure of Redis is counted.
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
            // Redis pushes these invalidations as well, and to this connection it may have done so
            // already.
            tags.for_each(|tag| self.shared.clock.forget_counter(tag.0));
            self.shared.clock.forget();
        }
        done.into_iter().collect()
    }

    async fn purge_tag(&self, tag: TagDigest, strength: PurgeStrength) -> Result<(), PurgeError> {
        let tick = self.advance(BulkPurge::Counted).await?;
        self.count_tag(tag, tick, strength).await
    }

    /// Stores the generation of a tag purged at this purge generation.
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

    /// Records a purge in the purge log and returns the new generation.
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

/// A purge that Redis has not confirmed. Unless it succeeds, it holds in this process.
struct UnconfirmedPurge<'a> {
    store: &'a Store,
    scopes: &'a [PurgeScope],
    strength: PurgeStrength,
    begun: Timestamp,
}

impl UnconfirmedPurge<'_> {
    /// Ends the purge as a success.
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
