//! A `GET` or `HEAD` through the cache: the handler to read first.

use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;
use std::time::Duration;

use super::answer::{Answer, Hit};
use super::ask::Ask;
use super::cache_status::{Forward, Ttl};
use super::explain::Explanation;
use super::failure::Failure;
use super::fetch::{self, Errand};
use super::look::{Looked, Seen, look_at_hand, look_up, look_up_variant};
use super::pauses::Probe;
use super::place::Place;
use super::{Proxy, again, load, present, refresh};
use crate::entry::{Entry, Lineage};
use crate::policy::{NotStorable, Reuse};
use crate::store::{Said, Tier};
use crate::time::{self, Timestamp};

/// What memory knows of an answer that it does not give by itself.
pub(super) enum Known {
    /// It has what may not be served as it is.
    Refused { place: Box<Place>, forward: Forward, stored: Option<Rc<Entry>> },
    /// It knows where the answer would stand, and does not have it.
    Place(Box<Place>),
    /// Nothing, or it was not asked: of the whole, a part is wanted.
    Nothing,
}

/// The answer of memory, if the whole is asked for and nobody else has to be.
pub(super) fn at_hand(proxy: &Rc<Proxy>, ask: &Ask) -> ControlFlow<Answer, Known> {
    if !ask.is_plain() {
        return Continue(Known::Nothing);
    }
    let (place, entry) = match look_at_hand(proxy, ask) {
        Looked::Found(place, entry) => (place, entry),
        Looked::Variant(place) => return Continue(Known::Place(Box::new(place))),
        Looked::Nothing => return Continue(Known::Nothing),
    };
    match judge(proxy, ask, &place, Some((entry, Tier::Memory))) {
        Judged::Hit(hit) => Break(Answer::from_store(&ask.inbound.method, hit)),
        Judged::StandIn(hit) => Break(Answer::stale_on_error(&ask.inbound.method, hit)),
        Judged::Miss(forward, stored) => Continue(Known::Refused { place: Box::new(place), forward, stored }),
    }
}

/// Answers without asking anybody: what memory has stands in where the policy lets it.
pub(super) async fn shed(proxy: &Rc<Proxy>, ask: Rc<Ask>, known: Known, failure: Failure) -> Answer {
    let (place, judged) = match known {
        Known::Refused { place, forward, stored } => (*place, Judged::Miss(forward, stored)),
        Known::Place(place) => unheld(proxy, &ask, *place),
        Known::Nothing => match look_at_hand(proxy, &ask) {
            Looked::Found(place, entry) => {
                let judged = judge(proxy, &ask, &place, Some((entry, Tier::Memory)));
                (place, judged)
            }
            Looked::Variant(place) => unheld(proxy, &ask, place),
            Looked::Nothing => unheld(proxy, &ask, Place::whole(ask.key, Lineage::NONE)),
        },
    };
    match judged {
        Judged::Hit(hit) => cut(proxy, &ask, hit).await,
        Judged::StandIn(hit) => fetch::stand_stale(&ask, hit).await,
        Judged::Miss(forward, stored) => fetch::shed(&Errand { ask, place, forward, stored }, failure).await,
    }
}

/// What there is to say of a place of which memory has nothing.
fn unheld(proxy: &Rc<Proxy>, ask: &Ask, place: Place) -> (Place, Judged) {
    let judged = judge(proxy, ask, &place, None);
    (place, judged)
}

/// Answers from the store if the policy lets it, and otherwise from the origin. What memory has said already is not
/// asked again.
pub(super) async fn answer(proxy: &Rc<Proxy>, ask: Rc<Ask>, known: Known, _place: load::Place) -> Answer {
    let Verdict { place, judged, said, doubt } = match known {
        Known::Refused { place, forward, stored } => {
            Verdict { place: *place, judged: Judged::Miss(forward, stored), said: Said::All, doubt: None }
        }
        Known::Place(place) => Verdict::of(proxy, &ask, Box::pin(look_up_variant(proxy, &ask, *place)).await),
        Known::Nothing => Verdict::of(proxy, &ask, look_up(proxy, &ask).await),
    };
    match judged {
        Judged::Hit(hit) if ask.is_plain() => {
            let answer = Answer::from_store(&ask.inbound.method, hit);
            if let Some(ask) = Rc::into_inner(ask) {
                proxy.store.recycle(ask.inbound.headers);
            }
            answer
        }
        Judged::Hit(hit) => Box::pin(cut(proxy, &ask, hit)).await,
        Judged::StandIn(hit) => Box::pin(fetch::stand_stale(&ask, hit)).await,
        Judged::Miss(..) if ask.facts.only_if_cached() => {
            ask.note(|explanation| explanation.failed(Failure::OnlyIfCached));
            Failure::OnlyIfCached.into()
        }
        Judged::Miss(forward, stored) => {
            let errand = Errand { ask, place, forward, stored };
            match (said, doubt) {
                // The usual way of what is private: it is not worth a future of its own.
                (Said::All, Some(reason)) if errand.ask.facts.forbids_storing().is_none() => {
                    fetch::doubtful(proxy, &errand, reason).await
                }
                (Said::All, _) => Box::pin(fetch::answer(proxy, errand)).await,
                (Said::Nothing, _) => Box::pin(again::answer(proxy, errand)).await,
            }
        }
    }
}

