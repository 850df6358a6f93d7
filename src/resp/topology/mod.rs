//! The topology of clusters and sentinels, parsed from their replies.
//!
//! ```text
//! key ─► HashSlot ─► SlotMap ─► ClusterShard    a key's servers in a cluster   (slot, map)
//! CLUSTER SHARDS, CLUSTER SLOTS ─► shards       the source of the map          (shards, slots)
//! MOVED, ASK ─► Redirect                        a redirection                  (redirect)
//! SENTINEL, ROLE, +switch-master                the master's address           (sentinel)
//! ```
//!
//! All of this comes from the network and decides where data goes, so each parser returns a
//! complete value or a [`TopologyError`].

mod endpoint;
mod map;
mod redirect;
mod sentinel;
mod shards;
mod slot;
mod slots;

pub use endpoint::{Endpoint, TopologyError};
pub use map::SlotMap;
pub use redirect::{Redirect, RedirectKind};
pub use sentinel::{MasterSwitch, ServerRole, master_address, replicas, role, switch};
pub use shards::{ClusterShard, Encryption, shards};
pub use slot::HashSlot;
pub use slots::slots;
