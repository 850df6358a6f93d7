//! What the checks of the policy share: heads out of lines of foreign bytes, and rules.

use std::time::Duration;

use cachewarp::key::{Scheme, Target};
use cachewarp::policy::{Exchange, RequestFacts, Rules};
use cachewarp::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Sunday, 06 November 1994, 12:00:00 GMT.
pub(super) const NOON_MILLIS: u64 = 784_123_200_000;

/// Everything that RFC 9111 lets a shared cache store, and no guess but the one asked for.
pub(super) fn rules(default_ttl: Duration) -> Rules {
    Rules { default_ttl, ..Rules::default() }
}

/// A head with these fields, of those lines that can be field values.
pub(super) fn head<'a>(fields: impl IntoIterator<Item = (&'static str, &'a [u8])>) -> HeaderMap {
    let value = |(name, line): (&'static str, &[u8])| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(line).ok()?))
    };
    fields.into_iter().filter_map(value).collect()
}

/// A head of `name: value` lines, of those that can be fields.
pub(super) fn named(data: &[u8]) -> HeaderMap {
    let field = |line: &[u8]| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let value = line.get(colon + 1..)?.trim_ascii();
        Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines(data).filter_map(field) {
        headers.append(name, value);
    }
    headers
}

/// Input cut at its line ends.
pub(super) fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == b'\n')
}

/// A request with these fields, as the gates see it.
pub(super) fn facts(method: &Method, headers: &HeaderMap) -> RequestFacts {
    RequestFacts::read(method, headers, &rules(Duration::ZERO))
}

/// A `200` to a request, asked for and received at these moments.
pub(super) fn exchange<'a>(
    request: &'a RequestFacts,
    response: &'a HeaderMap,
    requested: Timestamp,
    received: Timestamp,
) -> Exchange<'a> {
    Exchange { request, status: StatusCode::OK, response, requested, received }
}

/// `http://api.test` and this path.
pub(super) fn target(path: &str) -> Target {
    let uri = path.parse().expect("a path");
    Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).expect("a well-formed target")
}
