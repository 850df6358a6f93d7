//! A soak: all faults again and again, with keys and clients that come and go. What a process holds must not grow.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::fault::{FAIR_WEATHER, FAULTS, Part};
use crate::report::own_errors;
use crate::world::{Node, Reach, World};
use crate::{Failure, mix, print};

/// How long each fault lasts; then comes the next.
const TURN: Duration = Duration::from_secs(10);
/// Of each turn, the part in which it is faulty; the load has its own length.
const FAULTY: Duration = Duration::from_secs(5);
/// What an allocator may take its time to give back: the most in the second half, as a multiple of the most in the first.
const SLACK: f64 = 1.2;
/// Descriptors that may come and go: pools fill up to what the load needs.
const DESCRIPTORS_SLACK: f64 = 64.0;
/// What is under way must be nothing after a turn.
const UNDER_WAY: [&str; 4] =
    ["cachewarp_requests_waiting", "cachewarp_fills", "cachewarp_origin_waiting", "cachewarp_body_bytes"];

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    resident_mib: f64,
    descriptors: f64,
    threads: f64,
}

/// Goes on for so long, and holds the second half against the first.
pub(crate) fn measure(program: &str, rate: f64, length: Duration) -> Result<(), Failure> {
    let mut world = World::open(program, Reach::Relay)?;
    mix::warm(world.address)?;
    print(
        "| s | what fails | resident MiB | descriptors | threads | under way at rest | errors of what memory answers |",
    )?;
    print("| --- | --- | --- | --- | --- | --- | --- |")?;
    let turns = (length.as_secs() / TURN.as_secs()).max(3);
    // A node that is restarted begins anew: the other faults are enough.
    let faults = FAULTS.iter().filter(|fault| fault.part != Some(Part::Node));
    let faults = faults.chain([&FAIR_WEATHER]).cycle();
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
        // What Redis had is lost now and then, and nothing is warmed again: then it needs the origin.
        let errors = tallies.first().map_or(0, own_errors);
        let held = world.nodes.iter().map(footprint).collect::<Option<Vec<_>>>().ok_or("a node has ended")?;
        let under_way = UNDER_WAY.iter().map(|name| world.metric(name)).sum::<Result<f64, _>>()?;
        let all = |part: fn(&Footprint) -> f64| {
            let parts: Vec<_> = held.iter().map(|one| format!("{:.0}", part(one))).collect();
            parts.join(", ")
        };
        print(&format!(
            "| {} | {} | {} | {} | {} | {under_way} | {errors} |",
            turn * TURN.as_secs(),
            fault.name,
            all(|one| one.resident_mib),
            all(|one| one.descriptors),
            all(|one| one.threads),
        ))?;
        if under_way > 0.0 {
            return Err(format!("{under_way} of {UNDER_WAY:?} are left at rest").into());
        }
        seen.push(held);
    }
    is_flat(&seen)
}

/// Holds the most that each node had in the second half against the most in the first: what fails has its own needs, so that
/// single turns say little.
fn is_flat(seen: &[Vec<Footprint>]) -> Result<(), Failure> {
    let (first, second) = seen.split_at(seen.len() / 2);
    for (early, late) in most(first).into_iter().zip(most(second)) {
        let is_flat = late.resident_mib <= early.resident_mib * SLACK
            && late.descriptors <= early.descriptors + DESCRIPTORS_SLACK
            && late.threads <= early.threads;
        if !is_flat {
            return Err(format!("it grew from {early:?} to {late:?}").into());
        }
    }
    print("\nMemory, descriptors and threads are flat.")
}

/// The most of everything, for each node.
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

/// Resident memory of all nodes.
pub(crate) fn resident_mib(world: &World) -> Option<f64> {
    world.nodes.iter().map(|node| footprint(node).map(|held| held.resident_mib)).sum()
}
