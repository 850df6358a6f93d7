//! What a fetch gives: to whoever waits for the same, and to the client that set it off.

use std::sync::Arc;
use std::time::Duration;

use http::header::AGE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::origin;
use crate::policy::{self, NotStorable, Obligations, StoredFacts};
use crate::proxy::admission::doorkeeper::Admission;
use crate::proxy::answer::body::{AnswerBody, SharedReader};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::answer::shared_body::SharedBody;
use crate::proxy::lookup::location::CacheLocation;

/// A response that a shared cache may store, while its body arrives.
pub(in crate::proxy) struct SharedResponse {
    /// What the policy said of it: each follower's request is held against this.
    pub(in crate::proxy) facts: StoredFacts,
    /// Where it will stand.
    pub(in crate::proxy) place: CacheLocation,
    pub(in crate::proxy::fetch) status: StatusCode,
    /// The fields that may be stored: a follower sees what a later hit would show.
    pub(in crate::proxy::fetch) head: HeaderMap,
    pub(in crate::proxy::fetch) body: Arc<SharedBody>,
}

impl SharedResponse {
    /// An answer of this age that reads the body from its beginning; `None` if that is gone.
    pub(in crate::proxy) fn answer(&self, age: Duration) -> Option<ProxyAnswer> {
        let body = AnswerBody::Shared(SharedReader(self.body.reader()?));
        let mut head = self.head.clone();
        if self.facts.obligations.contains(Obligations::ADDRESSED) {
            policy::strip_addressed(&mut head);
        }
        head.insert(AGE, HeaderValue::from(age.as_secs()));
        Some(ProxyAnswer::new(Outcome::Collapsed, self.status, head, body))
    }
}

/// What the client that set off a fetch gets from it.
pub(in crate::proxy) enum FetchOutcome {
    /// An answer that may be stored, read from the shared body; and whether it is.
    Shared(Box<ProxyAnswer>, Admission),
    /// What was stored, since the origin said that it is still right.
    Validated(Box<ProxyAnswer>, KeptOutcome),
    /// An answer for this client alone, and why.
    Direct(Response<origin::OriginBody>, NotStorable),
    /// None: another node has fetched meanwhile, and it is stored.
    Stored,
    /// None.
    Failed(Failure),
}

/// Whether what was validated is stored after it.
pub(in crate::proxy) type KeptOutcome = Result<(), NotStorable>;
