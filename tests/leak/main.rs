//! No byte of one client's answer ever reaches another, unless the rules allow that.
//!
//! Two identities and nobody in particular ask two proxies on one Redis, at the same time, for resources whose answers are
//! made of every mixture: directives, targeted control, `Vary`, cookies, credentials, ages, validators, parts. The origin
//! marks whatever it says with the number of the exchange that it says it in, in the body and in the fields. Afterwards
//! every mark that any client has seen is held against a small [`model`] of the rules, which shares no line with the code.
//!
//! Everything is drawn from one seed; a failure names it, and `LEAK_SEED=<seed> cargo test --test leak` draws the same
//! again. (What meets what is up to the scheduler all the same.)

#![cfg(test)]

mod draw;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
mod model;
mod world;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cachewarp::time;

use draw::Ask;
use harness::{Client, Origin, Proxy, Redis};
use model::Seen;
use world::World;

/// Requests in all, if there is time for them.
const REQUESTS: usize = 9_000;
/// The time for them.
const TIME: Duration = Duration::from_secs(12);
/// Clients that ask at the same time.
const CLIENTS: usize = 8;
/// Requests between a resource's first and last, roughly: so many resources are asked for at a time.
const REQUESTS_A_RESOURCE: usize = 30;
const RESOURCES_AT_A_TIME: usize = 4;

#[test]
#[expect(clippy::disallowed_methods, reason = "it is no setting of the product")]
fn no_byte_of_one_reaches_another() {
    let seed = match std::env::var("LEAK_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => fastrand::u64(..),
    };
    let (origin, redis) = (Origin::start(), Redis::start());
    let world = World::open(seed, REQUESTS / REQUESTS_A_RESOURCE + RESOURCES_AT_A_TIME, &origin);
    let proxies: [Proxy; 2] = ["64MiB", "0"].map(|memory| {
        let settings = [("cache_memory_size", memory), ("redis_timeout", "5s")];
        Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
    });
    let addrs = proxies.each_ref().map(Proxy::addr);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (world, addr) = (Arc::clone(&world), addrs[number % addrs.len()]);
            thread::spawn(move || ask_on_and_on(&world, Client::connect(addr), number as u64))
        })
        .collect();
    let seen: Vec<Seen> = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();

    let mut verdict = model::judge(&world.log(), &seen);
    verdict.faults.extend(world.faults.lock().unwrap().drain(..));
    let some = &verdict.faults[..verdict.faults.len().min(5)];
    assert!(
        some.is_empty(),
        "LEAK_SEED={seed}: {} leaks, among them\n{}",
        verdict.faults.len(),
        some.join("\n\n")
    );
    // Otherwise it has tested nothing.
    let enough = [
        (verdict.shared, 500),
        (verdict.shared_by_name, 50),
        (verdict.validated, 50),
        (verdict.collapsed, 20),
    ];
    assert!(enough.iter().all(|(count, least)| count >= least), "LEAK_SEED={seed}: {verdict:?}");
}

/// One client after another's turn, on one connection, each time somebody else.
fn ask_on_and_on(world: &World, mut client: Client, number: u64) -> Vec<Seen> {
    let mut dice = fastrand::Rng::with_seed(world.seed.wrapping_add(number));
    let begun = time::instant();
    let mut seen = Vec::new();
    while begun.elapsed() < TIME
        && let Some(turn) = world.turn(REQUESTS)
    {
        let resource = turn / REQUESTS_A_RESOURCE + dice.usize(0..RESOURCES_AT_A_TIME);
        let ask = world.register(|id| Ask::draw(&mut dice, id, resource, seen.last()));
        let at = time::instant();
        let fields: Vec<(&str, &str)> =
            ask.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = client.request(ask.method, &ask.path, &fields);
        seen.push(Seen { ask, at, response });
    }
    seen
}
