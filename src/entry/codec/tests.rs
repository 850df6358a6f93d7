use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::entry::KeyGeneration;
use crate::key::{Scheme, Target};

/// The time at which the entries of these tests are received.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);
const FROM_STORE: Provenance = Provenance::Store(NOW);

fn key(path: &str) -> CacheKey {
    let uri = path.parse().unwrap();
    CacheKey::of(&Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).unwrap())
}

fn entry() -> Entry {
    let mut head = HeaderMap::new();
    head.append("content-type", HeaderValue::from_static("application/json"));
    head.append("x-request-cost", HeaderValue::from_static("3"));
    Entry {
        facts: StoredFacts {
            received: Timestamp::from_millis(1_700_000_000_123),
            initial_age: Duration::from_secs(3),
            lifetime: Duration::from_secs(30),
            obligations: Obligations::default(),
            rules: RulesDigest(*b"rules678"),
            stale_while_revalidate: Duration::from_secs(1),
            stale_if_error: Duration::from_secs(2),
        },
        status: StatusCode::OK,
        head,
        body: Bytes::from_static(b"{\"a\":1}"),
    }
}

fn variants() -> Variants {
    let names = ["accept-language", "x-tenant"].map(HeaderName::from_static).to_vec();
    let Vary::Fields(fields) = Vary::from(names) else { panic!("two names") };
    Variants { nonce: 7, expires: Timestamp::from_millis(9), fields }
}

fn version() -> EntryVersion {
    let tags = [7, u128::MAX].map(TagDigest).to_vec();
    EntryVersion {
        key_generation: KeyGeneration::new(),
        generation: PurgeGeneration { epoch: 3, count: 4 },
        tags,
        not_after: NOW,
    }
}

fn both() -> [StoredValue; 2] {
    [StoredValue::Response(entry()), StoredValue::Variants(variants())]
}

/// Returns `bytes` with one byte changed and a valid checksum, as a hostile store could write them.
fn forged(bytes: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] = byte;
    let checksum = xxh3_64(&bytes[CHECKED_FROM..]);
    bytes[CHECKSUM_FROM..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

#[test]
fn encoded_values_decode_unchanged() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &version()).unwrap();
        assert_eq!(decode(&key("/a"), &bytes, FROM_STORE).unwrap(), stored);
        assert_eq!(decode(&key("/a"), &bytes, Provenance::Process).unwrap(), stored);
    }
}

#[test]
fn the_body_is_a_slice_and_the_allocation_is_exact() {
    let bytes = encode(&key("/a"), &StoredValue::Response(entry()), &version()).unwrap();
    let Ok(StoredValue::Response(entry)) = decode(&key("/a"), &bytes, FROM_STORE) else { panic!() };
    let end = bytes.as_ptr_range().end;
    assert_eq!(entry.body.as_ptr_range().end, end, "the body lies at the end of the entry");
    assert_eq!(bytes.try_into_mut().map(|bytes| bytes.capacity() - bytes.len()).unwrap_or(0), 0);
}

#[test]
fn every_truncated_value_is_refused() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &version()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&key("/a"), &bytes.slice(..cut), FROM_STORE).is_err(), "{cut}");
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert!(decode(&key("/a"), &longer, FROM_STORE).is_err());
    }
}

#[test]
fn every_flipped_bit_outside_the_mutable_header_is_refused() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &version()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                let decoded = decode(&key("/a"), &Bytes::from(changed.clone()), FROM_STORE);
                // The checksum does not cover the fields that change in place, and decoding ignores
                // them.
                let in_place = (PREFIX_BYTES..CHECKSUM_FROM).contains(&at);
                assert_eq!(decoded.is_ok(), in_place, "byte {at} bit {bit}: {decoded:?}");
            }
        }
    }
}

#[test]
fn each_kind_of_damage_has_its_own_error() {
    let own = key("/a");
    let bytes = encode(&own, &StoredValue::Response(entry()), &version()).unwrap();
    let damage = |bytes: &Bytes| decode(&own, bytes, FROM_STORE).unwrap_err();
    assert_eq!(damage(&Bytes::from_static(b"short")), EntryError::Length);
    assert_eq!(damage(&forged(&bytes, 0, b'X')), EntryError::Foreign);
    assert_eq!(damage(&forged(&bytes, 2, 99)), EntryError::Version);
    assert_eq!(damage(&forged(&bytes, 3, 99)), EntryError::Content);
    assert_eq!(damage(&forged(&bytes, KIND_FROM + 67, 0)), EntryError::Content, "status 0");
    assert_eq!(damage(&forged(&bytes, KIND_FROM + 72, 0xff)), EntryError::Length, "a body of 4 GiB");
    assert_eq!(damage(&Bytes::from([&bytes[..90], &[0xff], &bytes[91..]].concat())), EntryError::Checksum);
    let other = encode(&key("/b"), &StoredValue::Response(entry()), &version()).unwrap();
    assert_eq!(damage(&other), EntryError::OtherKey, "another key's entry, intact");
}

