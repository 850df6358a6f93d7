//! Where the answer to a request stands, and what is stored there: in memory, or in Redis.

use crate::entry::{Entry, StoredValue};
use crate::policy::{NotStorable, Reuse};
use crate::proxy::Proxy;
use crate::proxy::answer::cache_status::TtlSeconds;
use crate::proxy::answer::response::CacheHit;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::store::{Completeness, FoundValue, Lookup, Tier};
use crate::time;

/// The stored response for a request, and where it stands or would stand.
pub(in crate::proxy) struct KeyLookup {
    pub(in crate::proxy) place: CacheLocation,
    pub(in crate::proxy) found: Option<(Entry, Tier)>,
    pub(in crate::proxy) said: Completeness,
    /// Why the last answer could not be shared, where that is known already.
    pub(in crate::proxy) doubt: Option<NotStorable>,
}

/// Looks it up. One question in the common case: a resource that varies has its list of variants in
/// memory. None where there was nothing lately and the origin lets nothing be stored.
pub(in crate::proxy) async fn look_up(proxy: &Proxy, ask: &CacheRequest) -> KeyLookup {
    let uncacheable = &proxy.shared.uncacheable;
    let key = ask.fill_key(ask.key);
    let doubt = uncacheable.known(&key, time::instant());
    if let Some(lineage) = doubt.absent
        && !ask.facts.only_if_cached()
    {
        let place = CacheLocation::whole(ask.key, lineage);
        return KeyLookup { place, found: None, said: Completeness::All, doubt: doubt.reason };
    }
    let Lookup { found, lineage, said } = proxy.store.find(&ask.key, &ask.inbound.target).await;
    match found.filter(|found| is_keyed(proxy, &found.stored)) {
        None => {
            if said == Completeness::All {
                uncacheable.absent(&key, lineage, time::instant());
            }
            KeyLookup { place: CacheLocation::whole(ask.key, lineage), found: None, said, doubt: None }
        }
        Some(FoundValue { stored: StoredValue::Response(entry), tier, .. }) => KeyLookup {
            place: CacheLocation::whole(ask.key, lineage),
            found: Some((entry, tier)),
            said,
            doubt: None,
        },
        Some(FoundValue { stored: StoredValue::Variants(variants), .. }) => {
            let place = CacheLocation::variant(ask.key, lineage, variants, &ask.inbound.headers);
            Box::pin(look_up_variant(proxy, ask, place)).await
        }
    }
}

/// Whether what stands under a resource's key selects by `key_headers`. What was stored under other
/// settings does not, and is as good as absent.
pub(in crate::proxy) fn is_keyed(proxy: &Proxy, stored: &StoredValue) -> bool {
    let key_headers = proxy.rules.fields.key_headers();
    key_headers.is_empty()
        || match stored {
            StoredValue::Response(_) => false,
            StoredValue::Variants(variants) => variants.fields.contain(key_headers),
        }
}

pub(in crate::proxy) async fn look_up_variant(
    proxy: &Proxy,
    ask: &CacheRequest,
    place: CacheLocation,
) -> KeyLookup {
    let look = proxy.store.find(&place.key, &ask.inbound.target).await;
    let found = look.found.and_then(|found| variant(&place, found));
    KeyLookup { place, found, said: look.said, doubt: None }
}

/// What stands under a variant's key. It is stale if the resource has been purged softly since it
/// was stored: the list of variants says so for all of them.
pub(in crate::proxy) fn variant(place: &CacheLocation, found: FoundValue) -> Option<(Entry, Tier)> {
    let FoundValue { stored: StoredValue::Response(mut entry), tier, lineage } = found else { return None };
    if lineage != place.lineage {
        entry.facts = entry.facts.stale_from(entry.facts.received);
    }
    Some((entry, tier))
}

/// What a look into memory alone gave.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and gone at once")]
pub(in crate::proxy) enum MemoryContent {
    Found(CacheLocation, Entry),
    /// The list of variants, and not the one that stands here.
    Variant(CacheLocation),
    /// Nothing, or nothing that memory can answer for by itself.
    Nothing,
}

/// The same without asking anybody but memory.
pub(in crate::proxy) fn look_at_hand(proxy: &Proxy, ask: &CacheRequest) -> MemoryContent {
    let target = &ask.inbound.target;
    let Some(FoundValue { stored, lineage, .. }) = proxy.store.find_in_memory(&ask.key, target) else {
        return MemoryContent::Nothing;
    };
    if !is_keyed(proxy, &stored) {
        return MemoryContent::Nothing;
    }
    let variants = match stored {
        StoredValue::Response(entry) => {
            return MemoryContent::Found(CacheLocation::whole(ask.key, lineage), entry);
        }
        StoredValue::Variants(variants) => variants,
    };
    let place = CacheLocation::variant(ask.key, lineage, variants, &ask.inbound.headers);
    let found = proxy.store.find_in_memory(&place.key, target);
    match found.and_then(|found| variant(&place, found)) {
        Some((entry, _)) => MemoryContent::Found(place, entry),
        None => MemoryContent::Variant(place),
    }
}

/// What memory has by now.
pub(in crate::proxy) fn just_stored(
    proxy: &Proxy,
    ask: &CacheRequest,
    place: &CacheLocation,
) -> Option<CacheHit> {
    let found = proxy.store.find_in_memory(&place.key, &ask.inbound.target)?;
    if place.variants.is_none() && !is_keyed(proxy, &found.stored) {
        return None;
    }
    let StoredValue::Response(entry) = found.stored else { return None };
    // What is stale already has to be refreshed, and this request was about to.
    usable(ask, entry, found.tier).filter(is_fresh)
}

/// What another node has stored by now.
pub(in crate::proxy) async fn stored_meanwhile(proxy: &Proxy, ask: &CacheRequest) -> Option<CacheHit> {
    let KeyLookup { place, found, .. } = look_up(proxy, ask).await;
    ask.note_place(&place, &proxy.rules);
    found.and_then(|(entry, tier)| usable(ask, entry, tier)).filter(is_fresh)
}

/// What the store has by now, fresh or stale; `None` if it does not answer.
pub(in crate::proxy) async fn still_stored(proxy: &Proxy, ask: &CacheRequest) -> Option<Option<Entry>> {
    let KeyLookup { found, said, .. } = look_up(proxy, ask).await;
    (found.is_some() || said == Completeness::All).then(|| found.map(|(entry, _)| entry))
}

fn is_fresh(hit: &CacheHit) -> bool {
    matches!(hit.ttl, TtlSeconds::Left(_))
}

/// What was found since, if it answers the request as it is: stale too, where it may be while it is
/// refreshed.
pub(in crate::proxy) fn usable(ask: &CacheRequest, entry: Entry, tier: Tier) -> Option<CacheHit> {
    let now = time::now();
    ask.note(|explanation| explanation.found(tier, &entry.facts, now));
    match ask.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => Some(CacheHit { entry, tier, age, ttl: TtlSeconds::Left(ttl) }),
        Reuse::StaleWhileRevalidate { age, stale_for } | Reuse::Stale { age, stale_for } => {
            Some(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) })
        }
        Reuse::Validate(_) | Reuse::Not(_) => None,
    }
}
