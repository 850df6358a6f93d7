//! CacheWarp between failing servers: the tail under faults, overload, and a soak. See `--help`.
//!
//! The load is `benches/load`: an open loop, in which a latency counts from the due time of its
//! request. The requests are in `mix.rs`, the faults in `fault.rs`, the servers in `world.rs`.
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

use clap::{Parser, ValueEnum};

type Failure = Box<dyn Error + Send + Sync>;

/// CacheWarp between failing servers.
///
/// Starts two nodes of the program on one address (listen_reuse_port), an origin, redis-server and
/// sentinels, makes them fail, and stops them again. The exit code is 1 if a measurement fails or
/// an aim is missed: memory that grows, a refusal without Retry-After.
#[derive(Debug, Parser)]
#[command(name = "faults", verbatim_doc_comment)]
struct Arguments {
    /// The cachewarp binary to start.
    program: String,
    /// Measurement to run.
    #[arg(value_enum, default_value_t = Measure::Tail)]
    measure: Measure,
    /// Requests due a second; `overload` has its own rate.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    rate: u32,
    /// Duration of a fault, or of the soak.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Faults of `tail` whose name contains this text.
    #[arg(long, default_value = "")]
    only: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Measure {
    /// Each fault in turn under an open loop; latencies by class of request.
    Tail,
    /// Twice the capacity of the origin, between two loads of 80 % of it.
    Overload,
    /// All faults repeatedly; memory, descriptors and work in progress after every ten seconds.
    Soak,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (program, rate) = (&arguments.program, f64::from(arguments.rate));
    let length = Duration::from_secs(arguments.seconds);
    let outcome = match arguments.measure {
        Measure::Tail => tail::measure(program, rate, length, &arguments.only),
        Measure::Overload => overload::measure(program, length),
        Measure::Soak => soak::measure(program, rate, length),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is closed, the exit code still reports the failure.
            let _ = writeln!(std::io::stderr(), "faults: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line of the report at once, since a phase takes long.
fn print(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
