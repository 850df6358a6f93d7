//! The keys of an in-process Redis: strings with an expiry, by a clock that the caller gives.

use std::collections::BTreeMap;

/// A database.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerKeys {
    items: BTreeMap<Vec<u8>, StoredString>,
    /// The keys that were changed, removed or found expired since the last call of
    /// [`ServerKeys::take_changed`].
    changed: Vec<Vec<u8>>,
    /// Whether commands that need memory are refused.
    pub(super) is_full: bool,
}

/// A string, and the time in milliseconds at which it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredString {
    value: Vec<u8>,
    expires: Option<u64>,
}

/// The error of a command that needs memory which the server lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfMemory;

impl ServerKeys {
    pub(super) fn get(&mut self, key: &[u8], now: u64) -> Option<Vec<u8>> {
        self.expire(key, now);
        self.items.get(key).map(|item| item.value.clone())
    }

    /// `SET key value [PX milliseconds]`
    pub(super) fn set(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        keep: Option<u64>,
        now: u64,
    ) -> Result<(), OutOfMemory> {
        self.expire(key, now);
        if self.is_full {
            return Err(OutOfMemory);
        }
        self.items.insert(key.to_vec(), StoredString { value, expires: keep.map(|keep| now + keep) });
        self.changed.push(key.to_vec());
        Ok(())
    }

    /// `SETRANGE key offset bytes`, within the value.
    pub(super) fn overwrite(&mut self, key: &[u8], offset: usize, bytes: &[u8]) -> Result<(), OutOfMemory> {
        if self.is_full {
            return Err(OutOfMemory);
        }
        if let Some(item) = self.items.get_mut(key) {
            item.value.resize(item.value.len().max(offset + bytes.len()), 0);
            item.value[offset..offset + bytes.len()].copy_from_slice(bytes);
            self.changed.push(key.to_vec());
        }
        Ok(())
    }

    /// `PTTL key`: -2 without the key, -1 without an expiry.
    pub(super) fn time_to_live(&mut self, key: &[u8], now: u64) -> i64 {
        self.expire(key, now);
        let item = self.items.get(key);
        item.map_or(-2, |item| item.expires.map_or(-1, |expires| i64::try_from(expires - now).unwrap()))
    }

    /// `PEXPIRE key milliseconds`
    pub(super) fn keep_for(&mut self, key: &[u8], keep: u64, now: u64) {
        self.expire(key, now);
        if let Some(item) = self.items.get_mut(key) {
            item.expires = Some(now + keep);
            self.changed.push(key.to_vec());
        }
    }

    /// Lets a key expire after this time, unless it expires before.
    pub(super) fn shorten(&mut self, key: &[u8], keep: u64, now: u64) {
        if let Some(item) = self.items.get_mut(key) {
            item.expires = Some(item.expires.map_or(now + keep, |expires| expires.min(now + keep)));
        }
    }

    /// `DEL key`; returns whether there was one.
    pub(super) fn remove(&mut self, key: &[u8], now: u64) -> bool {
        self.expire(key, now);
        let removed = self.items.remove(key).is_some();
        if removed {
            self.changed.push(key.to_vec());
        }
        removed
    }

    /// Removes everything that has expired, as the server does in the background.
    pub(super) fn expire_all(&mut self, now: u64) {
        let is_over = |item: &StoredString| item.expires.is_some_and(|expires| expires <= now);
        let keys: Vec<_> =
            self.items.iter().filter(|(_, item)| is_over(item)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.expire(key, now));
    }

    fn expire(&mut self, key: &[u8], now: u64) {
        let is_over = |item: &StoredString| item.expires.is_some_and(|expires| expires <= now);
        if self.items.get(key).is_some_and(is_over) {
            self.items.remove(key);
            self.changed.push(key.to_vec());
        }
    }

    /// Returns a key's value with its expiry.
    pub(super) fn stored(&self, key: &[u8]) -> Option<StoredString> {
        self.items.get(key).cloned()
    }

    /// Makes a key as it is on another server.
    pub(super) fn restore(&mut self, key: &[u8], item: Option<StoredString>) {
        match item {
            Some(item) => drop(self.items.insert(key.to_vec(), item)),
            None => drop(self.items.remove(key)),
        }
    }

    /// Returns the keys.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.items.keys().cloned().collect()
    }

    /// Returns the keys that have changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.changed)
    }
}
