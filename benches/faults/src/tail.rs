//! The tail under faults: one row for each fault, between two without a fault.

use std::thread;
use std::time::Duration;

use load::tally::Tally;

use crate::fault::{After, FAIL_OVER, FAULTS, Fault, NO_FAULT};
use crate::world::{Reach, World};
use crate::{Failure, mix, print, report};

/// The part of a fault's length for which the load continues after the fault.
const AFTERMATH: f64 = 0.5;
/// The pause between two faults.
const PAUSE: Duration = Duration::from_secs(3);
/// The time for which a node admits no new keys after an out-of-memory error of Redis
/// (`REDIS_FULL_REMEMBERED`).
const DOUBT: Duration = Duration::from_secs(11);

/// Prints the table.
pub(crate) fn measure(program: &str, rate: f64, length: Duration, only: &str) -> Result<(), Failure> {
    print(&report::head())?;
    let mut missed = Vec::new();
    let wanted = |fault: &&Fault| fault.name.contains(only);
    let one: Vec<_> = FAULTS.iter().filter(wanted).collect();
    let several: Vec<_> = [&FAIL_OVER].into_iter().filter(wanted).collect();
    for (reach, faults) in [(Reach::Relay, one), (Reach::Sentinels, several)] {
        if !faults.is_empty() {
            missed.extend(each(&mut World::open(program, reach)?, &faults, rate, length)?);
        }
    }
    print("")?;
    for miss in &missed {
        print(&format!("- missed: {miss}"))?;
    }
    Ok(())
}

/// Runs each fault in turn. Returns the missed aims.
fn each(world: &mut World, faults: &[&Fault], rate: f64, length: Duration) -> Result<Vec<String>, Failure> {
    let mut seed = 1_000;
    let mut missed = Vec::new();
    mix::warm(world.address)?;
    let baseline = run(world, &NO_FAULT, rate, length, &mut seed)?;
    for fault in faults {
        let tallies = run(world, fault, rate, length, &mut seed)?;
        missed.extend(report::missed(fault, &tallies, &baseline));
        thread::sleep(PAUSE);
        if fault.after == After::Cold {
            thread::sleep(DOUBT);
            mix::warm(world.address)?;
        }
    }
    let again = run(world, &NO_FAULT, rate, length, &mut seed)?;
    missed.extend(report::missed(&NO_FAULT, &again, &baseline));
    Ok(missed)
}

/// Runs the load with a fault from its beginning on, and prints one row of the table.
pub(crate) fn run(
    world: &mut World,
    fault: &Fault,
    rate: f64,
    length: Duration,
    seed: &mut u64,
) -> Result<Vec<Tally>, Failure> {
    let address = world.address;
    let whole = length + length.mul_f64(AFTERMATH);
    *seed += 100;
    let seed = *seed;
    let tallies = thread::scope(|scope| {
        let load = scope.spawn(move || mix::ask(address, rate, whole, seed));
        // All connections are open by then.
        thread::sleep(Duration::from_millis(500));
        (fault.begin)(world)?;
        thread::sleep(length);
        (fault.end)(world)?;
        load.join().map_err(|_| "the load panicked")?
    })?;
    print(&report::row(fault.name, &tallies))?;
    Ok(tallies)
}
