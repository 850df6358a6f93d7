//! Shared parts of the policy's checks: heads from lines of foreign bytes, and rules.

use std::time::Duration;

use cachewarp::key::{Scheme, Target};
use cachewarp::policy::{CacheRules, Exchange, RequestFacts};
use cachewarp::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Sunday, 06 November 1994, 12:00:00 GMT.
pub(super) const NOON_MILLIS: u64 = 784_123_200_000;

/// Returns rules that store everything RFC 9111 permits, with only this default lifetime.
pub(super) fn rules(default_ttl: Duration) -> CacheRules {
    CacheRules { default_ttl, ..CacheRules::default() }
}

/// Returns a head with these fields, without lines that cannot be field values.
pub(super) fn head<'a>(fields: impl IntoIterator<Item = (&'static str, &'a [u8])>) -> HeaderMap {
    let value = |(name, line): (&'static str, &[u8])| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(line).ok()?))
    };
    fields.into_iter().filter_map(value).collect()
}

/// Returns a head of `name: value` lines, without lines that cannot be fields.
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

/// Splits the input at its line ends.
pub(super) fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == b'\n')
}

/// Returns the facts of a request with these fields.
pub(super) fn facts(method: &Method, headers: &HeaderMap) -> RequestFacts {
    RequestFacts::read(method, headers, &rules(Duration::ZERO))
}

/// Returns the exchange of a `200`, requested and received at these moments.
pub(super) fn exchange<'a>(
    request: &'a RequestFacts,
    target: &'a Target,
    response: &'a HeaderMap,
    requested: Timestamp,
    received: Timestamp,
) -> Exchange<'a> {
    Exchange { request, target, status: StatusCode::OK, response, requested, received }
}

/// Returns the target of `http://api.test` with this path.
pub(super) fn target(path: &str) -> Target {
    let uri = path.parse().expect("a path");
    Target::parse(Scheme::Http, &uri, [&b"api.test"[..]].into_iter()).expect("a well-formed target")
}
