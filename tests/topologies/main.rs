//! CacheWarp on Sentinel and on Cluster, with real processes.
//!
//! A binary of its own, with one deployment under test at a time: sentinels and clusters elect
//! nothing if they do not get the processor in time, and try again much later. Only the start of a
//! deployment may take its time, so the next one starts meanwhile.

#![cfg(test)]

mod cluster;
mod coherence;
mod guarded;
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the scenarios use the rest of it")]
mod harness;
#[path = "../fleet/node.rs"]
#[expect(dead_code, reason = "the fleet on one server uses the rest of it")]
mod node;
mod purge_stream;
mod purges;
mod sentinel;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Starts a deployment, waits until no other one is under test, and excludes the others.
fn alone<T>(start: impl FnOnce() -> T) -> (T, MutexGuard<'static, ()>) {
    static DEPLOYMENT: Mutex<()> = Mutex::new(());
    let started = start();
    // A failed test does not fail the next: its processes are stopped.
    (started, DEPLOYMENT.lock().unwrap_or_else(PoisonError::into_inner))
}
