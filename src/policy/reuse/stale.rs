//! Stale responses on error: serving a stored response if the origin fails (RFC 9111 §4.2.4, RFC
//! 5861 §4).

use std::time::Duration;

use http::StatusCode;

use crate::time::Timestamp;

use crate::policy::reuse::decide::{NotReusable, check_age, check_request, check_stale, check_validation};
use crate::policy::reuse::request::RequestFacts;
use crate::policy::store::stored::StoredFacts;

/// The kind of an origin failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// No response arrived: RFC 9111 §4.2.4 calls a cache that cannot reach the origin
    /// disconnected.
    Disconnected,
    /// An error response arrived whose status RFC 5861 §4 names.
    ErrorResponse,
    /// Another error response arrived, which neither ends the stored response nor may be replaced
    /// by it.
    OtherError,
}

impl OriginFailure {
    /// Returns the failure if a stored response may replace a response with this status.
    pub fn of(status: StatusCode) -> Option<Self> {
        matches!(status.as_u16(), 500 | 502 | 503 | 504).then_some(Self::ErrorResponse)
    }

    /// Returns the failure of a refresh that brought a response with this status and left the
    /// stored response as it was.
    pub fn of_refresh(status: StatusCode) -> Option<Self> {
        let other = (status.is_client_error() || status.is_server_error()).then_some(Self::OtherError);
        Self::of(status).or(other)
    }
}

/// Decides whether a stored response that had to be [validated](crate::policy::Reuse::Validate) may
/// answer a request because the origin failed. Returns its age if so.
///
/// `no-cache`, `must-revalidate`, `proxy-revalidate`, `s-maxage` and the client's age limits forbid
/// a stale response. An error of the origin goes to the client unless the origin, the operator or
/// the client allows a stale response instead. If the origin does not answer, a stale response is
/// allowed for a short time, as RFC 9111 lets a disconnected cache serve it.
pub fn stale_on_error(
    stored: &StoredFacts,
    request: &RequestFacts,
    failure: OriginFailure,
    now: Timestamp,
) -> Result<Duration, NotReusable> {
    check_request(stored, request)?;
    check_validation(stored, request)?;
    let (age, ttl) = (stored.age(now), stored.ttl(now));
    if !ttl.is_zero() {
        return check_age(request, age, ttl).map(|()| age);
    }
    let stale_for = check_stale(stored, request, age)?;
    if failure == OriginFailure::OtherError {
        return Err(NotReusable::Expired);
    }
    let windows = [
        Some(stored.stale_if_error),
        request.stale_if_error(),
        request.max_stale(),
        (failure == OriginFailure::Disconnected).then(|| stored.disconnected_stale()),
    ];
    let allowed = windows.into_iter().flatten().any(|window| !window.is_zero() && stale_for <= window);
    if allowed { Ok(age) } else { Err(NotReusable::Expired) }
}
