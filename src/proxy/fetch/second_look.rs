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
use crate::policy;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::join;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::stale_on_error;
use crate::proxy::lookup::find::{RequestLookup, look_up, usable};
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::Tier;

/// Answers from the origin or from the store, whichever responds first.
///
/// Cancel safe, like [`join::answer`]: a fetch that has started continues.
pub(in crate::proxy) async fn answer(proxy: &Rc<Proxy>, fetch_request: FetchRequest) -> ProxyAnswer {
    let request = Rc::clone(&fetch_request.request);
    let mut fetched = pin!(join::answer(proxy, fetch_request));
    let answer = tokio::select! {
        answer = &mut fetched => answer,
        found = look_up_again(proxy, &request) => match found.and_then(|(entry, tier)| usable(&request, entry, tier)) {
            Some(hit) => return stale_on_error::serve_stored(&request, hit).await,
            None => fetched.await,
        },
    };
    if answer.outcome != Outcome::Failed {
        return answer;
    }
    let Some((entry, tier)) = look_up_again(proxy, &request).await else { return answer };
    match usable(&request, entry.clone(), tier) {
        Some(hit) => stale_on_error::serve_stored(&request, hit).await,
        None => {
            let stale =
                stale_on_error::serve_stale(&request, &entry, policy::OriginFailure::Disconnected).await;
            stale.unwrap_or(answer)
        }
    }
}

async fn look_up_again(proxy: &Proxy, request: &CacheRequest) -> Option<(Entry, Tier)> {
    let RequestLookup { found, .. } = look_up(proxy, request).await;
    found
}
