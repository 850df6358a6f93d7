//! Tests of the gate into the store, one row per rule.

use std::time::Duration;

use http::Method;

use super::{OwnedExchange, rules, rules_of_the_rfc};
use crate::limits::{DISCONNECTED_STALE_MAX, LIFETIME_MAX, VALIDATION_KEPT};
use crate::policy::NotStorable::{
    self, Authorization, ContentRange, ContentType, Cookie, CredentialHeader, Expired, Malformed, NoCache,
    NoFreshness, NoStore, PartialContent, Private, RequestNoStore, SetCookie, Status, UnlistedField,
    VaryFields, VaryStar,
};
use crate::policy::{
    CacheRules, Obligations, Reuse, RulesDigest, StaleDespiteSMaxage, StoredFacts, reuse, storable,
};
use crate::time::Timestamp;

type StorableFields = &'static [(&'static str, &'static str)];

const JSON: (&str, &str) = ("content-type", "application/json");

/// A row: the rule, the request's fields, the response's `Cache-Control`, and the reason against
/// storing it.
type StorableRow = (&'static str, StorableFields, &'static str, Option<NotStorable>);

fn refusal(owned: &OwnedExchange) -> Option<NotStorable> {
    storable(&owned.exchange(), &rules()).err()
}

#[test]
fn directives_decide_about_storing() {
    const BEARER: StorableFields = &[("authorization", "Bearer x")];
    const COOKIE: StorableFields = &[("cookie", "session=x")];
    const KEY: StorableFields = &[("x-api-key", "x")];
    const BEARER_AND_KEY: StorableFields = &[("authorization", "Bearer x"), ("x-api-key", "x")];
    const BEARER_AND_COOKIE: StorableFields = &[("cookie", "a=b"), ("authorization", "Bearer x")];
    let rows: &[StorableRow] = &[
        ("rfc9111-3-max-age", &[], "max-age=60", None),
        ("rfc9111-3-s-maxage", &[], "s-maxage=60", None),
        ("rfc9111-4.2.2-default", &[], "", None),
        ("rfc9111-5.2.2.5-no-store", &[], "no-store, max-age=60", Some(NoStore)),
        ("rfc9111-5.2.2.5-public", &[], "public, no-store, max-age=60", Some(NoStore)),
        ("rfc9111-5.2.2.3-must-understand", &[], "no-store, must-understand, max-age=60", None),
        ("rfc9111-5.2.2.3-default", &[], "no-store, must-understand", Some(NoFreshness)),
        ("rfc9111-5.2.2.3-private", &[], "no-store, must-understand, private, max-age=60", Some(Private)),
        ("rfc9111-5.2.2.7-private", &[], "private, max-age=60", Some(Private)),
        ("rfc9111-5.2.2.7-s-maxage", &[], "private, s-maxage=60", Some(Private)),
        ("rfc9111-5.2.2.7-fields", &[], "private=\"x-user\", max-age=60", None),
        ("rfc9111-5.2.2.7-absent-fields", &[], "private=\"x-absent\", max-age=60", Some(Private)),
        ("rfc9111-5.2.2.7-cookie", &[], "private=\"set-cookie\", max-age=60", None),
        ("rfc9111-5.2.2.7-essential", &[], "private=\"content-type\", max-age=60", Some(Private)),
        ("rfc9111-5.2.2.4-no-cache", &[], "no-cache, max-age=60", Some(NoCache)),
        ("rfc9111-5.2.2.4-default", &[], "no-cache", Some(NoCache)),
        ("rfc9111-5.2.2.4-fields", &[], "no-cache=\"x-user\", max-age=60", None),
        ("rfc9111-5.2-malformed", &[], "public; private", Some(Malformed)),
        ("rfc9111-5.2-open-quote", &[], "max-age=60, x=\"private", Some(Malformed)),
        (
            "rfc9111-5.2.1.5-no-store",
            &[("cache-control", "no-store")],
            "public, max-age=60",
            Some(RequestNoStore),
        ),
        ("rfc9111-5.2.1.5-malformed", &[("cache-control", "no-store;")], "max-age=60", Some(RequestNoStore)),
        ("rfc9111-5.2.1.4-no-cache", &[("cache-control", "no-cache")], "max-age=60", None),
        ("rfc9111-3.5-authorization", BEARER, "max-age=60", Some(Authorization)),
        ("rfc9111-3.5-default", BEARER, "", Some(Authorization)),
        ("rfc9111-3.5-empty", &[("authorization", "")], "max-age=60", Some(Authorization)),
        ("rfc9111-3.5-public", BEARER, "public, max-age=60", None),
        ("rfc9111-3.5-s-maxage", BEARER, "s-maxage=60", None),
        ("rfc9111-3.5-must-revalidate", BEARER, "must-revalidate, max-age=60", None),
        ("rfc9111-3.5-proxy-revalidate", BEARER, "proxy-revalidate, max-age=60", Some(Authorization)),
        ("rfc9111-3.5-must-revalidate-default", BEARER, "must-revalidate", Some(Authorization)),
        ("rfc9111-3.5-public-default", BEARER, "public", Some(Authorization)),
        ("rfc9111-3.5-private", BEARER, "private, max-age=60", Some(Private)),
        ("cookie", COOKIE, "max-age=60", Some(Cookie)),
        ("cookie-default", COOKIE, "", Some(Cookie)),
        ("cookie-public", COOKIE, "public, max-age=60", None),
        ("cookie-s-maxage", COOKIE, "s-maxage=60", None),
        ("cookie-must-revalidate", COOKIE, "must-revalidate, max-age=60", Some(Cookie)),
        ("credential-header", KEY, "max-age=60", Some(CredentialHeader)),
        ("credential-header-public", KEY, "public, max-age=60", None),
        ("credential-header-must-revalidate", KEY, "must-revalidate, max-age=60", Some(CredentialHeader)),
        ("several-must-revalidate", BEARER_AND_KEY, "must-revalidate, max-age=60", Some(CredentialHeader)),
        ("several-must-revalidate-cookie", BEARER_AND_COOKIE, "must-revalidate, max-age=60", Some(Cookie)),
        ("several-public", BEARER_AND_KEY, "public, max-age=60", None),
        ("rfc9111-4.2.1-zero", &[], "max-age=0", Some(Expired)),
        ("rfc9111-4.2.1-s-maxage-zero", &[], "s-maxage=0, max-age=60", Some(Expired)),
        ("rfc9111-4.2.1-invalid", &[], "max-age=soon", Some(Expired)),
        ("rfc9111-4.2.1-conflict", &[], "max-age=60, max-age=61", Some(Expired)),
        ("rfc9111-3.5-invalid-s-maxage", BEARER, "s-maxage=x, max-age=60", Some(Expired)),
    ];
    for (id, request, cache_control, want) in rows {
        let response = [JSON, ("cache-control", cache_control), ("x-user", "ann")];
        let owned = OwnedExchange::response(200, &response).to(&Method::GET, request);
        assert_eq!(refusal(&owned), *want, "{id}");
    }
}

