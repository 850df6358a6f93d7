//! Purges, and the point at which they are complete.
//!
//! A purge first writes to Redis (`write.rs`). From then on no reader of Redis finds a purged
//! entry, and no fetch that began before stores its answer. If another server may become master,
//! the replicas must have the write before it counts ([`Client::wait_replicated`]). Then the node
//! publishes a sync (`FleetListener::sync`); once all workers of the fleet have acknowledged it, no
//! node's memory has a purged entry either. A purge that fails applies in this process, which
//! repeats it (`repeat.rs`).

use crate::entry::KeyGeneration;
use crate::key::CacheKey;
use crate::limits::{PURGE_ACK_TIMEOUT, PURGE_SCOPES_MAX};
use crate::redis::{Client, CommandError, FleetChannel};
use crate::store::handle::Store;
use crate::store::purge::log::BulkPurge;
use crate::store::purge::names::{PurgeError, PurgeResult, PurgeScope, PurgeStrength};
use crate::store::purge::permit::StorePermit;
use crate::store::purge::runs::ExpectedRun;
use crate::store::purge::write::PurgeWriter;
use crate::store::scripts::is_refused;
use crate::store::together::together;
use crate::time::{self, Timestamp};

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
        let unconfirmed = UnconfirmedPurge::new(self, scopes, strength);
        if self.redis.as_ref().is_some_and(|redis| !redis.disconnected_for(&self.shared.log_name()).is_zero())
        {
            // Redis is away: this process does not wait for its answer.
            self.purge_in_process(scopes, strength);
        }
        let purged = self.purge_everywhere(scopes, &keys, strength).await?;
        if purged.sync_refused.is_none() {
            unconfirmed.confirmed();
        }
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
        let run = self.shared.runs.settled();
        let done = together(scopes.iter().map(|scope| self.purge_one(scope, strength))).await;
        let coarser = done.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
        let Some(((writer, fleet), topology)) = self.writer().zip(self.fleet.as_ref()).zip(topology) else {
            return Ok(PurgeResult { coarser, ..PurgeResult::counted(1, 1) });
        };
        let redis = writer.redis;
        let names: Vec<_> = keys.iter().map(CacheKey::short).collect();
        tokio::time::sleep(redis.failover_grace()).await;
        let written_names: Vec<_> = scopes.iter().flat_map(|scope| writer.written_names(scope)).collect();
        let replication = redis.wait_replicated(topology, &written_names).await?;
        let synced = match fleet.sync(redis, &names, strength, PURGE_ACK_TIMEOUT).await {
            // Redis has the purge, and this user may not publish: no node can be asked to confirm.
            Err(error) if is_refused(error) => {
                let sync_refused = Some(error);
                return Ok(PurgeResult { coarser, replication, sync_refused, ..PurgeResult::counted(1, 0) });
            }
            synced => synced?,
        };
        if synced.nodes > 0 && redis.fleet_channels().iter().all(FleetChannel::is_tracking) {
            return Ok(PurgeResult { coarser, replication, ..synced });
        }
        // Not every connection is tracked: entries leave every node's memory only when their
        // `memory_ttl` has passed.
        for key in keys {
            self.supersede(key);
        }
        let memory_ttl = self.shared.options.memory_ttl;
        if memory_ttl > PURGE_ACK_TIMEOUT {
            return Ok(PurgeResult { coarser, replication, ..PurgeResult::counted(1, 0) });
        }
        tokio::time::sleep(memory_ttl).await;
        self.check_run(redis, run).await?;
        Ok(PurgeResult { coarser, replication, ..PurgeResult::counted(1, 1) })
    }

    /// Returns an error if the server has started again since this run was known: it may have lost
    /// a purge that it accepted before.
    async fn check_run(&self, redis: &Client, run: Option<ExpectedRun>) -> Result<(), PurgeError> {
        // A connection learns the run of its server before it carries this command.
        self.shared.read_log(redis).await?;
        let runs = &self.shared.runs;
        let is_same = run.is_none_or(|run| runs.settled() == Some(run));
        if is_same && runs.unsettled().is_none() { Ok(()) } else { Err(CommandError::Closed.into()) }
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
            // Redis may still have the entry when it is back: this node does not serve it then, and
            // repeats the tombstone.
            self.shared.purges.remove_locally(key, time::now());
        }
    }

    /// Removes the value of the permit's resource for every node, because the request that took the
    /// permit has changed it. Returns the permit to store the response to the request; `None` if
    /// another purge may have come since the request began: the origin may have sent the response
    /// before it. `received` is the time of that response.
    pub async fn replace_by_own(&self, permit: StorePermit, received: Timestamp) -> Option<StorePermit> {
        let (key, key_generation) = (permit.resource, permit.key_generation);
        let Some(writer) = self.writer() else {
            self.drop_from_memory(&key);
            return Some(permit);
        };
        match writer.replace(&key, key_generation, received).await {
            Ok(is_unpurged) => is_unpurged.then_some(permit),
            Err(_) => {
                // The server may refuse scripts, or be full.
                self.write_tombstone(&key, key_generation).await;
                None
            }
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
        match self.writer() {
            Some(writer) => writer.write_tombstone(key, key_generation).await,
            None => {
                self.drop_from_memory(key);
                Ok(())
            }
        }
    }

    /// Returns the writer of purges; `None` if memory runs alone.
    pub(in crate::store) fn writer(&self) -> Option<PurgeWriter<'_>> {
        self.redis.as_ref().map(|redis| PurgeWriter { shared: &self.shared, redis })
    }

    async fn purge_one(
        &self,
        scope: &PurgeScope,
        strength: PurgeStrength,
    ) -> Result<Vec<PurgeScope>, PurgeError> {
        match self.writer() {
            Some(writer) => writer.purge(scope, strength).await,
            None => Ok(self.purge_alone(scope, strength)),
        }
    }

    /// Purges in a process without Redis; returns the coarser purges that were recorded instead.
    fn purge_alone(&self, scope: &PurgeScope, strength: PurgeStrength) -> Vec<PurgeScope> {
        let (now, purges) = (time::now(), &self.shared.purges);
        let name_key = &self.shared.options.name_key;
        match scope {
            PurgeScope::Url(key) if strength == PurgeStrength::Hard => self.drop_from_memory(key),
            PurgeScope::Url(key) => {
                if let Some(memory) = &self.shared.memory {
                    memory.mark_stale(key.short(), KeyGeneration::new(), now);
                }
            }
            PurgeScope::Tag(tag) => purges.purge_tag(tag.digest(name_key), strength, now),
            PurgeScope::Group(group) => purges.purge_tag(group.digest(name_key), strength, now),
            PurgeScope::Prefix(prefix) => {
                return purges.record(BulkPurge::Prefix(prefix.clone(), strength), now).coarser(prefix);
            }
            PurgeScope::All => drop(purges.record(BulkPurge::All(strength), now)),
        }
        Vec::new()
    }
}

/// A purge that Redis has not confirmed. Unless it succeeds, it holds in this process until its
/// repetition does.
pub(in crate::store) struct UnconfirmedPurge<'a> {
    store: &'a Store,
    scopes: &'a [PurgeScope],
    strength: PurgeStrength,
    begun: Timestamp,
}

impl<'a> UnconfirmedPurge<'a> {
    pub(in crate::store) fn new(store: &'a Store, scopes: &'a [PurgeScope], strength: PurgeStrength) -> Self {
        Self { store, scopes, strength, begun: time::now() }
    }

    /// Ends the purge as a success.
    pub(in crate::store) fn confirmed(self) {
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
