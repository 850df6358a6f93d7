//! Requests that go to the origin: as the leader of a shared fetch, as a follower, or alone.

use std::rc::Rc;

use http::Response;
use tokio::sync::{oneshot, watch};

use crate::label::Label;
use crate::limits::COLLAPSED_WAITS_MAX;
use crate::origin;
use crate::policy::{self, NotStorable, Reuse, Ruling};
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::present::{self, present};
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::explain::notes::{ExplainedRole, RuleQuestion};
use crate::proxy::fetch::direct::{fetch_uncacheable, pass_through};
use crate::proxy::fetch::lease;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::response::{FetchOutcome, SharedResponse};
use crate::proxy::fetch::run::{self, FetchRights};
use crate::proxy::fetch::stale_on_error::{
    serve_stale_for_failure, serve_stale_on_error, serve_stored, stale_or_failure,
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

/// Answers from the origin, and shares one fetch with concurrent requests for the key.
pub(in crate::proxy) async fn answer(proxy: &Rc<Proxy>, mut fetch_request: FetchRequest) -> ProxyAnswer {
    let pauses = &proxy.shared.pauses;
    if fetch_request.stored.is_some()
        && let Some(failure) = pauses.of(&fetch_request.location.key, time::instant())
        && let Some(answer) = serve_stale_on_error(proxy, &fetch_request, failure).await
    {
        return answer;
    }
    if let Some(reason) = fetch_request.request.facts.forbids_storing() {
        return fetch_uncacheable(proxy, &fetch_request, reason).await;
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
    let (mut joins, mut waits) = (0, 0);
    while joins < JOINS_MAX {
        let key = fetch_request.request.fetch_key(fetch_request.location.key);
        if let Some(reason) = proxy.shared.uncacheable.known(&key, time::instant()).reason {
            return Box::pin(fetch_known_uncacheable(proxy, &fetch_request, reason)).await;
        }
        let permit = || proxy.store.permit(&fetch_request.location.whole, fetch_request.location.generation);
        let mut state = match fetches.join(key, waited.as_ref(), permit) {
            FetchRole::Alone => break,
            FetchRole::Follower(state) => state,
            FetchRole::Leader(leader, permit) => {
                // Another fetch may have ended since the lookup.
                return match just_stored(proxy, &fetch_request.request, &fetch_request.location) {
                    Some(hit) => serve_stored(&fetch_request.request, hit).await,
                    None if waited.is_some() && scope == FetchScope::Any => {
                        Box::pin(lead_anew(proxy, fetch_request, leader, permit)).await
                    }
                    None => lead(proxy, fetch_request, Leadership::Shared(leader, permit)).await,
                };
            }
        };
        if scope == FetchScope::Newer && waited.is_none() {
            waited = Some(await_response(proxy, &fetch_request, state).await);
            continue;
        }
        match follow(proxy, &fetch_request, scope, &mut state).await {
            FollowOutcome::TimedOut if waits < COLLAPSED_WAITS_MAX => {
                waits += 1;
                waited = Some(state);
                continue;
            }
            FollowOutcome::TimedOut => break,
            FollowOutcome::Answered(answer) => return *answer,
            FollowOutcome::OtherVariant(own) => {
                fetch_request.request.note_location(&own, &proxy.rules);
                fetch_request = FetchRequest { location: own, stored: None, ..fetch_request };
                waited = None;
            }
            FollowOutcome::Stored => match stored_meanwhile(proxy, &fetch_request.request).await {
                Some(hit) => return serve_stored(&fetch_request.request, hit).await,
                None => break,
            },
            FollowOutcome::Failed(failure) => {
                if !may_lead_anew || !failure.may_be_of_the_request() {
                    return stale_or_failure(proxy, &fetch_request, failure).await;
                }
                if let Some(answer) = serve_stale_for_failure(proxy, &fetch_request, failure).await {
                    return answer;
                }
                may_lead_anew = false;
            }
            FollowOutcome::Unusable => break,
        }
        joins += 1;
    }
    if fetch_request.stored.is_some()
        && let Some(failure) = pauses.of(&fetch_request.location.key, time::instant())
        && let Some(answer) = serve_stale_on_error(proxy, &fetch_request, failure).await
    {
        return answer;
    }
    lead(proxy, fetch_request, Leadership::Alone).await
}

/// The result of following another request's fetch.
enum FollowOutcome {
    /// The shared response answers this request too.
    Answered(Box<ProxyAnswer>),
    /// The shared response is for other request fields. This location is the request's own.
    OtherVariant(CacheLocation),
    /// Another node has fetched and stored the response.
    Stored,
    /// The fetch failed.
    Failed(Failure),
    /// The fetch took too long.
    TimedOut,
    /// The response is not sharable.
    Unusable,
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
    let response = state.wait_for(|state| !matches!(state, FetchState::Fetching));
    // The request goes on in any case.
    drop(tokio::time::timeout(proxy.options.collapse_timeout, response).await);
    proxy.metrics.waited(time::instant().duration_since(begun));
    state
}

async fn follow(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    scope: FetchScope,
    state: &mut watch::Receiver<FetchState>,
) -> FollowOutcome {
    let begun = time::instant();
    fetch_request.note_role(ExplainedRole::Follower);
    let waited = tokio::time::timeout(
        proxy.options.collapse_timeout,
        state.wait_for(|state| !matches!(state, FetchState::Fetching)),
    );
    let state = waited.await.map(|state| state.map_or(FetchState::Alone, |state| state.clone()));
    proxy.metrics.waited(time::instant().duration_since(begun));
    let Ok(state) = state else { return FollowOutcome::TimedOut };
    match state {
        FetchState::Shared(response) => {
            fetch_request.request.note_location(&response.location, &proxy.rules);
            join(fetch_request, scope, &response).await
        }
        FetchState::Failed(failure) => FollowOutcome::Failed(failure),
        FetchState::Stored => FollowOutcome::Stored,
        FetchState::Errored => {
            match serve_stale_on_error(proxy, fetch_request, policy::OriginFailure::ErrorResponse).await {
                Some(answer) => FollowOutcome::Answered(Box::new(answer)),
                None => FollowOutcome::Unusable,
            }
        }
        FetchState::Alone | FetchState::Fetching => FollowOutcome::Unusable,
    }
}

/// Takes the shared response, if the policy lets it answer this request.
async fn join(fetch_request: &FetchRequest, scope: FetchScope, response: &SharedResponse) -> FollowOutcome {
    let FetchRequest { request, location, forward, .. } = fetch_request;
    if let Some(variants) = &response.location.variants {
        let own = CacheLocation::variant(
            location.whole,
            location.generation,
            variants.clone(),
            &request.inbound.headers,
        );
        if own.key != response.location.key {
            return FollowOutcome::OtherVariant(own);
        }
    }
    let shared = match request.share(&response.facts, scope, time::now()) {
        Reuse::Fresh { age, .. } | Reuse::StaleWhileRevalidate { age, .. } | Reuse::Stale { age, .. } => {
            response.answer(age)
        }
        Reuse::Validate(_) | Reuse::Not(_) => None,
    };
    let Some(answer) = shared else { return FollowOutcome::Unusable };
    let answer = answer.with_status(CacheStatus::Collapsed { forward: *forward });
    let answer = present(request, answer, response.facts.received).await.unwrap_or_else(present::failed);
    FollowOutcome::Answered(Box::new(answer))
}

/// The role of a request that fetches.
enum Leadership {
    /// Fetches for itself and for its followers.
    Shared(LeaderGuard, StorePermit),
    /// Fetches for itself.
    Alone,
}

/// Fetches, also for its followers if it leads.
async fn lead(proxy: &Rc<Proxy>, fetch_request: FetchRequest, leadership: Leadership) -> ProxyAnswer {
    let (lead, permit) = match leadership {
        Leadership::Shared(leader, permit) => (Some(leader), permit),
        Leadership::Alone => {
            (None, proxy.store.permit(&fetch_request.location.whole, fetch_request.location.generation))
        }
    };
    fetch_request.note_role(if lead.is_some() { ExplainedRole::Leader } else { ExplainedRole::Alone });
    let fetched = fetch_in_task(proxy, &fetch_request, FetchRights { lead, permit }).await;
    respond(proxy, &fetch_request, fetched, None).await
}

/// Fetches a key of which another fetch takes too long, and answers with the response that comes
/// first. This fetch continues in any case.
async fn lead_anew(
    proxy: &Rc<Proxy>,
    fetch_request: FetchRequest,
    leader: LeaderGuard,
    permit: StorePermit,
) -> ProxyAnswer {
    let mut state = leader.state();
    let follower = fetch_request.clone();
    tokio::select! {
        biased;
        answer = lead(proxy, fetch_request, Leadership::Shared(leader, permit)) => answer,
        Some(answer) = response_of_another(&follower, &mut state) => answer,
    }
}

/// Returns the answer from the first response that is published for the key.
async fn response_of_another(
    fetch_request: &FetchRequest,
    state: &mut watch::Receiver<FetchState>,
) -> Option<ProxyAnswer> {
    let state = state.wait_for(|state| matches!(state, FetchState::Shared(_))).await.ok()?.clone();
    let FetchState::Shared(response) = state else { return None };
    match join(fetch_request, FetchScope::Any, &response).await {
        FollowOutcome::Answered(answer) => Some(*answer),
        FollowOutcome::OtherVariant(_)
        | FollowOutcome::Stored
        | FollowOutcome::Failed(_)
        | FollowOutcome::TimedOut
        | FollowOutcome::Unusable => None,
    }
}

/// Fetches alone, because the last response for this key was not storable.
pub(in crate::proxy) async fn fetch_known_uncacheable(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    reason: NotStorable,
) -> ProxyAnswer {
    let FetchRequest { request, location, stored, .. } = fetch_request;
    request.note(|explanation| explanation.rule(RuleQuestion::Collapse, Ruling::no(reason)));
    // A response that cannot be stored need not be whole.
    if stored.is_none() && !request.is_plain() {
        return Box::pin(pass_through(proxy, request, fetch_request.forward, reason.word())).await;
    }
    fetch_request.note_role(ExplainedRole::Alone);
    let fetched = match stored {
        None => run::run_alone(proxy, request, location).await,
        Some(_) => {
            let permit = proxy.store.permit(&location.whole, location.generation);
            Box::pin(fetch_in_task(proxy, fetch_request, FetchRights { lead: None, permit })).await
        }
    };
    match fetched {
        // This is the usual case: the response is passed to the client as it is.
        FetchOutcome::Direct(response, reason)
            if request.is_plain() && policy::OriginFailure::of(response.status()).is_none() =>
        {
            respond_uncacheable(fetch_request, response, reason)
        }
        fetched @ (FetchOutcome::Shared(..)
        | FetchOutcome::Validated(..)
        | FetchOutcome::Direct(..)
        | FetchOutcome::Stored
        | FetchOutcome::Failed(_)) => Box::pin(respond(proxy, fetch_request, fetched, Some(reason))).await,
    }
}

/// Turns the outcome of a fetch into the client's answer. `not_sharable` is the reason for which
/// the last response was not storable.
async fn respond(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    fetched: FetchOutcome,
    not_sharable: Option<NotStorable>,
) -> ProxyAnswer {
    let forward = fetch_request.forward;
    match fetched {
        FetchOutcome::Shared(whole, admission) => {
            let promise = match not_sharable {
                None => CacheStatus::storing(&proxy.store, forward, admission),
                Some(reason) => CacheStatus::NotStored { forward, reason: reason.word() },
            };
            apply_range_and_conditions(fetch_request, whole.with_status(promise)).await
        }
        FetchOutcome::Validated(whole, kept) => {
            let status = match kept {
                Ok(()) => CacheStatus::Validated { forward },
                Err(reason) => CacheStatus::ValidatedOnly { forward, reason: reason.word() },
            };
            apply_range_and_conditions(fetch_request, whole.with_status(status)).await
        }
        FetchOutcome::Direct(response, reason) => {
            let error = policy::OriginFailure::of(response.status());
            if let Some(error) = error
                && let Some(answer) = serve_stale_on_error(proxy, fetch_request, error).await
            {
                return answer;
            }
            // The whole was fetched for the store, which cannot keep it. The range that the client
            // requested is cut from it, so that the origin answers once.
            let whole = respond_uncacheable(fetch_request, response, reason);
            apply_range_and_conditions(fetch_request, whole).await
        }
        FetchOutcome::Stored => {
            fetch_request.note_role(ExplainedRole::Follower);
            match stored_meanwhile(proxy, &fetch_request.request).await {
                Some(hit) => serve_stored(&fetch_request.request, hit).await,
                // The response was purged again, or does not answer this request.
                None => Box::pin(lead(proxy, fetch_request.clone(), Leadership::Alone)).await,
            }
        }
        FetchOutcome::Failed(failure) => stale_or_failure(proxy, fetch_request, failure).await,
    }
}

/// Returns the origin's response, for this client alone.
fn respond_uncacheable(
    fetch_request: &FetchRequest,
    response: Response<origin::OriginBody>,
    reason: NotStorable,
) -> ProxyAnswer {
    let status = CacheStatus::NotStored { forward: fetch_request.forward, reason: reason.word() };
    ProxyAnswer::from_origin(Outcome::Uncacheable, response).with_status(status)
}

/// Fetches in a task of its own, which continues if the client leaves.
async fn fetch_in_task(proxy: &Rc<Proxy>, fetch_request: &FetchRequest, rights: FetchRights) -> FetchOutcome {
    let (to_client, fetched) = oneshot::channel();
    let FetchRequest { request, location, stored, .. } = fetch_request;
    let fetch =
        lease::run(Rc::clone(proxy), Rc::clone(request), location.clone(), stored.clone(), rights, to_client);
    proxy.tasks.spawn(fetch);
    fetched.await.unwrap_or(FetchOutcome::Failed(Failure::Closed))
}

/// Applies the client's range and conditions to the origin's response.
async fn apply_range_and_conditions(fetch_request: &FetchRequest, whole: ProxyAnswer) -> ProxyAnswer {
    if fetch_request.request.is_plain() {
        return whole;
    }
    present(&fetch_request.request, whole, time::now()).await.unwrap_or_else(present::failed)
}
