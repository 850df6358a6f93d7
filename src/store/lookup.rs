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
