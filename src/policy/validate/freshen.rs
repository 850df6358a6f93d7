//! Validation: asking the origin whether what is stored is still right, and what its answer does to
//! what is stored (RFC 9111 §4.3).
//!
//! ```text
//! stored head ── make_conditional ──► request ──► origin ──► 304 ── freshen ──► answer, and the fate of what is stored
//!                                                       └──► 200: a response like any other
//! ```
//!
//! **Invariant:** the gate into the store is asked again with every new head. A `304` that says
//! `private` is an answer for the one who asked, and the end of what was stored for all.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, StatusCode};

use crate::hop;

use crate::policy::exchange::Exchange;
use crate::policy::parse::validators::{
    EntityTag, ValidatorStrength, {self},
};
use crate::policy::parse::{date, media};
use crate::policy::reuse::conditions;
use crate::policy::reuse::request::RequestFacts;
use crate::policy::reuse::vary::Vary;
use crate::policy::store::fields::stored_fields;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::rules::CacheRules;
use crate::policy::store::storable::storable;
use crate::policy::store::stored::StoredFacts;

/// A stored response as far as validating it goes.
#[derive(Clone, Copy, Debug)]
pub struct StoredHead<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields as they are stored.
    pub fields: &'a HeaderMap,
    /// The length of its body, in bytes.
    pub body_bytes: u64,
}

/// What becomes of a stored response.
#[derive(Clone, Debug, PartialEq)]
pub enum FreshenOutcome {
    /// This takes the place of its facts and fields; the body stays.
    Replaced {
        /// What [`storable`] said of the new head.
        facts: StoredFacts,
        /// The fields to store, as [`stored_fields`] leaves them.
        fields: HeaderMap,
    },
    /// It stays as it was: what came was about one request, or says nothing about it.
    Kept(NotStorable),
    /// It must not be served any more.
    Removed(NotStorable),
}

/// What a `304` did.
#[derive(Clone, Debug, PartialEq)]
pub struct FreshenedResponse {
    /// The fields to answer the request with that was validated, and only that one: a cookie in the
    /// `304` is in them, and so is its `Age`. The status and the body are the stored ones.
    pub answer: HeaderMap,
    /// What becomes of what is stored.
    pub fate: FreshenOutcome,
}

/// A `304` that is about another representation than the stored one: remove that one, and ask again
/// without conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSelectedError;

/// Puts our conditions into a request, in place of the client's (§4.3.1). Without a validator there
/// are none, and the whole response comes.
///
/// `Date` is not used where `Last-Modified` is missing: an origin that sends no validator was not
/// asked to remember one.
pub fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap) {
    conditions::strip_conditions(request);
    let asked = [
        (IF_NONE_MATCH, validators::entity_tag_line(stored)),
        (IF_MODIFIED_SINCE, validators::last_modified_line(stored)),
    ];
    for (name, value) in asked {
        if let Some(value) = value {
            request.insert(name, value.clone());
        }
    }
}

/// Applies a `304` to the stored response that we asked about (§4.3.4). `exchange` is the
/// validating request, with the client's facts, and the `304`.
pub fn freshen(
    stored: StoredHead<'_>,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> Result<FreshenedResponse, NotSelectedError> {
    if !selects(stored.fields, exchange.response) {
        return Err(NotSelectedError);
    }
    // What a `HEAD` validated is validated for a `GET`.
    let request = exchange.request.as_get();
    let answer = updated(stored.fields, exchange);
    let fate = fate(stored, &answer, &Exchange { request: &request, ..*exchange }, rules);
    Ok(FreshenedResponse { answer, fate })
}

/// Applies the `200` to a `HEAD` to the stored response that a `GET` would have been answered with
/// (§4.3.5).
///
/// The RFC lets a response without any validator freshen a stored one. We want to see one that is
/// the same, since what was stored may have changed without a sign; such a `HEAD` leaves everything
/// as it was.
pub fn freshen_by_head(
    stored: StoredHead<'_>,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> FreshenOutcome {
    if exchange.status != StatusCode::OK || stored.status != StatusCode::OK {
        return FreshenOutcome::Kept(NotStorable::Method);
    }
    match head_evidence(stored, exchange.response) {
        HeadEvidence::Other => FreshenOutcome::Removed(NotStorable::Changed),
        HeadEvidence::None => FreshenOutcome::Kept(NotStorable::NoValidator),
        HeadEvidence::Same => {
            let request = exchange.request.as_get();
            let exchange = Exchange { request: &request, ..*exchange };
            let fields = updated(stored.fields, &exchange);
            match fate(stored, &fields, &exchange, rules) {
                // It belongs under another key now, and a `HEAD` moves nothing there.
                FreshenOutcome::Replaced { .. } if Vary::of(&fields) != Vary::of(stored.fields) => {
                    FreshenOutcome::Removed(NotStorable::Changed)
                }
                fate @ (FreshenOutcome::Replaced { .. }
                | FreshenOutcome::Kept(_)
                | FreshenOutcome::Removed(_)) => fate,
            }
        }
    }
}

