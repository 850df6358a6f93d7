//! The slot map, with a pool for each of its servers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::redis::pool::RedisPool;
use crate::resp::topology::{Endpoint, HashSlot, SlotMap};

/// One server and its pool.
pub(super) struct ClusterNode {
    pub(super) endpoint: Endpoint,
    pub(super) pool: RedisPool,
    /// The time at which it last confirmed that it is a master.
    pub(super) confirmed: Cell<Instant>,
}

/// The map, and a node for each server in it. Empty until the first map has been read.
#[derive(Default)]
pub(super) struct ClusterLayout {
    map: Option<SlotMap>,
    /// For each shard of the map, by its index.
    shards: Vec<ShardMembers>,
}

/// The servers of a shard.
pub(super) struct ShardMembers {
    pub(super) master: Rc<ClusterNode>,
    /// Empty unless replicas answer reads.
    pub(super) replicas: Vec<Rc<ClusterNode>>,
}

impl ClusterLayout {
    /// Creates a layout; `shards` has the members of each shard of the map, in its order.
    pub(super) fn new(map: SlotMap, shards: Vec<ShardMembers>) -> Self {
        Self { map: Some(map), shards }
    }

    /// Returns the master of a slot.
    pub(super) fn master(&self, slot: HashSlot) -> Option<Rc<ClusterNode>> {
        self.members(slot).map(|members| Rc::clone(&members.master))
    }

    /// Returns every master that has a slot, each with a key of its own.
    pub(super) fn masters(&self) -> Vec<(Rc<ClusterNode>, Vec<u8>)> {
        let key_of = |place| self.map.as_ref()?.key_of(place);
        let masters = self.shards.iter().enumerate();
        masters.filter_map(|(place, members)| Some((Rc::clone(&members.master), key_of(place)?))).collect()
    }

    /// Returns the server for reads of a slot: a replica that is up, or the master.
    pub(super) fn reader(&self, slot: HashSlot) -> Option<Rc<ClusterNode>> {
        let members = self.members(slot)?;
        let count = members.replicas.len();
        let first = fastrand::usize(..count.max(1));
        let mut in_turn = members.replicas.iter().cycle().skip(first).take(count);
        let up = in_turn.find(|replica| replica.pool.is_connected());
        Some(Rc::clone(up.unwrap_or(&members.master)))
    }

    /// Returns the node at an endpoint.
    pub(super) fn node(&self, endpoint: &Endpoint) -> Option<Rc<ClusterNode>> {
        self.nodes().find(|node| node.endpoint == *endpoint).map(Rc::clone)
    }

    /// Assigns a slot to the shard with this master, if the map has it.
    pub(super) fn moved(&mut self, slot: HashSlot, to: &Endpoint) -> Option<Rc<ClusterNode>> {
        let map = self.map.as_mut()?;
        let place = map.mastered_by(to)?;
        map.assign(slot, place);
        self.master(slot)
    }

    /// Returns any connected server.
    pub(super) fn any_connected(&self) -> Option<Rc<ClusterNode>> {
        self.nodes().find(|node| node.pool.is_connected()).map(Rc::clone)
    }

    /// Returns every server.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Rc<ClusterNode>> {
        self.shards.iter().flat_map(|members| std::iter::once(&members.master).chain(&members.replicas))
    }

    /// Returns every server, and consumes the layout.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = Rc<ClusterNode>> {
        self.shards.into_iter().flat_map(|members| std::iter::once(members.master).chain(members.replicas))
    }

    /// Returns every endpoint in the map, also those without a node.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let shards = self.map.iter().flat_map(|map| map.shards());
        shards.flat_map(|shard| std::iter::once(&shard.master).chain(&shard.replicas)).cloned().collect()
    }

    /// Returns the map.
    pub(super) fn map(&self) -> Option<&SlotMap> {
        self.map.as_ref()
    }

    fn members(&self, slot: HashSlot) -> Option<&ShardMembers> {
        self.shards.get(self.map.as_ref()?.owner(slot)?)
    }
}
