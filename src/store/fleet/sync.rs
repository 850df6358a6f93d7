//! The messages that confirm a purge: a sync to all nodes, and an acknowledgement from each worker.
//!
//! ```text
//! <namespace>sync         <id> <channel for acknowledgements> <time, ms> <name>* [soft]
//! <namespace>ack:<nonce>  <id> <node> <workers> <rules>
//! ```
//!
//! With a name key, each message has a MAC (`envelope.rs`).
//!
//! The names are the keys whose fetches under way are superseded, because of a hard purge of them
//! unless `soft` follows; `workers` is the number of the
//! node's workers, and `rules` the digest of the routes that the worker uses. A node is a process.
//! Each of its workers has its own connections and acknowledges for itself, so a node has
//! acknowledged when all its workers have.

use std::collections::BTreeSet;
use std::fmt;

use crate::key::MAC_BYTES;
use crate::store::purge::names::PurgeStrength;
use crate::time::Timestamp;

/// The word behind the names of a soft purge.
const SOFT: &str = "soft";

/// A request to catch up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The identifier that its acknowledgements repeat.
    pub id: u64,
    /// The channel for the acknowledgements.
    pub ack_channel: Box<str>,
    /// The time of the request, by the clock of the node that sends it.
    pub sent: Timestamp,
    /// The keys whose fetches under way are superseded.
    pub names: Vec<u128>,
    /// The strength of the purge of these keys.
    pub strength: PurgeStrength,
}

/// One worker's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncAck {
    /// The identifier of the sync.
    pub id: u64,
    /// The random name of the worker's process.
    pub node: u64,
    /// The number of workers of that process.
    pub workers: u32,
    /// The digest of the routes that the worker uses; zero without routes.
    pub rules: u64,
}

impl SyncRequest {
    /// Parses a sync; an invalid one gets no acknowledgement.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        let id = hexadecimal::<16>(words.next()?)?;
        let ack_channel = words.next().filter(|channel| !channel.is_empty())?;
        let sent = Timestamp::from_millis(words.next()?.parse().ok()?);
        let mut words = words.peekable();
        let mut names = Vec::new();
        while let Some(name) = words.next_if(|word| *word != SOFT) {
            names.push(hexadecimal::<32>(name)?);
        }
        let strength = if words.next().is_some() { PurgeStrength::Soft } else { PurgeStrength::Hard };
        let id = u64::try_from(id).ok()?;
        let request = Self { id, ack_channel: ack_channel.into(), sent, names, strength };
        words.next().is_none().then_some(request)
    }
}

impl fmt::Display for SyncRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {} {}", self.id, self.ack_channel, self.sent.as_millis())?;
        self.names.iter().try_for_each(|name| write!(f, " {name:032x}"))?;
        match self.strength {
            PurgeStrength::Hard => Ok(()),
            PurgeStrength::Soft => write!(f, " {SOFT}"),
        }
    }
}

impl SyncAck {
    /// Parses an acknowledgement.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        let mut number = || u64::try_from(hexadecimal::<16>(words.next()?)?).ok();
        let (id, node) = (number()?, number()?);
        let workers = words.next()?.parse().ok()?;
        let rules = u64::try_from(hexadecimal::<16>(words.next()?)?).ok()?;
        words.next().is_none().then_some(Self { id, node, workers, rules })
    }
}

impl fmt::Display for SyncAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {:016x} {} {:016x}", self.id, self.node, self.workers, self.rules)
    }
}

/// Parses exactly `DIGITS` hexadecimal digits.
pub(in crate::store) fn hexadecimal<const DIGITS: usize>(text: &str) -> Option<u128> {
    let digits = text.len() == DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok())?
}

/// The acknowledgements of one sync.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct SyncTally {
    /// The number of acknowledgements.
    pub(in crate::store) answered: u32,
    /// The name of each node, the number of its workers, and the number of its acknowledgements; no
    /// longer than `answered`.
    nodes: Vec<(u64, u32, u32)>,
    /// The nodes with a worker that uses other rules than the worker that synced.
    other_rules: BTreeSet<u64>,
    /// The MACs of the acknowledgements.
    macs: BTreeSet<[u8; MAC_BYTES]>,
}

impl SyncTally {
    /// Counts an acknowledgement that a worker with these rules waits for.
    pub(in crate::store) fn count(&mut self, SyncAck { node, workers, rules, .. }: SyncAck, own_rules: u64) {
        self.answered += 1;
        if rules != own_rules {
            self.other_rules.insert(node);
        }
        match self.nodes.iter_mut().find(|(known, ..)| *known == node) {
            Some((_, known, answered)) => {
                *known = workers.max(*known);
                *answered += 1;
            }
            None => self.nodes.push((node, workers, 1)),
        }
    }

    /// Counts the acknowledgement of a node with the same name key, unless it was counted before.
    pub(in crate::store) fn count_once(&mut self, ack: SyncAck, own_rules: u64, mac: [u8; MAC_BYTES]) {
        if self.macs.insert(mac) {
            self.count(ack, own_rules);
        }
    }

