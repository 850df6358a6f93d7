//! Thousands of short runs of a pool, each drawn from a seed.
//!
//! Everything between a caller and the wire is the production code: lanes, windows, matching,
//! deadlines, breaker, hedges, supervision. The server is a [`RedisModel`] whose behaviour keeps
//! changing: it stalls, loads, goes down, closes connections in the middle of a reply, replies
//! late. In every run:
//!
//! - a value is one that was written under the requested key;
//! - no caller waits beyond its timeout, to the tick of the clock;
//! - the pool never dials more often than the back-off allows;
//! - two seconds after the server has recovered, every read succeeds.
//!
//! `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` the first n.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::model::{RedisModel, ServerBehaviour, TICK, TIMEOUT, on_paused_clock};
use crate::limits::REDIS_BACKOFF_MIN;
use crate::redis::{Command, CommandError, RedisPool};
use crate::time::instant;

/// Seeds in a test run.
const SEEDS: u64 = 1000;
const CALLERS: usize = 12;
const KEYS: u64 = 6;
/// Changes of behaviour in one run.
const PHASES: usize = 3;
/// The longest recovery after the server's own.
const RECOVERY: Duration = Duration::from_secs(2);

pub(super) fn number(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the seed of a test is no setting")]
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// Prints the seed if the run fails.
pub(super) struct SeedReport(pub(super) u64);

impl Drop for SeedReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIMULATION_SEED={} fails", self.0);
        }
    }
}

#[test]
fn callers_are_served_correctly_whatever_the_server_does() {
    let seeds = match number("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let workers = std::thread::available_parallelism().unwrap().get() as u64;
    let mut outcomes = ReadOutcomes::default();
    std::thread::scope(|scope| {
        let part = |worker| seeds.clone().filter(move |seed| seed % workers == worker);
        let runs: Vec<_> = (0..workers).map(|worker| scope.spawn(move || lives(part(worker)))).collect();
        runs.into_iter().for_each(|run| outcomes.add(run.join().unwrap()));
    });
    // A simulation without failures, or without successes, proves nothing.
    if seeds.end - seeds.start >= SEEDS {
        let ReadOutcomes { values, misses, timeouts, refusals } = outcomes;
        assert!([values, misses, timeouts, refusals].iter().all(|&count| count > SEEDS), "{outcomes:?}");
    }
}

fn lives(seeds: impl Iterator<Item = u64>) -> ReadOutcomes {
    let mut outcomes = ReadOutcomes::default();
    for seed in seeds {
        let named = SeedReport(seed);
        on_paused_clock(async { outcomes.add(life(seed).await) });
        drop(named);
    }
    outcomes
}

/// The outcomes of reads.
#[derive(Clone, Copy, Debug, Default)]
struct ReadOutcomes {
    values: u64,
    misses: u64,
    timeouts: u64,
    refusals: u64,
}

impl ReadOutcomes {
    fn add(&mut self, other: Self) {
        self.values += other.values;
        self.misses += other.misses;
        self.timeouts += other.timeouts;
        self.refusals += other.refusals;
    }
}

async fn life(seed: u64) -> ReadOutcomes {
    let mut rng = Rng::with_seed(seed);
    let model = RedisModel::new(seed);
    let connections = rng.usize(1..=6);
    let (pool, _registry) = model.pool(connections, [0.0, 0.02, 1.0][rng.usize(..3)]).await;
    let outcomes = Rc::new(Cell::new(ReadOutcomes::default()));
    let enough = Rc::new(Cell::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (rng, outcomes, enough) = (rng.fork(), Rc::clone(&outcomes), Rc::clone(&enough));
            spawn_local(call(pool.clone(), rng, outcomes, enough))
        })
        .collect();
    for _ in 0..PHASES {
        let behaviour = behaviour(&mut rng);
        let start = instant();
        model.set(|now| *now = behaviour.clone());
        let length = Duration::from_millis(rng.u64(10..200));
        sleep(length).await;
        if behaviour.away {
            // All slots lose their connection at the same time; then only the first one dials.
            let most = length.as_millis() / (REDIS_BACKOFF_MIN / 2).as_millis() + 1;
            let dials = model.dials_since(start);
            assert!(dials as u128 <= connections as u128 + most, "{dials} dials in {length:?}");
        }
    }
    model.set(|behaviour| *behaviour = ServerBehaviour::default());
    enough.set(true);
    for caller in callers {
        caller.await.unwrap();
    }
    sleep(RECOVERY).await;
    for key in 0..KEYS {
        let got = read(&pool, &key.to_string()).await;
        assert!(got.is_ok(), "{got:?} although the server is well again");
    }
    pool.close().await;
    outcomes.get()
}

