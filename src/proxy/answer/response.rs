//! An answer to a client: the response, and the outcome by which it is counted.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::entry::Entry;
use crate::origin;
use crate::policy::{self, Obligations};
use crate::proxy::answer::body::AnswerBody;
use crate::proxy::answer::cache_status::{AnswerReasons, CacheStatus, TtlSeconds};
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::seconds::SecondsValues;
use crate::store::Tier;

/// The methods that the proxy forwards; an origin may know others.
pub(in crate::proxy) const ALLOWED_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, QUERY, POST, PUT, PATCH, DELETE, OPTIONS");

/// A stored response that may be served.
pub(in crate::proxy) struct CacheHit {
    pub(in crate::proxy) entry: Entry,
    pub(in crate::proxy) tier: Tier,
    pub(in crate::proxy) age: Duration,
    pub(in crate::proxy) ttl: TtlSeconds,
}

/// A response and its outcome.
pub(in crate::proxy) struct ProxyAnswer {
    pub(in crate::proxy) response: Response<AnswerBody>,
    pub(in crate::proxy) outcome: Outcome,
    pub(in crate::proxy) reasons: AnswerReasons,
}

impl ProxyAnswer {
    /// Creates an answer from a stored response.
    pub(in crate::proxy) fn from_store(method: &Method, hit: CacheHit) -> Self {
        let CacheHit { entry, tier, age, ttl } = hit;
        let outcome = match tier {
            Tier::Memory => Outcome::HitMemory,
            Tier::Redis => Outcome::HitRedis,
        };
        let mut head = entry.head;
        if entry.facts.obligations.contains(Obligations::ADDRESSED) {
            policy::strip_addressed(&mut head);
        }
        set_age(&mut head, age);
        let status = CacheStatus::Hit { ttl, tier };
        status.append_to(&mut head);
        let body = if method == Method::HEAD {
            head.insert(CONTENT_LENGTH, HeaderValue::from(entry.body.len()));
            Bytes::new()
        } else {
            entry.body
        };
        let answer = Self::new(outcome, entry.status, head, AnswerBody::Whole(body));
        let reasons = AnswerReasons { age: Some(age.as_secs()), ..status.reasons() };
        Self { reasons, ..answer }
    }

    /// Creates a stale answer, because the origin failed.
    pub(in crate::proxy) fn stale_on_error(method: &Method, hit: CacheHit) -> Self {
        Self { outcome: Outcome::StaleOnError, ..Self::from_store(method, hit) }
    }

    /// Creates an answer that streams the origin's response.
    pub(in crate::proxy) fn from_origin(outcome: Outcome, response: Response<origin::OriginBody>) -> Self {
        let mut response = response.map(AnswerBody::Origin);
        policy::strip_addressed(response.headers_mut());
        Self { response, outcome, reasons: AnswerReasons::default() }
    }

    pub(in crate::proxy) fn new(
        outcome: Outcome,
        status: StatusCode,
        head: HeaderMap,
        body: AnswerBody,
    ) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = head;
        Self { response, outcome, reasons: AnswerReasons::default() }
    }

    /// Creates the answer to an `OPTIONS` whose final recipient is this proxy.
    pub(in crate::proxy) fn options() -> Self {
        let head = [(ALLOW, ALLOWED_METHODS)].into_iter().collect();
        Self::new(Outcome::Options, StatusCode::NO_CONTENT, head, AnswerBody::Whole(Bytes::new()))
    }

    /// Appends the `Cache-Status` field.
    pub(in crate::proxy) fn with_status(mut self, status: CacheStatus) -> Self {
        status.append_to(self.response.headers_mut());
        self.reasons = status.reasons();
        self
    }
}

/// Sets the `Age` field (RFC 9111 §5.1). Every `Age` that the proxy generates comes from here.
pub(in crate::proxy) fn set_age(head: &mut HeaderMap, age: Duration) {
    thread_local! {
        static AGES: SecondsValues = const { SecondsValues::new() };
    }
    let seconds = age.as_secs();
    // This takes one allocation; `HeaderValue::from` a number takes two.
    let make = || HeaderValue::from_str(itoa::Buffer::new().format(seconds)).ok();
    if let Some(age) = AGES.with(|ages| ages.get(seconds, make)) {
        head.insert(AGE, age);
    }
}
