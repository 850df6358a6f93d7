//! Stale answers on error: stored responses that are served when the origin fails, where the policy
//! allows it.

use std::time::Duration;

use crate::entry::Entry;
use crate::policy::{self, Ruling};
use crate::proxy::answer::cache_status::TtlSeconds;
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::present::{PreconditionNotMet, present};
use crate::proxy::answer::response::{CacheHit, ProxyAnswer};
use crate::proxy::explain::notes::RuleQuestion;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::lookup::find::still_stored;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::Tier;
use crate::time::{self, Timestamp};

/// Returns the stored response if the policy allows a stale answer on this failure, else the
/// failure.
pub(in crate::proxy) async fn stale_or_failure(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    failure: Failure,
) -> ProxyAnswer {
    fetch_request.request.note(|explanation| explanation.failed(failure));
    match serve_stale_for_failure(proxy, fetch_request, failure).await {
        Some(answer) => answer,
        None => failure.of_fetch(fetch_request.forward),
    }
}

/// Returns the stored response if the policy allows a stale answer on this failure.
pub(in crate::proxy) async fn serve_stale_for_failure(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    failure: Failure,
) -> Option<ProxyAnswer> {
    if !failure.is_of_the_origin() {
        return None;
    }
    serve_stale_on_error(proxy, fetch_request, policy::OriginFailure::Disconnected).await
}

/// Answers a request that is not admitted, from the lookup that it has just made.
pub(in crate::proxy) async fn shed(fetch_request: &FetchRequest, failure: Failure) -> ProxyAnswer {
    fetch_request.request.note(|explanation| explanation.failed(failure));
    let FetchRequest { request, forward, stored, .. } = fetch_request;
    let stale = match stored.as_deref() {
        Some(entry) => serve_stale(request, entry, policy::OriginFailure::Disconnected).await,
        None => None,
    };
    stale.unwrap_or_else(|| failure.of_fetch(*forward))
}

/// Serves the stored response stale while its fetch is paused, if the policy allows it.
pub(in crate::proxy::fetch) async fn serve_stale_while_paused(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
) -> Option<ProxyAnswer> {
    fetch_request.stored.as_ref()?;
    let failure = proxy.shared.pauses.of(&fetch_request.location.key, time::instant())?;
    serve_stale_on_error(proxy, fetch_request, failure).await
}

/// Serves the stored response stale, if the policy allows it on this failure.
///
/// The response is looked up again: it may have been withdrawn or purged during the fetch, on this
/// node or on another.
pub(in crate::proxy) async fn serve_stale_on_error(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    failure: policy::OriginFailure,
) -> Option<ProxyAnswer> {
    let stored = fetch_request.stored.as_deref()?;
    let found = Box::pin(still_stored(proxy, &fetch_request.request)).await;
    serve_stale(&fetch_request.request, found.as_ref().map_or(Some(stored), Option::as_ref)?, failure).await
}

/// Serves a stale entry, if the policy allows it on this failure.
pub(in crate::proxy) async fn serve_stale(
    request: &CacheRequest,
    entry: &Entry,
    failure: policy::OriginFailure,
) -> Option<ProxyAnswer> {
    let (age, ttl) = may_serve_stale(request, entry, failure, time::now())?;
    let hit = CacheHit { entry: entry.clone(), tier: Tier::Memory, age, ttl };
    Some(serve_stale_hit(request, hit).await)
}

/// Returns the age and the freshness of a stored response, if the policy allows a stale answer on
/// this failure.
pub(in crate::proxy) fn may_serve_stale(
    request: &CacheRequest,
    entry: &Entry,
    failure: policy::OriginFailure,
    now: Timestamp,
) -> Option<(Duration, TtlSeconds)> {
    let allowed = policy::stale_on_error(&entry.facts, &request.facts, failure, now);
    request.note(|explanation| {
        explanation.rule(RuleQuestion::StaleOnError, Ruling::on_failure(failure, &allowed))
    });
    let ttl = match entry.facts.stale_for(now) {
        past if past.is_zero() => TtlSeconds::Left(entry.facts.ttl(now)),
        past => TtlSeconds::Past(past),
    };
    Some((allowed.ok()?, ttl))
}

/// Serves a stale answer for an origin that failed.
pub(in crate::proxy) async fn serve_stale_hit(request: &CacheRequest, hit: CacheHit) -> ProxyAnswer {
    ProxyAnswer { outcome: Outcome::StaleOnError, ..serve_stored(request, hit).await }
}

/// Serves the stored response, or the range of it that the request asks for.
pub(in crate::proxy) async fn serve_stored(request: &CacheRequest, hit: CacheHit) -> ProxyAnswer {
    let received = hit.entry.facts.received;
    let whole = ProxyAnswer::from_store(&request.inbound.method, hit);
    // Only the origin could evaluate this condition. The whole response is a correct answer too.
    present(request, whole, received).await.unwrap_or_else(|PreconditionNotMet(whole)| whole)
}
