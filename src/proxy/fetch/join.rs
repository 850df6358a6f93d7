//! Requests that join a fetch: the role of each in the fetch of its key, and the wait of a
//! follower.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits::COLLAPSED_WAITS_MAX;
use crate::origin::FetchPurpose;
use crate::policy::{OriginFailure, Reuse};
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::present::{self, present};
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::notes::ExplainedRole;
use crate::proxy::fetch::direct::fetch_uncacheable;
use crate::proxy::fetch::head_digest::HeadDigest;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::respond::{fetch_alone, fetch_as_leader, fetch_known_uncacheable};
use crate::proxy::fetch::response::SharedResponse;
use crate::proxy::fetch::retry_after::answer_refused;
use crate::proxy::fetch::stale_on_error::{
    serve_stale_for_failure, serve_stale_on_error, serve_stale_while_paused, serve_stored, stale_or_failure,
};
use crate::proxy::fetch::table::{FetchRole, FetchState, LeaderGuard};
use crate::proxy::lookup::find::{just_stored, stored_meanwhile};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::FetchScope;
use crate::proxy::worker::Proxy;
use crate::store::StorePermit;
use crate::time;

/// The maximum number of shared fetches that a request joins, if they turn out to be for other
/// variants.
const JOINS_MAX: usize = 2;

/// Whether a request joined a fetch before its response arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinTime {
    /// It waited for the response.
    BeforeResponse,
    /// The response had arrived, and its body was under way.
    AfterResponse,
}

