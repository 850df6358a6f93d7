//! `Max-Forwards` of an `OPTIONS` request (RFC 9110 §7.6.2): the number of proxies that may still
//! forward it. `TRACE` has the field too, and the proxy forwards none. A value that is no number is
//! forwarded as it is.

use http::HeaderMap;
use http::header::{HeaderValue, MAX_FORWARDS};

/// Returns whether no proxy may forward the request: this proxy is its final recipient.
pub fn is_exhausted(headers: &HeaderMap) -> bool {
    left(headers) == Some(0)
}

/// Writes the number of forwards that is left behind this proxy.
pub(super) fn decrement(headers: &mut HeaderMap) {
    if let Some(left) = left(headers) {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// Returns the smallest number of all lines.
fn left(headers: &HeaderMap) -> Option<u64> {
    let number = |line: &HeaderValue| {
        let text = line.to_str().ok()?;
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that no 64 bits hold is as good as none.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    headers.get_all(MAX_FORWARDS).iter().filter_map(number).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_number_is_decremented() {
        for (lines, exhausted, sent) in [
            (&[][..], false, &[][..]),
            (&["0"], true, &["0"]),
            (&["1"], false, &["0"]),
            (&["10", "3"], false, &["2"]),
            (&["99999999999999999999999"], false, &["18446744073709551614"]),
            (&["-1"], false, &["-1"]),
            (&["+1"], false, &["+1"]),
            (&["soon"], false, &["soon"]),
            (&[""], false, &[""]),
        ] {
            let mut headers: HeaderMap =
                lines.iter().map(|line| (MAX_FORWARDS, HeaderValue::from_static(line))).collect();
            assert_eq!(is_exhausted(&headers), exhausted, "{lines:?}");
            decrement(&mut headers);
            assert_eq!(headers.get_all(MAX_FORWARDS).iter().collect::<Vec<_>>(), sent, "{lines:?}");
        }
    }
}
