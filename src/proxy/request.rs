//! A request as it arrived, and as the cache handles it.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header;
use http::{HeaderMap, Method, Version};

use crate::client_address::ClientNetwork;
use crate::entry::{KeyGeneration, Variants};
use crate::interim::InterimSink;
use crate::key::{CacheKey, Scheme, Target};
use crate::origin::{FetchPurpose, OutboundHeads, OutboundRequest, RequestBody};
use crate::policy::{self, CacheRules, Initiator, RequestFacts, Reuse, RulesDigest, StoredFacts};
use crate::proxy::explain::notes::{ExplainNotes, Explanation, RuleQuestion};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::query_content::QueryContent;
use crate::proxy::rules::{RequestRules, RuleSet};
use crate::request_fields::{PARTIAL_FIELDS, is_partial_field};
use crate::request_id::RequestId;
use crate::store::MemoryUse;
use crate::telemetry::access::RequestRecord;
use crate::time::Timestamp;
use crate::tls::ClientCertificate;

/// The client of a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address at the other end of the connection.
    pub peer: IpAddr,
    /// The scheme by which the client connected.
    pub scheme: Scheme,
    /// The client's certificate.
    pub certificate: ClientCertificate,
    /// The version of HTTP of the request.
    pub version: Version,
}

/// A request as it arrived.
pub(in crate::proxy) struct InboundRequest {
    pub(in crate::proxy) method: Method,
    /// The target, from which the key and the origin's request are made.
    pub(in crate::proxy) target: Target,
    pub(in crate::proxy) headers: HeaderMap,
    pub(in crate::proxy) caller: Caller,
    /// The notes for an explanation, if its client may see one.
    pub(in crate::proxy) notes: ExplainNotes,
    /// The rules of the request.
    pub(in crate::proxy) rules: Rc<RequestRules>,
    /// The rules of all requests, of the generation of this one.
    pub(in crate::proxy) rule_set: Rc<RuleSet>,
    /// The line of the access log, if the request has one.
    pub(in crate::proxy) record: RequestRecord,
    /// The content of a `QUERY` that goes through the cache.
    pub(in crate::proxy) content: Option<Rc<QueryContent>>,
    /// The sink of the interim responses to the request, once it may be sent to the origin. A
    /// background refresh has none.
    pub(in crate::proxy) interims: InterimSink,
    /// The id of the request, unless requests get none.
    id: Option<RequestId>,
    client: OnceCell<ClientNetwork>,
}

impl InboundRequest {
    pub(in crate::proxy) fn new(
        method: Method,
        target: Target,
        headers: HeaderMap,
        caller: Caller,
        notes: ExplainNotes,
        (rules, rule_set): (Rc<RequestRules>, Rc<RuleSet>),
    ) -> Self {
        let (record, client) = (RequestRecord::default(), OnceCell::new());
        let (content, id, interims) = (None, None, InterimSink::default());
        Self {
            method,
            target,
            headers,
            caller,
            notes,
            rules,
            rule_set,
            record,
            content,
            interims,
            id,
            client,
        }
    }

    /// Sets the line of the access log, and the id.
    pub(in crate::proxy) fn recorded(self, record: RequestRecord, id: Option<RequestId>) -> Self {
        Self { record, id, ..self }
    }

    /// Returns the client that trusted proxies vouch for, else the peer of the connection. The
    /// first call resolves it, and the request carries the result.
    pub(in crate::proxy) fn client(&self, origin: &OutboundHeads) -> ClientNetwork {
        let peer = self.caller.peer;
        *self.client.get_or_init(|| origin.client(&self.headers, peer).unwrap_or(peer).into())
    }

    /// Returns the facts that the policy reads from the request.
    pub(in crate::proxy) fn facts(&self, rules: &CacheRules) -> RequestFacts {
        let facts = RequestFacts::read(&self.method, &self.headers, rules);
        match self.caller.certificate {
            ClientCertificate::Verified => facts.with_client_certificate(rules),
            ClientCertificate::None => facts,
        }
    }

    /// Returns the content that the origin receives with the request of a cached exchange.
    pub(in crate::proxy) fn outbound_content(&self) -> RequestBody {
        self.content.as_ref().map_or(RequestBody::Empty, |content| content.to_body())
    }