/// Answers from the origin, and shares one fetch with concurrent requests for the key.
pub(in crate::proxy) async fn answer(proxy: &Rc<Proxy>, mut fetch_request: FetchRequest) -> ProxyAnswer {
    if let Some(answer) = serve_stale_while_paused(proxy, &fetch_request).await {
        return answer;
    }
    if let Some(reason) = fetch_request.request.facts.forbids_storing() {
        return fetch_uncacheable(proxy, &fetch_request, reason).await;
    }
    if let Some(answer) = answer_refused(proxy, &fetch_request).await {
        return answer;
    }
    // A client that requires a response newer than its own request cannot take one that was
    // requested earlier. It waits for the end of such a fetch, and shares the next.
    let is_newer =
        fetch_request.forward == ForwardReason::Request || fetch_request.request.facts.forbids_older();
    let (scope, fetches) = if is_newer {
        (FetchScope::Newer, &proxy.shared.newer_fetches)
    } else {
        (FetchScope::Any, &proxy.shared.fetches)
    };
    let mut may_lead_anew = true;
    // The last fetch that does not answer this request, because it takes too long or is too old.
    let mut waited = None;
    // The fetches that take too long and began after this request arrived. The response of each
    // answers it. For requests that take older responses, the table keeps these fetches.
    let mut earlier = Vec::new();
    let (mut joins, mut waits) = (0, 0);
    while joins < JOINS_MAX {
        let key = fetch_request.request.fetch_key(fetch_request.location.key);
        if let Some(reason) = proxy.shared.uncacheable.known(&key, time::instant()).reason {
            return Box::pin(fetch_known_uncacheable(proxy, &fetch_request, reason)).await;
        }
        let mut state = match fetches
            .join(key, fetch_request.seen(), waited.as_ref(), || fetch_request.permit(proxy))
        {
            FetchRole::Alone => break,
            FetchRole::Follower(state) => state,
            FetchRole::Leader(lead, permit) => {
                // Another fetch may have ended since the lookup.
                return match just_stored(proxy, &fetch_request.request, &fetch_request.location) {
                    Some(hit) => serve_stored(&fetch_request.request, hit).await,
                    None => {
                        Box::pin(lead_or_follow(proxy, &fetch_request, lead, *permit, scope, &earlier)).await
                    }
                };
            }
        };
        if scope == FetchScope::Newer && waited.is_none() {
            waited = Some(await_response(proxy, &fetch_request, state).await);
            continue;
        }
        let is_pending = state.borrow().is_pending();
        let joined = if is_pending { JoinTime::BeforeResponse } else { JoinTime::AfterResponse };
        let shared_fetch = tokio::select! {
            biased;
            followed = follow(proxy, &fetch_request, &mut state) => followed,
            response = first_response(&earlier) => Some(response),
        };
        let Some(shared_fetch) = shared_fetch else {
            if waits == COLLAPSED_WAITS_MAX {
                break;
            }
            waits += 1;
            if scope == FetchScope::Newer {
                earlier.push(state.clone());
            }
            waited = Some(state);
            continue;
        };
        match shared_fetch {
            FetchState::Shared(response) => match own_location(&fetch_request, &response) {
                Some(own) => {
                    fetch_request.request.note_location(&own);
                    fetch_request = FetchRequest { location: own, stored: None, ..fetch_request };
                    earlier.clear();
                    waited = None;
                }
                None => match share(&fetch_request, scope, joined, &response).await {
                    Some(answer) => return answer,
                    None => break,
                },
            },
            FetchState::Stored => match stored_meanwhile(proxy, &fetch_request.request).await {
                Ok(hit) => return serve_stored(&fetch_request.request, hit).await,
                // The other node has stored another variant.
                Err(own) if own.key != fetch_request.location.key => {
                    fetch_request = FetchRequest { location: own, stored: None, ..fetch_request };
                    earlier.clear();
                    waited = None;
                }
                Err(_) => break,
            },
            FetchState::Errored => {
                match serve_stale_on_error(proxy, &fetch_request, OriginFailure::ErrorResponse).await {
                    Some(answer) => return answer,
                    None => break,
                }
            }
            FetchState::OfLeader(failure) => {
                if let Some(failure) = failure
                    && let Some(answer) = serve_stale_on_error(proxy, &fetch_request, failure).await
                {
                    return answer;
                }
                if !may_lead_anew {
                    break;
                }
                may_lead_anew = false;
            }
            FetchState::Failed(failure, head) => {
                // A second leader with an equal head failed for no reason of its own.
                let sent = fetch_request.request.inbound.to_outbound(&FetchPurpose::Cacheable);
                let is_equal = || head == HeadDigest::of_any_client(proxy.origin.outbound(), &sent);
                if !failure.may_be_of_the_request() || (!may_lead_anew && head.is_some() && is_equal()) {
                    return stale_or_failure(proxy, &fetch_request, failure).await;
                }
                if let Some(answer) = serve_stale_for_failure(proxy, &fetch_request, failure).await {
                    return answer;
                }
                if !may_lead_anew {
                    break;
                }
                may_lead_anew = false;
            }
            FetchState::Alone | FetchState::Fetching | FetchState::Waiting => break,
        }
        joins += 1;
    }
    if let Some(answer) = serve_stale_while_paused(proxy, &fetch_request).await {
        return answer;
    }
    match answer_refused(proxy, &fetch_request).await {
        Some(answer) => answer,
        None => fetch_alone(proxy, &fetch_request).await,
    }
}

/// Waits until a fetch that is too old for the request has its response, or for as long as a
/// follower waits. Returns the fetch.
async fn await_response(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    mut state: watch::Receiver<FetchState>,
) -> watch::Receiver<FetchState> {
    let begun = time::instant();
    fetch_request.note_role(ExplainedRole::Follower);
    let response = state.wait_for(|state| !state.is_pending());
    // The request goes on in any case.
    let waits_max = fetch_request.request.inbound.rules.collapse_timeout;
    drop(timeout(waits_max, response).await);
    proxy.metrics.waited(time::instant().duration_since(begun));
    state
}

/// Waits for the state that ends another request's fetch; `None` if the fetch takes too long. The
/// time of the fetch runs from the moment at which this node no longer waits for another one.
async fn follow(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    state: &mut watch::Receiver<FetchState>,
) -> Option<FetchState> {
    let begun = time::instant();
    fetch_request.note_role(ExplainedRole::Follower);
    let waits_max = fetch_request.request.inbound.rules.collapse_timeout;
    let turn = timeout(waits_max, state.wait_for(|state| !matches!(state, FetchState::Waiting))).await;
    let has_turn = turn.is_ok();
    drop(turn);
    let state = if has_turn {
        let response = timeout(waits_max, state.wait_for(|state| !state.is_pending())).await;
        response.map(|state| state.map_or(FetchState::Alone, |state| state.clone())).ok()
    } else {
        None
    };
    proxy.metrics.waited(time::instant().duration_since(begun));
    let state = state?;
    if let FetchState::Shared(response) = &state {
        fetch_request.request.note_location(&response.location);
    }
    Some(state)
}

