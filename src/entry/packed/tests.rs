use std::env;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::entry::{
    Entry, EntryHeader, EntryVersion, KeyGeneration, StoredValue, Variants, decode, encode, mark_stale,
    tombstone,
};
use crate::key::{Scheme, Target};
use crate::limits::entry_bytes_max;
use crate::policy::Vary;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const CONTENT_MAX: usize = entry_bytes_max(1 << 20);
/// The lines of a key file.
const FILE: &str =
    "new:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nold:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn key(path: &str) -> CacheKey {
    let uri = path.parse().unwrap();
    CacheKey::of(&Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).unwrap())
}

fn keys(lines: &[usize]) -> SealKeys {
    let file: Vec<&str> = lines.iter().map(|line| FILE.lines().nth(*line).unwrap()).collect();
    SealKeys::parse(file.join("\n").as_bytes()).unwrap()
}

fn seal(keys: &SealKeys) -> EntrySeal<'_> {
    EntrySeal { keys, namespace: NamespaceDigest::of("cachewarp:t:") }
}

fn response(body: &Bytes) -> StoredValue {
    let mut entry = Entry::fresh_for(Duration::from_secs(30), NOW, body.clone());
    entry.head.append("content-type", HeaderValue::from_static("application/json"));
    StoredValue::Response(entry)
}

fn list() -> StoredValue {
    let mut head = HeaderMap::new();
    head.insert("vary", HeaderValue::from_static("accept, x-tenant"));
    let Vary::Fields(fields) = Vary::of(&head) else { panic!("it varies") };
    StoredValue::Variants(Variants { nonce: 7, expires: NOW, fields })
}

fn version() -> EntryVersion {
    EntryVersion { key_generation: KeyGeneration::new(), not_after: NOW, ..EntryVersion::default() }
}

/// Returns a JSON text that compresses well.
fn rows(bytes: usize) -> Bytes {
    let row = r#"{"symbol":"EURUSD","bid":1.08312,"ask":1.08315},"#;
    format!("[{}0]", row.repeat(bytes.div_ceil(row.len()))).into()
}

fn packed(entry: &Bytes, compression: CompressionPolicy, keys: Option<&SealKeys>) -> Bytes {
    let seal = keys.map(|keys| (seal(keys), SealNonce::draw().unwrap()));
    EntryPacker::default().pack(&key("/a"), entry, compression, seal).unwrap()
}

/// Unpacks and decodes as a store does.
fn read(stored: &Bytes, keys: Option<&SealKeys>) -> Result<StoredValue, EntryError> {
    read_as(&key("/a"), stored, keys.map(seal), NOW)
}

fn read_as(
    key: &CacheKey,
    stored: &Bytes,
    seal: Option<EntrySeal<'_>>,
    now: Timestamp,
) -> Result<StoredValue, EntryError> {
    let entry = EntryPacker::default().unpack(key, stored, seal, CONTENT_MAX)?;
    decode(key, entry.as_read(stored), entry.provenance(now))
}

#[test]
fn every_form_is_the_value_that_was_packed() {
    let keys = keys(&[0]);
    for (value, compressible) in
        [(response(&rows(9)), false), (response(&rows(5_000)), true), (list(), false)]
    {
        let version = version();
        let entry = encode(&key("/a"), &value, &version).unwrap();
        for compression in [CompressionPolicy::Off, CompressionPolicy::Zstd] {
            for keys in [None, Some(&keys)] {
                let stored = packed(&entry, compression, keys);
                assert_eq!(read(&stored, keys).unwrap(), value);
                let form = if keys.is_some() { PackedForm::Sealed } else { PackedForm::Plain };
                assert_eq!(PackedForm::of(&stored), Some(form));
                let is_compressed = compressible && compression == CompressionPolicy::Zstd;
                assert_eq!(
                    stored.len() < entry.len() / 2,
                    is_compressed,
                    "{} of {}",
                    stored.len(),
                    entry.len()
                );
                assert!(stored.len() <= entry.len(), "no form is larger than the entry");
                assert!(keys.is_some() || is_compressed || stored == entry);
                let header = EntryHeader::read(&stored).unwrap();
                assert_eq!(header.key_generation, version.key_generation);
                // Memory holds the entry that was packed, in an exact allocation.
                let unpacked =
                    EntryPacker::default().unpack(&key("/a"), &stored, keys.map(seal), CONTENT_MAX);
                let kept = unpacked.unwrap().to_keep(&stored);
                assert_eq!(
                    (&kept[..CHECKSUM_FROM], &kept[CHECKED_FROM..]),
                    (&entry[..CHECKSUM_FROM], &entry[CHECKED_FROM..])
                );
                assert_eq!(kept.try_into_mut().map(|kept| kept.capacity() - kept.len()).unwrap_or(0), 0);
            }
        }
    }
}

