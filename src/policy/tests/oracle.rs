//! Comparison with `http-cache-semantics`, another implementation of the RFCs: may this response
//! answer the same request some seconds later without validation?
//!
//! If the two differ, the text of the RFC decided, and [`SETTLED`] records the rule with an example
//! that tests both. Both must agree on every generated exchange that no such rule concerns.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::prelude::*;

use super::{OwnedExchange, head, rules_of_the_rfc};
use crate::policy::{RequestFacts, Reuse, reuse, storable};
use crate::time::Timestamp;

/// Sunday, 06 November 1994, 12:00:00 GMT.
const NOON_MILLIS: u64 = 784_123_200_000;

/// One exchange, and the delay of a repeated request in seconds.
#[derive(Clone, Debug)]
struct OracleCase {
    request: Vec<(&'static str, &'static str)>,
    status: u16,
    response: Vec<(&'static str, &'static str)>,
    later: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OracleAnswer {
    Stored,
    Forwarded,
}

impl OracleCase {
    fn ours(&self) -> OracleAnswer {
        let rules = rules_of_the_rfc();
        let owned = OwnedExchange::response(self.status, &self.response)
            .to(&Method::GET, &self.request)
            .at(NOON_MILLIS, NOON_MILLIS);
        let request = RequestFacts::read(&Method::GET, &head(&self.request), &rules);
        let Ok(stored) = storable(&owned.exchange(), &rules) else { return OracleAnswer::Forwarded };
        match reuse(&stored, &request, owned.received.plus(Duration::from_secs(self.later))) {
            Reuse::Fresh { .. } | Reuse::Stale { .. } => OracleAnswer::Stored,
            // The other implementation does not support it.
            Reuse::StaleWhileRevalidate { .. } | Reuse::Validate(_) | Reuse::Not(_) => {
                OracleAnswer::Forwarded
            }
        }
    }

    fn theirs(&self) -> OracleAnswer {
        let received =
            SystemTime::UNIX_EPOCH + Duration::from_millis(Timestamp::from_millis(NOON_MILLIS).as_millis());
        let mut request = Request::get("http://api.test/a").body(()).unwrap();
        *request.headers_mut() = head(&self.request);
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        *response.headers_mut() = head(&self.response);
        let policy = CachePolicy::new_options(&request, &response, received, CacheOptions::default());
        let now = received + Duration::from_secs(self.later);
        match policy.before_request(&request, now) {
            BeforeRequest::Fresh(_) if policy.is_storable() => OracleAnswer::Stored,
            BeforeRequest::Fresh(_) | BeforeRequest::Stale { .. } => OracleAnswer::Forwarded,
        }
    }

