//! Tests of the gate out of the store, one row per rule.

use std::time::Duration;

use http::Method;

use super::{OwnedExchange, head, rules};
use crate::label::Label;
use crate::policy::NotReusable::{
    self, Authorization, Cookie, CredentialHeader, Expired, NoCache, RequestMaxAge, RequestMinFresh,
    RequestNoCache,
};
use crate::policy::{CacheRules, ClientCacheControl, Credential, RequestFacts, Reuse, reuse, storable};
use crate::policy::{Obligations, RulesDigest, StoredFacts};
use crate::time::Timestamp;

type ReuseFields = &'static [(&'static str, &'static str)];

/// A response received at second 100 with an age of two seconds and a lifetime of a minute.
fn stored(obligations: Obligations) -> StoredFacts {
    StoredFacts {
        received: Timestamp::from_millis(100_000),
        initial_age: Duration::from_secs(2),
        lifetime: Duration::from_secs(60),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        obligations,
        rules: RulesDigest::NONE,
    }
}

fn get(fields: &[(&str, &str)]) -> RequestFacts {
    RequestFacts::read(&Method::GET, &head(fields), &rules())
}

fn refusal(stored: &StoredFacts, request: &RequestFacts, now: u64) -> Option<NotReusable> {
    match reuse(stored, request, Timestamp::from_millis(now)) {
        Reuse::Fresh { .. } => None,
        Reuse::Validate(reason) | Reuse::Not(reason) => Some(reason),
        stale @ (Reuse::StaleWhileRevalidate { .. } | Reuse::Stale { .. }) => panic!("{stale:?}"),
    }
}

#[test]
fn request_fields_decide_about_reuse() {
    const NONE: Obligations = Obligations::from_bits(0);
    const MIXED: Obligations =
        Obligations::from_bits(Obligations::SHARED.bits() | Obligations::HEURISTIC.bits());
    // At second 110 its age is 12 s, and 48 s of its lifetime remain.
    let rows: &[(&str, Obligations, ReuseFields, Option<NotReusable>)] = &[
        ("rfc9111-4-fresh", NONE, &[], None),
        ("rfc9111-5.2.2.4", Obligations::NO_CACHE, &[], Some(NoCache)),
        ("rfc9111-5.2.1.4", NONE, &[("cache-control", "no-cache")], Some(RequestNoCache)),
        ("rfc9111-5.2.1.4-argument", NONE, &[("cache-control", "no-cache=x")], Some(RequestNoCache)),
        ("rfc9111-5.4-pragma", NONE, &[("pragma", "No-Cache")], Some(RequestNoCache)),
        ("rfc9111-5.4-list", NONE, &[("pragma", "a, no-cache")], Some(RequestNoCache)),
        ("rfc9111-5.4-other", NONE, &[("pragma", "no-cached")], None),
        ("rfc9111-5.4-both", NONE, &[("pragma", "no-cache"), ("cache-control", "max-age=60")], None),
        ("rfc9111-5.2.1.1", NONE, &[("cache-control", "max-age=12")], None),
        ("rfc9111-5.2.1.1-older", NONE, &[("cache-control", "max-age=11")], Some(RequestMaxAge)),
        ("rfc9111-5.2.1.1-reload", NONE, &[("cache-control", "max-age=0")], Some(RequestMaxAge)),
        ("rfc9111-5.2.1.1-invalid", NONE, &[("cache-control", "max-age=x")], Some(RequestMaxAge)),
        ("rfc9111-5.2.1.3", NONE, &[("cache-control", "min-fresh=48")], None),
        ("rfc9111-5.2.1.3-less", NONE, &[("cache-control", "min-fresh=49")], Some(RequestMinFresh)),
        ("rfc9111-5.2.1.3-invalid", NONE, &[("cache-control", "min-fresh=x")], Some(RequestMinFresh)),
        ("rfc9111-5.2.1.5-no-store", NONE, &[("cache-control", "no-store")], None),
        ("rfc9111-5.2.1.7", NONE, &[("cache-control", "only-if-cached")], None),
        ("authorization", NONE, &[("authorization", "x")], Some(Authorization)),
        ("authorization-shared", Obligations::SHARED, &[("authorization", "x")], None),
        ("authorization-must-revalidate", Obligations::MUST_REVALIDATE, &[("authorization", "x")], None),
        ("authorization-heuristic", MIXED, &[("authorization", "x")], Some(Authorization)),
        ("cookie", NONE, &[("cookie", "a=b")], Some(Cookie)),
        ("cookie-shared", Obligations::SHARED, &[("cookie", "a=b")], None),
        ("cookie-must-revalidate", Obligations::MUST_REVALIDATE, &[("cookie", "a=b")], Some(Cookie)),
        ("credential-header", NONE, &[("x-api-key", "x")], Some(CredentialHeader)),
        (
            "several",
            Obligations::MUST_REVALIDATE,
            &[("authorization", "x"), ("x-api-key", "x")],
            Some(CredentialHeader),
        ),
    ];
    for (id, obligations, fields, want) in rows {
        assert_eq!(refusal(&stored(*obligations), &get(fields), 110_000), *want, "{id}");
    }
}

