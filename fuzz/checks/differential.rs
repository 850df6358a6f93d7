//! `Cache-Control`, read by us and by `http-cache-semantics`: is this answer served again without asking?
//!
//! The other reading is a simple one (it cuts at every comma, and knows one case), so only what both mean to understand is
//! compared. Where they differ, the RFC's text settled it: see `src/policy/tests/oracle.rs`, whose rules are left out here.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cachewarp::policy::{Directives, Limit, Reuse, Scope, reuse, storable};
use cachewarp::time::Timestamp;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};

use super::heads::{NOON_MILLIS, exchange, facts, head, lines, rules};

/// The first byte says how many seconds later the same is asked again, the second whether with `Authorization`; then the
/// lines of a response's `Cache-Control`.
pub(crate) fn differential(data: &[u8]) {
    let Some(([later, choice], text)) = data.split_first_chunk() else { return };
    // One case for both; ours takes any.
    let text = text.to_ascii_lowercase();
    let response = head(lines(&text).map(|line| ("cache-control", line)));
    let request = if choice & 1 == 1 { head([("authorization", &b"x"[..])]) } else { HeaderMap::new() };
    let said = Directives::of(&response);
    if !is_common_ground(&text, &said) {
        return;
    }
    let later = Duration::from_secs(u64::from(*later));
    let (ours, theirs) = (ours(&request, &response, later), theirs(&request, &response, later));
    assert_eq!(ours, theirs, "{:?} after {later:?}: {said:?}", String::from_utf8_lossy(&text));
}

/// Whether no rule that is settled otherwise plays a part.
fn is_common_ground(text: &[u8], said: &Directives) -> bool {
    let plain =
        text.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'"' || b"\n\t".contains(byte));
    let limits = [said.max_age, said.s_maxage];
    let readable = !said.malformed && !limits.contains(&Limit::Invalid);
    let unqualified = said.private != Scope::Fields && said.no_cache != Scope::Fields;
    let settled = said.proxy_revalidate || said.must_understand || said.immutable;
    // RFC 9111 §1.2.2: what is too large to count is 2^31; they take it for no number.
    let countable = text.split(|byte| !byte.is_ascii_digit()).all(|digits| digits.len() < 20);
    plain && readable && unqualified && !settled && countable && !contradicts_itself(text)
}

/// Whether one name stands there with two values. RFC 9111 §5.2.3: what is unknown is ignored, also then; they read it as
/// `must-revalidate`, which admits `Authorization`.
fn contradicts_itself(text: &[u8]) -> bool {
    let mut values = BTreeMap::new();
    text.split(|byte| b",\n".contains(byte)).any(|part| {
        let (name, value) = part.split_at(part.iter().position(|&byte| byte == b'=').unwrap_or(part.len()));
        let value = value.trim_ascii();
        *values.entry(name.trim_ascii()).or_insert(value) != value
    })
}

/// Whether it is served without asking.
fn ours(request: &HeaderMap, response: &HeaderMap, later: Duration) -> bool {
    let facts = facts(&Method::GET, request);
    let received = Timestamp::from_millis(NOON_MILLIS);
    let stored = storable(&exchange(&facts, response, received, received), &rules(Duration::ZERO));
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
