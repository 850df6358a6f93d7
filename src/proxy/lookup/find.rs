//! Lookup of a stored response, in memory and in Redis.

use crate::entry::{Entry, StoredValue};
use crate::key::CacheKey;
use crate::policy::{NotStorable, Reuse};
use crate::proxy::answer::cache_status::TtlSeconds;
use crate::proxy::answer::response::CacheHit;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::store::{Completeness, FoundValue, Lookup, Store, Tier};
use crate::telemetry::trace::SpanName;
use crate::time;

/// The lookup of a request: the stored response, and its location.
pub(in crate::proxy) struct RequestLookup {
    pub(in crate::proxy) location: CacheLocation,
    pub(in crate::proxy) found: Option<(Entry, Tier)>,
    pub(in crate::proxy) completeness: Completeness,
    /// The reason for which the last response was not sharable, if it is already known.
    pub(in crate::proxy) not_sharable: Option<NotStorable>,
}

impl RequestLookup {
    /// Creates a complete lookup that found nothing.
    pub(in crate::proxy) fn nothing(location: CacheLocation) -> Self {
        Self { location, found: None, completeness: Completeness::Complete, not_sharable: None }
    }
}

/// Looks a request up. A resource that varies usually needs one Redis read, because its variant
/// list is in memory. A key that was recently absent and uncacheable needs none.
pub(in crate::proxy) async fn look_up(proxy: &Proxy, request: &CacheRequest) -> RequestLookup {
    let uncacheable = &proxy.shared.uncacheable;
    let key = request.fetch_key(request.key);
    let known = uncacheable.known(&key, time::instant());
    if let Some(key_generation) = known.absent
        // Otherwise the request may join a fetch, and needs a lookup of its own.
        && known.reason.is_some()
        && !request.facts.only_if_cached()
    {
        let nothing = RequestLookup::nothing(CacheLocation::whole(request.key, key_generation));
        return RequestLookup { not_sharable: known.reason, ..nothing };
    }
    let Lookup { found, key_generation, completeness } = find(proxy, request, &request.key).await;
    let found = match found.filter(|found| is_keyed(request, &found.stored)) {
        None => {
            if completeness == Completeness::Complete {
                uncacheable.absent(&key, key_generation, time::instant());
            }
            None
        }
        Some(FoundValue { stored: StoredValue::Response(entry), tier, .. }) => Some((entry, tier)),
        Some(FoundValue { stored: StoredValue::Variants(variants), .. }) => {
            let location = request.variant(key_generation, variants);
            return Box::pin(look_up_variant(proxy, request, location)).await;
        }
    };
    let location = CacheLocation::whole(request.key, key_generation);
    RequestLookup { location, found, completeness, not_sharable: None }
}

/// Looks a key up in the tiers, with a span for a read of Redis.
async fn find(proxy: &Proxy, request: &CacheRequest, key: &CacheKey) -> Lookup {
    let reads = proxy.store.has_redis();
    let span = if reads { request.inbound.record.trace().span(SpanName::Redis) } else { None };
    let lookup = proxy.store.find(key, &request.inbound.target, request.memory()).await;
    if let Some(span) = span {
        match (lookup.completeness, lookup.found.as_ref().map(|found| found.tier)) {
            (_, Some(Tier::Memory)) => span.discard(),
            (Completeness::TimedOut, _) => span.fail(),
            (Completeness::Complete, _) => {}
        }
    }
    lookup
}

/// Returns whether the value under a resource's key was stored under the current `key_headers`. A
/// value stored under other settings counts as absent.
pub(in crate::proxy) fn is_keyed(request: &CacheRequest, stored: &StoredValue) -> bool {
    let key_headers = request.rules().keys.headers();
    key_headers.is_empty()
        || match stored {
            StoredValue::Response(_) => false,
            StoredValue::Variants(variants) => variants.fields.contain(key_headers),
        }
}

/// Looks up the variant at this location.
pub(in crate::proxy) async fn look_up_variant(
    proxy: &Proxy,
    request: &CacheRequest,
    location: CacheLocation,
) -> RequestLookup {
    let lookup = find(proxy, request, &location.key).await;
    let found = lookup.found.and_then(|found| variant(&proxy.store, &location, found));
    RequestLookup { location, found, completeness: lookup.completeness, not_sharable: None }
}

