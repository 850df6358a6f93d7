//! The encoding of an entry, as memory holds it. All numbers are big-endian. `packed.rs` has the
//! forms of the same entry in Redis.
//!
//! ```text
//!  at  bytes
//!   0   20   magic, version, kind, key generation, time of a soft purge: `header.rs`
//!  20    8   checksum: XXH3-64 of everything from byte 28 to the end
//!  28   32   digest of the key
//!  60    8   time after which no node uses the value, ms since the epoch
//!  68        a response                                   a list of variants
//!            68  8  response time, ms since the epoch      68  8  nonce
//!            76  8  age on arrival, ms                     76  8  expires, ms since the epoch
//!            84  8  freshness lifetime, ms                 84     names of selecting fields, each
//!            92  8  stale-while-revalidate, ms                    behind its length (2 bytes)
//!           100  8  stale-if-error, ms
//!           108  8  purge generation: epoch
//!           116  8  purge generation: count, read before the fetch
//!           124  8  digest of the route's rules, 0 without a route
//!           132  2  obligations, one bit each
//!           134  2  status
//!           136  4  length of the header block
//!           140  4  length of the body
//!           144  2  number of tags
//!           146     tags, 16 bytes each; header block (`fields.rs`), then body
//! ```
//!
//! A new layout has a new version number. Entries of another version are misses and leave the store
//! when they expire.

use std::cell::Cell;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::HeaderName;
use http::{HeaderMap, StatusCode};
use xxhash_rust::xxh3::xxh3_64;

use super::error::{EncodeError, EntryError};
use super::fields::FieldAdmission;
use super::header::{
    self, CHECKSUM_END, CHECKSUM_FROM, ENTRY_VERSION, KIND_AT, KIND_RESPONSE, KIND_VARIANTS, MAGIC,
};
use super::value::{Entry, StoredValue, Variants};
use super::{fields, written};
use crate::entry::header::{EntryVersion, PurgeGeneration, TagDigest};
use crate::key::{CacheKey, DIGEST_BYTES};
use crate::limits::{BODY_BYTES_MAX, ENTRY_FIXED_BYTES_MAX, ENTRY_HEAD_BYTES_MAX, TAGS_MAX};
use crate::policy::{Obligations, RulesDigest, StoredFacts, Vary};
use crate::time::{Timestamp, millis};

/// Magic, version, kind.
const PREFIX_BYTES: usize = KIND_AT + 1;
/// Offset of the checksummed part.
pub(super) const CHECKED_FROM: usize = CHECKSUM_END;
/// Offset of the content: the part that a packed entry may compress and seal.
pub(super) const CONTENT_FROM: usize = CHECKED_FROM + DIGEST_BYTES;
/// Offset of the part whose layout depends on the kind.
const KIND_FROM: usize = CONTENT_FROM + 8;
/// Bytes of the digest of a route's rules.
const RULES_BYTES: usize = 8;
/// Length of the fixed part of a response.
const RESPONSE_FIXED_BYTES: usize = 7 * 8 + RULES_BYTES + 2 * 2 + 2 * 4 + 2;
/// Offset of the purge generation.
const PURGE_GENERATION_FROM: usize = KIND_FROM + 5 * 8;
/// Offset of the number of tags; the tags follow it.
const TAGS_FROM: usize = KIND_FROM + RESPONSE_FIXED_BYTES - 2;
/// Bytes of a tag's digest.
const TAG_BYTES: usize = 16;
/// Length of the fixed part of a list of variants.
const VARIANTS_FIXED_BYTES: usize = 2 * 8;

const _: () = assert!(KIND_FROM + RESPONSE_FIXED_BYTES + TAGS_MAX * TAG_BYTES <= ENTRY_FIXED_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(ENTRY_HEAD_BYTES_MAX <= u32::MAX as usize);

/// The provenance of stored bytes, which decides whether [`decode`] checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Bytes from a store, read at this time: everything is checked.
    Store(Timestamp),
    /// Bytes that a packed entry contained, read at this time: everything but the checksum is
    /// checked, for the packed entry had its own.
    Packed(Timestamp),
    /// Bytes from this process: already checked, or made by [`encode`].
    Process,
}

