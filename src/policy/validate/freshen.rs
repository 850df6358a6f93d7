//! Validation of a stored response with the origin (RFC 9111 §4.3).
//!
//! ```text
//! stored head ─ make_conditional ─► request ─► origin ─► 304 ─ freshen ─► answer, FreshenOutcome
//!                                                     └──► 200: an ordinary response
//! ```
//!
//! **Invariant:** every new head passes the gate into the store again. A `304` with `private`
//! answers its own request, and invalidates the response that was stored for all.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, StatusCode};

use crate::hop;

use crate::policy::exchange::Exchange;
use crate::policy::parse::validators::{self, EntityTag, ValidatorStrength};
use crate::policy::parse::{date, media};
use crate::policy::reuse::conditions;
use crate::policy::reuse::request::RequestFacts;
use crate::policy::reuse::vary::Vary;
use crate::policy::store::fields::stored_fields;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::rules::CacheRules;
use crate::policy::store::storable::{refused_to_others, storable_again};
use crate::policy::store::stored::StoredFacts;

/// The parts of a stored response that validation needs.
#[derive(Clone, Copy, Debug)]
pub struct StoredHead<'a> {
    /// The status.
    pub status: StatusCode,
    /// The stored fields.
    pub fields: &'a HeaderMap,
    /// The length of the body, in bytes.
    pub body_bytes: u64,
}

/// The outcome of a validation for the stored response.
#[derive(Clone, Debug, PartialEq)]
pub enum FreshenOutcome {
    /// These facts and fields replace the stored ones; the body stays.
    Updated {
        /// The facts of the new head.
        facts: StoredFacts,
        /// The fields to store, from [`stored_fields`].
        fields: HeaderMap,
    },
    /// The stored response stays as it is: the origin's response concerns one request only, or
    /// gives no information about the stored one.
    Unchanged(NotStorable),
    /// The stored response must not be served any more.
    Invalidated(NotStorable),
}

/// The result of applying a `304`.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshenedResponse {
    /// The fields for answering the validated request, and only that one: they include a
    /// `Set-Cookie` and the `Age` of the `304`. The status and the body are the stored ones.
    pub answer: HeaderMap,
    /// The outcome for the stored response.
    pub outcome: FreshenOutcome,
}

/// The error for a `304` that does not apply to the stored response. The caller removes that
/// response and repeats the request without conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSelectedError;

/// Replaces the client's conditions in a request by those that validate the stored response
/// (§4.3.1). Without a validator the request has none, and the origin sends the whole response.
///
/// `Date` does not replace a missing `Last-Modified`: an origin that sends no validator need not
/// know the time of the last change.
pub fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap) {
    conditions::strip_conditions(request);
    let conditions = [
        (IF_NONE_MATCH, validators::entity_tag_line(stored)),
        (IF_MODIFIED_SINCE, validators::last_modified_line(stored)),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            request.insert(name, value.clone());
        }
    }
}

/// Applies a `304` to the stored response that the request validated (§4.3.4). `exchange` is the
/// validating request, with the client's facts, and the `304`.
pub fn freshen(
    stored: StoredHead<'_>,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> Result<FreshenedResponse, NotSelectedError> {
    if !selects(stored.fields, exchange.response) {
        return Err(NotSelectedError);
    }
    // A validation by `HEAD` also holds for `GET`.
    let request = exchange.request.as_get();
    let answer = updated(stored.fields, exchange);
    let outcome = outcome_for(stored, &answer, &Exchange { request: &request, ..*exchange }, rules);
    Ok(FreshenedResponse { answer, outcome })
}

/// Applies a `200` response to a `HEAD` to the stored `GET` response (§4.3.5).
///
/// The RFC lets a response without any validator freshen a stored one. CacheWarp requires a
/// matching validator, since the representation may have changed unnoticed; a `HEAD` response
/// without one changes nothing.
pub fn freshen_by_head(
    stored: StoredHead<'_>,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> FreshenOutcome {
    if exchange.status != StatusCode::OK || stored.status != StatusCode::OK {
        return FreshenOutcome::Unchanged(NotStorable::Method);
    }
    match head_evidence(stored, exchange.response) {
        HeadEvidence::Other => {
            let request = exchange.request.as_get();
            // The origin may have another representation for this client.
            refused_to_others(&Exchange { request: &request, ..*exchange }, rules)
                .map_or(FreshenOutcome::Invalidated(NotStorable::Changed), FreshenOutcome::Unchanged)
        }
        HeadEvidence::None => FreshenOutcome::Unchanged(NotStorable::NoValidator),
        HeadEvidence::Same => {
            let request = exchange.request.as_get();
            let exchange = Exchange { request: &request, ..*exchange };
            let fields = updated(stored.fields, &exchange);
            match outcome_for(stored, &fields, &exchange, rules) {
                // The response now belongs to another key, and a `HEAD` moves no entry.
                FreshenOutcome::Updated { .. } if Vary::of(&fields) != Vary::of(stored.fields) => {
                    FreshenOutcome::Invalidated(NotStorable::Changed)
                }
                outcome @ (FreshenOutcome::Updated { .. }
                | FreshenOutcome::Unchanged(_)
                | FreshenOutcome::Invalidated(_)) => outcome,
            }
        }
    }
}

