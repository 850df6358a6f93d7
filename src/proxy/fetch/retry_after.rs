//! Requests before the time that the origin's `Retry-After` states.
//!
//! A request with a credential or an unlisted field never takes part: its response is for its
//! client alone.

use std::rc::Rc;

use http::{HeaderMap, StatusCode};

use crate::origin::FetchPurpose;
use crate::policy::{self, Initiator, OriginFailure};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::head_digest::HeadDigest;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::stale_on_error::serve_stale_on_error;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::time;

/// Records the refusal, if a response is one and its request takes part.
pub(in crate::proxy::fetch) fn note_refusal(
    proxy: &Proxy,
    request: &CacheRequest,
    status: StatusCode,
    fields: &HeaderMap,
) {
    if status != StatusCode::SERVICE_UNAVAILABLE || request.initiator != Initiator::Client {
        return;
    }
    let retry_after = policy::retry_after(fields, time::now()).filter(|wanted| !wanted.is_zero());
    if let Some(retry_after) = retry_after
        && let Some(head) = digest(proxy, request)
    {
        proxy.shared.refusals.refuse(head, retry_after, time::instant());
    }
}

/// Returns the answer to a request that the origin has refused, until the time of its `Retry-After`
/// has passed: a stale response, if the origin allows one after its errors, else a refusal.
pub(in crate::proxy::fetch) async fn answer_refused(
    proxy: &Rc<Proxy>,
    fetch_request: &FetchRequest,
) -> Option<ProxyAnswer> {
    let (refusals, now) = (&proxy.shared.refusals, time::instant());
    if !refusals.has_any(now) {
        return None;
    }
    let request = &fetch_request.request;
    let failure = Failure::RetryAfter(refusals.rest(&digest(proxy, request)?, now)?);
    if let Some(stale) = serve_stale_on_error(proxy, fetch_request, OriginFailure::ErrorResponse).await {
        return Some(stale);
    }
    proxy.metrics.refused_by_retry_after();
    request.note(|explanation| explanation.failed(failure));
    Some(failure.of_fetch(fetch_request.forward))
}

/// Returns the digest of the head that a shared fetch sends for a request, if the request takes
/// part.
fn digest(proxy: &Proxy, request: &CacheRequest) -> Option<HeadDigest> {
    // The content of a `QUERY` may be what the origin refuses, and the head does not have it.
    if request.facts.credential().is_some()
        || request.facts.has_unlisted()
        || request.inbound.content.is_some()
    {
        return None;
    }
    HeadDigest::of_request(proxy.origin.outbound(), &request.inbound.to_outbound(&FetchPurpose::Cacheable))
}
