//! The reply to `CLUSTER SHARDS`, since Redis 7: the slots and servers of each shard.
//! <https://redis.io/docs/latest/commands/cluster-shards/>
//!
//! ```text
//! [{slots: [0, 5460, ..], nodes: [{port: 7000, endpoint: "10.0.0.1", role: "master", health: "online", ..}, ..]}, ..]
//! ```
//!
//! In RESP2 each map is an array of alternating names and values.

use std::ops::RangeInclusive;

use super::endpoint::TopologyError;
use super::endpoint::{Endpoint, text, whole};
use super::slot::HashSlot;
use crate::resp::reply::Reply;

/// Some hash slots, and the servers that have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterShard {
    /// The slots, in no particular order.
    pub slots: Vec<RangeInclusive<HashSlot>>,
    /// The master.
    pub master: Endpoint,
    /// The healthy replicas.
    pub replicas: Vec<Endpoint>,
}

/// The port of each server to use: plain or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Plain TCP.
    Plain,
    /// TLS.
    Tls,
}

/// Parses the reply of the server `asked`. A shard without a master is left out: its slots are
/// unassigned. A master without slots is kept, because a slot may be migrating to it.
pub fn shards(
    reply: &Reply,
    asked: &Endpoint,
    encryption: Encryption,
) -> Result<Vec<ClusterShard>, TopologyError> {
    let Reply::Array(listed) = reply else { return Err(TopologyError::Form) };
    let mut shards = Vec::new();
    for shard in listed {
        let (slots, nodes) = (field(shard, b"slots"), field(shard, b"nodes"));
        let (Some(Reply::Array(slots)), Some(Reply::Array(nodes))) = (slots, nodes) else {
            return Err(TopologyError::Form);
        };
        let slots = ranges(slots)?;
        let nodes: Vec<_> =
            nodes.iter().filter_map(|node| ShardNode::read(node, asked, encryption)).collect();
        // After a fail-over the old master is listed as a second, failed one.
        let masters = || nodes.iter().filter(|node| node.role == Some(b"master"));
        let Some(master) = masters().find(|node| node.is_online).or_else(|| masters().next()) else {
            continue;
        };
        if slots.is_empty() && !master.is_online {
            continue;
        }
        let is_replica = |node: &&ShardNode<'_>| node.role != Some(b"master") && node.is_online;
        let replicas = nodes.iter().filter(is_replica).map(|node| node.endpoint.clone()).collect();
        shards.push(ClusterShard { slots, master: master.endpoint.clone(), replicas });
    }
    Ok(shards)
}

struct ShardNode<'a> {
    endpoint: Endpoint,
    role: Option<&'a [u8]>,
    is_online: bool,
}

impl<'a> ShardNode<'a> {
    /// `None` for a node without a port of this kind, or without a host.
    fn read(node: &'a Reply, asked: &Endpoint, encryption: Encryption) -> Option<Self> {
        let port = match encryption {
            Encryption::Plain => b"port".as_slice(),
            Encryption::Tls => b"tls-port",
        };
        let word = |name| field(node, name).and_then(text);
        let host = match word(b"endpoint") {
            // An unknown host means the host of the connection.
            None | Some(b"") => asked.host.as_bytes(),
            // The host's name is configured to be used, and missing.
            Some(b"?") => word(b"ip").filter(|ip| !ip.is_empty())?,
            Some(host) => host,
        };
        Some(Self {
            endpoint: Endpoint::new(host, field(node, port).and_then(whole)?)?,
            role: word(b"role"),
            is_online: word(b"health").is_none_or(|health| health == b"online"),
        })
    }
}

/// First and last of each range, one after the other.
fn ranges(bounds: &[Reply]) -> Result<Vec<RangeInclusive<HashSlot>>, TopologyError> {
    let (pairs, []) = bounds.as_chunks() else { return Err(TopologyError::Form) };
    pairs.iter().map(|[first, last]| range(first, last).ok_or(TopologyError::Form)).collect()
}

/// Parses a range whose end is not before its start.
pub(super) fn range(first: &Reply, last: &Reply) -> Option<RangeInclusive<HashSlot>> {
    let (first, last) = (HashSlot::new(whole(first)?)?, HashSlot::new(whole(last)?)?);
    (first <= last).then_some(first..=last)
}

