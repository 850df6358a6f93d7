//! A second look at a store that did not answer in time.
//!
//! A read of Redis is given up after milliseconds, since most often the origin is quick. Where the
//! origin is not, or gives no answer at all, what stands in Redis would have been the better
//! answer: so while the origin is asked Redis is asked once more, and again when the origin has
//! failed. What is stale and may be served while it is refreshed is served: the fetch that goes on
//! is its refresh. A Redis that its breaker keeps us from costs nothing here.

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

/// Answers from the origin or from the store, whichever does first.
///
/// Cancel safe, as [`fetch::answer`] is: a fetch that was begun goes on.
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
