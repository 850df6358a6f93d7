//! A look into the tiers that leaves them as they are: nothing is counted, copied into memory or dropped.
//!
//! What purges mean for an entry is asked as for a request, so what is told to be usable is. That is all that a look may
//! change: what this process knows of purges, and that there is a purge clock.

use bytes::Bytes;

use super::clock::{Footing, Verdict};
use super::find::may_be_alone;
use super::learn::Told;
use super::ledger::Fate;
use super::memory::Held;
use super::{Found, Store, Tier};
use crate::entry::{Damage, Kind, Lineage, Provenance, Standing, Stored};
use crate::key::{CacheKey, Target};
use crate::redis::{Command, CommandError, Reply};
use crate::time;

/// What stands under one key.
#[derive(Debug)]
pub struct Inspected {
    /// In this process.
    pub memory: Sighting,
    /// In the fleet's Redis.
    pub redis: Sighting,
}

/// What one tier has.
#[derive(Debug)]
pub enum Sighting {
    /// There is no such tier.
    Off,
    /// It could not be asked.
    Unavailable,
    /// Nothing.
    Nothing,
    /// What has been purged, or what a purge has left in its place.
    Purged(Lineage),
    /// Bytes that are a miss.
    Damaged(Damage),
    /// An entry.
    Held {
        /// Decoded.
        stored: Box<Stored>,
        /// The purge behind which it was stored.
        lineage: Lineage,
        /// Everything counted that is stored.
        bytes: usize,
        /// Whether this tier answers without asking another.
        confirmation: Confirmation,
    },
}

crate::labels! {
    /// Whether what a tier has may be served as it is.
    pub enum Confirmation {
        /// It may.
        Confirmed => "confirmed",
        /// Redis has to be asked first.
        Unconfirmed => "unconfirmed",
        /// Redis cannot be asked, and has not been away for long enough that nobody else could have reached it.
        Withheld => "withheld",
    }
}

impl Sighting {
    /// What there is, in a word.
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
    /// What stands under `key`, which is the target's or that of a variant of it.
    ///
    /// Cancel safe.
    pub async fn inspect(&self, key: &CacheKey, target: &Target) -> Inspected {
        let redis = self.sight_redis(key, target).await;
        let memory = match &self.shared.memory {
            None => Sighting::Off,
            Some(memory) => match memory.get(key.short()) {
                None => Sighting::Nothing,
                Some(held) => self.sight_held(key, target, &held, &redis).await,
            },
        };
        Inspected { memory, redis }
    }

    async fn sight_redis(&self, key: &CacheKey, target: &Target) -> Sighting {
        let Some(redis) = &self.redis else { return Sighting::Off };
        let name = self.name(key);
        let bytes = match redis.command(&Command::Get { key: &name }).await {
            Ok(Reply::Bulk(bytes)) => bytes,
            Ok(_) => return Sighting::Nothing,
            Err(_) => return Sighting::Unavailable,
        };
        if let Some(Standing { kind: Kind::Tombstone(_), lineage, .. }) = Standing::read(&bytes) {
            return Sighting::Purged(lineage);
        }
        let stored = match self.decoder.decode(key, &bytes, Provenance::Store(time::now())) {
            Ok(stored) => stored,
            Err(damage) => return Sighting::Damaged(damage),
        };
        match self.judged(redis, &bytes, target, Told::default()).await {
            Ok((fate, _)) => sighted(stored, &bytes, fate, Tier::Redis, Confirmation::Confirmed),
            Err(_) => Sighting::Unavailable,
        }
    }

    /// The same steps as of [`Store::find`].
    async fn sight_held(&self, key: &CacheKey, target: &Target, held: &Held, beside: &Sighting) -> Sighting {
        let clock = &self.shared.clock;
        let last_known = || match clock.judge(&held.bytes, target, Footing::LastKnown) {
            Verdict::Fate(fate, _) => fate,
            Verdict::NoClock | Verdict::NoCounters(_) => Fate::Gone,
        };
        let (fate, confirmation) = match &self.redis {
            None => (last_known(), Confirmation::Confirmed),
            Some(redis) => {
                let holds = held.trust.holds(&self.shared.seats);
                let judged = if holds {
                    self.judged(redis, &held.bytes, target, Told::default()).await
                } else {
                    Err(CommandError::NotConnected)
                };
                match judged {
                    Ok((fate, _)) => (fate, Confirmation::Confirmed),
                    Err(_)
                        if matches!(beside, Sighting::Unavailable)
                            && !may_be_alone(redis, &self.name(key), held) =>
                    {
                        (last_known(), Confirmation::Withheld)
                    }
                    Err(_) => (last_known(), Confirmation::Unconfirmed),
                }
            }
        };
        match self.decoder.decode(key, &held.bytes, Provenance::Process) {
            Ok(stored) => sighted(stored, &held.bytes, fate, Tier::Memory, confirmation),
            Err(damage) => Sighting::Damaged(damage),
        }
    }
}

