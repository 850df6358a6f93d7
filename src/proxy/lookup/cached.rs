//! The handler of a `GET` or `HEAD` through the cache: the handler to read first.

use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::Duration;

use crate::entry::{Entry, KeyGeneration};
use crate::policy::{NotStorable, Reuse};
use crate::proxy::Proxy;
use crate::proxy::admission::load;
use crate::proxy::answer::cache_status::{ForwardReason, TtlSeconds};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::present;
use crate::proxy::answer::response::{CacheHit, ProxyAnswer};
use crate::proxy::explain::Explanation;
use crate::proxy::fetch::join::{
    FetchRequest, {self},
};
use crate::proxy::fetch::pauses::RefreshProbe;
use crate::proxy::fetch::{refresh, second_look, stand_in};
use crate::proxy::lookup::find::{KeyLookup, MemoryContent, look_at_hand, look_up, look_up_variant};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::store::{Completeness, Tier};
use crate::time::{self, Timestamp};

/// The result of a memory lookup that does not answer the request by itself.
pub(in crate::proxy) enum MemoryLookup {
    /// Memory has an entry that may not be served as it is.
    Refused { place: Box<CacheLocation>, forward: ForwardReason, stored: Option<Rc<Entry>> },
    /// Memory knows the location of the response, but does not have the response.
    Place(Box<CacheLocation>),
    /// Memory has nothing, or was not searched because the request has a range or a condition.
    Nothing,
}

/// Answers from memory, if the request has no range or condition and memory alone suffices.
pub(in crate::proxy) fn at_hand(
    proxy: &Rc<Proxy>,
    ask: &CacheRequest,
) -> ControlFlow<ProxyAnswer, MemoryLookup> {
    if !ask.is_plain() {
        return Continue(MemoryLookup::Nothing);
    }
    let (place, entry) = match look_at_hand(proxy, ask) {
        MemoryContent::Found(place, entry) => (place, entry),
        MemoryContent::Variant(place) => return Continue(MemoryLookup::Place(Box::new(place))),
        MemoryContent::Nothing => return Continue(MemoryLookup::Nothing),
    };
    match judge(proxy, ask, &place, Some((entry, Tier::Memory))) {
        Decision::Hit(hit) => Break(ProxyAnswer::from_store(&ask.inbound.method, hit)),
        Decision::StandIn(hit) => Break(ProxyAnswer::stale_on_error(&ask.inbound.method, hit)),
        Decision::Miss(forward, stored) => {
            Continue(MemoryLookup::Refused { place: Box::new(place), forward, stored })
        }
    }
}

/// Answers without Redis or the origin: serves the entry from memory stale where the policy allows
/// it, else the failure.
pub(in crate::proxy) async fn shed(
    proxy: &Rc<Proxy>,
    ask: Rc<CacheRequest>,
    known: MemoryLookup,
    failure: Failure,
) -> ProxyAnswer {
    let (place, judged) = match known {
        MemoryLookup::Refused { place, forward, stored } => (*place, Decision::Miss(forward, stored)),
        MemoryLookup::Place(place) => unheld(proxy, &ask, *place),
        MemoryLookup::Nothing => match look_at_hand(proxy, &ask) {
            MemoryContent::Found(place, entry) => {
                let judged = judge(proxy, &ask, &place, Some((entry, Tier::Memory)));
                (place, judged)
            }
            MemoryContent::Variant(place) => unheld(proxy, &ask, place),
            MemoryContent::Nothing => unheld(proxy, &ask, CacheLocation::whole(ask.key, KeyGeneration::NONE)),
        },
    };
    match judged {
        Decision::Hit(hit) => cut(proxy, &ask, hit).await,
        Decision::StandIn(hit) => stand_in::stand_stale(&ask, hit).await,
        Decision::Miss(forward, stored) => {
            stand_in::shed(&FetchRequest { ask, place, forward, stored }, failure).await
        }
    }
}

/// Decides for a location for which memory has no entry.
fn unheld(proxy: &Rc<Proxy>, ask: &CacheRequest, place: CacheLocation) -> (CacheLocation, Decision) {
    let judged = judge(proxy, ask, &place, None);
    (place, judged)
}

