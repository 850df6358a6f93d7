//! `load`: see USAGE.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use load::request::Request;
use load::{Idle, Order, Phase, Plan, report};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const USAGE: &str = "\
load [OPTION...] --phase PHASE... [WEIGHT@]URL...

Sends GETs at the times that the phases say, whatever the server does, and counts each latency from when its request was
due. A URL and a header may hold {0..1000}: a number, drawn anew for each request.

  --phase NAME,rate=8000,seconds=10    open loop: so many a second
  --phase NAME,rate=max,requests=500   closed loop: as fast as connections become free
  --connections 64                     kept-alive connections to each address
  --timeout 10                         seconds after it was due that a request is given up
  --header 'name: value'               a field of every request; may come again
  --order random|sequential            how the numbers of a range follow each other
  --idle sleep|spin                    until the next is due: spin for exact latencies on a core of its own
  --seed 1                             the same seed asks the same
  --watch PID                          tell this process' CPU time for each answer too
  --json                               one JSON object for each phase

Exit code 0 also if requests failed: they are counted. When a phase begins, `began NAME` is said on standard error.
";

const CONNECTIONS_MAX: usize = 30_000;

fn main() -> ExitCode {
    let plan = match Arguments::read(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(fault) => return say(2, &format!("load: {fault}\n\n{USAGE}")),
    };
    // A connection is a file; the shell's limit is often 1,024.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        return say(1, &format!("load: the limit of open files: {error}\n"));
    }
    let names: Vec<_> = plan.plan.phases.iter().map(|phase| phase.name.clone()).collect();
    let began = |phase: usize| {
        if let Some(name) = names.get(phase) {
            // Nobody reading is no reason to stop.
            let _ = writeln!(std::io::stderr(), "began {name}");
        }
    };
    let tallies = match load::run(&plan.plan, began) {
        Ok(tallies) => tallies,
        Err(fault) => return say(1, &format!("load: {fault}\n")),
    };
    let text = match plan.form {
        Form::Table => report::table(&plan.plan.phases, &tallies),
        Form::Json => {
            let lines = plan.plan.phases.iter().zip(&tallies);
            lines.map(|(phase, tally)| report::json(phase, tally) + "\n").collect()
        }
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn say(code: u8, text: &str) -> ExitCode {
    // If standard error is closed, the exit code still says it.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

enum Form {
    Table,
    Json,
}

struct Arguments {
    plan: Plan,
    form: Form,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan = Plan {
            requests: Vec::new(),
            connections: 64,
            timeout: Duration::from_secs(10),
            order: Order::Random,
            idle: Idle::Sleep,
            seed: 1,
            watch: None,
            phases: Vec::new(),
        };
        let (mut form, mut urls, mut fields) = (Form::Table, Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            if word == "--json" {
                form = Form::Json;
                continue;
            }
            if !word.starts_with("--") {
                urls.push(word);
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let wrong = || format!("{word} {value}: not understood");
            match word.as_str() {
                "--phase" => plan.phases.push(Phase::parse(&value).map_err(|fault| fault.to_string())?),
                "--connections" => {
                    plan.connections = value.parse().map_err(|_| wrong())?;
                    if !(1..=CONNECTIONS_MAX).contains(&plan.connections) {
                        return Err(format!("{word}: between 1 and {CONNECTIONS_MAX}"));
                    }
                }
                "--timeout" => {
                    let seconds: f64 = value.parse().map_err(|_| wrong())?;
                    plan.timeout = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
                }
                "--header" => fields.push(value),
                "--order" if value == "random" => plan.order = Order::Random,
                "--order" if value == "sequential" => plan.order = Order::Sequential,
                "--idle" if value == "sleep" => plan.idle = Idle::Sleep,
                "--idle" if value == "spin" => plan.idle = Idle::Spin,
                "--watch" => plan.watch = Some(value.parse().map_err(|_| wrong())?),
                "--seed" => plan.seed = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        for url in urls {
            plan.requests.push(Request::parse(&url, &fields).map_err(|fault| fault.to_string())?);
        }
        if plan.requests.is_empty() || plan.phases.is_empty() {
            return Err("at least one --phase and one URL".into());
        }
        Ok(Self { plan, form })
    }
}