/// What a look-up came to.
struct Verdict {
    place: Place,
    judged: Judged,
    said: Said,
    /// Why the last answer could not be shared, where that is known already.
    doubt: Option<NotStorable>,
}

impl Verdict {
    fn of(proxy: &Rc<Proxy>, ask: &Ask, seen: Seen) -> Self {
        let Seen { place, found, said, doubt } = seen;
        let judged = judge(proxy, ask, &place, found);
        Self { place, judged, said, doubt }
    }
}

/// What the policy makes of what was found.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and gone at once")]
enum Judged {
    /// It is the answer.
    Hit(Hit),
    /// It is stale, and is the answer because the origin failed a moment ago.
    StandIn(Hit),
    /// The origin has to be asked; about what is stored, if it can be.
    Miss(Forward, Option<Rc<Entry>>),
}

/// Asks the policy, and has refreshed in the background what it says should be.
fn judge(proxy: &Rc<Proxy>, ask: &Ask, place: &Place, found: Option<(Entry, Tier)>) -> Judged {
    ask.note_place(place, &proxy.rules);
    let Some((entry, tier)) = found else {
        ask.note(Explanation::found_nothing);
        return Judged::Miss(place.miss(), None);
    };
    let now = time::now();
    ask.note(|explanation| explanation.found(tier, &entry.facts, now));
    match ask.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => {
            refresh::early(proxy, ask, place, &entry, now);
            Judged::Hit(Hit { entry, tier, age, ttl: Ttl::Left(ttl) })
        }
        Reuse::StaleWhileRevalidate { age, stale_for } => {
            refresh::begin(proxy, ask, place, &entry);
            Judged::Hit(Hit { entry, tier, age, ttl: Ttl::Past(stale_for) })
        }
        Reuse::Stale { age, stale_for } => Judged::Hit(Hit { entry, tier, age, ttl: Ttl::Past(stale_for) }),
        Reuse::Validate(reason) => match paused(proxy, ask, place, &entry, now) {
            Some((age, ttl)) => Judged::StandIn(Hit { entry, tier, age, ttl }),
            None => Judged::Miss(Forward::because(reason), Some(Rc::new(entry))),
        },
        Reuse::Not(reason) => Judged::Miss(Forward::because(reason), None),
    }
}

/// Age and freshness of an entry that has to be validated and answers all the same: the origin
/// failed a moment ago, and the policy lets the entry stand in for that failure. When it is time,
/// the entry is refreshed in the background.
fn paused(
    proxy: &Rc<Proxy>,
    ask: &Ask,
    place: &Place,
    entry: &Entry,
    now: Timestamp,
) -> Option<(Duration, Ttl)> {
    let (failure, probe) = proxy.shared.pauses.probe(&place.key, time::instant())?;
    let stands_in = fetch::may_stand_in(ask, entry, failure, now)?;
    if probe == Probe::Due {
        refresh::begin_now(proxy, ask, place, entry);
    }
    Some(stands_in)
}

/// Serves the part of what is stored that is asked for, or says that the client has it.
async fn cut(proxy: &Proxy, ask: &Ask, hit: Hit) -> Answer {
    let received = hit.entry.facts.received;
    let whole = Answer::from_store(&ask.inbound.method, hit);
    match present::present(ask, whole, received).await {
        Ok(answer) => answer,
        // RFC 9111 §4.3.2: what is merely stored cannot fail a request.
        Err(present::NotMet(_)) => fetch::directly(proxy, ask, Forward::Request, "condition").await,
    }
}
