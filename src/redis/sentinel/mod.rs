//! The client of a master that sentinels watch.
//!
//! ```text
//! MasterResolver ─ asks the sentinels in turn, then the master (ROLE) ──► adopt ─► RedisPool
//! SentinelSubscriber, one per sentinel ─ receives +switch-master ───────►
//! ```
//!
//! The first announcement of a fail-over is adopted: commands go to the new master from then on,
//! and the connections to the old one drain. So any one sentinel may be down, silent or late. If no
//! subscription receives it, the old master's `READONLY` or the loss of its connections triggers a
//! refresh, and the resolver asks.
//!
//! Reads from a master no longer count as tracked after a fail-over, and while too few sentinels
//! are reachable to announce one (`lease.rs`).
//!
//! **Always:** there is one master at a time, and an answer that the resolver got before an
//! announced fail-over is not adopted after it.

mod client;
mod lease;
mod master;
mod resolver;
mod subscriber;

pub(super) use client::SentinelClient;
