//! Writes of fetched answers.
//!
//! A script writes the answer to Redis after it has compared the stored key generation with the one
//! that the fetch saw. The same connection then reads the entry back: the reply proves that Redis
//! has this entry, and subscribes the connection to its invalidation. Until then memory holds the
//! entry as in flight, which is safe: a purge that waits for confirmation sends its keys to every
//! worker (`fleet/listener.rs`), and a superseded entry is removed from memory or does not get in.

use std::time::Duration;

use bytes::Bytes;

use crate::entry::{
    self, EncodeError, EntryVersion, HEADER_BYTES, KEY_GENERATION_END, StoredValue, TagDigest,
};
use crate::key::CacheKey;
use crate::limits::{
    CLOCK_AHEAD_MAX, FETCH_STORED_MAX, PURGE_LOG_KEPT, PURGE_LOG_RENEWED, TAG_GENERATION_BYTES_MAX,
};
use crate::redis::{Client, Command, CommandError, ErrorKind, Reply, TrackedVersion};
use crate::store::handle::Store;
use crate::store::purge::log::{TagGeneration, new_epoch};
use crate::store::purge::permit::StorePermit;
use crate::store::purge::verdict::CheckedAt;
use crate::store::scripts::{self, ENSURE_TAG, PURGE_LOG, STORE, decimal};
use crate::store::tiers::memory::MemoryEntry;
use crate::store::together::together;
use crate::store::trust::EntryTrust;
use crate::time::{self, millis};

/// The reason why an answer has not been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutRefusal {
    /// A change has superseded the fetch.
    #[error("superseded by a change")]
    Superseded,
    /// A write holds the answers of its tag.
    #[error("held by a write")]
    Held,
}

impl Store {
    /// Stores a value in both tiers for `lifetime`, with the tags by which it may be purged. A
    /// failed write is counted; the caller has nothing to do.
    ///
    /// A write to the key of the permit's resource fails if a purge has changed the key generation
    /// since the fetch began. A write to any other key is unconditional: that key belongs to a
    /// variant, and lookups find a variant through the list at the resource's key.
    ///
    /// Memory has the value after the first poll, unless writes hold answers of the route; dropping
    /// the future loses at most the copy in Redis.
    pub async fn put(
        &self,
        key: &CacheKey,
        stored: &StoredValue,
        tags: &[TagDigest],
        lifetime: Duration,
        permit: &StorePermit,
    ) -> Result<(), PutRefusal> {
        if permit.is_held().await {
            return Err(PutRefusal::Held);
        }
        if permit.is_superseded() {
            return Err(PutRefusal::Superseded);
        }
        let version = EntryVersion {
            key_generation: permit.key_generation,
            generation: permit.generation,
            tags: tags.to_vec(),
            not_after: time::now().plus(lifetime).plus(CLOCK_AHEAD_MAX),
        };
        let bytes = match entry::encode(key, stored, &version) {
            Ok(bytes) => bytes,
            Err(EncodeError::TooLarge) => {
                self.metrics.too_large();
                return Ok(());
            }
            Err(EncodeError::Refused(damage)) => {
                self.metrics.damaged(damage);
                return Ok(());
            }
        };
        let Some(redis) = &self.redis else {
            self.ensure_tags_locally(tags, permit);
            return self.insert_unless_superseded(key, unchecked(bytes, EntryTrust::Always), permit);
        };
        // The purge generation is unknown, so no lookup could check the entry against purges.
        if permit.generation.epoch == 0 {
            self.metrics.write_lost();
            return self.insert_unless_superseded(
                key,
                unchecked(bytes, self.untracked_trust(permit)),
                permit,
            );
        }
        let in_flight = EntryTrust::InFlight(permit.trusted_until(self.shared.options.memory_ttl));
        self.insert_unless_superseded(key, unchecked(bytes.clone(), in_flight), permit)?;
        let Some(packed) = self.packed(key, &bytes, stored).await else {
            self.metrics.write_lost();
            return self.insert_unless_superseded(
                key,
                unchecked(bytes, self.untracked_trust(permit)),
                permit,
            );
        };
        self.renew_log(redis).await;
        let (name, sent) = (self.name(key), time::instant());
        let (written, ()) = tokio::join!(
            self.write(redis, key, &name, &packed, lifetime, permit),
            self.ensure_tags(redis, tags, lifetime),
        );
        match written {
            Ok(WriteOutcome::Refused) => {
                self.metrics.superseded();
                self.drop_this_from_memory(key, &bytes);
                Err(PutRefusal::Superseded)
            }
            Ok(WriteOutcome::ReadBack(head, version)) => {
                let is_ours = packed.starts_with(&head) && head.len() == HEADER_BYTES;
                match self.shared.trust_of(redis, &name, &version, sent).filter(|_| is_ours) {
                    Some(trust) => {
                        let tags = self.shared.purges.unpurged_stamp(tags.iter().copied(), permit.generation);
                        let checked = CheckedAt { tags, ..CheckedAt::NEVER };
                        self.confirm(key, MemoryEntry { bytes, trust, checked }, permit)
                    }
                    None => {
                        self.drop_this_from_memory(key, &bytes);
                        Ok(())
                    }
                }
            }
            Ok(WriteOutcome::NotReadBack) => {
                self.drop_this_from_memory(key, &bytes);
                Ok(())
            }
            Err(error) => {
                self.metrics.write_lost();
                if error == CommandError::Server(ErrorKind::Oom) {
                    self.no_room.set(Some(time::instant()));
                }
                // An invalidation that arrived meanwhile may have been a purge.
                if permit.watch.is_overwritten() {
                    self.drop_this_from_memory(key, &bytes);
                }
                Ok(())
            }
        }
    }

