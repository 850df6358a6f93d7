//! Tests of ranges of a stored body, one row per rule.

use http::header::HeaderValue;
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{head, rules};
use crate::limits::RANGES_MAX;
use crate::policy::{
    ByteRange, MultipartBody, MultipartPiece, RangeSelection, RequestFacts, content_range, multipart, ranges,
    unsatisfied_range,
};

type RangeFields = &'static [(&'static str, &'static str)];

const BODY: &[u8] = b"0123456789A";

fn answer(
    method: &Method,
    status: StatusCode,
    request: &[(&str, &str)],
    response: &[(&str, &str)],
    bytes: usize,
) -> RangeSelection {
    let headers = head(request);
    let facts = RequestFacts::read(method, &headers, &rules());
    ranges(&facts, &headers, status, &head(response), bytes)
}

/// Returns the selection for a `GET` of [`BODY`] with this `Range`.
fn get(range: &str) -> RangeSelection {
    answer(&Method::GET, StatusCode::OK, &[("range", range)], &[], BODY.len())
}

fn one(start: usize, len: usize) -> RangeSelection {
    RangeSelection::One(ByteRange { start, len })
}

fn several(parts: &[(usize, usize)]) -> RangeSelection {
    RangeSelection::Several(parts.iter().map(|&(start, len)| ByteRange { start, len }).collect())
}

#[test]
fn each_range_form_selects_its_bytes() {
    for (range, want) in [
        ("bytes=0-1", one(0, 2)),
        ("bytes=1-", one(1, 10)),
        ("bytes=-1", one(10, 1)),
        ("bytes=-5", one(6, 5)),
        ("bytes=-99", one(0, 11)),
        ("bytes=0-", one(0, 11)),
        ("bytes=10-10", one(10, 1)),
        ("bytes=5-99", one(5, 6)),
        ("bytes=5-99999999999999999999999", one(5, 6)),
        ("BYTES=0-1", one(0, 2)),
        ("bytes= 0-1 ,", one(0, 2)),
        ("bytes=0-1,5-6", several(&[(0, 2), (5, 2)])),
        ("bytes=-2, 0-0", several(&[(9, 2), (0, 1)])),
        ("bytes=0-1, 2-3", several(&[(0, 2), (2, 2)])),
        ("bytes=0-1, 50-60", one(0, 2)),
        ("bytes=11-", RangeSelection::Unsatisfiable),
        ("bytes=11-20, 30-", RangeSelection::Unsatisfiable),
        ("bytes=-0", RangeSelection::Unsatisfiable),
        ("bytes=99999999999999999999999-", RangeSelection::Unsatisfiable),
        ("bytes=0-5, 5-6", RangeSelection::Whole),
        ("bytes=0-, -1", RangeSelection::Whole),
        ("bytes=0-1, 0-1", RangeSelection::Whole),
        ("bytes=", RangeSelection::Whole),
        ("bytes=,", RangeSelection::Whole),
        ("bytes=-", RangeSelection::Whole),
        ("bytes=2-1", RangeSelection::Whole),
        ("bytes=0-1, x", RangeSelection::Whole),
        ("bytes=0-1-2", RangeSelection::Whole),
        ("bytes=0 - 1", RangeSelection::Whole),
        ("bytes=+0-1", RangeSelection::Whole),
        ("bytes 0-1", RangeSelection::Whole),
        ("items=0-1", RangeSelection::Whole),
        ("0-1", RangeSelection::Whole),
        ("", RangeSelection::Whole),
    ] {
        assert_eq!(get(range), want, "{range:?}");
    }
}

#[test]
fn too_many_or_overlapping_ranges_select_the_whole() {
    let list = |count: usize| (0..count).map(|_| "99-").collect::<Vec<_>>().join(",");
    assert_eq!(get(&format!("bytes={}", list(RANGES_MAX))), RangeSelection::Unsatisfiable);
    assert_eq!(get(&format!("bytes={}", list(RANGES_MAX + 1))), RangeSelection::Whole);
    assert_eq!(get(&format!("bytes={}", "0-,".repeat(10_000))), RangeSelection::Whole);
}

#[test]
fn ranges_apply_only_to_get_with_200() {
    let range = [("range", "bytes=0-1")];
    let answer = |method, status, request: &[_], bytes| answer(&method, status, request, &[], bytes);
    assert_eq!(answer(Method::GET, StatusCode::OK, &range, 11), one(0, 2));
    assert_eq!(answer(Method::HEAD, StatusCode::OK, &range, 11), RangeSelection::Whole);
    assert_eq!(answer(Method::GET, StatusCode::NOT_FOUND, &range, 11), RangeSelection::Whole);
    assert_eq!(answer(Method::GET, StatusCode::OK, &range, 0), RangeSelection::Whole);
    assert_eq!(answer(Method::GET, StatusCode::OK, &[range[0], range[0]], 11), RangeSelection::Whole);
    assert_eq!(answer(Method::GET, StatusCode::OK, &[], 11), RangeSelection::Whole);
}

