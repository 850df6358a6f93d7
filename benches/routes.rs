//! Cost of finding the route of a request among 200.

mod api_routes;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

fn routes(c: &mut Criterion) {
    let Some(table) = api_routes::table() else { return };
    for (name, path) in api_routes::PATHS {
        let mut find = || api_routes::find(&table, black_box(path));
        c.bench_function(&format!("routes/{name}"), |b| b.iter(&mut find));
    }
}

criterion_group!(benches, routes);
criterion_main!(benches);
