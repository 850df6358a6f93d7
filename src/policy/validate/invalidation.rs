//! The stored responses that an unsafe request invalidates (RFC 9111 §4.4).

use std::ops::RangeInclusive;

use http::header::{CONTENT_LOCATION, HeaderName, LOCATION};
use http::{HeaderMap, Method, StatusCode};

use crate::key::{OriginBase, Target};

use crate::policy::parse::reference;

/// The response fields that name other resources that the request has changed.
static LOCATION_FIELDS: [&HeaderName; 2] = [&LOCATION, &CONTENT_LOCATION];

/// The registered methods that change nothing (RFC 9110 §9.2.1 and the registry of methods). An
/// unregistered method may change anything.
const SAFE: [&str; 8] = ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"];

/// Returns the targets whose stored responses, in every variant, need validation: the target of the
/// request, and the targets of the same origin that the response names, under the name that clients
/// use or under the origin's own. Returns none after an error or a safe method. After an error that
/// leaves the outcome unknown, it returns the target of the request alone.
pub fn invalidated(
    method: &Method,
    target: &Target,
    origin: &OriginBase,
    status: StatusCode,
    response: &HeaderMap,
) -> Vec<Target> {
    if !may_have_changed(method, status) {
        return Vec::new();
    }
    if leaves_outcome_unknown(status) {
        return vec![target.clone()];
    }
    let mut targets = vec![target.clone()];
    // Few responses have these fields, and a pass over the names costs less than two lookups.
    if !response.keys().any(|name| LOCATION_FIELDS.contains(&name)) {
        return targets;
    }
    let named = LOCATION_FIELDS.iter().flat_map(|name| response.get_all(*name));
    for named in named.flat_map(|line| reference::possible_targets(target, origin, line.as_bytes())) {
        // §4.4: a response must not invalidate the entries of another origin.
        let same_origin = named.scheme == target.scheme && named.authority == target.authority;
        if same_origin && !targets.contains(&named) {
            targets.push(named);
        }
    }
    targets
}

/// Returns whether this method may change something (RFC 9110 §9.2.1). If the outcome of such a
/// request is unknown, the cache invalidates as after a success.
pub fn is_unsafe(method: &Method) -> bool {
    !SAFE.contains(&method.as_str())
}

/// Returns whether a request with this method and this response status may have changed something.
pub(in crate::policy) fn may_have_changed(method: &Method, status: StatusCode) -> bool {
    is_unsafe(method) && (status.is_success() || status.is_redirection() || leaves_outcome_unknown(status))
}

/// Returns whether a request with this method and this response status is a write that succeeded,
/// or may have. A redirect is none: the origin may have sent its client to a login page.
pub fn may_have_written(method: &Method, status: StatusCode) -> bool {
    is_unsafe(method) && (status.is_success() || leaves_outcome_unknown(status))
}

/// The statuses by which Cloudflare states that the origin gave no valid response, or none in time.
const GATEWAY_FAILURES: RangeInclusive<u16> = 520..=524;

