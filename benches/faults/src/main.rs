//! CacheWarp among servers that fail: the tail under faults, overload, and a soak. See USAGE.
//!
//! The load is `benches/load`: an open loop, in which a latency counts from when a request was due. What is asked is in
//! `mix.rs`, what fails in `fault.rs`, who takes part in `world.rs`.
//!
//! ```text
//! main ──► tail | overload | soak ──► mix (load) ──► CacheWarp, twice on one address ──► relay ──► Redis
//!                └──► fault ──► world ────────────────┘                                   └────────► origin
//! ```

mod fault;
mod mix;
mod origin;
mod overload;
mod probe;
mod process;
mod relay;
mod report;
mod sentinels;
mod soak;
mod tail;
mod world;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
faults CACHEWARP [tail|overload|soak] [OPTION...]

Starts two nodes of the program CACHEWARP on one address (listen_handover), an origin, redis-server and sentinels, lets them
fail, and stops them again.

  tail               each fault in turn under an open loop; latencies by what was asked for (default)
  overload           twice what the origin can do, between two loads of 80 % of it
  soak               all faults again and again; memory, descriptors and what is under way every ten seconds

  --rate 8000        requests due a second
  --seconds 10       how long a fault lasts, or the soak
  --only TEXT        the faults whose name holds this

Exit code 1 if something cannot be measured, or does not hold: memory that grows, a refusal without Retry-After.
";

type Failure = Box<dyn Error + Send + Sync>;

/// What is to be done.
#[derive(Debug)]
struct Arguments {
    program: String,
    measure: Measure,
    rate: f64,
    seconds: u64,
    only: String,
}

#[derive(Debug, Clone, Copy)]
enum Measure {
    Tail,
    Overload,
    Soak,
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => return say(2, &format!("faults: {fault}\n\n{USAGE}")),
    };
    let length = Duration::from_secs(arguments.seconds);
    let outcome = match arguments.measure {
        Measure::Tail => tail::measure(&arguments.program, arguments.rate, length, &arguments.only),
        Measure::Overload => overload::measure(&arguments.program, length),
        Measure::Soak => soak::measure(&arguments.program, arguments.rate, length),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => say(1, &format!("faults: {failure}\n")),
    }
}

fn say(code: u8, text: &str) -> ExitCode {
    // If standard error is closed, the exit code still says it.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

/// A line of the report, at once: a phase takes long.
fn print(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let program = words.next().ok_or("which program?")?;
        let mut read =
            Self { program, measure: Measure::Tail, rate: 8_000.0, seconds: 10, only: String::new() };
        while let Some(word) = words.next() {
            match word.as_str() {
                "tail" => read.measure = Measure::Tail,
                "overload" => read.measure = Measure::Overload,
                "soak" => read.measure = Measure::Soak,
                _ => {
                    let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
                    let wrong = || format!("{word} {value}: not understood");
                    match word.as_str() {
                        "--rate" => {
                            read.rate = value
                                .parse()
                                .ok()
                                .filter(|rate| (1.0..1e6).contains(rate))
                                .ok_or_else(wrong)?;
                        }
                        "--seconds" => {
                            read.seconds = value
                                .parse()
                                .ok()
                                .filter(|seconds| (1..=86_400).contains(seconds))
                                .ok_or_else(wrong)?;
                        }
                        "--only" => read.only = value,
                        _ => return Err(wrong()),
                    }
                }
            }
        }
        Ok(read)
    }
}
