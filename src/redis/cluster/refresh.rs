//! Reads the slot map, and opens and closes pools to match it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::layout::{ClusterLayout, ClusterNode, ShardMembers};
use super::servers::ClusterServers;
use crate::redis::connection::ControlError;
use crate::redis::health::Redirections;
use crate::redis::options::{Options, ReadingNodes};
use crate::redis::pool::RedisPool;
use crate::redis::topology::RefreshResult;
use crate::resp::topology::{ClusterShard, Endpoint, SlotMap, shards, slots};
use crate::resp::{Command, ErrorKind};
use crate::time::instant;

/// Asks the servers in turn, starting with a different one each time, so that no server is believed
/// for ever.
pub(super) struct MapRefresher {
    seeds: Vec<Endpoint>,
    servers: Rc<ClusterServers>,
    /// The number of refreshes so far.
    turn: usize,
}

/// A failed attempt to read the map.
#[derive(Debug, thiserror::Error)]
enum SlotMapError {
    #[error("no server is known")]
    NoServer,
    #[error("{server}: {why}")]
    Server { server: Endpoint, why: ControlError },
}

impl MapRefresher {
    pub(super) fn new(seeds: Vec<Endpoint>, servers: Rc<ClusterServers>) -> Self {
        Self { seeds, servers, turn: 0 }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            self.servers.refresh.due().await;
            match self.ask().await {
                Ok(map) => self.servers.refresh.succeeded(self.servers.follow_map(map)),
                Err(why) => self.servers.refresh.failed(&why),
            }
        }
    }

    /// Returns the map of the first server that returns a valid one.
    async fn ask(&mut self) -> Result<SlotMap, SlotMapError> {
        let mut known = self.servers.layout.borrow().endpoints();
        let first = self.turn.checked_rem(known.len()).unwrap_or_default();
        known.rotate_left(first);
        self.turn = self.turn.wrapping_add(1);
        let others = self.seeds.iter().filter(|seed| !known.contains(seed)).cloned();
        let asked: Vec<_> = known.iter().cloned().chain(others).collect();
        let mut error = SlotMapError::NoServer;
        for server in asked {
            match self.ask_one(&server).await {
                Ok(map) => return Ok(map),
                Err(why) => error = SlotMapError::Server { server, why },
            }
        }
        Err(error)
    }

    async fn ask_one(&self, server: &Endpoint) -> Result<SlotMap, ControlError> {
        let mut connection = self.servers.control.connect(server).await?;
        let shards: Vec<ClusterShard> = match connection.ask(&Command::ClusterShards).await {
            Ok(reply) => shards(&reply, server, self.servers.control.encryption())?,
            // Before Redis 7 `SHARDS` is an unknown subcommand of a known command.
            Err(ControlError::Refused { error, .. })
                if matches!(error.kind, ErrorKind::Other | ErrorKind::UnknownCommand | ErrorKind::NoPerm) =>
            {
                slots(&connection.ask(&Command::ClusterSlots).await?, server)?
            }
            Err(why) => return Err(why),
        };
        Ok(SlotMap::new(shards)?)
    }
}

impl ClusterServers {
    /// Applies a new map: drains the pools of servers that it does not name, opens pools for new
    /// ones, and keeps the others.
    fn follow_map(&self, map: SlotMap) -> RefreshResult {
        let before = self.layout.borrow().map().map(|map| map.shards().to_vec());
        let inquiry = if before.as_deref() == Some(map.shards()) {
            RefreshResult::Unchanged
        } else {
            RefreshResult::Changed
        };
        let servers = map.shards().iter().map(|shard| 1 + self.readers_of(shard).len()).sum();
        let mut nodes: Vec<Rc<ClusterNode>> = Vec::new();
        let mut node = |endpoint: &Endpoint| {
            if let Some(node) = nodes.iter().find(|node| node.endpoint == *endpoint) {
                return Rc::clone(node);
            }
            let place = nodes.len();
            let known = self.layout.borrow().node(endpoint);
            let node = known.unwrap_or_else(|| self.open(endpoint, servers, place));
            nodes.push(Rc::clone(&node));
            node
        };
        let members = map.shards().iter().map(|shard| ShardMembers {
            master: node(&shard.master),
            replicas: self.readers_of(shard).iter().map(&mut node).collect(),
        });
        let members = members.collect();
        if inquiry == RefreshResult::Changed {
            let (shards, slots) = (map.shards().len(), map.covered());
            tracing::info!(shards, servers, slots, "the Redis Cluster slot map changed");
        }
        if !before.iter().flatten().map(master_of).eq(map.shards().iter().map(master_of)) {
            self.masters_changed.set(Some(instant()));
            self.topology_epoch.set(self.topology_epoch.get() + 1);
        }
        let reshaped = |node: &ClusterNode| {
            let slots = |shards: &[ClusterShard]| {
                shards.iter().find(|shard| shard.master == node.endpoint).map(|shard| shard.slots.clone())
            };
            before.as_deref().and_then(slots) != slots(map.shards())
        };
        for node in &nodes {
            if reshaped(node) {
                node.pool.reset();
            }
        }
        let old = self.layout.replace(ClusterLayout::new(map, members));
        for node in old.into_nodes() {
            if !nodes.iter().any(|kept| kept.endpoint == node.endpoint) {
                node.pool.distrust();
                self.draining.add(node.pool.clone());
            }
        }
        inquiry
    }

    /// Returns the replicas of a shard that answer reads.
    fn readers_of<'a>(&self, shard: &'a ClusterShard) -> &'a [Endpoint] {
        match self.readers {
            ReadingNodes::Masters => &[],
            ReadingNodes::Replicas => &shard.replicas,
        }
    }

    /// Opens the pool of a new server, with its share of the connections for as long as the map
    /// names it.
    fn open(&self, endpoint: &Endpoint, servers: usize, place: usize) -> Rc<ClusterNode> {
        let options = Options {
            address: self.control.address(endpoint),
            connections: share(self.options.connections, servers, place),
            redirections: Redirections::Followed,
            ..self.options.clone()
        };
        let pool = RedisPool::with(options, self.control.tls(), self.tracking.clone(), self.metrics.clone());
        // After the first map, a new server replaces another one.
        if self.layout.borrow().map().is_some() {
            pool.set_disconnected_for(Duration::ZERO);
        }
        Rc::new(ClusterNode { endpoint: endpoint.clone(), pool, confirmed: Cell::new(instant()) })
    }
}

fn master_of(shard: &ClusterShard) -> &Endpoint {
    &shard.master
}

/// Returns the share of the server at this index; at least one connection.
fn share(connections: usize, servers: usize, place: usize) -> usize {
    let servers = servers.max(1);
    (connections / servers + usize::from(place < connections % servers)).max(1)
}