fn sighted(stored: Stored, bytes: &Bytes, fate: Fate, tier: Tier, confirmation: Confirmation) -> Sighting {
    let lineage = Standing::read(bytes).map_or(Lineage::NONE, |standing| standing.lineage);
    match Found::as_judged(stored, bytes, fate, tier) {
        Some(Found { stored, lineage, .. }) if fate != Fate::Gone => {
            Sighting::Held { stored: Box::new(stored), lineage, bytes: bytes.len(), confirmation }
        }
        Some(_) | None => Sighting::Purged(lineage),
    }
}

impl Inspected {
    /// What [`Store::find`] would have found: memory answers by itself where it may, or where Redis cannot be asked.
    pub fn found(&self) -> Option<Found> {
        let held = |sighting: &Sighting, tier| match sighting {
            Sighting::Held { confirmation: Confirmation::Withheld, .. } => None,
            Sighting::Held { stored, lineage, .. } => {
                Some(Found { stored: stored.as_ref().clone(), tier, lineage: *lineage })
            }
            Sighting::Off
            | Sighting::Unavailable
            | Sighting::Nothing
            | Sighting::Purged(_)
            | Sighting::Damaged(_) => None,
        };
        match (&self.memory, &self.redis) {
            (memory @ Sighting::Held { confirmation: Confirmation::Confirmed, .. }, _)
            | (memory, Sighting::Off | Sighting::Unavailable) => held(memory, Tier::Memory),
            (_, redis) => held(redis, Tier::Redis),
        }
    }

    /// The purge behind which whatever stands here was stored.
    pub fn lineage(&self) -> Lineage {
        let of = |sighting: &Sighting| match sighting {
            Sighting::Held { lineage, .. } | Sighting::Purged(lineage) => Some(*lineage),
            Sighting::Off | Sighting::Unavailable | Sighting::Nothing | Sighting::Damaged(_) => None,
        };
        let found = self.found().map(|found| found.lineage);
        found.or_else(|| of(&self.redis)).or_else(|| of(&self.memory)).unwrap_or(Lineage::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Variants;
    use crate::policy::Vary;
    use http::HeaderMap;

    fn held(nonce: u64, confirmation: Confirmation) -> Sighting {
        let mut head = HeaderMap::new();
        head.insert("vary", http::HeaderValue::from_static("accept"));
        let Vary::Fields(fields) = Vary::of(&head) else { panic!("it varies") };
        Sighting::Held {
            stored: Box::new(Stored::Variants(Variants { nonce, expires: time::Timestamp::EPOCH, fields })),
            lineage: Lineage::NONE,
            bytes: 9,
            confirmation,
        }
    }

    #[test]
    fn a_look_finds_what_a_request_would() {
        use Confirmation::{Confirmed, Unconfirmed, Withheld};
        for (memory, redis, want) in [
            (held(1, Confirmed), held(2, Confirmed), Some((1, Tier::Memory))),
            (held(1, Unconfirmed), held(2, Confirmed), Some((2, Tier::Redis))),
            (held(1, Unconfirmed), Sighting::Nothing, None),
            (held(1, Unconfirmed), Sighting::Damaged(Damage::Version), None),
            (held(1, Unconfirmed), Sighting::Unavailable, Some((1, Tier::Memory))),
            (held(1, Withheld), Sighting::Unavailable, None),
            (Sighting::Purged(Lineage::NONE), held(2, Confirmed), Some((2, Tier::Redis))),
            (held(1, Unconfirmed), Sighting::Purged(Lineage::NONE), None),
            (held(1, Confirmed), Sighting::Nothing, Some((1, Tier::Memory))),
            (held(1, Confirmed), Sighting::Off, Some((1, Tier::Memory))),
            (Sighting::Off, held(2, Confirmed), Some((2, Tier::Redis))),
            (Sighting::Nothing, Sighting::Unavailable, None),
        ] {
            let look = Inspected { memory, redis };
            let found = look.found().map(|found| match found.stored {
                Stored::Variants(variants) => (variants.nonce, found.tier),
                Stored::Response(_) => panic!("a list was held"),
            });
            assert_eq!(found, want, "{look:?}");
        }
    }
}