/// Returns whether a `304` applies to the stored response (§4.3.4).
///
/// The request named one stored response, so a `304` without a validator applies to that one. Tags
/// are compared weakly, although the RFC requires a strong match for a strong tag: a server that
/// weakens the tags of compressed responses does not always weaken those of its `304`s, and the
/// representation is equivalent. The stored tag then stays weak.
fn selects(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if let Some(new) = validators::entity_tag_line(not_modified) {
        same_tag(stored, new)
    } else if let Some(new) = date::of(not_modified, &LAST_MODIFIED) {
        // The tag that the origin confirmed takes precedence over the date that it repeats.
        stored.contains_key(ETAG) || date::of(stored, &LAST_MODIFIED) == Some(new)
    } else {
        true
    }
}

fn same_tag(stored: &HeaderMap, new: &HeaderValue) -> bool {
    match (EntityTag::of(stored), EntityTag::parse(new.as_bytes())) {
        (Some(stored), Some(new)) => stored.weak_eq(new),
        // Malformed tags are compared byte for byte.
        (None, None) => validators::entity_tag_line(stored) == Some(new),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Returns the stored fields, updated by those of a new head (§3.2).
fn updated(stored: &HeaderMap, exchange: &Exchange<'_>) -> HeaderMap {
    let mut new = exchange.response.clone();
    hop::strip(&mut new);
    for name in &NOT_UPDATED {
        new.remove(name);
    }
    if EntityTag::of(stored).is_some_and(|tag| tag.strength == ValidatorStrength::Weak) {
        new.remove(ETAG);
    }
    // Middleware often lists only its own field in the `Vary` of a `304`. The fields of both
    // `Vary`s select.
    if let Vary::Fields(names) = Vary::of(stored).and(Vary::of(&new))
        && new.contains_key(VARY)
        && Vary::of(&new) != Vary::Fields(names.clone())
        && let Some(line) = names.line()
    {
        new.insert(VARY, line);
    }
    let mut fields = stored.clone();
    // RFC 9110 §6.6.1: without `Date`, the new head was made on arrival. The stored date is that of
    // the old one.
    fields.remove(DATE);
    for name in new.keys() {
        fields.remove(name);
    }
    fields.extend(new);
    fields
}

/// Fields that describe the stored bytes or the length of a message. A head without a body cannot
/// change them.
static NOT_UPDATED: [HeaderName; 4] =
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName::from_static("content-md5")];

/// Returns the outcome for a stored response with these updated fields.
fn outcome_for(
    stored: StoredHead<'_>,
    fields: &HeaderMap,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> FreshenOutcome {
    // A body that was not validated as JSON must not become JSON through a new `Content-Type`.
    if media::is_json(fields) != media::is_json(stored.fields) {
        return FreshenOutcome::Invalidated(NotStorable::ContentType);
    }
    let freshened = Exchange { status: stored.status, response: fields, ..*exchange };
    match storable_again(&freshened, stored.fields, rules) {
        // The stored statements let others share the stored fields, not those of a new head that
        // the origin made for this client.
        Ok(facts) => match refused_to_others(&Exchange { status: stored.status, ..*exchange }, rules) {
            Some(reason) => FreshenOutcome::Unchanged(reason),
            None => {
                FreshenOutcome::Updated { facts, fields: stored_fields(fields, exchange.received, rules) }
            }
        },
        Err(reason) if is_about_the_request(reason, exchange.request) => FreshenOutcome::Unchanged(reason),
        Err(reason) => FreshenOutcome::Invalidated(reason),
    }
}

/// Returns whether the response is refused only because of its own request. The stored response of
/// other clients then stays, so that a client cannot empty the cache with special requests.
fn is_about_the_request(reason: NotStorable, request: &RequestFacts) -> bool {
    request.forbids_storing() == Some(reason)
        || matches!(
            reason,
            NotStorable::Authorization
                | NotStorable::Cookie
                | NotStorable::CredentialHeader
                | NotStorable::ClientCertificate
                | NotStorable::UnlistedField
        )
}

/// The evidence that a `HEAD` response gives about a stored response.
enum HeadEvidence {
    /// It describes the stored representation.
    Same,
    /// It describes another representation.
    Other,
    /// It has no validator.
    None,
}

/// Compares the `HEAD` response with the stored one (§4.3.5): every validator and the length that
/// it contains must match.
fn head_evidence(stored: StoredHead<'_>, head: &HeaderMap) -> HeadEvidence {
    let tag = validators::entity_tag_line(head).map(|new| same_tag(stored.fields, new));
    let modified =
        date::of(head, &LAST_MODIFIED).map(|new| date::of(stored.fields, &LAST_MODIFIED) == Some(new));
    let length =
        head.get(CONTENT_LENGTH).map(|new| new.as_bytes() == stored.body_bytes.to_string().as_bytes());
    if [tag, modified, length].contains(&Some(false)) {
        HeadEvidence::Other
    } else if tag.or(modified).is_some() {
        HeadEvidence::Same
    } else {
        HeadEvidence::None
    }
}
