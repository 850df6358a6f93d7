//! Purges, and the point at which they are complete.
//!
//! A purge first writes to Redis, one key at a time: a tombstone for a resource; the purge log, and
//! then the tag generation, for a tag or a group. From then on no reader of Redis finds a purged
//! entry, and no fetch that began before stores its answer. If another server may become master, a
//! replica must have the write before it counts ([`Client::wait_replicated`]). Then the node asks
//! the fleet to catch up (`FleetListener::sync`); after that, no node's memory holds a purged entry
//! either.

use bytes::Bytes;

use crate::entry::{self, KeyGeneration, PurgeGeneration, TagDigest};
use crate::key::CacheKey;
use crate::limits::{
    FETCH_STORED_MAX, LIFETIME_MAX, PREFIXES_MAX, PURGE_ACK_TIMEOUT, PURGE_LOG_KEPT, PURGE_SCOPES_MAX,
};
use crate::redis::{Client, Command, CommandError, FleetChannel, Reply};
use crate::store::handle::Store;
use crate::store::purge::log::{BulkPurge, PurgeLog, new_epoch};
use crate::store::purge::names::{
    CacheGroup, PrefixesFullError, PurgeError, PurgeResult, PurgeScope, PurgeStrength,
};
use crate::store::scripts::{MARK_STALE, PURGE_LOG, PURGE_TAG, decimal, is_refused};
use crate::store::together::together;
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
        let unconfirmed = UnconfirmedPurge { store: self, scopes, strength, begun: time::now() };
        if self.redis.as_ref().is_some_and(|redis| !redis.disconnected_for(&self.shared.log_name()).is_zero())
        {
            // Redis is away: this process does not wait for its answer.
            self.purge_in_process(scopes, strength);
        }
        let purged = self.purge_everywhere(scopes, &keys, strength).await?;
        unconfirmed.confirmed();
        Ok(purged)
    }

    /// Purges in this process: entries in memory, fetches under way, and entries read from Redis
    /// later.
    fn purge_in_process(&self, scopes: &[PurgeScope], strength: PurgeStrength) {
        self.shared.purges.purge_locally(scopes, strength, time::now());
    }

    async fn purge_everywhere(
        &self,
        scopes: &[PurgeScope],
        keys: &[CacheKey],
        strength: PurgeStrength,
    ) -> Result<PurgeResult, PurgeError> {
        let topology = self.redis.as_ref().map(Client::topology_epoch);
        let done = together(scopes.iter().map(|scope| self.purge_one(scope, strength))).await;
        let Some(((redis, fleet), topology)) = self.redis.as_ref().zip(self.fleet.as_ref()).zip(topology)
        else {
            done.into_iter().collect::<Result<(), _>>()?;
            return Ok(PurgeResult::counted(1, 1));
        };
        done.into_iter().collect::<Result<(), _>>()?;
        let names: Vec<_> = keys.iter().map(CacheKey::short).collect();
        tokio::time::sleep(redis.failover_grace()).await;
        let written_names: Vec<_> = scopes.iter().flat_map(|scope| self.written_names(scope)).collect();
        redis.wait_replicated(topology, &written_names).await?;
        let result = fleet.sync(redis, &names, PURGE_ACK_TIMEOUT).await?;
        if result.nodes > 0 && redis.fleet_channels().iter().all(FleetChannel::is_tracking) {
            return Ok(result);
        }
        // Not every connection is tracked: entries leave every node's memory only when their
        // `memory_ttl` has passed.
        for key in keys {
            self.supersede(key);
        }
        let memory_ttl = self.shared.options.memory_ttl;
        if memory_ttl > PURGE_ACK_TIMEOUT {
            return Ok(PurgeResult::counted(1, 0));
        }
        tokio::time::sleep(memory_ttl).await;
        Ok(PurgeResult::counted(1, 1))
    }

    /// Supersedes the fetches under way for a resource and drops its entry from memory. Acts at
    /// once, in this process.
    pub fn supersede(&self, key: &CacheKey) {
        self.shared.supersede(key.short());
    }

    /// Removes the value of `key` for every node and leaves a tombstone with the key generation
    /// `key_generation`. No fetch that began before stores under the key.
    pub async fn write_tombstone(&self, key: &CacheKey, key_generation: KeyGeneration) {
        if self.replace_by_tombstone(key, key_generation).await.is_err() {
            self.metrics.removal_lost();
            // Redis may still have the entry when it is back: this node does not serve it then.
            self.shared.purges.remove_locally(key, time::now());
        }
    }

    /// Removes the entry of `key` from every node, because the origin's answer shows that it is no
    /// longer valid. This process stores no answer of a fetch of the resource that began before.
    pub async fn remove(&self, resource: &CacheKey, key: &CacheKey) {
        self.shared.watches.changed(resource.short());
        self.write_tombstone(key, KeyGeneration::new()).await;
    }

    async fn replace_by_tombstone(
        &self,
        key: &CacheKey,
        key_generation: KeyGeneration,
    ) -> Result<(), CommandError> {
        self.drop_from_memory(key);
        let Some(redis) = &self.redis else { return Ok(()) };
        let name = self.name(key);
        let value = entry::tombstone(key_generation, time::now());
        let set = redis.command(&Command::Set { key: &name, value: &value, ttl: FETCH_STORED_MAX }).await;
        // A lookup may have read it from Redis meanwhile.
        self.drop_from_memory(key);
        set.map(drop)
    }

    async fn purge_one(&self, scope: &PurgeScope, strength: PurgeStrength) -> Result<(), PurgeError> {
        match scope {
            PurgeScope::Url(key) if strength == PurgeStrength::Hard => {
                Ok(self.replace_by_tombstone(key, KeyGeneration::new()).await?)
            }
            PurgeScope::Url(key) => Ok(self.mark_stale(key).await?),
            PurgeScope::Tag(tag) => self.purge_tag(tag.digest(), strength).await,
            PurgeScope::Group(group) => self.purge_tag(group.digest(), strength).await,
            PurgeScope::Prefix(prefix) => {
                self.record_purge(BulkPurge::Prefix(prefix.clone(), strength)).await.map(drop)
            }
            PurgeScope::All => self.record_purge(BulkPurge::All(strength)).await.map(drop),
        }
    }

    /// Returns the names of the keys that a purge of this scope writes in Redis.
    fn written_names(&self, scope: &PurgeScope) -> Vec<Vec<u8>> {
        match scope {
            PurgeScope::Url(key) => vec![self.name(key)],
            PurgeScope::Tag(tag) => vec![self.shared.log_name(), self.shared.tag_name(tag.digest())],
            PurgeScope::Group(group) => vec![self.shared.log_name(), self.shared.tag_name(group.digest())],
            PurgeScope::Prefix(_) | PurgeScope::All => vec![self.shared.log_name()],
        }
    }

    /// Purges one resource softly.
    async fn mark_stale(&self, key: &CacheKey) -> Result<(), CommandError> {
        let (key_generation, now) = (KeyGeneration::new(), time::now());
        let Some(redis) = &self.redis else {
            if let Some(memory) = &self.shared.memory {
                memory.mark_stale(key.short(), key_generation, now);
            }
            return Ok(());
        };
        let name = self.name(key);
        let arguments = [
            Bytes::copy_from_slice(&key_generation.to_bytes()),
            Bytes::copy_from_slice(&now.as_millis().to_be_bytes()),
            entry::tombstone(key_generation, now),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        match MARK_STALE.run(redis, &name, &arguments).await {
            // The server refuses scripts: a tombstone replaces the entry that cannot be marked.
            Err(error) if is_refused(error) => self.replace_by_tombstone(key, key_generation).await,
            done => done.map(drop),
        }
    }

    /// Purges the groups that an origin declares changed. This process uses none of their entries
    /// once this returns; it does not wait for other nodes. A failure of Redis is counted.
    pub async fn purge_changed_groups(&self, groups: &[CacheGroup]) {
        if self.purge_groups(groups).await.is_err() {
            self.metrics.removal_lost();
            let scopes: Vec<_> = groups.iter().cloned().map(PurgeScope::Group).collect();
            self.purge_in_process(&scopes, PurgeStrength::Hard);
        }
    }

    async fn purge_groups(&self, groups: &[CacheGroup]) -> Result<(), PurgeError> {
        let generation = self.record_purge(BulkPurge::Counted).await?;
        let tags = groups.iter().map(CacheGroup::digest);
        let done =
            together(tags.clone().map(|tag| self.record_tag_purge(tag, generation, PurgeStrength::Hard)))
                .await;
        if self.redis.is_some() {
            // Redis pushes these invalidations as well, and to this connection it may have done so
            // already.
            tags.for_each(|tag| self.shared.purges.invalidate_tag(tag.0));
            self.shared.purges.invalidate();
        }
        done.into_iter().collect()
    }

    async fn purge_tag(&self, tag: TagDigest, strength: PurgeStrength) -> Result<(), PurgeError> {
        let generation = self.record_purge(BulkPurge::Counted).await?;
        self.record_tag_purge(tag, generation, strength).await
    }

    /// Stores the generation of a tag purged at this purge generation.
    async fn record_tag_purge(
        &self,
        tag: TagDigest,
        generation: PurgeGeneration,
        strength: PurgeStrength,
    ) -> Result<(), PurgeError> {
        let Some(redis) = &self.redis else {
            self.shared.purges.record_tag_purge(tag, generation, strength, time::now());
            return Ok(());
        };
        let arguments = [
            format!("{:016x}", generation.epoch).into(),
            decimal(generation.count),
            strength.letter().into(),
            decimal(time::now().as_millis()),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        PURGE_TAG.run(redis, &self.shared.tag_name(tag), &arguments).await?;
        Ok(())
    }

    /// Records a purge in the purge log and returns the new generation.
    async fn record_purge(&self, purge: BulkPurge) -> Result<PurgeGeneration, PurgeError> {
        let Some(redis) = &self.redis else {
            return Ok(self.shared.purges.record(purge, time::now())?);
        };
        let now = time::now().as_millis();
        let (what, strength, prefix) = match purge {
            BulkPurge::Counted => ("tag", PurgeStrength::Hard, String::new()),
            BulkPurge::All(strength) => ("all", strength, String::new()),
            BulkPurge::Prefix(prefix, strength) => ("prefix", strength, prefix.to_string()),
        };
        let arguments = [
            new_epoch(),
            decimal(millis(PURGE_LOG_KEPT)),
            Bytes::from_static(what.as_bytes()),
            strength.letter().into(),
            decimal(now),
            prefix.into(),
            decimal(now.saturating_sub(millis(LIFETIME_MAX))),
            decimal(PREFIXES_MAX as u64),
        ];
        let moved = PURGE_LOG.run(redis, &self.shared.log_name(), &arguments).await?;
        if moved == Reply::Integer(0) {
            return Err(PrefixesFullError.into());
        }
        let log = if let Reply::Bulk(value) = &moved { PurgeLog::parse(value) } else { None };
        Ok(log.ok_or(PurgeError::Foreign)?.generation)
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
    fn confirmed(self) {
        self.store.shared.purges.clear_local(self.scopes, self.strength, self.begun);
        std::mem::forget(self);
    }
}

impl Drop for UnconfirmedPurge<'_> {
    fn drop(&mut self) {
        if self.store.redis.is_some() {
            self.store.purge_in_process(self.scopes, self.strength);
        }
    }
}
