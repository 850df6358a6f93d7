//! Whether this node fetches, or another does that already for all of them (`store/lease.rs`).
//!
//! The wait is in the fetch's own task, so whoever follows the fetch waits with it, and a client
//! that leaves takes nobody with it. It is over before those who follow lose their patience: if
//! nothing has come of it they are still there.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::entry::Entry;
use crate::label::Label;
use crate::limits::FETCH_SLOW;
use crate::proxy::answer::response::CacheHit;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::run::{
    FetchRights, {self},
};
use crate::proxy::fetch::table::{FetchState, LeaderGuard};
use crate::proxy::lookup::find;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::{CacheRequest, FetchKey};
use crate::proxy::{FetchLease, Proxy};
use crate::store::{LeaseTurn, StorePermit};
use crate::time;

/// Fetches for `ask`, and for its followers if it leads, with the validators of what is stored, if
/// anything is; unless another node has done so by the time that it is this one's turn.
///
/// Runs to the end whether or not the client stays: what can be stored is worth having.
pub(in crate::proxy) async fn run(
    proxy: Rc<Proxy>,
    ask: Rc<CacheRequest>,
    place: CacheLocation,
    stored: Option<Rc<Entry>>,
    mut right: FetchRights,
    to_client: oneshot::Sender<FetchOutcome>,
) {
    let key = ask.fill_key(place.key);
    if let Some(lead) = &mut right.lead
        && is_worth_a_question(&proxy, &key)
        && Box::pin(is_over(&proxy, &ask, &key, lead, &right.claim, stored.as_deref())).await
    {
        lead.tell(FetchState::Stored);
        // The client may have left; then nobody needs to know.
        return drop(to_client.send(FetchOutcome::Stored));
    }
    run::run(proxy, ask, place, stored, right, to_client).await;
}

/// Whether another node has fetched what `lead` is about to fetch, and stored something that
/// answers `ask` and is newer than what is stored. Otherwise it is to fetch, and holds the lease if
/// it has got it.
async fn is_over(
    proxy: &Rc<Proxy>,
    ask: &CacheRequest,
    key: &FetchKey,
    lead: &mut LeaderGuard,
    claim: &StorePermit,
    stored: Option<&Entry>,
) -> bool {
    let begun = time::instant();
    let patience = proxy.options.coalesce_timeout / 2;
    match proxy.store.turn(&key.key, key.asker.word(), claim, patience).await {
        LeaseTurn::Anybodys => return false,
        LeaseTurn::Ours(lease) => lead.hold(lease),
        LeaseTurn::Over => proxy.metrics.waited(time::instant().duration_since(begun)),
    }
    // Between our look and our turn another's may have ended, too.
    let hit = find::stored_meanwhile(proxy, ask).await;
    let is_newer =
        |hit: &CacheHit| stored.is_none_or(|stored| stored.facts.received < hit.entry.facts.received);
    hit.is_some_and(|hit| is_newer(&hit))
}

/// Whether other nodes may be fetching the same, and it is worth the time to ask.
fn is_worth_a_question(proxy: &Proxy, key: &FetchKey) -> bool {
    match proxy.options.fetch_lease {
        FetchLease::Off => false,
        FetchLease::On => true,
        // Of a key that nobody has fetched yet, what is known is how the origin does.
        FetchLease::Adaptive => proxy.fetch_took.get() >= FETCH_SLOW || proxy.shared.slow.contains(key),
    }
}
