//! A node of the simulated fleet: a process with some workers, each with a real [`Store`].
//!
//! Every task of a node runs on a [`LocalSet`] of its own, which is polled as this node: its
//! connections belong to the node, and its wall clock may differ. A crash drops the set.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::replication::{HOST, MASTER, SENTINELS, SERVERS};
use crate::entry::CompressionPolicy;
use crate::redis::tests::network::as_node;
use crate::redis::{
    Deployment, Endpoint, Options as RedisOptions, RedisAddress, Sentinels, StatsBoard, Topology,
};
use crate::sealing::SharedSealKeys;
use crate::store::{Namespace, Options, Store, StoreShared};
use crate::telemetry::Registry;
use crate::time::simulated::{WallClock, by_clock};
use crate::time::{Timestamp, instant};

/// The name of every origin's keys.
const NAMESPACE: &str = "s";

/// The options of a node.
#[derive(Clone, Debug)]
pub(super) struct NodeOptions {
    pub(super) number: usize,
    pub(super) workers: usize,
    pub(super) connections: usize,
    pub(super) memory_ttl: Duration,
    pub(super) memory_alone_max: Duration,
    pub(super) topology: FleetTopology,
    /// The time that the node's wall clock shows at the start of the run.
    pub(super) clock: Timestamp,
}

/// The servers of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FleetTopology {
    Single,
    /// A master with this many replicas, and sentinels.
    Sentinel(usize),
}

impl FleetTopology {
    fn as_option(self) -> Topology {
        match self {
            Self::Single => Topology::Single,
            Self::Sentinel(_) => Topology::Sentinel(Sentinels {
                seeds: SENTINELS.map(|port| Endpoint { host: HOST.to_owned(), port }).to_vec(),
                master: MASTER.to_owned(),
                credentials: None,
            }),
        }
    }
}

/// A running node.
pub(super) struct SimulatedNode {
    pub(super) shared: StoreShared,
    workers: Vec<Rc<Store>>,
    local: Rc<LocalSet>,
    context: NodeContext,
    work: NodeWork,
}

/// The polled set of a node; `None` once the node has crashed.
type NodeWork = Rc<RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>>;

#[derive(Clone, Copy)]
struct NodeContext {
    number: usize,
    clock: WallClock,
}

impl NodeContext {
    fn run<T>(self, work: impl FnOnce() -> T) -> T {
        as_node(self.number, || by_clock(Some(self.clock), work))
    }
}

/// Polls the tasks of a node.
struct NodePump {
    context: NodeContext,
    work: NodeWork,
}

impl Future for NodePump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = self.work.borrow_mut();
        let Some(work) = work.as_mut() else { return Poll::Ready(()) };
        self.context.run(|| work.as_mut().poll(cx))
    }
}

impl SimulatedNode {
    /// Starts a node, whose clock continues from `begin`.
    pub(super) fn start(options: &NodeOptions, begin: std::time::Instant) -> Self {
        let clock = WallClock { at: begin, shown: options.clock };
        let context = NodeContext { number: options.number, clock };
        let local = Rc::new(LocalSet::new());
        let (shared, workers) = context.run(|| {
            let _entered = local.enter();
            open(options)
        });
        let set = Rc::clone(&local);
        let running = async move { set.run_until(std::future::pending::<()>()).await };
        let work: NodeWork = Rc::new(RefCell::new(Some(Box::pin(running))));
        spawn_local(NodePump { context, work: Rc::clone(&work) });
        Self { shared, workers, local, context, work }
    }

    /// Runs a task of the node's worker with this number.
    pub(super) fn spawn<T: 'static, W: Future<Output = T> + 'static>(
        &self,
        worker: usize,
        work: impl FnOnce(Rc<Store>) -> W,
    ) -> JoinHandle<T> {
        let store = Rc::clone(&self.workers[worker % self.workers.len()]);
        self.local.spawn_local(work(store))
    }

    /// Ends the node at once: each of its tasks is dropped where it waits.
    pub(super) fn crash(self) {
        let Self { shared, workers, local, context, work } = self;
        context.run(|| {
            // The pump has no work any more. Its future must not be dropped while it is borrowed.
            let running = work.take();
            drop((running, local, workers, shared));
        });
    }
}

fn open(options: &NodeOptions) -> (StoreShared, Vec<Rc<Store>>) {
    let NodeOptions { number, workers, connections, memory_ttl, memory_alone_max, topology, clock: _ } =
        *options;
    let store_options = Options {
        memory_bytes: 256 * 1024,
        body_bytes_max: 1024,
        memory_ttl,
        memory_alone_max,
        namespace: Namespace::named("", NAMESPACE),
        warm_keys: 0,
        node_name: format!("n{number}"),
        entry_keys: SharedSealKeys::default(),
        name_key: crate::key::NameKey::default(),
        compression: CompressionPolicy::Zstd,
        registered_name: format!("n{number}"),
    };
    let shared = StoreShared::new(store_options, &Registry::new());
    let board = StatsBoard::new(instant());
    let stores = (0..workers).map(|_| {
        let address = RedisAddress::Tcp { host: HOST.to_owned(), port: SERVERS[0] };
        let server = RedisOptions { connections, board: board.clone(), ..RedisOptions::at(address) };
        let deployment = Deployment { topology: topology.as_option(), server };
        Rc::new(Store::open(shared.clone(), Some(deployment), &Registry::new()))
    });
    (shared.clone(), stores.collect())
}
