//! The packed form of an entry: its bytes in Redis. The header of `header.rs` is in front of each
//! form, for purges change it in place, and the content is that of `codec.rs` from byte 60 on.
//!
//! ```text
//!  plain                   compressed                     sealed
//!   0  20  header           0  20  header                  0  20  header
//!  20   8  checksum        20   8  checksum               20  12  nonce
//!  28  32  digest of key   28  32  digest of key          32   4  number of the key that seals
//!  60      content         60   4  size of the content    36   4  size of the content, or 0 if it
//!                          64      content, as one zstd            is not compressed
//!                                  frame                  40      content, or one zstd frame of it
//!                                                          −  16  tag
//! ```
//!
//! A seal encrypts everything from byte 36 on. It covers the digest of the key, version and kind,
//! and the digest of the namespace, which a reader knows; so a value that was moved to another key
//! or namespace does not open. The key generation and the time of a soft purge are outside the
//! seal: a client that can write to Redis can undo a soft purge, as with an older copy of it.
//!
//! **Always:** unpacking allocates at most the stated size, which is at most that of the largest
//! entry, and a frame must have exactly this size.

use std::cell::RefCell;
use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zstd::bulk::{Compressor, Decompressor};

use super::codec::{CHECKED_FROM, CONTENT_FROM, Provenance, with_checksum};
use super::error::EntryError;
use super::header::{CHECKSUM_FROM, ENTRY_VERSION, KIND_AT, KIND_TOMBSTONE, MAGIC};
use crate::key::CacheKey;
use crate::limits::{COMPRESSED_BYTES_MAX, COMPRESSED_BYTES_MIN, COMPRESSION_LEVEL};
use crate::sealing::{
    KEY_NUMBER_BYTES, KeyNumber, NONCE_BYTES, SealError, SealKeys, SealNonce, TAG_BYTES, UnsealError,
};
use crate::time::Timestamp;

/// The bit of the kind of a compressed value.
const COMPRESSED: u8 = 0x40;
/// The bit of the kind of a sealed value.
const SEALED: u8 = 0x80;
/// Offset of the number of the key that seals.
const NUMBER_FROM: usize = CHECKSUM_FROM + NONCE_BYTES;
/// Offset of the encrypted part.
const SEALED_FROM: usize = NUMBER_FROM + KEY_NUMBER_BYTES;
/// Bytes of the size of a compressed content.
const SIZE_BYTES: usize = 4;
/// Bytes of a namespace's digest.
const NAMESPACE_BYTES: usize = 32;
/// Bytes that a seal covers besides the content.
const CONTEXT_BYTES: usize = 32 + 2 + NAMESPACE_BYTES;

/// The digest of the namespace of an origin, which a seal covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceDigest([u8; NAMESPACE_BYTES]);

impl NamespaceDigest {
    /// Returns the digest of a namespace.
    pub fn of(namespace: &str) -> Self {
        Self(*blake3::hash(namespace.as_bytes()).as_bytes())
    }

    /// Returns the bytes.
    pub const fn as_bytes(&self) -> &[u8; NAMESPACE_BYTES] {
        &self.0
    }
}

/// The keys with which a node seals and opens the entries of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct EntrySeal<'a> {
    /// The keys.
    pub keys: &'a SealKeys,
    /// The namespace.
    pub namespace: NamespaceDigest,
}

/// The choice whether an entry may be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionPolicy {
    /// The content stays as it is.
    Off,
    /// zstd compresses a content from 1 KiB on, if that saves a tenth.
    Zstd,
}

/// The reason why an entry cannot be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// The bytes are no entry.
    #[error("not an entry")]
    NotAnEntry,
    /// The operating system provides no randomness for a nonce.
    #[error("the operating system provides no randomness")]
    NoRandomness,
    /// The key seals no further value.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The form of a value in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedForm {
    /// Readable by every client of Redis, compressed or not.
    Plain,
    /// Sealed.
    Sealed,
}

impl PackedForm {
    /// Returns the form of a value of this version; `None` for any other value.
    pub fn of(stored: &[u8]) -> Option<Self> {
        let kind = stored.strip_prefix(&[MAGIC[0], MAGIC[1], ENTRY_VERSION])?.first()?;
        Some(if kind & SEALED == 0 { Self::Plain } else { Self::Sealed })
    }
}

/// The content of a packed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnpackedEntry {
    /// The stored bytes are the entry as memory holds it.
    AsStored,
    /// The entry as memory holds it, in an allocation of its own, without a checksum.
    Own(Bytes),
}

impl UnpackedEntry {
    /// Returns the entry that was read as `stored`.
    pub fn as_read<'a>(&'a self, stored: &'a Bytes) -> &'a Bytes {
        match self {
            Self::AsStored => stored,
            Self::Own(entry) => entry,
        }
    }

    /// Returns the entry that was read as `stored`, in an allocation of its own: the stored bytes
    /// are a slice that would keep a whole read buffer alive.
    pub fn to_keep(&self, stored: &Bytes) -> Bytes {
        match self {
            Self::AsStored => Bytes::copy_from_slice(stored),
            Self::Own(entry) => entry.clone(),
        }
    }

