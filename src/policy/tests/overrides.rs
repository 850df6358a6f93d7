//! Tests of the members of a route that replace a statement of the origin, one row per rule.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::{OwnedExchange, head, rules, rules_of_the_rfc};
use crate::policy::NotStorable::{
    self, Authorization, CredentialHeader, Expired, Malformed, NoFreshness, NoStore, Private, RequestNoStore,
    SetCookie, Status, UnlistedField, VaryStar,
};
use crate::policy::{
    CacheRules, FreshenOutcome, NotReusable, Obligations, OriginFailure, OverrideSet, RequestFacts, Reuse,
    RulesDigest, StaleResponses, StatedFreshness, StorableStatuses, StoredFacts, freshen, reuse,
    stale_on_error, storable, storable_post,
};
use crate::policy::{Exchange, StoredHead};
use crate::time::Timestamp;

type OverrideFields = &'static [(&'static str, &'static str)];

const JSON: (&str, &str) = ("content-type", "application/json");
const BEARER: OverrideFields = &[("authorization", "Bearer x")];
const KEY: OverrideFields = &[("x-api-key", "x")];
const UNLISTED: OverrideFields = &[("x-user", "x")];
const NONE: OverrideSet = OverrideSet::NONE;
const ALL: OverrideSet = OverrideSet::ALL;

/// The rules of a route with a lifetime of five seconds.
fn stated(overrides: OverrideSet) -> CacheRules {
    let freshness = StatedFreshness {
        lifetime: Duration::from_secs(5),
        stale_while_revalidate: Some(Duration::from_secs(30)),
        stale_if_error: None,
        stale_responses: StaleResponses::Allowed,
    };
    CacheRules { freshness: Some(freshness), overrides, ..rules() }
}

fn lifting(overrides: OverrideSet) -> CacheRules {
    CacheRules { overrides, ..rules() }
}

fn exchange(request: OverrideFields, response: OverrideFields) -> OwnedExchange {
    OwnedExchange::response(200, &[&[JSON], response].concat()).to(&Method::GET, request)
}

fn stored(
    rules: &CacheRules,
    request: OverrideFields,
    response: OverrideFields,
) -> Result<StoredFacts, NotStorable> {
    storable(&exchange(request, response).exchange(), rules)
}

/// Each prohibition with the only word that lifts it.
const PROHIBITED: [(OverrideFields, OverrideSet, NotStorable); 3] = [
    (&[("cache-control", "private, max-age=60")], OverrideSet::PRIVATE, Private),
    (&[("cache-control", "no-store, max-age=60")], OverrideSet::NO_STORE, NoStore),
    (&[("set-cookie", "a=b"), ("cache-control", "max-age=60")], OverrideSet::SET_COOKIE, SetCookie),
];

#[test]
fn each_word_lifts_its_own_prohibition_only() {
    for (response, own, reason) in PROHIBITED {
        for (_, word, _) in PROHIBITED {
            let decision = stored(&lifting(word), &[], response).map(|facts| facts.lifetime.as_secs());
            let want = if word == own { Ok(60) } else { Err(reason) };
            assert_eq!(decision, want, "{response:?} {word:?}");
        }
        assert_eq!(stored(&stated(NONE), &[], response).err(), Some(reason), "cache_control: {response:?}");
        assert!(stored(&lifting(ALL), &[], response).is_ok());
    }
}

#[test]
fn no_member_lifts_another_prohibition() {
    let rows: &[(&str, OverrideFields, OverrideFields, NotStorable)] = &[
        ("vary-star", &[], &[("vary", "*")], VaryStar),
        ("malformed", &[], &[("cache-control", "max-age=9, \"private")], Malformed),
        ("request-no-store", &[("cache-control", "no-store")], &[], RequestNoStore),
        ("authorization", BEARER, &[], Authorization),
        ("authorization-max-age", BEARER, &[("cache-control", "max-age=60")], Authorization),
        ("credential-header", KEY, &[("cache-control", "max-age=60")], CredentialHeader),
        ("unlisted", UNLISTED, &[], UnlistedField),
    ];
    for (id, request, response, reason) in rows {
        assert_eq!(stored(&stated(ALL), request, response).err(), Some(*reason), "{id}");
    }
}

