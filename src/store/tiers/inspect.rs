//! Lookups without side effects, for operators: they count nothing, copy nothing into memory and
//! drop nothing.
//!
//! An inspection checks purges like a request does, so it reports the entries that a request would
//! use. It may change only two things: the purge state known to this process, and the existence of
//! the purge log.

use bytes::Bytes;

use crate::entry::{EntryError, EntryHeader, KeyGeneration, Provenance, StoredValue, ValueKind};
use crate::key::{CacheKey, Target};
use crate::redis::{Client, Command, CommandError, Reply};
use crate::store::handle::Store;
use crate::store::lookup::{FoundValue, Tier};
use crate::store::purge::log::PurgeStatus;
use crate::store::purge::verdict::{CheckedAt, Consistency, PurgeSnapshot, PurgeVerdict};
use crate::store::tiers::memory::MemoryEntry;

/// The content of both tiers for one key.
#[derive(Debug)]
pub struct InspectedKey {
    /// The memory of this process.
    pub memory: TierContent,
    /// The Redis of the fleet.
    pub redis: TierContent,
}

/// The content of one tier for one key.
#[derive(Debug)]
pub enum TierContent {
    /// The tier is turned off.
    Off,
    /// The tier does not answer.
    Unavailable,
    /// The tier has nothing.
    Nothing,
    /// The tier has a purged entry, or a purge's tombstone.
    Purged(KeyGeneration),
    /// The tier has bytes that are a miss.
    Damaged(EntryError),
    /// The tier has an entry.
    Held {
        /// The decoded entry.
        stored: Box<StoredValue>,
        /// The key generation under which it was stored.
        key_generation: KeyGeneration,
        /// The size of the stored bytes.
        bytes: usize,
        /// Confirmation of the entry: whether this tier answers without the other.
        confirmation: TierConfirmation,
    },
}

crate::labels! {
    /// Confirmation of a tier's entry.
    pub enum TierConfirmation {
        /// The tier may serve it.
        Confirmed => "confirmed",
        /// The tier must check Redis first.
        Unconfirmed => "unconfirmed",
        /// Redis is unavailable, and not yet for long enough to rule out that another node reaches
        /// it.
        Withheld => "withheld",
    }
}

impl TierContent {
    /// Returns the content's name in documents.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unavailable => "unavailable",
            Self::Nothing => "nothing",
            Self::Purged(_) => "purged",
            Self::Damaged(_) => "damaged",
            Self::Held { .. } => "held",
        }
    }
}

impl Store {
    /// Inspects `key`, the key of the target or of one of its variants.
    ///
    /// Cancel safe.
    pub async fn inspect(&self, key: &CacheKey, target: &Target) -> InspectedKey {
        let (redis, why) = self.inspect_redis(key, target).await;
        let memory = match &self.shared.memory {
            None => TierContent::Off,
            Some(memory) => match memory.get(key.short()) {
                None => TierContent::Nothing,
                Some(held) => self.inspect_memory(key, target, &held, why).await,
            },
        };
        InspectedKey { memory, redis }
    }

    /// Returns the content of Redis, and the error if it is unavailable.
    async fn inspect_redis(&self, key: &CacheKey, target: &Target) -> (TierContent, Option<CommandError>) {
        let Some(redis) = &self.redis else { return (TierContent::Off, None) };
        match self.inspect_reply(redis, key, target).await {
            Ok(content) => (content, None),
            Err(why) => (TierContent::Unavailable, Some(why)),
        }
    }

    async fn inspect_reply(
        &self,
        redis: &Client,
        key: &CacheKey,
        target: &Target,
    ) -> Result<TierContent, CommandError> {
        let name = self.name(key);
        let Reply::Bulk(bytes) = redis.command(&Command::Get { key: &name }).await? else {
            return Ok(TierContent::Nothing);
        };
        if let Some(EntryHeader { kind: ValueKind::Tombstone(_), key_generation, .. }) =
            EntryHeader::read(&bytes)
        {
            return Ok(TierContent::Purged(key_generation));
        }
        let (entry, stored) = match self.unpack(key, &bytes) {
            Ok(unpacked) => unpacked,
            Err(damage) => return Ok(TierContent::Damaged(damage)),
        };
        let (status, _) = self
            .purge_status(redis, entry.as_read(&bytes), target, PurgeSnapshot::default(), CheckedAt::NEVER)
            .await?;
        Ok(content(stored, &bytes, status, Tier::Redis, TierConfirmation::Confirmed))
    }