/// Answers from the store if the policy allows it, otherwise from the origin. `known` is the result
/// of the memory lookup, which is not repeated.
pub(in crate::proxy) async fn answer(
    proxy: &Rc<Proxy>,
    ask: Rc<CacheRequest>,
    known: MemoryLookup,
    _place: load::RequestPermit,
) -> ProxyAnswer {
    let LookupDecision { place, judged, said, doubt } = match known {
        MemoryLookup::Refused { place, forward, stored } => LookupDecision {
            place: *place,
            judged: Decision::Miss(forward, stored),
            said: Completeness::All,
            doubt: None,
        },
        MemoryLookup::Place(place) => {
            LookupDecision::of(proxy, &ask, Box::pin(look_up_variant(proxy, &ask, *place)).await)
        }
        MemoryLookup::Nothing => LookupDecision::of(proxy, &ask, look_up(proxy, &ask).await),
    };
    match judged {
        Decision::Hit(hit) if ask.is_plain() => {
            let answer = ProxyAnswer::from_store(&ask.inbound.method, hit);
            if let Some(ask) = Rc::into_inner(ask) {
                proxy.store.recycle(ask.inbound.headers);
            }
            answer
        }
        Decision::Hit(hit) => Box::pin(cut(proxy, &ask, hit)).await,
        Decision::StandIn(hit) => Box::pin(stand_in::stand_stale(&ask, hit)).await,
        Decision::Miss(..) if ask.facts.only_if_cached() => {
            ask.note(|explanation| explanation.failed(Failure::OnlyIfCached));
            Failure::OnlyIfCached.into()
        }
        Decision::Miss(forward, stored) => {
            let errand = FetchRequest { ask, place, forward, stored };
            match (said, doubt) {
                // Most private responses take this path, so it avoids a boxed future.
                (Completeness::All, Some(reason)) if errand.ask.facts.forbids_storing().is_none() => {
                    join::doubtful(proxy, &errand, reason).await
                }
                (Completeness::All, _) => Box::pin(join::answer(proxy, errand)).await,
                (Completeness::Nothing, _) => Box::pin(second_look::answer(proxy, errand)).await,
            }
        }
    }
}

/// A lookup and the decision on its result.
struct LookupDecision {
    place: CacheLocation,
    judged: Decision,
    said: Completeness,
    /// The reason for which the last response was not sharable, if it is already known.
    doubt: Option<NotStorable>,
}

impl LookupDecision {
    fn of(proxy: &Rc<Proxy>, ask: &CacheRequest, seen: KeyLookup) -> Self {
        let KeyLookup { place, found, said, doubt } = seen;
        let judged = judge(proxy, ask, &place, found);
        Self { place, judged, said, doubt }
    }
}

/// The decision on the entry that a lookup found.
enum Decision {
    /// The entry is the answer.
    Hit(CacheHit),
    /// The entry is stale, and is the answer because the origin failed recently.
    StandIn(CacheHit),
    /// The request goes to the origin, with the validators of the stored entry if it has any.
    Miss(ForwardReason, Option<Rc<Entry>>),
}

/// Applies the policy, and starts the background refresh that it asks for.
fn judge(
    proxy: &Rc<Proxy>,
    ask: &CacheRequest,
    place: &CacheLocation,
    found: Option<(Entry, Tier)>,
) -> Decision {
    ask.note_place(place, &proxy.rules);
    let Some((entry, tier)) = found else {
        ask.note(Explanation::found_nothing);
        return Decision::Miss(place.miss(), None);
    };
    let now = time::now();
    ask.note(|explanation| explanation.found(tier, &entry.facts, now));
    match ask.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => {
            refresh::early(proxy, ask, place, &entry, now);
            Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Left(ttl) })
        }
        Reuse::StaleWhileRevalidate { age, stale_for } => {
            refresh::begin(proxy, ask, place, &entry);
            Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) })
        }
        Reuse::Stale { age, stale_for } => {
            Decision::Hit(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) })
        }
        Reuse::Validate(reason) => match paused(proxy, ask, place, &entry, now) {
            Some((age, ttl)) => Decision::StandIn(CacheHit { entry, tier, age, ttl }),
            None => Decision::Miss(ForwardReason::because(reason), Some(Rc::new(entry))),
        },
        Reuse::Not(reason) => Decision::Miss(ForwardReason::because(reason), None),
    }
}

/// Returns the age and the freshness of an entry that requires validation but may be served,
/// because the origin failed recently and the policy allows stale answers on that failure. Starts a
/// background refresh once the pause is over.
fn paused(
    proxy: &Rc<Proxy>,
    ask: &CacheRequest,
    place: &CacheLocation,
    entry: &Entry,
    now: Timestamp,
) -> Option<(Duration, TtlSeconds)> {
    let (failure, probe) = proxy.shared.pauses.probe(&place.key, time::instant())?;
    let stands_in = stand_in::may_stand_in(ask, entry, failure, now)?;
    if probe == RefreshProbe::Due {
        refresh::begin_now(proxy, ask, place, entry);
    }
    Some(stands_in)
}

/// Applies the range and the conditions of the request to the stored response.
async fn cut(proxy: &Proxy, ask: &CacheRequest, hit: CacheHit) -> ProxyAnswer {
    let received = hit.entry.facts.received;
    let whole = ProxyAnswer::from_store(&ask.inbound.method, hit);
    match present::present(ask, whole, received).await {
        Ok(answer) => answer,
        // A stored response alone cannot fail a precondition (RFC 9111 §4.3.2).
        Err(present::PreconditionNotMet(_)) => {
            join::directly(proxy, ask, ForwardReason::Request, "condition").await
        }
    }
}