/// Whether a `304` is about the stored response (§4.3.4).
///
/// Our request named one stored response, so a `304` without a validator is about that one. Tags
/// are compared weakly, where the RFC wants a strong tag to find its like: a server that weakens
/// the tags of what it compresses does not always weaken those of its `304`s, and that is the same
/// representation. The stored tag then stays weak.
fn selects(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if let Some(new) = validators::entity_tag_line(not_modified) {
        same_tag(stored, new)
    } else if let Some(new) = date::of(not_modified, &LAST_MODIFIED) {
        // A tag that the origin said is unmodified counts for more than a date that it repeats.
        stored.contains_key(ETAG) || date::of(stored, &LAST_MODIFIED) == Some(new)
    } else {
        true
    }
}

fn same_tag(stored: &HeaderMap, new: &HeaderValue) -> bool {
    match (EntityTag::of(stored), EntityTag::parse(new.as_bytes())) {
        (Some(stored), Some(new)) => stored.weak_eq(new),
        // Malformed tags have no meaning but their bytes.
        (None, None) => validators::entity_tag_line(stored) == Some(new),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The stored fields with those of a new head in their place (§3.2).
fn updated(stored: &HeaderMap, exchange: &Exchange<'_>) -> HeaderMap {
    let mut new = exchange.response.clone();
    hop::strip(&mut new);
    for name in &NOT_UPDATED {
        new.remove(name);
    }
    if EntityTag::of(stored).is_some_and(|tag| tag.strength == ValidatorStrength::Weak) {
        new.remove(ETAG);
    }
    // Middleware often names its own field in a `304` and not those of the others: all of them
    // select.
    if let Vary::Fields(names) = Vary::of(stored).and(Vary::of(&new))
        && new.contains_key(VARY)
        && Vary::of(&new) != Vary::Fields(names.clone())
        && let Some(line) = names.line()
    {
        new.insert(VARY, line);
    }
    let mut fields = stored.clone();
    // RFC 9110 §6.6.1: without one, it was made when it came; the stored one was made long ago.
    fields.remove(DATE);
    for name in new.keys() {
        fields.remove(name);
    }
    fields.extend(new);
    fields
}

/// Fields that describe the stored bytes, or the length of a message. A head without the bytes
/// cannot change them.
static NOT_UPDATED: [HeaderName; 4] =
    [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName::from_static("content-md5")];

/// What becomes of a stored response whose fields are now these.
fn fate(
    stored: StoredHead<'_>,
    fields: &HeaderMap,
    exchange: &Exchange<'_>,
    rules: &CacheRules,
) -> FreshenOutcome {
    // A body that nobody has looked into must not become JSON by a word.
    if media::is_json(fields) != media::is_json(stored.fields) {
        return FreshenOutcome::Removed(NotStorable::ContentType);
    }
    match storable(&Exchange { status: stored.status, response: fields, ..*exchange }, rules) {
        Ok(facts) => FreshenOutcome::Replaced { facts, fields: stored_fields(fields, exchange.received) },
        Err(reason) if is_about_the_request(reason, exchange.request) => FreshenOutcome::Kept(reason),
        Err(reason) => FreshenOutcome::Removed(reason),
    }
}

/// Whether a response is not stored only because of who asked. Then another's stored response need
/// not go: nobody can empty a cache by asking in a special way.
fn is_about_the_request(reason: NotStorable, request: &RequestFacts) -> bool {
    request.forbids_storing() == Some(reason)
        || matches!(
            reason,
            NotStorable::Authorization
                | NotStorable::Cookie
                | NotStorable::CredentialHeader
                | NotStorable::UnlistedField
        )
}

/// What a `HEAD` shows of a stored response.
enum HeadEvidence {
    /// It is the same representation.
    Same,
    /// It is another.
    Other,
    /// Nothing.
    None,
}

/// §4.3.5: all validators and the length that came have to be the stored ones.
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
