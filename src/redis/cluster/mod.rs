//! The client of a cluster, whose masters each own a part of the hash slots.
//!
//! ```text
//! command ─► key ─► HashSlot ─► SlotMap ─► ClusterNode ─► RedisPool ─► reply
//!                             ▲  ▲               └─ MOVED: reassign the slot, send once more
//!                  refresh ───┘  └────────────────── ASK: send once more, behind ASKING
//! ```
//!
//! A map is one server's view and may be stale. A server that knows better redirects, and the
//! command is sent once more, within its caller's deadline; a second redirection is a miss. One
//! task reads the map again when an error triggers it, at most once per minimum interval.
//!
//! Reads from a master no longer count as tracked when its slots change, or when it does not answer
//! for them (`lease.rs`). Nothing is tracked if replicas answer reads, since their replies may be
//! stale.
//!
//! **Always:** a command is sent at most twice, and again only after the first server has refused
//! it; an unreachable server affects the keys of its slots and no others.

mod client;
mod layout;
mod lease;
mod refresh;
mod servers;

pub(super) use client::ClusterClient;