    /// Returns the provenance of the entry, for its decoding after a read at `now`.
    pub const fn provenance(&self, now: Timestamp) -> Provenance {
        match self {
            Self::AsStored => Provenance::Store(now),
            Self::Own(_) => Provenance::Packed(now),
        }
    }
}

/// A packer that reuses the working memory of zstd.
#[derive(Default)]
pub struct EntryPacker {
    compressor: RefCell<Option<Compressor<'static>>>,
    decompressor: RefCell<Option<Decompressor<'static>>>,
}

impl EntryPacker {
    /// Packs the entry of `key` for Redis. The nonce is for this entry alone.
    pub fn pack(
        &self,
        key: &CacheKey,
        entry: &Bytes,
        compression: CompressionPolicy,
        seal: Option<(EntrySeal<'_>, SealNonce)>,
    ) -> Result<Bytes, PackError> {
        let (Some(head), Some(content)) = (entry.get(..CHECKSUM_FROM), entry.get(CONTENT_FROM..)) else {
            return Err(PackError::NotAnEntry);
        };
        let frame = match compression {
            CompressionPolicy::Off => None,
            CompressionPolicy::Zstd => self.compressed(content),
        };
        // A frame has a content within the limit of a size.
        let size = if frame.is_some() { u32::try_from(content.len()).unwrap_or(0) } else { 0 };
        let packed = frame.as_deref().unwrap_or(content);
        let Some((seal, nonce)) = seal else {
            return match &frame {
                None => Ok(entry.clone()),
                Some(frame) => plain(key, head, size, frame).ok_or(PackError::NotAnEntry),
            };
        };
        let mut bytes = BytesMut::with_capacity(SEALED_FROM + SIZE_BYTES + packed.len() + TAG_BYTES);
        bytes.put_slice(head);
        bytes.put_slice(nonce.as_bytes());
        let sealing = seal.keys.sealing();
        bytes.put_slice(&sealing.number().0);
        bytes.put_u32(size);
        bytes.put_slice(packed);
        let kind = add_to_kind(&mut bytes, SEALED).ok_or(PackError::NotAnEntry)?;
        let sealed = bytes.get_mut(SEALED_FROM..).ok_or(PackError::NotAnEntry)?;
        let tag = sealing.seal(&nonce, &context(key, kind, seal.namespace), sealed)?;
        bytes.put_slice(&tag);
        Ok(bytes.freeze())
    }

    /// Unpacks the value stored for `key`; its content has at most `content_max` bytes.
    ///
    /// Without a seal, only plain values are accepted; with one, only sealed values.
    pub fn unpack(
        &self,
        key: &CacheKey,
        stored: &[u8],
        seal: Option<EntrySeal<'_>>,
        content_max: usize,
    ) -> Result<UnpackedEntry, EntryError> {
        let kind = match stored.first_chunk() {
            Some([one, two, version, kind]) if [*one, *two] == MAGIC && *version == ENTRY_VERSION => *kind,
            // The decoder refuses these bytes.
            Some(_) | None => return Ok(UnpackedEntry::AsStored),
        };
        match (kind & (SEALED | COMPRESSED), seal) {
            (0, None) => Ok(UnpackedEntry::AsStored),
            (0, Some(_)) if kind == KIND_TOMBSTONE => Ok(UnpackedEntry::AsStored),
            (COMPRESSED, None) => self.unpack_compressed(key, stored, content_max),
            (SEALED, Some(seal)) => self.unpack_sealed(key, stored, seal, content_max),
            (0 | COMPRESSED, Some(_)) => Err(EntryError::Plain),
            (_, None) => Err(EntryError::Sealed),
            (_, Some(_)) => Err(EntryError::Content),
        }
    }

    fn unpack_compressed(
        &self,
        key: &CacheKey,
        stored: &[u8],
        content_max: usize,
    ) -> Result<UnpackedEntry, EntryError> {
        let mut rest = stored.get(CHECKSUM_FROM..).ok_or(EntryError::Length)?;
        let checksum = rest.try_get_u64().map_err(|_| EntryError::Length)?;
        if !rest.starts_with(key.digest()) {
            return Err(EntryError::OtherKey);
        }
        if xxhash_rust::xxh3::xxh3_64(rest) != checksum {
            return Err(EntryError::Checksum);
        }
        rest.advance(CONTENT_FROM - CHECKED_FROM);
        let size = rest.try_get_u32().map_err(|_| EntryError::Length)?;
        self.decompressed(key, stored, rest, size, content_max)
    }

    fn unpack_sealed(
        &self,
        key: &CacheKey,
        stored: &[u8],
        seal: EntrySeal<'_>,
        content_max: usize,
    ) -> Result<UnpackedEntry, EntryError> {
        let parts = || {
            let (nonce, rest) = stored.get(CHECKSUM_FROM..)?.split_first_chunk()?;
            let (number, rest) = rest.split_first_chunk()?;
            let (sealed, tag) = rest.split_last_chunk()?;
            Some((nonce, KeyNumber(*number), sealed, tag))
        };
        let (nonce, number, sealed, tag) = parts().ok_or(EntryError::Length)?;
        let kind = *stored.get(KIND_AT).ok_or(EntryError::Length)?;
        let opening = seal.keys.find(number).map_err(EntryError::from)?;
        if sealed.len() < SIZE_BYTES || sealed.len() > content_max + SIZE_BYTES {
            return Err(EntryError::Length);
        }
        // The content comes to its place in the entry; the size in front of it is overwritten.
        let mut entry = Vec::with_capacity(CONTENT_FROM - SIZE_BYTES + sealed.len());
        entry.resize(CONTENT_FROM - SIZE_BYTES, 0);
        entry.extend_from_slice(sealed);
        let opened = entry.get_mut(CONTENT_FROM - SIZE_BYTES..).ok_or(EntryError::Length)?;
        opening.open(nonce, &context(key, kind, seal.namespace), opened, tag)?;
        let (size, content) = opened.split_first_chunk().ok_or(EntryError::Length)?;
        let size = u32::from_be_bytes(*size);
        if size != 0 {
            return self.decompressed(key, stored, content, size, content_max);
        }
        let mut front = entry.get_mut(..CONTENT_FROM).ok_or(EntryError::Length)?;
        put_front(key, stored, &mut front)?;
        Ok(UnpackedEntry::Own(entry.into()))
    }

    /// Returns a frame of the content; `None` if that does not save a tenth.
    fn compressed(&self, content: &[u8]) -> Option<Vec<u8>> {
        if content.len() < COMPRESSED_BYTES_MIN || content.len() > COMPRESSED_BYTES_MAX {
            return None;
        }
        let mut compressor = self.compressor.borrow_mut();
        let compressor = match &mut *compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(COMPRESSION_LEVEL).ok()?),
        };
        // A frame that does not fit does not save a tenth.
        let mut frame = Vec::with_capacity(content.len() - content.len() / 10);
        compressor.compress_to_buffer(content, &mut frame).ok()?;
        Some(frame)
    }

    /// Returns the entry whose content a frame has.
    fn decompressed(
        &self,
        key: &CacheKey,
        stored: &[u8],
        frame: &[u8],
        size: u32,
        content_max: usize,
    ) -> Result<UnpackedEntry, EntryError> {
        let size = usize::try_from(size).map_err(|_| EntryError::Length)?;
        if size > content_max {
            return Err(EntryError::Length);
        }
        let mut decompressor = self.decompressor.borrow_mut();
        let decompressor = match &mut *decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|_| EntryError::Compression)?),
        };
        let mut entry = Vec::with_capacity(CONTENT_FROM + size);
        put_front(key, stored, &mut entry)?;
        let mut entry = Cursor::new(entry);
        entry.set_position(CONTENT_FROM as u64);
        let written = decompressor.decompress_to_buffer(frame, &mut entry);
        if written.ok() != Some(size) {
            return Err(EntryError::Compression);
        }
        Ok(UnpackedEntry::Own(entry.into_inner().into()))
    }
}

