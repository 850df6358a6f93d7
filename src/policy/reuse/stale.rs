//! What may stand in for an origin that fails (RFC 9111 §4.2.4, RFC 5861 §4).

use std::time::Duration;

use http::StatusCode;

use crate::time::Timestamp;

use crate::policy::reuse::decide::{NotReusable, admitted, suits, tolerated, unasked};
use crate::policy::reuse::request::RequestFacts;
use crate::policy::store::stored::StoredFacts;

/// How an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// No response came: RFC 9111 §4.2.4 calls a cache without a way to the origin disconnected.
    Disconnected,
    /// A response came, and it is one of the errors that RFC 5861 §4 means.
    ErrorResponse,
}

impl OriginFailure {
    /// Whether a response with this status is a failure that something stored may stand in for.
    pub fn of(status: StatusCode) -> Option<Self> {
        matches!(status.as_u16(), 500 | 502 | 503 | 504).then_some(Self::ErrorResponse)
    }
}

/// Decides whether a stored response that had to be [validated](crate::policy::Reuse::Validate) may
/// answer a request after all, since the origin failed; with its age if so.
///
/// Who said `no-cache`, `must-revalidate`, `proxy-revalidate` or `s-maxage` forbids it, and so does
/// a client that wants another age. An answer that says "error" is passed on unless origin,
/// operator or client allowed a stale one in its place; where no answer can be had, RFC 9111 lets a
/// cache serve what it has, and we do for a short while.
pub fn stale_on_error(
    stored: &StoredFacts,
    request: &RequestFacts,
    failure: OriginFailure,
    now: Timestamp,
) -> Result<Duration, NotReusable> {
    admitted(stored, request)?;
    unasked(stored, request)?;
    let (age, ttl) = (stored.age(now), stored.ttl(now));
    if !ttl.is_zero() {
        return suits(request, age, ttl).map(|()| age);
    }
    let stale_for = tolerated(stored, request, age)?;
    let windows = [
        Some(stored.stale_if_error),
        request.stale_if_error(),
        request.max_stale(),
        (failure == OriginFailure::Disconnected).then(|| stored.disconnected_stale()),
    ];
    let allowed = windows.into_iter().flatten().any(|window| !window.is_zero() && stale_for <= window);
    if allowed { Ok(age) } else { Err(NotReusable::Expired) }
}