#[test]
fn if_range_follows_the_rfc() {
    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const SECOND: &str = "Sun, 06 Nov 1994 12:00:01 GMT";
    const TAGGED: RangeFields = &[("etag", "\"a\""), ("last-modified", NOON), ("date", SECOND)];
    const WEAK: RangeFields = &[("etag", "W/\"a\"")];
    let part = one(0, 2);
    let rows: &[(&str, RangeFields, RangeFields, &RangeSelection)] = &[
        ("rfc9110-13.1.5-tag", TAGGED, &[("if-range", "\"a\"")], &part),
        ("rfc9110-13.1.5-other", TAGGED, &[("if-range", "\"b\"")], &RangeSelection::Whole),
        ("rfc9110-13.1.5-weak", TAGGED, &[("if-range", "W/\"a\"")], &RangeSelection::Whole),
        ("rfc9110-13.1.5-weak-stored", WEAK, &[("if-range", "W/\"a\"")], &RangeSelection::Whole),
        ("rfc9110-13.1.5-list", TAGGED, &[("if-range", "\"a\", \"b\"")], &RangeSelection::Whole),
        (
            "rfc9110-13.1.5-lines",
            TAGGED,
            &[("if-range", "\"a\""), ("if-range", "\"a\"")],
            &RangeSelection::Whole,
        ),
        ("rfc9110-13.1.5-date", TAGGED, &[("if-range", NOON)], &part),
        ("rfc9110-13.1.5-later", TAGGED, &[("if-range", SECOND)], &RangeSelection::Whole),
        (
            "rfc9110-8.8.2.2-same-second",
            &[("last-modified", NOON), ("date", NOON)],
            &[("if-range", NOON)],
            &RangeSelection::Whole,
        ),
        ("rfc9110-13.1.5-none", &[], &[("if-range", "\"a\"")], &RangeSelection::Whole),
        ("rfc9110-13.1.5-malformed", TAGGED, &[("if-range", "a")], &RangeSelection::Whole),
    ];
    for (id, response, request, want) in rows {
        let request = [&[("range", "bytes=0-1")], *request].concat();
        assert_eq!(answer(&Method::GET, StatusCode::OK, &request, response, BODY.len()), **want, "{id}");
    }
}

#[test]
fn content_range_fields_are_written() {
    assert_eq!(content_range(ByteRange { start: 2, len: 3 }, 11), "bytes 2-4/11");
    assert_eq!(unsatisfied_range(11), "bytes */11");
    for (value, is) in [
        ("bytes 0-1/9", true),
        ("bytes */9", true),
        ("bytes 0-1/*", true),
        ("items 0-1/9", true),
        ("AMYKWIUG", false),
        ("bytes", false),
        ("bytes 0-1", false),
        ("bytes a-b/c", false),
        ("", false),
    ] {
        let line = HeaderValue::from_str(value).unwrap();
        assert_eq!(crate::policy::reuse::range::is_content_range(&line), is, "{value:?}");
    }
}

fn sent(MultipartBody { content_type, bytes, pieces }: &MultipartBody) -> (String, String) {
    let body: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| match piece {
            MultipartPiece::Framing(framing) => framing.to_vec(),
            MultipartPiece::Body(part) => BODY[part.start..part.end()].to_vec(),
        })
        .collect();
    assert_eq!(body.len(), *bytes);
    (content_type.to_str().unwrap().to_owned(), String::from_utf8(body).unwrap())
}

#[test]
fn several_parts_are_framed_in_one_body() {
    let parts = [ByteRange { start: 9, len: 2 }, ByteRange { start: 0, len: 1 }];
    let json = HeaderValue::from_static("application/json");
    let (content_type, body) = sent(&multipart(&parts, BODY.len(), Some(&json), 0xab));
    let boundary = format!("{:032x}", 0xab);
    assert_eq!(content_type, format!("multipart/byteranges; boundary={boundary}"));
    assert_eq!(
        body,
        format!(
            "--{boundary}\r\nContent-Type: application/json\r\nContent-Range: bytes 9-10/11\r\n\r\n9A\r\n\
             --{boundary}\r\nContent-Type: application/json\r\nContent-Range: bytes 0-0/11\r\n\r\n0\r\n\
             --{boundary}--\r\n"
        )
    );
    let (_, untyped) = sent(&multipart(&parts, BODY.len(), None, 0xab));
    assert!(!untyped.contains("Content-Type") && untyped.contains("Content-Range"));
}

proptest! {
    #[test]
    fn parts_lie_within_the_body(range in "bytes=[0-9,-]{0,40}", bytes in 0..200_usize) {
        let parts = match answer(&Method::GET, StatusCode::OK, &[("range", &range)], &[], bytes) {
            RangeSelection::Whole | RangeSelection::Unsatisfiable => Vec::new(),
            RangeSelection::One(part) => vec![part],
            RangeSelection::Several(parts) => {
                prop_assert!(parts.len() > 1);
                parts
            }
        };
        prop_assert!(parts.iter().all(|part| part.len > 0 && part.end() <= bytes));
        prop_assert!(parts.iter().map(|part| part.len).sum::<usize>() <= bytes);
    }

    #[test]
    fn any_bytes_can_be_read(range in prop::collection::vec(32..=255_u8, 0..40)) {
        let Ok(value) = HeaderValue::from_bytes(&range) else { return Ok(()) };
        let headers = [(http::header::RANGE, value)].into_iter().collect();
        let facts = RequestFacts::read(&Method::GET, &headers, &rules());
        ranges(&facts, &headers, StatusCode::OK, &head(&[]), 100);
    }
}
