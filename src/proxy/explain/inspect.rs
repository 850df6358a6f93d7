//! Inspection for operators: the stored response of a resource, and the cache's decision for a
//! request.
//!
//! An inspection uses the values by which a request is decided, notes them in the same
//! [`ExplainNotes`], and writes them with the same code as an explanation, so the two cannot
//! disagree. It changes nothing: it starts no refresh and moves no entry between the tiers.
//!
//! **Always:** an inspection shows facts, sizes and tags of a stored response; no other field, and
//! not the body.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, Method};

use crate::entry::{Entry, StoredValue};
use crate::json::{self, JsonObject};
use crate::key::{CacheKey, Target};
use crate::label::Label;
use crate::limits::OPERATOR_SHOWN_BYTES_MAX;
use crate::policy::{self, CacheRules, GroupNames};
use crate::proxy::explain::{ExplainNotes, Explanation};
use crate::proxy::lookup::find::variant;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::{CacheRequest, InboundRequest};
use crate::proxy::{Caller, Proxy};
use crate::store::{FoundValue, InspectedKey, TierContent};
use crate::time;

impl Proxy {
    /// Returns a JSON document of the stored response of a target, as a `GET` with these fields
    /// finds it.
    pub async fn inspect(&self, target: Target, headers: HeaderMap) -> String {
        let caller = Caller { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), scheme: target.scheme };
        let url = target.to_string();
        let notes = ExplainNotes::taken();
        notes.note(|explanation| explanation.target(&target, self.store.namespace()));
        let inbound = InboundRequest { method: Method::GET, target, headers, caller, notes };
        let ask = CacheRequest::new(inbound, &self.rules);
        let (place, look) = self.look_up(&ask).await;
        ask.note_place(&place, &self.rules);
        let entry = match look.found().and_then(|found| variant(&place, found)) {
            Some((entry, tier)) => {
                let now = time::now();
                ask.note(|explanation| explanation.found(tier, &entry.facts, now));
                // The decision is noted, and its value is not needed.
                ask.reuse(&entry.facts, now);
                Some(entry)
            }
            None => {
                ask.note(Explanation::found_nothing);
                None
            }
        };
        let variants = self.variants(&ask, &place).await;
        json::object(|object| {
            object.text("url", &url, OPERATOR_SHOWN_BYTES_MAX);
            if let Some(varies) = &place.variants {
                object.texts("vary", varies.fields.names().iter().map(|name| name.as_str()), usize::MAX);
                object.objects("variants", variants.into_iter(), |object, variant| variant.write(object));
            }
            object.object("memory", usize::MAX, |object| write_sighting(object, &look.memory));
            object.object("redis", usize::MAX, |object| write_sighting(object, &look.redis));
            if let Some(entry) = &entry {
                object.number("status", entry.status.as_u16().into());
                object.number("body_bytes", entry.body.len() as u64);
                let tags = tags(entry, &self.rules);
                object.texts("tags", tags.iter().map(String::as_str), OPERATOR_SHOWN_BYTES_MAX);
            }
            ask.inbound.notes.write(object);
        })
    }

    /// Returns the most recently stored variants of a resource, from any node and request.
    async fn variants(&self, ask: &CacheRequest, place: &CacheLocation) -> Vec<ListedVariant> {
        let Some(varies) = &place.variants else { return Vec::new() };
        let mut listed = Vec::new();
        for key in self.store.variants(&ask.key, varies.nonce).await {
            let look = self.store.inspect(&key, &ask.inbound.target).await;
            let entry = look.found().and_then(|found| variant(place, found)).map(|(entry, _)| entry);
            listed.push(ListedVariant { key, look, entry });
        }
        listed
    }

    async fn look_up(&self, ask: &CacheRequest) -> (CacheLocation, InspectedKey) {
        let target = &ask.inbound.target;
        let look = self.store.inspect(&ask.key, target).await;
        match look.found() {
            Some(FoundValue { stored: StoredValue::Variants(variants), lineage, .. }) => {
                let place = CacheLocation::variant(ask.key, lineage, variants, &ask.inbound.headers);
                let look = self.store.inspect(&place.key, target).await;
                (place, look)
            }
            Some(FoundValue { stored: StoredValue::Response(_), .. }) | None => {
                (CacheLocation::whole(ask.key, look.lineage()), look)
            }
        }
    }
}

/// A variant that was listed as stored, and its present entry.
struct ListedVariant {
    key: CacheKey,
    look: InspectedKey,
    entry: Option<Entry>,
}

impl ListedVariant {
    fn write(&self, object: &mut JsonObject<'_>) {
        object.text("name", &String::from_utf8_lossy(&self.key.hex()), usize::MAX);
        object.object("memory", usize::MAX, |object| write_sighting(object, &self.look.memory));
        object.object("redis", usize::MAX, |object| write_sighting(object, &self.look.redis));
        if let Some(Entry { facts, status, body, .. }) = &self.entry {
            let now = time::now();
            object.number("status", status.as_u16().into());
            object.number("body_bytes", body.len() as u64);
            object.seconds("age", facts.age(now));
            object.seconds("ttl", facts.ttl(now));
        }
    }
}

fn write_sighting(object: &mut JsonObject<'_>, sighting: &TierContent) {
    object.word("state", sighting.word());
    match sighting {
        TierContent::Held { bytes, confirmation, .. } => {
            object.number("bytes", *bytes as u64);
            object.word("confirmation", confirmation.word());
        }
        TierContent::Damaged(damage) => object.word("damage", damage.word()),
        TierContent::Off | TierContent::Unavailable | TierContent::Nothing | TierContent::Purged(_) => {}
    }
}

/// Returns the tags and groups by which a response can be purged, without duplicates.
fn tags(entry: &Entry, rules: &CacheRules) -> Vec<String> {
    // A stored response has no invalid tags.
    let mut tags = policy::tags(&entry.head, rules).unwrap_or_default();
    let groups = GroupNames::of(&entry.head);
    for group in groups.names() {
        if !tags.contains(&&**group) {
            tags.push(group);
        }
    }
    tags.into_iter().map(str::to_owned).collect()
}
