//! The storing rules of each status.

use http::StatusCode;

use crate::policy::store::not_storable::NotStorable;

/// Returns whether any response with this status is stored.
pub fn is_stored_status(status: StatusCode) -> bool {
    refusal(status).is_none()
}

/// Returns the reason against storing any response with this status, whatever it contains.
pub(in crate::policy) fn refusal(status: StatusCode) -> Option<NotStorable> {
    match status.as_u16() {
        // RFC 9111 §3: only a final response is stored.
        ..200 => Some(NotStorable::Status),
        // RFC 9111 §3.3: a part is not the whole, and CacheWarp does not combine parts.
        206 => Some(NotStorable::PartialContent),
        // A response to the conditions or the range of one request, not to its target.
        304 | 412 | 416 => Some(NotStorable::Status),
        // RFC 6585 §3 to §6: "MUST NOT be stored by a cache".
        428 | 429 | 431 | 511 => Some(NotStorable::Status),
        // RFC 9110 §15: beyond the range of statuses; a recipient treats it as a server error.
        600.. => Some(NotStorable::Status),
        _ => None,
    }
}

/// Returns whether the status is cacheable without explicit freshness (RFC 9110 §15.1).
pub(in crate::policy) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Returns whether a `GET` response with this status has content (RFC 9110 §15.3.1, §15.3.4). With
/// any other status it may have none, whatever its `Content-Type`.
pub fn means_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION)
}

/// Returns whether CacheWarp knows the caching requirements of this status (RFC 9111 §5.2.2.3). A
/// registered status that is not refused has none.
pub(in crate::policy) fn is_understood(status: StatusCode) -> bool {
    status.canonical_reason().is_some() && refusal(status).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_and_conditional_responses_are_never_stored() {
        for code in (100..1000).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let refused = !(200..600).contains(&code.as_u16())
                || [304, 412, 416, 428, 429, 431, 511].contains(&code.as_u16());
            let want = if code == StatusCode::PARTIAL_CONTENT {
                Some(NotStorable::PartialContent)
            } else {
                refused.then_some(NotStorable::Status)
            };
            assert_eq!(refusal(code), want, "{code}");
            assert!(want.is_none() || !is_heuristically_cacheable(code), "{code}");
            assert!(want.is_none() || !is_understood(code), "{code}");
        }
    }

    #[test]
    fn unregistered_statuses_are_not_understood() {
        assert!(is_understood(StatusCode::OK));
        assert!(is_understood(StatusCode::FOUND));
        for code in [299, 499, 599, 999] {
            assert!(!is_understood(StatusCode::from_u16(code).unwrap()), "{code}");
        }
    }
}