/// A permission of the origin was not meant for a response that it forbids to store, or that it
/// requires to be validated.
#[test]
fn a_lifted_response_answers_no_request_with_a_credential() {
    for response in [
        &[("cache-control", "private, public, max-age=60")][..],
        &[("cache-control", "private, s-maxage=60")],
        &[("cache-control", "no-store, public, max-age=60")],
        &[("cache-control", "no-cache, no-store, max-age=0, must-revalidate"), ("etag", "\"a\"")],
        &[("cache-control", "no-store, no-cache, must-revalidate"), ("etag", "\"a\"")],
        &[("set-cookie", "a=b"), ("cache-control", "max-age=60, must-revalidate")],
        &[("cache-control", "no-cache, public")],
        &[("cache-control", "public")],
        &[("cache-control", "public, max-age=0")],
        &[("cache-control", "must-revalidate")],
        &[],
    ] {
        for request in [BEARER, KEY, UNLISTED] {
            for rules in
                [stated(ALL), stated(ALL), CacheRules { default_ttl: Duration::ZERO, ..lifting(ALL) }]
            {
                assert!(stored(&rules, request, response).is_err(), "{response:?} {request:?}");
                if let Ok(facts) = stored(&rules, &[], response) {
                    let request = RequestFacts::read(&Method::GET, &head(request), &rules);
                    let decision = reuse(&facts, &request, Timestamp::EPOCH);
                    assert!(matches!(decision, Reuse::Not(_)), "{response:?} {decision:?}");
                }
            }
        }
    }
}

#[test]
fn the_gate_of_the_origin_stays_as_it_is() {
    // The origin itself shares these.
    for (request, response) in [
        (BEARER, &[("cache-control", "public, max-age=60")][..]),
        (KEY, &[("cache-control", "s-maxage=60")]),
        (BEARER, &[("cache-control", "must-revalidate, max-age=60")]),
        (UNLISTED, &[("cache-control", "max-age=60")]),
    ] {
        let facts = stored(&stated(ALL), request, response).unwrap();
        assert_eq!(facts.lifetime, Duration::from_secs(5), "{response:?}");
        assert!(!facts.obligations.contains(Obligations::HEURISTIC), "{response:?}");
    }
}

#[test]
fn stated_freshness_replaces_that_of_the_origin() {
    let rows: &[(&str, OverrideFields, u64, u64)] = &[
        ("nothing", &[], 5, 30),
        ("max-age", &[("cache-control", "max-age=60, stale-while-revalidate=9")], 5, 30),
        ("s-maxage", &[("cache-control", "s-maxage=60")], 5, 30),
        ("invalid", &[("cache-control", "max-age=x")], 5, 30),
        ("expires", &[("expires", "0")], 5, 30),
        ("no-cache", &[("cache-control", "no-cache")], 5, 30),
        ("pragma", &[("pragma", "no-cache")], 5, 30),
        ("targeted", &[("cdn-cache-control", "max-age=9"), ("cache-control", "max-age=1")], 5, 30),
        // The origin's `must-revalidate` is a rule for stale responses, which the route keeps.
        ("must-revalidate", &[("cache-control", "max-age=1, must-revalidate")], 5, 0),
        ("proxy-revalidate", &[("cache-control", "proxy-revalidate")], 5, 0),
    ];
    for (id, response, lifetime, window) in rows {
        let facts = stored(&stated(NONE), &[], response).unwrap();
        assert_eq!(facts.lifetime.as_secs(), *lifetime, "{id}");
        assert_eq!(facts.stale_while_revalidate.as_secs(), *window, "{id}");
        assert!(!facts.obligations.contains(Obligations::NO_CACHE), "{id}");
    }
    assert_eq!(stored(&stated(NONE), &[], &[("age", "9")]).err(), Some(Expired), "the age still counts");
}