    /// Returns the request from which the head for the origin is made.
    pub(in crate::proxy) fn to_outbound<'a>(&'a self, purpose: &'a FetchPurpose) -> OutboundRequest<'a> {
        self.outbound_by(&self.rules, purpose)
    }

    /// Returns the request from which the head for the origin is made by these rules.
    pub(in crate::proxy) fn outbound_by<'a>(
        &'a self,
        rules: &'a RequestRules,
        purpose: &'a FetchPurpose,
    ) -> OutboundRequest<'a> {
        let Self { method, target, headers, caller, id, .. } = self;
        let (fields, id) = (&rules.cache.fields, id.as_ref());
        let Caller { peer, version, .. } = *caller;
        OutboundRequest { method, target, headers, fields, peer, version, id, purpose }
    }
}

/// The key under which requests share a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct FetchKey {
    /// The key of the resource or of the variant.
    pub(in crate::proxy) key: CacheKey,
    /// The class of the requesters that share the fetch.
    pub(in crate::proxy) requester: RequesterClass,
    /// The rules that decide on its response.
    pub(in crate::proxy) rules: RulesDigest,
    /// The generation of all rules.
    pub(in crate::proxy) generation: u64,
}

/// The requests that a table's fetches answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum FetchScope {
    /// All that a stored response could answer.
    Any,
    /// Requests that forbid an older response: each is answered by a fetch that began after it
    /// arrived.
    Newer,
}

crate::labels! {
    /// The class of a requester.
    pub(in crate::proxy) enum RequesterClass {
        /// The request has no credential.
        Anonymous => "anonymous",
        /// The request has a credential.
        Credentialed => "credentialed",
        /// The request has no credential, but a field that the settings do not list.
        Unlisted => "unlisted",
    }
}

/// A `GET`, `HEAD` or `QUERY` that goes through the cache.
pub(in crate::proxy) struct CacheRequest {
    pub(in crate::proxy) inbound: InboundRequest,
    /// The key of the addressed resource.
    pub(in crate::proxy) key: CacheKey,
    /// The facts that the policy reads from the request.
    pub(in crate::proxy) facts: RequestFacts,
    /// The initiator of the fetch.
    pub(in crate::proxy) initiator: Initiator,
    plain: bool,
}

impl CacheRequest {
    pub(in crate::proxy) fn new(mut inbound: InboundRequest) -> Self {
        let rules = &inbound.rules.cache;
        inbound.target = rules.keys.asked(inbound.target);
        let key = rules.keys.resource(&inbound.target);
        let facts = inbound.facts(rules);
        if !rules.ignored_cookies.is_none() && !facts.shows_cookies() {
            // The answer may be shared with requests that have other cookies, or none.
            inbound.headers.remove(header::COOKIE);
        }
        inbound.notes.note(|explanation| explanation.unlisted(&inbound.headers, rules));
        let plain = !inbound.headers.keys().any(is_partial_field);
        Self { inbound, key, facts, initiator: Initiator::Client, plain }
    }

    /// Returns the request of a background refresh: one for the whole representation. It keeps
    /// the target and the fields that select the variant. It carries no credential and no
    /// condition.
    pub(in crate::proxy) fn for_refresh(&self, variants: Option<&Variants>) -> Self {
        let client = &self.inbound;
        let mut headers = variants.map(|variants| variants.fields.lines(&client.headers)).unwrap_or_default();
        if client.content.is_some() {
            QueryContent::describe(&client.headers, &mut headers);
        }
        let caller = Caller { certificate: ClientCertificate::None, ..client.caller };
        // A `HEAD` is refreshed by a `GET`, and a `QUERY` by itself.
        let method = if client.content.is_some() { client.method.clone() } else { Method::GET };
        let target = client.target.clone();
        let notes = ExplainNotes::default();
        let rules = (Rc::clone(&client.rules), Rc::clone(&client.rule_set));
        let mut inbound = InboundRequest::new(method, target, headers, caller, notes, rules);
        inbound.content.clone_from(&client.content);
        // The refresh has the id of the request that caused it.
        let inbound = inbound.recorded(RequestRecord::default(), client.id.clone());
        Self { initiator: Initiator::Refresh, ..Self::new(inbound) }
    }

