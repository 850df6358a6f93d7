//! The events of one run, drawn from its seed.

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::faults::{Fault, FaultPlan};
use super::fleet::{Fleet, FleetOptions, PurgeCheck};
use super::history::EventCounts;
use super::node::FleetTopology;
use super::origin::{RESOURCES, scope};
use super::planted::PlantedFault;
use super::requests::FleetLeases;
use crate::redis::tests::network::TravelDelay;
use crate::store::PurgeStrength;

/// The events of a run.
const EVENTS: usize = 40;
/// The time after which a healthy fleet has repeated every purge.
const RECOVERY: Duration = Duration::from_secs(20);

/// The variation of a run that its seed does not draw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunVariation {
    pub(super) leases: Option<FleetLeases>,
    pub(super) planted: Option<PlantedFault>,
    /// The kinds of faults.
    pub(super) faults: Option<&'static [Fault]>,
    pub(super) has_resp3: Option<bool>,
    /// The number of each node's workers.
    pub(super) workers: Option<usize>,
}

/// Runs one seed; returns the numbers of its events, or the history of its
/// failure.
pub(super) async fn run(seed: u64, variation: RunVariation) -> Result<EventCounts, String> {
    let fleet = run_fleet(seed, variation).await;
    match fleet.history.failure() {
        Some(failure) => Err(failure),
        None => Ok(fleet.history.counts.get()),
    }
}

/// Runs one seed; returns its history.
pub(super) async fn history(seed: u64) -> String {
    run_fleet(seed, RunVariation::default()).await.history.text()
}

async fn run_fleet(seed: u64, variation: RunVariation) -> Rc<Fleet> {
    let RunVariation { leases, planted, faults, has_resp3, workers } = variation;
    let mut rng = Rng::with_seed(seed);
    let nodes = rng.usize(2..4);
    let mut faults = FaultPlan::draw(&mut rng, faults);
    let drawn_leases = if rng.bool() { FleetLeases::Taken } else { FleetLeases::Off };
    let drawn_workers = rng.usize(1..3);
    let drawn_resp3 = rng.u8(..4) > 0;
    let fleet = Fleet::start(FleetOptions {
        seed,
        nodes,
        workers: workers.unwrap_or(drawn_workers),
        connections: 1 + rng.usize(..2),
        memory_ttl: Duration::from_secs(1),
        memory_alone_max: Duration::from_secs([2, 10, 30][rng.usize(..3)]),
        clocks: (0..nodes).map(|_| [0, 0, 700, -5_000, 3_600_000][rng.usize(..5)]).collect(),
        leases: leases.unwrap_or(drawn_leases),
        has_resp3: has_resp3.unwrap_or(drawn_resp3),
        topology: if rng.u8(..3) > 0 {
            FleetTopology::Single
        } else {
            FleetTopology::Sentinel(rng.usize(1..3))
        },
        delay: TravelDelay { usual: 0..3, tail: ([0.0, 0.02, 0.1][rng.usize(..3)], 3..40) },
        is_calm: faults.kinds().is_empty(),
        planted,
    });
    fleet.note(format!("{:?}; faults: {:?}", fleet.options, faults.kinds()));
    // Each node connects.
    sleep(Duration::from_millis(100)).await;
    // Some fetches outlast the tombstones that refuse their answers.
    let longest = if rng.u8(..24) == 0 { 700_000 } else { 3_000 };
    for _ in 0..EVENTS {
        if rng.u8(..8) == 0 {
            faults.happen(&fleet, &mut rng);
        }
        event(&fleet, &mut rng, longest);
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

fn event(fleet: &Rc<Fleet>, rng: &mut Rng, longest: u64) {
    let at = (rng.usize(..fleet.options.nodes), rng.usize(..2));
    let kind = rng.u8(..16);
    if kind > 4 {
        // Popular resources are often in memory.
        let resource = rng.usize(..RESOURCES).min(rng.usize(..RESOURCES));
        let takes = takes(rng, longest);
        let lifetime = Duration::from_secs(rng.u64(100..1000));
        // A popular resource is requested everywhere at once.
        let is_popular = rng.u8(..6) == 0;
        for node in (0..fleet.options.nodes).filter(|node| is_popular || *node == at.0) {
            fleet.request((node, at.1), resource, takes, lifetime);
        }
    } else if kind == 4 {
        let (resource, takes) = (rng.usize(..RESOURCES), takes(rng, 3_000));
        let stored_for = rng.bool().then(|| Duration::from_secs(rng.u64(100..1000)));
        fleet.write(at, resource, takes, stored_for);
    } else {
        let scopes = (0..=rng.usize(..2)).map(|_| scope(rng.u64(..))).collect();
        let strength = if rng.bool() { PurgeStrength::Hard } else { PurgeStrength::Soft };
        let check = if rng.bool() { PurgeCheck::AtOnce } else { PurgeCheck::Later };
        fleet.purge(at, scopes, strength, check);
    }
}

/// Draws the two times that the origin takes.
fn takes(rng: &mut Rng, longest: u64) -> [Duration; 2] {
    let takes = [0, 5, 50, 500, longest][rng.usize(..5)];
    [(); 2].map(|()| Duration::from_millis(rng.u64(0..=takes)))
}
