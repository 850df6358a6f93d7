//! HTTP dates (RFC 9110 §5.6.7).
//!
//! The parser reads the three formats strictly, with two exceptions: it ignores letter case, as RFC
//! 9111 §4.2 recommends to caches, and it ignores a wrong weekday, since the rest of the date is
//! complete.

use std::time::SystemTime;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::time::Timestamp;

/// The weekdays as RFC 850 writes them; the other formats write the first three letters.
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The longest date, `Wednesday, 06-Nov-94 08:49:37 GMT`, in bytes.
const DATE_BYTES_MAX: usize = 33;

/// Returns the date in a field. Returns none if several lines differ or if a line is not a date.
pub(in crate::policy) fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let mut lines = headers.get_all(name).into_iter().map(parse);
    let first = lines.next()??;
    lines.all(|other| other == Some(first)).then_some(first)
}

/// Reads one field line.
pub(in crate::policy) fn parse(value: &HeaderValue) -> Option<Timestamp> {
    let mut buffer = [0; DATE_BYTES_MAX];
    let text = buffer.get_mut(..value.len())?;
    text.copy_from_slice(value.as_bytes());
    normalise_case(text);
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).ok().or_else(|| parse_with_any_weekday(text)).map(Timestamp::from)
}

/// Reads a date whose weekday is wrong.
fn parse_with_any_weekday(text: &str) -> Option<SystemTime> {
    let (named, rest) = text.split_at(text.find(|letter: char| !letter.is_ascii_alphabetic())?);
    let short = |day: &'static str| day.get(..3).unwrap_or(day);
    let is_short = WEEKDAYS.iter().any(|day| short(day) == named);
    if !is_short && !WEEKDAYS.contains(&named) {
        return None;
    }
    // RFC 850 writes the weekday in full and the year with two digits. `httpdate` tells the formats
    // apart by their length.
    WEEKDAYS.iter().find_map(|day| {
        let day = if is_short { short(day) } else { day };
        httpdate::parse_http_date(&[day, rest].concat()).ok()
    })
}

/// Puts the letters into the case that the formats specify: `Sun`, `Nov`, and `GMT` at the end.
fn normalise_case(text: &mut [u8]) {
    let mut in_word = false;
    for byte in text.iter_mut() {
        if in_word {
            byte.make_ascii_lowercase();
        } else {
            byte.make_ascii_uppercase();
        }
        in_word = byte.is_ascii_alphabetic();
    }
    if let [.., b' ', b'G', m @ b'm', t @ b't'] = text {
        (*m, *t) = (b'M', b'T');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_strictly() {
        let noon = Some(Timestamp::from_millis(784_123_200_000));
        let rows = [
            ("rfc9110-5.6.7-imf", "Sun, 06 Nov 1994 12:00:00 GMT", noon),
            ("rfc9110-5.6.7-rfc850", "Sunday, 06-Nov-94 12:00:00 GMT", noon),
            ("rfc9110-5.6.7-asctime", "Sun Nov  6 12:00:00 1994", noon),
            ("rfc9111-4.2-weekday", "SUN, 06 Nov 1994 12:00:00 GMT", noon),
            ("rfc9111-4.2-month", "Sun, 06 nOV 1994 12:00:00 GMT", noon),
            ("rfc9111-4.2-zone", "Sun, 06 Nov 1994 12:00:00 gMt", noon),
            ("rfc9111-4.2-rfc850", "SUNDAY, 06-NOV-94 12:00:00 gmt", noon),
            ("rfc9111-4.2-asctime", "sun nov  6 12:00:00 1994", noon),
            ("zone-utc", "Sun, 06 Nov 1994 12:00:00 UTC", None),
            ("zone-other", "Sun, 06 Nov 1994 12:00:00 AEST", None),
            ("zone-none", "Sun, 06 Nov 1994 12:00:00", None),
            ("year-of-two-digits", "Sun, 06 Nov 94 12:00:00 GMT", None),
            ("no-comma", "Sun 06 Nov 1994 12:00:00 GMT", None),
            ("spaces", "Sun, 06  Nov  1994 12:00:00 GMT", None),
            ("dashes", "Sun, 06-Nov-1994 12:00:00 GMT", None),
            ("periods", "Sun, 06 Nov 1994 12.00.00 GMT", None),
            ("hour-of-one-digit", "Sun, 06 Nov 1994 2:00:00 GMT", None),
            ("another-weekday", "Mon, 06 Nov 1994 12:00:00 GMT", noon),
            ("another-weekday-rfc850", "Wednesday, 06-Nov-94 12:00:00 GMT", noon),
            ("another-weekday-asctime", "sat Nov  6 12:00:00 1994", noon),
            ("no-weekday", "Foo, 06 Nov 1994 12:00:00 GMT", None),
            ("weekday-of-another-format", "Sunday, 06 Nov 1994 12:00:00 GMT", None),
            ("another-weekday-no-such-day", "Mon, 31 Nov 1994 12:00:00 GMT", None),
            ("no-such-day", "Sun, 31 Nov 1994 12:00:00 GMT", None),
            ("a-number", "0", None),
            ("nothing", "", None),
            ("long", "Sunday, 06 November 1994 12:00:00 GMT and more", None),
        ];
        for (id, text, want) in rows {
            assert_eq!(parse(&text.parse().unwrap()), want, "{id}");
        }
        assert_eq!(parse(&HeaderValue::from_bytes(b"Sun, 06 Nov 1994 12:00:00 GM\xd4").unwrap()), None);
    }

    #[test]
    fn a_date_far_ahead_is_read() {
        let far = parse(&HeaderValue::from_static("Sun, 21 Nov 2286 04:46:39 GMT")).unwrap();
        assert_eq!(far, Timestamp::from_millis(10_000_039_599_000));
    }
}
