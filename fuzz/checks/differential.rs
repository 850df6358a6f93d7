//! `Cache-Control`, read by CacheWarp and by `http-cache-semantics`: is this response reused
//! without validation?
//!
//! The other library is simple (it splits at every comma, and knows one case), so only the common
//! ground is compared. Where the two differ, the text of the RFC decided: see
//! `src/policy/tests/oracle.rs`, whose rules are excluded here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cachewarp::policy::{DirectiveScope, DirectiveSeconds, Directives, Reuse, reuse, storable};
use cachewarp::time::Timestamp;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};

use super::heads::{NOON_MILLIS, exchange, facts, head, lines, rules, target};

/// The first byte gives the seconds until the second request, the second whether the request has
/// `Authorization`; then the lines of a response's `Cache-Control`.
pub(crate) fn differential(data: &[u8]) {
    let Some(([later, choice], text)) = data.split_first_chunk() else { return };
    // Lower case for both; CacheWarp accepts any case.
    let text = text.to_ascii_lowercase();
    let response = head(lines(&text).map(|line| ("cache-control", line)));
    let request = if choice & 1 == 1 { head([("authorization", &b"x"[..])]) } else { HeaderMap::new() };
    let directives = Directives::of(&response);
    if !is_common_ground(&text, &directives) {
        return;
    }
    let later = Duration::from_secs(u64::from(*later));
    let (ours, theirs) = (ours(&request, &response, later), theirs(&request, &response, later));
    assert_eq!(ours, theirs, "{:?} after {later:?}: {directives:?}", String::from_utf8_lossy(&text));
}

/// Returns whether the input avoids every rule that the oracle decided.
fn is_common_ground(text: &[u8], read: &Directives) -> bool {
    let plain =
        text.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'"' || b"\n\t".contains(byte));
    let limits = [read.max_age, read.s_maxage];
    let readable = !read.malformed && !limits.contains(&DirectiveSeconds::Invalid);
    let unqualified = read.private != DirectiveScope::Fields && read.no_cache != DirectiveScope::Fields;
    let settled = read.proxy_revalidate || read.must_understand || read.immutable;
    // RFC 9111 §1.2.2 turns a number too large to count into 2^31; the other library ignores it.
    let countable = text.split(|byte| !byte.is_ascii_digit()).all(|digits| digits.len() < 20);
    plain && readable && unqualified && !settled && countable && !contradicts_itself(text)
}

/// Returns whether one name has two values. RFC 9111 §5.2.3 ignores unknown directives, even then;
/// the other library reads it as `must-revalidate`, which permits `Authorization`.
fn contradicts_itself(text: &[u8]) -> bool {
    let mut values = BTreeMap::new();
    text.split(|byte| b",\n".contains(byte)).any(|part| {
        let (name, value) = part.split_at(part.iter().position(|&byte| byte == b'=').unwrap_or(part.len()));
        let value = value.trim_ascii();
        *values.entry(name.trim_ascii()).or_insert(value) != value
    })
}

/// Returns whether the response is reused without validation.
fn ours(request: &HeaderMap, response: &HeaderMap, later: Duration) -> bool {
    let facts = facts(&Method::GET, request);
    let received = Timestamp::from_millis(NOON_MILLIS);
    let stored =
        storable(&exchange(&facts, &target("/a"), response, received, received), &rules(Duration::ZERO));
    stored.is_ok_and(|stored| matches!(reuse(&stored, &facts, received.plus(later)), Reuse::Fresh { .. }))
}

fn theirs(request: &HeaderMap, response: &HeaderMap, later: Duration) -> bool {
    let received = SystemTime::UNIX_EPOCH + Duration::from_millis(NOON_MILLIS);
    let (mut asked, mut answered) =
        (Request::get("http://api.test/a").body(()).expect("a request"), Response::new(()));
    *asked.headers_mut() = request.clone();
    *answered.headers_mut() =
        response.iter().map(|(name, line)| (name.clone(), HeaderValue::clone(line))).collect();
    let policy = CachePolicy::new_options(&asked, &answered, received, CacheOptions::default());
    policy.is_storable() && matches!(policy.before_request(&asked, received + later), BeforeRequest::Fresh(_))
}
