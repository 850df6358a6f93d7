//! The reply to `CLUSTER SLOTS`, before Redis 7: the servers of each range of slots, the master
//! first. <https://redis.io/docs/latest/commands/cluster-slots/>
//!
//! ```text
//! [[0, 5460, ["10.0.0.1", 7000, id, ..], ["10.0.0.1", 7003, id, ..]], ..]
//! ```
//!
//! Ports are plain or TLS, like the connection itself.

use super::endpoint::TopologyError;
use super::endpoint::{Endpoint, text, whole};
use super::shards::{ClusterShard, range};
use crate::resp::reply::Reply;

/// Parses the reply of the server `asked`. Ranges of one master form one shard; a range without a
/// master is left out.
pub fn slots(reply: &Reply, asked: &Endpoint) -> Result<Vec<ClusterShard>, TopologyError> {
    let Reply::Array(listed) = reply else { return Err(TopologyError::Form) };
    let mut shards: Vec<ClusterShard> = Vec::new();
    for entry in listed {
        let Reply::Array(parts) = entry else { return Err(TopologyError::Form) };
        let [first, last, servers @ ..] = &parts[..] else { return Err(TopologyError::Form) };
        let range = range(first, last).ok_or(TopologyError::Form)?;
        let mut servers = servers.iter().map(|server| endpoint(server, asked));
        let Some(Some(master)) = servers.next() else { continue };
        let replicas: Vec<_> = servers.flatten().collect();
        match shards.iter_mut().find(|shard| shard.master == master) {
            Some(shard) => shard.slots.push(range),
            None => shards.push(ClusterShard { slots: vec![range], master, replicas }),
        }
    }
    Ok(shards)
}

fn endpoint(server: &Reply, asked: &Endpoint) -> Option<Endpoint> {
    let Reply::Array(parts) = server else { return None };
    let [host, port, ..] = &parts[..] else { return None };
    let host = if *host == Reply::Nil { b"" } else { text(host)? };
    let host = match host {
        // An unknown host means the host of the connection.
        b"" => asked.host.as_bytes(),
        // The host's name is configured to be used, and missing.
        b"?" => return None,
        host => host,
    };
    Endpoint::new(host, whole(port)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &'static str, port: i64) -> Reply {
        let host = if host == "nil" { Reply::Nil } else { Reply::Bulk(host.into()) };
        Reply::Array(vec![host, Reply::Integer(port), Reply::Bulk("id".into()), Reply::Array(vec![])])
    }

    fn entry(first: i64, last: i64, servers: &[Reply]) -> Reply {
        Reply::Array([&[Reply::Integer(first), Reply::Integer(last)], servers].concat())
    }

    fn read(entries: Vec<Reply>) -> Result<Vec<(usize, String, usize)>, TopologyError> {
        let asked = Endpoint { host: "asked".to_owned(), port: 1 };
        let shards = slots(&Reply::Array(entries), &asked)?;
        Ok(shards
            .iter()
            .map(|shard| (shard.slots.len(), shard.master.to_string(), shard.replicas.len()))
            .collect())
    }

    #[test]
    fn ranges_of_one_master_are_one_shard() {
        let entries = vec![
            entry(0, 9, &[server("a", 1), server("b", 1)]),
            entry(10, 19, &[server("b", 2)]),
            entry(20, 29, &[server("a", 1), server("b", 1)]),
        ];
        assert_eq!(read(entries), Ok(vec![(2, "a:1".to_owned(), 1), (1, "b:2".to_owned(), 0)]));
    }

    #[test]
    fn unknown_hosts() {
        for (host, master) in [("nil", Some("asked:7")), ("", Some("asked:7")), ("?", None), ("a b", None)] {
            let expected: Vec<_> = master.map(|master| (1, master.to_owned(), 0)).into_iter().collect();
            assert_eq!(read(vec![entry(0, 1, &[server(host, 7)])]), Ok(expected), "{host}");
        }
        assert_eq!(read(vec![entry(0, 1, &[])]), Ok(vec![]));
    }

    #[test]
    fn invalid_replies_are_refused() {
        for reply in [Reply::Nil, Reply::Array(vec![]), entry(1, 0, &[]), entry(0, 16_384, &[])] {
            assert_eq!(read(vec![reply.clone()]), Err(TopologyError::Form), "{reply:?}");
        }
    }
}
