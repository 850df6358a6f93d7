//! The writes of a purge to Redis, one key at a time.
//!
//! A resource gets a tombstone, or a mark as stale. A tag or a group moves the purge log and then
//! its own generation; everything else moves the log alone. Each write may be repeated at any later
//! time and in any order, because none restores a state:
//!
//! - A tombstone carries a new key generation each time. A repetition with the old generation could
//!   follow another node's later purge, and would let a fetch store that began between the two.
//! - The counts of the log and of the tags only grow.
//! - A repetition covers at least the entries that the first attempt covered. It may cover later
//!   ones, which costs a fetch.

use bytes::Bytes;

use crate::entry::{self, KeyGeneration, PurgeGeneration, TagDigest};
use crate::key::{CacheKey, NameKey};
use crate::limits::{FETCH_STORED_MAX, LIFETIME_MAX, PREFIXES_MAX, PURGE_LOG_KEPT};
use crate::redis::{Client, Command, CommandError, ErrorKind, Reply};
use crate::store::purge::log::{BulkPurge, PurgeLog, new_epoch};
use crate::store::purge::names::{PurgeError, PurgeScope, PurgeStrength};
use crate::store::scripts::{MARK_STALE, PURGE_LOG, PURGE_TAG, REPLACE, decimal, is_refused};
use crate::store::shared::StoreShared;
use crate::time::{self, Timestamp, millis};

/// The writer of purges to Redis.
#[derive(Clone, Copy)]
pub(in crate::store) struct PurgeWriter<'a> {
    pub(in crate::store) shared: &'a StoreShared,
    pub(in crate::store) redis: &'a Client,
}

