//! A request, as it came and as the cache sees it.

use http::header::{self, HeaderName};
use http::{HeaderMap, Method};

use crate::entry::Variants;
use crate::key::{CacheKey, Target};
use crate::origin::{FetchPurpose, OutboundRequest};
use crate::policy::{self, CacheRules, Initiator, RequestFacts, Reuse, StoredFacts};
use crate::proxy::explain::{ExplainNotes, Explanation, RuleQuestion};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::{Caller, Proxy};
use crate::time::Timestamp;

/// Fields that ask for less than the whole, or for nothing at all if nothing is new (RFC 9110
/// §13.1, §14.2).
static PARTIAL_OR_CONDITIONAL: [HeaderName; 5] = [
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// A request as it came.
pub(in crate::proxy) struct InboundRequest {
    pub(in crate::proxy) method: Method,
    /// What it addresses: what the key is made of, and what the origin is told.
    pub(in crate::proxy) target: Target,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) caller: Caller,
    /// Of what is decided for it, where its client may know that.
    pub(in crate::proxy) notes: ExplainNotes,
}

impl InboundRequest {
    /// The question that its head for the origin is made from.
    pub(in crate::proxy) fn asked<'a>(
        &'a self,
        purpose: &'a FetchPurpose,
        rules: &'a CacheRules,
    ) -> OutboundRequest<'a> {
        let Self { method, target, headers, caller, .. } = self;
        OutboundRequest { method, target, headers, fields: &rules.fields, peer: caller.peer, purpose }
    }

    /// Whether the response to this request, sent as it came, may store, freshen or remove what
    /// others are answered with: only where a shared fetch would have sent the same fields. Shared
    /// fetches need no such question.
    pub(in crate::proxy) fn may_change_the_store(&self, proxy: &Proxy) -> bool {
        let Proxy { rules, origin, .. } = proxy;
        // A shared fetch is without these cookies.
        let as_get = RequestFacts::read(&Method::GET, &self.headers, rules);
        let has_ordinary_cookies = self.headers.contains_key(header::COOKIE) && !as_get.shows_cookies();
        !has_ordinary_cookies && origin.outbound().sends_as_shared(&self.asked(&FetchPurpose::Pass, rules))
    }
}

/// What a fetch is shared under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct FetchKey {
    /// The resource or the variant.
    pub(in crate::proxy) key: CacheKey,
    /// Whether those who share it sent a credential, or an unlisted field.
    pub(in crate::proxy) asker: RequesterClass,
}

crate::labels! {
    /// Who asks.
    pub(in crate::proxy) enum RequesterClass {
        /// Somebody without a credential.
        Anonymous => "anonymous",
        /// Somebody with one.
        Credentialed => "credentialed",
        /// Somebody without one, with a field that nothing is known of.
        Unlisted => "unlisted",
    }
}

/// A `GET` or `HEAD` on its way through the cache.
pub(in crate::proxy) struct CacheRequest {
    pub(in crate::proxy) inbound: InboundRequest,
    /// The key of the resource that it addresses.
    pub(in crate::proxy) key: CacheKey,
    /// What the policy needs to know of it.
    pub(in crate::proxy) facts: RequestFacts,
    /// The party on whose behalf the origin is asked.
    pub(in crate::proxy) initiator: Initiator,
    plain: bool,
}

impl CacheRequest {
    pub(in crate::proxy) fn new(mut inbound: InboundRequest, rules: &CacheRules) -> Self {
        let key = CacheKey::of(&inbound.target);
        let facts = RequestFacts::read(&inbound.method, &inbound.headers, rules);
        if !rules.ordinary_cookies.is_none() && !facts.shows_cookies() {
            // Its answer may be shared with those who have no such cookie, or another.
            inbound.headers.remove(header::COOKIE);
        }
        inbound.notes.note(|explanation| explanation.unlisted(&inbound.headers, rules));
        let plain = !inbound.headers.keys().any(|name| PARTIAL_OR_CONDITIONAL.contains(name));
        Self { inbound, key, facts, initiator: Initiator::Client, plain }
    }

    /// What a fetch on nobody's behalf asks: the whole of the same representation. Of the request
    /// that set it off it has the target and the fields that select the variant, and nothing else:
    /// no credential, no condition.
    pub(in crate::proxy) fn on_nobodys_behalf(
        &self,
        variants: Option<&Variants>,
        rules: &CacheRules,
    ) -> Self {
        let of = &self.inbound;
        let headers = variants.map(|variants| variants.fields.lines(&of.headers)).unwrap_or_default();
        let (method, target, caller) = (Method::GET, of.target.clone(), of.caller);
        let inbound = InboundRequest { method, target, headers, caller, notes: ExplainNotes::default() };
        Self { initiator: Initiator::Refresh, ..Self::new(inbound, rules) }
    }

    /// [`policy::reuse`] of what is stored, for this request.
    pub(in crate::proxy) fn reuse(&self, stored: &StoredFacts, now: Timestamp) -> Reuse {
        let reuse = policy::reuse(stored, &self.facts, now);
        self.note(|explanation| explanation.rule(RuleQuestion::Reuse, &reuse));
        reuse
    }

    /// [`policy::reuse`] of what another request has fetched, for this one.
    pub(in crate::proxy) fn share(&self, fetched: &StoredFacts, now: Timestamp) -> Reuse {
        let reuse = policy::reuse(fetched, &self.facts, now);
        self.note(|explanation| {
            explanation.fetched(fetched, now);
            explanation.rule(RuleQuestion::Share, &reuse);
        });
        reuse
    }

    /// Notes down what was decided for it, if its client may know.
    pub(in crate::proxy) fn note(&self, note: impl FnOnce(&mut Explanation)) {
        self.inbound.notes.note(note);
    }

    /// Notes down where its answer stands, or would stand.
    pub(in crate::proxy) fn note_place(&self, place: &CacheLocation, rules: &CacheRules) {
        self.note(|explanation| explanation.place(place, &self.inbound.headers, rules));
    }

    /// Whether it asks for the whole, whatever the client has.
    pub(in crate::proxy) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether it asks for nothing, or for a failure, where the client has what there is.
    pub(in crate::proxy) fn is_conditional(&self) -> bool {
        let [_, conditions @ ..] = &PARTIAL_OR_CONDITIONAL;
        !self.plain && conditions.iter().any(|name| self.inbound.headers.contains_key(name))
    }

    /// Whether it asks for a part.
    pub(in crate::proxy) fn is_partial(&self) -> bool {
        !self.plain && self.inbound.headers.contains_key(header::RANGE)
    }

    /// Under which a fetch for it is shared, or known not to be, whose answer would stand under
    /// `key`.
    pub(in crate::proxy) fn fill_key(&self, key: CacheKey) -> FetchKey {
        let asker = if self.facts.credential().is_some() {
            RequesterClass::Credentialed
        } else if self.facts.has_unlisted() {
            RequesterClass::Unlisted
        } else {
            RequesterClass::Anonymous
        };
        FetchKey { key, asker }
    }
}
