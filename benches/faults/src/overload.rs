//! Overload: an origin with a fixed capacity, under 80 % of it, twice of it, and 80 % again.
//!
//! Hits in memory cost the origin nothing. They run at the same time at their own rate, and their
//! latency must not change.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use load::Length;
use load::tally::Tally;

use crate::report::{four, own_errors};
use crate::world::{Reach, World};
use crate::{Failure, mix, print, probe, soak};

/// The requests that the origin works on at once, the duration of each, and so the capacity per
/// second.
const ORIGIN_WORKERS: u64 = 32;
const ORIGIN_MILLIS: u64 = 20;
const CAPACITY: f64 = 1_600.0;
/// The rate of hits in memory.
const HITS: f64 = 2_000.0;
/// Interval of the requests for health and metrics.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// The factor by which resident memory may grow.
const MEMORY_SLACK: f64 = 1.25;

/// A load.
struct Step {
    name: &'static str,
    /// The part of the origin's capacity.
    share: f64,
    length: Duration,
}

/// An operator's observations during a load.
#[derive(Default)]
struct Watched {
    slowest: Duration,
    answers: u32,
    /// Refusals without `Retry-After`.
    impolite: u32,
}

/// Prints a row for each load.
pub(crate) fn measure(program: &str, length: Duration) -> Result<(), Failure> {
    let mut world = World::open(program, Reach::Relay)?;
    mix::warm(world.address)?;
    world.mood.delay.store(ORIGIN_MILLIS, Ordering::Relaxed);
    world.mood.workers.store(ORIGIN_WORKERS, Ordering::Relaxed);
    print(
        "| load on the origin | served a second | served: P50 / P99 / P99.9 / max in ms | refused | hits in memory: P50 / P99 / P99.9 / max in ms | errors of hits | health and metrics, slowest in ms | resident MiB |",
    )?;
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    let second = Duration::from_secs(1);
    let steps = [
        Step { name: "80 %", share: 0.8, length },
        Step { name: "200 %", share: 2.0, length },
        Step { name: "80 %, first second", share: 0.8, length: second },
        Step { name: "80 %, afterwards", share: 0.8, length },
    ];
    let mut resident = Vec::new();
    for (seed, step) in (1..).zip(&steps) {
        let (tallies, watched) = run(&mut world, step, seed)?;
        resident.push(soak::resident_mib(&world).ok_or("a node has ended")?);
        report(step, &tallies, &watched, resident.last().copied().unwrap_or_default())?;
        if watched.impolite > 0 {
            return Err("a 503 has no Retry-After".into());
        }
    }
    match (resident.first(), resident.last()) {
        (Some(before), Some(after)) if *after <= before * MEMORY_SLACK => Ok(()),
        _ => Err(format!("memory grew: {resident:?} MiB").into()),
    }
}

fn run(world: &mut World, step: &Step, seed: u64) -> Result<([Tally; 2], Watched), Failure> {
    let address = world.address;
    let admins: Vec<_> = world.nodes.iter().map(|node| node.admin).collect();
    let asked = |path, connections, rate| {
        let plan = mix::plan(address, path, connections, rate, Length::Time(step.length), seed)?;
        mix::one(&plan)
    };
    thread::scope(|scope| {
        let misses = scope.spawn(move || asked("miss/{0..1000000000000}", 2_048, CAPACITY * step.share));
        let hits = scope.spawn(move || asked("hot/{0..1000}", 256, HITS));
        let mut watched = Watched::default();
        while !misses.is_finished() {
            watched.look(address, &admins)?;
            thread::sleep(PROBE_INTERVAL);
        }
        let tallies =
            [misses, hits].map(|load| load.join().unwrap_or_else(|_| Err("a load panicked".into())));
        let [misses, hits] = tallies;
        Ok(([misses?, hits?], watched))
    })
}

impl Watched {
    fn look(&mut self, address: SocketAddr, admins: &[SocketAddr]) -> Result<(), Failure> {
        let metrics = admins.iter().map(|admin| (*admin, "/metrics"));
        for (at, path) in metrics.chain([(address, "/health")]) {
            let answer = probe::get(at, path)?;
            if answer.status != 200 {
                return Err(format!("{path} returned {}", answer.status).into());
            }
            self.slowest = self.slowest.max(answer.took);
            self.answers += 1;
        }
        let refusal = probe::get(address, &format!("/private/{}", self.answers))?;
        // The origin's own refusal is passed on unchanged, and needs no `Retry-After`.
        let is_ours = refusal.status == 503 && refusal.text.contains("application/problem+json");
        self.impolite += u32::from(is_ours && !refusal.text.contains("retry-after: "));
        Ok(())
    }
}

fn report(step: &Step, tallies: &[Tally; 2], watched: &Watched, resident: f64) -> Result<(), Failure> {
    let [misses, hits] = tallies;
    let served: u64 =
        misses.statuses.iter().filter(|&(&status, _)| status < 500).map(|(_, count)| count).sum();
    let refused: Vec<_> = misses
        .statuses
        .iter()
        .filter(|&(&status, _)| status >= 500)
        .map(|(status, count)| format!("{count} of {status}"))
        .chain(misses.failures.iter().map(|(failure, count)| format!("{count} {}", failure.word())))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than an f64 counts exactly")]
    let rate = served as f64 / step.length.as_secs_f64();
    print(&format!(
        "| {} | {rate:.0} | {} | {} | {} | {} | {:.0} | {resident:.0} |",
        step.name,
        four(&misses.served),
        if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
        four(&hits.latency),
        own_errors(hits),
        watched.slowest.as_secs_f64() * 1e3,
    ))
}
