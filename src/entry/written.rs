//! What an entry never has: the one predicate behind [`encode`](super::encode) and
//! [`decode`](super::decode).
//!
//! A store is foreign, and who can write to it can write a whole entry with a checksum that fits.
//! An entry that frames an answer in its own way, or that is not fresh yet, harms clients that
//! never asked for it; so an entry is refused that this program would not have written, and it is
//! not written where that is asked of [`encode`](super::encode).
//!
//! **Always:** what [`decode`](super::decode) accepts from a store, [`encode`](super::encode)
//! accepts too.

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use super::{Entry, EntryError, Variants};
use crate::limits::{BODY_BYTES_MAX, CLOCK_AHEAD_MAX, LIFETIME_MAX};
use crate::policy::{self, Obligations, StoredFacts, Vary};
use crate::time::Timestamp;

/// Checks one field of a stored response.
pub(super) fn field(name: &str, value: &HeaderValue, obligations: Obligations) -> Result<(), EntryError> {
    if policy::is_stored_field(name, value, obligations) { Ok(()) } else { Err(EntryError::Field) }
}

/// Checks a stored response, but for its fields one by one.
pub(super) fn response(entry: &Entry) -> Result<(), EntryError> {
    let Entry { facts, status, head, body } = entry;
    let bodiless = *status == StatusCode::NO_CONTENT;
    if !policy::is_stored_status(*status) || (bodiless && !body.is_empty()) {
        return Err(EntryError::Status);
    }
    if body.len() > BODY_BYTES_MAX {
        return Err(EntryError::Length);
    }
    vary(head)?;
    if !facts.obligations.are_known() {
        return Err(EntryError::Obligations);
    }
    if facts.are_bounded() { Ok(()) } else { Err(EntryError::Time) }
}

fn vary(head: &HeaderMap) -> Result<(), EntryError> {
    match Vary::of(head) {
        Vary::None | Vary::Fields(_) => Ok(()),
        Vary::Star | Vary::TooMany => Err(EntryError::Vary),
    }
}

/// Checks the times of a stored response against the clock.
pub(super) fn received(facts: &StoredFacts, now: Timestamp) -> Result<(), EntryError> {
    if facts.received <= now.plus(CLOCK_AHEAD_MAX) { Ok(()) } else { Err(EntryError::Time) }
}

/// Checks the times of a list of variants against the clock: no variant lives longer than anything
/// else.
pub(super) fn expires(variants: &Variants, now: Timestamp) -> Result<(), EntryError> {
    let latest = now.plus(CLOCK_AHEAD_MAX).plus(LIFETIME_MAX);
    if variants.expires <= latest { Ok(()) } else { Err(EntryError::Time) }
}
