//! Validators of a representation: `ETag` and `Last-Modified` (RFC 9110 §8.8).

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};

use crate::time::Timestamp;

use crate::policy::parse::{date, syntax};

/// RFC 9110 §8.8.2.2: if `Last-Modified` is this much earlier than `Date`, the representation did
/// not change again in the second of `Last-Modified`.
const LAST_MODIFIED_STRONG_AFTER: Duration = Duration::from_secs(1);

/// An entity tag (RFC 9110 §8.8.3), without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct EntityTag<'a> {
    pub(in crate::policy) strength: ValidatorStrength,
    opaque: &'a [u8],
}

/// The strength of a validator: whether equal validators mean equal bytes (RFC 9110 §8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum ValidatorStrength {
    /// Equal validators mean equal bytes.
    Strong,
    /// Equal validators mean equivalent representations.
    Weak,
}

impl<'a> EntityTag<'a> {
    /// Returns the tag in an `ETag` field. Returns none if it is malformed or repeated.
    pub(in crate::policy) fn of(headers: &'a HeaderMap) -> Option<Self> {
        Self::parse(only_line(headers, &ETAG)?.as_bytes())
    }

    /// Reads `[ "W/" ] DQUOTE *etagc DQUOTE`.
    pub(in crate::policy) fn parse(text: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split(text)?;
        rest.is_empty().then_some(tag)
    }

    /// Reads the tags of a list. Malformed text ends the list, since the start of the next tag is
    /// unknown.
    pub(in crate::policy) fn list(line: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = line;
        std::iter::from_fn(move || {
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            let (tag, after) = Self::split(rest)?;
            rest = match syntax::trim(after) {
                [] => &[],
                after @ [b',', ..] => after,
                _ => return None,
            };
            Some(tag)
        })
    }

    /// Compares strongly (RFC 9110 §8.8.3.2): both tags are strong and equal.
    pub(in crate::policy) fn strong_eq(self, other: Self) -> bool {
        self.strength == ValidatorStrength::Strong && self == other
    }

    /// Compares weakly (RFC 9110 §8.8.3.2): the tags are equal, ignoring their strength.
    pub(in crate::policy) fn weak_eq(self, other: Self) -> bool {
        self.opaque == other.opaque
    }

    fn split(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (strength, text) = match text {
            // `W/` is case-sensitive.
            [b'W', b'/', b'"', text @ ..] => (ValidatorStrength::Weak, text),
            [b'"', text @ ..] => (ValidatorStrength::Strong, text),
            _ => return None,
        };
        let close = text.iter().position(|&byte| byte == b'"')?;
        let (opaque, rest) = text.split_at_checked(close)?;
        // RFC 9110 §8.8.3: visible characters and bytes outside ASCII.
        let visible = opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f);
        visible.then_some((Self { strength, opaque }, rest.get(1..)?))
    }
}

/// Returns whether a response with these fields can be validated.
pub(in crate::policy) fn has_any(headers: &HeaderMap) -> bool {
    entity_tag_line(headers).is_some() || last_modified_line(headers).is_some()
}

/// Returns the `ETag` line for sending it back to the origin. The line may be malformed, since the
/// origin that wrote it can still compare it.
pub(in crate::policy) fn entity_tag_line(headers: &HeaderMap) -> Option<&HeaderValue> {
    only_line(headers, &ETAG).filter(|line| !line.is_empty())
}

/// Returns the `Last-Modified` line for sending it back to the origin. Returns none if it is not a
/// date, since the origin would ignore the condition.
pub(in crate::policy) fn last_modified_line(headers: &HeaderMap) -> Option<&HeaderValue> {
    only_line(headers, &LAST_MODIFIED).filter(|line| date::parse(line).is_some())
}

/// Returns the time in `Last-Modified` if it is a strong validator (RFC 9110 §8.8.2.2).
pub(in crate::policy) fn strong_last_modified(headers: &HeaderMap) -> Option<Timestamp> {
    let modified = date::of(headers, &LAST_MODIFIED)?;
    let made = date::of(headers, &DATE)?;
    (made.since(modified) >= LAST_MODIFIED_STRONG_AFTER).then_some(modified)
}

fn only_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).into_iter();
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(ValidatorStrength, &[u8])> {
        EntityTag::parse(text.as_bytes()).map(|tag| (tag.strength, tag.opaque))
    }

    #[test]
    fn entity_tags_are_parsed() {
        use ValidatorStrength::{Strong, Weak};
        for (text, want) in [
            ("\"a\"", Some((Strong, &b"a"[..]))),
            ("\"\"", Some((Strong, b""))),
            ("W/\"a,b\"", Some((Weak, b"a,b"))),
            ("\"a\\\"", Some((Strong, b"a\\"))),
            ("\"\u{fc}\"", Some((Strong, "\u{fc}".as_bytes()))),
            ("w/\"a\"", None),
            ("W\"a\"", None),
            ("W\\\"a\"", None),
            ("a", None),
            ("\"a", None),
            ("\"a b\"", None),
            ("\"a\" ", None),
            ("\"a\", \"b\"", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }

    #[test]
    fn lists_of_entity_tags_are_parsed() {
        for (line, count) in [
            ("\"a\"", 1),
            ("\"a\",W/\"b\"", 2),
            (" ,\t\"a\" ,, \"b,c\" , ", 2),
            ("\"a\" \"b\"", 0),
            ("\"a\", b, \"c\"", 1),
            ("a", 0),
            ("*", 0),
            ("", 0),
        ] {
            assert_eq!(EntityTag::list(line.as_bytes()).count(), count, "{line}");
        }
    }

    #[test]
    fn entity_tags_compare_as_in_the_rfc() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let tag = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
            for (one, other) in [(tag(one), tag(other)), (tag(other), tag(one))] {
                assert_eq!((one.strong_eq(other), one.weak_eq(other)), (strong, weak), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_head_has_validators_or_not() {
        let head = crate::policy::tests::head;
        const DAY: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
        assert!(has_any(&head(&[("etag", "\"a\"")])));
        assert!(has_any(&head(&[("etag", "unquoted")])));
        assert!(has_any(&head(&[("last-modified", DAY)])));
        assert!(!has_any(&head(&[("date", DAY), ("last-modified", "yesterday")])));
        assert!(!has_any(&head(&[("etag", "")])));
        assert!(!has_any(&head(&[("etag", "\"a\""), ("etag", "\"a\"")])));
    }

    #[test]
    fn last_modified_is_strong_after_one_second() {
        let head = crate::policy::tests::head;
        let strong = |date| {
            strong_last_modified(&head(&[("last-modified", "Sun, 06 Nov 1994 12:00:00 GMT"), ("date", date)]))
        };
        assert_eq!(strong("Sun, 06 Nov 1994 12:00:01 GMT"), Some(Timestamp::from_millis(784_123_200_000)));
        assert_eq!(strong("Sun, 06 Nov 1994 12:00:00 GMT"), None);
        assert_eq!(strong("noon"), None);
    }
}
