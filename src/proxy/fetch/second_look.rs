//! A second lookup in a store that did not answer in time.
//!
//! A Redis read is abandoned after milliseconds, because the origin is usually fast. If the origin
//! is slow or fails, the stored response would have been the better answer. The proxy therefore
//! reads Redis again while the origin is working, and once more after the origin has failed. A
//! stale response that may be served during revalidation is served, and the continuing fetch
//! refreshes it. An open Redis circuit breaker makes this lookup free.

use std::pin::pin;
use std::rc::Rc;

use crate::entry::Entry;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::fetch::join::{
    FetchRequest, {self},
};
use crate::proxy::fetch::stand_in;
use crate::proxy::lookup::find::{KeyLookup, look_up, usable};
use crate::proxy::request::CacheRequest;
use crate::proxy::{Proxy, policy};
use crate::store::Tier;

/// Answers from the origin or from the store, whichever responds first.
///
/// Cancel safe, like [`join::answer`]: a fetch that has started continues.
pub(in crate::proxy) async fn answer(proxy: &Rc<Proxy>, errand: FetchRequest) -> ProxyAnswer {
    let ask = Rc::clone(&errand.ask);
    let mut fetched = pin!(join::answer(proxy, errand));
    let answer = tokio::select! {
        answer = &mut fetched => answer,
        found = look(proxy, &ask) => match found.and_then(|(entry, tier)| usable(&ask, entry, tier)) {
            Some(hit) => return stand_in::stand(&ask, hit).await,
            None => fetched.await,
        },
    };
    if answer.outcome != Outcome::Failed {
        return answer;
    }
    let Some((entry, tier)) = look(proxy, &ask).await else { return answer };
    match usable(&ask, entry.clone(), tier) {
        Some(hit) => stand_in::stand(&ask, hit).await,
        None => {
            let stale = stand_in::serve_stale(&ask, &entry, policy::OriginFailure::Disconnected).await;
            stale.unwrap_or(answer)
        }
    }
}

async fn look(proxy: &Proxy, ask: &CacheRequest) -> Option<(Entry, Tier)> {
    let KeyLookup { found, .. } = look_up(proxy, ask).await;
    found
}