impl PurgeWriter<'_> {
    /// Writes one purge; returns the coarser purges that the log recorded instead, if any.
    pub(in crate::store) async fn purge(
        self,
        scope: &PurgeScope,
        strength: PurgeStrength,
    ) -> Result<Vec<PurgeScope>, PurgeError> {
        match scope {
            PurgeScope::Url(key) if strength == PurgeStrength::Hard => {
                self.write_tombstone(key, KeyGeneration::new()).await?;
            }
            PurgeScope::Url(key) => self.mark_stale(key).await?,
            PurgeScope::Tag(tag) => self.purge_tag(tag.digest(self.name_key()), strength).await?,
            PurgeScope::Group(group) => self.purge_tag(group.digest(self.name_key()), strength).await?,
            PurgeScope::Prefix(prefix) => {
                let log = self.record(BulkPurge::Prefix(prefix.clone(), strength)).await?;
                return Ok(log.coarser(prefix));
            }
            PurgeScope::All => drop(self.record(BulkPurge::All(strength)).await?),
        }
        Ok(Vec::new())
    }

    /// Replaces the value of a key by a tombstone. A Redis without memory for the tombstone still
    /// removes the value, so that no node reads it; an older fetch may store until the tombstone is
    /// accepted.
    pub(in crate::store) async fn write_tombstone(
        self,
        key: &CacheKey,
        key_generation: KeyGeneration,
    ) -> Result<(), CommandError> {
        // Another client of Redis may bring the value back before the server's reply is read.
        self.shared.purges.remember(key.short(), time::now());
        self.drop_from_memory(key);
        let name = self.shared.entry_name(key);
        let value = entry::tombstone(key_generation, time::now());
        let set = Command::Set { key: &name, value: &value, ttl: FETCH_STORED_MAX };
        let set = self.redis.command(&set).await;
        if set == Err(CommandError::Server(ErrorKind::Oom)) {
            // A failure changes nothing: the caller repeats the tombstone in either case.
            let _ = self.redis.command(&Command::Unlink { key: &name }).await;
        }
        let answered = time::now();
        self.shared.purges.remember(key.short(), answered);
        // A lookup may have read it from Redis meanwhile.
        self.drop_from_memory(key);
        set?;
        self.keep_for_fail_over(key, answered);
        Ok(())
    }

    /// Replaces the value of a key by a tombstone, because of a response that was received then,
    /// and returns whether no other purge of the key can have come within [`FETCH_STORED_MAX`].
    pub(in crate::store) async fn replace(
        self,
        key: &CacheKey,
        key_generation: KeyGeneration,
        received: Timestamp,
    ) -> Result<bool, CommandError> {
        self.shared.purges.remember(key.short(), received);
        self.drop_from_memory(key);
        let value = entry::tombstone(key_generation, time::now());
        let arguments = [value, decimal(millis(FETCH_STORED_MAX))];
        let replaced = REPLACE.run(self.redis, &self.shared.entry_name(key), &arguments).await;
        self.drop_from_memory(key);
        let is_unpurged = replaced? == Reply::Integer(1);
        self.keep_for_fail_over(key, received);
        Ok(is_unpurged)
    }

    /// Keeps a removal that a new master may lack.
    fn keep_for_fail_over(self, key: &CacheKey, at: Timestamp) {
        if self.redis.may_fail_over() {
            self.shared.recent_removals.add(*key, at);
        }
    }

    /// Purges one resource softly.
    async fn mark_stale(self, key: &CacheKey) -> Result<(), CommandError> {
        let (key_generation, now) = (KeyGeneration::new(), time::now());
        let arguments = [
            Bytes::copy_from_slice(&key_generation.to_bytes()),
            Bytes::copy_from_slice(&now.as_millis().to_be_bytes()),
            entry::tombstone(key_generation, now),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        match MARK_STALE.run(self.redis, &self.shared.entry_name(key), &arguments).await {
            // The server refuses scripts: a tombstone replaces the entry that cannot be marked.
            Err(error) if is_refused(error) => self.write_tombstone(key, key_generation).await,
            done => done.map(drop),
        }
    }

    async fn purge_tag(self, tag: TagDigest, strength: PurgeStrength) -> Result<(), PurgeError> {
        let generation = self.record(BulkPurge::Counted).await?.generation;
        self.write_tag(tag, generation, strength).await
    }

    /// Stores the generation of a tag purged at this purge generation.
    pub(in crate::store) async fn write_tag(
        self,
        tag: TagDigest,
        generation: PurgeGeneration,
        strength: PurgeStrength,
    ) -> Result<(), PurgeError> {
        let arguments = [
            format!("{:016x}", generation.epoch).into(),
            decimal(generation.count),
            strength.letter().into(),
            decimal(time::now().as_millis()),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        PURGE_TAG.run(self.redis, &self.shared.tag_name(tag), &arguments).await?;
        self.shared.purges.remember_tag(tag, generation, strength, time::now());
        Ok(())
    }

    /// Records a purge in the purge log and returns the new log.
    pub(in crate::store) async fn record(self, purge: BulkPurge) -> Result<PurgeLog, PurgeError> {
        let now = time::now().as_millis();
        let (what, strength, prefix) = match purge {
            BulkPurge::Counted => ("tag", PurgeStrength::Hard, String::new()),
            BulkPurge::All(strength) => ("all", strength, String::new()),
            BulkPurge::Prefix(prefix, strength) => match self.shared.logged_prefix(&prefix) {
                Some(text) => ("prefix", strength, text),
                // The prefix cannot be sealed, and must not be shown.
                None => ("all", strength, String::new()),
            },
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
        let moved = PURGE_LOG.run(self.redis, &self.shared.log_name(), &arguments).await?;
        let log = if let Reply::Bulk(value) = &moved { self.shared.parse_log(value) } else { None };
        Ok(self.shared.purges.with_known(log.ok_or(PurgeError::Foreign)?, time::now()))
    }

    /// Returns the names of the keys that a purge of this scope writes in Redis.
    pub(in crate::store) fn written_names(self, scope: &PurgeScope) -> Vec<Vec<u8>> {
        let Self { shared, .. } = self;
        match scope {
            PurgeScope::Url(key) => vec![shared.entry_name(key)],
            PurgeScope::Tag(tag) => vec![shared.log_name(), shared.tag_name(tag.digest(self.name_key()))],
            PurgeScope::Group(group) => {
                vec![shared.log_name(), shared.tag_name(group.digest(self.name_key()))]
            }
            PurgeScope::Prefix(_) | PurgeScope::All => vec![shared.log_name()],
        }
    }

    fn name_key(&self) -> &NameKey {
        &self.shared.options.name_key
    }

    fn drop_from_memory(self, key: &CacheKey) {
        if let Some(memory) = &self.shared.memory {
            memory.remove(key.short());
        }
    }
}