#[test]
fn directives_of_clients_are_ignored_by_setting() {
    let ignoring = CacheRules { client_cache_control: ClientCacheControl::Ignored, ..rules() };
    for (fields, obeyed, ignored) in [
        (&[("cache-control", "no-cache")][..], Some(RequestNoCache), None),
        (&[("cache-control", "max-age=0")], Some(RequestMaxAge), None),
        (&[("cache-control", "min-fresh=99")], Some(RequestMinFresh), None),
        (&[("pragma", "no-cache")], Some(RequestNoCache), None),
        (&[("cache-control", "no-cache"), ("cookie", "a=b")], Some(Cookie), Some(Cookie)),
    ] {
        for (rules, want) in [(&rules(), obeyed), (&ignoring, ignored)] {
            let request = RequestFacts::read(&Method::GET, &head(fields), rules);
            assert_eq!(refusal(&stored(Obligations::default()), &request, 110_000), want, "{fields:?}");
        }
    }
    let read = |control| RequestFacts::read(&Method::GET, &head(&[("cache-control", control)]), &ignoring);
    assert_eq!(read("max-age=\"0").forbids_storing(), None, "malformed");
    assert!(read("no-store").forbids_storing().is_some() && read("only-if-cached").only_if_cached());
    assert_eq!(read("max-age=0, max-stale=5").max_stale(), Some(Duration::from_secs(5)));
}

#[test]
fn the_method_decides_about_reuse() {
    for (method, want) in [
        (Method::GET, None),
        (Method::HEAD, None),
        (Method::POST, Some(NotReusable::Method)),
        (Method::OPTIONS, Some(NotReusable::Method)),
    ] {
        let request = RequestFacts::read(&method, &head(&[]), &rules());
        assert_eq!(refusal(&stored(Obligations::SHARED), &request, 110_000), want, "{method}");
    }
}

#[test]
fn the_age_decides_about_reuse() {
    let answer = |now| reuse(&stored(Obligations::default()), &get(&[]), Timestamp::from_millis(now));
    let fresh = |age, ttl| Reuse::Fresh { age: Duration::from_millis(age), ttl: Duration::from_millis(ttl) };
    assert_eq!(answer(100_000), fresh(2_000, 58_000));
    assert_eq!(answer(157_999), fresh(59_999, 1));
    assert_eq!(answer(158_000), Reuse::Validate(Expired));
    assert_eq!(answer(u64::MAX), Reuse::Validate(Expired));
    // The clock of another node is behind.
    assert_eq!(answer(99_000), fresh(2_000, 58_000));
}

#[test]
fn refusals_are_validated_or_forwarded() {
    let kind = |obligations, method: &Method, fields: &[(&str, &str)]| {
        let request = RequestFacts::read(method, &head(fields), &rules());
        reuse(&stored(obligations), &request, Timestamp::from_millis(110_000))
    };
    const NONE: Obligations = Obligations::from_bits(0);
    // The origin can allow the first group to a client with credentials, but not the second.
    assert_eq!(kind(Obligations::NO_CACHE, &Method::GET, &[]), Reuse::Validate(NoCache));
    for request in ["no-cache", "max-age=0", "min-fresh=90"] {
        let answer = kind(NONE, &Method::HEAD, &[("cache-control", request)]);
        assert!(matches!(answer, Reuse::Validate(_)), "{request}");
    }
    for credential in ["authorization", "cookie", "x-api-key"] {
        let answer = kind(Obligations::NO_CACHE, &Method::GET, &[(credential, "x"), ("pragma", "no-cache")]);
        assert!(matches!(answer, Reuse::Not(_)), "{credential}");
    }
    assert_eq!(kind(NONE, &Method::POST, &[]), Reuse::Not(NotReusable::Method));
}

#[test]
fn request_facts_are_read() {
    let request = get(&[("cache-control", "only-if-cached, max-stale=5"), ("cookie", "a=b")]);
    assert!(request.only_if_cached());
    assert_eq!(request.max_stale(), Some(Duration::from_secs(5)));
    assert_eq!(request.credential(), Some(Credential::Cookie));
    let plain = get(&[("accept", "*/*")]);
    assert!(!plain.only_if_cached());
    assert_eq!(plain.max_stale(), None);
    assert_eq!(plain.credential(), None);
    assert_eq!(get(&[("cache-control", "max-stale=x")]).max_stale(), Some(Duration::ZERO));
}

#[test]
fn a_stored_response_serves_requests_with_the_permitted_credentials() {
    let json = ("content-type", "application/json");
    for (cache_control, credentialed) in [
        ("max-age=60", Some(Authorization)),
        ("public, max-age=60", None),
        ("", Some(Authorization)),
        ("public", Some(Authorization)),
    ] {
        let owned = OwnedExchange::response(200, &[json, ("cache-control", cache_control)]);
        let stored = storable(&owned.exchange(), &rules()).unwrap();
        assert_eq!(refusal(&stored, &get(&[]), 0), None, "{cache_control}");
        assert_eq!(refusal(&stored, &get(&[("authorization", "x")]), 0), credentialed, "{cache_control}");
    }
}

#[test]
fn every_reason_has_its_own_word() {
    let words: std::collections::HashSet<&str> =
        NotReusable::ALL.iter().map(|reason| reason.word()).collect();
    assert_eq!(words.len(), NotReusable::ALL.len());
}
