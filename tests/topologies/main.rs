//! CacheWarp on Sentinel and on Cluster, of real processes.
//!
//! A binary of its own, and one deployment at a time: sentinels and clusters come to no agreement where they do not get
//! the processor in time, and then try again much later. Only to come together they may take their time, so the next one does
//! that meanwhile.

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
mod purges;
mod sentinel;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Starts a deployment, waits until no other one is under test, and keeps others from it.
fn alone<T>(start: impl FnOnce() -> T) -> (T, MutexGuard<'static, ()>) {
    static DEPLOYMENT: Mutex<()> = Mutex::new(());
    let started = start();
    // What a failed test leaves behind is stopped, and no reason for the next to fail.
    (started, DEPLOYMENT.lock().unwrap_or_else(PoisonError::into_inner))
}
