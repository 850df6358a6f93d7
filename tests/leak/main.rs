//! A randomised test that no byte of one client's response reaches another client against the
//! rules.
//!
//! Two identities and anonymous clients send requests concurrently to two proxies on one Redis. The
//! origin's responses combine directives, targeted cache control, `Vary`, cookies, credentials,
//! ages, validators and ranges. The origin marks each response, in the body and in the fields, with
//! the number of its exchange. Afterwards a small [`model`] of the rules, which shares no line with
//! the code, checks every mark that any client received.
//!
//! One seed determines all requests and responses; a failure names it, and
//! `LEAK_SEED=<seed> cargo test --test leak` repeats it. The scheduler still decides which requests
//! overlap. Another API with equal paths shares the Redis: no mark crosses between the two APIs.

#![cfg(test)]

mod draw;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
mod model;
mod world;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cachewarp::time;

use draw::{ClientRequest, ROUTES, path};
use harness::{Answer, Client, Origin, Proxy, Redis};
use model::ReceivedResponse;
use world::World;

/// Maximum number of requests.
const REQUESTS: usize = 9_000;
/// Time limit of the test.
const TIME: Duration = Duration::from_secs(12);
/// Number of concurrent clients.
const CLIENTS: usize = 8;
/// Approximate number of requests between a resource's first and last request.
const REQUESTS_A_RESOURCE: usize = 30;
const RESOURCES_AT_A_TIME: usize = 4;

#[test]
#[expect(clippy::disallowed_methods, reason = "it is no setting of the product")]
fn no_byte_of_one_client_leaks_to_another() {
    let seed = match std::env::var("LEAK_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => fastrand::u64(..),
    };
    let (origin, redis) = (Origin::start(), Redis::start());
    let world = World::open(seed, REQUESTS / REQUESTS_A_RESOURCE + RESOURCES_AT_A_TIME, &origin);
    let mut routes = tempfile::NamedTempFile::new().expect("a file");
    routes.write_all(ROUTES.as_bytes()).expect("a file");
    let routes_file = routes.path().to_str().expect("a path");
    let proxies: [Proxy; 2] = ["64MiB", "0"].map(|memory| {
        let settings = [("cache_memory_size", memory), ("redis_timeout", "5s"), ("routes_file", routes_file)];
        Proxy::start_with_redis(&origin.url(), &redis.url(), &settings)
    });
    let addrs = proxies.each_ref().map(Proxy::addr);
    let neighbour = Neighbour::start(&redis, seed);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (world, addr) = (Arc::clone(&world), addrs[number % addrs.len()]);
            thread::spawn(move || send_requests(&world, Client::connect(addr), number as u64))
        })
        .collect();
    let received: Vec<ReceivedResponse> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();

    // The model knows no mark of the neighbour, and the neighbour's client checks its own
    // responses.
    let neighbour_requests = neighbour.stop();
    let mut report = model::judge(&world.log(), &received);
    let foreign = received
        .iter()
        .filter(|received| String::from_utf8_lossy(&received.response.body).contains(NEIGHBOUR))
        .count();
    assert_eq!(foreign, 0, "LEAK_SEED={seed}: answers of another origin on the same Redis");
    report.faults.extend(world.faults.lock().unwrap().drain(..));
    let some = &report.faults[..report.faults.len().min(5)];
    assert!(
        some.is_empty(),
        "LEAK_SEED={seed}: {} leaks, among them\n{}",
        report.faults.len(),
        some.join("\n\n")
    );
    // A run with too few shared responses has tested nothing.
    let enough = [
        (report.shared, 500),
        (report.shared_by_name, 50),
        (report.shared_stated, 50),
        (report.shared_lifted, 50),
        (report.validated, 50),
        (report.collapsed, 20),
        (neighbour_requests, 100),
    ];
    assert!(enough.iter().all(|(count, least)| count >= least), "LEAK_SEED={seed}: {report:?}");
}

/// The body of every response of the neighbour.
const NEIGHBOUR: &str = "next door";

/// Another API behind another CacheWarp on one Redis. It gets requests and purges for equal paths
/// of an equal host.
struct Neighbour {
    over: Arc<AtomicBool>,
    client: JoinHandle<usize>,
}

impl Neighbour {
    fn start(redis: &Redis, seed: u64) -> Self {
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
            let mut requests = 0;
            while !ended.load(Ordering::Relaxed) {
                let path = path(dice.usize(..resources));
                assert_eq!(client.get(&path).text(), body, "LEAK_SEED={seed}: {path} of another origin");
                if dice.u8(..8) == 0 {
                    client.request("PURGE", &path, &[]);
                }
                requests += 1;
            }
            requests
        });
        Self { over, client }
    }

    /// Stops the neighbour. Returns the number of its requests.
    fn stop(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.client.join().expect("the neighbour's client")
    }
}

/// Sends requests on one connection, each with another identity.
fn send_requests(world: &World, mut client: Client, number: u64) -> Vec<ReceivedResponse> {
    let mut dice = fastrand::Rng::with_seed(world.seed.wrapping_add(number));
    let begun = time::instant();
    let mut received = Vec::new();
    while begun.elapsed() < TIME
        && let Some(sent) = world.next_request(REQUESTS)
    {
        let resource = sent / REQUESTS_A_RESOURCE + dice.usize(0..RESOURCES_AT_A_TIME);
        let request = world.register(|id| ClientRequest::draw(&mut dice, id, resource, received.last()));
        let at = time::instant();
        let fields: Vec<(&str, &str)> =
            request.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = client.request(request.method, &request.path, &fields);
        received.push(ReceivedResponse { request, at, response });
    }
    received
}
