//! One round of a sync: the acknowledgements so far, compared with the nodes and receivers that
//! they have to come from.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::store::fleet::membership::KnownNode;
use crate::store::fleet::sync::SyncTally;
use crate::store::purge::names::PurgeResult;

/// A published sync, and the acknowledgements that it needs.
#[derive(Debug)]
pub(in crate::store) struct SyncRound {
    /// The known nodes, expired ones included.
    pub(in crate::store) nodes: Vec<KnownNode>,
    /// The number of connections that received the sync.
    pub(in crate::store) receivers: u32,
    /// The number of servers at which it was published.
    pub(in crate::store) servers: u32,
    /// Whether every server took the sync, and the registry was read.
    pub(in crate::store) is_published: bool,
}

/// The progress of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum SyncProgress {
    /// Acknowledgements are missing.
    Waiting,
    /// The missing acknowledgements are those of nodes for which purges do not wait.
    OnlyDroppedMissing,
    /// All workers of all nodes have acknowledged, and some use other rules.
    OtherRules,
    /// All workers of all nodes have acknowledged.
    Confirmed,
}

impl SyncRound {
    /// Returns the progress with these acknowledgements.
    pub(in crate::store) fn progress(&self, tally: &SyncTally, now: Instant) -> SyncProgress {
        let awaits = |one: &KnownNode| one.is_registered(now) && !one.is_dropped();
        let missing = |one: &KnownNode| self.missing(tally, one);
        let dropped = self.nodes.iter().filter(|one| one.is_dropped());
        let is_dropped = |id| dropped.clone().any(|one| one.node.id == id);
        let partial: Vec<_> = tally.partial(self.servers).collect();
        let unanswered = self.receivers.saturating_sub(tally.answered);
        if self.nodes.iter().filter(|one| awaits(one)).any(|one| missing(one) > 0)
            || partial.iter().any(|id| !is_dropped(*id))
            || unanswered > dropped.clone().map(missing).sum()
        {
            return SyncProgress::Waiting;
        }
        let registered = |one: &&KnownNode| one.is_registered(now);
        let is_whole = unanswered == 0 && !dropped.clone().filter(registered).any(|one| missing(one) > 0);
        if !self.is_published || !is_whole || !partial.is_empty() {
            SyncProgress::OnlyDroppedMissing
        } else if tally.other_rules().is_empty() {
            SyncProgress::Confirmed
        } else {
            SyncProgress::OtherRules
        }
    }

    /// Returns the result of the purge with these acknowledgements.
    pub(in crate::store) fn result(&self, tally: &SyncTally, now: Instant) -> PurgeResult {
        let is_confirmed =
            matches!(self.progress(tally, now), SyncProgress::Confirmed | SyncProgress::OtherRules);
        let expected: Vec<_> = self.nodes.iter().filter(|one| one.is_registered(now)).collect();
        let missing: Vec<_> = expected.iter().filter(|one| self.missing(tally, one) > 0).collect();
        let partial: BTreeSet<_> = tally.partial(self.servers).collect();
        let ids: BTreeSet<_> = expected.iter().map(|one| one.node.id).chain(tally.ids()).collect();
        let is_short = |id: &&u64| partial.contains(id) || missing.iter().any(|one| one.node.id == **id);
        let short = ids.iter().filter(is_short).count();
        let differs = |id: &&u64| tally.other_rules().contains(id) && !is_short(id);
        let differing = ids.iter().filter(differs).count();
        let confirmed = ids.len() - short - differing;
        let names = |only: fn(&KnownNode) -> bool| {
            missing.iter().filter(|one| only(one)).map(|one| one.node.name.to_string()).collect()
        };
        // A receiver that no registration explains belongs to one more node.
        let unknown = usize::from(!is_confirmed && short == 0);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        PurgeResult {
            unconfirmed: names(|_| true),
            dropped: names(KnownNode::is_dropped),
            unknown_subscribers: if is_confirmed { 0 } else { self.unknown_receivers(tally) },
            other_rules: self.names_of(tally.other_rules()),
            ..PurgeResult::counted(count(ids.len() + unknown), count(confirmed))
        }
    }

    /// Returns the number of receivers whose missing acknowledgements no known node explains.
    fn unknown_receivers(&self, tally: &SyncTally) -> u32 {
        let is_known = |id: &u64| self.nodes.iter().any(|one| one.node.id == *id);
        let unregistered = tally.partial(self.servers).filter(|id| !is_known(id)).map(|id| {
            let (workers, answered) = tally.of_node(id);
            workers.saturating_mul(self.servers).saturating_sub(answered)
        });
        let missing = self.nodes.iter().map(|one| self.missing(tally, one)).chain(unregistered);
        let explained = missing.fold(tally.answered, u32::saturating_add);
        self.receivers.saturating_sub(explained)
    }

