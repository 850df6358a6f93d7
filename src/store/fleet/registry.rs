//! The registry of nodes in Redis: one value, changed by one script.
//!
//! ```text
//! 1 <birth> <revision>
//! <node> <expires> <silent> <workers> <name>      one line for each node, the oldest renewal first
//! ```
//!
//! `birth` is drawn when the registry begins, and each change counts `revision` up, so a reader
//! sees that Redis has lost the registry or a part of it. `expires` is a time (ms) by the clock of
//! Redis. `silent` is the number of syncs that the node has left unanswered since it renewed its
//! registration. A node that has left, or whose registration has expired, stays listed for
//! [`NODE_LISTED`]: its connections may still count as receivers of a sync.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::limits::{NODE_LISTED, REGISTERED_NAME_BYTES_MAX, REGISTERED_NODES_MAX};
use crate::redis::{Client, CommandError, Reply};
use crate::store::scripts::{REGISTER, decimal};
use crate::time::millis;

/// The registry of nodes, at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistry {
    /// The time in milliseconds, by the clock of Redis.
    pub(in crate::store) now: u64,
    pub(in crate::store) version: RegistryVersion,
    pub(in crate::store) nodes: Vec<RegisteredNode>,
}

/// The version of a registry: its birth, and the number of changes since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct RegistryVersion {
    pub(in crate::store) birth: u64,
    pub(in crate::store) revision: u64,
}

/// A registered node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct RegisteredNode {
    /// The random identifier of the process.
    pub(in crate::store) id: u64,
    /// The end of the registration in milliseconds, by the clock of Redis.
    pub(in crate::store) expires: u64,
    /// The number of syncs without an acknowledgement since the last renewal.
    pub(in crate::store) silent: u32,
    /// The number of workers that acknowledge syncs.
    pub(in crate::store) workers: u32,
    /// The name that operators read.
    pub(in crate::store) name: Box<str>,
}

/// A change of the registry, or none.
pub(in crate::store) enum RegistryChange<'a> {
    Look,
    /// Registers a node, or renews its registration.
    Renew {
        id: u64,
        lifetime: Duration,
        workers: u32,
        name: &'a str,
    },
    /// Ends a registration.
    Leave {
        id: u64,
    },
    /// Counts a sync that these nodes left unanswered.
    Silent {
        ids: &'a [u64],
    },
}

impl RegistryChange<'_> {
    /// Makes the change in Redis; returns the registry after it.
    pub(in crate::store) async fn run(
        &self,
        redis: &Client,
        key: &[u8],
    ) -> Result<NodeRegistry, CommandError> {
        let ids: &[u64] = match self {
            Self::Look => &[],
            Self::Renew { id, .. } | Self::Leave { id } => std::slice::from_ref(id),
            Self::Silent { ids } => ids,
        };
        let ids: Vec<_> = ids.iter().map(|id| format!("{id:016x}")).collect();
        let mut arguments = vec![
            Bytes::from_static(self.word().as_bytes()),
            ids.join(" ").into(),
            format!("{:016x}", fastrand::u64(1..)).into(),
            decimal(millis(NODE_LISTED)),
            decimal(REGISTERED_NODES_MAX as u64),
        ];
        if let Self::Renew { lifetime, workers, name, .. } = self {
            arguments.extend([decimal(millis(*lifetime)), decimal((*workers).into())]);
            arguments.push(Bytes::copy_from_slice(name.as_bytes()));
        }
        let reply = REGISTER.run(redis, key, &arguments).await?;
        if reply == Reply::Integer(0) {
            return Err(CommandError::Full);
        }
        let registry = if let Reply::Bulk(value) = &reply { NodeRegistry::parse(value) } else { None };
        registry.ok_or(CommandError::Malformed)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Renew { .. } => "renew",
            Self::Leave { .. } => "leave",
            Self::Silent { .. } => "silent",
        }
    }
}

impl NodeRegistry {
    /// Parses the reply of the script; returns `None` if CacheWarp did not write the registry.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split_terminator('\n');
        let now = lines.next()?.parse().ok()?;
        let mut words = lines.next()?.split(' ');
        if words.next()? != "1" {
            return None;
        }
        let birth = u64::from_str_radix(words.next()?, 16).ok()?;
        let revision = words.next()?.parse().ok()?;
        let nodes: Vec<_> = lines.map(RegisteredNode::parse).collect::<Option<_>>()?;
        let is_whole = words.next().is_none() && nodes.len() <= REGISTERED_NODES_MAX;
        is_whole.then_some(Self { now, version: RegistryVersion { birth, revision }, nodes })
    }
}

impl RegisteredNode {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(5, ' ');
        Some(Self {
            id: u64::from_str_radix(words.next()?, 16).ok()?,
            expires: words.next()?.parse().ok()?,
            silent: words.next()?.parse().ok()?,
            workers: words.next()?.parse().ok()?,
            name: words.next().filter(|name| is_node_name(name))?.into(),
        })
    }
}

/// Returns whether a node may have this name: visible ASCII, within the limit.
fn is_node_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= REGISTERED_NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The reply of the script.
impl fmt::Display for NodeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, version: RegistryVersion { birth, revision }, nodes } = self;
        writeln!(f, "{now}\n1 {birth:016x} {revision}")?;
        nodes.iter().try_for_each(|node| {
            let RegisteredNode { id, expires, silent, workers, name } = node;
            writeln!(f, "{id:016x} {expires} {silent} {workers} {name}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_registry_as_the_script_writes_it() {
        let text = "1000\n1 00000000000000ff 7\n0000000000000001 6000 0 2 cache-1:8000\n\
                    0000000000000002 900 3 1 cache-2:8000\n";
        let registry = NodeRegistry::parse(text.as_bytes()).unwrap();
        assert_eq!(registry.version, RegistryVersion { birth: 255, revision: 7 });
        let names: Vec<_> = registry.nodes.iter().map(|node| (node.id, node.silent, &*node.name)).collect();
        assert_eq!(names, [(1, 0, "cache-1:8000"), (2, 3, "cache-2:8000")]);
        assert_eq!(registry.to_string(), text);
        assert!(NodeRegistry::parse(b"1000\n1 ff 0\n").unwrap().nodes.is_empty());
    }

    #[test]
    fn foreign_registries_are_refused() {
        for text in [
            "",
            "1000",
            "1000\n2 ff 0\n",
            "1000\n1 ff\n",
            "1000\n1 ff 0 0\n",
            "x\n1 ff 0\n",
            "1000\n1 ff 0\n1 2 3 4\n",
            "1000\n1 ff 0\n1 2 3 4 \n",
            "1000\n1 ff 0\n1 2 3 4 a b\n",
            "1000\n1 ff 0\n\n",
        ] {
            assert_eq!(NodeRegistry::parse(text.as_bytes()), None, "{text:?}");
        }
        let long = format!("1000\n1 ff 0\n1 2 3 4 {}\n", "n".repeat(REGISTERED_NAME_BYTES_MAX + 1));
        assert_eq!(NodeRegistry::parse(long.as_bytes()), None);
        let many = format!("1000\n1 ff 0\n{}", "1 2 3 4 n\n".repeat(REGISTERED_NODES_MAX + 1));
        assert_eq!(NodeRegistry::parse(many.as_bytes()), None);
    }
}
