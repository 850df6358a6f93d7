//! Tests of the clause of each decision. Operators see the words and the clauses.

use std::time::Duration;

use http::HeaderMap;

use crate::label::RuleLabel;
use crate::policy::{
    FreshenOutcome, NotReusable, NotSelectedError, NotStorable, OriginFailure, Reuse, Ruling, RulingVerdict,
    StoredFacts, storable,
};

use super::{OwnedExchange, rules};

fn listed<R: RuleLabel>() -> Vec<(&'static str, &'static str)> {
    R::ALL.iter().map(|reason| (reason.word(), reason.clause())).collect()
}

#[test]
fn every_reason_not_to_reuse_has_its_clause() {
    assert_eq!(
        listed::<NotReusable>(),
        [
            ("method", "RFC 9111 §4"),
            ("other-rules", "routes_file"),
            ("authorization", "RFC 9111 §3.5"),
            ("cookie", "RFC 9111 §3.5, ignored_cookies"),
            ("credential-header", "RFC 9111 §3.5, credential_headers"),
            ("client-certificate", "RFC 9111 §3.5, tls_client_credential"),
            ("unlisted-field", "key_headers, harmless_headers"),
            ("no-cache", "RFC 9111 §5.2.2.4"),
            ("expired", "RFC 9111 §4.2"),
            ("must-revalidate", "RFC 9111 §4.2.4"),
            ("request-no-cache", "RFC 9111 §5.2.1.4"),
            ("request-max-age", "RFC 9111 §5.2.1.1"),
            ("request-max-stale", "RFC 9111 §5.2.1.2"),
            ("request-min-fresh", "RFC 9111 §5.2.1.3"),
        ]
    );
}

#[test]
fn every_reason_not_to_store_has_its_clause() {
    assert_eq!(
        listed::<NotStorable>(),
        [
            ("method", "RFC 9111 §3"),
            ("request-no-store", "RFC 9111 §5.2.1.5"),
            ("no-store", "RFC 9111 §5.2.2.5"),
            ("private", "RFC 9111 §5.2.2.7"),
            ("no-cache", "RFC 9111 §5.2.2.4"),
            ("cache-control-malformed", "RFC 9111 §5.2"),
            ("authorization", "RFC 9111 §3.5"),
            ("cookie", "RFC 9111 §3.5, ignored_cookies"),
            ("credential-header", "RFC 9111 §3.5, credential_headers"),
            ("client-certificate", "RFC 9111 §3.5, tls_client_credential"),
            ("unlisted-field", "key_headers, harmless_headers"),
            ("unkeyed-field", "RFC 9111 §2, harmless_headers"),
            ("set-cookie", "RFC 9111 §7.3, ignored_cookies"),
            ("status", "RFC 9111 §3, cache_statuses"),
            ("partial-content", "RFC 9111 §3.3"),
            ("content-range", "RFC 9110 §14.4"),
            ("content-type", "cache_content_types"),
            ("vary-star", "RFC 9111 §4.1"),
            ("vary-fields", "RFC 9111 §4.1"),
            ("tags", "tag_headers"),
            ("no-freshness", "RFC 9111 §3, cache_default_ttl"),
            ("expired", "RFC 9111 §4.2"),
            ("no-validator", "RFC 9111 §4.3.5"),
            ("changed", "RFC 9111 §4.3"),
            ("content-location", "RFC 9110 §9.3.3"),
            ("head-too-large", "RFC 9111 §3"),
            ("body-too-large", "cache_max_body"),
            ("body-memory", "max_body_memory"),
            ("undelimited", "RFC 9112 §8"),
            ("cut-body", "RFC 9111 §3.3"),
            ("unread", "origin_body_timeout"),
            ("content-encoding", "RFC 9110 §8.4"),
            ("not-admitted", "cache_admission_budget"),
            ("held", "routes_file"),
            ("no-tier", "redis_url, cache_memory_size"),
            ("invalid-json", "RFC 8259 §2"),
            ("check-timeout", "cache_max_body"),
        ]
    );
}

#[test]
fn every_decision_is_a_ruling() {
    use RulingVerdict::{No, Yes};
    let second = Duration::from_secs(1);
    let (age, ttl, stale_for) = (second, second, second);
    let facts: Result<StoredFacts, _> = storable(
        &OwnedExchange::response(
            200,
            &[("content-type", "application/json"), ("cache-control", "max-age=9")],
        )
        .exchange(),
        &rules(),
    );
    let replaced = FreshenOutcome::Updated { facts: facts.unwrap(), fields: HeaderMap::new() };
    let (old, tag) = (NotReusable::Expired, NotStorable::Changed);
    for (ruling, verdict, because, clause) in [
        (Ruling::from(&Reuse::Fresh { age, ttl }), Yes, "fresh", "RFC 9111 §4.2"),
        (
            Ruling::from(&Reuse::StaleWhileRevalidate { age, stale_for }),
            Yes,
            "stale-while-revalidate",
            "RFC 5861 §3",
        ),
        (Ruling::from(&Reuse::Stale { age, stale_for }), Yes, "max-stale", "RFC 9111 §5.2.1.2"),
        (Ruling::from(&Reuse::Validate(old)), No, "expired", "RFC 9111 §4.2"),
        (Ruling::from(&Reuse::Not(NotReusable::Cookie)), No, "cookie", "RFC 9111 §3.5, ignored_cookies"),
        (Ruling::from(&facts), Yes, "storable", "RFC 9111 §3"),
        (Ruling::from(&Err(NotStorable::Private)), No, "private", "RFC 9111 §5.2.2.7"),
        (Ruling::from(&replaced), Yes, "freshened", "RFC 9111 §3.2"),
        (Ruling::from(&FreshenOutcome::Unchanged(NotStorable::NoStore)), No, "no-store", "RFC 9111 §5.2.2.5"),
        (Ruling::from(&FreshenOutcome::Invalidated(tag)), No, "changed", "RFC 9111 §4.3"),
        (Ruling::from(&Err(NotSelectedError)), No, "not-selected", "RFC 9111 §4.3.4"),
        (Ruling::on_failure(OriginFailure::Disconnected, &Ok(age)), Yes, "disconnected", "RFC 9111 §4.2.4"),
        (Ruling::on_failure(OriginFailure::ErrorResponse, &Ok(age)), Yes, "stale-if-error", "RFC 5861 §4"),
        (Ruling::on_failure(OriginFailure::ErrorResponse, &Err(old)), No, "expired", "RFC 9111 §4.2"),
    ] {
        assert_eq!(ruling, Ruling { verdict, because, clause });
    }
}
