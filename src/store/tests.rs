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
//! - a write reaches every node of an undisturbed fleet within half a second;
//! - once all faults are over, no purge is pending, and every node has carried out all of them;
//! - once all windows are over too, every worker of every node gives the same answers.
//!
//! `directed.rs` has events in a given order: a test for each way in which a late reply matters.
//! `planted.rs` has faults of the product that the runs must find. Each window is needed by some
//! run; `fleet_simulation` prints the longest part of each that a run has used.
//!
//! `FLEET_SEED=n` runs one seed, `FLEET_SEEDS=n` the first n. A failure prints its seed and its
//! history.

mod differential;
mod directed;
mod faults;
mod fleet;
mod history;
mod keyspace;
mod log_script;
mod node;
mod origin;
mod planted;
mod registry_script;
mod replication;
mod requests;
mod schedule;
mod script_models;
mod server;
mod windows;
mod writes;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use self::faults::Fault;
use self::history::EventCounts;
use self::planted::{PLANTED_FAULTS, PlantedFault};
use self::requests::FleetLeases;
use self::schedule::RunVariation;
use self::windows::DOCUMENTED_WINDOWS;
use crate::redis::tests::model::on_paused_clock;

/// Seeds in a test run.
const SEEDS: u64 = 150;
/// Seeds in which each documented window is needed.
const WINDOW_SEEDS: u64 = 300;
/// Seeds in which each planted fault is found.
const PLANTED_SEEDS: u64 = 400;
/// Seeds with leases, and again without.
const LEASE_SEEDS: u64 = 30;

/// Seeds that failed once: a removal that a new master lacked, and a purge without tracking that a
/// server lost by its restart.
const FOUND_SEEDS: [u64; 2] = [635, 1032];

fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the seed of a test is no setting")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Runs one seed.
fn run(seed: u64, variation: RunVariation) -> Result<EventCounts, String> {
    let mut outcome = None;
    on_paused_clock(async { outcome = Some(schedule::run(seed, variation).await) });
    outcome.unwrap()
}

#[test]
fn fleet_simulation() {
    let seeds = match number("FLEET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FLEET_SEEDS").unwrap_or(SEEDS),
    };
    if seeds.start == 0 {
        for seed in FOUND_SEEDS {
            run(seed, RunVariation::default())
                .unwrap_or_else(|failure| panic!("FLEET_SEED={seed} fails:{failure}"));
        }
    }
    let counts =
        run_all(seeds.clone(), RunVariation::default()).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{counts:?}");
    println!("| window | longest stale read seen, of the promise |");
    for (window, longest) in DOCUMENTED_WINDOWS.iter().zip(counts.windows) {
        println!("| {window:?} | {}.{} % |", longest / 10, longest % 10);
    }
    // A simulation without stale entries, confirmations or failures proves nothing.
    if seeds.end - seeds.start >= SEEDS {
        let EventCounts { stored, fetched, shared, confirmed, unconfirmed, failed, .. } = counts;
        let least = [stored, fetched, shared, confirmed, unconfirmed, failed].into_iter().min();
        assert!(least > Some(SEEDS / 10), "{counts:?}");
    }
}

/// No documented window is longer or wider than some run needs.
#[test]
fn each_documented_window_is_needed() {
    for window in DOCUMENTED_WINDOWS {
        let faults: &[Fault] = &[Fault::Refused, Fault::Silence];
        let variation =
            RunVariation { faults: Some(faults), has_resp3: Some(true), ..RunVariation::default() };
        let is_needed = |seed| match run(seed, variation) {
            Ok(counts) => counts.windows[window as usize] > 0,
            Err(failure) => panic!("FLEET_SEED={seed} fails with {variation:?}:{failure}"),
        };
        let seed = (0..WINDOW_SEEDS).find(|seed| is_needed(*seed));
        println!("{window:?} is needed by seed {seed:?}");
        assert!(seed.is_some(), "no run needs {window:?}");
    }
}

/// Each planted fault violates an invariant in some run.
#[test]
fn the_simulation_finds_each_planted_fault() {
    for fault in PLANTED_FAULTS {
        let workers = (fault == PlantedFault::UnaskedWorker).then_some(2);
        let (planted, faults) = (Some(fault), Some(fault.faults()));
        // Without RESP3 no purge asks the workers.
        let has_resp3 = workers.map(|_| true);
        let variation = RunVariation { planted, faults, workers, has_resp3, ..RunVariation::default() };
        // The seed that has found the fault before is tried first: a run takes a third of a second.
        let first = fault.first_seed();
        let found = run_all(first..first + 1, variation).and_then(|_| run_all(0..PLANTED_SEEDS, variation));
        let Err(failure) = found else { panic!("{PLANTED_SEEDS} runs do not find {fault:?}") };
        println!("{fault:?}: {}", failure.lines().next().unwrap_or_default());
    }
}

/// Runs seeds on all cores, until one fails.
fn run_all(seeds: Range<u64>, variation: RunVariation) -> Result<EventCounts, String> {
    let next = AtomicU64::new(seeds.start);
    let run_some = || -> Result<EventCounts, String> {
        let mut counts = EventCounts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(counts);
            }
            counts.add(run(seed, variation).map_err(|failure| {
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
        let variation = RunVariation { leases: Some(leases), ..RunVariation::default() };
        (1000..1000 + LEASE_SEEDS).map(|seed| run(seed, variation).unwrap().fetched).sum()
    };
    let (taken, off) = (fetches(FleetLeases::Taken), fetches(FleetLeases::Off));
    println!("{taken} fetches with leases, {off} without");
    assert!(taken <= off, "{taken} fetches with leases, {off} without");
}
