//! Random histories of writes, purges and reads on two nodes, checked against one rule: a read that
//! begins after a purge has been confirmed never returns a response from before the purge began.
//!
//! The origin is a number that only grows. Readers fetch on a miss as the proxy does, and their
//! fetches take random time, so that purges fall into every phase of a fetch. `FLEET_SEED` repeats
//! a history; `FLEET_SCHEDULES` sets the number of histories.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cachewarp::store::{PurgeResult, PurgeScope, PurgeStrength};
use tokio::task::{JoinSet, yield_now};

use crate::harness::Redis;
use crate::node::{Node, key, on_one_thread, tag, until};

const SCHEDULES: u64 = 40;
const STEPS: usize = 40;
const PATHS: usize = 2;

/// A resource at its origin, and the state of its purges.
#[derive(Default)]
struct Resource {
    /// The current version.
    version: Cell<u64>,
    /// The oldest version that a read which begins now may return.
    floor: Cell<u64>,
}

struct World {
    seed: u64,
    nodes: [Node; 2],
    resources: [Resource; PATHS],
    log: RefCell<Vec<String>>,
}

impl World {
    fn note(&self, what: String) {
        self.log.borrow_mut().push(what);
    }

    /// Makes a request: returns a fresh stored version, or fetches the current one and stores it.
    async fn read(&self, mut random: fastrand::Rng) {
        let (node, path) = (random.usize(..2), random.usize(..PATHS));
        let (resource, address) = (&self.resources[path], format!("/{}/{path}", self.seed));
        let floor = resource.floor.get();
        // The lookup follows the proxy's order: memory first, then Redis.
        let (found, key_generation) = match self.nodes[node].at_hand(&address) {
            Some(found) => {
                let key_generation = found.key_generation;
                (Some(found), key_generation)
            }
            None => {
                let look = self.nodes[node].look(&address).await;
                (look.found, look.key_generation)
            }
        };
        let version = match found {
            Some(found) => {
                let cachewarp::entry::StoredValue::Response(entry) = found.stored else { panic!("a list") };
                let stale = entry.facts.ttl(cachewarp::time::now()).is_zero();
                (!stale).then(|| std::str::from_utf8(&entry.body).unwrap().parse::<u64>().unwrap())
            }
            None => None,
        };
        if let Some(version) = version {
            self.note(format!("node {node} read {address}: {version}, at least {floor}"));
            let history = self.log.borrow().join("\n");
            assert!(
                version >= floor,
                "FLEET_SEED={}: {version} after {floor} was purged\n{history}",
                self.seed
            );
            return;
        }
        let permit = self.nodes[node].store.permit(&key(&address), key_generation);
        for _ in 0..random.usize(..40) {
            yield_now().await;
        }
        let version = resource.version.get();
        for _ in 0..random.usize(..40) {
            yield_now().await;
        }
        let stored = self.nodes[node].put(&address, &version.to_string(), &[tag("all-of-it")], &permit).await;
        self.note(format!("node {node} stored {address}: {version}: {stored:?}"));
    }

    /// Changes the resource at its origin, then purges it.
    async fn purge(&self, mut random: fastrand::Rng) {
        let (node, path) = (random.usize(..2), random.usize(..PATHS));
        let resource = &self.resources[path];
        resource.version.set(resource.version.get() + 1);
        let version = resource.version.get();
        let strength = if random.bool() { PurgeStrength::Hard } else { PurgeStrength::Soft };
        let address = format!("/{}/{path}", self.seed);
        let scope = match random.usize(..4) {
            0 => PurgeScope::Tag(tag("all-of-it")),
            1 => PurgeScope::All,
            _ => PurgeScope::Url(key(&address)),
        };
        self.note(format!("node {node} purges {address} of before {version}: {scope:?} {strength:?}"));
        // On a busy machine a server may seem unreachable; a caller would repeat the purge.
        until("a purge to be confirmed", async || {
            let purged = self.nodes[node].purge(std::slice::from_ref(&scope), strength).await;
            purged == Ok(PurgeResult::counted(2, 2))
        })
        .await;
        resource.floor.set(resource.floor.get().max(version));
        self.note(format!("{version} of {address} is the oldest"));
    }
}

#[test]
fn a_read_after_a_confirmed_purge_never_returns_an_older_version() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the seed of a failed history is not a setting of the program"
    )]
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = match number("FLEET_SEED") {
        Some(seed) => (seed, 1),
        None => (fastrand::u64(..u64::MAX / 2), number("FLEET_SCHEDULES").unwrap_or(SCHEDULES)),
    };
    on_one_thread(async {
        let redis = Redis::start();
        let mut nodes = [Node::start(&redis).await, Node::start(&redis).await];
        for seed in first..first + count {
            let world = Rc::new(World {
                seed,
                nodes,
                resources: std::array::from_fn(|_| Resource::default()),
                log: RefCell::default(),
            });
            let mut random = fastrand::Rng::with_seed(seed);
            let mut running = JoinSet::new();
            for _ in 0..STEPS {
                let (world, own) = (Rc::clone(&world), random.fork());
                if random.u8(..) < 40 {
                    running.spawn_local(async move { world.purge(own).await });
                } else {
                    running.spawn_local(async move { world.read(own).await });
                }
                for _ in 0..random.usize(..20) {
                    yield_now().await;
                }
            }
            while let Some(ended) = running.join_next().await {
                ended.unwrap();
            }
            nodes = Rc::into_inner(world).unwrap().nodes;
        }
    });
}