#[test]
fn a_value_past_its_end_is_refused() {
    let later = Provenance::Store(NOW.plus(Duration::from_millis(1)));
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &version()).unwrap();
        assert_eq!(decode(&key("/a"), &bytes, later), Err(EntryError::Expired));
        assert!(decode(&key("/a"), &bytes, Provenance::Process).is_ok());
        // The checksum covers the end.
        let mut longer = bytes.to_vec();
        longer[CONTENT_FROM] = 1;
        assert_eq!(decode(&key("/a"), &longer.into(), later), Err(EntryError::Checksum));
    }
}

#[test]
fn an_entry_keeps_its_version() {
    let version = version();
    let bytes = encode(&key("/a"), &StoredValue::Response(entry()), &version).unwrap();
    let header = crate::entry::EntryHeader::read(&bytes).unwrap();
    assert_eq!((header.key_generation, header.stale_since), (version.key_generation, None));
    let (generation, tags) = history(&bytes).unwrap();
    assert_eq!((generation, tags.collect::<Vec<_>>()), (version.generation, version.tags.clone()));
    let list = encode(&key("/a"), &StoredValue::Variants(variants()), &version).unwrap();
    assert!(history(&list).is_none());
    let many = EntryVersion { tags: vec![TagDigest(0); TAGS_MAX + 1], ..version };
    let encoded = encode(&key("/a"), &StoredValue::Response(entry()), &many);
    assert_eq!(encoded, Err(EncodeError::TooLarge));
}

#[test]
fn a_head_beyond_its_bound_is_not_encoded() {
    let mut large = entry();
    large.head.append("x-large", HeaderValue::try_from("x".repeat(ENTRY_HEAD_BYTES_MAX)).unwrap());
    let encoded = encode(&key("/a"), &StoredValue::Response(large), &version());
    assert_eq!(encoded, Err(EncodeError::TooLarge));
}

/// Returns any entry, storable or not, encoded with a valid checksum, as a hostile store could
/// write it.
fn forged_entry(entry: &Entry, tags: usize) -> Bytes {
    let version = EntryVersion { tags: vec![TagDigest(0); tags], ..version() };
    with_checksum(encode_response(&key("/a"), entry, &version).unwrap()).unwrap()
}

#[test]
fn entries_that_are_never_written_are_refused() {
    type Change = fn(&mut Entry);
    let field = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let fields = [
        field("content-length", "1"),
        field("transfer-encoding", "chunked"),
        field("connection", "close"),
        field("keep-alive", "timeout=5"),
        field("upgrade", "h2c"),
        field("te", "trailers"),
        field("trailer", "x"),
        field("proxy-authenticate", "Basic"),
        field("proxy-connection", "close"),
        field("set-cookie", "a=b"),
        field("authentication-info", "x"),
        field("age", "1"),
        field("content-range", "bytes 0-1/2"),
        field("cachewarp-cache-control", "max-age=1"),
        field("cachewarp-explain", "x"),
    ];
    for (name, value) in fields {
        let mut entry = entry();
        entry.head.append(name.clone(), value);
        let bytes = forged_entry(&entry, 1);
        assert_eq!(decode(&key("/a"), &bytes, FROM_STORE), Err(EntryError::Field), "{name}");
        let encoded = encode(&key("/a"), &StoredValue::Response(entry), &version());
        assert_eq!(encoded, Err(EncodeError::Refused(EntryError::Field)), "{name}");
    }
    let changes: [(&str, EntryError, Change); 14] = [
        ("101", EntryError::Status, |entry| entry.status = StatusCode::SWITCHING_PROTOCOLS),
        ("103", EntryError::Status, |entry| entry.status = StatusCode::EARLY_HINTS),
        ("206", EntryError::Status, |entry| entry.status = StatusCode::PARTIAL_CONTENT),
        ("304", EntryError::Status, |entry| entry.status = StatusCode::NOT_MODIFIED),
        ("429", EntryError::Status, |entry| entry.status = StatusCode::TOO_MANY_REQUESTS),
        ("999", EntryError::Status, |entry| entry.status = StatusCode::from_u16(999).unwrap()),
        ("204 with content", EntryError::Status, |entry| entry.status = StatusCode::NO_CONTENT),
        ("star", EntryError::Vary, |entry| drop(entry.head.insert("vary", HeaderValue::from_static("*")))),
        ("rewritten", EntryError::Vary, |entry| {
            drop(entry.head.insert("vary", HeaderValue::from_static("x-forwarded-for")));
        }),
        ("too many", EntryError::Vary, |entry| {
            let names: Vec<_> = (0..17).map(|number| format!("x-{number}")).collect();
            drop(entry.head.insert("vary", HeaderValue::try_from(names.join(",")).unwrap()));
        }),
        ("unknown bit", EntryError::Obligations, |entry| {
            entry.facts.obligations = Obligations::from_bits(1 << 15);
        }),
        ("for ever", EntryError::Time, |entry| entry.facts.lifetime = Duration::from_millis(u64::MAX)),
        ("stale for ever", EntryError::Time, |entry| {
            entry.facts.stale_while_revalidate = Duration::from_millis(u64::MAX);
        }),
        ("stale on error for ever", EntryError::Time, |entry| {
            entry.facts.stale_if_error = Duration::from_millis(u64::MAX);
        }),
    ];
    for (what, damage, change) in changes {
        let mut entry = entry();
        change(&mut entry);
        assert_eq!(decode(&key("/a"), &forged_entry(&entry, 1), FROM_STORE), Err(damage), "{what}");
        let encoded = encode(&key("/a"), &StoredValue::Response(entry), &version());
        assert_eq!(encoded, Err(EncodeError::Refused(damage)), "{what}");
    }
    assert!(decode(&key("/a"), &forged_entry(&entry(), TAGS_MAX), FROM_STORE).is_ok());
    let mut one_more = forged_entry(&entry(), TAGS_MAX).to_vec();
    one_more[TAGS_FROM + 1] += 1;
    one_more.splice(TAGS_FROM + 2..TAGS_FROM + 2, [0; TAG_BYTES]);
    let one_more = with_checksum(BytesMut::from(&one_more[..])).unwrap();
    assert_eq!(decode(&key("/a"), &one_more, FROM_STORE), Err(EntryError::Length));
}

