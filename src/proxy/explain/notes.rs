//! The notes of a request: the decisions that led to its answer.
//!
//! A request that carries the operator's token has [`ExplainNotes`]. Each part of the code that
//! decides something for the request notes the value that it acts on, so an explanation cannot
//! differ from the behaviour. The notes become a field of the answer. All other requests have no
//! notes, which costs one branch at each note.
//!
//! **Always:** an explanation shows decisions and the requester's own input. It shows facts but no
//! field of a stored response; of the request's fields it shows names, and for most of them a
//! digest of the value.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::hop::EXPLAIN;
use crate::json::JsonObject;
use crate::key::{CacheKey, Target};
use crate::limits::{EXPLAINED_RULES_MAX, EXPLAINED_UNLISTED_MAX};
use crate::policy::{CacheRules, NotStorable, Ruling, StoredFacts};
use crate::proxy::answer::cache_status::{self, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::explain::shown::ShownSelection;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::options::Options;
use crate::proxy::rules::{PassReason, RuledRequest};
use crate::request_fields::FieldClass;
use crate::store::{Namespace, Tier};
use crate::time::Timestamp;

/// RFC 9111 §5.2.2.7: a shared cache in front of this proxy does not store the field. A cache that
/// does not support field names here stores nothing of the answer.
const PRIVATE_FIELD: HeaderValue = HeaderValue::from_static("private=\"cachewarp-explain\"");

/// The notes of one request, or none.
#[derive(Clone, Default)]
pub(in crate::proxy) struct ExplainNotes(pub(in crate::proxy::explain) Option<Rc<RefCell<Explanation>>>);

impl ExplainNotes {
    /// Creates empty notes for a request that carries the token, and none for any other.
    pub(in crate::proxy) fn of(options: &Options, headers: &HeaderMap) -> Self {
        let Some(token) = &options.explain_token else { return Self::default() };
        let is_authorized = headers.get(EXPLAIN).is_some_and(|value| token.is(value.as_bytes()));
        Self(is_authorized.then(Rc::default))
    }

    /// Creates empty notes, for an operator.
    pub(in crate::proxy) fn taken() -> Self {
        Self(Some(Rc::default()))
    }

    /// Adds the notes to a document.
    pub(in crate::proxy) fn write(&self, object: &mut JsonObject<'_>) {
        if let Some(explanation) = &self.0 {
            explanation.borrow().write_facts(object);
        }
    }

    /// Adds a note, if the request has notes.
    pub(in crate::proxy) fn note(&self, note: impl FnOnce(&mut Explanation)) {
        if let Some(explanation) = &self.0 {
            note(&mut explanation.borrow_mut());
        }
    }

    /// Adds the notes to the head of the answer.
    pub(in crate::proxy) fn attach(&self, answer: &mut ProxyAnswer) {
        let Some(explanation) = &self.0 else { return };
        let explanation = explanation.borrow();
        let outcome = answer.outcome;
        let head = answer.response.headers_mut();
        if let Some(location) = &explanation.location {
            cache_status::add_key(head, &location.key);
        }
        if let Some(field) = explanation.field(outcome) {
            head.insert(EXPLAIN, field);
            head.append(CACHE_CONTROL, PRIVATE_FIELD);
        }
    }
}

crate::labels! {
    /// The role of a request in the fetch that answered it.
    pub(in crate::proxy) enum ExplainedRole {
        /// The request fetched for itself and for its followers.
        Leader => "leader",
        /// The request waited for another request's fetch.
        Follower => "follower",
        /// The request fetched for itself.
        Alone => "alone",
    }
}

crate::labels! {
    /// The question that a rule decides.
    pub(in crate::proxy) enum RuleQuestion {
        /// Whether a stored response answers the request.
        Reuse => "reuse",
        /// Whether the request may wait for another request's fetch.
        Collapse => "collapse",
        /// Whether another request's response answers the request.
        Share => "share",
        /// Whether a `304` applies to the stored response.
        Validate => "validate",
        /// Whether the stored response is updated.
        Freshen => "freshen",
        /// Whether a response may be stored.
        Store => "store",
        /// Whether the client's conditions allow the answer.
        Condition => "condition",
        /// Whether the client gets a range of the whole.
        Range => "range",
        /// Whether the stored response may be served stale because the origin failed.
        StaleOnError => "stand-in",
    }
}

crate::labels! {
    /// The state of a background refresh.
    pub(in crate::proxy) enum BackgroundRefresh {
        /// This request started it.
        Begun => "begun",
        /// Another request started it.
        UnderWay => "under-way",
        /// The last refresh failed recently.
        Paused => "paused",
    }
}

/// The notes of a request.
#[derive(Default)]
pub(in crate::proxy) struct Explanation {
    pub(in crate::proxy::explain) route: &'static str,
    /// The route that the request matches.
    pub(in crate::proxy::explain) matched: Option<Arc<str>>,
    /// The reason for which the request passes the cache.
    pub(in crate::proxy::explain) passes: Option<PassReason>,
    /// The target, with its key and the namespace of the key.
    pub(in crate::proxy::explain) target: Option<(Target, CacheKey, Namespace)>,
    /// The request's fields that the settings do not list, at most [`EXPLAINED_UNLISTED_MAX`].
    pub(in crate::proxy::explain) unlisted: Vec<HeaderName>,
    pub(in crate::proxy::explain) location: Option<ExplainedLocation>,
    pub(in crate::proxy::explain) found: Option<ExplainedLookup>,
    pub(in crate::proxy::explain) stored: Option<DatedFacts>,
    pub(in crate::proxy::explain) fetched: Option<DatedFacts>,
    pub(in crate::proxy::explain) fetch: Option<(ExplainedRole, ForwardReason)>,
    pub(in crate::proxy::explain) refresh: Option<BackgroundRefresh>,
    pub(in crate::proxy::explain) failure: Option<Failure>,
    /// The decisions in order, at most [`EXPLAINED_RULES_MAX`].
    pub(in crate::proxy::explain) rules: Vec<(RuleQuestion, Ruling)>,
}

/// A location, in the form in which it is shown.
pub(in crate::proxy::explain) struct ExplainedLocation {
    pub(in crate::proxy::explain) key: CacheKey,
    /// The fields that select the variant; `None` if no variants are known.
    pub(in crate::proxy::explain) selecting: Option<ShownSelection>,
}

/// The result of a lookup.
#[derive(Clone, Copy)]
pub(in crate::proxy::explain) enum ExplainedLookup {
    Nothing,
    In(Tier),
}

/// The facts of a response, and the time at which they were read.
pub(in crate::proxy::explain) struct DatedFacts {
    pub(in crate::proxy::explain) facts: StoredFacts,
    pub(in crate::proxy::explain) now: Timestamp,
}

impl Explanation {
    /// Notes the route of the request.
    pub(in crate::proxy) fn route(&mut self, word: &'static str) {
        self.route = word;
    }

    /// Notes the route whose rules the request has.
    pub(in crate::proxy) fn ruled(&mut self, ruled: &RuledRequest) {
        self.matched = ruled.rules.route.clone();
        self.passes = ruled.passes;
    }

    /// Notes the target of the request, and its key.
    pub(in crate::proxy) fn target(&mut self, target: &Target, key: CacheKey, namespace: &Namespace) {
        self.target = Some((target.clone(), key, namespace.clone()));
    }

    /// Notes the fields that exclude the request from responses without explicit freshness.
    pub(in crate::proxy) fn unlisted(&mut self, request: &HeaderMap, rules: &CacheRules) {
        let unlisted = request.keys().filter(|name| rules.field_class(name) == FieldClass::Unlisted);
        self.unlisted = unlisted.take(EXPLAINED_UNLISTED_MAX).cloned().collect();
    }

    /// Notes the location at which the answer is or would be stored.
    pub(in crate::proxy) fn location(
        &mut self,
        location: &CacheLocation,
        request: &HeaderMap,
        rules: &CacheRules,
    ) {
        let selecting =
            location.variants.as_ref().map(|list| ShownSelection::of(&list.fields, request, rules));
        self.location = Some(ExplainedLocation { key: location.key, selecting });
    }

    /// Notes that the lookup found nothing.
    pub(in crate::proxy) fn found_nothing(&mut self) {
        self.found = Some(ExplainedLookup::Nothing);
    }

    /// Notes the entry that the lookup found.
    pub(in crate::proxy) fn found(&mut self, tier: Tier, facts: &StoredFacts, now: Timestamp) {
        self.found = Some(ExplainedLookup::In(tier));
        self.stored = Some(DatedFacts { facts: *facts, now });
    }

    /// Notes the facts of a response from the origin.
    pub(in crate::proxy) fn fetched(&mut self, facts: &StoredFacts, now: Timestamp) {
        self.fetched = Some(DatedFacts { facts: *facts, now });
    }

    /// Notes whether the response may be stored, and its facts if it may.
    pub(in crate::proxy) fn storable(&mut self, storable: &Result<StoredFacts, NotStorable>) {
        self.rule(RuleQuestion::Store, storable);
        if let Ok(facts) = storable {
            self.fetched(facts, facts.received);
        }
    }

    /// Notes the decision of a rule.
    pub(in crate::proxy) fn rule(&mut self, question: RuleQuestion, ruling: impl Into<Ruling>) {
        if self.rules.len() < EXPLAINED_RULES_MAX {
            self.rules.push((question, ruling.into()));
        }
    }

    /// Notes that the request goes to the origin, the reason, and its role.
    pub(in crate::proxy) fn goes_forward(&mut self, role: ExplainedRole, forward: ForwardReason) {
        self.fetch = Some((role, forward));
    }

    /// Notes a background refresh of the answer.
    pub(in crate::proxy) fn refresh(&mut self, refresh: BackgroundRefresh) {
        self.refresh = Some(refresh);
    }

    /// Notes that the origin gave no response.
    pub(in crate::proxy) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }
}