#[test]
fn the_method_decides_about_storing() {
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let owned =
            OwnedExchange::response(200, &[JSON, ("cache-control", "public, max-age=60")]).to(&method, &[]);
        assert_eq!(refusal(&owned), Some(NotStorable::Method), "{method}");
    }
}

#[test]
fn status_and_fields_decide_about_storing() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=60");
    const PUBLIC: (&str, &str) = ("cache-control", "public, max-age=60");
    let rows: &[(&str, u16, StorableFields, Option<NotStorable>)] = &[
        ("listed-200", 200, &[JSON, FRESH], None),
        ("listed-404", 404, &[JSON, FRESH], Some(Status)),
        ("listed-500", 500, &[JSON, FRESH], Some(Status)),
        ("rfc9111-3.3-206", 206, &[JSON, FRESH], Some(PartialContent)),
        ("rfc9111-3-304", 304, &[JSON, FRESH], Some(Status)),
        ("rfc9110-14.4-range", 200, &[JSON, FRESH, ("content-range", "bytes 0-1/9")], Some(ContentRange)),
        ("rfc9110-14.4-meaningless", 200, &[JSON, FRESH, ("content-range", "AMYKWIUG")], None),
        ("type-suffix", 200, &[("content-type", "application/hal+json"), FRESH], None),
        ("type-html", 200, &[("content-type", "text/html"), PUBLIC], Some(ContentType)),
        ("type-none", 200, &[FRESH], Some(ContentType)),
        ("type-two", 200, &[JSON, JSON, FRESH], Some(ContentType)),
        ("rfc9111-7.3-set-cookie", 200, &[JSON, FRESH, ("set-cookie", "a=b")], Some(SetCookie)),
        ("rfc9111-7.3-default", 200, &[JSON, ("set-cookie", "a=b")], Some(SetCookie)),
        ("rfc9111-7.3-public", 200, &[JSON, PUBLIC, ("set-cookie", "a=b")], None),
        ("rfc9111-7.3-s-maxage", 200, &[JSON, ("cache-control", "s-maxage=9"), ("set-cookie", "a=b")], None),
        ("rfc9111-4.1-field", 200, &[JSON, FRESH, ("vary", "accept")], None),
        ("rfc9111-4.1-star", 200, &[JSON, PUBLIC, ("vary", "accept"), ("vary", ", *")], Some(VaryStar)),
        ("vary-many", 200, &[JSON, FRESH, ("vary", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q")], Some(VaryFields)),
        ("rfc9111-4.2.3-aged", 200, &[JSON, FRESH, ("age", "60")], Some(Expired)),
        ("rfc9111-4.2.3-younger", 200, &[JSON, FRESH, ("age", "59")], None),
        ("rfc9111-5.3-expired", 200, &[JSON, ("expires", "0")], Some(Expired)),
        ("rfc9111-5.4-pragma", 200, &[JSON, ("pragma", "no-cache")], Some(NoFreshness)),
        ("rfc9111-5.4-pragma-explicit", 200, &[JSON, FRESH, ("pragma", "no-cache")], None),
    ];
    for (id, status, fields, want) in rows {
        assert_eq!(refusal(&OwnedExchange::response(*status, fields)), *want, "{id}");
    }
}

#[test]
fn the_rfc_alone_decides_about_storing() {
    let rows: &[(&str, u16, &str, Option<NotStorable>)] = &[
        ("rfc9110-15.1-200", 200, "", None),
        ("rfc9110-15.1-203", 203, "", None),
        ("rfc9110-15.1-204", 204, "", None),
        ("rfc9110-15.1-404", 404, "", None),
        ("rfc9110-15.1-405", 405, "", None),
        ("rfc9110-15.1-410", 410, "", None),
        ("rfc9110-15.1-414", 414, "", None),
        ("rfc9110-15.1-501", 501, "", None),
        ("rfc9110-15.1-201", 201, "", Some(NoFreshness)),
        ("rfc9110-15.1-202", 202, "", Some(NoFreshness)),
        ("rfc9110-15.1-403", 403, "", Some(NoFreshness)),
        ("rfc9110-15.1-502", 502, "", Some(NoFreshness)),
        ("rfc9110-15.1-503", 503, "", Some(NoFreshness)),
        ("rfc9110-15.1-504", 504, "", Some(NoFreshness)),
        ("rfc9110-15.1-599", 599, "", Some(NoFreshness)),
        ("rfc9111-3-explicit", 503, "max-age=60", None),
        ("rfc9111-3-explicit-unknown", 299, "max-age=60", None),
        ("rfc9111-3-public-unknown", 599, "public", None),
        ("rfc9111-5.2.2.3-unknown", 599, "no-store, must-understand, max-age=60", Some(Status)),
        ("rfc9111-5.2.2.3-no-store", 200, "no-store, must-understand, max-age=60", None),
        ("rfc9111-3.3-206", 206, "public, max-age=60", Some(PartialContent)),
        ("rfc9111-3-304", 304, "public, max-age=60", Some(Status)),
        ("rfc9110-15.5.13-412", 412, "public, max-age=60", Some(Status)),
        ("rfc9110-15.5.17-416", 416, "public, max-age=60", Some(Status)),
        ("rfc6585-4-429", 429, "public, max-age=60", Some(Status)),
        ("rfc9111-5.2.2.7-private", 200, "private, max-age=60", Some(Private)),
    ];
    for (id, status, cache_control, want) in rows {
        // The last change is a day before `Date`; where a heuristic is allowed, the lifetime is a
        // tenth of that.
        let changed =
            [("last-modified", "Thu, 01 Jan 1970 12:00:00 GMT"), ("date", "Fri, 02 Jan 1970 12:00:00 GMT")];
        let owned =
            OwnedExchange::response(*status, &[&changed[..], &[("cache-control", cache_control)]].concat());
        let owned = owned.at(129_600_000, 129_600_000);
        assert_eq!(storable(&owned.exchange(), &rules_of_the_rfc()).err(), *want, "{id}");
    }
}

#[test]
fn responses_with_validators_are_stored_for_validation() {
    const TAG: (&str, &str) = ("etag", "\"a\"");
    const CHANGED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 12:00:00 GMT");
    const BEARER: StorableFields = &[("authorization", "x")];
    const TOKEN: StorableFields = &[("x-auth-token", "x")];
    // Rule, request, `Cache-Control`, validator, reason against storing it.
    type StorableRow =
        (&'static str, StorableFields, &'static str, (&'static str, &'static str), Option<NotStorable>);
    let rows: &[StorableRow] = &[
        ("rfc9111-5.2.2.4-no-cache", &[], "no-cache", TAG, None),
        ("rfc9111-5.2.2.4-fresh", &[], "no-cache, max-age=60", TAG, None),
        ("rfc9111-5.2.2.4-last-modified", &[], "no-cache", CHANGED, None),
        ("rfc9111-5.2.2.4-several-tags", &[], "no-cache", ("etag", ""), Some(NoCache)),
        ("rfc9111-5.2.2.4-no-date", &[], "no-cache", ("last-modified", "0"), Some(NoCache)),
        ("rfc9111-5.2.2.4-private", &[], "no-cache, private", TAG, Some(Private)),
        ("rfc9111-5.2.2.4-no-store", &[], "no-cache, no-store", TAG, Some(NoStore)),
        ("rfc9111-5.2.2.4-malformed", &[], "no-cache; public", TAG, Some(Malformed)),
        ("rfc9111-4.2.1-zero", &[], "max-age=0", TAG, None),
        ("rfc9111-4.2.1-invalid", &[], "max-age=x", TAG, None),
        ("rfc9111-3.5-no-cache", BEARER, "no-cache", TAG, Some(Authorization)),
        ("rfc9111-3.5-zero", BEARER, "max-age=0", TAG, Some(Authorization)),
        ("rfc9111-3.5-public", BEARER, "public, no-cache", TAG, None),
        (
            "rfc9111-3.5-public-unstated",
            BEARER,
            "public, no-store, must-understand",
            TAG,
            Some(Authorization),
        ),
        ("rfc9111-5.2.2.3-unstated", &[], "public, no-store, must-understand", TAG, None),
        ("rfc9111-3.5-s-maxage", BEARER, "s-maxage=0", TAG, None),
        // Stricter than the RFC: the tag may be the version of another client's representation.
        ("rfc9111-3.5-must-revalidate", BEARER, "max-age=0, must-revalidate", TAG, Some(Authorization)),
        ("unlisted-no-cache", TOKEN, "no-cache", TAG, Some(UnlistedField)),
        ("unlisted-no-cache-lifetime", TOKEN, "no-cache, max-age=60", CHANGED, Some(UnlistedField)),
        ("unlisted-zero", TOKEN, "max-age=0", CHANGED, Some(UnlistedField)),
        ("unlisted-invalid", TOKEN, "max-age=x", TAG, Some(UnlistedField)),
        ("unlisted-public", TOKEN, "public, no-cache", TAG, None),
        ("unlisted-s-maxage", TOKEN, "s-maxage=0", TAG, None),
    ];
    for (id, request, cache_control, validator, want) in rows {
        let owned = OwnedExchange::response(200, &[JSON, *validator, ("cache-control", cache_control)]);
        let owned = owned.to(&Method::GET, request);
        assert_eq!(refusal(&owned), *want, "{id}");
        if let Ok(stored) = storable(&owned.exchange(), &rules()) {
            assert!(stored.obligations.contains(Obligations::VALIDATOR), "{id}");
            let answer = reuse(&stored, &owned.request, Timestamp::EPOCH);
            assert!(matches!(answer, Reuse::Validate(_)), "{id}: {answer:?}");
        }
    }
    let silent = |status| OwnedExchange::response(status, &[JSON, TAG, ("pragma", "no-cache")]);
    let open = rules_of_the_rfc();
    assert_eq!(storable(&silent(200).exchange(), &open).map(|stored| stored.lifetime), Ok(Duration::ZERO));
    assert_eq!(storable(&silent(201).exchange(), &open), Err(NoFreshness), "rfc9111-3-status");
}

#[test]
fn keeping_times_cover_serving_and_validation() {
    let kept = |fields: &[(&str, &str)]| {
        let owned = OwnedExchange::response(200, &[&[JSON], fields].concat());
        storable(&owned.exchange(), &rules()).map(|stored| stored.keep_for(Timestamp::EPOCH).as_secs())
    };
    let cache_control = |value| [("cache-control", value)];
    let tagged = |value| [("cache-control", value), ("etag", "\"a\"")];
    let validated = VALIDATION_KEPT.as_secs();
    let stale_if_error = "max-age=60, stale-while-revalidate=90, stale-if-error=9000";
    let cases = [
        (kept(&cache_control("max-age=60")), Ok(60 + DISCONNECTED_STALE_MAX.as_secs())),
        (kept(&cache_control("max-age=60, must-revalidate")), Ok(60)),
        (kept(&cache_control("s-maxage=60, stale-if-error=90")), Ok(60)),
        (kept(&cache_control(stale_if_error)), Ok(60 + 9000)),
        (kept(&cache_control("max-age=0, stale-while-revalidate=90")), Ok(90)),
        (kept(&cache_control("max-age=0, must-revalidate, stale-while-revalidate=90")), Err(Expired)),
        (kept(&cache_control("max-age=9999999999")), Ok(LIFETIME_MAX.as_secs())),
        (kept(&tagged("max-age=60")), Ok(60 + validated)),
        (kept(&tagged("max-age=60, must-revalidate")), Ok(60 + validated)),
        (kept(&tagged(stale_if_error)), Ok(60 + 9000)),
        (kept(&tagged("max-age=0")), Ok(validated)),
        (kept(&tagged("no-cache, stale-if-error=9000")), Ok(validated)),
        (kept(&[("age", "100"), ("cache-control", "max-age=60"), ("etag", "\"a\"")]), Ok(validated)),
        (kept(&[("age", "100"), ("cache-control", "max-age=60, stale-if-error=90")]), Ok(50)),
        (kept(&[("age", "150"), ("cache-control", "max-age=60, stale-if-error=90")]), Err(Expired)),
    ];
    for (number, (kept, want)) in cases.into_iter().enumerate() {
        assert_eq!(kept, want, "case {number}");
    }
}

#[test]
fn the_operator_gives_default_stale_windows() {
    let rules = CacheRules {
        stale_while_revalidate: Duration::from_secs(5),
        stale_if_error: Duration::from_secs(7),
        ..rules()
    };
    for (cache_control, want) in [
        ("max-age=60", (5, 7)),
        ("", (5, 7)),
        ("max-age=60, stale-while-revalidate=1", (1, 7)),
        ("max-age=60, stale-if-error=0", (5, 0)),
        ("max-age=60, stale-if-error=x", (5, 0)),
        ("max-age=60, must-revalidate", (0, 0)),
        ("max-age=60, proxy-revalidate", (0, 0)),
        ("s-maxage=60", (0, 0)),
        ("max-age=60, no-cache", (0, 0)),
        ("max-age=0", (0, 0)),
    ] {
        let owned =
            OwnedExchange::response(200, &[JSON, ("etag", "\"a\""), ("cache-control", cache_control)]);
        let stored = storable(&owned.exchange(), &rules).unwrap();
        let windows = (stored.stale_while_revalidate.as_secs(), stored.stale_if_error.as_secs());
        assert_eq!(windows, want, "{cache_control}");
    }
}

/// The commonest line for a CDN (RFC 9111 §5.2.2.10).
#[test]
fn s_maxage_allows_staleness_by_setting() {
    let allowing = CacheRules { stale_despite_s_maxage: StaleDespiteSMaxage::Yes, ..rules() };
    let both = [&rules(), &allowing];
    for (cache_control, want) in [
        ("s-maxage=1, stale-while-revalidate=59", [true, false]),
        ("s-maxage=x, stale-while-revalidate=59", [true, true]),
        ("s-maxage=1, proxy-revalidate", [true, true]),
        ("max-age=1, stale-while-revalidate=59", [false, false]),
    ] {
        let owned =
            OwnedExchange::response(200, &[JSON, ("etag", "\"a\""), ("cache-control", cache_control)]);
        let forbid = both.map(|rules| {
            let stored = storable(&owned.exchange(), rules).unwrap();
            stored.obligations.contains(Obligations::PROXY_REVALIDATE)
        });
        assert_eq!(forbid, want, "{cache_control}");
    }
}

#[test]
fn negative_responses_are_stored_by_setting() {
    let negative = CacheRules { negative_ttl: Duration::from_secs(5), ..rules() };
    let rows: &[(&str, u16, StorableFields, Result<u64, NotStorable>)] = &[
        ("404", 404, &[JSON], Ok(5)),
        ("410", 410, &[JSON], Ok(5)),
        ("explicit", 404, &[JSON, ("cache-control", "max-age=60")], Ok(60)),
        ("no-store", 404, &[JSON, ("cache-control", "no-store")], Err(NoStore)),
        ("type", 404, &[("content-type", "text/html")], Err(ContentType)),
        ("no-type", 404, &[], Err(ContentType)),
        ("no-type-and-no-content", 404, &[("content-length", "0")], Ok(5)),
        ("type-and-no-content", 404, &[("content-length", "0"), ("content-type", "a/b")], Err(ContentType)),
        ("405", 405, &[JSON], Err(Status)),
    ];
    for (id, status, fields, want) in rows {
        let stored = storable(&OwnedExchange::response(*status, fields).exchange(), &negative);
        assert_eq!(stored.map(|stored| stored.lifetime.as_secs()), *want, "{id}");
    }
    let owned = OwnedExchange::response(404, &[JSON]);
    assert_eq!(refusal(&owned), Some(Status), "off by default");
    let named = owned.to(&Method::GET, &[("cookie", "a=b")]);
    assert_eq!(storable(&named.exchange(), &negative), Err(Cookie));
}

#[test]
fn stored_facts_hold_age_lifetime_and_windows() {
    let facts = |cache_control: &str| {
        let owned = OwnedExchange::response(200, &[JSON, ("age", "2"), ("cache-control", cache_control)])
            .at(1_000, 1_500);
        storable(&owned.exchange(), &rules()).unwrap()
    };
    let plain = StoredFacts {
        received: Timestamp::from_millis(1_500),
        initial_age: Duration::from_millis(2_500),
        lifetime: Duration::from_secs(60),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        obligations: Obligations::default(),
        rules: RulesDigest::NONE,
    };
    let with = |obligations| StoredFacts { obligations, ..plain };
    let rows = [
        ("max-age=60", plain),
        ("s-maxage=60, max-age=9", with(Obligations::SHARED | Obligations::PROXY_REVALIDATE)),
        ("public, max-age=60", with(Obligations::SHARED)),
        ("must-revalidate, max-age=60", with(Obligations::MUST_REVALIDATE)),
        ("proxy-revalidate, max-age=60", with(Obligations::PROXY_REVALIDATE)),
        ("immutable, max-age=60", with(Obligations::IMMUTABLE)),
        ("", StoredFacts { lifetime: Duration::from_secs(30), ..with(Obligations::HEURISTIC) }),
        (
            "max-age=60, stale-while-revalidate=5, stale-if-error=9",
            StoredFacts {
                stale_while_revalidate: Duration::from_secs(5),
                stale_if_error: Duration::from_secs(9),
                ..plain
            },
        ),
        ("max-age=60, stale-while-revalidate=x, stale-if-error=1.5", plain),
    ];
    for (cache_control, want) in rows {
        assert_eq!(facts(cache_control), want, "{cache_control}");
    }
}