/// Starts this leader's fetch, and answers with the first response for the key: that of this fetch,
/// that of a fetch beside it (if one of the two has exceeded `collapse_timeout`), or one that
/// another node has stored. This leader's fetch runs to its end in its own task in any case.
async fn lead_or_follow(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    lead: LeaderGuard,
    permit: StorePermit,
    scope: FetchScope,
    earlier: &[watch::Receiver<FetchState>],
) -> ProxyAnswer {
    // A later fetch of the key publishes its response here too, if older responses are taken.
    let mut others = earlier.to_vec();
    if scope == FetchScope::Any {
        others.push(lead.state());
    }
    tokio::select! {
        biased;
        answer = fetch_as_leader(proxy, fetch_request, lead, permit) => answer,
        Some(answer) = response_of_another(proxy, fetch_request, scope, &others) => answer,
    }
}

/// Returns the answer from the first response that is published for the key, or that another node
/// has stored.
async fn response_of_another(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    scope: FetchScope,
    others: &[watch::Receiver<FetchState>],
) -> Option<ProxyAnswer> {
    let FetchState::Shared(response) = first_response(others).await else {
        let hit = stored_meanwhile(proxy, &fetch_request.request).await.ok()?;
        return Some(serve_stored(&fetch_request.request, hit).await);
    };
    match own_location(fetch_request, &response) {
        Some(_) => None,
        None => share(fetch_request, scope, JoinTime::BeforeResponse, &response).await,
    }
}

/// Waits for the first response of these fetches.
async fn first_response(fetches: &[watch::Receiver<FetchState>]) -> FetchState {
    if fetches.is_empty() {
        return pending().await;
    }
    let is_response = |state: &FetchState| matches!(state, FetchState::Shared(_) | FetchState::Stored);
    let mut waits: Vec<AwaitedResponse> = Vec::with_capacity(fetches.len());
    for mut fetch in fetches.iter().cloned() {
        waits
            .push(Box::pin(async move { fetch.wait_for(is_response).await.ok().map(|state| state.clone()) }));
    }
    poll_fn(|cx| {
        let mut first = None;
        waits.retain_mut(|wait| match wait.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(response) => {
                first = first.take().or(response);
                false
            }
        });
        first.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The wait for the response of one fetch; `None` if it ends without one.
type AwaitedResponse = Pin<Box<dyn Future<Output = Option<FetchState>>>>;

/// Returns the location of the request's own variant, if the shared response is another variant.
fn own_location(fetch_request: &FetchRequest, response: &SharedResponse) -> Option<CacheLocation> {
    let FetchRequest { request, location, .. } = fetch_request;
    let variants = response.location.variants.clone()?;
    let own = request.variant(location.generation, variants);
    (own.key != response.location.key).then_some(own)
}

/// Takes the shared response, if the policy lets it answer this request.
async fn share(
    fetch_request: &FetchRequest,
    scope: FetchScope,
    joined: JoinTime,
    response: &SharedResponse,
) -> Option<ProxyAnswer> {
    let FetchRequest { request, forward, .. } = fetch_request;
    let now = time::now();
    let age = match request.share(&response.facts, scope, now) {
        Reuse::Fresh { age, .. } | Reuse::StaleWhileRevalidate { age, .. } | Reuse::Stale { age, .. } => age,
        Reuse::Validate(_) if joined == JoinTime::BeforeResponse => {
            request.share_on_arrival(&response.facts, scope, now)?
        }
        Reuse::Validate(_) | Reuse::Not(_) => return None,
    };
    request.inbound.record.trace().link(response.span);
    let answer = response.answer(age)?.with_status(CacheStatus::Collapsed { forward: *forward });
    Some(present(request, answer, response.facts.received).await.unwrap_or_else(present::failed))
}
