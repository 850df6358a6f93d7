//! The choice of the node that fetches: this one, or another that already fetches for all
//! (`store/lease.rs`).
//!
//! The wait runs in the task of the fetch. Followers therefore wait with it, and a client that
//! leaves does not end it. The wait is shorter than the followers' timeout: if it brings no
//! response, they are still waiting.

use tokio::sync::oneshot;

use crate::label::Label;
use crate::limits::FETCH_SLOW;
use crate::proxy::answer::response::CacheHit;
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::table::{FetchState, LeaderGuard};
use crate::proxy::lookup::find;
use crate::proxy::options::FetchLease;
use crate::proxy::request::FetchKey;
use crate::proxy::worker::Proxy;
use crate::store::LeaseTurn;
use crate::time;

impl ActiveFetch {
    /// Fetches, unless another node has stored a newer response by the time that this node may
    /// fetch.
    ///
    /// The fetch runs to completion even if the client leaves, because its response can be stored.
    pub(in crate::proxy::fetch) async fn run_in_turn(mut self, to_client: oneshot::Sender<FetchOutcome>) {
        if self.lead.as_ref().is_some_and(LeaderGuard::may_wait_for_other_nodes)
            && should_check_other_nodes(&self.proxy, &self.key)
            && Box::pin(self.is_fetched_elsewhere()).await
        {
            self.publish(FetchState::Stored);
            // The send fails if the client has left.
            return drop(to_client.send(FetchOutcome::Stored));
        }
        self.run(to_client).await;
    }

    /// Returns whether another node has stored a response that answers the request and is newer
    /// than the stored entry. Otherwise this node fetches, and the leader holds the lease if this
    /// node got it.
    async fn is_fetched_elsewhere(&mut self) -> bool {
        let Self { key, proxy, request, stored, lead, permit, .. } = self;
        let begun = time::instant();
        let wait_max = request.inbound.rules.collapse_timeout / 2;
        match proxy.store.request_lease(&key.key, key.requester.word(), permit, wait_max).await {
            LeaseTurn::Unavailable => return false,
            LeaseTurn::Held(lease) => {
                if let Some(lead) = lead {
                    lead.hold(lease);
                }
            }
            LeaseTurn::Ended => proxy.metrics.waited(time::instant().duration_since(begun)),
        }
        // Another node's fetch may have ended between the lookup and the lease.
        let hit = find::stored_meanwhile(proxy, request).await;
        let is_newer = |hit: CacheHit| {
            stored.as_ref().is_none_or(|stored| stored.facts.received < hit.entry.facts.received)
        };
        hit.is_some_and(is_newer)
    }
}

/// Returns whether it is worthwhile to check if another node is fetching the key.
fn should_check_other_nodes(proxy: &Proxy, key: &FetchKey) -> bool {
    match proxy.options.fetch_lease {
        FetchLease::Off => false,
        FetchLease::On => true,
        // For a key without a recorded fetch, the mean fetch time decides.
        FetchLease::Adaptive => proxy.fetch_took.get() >= FETCH_SLOW || proxy.shared.slow.contains(key),
    }
}
