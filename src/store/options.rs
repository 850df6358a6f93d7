//! What the tiers can be told.

use std::time::Duration;

use super::Namespace;

/// The memory tier, and how the tiers share the work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes that the memory tier may hold, everything counted; 0 turns it off.
    pub memory_bytes: usize,
    /// Bytes of the largest body that will be stored: the tier is divided so that each part holds
    /// several such.
    pub body_bytes_max: usize,
    /// How long an entry that was read from Redis is served from memory without asking again.
    pub memory_ttl: Duration,
    /// The beginning of every name in Redis: two origins can share a database, and nothing else.
    pub namespace: Namespace,
    /// How many of the keys asked for most are remembered for a restart; 0 for none.
    pub warm_keys: usize,
    /// Under which name they are.
    pub node_name: String,
}
