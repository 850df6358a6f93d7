//! One run of the simulated fleet: nodes, a server, an origin, and the events of a schedule.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::sleep;

use super::history::History;
use super::node::{FleetTopology, NodeOptions, SimulatedNode};
use super::origin::{Origin, RESOURCES, Shown};
use super::planted::{self, PlantedFault};
use super::replication::{ReplicaGroup, SERVERS};
use super::requests::{AnswerSource, FleetLeases, SharedFetches, SimulatedRequest};
use super::server::{RedisServer, SERVER_EPOCH};
use super::windows::Disturbances;
use super::writes::SimulatedWrite;
use crate::redis::tests::network::{EnteredNetwork, SimulatedNetwork, TravelDelay};
use crate::store::{PurgeResult, PurgeScope, PurgeStrength, Replication};
use crate::time::{Timestamp, instant};

/// The options of a run.
#[derive(Clone, Debug)]
pub(super) struct FleetOptions {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    pub(super) workers: usize,
    pub(super) connections: usize,
    pub(super) memory_ttl: Duration,
    pub(super) memory_alone_max: Duration,
    /// The differences of the nodes' wall clocks from that of the server, in milliseconds.
    pub(super) clocks: Vec<i64>,
    pub(super) leases: FleetLeases,
    pub(super) has_resp3: bool,
    pub(super) topology: FleetTopology,
    /// The delay of the network without faults.
    pub(super) delay: TravelDelay,
    /// Whether the run has no faults.
    pub(super) is_calm: bool,
    pub(super) planted: Option<PlantedFault>,
}

/// The time in which a write reaches every node of a fleet without faults that has RESP3.
const WRITE_ARRIVES: Duration = Duration::from_millis(500);
/// The lifetime of the entries of requests that check the fleet.
const CHECKED_FOR: Duration = Duration::from_secs(600);

/// Whether requests check a purge as soon as it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PurgeCheck {
    AtOnce,
    Later,
}

/// The fleet of a run.
pub(super) struct Fleet {
    pub(super) options: FleetOptions,
    pub(super) network: SimulatedNetwork,
    pub(super) servers: Rc<ReplicaGroup>,
    nodes: RefCell<Vec<Option<SimulatedNode>>>,
    fetches: RefCell<Vec<SharedFetches>>,
    disturbances: RefCell<Vec<Disturbances>>,
    pub(super) origin: Rc<Origin>,
    pub(super) history: Rc<History>,
    /// The requests and purges under way.
    under_way: RefCell<JoinSet<()>>,
    begin: Instant,
    _entered: EnteredNetwork,
}

impl Fleet {
    /// Starts the server and every node.
    pub(super) fn start(options: FleetOptions) -> Rc<Self> {
        // Nodes draw their names, epochs and jitter from the thread's generator.
        fastrand::seed(options.seed);
        let network = SimulatedNetwork::new(options.seed, options.delay.clone());
        let entered = network.enter();
        let server = RedisServer::new(&network, "run0", &Rc::default());
        server.has_resp3.set(options.has_resp3);
        network.add_host(SERVERS[0], Rc::clone(&server) as Rc<_>);
        let replicas = match options.topology {
            FleetTopology::Single => 0,
            FleetTopology::Sentinel(replicas) => replicas,
        };
        let servers = ReplicaGroup::start(&network, server, replicas);
        servers.servers.iter().for_each(|server| server.planted.set(options.planted));
        let nodes = (0..options.nodes).map(|_| None).collect();
        let fetches = (0..options.nodes).map(|_| SharedFetches::default()).collect();
        let fleet = Rc::new(Self {
            network: network.clone(),
            servers: Rc::clone(&servers),
            nodes: RefCell::new(nodes),
            fetches: RefCell::new(fetches),
            disturbances: RefCell::new(vec![Disturbances::default(); options.nodes]),
            origin: Rc::default(),
            history: Rc::default(),
            under_way: RefCell::default(),
            begin: instant(),
            _entered: entered,
            options,
        });
        spawn_local(network.run());
        spawn_local(async move {
            loop {
                sleep(Duration::from_millis(100)).await;
                servers.servers.iter().for_each(|server| server.expire());
            }
        });
        for node in 0..fleet.options.nodes {
            fleet.start_node(node);
        }
        if fleet.options.planted == Some(PlantedFault::UnrepeatedQueue) {
            spawn_local(Rc::clone(&fleet).empty_queues());
        }
        fleet
    }

