//! Storage of a response: under its resource's key, or as a variant together with the variant list.

use bytes::Bytes;
use http::HeaderMap;

use crate::entry::{Entry, StoredValue, Variants};
use crate::policy::{NotStorable, StoredFacts, Vary, VaryFields};
use crate::proxy::fetch::response::SharedResponse;
use crate::proxy::fetch::tags::cache_tags;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::store::{PutRefusal, Store, StorePermit};
use crate::telemetry::trace::SpanName;
use crate::time;

/// A complete response with the context to store it.
pub(in crate::proxy::fetch) struct ResponseToStore<'a> {
    pub(in crate::proxy::fetch) store: &'a Store,
    /// The location at which it was looked up.
    pub(in crate::proxy::fetch) looked_up: &'a CacheLocation,
    pub(in crate::proxy::fetch) request: &'a CacheRequest,
    pub(in crate::proxy::fetch) permit: &'a StorePermit,
    pub(in crate::proxy::fetch) shared: &'a SharedResponse,
}

impl ResponseToStore<'_> {
    /// Returns the location at which a response will be stored, now that its `Vary` is known.
    pub(in crate::proxy::fetch) fn location(
        looked_up: &CacheLocation,
        head: &HeaderMap,
        facts: &StoredFacts,
        request: &CacheRequest,
    ) -> CacheLocation {
        let known = looked_up.variants.as_ref();
        let Some(fields) = Self::selecting(known, request.rules().vary(head)) else {
            return CacheLocation::whole(looked_up.whole, looked_up.generation);
        };
        let known = known.filter(|known| known.fields == fields);
        let expires = facts.received.plus(facts.keep_for(facts.received));
        let variants = Variants {
            // A new list gets a new nonce, so that it never selects a variant of an older list.
            nonce: known.as_ref().map_or_else(|| fastrand::u64(..), |known| known.nonce),
            expires: known.map_or(expires, |known| known.expires.max(expires)),
            fields,
        };
        request.variant(looked_up.generation, variants)
    }

    /// Returns the fields that select among the responses of a resource once this one is stored;
    /// `None` if no field does.
    ///
    /// Origins often send `Vary` only when they used the field: `Vary: Origin` on the response to a
    /// request with `Origin`, and no `Vary` on any other. The known fields therefore continue to
    /// select (RFC 9111 §4.1): a response that names fewer fields is stored beside the others and
    /// replaces none.
    fn selecting(known: Option<&Variants>, vary: Vary) -> Option<VaryFields> {
        let own = if let Vary::Fields(own) = vary.clone() { Some(own) } else { None };
        let Some(known) = known else { return own };
        match vary.and(Vary::Fields(known.fields.clone())) {
            Vary::Fields(both) => Some(both),
            // The combined list has too many fields.
            Vary::None | Vary::Star | Vary::TooMany => own,
        }
    }

    /// Stores the response for as long as it can be of use.
    pub(in crate::proxy::fetch) async fn put(self, body: Bytes) -> Result<(), NotStorable> {
        let SharedResponse { facts, status, head, location, .. } = self.shared;
        let _span = self.request.inbound.record.trace().span(SpanName::Store);
        let keep_for = facts.keep_for(time::now());
        if keep_for.is_zero() {
            return Err(NotStorable::Expired);
        }
        let tags = cache_tags(head, &self.request.inbound)?;
        let entry = StoredValue::Response(Entry { facts: *facts, status: *status, head: head.clone(), body });
        let Some(variants) = &location.variants else {
            return self
                .store
                .put(&location.key, &entry, &tags, keep_for, self.permit)
                .await
                .map_err(not_stored);
        };
        let variants = self.listed(variants).await?;
        let generation = self.permit.key_generation();
        let location = self.request.variant(generation, variants.clone());
        let list_kept_for = variants.expires.since(time::now());
        let nonce = variants.nonce;
        let list = StoredValue::Variants(variants);
        // The variant is written before its list, so that a lookup that finds the list finds the
        // variant. Until then, requests join this fetch.
        let kept = async {
            tokio::try_join!(
                self.store.put(&location.key, &entry, &tags, keep_for, self.permit),
                self.store.put(&self.looked_up.whole, &list, &[], list_kept_for, self.permit),
            )
        };
        let shown = self.store.list_variant(&self.looked_up.whole, nonce, &location.key, keep_for);
        let (kept, ()) = tokio::join!(kept, shown);
        kept.map(drop).map_err(not_stored)
    }

    /// Returns the list that the variant is added to. If the known list was removed during the
    /// fetch, all its variants were removed too, and writing it again would bring them back.
    async fn listed(&self, variants: &Variants) -> Result<Variants, NotStorable> {
        let target = &self.request.inbound.target;
        let lookup = self.store.find(&self.looked_up.whole, target, self.request.memory()).await;
        if lookup.found.is_some() && lookup.key_generation != self.permit.key_generation() {
            return Err(NotStorable::Changed);
        }
        let current = match lookup.found.map(|found| found.stored) {
            Some(StoredValue::Variants(current)) if current.fields == variants.fields => Some(current),
            // Another request has found more selecting fields. Its list stays, and the next lookup
            // uses it.
            Some(StoredValue::Variants(current)) if current.fields.cover(&variants.fields) => {
                return Err(NotStorable::Changed);
            }
            Some(StoredValue::Variants(_) | StoredValue::Response(_)) | None => None,
        };
        Ok(match current {
            Some(current) => Variants { expires: current.expires.max(variants.expires), ..current },
            None if self.looked_up.variants.is_some() => {
                Variants { nonce: fastrand::u64(..), ..variants.clone() }
            }
            None => variants.clone(),
        })
    }
}

/// Returns the reason of the store as a reason of the policy.
pub(in crate::proxy::fetch) fn not_stored(refusal: PutRefusal) -> NotStorable {
    match refusal {
        PutRefusal::Superseded => NotStorable::Changed,
        PutRefusal::Held => NotStorable::Held,
    }
}
