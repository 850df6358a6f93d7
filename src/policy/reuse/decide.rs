//! The gate out of the store: whether a stored response may answer a request (RFC 9111 §4).
//!
//! Every response that the origin did not make for this request passes through this gate: from
//! memory, from Redis, or from a fetch that another request started. The cache key, not this gate,
//! ensures that the response belongs to the request's target and variant.

use std::time::Duration;

use crate::time::Timestamp;

use crate::policy::credential_set::Credential;
use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::reuse::request::{RequestFacts, RetrievalKind};
use crate::policy::store::not_storable::CredentialRefusal;
use crate::policy::store::stored::{Obligations, StoredFacts};

/// The use of a stored response for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh {
        /// The value of the `Age` field.
        age: Duration,
        /// The time for which it stays fresh; never zero.
        ttl: Duration,
    },
    /// RFC 5861 §3: serve it, and refresh it from the origin in the background.
    StaleWhileRevalidate {
        /// The value of the `Age` field.
        age: Duration,
        /// The time since it became stale.
        stale_for: Duration,
    },
    /// RFC 9111 §5.2.1.2: serve it, since this client accepts stale responses.
    Stale {
        /// The value of the `Age` field.
        age: Duration,
        /// The time since it became stale.
        stale_for: Duration,
    },
    /// Validate it with the origin first, using its validators if it has any. If the origin fails,
    /// [`stale_on_error`](crate::policy::stale_on_error) may still allow serving it.
    Validate(NotReusable),
    /// Send the request to the origin as if nothing were stored.
    Not(NotReusable),
}

crate::labels! {
    /// The reason against answering a request with a stored response.
    pub enum NotReusable {
        /// The method does not retrieve the representation.
        Method => "method" in "RFC 9111 §4",
        /// It was stored under other rules of the route.
        OtherRules => "other-rules" in "routes_file",
        /// The request carries `Authorization`, and the response does not allow reuse for such
        /// requests.
        Authorization => "authorization" in "RFC 9111 §3.5",
        /// The request carries `Cookie`, and the response does not allow reuse for such requests.
        Cookie => "cookie" in "RFC 9111 §3.5, ignored_cookies",
        /// The request carries a credential field that the operator listed, and the response does
        /// not allow reuse for such requests.
        CredentialHeader => "credential-header" in "RFC 9111 §3.5, credential_headers",
        /// The client has a certificate, and the response does not allow reuse for such requests.
        ClientCertificate => "client-certificate" in "RFC 9111 §3.5, tls_client_credential",
        /// The request carries an unlisted field, and the origin did not state the freshness.
        UnlistedField => "unlisted-field" in "key_headers, harmless_headers",
        /// The origin requires validation before each use.
        NoCache => "no-cache" in "RFC 9111 §5.2.2.4",
        /// It is stale, and no rule allows serving it stale.
        Expired => "expired" in "RFC 9111 §4.2",
        /// It is stale and must not be served stale.
        MustRevalidate => "must-revalidate" in "RFC 9111 §4.2.4",
        /// The client requires validation.
        RequestNoCache => "request-no-cache" in "RFC 9111 §5.2.1.4",
        /// It is older than the client accepts, or it is stale and the client gave a greatest age.
        RequestMaxAge => "request-max-age" in "RFC 9111 §5.2.1.1",
        /// It is staler than the client accepts.
        RequestMaxStale => "request-max-stale" in "RFC 9111 §5.2.1.2",
        /// It stays fresh for less time than the client requires.
        RequestMinFresh => "request-min-fresh" in "RFC 9111 §5.2.1.3",
    }
}

impl From<CredentialRefusal> for NotReusable {
    fn from(refusal: CredentialRefusal) -> Self {
        match refusal {
            CredentialRefusal::Credential(Credential::Authorization) => Self::Authorization,
            CredentialRefusal::Credential(Credential::Cookie) => Self::Cookie,
            CredentialRefusal::Credential(Credential::Header) => Self::CredentialHeader,
            CredentialRefusal::Credential(Credential::ClientCertificate) => Self::ClientCertificate,
            CredentialRefusal::UnlistedField => Self::UnlistedField,
        }
    }
}

/// Decides whether a stored response may answer a request.
pub fn reuse(stored: &StoredFacts, request: &RequestFacts, now: Timestamp) -> Reuse {
    if let Err(reason) = check_request(stored, request) {
        return Reuse::Not(reason);
    }
    if let Err(reason) = check_validation(stored, request) {
        return Reuse::Validate(reason);
    }
    let (age, ttl) = (stored.age(now), stored.ttl(now));
    if ttl.is_zero() {
        return decide_stale(stored, request, age);
    }
    match check_age(request, age, ttl) {
        Ok(()) => Reuse::Fresh { age, ttl },
        Err(reason) => Reuse::Validate(reason),
    }
}

