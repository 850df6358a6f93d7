//! The faults of a run, and their end.

use std::rc::Rc;

use fastrand::Rng;
use tokio::task::spawn_local;

use super::fleet::Fleet;
use super::keyspace::ServerKeys;
use super::node::FleetTopology;
use super::replication::FailOverKind;
use crate::redis::tests::network::{HostState, TravelDelay};

/// A fault, or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bytes travel slowly.
    Delay,
    /// A node loses its connections, and may connect again.
    LostConnections,
    /// A node loses its connections, and cannot connect.
    Refused,
    /// A node's bytes wait, and its connections stay.
    Silence,
    /// The server executes nothing.
    Stall,
    /// The server starts again with all its data.
    RestartFromLog,
    /// The server starts again without data.
    RestartEmpty,
    /// The server starts again with older data.
    RestartFromSnapshot,
    /// The server refuses commands that need memory.
    Full,
    /// The server evicts some keys.
    Eviction,
    /// The server loses everything by `FLUSHALL`.
    Flush,
    /// A node ends, and starts again without memory.
    Crash,
    /// Replicas fall behind.
    Lag,
    /// A replica becomes the master.
    FailOver,
}

/// Every kind of fault.
pub(super) const FAULTS: [Fault; 14] = [
    Fault::Delay,
    Fault::LostConnections,
    Fault::Refused,
    Fault::Silence,
    Fault::Stall,
    Fault::RestartFromLog,
    Fault::RestartEmpty,
    Fault::RestartFromSnapshot,
    Fault::Full,
    Fault::Eviction,
    Fault::Flush,
    Fault::Crash,
    Fault::Lag,
    Fault::FailOver,
];

/// The faults that a run may have.
pub(super) struct FaultPlan {
    kinds: Vec<Fault>,
    snapshot: ServerKeys,
    /// The number of the server's run.
    run: u32,
}

impl FaultPlan {
    /// Draws some kinds of faults, or none, unless the kinds are given.
    pub(super) fn draw(rng: &mut Rng, given: Option<&[Fault]>) -> Self {
        let count = [0, 1, 1, 2, 3, FAULTS.len()][rng.usize(..6)];
        let mut kinds = FAULTS.to_vec();
        rng.shuffle(&mut kinds);
        kinds.truncate(count);
        kinds.sort_by_key(|kind| *kind as u8);
        let kinds = given.map_or(kinds, <[Fault]>::to_vec);
        Self { kinds, snapshot: ServerKeys::default(), run: 0 }
    }

    pub(super) fn kinds(&self) -> &[Fault] {
        &self.kinds
    }

    /// Draws a fault and lets it happen, or ends some.
    pub(super) fn happen(&mut self, fleet: &Rc<Fleet>, rng: &mut Rng) {
        let Some(fault) = rng.choice(self.kinds.iter().copied()) else { return };
        if rng.u8(..3) == 0 {
            return self.end_all(fleet);
        }
        let node = rng.usize(..fleet.options.nodes);
        fleet.note(format!("{fault:?} (n{node})"));
        let (server, port) = (fleet.server(), fleet.servers.master_port());
        match fault {
            Fault::Delay => {
                let slow = 1..[20, 100, 800][rng.usize(..3)];
                let share = [0.05, 0.3, 1.0][rng.usize(..3)];
                fleet.network.set_delay(TravelDelay { usual: 0..3, tail: (share, slow) });
            }
            Fault::LostConnections => fleet.network.lose_connections(node),
            Fault::Refused => {
                fleet.disturb(node);
                fleet.network.refuse(node);
            }
            Fault::Silence => {
                fleet.disturb(node);
                fleet.network.cut_off(node);
            }
            Fault::Stall => {
                (0..fleet.options.nodes).for_each(|node| fleet.disturb(node));
                fleet.network.set_host(port, HostState::Stalled);
            }
            Fault::RestartFromLog => {
                let data = server.data.borrow().clone();
                self.restart(fleet, data, rng);
            }
            Fault::RestartEmpty => self.restart(fleet, ServerKeys::default(), rng),
            Fault::RestartFromSnapshot => self.restart(fleet, self.snapshot.clone(), rng),
            Fault::Full => server.data.borrow_mut().is_full = true,
            Fault::Eviction => {
                let keys = server.data.borrow().keys();
                // Counters, entries and all the others are of different ages.
                let only: &[u8] = [&b"s:tag:"[..], b"s:", b"s:clock"][rng.usize(..3)];
                let share = [1.0, 0.5, 0.2][rng.usize(..3)];
                for key in keys.iter().filter(|key| key.starts_with(only)) {
                    if rng.f64() < share {
                        server.evict(key);
                    }
                }
            }
            Fault::Flush => server.flush(),
            Fault::Crash => fleet.start_node(node),
            Fault::Lag => fleet.servers.set_lag([20, 300, 3_000][rng.usize(..3)]),
            Fault::FailOver if fleet.options.topology == FleetTopology::Single => {}
            Fault::FailOver => {
                (0..fleet.options.nodes).for_each(|node| fleet.disturb(node));
                let kind = if rng.bool() { FailOverKind::Planned } else { FailOverKind::Lost };
                let announced = [(); 3].map(|()| rng.u64(..300));
                let servers = Rc::clone(&fleet.servers);
                spawn_local(servers.fail_over(kind, announced, rng.u64(..1_000)));
            }
        }
        if rng.u8(..3) == 0 {
            self.snapshot = server.data.borrow().clone();
        }
    }

    /// Starts the master again with this data, at once or when all faults end.
    fn restart(&mut self, fleet: &Rc<Fleet>, data: ServerKeys, rng: &mut Rng) {
        (0..fleet.options.nodes).for_each(|node| fleet.disturb(node));
        self.run += 1;
        let port = fleet.servers.master_port();
        fleet.network.set_host(port, HostState::Down);
        fleet.server().restart(&format!("run{}", self.run), data);
        fleet.servers.resync();
        if rng.bool() {
            fleet.network.set_host(port, HostState::Up);
        }
    }

    /// Ends every fault.
    pub(super) fn end_all(&self, fleet: &Rc<Fleet>) {
        fleet.note("all faults end".to_owned());
        fleet.network.set_delay(fleet.options.delay.clone());
        fleet.servers.start_all();
        fleet.server().data.borrow_mut().is_full = false;
        fleet.servers.set_lag(2);
        for node in 0..fleet.options.nodes {
            fleet.network.heal(node);
            fleet.calm(node);
        }
    }
}
