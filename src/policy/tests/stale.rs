//! Tests of serving stale responses, one row per rule.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{head, rules};
use crate::policy::NotReusable::{
    self, Authorization, Cookie, Expired, MustRevalidate, NoCache, RequestMaxAge, RequestMaxStale,
    RequestMinFresh, RequestNoCache,
};
use crate::policy::OriginFailure::{Disconnected, ErrorResponse};
use crate::policy::{
    Obligations, OriginFailure, RequestFacts, Reuse, RulesDigest, StoredFacts, reuse, reuse_on_arrival,
    stale_on_error,
};
use crate::time::Timestamp;

const NONE: Obligations = Obligations::from_bits(0);
const FORBIDDING: [Obligations; 3] =
    [Obligations::MUST_REVALIDATE, Obligations::PROXY_REVALIDATE, Obligations::NO_CACHE];

/// A response that is fresh until second 60.
fn stored(obligations: Obligations, stale_while_revalidate: u64, stale_if_error: u64) -> StoredFacts {
    StoredFacts {
        received: Timestamp::EPOCH,
        initial_age: Duration::ZERO,
        lifetime: Duration::from_secs(60),
        stale_while_revalidate: Duration::from_secs(stale_while_revalidate),
        stale_if_error: Duration::from_secs(stale_if_error),
        obligations,
        rules: RulesDigest::NONE,
    }
}

fn get(cache_control: &str) -> RequestFacts {
    RequestFacts::read(&Method::GET, &head(&[("cache-control", cache_control)]), &rules())
}