    /// Returns the nodes with other rules.
    pub(in crate::store) fn other_rules(&self) -> &BTreeSet<u64> {
        &self.other_rules
    }

    /// Returns the nodes with any acknowledgement.
    pub(in crate::store) fn ids(&self) -> impl Iterator<Item = u64> {
        self.nodes.iter().map(|(id, ..)| *id)
    }

    /// Returns the number of a node's workers, as far as it has acknowledged, and the number of its
    /// acknowledgements.
    pub(in crate::store) fn of_node(&self, id: u64) -> (u32, u32) {
        let node = self.nodes.iter().find(|(known, ..)| *known == id);
        node.map_or((0, 0), |(_, workers, answered)| (*workers, *answered))
    }

    /// Returns the nodes that have acknowledged in part: each worker acknowledges at each server.
    pub(in crate::store) fn partial(&self, servers: u32) -> impl Iterator<Item = u64> {
        let is_partial =
            move |(_, workers, answered): &&(u64, u32, u32)| *answered < workers.saturating_mul(servers);
        self.nodes.iter().filter(is_partial).map(|(id, ..)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn requests_round_trip() {
        let request = SyncRequest {
            id: 255,
            ack_channel: "c:ack:1".into(),
            sent: Timestamp::from_millis(1_000),
            names: vec![u128::from_str_radix(NAME, 16).unwrap()],
            strength: PurgeStrength::Hard,
        };
        let message = format!("00000000000000ff c:ack:1 1000 {NAME}");
        assert_eq!(request.to_string(), message);
        assert_eq!(SyncRequest::parse(message.as_bytes()), Some(request.clone()));
        let soft = SyncRequest { strength: PurgeStrength::Soft, ..request };
        assert_eq!(soft.to_string(), format!("{message} soft"));
        assert_eq!(SyncRequest::parse(soft.to_string().as_bytes()), Some(soft));
        for end in [" soft soft", " soft 1", &format!(" soft {NAME}"), " hard"] {
            assert_eq!(SyncRequest::parse(format!("{message}{end}").as_bytes()), None, "{end}");
        }
        assert!(SyncRequest::parse(b"00000000000000ff c 1").unwrap().names.is_empty());
        for message in ["", "1", "1 c", "00000000000000ff c", "00000000000000ff  1", "00000000000000ff c x"] {
            assert_eq!(SyncRequest::parse(message.as_bytes()), None, "{message:?}");
        }
        for name in ["xyz", "+123456789abcdef0123456789abcdef", ""] {
            let message = format!("00000000000000ff c 1 {name}");
            assert_eq!(SyncRequest::parse(message.as_bytes()), None, "{message:?}");
        }
    }

    #[test]
    fn acknowledgements_round_trip() {
        let ack = SyncAck { id: 1, node: 255, workers: 4, rules: 10 };
        assert_eq!(ack.to_string(), "0000000000000001 00000000000000ff 4 000000000000000a");
        assert_eq!(SyncAck::parse(ack.to_string().as_bytes()), Some(ack));
        for message in [
            "",
            "0000000000000001",
            "0000000000000001 00000000000000ff",
            "0000000000000001 00000000000000ff 4",
            "1 2 3 4",
        ] {
            assert_eq!(SyncAck::parse(message.as_bytes()), None, "{message:?}");
        }
        assert_eq!(SyncAck::parse(b"0000000000000001 00000000000000ff 4 000000000000000a 5"), None);
    }

    #[test]
    fn a_node_has_acknowledged_when_all_its_workers_have() {
        let mut tally = SyncTally::default();
        for (node, workers) in [(1, 2), (2, 1), (3, 2), (1, 2)] {
            tally.count(SyncAck { id: 0, node, workers, rules: node / 3 }, 0);
        }
        assert_eq!((tally.answered, tally.ids().count()), (4, 3));
        assert_eq!(tally.other_rules().iter().collect::<Vec<_>>(), [&3]);
        assert_eq!(tally.partial(1).collect::<Vec<_>>(), [3]);
        assert_eq!(tally.partial(2).count(), 3, "published at two servers, acknowledged at one");
        assert_eq!((tally.of_node(1), tally.of_node(4)), ((2, 2), (0, 0)));
    }

    #[test]
    fn an_acknowledgement_that_is_published_again_counts_once() {
        let (mut tally, ack) = (SyncTally::default(), SyncAck { id: 0, node: 1, workers: 2, rules: 0 });
        for mac in [1, 1, 1] {
            tally.count_once(ack, 0, [mac; MAC_BYTES]);
        }
        assert_eq!((tally.answered, tally.partial(1).count()), (1, 1));
        tally.count_once(ack, 0, [2; MAC_BYTES]);
        assert_eq!((tally.answered, tally.partial(1).count()), (2, 0));
    }
}