impl Provenance {
    /// Returns the time of the read, if the bytes come from a store.
    const fn read_at(self) -> Option<Timestamp> {
        match self {
            Self::Store(now) | Self::Packed(now) => Some(now),
            Self::Process => None,
        }
    }
}

impl From<EntryError> for EncodeError {
    fn from(damage: EntryError) -> Self {
        Self::Refused(damage)
    }
}

/// Encodes `stored` for `key`.
pub fn encode(key: &CacheKey, stored: &StoredValue, version: &EntryVersion) -> Result<Bytes, EncodeError> {
    let bytes = match stored {
        StoredValue::Response(entry) => {
            written::response(entry)?;
            for (name, value) in &entry.head {
                written::field(name.as_str(), value, entry.facts.obligations)?;
            }
            encode_response(key, entry, version)
        }
        StoredValue::Variants(variants) => encode_variants(key, variants, version),
    };
    bytes.and_then(with_checksum).ok_or(EncodeError::TooLarge)
}

/// Writes the checksum into bytes of this layout; `None` if they are too short for it.
pub fn with_checksum(mut bytes: BytesMut) -> Option<Bytes> {
    let checksum = xxh3_64(bytes.get(CHECKED_FROM..)?);
    bytes.get_mut(CHECKSUM_FROM..CHECKED_FROM)?.copy_from_slice(&checksum.to_be_bytes());
    Some(bytes.freeze())
}

/// Encodes a response in one allocation of exactly the entry's size: the memory tier keeps this
/// allocation.
fn encode_response(key: &CacheKey, entry: &Entry, version: &EntryVersion) -> Option<BytesMut> {
    let Entry { facts, status, head, body } = entry;
    let block_bytes = fields::encoded_len(head)?;
    if block_bytes > ENTRY_HEAD_BYTES_MAX || body.len() > BODY_BYTES_MAX || version.tags.len() > TAGS_MAX {
        return None;
    }
    let tags_bytes = version.tags.len() * TAG_BYTES;
    let more_bytes = RESPONSE_FIXED_BYTES + tags_bytes + block_bytes + body.len();
    let mut bytes = begin_value(key, KIND_RESPONSE, version, more_bytes);
    bytes.put_u64(facts.received.as_millis());
    for duration in [facts.initial_age, facts.lifetime, facts.stale_while_revalidate, facts.stale_if_error] {
        bytes.put_u64(millis(duration));
    }
    bytes.put_u64(version.generation.epoch);
    bytes.put_u64(version.generation.count);
    bytes.put_slice(&facts.rules.0);
    bytes.put_u16(facts.obligations.bits());
    bytes.put_u16(status.as_u16());
    bytes.put_u32(u32::try_from(block_bytes).ok()?);
    bytes.put_u32(u32::try_from(body.len()).ok()?);
    bytes.put_u16(u16::try_from(version.tags.len()).ok()?);
    version.tags.iter().for_each(|tag| bytes.put_u128(tag.0));
    fields::encode(head, &mut bytes);
    bytes.put_slice(body);
    Some(bytes)
}

fn encode_variants(key: &CacheKey, variants: &Variants, version: &EntryVersion) -> Option<BytesMut> {
    let names = variants.fields.names();
    let names_bytes: usize = names.iter().map(|name| 2 + name.as_str().len()).sum();
    let mut bytes = begin_value(key, KIND_VARIANTS, version, VARIANTS_FIXED_BYTES + names_bytes);
    bytes.put_u64(variants.nonce);
    bytes.put_u64(variants.expires.as_millis());
    for name in names {
        bytes.put_u16(u16::try_from(name.as_str().len()).ok()?);
        bytes.put_slice(name.as_str().as_bytes());
    }
    Some(bytes)
}

