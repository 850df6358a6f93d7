//! Tests of a client's conditions, one row per rule.

use http::StatusCode;

use super::head;
use crate::policy::Precondition::{self, Failed, NotModified, Proceed};
use crate::policy::{not_modified_fields, precondition, strip_conditions};
use crate::time::Timestamp;

type ConditionFields = &'static [(&'static str, &'static str)];

const BEFORE: &str = "Sun, 06 Nov 1994 11:00:00 GMT";
const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 13:00:00 GMT";
const NOON_MILLIS: u64 = 784_123_200_000;

#[test]
fn conditions_follow_the_rfc() {
    const TAGGED: ConditionFields = &[("etag", "\"a\""), ("last-modified", NOON), ("date", AFTER)];
    const WEAK: ConditionFields = &[("etag", "W/\"a\""), ("last-modified", NOON)];
    const DATED: ConditionFields = &[("last-modified", NOON), ("date", AFTER)];
    const MADE: ConditionFields = &[("date", NOON)];
    const BARE: ConditionFields = &[];
    let rows: &[(&str, ConditionFields, ConditionFields, Precondition)] = &[
        ("none", TAGGED, &[], Proceed),
        ("rfc9110-13.1.2", TAGGED, &[("if-none-match", "\"a\"")], NotModified),
        ("rfc9110-13.1.2-other", TAGGED, &[("if-none-match", "\"b\"")], Proceed),
        ("rfc9110-13.1.2-weak", TAGGED, &[("if-none-match", "W/\"a\"")], NotModified),
        ("rfc9110-13.1.2-weak-stored", WEAK, &[("if-none-match", "\"a\"")], NotModified),
        ("rfc9110-13.1.2-weak-both", WEAK, &[("if-none-match", "W/\"a\"")], NotModified),
        ("rfc9110-13.1.2-first", TAGGED, &[("if-none-match", "\"a\", \"b\", \"c\"")], NotModified),
        ("rfc9110-13.1.2-middle", TAGGED, &[("if-none-match", "\"b\", \"a\", \"c\"")], NotModified),
        ("rfc9110-13.1.2-last", TAGGED, &[("if-none-match", "\"b\",\"c\" , \"a\"")], NotModified),
        (
            "rfc9110-13.1.2-lines",
            TAGGED,
            &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
            NotModified,
        ),
        ("rfc9110-13.1.2-star", TAGGED, &[("if-none-match", "*")], NotModified),
        ("rfc9110-13.1.2-star-untagged", BARE, &[("if-none-match", " * ")], NotModified),
        ("rfc9110-13.1.2-untagged", DATED, &[("if-none-match", "\"a\"")], Proceed),
        ("rfc9110-13.1.2-unquoted", TAGGED, &[("if-none-match", "a")], Proceed),
        ("rfc9110-13.1.2-case", TAGGED, &[("if-none-match", "\"A\"")], Proceed),
        ("rfc9110-13.1.3-equal", DATED, &[("if-modified-since", NOON)], NotModified),
        ("rfc9110-13.1.3-later", DATED, &[("if-modified-since", AFTER)], NotModified),
        ("rfc9110-13.1.3-earlier", DATED, &[("if-modified-since", BEFORE)], Proceed),
        (
            "rfc9110-5.6.7-rfc850",
            DATED,
            &[("if-modified-since", "Sunday, 06-Nov-94 12:00:00 GMT")],
            NotModified,
        ),
        ("rfc9110-13.1.3-malformed", DATED, &[("if-modified-since", "noon")], Proceed),
        (
            "rfc9110-13.1.3-several",
            DATED,
            &[("if-modified-since", NOON), ("if-modified-since", AFTER)],
            Proceed,
        ),
        ("rfc9111-4.3.2-date", MADE, &[("if-modified-since", NOON)], NotModified),
        ("rfc9111-4.3.2-date-earlier", MADE, &[("if-modified-since", BEFORE)], Proceed),
        ("rfc9111-4.3.2-received", BARE, &[("if-modified-since", NOON)], NotModified),
        ("rfc9111-4.3.2-received-earlier", BARE, &[("if-modified-since", BEFORE)], Proceed),
        (
            "rfc9110-13.2.2-none-match-first",
            TAGGED,
            &[("if-none-match", "\"b\""), ("if-modified-since", AFTER)],
            Proceed,
        ),
        (
            "rfc9110-13.2.2-none-match-alone",
            TAGGED,
            &[("if-none-match", "\"a\""), ("if-modified-since", BEFORE)],
            NotModified,
        ),
        ("rfc9110-13.1.1", TAGGED, &[("if-match", "\"a\"")], Proceed),
        ("rfc9110-13.1.1-other", TAGGED, &[("if-match", "\"b\"")], Failed),
        ("rfc9110-13.1.1-list", TAGGED, &[("if-match", "\"b\", \"a\"")], Proceed),
        ("rfc9110-13.1.1-strong", WEAK, &[("if-match", "W/\"a\"")], Failed),
        ("rfc9110-13.1.1-star", BARE, &[("if-match", "*")], Proceed),
        ("rfc9110-13.1.1-untagged", DATED, &[("if-match", "\"a\"")], Failed),
        ("rfc9110-13.1.1-malformed", TAGGED, &[("if-match", "a")], Failed),
        ("rfc9110-13.1.4-equal", DATED, &[("if-unmodified-since", NOON)], Proceed),
        ("rfc9110-13.1.4-earlier", DATED, &[("if-unmodified-since", BEFORE)], Failed),
        ("rfc9110-13.1.4-malformed", DATED, &[("if-unmodified-since", "noon")], Proceed),
        ("rfc9110-13.1.4-undated", BARE, &[("if-unmodified-since", BEFORE)], Proceed),
        (
            "rfc9110-13.2.2-match-first",
            TAGGED,
            &[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)],
            Proceed,
        ),
        ("rfc9110-13.2.2-both", TAGGED, &[("if-match", "\"a\""), ("if-none-match", "\"a\"")], NotModified),
        ("rfc9110-13.2.2-failed", TAGGED, &[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Failed),
    ];
    for (id, response, request, want) in rows {
        let outcome = precondition(
            &head(request),
            StatusCode::OK,
            &head(response),
            Timestamp::from_millis(NOON_MILLIS),
        );
        assert_eq!(outcome, *want, "{id}");
    }
}

