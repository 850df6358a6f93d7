//! The answer to a request that fetches: makes the fetch, and turns its outcome into the client's
//! answer.

use std::rc::Rc;

use http::Response;
use tokio::sync::oneshot;

use crate::label::Label;
use crate::origin;
use crate::policy::{self, NotStorable, Ruling};
use crate::proxy::answer::cache_status::CacheStatus;
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::present::{self, present};
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::notes::{ExplainedRole, RuleQuestion};
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::direct::pass_through;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::retry_after::answer_refused;
use crate::proxy::fetch::run::run_alone;
use crate::proxy::fetch::stale_on_error::{serve_stale_on_error, serve_stored, stale_or_failure};
use crate::proxy::fetch::table::LeaderGuard;
use crate::proxy::lookup::find::stored_meanwhile;
use crate::proxy::worker::Proxy;
use crate::store::StorePermit;
use crate::time;

/// Fetches as the leader: for this request and for its followers.
pub(in crate::proxy::fetch) async fn fetch_as_leader(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    lead: LeaderGuard,
    permit: StorePermit,
) -> ProxyAnswer {
    fetch_request.note_role(ExplainedRole::Leader);
    let outcome = fetch_in_task(proxy, fetch_request, Some(lead), permit).await;
    respond(proxy, fetch_request, outcome, None).await
}

/// Fetches for this request alone.
pub(in crate::proxy::fetch) async fn fetch_alone(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
) -> ProxyAnswer {
    let permit = fetch_request.permit(proxy);
    fetch_request.note_role(ExplainedRole::Alone);
    let outcome = fetch_in_task(proxy, fetch_request, None, permit).await;
    respond(proxy, fetch_request, outcome, None).await
}

/// Fetches alone, because the last response for this key was not storable.
pub(in crate::proxy) async fn fetch_known_uncacheable(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    reason: NotStorable,
) -> ProxyAnswer {
    let FetchRequest { request, stored, .. } = fetch_request;
    request.note(|explanation| explanation.rule(RuleQuestion::Collapse, Ruling::no(reason)));
    if let Some(answer) = answer_refused(proxy, fetch_request).await {
        return answer;
    }
    // A response that cannot be stored need not be whole.
    if stored.is_none() && !request.is_plain() {
        return Box::pin(pass_through(proxy, request, fetch_request.forward, reason.word())).await;
    }
    fetch_request.note_role(ExplainedRole::Alone);
    let fetched = match stored {
        None => run_alone(proxy, fetch_request).await,
        Some(_) => {
            let permit = fetch_request.permit(proxy);
            Box::pin(fetch_in_task(proxy, fetch_request, None, permit)).await
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

/// Fetches in a task of its own, which continues if the client leaves.
async fn fetch_in_task(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
    lead: Option<LeaderGuard>,
    permit: StorePermit,
) -> FetchOutcome {
    let (to_client, fetched) = oneshot::channel();
    let FetchRequest { request, location, stored, .. } = fetch_request;
    let fetch = ActiveFetch::new(proxy, request, location, stored.clone(), lead, permit);
    proxy.tasks.spawn(fetch.run_in_turn(to_client));
    fetched.await.unwrap_or(FetchOutcome::Failed(Failure::Closed))
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
                Ok(hit) => serve_stored(&fetch_request.request, hit).await,
                // The response was purged again, or does not answer this request.
                Err(_) => Box::pin(fetch_alone(proxy, fetch_request)).await,
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

/// Applies the client's range and conditions to the origin's response.
async fn apply_range_and_conditions(fetch_request: &FetchRequest, whole: ProxyAnswer) -> ProxyAnswer {
    if fetch_request.request.is_plain() {
        return whole;
    }
    present(&fetch_request.request, whole, time::now()).await.unwrap_or_else(present::failed)
}
