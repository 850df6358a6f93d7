//! The choice of the node that fetches: this one, or another that already fetches for all
//! (`store/lease.rs`).
//!
//! The wait runs in the task of the fetch. Followers therefore wait with it, and a client that
//! leaves does not end it. The wait is shorter than the followers' timeout: if it brings no
//! response, they are still waiting.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::entry::Entry;
use crate::label::Label;
use crate::limits::FETCH_SLOW;
use crate::proxy::answer::response::CacheHit;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::run::{self, FetchRights};
use crate::proxy::fetch::table::{FetchState, LeaderGuard};
use crate::proxy::lookup::find;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::options::FetchLease;
use crate::proxy::request::{CacheRequest, FetchKey};
use crate::proxy::worker::Proxy;
use crate::store::{LeaseTurn, StorePermit};
use crate::time;

/// Fetches for `request`, and for its followers if it leads. Sends the validators of the stored
/// entry, if there is one. Does not fetch if another node has stored a newer response by the time
/// that this node may fetch.
///
/// The fetch runs to completion even if the client leaves, because its response can be stored.
pub(in crate::proxy) async fn run(
    proxy: Rc<Proxy>,
    request: Rc<CacheRequest>,
    location: CacheLocation,
    stored: Option<Rc<Entry>>,
    mut rights: FetchRights,
    to_client: oneshot::Sender<FetchOutcome>,
) {
    let key = request.fetch_key(location.key);
    if let Some(lead) = &mut rights.lead
        && lead.may_wait_for_other_nodes()
        && should_check_other_nodes(&proxy, &key)
        && Box::pin(already_fetched(&proxy, &request, &key, lead, &rights.permit, stored.as_deref())).await
    {
        lead.publish(FetchState::Stored);
        // The send fails if the client has left.
        return drop(to_client.send(FetchOutcome::Stored));
    }
    run::run(proxy, request, location, stored, rights, to_client).await;
}

/// Returns whether another node has stored a response that answers `request` and is newer than
/// `stored`. Otherwise this node fetches, and `lead` holds the lease if this node got it.
async fn already_fetched(
    proxy: &Rc<Proxy>,
    request: &CacheRequest,
    key: &FetchKey,
    lead: &mut LeaderGuard,
    permit: &StorePermit,
    stored: Option<&Entry>,
) -> bool {
    let begun = time::instant();
    let wait_max = proxy.options.collapse_timeout / 2;
    match proxy.store.request_lease(&key.key, key.requester.word(), permit, wait_max).await {
        LeaseTurn::Unavailable => return false,
        LeaseTurn::Held(lease) => lead.hold(lease),
        LeaseTurn::Ended => proxy.metrics.waited(time::instant().duration_since(begun)),
    }
    // Another node's fetch may have ended between the lookup and the lease.
    let hit = find::stored_meanwhile(proxy, request).await;
    let is_newer =
        |hit: &CacheHit| stored.is_none_or(|stored| stored.facts.received < hit.entry.facts.received);
    hit.is_some_and(|hit| is_newer(&hit))
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