    /// Returns whether a recorded difference concerns the case.
    fn is_settled(&self) -> bool {
        let (request, response) = (head(&self.request), head(&self.response));
        SETTLED.iter().any(|settled| (settled.concerns)(self.status, &request, &response))
    }
}

type OracleFields = &'static [(&'static str, &'static str)];

/// A difference between the implementations, with its rule.
struct SettledDifference {
    rule: &'static str,
    /// Whether the difference may show in an exchange.
    concerns: fn(u16, &HeaderMap, &HeaderMap) -> bool,
    /// An exchange that shows it.
    example: (OracleFields, u16, OracleFields, u64),
    /// The answer of CacheWarp, which follows the RFC; the other implementation differs.
    ours: OracleAnswer,
}

/// Returns whether a directive in `Cache-Control` starts with `start`.
fn has_directive(headers: &HeaderMap, start: &str) -> bool {
    words(headers).any(|word| word.starts_with(start))
}

/// Returns whether a numeric directive is repeated.
fn contradicts_itself(headers: &HeaderMap) -> bool {
    ["max-age", "s-maxage", "max-stale"]
        .iter()
        .any(|name| words(headers).filter(|word| word.starts_with(name)).count() > 1)
}

/// Returns whether a generated response is fresh on arrival.
fn has_lifetime(response: &HeaderMap) -> bool {
    let soon = response.get("expires").is_some_and(|line| line == "Sun, 06 Nov 1994 12:01:00 GMT");
    let explicit = words(response).any(|word| word.starts_with("max-age"));
    let guessed = !response.contains_key("expires") && response.contains_key("last-modified");
    words(response).any(|word| ["max-age=60", "max-age=\"60\""].contains(&word))
        || !explicit && (soon || guessed)
}

fn words(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all("cache-control").into_iter().flat_map(|line| line.to_str().unwrap().split(", "))
}

static SETTLED: &[SettledDifference] = &[
    SettledDifference {
        rule: "RFC 9111 §3: any final status is stored if the response gives its freshness",
        concerns: |status, _, _| ![200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status),
        example: (&[], 503, &[("cache-control", "max-age=60")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.2.4: a qualified no-cache applies to its fields of the response alone",
        concerns: |_, _, response| has_directive(response, "no-cache="),
        example: (&[], 200, &[("cache-control", "max-age=60, no-cache=\"x\""), ("x", "1")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.2.7: a qualified private applies to its fields of the response alone",
        concerns: |_, _, response| has_directive(response, "private="),
        example: (&[], 200, &[("cache-control", "max-age=60, private=\"x\""), ("x", "1")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.2.8: proxy-revalidate applies to stale responses alone",
        concerns: |_, _, response| has_directive(response, "proxy-revalidate"),
        example: (&[], 200, &[("cache-control", "max-age=60, proxy-revalidate")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.2.3: must-understand overrides no-store",
        concerns: |_, _, response| has_directive(response, "must-understand"),
        example: (&[], 200, &[("cache-control", "no-store, must-understand, max-age=60")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.4: Pragma has no meaning in a response",
        concerns: |_, _, response| response.contains_key("pragma"),
        example: (&[], 200, &[("pragma", "no-cache"), ("expires", "Sun, 06 Nov 1994 12:01:00 GMT")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.4: beside Cache-Control, Pragma has no meaning in a request",
        concerns: |_, request, _| request.contains_key("pragma") && request.contains_key("cache-control"),
        example: (
            &[("pragma", "no-cache"), ("cache-control", "max-age=60")],
            200,
            &[("cache-control", "max-age=60")],
            1,
        ),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 8246 §2: immutable gives no lifetime and does not allow sharing",
        concerns: |_, _, response| has_directive(response, "immutable"),
        example: (&[], 200, &[("cache-control", "immutable")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §4.2.1: values that differ are all invalid",
        concerns: |_, request, response| contradicts_itself(request) || contradicts_itself(response),
        example: (&[], 200, &[("cache-control", "max-age=60, max-age=90")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §4.2.1: a max-age without a number is invalid and still overrides Expires",
        concerns: |_, _, response| words(response).any(|word| word == "max-age"),
        example: (&[], 200, &[("cache-control", "max-age"), ("expires", "Sun, 06 Nov 1994 12:01:00 GMT")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §4.2.3: a Date in the past makes the response older",
        concerns: |_, _, response| response.contains_key("date"),
        example: (&[], 200, &[("cache-control", "max-age=60"), ("date", "Sun, 06 Nov 1994 11:58:00 GMT")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.1.2: max-stale does not override the origin's ban on stale responses",
        concerns: |_, request, response| {
            has_directive(request, "max-stale")
                && (has_directive(response, "s-maxage") || has_directive(response, "no-cache"))
        },
        example: (&[("cache-control", "max-stale")], 200, &[("cache-control", "s-maxage=1")], 9),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §3: a response that is stale on arrival need not be stored for a later max-stale",
        concerns: |_, request, response| has_directive(request, "max-stale") && !has_lifetime(response),
        example: (&[("cache-control", "max-stale")], 200, &[("cache-control", "max-age=0")], 9),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.1.1: a malformed max-age in a request counts as the strictest one",
        concerns: |_, request, _| has_directive(request, "max-age=x"),
        example: (&[("cache-control", "max-age=x")], 200, &[("cache-control", "max-age=60")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §3: a malformed Cache-Control may contain any restriction",
        concerns: |_, _, response| has_directive(response, "a;"),
        example: (&[], 200, &[("cache-control", "max-age=60, a;private")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "RFC 9111 §1.2.2: a number above 2^31 counts as 2^31",
        concerns: |_, _, response| has_directive(response, "max-age=99999999999999999999"),
        example: (&[], 200, &[("cache-control", "max-age=99999999999999999999")], 1),
        ours: OracleAnswer::Stored,
    },
    SettledDifference {
        rule: "RFC 9111 §5.2.3: an unknown directive is ignored even if it is repeated; it does not imply must-revalidate",
        concerns: |_, _, response| has_directive(response, "x="),
        example: (&[("authorization", "x")], 200, &[("cache-control", "max-age=60, x=1, x=2")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "SECURITY.md, credentials: a response to a request with a cookie is not shared by default",
        concerns: |_, request, _| request.contains_key("cookie"),
        example: (&[("cookie", "a=b")], 200, &[("cache-control", "max-age=60")], 1),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "SECURITY.md, credentials: a heuristic lifetime admits no credential, and no-cache does not allow sharing",
        concerns: |_, request, response| {
            request.contains_key("authorization")
                && !response.contains_key("expires")
                && !has_directive(response, "max-age=")
        },
        example: (
            &[("authorization", "x")],
            200,
            &[("cache-control", "public"), ("last-modified", "Sun, 06 Nov 1994 11:00:00 GMT")],
            1,
        ),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "SECURITY.md, credentials: max-stale does not allow storing a response that sets a cookie",
        concerns: |_, request, response| {
            response.contains_key("set-cookie") && has_directive(request, "max-stale")
        },
        example: (
            &[("cache-control", "max-stale")],
            200,
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
            1,
        ),
        ours: OracleAnswer::Forwarded,
    },
    SettledDifference {
        rule: "SECURITY.md, credentials: s-maxage allows storing the response without its cookie",
        concerns: |_, _, response| response.contains_key("set-cookie") && has_directive(response, "s-maxage"),
        example: (&[], 200, &[("cache-control", "s-maxage=60"), ("set-cookie", "a=b")], 1),
        ours: OracleAnswer::Stored,
    },
];

#[test]
fn each_settled_difference_shows() {
    for SettledDifference { rule, concerns, example: (request, status, response, later), ours } in SETTLED {
        let case = OracleCase {
            request: request.to_vec(),
            status: *status,
            response: response.to_vec(),
            later: *later,
        };
        assert!(concerns(*status, &head(request), &head(response)), "{rule}");
        assert_eq!(case.ours(), *ours, "{rule}");
        assert_ne!(case.theirs(), *ours, "{rule}");
    }
}

fn case() -> impl Strategy<Value = OracleCase> {
    let request = prop::sample::subsequence(
        &[
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("pragma", "no-cache"),
            ("accept", "*/*"),
            ("cache-control", "no-store"),
            ("cache-control", "no-cache"),
            ("cache-control", "max-age=30"),
            ("cache-control", "max-age=x"),
            ("cache-control", "min-fresh=30"),
            ("cache-control", "max-stale"),
            ("cache-control", "max-stale=40"),
        ][..],
        0..3,
    );
    let response = prop::sample::subsequence(
        &[
            ("cache-control", "public"),
            ("cache-control", "private"),
            ("cache-control", "private=\"x\""),
            ("cache-control", "no-store"),
            ("cache-control", "no-cache"),
            ("cache-control", "no-cache=\"x\""),
            ("cache-control", "must-revalidate"),
            ("cache-control", "proxy-revalidate"),
            ("cache-control", "must-understand"),
            ("cache-control", "immutable"),
            ("cache-control", "max-age=60"),
            ("cache-control", "max-age=0"),
            ("cache-control", "max-age=-1"),
            ("cache-control", "max-age=\"60\""),
            ("cache-control", "s-maxage=60"),
            ("cache-control", "s-maxage=0"),
            ("cache-control", "foo=bar"),
            ("age", "50"),
            ("expires", "Sun, 06 Nov 1994 12:01:00 GMT"),
            ("expires", "Sun, 06 Nov 1994 11:59:00 GMT"),
            ("expires", "0"),
            ("last-modified", "Sun, 06 Nov 1994 11:00:00 GMT"),
            ("etag", "\"a\""),
            ("set-cookie", "a=b"),
            ("vary", "accept"),
            ("vary", "*"),
            ("pragma", "no-cache"),
        ][..],
        0..6,
    );
    let status = prop::sample::select(&[200, 203, 204, 301, 404, 410, 501, 201, 302, 503][..]);
    (request, status, response, 0..130_u64).prop_map(|(request, status, response, later)| OracleCase {
        request,
        status,
        response,
        later,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_implementations_agree_except_for_settled_rules(case in case()) {
        // At the last second of a client's limit, the other implementation does not follow the
        // RFC's "no more than".
        let at_a_bound = [0, 10, 30, 40, 60, 100, 110, 120].contains(&case.later);
        // Fields that must not be repeated are not compared if they are.
        let repeated = ["expires", "vary"].iter().any(|name| head(&case.response).get_all(*name).iter().count() > 1);
        if !case.is_settled() && !at_a_bound && !repeated {
            prop_assert_eq!(case.ours(), case.theirs());
        }
    }
}
