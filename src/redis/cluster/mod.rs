//! The servers of a cluster, each with its part of the keys.
//!
//! ```text
//! command ─► key ─► HashSlot ─► SlotMap ─► ClusterNode ─► RedisPool ─► reply
//!                             ▲  ▲               └─ MOVED: the slot is assigned anew, once more there
//!                  refresh ───┘  └────────────────── ASK: once more there, behind ASKING
//! ```
//!
//! The map is a server's word and may be old. A server that knows better says so, and then the command is sent once
//! more, within the time that its caller gave it; whatever is still wrong then is a miss. The map itself is asked for
//! anew by one task, when somebody has a reason to refresh it and not more often than every so often.
//!
//! What was read from a master is not known any more when it has other slots than before, or does not answer for them
//! (`lease.rs`). Where replicas answer reads nothing is tracked: what they say may be old when it is read.
//!
//! What always holds: a command is sent twice at most, and only after the first server has refused it; a server that is
//! away costs the keys of its slots and no others.

mod client;
mod layout;
mod lease;
mod refresh;
mod servers;

pub(super) use client::ClusterClient;
