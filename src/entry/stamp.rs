//! What an entry says of its own history, for those who purge: none of it is about HTTP.
//!
//! ```text
//!  at  bytes
//!   0    2   "CW"
//!   2    1   version: 2
//!   3    1   kind: 1 response, 2 variants, 3 tombstone
//!   4    8   lineage: the nonce of the purge behind which it was stored; 0 before any
//!  12    8   outdated: when it was purged softly, ms since the epoch; 0 if it was not
//!  20    8   checksum
//! ```
//!
//! A purge of a key changes its lineage: a hard one leaves a *tombstone* with a new nonce, a soft
//! one writes a new nonce into the entry that stands there. A fetch stores only where the lineage
//! is the one that it saw before it began, so that nothing that was fetched before a purge is
//! stored after it. That is why these fields stand in front of the checksum: they change in place.
//! If they are damaged, a store is refused or an entry is stale, which costs a fetch and no more.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::time::Timestamp;

pub(super) const MAGIC: [u8; 2] = *b"CW";
/// Entries of any other layout are misses and leave by their expiry.
pub(super) const VERSION: u8 = 2;
pub(super) const KIND_RESPONSE: u8 = 1;
pub(super) const KIND_VARIANTS: u8 = 2;
pub(super) const KIND_TOMBSTONE: u8 = 3;

/// Magic, version, kind, lineage: what decides whether an entry may take another's place.
pub const LINEAGE_BYTES: usize = 4 + 8;
/// These, and when it was outdated: where the checksum stands.
pub(super) const CHECKSUM_FROM: usize = LINEAGE_BYTES + 8;
/// All of the above with the checksum: enough to tell an entry from any other.
pub const STAMP_BYTES: usize = CHECKSUM_FROM + 8;
/// A whole tombstone: the stamp, and when it was set.
const TOMBSTONE_BYTES: usize = STAMP_BYTES + 8;

/// Which purge of its key an entry was stored behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyGeneration(u64);

impl KeyGeneration {
    /// Behind none.
    pub const NONE: Self = Self(0);

    /// That of a new purge.
    pub fn new() -> Self {
        Self(fastrand::u64(1..))
    }

    /// As it stands in an entry.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// How many purges there had been: those that are not of one key, but of all entries with something
/// in common.
///
/// Counted in Redis for the whole fleet, from a random beginning: when the count is lost, another
/// epoch begins, and what was stored in the old one does not count any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PurgeGeneration {
    /// Never zero in a count that is known.
    pub epoch: u64,
    /// Purges since the epoch began.
    pub count: u64,
}

/// The digest of a name that an entry carries and that it may be purged by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TagDigest(pub u128);

impl fmt::Debug for TagDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What is written of an entry's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryVersion {
    /// What stood under its key before its fetch began.
    pub lineage: KeyGeneration,
    /// How many purges there had been before its fetch began.
    pub tick: PurgeGeneration,
    /// What it may be purged by.
    pub tags: Vec<TagDigest>,
}

/// What the first bytes of a stored value say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What it is.
    pub kind: ValueKind,
    /// The purge behind which it was stored; of a tombstone, its own.
    pub lineage: KeyGeneration,
    /// When it was purged softly.
    pub outdated: Option<Timestamp>,
}

/// What a stored value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// An entry.
    Entry,
    /// What a purge left, and when.
    Tombstone(Timestamp),
}

impl EntryHeader {
    /// Reads the beginning of a value; `None` if it is not one of ours, in this version.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < STAMP_BYTES || !bytes.starts_with(&[MAGIC[0], MAGIC[1], VERSION]) {
            return None;
        }
        bytes.advance(3);
        let kind = bytes.get_u8();
        let lineage = KeyGeneration(bytes.get_u64());
        let outdated = bytes.get_u64();
        bytes.advance(8);
        let kind = match kind {
            KIND_TOMBSTONE => ValueKind::Tombstone(Timestamp::from_millis(bytes.try_get_u64().ok()?)),
            _ => ValueKind::Entry,
        };
        Some(Self { kind, lineage, outdated: (outdated != 0).then(|| Timestamp::from_millis(outdated)) })
    }
}

/// What a hard purge writes in an entry's place.
pub fn tombstone(lineage: KeyGeneration, now: Timestamp) -> Bytes {
    let mut bytes = BytesMut::with_capacity(TOMBSTONE_BYTES);
    begin(KIND_TOMBSTONE, lineage, &mut bytes);
    bytes.put_u64(now.as_millis());
    bytes.freeze()
}

/// The same entry, purged softly: what a script does in Redis, for a process that has none.
pub fn outdated(bytes: &[u8], lineage: KeyGeneration, now: Timestamp) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    bytes.get_mut(LINEAGE_BYTES - 8..LINEAGE_BYTES)?.copy_from_slice(&lineage.to_bytes());
    bytes.get_mut(LINEAGE_BYTES..CHECKSUM_FROM)?.copy_from_slice(&now.as_millis().to_be_bytes());
    Some(bytes.into())
}

/// Writes all of a stamp, the checksum as zero.
pub(super) fn begin(kind: u8, lineage: KeyGeneration, bytes: &mut BytesMut) {
    bytes.put_slice(&MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.put_u64(lineage.0);
    bytes.put_u64(0);
    bytes.put_u64(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_says_what_it_is_and_when() {
        let (lineage, now) = (KeyGeneration::new(), Timestamp::from_millis(7));
        let bytes = tombstone(lineage, now);
        assert_eq!(bytes.len(), TOMBSTONE_BYTES);
        let standing = EntryHeader { kind: ValueKind::Tombstone(now), lineage, outdated: None };
        assert_eq!(EntryHeader::read(&bytes), Some(standing));
        assert_eq!(bytes[4..LINEAGE_BYTES], lineage.to_bytes());
        for cut in 0..bytes.len() {
            assert_eq!(EntryHeader::read(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn an_outdated_entry_says_so() {
        let mut bytes = BytesMut::new();
        begin(KIND_RESPONSE, KeyGeneration::NONE, &mut bytes);
        let (lineage, now) = (KeyGeneration::new(), Timestamp::from_millis(7));
        let outdated = outdated(&bytes, lineage, now).unwrap();
        assert_eq!(
            EntryHeader::read(&outdated),
            Some(EntryHeader { kind: ValueKind::Entry, lineage, outdated: Some(now) })
        );
        assert!(super::outdated(b"CW", lineage, now).is_none());
    }

    #[test]
    fn no_two_purges_have_one_lineage_and_none_has_that_of_none() {
        assert!((0..1_000).all(|_| KeyGeneration::new() != KeyGeneration::NONE));
        assert_ne!(KeyGeneration::new(), KeyGeneration::new());
    }
}
