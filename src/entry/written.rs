//! The checks that both [`encode`](super::encode) and [`decode`](super::decode) apply to an entry.
//!
//! The store is untrusted: a client that can write to it can write a whole entry with a valid
//! checksum. An entry with its own message framing, or with times in the future, harms clients that
//! never requested it. [`decode`](super::decode) therefore refuses an entry that CacheWarp would
//! not have written, and [`encode`](super::encode) does not write one.
//!
//! **Always:** [`encode`](super::encode) accepts every entry that [`decode`](super::decode) accepts
//! from a store.

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use super::value::{Entry, Variants};
use crate::entry::error::EntryError;
use crate::limits::{BODY_BYTES_MAX, CLOCK_AHEAD_MAX, LIFETIME_MAX};
use crate::policy::{self, Obligations, StoredFacts, Vary};
use crate::time::Timestamp;

/// Checks one field of a stored response.
pub(super) fn field(name: &str, value: &HeaderValue, obligations: Obligations) -> Result<(), EntryError> {
    if policy::is_stored_field(name, value, obligations) { Ok(()) } else { Err(EntryError::Field) }
}

/// Checks a stored response, except its single fields.
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

/// Checks the expiry of a list of variants against the clock: no variant lives longer than the
/// longest lifetime.
pub(super) fn expires(variants: &Variants, now: Timestamp) -> Result<(), EntryError> {
    let latest = now.plus(CLOCK_AHEAD_MAX).plus(LIFETIME_MAX);
    if variants.expires <= latest { Ok(()) } else { Err(EntryError::Time) }
}
