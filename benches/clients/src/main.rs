//! The cost of a `GET` with several clients, on one thread, as a worker of CacheWarp would use
//! them.
//!
//! Each client runs in turn on a current-thread runtime, against one `redis-server` that this
//! program starts on a free loopback port. In a round of fixed length, concurrent callers send one
//! command after the other. The rounds of the clients are interleaved, so that other load on the
//! machine affects all of them. The CPU time is that of this process (`getrusage`, user and
//! system), without the server's. The program compares every value with the written one.
//!
//! `benches/clients/run.sh` builds and runs the program. `ROUNDS=n ROUND_MS=n` make it longer.

mod server;
mod subjects;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use subjects::Subject;
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: [usize; 3] = [1, 64, 512];
const SIZES: [(&str, usize); 3] = [("100 B", 100), ("1 KB", 1024), ("64 KB", 64 * 1024)];
const KEYS: usize = 64;

/// The result of one round of one client.
struct Round {
    /// Microseconds of CPU time for each command.
    cpu: f64,
    /// Commands a second.
    rate: f64,
    /// The times from the call to the value, ascending.
    latencies: Vec<Duration>,
    /// The number of failures, by message.
    failed: BTreeMap<String, u64>,
}

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("ROUNDS", 5);
    let length = Duration::from_millis(number("ROUND_MS", 300_u64));
    let server = server::Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let subjects = subjects::all(server.port()).await;
        println!("callers  value   client             cpu µs: min   median  max     GET/s     p50 µs   p99 µs   p99.9 µs   CPU, and failures");
        for (size, bytes) in SIZES {
            let value = "v".repeat(bytes);
            for key in 0..KEYS {
                subjects[0].set(&name(bytes, key), &value).await;
            }
            for callers in CALLERS {
                let mut results: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
                // The first round of each is a warm-up.
                for round in 0..=rounds {
                    for (subject, results) in subjects.iter().zip(&mut results) {
                        let result = run(subject, callers, bytes, length).await;
                        if round > 0 {
                            results.push(result);
                        }
                    }
                }
                let fred = median(results.iter().zip(&subjects).find(|(_, one)| one.name() == "fred × 20").expect("a client called fred × 20").0);
                for (subject, results) in subjects.iter().zip(&mut results) {
                    print(callers, size, subject, results, fred);
                }
            }
        }
    });
}

fn name(bytes: usize, key: usize) -> String {
    format!("cachewarp:{bytes:08}:0123456789abcdef{key:08}")
}

async fn run(subject: &Rc<Subject>, callers: usize, bytes: usize, length: Duration) -> Round {
    let latencies = Rc::new(RefCell::new(Vec::with_capacity(1 << 20)));
    let failed = Rc::new(RefCell::new(BTreeMap::new()));
    let (start, cpu) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (subject, latencies, failed) =
                (Rc::clone(subject), Rc::clone(&latencies), Rc::clone(&failed));
            spawn_local(async move {
                for key in (0..KEYS).cycle().skip(caller % KEYS) {
                    let asked = Instant::now();
                    if asked - start >= length {
                        return;
                    }
                    match subject.get(&name(bytes, key)).await {
                        Ok(length) => {
                            assert_eq!(length, bytes, "another caller's value");
                            latencies.borrow_mut().push(asked.elapsed());
                        }
                        Err(why) => {
                            *failed.borrow_mut().entry(why).or_insert(0) += 1;
                            // A failure may return at once, so the caller yields before it tries
                            // again.
                            tokio::task::yield_now().await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let (took, cpu) = (start.elapsed(), self::cpu() - cpu);
    let mut latencies = latencies.take();
    latencies.sort_unstable();
    let commands = latencies.len().max(1) as f64;
    Round {
        cpu: cpu.as_secs_f64() * 1e6 / commands,
        rate: commands / took.as_secs_f64(),
        latencies,
        failed: failed.take(),
    }
}

/// Returns the user and system time of this process.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a successful getrusage");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

fn median(rounds: &[Round]) -> f64 {
    let mut cpu: Vec<_> = rounds.iter().map(|round| round.cpu).collect();
    cpu.sort_unstable_by(f64::total_cmp);
    cpu[cpu.len() / 2]
}

fn print(callers: usize, size: &str, subject: &Subject, rounds: &mut [Round], fred: f64) {
    rounds.sort_unstable_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let (first, last, middle) = (&rounds[0], &rounds[rounds.len() - 1], &rounds[rounds.len() / 2]);
    let at = |part: f64| {
        let all = &middle.latencies;
        all.get((all.len() as f64 * part) as usize).map_or(0, Duration::as_micros)
    };
    let mut failed = BTreeMap::<&str, u64>::new();
    for (why, count) in rounds.iter().flat_map(|round| &round.failed) {
        *failed.entry(why).or_default() += count;
    }
    let failed: Vec<_> = failed.iter().map(|(why, count)| format!("{count}: {why}")).collect();
    println!(
        "{callers:>7}  {size:<6}  {:<18} {:>11.2} {:>8.2} {:>6.2} {:>9.0} {:>10} {:>8} {:>10}   {:.2} of fred × 20   {}",
        subject.name(),
        first.cpu,
        middle.cpu,
        last.cpu,
        middle.rate,
        at(0.5),
        at(0.99),
        at(0.999),
        middle.cpu / fred,
        failed.join("; "),
    );
}