    async fn empty_queues(self: Rc<Self>) {
        loop {
            sleep(Duration::from_millis(20)).await;
            self.nodes.borrow().iter().flatten().for_each(|node| planted::empty_queue(&node.shared));
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.network.now()
    }

    /// Returns the present master.
    pub(super) fn server(&self) -> Rc<RedisServer> {
        self.servers.master()
    }

    pub(super) fn note(&self, event: String) {
        self.history.note(self.now(), event);
    }

    /// Starts a node, after the end of its previous process.
    pub(super) fn start_node(&self, number: usize) {
        let FleetOptions { workers, connections, memory_ttl, memory_alone_max, topology, .. } = self.options;
        let clock = self.options.clocks[number].saturating_add_unsigned(SERVER_EPOCH);
        let options = NodeOptions {
            number,
            workers,
            connections,
            memory_ttl,
            memory_alone_max,
            topology,
            clock: Timestamp::from_millis(u64::try_from(clock).unwrap()),
        };
        self.crash(number);
        // Until it is connected, it is alone.
        self.disturb(number);
        self.calm(number);
        self.nodes.borrow_mut()[number] = Some(SimulatedNode::start(&options, self.begin));
    }

    /// Ends a node at once.
    pub(super) fn crash(&self, number: usize) {
        let node = self.nodes.borrow_mut()[number].take();
        if let Some(node) = node {
            node.crash();
            self.fetches.borrow_mut()[number] = SharedFetches::default();
            self.history.ended(number);
        }
    }

    /// Notes that a node is cut off, or without a working server, from now on.
    pub(super) fn disturb(&self, node: usize) {
        self.disturbances.borrow_mut()[node].begin(self.now());
    }

    /// Notes that a node can work again.
    pub(super) fn calm(&self, node: usize) {
        self.disturbances.borrow_mut()[node].end(self.now());
    }

    /// Sends a request to a node.
    pub(super) fn request(
        self: &Rc<Self>,
        (node, worker): (usize, usize),
        resource: usize,
        origin_takes: [Duration; 2],
        lifetime: Duration,
    ) {
        let (begun, floor) = (self.now(), self.history.floor(resource));
        let Some(answer) = self.send((node, worker), resource, origin_takes, lifetime) else { return };
        let fleet = Rc::clone(self);
        self.under_way.borrow_mut().spawn_local(async move {
            // A node that crashes answers nothing.
            if let Ok(answer) = answer.await {
                let FleetOptions { memory_ttl, memory_alone_max, .. } = fleet.options;
                let times = (memory_ttl, memory_alone_max);
                let disturbances = fleet.disturbances.borrow();
                let window = disturbances[node].window((node, begun), answer.0, times);
                let at = (begun, fleet.now());
                fleet.history.answered(at, (node, resource), floor, answer, window);
            }
        });
    }

    fn send(
        &self,
        (node, worker): (usize, usize),
        resource: usize,
        origin_takes: [Duration; 2],
        lifetime: Duration,
    ) -> Option<JoinHandle<(Shown, AnswerSource)>> {
        let request = SimulatedRequest {
            node,
            resource,
            origin: Rc::clone(&self.origin),
            fetches: Rc::clone(&self.fetches.borrow()[node]),
            begin: self.begin,
            origin_takes,
            lifetime,
            leases: self.options.leases,
            planted: self.options.planted,
        };
        let nodes = self.nodes.borrow();
        Some(nodes[node].as_ref()?.spawn(worker, |store| request.answer(store)))
    }

    /// Requests a resource at every worker of every node.
    fn request_everywhere(self: &Rc<Self>, resource: usize) {
        for node in 0..self.options.nodes {
            for worker in 0..self.options.workers {
                self.request((node, worker), resource, [Duration::ZERO; 2], CHECKED_FOR);
            }
        }
    }

    /// Sends an unsafe request to a node.
    pub(super) fn write(
        self: &Rc<Self>,
        (node, worker): (usize, usize),
        resource: usize,
        origin_takes: [Duration; 2],
        stored_for: Option<Duration>,
    ) {
        let (origin, begin) = (Rc::clone(&self.origin), self.begin);
        let write = SimulatedWrite { node, resource, origin, begin, origin_takes, stored_for };
        let nodes = self.nodes.borrow();
        let Some(running) = nodes[node].as_ref() else { return };
        self.note(format!("n{node} write of r{resource} begins"));
        let written = running.spawn(worker, |store| write.answer(store));
        let fleet = Rc::clone(self);
        self.under_way.borrow_mut().spawn_local(async move {
            let Ok(version) = written.await else { return };
            fleet.note(format!("n{node} has written v{version} of r{resource}"));
            // A node that ends may lose the tombstone that Redis has not accepted.
            fleet.history.purged(node, vec![(resource, version)], false);
            if fleet.options.is_calm {
                let untracked =
                    if fleet.options.has_resp3 { Duration::ZERO } else { fleet.options.memory_ttl };
                sleep(WRITE_ARRIVES + untracked).await;
                fleet.note(format!("v{version} of r{resource} is required"));
                fleet.history.confirmed(fleet.now(), &[(resource, version)]);
            }
        });
    }

    /// Writes what the scopes cover, and purges it at a node. Requests check a confirmed purge at
    /// once, everywhere.
    pub(super) fn purge(
        self: &Rc<Self>,
        (node, worker): (usize, usize),
        scopes: Vec<PurgeScope>,
        strength: PurgeStrength,
        check: PurgeCheck,
    ) {
        let nodes = self.nodes.borrow();
        let Some(running) = nodes[node].as_ref() else { return };
        let written = self.origin.write(&scopes);
        let (begun, text) = (self.now(), format!("n{node} {strength:?} purge of {written:?}"));
        self.note(format!("{text} begins"));
        let planted = self.options.planted;
        let purged = running.spawn(worker, move |store| async move {
            if planted == Some(PlantedFault::ConfirmedBeforeSync) {
                return planted::purge_without_sync(store, scopes, strength).await;
            }
            store.purge(&scopes, strength).await
        });
        let fleet = Rc::clone(self);
        self.under_way.borrow_mut().spawn_local(async move {
            let Ok(purged) = purged.await else { return };
            let now = fleet.now();
            match &purged {
                Ok(PurgeResult { nodes, confirmed, replication: Replication::All, .. })
                    if confirmed >= nodes =>
                {
                    fleet.history.confirmed(now, &written);
                    fleet.history.count(|counts| counts.confirmed += 1);
                    if check == PurgeCheck::AtOnce {
                        written.iter().for_each(|(resource, _)| fleet.request_everywhere(*resource));
                    }
                }
                Ok(_) => fleet.history.count(|counts| counts.unconfirmed += 1),
                Err(_) => fleet.history.count(|counts| counts.failed += 1),
            }
            fleet.note(format!("{text} (begun at {begun}): {purged:?}"));
            fleet.history.purged(node, written, purged.is_ok());
        });
    }

    /// Waits until every request and purge under way has ended.
    pub(super) async fn settle(&self) {
        loop {
            let mut under_way = self.under_way.take();
            if under_way.is_empty() {
                return;
            }
            while under_way.join_next().await.is_some() {}
        }
    }

    /// Checks that the healthy fleet converges: no purge is pending, all nodes give the present
    /// answer outside the windows, and equal answers once the windows are over.
    pub(super) async fn check_convergence(self: &Rc<Self>) {
        self.history.require_all(self.now());
        for resource in 0..RESOURCES {
            for node in 0..self.options.nodes {
                self.request((node, 0), resource, [Duration::ZERO; 2], CHECKED_FOR);
                self.settle().await;
            }
        }
        for (number, node) in self.nodes.borrow().iter().enumerate() {
            let pending = node.as_ref().map_or(0, |node| node.shared.purges.local().count());
            if pending > 0 {
                self.history.violate(format!("{pending} purges are still pending at n{number}"));
            }
        }
        sleep(self.options.memory_ttl + self.options.memory_alone_max).await;
        for resource in 0..RESOURCES {
            // An older entry may expire between two answers.
            if self.versions(resource).await.len() > 1 && self.versions(resource).await.len() > 1 {
                self.history.violate(format!("the answers of r{resource} differ when all windows are over"));
            }
        }
    }

    /// Returns the versions that all workers of all nodes answer.
    async fn versions(&self, resource: usize) -> BTreeSet<u64> {
        let mut versions = BTreeSet::new();
        for node in 0..self.options.nodes {
            for worker in 0..self.options.workers {
                if let Some(answer) = self.send((node, worker), resource, [Duration::ZERO; 2], CHECKED_FOR)
                    && let Ok((shown, source)) = answer.await
                {
                    self.note(format!("n{node} r{resource} -> v{} at last ({source:?})", shown.version));
                    versions.insert(shown.version);
                }
            }
        }
        versions
    }

    /// Ends every node and all connections.
    pub(super) fn end(&self) {
        (0..self.options.nodes).for_each(|node| self.crash(node));
    }
}
