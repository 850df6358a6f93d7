//! No byte of one client's answer ever reaches another, unless the rules allow that.
//!
//! Two identities and nobody in particular ask two proxies on one Redis, at the same time, for
//! resources whose answers are made of every mixture: directives, targeted control, `Vary`,
//! cookies, credentials, ages, validators, parts. The origin marks whatever it says with the number
//! of the exchange that it says it in, in the body and in the fields. Afterwards every mark that
//! any client has seen is held against a small [`model`] of the rules, which shares no line with
//! the code.
//!
//! Everything is drawn from one seed; a failure names it, and
//! `LEAK_SEED=<seed> cargo test --test leak` draws the same again. Another API with the same paths
//! shares the Redis: no mark of it comes here, and none from here goes there. (What meets what is
//! up to the scheduler all the same.)

#![cfg(test)]

mod draw;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
mod model;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cachewarp::time;

use draw::{Ask, path};
use harness::{Answer, Client, Origin, Proxy, Redis};
use model::Seen;
use world::World;

/// Requests in all, if there is time for them.
const REQUESTS: usize = 9_000;
/// The time for them.
const TIME: Duration = Duration::from_secs(12);
/// Clients that ask at the same time.
const CLIENTS: usize = 8;
/// Requests between a resource's first and last, roughly: so many resources are asked for at a
/// time.
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
    let neighbour = Neighbour::move_in(&redis, seed);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (world, addr) = (Arc::clone(&world), addrs[number % addrs.len()]);
            thread::spawn(move || ask_on_and_on(&world, Client::connect(addr), number as u64))
        })
        .collect();
    let seen: Vec<Seen> = clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();

    // The model knows no mark of the neighbour's; its own clients see no other.
    let asked_next_door = neighbour.move_out();
    let mut verdict = model::judge(&world.log(), &seen);
    let strayed =
        seen.iter().filter(|seen| String::from_utf8_lossy(&seen.response.body).contains(NEIGHBOUR)).count();
    assert_eq!(strayed, 0, "LEAK_SEED={seed}: answers of another origin on the same Redis");
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
        (asked_next_door, 100),
    ];
    assert!(enough.iter().all(|(count, least)| count >= least), "LEAK_SEED={seed}: {verdict:?}");
}

/// What another API says to everything, for as long as anybody likes.
const NEIGHBOUR: &str = "next door";

/// Another API behind another CacheWarp on the same Redis, asked for the same paths of the same
/// host, and purged.
struct Neighbour {
    over: Arc<AtomicBool>,
    client: JoinHandle<usize>,
}

impl Neighbour {
    fn move_in(redis: &Redis, seed: u64) -> Self {
        let (over, url) = (Arc::new(AtomicBool::new(false)), redis.url());
        let ended = Arc::clone(&over);
        let client = thread::spawn(move || {
            let origin = Origin::start();
            let fields = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=600")];
            let body = format!("{NEIGHBOUR:?}");
            let resources = REQUESTS / REQUESTS_A_RESOURCE + RESOURCES_AT_A_TIME;
            (0..resources).for_each(|number| origin.answer(&path(number), Answer::new(200, &fields, &body)));
            let proxy = Proxy::start_with_redis(&origin.url(), &url, &[("purge_allow", "127.0.0.1")]);
            let (mut client, mut dice) = (proxy.connect(), fastrand::Rng::with_seed(seed));
            let mut asked = 0;
            while !ended.load(Ordering::Relaxed) {
                let path = path(dice.usize(..resources));
                assert_eq!(client.get(&path).text(), body, "LEAK_SEED={seed}: {path} of another origin");
                if dice.u8(..8) == 0 {
                    client.request("PURGE", &path, &[]);
                }
                asked += 1;
            }
            asked
        });
        Self { over, client }
    }

    /// How often it was asked.
    fn move_out(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().expect("the neighbour's client")
    }
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