#[test]
fn a_frame_that_does_not_save_a_tenth_is_not_used() {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Bytes = (0..20_000).map(|_| random.u8(b'!'..b'~')).collect::<Vec<_>>().into();
    // The base-2 entropy of the noise is 6.5 bits: a frame saves more than a tenth, and less if a
    // third of the bytes is full.
    let full: Bytes = (0..20_000).map(|_| random.u8(..)).collect::<Vec<_>>().into();
    for (body, saves) in [(noise, true), (full, false)] {
        let entry = encode(&key("/a"), &response(&body), &version()).unwrap();
        assert_eq!(packed(&entry, CompressionPolicy::Zstd, None) != entry, saves);
    }
}

#[test]
fn a_seal_hides_the_entry() {
    let keys = keys(&[0]);
    let entry = encode(&key("/a"), &response(&Bytes::from_static(b"{\"balance\":12}")), &version()).unwrap();
    let stored = packed(&entry, CompressionPolicy::Off, Some(&keys));
    let shows = |part: &[u8]| stored.windows(part.len()).any(|window| window == part);
    assert!(!shows(b"balance") && !shows(b"json") && !shows(&key("/a").digest()[..4]));
    assert!(!shows(&NOW.as_millis().to_be_bytes()));
    // Equal entries differ in every sealed byte but by chance.
    let again = packed(&entry, CompressionPolicy::Off, Some(&keys));
    let equal = stored.iter().zip(&again).skip(SEALED_FROM).filter(|(one, other)| one == other).count();
    assert!(equal < entry.len() / 8, "{equal}");
}

#[test]
fn nodes_read_their_own_form_only() {
    let [new, old, both] = [keys(&[0]), keys(&[1]), keys(&[0, 1])];
    let entry = encode(&key("/a"), &response(&rows(5_000)), &version()).unwrap();
    for compression in [CompressionPolicy::Off, CompressionPolicy::Zstd] {
        let plain = packed(&entry, compression, None);
        let sealed = packed(&entry, compression, Some(&old));
        assert_eq!(read(&plain, Some(&new)), Err(EntryError::Plain));
        assert_eq!(read(&sealed, None), Err(EntryError::Sealed));
        assert_eq!(read(&sealed, Some(&new)), Err(EntryError::UnknownKey));
        assert!(read(&sealed, Some(&both)).is_ok(), "every key of the file opens");
    }
    // A tombstone has no content to seal.
    let tombstone = tombstone(KeyGeneration::new(), NOW);
    let unpacked = EntryPacker::default().unpack(&key("/a"), &tombstone, Some(seal(&new)), CONTENT_MAX);
    assert_eq!(unpacked, Ok(UnpackedEntry::AsStored));
}

#[test]
fn a_sealed_value_is_bound_to_its_name_and_its_times() {
    let keys = keys(&[0]);
    let entry = encode(&key("/a"), &response(&rows(100)), &version()).unwrap();
    let stored = packed(&entry, CompressionPolicy::Zstd, Some(&keys));
    let other = EntrySeal { namespace: NamespaceDigest::of("cachewarp:u:"), ..seal(&keys) };
    assert_eq!(read_as(&key("/b"), &stored, Some(seal(&keys)), NOW), Err(EntryError::Forged));
    assert_eq!(read_as(&key("/a"), &stored, Some(other), NOW), Err(EntryError::Forged));
    let later = NOW.plus(Duration::from_millis(1));
    assert_eq!(read_as(&key("/a"), &stored, Some(seal(&keys)), later), Err(EntryError::Expired));
    let earlier = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
    assert_eq!(read_as(&key("/a"), &stored, Some(seal(&keys)), earlier), Err(EntryError::Time));
    let mut list = stored.to_vec();
    list[KIND_AT] = SEALED | 2;
    assert_eq!(read(&list.into(), Some(&keys)), Err(EntryError::Forged), "another kind");
}

