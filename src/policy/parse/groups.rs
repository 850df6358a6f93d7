//! Cache groups (RFC 9875): names that an origin gives to responses that change together.

use http::header::HeaderName;
use http::{HeaderMap, Method, StatusCode};

use crate::limits::{GROUP_BYTES_MAX, GROUPS_MAX};

use crate::policy::parse::structured;
use crate::policy::validate::invalidation;

/// The field that lists the groups of a response.
static MEMBERSHIP: HeaderName = HeaderName::from_static("cache-groups");

/// The field that lists the groups that an unsafe request has changed.
static INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The group names of one origin: each once, in the order of the field, at most [`GROUPS_MAX`]
/// names with at most [`GROUP_BYTES_MAX`] bytes each. Names are compared byte for byte (RFC 9875
/// §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupNames(Vec<Box<str>>);

impl GroupNames {
    /// Returns the groups of a response. A field that is not a list of strings names no groups. The
    /// parser drops names beyond the limits, which RFC 9875 §2 allows.
    pub fn of(response: &HeaderMap) -> Self {
        Self::named_in(response, &MEMBERSHIP)
    }

    /// Returns the groups that the request of this response has changed. Returns none if the method
    /// is safe (RFC 9875 §3) or if the request failed and has changed nothing.
    pub fn invalidated(method: &Method, status: StatusCode, response: &HeaderMap) -> Self {
        if invalidation::may_have_changed(method, status) {
            Self::named_in(response, &INVALIDATION)
        } else {
            Self::default()
        }
    }

    /// Returns the names.
    pub fn names(&self) -> &[Box<str>] {
        &self.0
    }

    fn named_in(response: &HeaderMap, field: &HeaderName) -> Self {
        let mut names: Vec<Box<str>> = Vec::new();
        for name in structured::strings(response, field).unwrap_or_default() {
            let fits = name.len() <= GROUP_BYTES_MAX && names.len() < GROUPS_MAX;
            if fits && !names.iter().any(|known| **known == *name) {
                names.push(name.into());
            }
        }
        Self(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::head;

    fn names(lines: &[&str]) -> Vec<String> {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-groups", *line)).collect();
        GroupNames::of(&head(&lines)).names().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn groups_are_read_from_lists_of_strings() {
        assert_eq!(names(&[]), [""; 0]);
        assert_eq!(names(&["\"scripts\""]), ["scripts"]);
        assert_eq!(names(&["\"a\", \"b, c\"", "\"A\""]), ["a", "b, c", "A"]);
        assert_eq!(names(&["\"a\";x=1, \"a\""]), ["a"], "parameters are ignored");
        for malformed in ["a", "\"a\", b", "1", "(\"a\")", "\"a", "\"a\" \"b\"", "\"\u{e4}\""] {
            assert_eq!(names(&[malformed]), [""; 0], "{malformed}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let many: Vec<String> = (0..GROUPS_MAX + 1).map(|number| format!("\"{number}\"")).collect();
        assert_eq!(names(&[&many.join(",")]).len(), GROUPS_MAX);
        let fits = "x".repeat(GROUP_BYTES_MAX);
        assert_eq!(names(&[&format!("\"{fits}x\", \"{fits}\"")]), [fits]);
    }

    #[test]
    fn only_successful_unsafe_requests_invalidate() {
        let response = head(&[("cache-group-invalidation", "\"a\", \"b\""), ("cache-groups", "\"c\"")]);
        let both = GroupNames(vec!["a".into(), "b".into()]);
        for (method, status, want) in [
            (Method::POST, 200, &both),
            (Method::DELETE, 204, &both),
            (Method::PUT, 303, &both),
            (Method::POST, 400, &GroupNames::default()),
            (Method::POST, 500, &GroupNames::default()),
            (Method::GET, 200, &GroupNames::default()),
            (Method::HEAD, 200, &GroupNames::default()),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(GroupNames::invalidated(&method, status, &response), *want, "{method} {status}");
        }
    }
}
