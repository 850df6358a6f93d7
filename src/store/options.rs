//! The options of the tiers.

use std::time::Duration;

use crate::store::namespace::Namespace;

/// The options of the memory tier and of the store in Redis.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of the memory tier in bytes, overhead included; 0 turns it off.
    pub memory_bytes: usize,
    /// The size of the largest stored body in bytes: each shard of the tier has room for several of
    /// them.
    pub body_bytes_max: usize,
    /// The time for which memory serves an entry read from Redis before it checks Redis again.
    pub memory_ttl: Duration,
    /// The prefix of every name in Redis, which lets two origins share a database.
    pub namespace: Namespace,
    /// The number of hot keys that a node remembers for a restart; 0 for none.
    pub warm_keys: usize,
    /// The name of this node, under which it stores its hot keys.
    pub node_name: String,
}
