//! The fields of a response that are stored (RFC 9111 §3.1).
//!
//! A stored head is sent to other clients over other connections. So the store drops fields that
//! belong to one connection or to one exchange. It also drops the length and the age, which the
//! entry itself records, so that each value has one source.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{DATE, HeaderName, HeaderValue};

use crate::hop;
use crate::time::Timestamp;

use crate::policy::parse::targeted;
use crate::policy::reuse::range;
use crate::policy::store::rules::CacheRules;
use crate::policy::store::stored::Obligations;

/// RFC 9111 §3.1: the prefix of fields between a proxy and its own client.
const PROXY_PREFIX: &str = "proxy-";

/// The year 10000, the first that an HTTP date cannot express.
const DATES_END: Duration = Duration::from_secs(253_402_300_800);

/// Returns the fields to store of a response that [`storable`](crate::policy::storable()) admits. A
/// follower of a shared fetch receives only these fields.
///
/// §3.1 requires a cache to store all other fields. The operator may name some that describe one
/// exchange.
pub fn stored_fields(response: &HeaderMap, received: Timestamp, rules: &CacheRules) -> HeaderMap {
    let mut fields = response.clone();
    hop::strip(&mut fields);
    for name in &rules.unstored_headers {
        fields.remove(name);
    }
    // §5.2.2.4 and §5.2.2.7: with field names, these directives apply to the named fields alone.
    for name in targeted::named_fields(response) {
        fields.remove(name);
    }
    let omitted: Vec<HeaderName> = fields.keys().filter(|name| is_omitted(name.as_str())).cloned().collect();
    for name in omitted {
        fields.remove(name);
    }
    add_date(&mut fields, received);
    fields
}

/// Returns whether no stored response has a field of this name, in lower case.
fn is_omitted(name: &str) -> bool {
    let omitted = matches!(
        name,
        // RFC 9111 §5.1: stored as `initial_age`, from which the age continues.
        "age"
            // The body is stored whole, with its length.
            | "content-length"
            | "set-cookie"
            // RFC 9110 §11.6.3: the result of one client's authentication.
            | "authentication-info"
    );
    omitted || name.starts_with(PROXY_PREFIX) || hop::is_hop_by_hop(name)
}

/// Returns whether a stored response with these obligations may have this field. `name` is in lower
/// case.
pub fn is_stored_field(name: &str, value: &HeaderValue, obligations: Obligations) -> bool {
    match name {
        // Without the obligation, no code removes the field from responses.
        "cachewarp-cache-control" => obligations.contains(Obligations::ADDRESSED),
        "content-range" => !range::is_content_range(value),
        name => !is_omitted(name),
    }
}

/// Returns whether a stored response would have another meaning without this field, so that the
/// operator cannot omit it: the field describes the content, selects it, or controls its use.
pub fn is_unstorable_without(name: &HeaderName, rules: &CacheRules) -> bool {
    let name = name.as_str();
    name.starts_with("content-")
        || name.starts_with("access-control-")
        || name.ends_with("cache-control")
        || ["cache-groups", "date", "etag", "expires", "last-modified", "location", "vary"].contains(&name)
        || rules.tag_headers.iter().any(|tag| *tag == name)
}

/// Adds the time of reception as `Date` if the response has none (RFC 9110 §6.6.1).
fn add_date(fields: &mut HeaderMap, received: Timestamp) {
    let since_epoch = Duration::from_millis(received.as_millis());
    if fields.contains_key(DATE) || since_epoch >= DATES_END {
        return;
    }
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(UNIX_EPOCH + since_epoch)) {
        fields.insert(DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(fields: &[(&'static str, &str)]) -> Vec<String> {
        let response = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let rules = CacheRules {
            unstored_headers: ["x-request-id", "server-timing"].map(HeaderName::from_static).to_vec(),
            ..CacheRules::default()
        };
        let stored = stored_fields(&response, Timestamp::from_millis(784_111_777_900), &rules);
        stored.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn connection_and_exchange_fields_are_not_stored() {
        let date = ("date", "Sun, 06 Nov 1994 00:00:00 GMT");
        let kept = ["date: Sun, 06 Nov 1994 00:00:00 GMT", "a: 1", "a: 2"];
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("rfc9111-3.1-none", &[]),
            (
                "rfc9111-3.1-connection",
                &[("connection", "b, keep-alive"), ("b", "1"), ("keep-alive", "timeout=5")],
            ),
            ("rfc9111-3.1-transfer", &[("transfer-encoding", "chunked"), ("te", "x"), ("trailer", "b")]),
            ("rfc9111-3.1-upgrade", &[("upgrade", "h2c")]),
            ("rfc9111-3.1-proxy", &[("proxy-authenticate", "Basic"), ("proxy-authorization", "x")]),
            ("rfc9111-3.1-proxy-info", &[("proxy-authentication-info", "x"), ("proxy-connection", "close")]),
            ("rfc9110-11.6.3", &[("authentication-info", "nextnonce=x")]),
            ("rfc9111-7.3", &[("set-cookie", "a=b"), ("set-cookie", "c=d")]),
            ("rfc9111-5.1", &[("age", "5")]),
            ("length", &[("content-length", "5")]),
            ("unstored-headers", &[("x-request-id", "1"), ("server-timing", "a"), ("server-timing", "b")]),
        ];
        for (id, extra) in rows {
            let fields: Vec<_> = [date, ("a", "1"), ("a", "2")].iter().chain(*extra).copied().collect();
            assert_eq!(stored(&fields), kept, "{id}");
        }
    }

    #[test]
    fn stored_fields_match_the_check_of_stored_responses() {
        let value = HeaderValue::from_static("bytes 0-1/2");
        for name in [
            "connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
            "proxy-anything",
            "proxy-authenticate",
            "cachewarp-explain",
            "age",
            "content-length",
            "set-cookie",
            "authentication-info",
            "content-range",
            "cachewarp-cache-control",
        ] {
            assert!(!is_stored_field(name, &value, Obligations::default()), "{name}");
        }
        for name in ["etag", "content-type", "link", "x-anything", "proxy", "set-cookie2"] {
            assert!(is_stored_field(name, &value, Obligations::default()), "{name}");
        }
        assert!(is_stored_field("cachewarp-cache-control", &value, Obligations::ADDRESSED));
        assert!(is_stored_field("content-range", &HeaderValue::from_static("x"), Obligations::default()));
    }

    #[test]
    fn obsolete_fields_are_stored() {
        let kept = ["date: x", "set-cookie2: a=b"];
        assert_eq!(stored(&[("date", "x"), ("set-cookie2", "a=b")]), kept, "obsolete since RFC 6265");
    }

    #[test]
    fn named_fields_are_not_stored() {
        assert_eq!(
            stored(&[
                ("date", "x"),
                ("cache-control", "no-cache=\"A, b\""),
                ("cache-control", "private=c"),
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
                ("d", "4"),
            ]),
            ["date: x", "cache-control: no-cache=\"A, b\"", "cache-control: private=c", "d: 4"]
        );
    }

    #[test]
    fn a_response_without_date_is_dated_on_arrival() {
        assert_eq!(stored(&[("a", "1")]), ["a: 1", "date: Sun, 06 Nov 1994 08:49:37 GMT"]);
        let late = stored_fields(&HeaderMap::new(), Timestamp::from_millis(u64::MAX), &CacheRules::default());
        assert!(late.is_empty());
    }
}