    /// Takes the steps of [`Store::find`] for memory.
    async fn inspect_memory(
        &self,
        key: &CacheKey,
        target: &Target,
        held: &MemoryEntry,
        unavailable: Option<CommandError>,
    ) -> TierContent {
        let purges = &self.shared.purges;
        let last_known = || match purges.judge(&held.bytes, target, Consistency::LastKnown, held.checked) {
            PurgeVerdict::Known(status, _) => status,
            PurgeVerdict::LogUnknown | PurgeVerdict::TagsUnknown(_) => PurgeStatus::Purged,
        };
        let (status, confirmation) = match &self.redis {
            None => (last_known(), TierConfirmation::Confirmed),
            Some(redis) => {
                let holds = held.trust.holds(&self.shared.tracking);
                let purge_status = if holds {
                    self.purge_status(redis, &held.bytes, target, PurgeSnapshot::default(), held.checked)
                        .await
                } else {
                    Err(CommandError::NotConnected)
                };
                match purge_status {
                    Ok((status, _)) => (status, TierConfirmation::Confirmed),
                    Err(_) => {
                        let is_alone =
                            |why| self.shared.may_serve_alone(held.trust, redis, &self.name(key), why);
                        let confirmation = if unavailable.is_none_or(is_alone) {
                            TierConfirmation::Unconfirmed
                        } else {
                            TierConfirmation::Withheld
                        };
                        (last_known(), confirmation)
                    }
                }
            }
        };
        match self.decoder.decode(key, &held.bytes, Provenance::Process) {
            Ok(stored) => content(stored, &held.bytes, status, Tier::Memory, confirmation),
            Err(damage) => TierContent::Damaged(damage),
        }
    }
}

fn content(
    stored: StoredValue,
    bytes: &Bytes,
    status: PurgeStatus,
    tier: Tier,
    confirmation: TierConfirmation,
) -> TierContent {
    let key_generation = EntryHeader::read(bytes).map_or(KeyGeneration::NONE, |header| header.key_generation);
    match FoundValue::with_status(stored, bytes, status, tier) {
        Some(FoundValue { stored, key_generation, .. }) if status != PurgeStatus::Purged => {
            TierContent::Held { stored: Box::new(stored), key_generation, bytes: bytes.len(), confirmation }
        }
        Some(_) | None => TierContent::Purged(key_generation),
    }
}

impl InspectedKey {
    /// Returns the entry that [`Store::find`] would find: memory answers if it may answer alone, or
    /// if Redis is unavailable.
    pub fn found(&self) -> Option<FoundValue> {
        let held = |content: &TierContent, tier| match content {
            TierContent::Held { confirmation: TierConfirmation::Withheld, .. } => None,
            TierContent::Held { stored, key_generation, .. } => {
                Some(FoundValue { stored: stored.as_ref().clone(), tier, key_generation: *key_generation })
            }
            TierContent::Off
            | TierContent::Unavailable
            | TierContent::Nothing
            | TierContent::Purged(_)
            | TierContent::Damaged(_) => None,
        };
        match (&self.memory, &self.redis) {
            (memory @ TierContent::Held { confirmation: TierConfirmation::Confirmed, .. }, _)
            | (memory, TierContent::Off | TierContent::Unavailable) => held(memory, Tier::Memory),
            (_, redis) => held(redis, Tier::Redis),
        }
    }

    /// Returns the key generation of the content.
    pub fn key_generation(&self) -> KeyGeneration {
        let of = |content: &TierContent| match content {
            TierContent::Held { key_generation, .. } | TierContent::Purged(key_generation) => {
                Some(*key_generation)
            }
            TierContent::Off | TierContent::Unavailable | TierContent::Nothing | TierContent::Damaged(_) => {
                None
            }
        };
        let found = self.found().map(|found| found.key_generation);
        found.or_else(|| of(&self.redis)).or_else(|| of(&self.memory)).unwrap_or(KeyGeneration::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Variants;
    use crate::policy::Vary;
    use crate::time;
    use http::HeaderMap;

    fn held(nonce: u64, confirmation: TierConfirmation) -> TierContent {
        let mut head = HeaderMap::new();
        head.insert("vary", http::HeaderValue::from_static("accept"));
        let Vary::Fields(fields) = Vary::of(&head) else { panic!("it varies") };
        TierContent::Held {
            stored: Box::new(StoredValue::Variants(Variants {
                nonce,
                expires: time::Timestamp::EPOCH,
                fields,
            })),
            key_generation: KeyGeneration::NONE,
            bytes: 9,
            confirmation,
        }
    }

    #[test]
    fn an_inspection_finds_the_entry_that_a_request_would() {
        use TierConfirmation::{Confirmed, Unconfirmed, Withheld};
        for (memory, redis, want) in [
            (held(1, Confirmed), held(2, Confirmed), Some((1, Tier::Memory))),
            (held(1, Unconfirmed), held(2, Confirmed), Some((2, Tier::Redis))),
            (held(1, Unconfirmed), TierContent::Nothing, None),
            (held(1, Unconfirmed), TierContent::Damaged(EntryError::Version), None),
            (held(1, Unconfirmed), TierContent::Unavailable, Some((1, Tier::Memory))),
            (held(1, Withheld), TierContent::Unavailable, None),
            (TierContent::Purged(KeyGeneration::NONE), held(2, Confirmed), Some((2, Tier::Redis))),
            (held(1, Unconfirmed), TierContent::Purged(KeyGeneration::NONE), None),
            (held(1, Confirmed), TierContent::Nothing, Some((1, Tier::Memory))),
            (held(1, Confirmed), TierContent::Off, Some((1, Tier::Memory))),
            (TierContent::Off, held(2, Confirmed), Some((2, Tier::Redis))),
            (TierContent::Nothing, TierContent::Unavailable, None),
        ] {
            let look = InspectedKey { memory, redis };
            let found = look.found().map(|found| match found.stored {
                StoredValue::Variants(variants) => (variants.nonce, found.tier),
                StoredValue::Response(_) => panic!("expected a list of variants"),
            });
            assert_eq!(found, want, "{look:?}");
        }
    }
}