fn second(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// The staleness with which a response is served and whether it is refreshed meanwhile, or the
/// reason against serving it.
#[derive(Debug, PartialEq)]
enum StaleAnswer {
    Fresh,
    Refreshing(u64),
    AsItIs(u64),
    Validated(NotReusable),
    Another(NotReusable),
}

impl From<Reuse> for StaleAnswer {
    fn from(reuse: Reuse) -> Self {
        match reuse {
            Reuse::Fresh { .. } => Self::Fresh,
            Reuse::StaleWhileRevalidate { stale_for, .. } => Self::Refreshing(stale_for.as_secs()),
            Reuse::Stale { stale_for, .. } => Self::AsItIs(stale_for.as_secs()),
            Reuse::Validate(reason) => Self::Validated(reason),
            Reuse::Not(reason) => Self::Another(reason),
        }
    }
}

#[test]
fn stale_windows_decide_without_an_error() {
    use StaleAnswer::{AsItIs, Fresh, Refreshing, Validated};
    let rows = [
        // Rule, stale-while-revalidate, request, second, answer.
        ("fresh", 30, "", 59, Fresh),
        ("rfc5861-3-first", 30, "", 60, Refreshing(0)),
        ("rfc5861-3-last", 30, "", 90, Refreshing(30)),
        ("rfc5861-3-past", 30, "", 91, Validated(Expired)),
        ("rfc5861-3-none", 0, "", 60, Validated(Expired)),
        ("rfc9111-5.2.1.2", 0, "max-stale=10", 70, AsItIs(10)),
        ("rfc9111-5.2.1.2-past", 0, "max-stale=10", 71, Validated(RequestMaxStale)),
        ("rfc9111-5.2.1.2-any", 0, "max-stale", 9_999_999, AsItIs(9_999_939)),
        ("rfc9111-5.2.1.2-invalid", 0, "max-stale=x", 61, Validated(RequestMaxStale)),
        ("rfc9111-5.2.1.2-fresh", 0, "max-stale=10", 59, Fresh),
        ("rfc9111-5.2.1.2-both", 30, "max-stale=10", 70, Refreshing(10)),
        ("rfc9111-5.2.1.2-less", 30, "max-stale=10", 71, Validated(RequestMaxStale)),
        ("rfc9111-5.2.1.2-more", 30, "max-stale=60", 91, AsItIs(31)),
        ("rfc9111-5.2.1.1", 30, "max-age=100", 61, Validated(RequestMaxAge)),
        ("rfc9111-5.2.1.1-both", 30, "max-age=100, max-stale", 61, Refreshing(1)),
        ("rfc9111-5.2.1.1-older", 30, "max-age=60, max-stale", 61, Validated(RequestMaxAge)),
        ("rfc9111-5.2.1.3", 30, "min-fresh=1", 61, Validated(RequestMinFresh)),
        ("rfc9111-5.2.1.4", 30, "no-cache, max-stale", 61, Validated(RequestNoCache)),
    ];
    for (id, window, request, now, want) in rows {
        let stored = stored(NONE, window, 0);
        assert_eq!(StaleAnswer::from(reuse(&stored, &get(request), second(now))), want, "{id}");
    }
}

#[test]
fn obligations_forbid_stale_responses() {
    for obligations in FORBIDDING {
        for request in ["", "max-stale", "stale-if-error=600"] {
            let stored = stored(obligations, 600, 600);
            let (request, now) = (get(request), second(61));
            assert!(matches!(reuse(&stored, &request, now), Reuse::Validate(_)), "{obligations:?}");
            for failure in [Disconnected, ErrorResponse] {
                let refused = stale_on_error(&stored, &request, failure, now);
                assert!(matches!(refused, Err(MustRevalidate | NoCache)), "{obligations:?} {refused:?}");
            }
        }
    }
}

#[test]
fn stale_windows_decide_on_an_error() {
    type Row = (&'static str, u64, &'static str, OriginFailure, u64, Result<u64, NotReusable>);
    let rows: &[Row] = &[
        // Rule, stale-if-error, request, failure, second, age or reason.
        ("fresh", 0, "", ErrorResponse, 59, Ok(59)),
        ("rfc5861-4", 100, "", ErrorResponse, 160, Ok(160)),
        ("rfc5861-4-past", 100, "", ErrorResponse, 161, Err(Expired)),
        ("rfc5861-4-none", 0, "", ErrorResponse, 60, Err(Expired)),
        ("rfc5861-4-request", 0, "stale-if-error=9", ErrorResponse, 69, Ok(69)),
        ("rfc5861-4-request-past", 0, "stale-if-error=9", ErrorResponse, 70, Err(Expired)),
        ("rfc5861-4-request-less", 100, "stale-if-error=9", ErrorResponse, 70, Ok(70)),
        ("rfc9111-4.2.4-disconnected", 0, "", Disconnected, 120, Ok(120)),
        ("rfc9111-4.2.4-limit", 0, "", Disconnected, 121, Err(Expired)),
        ("rfc5861-4-disconnected", 100, "", Disconnected, 160, Ok(160)),
        ("rfc9111-5.2.1.2", 0, "max-stale=10", ErrorResponse, 70, Ok(70)),
        ("rfc9111-5.2.1.2-less", 100, "max-stale=10", ErrorResponse, 71, Err(RequestMaxStale)),
        ("rfc9111-5.2.1.1", 100, "max-age=600", ErrorResponse, 61, Err(RequestMaxAge)),
        ("rfc9111-5.2.1.1-fresh", 100, "max-age=10", Disconnected, 30, Err(RequestMaxAge)),
        ("rfc9111-5.2.1.4", 100, "no-cache", Disconnected, 30, Err(RequestNoCache)),
        ("rfc9111-5.2.1.3", 100, "min-fresh=50", Disconnected, 30, Err(RequestMinFresh)),
    ];
    for (id, window, request, failure, now, want) in rows {
        let age = stale_on_error(&stored(NONE, 0, *window), &get(request), *failure, second(*now));
        assert_eq!(age.map(|age| age.as_secs()), *want, "{id}");
    }
}

#[test]
fn a_response_stale_on_arrival_is_not_served_when_disconnected() {
    let stale = StoredFacts { initial_age: Duration::from_secs(60), ..stored(NONE, 0, 0) };
    assert_eq!(stale_on_error(&stale, &get(""), Disconnected, second(1)), Err(Expired));
    let allowed = StoredFacts { stale_if_error: Duration::from_secs(9), ..stale };
    assert_eq!(stale_on_error(&allowed, &get(""), ErrorResponse, second(1)), Ok(Duration::from_secs(61)));
}

#[test]
fn an_error_does_not_admit_a_credential() {
    for (field, want) in [("authorization", Authorization), ("cookie", Cookie)] {
        let request = RequestFacts::read(&Method::GET, &head(&[(field, "x")]), &rules());
        for now in [1, 61] {
            let refused = stale_on_error(&stored(NONE, 600, 600), &request, Disconnected, second(now));
            assert_eq!(refused, Err(want), "{field}");
            assert_eq!(reuse(&stored(NONE, 600, 600), &request, second(now)), Reuse::Not(want));
        }
    }
}

#[test]
fn server_error_statuses_are_failures() {
    for code in (100..600).filter_map(|code| StatusCode::from_u16(code).ok()) {
        let want = [500, 502, 503, 504].contains(&code.as_u16()).then_some(ErrorResponse);
        assert_eq!(OriginFailure::of(code), want, "{code}");
    }
}

#[test]
fn a_response_that_is_stale_on_arrival_answers_only_requests_that_may_have_it() {
    let on_arrival = |obligations, initial_age, request: &RequestFacts| {
        let initial_age = Duration::from_secs(initial_age);
        let stored = StoredFacts { initial_age, ..stored(obligations, 0, 600) };
        reuse_on_arrival(&stored, request, second(1)).map(|age| age.as_secs())
    };
    assert_eq!(on_arrival(NONE, 100, &get("")), Ok(101));
    assert_eq!(on_arrival(NONE, 59, &get("")), Err(Expired), "it was fresh on arrival");
    let zero = StoredFacts { lifetime: Duration::ZERO, ..stored(NONE, 0, 600) };
    assert_eq!(reuse_on_arrival(&zero, &get(""), second(1)), Err(Expired), "one request each time");
    for (obligation, reason) in FORBIDDING.into_iter().zip([MustRevalidate, MustRevalidate, NoCache]) {
        assert_eq!(on_arrival(obligation, 100, &get("")), Err(reason));
    }
    for (directives, reason) in [
        ("no-cache", RequestNoCache),
        ("max-age=200", RequestMaxAge),
        ("max-age=50", RequestMaxAge),
        ("min-fresh=1", RequestMinFresh),
        ("max-stale=10", RequestMaxStale),
    ] {
        assert_eq!(on_arrival(NONE, 100, &get(directives)), Err(reason), "{directives}");
    }
    let credential = RequestFacts::read(&Method::GET, &head(&[("authorization", "Basic a")]), &rules());
    assert_eq!(on_arrival(NONE, 100, &credential), Err(Authorization));
}
