//! Costs of the memory tier: a hit, a miss, and a put that evicts an entry.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench without its setup has failed"
)]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use cachewarp::entry::{Entry, KeyGeneration, StoredValue};
use cachewarp::key::{CacheKey, Scheme, Target};
use cachewarp::policy::{Obligations, RulesDigest, StoredFacts};
use cachewarp::store::{MemoryUse, Namespace, Options, Store, StoreShared};
use cachewarp::telemetry::Registry;
use cachewarp::time::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Without Redis no lookup waits, so one poll completes it.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory alone never waits"),
    }
}

fn target(n: usize) -> Target {
    let uri = format!("/quotes/{n}").parse().expect("a path");
    Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).expect("a well-formed target")
}

fn entry() -> StoredValue {
    let mut head = HeaderMap::new();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(header::DATE, HeaderValue::from_static("Sun, 22 Nov 2026 09:00:00 GMT"));
    let facts = StoredFacts {
        received: Timestamp::EPOCH,
        initial_age: Duration::ZERO,
        lifetime: Duration::from_secs(30),
        obligations: Obligations::default(),
        rules: RulesDigest::NONE,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    StoredValue::Response(Entry { facts, status: StatusCode::OK, head, body: Bytes::from(vec![b'1'; 1_100]) })
}

fn bench(c: &mut Criterion) {
    let registry = Registry::new();
    let options = Options {
        memory_bytes: 16 << 20,
        body_bytes_max: 1 << 20,
        memory_ttl: Duration::from_secs(1),
        memory_alone_max: Duration::from_secs(300),
        namespace: Namespace::named("", "bench"),
        warm_keys: 0,
        node_name: "node".to_owned(),
        entry_keys: cachewarp::sealing::SharedSealKeys::default(),
        name_key: cachewarp::key::NameKey::default(),
        compression: cachewarp::entry::CompressionPolicy::Off,
        registered_name: "node".to_owned(),
    };
    let store = Store::open(StoreShared::new(options, &registry), None, &registry);
    let entry = entry();
    let keys: Vec<_> = (0..20_000).map(|n| CacheKey::of(&target(n))).collect();
    let target = target(0);
    let lifetime = Duration::from_secs(30);
    now(store.put(&keys[0], &entry, &[], lifetime, &store.permit(&keys[0], KeyGeneration::NONE)))
        .expect("no purge supersedes the fetch");

    let find = |key| now(store.find(black_box(key), &target, MemoryUse::Usual));
    c.bench_function("memory/hit", |b| b.iter(|| find(&keys[0])));
    c.bench_function("memory/miss", |b| b.iter(|| find(&keys[19_999])));
    c.bench_function("memory/put-and-evict", |b| {
        let mut keys = keys.iter().cycle();
        b.iter(|| {
            let key = keys.next()?;
            now(store.put(key, &entry, &[], lifetime, &store.permit(key, KeyGeneration::NONE))).ok()
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