#[test]
fn a_soft_purge_changes_a_packed_value_in_place() {
    let keys = keys(&[0]);
    let entry = encode(&key("/a"), &response(&rows(5_000)), &version()).unwrap();
    for keys in [None, Some(&keys)] {
        let stored = packed(&entry, CompressionPolicy::Zstd, keys);
        let purge = KeyGeneration::new();
        let marked = mark_stale(&stored, purge, NOW).unwrap();
        assert!(read(&marked, keys).is_ok());
        let unpacked =
            EntryPacker::default().unpack(&key("/a"), &marked, keys.map(seal), CONTENT_MAX).unwrap();
        let header = EntryHeader::read(unpacked.as_read(&marked)).unwrap();
        assert_eq!((header.key_generation, header.stale_since), (purge, Some(NOW)));
    }
}

/// Returns a compressed value with this size and frame, and a valid checksum.
fn compressed(size: u32, frame: &[u8]) -> Bytes {
    let head = encode(&key("/a"), &list(), &version()).unwrap();
    plain(&key("/a"), &head[..CHECKSUM_FROM], size, frame).unwrap()
}

#[test]
fn hostile_frames_are_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let size = u32::try_from(CONTENT_MAX).unwrap();
    let entry = encode(&key("/a"), &response(&rows(5_000)), &version()).unwrap();
    let content = &entry[CONTENT_FROM..];
    let frame = zstd::bulk::compress(content, 1).unwrap();
    let length = u32::try_from(content.len()).unwrap();
    assert!(read(&compressed(length, &frame), None).is_err_and(|error| error != EntryError::Compression));
    // A dictionary that the reader does not have: the identifier is in the header of the frame.
    let dictionary = zstd::dict::EncoderDictionary::copy(&rows(4_000), 1);
    let mut with_dictionary = Compressor::with_prepared_dictionary(&dictionary).unwrap();
    let with_dictionary = with_dictionary.compress(content).unwrap();
    let mut claims = frame.clone();
    // The header states a window of 4 GiB and a content of 4 GiB, in a frame of one segment.
    claims.splice(4..6, [0xa0, 0xff, 0xff, 0xff, 0xff]);
    for (name, size, frame, error) in [
        ("a bomb", size, &bomb[..], EntryError::Compression),
        ("a size of 4 GiB", u32::MAX, &frame, EntryError::Length),
        ("a size above the limit", size + 1, &frame, EntryError::Length),
        ("a frame of 4 GiB", length, &claims, EntryError::Compression),
        ("a smaller size", length - 1, &frame, EntryError::Compression),
        ("a larger size", length + 1, &frame, EntryError::Compression),
        ("a cut frame", length, &frame[..frame.len() - 1], EntryError::Compression),
        ("no frame", length, &[], EntryError::Compression),
        ("two frames", length, &[&frame[..], &frame].concat(), EntryError::Compression),
        ("a dictionary", length, &with_dictionary, EntryError::Compression),
        ("no content", 0, &[], EntryError::Length),
    ] {
        let found = read(&compressed(size, frame), None);
        let refused = found.as_ref().is_err_and(|found| *found == error || name == "a dictionary");
        assert!(refused, "{name}: {found:?}");
    }
}

#[test]
fn every_truncated_value_is_refused() {
    let keys = keys(&[0]);
    let entry = encode(&key("/a"), &response(&rows(2_000)), &version()).unwrap();
    for compression in [CompressionPolicy::Off, CompressionPolicy::Zstd] {
        for keys in [None, Some(&keys)] {
            let stored = packed(&entry, compression, keys);
            for cut in 0..stored.len() {
                assert!(read(&stored.slice(..cut), keys).is_err(), "{cut} of {}", stored.len());
            }
            assert!(read(&[&stored[..], b"x"].concat().into(), keys).is_err());
        }
    }
}

