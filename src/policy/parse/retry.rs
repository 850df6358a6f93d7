//! `Retry-After` (RFC 9110 §10.2.3): the time at which the origin accepts the next request.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::policy::parse::date;
use crate::policy::parse::seconds::DeltaSeconds;
use crate::time::Timestamp;

/// Returns the time until the origin accepts the next request. Returns none if the field is absent,
/// repeated or malformed.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let mut lines = headers.get_all(RETRY_AFTER).into_iter();
    let (value, None) = (lines.next()?, lines.next()) else { return None };
    let seconds = DeltaSeconds::parse(value.as_bytes().trim_ascii().iter().copied());
    seconds.map(DeltaSeconds::duration).or_else(|| date::parse(value).map(|date| date.since(now)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_millis(784_111_777_000);
        let rows: [(&[&str], Option<u64>); 10] = [
            (&[], None),
            (&["0"], Some(0)),
            (&["120"], Some(120)),
            (&["99999999999999999999"], Some(1 << 31)),
            (&["Sun, 06 Nov 1994 08:50:37 GMT"], Some(60)),
            (&["Sun, 06 Nov 1994 08:48:37 GMT"], Some(0)),
            (&["-1"], None),
            (&["1.5"], None),
            (&["soon"], None),
            (&["1", "2"], None),
        ];
        for (lines, seconds) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(RETRY_AFTER, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs), "{lines:?}");
        }
    }
}