    /// Applies [`policy::reuse`] to a stored response for this request.
    pub(in crate::proxy) fn reuse(&self, stored: &StoredFacts, now: Timestamp) -> Reuse {
        let reuse = policy::reuse(stored, &self.facts, now);
        self.note(|explanation| explanation.rule(RuleQuestion::Reuse, &reuse));
        reuse
    }

    /// Applies [`policy::reuse`] to a response that another request fetched. A response that is
    /// newer than this request meets the client's limits, as the response to its own fetch does.
    pub(in crate::proxy) fn share(&self, fetched: &StoredFacts, scope: FetchScope, now: Timestamp) -> Reuse {
        let reuse = match scope {
            FetchScope::Any => policy::reuse(fetched, &self.facts, now),
            FetchScope::Newer => policy::reuse(fetched, &self.facts.without_client_limits(), now),
        };
        self.note(|explanation| {
            explanation.fetched(fetched, now);
            explanation.rule(RuleQuestion::Share, &reuse);
        });
        reuse
    }

    /// Applies [`policy::reuse_on_arrival`] to a response for which this request waited. Returns
    /// the response's age if it may answer the request.
    pub(in crate::proxy) fn share_on_arrival(
        &self,
        fetched: &StoredFacts,
        scope: FetchScope,
        now: Timestamp,
    ) -> Option<Duration> {
        match scope {
            FetchScope::Any => policy::reuse_on_arrival(fetched, &self.facts, now),
            FetchScope::Newer => policy::reuse_on_arrival(fetched, &self.facts.without_client_limits(), now),
        }
        .ok()
    }

    /// Notes a decision for the explanation, if the client may see one.
    pub(in crate::proxy) fn note(&self, note: impl FnOnce(&mut Explanation)) {
        self.inbound.notes.note(note);
    }

    /// Notes the location of the answer for the explanation.
    pub(in crate::proxy) fn note_location(&self, location: &CacheLocation) {
        self.note(|explanation| explanation.location(location, &self.inbound.headers, self.rules()));
    }

    /// Returns the rules of the policy for this request.
    pub(in crate::proxy) fn rules(&self) -> &CacheRules {
        &self.inbound.rules.cache
    }

    /// Returns the use that lookups may make of memory.
    pub(in crate::proxy) fn memory(&self) -> MemoryUse {
        self.inbound.rules.memory
    }

    /// Returns the location of the variant that the request selects from a list.
    pub(in crate::proxy) fn variant(&self, generation: KeyGeneration, variants: Variants) -> CacheLocation {
        CacheLocation::variant(&self.rules().keys, self.key, generation, variants, &self.inbound.headers)
    }

    /// Returns whether the request has no range and no condition.
    pub(in crate::proxy) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Returns whether the request has a condition.
    pub(in crate::proxy) fn is_conditional(&self) -> bool {
        let [_, _, conditions @ ..] = &PARTIAL_FIELDS;
        !self.plain && conditions.iter().any(|name| self.inbound.headers.contains_key(name))
    }

    /// Returns whether the request asks for a range.
    pub(in crate::proxy) fn is_partial(&self) -> bool {
        !self.plain && self.inbound.headers.contains_key(header::RANGE)
    }

    /// Returns the key under which a fetch for this request is shared, or remembered as
    /// uncacheable, if its response is stored under `key`.
    pub(in crate::proxy) fn fetch_key(&self, key: CacheKey) -> FetchKey {
        let requester = if self.facts.credential().is_some() {
            RequesterClass::Credentialed
        } else if self.facts.has_unlisted() {
            RequesterClass::Unlisted
        } else {
            RequesterClass::Anonymous
        };
        // Until the list of variants is known, requests with different content share no fetch.
        let key = match &self.inbound.content {
            Some(content) if key == self.key => content.fetch_key(&key),
            Some(_) | None => key,
        };
        FetchKey { key, requester, rules: self.facts.rules(), generation: self.inbound.rules.generation }
    }
}
