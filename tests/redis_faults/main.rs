//! What a Redis server can do to its clients, done by a real `redis-server` or by a socket that misbehaves byte by byte.
//!
//! `tests/redis_client.rs` has the servers that are killed, stopped and full; the exact times are tested on a clock that
//! stands still (`src/redis/tests/pacing.rs`). Here each value carries its key and every one is held against it, no caller
//! waits longer than its deadline and 20 ms, but for what the machine was late itself (`harness/waits.rs`), and other bounds of
//! time are one-sided and generous, so that a busy machine breaks none.

#![cfg(test)]

#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the faults of Redis need few of the parties")]
mod harness;
mod lateness;
mod load;
mod outages;
mod stalls;
mod wire;