#[test]
fn times_ahead_of_the_clock_are_refused() {
    let of_now = NOW.as_millis();
    for (ahead, read) in
        [(0, true), (60_000, true), (60_001, false), (3_600_000, false), (u64::MAX - of_now, false)]
    {
        let mut entry = entry();
        entry.facts.received = Timestamp::from_millis(of_now + ahead);
        let decoded = decode(&key("/a"), &forged_entry(&entry, 1), FROM_STORE);
        assert_eq!(decoded.is_ok(), read, "{ahead}");
        assert!(read || decoded == Err(EntryError::Time));
    }
    let latest = NOW.plus(crate::limits::LIFETIME_MAX).as_millis() + 60_000;
    for (expires, read) in [(9, true), (latest, true), (latest + 1, false)] {
        let list = Variants { expires: Timestamp::from_millis(expires), ..variants() };
        let bytes = encode(&key("/a"), &StoredValue::Variants(list), &version()).unwrap();
        assert_eq!(decode(&key("/a"), &bytes, FROM_STORE).is_ok(), read, "{expires}");
    }
}

#[test]
fn a_list_of_variants_names_selecting_fields_in_order_and_once() {
    for (names, damage) in [
        (&["b", "a"][..], EntryError::Content),
        (&["a", "a"], EntryError::Content),
        (&["a", "x-forwarded-for"], EntryError::Vary),
        (&[], EntryError::Vary),
    ] {
        let mut bytes = begin_value(&key("/a"), KIND_VARIANTS, &version(), 100);
        bytes.put_u64(7);
        bytes.put_u64(9);
        for name in names {
            bytes.put_u16(u16::try_from(name.len()).unwrap());
            bytes.put_slice(name.as_bytes());
        }
        let bytes = with_checksum(bytes).unwrap();
        assert_eq!(decode(&key("/a"), &bytes, FROM_STORE), Err(damage), "{names:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = decode(&key("/a"), &bytes, FROM_STORE);
        let _ = decode(&key("/a"), &bytes, Provenance::Process);
    }

    #[test]
    fn forged_bytes_never_panic_and_never_grow(at in 0usize..120, byte: u8) {
        for stored in both() {
            let bytes = encode(&key("/a"), &stored, &version()).unwrap();
            let at = CHECKED_FROM + at % (bytes.len() - CHECKED_FROM);
            if let Ok(read) = decode(&key("/a"), &forged(&bytes, at, byte), FROM_STORE) {
                prop_assert!(encode(&key("/a"), &read, &version()).is_ok(), "what is read can be written");
                let StoredValue::Response(entry) = read else { continue };
                prop_assert!(entry.body.len() <= bytes.len());
            }
        }
    }
}
