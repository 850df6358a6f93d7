//! Faults of a Redis server, caused by a real `redis-server` or by a socket that misbehaves byte by
//! byte.
//!
//! `tests/redis_client.rs` has killed, stopped and full servers; exact times are tested on a paused
//! clock (`src/redis/tests/pacing.rs`). Here each value contains its key and is compared with it,
//! and no caller waits longer than its deadline plus 20 ms, apart from the machine's own lateness
//! (`harness/waits.rs`). Other time bounds are one-sided and generous, so that a busy machine
//! breaks none.

#![cfg(test)]

#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the faults of Redis need few of the parties")]
mod harness;
mod load;
mod measured_waits;
mod outages;
mod stalls;
mod wire;
