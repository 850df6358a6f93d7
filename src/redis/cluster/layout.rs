//! Who has which slots, and the way to them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::redis::pool::RedisPool;
use crate::resp::topology::{Endpoint, HashSlot, SlotMap};

/// One server and its pool.
pub(super) struct ClusterNode {
    pub(super) endpoint: Endpoint,
    pub(super) pool: RedisPool,
    /// When it last said that it is a master.
    pub(super) confirmed: Cell<Instant>,
}

/// The map, and a node for each server in it. Empty until the first map is there.
#[derive(Default)]
pub(super) struct ClusterLayout {
    map: Option<SlotMap>,
    /// For each shard of the map, in its place.
    shards: Vec<ShardMembers>,
}

/// The servers of a shard.
pub(super) struct ShardMembers {
    pub(super) master: Rc<ClusterNode>,
    /// Where replicas answer reads; none elsewhere.
    pub(super) replicas: Vec<Rc<ClusterNode>>,
}

impl ClusterLayout {
    /// `shards` are the members of the map's shards, each in its place.
    pub(super) fn new(map: SlotMap, shards: Vec<ShardMembers>) -> Self {
        Self { map: Some(map), shards }
    }

    /// Who writes a slot.
    pub(super) fn master(&self, slot: HashSlot) -> Option<Rc<ClusterNode>> {
        self.members(slot).map(|members| Rc::clone(&members.master))
    }

    /// Every master that has a slot, each with a key of its own.
    pub(super) fn masters(&self) -> Vec<(Rc<ClusterNode>, Vec<u8>)> {
        let key_of = |place| self.map.as_ref()?.key_of(place);
        let masters = self.shards.iter().enumerate();
        masters.filter_map(|(place, members)| Some((Rc::clone(&members.master), key_of(place)?))).collect()
    }

    /// Who reads a slot: one of the replicas that are up, or the master.
    pub(super) fn reader(&self, slot: HashSlot) -> Option<Rc<ClusterNode>> {
        let members = self.members(slot)?;
        let count = members.replicas.len();
        let first = fastrand::usize(..count.max(1));
        let mut in_turn = members.replicas.iter().cycle().skip(first).take(count);
        let up = in_turn.find(|replica| replica.pool.is_connected());
        Some(Rc::clone(up.unwrap_or(&members.master)))
    }

    /// The server at a place.
    pub(super) fn node(&self, endpoint: &Endpoint) -> Option<Rc<ClusterNode>> {
        self.nodes().find(|node| node.endpoint == *endpoint).map(Rc::clone)
    }

    /// A slot is the master's at this place from now on, if there is one.
    pub(super) fn moved(&mut self, slot: HashSlot, to: &Endpoint) -> Option<Rc<ClusterNode>> {
        let map = self.map.as_mut()?;
        let place = map.mastered_by(to)?;
        map.assign(slot, place);
        self.master(slot)
    }

    /// Any server that can be spoken to.
    pub(super) fn any_connected(&self) -> Option<Rc<ClusterNode>> {
        self.nodes().find(|node| node.pool.is_connected()).map(Rc::clone)
    }

    /// Every server; a replica of nobody is none.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Rc<ClusterNode>> {
        self.shards.iter().flat_map(|members| std::iter::once(&members.master).chain(&members.replicas))
    }

    /// Every server, for whoever ends them.
    pub(super) fn into_nodes(self) -> impl Iterator<Item = Rc<ClusterNode>> {
        self.shards.into_iter().flat_map(|members| std::iter::once(members.master).chain(members.replicas))
    }

    /// Every server that the map names, also those that have no node.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let shards = self.map.iter().flat_map(|map| map.shards());
        shards.flat_map(|shard| std::iter::once(&shard.master).chain(&shard.replicas)).cloned().collect()
    }

    /// The map.
    pub(super) fn map(&self) -> Option<&SlotMap> {
        self.map.as_ref()
    }

    fn members(&self, slot: HashSlot) -> Option<&ShardMembers> {
        self.shards.get(self.map.as_ref()?.owner(slot)?)
    }
}