#[test]
fn every_flipped_bit_outside_the_mutable_header_is_refused() {
    let keys = keys(&[0, 1]);
    for (bytes, keys) in [(1_200, None), (1_200, Some(&keys)), (90, Some(&keys))] {
        let entry = encode(&key("/a"), &response(&rows(bytes)), &version()).unwrap();
        let stored = packed(&entry, CompressionPolicy::Zstd, keys);
        for bit in 0..stored.len() * 8 {
            let mut changed = stored.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let in_place = (KIND_AT + 1..CHECKSUM_FROM).contains(&(bit / 8));
            assert_eq!(read(&changed.into(), keys).is_ok(), in_place, "bit {bit}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the length and the seed of a test are no settings")]
fn setting(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// The random mutations of a run. `SEAL_MUTATIONS=1000000` tries as many.
#[test]
fn no_mutation_of_a_sealed_value_is_read() {
    let count = setting("SEAL_MUTATIONS").unwrap_or(5_000);
    let keys = keys(&[0, 1]);
    let seed = setting("SEAL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let values = [response(&rows(30)), response(&rows(1_500)), list()].map(|value| {
        let entry = encode(&key("/a"), &value, &version()).unwrap();
        [CompressionPolicy::Off, CompressionPolicy::Zstd]
            .map(|compression| packed(&entry, compression, Some(&keys)))
    });
    let values: Vec<_> = values.into_iter().flatten().collect();
    let packer = EntryPacker::default();
    for number in 0..count {
        let value = &values[random.usize(..values.len())];
        let other = &values[random.usize(..values.len())];
        let mut changed = value.to_vec();
        match random.u8(..5) {
            0 => (0..random.usize(1..9)).for_each(|_| {
                let at = random.usize(CHECKSUM_FROM..value.len());
                changed[at] = random.u8(..);
            }),
            1 => changed.truncate(random.usize(..value.len())),
            2 => {
                let at = random.usize(CHECKSUM_FROM..=value.len());
                changed.insert(at, random.u8(..));
            }
            3 => {
                // The beginning of one value and the end of another.
                changed.truncate(random.usize(CHECKSUM_FROM..value.len()));
                changed.extend_from_slice(&other[random.usize(CHECKSUM_FROM..other.len())..]);
            }
            _ => {
                changed[KIND_AT] = random.u8(..);
            }
        }
        if !values.iter().any(|value| unchanging(value) == unchanging(&changed)) {
            let changed = Bytes::from(changed);
            let read = packer
                .unpack(&key("/a"), &changed, Some(seal(&keys)), CONTENT_MAX)
                .and_then(|entry| decode(&key("/a"), entry.as_read(&changed), entry.provenance(NOW)));
            assert!(read.is_err(), "SEAL_SEED={seed}, mutation {number}: {read:?}");
        }
    }
}

/// Returns the parts of a value that no purge changes in place.
fn unchanging(value: &[u8]) -> (Option<&[u8]>, Option<&[u8]>) {
    (value.get(..=KIND_AT), value.get(CHECKSUM_FROM..))
}

proptest! {
    #[test]
    fn arbitrary_bodies_come_back(body in proptest::collection::vec(any::<u8>(), 0..4_000), repeated in 1..4_usize) {
        let keys = keys(&[0]);
        let value = response(&body.repeat(repeated).into());
        let entry = encode(&key("/a"), &value, &version()).unwrap();
        for keys in [None, Some(&keys)] {
            let stored = packed(&entry, CompressionPolicy::Zstd, keys);
            prop_assert_eq!(read(&stored, keys), Ok(value.clone()));
        }
    }
}

/// Returns quotes of about this size, with numbers that differ: those of `benches/entry.rs`.
fn quotes(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    let mut rows = String::from("[");
    while rows.len() < bytes {
        let (bid, at) = (random.u32(90_000..120_000), random.u32(0..86_400));
        let (ask, size) = (f64::from(bid + 3) / 1e5, random.u32(1..50) * 100_000);
        let (hour, minute, second) = (at / 3600, at / 60 % 60, at % 60);
        rows.push_str(&format!(
            r#"{{"symbol":"EURUSD","bid":{},"ask":{ask},"size":{size},"at":"2026-11-22T{hour:02}:{minute:02}:{second:02}Z"}},"#,
            f64::from(bid) / 1e5,
        ));
    }
    Bytes::from(format!("{}]", rows.trim_end_matches(',')))
}

/// Prints the bytes in Redis: `cargo test --lib quotes_take_fewer_bytes -- --nocapture`.
#[test]
fn quotes_take_fewer_bytes_in_redis_than_in_memory() {
    let keys = keys(&[0]);
    for size in [1 << 10, 10 << 10, 100 << 10] {
        let entry = encode(&key("/a"), &response(&quotes(size)), &version()).unwrap();
        let bytes = |compression, keys| packed(&entry, compression, keys).len();
        let plain = bytes(CompressionPolicy::Off, None);
        let forms = [
            bytes(CompressionPolicy::Zstd, None),
            bytes(CompressionPolicy::Off, Some(&keys)),
            bytes(CompressionPolicy::Zstd, Some(&keys)),
        ];
        println!("{size}: plain {plain}, compressed {}, sealed {}, both {}", forms[0], forms[1], forms[2]);
        assert!(forms[0] < plain * 9 / 10 && forms[1] <= plain && forms[2] < plain * 9 / 10, "{forms:?}");
    }
}
