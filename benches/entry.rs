//! Costs of an entry: encoding, decoding for a hit in Redis and for a hit in memory, and the JSON
//! check.

#![expect(clippy::expect_used, reason = "a bench without its setup has failed")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use cachewarp::entry::{
    self, CompressionPolicy, Entry, EntryPacker, EntrySeal, JsonCheck, NamespaceDigest, Provenance,
    StoredValue,
};
use cachewarp::key::{CacheKey, Scheme, Target};
use cachewarp::policy::{Obligations, RulesDigest, StoredFacts};
use cachewarp::sealing::{SealKeys, SealNonce};
use cachewarp::time::Timestamp;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

fn target() -> Target {
    Target::parse(Scheme::Http, &Uri::from_static("/quotes/EURUSD?depth=5"), [&b"api.test"[..]].into_iter())
        .expect("a well-formed target")
}

/// Returns a JSON text of about this size.
fn json(bytes: usize) -> Bytes {
    let row = r#"{"symbol":"EURUSD","bid":1.08312,"ask":1.08315,"at":"2026-11-22T09:00:00Z"},"#;
    let rows = row.repeat(bytes.div_ceil(row.len()));
    Bytes::from(format!("[{}]", rows.trim_end_matches(',')))
}

fn response(body: Bytes) -> StoredValue {
    let head: HeaderMap = [
        ("content-type", "application/json"),
        ("date", "Sun, 22 Nov 2026 09:00:00 GMT"),
        ("cache-control", "public, max-age=30"),
        ("etag", "\"3e25960a79dbc69b674cd4ec67a72c62\""),
        ("server", "origin/1.0"),
        ("x-request-cost", "3"),
    ]
    .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
    .into_iter()
    .collect();
    let facts = StoredFacts {
        received: Timestamp::from_millis(1_700_000_000_000),
        initial_age: Duration::ZERO,
        lifetime: Duration::from_secs(30),
        obligations: Obligations::SHARED,
        rules: RulesDigest::NONE,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    StoredValue::Response(Entry { facts, status: StatusCode::OK, head, body })
}

fn bench_key(c: &mut Criterion) {
    let target = target();
    c.bench_function("key/of", |b| b.iter(|| CacheKey::of(black_box(&target))));
}

fn bench_codec(c: &mut Criterion) {
    let key = CacheKey::of(&target());
    let mut group = c.benchmark_group("entry");
    let version = entry::EntryVersion::default();
    for size in [100, 1_100, 64 << 10] {
        let stored = response(json(size));
        let bytes = entry::encode(&key, &stored, &entry::EntryVersion::default()).expect("within bounds");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("encode", size), &stored, |b, stored| {
            b.iter(|| entry::encode(&key, black_box(stored), &version));
        });
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (name, provenance) in
            [("decode-from-redis", Provenance::Store(now)), ("decode-from-memory", Provenance::Process)]
        {
            group.bench_with_input(BenchmarkId::new(name, size), &bytes, |b, bytes| {
                b.iter(|| entry::decode(&key, black_box(bytes), provenance));
            });
        }
    }
    group.finish();
}

/// Returns quotes of about this size, with numbers that differ.
fn quotes(bytes: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    let mut rows = String::from("[");
    while rows.len() < bytes {
        let (bid, at) = (random.u32(90_000..120_000), random.u32(0..86_400));
        rows.push_str(&format!(
            r#"{{"symbol":"EURUSD","bid":{},"ask":{},"size":{},"at":"2026-11-22T{:02}:{:02}:{:02}Z"}},"#,
            f64::from(bid) / 1e5,
            f64::from(bid + 3) / 1e5,
            random.u32(1..50) * 100_000,
            at / 3600,
            at / 60 % 60,
            at % 60,
        ));
    }
    Bytes::from(format!("{}]", rows.trim_end_matches(',')))
}

/// Measures the passage between memory and Redis. Each name has the bytes of the body and the bytes
/// in Redis.
fn bench_packed(c: &mut Criterion) {
    let key = CacheKey::of(&target());
    let keys = SealKeys::parse(b"bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("a key file");
    let seal = EntrySeal { keys: &keys, namespace: NamespaceDigest::of("bench:") };
    let packer = EntryPacker::default();
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut group = c.benchmark_group("packed");
    for size in [1 << 10, 10 << 10, 100 << 10] {
        let entry = entry::encode(&key, &response(quotes(size)), &entry::EntryVersion::default());
        let entry = entry.expect("within bounds");
        group.throughput(Throughput::Bytes(entry.len() as u64));
        for (name, compression, seal) in [
            ("plain", CompressionPolicy::Off, None),
            ("zstd", CompressionPolicy::Zstd, None),
            ("sealed", CompressionPolicy::Off, Some(seal)),
            ("sealed-zstd", CompressionPolicy::Zstd, Some(seal)),
        ] {
            let pack = || {
                let nonce = || SealNonce::draw().expect("randomness");
                packer.pack(&key, &entry, compression, seal.map(|seal| (seal, nonce()))).expect("an entry")
            };
            let stored = pack();
            let bytes = format!("{size}-in-{}", stored.len());
            group.bench_function(BenchmarkId::new(format!("pack-{name}"), &bytes), |b| b.iter(pack));
            group.bench_with_input(BenchmarkId::new(format!("read-{name}"), &bytes), &stored, |b, stored| {
                b.iter(|| {
                    let unpacked = packer.unpack(&key, black_box(stored), seal, 1 << 20).expect("a value");
                    entry::decode(&key, unpacked.as_read(stored), unpacked.provenance(now))
                });
            });
        }
    }
    group.finish();
}

fn bench_json(c: &mut Criterion) {
    let mut group = c.benchmark_group("json-check");
    for size in [1_100, 64 << 10] {
        let body = json(size);
        let mut check = JsonCheck::new();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &body, |b, body| {
            b.iter(|| check.check(black_box(body), None, 1 << 20));
        });
    }
    group.finish();
}

criterion_group!(benches, bench_key, bench_codec, bench_packed, bench_json);
criterion_main!(benches);
