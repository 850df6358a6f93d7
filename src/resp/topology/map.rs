//! The map from hash slots to shards.
//!
//! A table of all slots: one lookup finds a key's server, and a single slot can be reassigned
//! without reading the whole map again.

use super::endpoint::Endpoint;
use super::endpoint::TopologyError;
use super::shards::ClusterShard;
use super::slot::HashSlot;
use crate::limits::REDIS_NODES_MAX;

/// All slots and their shards.
#[derive(Clone, Debug)]
pub struct SlotMap {
    shards: Vec<ClusterShard>,
    /// The index of each slot's shard; [`UNASSIGNED`] for none.
    owners: Box<[u16]>,
    /// The number of slots of each shard, which is read twice a second.
    counts: Vec<usize>,
}

const UNASSIGNED: u16 = u16::MAX;

const _: () = assert!(REDIS_NODES_MAX < UNASSIGNED as usize);

impl SlotMap {
    /// Creates a map, its shards ordered by their masters' endpoints. If two shards claim a slot,
    /// the last one gets it.
    pub fn new(mut shards: Vec<ClusterShard>) -> Result<Self, TopologyError> {
        let servers: usize = shards.iter().map(|shard| 1 + shard.replicas.len()).sum();
        if servers > REDIS_NODES_MAX {
            return Err(TopologyError::TooManyServers);
        }
        // One order for all servers' replies, so that equal maps compare equal.
        shards.sort_by(|one, other| one.master.cmp(&other.master));
        for shard in &mut shards {
            shard.slots.sort_by_key(|range| *range.start());
            shard.replicas.sort();
        }
        let mut owners = vec![UNASSIGNED; HashSlot::COUNT].into_boxed_slice();
        for (place, shard) in (0..).zip(&shards) {
            for range in &shard.slots {
                let range = range.start().index()..=range.end().index();
                if let Some(owners) = owners.get_mut(range) {
                    owners.fill(place);
                }
            }
        }
        let mut counts = vec![0; shards.len()];
        for owner in &owners {
            if let Some(count) = counts.get_mut(usize::from(*owner)) {
                *count += 1;
            }
        }
        let map = Self { shards, owners, counts };
        // A server that was removed from its cluster returns a map without slots.
        if map.covered() == 0 { Err(TopologyError::NoServer) } else { Ok(map) }
    }

    /// Returns the shards. Their `slots` are those of the reply, before any reassignment.
    pub fn shards(&self) -> &[ClusterShard] {
        &self.shards
    }

    /// Returns the index of the shard that owns a slot.
    pub fn owner(&self, slot: HashSlot) -> Option<usize> {
        self.owners.get(slot.index()).filter(|owner| **owner != UNASSIGNED).map(|owner| usize::from(*owner))
    }

    /// Returns the index of the shard with this master.
    pub fn mastered_by(&self, master: &Endpoint) -> Option<usize> {
        self.shards.iter().position(|shard| shard.master == *master)
    }

    /// Returns a key that belongs to this shard, if it has a slot.
    pub fn key_of(&self, place: usize) -> Option<Vec<u8>> {
        self.counts.get(place).filter(|count| **count > 0)?;
        let place = u16::try_from(place).ok()?;
        // This many names miss one given slot about once in 10^7 times.
        let mut names = (0..16 * HashSlot::COUNT).map(|number| number.to_string().into_bytes());
        names.find(|name| self.owners.get(HashSlot::of(name).index()) == Some(&place))
    }

    /// Reassigns a slot to a shard.
    pub fn assign(&mut self, slot: HashSlot, place: usize) {
        let Some(owner) = self.owners.get_mut(slot.index()) else { return };
        let (Some(count), Ok(place)) = (self.counts.get_mut(place), u16::try_from(place)) else { return };
        *count += 1;
        let before = usize::from(std::mem::replace(owner, place));
        if let Some(count) = self.counts.get_mut(before) {
            *count -= 1;
        }
    }