    async fn write(
        &self,
        redis: &Client,
        key: &CacheKey,
        name: &[u8],
        bytes: &Bytes,
        lifetime: Duration,
        permit: &StorePermit,
    ) -> Result<WriteOutcome, CommandError> {
        let read_header = Command::Head { key: name, bytes: u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX) };
        let set = Command::Set { key: name, value: bytes, ttl: lifetime };
        if *key != permit.resource {
            let (written, read) = redis.change_and_read(&set, &read_header).await;
            return written.map(|_| WriteOutcome::of(read));
        }
        let arguments = [
            Bytes::copy_from_slice(&permit.key_generation.to_bytes()),
            bytes.clone(),
            decimal(millis(lifetime).max(1)),
            decimal(millis(FETCH_STORED_MAX)),
        ];
        let (mut written, mut read) = STORE.run_and_read(redis, name, &arguments, &read_header).await;
        if let Err(error) = written
            && scripts::is_refused(error)
        {
            // The server refuses scripts. A purge may come between these two steps; without them,
            // nothing would be stored.
            let seen = redis.command(&read_header).await;
            let key_generation = permit.key_generation.to_bytes();
            let is_another = matches!(&seen, Ok(Reply::Bulk(head)) if head.get(KEY_GENERATION_END - 8..KEY_GENERATION_END)
                .is_some_and(|seen| seen != key_generation));
            if is_another || permit.watch.is_overwritten() {
                return Ok(WriteOutcome::Refused);
            }
            (written, read) = redis.change_and_read(&set, &read_header).await;
        }
        Ok(if written? == Reply::Integer(0) { WriteOutcome::Refused } else { WriteOutcome::of(read) })
    }

    /// Ensures that Redis keeps the generations of an entry's tags for longer than the entry.
    async fn ensure_tags(&self, redis: &Client, tags: &[TagDigest], lifetime: Duration) {
        together(tags.iter().map(|tag| self.ensure_tag(redis, *tag, lifetime))).await;
    }

    /// Ensures it for one tag. A failure needs no handling: an entry without its tag generation
    /// counts as purged.
    async fn ensure_tag(&self, redis: &Client, tag: TagDigest, lifetime: Duration) {
        let purges = &self.shared.purges;
        // The current generation: a purge after the fetch began may have been recorded in a tag
        // generation that Redis has lost.
        let generation = purges.generation();
        if purges.has_tag_until(tag, generation.epoch, time::instant() + lifetime) {
            return;
        }
        let kept = lifetime.saturating_mul(2).saturating_add(FETCH_STORED_MAX);
        let arguments = [
            format!("{:016x}", generation.epoch).into(),
            TagGeneration::at(generation).to_string().into(),
            decimal(millis(lifetime)),
            decimal(millis(kept)),
        ];
        let (name, sent) = (self.shared.tag_name(tag), time::instant());
        // No request waits for this reply. A `GET` would be given up after one missed turn of the
        // scheduler, and the node would read the tag again after the next purge of any tag.
        let read = Command::Head { key: &name, bytes: TAG_GENERATION_BYTES_MAX };
        if let (Ok(Reply::Integer(left)), Ok((Reply::Bulk(value), version))) =
            ENSURE_TAG.run_and_read(redis, &name, &arguments, &read).await
            && let Some(trust) = self.shared.trust_of(redis, &name, &version, sent)
        {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            purges.set_tag(tag, TagGeneration::parse(&value), trust, Some(time::instant() + left));
        }
    }

    /// Ensures the generations of an entry's tags, without Redis.
    fn ensure_tags_locally(&self, tags: &[TagDigest], permit: &StorePermit) {
        let purges = &self.shared.purges;
        for tag in tags {
            if purges
                .tag_generation(*tag)
                .flatten()
                .is_none_or(|known| known.epoch != permit.generation.epoch)
            {
                purges.set_tag(*tag, Some(TagGeneration::at(purges.generation())), EntryTrust::Always, None);
            }
        }
    }

    /// Extends the life of the purge log from time to time: the log must outlive the entries stored
    /// by it. In the steady state no other command reads it, so a Redis with LRU eviction would
    /// evict it first.
    async fn renew_log(&self, redis: &Client) {
        let now = time::instant();
        if self.log_renewed.get().is_some_and(|last| now.saturating_duration_since(last) < PURGE_LOG_RENEWED)
        {
            return;
        }
        self.log_renewed.set(Some(now));
        let arguments = [new_epoch(), decimal(millis(PURGE_LOG_KEPT)), Bytes::from_static(b"look")];
        if PURGE_LOG.run(redis, &self.shared.log_name(), &arguments).await.is_err() {
            self.log_renewed.set(None);
        }
    }

    fn insert_unless_superseded(
        &self,
        key: &CacheKey,
        held: MemoryEntry,
        permit: &StorePermit,
    ) -> Result<(), PutRefusal> {
        let mut outcome = Err(PutRefusal::Superseded);
        permit.watch.unless_superseded(|| {
            if let Some(memory) = &self.shared.memory {
                memory.insert(key.short(), held);
            }
            outcome = Ok(());
        });
        outcome
    }

    /// Updates the entry's trust once Redis is known to have it, unless memory has a later entry:
    /// that one is newer, or Redis will push its invalidation.
    fn confirm(&self, key: &CacheKey, held: MemoryEntry, permit: &StorePermit) -> Result<(), PutRefusal> {
        if self.has_another(key, &held.bytes) {
            Ok(())
        } else {
            self.insert_unless_superseded(key, held, permit)
        }
    }

    fn has_another(&self, key: &CacheKey, bytes: &Bytes) -> bool {
        let held = self.shared.memory.as_ref().and_then(|memory| memory.get(key.short()));
        held.is_some_and(|held| held.bytes.as_ptr() != bytes.as_ptr())
    }

    /// Returns the trust of an entry that Redis may not have: memory serves it for a while.
    fn untracked_trust(&self, permit: &StorePermit) -> EntryTrust {
        EntryTrust::Until(permit.trusted_until(self.shared.options.memory_ttl))
    }
}

/// An entry that has not been compared with any purge.
fn unchecked(bytes: Bytes, trust: EntryTrust) -> MemoryEntry {
    MemoryEntry { bytes, trust, checked: CheckedAt::NEVER }
}

/// The result of a write.
enum WriteOutcome {
    /// The key was purged after the fetch began.
    Refused,
    /// Redis has the entry, and this header was read back.
    ReadBack(Bytes, TrackedVersion),
    /// Redis has the entry; its header was not read back.
    NotReadBack,
}

impl WriteOutcome {
    fn of(read: Result<(Reply, TrackedVersion), CommandError>) -> Self {
        match read {
            Ok((Reply::Bulk(head), version)) => Self::ReadBack(head, version),
            Ok(_) | Err(_) => Self::NotReadBack,
        }
    }
}
