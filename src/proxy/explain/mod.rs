//! Why an answer is what it is, for whoever may know it.
//!
//! A request that carries the operator's token has [`ExplainNotes`], and whoever decides something
//! for it notes that down: the same value that it acts on, so an explanation cannot say what was
//! not done. When there is an answer, the notes become a field of it. All other requests have none,
//! which costs a branch where something would be noted, and nothing else.
//!
//! **Always:** an explanation tells of decisions and of what its own asker sent. Of a stored
//! response it shows facts and no field; of the request's fields, names, and for most of them a
//! digest of the value.

mod field;
mod shown;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::options::Options;
use crate::hop::EXPLAIN;
use crate::json::JsonObject;
use crate::key::{CacheKey, Target};
use crate::limits::{EXPLAINED_RULES_MAX, EXPLAINED_UNLISTED_MAX};
use crate::policy::{CacheRules, NotStorable, Ruling, StoredFacts};
use crate::proxy::answer::cache_status::{
    ForwardReason, {self},
};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::lookup::location::CacheLocation;
use crate::request_fields::FieldClass;
use crate::store::{Namespace, Tier};
use crate::time::Timestamp;
use shown::ShownSelection;

/// RFC 9111 §5.2.2.7: a shared cache in front of us does not store the field. One that knows no
/// field names here stores nothing of the answer.
const FOR_ITS_ASKER: HeaderValue = HeaderValue::from_static("private=\"cachewarp-explain\"");

/// The notes of one request, or none.
#[derive(Clone, Default)]
pub(super) struct ExplainNotes(Option<Rc<RefCell<Explanation>>>);

impl ExplainNotes {
    /// Empty ones for a request that carries the token; none for any other.
    pub(super) fn of(options: &Options, headers: &HeaderMap) -> Self {
        let Some(token) = &options.explain_token else { return Self::default() };
        let may_know = headers.get(EXPLAIN).is_some_and(|claim| token.is(claim.as_bytes()));
        Self(may_know.then(Rc::default))
    }

    /// Empty ones, for an operator.
    pub(super) fn taken() -> Self {
        Self(Some(Rc::default()))
    }

    /// Adds what was noted to a document.
    pub(super) fn write(&self, object: &mut JsonObject<'_>) {
        if let Some(explanation) = &self.0 {
            explanation.borrow().write_facts(object);
        }
    }

    /// Notes something down, if there are notes.
    pub(super) fn note(&self, note: impl FnOnce(&mut Explanation)) {
        if let Some(explanation) = &self.0 {
            note(&mut explanation.borrow_mut());
        }
    }

    /// Puts what was noted into the head of the answer.
    pub(super) fn attach(&self, answer: &mut ProxyAnswer) {
        let Some(explanation) = &self.0 else { return };
        let explanation = explanation.borrow();
        let outcome = answer.outcome;
        let head = answer.response.headers_mut();
        if let Some(place) = &explanation.place {
            cache_status::add_key(head, &place.key);
        }
        if let Some(field) = explanation.field(outcome) {
            head.insert(EXPLAIN, field);
            head.append(CACHE_CONTROL, FOR_ITS_ASKER);
        }
    }
}

crate::labels! {
    /// What a request was to the fetch that answered it.
    pub(super) enum ExplainedRole {
        /// It fetched for whoever asked meanwhile.
        Leader => "leader",
        /// It waited for another's fetch.
        Follower => "follower",
        /// It fetched for itself.
        Alone => "alone",
    }
}

crate::labels! {
    /// What a rule was asked.
    pub(super) enum RuleQuestion {
        /// Whether a stored response answers the request.
        Reuse => "reuse",
        /// Whether the request may wait for another's fetch.
        Collapse => "collapse",
        /// Whether what another fetched answers the request.
        Share => "share",
        /// Whether a `304` is about what is stored.
        Validate => "validate",
        /// Whether what is stored is brought up to date.
        Freshen => "freshen",
        /// Whether a response may be stored.
        Store => "store",
        /// Whether the client's conditions let it have the answer.
        Condition => "condition",
        /// Whether the client gets a part of the whole.
        Range => "range",
        /// Whether what is stored may stand in for an origin that failed.
        StandIn => "stand-in",
    }
}