    /// Returns the number of assigned slots.
    pub fn covered(&self) -> usize {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(number: u64) -> HashSlot {
        HashSlot::new(number).unwrap()
    }

    fn shard(port: u16, ranges: &[(u64, u64)], replicas: usize) -> ClusterShard {
        let endpoint = |host: &str| Endpoint { host: host.to_owned(), port };
        ClusterShard {
            slots: ranges.iter().map(|(first, last)| slot(*first)..=slot(*last)).collect(),
            master: endpoint("master"),
            replicas: (0..replicas).map(|number| endpoint(&format!("replica-{number}"))).collect(),
        }
    }

    #[test]
    fn each_shard_has_a_key_unless_it_has_no_slot() {
        let map = SlotMap::new(vec![
            shard(1, &[(0, 9_000)], 0),
            shard(2, &[], 0),
            shard(3, &[(9_001, 16_382)], 0),
            shard(4, &[(16_383, 16_383)], 0),
        ])
        .unwrap();
        for place in [0, 2, 3] {
            assert_eq!(map.owner(HashSlot::of(&map.key_of(place).unwrap())), Some(place));
        }
        assert_eq!((map.key_of(1), map.key_of(4)), (None, None));
    }

    #[test]
    fn slots_have_their_shard_or_none() {
        let map =
            SlotMap::new(vec![shard(1, &[(0, 99), (200, 200)], 1), shard(2, &[(100, 198)], 0)]).unwrap();
        for (number, owner) in [
            (0, Some(0)),
            (99, Some(0)),
            (100, Some(1)),
            (198, Some(1)),
            (199, None),
            (200, Some(0)),
            (16_383, None),
        ] {
            assert_eq!(map.owner(slot(number)), owner, "{number}");
        }
        assert_eq!(map.covered(), 200);
    }

    #[test]
    fn one_slot_moves() {
        let mut map = SlotMap::new(vec![shard(1, &[(0, 16_383)], 0), shard(2, &[(5, 5)], 0)]).unwrap();
        let place = map.mastered_by(&Endpoint { host: "master".to_owned(), port: 2 }).unwrap();
        map.assign(slot(6), place);
        assert_eq!([5, 6, 7].map(|number| map.owner(slot(number))), [Some(1), Some(1), Some(0)]);
        map.assign(slot(7), 2);
        assert_eq!(map.owner(slot(7)), Some(0), "there is no such shard");
        assert_eq!(map.mastered_by(&Endpoint { host: "elsewhere".to_owned(), port: 2 }), None);
    }

    #[test]
    fn maps_without_slots_or_with_too_many_servers_are_refused() {
        assert_eq!(SlotMap::new(vec![]).unwrap_err(), TopologyError::NoServer);
        assert_eq!(SlotMap::new(vec![shard(1, &[], 0)]).unwrap_err(), TopologyError::NoServer);
        let crowd = || shard(1, &[(0, 1)], REDIS_NODES_MAX - 1);
        assert!(SlotMap::new(vec![crowd()]).is_ok());
        assert_eq!(SlotMap::new(vec![crowd(), shard(2, &[], 0)]).unwrap_err(), TopologyError::TooManyServers);
    }

    proptest! {
        /// Compared with a search through the ranges.
        #[test]
        fn the_table_agrees_with_the_ranges(
            ranges in prop::collection::vec((0..5_u16, 0..16_384_u64, 0..3_000_u64), 1..20),
            asked in 0..16_384_u64,
        ) {
            let mut shards: Vec<_> = (0..5).map(|port| shard(port + 1, &[], 0)).collect();
            for (owner, first, more) in &ranges {
                let last = (first + more).min(16_383);
                shards[usize::from(*owner)].slots.push(slot(*first)..=slot(last));
            }
            prop_assume!(shards.iter().any(|shard| !shard.slots.is_empty()));
            let claims = |shard: &ClusterShard| shard.slots.iter().any(|range| range.contains(&slot(asked)));
            let expected = shards.iter().rposition(claims);
            prop_assert_eq!(SlotMap::new(shards).unwrap().owner(slot(asked)), expected);
        }
    }
}
