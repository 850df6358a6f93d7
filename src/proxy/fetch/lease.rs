//! The choice of the node that fetches: this one, or another that already fetches for all
//! (`store/lease.rs`).
//!
//! The wait runs in the task of the fetch. Followers therefore wait with it, and a client that
//! leaves does not end it. If the wait brings no response, this node fetches, and its followers'
//! timeout begins then. While it fetches, it still waits for the other node: the response that
//! comes first answers every request. So no request waits longer than for its own node's fetch, and
//! no node fetches more often than without leases.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::entry::Entry;
use crate::label::Label;
use crate::limits::FETCH_SLOW;
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::table::{FetchState, LeaderGuard, StoredElsewhere};
use crate::proxy::lookup::find;
use crate::proxy::options::FetchLease;
use crate::proxy::request::{CacheRequest, FetchKey};
use crate::proxy::worker::Proxy;
use crate::store::{LeaseName, LeaseTurn};
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
        if let Some(lead) = lead {
            lead.publish_pending(&FetchState::Waiting);
        }
        let turn = proxy.store.request_lease(&key.key, key.requester.word(), permit, wait_max).await;
        if let Some(lead) = lead {
            lead.publish_pending(&FetchState::Fetching);
        }
        match turn {
            LeaseTurn::Unavailable => return false,
            LeaseTurn::StillHeld(lease) => {
                proxy.metrics.waited(time::instant().duration_since(begun));
                if let Some(lead) = lead {
                    let fetch = lead.stored_elsewhere();
                    let (proxy, request, stored) = (Rc::clone(proxy), Rc::clone(request), stored.clone());
                    let tasks = Rc::clone(&proxy);
                    tasks.tasks.spawn(follow_other_node(proxy, request, stored, lease, fetch));
                }
                return false;
            }
            LeaseTurn::Held(lease) => {
                if let Some(lead) = lead {
                    lead.hold(lease);
                }
            }
            LeaseTurn::Ended => proxy.metrics.waited(time::instant().duration_since(begun)),
        }
        // Another node's fetch may have ended between the lookup and the lease.
        is_newer_stored(proxy, request, stored.as_deref()).await
    }
}

/// Returns whether the store has a fresh response that is newer than the stored entry.
async fn is_newer_stored(proxy: &Proxy, request: &CacheRequest, stored: Option<&Entry>) -> bool {
    let hit = find::stored_meanwhile(proxy, request).await;
    hit.is_ok_and(|hit| stored.is_none_or(|stored| stored.facts.received < hit.entry.facts.received))
}

/// Waits for another node's response while this node fetches; ends when either has one.
async fn follow_other_node(
    proxy: Rc<Proxy>,
    request: Rc<CacheRequest>,
    stored: Option<Rc<Entry>>,
    lease: LeaseName,
    fetch: StoredElsewhere,
) {
    let other_node = async {
        proxy.store.lease_has_ended(lease, request.inbound.rules.collapse_timeout).await
            && is_newer_stored(&proxy, &request, stored.as_deref()).await
    };
    tokio::select! {
        () = fetch.response() => {}
        is_stored = other_node => if is_stored {
            fetch.publish();
        },
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