/// Returns whether a response was stale when it arrived, because its age exceeds its lifetime, and
/// may answer the requests that waited for it. A lifetime of zero asks for a request each time.
pub fn is_shared_on_arrival(stored: &StoredFacts) -> bool {
    !stored.lifetime.is_zero()
        && stored.ttl(stored.received).is_zero()
        && !stored.obligations.forbid_stale()
        && !stored.obligations.contains(Obligations::NO_CACHE)
}

/// Decides whether a response that was stale when it arrived may answer a request that waited for
/// it. Returns its age if so.
///
/// A fetch of its own would bring the request the same stale response of a cache in front of the
/// origin, so the shared one is no older (RFC 9111 §4). A response that must not be used stale
/// answers the request that fetched it alone.
pub fn reuse_on_arrival(
    stored: &StoredFacts,
    request: &RequestFacts,
    now: Timestamp,
) -> Result<Duration, NotReusable> {
    check_request(stored, request)?;
    check_validation(stored, request)?;
    let age = stored.age(now);
    check_stale(stored, request, age)?;
    if is_shared_on_arrival(stored) { Ok(age) } else { Err(NotReusable::Expired) }
}

/// Checks that the response may answer a request with this method, these rules and these
/// credentials.
pub(in crate::policy) fn check_request(
    stored: &StoredFacts,
    request: &RequestFacts,
) -> Result<(), NotReusable> {
    match request.retrieval {
        RetrievalKind::Whole | RetrievalKind::Head => {}
        RetrievalKind::Post | RetrievalKind::Neither => return Err(NotReusable::Method),
    }
    if stored.rules != request.rules {
        return Err(NotReusable::OtherRules);
    }
    match stored.obligations.refused(request) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

/// Checks that the origin and the client allow use without validation.
pub(in crate::policy) fn check_validation(
    stored: &StoredFacts,
    request: &RequestFacts,
) -> Result<(), NotReusable> {
    if stored.obligations.contains(Obligations::NO_CACHE) {
        return Err(NotReusable::NoCache);
    }
    // Request directives have no qualified form, so the argument is ignored.
    if request.directives.no_cache != DirectiveScope::Nothing {
        return Err(NotReusable::RequestNoCache);
    }
    Ok(())
}

/// Checks that the client accepts a response with this age and this remaining lifetime.
pub(in crate::policy) fn check_age(
    request: &RequestFacts,
    age: Duration,
    ttl: Duration,
) -> Result<(), NotReusable> {
    // A malformed number counts as the strictest one.
    if request.directives.max_age.or(DeltaSeconds::ZERO).is_some_and(|max| age > max.duration()) {
        return Err(NotReusable::RequestMaxAge);
    }
    if request.directives.min_fresh.or(DeltaSeconds::MAX).is_some_and(|min| ttl < min.duration()) {
        return Err(NotReusable::RequestMinFresh);
    }
    Ok(())
}

/// Checks that the origin and the client allow serving the response stale, and returns the
/// staleness.
pub(in crate::policy) fn check_stale(
    stored: &StoredFacts,
    request: &RequestFacts,
    age: Duration,
) -> Result<Duration, NotReusable> {
    if stored.obligations.forbid_stale() {
        return Err(NotReusable::MustRevalidate);
    }
    check_age(request, age, Duration::ZERO)?;
    let stale_for = age.saturating_sub(stored.lifetime);
    match request.max_stale() {
        Some(max) if stale_for > max => Err(NotReusable::RequestMaxStale),
        // §5.2.1.1: a client that gives a greatest age does not accept a stale response, unless it
        // also gives `max-stale`.
        None if request.directives.max_age != DirectiveSeconds::Absent => Err(NotReusable::RequestMaxAge),
        Some(_) | None => Ok(stale_for),
    }
}

fn decide_stale(stored: &StoredFacts, request: &RequestFacts, age: Duration) -> Reuse {
    let window = stored.stale_while_revalidate;
    if window.is_zero() && request.max_stale().is_none() {
        return Reuse::Validate(NotReusable::Expired);
    }
    match check_stale(stored, request, age) {
        Ok(stale_for) if !window.is_zero() && stale_for <= window => {
            Reuse::StaleWhileRevalidate { age, stale_for }
        }
        Ok(stale_for) if request.max_stale().is_some() => Reuse::Stale { age, stale_for },
        Ok(_) => Reuse::Validate(NotReusable::Expired),
        Err(reason) => Reuse::Validate(reason),
    }
}
