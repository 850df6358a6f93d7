//! Hop-by-hop fields: fields of one connection that a proxy must not forward (RFC 9110 §7.6.1).
//!
//! `Connection` names further ones, and the peer writes that list. A list that names
//! `content-length`, `host` or `authorization` would make the proxy drop fields that the next
//! parser needs (CVE-2022-45059). Such names are protected.
//!
//! The cost of a head is linear in its length: the proxy refuses a head whose `Connection` lists
//! more than [`CONNECTION_OPTIONS_MAX`] options ([`lists_too_many`]), and no function here reads
//! further ones.

use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST,
    HeaderName, HeaderValue, SET_COOKIE, VARY,
};

use crate::limits::CONNECTION_OPTIONS_MAX;

/// The field that requests an explanation and carries its token, and in an answer the explanation.
/// It concerns the client and CacheWarp only, so neither direction forwards it.
pub const EXPLAIN: HeaderName = HeaderName::from_static("cachewarp-explain");

/// The digest of the content of a `QUERY`, in the key of its response. The proxy writes it into its
/// own copy of the request, over any value of the client; no origin receives it.
pub const QUERY_CONTENT: HeaderName = HeaderName::from_static("cachewarp-query-content");

/// Fields that `Connection` cannot remove: they frame the message, or decide who may see it.
static PROTECTED: [HeaderName; 9] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    HOST,
    AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    CACHE_CONTROL,
    VARY,
];

/// Removes the hop-by-hop fields of a head, including those that its `Connection` names.
pub fn strip(headers: &mut HeaderMap) {
    // Most heads have none: checking each name costs less than searching for every hop-by-hop name.
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = named_in_connection(headers).collect();
        for name in named {
            headers.remove(name);
        }
    }
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// Returns whether `Connection` lists more than [`CONNECTION_OPTIONS_MAX`] options.
pub fn lists_too_many(headers: &HeaderMap) -> bool {
    options(headers).nth(CONNECTION_OPTIONS_MAX).is_some()
}

/// Returns the members of all `Connection` lines, empty ones included.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONNECTION).into_iter().flat_map(options_of)
}

fn options_of(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b',')
}

/// Returns whether a `Connection` line lists this option, in any letter case.
pub fn lists(line: &HeaderValue, option: &[u8]) -> bool {
    options_of(line).any(|listed| listed.trim_ascii().eq_ignore_ascii_case(option))
}

/// Returns the fields that `Connection` makes hop-by-hop, without the protected ones. The digest of
/// a `QUERY` stays too: a client that removed it from the key would mix responses.
pub fn named_in_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    options(headers)
        .take(CONNECTION_OPTIONS_MAX)
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .filter(|name| !PROTECTED.contains(name) && *name != QUERY_CONTENT)
}

/// Returns whether these names from [`named_in_connection`] include a field, in either spelling:
/// CGI and its successors treat `_` and `-` as equal.
pub fn is_connection_option(name: &HeaderName, named: &[HeaderName]) -> bool {
    if named.is_empty() {
        return false;
    }
    let is_same = |one: u8, other: u8| one == other || (one == b'_' && other == b'-');
    named.iter().map(|named| named.as_str()).any(|named| {
        let name = name.as_str();
        named.len() == name.len() && name.bytes().zip(named.bytes()).all(|(one, other)| is_same(one, other))
    })
}

/// Returns whether a field, in lower case, is hop-by-hop by its own name. `trailer` and `te` are:
/// the proxy drops trailers, so no field may announce them.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "cachewarp-explain"
            | "cachewarp-query-content"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        strip(&mut headers);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn hop_by_hop_fields_are_removed() {
        let all = [
            "connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "proxy-authenticate",
            "proxy-authorization",
            "keep-alive",
            "proxy-connection",
            "cachewarp-explain",
            "cachewarp-query-content",
        ]
        .map(|name| (name, "x"));
        assert_eq!(left(&all), Vec::<String>::new());
        assert_eq!(left(&[("x-a", "1"), ("te", "trailers")]), ["x-a"]);
    }

    #[test]
    fn connection_names_further_fields_in_any_spelling() {
        assert_eq!(
            left(&[
                ("connection", "X-A ,, close"),
                ("connection", "x-b"),
                ("x-a", "1"),
                ("x-b", "2"),
                ("x-c", "3")
            ]),
            ["x-c"]
        );
    }

    #[test]
    fn the_options_of_all_lines_are_counted() {
        for (lines, each, too_many) in [
            (1, "x-a,".repeat(CONNECTION_OPTIONS_MAX - 1) + "x-a", false),
            (1, "x-a,".repeat(CONNECTION_OPTIONS_MAX), true),
            (1, ",".repeat(CONNECTION_OPTIONS_MAX), true),
            (CONNECTION_OPTIONS_MAX, "x-a".to_owned(), false),
            (CONNECTION_OPTIONS_MAX + 1, "x-a".to_owned(), true),
        ] {
            let mut headers = HeaderMap::new();
            for _ in 0..lines {
                headers.append(CONNECTION, each.parse().unwrap());
            }
            assert_eq!(lists_too_many(&headers), too_many, "{lines} lines of {each:?}");
            assert!(named_in_connection(&headers).count() <= CONNECTION_OPTIONS_MAX);
        }
        assert!(!lists_too_many(&HeaderMap::new()));
    }

    #[test]
    fn connection_cannot_remove_framing_or_privacy_fields() {
        for name in &PROTECTED {
            let name: &'static str = name.as_str().to_owned().leak();
            assert_eq!(left(&[("connection", name), (name, "1")]), [name]);
        }
    }
}