/// Returns whether a status leaves the outcome of the request unknown: a gateway forwarded it to
/// the origin and received no valid response, or none in time (RFC 9110 §15.6.3, §15.6.5).
/// Cloudflare states the same by 520 to 524.
fn leaves_outcome_unknown(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
        || GATEWAY_FAILURES.contains(&status.as_u16())
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;
    use crate::key::Scheme;
    use crate::policy::tests::{backend, head};

    fn target(uri: &str) -> Target {
        let uri: Uri = uri.parse().unwrap();
        Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).unwrap()
    }

    fn paths(method: &str, status: u16, response: &[(&str, &str)]) -> Vec<String> {
        paths_behind("", method, status, response)
    }

    fn paths_behind(base: &str, method: &str, status: u16, response: &[(&str, &str)]) -> Vec<String> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        invalidated(
            &method,
            &target("/items/1"),
            &OriginBase { path: base.to_owned(), ..backend() },
            status,
            &head(response),
        )
        .iter()
        .map(|target| target.path_and_query.to_string())
        .collect()
    }

    #[test]
    fn method_and_status_decide_about_invalidation() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "PURGE", "get"] {
            for status in [200, 201, 204, 303, 304] {
                assert_eq!(paths(method, status, &[]), ["/items/1"], "{method} {status}");
            }
            for status in [502, 504, 520, 522, 524] {
                let elsewhere = [("location", "/items/2")];
                assert_eq!(paths(method, status, &elsewhere), ["/items/1"], "{method} {status}: unknown");
            }
            for status in [400, 404, 412, 500, 501, 503, 505, 519, 525, 999] {
                assert!(paths(method, status, &[]).is_empty(), "{method} {status}");
            }
        }
        for method in SAFE {
            assert!(paths(method, 200, &[("location", "/items")]).is_empty(), "{method}");
        }
    }

    #[test]
    fn method_and_status_decide_about_the_purges_of_a_write() {
        for (status, is_write) in [
            (101, false),
            (200, true),
            (202, true),
            (204, true),
            (302, false),
            (303, false),
            (400, false),
            (401, false),
            (500, false),
            (502, true),
            (503, false),
            (504, true),
            (519, false),
            (520, true),
            (524, true),
            (525, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(may_have_written(&Method::POST, status), is_write, "{status}");
            assert!(!may_have_written(&Method::GET, status), "{status}");
        }
    }

    #[test]
    fn targets_in_the_response_are_invalidated() {
        type Fields = &'static [(&'static str, &'static str)];
        let rows: &[(&str, Fields, &[&str])] = &[
            ("rfc9111-4.4-location", &[("location", "/items/2")], &["/items/1", "/items/2"]),
            ("rfc9111-4.4-content-location", &[("content-location", "2?x")], &["/items/1", "/items/2?x"]),
            (
                "rfc9111-4.4-both",
                &[("location", "/a"), ("content-location", "http://API.test:80/b")],
                &["/items/1", "/a", "/b"],
            ),
            ("rfc9111-4.4-itself", &[("content-location", "/items/1")], &["/items/1"]),
            ("rfc9111-4.4-host", &[("location", "http://other.test/a")], &["/items/1"]),
            ("rfc9111-4.4-network-path", &[("location", "//other.test/a")], &["/items/1"]),
            ("rfc9111-4.4-port", &[("location", "http://api.test:81/a")], &["/items/1"]),
            ("rfc9111-4.4-scheme", &[("location", "https://api.test/a")], &["/items/1"]),
            ("rfc9111-4.4-origins-own", &[("location", "http://backend:8080/a")], &["/items/1", "/a"]),
            ("rfc9111-4.4-origins-port", &[("location", "http://backend/a")], &["/items/1"]),
            ("malformed", &[("location", "http://user@api.test/a")], &["/items/1"]),
        ];
        for (id, response, want) in rows {
            assert_eq!(paths("POST", 201, response), *want, "{id}");
        }
    }

    #[test]
    fn base_paths_are_read_both_ways() {
        for (location, want) in [
            ("http://backend:8080/v1/a?b", &["/items/1", "/v1/a?b", "/a?b"][..]),
            ("http://api.test/v1/a", &["/items/1", "/v1/a", "/a"]),
            ("/v1/a", &["/items/1", "/v1/a", "/a"]),
            ("/v1", &["/items/1", "/v1", "/"]),
            ("/v1?b", &["/items/1", "/v1?b", "/?b"]),
            ("/v10/a", &["/items/1", "/v10/a"]),
            ("/a", &["/items/1", "/a"]),
            ("2", &["/items/1", "/items/2"]),
            ("http://other.test/v1/a", &["/items/1"]),
        ] {
            assert_eq!(paths_behind("/v1", "POST", 201, &[("location", location)]), want, "{location}");
        }
    }
}
