//! The handler of a `GET` or `HEAD` through the cache: the handler to read first.

use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::Duration;

use crate::entry::{Entry, KeyGeneration};
use crate::policy::{NotStorable, Reuse};
use crate::proxy::admission::load;
use crate::proxy::answer::cache_status::{ForwardReason, TtlSeconds};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::present;
use crate::proxy::answer::response::{CacheHit, ProxyAnswer};
use crate::proxy::explain::notes::Explanation;
use crate::proxy::fetch::direct;
use crate::proxy::fetch::join;
use crate::proxy::fetch::pauses::RefreshProbe;
use crate::proxy::fetch::request::FetchRequest;
use crate::proxy::fetch::{refresh, respond, second_look, stale_on_error};
use crate::proxy::lookup::find::{RequestLookup, look_up, look_up_in_memory, look_up_variant};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::Completeness;
use crate::telemetry::trace::SpanName;
use crate::time::{self, Timestamp};

/// The progress of a lookup for which memory alone has no answer.
pub(in crate::proxy) enum MemoryLookup {
    /// Memory has an entry that may not be served as it is.
    Refused(Box<CacheMiss>),
    /// Memory knows the location of the response, but does not have the response.
    Location(Box<CacheLocation>),
    /// Memory has nothing, or was not searched because the request has a range or a condition.
    Nothing,
}

/// The decision on the entry that a lookup found.
pub(in crate::proxy) enum Decision {
    /// The entry is the answer.
    Hit(CacheHit),
    /// The entry is stale, and is the answer because the origin failed recently.
    StaleOnError(CacheHit),
    /// The request goes to the origin.
    Miss(CacheMiss),
}

/// A lookup that did not answer its request.
pub(in crate::proxy) struct CacheMiss {
    location: CacheLocation,
    /// The reason for which the request goes to the origin.
    forward: ForwardReason,
    /// The stored entry to validate.
    stored: Option<Rc<Entry>>,
    completeness: Completeness,
    /// The reason for which the last response was not sharable, if it is already known.
    not_sharable: Option<NotStorable>,
}

/// Answers from memory, if the request has no range or condition and memory alone suffices.
pub(in crate::proxy) fn answer_from_memory(
    proxy: &Rc<Proxy>,
    request: &CacheRequest,
) -> ControlFlow<ProxyAnswer, MemoryLookup> {
    if !request.is_plain() {
        return Continue(MemoryLookup::Nothing);
    }
    let lookup = match look_up_in_memory(proxy, request) {
        Some(lookup) if lookup.found.is_some() => lookup,
        Some(RequestLookup { location, .. }) => return Continue(MemoryLookup::Location(Box::new(location))),
        None => return Continue(MemoryLookup::Nothing),
    };
    match decide(proxy, request, lookup) {
        Decision::Hit(hit) => Break(ProxyAnswer::from_store(&request.inbound.method, hit)),
        Decision::StaleOnError(hit) => Break(ProxyAnswer::stale_on_error(&request.inbound.method, hit)),
        Decision::Miss(miss) => Continue(MemoryLookup::Refused(Box::new(miss))),
    }
}

/// Answers without Redis or the origin: serves the entry from memory stale where the policy allows
/// it, else the failure.
pub(in crate::proxy) async fn shed(
    proxy: &Rc<Proxy>,
    request: Rc<CacheRequest>,
    known: MemoryLookup,
    failure: Failure,
) -> ProxyAnswer {
    let decision = match known {
        MemoryLookup::Refused(miss) => Decision::Miss(*miss),
        MemoryLookup::Location(location) => decide(proxy, &request, RequestLookup::nothing(*location)),
        MemoryLookup::Nothing => {
            let nothing = || RequestLookup::nothing(CacheLocation::whole(request.key, KeyGeneration::NONE));
            decide(proxy, &request, look_up_in_memory(proxy, &request).unwrap_or_else(nothing))
        }
    };
    match decision {
        Decision::Hit(hit) => apply_range_and_conditions(proxy, &request, hit).await,
        Decision::StaleOnError(hit) => stale_on_error::serve_stale_hit(&request, hit).await,
        Decision::Miss(CacheMiss { location, forward, stored, completeness, .. }) => {
            let fetch_request = FetchRequest { request, location, forward, completeness, stored };
            stale_on_error::shed(&fetch_request, failure).await
        }
    }
}

