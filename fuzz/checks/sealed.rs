//! Key files, and values of Redis in each packed form.

use bytes::{BufMut, Bytes, BytesMut};
use cachewarp::entry::{
    self, CompressionPolicy, ENTRY_VERSION, EntryPacker, EntrySeal, EntryVersion, NamespaceDigest,
    UnpackedEntry,
};
use cachewarp::limits::{KEY_FILE_BYTES_MAX, KEYS_MAX};
use cachewarp::sealing::{SealKeys, SealNonce};
use cachewarp::time::Timestamp;

/// The largest content of these checks.
const CONTENT_MAX: usize = 1 << 16;
/// Offset of the content of an entry.
const CONTENT_FROM: usize = 60;
const KEY_FILE: &[u8] = b"a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Checks that a file is a list of different keys, or has a fault, and that no output shows a key.
pub(crate) fn key_file(data: &[u8]) {
    match SealKeys::parse(data) {
        Ok(keys) => {
            assert!(data.len() <= KEY_FILE_BYTES_MAX);
            let mut ids: Vec<_> = keys.iter().map(|key| key.id().to_owned()).collect();
            assert!((1..=KEYS_MAX).contains(&ids.len()));
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), keys.iter().count(), "two keys with one id");
            assert!(keys.iter().all(|key| keys.find(key.number()).is_ok_and(|found| found.id() == key.id())));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            // A fault names a line, and repeats no part of it.
            let shown: String = faults.iter().map(ToString::to_string).collect();
            assert!(shown.is_ascii());
        }
    }
}

/// Checks that foreign bytes unpack to at most the largest content, and that the content of bytes
/// that decode comes back from every packed form.
pub(crate) fn entry_unpack(data: &[u8]) {
    let (key, packer) = (super::key(), EntryPacker::default());
    let keys = SealKeys::parse(KEY_FILE).expect("a key file");
    let seal = EntrySeal { keys: &keys, namespace: NamespaceDigest::of("fuzz:") };
    let unpack = |stored: &Bytes, seal| {
        let entry = packer.unpack(&key, stored, seal, CONTENT_MAX);
        if let Ok(UnpackedEntry::Own(entry)) = &entry {
            assert!(entry.len() <= CONTENT_FROM + CONTENT_MAX && entry.ends_with(&entry[CONTENT_FROM..]));
            assert_eq!(&entry[28..CONTENT_FROM], key.digest());
        }
        entry
    };
    let stored = Bytes::copy_from_slice(data);
    drop((unpack(&stored, None), unpack(&stored, Some(seal))));
    let Some((&kind, rest)) = data.split_first() else { return };
    // Behind a valid start, as a compressed value.
    let mut fitting = BytesMut::new();
    fitting.put_slice(&[b'C', b'W', ENTRY_VERSION, kind]);
    fitting.put_slice(&[0; 24]);
    fitting.put_slice(key.digest());
    fitting.put_slice(rest);
    let fitting = entry::with_checksum(fitting).expect("a place for the checksum");
    drop(unpack(&fitting, None));
    // As the content of an entry that this node packs.
    let mut whole = fitting.to_vec();
    whole[3] = 1 + (kind & 1);
    let whole = Bytes::from(whole);
    if whole.len() > CONTENT_FROM + CONTENT_MAX {
        return;
    }
    for compression in [CompressionPolicy::Off, CompressionPolicy::Zstd] {
        for seal in [None, Some(seal)] {
            let sealed = seal.map(|seal| (seal, SealNonce::draw().expect("randomness")));
            let stored = packer.pack(&key, &whole, compression, sealed).expect("an entry");
            assert!(stored.len() <= whole.len());
            let entry = unpack(&stored, seal).expect("a value of this node");
            assert_eq!(entry.as_read(&stored)[CONTENT_FROM..], whole[CONTENT_FROM..]);
            let now = Timestamp::from_millis(1_800_000_000_000);
            let read = entry::decode(&key, entry.as_read(&stored), entry.provenance(now));
            assert!(
                read.is_err()
                    || entry::encode(&key, &read.expect("a value"), &EntryVersion::default()).is_ok()
            );
        }
    }
}