    /// Returns the names of nodes, as far as they are registered, else their identifiers.
    fn names_of(&self, ids: &BTreeSet<u64>) -> Vec<String> {
        let name = |id: &u64| {
            let known = self.nodes.iter().find(|one| one.node.id == *id);
            known.map_or_else(|| format!("{id:016x}"), |one| one.node.name.to_string())
        };
        ids.iter().map(name).collect()
    }

    /// Returns the nodes that were waited for in vain.
    pub(in crate::store) fn silent(&self, tally: &SyncTally) -> Vec<u64> {
        let is_silent = |one: &&KnownNode| !one.is_dropped() && self.missing(tally, one) > 0;
        self.nodes.iter().filter(is_silent).map(|one| one.node.id).collect()
    }

    /// Returns the number of a node's missing acknowledgements.
    fn missing(&self, tally: &SyncTally, one: &KnownNode) -> u32 {
        let (workers, answered) = tally.of_node(one.node.id);
        one.node.workers.max(workers).saturating_mul(self.servers).saturating_sub(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::SILENT_SYNCS_MAX;
    use crate::store::fleet::membership::FleetMembership;
    use crate::store::fleet::registry::{NodeRegistry, RegisteredNode, RegistryVersion};
    use crate::store::fleet::sync::SyncAck;
    use crate::time;

    const SILENT: u32 = SILENT_SYNCS_MAX;

    /// A round with these nodes: identifier, workers, silent syncs, and milliseconds to its expiry.
    fn round(receivers: u32, nodes: &[(u64, u32, u32, u64)]) -> SyncRound {
        let fleet = FleetMembership::new("n", Duration::ZERO);
        let nodes = nodes.iter().map(|&(id, workers, silent, left)| RegisteredNode {
            id,
            expires: 1_000 + left,
            silent,
            workers,
            name: format!("n{id}").into(),
        });
        let registry =
            NodeRegistry { now: 1_000, version: RegistryVersion::default(), nodes: nodes.collect() };
        fleet.record(registry, RegistryVersion::default(), time::instant());
        SyncRound { nodes: fleet.nodes(), receivers, servers: 1, is_published: true }
    }

    fn tally(acks: &[(u64, u32)]) -> SyncTally {
        let mut tally = SyncTally::default();
        for &(node, workers) in acks {
            tally.count(SyncAck { id: 0, node, workers, rules: 0 }, 0);
        }
        tally
    }

    fn judged(round: &SyncRound, acks: &[(u64, u32)]) -> (SyncProgress, u32, u32, String, String) {
        let (tally, now) = (tally(acks), time::instant());
        let PurgeResult { nodes, confirmed, unconfirmed, dropped, .. } = round.result(&tally, now);
        (round.progress(&tally, now), nodes, confirmed, unconfirmed.join(" "), dropped.join(" "))
    }

    #[test]
    fn every_worker_of_every_node_confirms() {
        use SyncProgress::{Confirmed, OnlyDroppedMissing, Waiting};
        let none = String::new;
        let (lives, expired) = (60_000, 0);
        let two = [(1, 2, 0, lives), (2, 1, 0, lives)];
        let one_dropped = [(1, 1, 0, lives), (2, 1, SILENT, lives)];
        let gone = [(1, 1, 0, lives), (2, 1, SILENT, expired)];
        type Row<'a> =
            (u32, &'a [(u64, u32, u32, u64)], &'a [(u64, u32)], (SyncProgress, u32, u32, String, String));
        let rows: [Row<'_>; 13] = [
            (3, &two, &[(1, 2), (1, 2), (2, 1)], (Confirmed, 2, 2, none(), none())),
            (3, &two, &[(1, 2), (1, 2)], (Waiting, 2, 1, "n2".into(), none())),
            // A cut-off node is registered and receives nothing.
            (2, &two, &[(1, 2), (1, 2)], (Waiting, 2, 1, "n2".into(), none())),
            // One worker of a node was not reached.
            (2, &two, &[(1, 2), (2, 1)], (Waiting, 2, 1, "n1".into(), none())),
            (2, &[], &[(1, 2), (2, 1)], (Waiting, 2, 1, none(), none())),
            // A receiver that no registration explains.
            (2, &two[1..], &[(2, 1)], (Waiting, 2, 1, none(), none())),
            (1, &two[1..], &[(2, 1)], (Confirmed, 1, 1, none(), none())),
            (1, &[], &[(1, 1)], (Confirmed, 1, 1, none(), none())),
            (2, &one_dropped, &[(1, 1)], (OnlyDroppedMissing, 2, 1, "n2".into(), "n2".into())),
            (1, &one_dropped, &[(1, 1)], (OnlyDroppedMissing, 2, 1, "n2".into(), "n2".into())),
            (2, &one_dropped, &[(1, 1), (2, 1)], (Confirmed, 2, 2, none(), none())),
            // The registration has expired, and the server still counts the connection.
            (2, &gone, &[(1, 1)], (OnlyDroppedMissing, 2, 1, none(), none())),
            (1, &gone, &[(1, 1)], (Confirmed, 1, 1, none(), none())),
        ];
        for (number, (receivers, nodes, acks, expected)) in rows.into_iter().enumerate() {
            assert_eq!(judged(&round(receivers, nodes), acks), expected, "row {number}");
        }
    }

    #[test]
    fn receivers_that_no_node_explains_are_counted() {
        let lives = 60_000;
        let two = [(1, 2, 0, lives), (2, 1, 0, lives)];
        type Row<'a> = (u32, &'a [(u64, u32, u32, u64)], &'a [(u64, u32)], u32);
        let rows: [Row<'_>; 9] = [
            (3, &two, &[(1, 2), (1, 2), (2, 1)], 0),
            (4, &two, &[(1, 2), (1, 2), (2, 1)], 1),
            (6, &two, &[(1, 2), (1, 2), (2, 1)], 3),
            // A registered node may hold the silent connection.
            (3, &two, &[(1, 2), (1, 2)], 0),
            (4, &two, &[(1, 2), (1, 2)], 1),
            // So may a node whose registration has expired, or that has not registered yet.
            (2, &[(1, 1, 0, lives), (2, 1, SILENT, 0)], &[(1, 1)], 0),
            (3, &two[1..], &[(1, 2), (2, 1)], 0),
            (4, &two[1..], &[(1, 2), (2, 1)], 1),
            (1, &[], &[], 1),
        ];
        for (number, (receivers, nodes, acks, expected)) in rows.into_iter().enumerate() {
            let result = round(receivers, nodes).result(&tally(acks), time::instant());
            assert_eq!(result.unknown_subscribers, expected, "row {number}");
        }
    }

    #[test]
    fn an_incomplete_sync_confirms_nothing() {
        let partly = SyncRound { is_published: false, ..round(1, &[(1, 1, 0, 60_000)]) };
        let (progress, nodes, confirmed, ..) = judged(&partly, &[(1, 1)]);
        assert_eq!((progress, nodes, confirmed), (SyncProgress::OnlyDroppedMissing, 2, 1));
        let two = SyncRound { servers: 2, ..round(2, &[(1, 1, 0, 60_000)]) };
        assert_eq!(judged(&two, &[(1, 1)]).0, SyncProgress::Waiting, "acknowledged at one server of two");
        assert_eq!(judged(&two, &[(1, 1), (1, 1)]).0, SyncProgress::Confirmed);
    }

    #[test]
    fn a_node_with_other_rules_acknowledges_and_does_not_confirm() {
        let round = round(3, &[(1, 2, 0, 60_000), (2, 1, 0, 60_000)]);
        let mut tally = SyncTally::default();
        for (node, workers, rules) in [(1, 2, 7), (2, 1, 7), (1, 2, 8)] {
            assert_eq!(round.progress(&tally, time::instant()), SyncProgress::Waiting);
            tally.count(SyncAck { id: 0, node, workers, rules }, 7);
        }
        assert_eq!(round.progress(&tally, time::instant()), SyncProgress::OtherRules);
        let result = round.result(&tally, time::instant());
        assert_eq!((result.nodes, result.confirmed, result.other_rules), (2, 1, vec!["n1".to_owned()]));
        assert!(result.unconfirmed.is_empty());
        // A node that is not registered has no name.
        let unknown = self::round(1, &[]);
        let mut tally = SyncTally::default();
        tally.count(SyncAck { id: 0, node: 10, workers: 1, rules: 8 }, 7);
        assert_eq!(unknown.result(&tally, time::instant()).other_rules, ["000000000000000a"]);
    }

    #[test]
    fn silent_nodes_are_those_waited_for() {
        let nodes = [(1, 1, 0, 60_000), (2, 1, SILENT, 60_000), (3, 1, SILENT - 1, 0), (4, 1, 0, 60_000)];
        assert_eq!(round(4, &nodes).silent(&tally(&[(1, 1)])), [3, 4]);
    }
}