/// Answers from the store if the policy allows it, otherwise from the origin. `known` is the result
/// of the memory lookup, which is not repeated.
pub(in crate::proxy) async fn answer(
    proxy: &Rc<Proxy>,
    request: Rc<CacheRequest>,
    known: MemoryLookup,
    _permit: load::RequestPermit,
) -> ProxyAnswer {
    let span = request.inbound.record.trace().span(SpanName::Lookup);
    let decision = match known {
        MemoryLookup::Refused(miss) => Decision::Miss(*miss),
        MemoryLookup::Location(location) => {
            decide(proxy, &request, Box::pin(look_up_variant(proxy, &request, *location)).await)
        }
        MemoryLookup::Nothing => decide(proxy, &request, look_up(proxy, &request).await),
    };
    drop(span);
    let miss = match decision {
        Decision::Hit(hit) if request.is_plain() => {
            let answer = ProxyAnswer::from_store(&request.inbound.method, hit);
            if let Some(request) = Rc::into_inner(request) {
                proxy.store.recycle(request.inbound.headers);
            }
            return answer;
        }
        Decision::Hit(hit) => return Box::pin(apply_range_and_conditions(proxy, &request, hit)).await,
        Decision::StaleOnError(hit) => return Box::pin(stale_on_error::serve_stale_hit(&request, hit)).await,
        Decision::Miss(miss) => miss,
    };
    if request.facts.only_if_cached() {
        request.note(|explanation| explanation.failed(Failure::OnlyIfCached));
        return Failure::OnlyIfCached.into();
    }
    let CacheMiss { location, forward, stored, completeness, not_sharable } = miss;
    let fetch_request = FetchRequest { request, location, forward, completeness, stored };
    match (completeness, not_sharable) {
        // Most private responses take this path, so it avoids a boxed future.
        (Completeness::Complete, Some(reason)) if fetch_request.request.facts.forbids_storing().is_none() => {
            respond::fetch_known_uncacheable(proxy, &fetch_request, reason).await
        }
        (Completeness::Complete, _) => Box::pin(join::answer(proxy, fetch_request)).await,
        (Completeness::TimedOut, _) => Box::pin(second_look::answer(proxy, fetch_request)).await,
    }
}

/// Applies the policy, and starts the background refresh that it asks for.
fn decide(proxy: &Rc<Proxy>, request: &CacheRequest, lookup: RequestLookup) -> Decision {
    let RequestLookup { location, found, completeness, not_sharable } = lookup;
    request.note_location(&location);
    let Some((entry, tier)) = found else {
        request.note(Explanation::found_nothing);
        let forward = location.miss();
        return Decision::Miss(CacheMiss { location, forward, stored: None, completeness, not_sharable });
    };
    let now = time::now();
    request.note(|explanation| explanation.found(tier, &entry.facts, now));
    let (reason, stored) = match request.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => {
            refresh::early(proxy, request, &location, &entry, now);
            return Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Left(ttl) });
        }
        Reuse::StaleWhileRevalidate { age, stale_for } => {
            refresh::begin(proxy, request, &location, &entry);
            return Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) });
        }
        Reuse::Stale { age, stale_for } => {
            return Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) });
        }
        Reuse::Validate(reason) => match paused(proxy, request, &location, &entry, now) {
            Some((age, ttl)) => return Decision::StaleOnError(CacheHit { entry, tier, age, ttl }),
            None => (reason, Some(Rc::new(entry))),
        },
        Reuse::Not(reason) => (reason, None),
    };
    let forward = ForwardReason::because(reason);
    Decision::Miss(CacheMiss { location, forward, stored, completeness, not_sharable })
}

/// Returns the age and the freshness of an entry that requires validation but may be served,
/// because the origin failed recently and the policy allows stale answers on that failure. Starts a
/// background refresh once the pause is over.
fn paused(
    proxy: &Rc<Proxy>,
    request: &CacheRequest,
    location: &CacheLocation,
    entry: &Entry,
    now: Timestamp,
) -> Option<(Duration, TtlSeconds)> {
    let (failure, probe) = proxy.shared.pauses.probe(&location.key, time::instant())?;
    let stale = stale_on_error::may_serve_stale(request, entry, failure, now)?;
    if probe == RefreshProbe::Due {
        refresh::begin_now(proxy, request, location, entry);
    }
    Some(stale)
}

/// Applies the range and the conditions of the request to the stored response.
async fn apply_range_and_conditions(proxy: &Proxy, request: &CacheRequest, hit: CacheHit) -> ProxyAnswer {
    let received = hit.entry.facts.received;
    let whole = ProxyAnswer::from_store(&request.inbound.method, hit);
    match present::present(request, whole, received).await {
        Ok(answer) => answer,
        // A stored response alone cannot fail a precondition (RFC 9111 §4.3.2).
        Err(present::PreconditionNotMet(_)) => {
            direct::pass_through(proxy, request, ForwardReason::Request, "condition").await
        }
    }
}
