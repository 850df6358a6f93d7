//! Cost of finding the route of a request among 200.

use std::hint::black_box;

use cachewarp::routes::RouteTable;
use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;

const COLLECTIONS: [&str; 10] = [
    "accounts",
    "rates",
    "payments",
    "quotes",
    "customers",
    "invoices",
    "ledgers",
    "transfers",
    "cards",
    "limits",
];

/// Returns 200 routes of an API: 50 collections, each with four paths.
fn table() -> Option<RouteTable> {
    let mut text = String::new();
    for (at, name) in COLLECTIONS.iter().flat_map(|name| [name; 5]).enumerate() {
        for (index, path) in ["", "/{id}", "/{id}/items", "/{id}/items/{item}"].iter().enumerate() {
            text += &format!("[[route]]\nname = 'r{at}-{index}'\npath = '/v1/{name}-{at}{path}'\n");
        }
    }
    RouteTable::parse(text.as_bytes()).ok()
}

fn routes(c: &mut Criterion) {
    let Some(table) = table() else { return };
    for (name, path) in [
        ("two-segments", "/v1/rates-5"),
        ("capture", "/v1/rates-5/EURUSD"),
        ("four-segments", "/v1/transfers-35/4711/items"),
        ("uuid", "/v1/accounts-1/8a7f0e12-1111-4222-8333-123456789abc/items/17"),
        ("encoded", "/v1/rates-5/EUR%20USD"),
        ("no-route", "/other/path"),
        ("not-plain", "/v1/accounts-1/42;x"),
    ] {
        let mut find = || {
            let found = table.find(black_box(&Method::GET), black_box("api.example.com"), black_box(path));
            (found.index(), found.passes_through())
        };
        c.bench_function(&format!("routes/{name}"), |b| b.iter(&mut find));
    }
}

criterion_group!(benches, routes);
criterion_main!(benches);
