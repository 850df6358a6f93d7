//! What is asked: five classes of requests, each with a load of its own, so that no class waits for another's connections.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use load::request::Request;
use load::tally::Tally;
use load::{Idle, Length, Order, Pace, Phase, Plan};

use crate::Failure;
use crate::fault::Part;

/// Longer than any origin here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses of `/wide/`: several times what a node's memory holds.
const WIDE: u64 = 30_000;
/// Addresses of `/hot/`: a node's memory holds them all.
const HOT: u64 = 1_000;
/// How fast they are asked for the first time.
const WARM_RATE: f64 = 4_000.0;

/// Requests of one kind.
#[derive(Debug)]
pub(crate) struct Class {
    /// What its answers are.
    pub(crate) name: &'static str,
    path: &'static str,
    /// Of a hundred requests.
    share: u32,
    /// Enough for what is under way while the origin takes two seconds.
    connections: usize,
    /// Without which there is no answer but an error; `None` if there always is.
    pub(crate) needs: Option<Part>,
}

/// 60 % in memory, 20 % in Redis (and one in six of these in memory), 10 % expire every second, 9 % were never asked for,
/// 1 % may not be stored.
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

/// Asks for all classes for so long; what was seen of each.
pub(crate) fn ask(at: SocketAddr, rate: f64, length: Duration, seed: u64) -> Result<Vec<Tally>, Failure> {
    thread::scope(|scope| {
        let classes = CLASSES.iter().zip(seed..).map(|(class, seed)| {
            let rate = rate * f64::from(class.share) / 100.0;
            let plan = plan(at, class.path, class.connections, rate, Length::Time(length), seed);
            scope.spawn(move || one(&plan?))
        });
        // All are started before the first is waited for.
        let classes: Vec<_> = classes.collect();
        classes.into_iter().map(|class| class.join().map_err(|_| "a load panicked")?).collect()
    })
}

/// Asks for everything that is to be in a cache once.
pub(crate) fn warm(at: SocketAddr) -> Result<(), Failure> {
    let mut plan = plan(at, "wide/{0..30000}", 64, WARM_RATE, Length::Requests(WIDE), 1)?;
    plan.order = Order::Sequential;
    one(&plan)?;
    // Connections are spread over the nodes, and used in turn: so each node is asked for everything several times.
    let mut plan = self::plan(at, "hot/{0..1000}", 63, WARM_RATE, Length::Requests(10 * HOT), 1)?;
    plan.order = Order::Sequential;
    one(&plan)?;
    ask(at, WARM_RATE, Duration::from_secs(2), 1).map(drop)
}

/// One kind of request.
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

/// Carries out a plan of one phase.
pub(crate) fn one(plan: &Plan) -> Result<Tally, Failure> {
    load::run(plan, |_| {})?.pop().ok_or_else(|| "a plan without a phase".into())
}
