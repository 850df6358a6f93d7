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
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};

use crate::entry::{Entry, StoredValue};
use crate::json::{self, JsonObject};
use crate::key::{CacheKey, Target};
use crate::label::Label;
use crate::limits::OPERATOR_SHOWN_BYTES_MAX;
use crate::policy::{self, CacheRules, GroupNames};
use crate::proxy::explain::notes::{ExplainNotes, Explanation};
use crate::proxy::lookup::find::variant;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::query_content::QueryContent;
use crate::proxy::request::{CacheRequest, Caller, InboundRequest};
use crate::proxy::worker::Proxy;
use crate::store::{FoundValue, InspectedKey, TierContent};
use crate::time;
use crate::tls::ClientCertificate;

/// The request whose stored response an inspection shows.
pub struct InspectedRequest {
    /// The target.
    pub target: Target,
    /// The request fields.
    pub headers: HeaderMap,
    /// The content of a `QUERY`; `None` for a `GET`.
    pub content: Option<Bytes>,
}

/// The error of an inspection of a `QUERY` that the cache does not handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "such a QUERY passes the cache: its content exceeds query_body_max, or Connection names a field that \
     describes the content"
)]
pub struct QueryPassedError;

impl Proxy {
    /// Returns a JSON document of the stored response of a target, as a `GET` with these fields
    /// finds it, or a `QUERY` with this content.
    pub async fn inspect(&self, inspected: InspectedRequest) -> Result<String, QueryPassedError> {
        let InspectedRequest { target, mut headers, content } = inspected;
        let caller = Caller {
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: target.scheme,
            certificate: ClientCertificate::None,
            version: Version::HTTP_11,
        };
        let url = target.to_string();
        let notes = ExplainNotes::taken();
        let rules = self.rules();
        let is_query = content.is_some();
        let ruled = if is_query { rules.of_query(&target) } else { rules.of_get(&target) };
        let key = ruled.rules.cache.keys.resource(&target);
        notes.note(|explanation| explanation.target(&target, key, self.store.namespace()));
        notes.note(|explanation| explanation.ruled(&ruled));
        self.origin.outbound().strip_unvouched(&mut headers, &ruled.rules.cache.keys, caller.peer);
        let content = content.map(|content| self.query_content(content, &headers)).transpose()?;
        if let Some(content) = &content {
            content.mark(&mut headers);
        }
        let method = if is_query { Method::QUERY } else { Method::GET };
        let mut inbound = InboundRequest::new(method, target, headers, caller, notes, (ruled.rules, rules));
        inbound.content = content.map(Rc::new);
        let request = CacheRequest::new(inbound);
        let (location, lookup) = self.look_up(&request).await;
        request.note_location(&location);
        let entry = match lookup.found().and_then(|found| variant(&self.store, &location, found)) {
            Some((entry, tier)) => {
                let now = time::now();
                request.note(|explanation| explanation.found(tier, &entry.facts, now));
                // The decision is noted, and its value is not needed.
                request.reuse(&entry.facts, now);
                Some(entry)
            }
            None => {
                request.note(Explanation::found_nothing);
                None
            }
        };
        let variants = self.variants(&request, &location).await;
        let document = json::object(|object| {
            object.text("url", &url, OPERATOR_SHOWN_BYTES_MAX);
            if let Some(varies) = &location.variants {
                object.texts("vary", varies.fields.names().iter().map(|name| name.as_str()), usize::MAX);
                object.objects("variants", variants.into_iter(), |object, variant| variant.write(object));
            }
            object.object("memory", usize::MAX, |object| write_tier_content(object, &lookup.memory));
            object.object("redis", usize::MAX, |object| write_tier_content(object, &lookup.redis));
            if let Some(entry) = &entry {
                object.number("status", entry.status.as_u16().into());
                object.number("body_bytes", entry.body.len() as u64);
                let tags = tags(entry, request.rules());
                object.texts("tags", tags.iter().map(String::as_str), OPERATOR_SHOWN_BYTES_MAX);
            }
            request.inbound.notes.write(object);
        });
        Ok(document)
    }

    /// Returns the content of a `QUERY` that the cache handles.
    fn query_content(&self, content: Bytes, headers: &HeaderMap) -> Result<QueryContent, QueryPassedError> {
        let bytes_max = self.options.query_body_max;
        if bytes_max == 0 || content.len() > bytes_max {
            return Err(QueryPassedError);
        }
        QueryContent::new(content, headers, self.shared.load.hold()).ok_or(QueryPassedError)
    }

    /// Returns the most recently stored variants of a resource, from any node and request.
    async fn variants(&self, request: &CacheRequest, location: &CacheLocation) -> Vec<ListedVariant> {
        let Some(varies) = &location.variants else { return Vec::new() };
        let mut listed = Vec::new();
        for key in self.store.variants(&request.key, varies.nonce).await {
            let lookup = self.store.inspect(&key, &request.inbound.target).await;
            let entry = lookup
                .found()
                .and_then(|found| variant(&self.store, location, found))
                .map(|(entry, _)| entry);
            listed.push(ListedVariant { key, lookup, entry });
        }
        listed
    }

    async fn look_up(&self, request: &CacheRequest) -> (CacheLocation, InspectedKey) {
        let target = &request.inbound.target;
        let lookup = self.store.inspect(&request.key, target).await;
        match lookup.found() {
            Some(FoundValue { stored: StoredValue::Variants(variants), key_generation, .. }) => {
                let location = request.variant(key_generation, variants);
                let lookup = self.store.inspect(&location.key, target).await;
                (location, lookup)
            }
            Some(FoundValue { stored: StoredValue::Response(_), .. }) | None => {
                (CacheLocation::whole(request.key, lookup.key_generation()), lookup)
            }
        }
    }
}

/// A variant that was listed as stored, and its present entry.
struct ListedVariant {
    key: CacheKey,
    lookup: InspectedKey,
    entry: Option<Entry>,
}

impl ListedVariant {
    fn write(&self, object: &mut JsonObject<'_>) {
        object.text("name", &String::from_utf8_lossy(&self.key.hex()), usize::MAX);
        object.object("memory", usize::MAX, |object| write_tier_content(object, &self.lookup.memory));
        object.object("redis", usize::MAX, |object| write_tier_content(object, &self.lookup.redis));
        if let Some(Entry { facts, status, body, .. }) = &self.entry {
            let now = time::now();
            object.number("status", status.as_u16().into());
            object.number("body_bytes", body.len() as u64);
            object.seconds("age", facts.age(now));
            object.seconds("ttl", facts.ttl(now));
        }
    }
}

fn write_tier_content(object: &mut JsonObject<'_>, content: &TierContent) {
    object.word("state", content.word());
    match content {
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
