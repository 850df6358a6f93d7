//! Pools that are closed while their last callers wait.
//!
//! A replaced pool refuses new commands, and ends when its callers have their replies or time out.

use std::cell::RefCell;

use tokio::task::JoinSet;

use super::redis_pool::RedisPool;

/// The draining pools, each for at most the command timeout. Dropping it closes them at once.
#[derive(Default)]
pub(in crate::redis) struct DrainingPools(RefCell<JoinSet<()>>);

impl DrainingPools {
    /// Closes a pool without waiting for it.
    pub(in crate::redis) fn add(&self, pool: RedisPool) {
        let mut ending = self.0.borrow_mut();
        while ending.try_join_next().is_some() {}
        ending.spawn_local(async move { pool.close().await });
    }

    /// Waits until all of them have ended.
    pub(in crate::redis) async fn finished(&self) {
        let mut ending = self.0.take();
        while ending.join_next().await.is_some() {}
    }
}
