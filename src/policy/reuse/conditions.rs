//! A client's own conditions, evaluated against the response that it would get (RFC 9110 §13, RFC
//! 9111 §4.3.2).
//!
//! They are about the whole answer, so they are looked at last: when it is known what the answer
//! is, from whichever tier or from the origin. A request that goes to the origin to be stored goes
//! without them, and a request that we do not answer goes with them.

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, HeaderName,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, StatusCode};

use crate::time::Timestamp;

use crate::policy::parse::validators::EntityTag;
use crate::policy::parse::{date, syntax};

/// What a client's conditions make of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Send it.
    Proceed,
    /// Send `304` with the fields that [`not_modified_fields`] leaves.
    NotModified,
    /// The client has a condition that this answer does not meet: `412` if it is the origin's
    /// answer to this request. RFC 9111 §4.3.2: what is merely stored cannot fail a request; then
    /// it goes to the origin as the client sent it.
    Failed,
}

/// The conditions that a request for a representation may carry, and the range that they may be
/// about.
static CONDITIONAL: [HeaderName; 6] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// Representation metadata that a `304` does without, since the client has it (RFC 9110 §15.4.5).
static NOT_IN_NOT_MODIFIED: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HeaderName::from_static("content-md5"),
];

/// Evaluates the conditions of a `GET` or `HEAD` in their order of precedence (RFC 9110 §13.2.2).
/// Those that cannot be read are as good as absent, but for `If-Match`, which then is not met.
pub fn precondition(
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    received: Timestamp,
) -> Precondition {
    // RFC 9110 §13.2.1: only a successful answer can be conditional.
    if !status.is_success() {
        return Precondition::Proceed;
    }
    let modified = || date::of(response, &LAST_MODIFIED);
    let unmet = if request.contains_key(IF_MATCH) {
        !matches(request, &IF_MATCH, response, |one, other| one.strong_eq(other))
    } else {
        let since = date::of(request, &IF_UNMODIFIED_SINCE);
        // §13.1.4: without a modification date there is nothing to compare.
        since.zip(modified()).is_some_and(|(since, modified)| modified > since)
    };
    if unmet {
        return Precondition::Failed;
    }
    let unmodified = if request.contains_key(IF_NONE_MATCH) {
        matches(request, &IF_NONE_MATCH, response, |one, other| one.weak_eq(other))
    } else {
        let made = || date::of(response, &DATE).unwrap_or(received);
        // RFC 9111 §4.3.2: what does not say when it changed changed when it was made, as far as we
        // know.
        date::of(request, &IF_MODIFIED_SINCE).is_some_and(|since| modified().unwrap_or_else(made) <= since)
    };
    if unmodified { Precondition::NotModified } else { Precondition::Proceed }
}

/// Takes a client's conditions and range out of a request that fetches the whole response for the
/// store.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in &CONDITIONAL {
        request.remove(name);
    }
}

/// Takes out of a response's fields what does not belong in a `304` (RFC 9110 §15.4.5).
/// `Last-Modified` stays where there is no `ETag`: it is what the next condition will be made of.
pub fn not_modified_fields(response: &mut HeaderMap) {
    for name in &NOT_IN_NOT_MODIFIED {
        response.remove(name);
    }
    if response.contains_key(ETAG) {
        response.remove(LAST_MODIFIED);
    }
}

/// Whether the field lists the response's tag, or is `*`.
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
