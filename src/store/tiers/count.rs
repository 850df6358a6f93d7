//! The count of stored resources, for the answer to a purge.

use crate::entry::{EntryHeader, HEADER_BYTES, ValueKind};
use crate::key::CacheKey;
use crate::limits::PURGE_SCOPES_MAX;
use crate::redis::{Command, Reply};
use crate::store::handle::Store;
use crate::store::together::together;

impl Store {
    /// Counts the keys for which Redis or the memory of this process has an entry, or a list of
    /// variants. `None` if Redis does not answer, or for more keys than a purge names.
    ///
    /// Cancel safe.
    pub async fn count_stored(&self, keys: &[CacheKey]) -> Option<u64> {
        if keys.len() > PURGE_SCOPES_MAX {
            return None;
        }
        let stored = together(keys.iter().map(|key| self.is_stored(key))).await;
        stored.into_iter().try_fold(0, |count, stored| Some(count + u64::from(stored?)))
    }

    async fn is_stored(&self, key: &CacheKey) -> Option<bool> {
        let is_entry =
            |bytes: &[u8]| EntryHeader::read(bytes).is_some_and(|header| header.kind == ValueKind::Entry);
        let memory = self.shared.memory.as_ref().and_then(|memory| memory.get(key.short()));
        if memory.is_some_and(|held| is_entry(&held.bytes)) {
            return Some(true);
        }
        let Some(redis) = &self.redis else { return Some(false) };
        let name = self.name(key);
        let read_header =
            Command::Head { key: &name, bytes: u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX) };
        match redis.command(&read_header).await {
            Ok(Reply::Bulk(bytes)) => Some(is_entry(&bytes)),
            Ok(_) => Some(false),
            Err(_) => None,
        }
    }
}
