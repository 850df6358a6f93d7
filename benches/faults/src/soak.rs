//! A soak: all faults repeatedly, with changing keys and clients. The footprint of a process must
//! not grow.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::fault::{FAULTS, NO_FAULT, Part};
use crate::report::own_errors;
use crate::world::{Node, Reach, World};
use crate::{Failure, mix, print};

/// The duration of each fault with its load.
const TURN: Duration = Duration::from_secs(10);
/// The faulty part of that duration; the load has its own length.
const FAULTY: Duration = Duration::from_secs(5);
/// The factor by which the maximum memory of the second half may exceed that of the first: an
/// allocator returns memory late.
const SLACK: f64 = 1.2;
/// Descriptors by which the maximum may grow: pools fill up as far as the load needs.
const DESCRIPTORS_SLACK: f64 = 64.0;
/// Metrics of work in progress, which must be zero at the end of each fault.
const IN_PROGRESS: [&str; 4] = [
    "cachewarp_requests_waiting",
    "cachewarp_shared_fetches",
    "cachewarp_origin_waiting",
    "cachewarp_body_bytes",
];

/// The resources of a process.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    resident_mib: f64,
    descriptors: f64,
    threads: f64,
}

/// Runs for this long, and compares the second half with the first.
pub(crate) fn measure(program: &str, rate: f64, length: Duration) -> Result<(), Failure> {
    let mut world = World::open(program, Reach::Relay)?;
    mix::warm(world.address)?;
    print(
        "| s | fault | resident MiB | descriptors | threads | in progress at rest | errors of hits in memory |",
    )?;
    print("| --- | --- | --- | --- | --- | --- | --- |")?;
    let turns = (length.as_secs() / TURN.as_secs()).max(3);
    // The footprint of a restarted node would begin anew, so that fault is omitted.
    let faults = FAULTS.iter().filter(|fault| fault.part != Some(Part::Node));
    let faults = faults.chain([&NO_FAULT]).cycle();
    let mut seen = Vec::new();
    for (turn, fault) in (1..=turns).zip(faults) {
        let address = world.address;
        let tallies = thread::scope(|scope| {
            let load =
                scope.spawn(move || mix::ask(address, rate, TURN - Duration::from_secs(2), turn * 100));
            (fault.begin)(&mut world)?;
            thread::sleep(FAULTY);
            (fault.end)(&mut world)?;
            load.join().map_err(|_| "the load panicked")?
        })?;
        thread::sleep(Duration::from_secs(1));
        // Some faults lose the data of Redis, and the caches are not warmed again, so only the
        // first class is independent of the origin.
        let errors = tallies.first().map_or(0, own_errors);
        let held = world.nodes.iter().map(footprint).collect::<Option<Vec<_>>>().ok_or("a node has ended")?;
        let in_progress = IN_PROGRESS.iter().map(|name| world.metric(name)).sum::<Result<f64, _>>()?;
        let all = |part: fn(&Footprint) -> f64| {
            let parts: Vec<_> = held.iter().map(|one| format!("{:.0}", part(one))).collect();
            parts.join(", ")
        };
        print(&format!(
            "| {} | {} | {} | {} | {} | {in_progress} | {errors} |",
            turn * TURN.as_secs(),
            fault.name,
            all(|one| one.resident_mib),
            all(|one| one.descriptors),
            all(|one| one.threads),
        ))?;
        if in_progress > 0.0 {
            return Err(format!("{in_progress} of {IN_PROGRESS:?} remain in progress at rest").into());
        }
        seen.push(held);
    }
    is_flat(&seen)
}

/// Compares the maximum of each node in the second half with that of the first. Each fault has its
/// own needs, so single turns are not comparable.
fn is_flat(seen: &[Vec<Footprint>]) -> Result<(), Failure> {
    let (first, second) = seen.split_at(seen.len() / 2);
    for (early, late) in most(first).into_iter().zip(most(second)) {
        let is_flat = late.resident_mib <= early.resident_mib * SLACK
            && late.descriptors <= early.descriptors + DESCRIPTORS_SLACK
            && late.threads <= early.threads;
        if !is_flat {
            return Err(format!("the footprint grew from {early:?} to {late:?}").into());
        }
    }
    print("\nMemory, descriptors and threads are flat.")
}

/// Returns the maximum of each figure, for each node.
fn most(turns: &[Vec<Footprint>]) -> Vec<Footprint> {
    turns
        .iter()
        .cloned()
        .reduce(|most, turn| most.iter().zip(&turn).map(|(a, b)| a.most(b)).collect())
        .unwrap_or_default()
}

impl Footprint {
    fn most(&self, other: &Self) -> Self {
        Self {
            resident_mib: self.resident_mib.max(other.resident_mib),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
        }
    }
}

fn footprint(node: &Node) -> Option<Footprint> {
    let number = node.process.number();
    let status = fs::read_to_string(format!("/proc/{number}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let descriptors = fs::read_dir(format!("/proc/{number}/fd")).ok()?.count();
    Some(Footprint {
        resident_mib: field("VmRSS:")? / 1024.0,
        descriptors: u32::try_from(descriptors).ok()?.into(),
        threads: field("Threads:")?,
    })
}

/// Returns the resident memory of all nodes.
pub(crate) fn resident_mib(world: &World) -> Option<f64> {
    world.nodes.iter().map(|node| footprint(node).map(|held| held.resident_mib)).sum()
}
