//! The formats of `/metrics`, and the choice of one by the field `Accept` (RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which every tool reads.
    Text,
}

impl MetricsFormat {
    /// Returns the format that a client prefers.
    ///
    /// OpenMetrics is for clients that name it with at least the weight of plain text: `curl`, a
    /// browser and `promtool` read plain text. A client that accepts neither gets plain text too,
    /// since a page that it may be able to read serves an operator better than a `406`.
    pub fn preferred(head: &HeaderMap) -> Self {
        let lines = head.get_all(ACCEPT).iter().map(|line| line.as_bytes());
        let ranges = lines.flat_map(|line| split(line, b',')).map(MediaRange::read);
        let (mut open_metrics, mut text) = (0, 0);
        for MediaRange { name, version, weight } in ranges.flatten() {
            match (name.as_str(), version) {
                ("application/openmetrics-text", None | Some(b"1.0.0")) => {
                    open_metrics = weight.max(open_metrics);
                }
                ("text/plain", None | Some(b"0.0.4")) => text = weight.max(text),
                _ => {}
            }
        }
        if open_metrics > 0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Returns the media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A member of `Accept`.
struct MediaRange<'a> {
    /// The type in lower case.
    name: String,
    version: Option<&'a [u8]>,
    /// The weight in thousandths.
    weight: u16,
}

impl<'a> MediaRange<'a> {
    /// Reads a member; `None` if its weight is malformed.
    fn read(member: &'a [u8]) -> Option<Self> {
        let mut parts = split(member, b';').map(<[u8]>::trim_ascii);
        let name = std::str::from_utf8(parts.next()?).ok()?.to_ascii_lowercase();
        let mut range = Self { name, version: None, weight: FULL_WEIGHT };
        for part in parts {
            let Some(at) = part.iter().position(|&byte| byte == b'=') else { continue };
            let (name, value) = part.split_at_checked(at)?;
            let value = unquoted(value.get(1..).unwrap_or_default());
            if name.eq_ignore_ascii_case(b"version") {
                range.version = Some(value);
            } else if name.eq_ignore_ascii_case(b"q") {
                range.weight = thousandths(value)?;
            }
        }
        Some(range)
    }
}

/// The weight of a member that gives none.
const FULL_WEIGHT: u16 = 1000;

/// Splits a value at a separator, which counts only outside quoted strings.
fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    value.split(move |&byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        byte == separator && !is_quoted
    })
}

/// Returns a parameter's value without its quotes. No value that counts has escapes.
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Reads a weight in thousandths (RFC 9110 §12.4.2): from `0` to `1`, with at most three decimals.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let digits = match weight {
        [b'0' | b'1'] => &[],
        [b'0' | b'1', b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut total = u16::from(weight.starts_with(b"1")) * FULL_WEIGHT;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        total += digit.is_ascii_digit().then(|| u16::from(digit - b'0'))? * worth;
    }
    (total <= FULL_WEIGHT).then_some(total)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn preferred(lines: &[&str]) -> MetricsFormat {
        let lines = lines.iter().map(|line| (ACCEPT, HeaderValue::from_str(line).unwrap()));
        MetricsFormat::preferred(&lines.collect())
    }

    #[test]
    fn openmetrics_is_for_clients_that_prefer_it() {
        for lines in [
            // Prometheus 2 and 3.
            &[
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ][..],
            &[
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            ],
            &["application/openmetrics-text"],
            &["Application/OpenMetrics-Text ; Version=\"1.0.0\" ; Q=0.001"],
            &["text/plain;q=0.5", "application/openmetrics-text;q=0.5"],
            &["text/plain;q=2, application/openmetrics-text;q=0.1"],
        ] {
            assert_eq!(preferred(lines), MetricsFormat::OpenMetrics, "{lines:?}");
        }
    }

    #[test]
    fn every_other_client_gets_plain_text() {
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html,application/xhtml+xml,*/*;q=0.8"],
            &["text/plain, application/openmetrics-text;q=0.9"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;version=0.0.1"],
            &["application/openmetrics-text;q=1.001"],
            &["application/openmetrics-text;q=nan"],
            &["a/b;c=\", application/openmetrics-text,\""],
            &["a/b;c=\"\\\", application/openmetrics-text"],
            &["application/json"],
        ] {
            assert_eq!(preferred(lines), MetricsFormat::Text, "{lines:?}");
        }
    }

    #[test]
    fn a_value_may_be_any_bytes() {
        for line in [&b"\xff/\xfe;q=\x80"[..], b";;;===,,,", b"\"\\", b"application/openmetrics-text;q=\"1"] {
            let head = [(ACCEPT, HeaderValue::from_bytes(line).unwrap())].into_iter().collect();
            assert_eq!(MetricsFormat::preferred(&head), MetricsFormat::Text);
        }
    }
}
