//! Responses to `POST` that a later `GET` may receive (RFC 9110 §9.3.3).

use http::header::CONTENT_LOCATION;

use crate::key::OriginBase;

use crate::policy::exchange::Exchange;
use crate::policy::parse::reference;
use crate::policy::reuse::request::RetrievalKind;
use crate::policy::store::not_storable::NotStorable;
use crate::policy::store::rules::CacheRules;
use crate::policy::store::storable::storable;
use crate::policy::store::stored::{Obligations, StoredFacts};

/// Decides whether the response to a `POST` may be stored for later `GET`s of its target. This
/// requires that the response to a `GET` could be stored, that `Content-Location` is the target
/// itself, and that the origin states the freshness explicitly.
pub fn storable_post(
    exchange: &Exchange<'_>,
    origin: &OriginBase,
    rules: &CacheRules,
) -> Result<StoredFacts, NotStorable> {
    if exchange.request.retrieval != RetrievalKind::Post {
        return Err(NotStorable::Method);
    }
    let mut locations = exchange.response.get_all(CONTENT_LOCATION).into_iter();
    let (Some(location), None) = (locations.next(), locations.next()) else {
        return Err(NotStorable::ContentLocation);
    };
    let target = exchange.target;
    if !reference::possible_targets(target, origin, location.as_bytes()).any(|named| named == *target) {
        return Err(NotStorable::ContentLocation);
    }
    let request = exchange.request.as_get();
    let stored = storable(&Exchange { request: &request, ..*exchange }, rules)?;
    let guessed = stored.obligations.contains(Obligations::HEURISTIC);
    if guessed || stored.ttl(exchange.received).is_zero() {
        Err(NotStorable::NoFreshness)
    } else {
        Ok(stored)
    }
}
