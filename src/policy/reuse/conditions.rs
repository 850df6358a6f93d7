//! The client's own conditions, evaluated against the response that it would receive (RFC 9110 §13,
//! RFC 9111 §4.3.2).
//!
//! Conditions apply to the complete response, so they are evaluated last, once the response from a
//! tier or from the origin is known. A request to the origin whose response may be stored carries
//! no client conditions. A request that bypasses the cache carries them unchanged.

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    DATE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, StatusCode};

use crate::time::Timestamp;

use crate::policy::parse::validators::EntityTag;
use crate::policy::parse::{date, syntax};

/// The result of evaluating a client's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Send the response.
    Proceed,
    /// Send `304` with the fields that [`not_modified_fields`] keeps.
    NotModified,
    /// The response does not meet a condition. If it is the origin's response to this request, the
    /// client receives `412`. RFC 9111 §4.3.2: a stored response cannot fail a request, so the
    /// proxy forwards the request to the origin as the client sent it.
    Failed,
}

/// The fields with conditions on a representation, and the range that conditions may apply to.
static CONDITIONAL: [HeaderName; 6] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// Representation metadata that a `304` omits, since the client already has it (RFC 9110 §15.4.5).
static NOT_IN_NOT_MODIFIED: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HeaderName::from_static("content-md5"),
];

/// Metadata of the content that a refusal does not have, and freshness that does not apply to it.
static NOT_IN_REFUSAL: [HeaderName; 8] = [
    AGE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("surrogate-control"),
];

/// Evaluates the conditions of a `GET` or `HEAD` in their order of precedence (RFC 9110 §13.2.2). A
/// malformed condition counts as absent, except `If-Match`, which then fails.
pub fn precondition(
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    received: Timestamp,
) -> Precondition {
    // RFC 9110 §13.2.1: conditions apply only to a successful response.
    if !status.is_success() {
        return Precondition::Proceed;
    }
    let modified = || date::of(response, &LAST_MODIFIED);
    let unmet = if request.contains_key(IF_MATCH) {
        !matches(request, &IF_MATCH, response, |one, other| one.strong_eq(other))
    } else {
        let since = date::of(request, &IF_UNMODIFIED_SINCE);
        // §13.1.4: without a modification date there is no comparison.
        since.zip(modified()).is_some_and(|(since, modified)| modified > since)
    };
    if unmet {
        return Precondition::Failed;
    }
    let unmodified = if request.contains_key(IF_NONE_MATCH) {
        matches(request, &IF_NONE_MATCH, response, |one, other| one.weak_eq(other))
    } else {
        let made = || date::of(response, &DATE).unwrap_or(received);
        // RFC 9111 §4.3.2: without `Last-Modified`, the time of creation counts as the time of the
        // last change.
        date::of(request, &IF_MODIFIED_SINCE).is_some_and(|since| modified().unwrap_or_else(made) <= since)
    };
    if unmodified { Precondition::NotModified } else { Precondition::Proceed }
}

/// Removes the client's conditions and range from a request that fetches the whole response for the
/// store.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in &CONDITIONAL {
        request.remove(name);
    }
}

/// Removes the fields that do not belong in a `304` (RFC 9110 §15.4.5). `Last-Modified` stays if
/// there is no `ETag`, since the client uses it in its next condition.
pub fn not_modified_fields(response: &mut HeaderMap) {
    for name in &NOT_IN_NOT_MODIFIED {
        response.remove(name);
    }
    if response.contains_key(ETAG) {
        response.remove(LAST_MODIFIED);
    }
}

/// Turns the fields of a whole response into those of a refusal (`412`, `416`). The refusal is for
/// one request, so no cache may store it with the lifetime of the response (RFC 9111 §4.2.2).
pub fn refusal_fields(response: &mut HeaderMap) {
    let targeted: Vec<HeaderName> =
        response.keys().filter(|name| name.as_str().ends_with("-cache-control")).cloned().collect();
    for name in NOT_IN_REFUSAL.iter().chain(&targeted) {
        response.remove(name);
    }
    response.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Returns whether the field lists the response's tag or is `*`.
fn matches(
    request: &HeaderMap,
    name: &HeaderName,
    response: &HeaderMap,
    equal: fn(EntityTag<'_>, EntityTag<'_>) -> bool,
) -> bool {
    let own = EntityTag::of(response);
    request.get_all(name).into_iter().any(|line| {
        syntax::trim(line.as_bytes()) == b"*"
            || own.is_some_and(|own| EntityTag::list(line.as_bytes()).any(|tag| equal(tag, own)))
    })
}
