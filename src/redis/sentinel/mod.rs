//! The master that sentinels watch.
//!
//! ```text
//! MasterResolver ─ asks one sentinel after the other who it is, asks it itself (ROLE) ──► adopt ─► RedisPool
//! SentinelSubscriber, one for each sentinel ─ hears +switch-master ────────────────────────────►
//! ```
//!
//! Whoever hears of a fail-over first has it adopted: commands go to the new master from then on, and the connections
//! to the old one are closed. So any one sentinel may be away, silent or late. Where nobody says anything (all ears
//! were deaf just then), the old master's `READONLY` or its end raises a refresh, and the resolver asks.
//!
//! What was read from a master is not known any more when there is another one, and while too few sentinels are heard to tell
//! of it (`lease.rs`).
//!
//! What always holds: there is one master at a time, and what the resolver found out before a fail-over that was heard
//! of meanwhile is not adopted after it.

mod client;
mod lease;
mod master;
mod resolver;
mod subscriber;

pub(super) use client::SentinelClient;
