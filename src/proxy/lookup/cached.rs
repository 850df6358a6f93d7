//! A `GET` or `HEAD` through the cache: the handler to read first.

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

/// What memory knows of an answer that it does not give by itself.
pub(in crate::proxy) enum MemoryLookup {
    /// It has what may not be served as it is.
    Refused { place: Box<CacheLocation>, forward: ForwardReason, stored: Option<Rc<Entry>> },
    /// It knows where the answer would stand, and does not have it.
    Place(Box<CacheLocation>),
    /// Nothing, or it was not asked: of the whole, a part is wanted.
    Nothing,
}

/// The answer of memory, if the whole is asked for and nobody else has to be.
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

/// Answers without asking anybody: what memory has stands in where the policy lets it.
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

/// What there is to say of a place of which memory has nothing.
fn unheld(proxy: &Rc<Proxy>, ask: &CacheRequest, place: CacheLocation) -> (CacheLocation, Decision) {
    let judged = judge(proxy, ask, &place, None);
    (place, judged)
}

/// Answers from the store if the policy lets it, and otherwise from the origin. What memory has
/// said already is not asked again.
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
                // The usual way of what is private: it is not worth a future of its own.
                (Completeness::All, Some(reason)) if errand.ask.facts.forbids_storing().is_none() => {
                    join::doubtful(proxy, &errand, reason).await
                }
                (Completeness::All, _) => Box::pin(join::answer(proxy, errand)).await,
                (Completeness::Nothing, _) => Box::pin(second_look::answer(proxy, errand)).await,
            }
        }
    }
}

/// What a look-up came to.
struct LookupDecision {
    place: CacheLocation,
    judged: Decision,
    said: Completeness,
    /// Why the last answer could not be shared, where that is known already.
    doubt: Option<NotStorable>,
}

impl LookupDecision {
    fn of(proxy: &Rc<Proxy>, ask: &CacheRequest, seen: KeyLookup) -> Self {
        let KeyLookup { place, found, said, doubt } = seen;
        let judged = judge(proxy, ask, &place, found);
        Self { place, judged, said, doubt }
    }
}

/// What the policy makes of what was found.
enum Decision {
    /// It is the answer.
    Hit(CacheHit),
    /// It is stale, and is the answer because the origin failed a moment ago.
    StandIn(CacheHit),
    /// The origin has to be asked; about what is stored, if it can be.
    Miss(ForwardReason, Option<Rc<Entry>>),
}

/// Asks the policy, and has refreshed in the background what it says should be.
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

/// Age and freshness of an entry that has to be validated and answers all the same: the origin
/// failed a moment ago, and the policy lets the entry stand in for that failure. When it is time,
/// the entry is refreshed in the background.
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

/// Serves the part of what is stored that is asked for, or says that the client has it.
async fn cut(proxy: &Proxy, ask: &CacheRequest, hit: CacheHit) -> ProxyAnswer {
    let received = hit.entry.facts.received;
    let whole = ProxyAnswer::from_store(&ask.inbound.method, hit);
    match present::present(ask, whole, received).await {
        Ok(answer) => answer,
        // RFC 9111 §4.3.2: what is merely stored cannot fail a request.
        Err(present::PreconditionNotMet(_)) => {
            join::directly(proxy, ask, ForwardReason::Request, "condition").await
        }
    }
}