fn begin_value(key: &CacheKey, kind: u8, version: &EntryVersion, more_bytes: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(KIND_FROM + more_bytes);
    header::begin(kind, version.key_generation, &mut bytes);
    bytes.put_slice(key.digest());
    bytes.put_u64(version.not_after.as_millis());
    bytes
}

/// Decodes the value stored for `key`. The body is a slice of `bytes`, not a copy.
pub fn decode(key: &CacheKey, bytes: &Bytes, provenance: Provenance) -> Result<StoredValue, EntryError> {
    EntryDecoder::default().decode(key, bytes, provenance)
}

/// Reads the purge generation at which an entry was stored, and its tags; `None` for a list of
/// variants. The entry must have passed [`decode`].
pub fn history(bytes: &[u8]) -> Option<(PurgeGeneration, impl Iterator<Item = TagDigest> + Clone + '_)> {
    if bytes.get(KIND_AT) != Some(&KIND_RESPONSE) {
        return None;
    }
    let mut rest = bytes.get(PURGE_GENERATION_FROM..)?;
    let generation = PurgeGeneration { epoch: rest.try_get_u64().ok()?, count: rest.try_get_u64().ok()? };
    let mut tags = bytes.get(TAGS_FROM..)?;
    let count = usize::from(tags.try_get_u16().ok()?);
    let tags = tags.get(..count * TAG_BYTES)?.chunks_exact(TAG_BYTES);
    Some((
        generation,
        tags.filter_map(|tag| tag.first_chunk().map(|tag| TagDigest(u128::from_be_bytes(*tag)))),
    ))
}

/// Reads the time at which the entry's response was received; `None` for a list of variants.
pub fn received(bytes: &[u8]) -> Option<Timestamp> {
    if bytes.get(KIND_AT) != Some(&KIND_RESPONSE) {
        return None;
    }
    Some(Timestamp::from_millis(bytes.get(KIND_FROM..)?.try_get_u64().ok()?))
}

/// Reads the [short name](CacheKey::short) of the key that an entry was stored under.
pub fn key_name(bytes: &[u8]) -> Option<u128> {
    bytes.get(CHECKED_FROM..)?.try_get_u128().ok()
}

/// A decoder that reuses the header maps of finished responses.
///
/// A header map is by far the largest allocation of a hit, and the request that the hit answers
/// brings a map of its own.
#[derive(Default)]
pub struct EntryDecoder {
    /// An empty map, possibly with allocated capacity.
    spare: Cell<HeaderMap>,
}

impl EntryDecoder {
    /// Decodes a value; see [`decode`].
    pub fn decode(
        &self,
        key: &CacheKey,
        bytes: &Bytes,
        provenance: Provenance,
    ) -> Result<StoredValue, EntryError> {
        let (kind, rest) = open(key, bytes, provenance)?;
        match kind {
            KIND_RESPONSE => decode_response(rest, self.spare.take(), provenance).map(StoredValue::Response),
            KIND_VARIANTS => decode_variants(rest, provenance).map(StoredValue::Variants),
            _ => Err(EntryError::Content),
        }
    }

    /// Takes a head that is no longer used; the next decoded head reuses its memory.
    pub fn recycle(&self, mut head: HeaderMap) {
        head.clear();
        self.spare.set(head);
    }
}

