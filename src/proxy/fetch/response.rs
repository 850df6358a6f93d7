//! The outcome of a fetch, for its followers and for the client that started it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use crate::origin;
use crate::policy::{self, NotStorable, Obligations, StoredFacts};
use crate::proxy::admission::doorkeeper::Admission;
use crate::proxy::answer::body::{AnswerBody, SharedReader};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::{ProxyAnswer, set_age};
use crate::proxy::answer::shared_body::SharedBody;
use crate::proxy::lookup::location::CacheLocation;
use crate::telemetry::trace::SpanLink;

/// A response that a shared cache may store, while its body arrives.
pub(in crate::proxy) struct SharedResponse {
    /// The facts against which each follower's request is checked.
    pub(in crate::proxy) facts: StoredFacts,
    /// The location at which it will be stored.
    pub(in crate::proxy) location: CacheLocation,
    pub(in crate::proxy::fetch) status: StatusCode,
    /// The fields that may be stored: a follower sees the same fields as a later hit.
    pub(in crate::proxy::fetch) head: HeaderMap,
    pub(in crate::proxy::fetch) body: Arc<SharedBody>,
    /// The span of the fetch, for links from its followers.
    pub(in crate::proxy::fetch) span: Option<SpanLink>,
}

impl SharedResponse {
    /// Returns an answer of this age that reads the body from its beginning; `None` if the
    /// beginning has been dropped.
    pub(in crate::proxy) fn answer(&self, age: Duration) -> Option<ProxyAnswer> {
        let body = AnswerBody::Shared(SharedReader(self.body.reader()?));
        let mut head = self.head.clone();
        if self.facts.obligations.contains(Obligations::ADDRESSED) {
            policy::strip_addressed(&mut head);
        }
        set_age(&mut head, age);
        Some(ProxyAnswer::new(Outcome::Collapsed, self.status, head, body))
    }
}

/// The outcome of a fetch for the client that started it.
pub(in crate::proxy) enum FetchOutcome {
    /// A storable response, read from the shared body, and its admission to the store.
    Shared(Box<ProxyAnswer>, Admission),
    /// The stored response, which the origin has validated, and the reason if it is not stored
    /// afterwards.
    Validated(Box<ProxyAnswer>, Result<(), NotStorable>),
    /// A response for this client alone, and the reason.
    Direct(Response<origin::OriginBody>, NotStorable),
    /// No response: another node has fetched and stored it.
    Stored,
    /// No response: the fetch failed.
    Failed(Failure),
}
