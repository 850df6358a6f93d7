//! The `load` program: see `--help`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, error::ErrorKind};
use load::request::Request;
use load::{Idle, Order, Phase, Plan, report};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CONNECTIONS_MAX: u64 = 30_000;

/// Sends GET requests at the times that the phases define, whatever the server does, and counts
/// each latency from the time at which its request was due.
///
/// A URL and a header may contain {0..1000}: a number, drawn anew for each request. The exit code
/// is 0 even if requests fail: the report counts them. At the beginning of a phase, the program
/// writes `began NAME` to standard error.
#[derive(Debug, Parser)]
#[command(name = "load", verbatim_doc_comment)]
struct Arguments {
    /// URL to request, and its weight among the URLs.
    #[arg(value_name = "[WEIGHT@]URL", required = true)]
    urls: Vec<String>,
    /// `NAME,rate=8000,seconds=10`: an open loop, with this many requests a second.
    /// `NAME,rate=max,requests=500`: a closed loop, as fast as connections become free. Repeat the
    /// option for consecutive phases.
    #[arg(long = "phase", value_name = "PHASE", required = true, value_parser = Phase::parse)]
    phases: Vec<Phase>,
    /// Kept-alive connections to each address.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Seconds after its due time at which a request is given up.
    #[arg(long, default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Field of every request, as `name: value`; repeatable.
    #[arg(long = "header", value_name = "FIELD")]
    fields: Vec<String>,
    /// Order of the numbers of a range.
    #[arg(long, value_enum, default_value_t = Order::Random)]
    order: Order,
    /// Activity until the next request is due.
    #[arg(long, value_enum, default_value_t = Idle::Sleep)]
    idle: Idle,
    /// Seed of the random numbers. Equal seeds send equal requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also report the CPU time of this process for each answer.
    #[arg(long, value_name = "PID")]
    watch: Option<u32>,
    /// Print one JSON object for each phase.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let plan = match Plan::try_from(arguments) {
        Ok(plan) => plan,
        Err(fault) => Arguments::command().error(ErrorKind::ValueValidation, fault).exit(),
    };
    // Each connection takes a file descriptor; the shell's limit is often 1,024.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        return failed(&format!("cannot raise the limit of open files: {error}"));
    }
    let names: Vec<_> = plan.phases.iter().map(|phase| phase.name.clone()).collect();
    let began = |phase: usize| {
        if let Some(name) = names.get(phase) {
            // A closed standard error does not stop the run.
            let _ = writeln!(std::io::stderr(), "began {name}");
        }
    };
    let tallies = match load::run(&plan, began) {
        Ok(tallies) => tallies,
        Err(fault) => return failed(&fault.to_string()),
    };
    let text = if json {
        let lines = plan.phases.iter().zip(&tallies);
        lines.map(|(phase, tally)| report::json(phase, tally) + "\n").collect()
    } else {
        report::table(&plan.phases, &tallies)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(why: &str) -> ExitCode {
    // If standard error is closed, the exit code still reports the failure.
    let _ = writeln!(std::io::stderr(), "load: {why}");
    ExitCode::FAILURE
}

impl TryFrom<Arguments> for Plan {
    type Error = String;

    fn try_from(read: Arguments) -> Result<Self, String> {
        let urls = read.urls.iter().map(|url| Request::parse(url, &read.fields));
        Ok(Self {
            requests: urls.collect::<Result<_, _>>().map_err(|fault| fault.to_string())?,
            connections: usize::try_from(read.connections).map_err(|fault| fault.to_string())?,
            timeout: read.timeout,
            order: read.order,
            idle: read.idle,
            seed: read.seed,
            watch: read.watch,
            phases: read.phases,
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|fault| fault.to_string())
}
