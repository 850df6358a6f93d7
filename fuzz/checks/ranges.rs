//! `Range` and `If-Range`: the parts of a body, compared with a simple reading of the grammar.

use cachewarp::policy::{
    ByteRange, MultipartPiece, Precondition, RangeSelection, content_range, multipart, precondition, ranges,
};
use http::{Method, StatusCode};

use super::heads::{NOON_MILLIS, facts, head, lines};

/// The most ranges of one request.
const RANGES_MAX: usize = 16;

/// The first byte is the body's length; then lines: `Range`, `If-Range`, `ETag`, `Last-Modified`,
/// `Date`, and the other conditions.
///
/// Checks that parts lie in the body and do not overlap, and equal those of the simple reading;
/// that `If-Range` removes parts and never adds any; and that any conditions have an answer.
pub(crate) fn range(data: &[u8]) {
    let Some((&length, text)) = data.split_first() else { return };
    let length = usize::from(length);
    let of = |names: &[&'static str], from: usize| head(names.iter().copied().zip(lines(text).skip(from)));
    let request = of(&["range", "if-range"], 0);
    let response = of(&["etag", "last-modified", "date"], 2);
    let facts = facts(&Method::GET, &request);
    let got = ranges(&facts, &request, StatusCode::OK, &response, length);
    hold(&got, length);

    let plain = of(&["range"], 0);
    let unconditional = ranges(&facts, &plain, StatusCode::OK, &response, length);
    if request.contains_key("if-range") {
        assert!(
            got == unconditional || got == RangeSelection::Whole,
            "{got:?} for a request of {unconditional:?}"
        );
    }
    let model = plain.get("range").and_then(|line| line.to_str().ok()).and_then(|line| model(line, length));
    assert_eq!(unconditional, model.unwrap_or(RangeSelection::Whole), "{plain:?} of {length}");

    let conditions = of(&["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"], 5);
    let received = cachewarp::time::Timestamp::from_millis(NOON_MILLIS);
    let answer = precondition(&conditions, StatusCode::OK, &response, received);
    assert!(answer == Precondition::Proceed || !conditions.is_empty());
    assert_eq!(precondition(&conditions, StatusCode::NOT_FOUND, &response, received), Precondition::Proceed);
}

/// Checks the invariants of all ranges.
fn hold(got: &RangeSelection, length: usize) {
    let parts = match got {
        RangeSelection::Whole | RangeSelection::Unsatisfiable => return,
        RangeSelection::One(part) => vec![*part],
        RangeSelection::Several(parts) => parts.clone(),
    };
    let mut covered = vec![false; length];
    for part in &parts {
        assert!(part.len > 0 && part.end() <= length, "{part:?} of {length}");
        assert!(!covered[part.start..part.end()].contains(&true), "{parts:?} overlap");
        covered[part.start..part.end()].fill(true);
        let text = content_range(*part, length);
        assert_eq!(text, format!("bytes {}-{}/{length}", part.start, part.start + part.len - 1));
    }
    if let RangeSelection::Several(parts) = got {
        assert!((2..=RANGES_MAX).contains(&parts.len()));
        let framed = multipart(parts, length, None, 7);
        let bytes = |piece: &MultipartPiece| match piece {
            MultipartPiece::Framing(framing) => framing.len(),
            MultipartPiece::Body(part) => part.len,
        };
        assert_eq!(framed.bytes, framed.pieces.iter().map(bytes).sum::<usize>());
    }
}

/// Reads RFC 9110 §14.1.2 with strings and saturating numbers. Returns `None` if the answer is the
/// whole body.
fn model(line: &str, length: usize) -> Option<RangeSelection> {
    let (unit, set) = line.split_once('=')?;
    let specs: Vec<&str> =
        set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()).collect();
    if !unit.eq_ignore_ascii_case("bytes") || specs.is_empty() || specs.len() > RANGES_MAX || length == 0 {
        return None;
    }
    let mut parts = Vec::new();
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        let (from, to) = match (first, last) {
            ("", suffix) => (length.saturating_sub(number(suffix)?), length),
            (first, "") => (number(first)?, length),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                (first, last.saturating_add(1).min(length))
            }
        };
        if from < to {
            parts.push(ByteRange { start: from, len: to - from });
        }
    }
    let overlap = |(at, one): (usize, &ByteRange)| {
        parts[..at].iter().any(|other| one.start < other.end() && other.start < one.end())
    };
    match parts.as_slice() {
        [] => Some(RangeSelection::Unsatisfiable),
        [part] => Some(RangeSelection::One(*part)),
        several if several.iter().enumerate().any(overlap) => None,
        _ => Some(RangeSelection::Several(parts)),
    }
}

/// Parses digits. A number too large to count is beyond every body.
fn number(digits: &str) -> Option<usize> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(usize::MAX))
}
