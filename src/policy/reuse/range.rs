//! Byte ranges of a body that is stored whole (RFC 9110 §14).
//!
//! A server may always send the whole body instead. CacheWarp does so if a range is malformed, has
//! another unit, is one of too many, or overlaps another. So no response is longer than the body
//! that it is made from.

use http::header::{HeaderValue, IF_RANGE, RANGE};
use http::{HeaderMap, StatusCode};

use crate::limits::RANGES_MAX;

use crate::policy::parse::validators::{self, EntityTag};
use crate::policy::parse::{date, syntax};
use crate::policy::reuse::request::{RequestFacts, RetrievalKind};

/// A part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The position of the first byte.
    pub start: usize,
    /// The number of bytes; never zero.
    pub len: usize,
}

/// The part of a body that a request receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeSelection {
    /// `200`: the whole body.
    Whole,
    /// `206` with [`content_range`].
    One(ByteRange),
    /// `206` as [`multipart`](crate::policy::multipart()): at least two and at most [`RANGES_MAX`]
    /// parts, in the order of the request, without overlaps.
    Several(Vec<ByteRange>),
    /// `416` with [`unsatisfied_range`].
    Unsatisfiable,
}

impl ByteRange {
    /// Returns the position after the last byte.
    pub const fn end(self) -> usize {
        self.start.saturating_add(self.len)
    }

    fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

/// Selects the part of a response with this status, these fields and a body of this length.
/// `request` and `headers` belong to one request.
pub fn ranges(
    request: &RequestFacts,
    headers: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    body_bytes: usize,
) -> RangeSelection {
    // §14.2: a range applies only to a `GET`, and only if the response would be `200`.
    let applies = request.retrieval == RetrievalKind::Whole && status == StatusCode::OK && body_bytes > 0;
    match specs(headers) {
        Some(specs) if applies && is_same_representation(headers, response) => select(&specs, body_bytes),
        Some(_) | None => RangeSelection::Whole,
    }
}

/// Returns the `Content-Range` of a `206` with one part (§14.4).
pub fn content_range(part: ByteRange, body_bytes: usize) -> HeaderValue {
    let last = part.end().saturating_sub(1);
    text(format!("bytes {}-{last}/{body_bytes}", part.start))
}

/// Returns the `Content-Range` of a `416` (§14.4).
pub fn unsatisfied_range(body_bytes: usize) -> HeaderValue {
    text(format!("bytes */{body_bytes}"))
}

/// Returns whether a field line is a valid `Content-Range` (§14.4). Any other text in the field has
/// no meaning.
pub(in crate::policy) fn is_content_range(line: &HeaderValue) -> bool {
    let Some((_, range)) = line.to_str().ok().and_then(|line| line.trim().split_once(' ')) else {
        return false;
    };
    let Some((part, complete)) = range.trim().split_once('/') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_part = part.split_once('-').is_some_and(|(first, last)| is_number(first) && is_number(last));
    (part == "*" || is_part) && (complete == "*" || is_number(complete))
}

/// One member of a `Range` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeSpec {
    /// A range from the first position to the last one, or to the end.
    From(u64, Option<u64>),
    /// The given number of bytes at the end.
    Suffix(u64),
}

/// Returns the requested ranges. Returns none if there is no `Range` or if CacheWarp ignores it.
fn specs(headers: &HeaderMap) -> Option<Vec<RangeSpec>> {
    let mut lines = headers.get_all(RANGE).into_iter();
    let line = lines.next()?.as_bytes();
    if lines.next().is_some() {
        return None;
    }
    let equals = line.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = line.split_at_checked(equals)?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let specs: Vec<RangeSpec> =
        syntax::members(set.get(1..)?).take(RANGES_MAX + 1).map(RangeSpec::parse).collect::<Option<_>>()?;
    (1..=RANGES_MAX).contains(&specs.len()).then_some(specs)
}

impl RangeSpec {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        let (first, last) = text.split_at_checked(dash)?;
        let last = last.get(1..)?;
        match (first, last) {
            ([], suffix) => Some(Self::Suffix(number(suffix)?)),
            (first, []) => Some(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// Returns the range within a body of this length. Returns none if it is empty.
    fn part(self, body_bytes: usize) -> Option<ByteRange> {
        // A position beyond `usize` is after the end of every body.
        let position = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (start, end) = match self {
            Self::From(first, None) => (position(first), body_bytes),
            Self::From(first, Some(last)) => {
                (position(first), position(last).saturating_add(1).min(body_bytes))
            }
            Self::Suffix(length) => (body_bytes.saturating_sub(position(length)), body_bytes),
        };
        let len = end.checked_sub(start)?;
        (len > 0).then_some(ByteRange { start, len })
    }
}

/// Reads `1*DIGIT`; the result saturates.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |total, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(total.saturating_mul(10).saturating_add(digit))
    })
}

fn select(specs: &[RangeSpec], body_bytes: usize) -> RangeSelection {
    let parts: Vec<ByteRange> = specs.iter().filter_map(|spec| spec.part(body_bytes)).collect();
    match parts.as_slice() {
        [] => RangeSelection::Unsatisfiable,
        [part] => RangeSelection::One(*part),
        several if any_overlap(several) => RangeSelection::Whole,
        _ => RangeSelection::Several(parts),
    }
}

fn any_overlap(parts: &[ByteRange]) -> bool {
    let mut rest = parts;
    while let [one, others @ ..] = rest {
        if others.iter().any(|other| one.overlaps(*other)) {
            return true;
        }
        rest = others;
    }
    false
}

/// Evaluates `If-Range` (§13.1.5): returns whether the client's partial copy has the same bytes as
/// this representation.
fn is_same_representation(headers: &HeaderMap, response: &HeaderMap) -> bool {
    let mut lines = headers.get_all(IF_RANGE).into_iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(line), None) => match EntityTag::parse(line.as_bytes()) {
            Some(tag) => EntityTag::of(response).is_some_and(|own| own.strong_eq(tag)),
            None => {
                let since = date::parse(line);
                since.is_some() && since == validators::strong_last_modified(response)
            }
        },
        (Some(_), Some(_)) => false,
    }
}

fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("bytes */*"))
}
