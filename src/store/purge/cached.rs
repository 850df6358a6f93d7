//! A value of the purge state, as it was read from Redis.

use std::time::Instant;

use crate::entry::PurgeGeneration;
use crate::store::trust::EntryTrust;
use crate::time;

/// A value read from Redis, and its validity.
#[derive(Clone)]
pub(in crate::store) struct Cached<T> {
    /// The value; `None` if Redis has none.
    pub(in crate::store) value: Option<T>,
    pub(in crate::store) trust: Option<EntryTrust>,
    /// The time until which Redis is known to keep the value.
    pub(in crate::store) kept_until: Option<Instant>,
    /// The generation of the known log when the value was stored.
    pub(in crate::store) log: PurgeGeneration,
}

impl<T> Cached<T> {
    /// Returns whether the value was current until the connection of its read ended. Redis has
    /// pushed no change of it.
    pub(in crate::store) fn is_last_known(&self) -> bool {
        match self.trust {
            Some(EntryTrust::Always | EntryTrust::Tracked(_)) => true,
            Some(EntryTrust::Until(moment) | EntryTrust::InFlight(moment)) => time::instant() <= moment,
            Some(EntryTrust::Revalidating(..)) | None => false,
        }
    }
}
