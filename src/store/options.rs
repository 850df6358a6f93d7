//! The options of the tiers.

use std::time::Duration;

use crate::entry::CompressionPolicy;
use crate::key::NameKey;
use crate::limits::REGISTERED_NAME_BYTES_MAX;
use crate::sealing::SharedSealKeys;
use crate::store::namespace::Namespace;

/// The `node_name` of nodes without a name of their own.
const NODE_NAME_DEFAULT: &str = "node";

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
    /// The longest time for which memory serves an entry without Redis; 0 for never.
    pub memory_alone_max: Duration,
    /// The prefix of every name in Redis, which lets two origins share a database.
    pub namespace: Namespace,
    /// The number of hot keys that a node remembers for a restart; 0 for none.
    pub warm_keys: usize,
    /// The name of this node, under which it stores its hot keys.
    pub node_name: String,
    /// The keys that seal the entries in Redis.
    pub entry_keys: SharedSealKeys,
    /// The key of names in Redis and of messages.
    pub name_key: NameKey,
    /// Whether entries in Redis are compressed.
    pub compression: CompressionPolicy,
    /// The name of this node in the results of purges: a name that operators recognise.
    pub registered_name: String,
}

impl Options {
    /// Names the node, for the results of purges: its `node_name` if it has one of its own, else
    /// the host's name and this port.
    pub fn registered_at(self, port: u16) -> Self {
        let registered_name = if self.node_name == NODE_NAME_DEFAULT {
            let host = rustix::system::uname();
            host_and_port(&host.nodename().to_string_lossy(), port)
        } else {
            self.node_name.clone()
        };
        Self { registered_name, ..self }
    }
}

/// Returns a name of visible ASCII within the limit.
fn host_and_port(host: &str, port: u16) -> String {
    let port = format!(":{port}");
    let visible = host.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '-' });
    visible.take(REGISTERED_NAME_BYTES_MAX - port.len()).collect::<String>() + &port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_own_name_or_that_of_its_host() {
        let options = |node_name: &str| Options {
            memory_bytes: 0,
            body_bytes_max: 0,
            memory_ttl: Duration::ZERO,
            memory_alone_max: Duration::ZERO,
            namespace: Namespace::named("", "t"),
            warm_keys: 0,
            node_name: node_name.to_owned(),
            entry_keys: SharedSealKeys::default(),
            name_key: NameKey::default(),
            compression: CompressionPolicy::Off,
            registered_name: String::new(),
        };
        assert_eq!(options("eu-1").registered_at(80).registered_name, "eu-1");
        assert!(options(NODE_NAME_DEFAULT).registered_at(8000).registered_name.ends_with(":8000"));
        assert_eq!(host_and_port("cache 1.ü", 8000), "cache-1.-:8000");
        assert_eq!(host_and_port(&"h".repeat(300), 65535).len(), REGISTERED_NAME_BYTES_MAX);
    }
}