/// Returns the compressed form.
fn plain(key: &CacheKey, head: &[u8], size: u32, frame: &[u8]) -> Option<Bytes> {
    let mut bytes = BytesMut::with_capacity(CONTENT_FROM + SIZE_BYTES + frame.len());
    bytes.put_slice(head);
    bytes.put_u64(0);
    bytes.put_slice(key.digest());
    bytes.put_u32(size);
    bytes.put_slice(frame);
    add_to_kind(&mut bytes, COMPRESSED)?;
    with_checksum(bytes)
}

/// Adds a bit to the kind, and returns the new kind.
fn add_to_kind(bytes: &mut BytesMut, bit: u8) -> Option<u8> {
    let kind = bytes.get_mut(KIND_AT)?;
    *kind |= bit;
    Some(*kind)
}

/// Writes the part of an entry in front of its content, with a checksum of zero.
fn put_front(key: &CacheKey, stored: &[u8], bytes: &mut impl BufMut) -> Result<(), EntryError> {
    let head = stored.get(..CHECKSUM_FROM).and_then(|head| head.split_at_checked(KIND_AT));
    let Some((magic, [kind, rest @ ..])) = head else { return Err(EntryError::Length) };
    bytes.put_slice(magic);
    bytes.put_u8(kind & !(SEALED | COMPRESSED));
    bytes.put_slice(rest);
    bytes.put_u64(0);
    bytes.put_slice(key.digest());
    Ok(())
}

/// Returns the bytes that a seal covers besides the content.
fn context(key: &CacheKey, kind: u8, namespace: NamespaceDigest) -> [u8; CONTEXT_BYTES] {
    let mut context = [0; CONTEXT_BYTES];
    let mut rest = &mut context[..];
    rest.put_slice(key.digest());
    rest.put_u8(ENTRY_VERSION);
    rest.put_u8(kind);
    rest.put_slice(&namespace.0);
    context
}

impl From<UnsealError> for EntryError {
    fn from(error: UnsealError) -> Self {
        match error {
            UnsealError::UnknownKey => Self::UnknownKey,
            UnsealError::Forged => Self::Forged,
        }
    }
}

#[cfg(test)]
mod tests;