/// Returns the entry under a variant's key. The entry is stale if the resource was marked stale
/// after the entry was stored: the variant list carries the key generation for all variants.
pub(in crate::proxy) fn variant(
    store: &Store,
    location: &CacheLocation,
    found: FoundValue,
) -> Option<(Entry, Tier)> {
    let found = store.unpurged_variant(&location.whole, found)?;
    let FoundValue { stored: StoredValue::Response(mut entry), tier, key_generation } = found else {
        return None;
    };
    if key_generation != location.generation {
        entry.facts = entry.facts.stale_from(entry.facts.received);
    }
    Some((entry, tier))
}

/// Looks a request up in memory alone. Returns a lookup without an entry if memory has the variant
/// list, but not the variant; `None` if it has nothing that it can answer with by itself.
pub(in crate::proxy) fn look_up_in_memory(proxy: &Proxy, request: &CacheRequest) -> Option<RequestLookup> {
    let target = &request.inbound.target;
    let memory = request.memory();
    let FoundValue { stored, tier, key_generation } =
        proxy.store.find_in_memory(&request.key, target, memory)?;
    if !is_keyed(request, &stored) {
        return None;
    }
    let variants = match stored {
        StoredValue::Response(entry) => {
            let location = CacheLocation::whole(request.key, key_generation);
            return Some(RequestLookup { found: Some((entry, tier)), ..RequestLookup::nothing(location) });
        }
        StoredValue::Variants(variants) => variants,
    };
    let location = request.variant(key_generation, variants);
    let found = proxy.store.find_in_memory(&location.key, target, memory);
    let found = found.and_then(|found| variant(&proxy.store, &location, found));
    Some(RequestLookup { found, ..RequestLookup::nothing(location) })
}

/// Returns the fresh entry that memory has by now.
pub(in crate::proxy) fn just_stored(
    proxy: &Proxy,
    request: &CacheRequest,
    location: &CacheLocation,
) -> Option<CacheHit> {
    let found = proxy.store.find_in_memory(&location.key, &request.inbound.target, request.memory())?;
    let (entry, tier) = if location.variants.is_some() {
        variant(&proxy.store, location, found)?
    } else {
        let FoundValue { stored, tier, .. } = found;
        let StoredValue::Response(entry) = Some(stored).filter(|stored| is_keyed(request, stored))? else {
            return None;
        };
        (entry, tier)
    };
    // A stale entry needs a refresh, which this request is about to start.
    usable(request, entry, tier).filter(is_fresh)
}

/// Returns the fresh entry that another node has stored by now, or the location at which the store
/// has none.
pub(in crate::proxy) async fn stored_meanwhile(
    proxy: &Proxy,
    request: &CacheRequest,
) -> Result<CacheHit, CacheLocation> {
    let RequestLookup { location, found, .. } = look_up(proxy, request).await;
    request.note_location(&location);
    let hit = found.and_then(|(entry, tier)| usable(request, entry, tier)).filter(is_fresh);
    hit.ok_or(location)
}

/// Returns the entry that the store has by now, fresh or stale; `None` if the store does not
/// answer.
pub(in crate::proxy) async fn still_stored(proxy: &Proxy, request: &CacheRequest) -> Option<Option<Entry>> {
    let RequestLookup { found, completeness, .. } = look_up(proxy, request).await;
    (found.is_some() || completeness == Completeness::Complete).then(|| found.map(|(entry, _)| entry))
}

fn is_fresh(hit: &CacheHit) -> bool {
    matches!(hit.ttl, TtlSeconds::Left(_))
}

/// Returns a found entry as a hit if the policy lets it answer the request without validation. A
/// stale entry qualifies while it is revalidated.
pub(in crate::proxy) fn usable(request: &CacheRequest, entry: Entry, tier: Tier) -> Option<CacheHit> {
    let now = time::now();
    request.note(|explanation| explanation.found(tier, &entry.facts, now));
    match request.reuse(&entry.facts, now) {
        Reuse::Fresh { age, ttl } => Some(CacheHit { entry, tier, age, ttl: TtlSeconds::Left(ttl) }),
        Reuse::StaleWhileRevalidate { age, stale_for } | Reuse::Stale { age, stale_for } => {
            Some(CacheHit { entry, tier, age, ttl: TtlSeconds::Past(stale_for) })
        }
        Reuse::Validate(_) | Reuse::Not(_) => None,
    }
}
