//! The events of one run, drawn from its seed.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::faults::FaultPlan;
use super::fleet::{Fleet, FleetOptions};
use super::history::EventCounts;
use super::node::FleetTopology;
use super::origin::{RESOURCES, scope};
use super::requests::FleetLeases;
use crate::redis::tests::network::TravelDelay;
use crate::store::PurgeStrength;

/// The events of a run.
const EVENTS: usize = 40;
/// The time after which a healthy fleet has repeated every purge.
const RECOVERY: Duration = Duration::from_secs(20);

/// Runs one seed, with leases or without; returns the numbers of its events, or the history of its
/// failure.
pub(super) async fn run(seed: u64, leases: Option<FleetLeases>) -> Result<EventCounts, String> {
    let fleet = run_fleet(seed, leases).await;
    match fleet.history.failure() {
        Some(failure) => Err(failure),
        None => Ok(fleet.history.counts.get()),
    }
}

/// Runs one seed; returns its history.
pub(super) async fn history(seed: u64) -> String {
    run_fleet(seed, None).await.history.text()
}

async fn run_fleet(seed: u64, leases: Option<FleetLeases>) -> Rc<Fleet> {
    let mut rng = Rng::with_seed(seed);
    let nodes = rng.usize(2..4);
    let drawn_leases = if rng.bool() { FleetLeases::Taken } else { FleetLeases::Off };
    let fleet = Fleet::start(FleetOptions {
        seed,
        nodes,
        workers: rng.usize(1..3),
        connections: 1 + rng.usize(..2),
        memory_ttl: Duration::from_secs(1),
        memory_alone_max: Duration::from_secs([2, 10, 30][rng.usize(..3)]),
        clocks: (0..nodes).map(|_| [0, 0, 700, -5_000, 3_600_000][rng.usize(..5)]).collect(),
        leases: leases.unwrap_or(drawn_leases),
        has_resp3: rng.u8(..4) > 0,
        topology: if rng.u8(..3) > 0 {
            FleetTopology::Single
        } else {
            FleetTopology::Sentinel(rng.usize(1..3))
        },
        delay: TravelDelay { usual: 0..3, tail: ([0.0, 0.02, 0.1][rng.usize(..3)], 3..40) },
    });
    let mut faults = FaultPlan::draw(&mut rng);
    fleet.note(format!("{:?}; faults: {:?}", fleet.options, faults.kinds()));
    // Each node connects.
    sleep(Duration::from_millis(100)).await;
    for _ in 0..EVENTS {
        if rng.u8(..8) == 0 {
            faults.happen(&fleet, &mut rng);
        }
        event(&fleet, &mut rng);
        let pause = [0, 3, 30, 300, 3_000][rng.usize(..5)];
        sleep(Duration::from_millis(rng.u64(0..=pause))).await;
    }
    faults.end_all(&fleet);
    fleet.settle().await;
    sleep(RECOVERY).await;
    fleet.check_convergence().await;
    fleet.end();
    fleet
}

fn event(fleet: &Rc<Fleet>, rng: &mut Rng) {
    let at = (rng.usize(..fleet.options.nodes), rng.usize(..2));
    if rng.u8(..4) > 0 {
        // Popular resources are often in memory.
        let resource = rng.usize(..RESOURCES).min(rng.usize(..RESOURCES));
        let takes = [0, 5, 50, 500, 3_000][rng.usize(..5)];
        let takes = [(); 2].map(|()| Duration::from_millis(rng.u64(0..=takes)));
        let lifetime = Duration::from_secs(rng.u64(100..1000));
        // A popular resource is requested everywhere at once.
        let is_popular = rng.u8(..6) == 0;
        for node in (0..fleet.options.nodes).filter(|node| is_popular || *node == at.0) {
            fleet.request((node, at.1), resource, takes, lifetime);
        }
    } else {
        let scopes = (0..=rng.usize(..2)).map(|_| scope(rng.u64(..))).collect();
        let strength = if rng.bool() { PurgeStrength::Hard } else { PurgeStrength::Soft };
        fleet.purge(at, scopes, strength);
    }
}
