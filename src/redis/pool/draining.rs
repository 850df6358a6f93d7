//! Pools that are not used any more, while they end.
//!
//! A pool that is let go has callers who still wait for their replies. It takes no more commands, and ends when they
//! have theirs, or when their time is up.

use std::cell::RefCell;

use tokio::task::JoinSet;

use super::redis_pool::RedisPool;

/// The pools that are ending. Never more than the command time-out lets live. Dropping it cuts them off.
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
