//! Which server a command is for: what clusters and sentinels say of themselves, read and held.
//!
//! ```text
//! key ─► HashSlot ─► SlotMap ─► ClusterShard            a cluster's key, and the servers that have it      (slot, map)
//! CLUSTER SHARDS, CLUSTER SLOTS ─► Shards    what the map is made of                            (shards, slots)
//! MOVED, ASK ─► Redirect                     a server that knows better                         (redirect)
//! SENTINEL, ROLE, +switch-master             who the master is                                  (sentinel)
//! ```
//!
//! All of this comes from the network and decides where data goes, so each reading ends in a value that is whole or in
//! [`TopologyError`].

mod endpoint;
mod map;
mod redirect;
mod sentinel;
mod shards;
mod slot;
mod slots;

pub use endpoint::Endpoint;
pub use map::SlotMap;
pub use redirect::{Redirect, RedirectKind};
pub use sentinel::{MasterSwitch, ServerRole, master_address, replicas, role, switch};
pub use shards::{ClusterShard, Encryption, shards};
pub use slot::HashSlot;
pub use slots::slots;

/// Why what a server says of its cluster is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Not of the form that the command has.
    #[error("the reply has another form than is documented")]
    Form,
    /// No server that could be asked for anything.
    #[error("the reply names no server")]
    Nobody,
    /// More servers than we keep connections to.
    #[error("the cluster has more than {} servers", crate::limits::REDIS_NODES_MAX)]
    TooManyServers,
}