crate::labels! {
    /// Whether a refresh goes on in the background.
    pub(super) enum BackgroundRefresh {
        /// This request has set it off.
        Begun => "begun",
        /// Another has.
        UnderWay => "under-way",
        /// The last one failed a moment ago.
        Paused => "paused",
    }
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Explanation {
    route: &'static str,
    /// With the namespace of its key.
    target: Option<(Target, Namespace)>,
    /// Of the request's own fields, those that nothing is known of: at most
    /// [`EXPLAINED_UNLISTED_MAX`].
    unlisted: Vec<HeaderName>,
    place: Option<ExplainedLocation>,
    found: Option<ExplainedLookup>,
    stored: Option<DatedFacts>,
    fetched: Option<DatedFacts>,
    fetch: Option<(ExplainedRole, ForwardReason)>,
    refresh: Option<BackgroundRefresh>,
    failure: Option<Failure>,
    /// In the order of asking, at most [`EXPLAINED_RULES_MAX`].
    rules: Vec<(RuleQuestion, Ruling)>,
}

/// A place, as far as it can be shown.
struct ExplainedLocation {
    key: CacheKey,
    /// What selects the variant; `None` where no variants are known.
    selecting: Option<ShownSelection>,
}

/// What a look-up gave.
#[derive(Clone, Copy)]
enum ExplainedLookup {
    Nothing,
    In(Tier),
}

/// The facts of a response, and when they were looked at.
struct DatedFacts {
    facts: StoredFacts,
    now: Timestamp,
}

impl Explanation {
    /// Which way the request goes.
    pub(super) fn route(&mut self, word: &'static str) {
        self.route = word;
    }

    /// What it addresses.
    pub(super) fn target(&mut self, target: &Target, namespace: &Namespace) {
        self.target = Some((target.clone(), namespace.clone()));
    }

    /// Which of its fields keep it from responses whose freshness the origin did not state.
    pub(super) fn unlisted(&mut self, request: &HeaderMap, rules: &CacheRules) {
        let unlisted = request.keys().filter(|name| rules.field_class(name) == FieldClass::Unlisted);
        self.unlisted = unlisted.take(EXPLAINED_UNLISTED_MAX).cloned().collect();
    }

    /// Where its answer stands, or would stand.
    pub(super) fn place(&mut self, place: &CacheLocation, request: &HeaderMap, rules: &CacheRules) {
        let selecting = place.variants.as_ref().map(|list| ShownSelection::of(&list.fields, request, rules));
        self.place = Some(ExplainedLocation { key: place.key, selecting });
    }

    /// That nothing was found there.
    pub(super) fn found_nothing(&mut self) {
        self.found = Some(ExplainedLookup::Nothing);
    }

    /// What was found there.
    pub(super) fn found(&mut self, tier: Tier, facts: &StoredFacts, now: Timestamp) {
        self.found = Some(ExplainedLookup::In(tier));
        self.stored = Some(DatedFacts { facts: *facts, now });
    }

    /// What a response says that came from the origin.
    pub(super) fn fetched(&mut self, facts: &StoredFacts, now: Timestamp) {
        self.fetched = Some(DatedFacts { facts: *facts, now });
    }

    /// Whether the response to it may be stored, with the facts if so.
    pub(super) fn storable(&mut self, said: &Result<StoredFacts, NotStorable>) {
        self.rule(RuleQuestion::Store, said);
        if let Ok(facts) = said {
            self.fetched(facts, facts.received);
        }
    }

    /// What a rule said.
    pub(super) fn rule(&mut self, question: RuleQuestion, ruling: impl Into<Ruling>) {
        if self.rules.len() < EXPLAINED_RULES_MAX {
            self.rules.push((question, ruling.into()));
        }
    }

    /// That it goes to the origin, why, and as what.
    pub(super) fn goes_forward(&mut self, role: ExplainedRole, forward: ForwardReason) {
        self.fetch = Some((role, forward));
    }

    /// That what it gets is refreshed.
    pub(super) fn refresh(&mut self, refresh: BackgroundRefresh) {
        self.refresh = Some(refresh);
    }

    /// That there is no answer of the origin.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }
}
pub(super) mod inspect;