/// Draws a behaviour of the server.
fn behaviour(rng: &mut Rng) -> ServerBehaviour {
    let usual = [0..1, 100..2000, 8_000..20_000][rng.usize(..3)].clone();
    let behaviour = ServerBehaviour { usual, ..ServerBehaviour::default() };
    match rng.u8(..9) {
        0 => ServerBehaviour { stalled: true, ..behaviour },
        1 => ServerBehaviour { away: true, ..behaviour },
        2 => ServerBehaviour { loading: true, ..behaviour },
        3 => ServerBehaviour { poisoned: true, cut: 0.1, ..behaviour },
        4 => ServerBehaviour { cut: 0.05, ..behaviour },
        5 => ServerBehaviour { tail: (0.1, 1..120), ..behaviour },
        6 => ServerBehaviour {
            slow: Some((rng.usize(..8), Duration::from_millis(rng.u64(1..1500)))),
            ..behaviour
        },
        7 => ServerBehaviour { tail: (0.3, 1..30), cut: 0.02, ..behaviour },
        _ => behaviour,
    }
}

/// Sends many commands in a row, and abandons some.
async fn call(pool: RedisPool, mut rng: Rng, outcomes: Rc<Cell<ReadOutcomes>>, enough: Rc<Cell<bool>>) {
    while !enough.get() {
        let key = rng.u64(..KEYS).to_string();
        let start = instant();
        match rng.u8(..10) {
            0..6 => {
                let read = read(&pool, &key).await;
                let mut counted = outcomes.get();
                match read {
                    Ok(Some(_)) => counted.values += 1,
                    Ok(None) => counted.misses += 1,
                    Err(CommandError::Timeout) => counted.timeouts += 1,
                    Err(_) => counted.refusals += 1,
                }
                outcomes.set(counted);
            }
            6..8 => {
                // Some are large, and use the other lane.
                let value = format!(
                    "{key}:{}",
                    "v".repeat(if rng.u8(..12) == 0 { 20_000 } else { rng.usize(..300) })
                );
                let _ = pool.set(key.as_bytes(), value.into(), Duration::from_secs(60)).await;
            }
            8 => {
                let _ = pool.command(&Command::Unlink { key: key.as_bytes() }).await;
            }
            _ => {
                let limit = Duration::from_millis(rng.u64(..4));
                let _ = tokio::time::timeout(limit, read(&pool, &key)).await;
            }
        }
        let took = instant() - start;
        assert!(took <= TIMEOUT + TICK, "a caller waited {took:?}");
        // Mostly in bursts.
        if rng.u8(..4) > 0 {
            sleep(Duration::from_millis(rng.u64(..60))).await;
        }
    }
}

/// Reads a key, and checks that the value belongs to it.
async fn read(pool: &RedisPool, key: &str) -> Result<Option<Bytes>, CommandError> {
    let got = pool.get(key.as_bytes()).await;
    if let Ok(Some(value)) = &got {
        assert_eq!(value.split(|&byte| byte == b':').next(), Some(key.as_bytes()), "another key's value");
    }
    got
}
