//! Thousands of short runs of a whole fleet, each drawn from a seed, on a paused clock.
//!
//! Every node has real stores: its memory, its purges, leases, registration and syncs, and the
//! Redis client below them. The servers, the network between and the origin are models:
//! `server.rs` executes the scripts of `scripts/` in Rust, and `differential.rs` compares them with
//! their texts on a real server. `requests.rs` is the path of a request above the store.
//!
//! In every run (`history.rs`):
//!
//! - after a purge that every node has confirmed, no request that begins later gets an older
//!   answer, outside the documented windows (`windows.rs`);
//! - once all faults are over, no purge is pending, and every node has carried out all of them.
//!
//! `FLEET_SEED=n` runs one seed, `FLEET_SEEDS=n` the first n. A failure prints its seed and its
//! history.

mod differential;
mod faults;
mod fleet;
mod history;
mod keyspace;
mod log_script;
mod node;
mod origin;
mod registry_script;
mod replication;
mod requests;
mod schedule;
mod script_models;
mod server;
mod windows;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use self::history::EventCounts;
use self::requests::FleetLeases;
use crate::redis::tests::model::on_paused_clock;

/// Seeds in a test run.
const SEEDS: u64 = 150;
/// Seeds with leases, and again without.
const LEASE_SEEDS: u64 = 30;

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the seed of a test is no setting")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs one seed.
fn run(seed: u64, leases: Option<FleetLeases>) -> Result<EventCounts, String> {
    let mut outcome = None;
    on_paused_clock(async { outcome = Some(schedule::run(seed, leases).await) });
    outcome.unwrap()
}

#[test]
fn fleet_simulation() {
    let seeds = match number("FLEET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FLEET_SEEDS").unwrap_or(SEEDS),
    };
    let counts = run_all(seeds.clone()).unwrap_or_else(|failure| panic!("{failure}"));
    // A simulation without stale entries, confirmations or failures proves nothing.
    if seeds.end - seeds.start >= SEEDS {
        let EventCounts { stored, fetched, shared, confirmed, unconfirmed, failed, .. } = counts;
        let least = [stored, fetched, shared, confirmed, unconfirmed, failed].into_iter().min();
        assert!(least > Some(SEEDS / 10), "{counts:?}");
    }
    println!("{counts:?}");
}

/// Runs seeds on all cores, until one fails.
fn run_all(seeds: Range<u64>) -> Result<EventCounts, String> {
    let next = AtomicU64::new(seeds.start);
    let run_some = || -> Result<EventCounts, String> {
        let mut counts = EventCounts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(counts);
            }
            counts.add(run(seed, None).map_err(|failure| {
                next.store(seeds.end, Ordering::Relaxed);
                format!("FLEET_SEED={seed} fails:{failure}")
            })?);
        }
    };
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        let mut sum = EventCounts::default();
        for run in runs {
            sum.add(run.join().unwrap()?);
        }
        Ok(sum)
    })
}

/// A seed gives one history.
#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..10 {
        let histories = [(); 2].map(|()| {
            let mut history = String::new();
            on_paused_clock(async { history = schedule::history(seed).await });
            history
        });
        assert!(histories[0] == histories[1], "{}{}", histories[0], histories[1]);
    }
}

/// A fleet with leases does not ask the origin more often than one without, whatever happens.
#[test]
fn leases_cause_no_more_fetches() {
    let fetches = |leases| -> u64 {
        (1000..1000 + LEASE_SEEDS).map(|seed| run(seed, Some(leases)).unwrap().fetched).sum()
    };
    let (taken, off) = (fetches(FleetLeases::Taken), fetches(FleetLeases::Off));
    println!("{taken} fetches with leases, {off} without");
    assert!(taken <= off, "{taken} fetches with leases, {off} without");
}
