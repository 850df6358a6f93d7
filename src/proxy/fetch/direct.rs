//! Requests that the origin answers for one client alone: none of their responses is stored.

use http::Method;

use crate::entry::{Entry, KeyGeneration, StoredValue};
use crate::label::Label;
use crate::origin::FetchPurpose;
use crate::policy::{self, Exchange, FreshenOutcome, NotStorable, Ruling, StoredHead};
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::notes::{ExplainedRole, RuleQuestion};
use crate::proxy::fetch::keep::not_stored;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::stale_on_error::{serve_stale_on_error, stale_or_failure};
use crate::proxy::fetch::tags::cache_tags;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::StorePermit;
use crate::time;

/// Sends the client's request unchanged and streams the response back, for a range or a condition
/// that the store cannot answer.
pub(in crate::proxy) async fn pass_through(
    proxy: &Proxy,
    request: &CacheRequest,
    forward: ForwardReason,
    reason: &'static str,
) -> ProxyAnswer {
    request.note(|explanation| explanation.goes_forward(ExplainedRole::Alone, forward));
    match proxy.send(&request.inbound, &FetchPurpose::Pass).await {
        Ok(response) => ProxyAnswer::from_origin(Outcome::Uncacheable, response)
            .with_status(CacheStatus::NotStored { forward, reason }),
        Err(error) => {
            let failure = Failure::from(&error);
            request.note(|explanation| explanation.failed(failure));
            failure.of_fetch(forward)
        }
    }
}

/// Fetches a response that is not stored: for a `HEAD`, or for a request with `no-store`. A
/// response to `HEAD` still updates the stored response to `GET` (RFC 9111 §4.3.5).
pub(in crate::proxy::fetch) async fn fetch_uncacheable(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    reason: NotStorable,
) -> ProxyAnswer {
    let FetchRequest { request, forward, stored, location, .. } = fetch_request;
    fetch_request.note_role(ExplainedRole::Alone);
    request.note(|explanation| explanation.rule(RuleQuestion::Store, Ruling::no(reason)));
    let permit = fetch_request.permit(proxy);
    let requested = time::now();
    match proxy.send(&request.inbound, &FetchPurpose::Pass).await {
        Ok(response) => {
            if let Some(stored) = stored.as_deref()
                && request.inbound.method == Method::HEAD
            {
                let exchange = Exchange {
                    request: &request.facts,
                    target: &request.inbound.target,
                    status: response.status(),
                    response: response.headers(),
                    requested,
                    received: time::now(),
                };
                freshen_by_head(proxy, fetch_request, stored, &exchange, &permit).await;
            }
            if let Some(error) = policy::OriginFailure::of(response.status()) {
                if stored.is_some() {
                    let retry_after = policy::retry_after(response.headers(), time::now());
                    proxy.pause_refresh(&location.key, error, retry_after);
                }
                if let Some(answer) = serve_stale_on_error(proxy, fetch_request, error).await {
                    return answer;
                }
            }
            ProxyAnswer::from_origin(Outcome::Uncacheable, response)
                .with_status(CacheStatus::NotStored { forward: *forward, reason: reason.word() })
        }
        Err(error) => {
            let failure = Failure::from(&error);
            if stored.is_some() && failure.is_of_the_origin() {
                proxy.pause_refresh(&location.key, policy::OriginFailure::Disconnected, None);
            }
            stale_or_failure(proxy, fetch_request, failure).await
        }
    }
}

async fn freshen_by_head(
    proxy: &Proxy,
    fetch_request: &FetchRequest,
    stored: &Entry,
    exchange: &Exchange<'_>,
    permit: &StorePermit,
) {
    let FetchRequest { request, location, .. } = fetch_request;
    let head =
        StoredHead { status: stored.status, fields: &stored.head, body_bytes: stored.body.len() as u64 };
    let outcome = if proxy.may_change_the_store(&request.inbound, &request.inbound.rules) {
        policy::freshen_by_head(head, exchange, request.rules())
    } else {
        FreshenOutcome::Unchanged(NotStorable::UnkeyedField)
    };
    request.note(|explanation| explanation.rule(RuleQuestion::Freshen, &outcome));
    match outcome {
        FreshenOutcome::Updated { facts, fields } => {
            let entry = Entry { facts, head: fields, ..stored.clone() };
            let keep_for = facts.keep_for(exchange.received);
            let Ok(tags) = cache_tags(&entry.head, &request.inbound) else {
                // A purge of its present tags would miss the entry.
                return proxy.store.write_tombstone(&location.key, KeyGeneration::new()).await;
            };
            let entry = StoredValue::Response(entry);
            if let Err(refusal) = proxy.store.put(&location.key, &entry, &tags, keep_for, permit).await {
                proxy.metrics.not_stored(not_stored(refusal));
            }
        }
        FreshenOutcome::Unchanged(_) => {}
        FreshenOutcome::Invalidated(_) => {
            proxy.store.write_tombstone(&location.key, KeyGeneration::new()).await
        }
    }
}
