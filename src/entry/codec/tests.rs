use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::entry::Lineage;
use crate::key::{Scheme, Target};

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

fn stamp() -> Stamp {
    let tags = [7, u128::MAX].map(TagDigest).to_vec();
    Stamp { lineage: Lineage::new(), tick: Tick { epoch: 3, count: 4 }, tags }
}

fn both() -> [Stored; 2] {
    [Stored::Response(entry()), Stored::Variants(variants())]
}

/// `bytes` with one of them changed, and the checksum made to fit again: what a hostile store could do.
fn forged(bytes: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] = byte;
    let checksum = xxh3_64(&bytes[CHECKED_FROM..]);
    bytes[CHECKSUM_FROM..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

#[test]
fn what_is_stored_comes_back() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &stamp()).unwrap();
        assert_eq!(decode(&key("/a"), &bytes, Checksum::Compare).unwrap(), stored);
        assert_eq!(decode(&key("/a"), &bytes, Checksum::Known).unwrap(), stored);
    }
}

#[test]
fn the_body_is_a_slice_and_the_allocation_is_exact() {
    let bytes = encode(&key("/a"), &Stored::Response(entry()), &stamp()).unwrap();
    let Ok(Stored::Response(entry)) = decode(&key("/a"), &bytes, Checksum::Compare) else { panic!() };
    let end = bytes.as_ptr_range().end;
    assert_eq!(entry.body.as_ptr_range().end, end, "the body lies at the end of the entry");
    assert_eq!(bytes.try_into_mut().map(|bytes| bytes.capacity() - bytes.len()).unwrap_or(0), 0);
}

#[test]
fn every_cut_is_damage() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &stamp()).unwrap();
        for cut in 0..bytes.len() {
            assert!(decode(&key("/a"), &bytes.slice(..cut), Checksum::Compare).is_err(), "{cut}");
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert!(decode(&key("/a"), &longer, Checksum::Compare).is_err());
    }
}

#[test]
fn every_flipped_bit_is_damage() {
    for stored in both() {
        let bytes = encode(&key("/a"), &stored, &stamp()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.to_vec();
                changed[at] ^= 1 << bit;
                let decoded = decode(&key("/a"), &Bytes::from(changed.clone()), Checksum::Compare);
                // What changes in place is not under the checksum, and not what is decoded.
                let in_place = (PREFIX_BYTES..CHECKSUM_FROM).contains(&at);
                assert_eq!(decoded.is_ok(), in_place, "byte {at} bit {bit}: {decoded:?}");
            }
        }
    }
}

#[test]
fn each_damage_has_its_name() {
    let own = key("/a");
    let bytes = encode(&own, &Stored::Response(entry()), &stamp()).unwrap();
    let damage = |bytes: &Bytes| decode(&own, bytes, Checksum::Compare).unwrap_err();
    assert_eq!(damage(&Bytes::from_static(b"short")), Damage::Length);
    assert_eq!(damage(&forged(&bytes, 0, b'X')), Damage::Foreign);
    assert_eq!(damage(&forged(&bytes, 2, 99)), Damage::Version);
    assert_eq!(damage(&forged(&bytes, 3, 99)), Damage::Content);
    assert_eq!(damage(&forged(&bytes, KIND_FROM + 59, 0)), Damage::Content, "status 0");
    assert_eq!(damage(&forged(&bytes, KIND_FROM + 64, 0xff)), Damage::Length, "a body of 4 GiB");
    assert_eq!(damage(&Bytes::from([&bytes[..90], &[0xff], &bytes[91..]].concat())), Damage::Checksum);
    let other = encode(&key("/b"), &Stored::Response(entry()), &stamp()).unwrap();
    assert_eq!(damage(&other), Damage::OtherKey, "another key's entry, intact");
}

#[test]
fn an_entry_tells_its_history() {
    let stamp = stamp();
    let bytes = encode(&key("/a"), &Stored::Response(entry()), &stamp).unwrap();
    let standing = crate::entry::Standing::read(&bytes).unwrap();
    assert_eq!((standing.lineage, standing.outdated), (stamp.lineage, None));
    let (tick, tags) = history(&bytes).unwrap();
    assert_eq!((tick, tags.collect::<Vec<_>>()), (stamp.tick, stamp.tags.clone()));
    let list = encode(&key("/a"), &Stored::Variants(variants()), &stamp).unwrap();
    assert!(history(&list).is_none());
    let many = Stamp { tags: vec![TagDigest(0); TAGS_MAX + 1], ..stamp };
    assert!(encode(&key("/a"), &Stored::Response(entry()), &many).is_none());
}

#[test]
fn what_exceeds_a_bound_is_not_encoded() {
    let mut large = entry();
    large.head.append("x-large", HeaderValue::try_from("x".repeat(ENTRY_HEAD_BYTES_MAX)).unwrap());
    assert!(encode(&key("/a"), &Stored::Response(large), &stamp()).is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let _ = decode(&key("/a"), &bytes, Checksum::Compare);
        let _ = decode(&key("/a"), &bytes, Checksum::Known);
    }

    #[test]
    fn forged_bytes_never_panic_and_never_grow(at in 0usize..120, byte: u8) {
        for stored in both() {
            let bytes = encode(&key("/a"), &stored, &stamp()).unwrap();
            let at = CHECKED_FROM + at % (bytes.len() - CHECKED_FROM);
            if let Ok(Stored::Response(entry)) = decode(&key("/a"), &forged(&bytes, at, byte), Checksum::Compare) {
                prop_assert!(entry.body.len() <= bytes.len());
            }
        }
    }
}
