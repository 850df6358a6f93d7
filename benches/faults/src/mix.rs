//! The load: five classes of requests, each with its own generator, so that no class waits for
//! another's connections.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use load::request::Request;
use load::tally::Tally;
use load::{Idle, Length, Order, Pace, Phase, Plan};

use crate::Failure;
use crate::fault::Part;

/// A timeout longer than any origin here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Paths below `/wide/`: several times the capacity of a node's memory.
const WIDE: u64 = 30_000;
/// Paths below `/hot/`: a node's memory holds them all.
const HOT: u64 = 1_000;
/// The rate at which the caches are filled.
const WARM_RATE: f64 = 4_000.0;

/// Requests of one kind.
#[derive(Debug)]
pub(crate) struct Class {
    /// The name in the report.
    pub(crate) name: &'static str,
    path: &'static str,
    /// The share of all requests, in percent.
    share: u32,
    /// Connections: enough for the requests in flight while the origin takes two seconds.
    connections: usize,
    /// The part without which the answer is an error; `None` if a stored answer always exists.
    pub(crate) needs: Option<Part>,
}

/// 60 % in memory, 20 % in Redis (one in six of these in memory), 10 % expire every second, 9 % are
/// new, 1 % must not be stored.
pub(crate) const CLASSES: [Class; 5] = [
    Class { name: "in memory", path: "hot/{0..1000}", share: 60, connections: 256, needs: None },
    Class { name: "in Redis", path: "wide/{0..30000}", share: 20, connections: 512, needs: None },
    Class { name: "expiring", path: "short/{0..200}", share: 10, connections: 512, needs: None },
    Class {
        name: "never asked for",
        path: "miss/{0..1000000000000}",
        share: 9,
        connections: 2_048,
        needs: Some(Part::Origin),
    },
    Class {
        name: "not storable",
        path: "private/{0..1000}",
        share: 1,
        connections: 256,
        needs: Some(Part::Origin),
    },
];

/// Sends requests of all classes for this long. Returns the results of each class.
pub(crate) fn ask(at: SocketAddr, rate: f64, length: Duration, seed: u64) -> Result<Vec<Tally>, Failure> {
    thread::scope(|scope| {
        let classes = CLASSES.iter().zip(seed..).map(|(class, seed)| {
            let rate = rate * f64::from(class.share) / 100.0;
            let plan = plan(at, class.path, class.connections, rate, Length::Time(length), seed);
            scope.spawn(move || one(&plan?))
        });
        // All classes are started before the first one is awaited.
        let classes: Vec<_> = classes.collect();
        classes.into_iter().map(|class| class.join().map_err(|_| "a load panicked")?).collect()
    })
}

/// Requests everything once that is to be cached.
pub(crate) fn warm(at: SocketAddr) -> Result<(), Failure> {
    let mut plan = plan(at, "wide/{0..30000}", 64, WARM_RATE, Length::Requests(WIDE), 1)?;
    plan.order = Order::Sequential;
    one(&plan)?;
    // Connections are spread over the nodes and used in turn, so each node gets every path several
    // times.
    let mut plan = self::plan(at, "hot/{0..1000}", 63, WARM_RATE, Length::Requests(10 * HOT), 1)?;
    plan.order = Order::Sequential;
    one(&plan)?;
    ask(at, WARM_RATE, Duration::from_secs(2), 1).map(drop)
}

/// Returns the plan of one kind of request.
pub(crate) fn plan(
    at: SocketAddr,
    path: &str,
    connections: usize,
    rate: f64,
    length: Length,
    seed: u64,
) -> Result<Plan, Failure> {
    Ok(Plan {
        requests: vec![Request::parse(&format!("http://{at}/{path}"), &[])?],
        connections,
        timeout: TIMEOUT,
        order: Order::Random,
        idle: Idle::Sleep,
        seed,
        watch: None,
        phases: vec![Phase { name: "asked".into(), pace: Pace::PerSecond(rate), length }],
    })
}

/// Runs a plan of one phase.
pub(crate) fn one(plan: &Plan) -> Result<Tally, Failure> {
    load::run(plan, |_| {})?.pop().ok_or_else(|| "a plan without a phase".into())
}
