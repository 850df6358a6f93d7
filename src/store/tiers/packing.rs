//! The passage of an entry between memory and Redis: seals and compression.
//!
//! A node without keys that reads a sealed value shares Redis with nodes that have keys. For a
//! while (`sealed_seen.rs`) it writes none to Redis then, because those nodes refuse plain ones.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use tracing::warn;

use crate::entry::{
    CompressionPolicy, EntryError, EntryPacker, EntrySeal, NamespaceDigest, PackError, PackedForm,
    StoredValue, UnpackedEntry,
};
use crate::key::CacheKey;
use crate::limits::{PACKED_AT_ONCE_BYTES_MAX, entry_bytes_max};
use crate::sealing::{SealKeys, SealNonce};
use crate::store::handle::Store;
use crate::time;

impl Store {
    /// Unpacks and decodes a value of Redis.
    pub(in crate::store) fn unpack(
        &self,
        key: &CacheKey,
        stored: &Bytes,
    ) -> Result<(UnpackedEntry, StoredValue), EntryError> {
        let keys = self.shared.options.entry_keys.get();
        let seal = keys.as_deref().map(|keys| self.seal_of(keys));
        let content_max = entry_bytes_max(self.shared.options.body_bytes_max);
        let entry = self.packer.unpack(key, stored, seal, content_max).inspect_err(|error| {
            let is_sealed =
                *error == EntryError::Sealed && PackedForm::of(stored) == Some(PackedForm::Sealed);
            if is_sealed && self.shared.sealed_seen.note(time::now()) {
                warn!(
                    "other nodes seal their entries in Redis, and this node has no entry_key_file: \
                     it neither reads nor writes entries there"
                );
            }
        })?;
        let provenance = entry.provenance(time::now());
        let value = self.decoder.decode(key, entry.as_read(stored), provenance)?;
        Ok((entry, value))
    }

    /// Packs an entry for Redis; `None` if it must not be written there.
    pub(in crate::store) async fn packed(
        &self,
        key: &CacheKey,
        entry: &Bytes,
        value: &StoredValue,
    ) -> Option<Bytes> {
        let keys = self.shared.options.entry_keys.get();
        if keys.is_none() && self.shared.sealed_seen.is_recent(time::now()) {
            return None;
        }
        // A content coding has compressed the body.
        let compression = match value {
            StoredValue::Response(response) if response.head.contains_key(CONTENT_ENCODING) => {
                CompressionPolicy::Off
            }
            StoredValue::Response(_) | StoredValue::Variants(_) => self.shared.options.compression,
        };
        if keys.is_none() && compression == CompressionPolicy::Off {
            return Some(entry.clone());
        }
        let namespace = self.shared.namespace_digest;
        let packed = if entry.len() <= PACKED_AT_ONCE_BYTES_MAX {
            pack(&self.packer, key, entry, compression, keys, namespace)
        } else {
            let (key, entry) = (*key, entry.clone());
            let packing = move || pack(&EntryPacker::default(), &key, &entry, compression, keys, namespace);
            tokio::task::spawn_blocking(packing).await.ok()?
        };
        packed.inspect_err(|error| warn!(%error, "an entry was not written to Redis")).ok()
    }

    fn seal_of<'a>(&self, keys: &'a SealKeys) -> EntrySeal<'a> {
        EntrySeal { keys, namespace: self.shared.namespace_digest }
    }
}

fn pack(
    packer: &EntryPacker,
    key: &CacheKey,
    entry: &Bytes,
    compression: CompressionPolicy,
    keys: Option<Arc<SealKeys>>,
    namespace: NamespaceDigest,
) -> Result<Bytes, PackError> {
    let seal = match keys.as_deref() {
        Some(keys) => {
            Some((EntrySeal { keys, namespace }, SealNonce::draw().ok_or(PackError::NoRandomness)?))
        }
        None => None,
    };
    packer.pack(key, entry, compression, seal)
}
