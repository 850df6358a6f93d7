//! The result of a lookup.

use crate::entry::{EntryHeader, KeyGeneration, StoredValue};
use crate::redis::CommandError;
use crate::store::purge::log::PurgeStatus;
use crate::time;

crate::labels! {
    /// The tier that holds an entry.
    pub enum Tier {
        /// The memory of this process.
        Memory => "memory",
        /// The Redis of the fleet.
        Redis => "redis",
    }
}

/// The use that a lookup may make of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// Memory answers for a time without Redis, and without tracking.
    Usual,
    /// Memory answers only while Redis would push a change of the entry: a write has promised that
    /// no node serves an older one.
    TrackedOnly,
}

/// The result of a lookup.
#[derive(Debug)]
pub struct Lookup {
    /// The stored value, if it may be used.
    pub found: Option<FoundValue>,
    /// The key generation in the store. A fetch that begins now may store its answer only if the
    /// generation is still this one.
    pub key_generation: KeyGeneration,
    /// Completeness of the lookup.
    pub completeness: Completeness,
}

/// Completeness of a lookup: Redis has answered, or it timed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// The lookup needed no Redis, or Redis has answered, if only with a refusal.
    Complete,
    /// Redis did not answer in time: it may hold more than the lookup found.
    TimedOut,
}

/// A value found under a key.
#[derive(Debug)]
pub struct FoundValue {
    /// The decoded value; stale if a soft purge covers it.
    pub stored: StoredValue,
    /// The tier that held it.
    pub tier: Tier,
    /// The key generation under which it was stored.
    pub key_generation: KeyGeneration,
}

impl FoundValue {
    /// Returns the decoded value with the effect of purges applied.
    pub(super) fn with_status(
        mut stored: StoredValue,
        bytes: &[u8],
        status: PurgeStatus,
        tier: Tier,
    ) -> Option<Self> {
        let header = EntryHeader::read(bytes)?;
        if let StoredValue::Response(entry) = &mut stored {
            let marked = header.stale_since.map_or(PurgeStatus::Valid, PurgeStatus::Stale);
            if let PurgeStatus::Stale(at) = status.and(marked) {
                // The clock of the purging node may be ahead: its purge holds from now on.
                entry.facts = entry.facts.stale_from(at.min(time::now()));
            }
        }
        Some(Self { stored, tier, key_generation: header.key_generation })
    }
}

impl Completeness {
    /// Returns the completeness of a lookup with this error: a server that refuses will refuse
    /// again.
    pub(super) fn by(why: CommandError) -> Self {
        if matches!(why, CommandError::Server(_)) { Self::Complete } else { Self::TimedOut }
    }
}

impl Lookup {
    pub(super) fn nothing() -> Self {
        Self { found: None, key_generation: KeyGeneration::NONE, completeness: Completeness::Complete }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::entry::{self, Entry, EntryVersion};
    use crate::key::{CacheKey, Scheme, Target};
    use crate::policy::{Obligations, RulesDigest, StoredFacts};

    /// The purging node's clock may be ahead, and its mark counts from now on.
    #[test]
    fn a_soft_purge_of_the_future_holds_at_once() {
        let target =
            Target::parse(Scheme::Http, &"/a".parse().unwrap(), [&b"api.test"[..]].into_iter()).unwrap();
        let (key, now) = (CacheKey::of(&target), time::now());
        let facts = StoredFacts {
            received: now,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(600),
            obligations: Obligations::default(),
            rules: RulesDigest::NONE,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        let (head, body) = (HeaderMap::new(), Bytes::new());
        let stored = StoredValue::Response(Entry { facts, status: StatusCode::OK, head, body });
        let bytes = entry::encode(&key, &stored, &EntryVersion::default()).unwrap();
        let future = now.plus(Duration::from_secs(60));
        let marked = entry::mark_stale(&bytes, KeyGeneration::new(), future).unwrap();
        for (bytes, status) in [
            (&bytes, PurgeStatus::Stale(future)),
            (&marked, PurgeStatus::Valid),
            (&marked, PurgeStatus::Stale(future)),
        ] {
            let found = FoundValue::with_status(stored.clone(), bytes, status, Tier::Redis).unwrap();
            let StoredValue::Response(entry) = found.stored else { panic!("a response") };
            assert_eq!(entry.facts.age(time::now()).max(entry.facts.lifetime), entry.facts.age(time::now()));
        }
        let fresh = FoundValue::with_status(stored, &bytes, PurgeStatus::Valid, Tier::Redis).unwrap();
        let StoredValue::Response(entry) = fresh.stored else { panic!("a response") };
        assert_eq!(entry.facts.lifetime, Duration::from_secs(600));
    }
}