#[test]
fn a_route_may_forbid_stale_responses() {
    let mut rules = stated(NONE);
    rules.freshness = rules
        .freshness
        .map(|freshness| StatedFreshness { stale_responses: StaleResponses::Forbidden, ..freshness });
    let facts = stored(&rules, &[], &[]).unwrap();
    assert_eq!(facts.stale_while_revalidate, Duration::ZERO);
    assert!(facts.obligations.contains(Obligations::PROXY_REVALIDATE));
    // `must-revalidate` would be a permission to share with `Authorization` (RFC 9111 §3.5).
    assert!(!facts.obligations.contains(Obligations::MUST_REVALIDATE));
}

#[test]
fn stated_freshness_makes_no_error_cacheable() {
    let decision = |status: u16, rules: &CacheRules| {
        let owned = OwnedExchange::response(status, &[JSON]);
        storable(&owned.exchange(), rules).map(|facts| facts.lifetime.as_secs())
    };
    let any = CacheRules { statuses: StorableStatuses::Any, ..stated(NONE) };
    assert_eq!(decision(500, &any), Err(NoFreshness));
    assert_eq!(decision(404, &any), Ok(5));
    let listed = StorableStatuses::Listed(vec![StatusCode::INTERNAL_SERVER_ERROR]);
    assert_eq!(decision(500, &CacheRules { statuses: listed, ..stated(NONE) }), Ok(5));
    let negative = CacheRules { negative_ttl: Duration::from_secs(2), ..stated(NONE) };
    assert_eq!(decision(404, &negative), Ok(2));
    assert_eq!(decision(404, &stated(NONE)), Err(Status));
    assert_eq!(decision(429, &any), Err(Status));
}

#[test]
fn a_validation_applies_the_members_again() {
    let rules = stated(OverrideSet::PRIVATE);
    let fields = head(&[JSON, ("etag", "\"a\""), ("cache-control", "private")]);
    let stored = StoredHead { status: StatusCode::OK, fields: &fields, body_bytes: 2 };
    let not_modified = OwnedExchange::response(304, &[("etag", "\"a\""), ("cache-control", "private")]);
    let outcome = |rules| freshen(stored, &not_modified.exchange(), rules).unwrap().outcome;
    let FreshenOutcome::Updated { facts, .. } = outcome(&rules) else { panic!("updated") };
    assert_eq!(facts.lifetime, Duration::from_secs(5));
    assert_eq!(outcome(&stated(NONE)), FreshenOutcome::Invalidated(Private));
}

/// The response to a `POST` needs a freshness that the origin states.
#[test]
fn stated_freshness_stores_no_response_to_a_post() {
    let response = [JSON, ("content-location", "/a")];
    let owned = OwnedExchange::response(200, &response).to(&Method::POST, &[]);
    let exchange: Exchange<'_> = owned.exchange();
    let decision = |rules: &CacheRules| storable_post(&exchange, &super::backend(), rules).err();
    assert_eq!(decision(&stated(ALL)), Some(NoFreshness));
}

#[test]
fn entries_are_used_under_their_own_rules_only() {
    let now = Timestamp::EPOCH;
    let with = |digest: u8| CacheRules { digest: RulesDigest([digest; 8]), ..rules_of_the_rfc() };
    for at_storing in 0..3 {
        let facts = stored(&with(at_storing), &[], &[("cache-control", "max-age=60")]).unwrap();
        for at_reuse in 0..3 {
            let request = RequestFacts::read(&Method::GET, &HeaderMap::new(), &with(at_reuse));
            let is_same = at_storing == at_reuse;
            let decision = reuse(&facts, &request, now);
            assert_eq!(matches!(decision, Reuse::Fresh { .. }), is_same);
            assert_eq!(decision == Reuse::Not(NotReusable::OtherRules), !is_same);
            let on_error = stale_on_error(&facts, &request, OriginFailure::Disconnected, now);
            assert_eq!(on_error.is_ok(), is_same);
        }
    }
}
