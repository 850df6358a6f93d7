//! The header of a stored value: its kind, its key generation and a soft purge. Purges read and
//! write it; none of it concerns HTTP.
//!
//! ```text
//!  at  bytes
//!   0    2   "CW"
//!   2    1   version: 4
//!   3    1   kind: 1 response, 2 variants, 3 tombstone; 64 more if the value is compressed,
//!            and 128 more if it is sealed (`packed.rs`)
//!   4    8   key generation: nonce of the last purge of the key before the value was stored, or 0
//!  12    8   time of a soft purge, ms since the epoch, or 0
//!  20    8   checksum; of a sealed value, the beginning of its nonce
//! ```
//!
//! A purge of a key changes the key's generation: a hard purge writes a *tombstone* with a new
//! nonce, a soft purge writes a new nonce into the stored entry. A fetch stores its response only
//! if the key's generation is the one that it read before it began, so a response that was fetched
//! before a purge is never stored after it. These fields come before the checksum and outside it,
//! because they change in place. If they are damaged, a response is not stored or an entry is
//! stale: the price is one more fetch.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::time::Timestamp;

pub(super) const MAGIC: [u8; 2] = *b"CW";
/// The version of the layout. Entries of another version are misses and leave the store when they
/// expire.
pub const ENTRY_VERSION: u8 = 4;
pub(super) const KIND_RESPONSE: u8 = 1;
pub(super) const KIND_VARIANTS: u8 = 2;
pub(super) const KIND_TOMBSTONE: u8 = 3;

/// Offset of the kind.
pub(super) const KIND_AT: usize = 3;
/// Offset behind the key generation, which decides whether an entry may replace another.
pub const KEY_GENERATION_END: usize = 4 + 8;
/// Offset of the checksum, behind the time of a soft purge.
pub(super) const CHECKSUM_FROM: usize = KEY_GENERATION_END + 8;
/// Offset behind the checksum.
pub(super) const CHECKSUM_END: usize = CHECKSUM_FROM + 8;
/// Length of a tombstone: the header, and the time of the purge.
const TOMBSTONE_BYTES: usize = CHECKSUM_END + 8;
/// Bytes that tell a value in Redis from any other: the header and the checksum, or the header and
/// the whole nonce of a seal; and a whole tombstone.
pub const HEADER_BYTES: usize = TOMBSTONE_BYTES;

/// The generation of a key: it changes with every purge of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyGeneration(u64);

impl KeyGeneration {
    /// The generation of a key that was never purged.
    pub const NONE: Self = Self(0);

    /// Draws the generation for a new purge.
    pub fn new() -> Self {
        Self(fastrand::u64(1..))
    }

    /// Returns the generation as an entry encodes it.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// A count of the purges that concern more than one key.
///
/// Redis counts these purges for the whole fleet. A random number names each epoch of the count. If
/// Redis loses the count, another epoch begins, and no lookup uses an entry of an earlier epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PurgeGeneration {
    /// The epoch; never zero in a known generation.
    pub epoch: u64,
    /// Number of purges since the epoch began.
    pub count: u64,
}

/// The digest of a name by which an entry can be purged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagDigest(pub u128);

impl fmt::Debug for TagDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The version that an entry is stored with: key generation, purge generation, tags and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryVersion {
    /// The key's generation before the fetch began.
    pub key_generation: KeyGeneration,
    /// The purge generation before the fetch began.
    pub generation: PurgeGeneration,
    /// The tags by which the entry can be purged.
    pub tags: Vec<TagDigest>,
    /// The time after which no node uses the entry, even if a store still has it.
    pub not_after: Timestamp,
}

impl Default for EntryVersion {
    /// Returns the version of an entry that was never purged, without tags and without an end.
    fn default() -> Self {
        Self {
            key_generation: KeyGeneration::NONE,
            generation: PurgeGeneration::default(),
            tags: Vec::new(),
            not_after: Timestamp::from_millis(u64::MAX),
        }
    }
}