#[test]
fn tags_outside_ascii_match() {
    let response = head(&[("etag", "\"abcdef\u{fc}\"")]);
    let request = head(&[("if-none-match", "\"abcdef\u{fc}\"")]);
    assert_eq!(precondition(&request, StatusCode::OK, &response, Timestamp::EPOCH), NotModified);
}

#[test]
fn conditions_apply_only_to_success() {
    let request = head(&[("if-none-match", "*"), ("if-match", "\"b\"")]);
    for status in [301, 404, 410, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(precondition(&request, status, &head(&[]), Timestamp::EPOCH), Proceed, "{status}");
    }
    assert_eq!(precondition(&request, StatusCode::NO_CONTENT, &head(&[]), Timestamp::EPOCH), Failed);
}

#[test]
fn a_304_omits_representation_metadata() {
    let left = |extra: &[(&str, &str)]| {
        let kept = [
            ("cache-control", "max-age=60"),
            ("content-location", "/a"),
            ("date", NOON),
            ("expires", AFTER),
            ("vary", "accept"),
            ("age", "1"),
            ("access-control-allow-origin", "*"),
        ];
        let left_out = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("content-language", "en"),
            ("content-length", "3"),
            ("content-md5", "x"),
        ];
        let mut fields = head(&[&kept[..], &left_out, extra].concat());
        not_modified_fields(&mut fields);
        assert!(kept.iter().all(|(name, _)| fields.contains_key(*name)));
        (fields.len() - kept.len(), fields)
    };
    let (more, fields) = left(&[("etag", "\"a\""), ("last-modified", NOON)]);
    assert!(more == 1 && fields.contains_key("etag"));
    let (more, fields) = left(&[("last-modified", NOON)]);
    assert!(more == 1 && fields.contains_key("last-modified"));
}

#[test]
fn a_fetch_of_the_whole_carries_no_conditions() {
    let mut request = head(&[
        ("if-match", "x"),
        ("if-none-match", "x"),
        ("if-modified-since", "x"),
        ("if-unmodified-since", "x"),
        ("if-range", "x"),
        ("range", "x"),
        ("accept", "x"),
    ]);
    strip_conditions(&mut request);
    assert_eq!(request, head(&[("accept", "x")]));
}