/// Checks that the bytes are an intact entry for `key`. Returns the kind, and the part that depends
/// on it.
fn open(key: &CacheKey, bytes: &Bytes, provenance: Provenance) -> Result<(u8, Bytes), EntryError> {
    let mut rest = bytes.clone();
    if rest.len() < KIND_FROM {
        return Err(EntryError::Length);
    }
    let (high, low) = (rest.get_u8(), rest.get_u8());
    if [high, low] != MAGIC {
        return Err(EntryError::Foreign);
    }
    if rest.get_u8() != ENTRY_VERSION {
        return Err(EntryError::Version);
    }
    let kind = rest.get_u8();
    rest.advance(CHECKSUM_FROM - PREFIX_BYTES);
    let written = rest.get_u64();
    // The key is compared before the checksum, so that another key's intact entry gets an error of
    // its own.
    if !rest.starts_with(key.digest()) {
        return Err(EntryError::OtherKey);
    }
    if matches!(provenance, Provenance::Store(_)) && xxh3_64(&rest) != written {
        return Err(EntryError::Checksum);
    }
    rest.advance(DIGEST_BYTES);
    let not_after = Timestamp::from_millis(rest.get_u64());
    match provenance.read_at() {
        Some(now) if now > not_after => Err(EntryError::Expired),
        Some(_) | None => Ok((kind, rest)),
    }
}

fn decode_response(mut rest: Bytes, spare: HeaderMap, provenance: Provenance) -> Result<Entry, EntryError> {
    if rest.len() < RESPONSE_FIXED_BYTES {
        return Err(EntryError::Length);
    }
    let received = Timestamp::from_millis(rest.get_u64());
    let [initial_age, lifetime, stale_while_revalidate, stale_if_error] =
        std::array::from_fn(|_| Duration::from_millis(rest.get_u64()));
    rest.advance(2 * 8);
    let rules = RulesDigest(rest.get_u64().to_be_bytes());
    let obligations = Obligations::from_bits(rest.get_u16());
    let status = StatusCode::from_u16(rest.get_u16()).map_err(|_| EntryError::Content)?;
    let block_bytes = usize::try_from(rest.get_u32()).map_err(|_| EntryError::Length)?;
    let body_bytes = usize::try_from(rest.get_u32()).map_err(|_| EntryError::Length)?;
    let tags = usize::from(rest.get_u16());
    let tags_bytes = tags * TAG_BYTES;
    if tags > TAGS_MAX || tags_bytes > rest.len() {
        return Err(EntryError::Length);
    }
    rest.advance(tags_bytes);
    if block_bytes > ENTRY_HEAD_BYTES_MAX || block_bytes.checked_add(body_bytes) != Some(rest.len()) {
        return Err(EntryError::Length);
    }
    let admission =
        provenance.read_at().map_or(FieldAdmission::Known, |_| FieldAdmission::Checked(obligations));
    let head = fields::decode(rest.split_to(block_bytes), spare, admission)?;
    let facts = StoredFacts {
        received,
        initial_age,
        lifetime,
        stale_while_revalidate,
        stale_if_error,
        obligations,
        rules,
    };
    let entry = Entry { facts, status, head, body: rest };
    if let Some(now) = provenance.read_at() {
        written::response(&entry)?;
        written::received(&entry.facts, now)?;
    }
    Ok(entry)
}

fn decode_variants(mut rest: Bytes, provenance: Provenance) -> Result<Variants, EntryError> {
    if rest.len() < VARIANTS_FIXED_BYTES {
        return Err(EntryError::Length);
    }
    let nonce = rest.get_u64();
    let expires = Timestamp::from_millis(rest.get_u64());
    let mut names = Vec::new();
    while rest.has_remaining() {
        let length = rest.try_get_u16().map_err(|_| EntryError::Length)?;
        let name = rest.get(..usize::from(length)).ok_or(EntryError::Length)?;
        names.push(HeaderName::from_lowercase(name).map_err(|_| EntryError::Content)?);
        rest.advance(usize::from(length));
    }
    let Vary::Fields(fields) = Vary::from(names.clone()) else { return Err(EntryError::Vary) };
    // [`encode`] writes the names in order and without duplicates.
    if fields.names() != names {
        return Err(EntryError::Content);
    }
    let variants = Variants { nonce, expires, fields };
    if let Some(now) = provenance.read_at() {
        written::expires(&variants, now)?;
    }
    Ok(variants)
}

#[cfg(test)]
mod tests;
