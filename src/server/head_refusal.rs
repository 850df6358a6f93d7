//! The check of a request's head before the request is handled.

use http::header::COOKIE;
use http::{HeaderMap, StatusCode};

use super::activity::HeadReading;
use super::metrics::ConnectionRefusal;
use crate::limits::HEAD_FIELDS_MAX;

/// Returns the refusal of a request whose head framing did not confirm, or has too many fields.
pub(super) fn refuse(vouched: HeadReading, headers: &HeaderMap) -> Option<(ConnectionRefusal, StatusCode)> {
    match vouched {
        HeadReading::No => Some((ConnectionRefusal::AmbiguousFraming, StatusCode::BAD_REQUEST)),
        HeadReading::Yes if count_fields(headers) > HEAD_FIELDS_MAX => {
            Some((ConnectionRefusal::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
        }
        HeadReading::Yes => None,
    }
}

/// Counts the field lines of a head. HTTP/2 clients send each cookie in a line of its own (RFC 9113
/// §8.2.3), and the origin receives all of them in one.
fn count_fields(headers: &HeaderMap) -> usize {
    let lines = headers.len();
    if lines <= HEAD_FIELDS_MAX {
        return lines;
    }
    lines - headers.get_all(COOKIE).iter().count().saturating_sub(1)
}
