//! The format of metrics that a client's `Accept` chooses.

use cachewarp::telemetry::MetricsFormat;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use super::heads::lines;

/// Each line is a line of the field. Checks that letter case, and the split of one list into
/// several lines, change nothing; and that only a client that names OpenMetrics gets it.
pub(crate) fn metrics_accept(data: &[u8]) {
    let head = accept(lines(data));
    let format = MetricsFormat::preferred(&head);
    let upper = data.to_ascii_uppercase();
    assert_eq!(format, MetricsFormat::preferred(&accept(lines(&upper))), "letter case");
    if !data.contains(&b'"') {
        let whole: Vec<&[u8]> = head.get_all(ACCEPT).iter().map(HeaderValue::as_bytes).collect();
        let joined = whole.join(&b", "[..]);
        assert_eq!(format, MetricsFormat::preferred(&accept([joined.as_slice()])), "several lines");
    }
    if format == MetricsFormat::OpenMetrics {
        let names_it = upper.windows(16).any(|window| window == b"OPENMETRICS-TEXT");
        assert!(names_it, "{head:?}");
    }
}

fn accept<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> HeaderMap {
    let values = lines.into_iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (ACCEPT, value)).collect()
}
