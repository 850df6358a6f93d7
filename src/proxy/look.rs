//! Where the answer to a request stands, and what is stored there: in memory, or in Redis.

use super::Proxy;
use super::answer::Hit;
use super::ask::Ask;
use super::cache_status::Ttl;
use super::place::Place;
use crate::entry::{Entry, Stored};
use crate::policy::{NotStorable, Reuse};
use crate::store::{Found, Look, Said, Tier};
use crate::time;

/// The stored response for a request, and where it stands or would stand.
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) found: Option<(Entry, Tier)>,
    pub(super) said: Said,
    /// Why the last answer could not be shared, where that is known already.
    pub(super) doubt: Option<NotStorable>,
}

/// Looks it up. One question in the common case: a resource that varies has its list of variants in memory. None where there
/// was nothing lately and the origin lets nothing be stored.
pub(super) async fn look_up(proxy: &Proxy, ask: &Ask) -> Seen {
    let uncacheable = &proxy.shared.uncacheable;
    let key = ask.fill_key(ask.key);
    let doubt = uncacheable.known(&key, time::instant());
    if let Some(lineage) = doubt.absent
        && !ask.facts.only_if_cached()
    {
        let place = Place::whole(ask.key, lineage);
        return Seen { place, found: None, said: Said::All, doubt: doubt.reason };
    }
    let Look { found, lineage, said } = proxy.store.find(&ask.key, &ask.inbound.target).await;
    match found.filter(|found| is_keyed(proxy, &found.stored)) {
        None => {
            if said == Said::All {
                uncacheable.absent(&key, lineage, time::instant());
            }
            Seen { place: Place::whole(ask.key, lineage), found: None, said, doubt: None }
        }
        Some(Found { stored: Stored::Response(entry), tier, .. }) => {
            Seen { place: Place::whole(ask.key, lineage), found: Some((entry, tier)), said, doubt: None }
        }
        Some(Found { stored: Stored::Variants(variants), .. }) => {
            let place = Place::variant(ask.key, lineage, variants, &ask.inbound.headers);
            Box::pin(look_up_variant(proxy, ask, place)).await
        }
    }
}

/// Whether what stands under a resource's key selects by `key_headers`. What was stored under other settings does not, and
/// is as good as absent.
pub(super) fn is_keyed(proxy: &Proxy, stored: &Stored) -> bool {
    let key_headers = proxy.rules.fields.key_headers();
    key_headers.is_empty()
        || match stored {
            Stored::Response(_) => false,
            Stored::Variants(variants) => variants.fields.contain(key_headers),
        }
}

pub(super) async fn look_up_variant(proxy: &Proxy, ask: &Ask, place: Place) -> Seen {
    let look = proxy.store.find(&place.key, &ask.inbound.target).await;
    let found = look.found.and_then(|found| variant(&place, found));
    Seen { place, found, said: look.said, doubt: None }
}

/// What stands under a variant's key. It is stale if the resource has been purged softly since it was stored: the list of
/// variants says so for all of them.
pub(super) fn variant(place: &Place, found: Found) -> Option<(Entry, Tier)> {
    let Found { stored: Stored::Response(mut entry), tier, lineage } = found else { return None };
    if lineage != place.lineage {
        entry.facts = entry.facts.outdated(entry.facts.received);
    }
    Some((entry, tier))
}

/// What a look into memory alone gave.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and gone at once")]
pub(super) enum Looked {
    Found(Place, Entry),
    /// The list of variants, and not the one that stands here.
    Variant(Place),
    /// Nothing, or nothing that memory can answer for by itself.
    Nothing,
}

/// The same without asking anybody but memory.
pub(super) fn look_at_hand(proxy: &Proxy, ask: &Ask) -> Looked {
    let target = &ask.inbound.target;
    let Some(Found { stored, lineage, .. }) = proxy.store.find_in_memory(&ask.key, target) else {
        return Looked::Nothing;
    };
    if !is_keyed(proxy, &stored) {
        return Looked::Nothing;
    }
    let variants = match stored {
        Stored::Response(entry) => return Looked::Found(Place::whole(ask.key, lineage), entry),
        Stored::Variants(variants) => variants,
    };
    let place = Place::variant(ask.key, lineage, variants, &ask.inbound.headers);
    let found = proxy.store.find_in_memory(&place.key, target);
    match found.and_then(|found| variant(&place, found)) {
        Some((entry, _)) => Looked::Found(place, entry),
        None => Looked::Variant(place),
    }
}

/// What memory has by now.
pub(super) fn just_stored(proxy: &Proxy, ask: &Ask, place: &Place) -> Option<Hit> {
    let found = proxy.store.find_in_memory(&place.key, &ask.inbound.target)?;
    if place.variants.is_none() && !is_keyed(proxy, &found.stored) {
        return None;
    }
    let Stored::Response(entry) = found.stored else { return None };
    // What is stale already has to be refreshed, and this request was about to.
    usable(ask, entry, found.tier).filter(is_fresh)
}

/// What another node has stored by now.
pub(super) async fn stored_meanwhile(proxy: &Proxy, ask: &Ask) -> Option<Hit> {
    let Seen { place, found, .. } = look_up(proxy, ask).await;
    ask.note_place(&place, &proxy.rules);
    found.and_then(|(entry, tier)| usable(ask, entry, tier)).filter(is_fresh)
}

/// What the store has by now, fresh or stale; `None` if it does not answer.
pub(super) async fn still_stored(proxy: &Proxy, ask: &Ask) -> Option<Option<Entry>> {
    let Seen { found, said, .. } = look_up(proxy, ask).await;
    (found.is_some() || said == Said::All).then(|| found.map(|(entry, _)| entry))
}

fn is_fresh(hit: &Hit) -> bool {
    matches!(hit.ttl, Ttl::Left(_))
}

/// What was found since, if it answers the request as it is: stale too, where it may be while it is refreshed.
pub(super) fn usable(ask: &Ask, entry: Entry, tier: Tier) -> Option<Hit> {
    let now = time::now();
    ask.note(|explanation| explanation.found(tier, &entry.facts, now));
    match ask.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => Some(Hit { entry, tier, age, ttl: Ttl::Left(ttl) }),
        Reuse::StaleWhileRevalidate { age, stale_for } | Reuse::Stale { age, stale_for } => {
            Some(Hit { entry, tier, age, ttl: Ttl::Past(stale_for) })
        }
        Reuse::Validate(_) | Reuse::Not(_) => None,
    }
}
