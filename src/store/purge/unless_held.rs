//! The permit of a fetch whose answer is not stored while a write holds its tag (`hold.rs`).

use tokio::sync::watch;

use crate::redis::{Client, Command, Reply};
use crate::store::handle::Store;
use crate::store::purge::hold::{HoldQuery, HoldState};
use crate::store::purge::names::CacheTag;
use crate::store::purge::permit::StorePermit;
use crate::time;

impl Store {
    /// Returns the permit of a fetch whose answer may not be stored if a write holds the tag. The
    /// permit is taken before the question is sent, and Redis answers beside the origin.
    pub fn unless_held(&self, permit: StorePermit, tag: &CacheTag) -> StorePermit {
        let tag = tag.digest(&self.shared.options.name_key);
        if self.shared.holds.is_held(tag, time::instant()) {
            return StorePermit { hold: HoldQuery::Held, ..permit };
        }
        let Some(redis) = self.redis.clone() else { return permit };
        let (answered, answer) = watch::channel(None);
        let name = self.shared.hold_name(tag);
        let mut tasks = self.hold_tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            // The fetch may have ended.
            answered.send_replace(Some(hold_state(&redis, &name).await));
        });
        StorePermit { hold: HoldQuery::Asked(answer), ..permit }
    }
}

async fn hold_state(redis: &Client, name: &[u8]) -> HoldState {
    match redis.command(&Command::TimeToLive { key: name }).await {
        // There is no such key.
        Ok(Reply::Integer(-2)) => HoldState::Free,
        Ok(_) | Err(_) => HoldState::Held,
    }
}