/// Returns a field of a map, or of its RESP2 array.
fn field<'a>(map: &'a Reply, name: &[u8]) -> Option<&'a Reply> {
    let is_it = |key: &Reply| text(key) == Some(name);
    if let Reply::Map(pairs) = map {
        return pairs.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value);
    }
    let Reply::Array(flat) = map else { return None };
    flat.as_chunks().0.iter().find(|[key, _]| is_it(key)).map(|[_, value]| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.to_owned().into())
    }

    /// A map in RESP3 or RESP2.
    type AsMap = fn(Vec<(Reply, Reply)>) -> Reply;
    const DIALECTS: [AsMap; 2] = [Reply::Map, |pairs| {
        Reply::Array(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect())
    }];

    fn node(map: AsMap, fields: &[(&str, &str)]) -> Reply {
        let value = |text: &str| match text.parse() {
            Ok(number) => Reply::Integer(number),
            Err(_) if text == "nil" => Reply::Nil,
            Err(_) => bulk(text),
        };
        map(fields.iter().map(|(name, text)| (bulk(name), value(text))).collect())
    }

    fn shard(map: AsMap, slots: &[i64], nodes: Vec<Reply>) -> Reply {
        let slots = slots.iter().map(|slot| Reply::Integer(*slot)).collect();
        map(vec![(bulk("slots"), Reply::Array(slots)), (bulk("nodes"), Reply::Array(nodes))])
    }

    fn asked() -> Endpoint {
        Endpoint { host: "asked".to_owned(), port: 1 }
    }

    fn shown(shards: &[ClusterShard]) -> Vec<String> {
        let line = |shard: &ClusterShard| {
            let slots: Vec<_> = shard
                .slots
                .iter()
                .map(|range| format!("{}-{}", range.start().index(), range.end().index()))
                .collect();
            let replicas: Vec<_> = shard.replicas.iter().map(ToString::to_string).collect();
            format!("{} {} [{}]", slots.join(","), shard.master, replicas.join(","))
        };
        shards.iter().map(line).collect()
    }

    #[test]
    fn masters_and_replicas_in_both_dialects() {
        for map in DIALECTS {
            let reply = Reply::Array(vec![
                shard(
                    map,
                    &[0, 99, 200, 200],
                    vec![
                        node(
                            map,
                            &[
                                ("port", "7001"),
                                ("endpoint", "10.0.0.1"),
                                ("role", "replica"),
                                ("health", "online"),
                            ],
                        ),
                        node(
                            map,
                            &[
                                ("port", "7000"),
                                ("endpoint", "10.0.0.1"),
                                ("role", "master"),
                                ("health", "online"),
                            ],
                        ),
                        node(
                            map,
                            &[
                                ("port", "7002"),
                                ("endpoint", "10.0.0.1"),
                                ("role", "replica"),
                                ("health", "loading"),
                            ],
                        ),
                    ],
                ),
                // A master that waits for slots, and a failed one.
                shard(map, &[], vec![node(map, &[("port", "7003"), ("endpoint", "h"), ("role", "master")])]),
                shard(
                    map,
                    &[],
                    vec![node(
                        map,
                        &[("port", "7004"), ("endpoint", "h"), ("role", "master"), ("health", "fail")],
                    )],
                ),
            ]);
            let read = shards(&reply, &asked(), Encryption::Plain).unwrap();
            assert_eq!(shown(&read), ["0-99,200-200 10.0.0.1:7000 [10.0.0.1:7001]", " h:7003 []"]);
        }
    }

    #[test]
    fn the_healthy_one_of_two_masters_is_used() {
        let map = DIALECTS[0];
        let old = node(map, &[("port", "1"), ("endpoint", "h"), ("role", "master"), ("health", "fail")]);
        let new = node(map, &[("port", "2"), ("endpoint", "h"), ("role", "master"), ("health", "online")]);
        for (nodes, master) in [(vec![old.clone(), new], "0-1 h:2 []"), (vec![old], "0-1 h:1 []")] {
            let reply = Reply::Array(vec![shard(map, &[0, 1], nodes)]);
            assert_eq!(shown(&shards(&reply, &asked(), Encryption::Plain).unwrap()), [master]);
        }
    }

    #[test]
    fn unknown_hosts_and_separate_tls_ports() {
        let map = DIALECTS[0];
        for (fields, plain, tls) in [
            (&[("endpoint", "nil"), ("port", "1"), ("tls-port", "2")][..], Some("asked:1"), Some("asked:2")),
            (&[("endpoint", ""), ("port", "1")], Some("asked:1"), None),
            (&[("endpoint", "?"), ("ip", "10.0.0.1"), ("tls-port", "2")], None, Some("10.0.0.1:2")),
            (&[("endpoint", "?"), ("ip", ""), ("port", "1")], None, None),
            (&[("endpoint", "a b"), ("port", "1")], None, None),
        ] {
            let fields = [fields, &[("role", "master")]].concat();
            let reply = Reply::Array(vec![shard(map, &[0, 1], vec![node(map, &fields)])]);
            for (encryption, expected) in [(Encryption::Plain, plain), (Encryption::Tls, tls)] {
                let read = shards(&reply, &asked(), encryption).unwrap();
                let master = read.first().map(|shard| shard.master.to_string());
                assert_eq!(master.as_deref(), expected, "{fields:?}");
            }
        }
    }

    #[test]
    fn invalid_replies_are_refused() {
        let map = DIALECTS[0];
        for reply in [
            Reply::Nil,
            bulk("x"),
            Reply::Array(vec![bulk("x")]),
            Reply::Array(vec![map(vec![])]),
            Reply::Array(vec![shard(map, &[0], vec![])]),
            Reply::Array(vec![shard(map, &[1, 0], vec![])]),
            Reply::Array(vec![shard(map, &[0, 16_384], vec![])]),
            Reply::Array(vec![shard(map, &[-1, 1], vec![])]),
        ] {
            assert_eq!(shards(&reply, &asked(), Encryption::Plain), Err(TopologyError::Form), "{reply:?}");
        }
    }
}
