//! Storage of a response: under its resource's key, or as a variant together with the variant list.

use bytes::Bytes;
use http::HeaderMap;

use crate::entry::{Entry, StoredValue, Variants};
use crate::policy::{CacheRules, NotStorable, StoredFacts, Vary, VaryFields};
use crate::proxy::fetch::names::names;
use crate::proxy::fetch::response::SharedResponse;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::store::{Store, StorePermit, Superseded};
use crate::time;

/// A complete response with the context to store it.
pub(in crate::proxy::fetch) struct ResponseToStore<'a> {
    pub(in crate::proxy::fetch) store: &'a Store,
    pub(in crate::proxy::fetch) rules: &'a CacheRules,
    /// The location at which it was looked up.
    pub(in crate::proxy::fetch) asked: &'a CacheLocation,
    pub(in crate::proxy::fetch) ask: &'a CacheRequest,
    pub(in crate::proxy::fetch) claim: &'a StorePermit,
    pub(in crate::proxy::fetch) shared: &'a SharedResponse,
}

impl ResponseToStore<'_> {
    /// Returns the location at which a response will be stored, now that its `Vary` is known.
    pub(in crate::proxy::fetch) fn place(
        asked: &CacheLocation,
        head: &HeaderMap,
        facts: &StoredFacts,
        ask: &CacheRequest,
        rules: &CacheRules,
    ) -> CacheLocation {
        let known = asked.variants.as_ref();
        let Some(fields) = Self::selecting(known, rules.vary(head)) else {
            return CacheLocation::whole(asked.whole, asked.lineage);
        };
        let known = known.filter(|known| known.fields == fields);
        let expires = facts.received.plus(facts.keep_for(facts.received));
        let variants = Variants {
            // A new list gets a new nonce, so that it never selects a variant of an older list.
            nonce: known.as_ref().map_or_else(|| fastrand::u64(..), |known| known.nonce),
            expires: known.map_or(expires, |known| known.expires.max(expires)),
            fields,
        };
        CacheLocation::variant(asked.whole, asked.lineage, variants, &ask.inbound.headers)
    }

    /// Returns the fields that select among the responses of a resource once this one is stored;
    /// `None` if no field does.
    ///
    /// Origins often send `Vary` only when they used the field: `Vary: Origin` on the response to a
    /// request with `Origin`, and no `Vary` on any other. The known fields therefore continue to
    /// select (RFC 9111 §4.1): a response that names fewer fields is stored beside the others and
    /// replaces none.
    fn selecting(known: Option<&Variants>, said: Vary) -> Option<VaryFields> {
        let own = if let Vary::Fields(own) = said.clone() { Some(own) } else { None };
        let Some(known) = known else { return own };
        match said.and(Vary::Fields(known.fields.clone())) {
            Vary::Fields(both) => Some(both),
            // The combined list has too many fields.
            Vary::None | Vary::Star | Vary::TooMany => own,
        }
    }

    /// Stores the response for as long as it can be of use.
    pub(in crate::proxy::fetch) async fn put(self, body: Bytes) -> Result<(), NotStorable> {
        let SharedResponse { facts, status, head, place, .. } = self.shared;
        let keep_for = facts.keep_for(time::now());
        if keep_for.is_zero() {
            return Err(NotStorable::Expired);
        }
        let tags = names(head, &self.ask.inbound.target, self.rules);
        let entry = StoredValue::Response(Entry { facts: *facts, status: *status, head: head.clone(), body });
        let Some(variants) = &place.variants else {
            return self.store.put(&place.key, &entry, &tags, keep_for, self.claim).await.map_err(changed);
        };
        let variants = self.listed(variants).await?;
        let lineage = self.claim.lineage();
        let place =
            CacheLocation::variant(self.asked.whole, lineage, variants.clone(), &self.ask.inbound.headers);
        let list_kept_for = variants.expires.since(time::now());
        let nonce = variants.nonce;
        let list = StoredValue::Variants(variants);
        // The variant list makes a variant reachable, so both are written together; until then,
        // requests join this fetch.
        let kept = async {
            tokio::try_join!(
                self.store.put(&place.key, &entry, &tags, keep_for, self.claim),
                self.store.put(&self.asked.whole, &list, &[], list_kept_for, self.claim),
            )
        };
        let shown = self.store.list_variant(&self.asked.whole, nonce, &place.key, keep_for);
        let (kept, ()) = tokio::join!(kept, shown);
        kept.map(drop).map_err(changed)
    }

    /// Returns the list that the variant is added to. If the known list was removed during the
    /// fetch, all its variants were removed too, and writing it again would bring them back.
    async fn listed(&self, variants: &Variants) -> Result<Variants, NotStorable> {
        let look = self.store.find(&self.asked.whole, &self.ask.inbound.target).await;
        if look.found.is_some() && look.lineage != self.claim.lineage() {
            return Err(NotStorable::Changed);
        }
        let current = match look.found.map(|found| found.stored) {
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
            None if self.asked.variants.is_some() => {
                Variants { nonce: fastrand::u64(..), ..variants.clone() }
            }
            None => variants.clone(),
        })
    }
}

fn changed(Superseded: Superseded) -> NotStorable {
    NotStorable::Changed
}
