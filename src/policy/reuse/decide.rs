//! The gate out of a store: whether a stored response may answer a request (RFC 9111 §4).
//!
//! Every answer that the origin did not give to this very request comes through here: from memory,
//! from Redis, from a fetch that another request began. That the response belongs to the request's
//! target and variant is the key's part, not this one's.

use std::time::Duration;

use crate::time::Timestamp;

use crate::policy::parse::credential::Credential;
use crate::policy::parse::directives::{DirectiveScope, DirectiveSeconds};
use crate::policy::parse::seconds::DeltaSeconds;
use crate::policy::reuse::request::{RequestFacts, RetrievalKind};
use crate::policy::store::stored::{CredentialRefusal, Obligations, StoredFacts};

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh {
        /// For the `Age` field.
        age: Duration,
        /// How much longer it is fresh; never zero.
        ttl: Duration,
    },
    /// RFC 5861 §3: serve it, and meanwhile ask the origin on nobody's behalf.
    StaleWhileRevalidate {
        /// For the `Age` field.
        age: Duration,
        /// How long it has been stale.
        stale_for: Duration,
    },
    /// RFC 9111 §5.2.1.2: serve it, since this client takes it as it is.
    Stale {
        /// For the `Age` field.
        age: Duration,
        /// How long it has been stale.
        stale_for: Duration,
    },
    /// Ask the origin first, with the response's validators if it has any. If the origin fails, it
    /// may still be [allowed](crate::policy::stale_on_error) to stand in.
    Validate(NotReusable),
    /// Ask the origin as if nothing were stored.
    Not(NotReusable),
}

crate::labels! {
    /// Why a stored response does not answer a request.
    pub enum NotReusable {
        /// The method asks for something else.
        Method => "method" in "RFC 9111 §4",
        /// The request carries `Authorization`, and the response was not said to be for such
        /// requests.
        Authorization => "authorization" in "RFC 9111 §3.5",
        /// The request carries `Cookie`, and the response was not said to be for such requests.
        Cookie => "cookie" in "RFC 9111 §3.5, ordinary_cookies",
        /// The request carries a credential that the operator named, and the response was not said
        /// to be for such.
        CredentialHeader => "credential-header" in "RFC 9111 §3.5, credential_headers",
        /// The request carries a field that nothing is known of, and the origin did not state the
        /// freshness.
        UnlistedField => "unlisted-field" in "key_headers, harmless_headers",
        /// The origin wants to be asked each time.
        NoCache => "no-cache" in "RFC 9111 §5.2.2.4",
        /// It is as old as its lifetime, or older, and nobody allows that.
        Expired => "expired" in "RFC 9111 §4.2",
        /// It is stale, and may not be served stale.
        MustRevalidate => "must-revalidate" in "RFC 9111 §4.2.4",
        /// The client wants the origin to be asked.
        RequestNoCache => "request-no-cache" in "RFC 9111 §5.2.1.4",
        /// It is older than the client wants, or stale and the client gave an age.
        RequestMaxAge => "request-max-age" in "RFC 9111 §5.2.1.1",
        /// It is staler than the client wants.
        RequestMaxStale => "request-max-stale" in "RFC 9111 §5.2.1.2",
        /// It stays fresh for less time than the client wants.
        RequestMinFresh => "request-min-fresh" in "RFC 9111 §5.2.1.3",
    }
}

impl From<CredentialRefusal> for NotReusable {
    fn from(refusal: CredentialRefusal) -> Self {
        match refusal {
            CredentialRefusal::Credential(Credential::Authorization) => Self::Authorization,
            CredentialRefusal::Credential(Credential::Cookie) => Self::Cookie,
            CredentialRefusal::Credential(Credential::Header) => Self::CredentialHeader,
            CredentialRefusal::UnlistedField => Self::UnlistedField,
        }
    }
}

/// Decides whether a stored response may answer a request.
pub fn reuse(stored: &StoredFacts, request: &RequestFacts, now: Timestamp) -> Reuse {
    if let Err(reason) = admitted(stored, request) {
        return Reuse::Not(reason);
    }
    if let Err(reason) = unasked(stored, request) {
        return Reuse::Validate(reason);
    }
    let (age, ttl) = (stored.age(now), stored.ttl(now));
    if ttl.is_zero() {
        return stale(stored, request, age);
    }
    match suits(request, age, ttl) {
        Ok(()) => Reuse::Fresh { age, ttl },
        Err(reason) => Reuse::Validate(reason),
    }
}

/// Whether the response could be for this request at all.
pub(in crate::policy) fn admitted(stored: &StoredFacts, request: &RequestFacts) -> Result<(), NotReusable> {
    match request.retrieval {
        RetrievalKind::Whole | RetrievalKind::Head => {}
        RetrievalKind::Post | RetrievalKind::Neither => return Err(NotReusable::Method),
    }
    match stored.obligations.refused(request) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

/// Whether origin and client let it be served without asking the origin.
pub(in crate::policy) fn unasked(stored: &StoredFacts, request: &RequestFacts) -> Result<(), NotReusable> {
    if stored.obligations.contains(Obligations::NO_CACHE) {
        return Err(NotReusable::NoCache);
    }
    // Request directives have no qualified form, so an argument changes nothing.
    if request.directives.no_cache != DirectiveScope::Nothing {
        return Err(NotReusable::RequestNoCache);
    }
    Ok(())
}

/// Whether the client takes a response of this age, with this much of its lifetime left.
pub(in crate::policy) fn suits(
    request: &RequestFacts,
    age: Duration,
    ttl: Duration,
) -> Result<(), NotReusable> {
    // A number that cannot be read is the strictest one.
    if request.directives.max_age.or(DeltaSeconds::ZERO).is_some_and(|max| age > max.duration()) {
        return Err(NotReusable::RequestMaxAge);
    }
    if request.directives.min_fresh.or(DeltaSeconds::MAX).is_some_and(|min| ttl < min.duration()) {
        return Err(NotReusable::RequestMinFresh);
    }
    Ok(())
}

/// Whether origin and client let it be served this long past its lifetime, and for how long they do
/// so.
pub(in crate::policy) fn tolerated(
    stored: &StoredFacts,
    request: &RequestFacts,
    age: Duration,
) -> Result<Duration, NotReusable> {
    if stored.obligations.forbid_stale() {
        return Err(NotReusable::MustRevalidate);
    }
    suits(request, age, Duration::ZERO)?;
    let stale_for = age.saturating_sub(stored.lifetime);
    match request.max_stale() {
        Some(max) if stale_for > max => Err(NotReusable::RequestMaxStale),
        // §5.2.1.1: a client that gives an age wants nothing stale, unless it gives `max-stale`
        // too.
        None if request.directives.max_age != DirectiveSeconds::Unsaid => Err(NotReusable::RequestMaxAge),
        Some(_) | None => Ok(stale_for),
    }
}

fn stale(stored: &StoredFacts, request: &RequestFacts, age: Duration) -> Reuse {
    let window = stored.stale_while_revalidate;
    if window.is_zero() && request.max_stale().is_none() {
        return Reuse::Validate(NotReusable::Expired);
    }
    match tolerated(stored, request, age) {
        Ok(stale_for) if !window.is_zero() && stale_for <= window => {
            Reuse::StaleWhileRevalidate { age, stale_for }
        }
        Ok(stale_for) if request.max_stale().is_some() => Reuse::Stale { age, stale_for },
        Ok(_) => Reuse::Validate(NotReusable::Expired),
        Err(reason) => Reuse::Validate(reason),
    }
}
