//! The media type of a response, as far as it decides about storing.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::policy::parse::syntax;
use crate::policy::store::rules::ContentTypes;

/// Returns whether the media type is JSON: `application/json`, or a subtype with the suffix `+json`
/// (RFC 8259 §11, RFC 6839 §3.1). Several `Content-Type` fields count as none.
pub fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|essence| matches(essence, "application/json") || matches(essence, "+json"))
}

impl ContentTypes {
    /// Returns whether a response of this type may be stored.
    pub(in crate::policy) fn admit(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(patterns) => essence(headers)
                .is_some_and(|essence| patterns.iter().any(|pattern| matches(essence, pattern))),
        }
    }
}

/// Returns `type/subtype`, without parameters.
fn essence(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(CONTENT_TYPE).into_iter();
    let (Some(only), None) = (lines.next(), lines.next()) else { return None };
    only.as_bytes().split(|&byte| byte == b';').next().map(syntax::trim)
}

/// Returns whether a media type is `pattern`, or ends with it if `pattern` is a `+suffix`. The
/// comparison ignores letter case (RFC 9110 §8.3.1).
fn matches(essence: &[u8], pattern: &str) -> bool {
    let Some(suffix) = pattern.strip_prefix('+') else {
        return essence.eq_ignore_ascii_case(pattern.as_bytes());
    };
    let mut parts = essence.rsplitn(2, |&byte| byte == b'+');
    parts.next().is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
        && parts.next().is_some_and(|start| start.contains(&b'/') && !start.ends_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(types: &[&str]) -> HeaderMap {
        types.iter().map(|value| (CONTENT_TYPE, value.parse().unwrap())).collect()
    }

    #[test]
    fn json_media_types_are_recognised() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json ; a=b",
            "application/problem+json",
            "application/vnd.api+JSON",
            "image/x+json",
        ] {
            assert!(is_json(&headers(&[json])), "{json}");
        }
        for other in [
            "",
            "json",
            "application",
            "application/jsonp",
            "text/json5",
            "application/x-json",
            "application/+json",
            "application/json, text/html",
            "application/x-ndjson",
            "text/plain;a=application/json",
            "x+json",
            "application/json-seq",
            "application/geo+json-seq",
        ] {
            assert!(!is_json(&headers(&[other])), "{other}");
        }
        assert!(!is_json(&headers(&[])));
        assert!(!is_json(&headers(&["application/json", "text/html"])));
    }

    #[test]
    fn listed_media_types_are_admitted() {
        let listed = ContentTypes::Listed(vec!["text/csv".into(), "+xml".into()]);
        for (value, admitted) in [
            ("text/csv", true),
            ("TEXT/CSV; header=present", true),
            ("image/svg+xml", true),
            ("text/xml", false),
            ("text/csv2", false),
            ("application/json", false),
        ] {
            assert_eq!(listed.admit(&headers(&[value])), admitted, "{value}");
        }
        assert!(!listed.admit(&headers(&[])));
        assert!(ContentTypes::Any.admit(&headers(&[])));
    }
}