/// The decoded header of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// The kind of the value.
    pub kind: ValueKind,
    /// The key generation of an entry, or of the purge that wrote a tombstone.
    pub key_generation: KeyGeneration,
    /// The time of a soft purge.
    pub stale_since: Option<Timestamp>,
}

/// The kind of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// An entry.
    Entry,
    /// A tombstone, with the time of the purge.
    Tombstone(Timestamp),
}

impl EntryHeader {
    /// Reads the header of a value; `None` if the value has another format or version.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < CHECKSUM_END || !bytes.starts_with(&[MAGIC[0], MAGIC[1], ENTRY_VERSION]) {
            return None;
        }
        bytes.advance(3);
        let kind = bytes.get_u8();
        let key_generation = KeyGeneration(bytes.get_u64());
        let stale_since = bytes.get_u64();
        bytes.advance(8);
        let kind = match kind {
            KIND_TOMBSTONE => ValueKind::Tombstone(Timestamp::from_millis(bytes.try_get_u64().ok()?)),
            _ => ValueKind::Entry,
        };
        Some(Self {
            kind,
            key_generation,
            stale_since: (stale_since != 0).then(|| Timestamp::from_millis(stale_since)),
        })
    }
}

/// Encodes the tombstone that a hard purge writes over an entry.
pub fn tombstone(key_generation: KeyGeneration, now: Timestamp) -> Bytes {
    let mut bytes = BytesMut::with_capacity(TOMBSTONE_BYTES);
    begin(KIND_TOMBSTONE, key_generation, &mut bytes);
    bytes.put_u64(now.as_millis());
    bytes.freeze()
}

/// Returns the entry with a soft purge at `now`. A script does this in Redis; this function does it
/// for a process without Redis.
pub fn mark_stale(bytes: &[u8], key_generation: KeyGeneration, now: Timestamp) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(KEY_GENERATION_END - 8..KEY_GENERATION_END)?.copy_from_slice(&key_generation.to_bytes());
    bytes.get_mut(KEY_GENERATION_END..CHECKSUM_FROM)?.copy_from_slice(&now.as_millis().to_be_bytes());
    Some(bytes.into())
}

/// Writes a whole header, with a checksum of zero.
pub(super) fn begin(kind: u8, key_generation: KeyGeneration, bytes: &mut BytesMut) {
    bytes.put_slice(&MAGIC);
    bytes.put_u8(ENTRY_VERSION);
    bytes.put_u8(kind);
    bytes.put_u64(key_generation.0);
    bytes.put_u64(0);
    bytes.put_u64(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_reads_back_with_its_time() {
        let (key_generation, now) = (KeyGeneration::new(), Timestamp::from_millis(7));
        let bytes = tombstone(key_generation, now);
        assert_eq!(bytes.len(), TOMBSTONE_BYTES);
        let header = EntryHeader { kind: ValueKind::Tombstone(now), key_generation, stale_since: None };
        assert_eq!(EntryHeader::read(&bytes), Some(header));
        assert_eq!(bytes[4..KEY_GENERATION_END], key_generation.to_bytes());
        for cut in 0..bytes.len() {
            assert_eq!(EntryHeader::read(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn a_soft_purge_shows_in_the_header() {
        let mut bytes = BytesMut::new();
        begin(KIND_RESPONSE, KeyGeneration::NONE, &mut bytes);
        let (key_generation, now) = (KeyGeneration::new(), Timestamp::from_millis(7));
        let marked = mark_stale(&bytes, key_generation, now).unwrap();
        assert_eq!(
            EntryHeader::read(&marked),
            Some(EntryHeader { kind: ValueKind::Entry, key_generation, stale_since: Some(now) })
        );
        assert!(mark_stale(b"CW", key_generation, now).is_none());
    }

    #[test]
    fn each_purge_draws_a_new_generation_that_is_not_none() {
        assert!((0..1_000).all(|_| KeyGeneration::new() != KeyGeneration::NONE));
        assert_ne!(KeyGeneration::new(), KeyGeneration::new());
    }
}
